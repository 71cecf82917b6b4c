"""The records of runs, and what a state database is beside them: its locks, its size, its end."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from sqlalchemy import ColumnElement, insert, select, update

from bulkid.errors import StateError, UsageError
from bulkid.journal import codec
from bulkid.journal.database import Database, repeated
from bulkid.journal.locks.types import LockHandle
from bulkid.journal.schema import runs
from bulkid.model import RunRecord, RunStatus

RESUMABLE = (RunStatus.RUNNING, RunStatus.STOPPED, RunStatus.INTERRUPTED)
"""Statuses after which a run can go on. ``RUNNING`` is what a killed process leaves behind."""

_NAMED = 5
"""How many runs a message names."""

_RUN_COLUMNS = [runs.c[name] for name in codec.RUN_FIELDS]


class RunStore:
    """The records of all runs of one state database. A context manager that closes itself; see `Journal`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._numbers: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; harmless when repeated."""
        self.database.close()

    @property
    def place(self) -> str:
        """What to call the database in a message; no secret."""
        return self.database.place

    @repeated
    def size(self) -> int:
        """Bytes that the state takes."""
        with self.database.read() as connection:
            return self.database.dialect.size(connection)

    def shrink(self) -> bool:
        """Give the room of what was deleted back to the disk; False when somebody else is at work on the database."""
        return self.database.dialect.shrink()

    # --- locks

    def acquire_lock(self, name: str, record: Mapping[str, Any]) -> LockHandle:
        """Take the lock with this name, among all runs on this database; see `Dialect.hold`.

        Raises:
            LockedError: Another run holds it; the message names that run.
        """
        return self.database.repeat(lambda: self.database.dialect.acquire_lock(name, record))

    def is_locked(self, name: str) -> bool:
        """Whether somebody holds the lock with this name."""
        return self.database.repeat(lambda: self.database.dialect.is_locked(name))

    # --- runs

    @repeated
    def create_run(self, record: RunRecord) -> None:
        """Begin a run: keep its record."""
        values = codec.run_values({name: getattr(record, name) for name in codec.RUN_FIELDS})
        with self.database.write() as connection:
            connection.execute(insert(runs).values(values))

    @repeated
    def update_run(self, run_id: str, /, **fields: object) -> None:
        """Change fields of a run's record.

        Raises:
            ValueError: A field that ``RunRecord`` does not have.
        """
        values = codec.run_values(fields)
        if not values:
            return
        run = self._run(run_id)
        with self.database.write() as connection:
            connection.execute(update(runs).where(runs.c.run == run).values(values))

    @repeated
    def get_run(self, run_id: str) -> RunRecord | None:
        """Return the record of exactly this run."""
        with self.database.read() as connection:
            found = connection.execute(select(*_RUN_COLUMNS).where(runs.c.run_id == run_id)).first()
        return None if found is None else codec.run_record(found)

    @repeated
    def find_run(self, text: str) -> RunRecord | None:
        """Return the run whose id is ``text`` or, alone among all, begins with it.

        Raises:
            UsageError: Several ids begin with it.
        """
        wanted = text.strip().lower()
        if not wanted:
            return None
        exact = self.get_run(wanted)
        if exact is not None:
            return exact
        begins = runs.c.run_id.startswith(wanted, autoescape=True)
        with self.database.read() as connection:
            query = select(*_RUN_COLUMNS).where(begins).order_by(runs.c.run_id.desc()).limit(_NAMED + 1)
            found = [codec.run_record(columns) for columns in connection.execute(query)]
        if len(found) > 1:
            names = ", ".join(record.run_id for record in found[:_NAMED]) + (", ..." if len(found) > _NAMED else "")
            raise UsageError(f"Several runs begin with '{wanted}': {names}.", hint="Give more of the run's id.")
        return found[0] if found else None

    @repeated
    def list_runs(self, limit: int | None = None) -> list[RunRecord]:
        """Return the newest runs first, at most ``limit`` of them."""
        return self._newest(None, limit)

    @repeated
    def latest_resumable(self) -> RunRecord | None:
        """Return the newest run that can go on: one stopped, interrupted, or killed while running.

        A run still alive in another process looks the same; its lock tells. One killed in phase ``reading`` has not
        all its rows.
        """
        found = self._newest(runs.c.status.in_([status.value for status in RESUMABLE]), 1)
        return found[0] if found else None

    def _newest(self, where: ColumnElement[bool] | None, limit: int | None) -> list[RunRecord]:
        query = select(*_RUN_COLUMNS).order_by(runs.c.created_at.desc(), runs.c.run.desc())
        if where is not None:
            query = query.where(where)
        if limit is not None:
            query = query.limit(limit)
        with self.database.read() as connection:
            return [codec.run_record(columns) for columns in connection.execute(query)]

    @repeated
    def _run(self, run_id: str) -> int:
        """Return the number by which the tables know a run."""
        number = self._numbers.get(run_id)
        if number is None:
            with self.database.read() as connection:
                number = connection.execute(select(runs.c.run).where(runs.c.run_id == run_id)).scalar()
            if number is None:
                raise StateError(f"The run {run_id} is not in {self.database.place}.")
            self._numbers[run_id] = number
        return number
