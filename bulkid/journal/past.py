"""Looking back over many runs, and dropping those that nobody needs any more."""

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing

from sqlalchemy import delete, select

from bulkid.journal import codec
from bulkid.journal.schema import runs, taken_files
from bulkid.journal.store import Journal
from bulkid.journal.taken import OPEN
from bulkid.model import RunRecord, RunStatus

_PAGE = 100

SHRINK_WAIT_S = 3.0
"""How long others are waited for; who keeps house has time, but whoever watches it has not."""


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


def shrink(journal: Journal) -> bool:
    """Give the room that dropped runs took back to the disk; False when somebody else was at work on the database.

    The whole file is written anew (``VACUUM``): measured, a second per 100 MB that remain, and as much room again while
    it goes on. Nobody can write meanwhile.
    """
    with closing(sqlite3.connect(journal.database.path, timeout=SHRINK_WAIT_S, isolation_level=None)) as connection:
        try:
            connection.execute("VACUUM")
            # In WAL mode the new content stands in the log until it is taken over, and both would take room.
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error:  # locked by another process, or no room for the copy: the room is used by later runs
            return False
    return not busy
