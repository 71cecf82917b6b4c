"""Locks of the operating system, which end with their owner: one run per organisation and state directory.

A file of each process that is locked as long as it lives shows other processes of this host its liveness; a heartbeat
cannot tell a dead process from one that is only stopped, or starved.
"""

import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bulkid.clock import iso_utc
from bulkid.errors import LockedError
from bulkid.journal.errors import file_error

_LOOK_S = 0.005
LOOKS = 40
"""Seconds between two tries to take a lock, and how many follow the first: another process that only looks whether the
lock is held has it for a millisecond."""

FEW_LOOKS = 4
"""The same for a look whether a lock is held: several processes may look at the same moment."""


class FileLockHandle:
    """A lock among all runs on one state directory, taken as in `Dialect.acquire_lock`.

    The operating system frees it when the process dies, however it dies, and never takes it from a live owner, however
    slow. It also excludes other threads and locks of the same process.
    """

    is_current = True

    def __init__(self, state_dir: Path, name: str, record: Mapping[str, Any]) -> None:
        self._details = state_dir / "locks" / f"{_file_name(name)}.json"
        try:
            self._lock = _take(state_dir, name, LOOKS)
        except Timeout:
            raise locked_error(name, _read(self._details)) from None
        _write(self._details, record)

    def confirm(self) -> None:
        """Do nothing: the operating system takes a lock from no owner."""

    def release(self) -> None:
        """Release it; harmless when repeated."""
        if not self._lock.is_locked:
            return
        # First the details, then the lock: the next owner's must not be taken away.
        with suppress(OSError):
            self._details.unlink()
        self._lock.release()


def is_held(state_dir: Path, name: str) -> bool:
    """Whether a process holds a lock at present.

    Raises:
        StateError: The lock cannot be kept.
    """
    try:
        _take(state_dir, name, FEW_LOOKS).release()
    except Timeout:
        return True
    return False


def _take(state_dir: Path, name: str, looks: int) -> FileLock:
    """Take a lock; where it is held, look for it so many times more. Raises ``Timeout`` where it is held then too."""
    folder = state_dir / "locks"
    lock = FileLock(folder / f"{_file_name(name)}.lock", timeout=0, mode=0o600, thread_local=False)
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        _acquire(lock, looks)
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
        raise file_error(error, folder) from error
    return lock


def _acquire(lock: FileLock, looks: int) -> None:
    for _ in range(looks):
        with suppress(Timeout):
            lock.acquire()
            return
        time.sleep(_LOOK_S)  # in a worker thread
    lock.acquire()


def _file_name(name: str) -> str:
    folded = name.casefold()
    readable = re.sub(r"[^a-z0-9-]+", "_", folded)[:40]
    return f"{readable}-{sha256(folded.encode('utf-8', 'replace')).hexdigest()[:12]}"


def _write(details: Path, record: Mapping[str, Any]) -> None:
    # A file of its own: on Windows no process can read a locked one. It is put in place whole. Without it other runs
    # only cannot say who holds the lock.
    with suppress(OSError):
        unfinished = details.with_suffix(".tmp")
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(dict(record)), encoding="ascii")
        unfinished.replace(details)


def _read(details: Path) -> bytes:
    try:
        return details.read_bytes()
    except OSError:
        return b""


def locked_error(name: str, record: str | bytes = b"", note: str = "") -> LockedError:
    """Say who holds a lock, as far as the holder's JSON record can be read; ``note`` says what else is known of it."""
    who = run = LockedError.holder
    process = None
    try:
        holder = json.loads(record)
        run = f"run {holder['run_id']}"
        since = iso_utc(holder["since"])
        who = f"{run} ({holder['source']}) on {holder['host']}, process {holder['pid']}, since {since}"
        process = holder["host"], holder["pid"]
    except (ValueError, KeyError, TypeError, OverflowError):
        pass  # what cannot be read is another run
    error = LockedError(
        f"The organisation {name} is being changed by {who}{note}.",
        hint="Wait until it has ended, or stop it.",
        cli_hint="--wait SECONDS waits for it; bulkid resume continues a run that was stopped.",
    )
    error.holder, error.process = run, process
    return error


def forget_lock(state_dir: Path, organization_id: str) -> None:
    """Remove the file of a lock that no process will take again; never raises.

    A process that waits for the file that is removed would get a lock that the next one does not see.
    """
    with suppress(OSError):
        (state_dir / "locks" / f"{_file_name(organization_id)}.lock").unlink()


class LivenessFile:
    """A locked file of this process, until it is released or the process ends, however that ends."""

    def __init__(self, folder: Path, token: str) -> None:
        self.path = folder / f"{token}.alive"
        self._lock = FileLock(self.path, timeout=0, mode=0o600, thread_local=False)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire()
        except (OSError, NotImplementedError, Timeout):  # NotImplementedError: a file system without locks
            # Without the file only the heartbeat shows a dead owner, after half a minute.
            self.path = Path()

    def release(self, *, needed: bool = False) -> None:
        """Release it; harmless when repeated. Where a lock in the database still names it, it stays, unlocked."""
        self._lock.release()
        if self.path.name and not needed:
            with suppress(OSError):
                self.path.unlink()


def is_alive(path: str, looks: int = 0) -> bool | None:
    """Whether the process that created a liveness file on this host lives; None: not known.

    With ``looks`` it is asked so many times more, as long as it seems to live.
    """
    if not path:
        return None
    lock = FileLock(path, timeout=0)
    try:
        if not Path(path).is_file():
            return None
        _acquire(lock, looks)
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # another user's folder, or a file system without locks
        return None
    lock.release()
    return False
