"""Queries over runs: pages of a run's rows and of the runs themselves, all runs newest first; and deleting a run."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    not_,
    or_,
    select,
    update,
)

from bulkid.journal import codec
from bulkid.journal.claimed_files import OPEN
from bulkid.journal.database import repeated
from bulkid.journal.schema import entries, rows, runs, taken_files
from bulkid.journal.store import AGREED, LINKED, REPORT_COLUMNS, STATUS, Journal
from bulkid.model import CHANGED, ReportRow, RunRecord, RunStatus, Status, Via
from bulkid.text import fold

_PAGE = 100  # runs read at a time

_SENT = and_(  # requests were sent for these accounts, and what came of them is known
    entries.c.status.in_([status.value for status in (*CHANGED, Status.FAILED)]),
    entries.c.via.is_not(None),
    entries.c.finished_at.is_not(None),
)
_METHOD = case(  # of the request that settled an account; what failed is known by the words for its change
    (or_(entries.c.status == Status.DELETED.value, entries.c.changes == "deleted"), "DELETE"),
    (or_(entries.c.status == Status.CREATED.value, entries.c.changes.startswith("created")), "POST"),
    else_="PUT",
)
_ELAPSED_MS = cast((entries.c.finished_at - bindparam("start")) * 1000, BigInteger)


class ChangeKind(StrEnum):
    """What a row changes; one row may change things of several kinds."""

    FIELDS = "fields"
    JOINS = "joins"
    LEAVES = "leaves"


_OF_KIND: Final[Mapping[ChangeKind, ColumnElement[bool]]] = {  # by the description that `planning.plan.describe` makes
    ChangeKind.FIELDS: and_(
        entries.c.changes.not_in(("", "deleted")),
        not_(entries.c.changes.startswith("+ ")),
        not_(entries.c.changes.startswith("- ")),
    ),
    ChangeKind.JOINS: or_(
        entries.c.changes.startswith("+ "),
        entries.c.changes.startswith("created: + "),
        entries.c.changes.contains("; + "),
    ),
    ChangeKind.LEAVES: or_(entries.c.changes.startswith("- "), entries.c.changes.contains("; - ")),
}


@repeated
def row_page(
    journal: Journal,
    run_id: str,
    *,
    statuses: Collection[Status] = (),
    kind: ChangeKind | None = None,
    search: str = "",
    offset: int = 0,
    limit: int = 100,
) -> tuple[tuple[ReportRow, ...], int]:
    """Read some rows of a run with what became of each, and how many there are of the kind.

    Args:
        journal: Where to look.
        run_id: The run.
        statuses: Only rows of these; empty for all.
        kind: Only rows with changes of this kind.
        search: Only rows whose account (id or name) or message holds this text, without regard to case.
        offset: How many of them to skip.
        limit: How many to give at most.
    """
    record = journal.get_run(run_id)
    if record is None:
        return (), 0
    journal.unpack_if_possible(run_id)
    source = rows.outerjoin(entries, LINKED).join(runs, runs.c.run == rows.c.run)
    where: list[ColumnElement[bool]] = [runs.c.run_id == run_id]
    if statuses:
        where.append(STATUS.in_([status.value for status in statuses]))
    if kind is not None:
        where += [_OF_KIND[kind], entries.c.status != Status.UNCHANGED.value]
    if search:
        where.append(_contains(search))
    query = select(*REPORT_COLUMNS).select_from(source).where(*where).order_by(rows.c.row)
    with journal.database.read() as connection:
        total = connection.execute(select(func.count()).select_from(source).where(*where)).scalar_one()
        page = connection.execute(query.offset(offset).limit(limit))
        return tuple(codec.report_rows(page, record.message)), total


def latest_failures(journal: Journal, run_id: str, limit: int) -> tuple[ReportRow, ...]:
    """The rows that failed last, the newest first."""
    query: Select[Any] = (
        select(*REPORT_COLUMNS)
        .select_from(rows.join(entries, LINKED).join(runs, runs.c.run == rows.c.run))
        .where(runs.c.run_id == run_id, entries.c.status == Status.FAILED.value)
        .order_by(entries.c.finished_at.desc(), rows.c.row)
        .limit(limit)
    )
    return tuple(codec.report_rows(journal.database.fetch(query), ""))


def pending_deletions(journal: Journal, run_id: str) -> int:
    """How many accounts a run still has to delete."""
    journal.unpack_all(run_id)
    query = (
        select(func.count())
        .select_from(entries.join(runs, runs.c.run == entries.c.run))
        .where(runs.c.run_id == run_id, entries.c.status == Status.PENDING.value, entries.c.changes == "deleted")
    )
    return int(journal.database.fetch(query)[0][0])


def settled_spans(journal: Journal, run_id: str) -> dict[str, tuple[float, float]]:
    """When the first request of a run may have left, and when the last account was settled, by method.

    A method whose requests have settled no account is missing.
    """
    begun, ended = func.min(func.nullif(entries.c.intended_at, 0.0)), func.max(entries.c.finished_at)
    method = _METHOD.label("method")
    query: Select[Any] = (
        select(method, begun, func.min(entries.c.finished_at), ended)
        .select_from(entries.join(runs, runs.c.run == entries.c.run))
        .where(runs.c.run_id == run_id, _SENT)
        .group_by("method")
    )
    return {
        method: (first if intended_at is None else min(intended_at, first), last)
        for method, intended_at, first, last in journal.database.fetch(query)
    }


def settled_by_interval(
    journal: Journal, start: float, step_ms: int, *, run_id: str = "", organization_id: str = "", method: str = "PUT"
) -> list[tuple[int, Via, int]]:
    """Count the accounts that requests of a method settled from ``start`` on, by interval (from 0) and kind of request.

    The database counts; no item is loaded. Those of one run, or of all runs on an organisation.
    """
    number = (_ELAPSED_MS // step_ms).label("number")
    of_these = (
        runs.c.run_id == run_id
        if run_id
        else and_(
            func.lower(runs.c.organization_id) == fold(organization_id),
            or_(runs.c.finished_at.is_(None), runs.c.finished_at >= start),  # of few runs the items are read
        )
    )
    query: Select[Any] = (
        select(number, entries.c.via, func.count())
        .select_from(entries.join(runs, runs.c.run == entries.c.run))
        .where(of_these, _SENT, _METHOD.in_([method]), entries.c.finished_at >= start)
        .group_by("number", entries.c.via)
    )
    return [(int(at), Via(via), count) for at, via, count in journal.database.fetch(query, {"start": start})]


def newest_organization(journal: Journal, base_url: str) -> str:
    """The organisation of the newest run on a server; empty where no run on it has reached its organisation.

    The case of the address does not matter.
    """
    query = (
        select(runs.c.organization_id)
        .where(func.lower(runs.c.base_url) == base_url.lower(), runs.c.organization_id != "")
        .order_by(runs.c.run.desc())
        .limit(1)
    )
    found = journal.database.fetch(query)
    return str(found[0][0]) if found else ""


@repeated
def run_page(
    journal: Journal, *, statuses: Sequence[RunStatus] = (), offset: int = 0, limit: int = 25
) -> tuple[list[RunRecord], int]:
    """Read some runs, newest first, and how many there are of the kind."""
    where = [AGREED]
    if statuses:
        where.append(runs.c.status.in_([status.value for status in statuses]))
    columns = [runs.c[name] for name in codec.RUN_FIELDS]
    query = select(*columns).where(*where).order_by(runs.c.run.desc())
    with journal.database.read() as connection:
        total = connection.execute(select(func.count()).select_from(runs).where(*where)).scalar_one()
        return [codec.run_record(each) for each in connection.execute(query.offset(offset).limit(limit))], total


def newest_runs(
    journal: Journal, statuses: Collection[RunStatus] = (), *, with_asking: bool = False
) -> Iterator[RunRecord]:
    """Yield runs, newest first, a page at a time; only those of some statuses where any are given.

    ``with_asking``: also those whose user has not agreed to them.
    """
    query = select(runs.c.run, *(runs.c[name] for name in codec.RUN_FIELDS))
    if not with_asking:
        query = query.where(AGREED)
    if statuses:
        query = query.where(runs.c.status.in_([status.value for status in statuses]))
    for columns in journal.database.pages(query, runs.c.run, size=_PAGE, descending=True):
        yield codec.run_record(columns[1:])


def claimed_runs(journal: Journal) -> frozenset[str]:
    """The runs whose files of a drop folder are not where they stay yet: without them a file would be run again."""
    query = select(taken_files.c.run_id).where(taken_files.c.state.in_(OPEN))
    return frozenset(found[0] for found in journal.database.fetch(query))


def forget_claims(journal: Journal, run_id: str) -> None:
    """Forget that a run took files of drop folders: their content may be taken again."""
    journal.database.execute(delete(taken_files).where(taken_files.c.run_id == run_id))


def keep_destination(journal: Journal, record: RunRecord) -> None:
    """Keep with the files that a run took where it went: their content counts as taken for that server alone."""
    values = {"base_url": record.base_url, "organization_id": record.organization_id}
    journal.database.execute(update(taken_files).where(taken_files.c.run_id == record.run_id).values(**values))


def drop_run(journal: Journal, run_id: str) -> bool:
    """Delete a run with its rows and items, all or nothing; False when there is no such run.

    The quota's slots stay: they count requests that the server has counted, whatever becomes of the run.
    """
    return journal.database.execute(delete(runs).where(runs.c.run_id == run_id)) > 0  # its rows and items too


def _contains(text: str) -> ColumnElement[bool]:
    columns = (rows.c.account_id, rows.c.name, entries.c.account_id, entries.c.name, entries.c.changes, entries.c.error)
    plain = text.replace("/", "//").replace("%", "/%").replace("_", "/_")
    # The database lowers both: of letters beyond ASCII, PostgreSQL lowers those that its locale knows.
    return or_(*(func.lower(column).contains(func.lower(plain), escape="/") for column in columns))
