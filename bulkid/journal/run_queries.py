"""Looking back over many runs, and dropping those that nobody needs any more."""

from collections.abc import Collection, Iterator

from sqlalchemy import delete, select

from bulkid.journal import codec
from bulkid.journal.claimed_files import OPEN
from bulkid.journal.schema import runs, taken_files
from bulkid.journal.store import Journal
from bulkid.model import RunRecord, RunStatus

_PAGE = 100


def newest_runs(journal: Journal, statuses: Collection[RunStatus] = ()) -> Iterator[RunRecord]:
    """Yield runs, newest first, a page at a time; only those of some statuses where any are given.

    Raises:
        StateError: The database cannot be used.
    """
    query = select(runs.c.run, *(runs.c[name] for name in codec.RUN_FIELDS)).order_by(runs.c.run.desc()).limit(_PAGE)
    if statuses:
        query = query.where(runs.c.status.in_([status.value for status in statuses]))
    before: int | None = None
    while True:
        with journal.database.read() as connection:
            page = connection.execute(query if before is None else query.where(runs.c.run < before)).all()
        yield from (codec.run_record(columns[1:]) for columns in page)
        if len(page) < _PAGE:
            return
        before = page[-1][0]


def claimed_runs(journal: Journal) -> frozenset[str]:
    """The runs whose files of a drop folder have not come to where they stay: without them a file would be run again.

    Raises:
        StateError: The database cannot be used.
    """
    with journal.database.read() as connection:
        query = select(taken_files.c.run_id).where(taken_files.c.state.in_(OPEN))
        return frozenset(connection.execute(query).scalars())


def drop_run(journal: Journal, run_id: str) -> bool:
    """Drop a run with its rows and entries, all or nothing; False when there is no such run.

    The quota's slots stay: they count requests that the server has counted, whatever becomes of the run.

    Raises:
        StateError: The database cannot be used.
    """
    with journal.database.write() as connection:
        return connection.execute(delete(runs).where(runs.c.run_id == run_id)).rowcount > 0  # the rest goes with it
