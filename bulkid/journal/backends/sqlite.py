"""SQLite: one file per state directory, for all processes of one machine."""

import os
import platform
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect
from sqlalchemy.pool import QueuePool

from bulkid.clock import Clock, boot_id
from bulkid.errors import LockedError, StateError
from bulkid.journal.errors import DatabaseProblem, file_error, state_error
from bulkid.journal.locks.file import FileLockHandle
from bulkid.journal.locks.types import LockHandle

FILE_NAME = "bulkid.db"

BUSY_S = 30.0
"""How long a transaction waits for another process's before it gives up. Transactions here take milliseconds."""

SHRINK_WAIT_S = 3.0
"""How long others are waited for to write the file anew; who keeps house has time, but whoever watches it has not."""

_WRITES = "bulkid_writes"


# https://www.sqlite.org/rescode.html. Primary codes are the low byte of the extended ones.
_PRIMARY = {
    sqlite3.SQLITE_FULL: DatabaseProblem.FULL,
    sqlite3.SQLITE_READONLY: DatabaseProblem.READ_ONLY,
    sqlite3.SQLITE_PERM: DatabaseProblem.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: DatabaseProblem.CANNOT_OPEN,
    sqlite3.SQLITE_NOTADB: DatabaseProblem.NOT_A_DATABASE,
    sqlite3.SQLITE_CORRUPT: DatabaseProblem.DAMAGED,
    sqlite3.SQLITE_BUSY: DatabaseProblem.BUSY,
    sqlite3.SQLITE_LOCKED: DatabaseProblem.BUSY,
}
# SQLite says FULL only for ENOSPC: a disk quota (EDQUOT) or a size limit (EFBIG) shows as a failed write.
_EXTENDED = {
    sqlite3.SQLITE_IOERR_WRITE: DatabaseProblem.FULL,
    sqlite3.SQLITE_IOERR_TRUNCATE: DatabaseProblem.FULL,
    sqlite3.SQLITE_IOERR_FSYNC: DatabaseProblem.FULL,
    sqlite3.SQLITE_IOERR_SHMSIZE: DatabaseProblem.FULL,
}


