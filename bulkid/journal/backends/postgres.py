"""PostgreSQL: one database on a server, for the processes of several hosts. Needs version 13 or newer."""

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from bulkid.clock import Clock
from bulkid.errors import StateError
from bulkid.extras import missing_extra
from bulkid.journal.backends.base import Dialect, translated
from bulkid.journal.errors import DatabaseLostError, DatabaseProblem
from bulkid.journal.locks import LockHandle
from bulkid.journal.locks.server import LockManager

_FATE_INTERVAL_S = 0.2  # between two questions whether a transaction was committed
RETRY_LIMIT_S = 30.0  # how long a transaction is repeated while the server is away: a restart takes seconds
SCHEMA = "bulkid"  # of the tables, so that they are apart from other programs' in the same database
CONNECT_S = 10
_TCP_CHECK_S = 3.0
_PORT = 5432
_DRIVERS = frozenset({"postgresql", "postgresql+psycopg", "postgres"})
_TABLES_LOCK = 0x62756C6B_6964  # "bulkid": any number, the same in every bulkid

# Each end notices within 15 s that the other is gone. tcp_user_timeout: the same for data that is not acknowledged.
_KEEPALIVES = {"keepalives_idle": 5, "keepalives_interval": 3, "keepalives_count": 3, "tcp_user_timeout": 15_000}
_SERVER_KEEPALIVES = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3"

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_CODES = {
    "53100": DatabaseProblem.FULL,
    "25006": DatabaseProblem.READ_ONLY,
    "28000": DatabaseProblem.REFUSED,
    "28P01": DatabaseProblem.REFUSED,
    "3D000": DatabaseProblem.MISSING,
    "3F000": DatabaseProblem.NO_PRIVILEGE,
    "42501": DatabaseProblem.NO_PRIVILEGE,
    "XX001": DatabaseProblem.DAMAGED,
    "XX002": DatabaseProblem.DAMAGED,
    # Given up by the server although nothing is wrong with it: the same again may work.
    "40001": DatabaseProblem.LOST,
    "40P01": DatabaseProblem.LOST,
    "53300": DatabaseProblem.LOST,
    "57P01": DatabaseProblem.LOST,
    "57P02": DatabaseProblem.LOST,
    "57P03": DatabaseProblem.LOST,
    # The server ended a session that was idle: a run that waits for the quota, a console that waits for a user.
    "25P03": DatabaseProblem.LOST,
    "57P05": DatabaseProblem.LOST,
}

# https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
_MARK = text("SELECT CAST(pg_current_xact_id() AS text), clock_timestamp()")
# A crash undoes transactions whose records were not on the disk yet, and the server gives their numbers again. The
# checkpoint at the end of the recovery names the first number that it gives from then on.
# https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-CONTROLDATA
_FATE = text(
    "SELECT CASE WHEN (checkpoint_time > :begun OR pg_postmaster_start_time() > :begun) "
    "AND CAST(split_part(next_xid, ':', 1) AS numeric) * 4294967296 + CAST(split_part(next_xid, ':', 2) AS numeric) "
    "<= CAST(:number AS numeric) THEN 'aborted' ELSE pg_xact_status(CAST(:number AS xid8)) END "
    "FROM pg_control_checkpoint()"
)
_LOCK_TABLES = text("SELECT pg_advisory_xact_lock(:key)")
_LOCK_LOG = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_CLOCK = text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)")
_MAY_USE = text(
    "SELECT has_schema_privilege(to_regnamespace(:name), 'USAGE')"  # NULL when there is no such schema
)
_SIZE = text(
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c WHERE c.relkind = 'r' AND "
    "c.relnamespace = to_regnamespace(:name)"
)


if TYPE_CHECKING:
    import psycopg

_IN_USE: "dict[tuple[URL, Path], PostgresDialect]" = {}
_IN_USE_LOCK = threading.Lock()


class TransactionMark(NamedTuple):
    """What identifies a transaction after its connection was lost."""

    number: str
    begun: datetime  # by the server's clock


