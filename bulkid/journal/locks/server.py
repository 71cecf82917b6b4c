"""One run per organisation among the processes of several hosts: locks that a PostgreSQL server keeps.

A lock is a row that names its owner and counts its heartbeats, together with a session-level advisory lock on a
connection of its own. The row decides: it changes owners only by comparing token and heartbeat, and only once the owner
is known to be dead. On the owner's host its liveness file shows that; elsewhere, a heartbeat that is stale for
`STALE_S` and then for `WATCH_S` more while a process that wants the lock watches. The owner relies on its lock only for
`LEASE_S` after a heartbeat, which is shorter; after a longer time it asks the server before it sends anything more.

The advisory lock protects against a deleted row, and shows in ``pg_locks`` which process holds which lock.
"""

import json
import platform
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Double,
    Engine,
    bindparam,
    cast,
    delete,
    extract,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from bulkid.errors import LockedError
from bulkid.journal.locks import LockLostError
from bulkid.journal.locks.file import FEW_LOOKS, LOOKS, LivenessFile, is_alive, locked_error
from bulkid.journal.schema import locks

HEARTBEAT_S = 2.0  # between the heartbeats of a lock's owner
LEASE_S = 6.0  # after a heartbeat: how long an owner relies on its locks without asking the server
WATCH_S = 8.0  # how long a stale heartbeat is watched before its owner counts as dead; longer than LEASE_S
STALE_S = 18.0  # the age, by the server's clock, from which on a heartbeat is stale
_RETRY_INTERVAL_S = 0.5  # between two tries of an owner to reach the server
RETRY_LIMIT_S = 30.0  # how long an owner tries to reach the server before its locks count as lost

_NOW = cast(extract("epoch", func.clock_timestamp()), Double)
_AGE = _NOW - locks.c.beat_at
_TRY_LOCK = text("SELECT pg_try_advisory_lock(:key)")
_UNLOCK = text("SELECT pg_advisory_unlock(:key)")
# A key of 64 bits shows in pg_locks in two halves: https://www.postgresql.org/docs/current/view-pg-locks.html
_TERMINATE_HOLDER = text(
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND "
    "database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND "
    "classid::bigint = (CAST(:key AS bigint) >> 32) & 4294967295 AND "
    "objid::bigint = CAST(:key AS bigint) & 4294967295 AND pid <> pg_backend_pid()"
)
_SELECT_LOCK = select(
    locks.c.token, locks.c.beats, _AGE.label("age"), locks.c.host, locks.c.life_file, locks.c.record
).where(locks.c.name == bindparam("this"))
_HEARTBEAT = (
    update(locks)
    .values(beats=locks.c.beats + 1, beat_at=_NOW)
    .where(locks.c.token == bindparam("mine"))
    .returning(locks.c.name)
)


