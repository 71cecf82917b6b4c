"""What ``check``, ``plan`` and ``run`` print of invalid rows, and ``check`` of the columns.

A terminal gets tables, in which a repeated problem is one; a pipe gets each error on a line of its own that begins with
its row, in full but for the rest of an absurdly long cell.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from rich.console import Console
from rich.segment import Segment, Segments
from rich.text import Text

from bulkid.cli.render import print_notes, sheet_label
from bulkid.cli.tables import Column, print_table
from bulkid.model import RowError
from bulkid.runs import CheckResult
from bulkid.runs.options import count_invalid_rows
from bulkid.runs.row_error_groups import RowErrorGroup, group_row_errors
from bulkid.sheet import ColumnUse, SheetOptions, column_uses
from bulkid.text import count_of, printable_line

MAX_PROBLEMS: Final = 30
"""Problems that a terminal shows without ``--all``."""

MAX_COLUMNS: Final = 50
"""Columns of a sheet that a terminal shows without ``--all``."""

LISTED_WITH_ALL: Final = "--all shows them."
LISTED_IN_REPORT: Final = "The report names them all."
"""Where the errors are that a terminal does not show."""

_LINES_PER_PRINT = 500
"""Lines that are handed to rich together: one by one, 100,000 lines take 4 s in a pipe."""

_MAX_VALUE = 60  # characters of a cell where not all of it is shown
_LONGEST_VALUE = 2000  # characters of a cell on the line of a pipe: a cell may hold megabytes by mistake

_PROBLEMS: Final = (
    Column("Row", least=10, most=18),
    Column("Column", most=24),
    Column("Value", least=10, most=24),
    Column("Problem", least=40, below=True),
)
_USES: Final = (Column("Column", least=12), Column("Field"), Column("Match"))


def print_check(
    out: Console, err: Console, result: CheckResult, options: SheetOptions, *, show_all: bool = False
) -> None:
    """Print what ``check`` found: the columns, every error, and whether ``run`` would take the sheet."""
    uses = column_uses(result.info.headers, result.info.fields, options, result.first_column)
    print_notes(err, (note for note in result.info.notes if not note.startswith("Ignored column")))  # it is listed
    if not result.rows:
        out.print("The sheet has a header and no rows: there is nothing to do.")
        return
    counts = f"{count_of(result.rows, 'row')}, {count_of(result.accounts, 'account')}"
    out.print(Text(printable_line(f"{sheet_label(result.info)}: {counts}")))
    _print_uses(out, uses, show_all=show_all)
    if result.row_errors:
        _blank_line(out)
        _print_errors(out, result.row_errors, LISTED_WITH_ALL, show_all=show_all)
        _blank_line(out)
        out.print(f"{_invalid(result.invalid_rows)}: nothing would be sent.")
        out.print("Fix the sheet, or send only the valid rows with bulkid run --skip-invalid.")
    else:
        _blank_line(out)
        out.print("Every row is valid.")


def print_row_errors(
    out: Console, place: str, row_errors: Sequence[RowError], *, rest: str = LISTED_IN_REPORT, show_all: bool = False
) -> None:
    """Print the errors of a sheet under its name, in the order of rows; nothing where there are none.

    Args:
        out: Where to.
        place: The sheet's name.
        row_errors: The errors.
        rest: Where the user finds those that a terminal does not show. A pipe gets all of them.
        show_all: Show all of them on a terminal too.
    """
    if row_errors:
        out.print(Text(printable_line(f"{place}: {_invalid(count_invalid_rows(row_errors))}")))
        _print_errors(out, row_errors, rest, show_all=show_all)


def print_row_error_count(out: Console, place: str, row_errors: Sequence[RowError]) -> None:
    """Say how many rows are invalid, where the user has seen the errors before."""
    if row_errors:
        counted = _invalid(count_invalid_rows(row_errors))
        out.print(Text(printable_line(f"{place}: {counted}. {LISTED_IN_REPORT}")))


def row_error_line(row_error: RowError) -> str:
    """One error as a line: the place, the value, and what to do."""
    column = f", column {row_error.column}" if row_error.column else ""
    value = f" {_shorten(row_error.value, _LONGEST_VALUE)!r}" if row_error.value else ""
    return f"row {row_error.row}{column}:{value} {row_error.message}"


def _print_errors(out: Console, row_errors: Sequence[RowError], rest: str, *, show_all: bool) -> None:
    if not out.is_terminal:
        _print_lines(out, (printable_line(row_error_line(row_error)) for row_error in row_errors))
        return
    grouped = group_row_errors(row_errors, None if show_all else MAX_PROBLEMS)
    print_table(out, _PROBLEMS, [_problem(group) for group in grouped.groups])
    if grouped.hidden:
        out.print(f"... and {count_of(grouped.hidden, 'more error', 'more errors')}. {rest}")


def _problem(group: RowErrorGroup) -> tuple[Text, Text, Text, Text]:
    rows = group.row_list() if group.count == 1 else f"{group.count:,} rows: {group.row_list()}"
    others = "" if group.same_value else ", and others"
    return (
        Text(rows, style="red"),
        Text(printable_line(group.column)),
        Text(printable_line(_shorten(group.value, _MAX_VALUE)) + others),
        Text(printable_line(group.message)),
    )


def _print_uses(out: Console, uses: Sequence[ColumnUse], *, show_all: bool) -> None:
    """Print how the columns are read: as a table, or a line for each."""
    if out.is_terminal:
        _blank_line(out)
        limit = len(uses) if show_all else MAX_COLUMNS
        print_table(out, _USES, [(Text(use.label), Text(use.field or "-"), Text(use.match)) for use in uses[:limit]])
        if len(uses) > limit:
            out.print(f"... and {count_of(len(uses) - limit, 'more column', 'more columns')}. {LISTED_WITH_ALL}")
    else:
        _print_lines(out, (f"column {use.label}: {f'{use.field}, ' if use.field else ''}{use.match}" for use in uses))


def _print_lines(out: Console, lines: Iterator[str]) -> None:
    """Print lines where there is nothing to wrap or to style."""
    while block := "\n".join(islice(lines, _LINES_PER_PRINT)):
        out.print(Segments([Segment(f"{block}\n")]), end="", soft_wrap=True)


def _blank_line(out: Console) -> None:
    """Set parts apart for people; programs that read a pipe need no such line."""
    if out.is_terminal:
        out.print()


def _invalid(count: int) -> str:
    return f"{count_of(count, 'row')} {'is' if count == 1 else 'are'} invalid"


def _shorten(value: str, most: int) -> str:
    return value if len(value) <= most else f"{value[: most - 1]}…"