class SqliteDialect:
    """The database file of a state directory; see `Dialect`.

    Args:
        state_dir: The state directory; made, with the file, by `opening`.
    """

    driver_errors: tuple[type[Exception], ...] = (sqlite3.Error,)
    retry_limit_s = 0.0  # a file is not away: it is there or it is broken

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE_NAME
        self.place = str(self.path)
        self.engine = make_engine(self.path)
        self._state_dir = state_dir
        # A transaction that reads first and writes later can fail in the middle when another process wrote meanwhile:
        # these (on the same connections) take the write lock at once.
        self._writer = self.engine.execution_options(**{_WRITES: True})
        # Threads of this process take turns here, at once and in order; the database itself, which other processes
        # share, can only be polled for.
        self._turn = threading.Lock()

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Make folder and file where they are missing; one process at a time.

        Folder and file are private to the user where the operating system knows that. A folder that was there before
        keeps its permissions.
        """
        state_dir = self._state_dir
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_private(self.path)
        except OSError as error:
            raise file_error(error, state_dir) from error
        try:
            # Switching a new file to WAL does not wait for others that do the same; so one at a time.
            with FileLock(state_dir / "open.lock", timeout=BUSY_S, mode=0o600):
                if not _prepare(self.engine):
                    raise StateError(
                        f"The file system of {self.path} cannot hold a database that several processes use.",
                        hint="Choose a folder on a local disk with --state-dir.",
                    )
                yield
        except Timeout as error:
            raise state_error(DatabaseProblem.BUSY, self.path, "") from error
        except NotImplementedError as error:
            raise file_error(OSError(0, "its file system has no locks"), state_dir) from error
        except OSError as error:
            raise file_error(error, state_dir) from error

    def lock_tables(self, connection: Connection) -> None:
        """Nothing to do: a transaction that writes holds the only write lock there is."""

    def tables(self, connection: Connection) -> list[str]:
        """The names of the tables in the file."""
        return inspect(connection).get_table_names()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one moment of the database, and holds nobody up."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its first moment; durable once the block has ended."""
        with self._turn, self._writer.begin() as connection:
            yield connection

    def lock_log(self, connection: Connection, organization_id: str, method: str) -> None:
        """Nothing to do: a transaction that writes holds the only write lock there is."""

    def reading_of(self, connection: Connection, clock: Clock) -> tuple[str, float]:  # noqa: ARG002 - it has no clock
        """Read the machine's monotonic clock, which nobody can set and all processes of one boot share."""
        return f"{platform.node()} {boot_id()}", clock.monotonic()

    def error(self, cause: BaseException | None, name: str) -> StateError:
        """Say what is wrong with the file."""
        return state_error(_problem_of(cause), self.path, getattr(cause, "sqlite_errorname", None) or name)

    def problem(self, problem: DatabaseProblem) -> StateError:
        """Say that the file has a kind of trouble."""
        return state_error(problem, self.path, "")

    def size(self, connection: Connection) -> int:  # noqa: ARG002 - the files say it
        """Bytes of the state directory's files."""
        total = 0
        for path in self._state_dir.rglob("*"):
            with suppress(OSError):  # what vanishes meanwhile takes none
                total += path.stat().st_size if path.is_file() else 0
        return total

    def shrink(self) -> bool:
        """Write the file anew, without the room of what was deleted; False when somebody else is at work on it.

        Measured: a second per 100 MB that remain, and as much room again while it goes on. Nobody can write meanwhile.
        """
        with closing(sqlite3.connect(self.path, timeout=SHRINK_WAIT_S, isolation_level=None)) as connection:
            try:
                connection.execute("VACUUM")
                # In WAL mode the new content stands in the log until it is taken over, and both would take room.
                busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.Error:  # locked by another process, or no room for the copy: later runs use the room
                return False
        return not busy

    def close(self) -> None:
        """Close the file."""
        self.engine.dispose()

    def acquire_lock(self, name: str, record: Mapping[str, Any]) -> LockHandle:
        """Take a lock of the operating system, which ends with its owner."""
        return FileLockHandle(self._state_dir, name, record)

    def is_locked(self, name: str) -> bool:
        """Whether somebody holds a lock at present."""
        try:
            FileLockHandle(self._state_dir, name, {}).release()
        except LockedError:
            return True
        return False


def _problem_of(error: BaseException | None) -> DatabaseProblem:
    """Tell by the error code (never by the text) what kind of trouble a driver's error means."""
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(code, int):
        return DatabaseProblem.OTHER
    return _EXTENDED.get(code) or _PRIMARY.get(code & 0xFF, DatabaseProblem.OTHER)


def make_engine(path: Path) -> Engine:
    """Return an engine for the database file ``path``, whose connections may wander between threads.

    ``synchronous=FULL`` makes each commit durable before it returns (in WAL mode NORMAL would not: a power cut could
    take back the last ones). Transactions are begun by us: the driver would begin them late, and only for writes, so
    that a report would not read one snapshot.
    """
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=4,
        max_overflow=-1,  # a report being streamed holds one; it must never make a writer wait for a connection
        connect_args={"check_same_thread": False, "timeout": BUSY_S, "isolation_level": None},
        hide_parameters=True,
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(engine: Engine) -> bool:
    """Set what the database file itself remembers; call before the first transaction.

    Returns:
        False when the file system cannot hold a database with concurrent readers (WAL needs shared memory).
    """
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        answer = cursor.fetchone()
        cursor.close()
    finally:
        connection.close()
    return answer is not None and str(answer[0]).lower() == "wal"


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_private(path: Path) -> None:
    # Only a file that is not there yet: to open and close one that is would drop the locks that this process holds on
    # it (POSIX). The files that SQLite makes beside it take over its permissions.
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
