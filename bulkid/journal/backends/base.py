"""What each kind of database does in its own way: opening, transactions, its clock, and what its errors mean.

Everything else in the journal is portable SQLAlchemy Core; no other package knows which database it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bulkid.clock import Clock
from bulkid.errors import StateError
from bulkid.journal.errors import DatabaseProblem, database_error
from bulkid.journal.locks import LockHandle


class Dialect(ABC):
    """One database, of one kind. Safe to use from several threads at once."""

    place: str  # how messages call the database; no secret
    engine: Engine
    reader: Engine  # the same connections, for transactions that see one moment of the database
    driver_errors: tuple[type[Exception], ...]  # of the driver itself, where SQLAlchemy does not wrap them
    retry_limit_s: ClassVar[float]  # how long a transaction is repeated while the database is away
    schema: ClassVar[str | None] = None  # the database's name for a group of tables; None: its only one

    @abstractmethod
    def opening(self) -> AbstractContextManager[None]:
        """Surround the creation of the tables: create what must exist before.

        Raises:
            StateError: The database cannot be opened.
        """

    @abstractmethod
    def lock_tables(self, connection: Connection) -> None:
        """Within a transaction that writes: keep others from creating or changing tables until it ends."""

    def tables(self, connection: Connection) -> list[str]:
        """The names of the tables that are there, of whatever program."""
        return inspect(connection).get_table_names(schema=self.schema)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one moment of the database, and blocks no other."""
        with self.reader.begin() as connection:
            yield connection

    @abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that writes; committed, durably and exactly once, when the block ends well."""

    @abstractmethod
    def lock_log(self, connection: Connection, organization_id: str, method: str) -> None:
        """Within a transaction that writes: keep others from this log of the quota until it ends."""

    @abstractmethod
    def reading_of(self, connection: Connection, clock: Clock) -> tuple[str, float]:
        """Read the clock that all processes on this database share: its name, and the seconds it shows."""

    @abstractmethod
    def error(self, cause: BaseException | None, name: str) -> StateError:
        """Say what a driver's error means, by its code, never by its text; ``name`` is shown where no code is known."""

    def problem(self, problem: DatabaseProblem, name: str = "") -> StateError:
        """Give the error for a kind of problem."""
        return database_error(problem, self.place, name, on_server=self.schema is not None)

    @abstractmethod
    def size(self, connection: Connection) -> int:
        """Bytes that the database takes."""

    def shrink(self) -> bool:
        """Give the room of what was deleted back to the disk; False when that cannot be done at present."""
        return True

    def close(self) -> None:
        """End one use of it; the last one closes its connections."""
        self.engine.dispose()

    @abstractmethod
    def acquire_lock(self, name: str, record: Mapping[str, Any]) -> LockHandle:
        """Take a lock that ends with its owner.

        Args:
            name: What is locked, such as an organisation's id; compared without regard to case.
            record: Who takes it, for the message to others: ``run_id``, ``host``, ``pid``, ``since`` (seconds since
                the epoch) and ``source``. No secret.

        Raises:
            LockedError: Another run holds it; the message names that run.
            StateError: The lock cannot be kept.
        """

    @abstractmethod
    def is_locked(self, name: str) -> bool:
        """Whether a process holds a lock at present."""


@contextmanager
def translated(dialect: Dialect) -> Iterator[None]:
    """Raise every database error inside as a ``StateError``.

    The cause that stays attached is the driver's own short error: SQLAlchemy's holds the statement.
    """
    try:
        yield
    except DBAPIError as error:
        cause = error.orig if isinstance(error.orig, Exception) else None
        raise dialect.error(cause, type(cause).__name__) from cause
    except SQLAlchemyError as error:
        raise dialect.error(None, type(error).__name__) from None
    except dialect.driver_errors as error:
        raise dialect.error(error, type(error).__name__) from error