class PostgresDialect(Dialect):
    """A database on a PostgreSQL server. The state directory of this host holds the file that shows its liveness."""

    retry_limit_s = RETRY_LIMIT_S
    schema = SCHEMA

    def __init__(self, url: URL, state_dir: Path) -> None:
        import psycopg

        self.driver_errors = (psycopg.Error,)
        self.place = _place(url)
        self._url = url
        self._lost_errors = (psycopg.OperationalError,)
        self.engine = self._make_engine(url)
        self.reader = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._lock_manager = LockManager(self.engine, state_dir)
        self._key = (url, state_dir)
        self._users = 0
        self._met = False  # whether it has answered before

    @classmethod
    def of(cls, database_url: str, state_dir: Path) -> Self:
        """The dialect for a URL, which no message shows: it may hold a password.

        Raises:
            StateError: The URL is not PostgreSQL's, or the driver is not installed.
        """
        form = "docs/several_hosts.md shows its form."
        try:
            url = make_url(database_url)
        except (ArgumentError, ValueError):  # ValueError: a port that is no number
            raise StateError("The state database's address (BULKID_DATABASE_URL) is no URL.", hint=form) from None
        if url.drivername not in _DRIVERS:
            raise StateError(
                "The state database's address (BULKID_DATABASE_URL) is not the URL of a PostgreSQL database.",
                hint=f"Without it, the state is kept in the state directory; {form}",
            )
        _, _, behind_user = database_url.partition("://")[2].partition(":")
        # Behind the password an @ is a part of it, which messages would show as the host or the database.
        if url.password is not None and "@" in behind_user.partition("@")[2]:
            raise StateError(
                "The state database's address (BULKID_DATABASE_URL) has an @ in its password or behind it.",
                hint=f"Write it as %40; {form}",
            )
        try:
            return cls._shared(url.set(drivername="postgresql+psycopg"), state_dir.absolute())
        except ImportError:
            raise StateError(missing_extra("postgres", "The state in PostgreSQL (BULKID_DATABASE_URL)")) from None
        except (SQLAlchemyError, ValueError, TypeError):  # an option in its query that is none
            raise StateError("The state database's address (BULKID_DATABASE_URL) cannot be used.", hint=form) from None

    @classmethod
    def _shared(cls, url: URL, state_dir: Path) -> Self:
        """The one that is in use already: runs of one process share its connections and its heartbeat."""
        with _IN_USE_LOCK:
            dialect = _IN_USE.get((url, state_dir))
            if not isinstance(dialect, cls):
                dialect = _IN_USE[url, state_dir] = cls(url, state_dir)
            dialect._users += 1
            return dialect

    def close(self) -> None:
        with _IN_USE_LOCK:
            self._users -= 1
            if self._users:
                return
            _IN_USE.pop(self._key, None)
        self._lock_manager.close()
        self.engine.dispose()

    @staticmethod
    def _make_engine(url: URL) -> Engine:
        given = url.query.get("options", "")
        options = f"{given if isinstance(given, str) else ' '.join(given)} -c search_path={SCHEMA} {_SERVER_KEEPALIVES}"
        defaults = {"connect_timeout": CONNECT_S, **_KEEPALIVES, "application_name": "bulkid"}
        return create_engine(
            url.difference_update_query(["options"]),
            pool_size=4,
            max_overflow=-1,  # a report being streamed holds one; a writer must not wait for it
            use_native_hstore=False,  # bulkid stores none, and the server would be asked for its type
            paramstyle="format",  # so that tuples of values can be handed to the driver as they are
            connect_args={name: value for name, value in defaults.items() if name not in url.query}
            | {"options": options.strip()},
            hide_parameters=True,
        )

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Check that the server answers, and create the schema for the tables."""
        try:
            connection = self.engine.connect()
        except DBAPIError as error:
            cause = error.orig if isinstance(error.orig, Exception) else None
            if not isinstance(cause, self._lost_errors):  # an option that the driver does not know
                raise self.error(cause, type(cause).__name__) from cause
            raise self.problem(self._diagnosis()) from cause
        with connection:
            self._met = True
            may_use = connection.execute(_MAY_USE, {"name": SCHEMA}).scalar()
            if may_use is None:
                self._make_schema(connection)
            elif not may_use:
                raise self.problem(DatabaseProblem.NO_PRIVILEGE)
        yield

    def _make_schema(self, connection: Connection) -> None:
        with translated(self):
            self.lock_tables(connection)  # two processes that create it at once would fail
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            connection.commit()

    def lock_tables(self, connection: Connection) -> None:
        connection.execute(_LOCK_TABLES, {"key": _TABLES_LOCK})

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes. When the connection is lost while it commits, the server is asked for its fate."""
        with self.engine.connect() as connection, connection.begin() as transaction:
            mark = self.mark(connection)
            yield connection
            try:
                transaction.commit()
            except DBAPIError as error:
                lost = self.error(error.orig, "")
                if not isinstance(lost, DatabaseLostError) or not self.was_committed(mark):
                    raise

    @staticmethod
    def mark(connection: Connection) -> TransactionMark:
        """Return what identifies the transaction of a connection."""
        number, begun = connection.execute(_MARK).one()
        return TransactionMark(number, begun)

    def was_committed(self, mark: TransactionMark) -> bool:
        """Find out whether a transaction was committed, for as long as the server may be away.

        Raises:
            DatabaseLostError: It could not be found out.
        """
        deadline = time.monotonic() + self.retry_limit_s
        while True:
            with suppress(DBAPIError), self.engine.connect() as connection:
                fate = connection.execute(_FATE, mark._asdict()).scalar()
                if fate != "in progress":  # the server may not have noticed yet that the connection is gone
                    return bool(fate == "committed")
            if time.monotonic() >= deadline:
                lost = self.problem(DatabaseProblem.LOST)
                lost.final = True  # type: ignore[attr-defined]  # LOST makes a DatabaseLostError
                raise lost
            time.sleep(_FATE_INTERVAL_S)  # the driver blocks this worker thread too; the event loop goes on

    def lock_log(self, connection: Connection, organization_id: str, method: str) -> None:
        connection.execute(_LOCK_LOG, {"name": f"bulkid quota {method} {organization_id}"})

    def reading_of(self, connection: Connection, clock: Clock) -> tuple[str, float]:  # noqa: ARG002 - not this host's
        """Read the server's clock, which is one for all hosts (and which an administrator may set)."""
        return "server", float(connection.execute(_CLOCK).scalar_one())

    def error(self, cause: BaseException | None, name: str) -> StateError:
        code = getattr(cause, "sqlstate", None)
        if code is None:
            # The driver's own: with a server that has answered before, an operation fails only with its connection.
            lost = self._met and isinstance(cause, self._lost_errors)
            return self.problem(DatabaseProblem.LOST if lost else DatabaseProblem.OTHER, name)
        lost = code.startswith("08")
        problem = DatabaseProblem.LOST if lost else _CODES.get(code, DatabaseProblem.OTHER)
        return self.problem(problem, f"SQLSTATE {code}")

    def acquire_lock(self, name: str, record: Mapping[str, Any]) -> LockHandle:
        with translated(self):
            return self._lock_manager.take(name, record)

    def is_locked(self, name: str) -> bool:
        with translated(self):
            return self._lock_manager.is_locked(name)

    def size(self, connection: Connection) -> int:
        """Bytes of bulkid's tables and indexes; the server's autovacuum makes deleted ones free for what comes."""
        return int(connection.execute(_SIZE, {"name": SCHEMA}).scalar_one())

    def _diagnosis(self) -> DatabaseProblem:
        """Why there is no connection. The protocol's library gives no code for that, only text in some language."""
        import psycopg

        try:
            self._connect_plainly("").close()
        except psycopg.OperationalError as error:
            protocol = error.pgconn
            if protocol is None or not (protocol.used_password or protocol.needs_password):
                return DatabaseProblem.UNREACHABLE if not self._listens() else DatabaseProblem.REFUSED
        else:
            return DatabaseProblem.LOST  # just back
        # The password was asked for: either that is wrong, or the database is. Every server has one called postgres.
        try:
            self._connect_plainly("postgres").close()
        except psycopg.OperationalError:
            return DatabaseProblem.REFUSED
        return DatabaseProblem.MISSING

    def _connect_plainly(self, database: str) -> "psycopg.Connection[Any]":
        import psycopg

        arguments, options = self.engine.dialect.create_connect_args(self.engine.url)
        options.pop("context", None)
        chosen = {"dbname": database} if database else {}
        return psycopg.connect(*arguments, **{**options, **chosen, "connect_timeout": CONNECT_S})

    def _listens(self) -> bool:
        if self._url.host is None or self._url.host.startswith("/"):
            return False
        try:
            socket.create_connection((self._url.host, self._url.port or _PORT), _TCP_CHECK_S).close()
        except OSError:
            return False
        return True


def _place(url: URL) -> str:
    host = url.host or url.query.get("host") or "this machine"
    port = "" if url.port in {None, _PORT} else f":{url.port}"
    return f"the PostgreSQL database {url.database or url.username or ''} on {host}{port}"
