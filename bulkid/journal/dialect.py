"""What is particular to the database in use: connecting, settings, transactions, error codes. Today: SQLite.

Everything else in this room is portable SQLAlchemy Core; nothing outside this room knows which database it is.
"""

import sqlite3
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from bulkid.journal.errors import Trouble

BUSY_S = 30.0
"""How long a transaction waits for another process's before it gives up. Transactions here take milliseconds."""

DRIVER_ERRORS = (sqlite3.Error,)
"""Errors of the driver itself, where they reach us without SQLAlchemy's wrapping."""

_WRITES = "bulkid_writes"


# https://www.sqlite.org/rescode.html. Primary codes are the low byte of the extended ones.
_PRIMARY = {
    sqlite3.SQLITE_FULL: Trouble.FULL,
    sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
    sqlite3.SQLITE_PERM: Trouble.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: Trouble.CANNOT_OPEN,
    sqlite3.SQLITE_NOTADB: Trouble.NOT_A_DATABASE,
    sqlite3.SQLITE_CORRUPT: Trouble.DAMAGED,
    sqlite3.SQLITE_BUSY: Trouble.BUSY,
    sqlite3.SQLITE_LOCKED: Trouble.BUSY,
}
# SQLite says FULL only for ENOSPC: a disk quota (EDQUOT) or a size limit (EFBIG) shows as a failed write.
_EXTENDED = {
    sqlite3.SQLITE_IOERR_WRITE: Trouble.FULL,
    sqlite3.SQLITE_IOERR_TRUNCATE: Trouble.FULL,
    sqlite3.SQLITE_IOERR_FSYNC: Trouble.FULL,
    sqlite3.SQLITE_IOERR_SHMSIZE: Trouble.FULL,
}


def trouble_of(error: BaseException | None) -> Trouble:
    """Tell by the error code (never by the text) what kind of trouble a driver's error means."""
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(code, int):
        return Trouble.OTHER
    return _EXTENDED.get(code) or _PRIMARY.get(code & 0xFF, Trouble.OTHER)


def error_name(error: BaseException | None) -> str:
    """Return the driver's short name of an error, such as ``SQLITE_IOERR_READ``: no SQL, no values."""
    name = getattr(error, "sqlite_errorname", None)
    return name if isinstance(name, str) else type(error).__name__


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


def writing(engine: Engine) -> Engine:
    """Return the engine (same connections) whose transactions take the write lock at once.

    A transaction that reads first and writes later can fail in the middle when another process wrote meanwhile.
    """
    return engine.execution_options(**{_WRITES: True})


def prepare(engine: Engine) -> bool:
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
