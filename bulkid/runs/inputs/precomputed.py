"""A run of changes that were given ready-made: their rows, as a sheet would have them, and how such a run begins."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import anyio.to_thread

from bulkid.consume import consume, return_freed_memory
from bulkid.model import RowError, RowRequest, SheetRow
from bulkid.planning import Precondition
from bulkid.resources import current
from bulkid.runs.execution.run import Execution
from bulkid.runs.inputs.origin import Given, Origin
from bulkid.runs.inputs.sheet import CHUNK_ROWS, Rows
from bulkid.sheet import CLEAR, SheetInfo

_PLAIN = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class Unplannable:
    """An account that no change can be worked out for, and why."""

    account_id: str
    name: str
    rows: tuple[int, ...]
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Changes:
    """Given changes, with the rows that stand for them in journal and report: none once these are in the journal."""

    rows: Rows
    sheet_rows: list[SheetRow]


def changes_of(
    source: str,
    expected: Sequence[Precondition],
    origin: Origin,
    unplannable: Iterable[Unplannable] = (),
    *,
    extra: Mapping[str, Sequence[str]] | None = None,
) -> Changes:
    """Make the rows that stand for given changes: one for every row of the sheet that they come from.

    Args:
        source: What to call them.
        expected: The changes, each account once.
        origin: What they were worked out for.
        unplannable: The accounts that no change can be worked out for: invalid rows.
        extra: Further columns, with a cell for each of ``expected``.
    """
    extra = extra or {}
    columns = current().change_columns  # so that their retry.csv runs like any other sheet
    headers = (*columns, *extra)
    info = SheetInfo(source, "csv", "", "utf-8", ",", headers, (*columns, *("" for _ in extra)))
    ordered = sorted(expected, key=lambda item: item.desired.rows)
    made: list[SheetRow] = []
    for number, item in enumerate(expected):
        desired = item.desired
        cells = (*_cells(item), *(column[number] for column in extra.values()))
        for row in desired.rows:
            asked = RowRequest(
                row, desired.account_id, desired.name, desired.values, desired.add, desired.remove, None, ""
            )
            made.append(SheetRow(row, cells, asked))
    for each in unplannable:
        cells = (each.account_id, each.name, *("" for _ in headers[2:]))
        for row in each.rows:
            row_error = RowError(row, "", "", each.code, each.message)
            made.append(SheetRow(row, cells, None, (row_error,), each.account_id, each.name))
    made.sort(key=lambda row: row.row)
    rows = Rows(info, given=Given(ordered, origin))
    rows.add(made)
    return Changes(rows, made)


async def begin(execution: Execution, changes: Changes) -> None:
    """Journal the rows of given changes, then plan and apply them."""
    add = partial(execution.journal.add_rows, execution.record.run_id)
    unplannable = consume(changes.sheet_rows)
    while chunk := list(islice(unplannable, CHUNK_ROWS)):
        await anyio.to_thread.run_sync(add, chunk)
    del chunk
    await anyio.to_thread.run_sync(return_freed_memory)  # before the directory is read
    update = partial(execution.journal.update_run, execution.record.run_id)
    await anyio.to_thread.run_sync(partial(update, phase="read", sheet=changes.rows.info.to_json()))
    await execution.from_rows(changes.rows)


def _cells(item: Precondition) -> tuple[str, ...]:
    desired = item.desired
    values = ("" if value is None else value or CLEAR for value in desired.values)
    return (desired.account_id, desired.name, *values, _list(desired.add), _list(desired.remove))


def _list(items: Sequence[str]) -> str:
    """Write a list cell. Ids hardly ever hold what separates them; one that does is quoted."""
    return "; ".join(item if _PLAIN.fullmatch(item) else '"{}"'.format(item.replace('"', '""')) for item in items)
