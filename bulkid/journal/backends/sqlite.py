"""SQLite: one file per state directory, for all processes of one machine."""

import functools
import os
import platform
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import Dialect as SqlDialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import QueuePool
from sqlalchemy.util import LRUCache

from bulkid.clock import Clock, boot_id, machine_id
from bulkid.errors import StateError
from bulkid.journal.backends.base import Dialect
from bulkid.journal.errors import DatabaseProblem, file_error
from bulkid.journal.locks import LockHandle
from bulkid.journal.locks.file import FileLockHandle, is_held

FILE_NAME = "bulkid.db"

MINIMUM_VERSION = (3, 26)  # the SQLite of RHEL 8, whose Python 3.11 and 3.12 use it

BUSY_S = 30.0  # how long a transaction waits for another process's; they take milliseconds
# So many pages of log are taken over into the database at once. The plan of 20,000 accounts (15 MB) is taken over
# while its requests leave, not before: a tenth of the CPU of journaling it, and a wait for the disk.
_LOG_PAGES = 4000
SHRINK_WAIT_S = 3.0  # how long `shrink` waits for other processes

_WRITES = "bulkid_writes"
_COMPILED = 500  # statements that are kept compiled, as many as SQLAlchemy keeps for an engine

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


class SqliteDialect(Dialect):
    """The database file of a state directory; `opening` creates both."""

    driver_errors = (sqlite3.Error,)
    retry_limit_s = 0.0  # a file is not away: it is there or it is broken

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE_NAME
        self.place = str(self.path)
        self.engine = self.reader = make_engine(self.path)
        self._state_dir = state_dir
        # A transaction that reads first and writes later can fail in the middle when another process wrote meanwhile:
        # these (on the same connections) take the write lock at once.
        self._writer = self.engine.execution_options(**{_WRITES: True})
        # Threads of this process wait here, in order; for other processes SQLite can only poll.
        self._turn = threading.Lock()

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Create folder and file where they are missing, private to the user; one process at a time.

        A folder that was there before keeps its permissions.
        """
        if sqlite3.sqlite_version_info < MINIMUM_VERSION:
            minimum = ".".join(map(str, MINIMUM_VERSION))
            raise StateError(
                f"This Python has SQLite {sqlite3.sqlite_version}; bulkid needs SQLite {minimum} or later.",
                hint="Use a Python with a newer SQLite, or keep the state in PostgreSQL (BULKID_DATABASE_URL).",
            )
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
            raise self.problem(DatabaseProblem.BUSY) from error
        except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
            raise file_error(error, state_dir) from error

    def lock_tables(self, connection: Connection) -> None:
        """Do nothing: a transaction that writes holds the only write lock."""

    def lock_log(self, connection: Connection, organization_id: str, method: str) -> None:
        """Do nothing: a transaction that writes holds the only write lock."""

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._turn, self._writer.begin() as connection:
            yield connection

    def reading_of(self, connection: Connection, clock: Clock) -> tuple[str, float]:  # noqa: ARG002 - it has no clock
        """Read the machine's monotonic clock, which cannot be set and all processes of one boot share."""
        boot = boot_id()
        return f"{machine_id() if boot else platform.node()} {boot}", clock.monotonic()

    def error(self, cause: BaseException | None, name: str) -> StateError:
        return self.problem(_problem_of(cause), getattr(cause, "sqlite_errorname", None) or name)

    def size(self, connection: Connection) -> int:  # noqa: ARG002 - the files say it
        """Bytes of the state directory's files."""
        total = 0
        for path in self._state_dir.rglob("*"):
            with suppress(OSError):  # a file that was removed meanwhile takes none
                total += path.stat().st_size if path.is_file() else 0
        return total

    def shrink(self) -> bool:
        """Rewrite the file without the room of what was deleted; False while another process uses it.

        Measured: a second per 100 MB that remain, and as much room again meanwhile, during which no process can write.
        """
        with closing(sqlite3.connect(self.path, timeout=SHRINK_WAIT_S, isolation_level=None)) as connection:
            try:
                connection.execute("VACUUM")
                # In WAL mode the new content stands in the log until it is taken over, and both would take room.
                busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.Error:  # locked by another process, or no room for the copy: later runs use the room
                return False
        return not busy

    def acquire_lock(self, name: str, record: Mapping[str, Any]) -> LockHandle:
        return FileLockHandle(self._state_dir, name, record)

    def is_locked(self, name: str) -> bool:
        return is_held(self._state_dir, name)


def _problem_of(error: BaseException | None) -> DatabaseProblem:
    """The kind of problem that a driver's error means, by its code, never by its text."""
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(code, int):
        return DatabaseProblem.OTHER
    return _EXTENDED.get(code) or _PRIMARY.get(code & 0xFF, DatabaseProblem.OTHER)


def make_engine(path: Path) -> Engine:
    """Return an engine for the database file ``path``, whose connections may go from thread to thread.

    ``synchronous=FULL`` makes each commit durable before it returns (in WAL mode NORMAL would not: a power cut could
    take back the last ones). Transactions are begun by us: the driver would begin them late, and only for writes, so
    that a report would not read one snapshot.
    """
    dialect, compiled = _for_all_files()
    database = str(path.absolute())  # the working directory may change before the next connection

    def connect() -> DBAPIConnection:
        return dialect.connect(database, timeout=BUSY_S, isolation_level=None, check_same_thread=False)

    engine = Engine(
        # A report being streamed holds a connection; it must never make a writer wait for one.
        QueuePool(connect, pool_size=4, max_overflow=-1, dialect=dialect),
        dialect,
        URL.create("sqlite", database=database),
        execution_options={"compiled_cache": compiled},
        hide_parameters=True,
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


@functools.cache
def _for_all_files() -> "tuple[SqlDialect, LRUCache[Any, Any]]":
    """SQLAlchemy's dialect and the statements that it has compiled, which all files of a process share.

    ``create_engine`` would give each file its own. A process that opens the same state again and again, as the console
    does for each job, would compile every statement each time, which takes longer than to run them.
    """
    engine = create_engine("sqlite://")
    engine.connect().close()  # with the first connection the dialect finds out what the library can do
    engine.dispose()
    return engine.dialect, LRUCache(_COMPILED)


def _prepare(engine: Engine) -> bool:
    """Switch the file to WAL, before the first transaction; False where its file system has no shared memory for it."""
    with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("PRAGMA journal_mode=WAL")
        answer = cursor.fetchone()
    return answer is not None and str(answer[0]).lower() == "wal"


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
    connection.create_function("lower", 1, _lower, deterministic=True)  # SQLite's own lowers A to Z alone


def _lower(value: object) -> str | None:
    return None if value is None else str(value).lower()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_private(path: Path) -> None:
    # Only a file that is not there yet: to open and close one that is would drop the locks that this process holds on
    # it (POSIX). The files that SQLite creates beside it get its permissions.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
