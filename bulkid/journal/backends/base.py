"""What each kind of database does in its own way: opening, transactions, its clock, and what its errors mean.

Everything else in the journal is portable SQLAlchemy Core; no other package knows which database it is.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bulkid.clock import Clock
from bulkid.errors import StateError
from bulkid.journal.errors import DatabaseProblem
from bulkid.journal.locks.types import LockHandle


class Dialect(Protocol):
    """One database, of one kind. Safe to use from several threads at once."""

    place: str
    """How messages call the database; no secret."""

    engine: Engine

    driver_errors: tuple[type[Exception], ...]
    """Errors of the driver itself, where they reach us without SQLAlchemy's wrapping."""

    retry_limit_s: float
    """How long a transaction is repeated while the database is away."""

    def opening(self) -> AbstractContextManager[None]:
        """What surrounds the making of the tables.

        Raises:
            StateError: The database cannot be opened.
        """
        ...

    def lock_tables(self, connection: Connection) -> None:
        """Within a transaction that writes: let nobody else make or change tables until it ends."""
        ...

    def tables(self, connection: Connection) -> list[str]:
        """The names of the tables that are there, of whatever program."""
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that sees one moment of the database, and holds nobody up."""
        ...

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that writes; committed, durably, when the block ends well."""
        ...

    def lock_log(self, connection: Connection, organization_id: str, method: str) -> None:
        """Within a transaction that writes: let nobody else use this log of the quota until it ends."""
        ...

    def reading_of(self, connection: Connection, clock: Clock) -> tuple[str, float]:
        """Read the clock that all processes on this database share: whose it is, and the seconds it shows."""
        ...

    def error(self, cause: BaseException | None, name: str) -> StateError:
        """Say what a driver's error means, by its code, never by its text.

        Args:
            cause: The driver's error.
            name: What to call it where nothing better is known.
        """
        ...

    def problem(self, problem: DatabaseProblem) -> StateError:
        """Say that the database has a kind of trouble."""
        ...

    def size(self, connection: Connection) -> int:
        """Bytes that the database takes."""
        ...

    def shrink(self) -> bool:
        """Give the room of what was deleted back to the disk; False when that cannot be done at present."""
        ...

    def close(self) -> None:
        """Give up one use of it; the last one closes its connections."""
        ...

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
        ...

    def is_locked(self, name: str) -> bool:
        """Whether somebody holds a lock at present."""
        ...


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