class LockManager:
    """Keeps the locks of one process on one database: one connection, one heartbeat and one liveness file for all."""

    def __init__(self, engine: Engine, state_dir: Path) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._state_dir = state_dir
        self._token = secrets.token_hex(16)
        self._busy = threading.RLock()  # one at a time on the connection
        self._connection: Connection | None = None
        self._driver: Any = None  # the driver's own connection within
        self._handles: dict[str, ServerLockHandle] = {}
        self._left_behind = False  # whether a lock was released whose row is still in the database
        self._liveness: LivenessFile | None = None
        self._ended = threading.Event()
        self._heartbeat_thread: threading.Thread | None = None

    def take(self, name: str, record: Mapping[str, Any]) -> "ServerLockHandle":
        """Take a lock; see `Dialect.acquire_lock`."""
        folded = name.casefold()
        with self._busy:
            if folded in self._handles:
                raise locked_error(name, self._handles[folded].record)
            try:
                asked = self._take(folded, name, record)
            except BaseException:  # an interrupt too: a connection without a lock must not stay open
                if not self._handles:
                    self._close()
                raise
            handle = self._handles[folded] = ServerLockHandle(self, folded, name, record, asked)
            if self._heartbeat_thread is None:
                self._ended = threading.Event()
                self._heartbeat_thread = threading.Thread(
                    target=self._heartbeat_loop, args=(self._ended,), daemon=True, name="heartbeat"
                )
                self._heartbeat_thread.start()
            return handle

    def _take(self, folded: str, name: str, record: Mapping[str, Any]) -> "_ClockSample":
        key = {"key": _key(folded)}
        try:
            connection = self._connect()
            got = bool(connection.execute(_TRY_LOCK, key).scalar())
            try:
                return self._claim(connection, folded, name, record, got=got)
            except LockedError:
                if got:
                    connection.execute(_UNLOCK, key)
                raise
        except SQLAlchemyError:
            self._disconnect()
            raise

    def _claim(
        self, connection: Connection, folded: str, name: str, record: Mapping[str, Any], *, got: bool
    ) -> "_ClockSample":
        """Write this process as the owner into a new row, or that of a dead owner; give the moment just before."""
        asked = _ClockSample()
        known = connection.execute(_SELECT_LOCK, {"this": folded}).first()
        if known is None:
            if not got:
                raise locked_error(name)  # just being taken, or released
            connection.execute(insert(locks).values(**self._row(folded, record), beats=0, beat_at=_NOW))
            return asked
        if known.token == self._token:
            return asked  # written before, but the answer was lost
        if not self._lease_expired(connection, folded, known):
            quiet = f", without a heartbeat for {known.age:.0f} s" if known.age > 3 * HEARTBEAT_S else ""
            raise locked_error(name, known.record, quiet)
        if not got:
            with suppress(SQLAlchemyError):  # not permitted, perhaps: the row decides
                connection.execute(_TERMINATE_HOLDER, {"key": _key(folded)})
        ours = update(locks).values(**self._row(folded, record), beats=locks.c.beats + 1, beat_at=_NOW)
        asked = _ClockSample()
        same = (locks.c.name == folded, locks.c.token == known.token, locks.c.beats == known.beats)
        if connection.execute(ours.where(*same)).rowcount != 1:
            raise locked_error(name)  # another process was faster
        if not got:
            connection.execute(_TRY_LOCK, {"key": _key(folded)})
        others = select(func.count()).where(locks.c.token == known.token)  # it may have held several
        if known.host == platform.node() and known.life_file and not connection.execute(others).scalar():
            with suppress(OSError):
                Path(known.life_file).unlink()
        return asked

    def _row(self, folded: str, record: Mapping[str, Any]) -> dict[str, Any]:
        if self._liveness is None:
            self._liveness = LivenessFile(self._state_dir / "locks", self._token)
        path = str(self._liveness.path.absolute()) if self._liveness.path.name else ""
        kept = json.dumps(dict(record))
        return {"name": folded, "token": self._token, "host": platform.node(), "life_file": path, "record": kept}

    def _lease_expired(self, connection: Connection, folded: str, known: Any) -> bool:  # noqa: ANN401 - a database row
        """Whether the owner of a lock is known to be dead; takes `WATCH_S` where only its heartbeat shows that."""
        alive = is_alive(known.life_file, LOOKS) if known.host == platform.node() else None
        if alive is not None:
            return not alive
        if known.age < STALE_S:
            return False
        watched_until = time.monotonic() + WATCH_S  # after a clock was set forward, a heartbeat looks old but goes on
        while (left_s := watched_until - time.monotonic()) > 0:
            time.sleep(min(HEARTBEAT_S, left_s))  # the driver blocks this worker thread too
            self.heartbeat()  # our own locks must not become stale meanwhile
        again = connection.execute(_SELECT_LOCK, {"this": folded}).first()
        return again is not None and (again.token, again.beats) == (known.token, known.beats)

    def is_locked(self, name: str) -> bool:
        """Whether a process holds a lock at present, as far as the row shows."""
        with self._engine.connect() as connection:
            known = connection.execute(_SELECT_LOCK, {"this": name.casefold()}).first()
        if known is None:
            return False
        is_other = known.host == platform.node() and known.token != self._token
        alive = is_alive(known.life_file, FEW_LOOKS) if is_other else None
        return bool(known.age < STALE_S) if alive is None else alive

    def heartbeat(self) -> bool:
        """Send one heartbeat; False when the server cannot be reached."""
        with self._busy:
            if not self._handles:
                return True
            asked = _ClockSample()
            try:
                connection = self._connect()
                kept = set(connection.execute(_HEARTBEAT, {"mine": self._token}).scalars())
                # On a new connection; a process that tries to take the lock may hold it for a moment.
                for handle in [each for each in self._handles.values() if not each.has_advisory_lock]:
                    got = connection.execute(_TRY_LOCK, {"key": _key(handle.folded)}).scalar()
                    handle.has_advisory_lock = bool(got)
            except SQLAlchemyError:
                self._disconnect()
                return False
            for folded, handle in self._handles.items():
                if folded in kept:
                    handle.confirmed = asked
                else:
                    handle.lost = True
            return True

    def release(self, handle: "ServerLockHandle") -> None:
        """Release a lock. Without the server its row stays, as that of a dead process."""
        with self._busy:
            if self._handles.pop(handle.folded, None) is None:
                return
            if not handle.lost:
                mine = delete(locks).where(locks.c.name == handle.folded, locks.c.token == self._token)
                try:
                    connection = self._connect()
                    connection.execute(mine)
                    connection.execute(_UNLOCK, {"key": _key(handle.folded)})
                except SQLAlchemyError:
                    self._left_behind = True
            if not self._handles:
                self._close()

    def close(self) -> None:
        """End the heartbeat. The rows of locks that were not released stay, as those of a dead process."""
        with self._busy:
            for handle in self._handles.values():
                handle.lost = True
            self._left_behind = self._left_behind or bool(self._handles)
            self._handles.clear()
            self._close()

    def _heartbeat_loop(self, ended: threading.Event) -> None:
        while not ended.wait(HEARTBEAT_S):
            self.heartbeat()

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._driver = self._connection.connection.dbapi_connection
            self._connection.detach()  # from the pool: its session holds the advisory locks
            for handle in self._handles.values():
                handle.has_advisory_lock = False
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                self._connection.close()
            if self._driver is not None:
                self._driver.close()  # SQLAlchemy does not close a broken connection
            self._connection = self._driver = None

    def _close(self) -> None:
        self._ended.set()
        self._heartbeat_thread = None
        self._disconnect()
        if self._liveness is not None:
            self._liveness.release(needed=self._left_behind)
            self._liveness = None
        # With the old token, this process would count as the owner of a row that it left behind.
        self._token, self._left_behind = secrets.token_hex(16), False


