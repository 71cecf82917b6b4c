"""The database of the state: transactions that read or write, repeated when the connection was lost on the way."""

import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection, Select
from sqlalchemy.sql.dml import UpdateBase

from bulkid.errors import StateError
from bulkid.journal.backends.base import Dialect, translated
from bulkid.journal.errors import DatabaseLostError
from bulkid.journal.migrate import migrate

P = ParamSpec("P")
T = TypeVar("T")

PAGE = 1000
"""Rows that an iterator over a table reads at a time, and so holds in memory."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0

# The pool logs a traceback where a connection cannot be closed or put back. It drops that connection in any case, and a
# signal, or an error of the transaction, is raised as well.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)


class Database:
    """One open database; may be used from several threads at once. Database errors leave it as ``StateError``.

    ``open_database`` creates the tables.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.place = dialect.place
        self._closed = False
        self._given_up = False

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one moment of the database, and blocks no other."""
        self._require_open()
        with translated(self.dialect), self.dialect.reading() as connection:
            try:
                yield connection
            finally:
                if self._closed:  # closed while a report was streaming: the connection has no pool any more
                    connection.detach()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes; durable once this returns.

        Raises:
            DatabaseLostError: The connection was lost; nothing of the transaction was kept.
        """
        self._require_open()
        with translated(self.dialect), self.dialect.writing() as connection:
            yield connection

    def repeat(self, work: Callable[[], T]) -> T:
        """Call a function with transactions in it, and again for as long as the database is away.

        Once it was away for too long, no call waits until it has answered again: the run that ends because of it must
        not wait for each of its last transactions.

        Raises:
            DatabaseLostError: The database has been away for longer than its dialect's ``retry_limit_s``.
        """
        pause_s, deadline = _FIRST_PAUSE_S, None
        while True:
            try:
                done = work()
            except DatabaseLostError as lost:
                now = time.monotonic()
                deadline = now + self.dialect.retry_limit_s if deadline is None else deadline
                if lost.final or self._given_up or now >= deadline:
                    lost.final = self._given_up = True
                    raise
                time.sleep(min(pause_s, deadline - now))  # the driver blocks this worker thread too
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._given_up = False
                return done

    def fetch(self, query: Select[Any], parameters: Mapping[str, object] | None = None) -> Sequence[Any]:
        """Give the rows of one query, which is a transaction of its own."""

        def work() -> Sequence[Any]:
            with self.read() as connection:
                return connection.execute(query, parameters).all()

        return self.repeat(work)

    def pages(
        self, query: Select[Any], key: ColumnElement[int], *, size: int = PAGE, descending: bool = False
    ) -> Iterator[Any]:
        """Yield the rows of a query by ``key``, its first column; each page is a transaction of its own."""
        query = query.order_by(key.desc() if descending else key).limit(size)
        page = self.fetch(query)
        while page:
            yield from page
            last = page[-1][0]
            page = self.fetch(query.where(key < last if descending else key > last)) if len(page) == size else ()

    def execute(self, statement: UpdateBase) -> int:
        """Run one statement that writes, which is a transaction of its own, and give how many rows it touched."""

        def work() -> int:
            with self.write() as connection:
                return connection.execute(statement).rowcount

        return self.repeat(work)

    def close(self) -> None:
        """Close it; harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        with translated(self.dialect):
            self.dialect.close()

    def _require_open(self) -> None:
        if self._closed:
            raise StateError(f"{self.place} has been closed already.")


class _ThreadDatabase(Protocol):
    @property
    def database(self) -> Database: ...


K = TypeVar("K", bound=_ThreadDatabase)


def repeated(method: Callable[Concatenate[K, P], T]) -> Callable[Concatenate[K, P], T]:
    """Repeat a method with transactions in it from its beginning when the connection is lost."""

    @functools.wraps(method)
    def wrapper(self: K, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.database.repeat(lambda: method(self, *args, **kwargs))

    return wrapper


def _choose_dialect(state_dir: Path, database_url: str | None) -> Dialect:
    if database_url:
        from bulkid.journal.backends.postgres import PostgresDialect

        return PostgresDialect.of(database_url, state_dir)
    from bulkid.journal.backends.sqlite import SqliteDialect

    return SqliteDialect(state_dir)


def open_database(state_dir: Path, database_url: str | None = None) -> Database:
    """Open the database that a URL names, or the file of a state directory; make what is missing.

    Raises:
        StateError: It cannot be reached or opened, is read-only, full, damaged, of a newer bulkid, or not a database.
    """
    dialect = _choose_dialect(state_dir, database_url)
    database = Database(dialect)
    try:
        with translated(dialect), dialect.opening():
            migrate(dialect, time.time())
    except BaseException:  # an interrupt too: the file must not stay open
        database.close()
        raise
    return database
