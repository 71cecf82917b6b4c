"""Plain rows are parsed many at a time: each gives the same as when it is parsed alone."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkid.model import Action, SheetRow
from bulkid.resources import DISPLAY_NAME, ROBOT_ACCOUNTS, Field, current, using
from bulkid.sheet import RowParser, SheetInfo, row_parser
from bulkid.sheet.cells import MAX_TEXT, are_plain, is_clear, text_problem, trim
from bulkid.sheet.row_parser import blank

Record = tuple[str, ...]

HARMLESS = ["88-uv", "roby", "Roby Müller", "ロボ 1", "Finance", "a b", "12:50", "1E5", "A+", "x!", "x#", "EUR"]
LISTS = ["", "Finance", "Finance; Trainees", "finance | Ops", '["Ops"]', '"a;b"', ";", "[]", " Finance ", "Trainees\n"]
ACTIONS = ["", "update", "create", " Create", "delete", "UPDATE\t"]
SPECIAL = ["", " ", " roby", "roby ", "\u200broby", "roby\u00a0", "!clear", "!CLEAR", " !clear", "!x", "#N/A", "#x"]
SPECIAL += ["Err:502", "eRR:599", "err:5", "1,2E+16", "1E+16x", "a\nb", "\0", "\ud800", ".", "..", "\xa6", " \xa6 "]
SPECIAL += ["x" * (MAX_TEXT + 1), "Everyone", "everyone", "[", '"', "a;!clear", "#N/A;b", "create", "Delete", "none"]


@dataclass(frozen=True, slots=True)
class Department(Field):
    """A field with a rule of its own."""

    def check(self, text: str) -> str:
        return "This is no department." if text == "roby" else ""


DEPARTMENT = Department("department", "department", "department", ("department",))
THREE_FIELDS = replace(
    ROBOT_ACCOUNTS, fields=(DISPLAY_NAME, DEPARTMENT, Field("remark", "remark", "remark", ("remark",)))
)


def sheet_info(*columns: str) -> SheetInfo:
    return SheetInfo("s.csv", "csv", "", "utf-8", ",", tuple(map(str.title, columns)), columns)


def one_by_one(info: SheetInfo, records: list[Record]) -> list[SheetRow]:
    parser = RowParser(info)
    return [parser.parse(row, cells) for row, cells in enumerate(records, 5) if not blank(cells)]


def harmless_texts(column: str) -> list[str]:
    return LISTS if column.startswith("groups") else ACTIONS if column == "action" else HARMLESS


@st.composite
def sheets(draw: st.DrawFn) -> tuple[SheetInfo, list[Record]]:
    """The rows of a sheet with any columns: most are harmless, and some columns are blank."""
    columns = draw(st.lists(st.sampled_from([*current().columns, ""]), min_size=1, max_size=9, unique=True))
    info = sheet_info(*columns)
    blank_columns = draw(st.sets(st.sampled_from(columns)))
    texts = [[""] if column in blank_columns else harmless_texts(column) for column in columns]
    harmless = st.tuples(*map(st.sampled_from, texts))
    any_cell = st.one_of(st.sampled_from(SPECIAL), st.text(max_size=5))
    one_special = st.tuples(harmless, st.integers(0, len(columns) - 1), any_cell).map(
        lambda drawn: (*drawn[0][: drawn[1]], drawn[2], *drawn[0][drawn[1] + 1 :])
    )
    other_length = st.tuples(one_special, st.sampled_from([(), ("",), ("", " "), ("", "x")])).map(
        lambda drawn: drawn[0][1:] if not drawn[1] else drawn[0] + drawn[1]
    )
    rare = st.one_of(one_special, other_length, st.just(info.headers), st.just((" ",) * len(columns)))
    rows = st.one_of(harmless, harmless, rare) if draw(st.booleans()) else harmless
    return info, draw(st.lists(rows, max_size=8))


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    with patch.object(row_parser, "_BLOCK", 3):
        yield


@given(sheets())
@example((sheet_info("name", "groups"), [("Name", "Groups"), ("Name", "x")]))
@example((sheet_info("name", "robot_account_id"), [("", "a"), ("b", ""), ("", "")]))
@example((sheet_info("action", "robot_account_id", "name"), [("create", "a", "")]))
@example((sheet_info("action", "robot_account_id", "groups"), [("delete", "a", ""), ("delete", "b", "x")]))
def test_rows_parsed_together_give_the_same_as_each_alone(sheet: tuple[SheetInfo, list[Record]]) -> None:
    info, records = sheet
    assert RowParser(info).parse_all(5, records) == one_by_one(info, records)


@given(st.data())
def test_so_do_those_with_several_fields_of_which_one_has_a_rule(data: st.DataObject) -> None:
    with using(THREE_FIELDS):
        info, records = data.draw(sheets())
        assert RowParser(info).parse_all(5, records) == one_by_one(info, records)


@pytest.mark.parametrize("column", [*THREE_FIELDS.columns, ""])
def test_so_do_rows_among_which_one_has_a_special_cell(column: str) -> None:
    with using(THREE_FIELDS):
        info = sheet_info(*THREE_FIELDS.columns, "")
        plain = dict(
            zip(
                info.fields,
                ["88-uv", "roby", "Roby", "D1", "x", "Finance", "Ops", "", "update", "3fa8", ""],
                strict=True,
            )
        )
        for text in [*SPECIAL, *HARMLESS, *LISTS, *ACTIONS]:
            special = {**plain, column: text}
            records = [tuple(values.values()) for values in (plain, special, plain)]
            assert RowParser(info).parse_all(5, records) == one_by_one(info, records)


@given(st.lists(st.one_of(st.sampled_from(HARMLESS + SPECIAL), st.text(max_size=5)), min_size=1))
def test_cells_that_are_plain_together_are_so_each(cells: list[str]) -> None:
    if are_plain(cells):
        for cell in cells:
            assert trim(cell) == cell
            assert text_problem(cell) is None
            assert not is_clear(cell)


@pytest.mark.parametrize(
    "columns", [("name", "groups"), ROBOT_ACCOUNTS.columns[:5], ("display_name", "", "name", "action")]
)
@pytest.mark.parametrize("surplus", [(), ("",), (" ", "")])
def test_rows_without_anything_special_are_never_parsed_alone(columns: tuple[str, ...], surplus: Record) -> None:
    lists = {"groups_to_add": "Finance; Ops", "groups_to_remove": "Trainees", "groups": "!clear", "action": "create"}
    records = [tuple(lists.get(column, f"{text} ") for column in columns) + surplus for text in HARMLESS]
    info = sheet_info(*columns)
    alone = one_by_one(info, records)
    with patch.object(RowParser, "parse", side_effect=AssertionError):
        together = RowParser(info).parse_all(5, records)
    assert together == alone
    assert all(row.request is not None for row in together)
    assert {row.request.action for row in together if row.request} <= {Action.UPDATE, Action.CREATE}


def test_a_parser_that_has_seen_very_many_lists_forgets_them() -> None:
    parser = RowParser(sheet_info("name", "groups_to_add"))
    rows = parser.parse_all(2, [("r", f"g{number}") for number in range(5000)])
    assert [row.request.add for row in rows if row.request] == [(f"g{number}",) for number in range(5000)]
    assert len(parser._known_lists) <= 4096 + 3