class ServerLockHandle:
    """A lock that a server keeps; see `LockHandle`. ``folded`` is its name in the database, ``name`` in messages."""

    def __init__(
        self, manager: LockManager, folded: str, name: str, record: Mapping[str, Any], confirmed: "_ClockSample"
    ) -> None:
        self.folded = folded
        self.record = json.dumps(dict(record))
        self.confirmed = confirmed  # when it was surely held
        self.lost = False
        self.has_advisory_lock = True  # whether the advisory lock is held, too
        self._lock_manager = manager
        self._name = name

    @property
    def is_current(self) -> bool:
        """Whether the last heartbeat is so recent that no other run can have taken the lock."""
        return not self.lost and self.confirmed.age < LEASE_S

    def confirm(self) -> None:
        """Ask the server whether this run still holds the lock, for at most `RETRY_LIMIT_S`.

        Raises:
            LockLostError: It does not, or that cannot be found out.
        """
        deadline = time.monotonic() + RETRY_LIMIT_S
        while not self.is_current:
            reached = self.lost or self._lock_manager.heartbeat()
            if self.lost:
                raise LockLostError(
                    f"Another run has taken over {self._name}: this run sent no heartbeat for too long.",
                    hint="Nothing more was sent.",
                )
            if not reached and time.monotonic() >= deadline:
                raise LockLostError(
                    f"The state database cannot be reached any more, so it is not known whether this run still holds "
                    f"the lock of {self._name}.",
                    hint="Nothing more was sent.",
                )
            if not reached:
                time.sleep(_RETRY_INTERVAL_S)  # the driver blocks this worker thread too

    def release(self) -> None:
        """Release it; harmless when repeated."""
        self._lock_manager.release(self)


class _ClockSample:
    """A moment whose age is never underestimated: sleep stops one clock of a machine, users may set the other."""

    __slots__ = ("_monotonic", "_wall")

    def __init__(self) -> None:
        self._monotonic = time.monotonic()
        self._wall = time.time()

    @property
    def age(self) -> float:
        """Seconds that have passed, at most."""
        return max(time.monotonic() - self._monotonic, time.time() - self._wall)


def _key(folded: str) -> int:
    """The advisory lock's number: 64 bits, signed."""
    return int.from_bytes(sha256(f"bulkid lock {folded}".encode("utf-8", "replace")).digest()[:8], signed=True)
