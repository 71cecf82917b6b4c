"""How invalid rows are printed: a table in a terminal, a line for each error in a pipe, and the file's name once."""

import io

import pytest
from rich.console import Console

from bulkid.cli.row_errors import (
    LISTED_IN_REPORT,
    LISTED_WITH_ALL,
    MAX_PROBLEMS,
    print_check,
    print_row_error_count,
    print_row_errors,
)
from bulkid.model import RowError
from bulkid.runs import CheckResult
from bulkid.sheet import SheetInfo, SheetOptions

INFO = SheetInfo(
    "a.csv", "csv", "", "utf-8", ",", ("Robot", "Bot", "groups", "Notes"), ("name", "display_name", "groups", "")
)
UNKNOWN = "No group has the name Finanze. Check the spelling."


def screen(*, width: int = 100, terminal: bool = True) -> Console:
    return Console(
        file=io.StringIO(), width=width, markup=False, highlight=False, force_terminal=terminal, no_color=True
    )


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").rstrip("\n")


def checked(result: CheckResult, *, terminal: bool = False) -> str:
    out, err = screen(terminal=terminal), screen(terminal=terminal)
    print_check(out, err, result, SheetOptions(column_map={"bot": "display_name"}))
    assert written(err) == ""
    return written(out)


@pytest.mark.parametrize(
    ("rows", "accounts", "first", "last"),
    [
        (1, 1, "a.csv: 1 row, 1 account", "Every row is valid."),
        (1200, 2, "a.csv: 1,200 rows, 2 accounts", "Every row is valid."),
    ],
)
def test_counts_go_with_their_noun(rows: int, accounts: int, first: str, last: str) -> None:
    lines = checked(CheckResult(INFO, rows, accounts, (), {})).splitlines()
    assert (lines[0], lines[-1]) == (first, last)


def test_a_sheet_without_rows_has_nothing_to_do() -> None:
    assert checked(CheckResult(INFO, 0, 0, (), {})) == "The sheet has a header and no rows: there is nothing to do."


def test_check_says_how_each_column_is_read() -> None:
    result = CheckResult(INFO, 1, 1, (), {})
    assert checked(result).splitlines()[1:5] == [
        "column Robot: name, known header",
        "column Bot: display_name, --map",
        "column groups: groups, exact",
        "column Notes: ignored",
    ]
    assert checked(result, terminal=True).splitlines()[2:7] == [
        "Column  Field         Match",
        "Robot   name          known header",
        "Bot     display_name  --map",
        "groups  groups        exact",
        "Notes   -             ignored",
    ]


def test_one_invalid_row_is_one() -> None:
    row_errors = (RowError(3, "name", "x", "code", "Fix it."), RowError(3, "", "", "code", "And this."))
    text = checked(CheckResult(INFO, 2, 1, row_errors, {}))
    assert "\nrow 3, column name: 'x' Fix it.\nrow 3: And this.\n1 row is invalid: nothing would be sent.\n" in text


def test_a_terminal_shows_a_repeated_problem_once_with_its_rows() -> None:
    out = screen()
    row_errors = [RowError(row, "groups", "Finanze", "unknown_group", UNKNOWN) for row in (2, 3, 4, 9)]
    row_errors.append(RowError(12, "", "", "missing_account", "The row names no account."))
    print_row_errors(out, "a.csv", row_errors)
    assert written(out).splitlines() == [
        "a.csv: 5 rows are invalid",
        "Row             Column  Value    Problem",
        "4 rows: 2-4, 9  groups  Finanze  No group has the name Finanze. Check the spelling.",
        "12                               The row names no account.",
    ]


@pytest.mark.parametrize("rest", [LISTED_WITH_ALL, LISTED_IN_REPORT])
def test_a_pipe_gets_every_error_in_full(rest: str) -> None:
    out = screen(terminal=False, width=40)
    long = "x" * 500
    print_row_errors(out, "a.csv", [RowError(row, "groups", long, "code", UNKNOWN) for row in range(2, 202)], rest=rest)
    assert written(out).splitlines()[1:] == [f"row {row}, column groups: '{long}' {UNKNOWN}" for row in range(2, 202)]


def test_what_is_not_shown_is_counted_and_said_where() -> None:
    row_errors = [RowError(row, "", "", "code", f"Problem {row}.") for row in range(2, MAX_PROBLEMS + 5)]
    out = screen()
    print_row_errors(out, "a.csv", row_errors)
    assert written(out).splitlines()[-1] == "... and 3 more errors. The report names them all."
    out = screen()
    print_row_errors(out, "a.csv", row_errors, show_all=True)
    assert "more" not in written(out)
    assert f"Problem {MAX_PROBLEMS + 4}." in written(out)
    out = screen()
    print_row_errors(out, "a.csv", row_errors, rest=LISTED_WITH_ALL)
    assert written(out).splitlines()[-1] == "... and 3 more errors. --all shows them."


def test_errors_that_were_shown_before_are_only_counted() -> None:
    out = screen()
    print_row_error_count(out, "a.csv", [RowError(2, "", "", "code", UNKNOWN), RowError(3, "", "", "code", UNKNOWN)])
    assert written(out) == "a.csv: 2 rows are invalid. The report names them all."
    print_row_error_count(out, "a.csv", [])
    assert written(out).count("\n") == 0
