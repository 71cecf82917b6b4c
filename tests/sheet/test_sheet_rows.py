"""Rows: the request of a valid row, and all errors of an invalid one."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import Action, RowRequest
from bulkid.resources import ROBOT_ACCOUNTS
from bulkid.sheet import RowParser, SheetInfo

HEADERS = ("ID", "Robot", "Display Name", "add groups", "remove groups", "Groups", "Op", "organization_id", "Comment")
INFO = SheetInfo("s.csv", "csv", "", "utf-8-sig", ",", HEADERS, (*ROBOT_ACCOUNTS.columns, ""), ("a note",))
AT = dict(zip(ROBOT_ACCOUNTS.columns, range(len(ROBOT_ACCOUNTS.columns)), strict=True))
CELL = st.one_of(
    st.sampled_from(
        ["", " ", "a", "A", "Finance", "a;b", "!clear", "#N/A", "Everyone", "1E+16", "[", '["a"]', '"', "\0", "."]
    ),
    st.text(max_size=10),
)


def cells(**values: str) -> list[str]:
    row = [""] * len(HEADERS)
    for field, value in values.items():
        row[AT[field]] = value
    return row


def request(**values: str) -> RowRequest:
    parsed = RowParser(INFO).parse(7, cells(**values))
    assert parsed.row_errors == ()
    assert parsed.request is not None
    return parsed.request


def row_errors(**values: str) -> list[tuple[str, str]]:
    parsed = RowParser(INFO).parse(7, cells(**values))
    assert parsed.request is None
    assert all(row_error.row == 7 and row_error.message for row_error in parsed.row_errors)
    return [(row_error.code, row_error.column) for row_error in parsed.row_errors]


def test_a_full_row_says_what_it_says() -> None:
    asked = request(
        robot_account_id=" 88-uv ",
        name="Roby\u00a0",
        display_name="Robbie",
        groups_to_add="alumni-02; Finance",
        groups_to_remove="Trainees",
        partition_global_id="3fa85f64",
    )
    assert asked == RowRequest(
        7, "88-uv", "Roby", ("Robbie",), ("alumni-02", "Finance"), ("Trainees",), None, "3fa85f64"
    )


def test_blank_leaves() -> None:
    assert request(name="r", display_name=" ", groups_to_add=";", groups="[]") == RowRequest(
        7, "", "r", (None,), (), (), None, ""
    )


def test_clear_empties_the_display_name_and_the_groups_on_purpose() -> None:
    assert request(name="r", display_name="!clear").values == ("",)
    assert request(name="r", groups=" !Clear ").exact == ()


@pytest.mark.parametrize(
    ("cell", "action"),
    [
        ("", Action.UPDATE),
        (" Update ", Action.UPDATE),
        ("create", Action.CREATE),
        ("\u00a0CREATE", Action.CREATE),
        ("Delete\n", Action.DELETE),
    ],
)
def test_the_action_is_read_in_any_case_with_blanks_around_it(cell: str, action: Action) -> None:
    assert request(name="r", action=cell).action is action


@pytest.mark.parametrize(
    ("cell", "code"),
    [("remove", "unknown_action"), ("!clear", "unknown_action"), ("create;", "unknown_action"), ("#N/A", "error_cell")],
)
def test_another_action_is_an_error_that_lists_the_three(cell: str, code: str) -> None:
    assert row_errors(name="r", action=cell) == [(code, "Op")]
    (row_error,) = RowParser(INFO).parse(7, cells(name="r", action=cell)).row_errors
    assert "update, create or delete" in row_error.message or code == "error_cell"


def test_a_creation_needs_a_name() -> None:
    assert row_errors(robot_account_id="88-uv", action="create") == [("create_without_name", "Robot")]
    assert row_errors(action="create") == [("missing_account", "")]
    assert request(robot_account_id="88-uv", name="r", action="create").account_id == "88-uv"
    nameless = SheetInfo("s.csv", "csv", "", "utf-8", ",", ("ID", "Op"), ("robot_account_id", "action"))
    (row_error,) = RowParser(nameless).parse(2, ["88-uv", "create"]).row_errors
    assert (row_error.code, row_error.column) == ("create_without_name", "Op")


@pytest.mark.parametrize(
    ("field", "cell"),
    [
        ("display_name", "x"),
        ("display_name", "!clear"),
        ("groups_to_add", "A"),
        ("groups_to_remove", "A"),
        ("groups", "A"),
    ],
)
def test_a_deletion_changes_nothing_else(field: str, cell: str) -> None:
    assert row_errors(name="r", action="delete", **{field: cell}) == [("delete_with_changes", HEADERS[AT[field]])]
    kept = request(robot_account_id="1", name="r", action="delete", partition_global_id="3fa85f64", **{field: " "})
    assert kept == RowRequest(7, "1", "r", (None,), (), (), None, "3fa85f64", Action.DELETE)


def test_what_a_deletion_must_leave_blank_is_named_at_once() -> None:
    parsed = RowParser(INFO).parse(7, cells(name="r", action="delete", display_name="x", groups="A"))
    (row_error,) = parsed.row_errors
    assert '"Display Name" and "Groups" must be blank: empty them' in row_error.message


def test_exact_groups_are_kept_apart_from_changes() -> None:
    assert request(name="r", groups="Finance|Everyone").exact == ("Finance", "Everyone")


@pytest.mark.parametrize("field", ["groups_to_add", "groups_to_remove"])
def test_clear_is_no_group_change(field: str) -> None:
    assert row_errors(name="r", **{field: "!clear"}) == [("clear_not_allowed", HEADERS[AT[field]])]


@pytest.mark.parametrize("field", ["robot_account_id", "name", "partition_global_id"])
def test_clear_is_no_name(field: str) -> None:
    values = {"name": "r"} | {field: "!clear"}
    assert row_errors(**values) == [("clear_not_allowed", HEADERS[AT[field]])]


@pytest.mark.parametrize("text", ["Everyone", "everyone", "a; EVERYONE"])
def test_everyone_cannot_be_removed_but_may_be_added(text: str) -> None:
    assert row_errors(name="r", groups_to_remove=text) == [("everyone_cannot_be_removed", "remove groups")]
    assert request(name="r", groups_to_add=text).add


@given(st.sampled_from(["Finance", "É", "ж"]))
def test_one_group_both_added_and_removed_is_a_contradiction(group: str) -> None:
    assert row_errors(name="r", groups_to_add=f"a;{group}", groups_to_remove=f"{group.upper()};b") == [
        ("add_and_remove", "remove groups")
    ]


@pytest.mark.parametrize("exact", ["Finance", "!clear"])
@pytest.mark.parametrize("field", ["groups_to_add", "groups_to_remove"])
def test_exact_groups_and_changes_exclude_each_other(field: str, exact: str) -> None:
    assert row_errors(name="r", groups=exact, **{field: "Ops"}) == [("exact_with_changes", "Groups")]


@pytest.mark.parametrize("account_id", [".", ".."])
def test_an_id_that_would_walk_the_url_is_none(account_id: str) -> None:
    assert row_errors(robot_account_id=account_id) == [("bad_id", "ID")]


def test_a_row_without_an_account_says_which_columns_to_fill() -> None:
    parsed = RowParser(INFO).parse(3, cells(display_name="x"))
    assert [row_error.code for row_error in parsed.row_errors] == ["missing_account"]
    assert '"ID" or "Robot"' in parsed.row_errors[0].message


def test_all_row_errors_of_a_row_are_reported_each_with_its_column_and_value() -> None:
    parsed = RowParser(INFO).parse(
        9,
        cells(robot_account_id="#N/A", display_name="a\tb", groups_to_add='"', groups_to_remove="everyone", groups="x"),
    )
    assert [(row_error.code, row_error.column, row_error.value) for row_error in parsed.row_errors] == [
        ("error_cell", "ID", "#N/A"),
        ("control_character", "Display Name", "a\tb"),
        ("bad_list", "add groups", '"'),
        ("everyone_cannot_be_removed", "remove groups", "everyone"),
        ("exact_with_changes", "Groups", "x"),
    ]


def test_an_error_in_a_column_that_is_not_used_does_not_matter() -> None:
    row = cells(name="r")
    row[-1] = "#N/A"
    assert RowParser(INFO).parse(2, row).request is not None


def test_missing_cells_are_blank_and_blank_surplus_cells_are_nothing() -> None:
    parser = RowParser(INFO)
    assert parser.parse(2, ["", "r"]).cells == ("", "r", *[""] * 7)
    assert parser.parse(2, [*cells(name="r"), " ", ""]).cells == tuple(cells(name="r"))


def test_a_surplus_cell_is_a_row_error_and_is_kept() -> None:
    parsed = RowParser(INFO).parse(2, [*cells(name="r"), "", "too much", ""])
    assert [(row_error.code, row_error.value) for row_error in parsed.row_errors] == [("surplus_cells", "too much")]
    assert "11 cells" in parsed.row_errors[0].message
    assert parsed.cells == (*cells(name="r"), "", "too much")


@pytest.mark.parametrize(("kind", "advice"), [("csv", "in double quotes"), ("xlsx", "a header"), ("ods", "a header")])
def test_what_to_do_with_a_surplus_cell_depends_on_the_kind_of_sheet(kind: str, advice: str) -> None:
    parsed = RowParser(replace(INFO, kind=kind)).parse(2, [*cells(name="r"), "a note"])
    assert advice in parsed.row_errors[0].message


def test_a_repeated_header_is_reported_as_such() -> None:
    parsed = RowParser(INFO).parse(40, [*HEADERS[:-1], "whatever"])
    assert [row_error.code for row_error in parsed.row_errors] == ["header_again"]


def test_an_account_may_be_called_like_the_only_column() -> None:
    info = SheetInfo("s", "csv", "", "", ",", ("robot",), ("name",))
    assert RowParser(info).parse(2, ["robot"]).request is not None


def test_a_sheet_without_optional_columns_asks_for_nothing_in_them() -> None:
    info = SheetInfo("s", "csv", "", "", ",", ("id",), ("robot_account_id",))
    assert RowParser(info).parse(2, ["88-uv"]).request == RowRequest(2, "88-uv", "", (None,), (), (), None, "")


def test_a_parser_that_has_seen_very_many_lists_still_reads_them_right() -> None:
    parser = RowParser(INFO)
    for number in range(5000):
        parsed = parser.parse(number, cells(name="r", groups_to_add=f"g{number}"))
        assert parsed.request is not None
        assert parsed.request.add == (f"g{number}",)
    assert len(parser._lists) <= 4096


@given(st.lists(CELL, max_size=len(HEADERS) + 2), st.integers(1, 10**6))
def test_any_row_has_either_a_request_or_row_errors_and_parses_the_same_again(row: list[str], number: int) -> None:
    parsed = RowParser(INFO).parse(number, row)
    assert (parsed.request is None) == bool(parsed.row_errors)
    assert len(parsed.cells) >= len(HEADERS)
    assert RowParser(INFO).parse(number, parsed.cells) == parsed
    if parsed.request is not None:
        assert parsed.request.row == number
        assert parsed.request.account_id or parsed.request.name
        assert not (
            {item.casefold() for item in parsed.request.add} & {item.casefold() for item in parsed.request.remove}
        )
        assert parsed.request.exact is None or not (parsed.request.add or parsed.request.remove)


def test_what_is_known_of_a_sheet_survives_a_journal() -> None:
    assert SheetInfo.from_json(json.loads(json.dumps(INFO.to_json()))) == INFO


def test_the_columns_are_reported_by_field() -> None:
    assert INFO.columns() == dict(zip(ROBOT_ACCOUNTS.columns, HEADERS, strict=False))
