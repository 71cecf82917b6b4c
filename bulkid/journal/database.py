"""The database file of a state directory: opening it safely, and transactions that read or write."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import time

from filelock import FileLock, Timeout
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bulkid.errors import StateError
from bulkid.journal.dialect import BUSY_S, DRIVER_ERRORS, error_name, make_engine, prepare, trouble_of, writing
from bulkid.journal.errors import Trouble, file_error, state_error
from bulkid.journal.migrate import migrate

FILE_NAME = "bulkid.db"


class Database:
    """One open database; may be used from several threads at once. Database errors leave it as ``StateError``.

    Args:
        path: The file; ``open_database`` has made and migrated it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = make_engine(path)
        self._writing = writing(self._engine)
        # Threads of this process take turns here, at once and in order; the database itself, which other processes
        # share, can only be polled for.
        self._turn = threading.Lock()
        self._closed = False

    def migrate(self) -> None:
        """Create or update the tables."""
        with translated(self.path):
            if not prepare(self._engine):
                raise StateError(
                    f"The file system of {self.path} cannot hold a database that several processes use.",
                    hint="Choose a folder on a local disk with --state-dir.",
                )
            migrate(self._engine, self.path, time())

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one moment of the database, and holds nobody up."""
        self._require_open()
        with translated(self.path), self._engine.begin() as connection:
            try:
                yield connection
            finally:
                if self._closed:  # closed while a report was streaming: the connection has no pool to go back to
                    connection.detach()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its first moment; durable once this returns."""
        self._require_open()
        with translated(self.path), self._turn, self._writing.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        self._closed = True
        with translated(self.path):
            self._engine.dispose()

    def _require_open(self) -> None:
        if self._closed:
            raise StateError(f"{self.path} has been closed already.")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise every database error inside as a ``StateError`` about ``path``.

    The cause that stays attached is the driver's own short error: SQLAlchemy's holds the statement.
    """
    try:
        yield
    except DBAPIError as error:
        cause = error.orig if isinstance(error.orig, Exception) else None
        raise state_error(trouble_of(cause), path, error_name(cause)) from cause
    except SQLAlchemyError as error:
        raise state_error(Trouble.OTHER, path, type(error).__name__) from None
    except DRIVER_ERRORS as error:
        raise state_error(trouble_of(error), path, error_name(error)) from error


def open_database(state_dir: Path) -> Database:
    """Open the database of a state directory, making folder, file and tables where they are missing.

    Folder and file are private to the user where the operating system knows that. A folder that was there before
    keeps its permissions.

    Raises:
        StateError: The folder or file is read-only, full, damaged, of a newer bulkid, or not a database.
    """
    path = state_dir / FILE_NAME
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(path)
    except OSError as error:
        raise file_error(error, state_dir) from error
    with ExitStack() as on_failure:
        database = Database(path)
        on_failure.callback(database.close)
        try:
            # Switching a new file to WAL does not wait for others that do the same; so one at a time.
            with FileLock(state_dir / "open.lock", timeout=BUSY_S, mode=0o600):
                database.migrate()
        except Timeout as error:
            raise state_error(Trouble.BUSY, path, "") from error
        except NotImplementedError as error:
            raise file_error(OSError(0, "its file system has no locks"), state_dir) from error
        except OSError as error:
            raise file_error(error, state_dir) from error
        on_failure.pop_all()
    return database


def _make_private(path: Path) -> None:
    # Only a file that is not there yet: to open and close one that is would drop the locks that this process holds on
    # it (POSIX). The files that SQLite makes beside it take over its permissions.
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
