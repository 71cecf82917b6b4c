"""Cells: list notation, errors, trimming; properties first, then edge cases."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkid.sheet.cells import MAX_TEXT, is_error, parse_list, text_problem, trim
from bulkid.text import fold

SEPARATORS = [";", ",", "|", "\n", "\r\n"]
PLAIN = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters=';,|"[]#!'), min_size=1, max_size=12
).filter(lambda text: text_problem(text) is None)


def items(cell: str) -> tuple[str, ...]:
    parsed = parse_list(cell)
    assert parsed.problems == ()
    return parsed.items


def codes(cell: str) -> list[str]:
    return [problem.code for problem in parse_list(cell).problems]


def distinct(names: list[str]) -> tuple[str, ...]:
    return tuple(
        {name.casefold(): name for name in reversed(names)}[key] for key in dict.fromkeys(n.casefold() for n in names)
    )


@given(st.lists(PLAIN, min_size=1, max_size=6), st.sampled_from(SEPARATORS))
def test_any_separator_splits_and_doubles_collapse_without_regard_to_case(names: list[str], separator: str) -> None:
    assert items(separator.join(names)) == distinct(names)


@given(st.lists(PLAIN, min_size=1, max_size=6))
def test_a_json_array_means_the_same_as_the_plain_list(names: list[str]) -> None:
    assert items(json.dumps(names)) == items(";".join(names))


@given(
    st.lists(st.text(st.sampled_from('ab ;,|"[]é'), min_size=1, max_size=10).filter(str.strip), min_size=1, max_size=4)
)
@example(["[x]"])
def test_a_quoted_name_may_hold_anything(names: list[str]) -> None:
    cell = "; ".join('"' + name.replace('"', '""') + '"' for name in names)
    assert items(cell) == distinct([name.strip() for name in names])


@given(st.text(max_size=40))
def test_no_cell_raises_and_items_are_trimmed_distinct_and_not_blank(cell: str) -> None:
    parsed = parse_list(cell)
    assert all(item and item == trim(item) for item in parsed.items)
    assert len(set(parsed.items)) == len(parsed.items)
    assert parsed.keys == {fold(item) for item in parsed.items}


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("Finance", ("Finance",)),
        (" Finance ;; Trainees ; ", ("Finance", "Trainees")),
        ("Finance;FINANCE;Finance", ("Finance", "FINANCE")),
        ('"Finance, EU"; Trainees', ("Finance, EU", "Trainees")),
        ('"5"" disks"|Ops', ('5" disks', "Ops")),
        ('5" disks; Ops', ('5" disks', "Ops")),
        ('["Finance, EU", "Trainees"]', ("Finance, EU", "Trainees")),
        ("[88, 88.0, 1.5]", ("88", "1.5")),
        ("[12345678901234567890]", ("12345678901234567890",)),
        ("Robots [Test]", ("Robots [Test]",)),
        ('"[Test]"', ("[Test]",)),
        ("[Test] Robots", ("[Test] Robots",)),
        ("\u00a0Finance\u200b;\ufeffOps", ("Finance", "Ops")),
        ("=1+1", ("=1+1",)),
        ("a\nb", ("a", "b")),
    ],
)
def test_lists_as_users_write_them(cell: str, expected: tuple[str, ...]) -> None:
    assert items(cell) == expected


@pytest.mark.parametrize("cell", ["", " ", "\u00a0", ";", " , | ", "[]", '""', '[""]', '[" "]', '"";""'])
def test_a_cell_that_names_nothing_is_as_good_as_blank(cell: str) -> None:
    from bulkid.sheet.cells import EMPTY_LIST

    assert parse_list(cell) is EMPTY_LIST


@pytest.mark.parametrize("cell", ["!clear", " !CLEAR ", "\u00a0!Clear"])
def test_clear_is_a_cell_of_its_own(cell: str) -> None:
    parsed = parse_list(cell)
    assert parsed.clear
    assert parsed.items == ()


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("!clear;Finance", ["clear_not_alone"]),
        ('"Finance', ["bad_list"]),
        ('"Finance" EU', ["bad_list"]),
        ('["Finance"', ["bad_list"]),
        ("[Finance]", ["bad_list"]),
        ("[null]", ["bad_list"]),
        ('[["a"]]', ["bad_list"]),
        ("[true]", ["bad_list"]),
        ("[" * 100_000 + "]", ["bad_list"]),
        ("[NaN]", ["bad_list"]),
        ("Finance;#N/A", ["error_cell"]),
        ("#REF!;#N/A", ["error_cell", "error_cell"]),
        ("1,23457E+16", ["number_rounded"]),
        ("1.23457E+16", ["number_rounded"]),
        ("a\tb", ["control_character"]),
        ('["a\\u0000b"]', ["control_character"]),
        ('["\\ud800"]', ["control_character"]),
        ("x" * (MAX_TEXT + 1), ["too_long"]),
    ],
)
def test_broken_lists_are_said_to_be(cell: str, expected: list[str]) -> None:
    assert codes(cell) == expected


@pytest.mark.parametrize(
    "text",
    [
        "#N/A",
        "#n/a",
        "#REF!",
        "#VALUE!",
        "#NAME?",
        "#DIV/0!",
        "#NULL!",
        "#NUM!",
        "#SPILL!",
        "#NV",
        "#BEZUG!",
        "#¡REF!",
        "Err:502",
    ],
)
def test_what_spreadsheets_show_for_an_error_is_one(text: str) -> None:
    problem = text_problem(text)
    assert problem is not None
    assert problem.code == "error_cell"
    assert text in problem.message


@pytest.mark.parametrize(
    "text",
    [
        "88",
        "88.0",
        "00123",
        "NA",
        "null",
        "None",
        "#1 robot",
        "E",
        "Error",
        "Err:",
        "E+1",
        "1E5",
        "1e+16",
        "12E+16",
        "1E-05",
        "=cmd|' /C calc'!A0",
        "+1",
        "@x",
        "-",
        "ロボット",
        "👩\u200d💻",
        "a\u00a0b",
        "x" * MAX_TEXT,
        "True",
        "5f0c8a3e-0000",
    ],
)
def test_an_ordinary_text_is_no_problem_however_odd(text: str) -> None:
    assert text_problem(text) is None


@pytest.mark.parametrize("text", ["1.23457E+16", "1,23457E+16", "-1.2E+100", "9E+15"])
def test_a_number_that_a_spreadsheet_has_rounded_is_a_problem(text: str) -> None:
    problem = text_problem(text)
    assert problem is not None
    assert problem.code == "number_rounded"


@pytest.mark.parametrize("character", ["\0", "\t", "\n", "\x1f", "\x7f", "\x85", "\x9f", "\ud800"])
def test_characters_that_no_name_can_hold_are_named_by_their_number(character: str) -> None:
    problem = text_problem(f"a{character}b")
    assert problem is not None
    assert problem.code == "control_character"
    assert f"U+{ord(character):04X}" in problem.message


@given(
    st.text(st.sampled_from(" \t\r\n\u00a0\u200b\u200e\ufeff\u3000\u2028"), max_size=4), st.text(min_size=1, max_size=8)
)
def test_trimming_takes_what_no_one_sees_from_both_ends_and_nothing_else(edge: str, text: str) -> None:
    once = trim(text)
    assert trim(edge + text + edge) == once
    assert once in text
    assert trim("a" + text + "b") == "a" + text + "b"


@pytest.mark.parametrize("word", ["#N/D!", "#\u0417\u041d\u0410\u0427!", "#V\u00c4RDEFEL!", "#de\u011fer!", "#I/T"])
def test_error_words_of_more_languages_are_errors(word: str) -> None:
    assert is_error(word)
