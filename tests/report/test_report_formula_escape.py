"""Formula cells are escaped, and the escape is removed when the sheet is read again."""

import pytest
from hypothesis import given

from bulkid.sheet.formula_escape import FORMULA_STARTS, escape_formula, guard_apostrophe, unescape_formula
from tests.support.report_data import nasty_text


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+ Finance",
        "-2",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\tplain",
        "\rplain",
        "\nplain",
        "  =1",
        "\u00a0=1",
        "\u3000=1",
        "\ufeff=1",
        "\u200b=1",
        "\x00=1",
        "\uff1d1",
        "\uff0b1",
        "\uff0d1",
        "\uff20x",
        " \uff1d1",
        "﹦1",
        "'=1",
        "''@x",
        "' =1",
    ],
)
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    assert escape_formula(text) == "'" + text
    assert unescape_formula(escape_formula(text)) == text


@pytest.mark.parametrize(
    "text", ["", "88", "Robbie", "a=b", "O'Neil", "'quoted'", "'", " a", "3fa85f64", "ü", "'tis =1", "1-2"]
)
def test_other_cells_stay_as_they_are_both_ways(text: str) -> None:
    assert escape_formula(text) == text
    assert unescape_formula(text) == text


@given(nasty_text)
def test_any_text_comes_back_and_none_is_left_to_run(text: str) -> None:
    guarded = escape_formula(text)
    assert unescape_formula(guarded) == text
    assert not guarded.lstrip(" \u3000\x00").startswith(tuple(FORMULA_STARTS))


@given(nasty_text)
def test_any_text_comes_back_from_a_workbook_and_only_an_apostrophe_is_guarded_there(text: str) -> None:
    guarded = guard_apostrophe(text)
    assert unescape_formula(guarded) == text
    assert guarded == text or text.startswith("'")


@given(nasty_text)
def test_reading_what_a_person_typed_never_makes_it_a_guarded_cell(text: str) -> None:
    """A sheet is read by taking one guard off; written and read again, it is the same as the first time."""
    read = unescape_formula(text)
    assert unescape_formula(escape_formula(read)) == read
