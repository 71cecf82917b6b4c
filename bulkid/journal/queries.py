"""Pages of a run's rows, and of the runs themselves, for those who look at them from outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select

from bulkid.journal import codec
from bulkid.journal.schema import entries, rows, runs
from bulkid.journal.store import Journal
from bulkid.model import ReportRow, RunRecord, RunStatus, Status

_LINKED = and_(entries.c.run == rows.c.run, entries.c.entry == rows.c.entry)
_INVALID = or_(rows.c.faults.is_not(None), rows.c.plan_faults.is_not(None))
_STATUS = case((_INVALID, Status.INVALID.value), else_=func.coalesce(entries.c.status, Status.PENDING.value))
_COLUMNS = (
    rows.c.row,
    rows.c.cells,
    rows.c.account_id,
    rows.c.name,
    rows.c.faults,
    rows.c.plan_faults,
    entries.c.account_id,
    entries.c.name,
    entries.c.changes,
    *(entries.c[name] for name in codec.OUTCOME_COLUMNS),
)


@dataclass(frozen=True, slots=True)
class RowPage:
    """Some rows of a run, and how many there are of the kind."""

    rows: tuple[ReportRow, ...]
    total: int


def row_page(
    journal: Journal, run_id: str, *, status: Status | None = None, search: str = "", offset: int = 0, limit: int = 100
) -> RowPage:
    """Read some rows of a run with what became of each.

    Args:
        journal: Where to look.
        run_id: The run.
        status: Only rows of this status.
        search: Only rows whose account (id or name) or message holds this text, without regard to case.
        offset: How many of them to pass over.
        limit: How many to give at most.

    Raises:
        StateError: There is no such run, or the database cannot be used.
    """
    return journal.database.repeat(lambda: _row_page(journal, run_id, status, search, (offset, limit)))


def _row_page(journal: Journal, run_id: str, status: Status | None, search: str, span: tuple[int, int]) -> RowPage:
    offset, limit = span
    record = journal.get_run(run_id)
    source = rows.outerjoin(entries, _LINKED).join(runs, runs.c.run == rows.c.run)
    where: list[ColumnElement[bool]] = [runs.c.run_id == run_id]
    if status is not None:
        where.append(_STATUS.is_not_distinct_from(status.value))
    if search:
        where.append(_contains(search))
    with journal.database.read() as connection:
        total = connection.execute(select(func.count()).select_from(source).where(*where)).scalar_one()
        query = select(*_COLUMNS).select_from(source).where(*where).order_by(rows.c.row).offset(offset).limit(limit)
        message = record.message if record is not None else ""
        found = tuple(codec.report_row(columns, message) for columns in connection.execute(query))
    return RowPage(found, total)


def latest_failures(journal: Journal, run_id: str, limit: int) -> tuple[ReportRow, ...]:
    """The rows that failed last, the newest first."""
    source = rows.join(entries, _LINKED).join(runs, runs.c.run == rows.c.run)
    query: Select[Any] = (
        select(*_COLUMNS)
        .select_from(source)
        .where(runs.c.run_id == run_id, entries.c.status == Status.FAILED.value)
        .order_by(entries.c.finished_at.desc(), rows.c.row)
        .limit(limit)
    )

    def read() -> tuple[ReportRow, ...]:
        with journal.database.read() as connection:
            return tuple(codec.report_row(columns, "") for columns in connection.execute(query))

    return journal.database.repeat(read)


def run_page(
    journal: Journal, *, statuses: Sequence[RunStatus] = (), offset: int = 0, limit: int = 25
) -> tuple[list[RunRecord], int]:
    """Read some runs, newest first, and how many there are of the kind."""
    where = [runs.c.status.in_([status.value for status in statuses])] if statuses else []
    columns = [runs.c[name] for name in codec.RUN_FIELDS]
    query = select(*columns).where(*where).order_by(runs.c.created_at.desc(), runs.c.run.desc())

    def read() -> tuple[list[RunRecord], int]:
        with journal.database.read() as connection:
            total = connection.execute(select(func.count()).select_from(runs).where(*where)).scalar_one()
            return [codec.run_record(each) for each in connection.execute(query.offset(offset).limit(limit))], total

    return journal.database.repeat(read)


def _contains(text: str) -> ColumnElement[bool]:
    columns = (rows.c.account_id, rows.c.name, entries.c.account_id, entries.c.name, entries.c.changes, entries.c.error)
    return or_(*(func.lower(column).contains(text.lower(), autoescape=True) for column in columns))
