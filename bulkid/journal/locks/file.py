"""One run per organisation and state directory: a lock of the operating system, which ends with its owner."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bulkid.clock import iso_utc
from bulkid.errors import LockedError
from bulkid.journal.errors import file_error


class FileLockHandle:
    """The right to change an organisation's accounts, among all runs on one state directory; see `LockHandle`.

    The operating system frees it when the process dies, however it dies; it is never taken from a live owner, however
    slow. It is held against other threads and locks of the same process, too.

    Args:
        state_dir: The state directory.
        name: What is locked, such as an organisation's id; compared without regard to case.
        record: Who holds it, for the message to others: ``run_id``, ``host``, ``pid``, ``since`` (seconds since the
            epoch) and ``source``. No secret.

    Raises:
        LockedError: Another run holds it; the message names that run.
        StateError: The state directory cannot be used.
    """

    is_current = True

    def __init__(self, state_dir: Path, name: str, record: Mapping[str, Any]) -> None:
        folder = state_dir / "locks"
        file_name = _file_name(name)
        self._details = folder / f"{file_name}.json"
        self._lock = FileLock(folder / f"{file_name}.lock", timeout=0, mode=0o600, thread_local=False)
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise locked_error(name, _read(self._details)) from None
        except NotImplementedError as error:
            raise file_error(OSError(0, "its file system has no locks"), folder) from error
        except OSError as error:
            raise file_error(error, folder) from error
        _write(self._details, record)

    def confirm(self) -> None:
        """Nothing to find out: the operating system takes it from nobody."""

    def release(self) -> None:
        """Let it go; harmless when repeated."""
        if not self._lock.is_locked:
            return
        # First the details, then the lock: the next owner's must not be taken away.
        with suppress(OSError):
            self._details.unlink()
        self._lock.release()


@contextmanager
def organization_lock(state_dir: Path, organization_id: str, record: Mapping[str, Any]) -> Iterator[None]:
    """Hold a lock on files of a state directory while the block runs; see `FileLockHandle`."""
    handle = FileLockHandle(state_dir, organization_id, record)
    try:
        yield
    finally:
        handle.release()


def _file_name(name: str) -> str:
    folded = name.casefold()
    readable = re.sub(r"[^a-z0-9-]+", "_", folded)[:40]
    return f"{readable}-{sha256(folded.encode('utf-8', 'replace')).hexdigest()[:12]}"


def _write(details: Path, record: Mapping[str, Any]) -> None:
    # A file of its own: Windows lets nobody read a locked one. Put in place whole, so that nobody reads half of it.
    # Without it others only cannot say who holds the lock, which is no reason not to run.
    with suppress(OSError):
        unfinished = details.with_suffix(".tmp")
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(dict(record)), encoding="ascii")
        unfinished.replace(details)


def _read(details: Path) -> object:
    try:
        return json.loads(details.read_bytes())
    except (OSError, ValueError):
        return None


def locked_error(name: str, record: object, note: str = "") -> LockedError:
    """Say who holds a lock, as far as its record can be read.

    Args:
        name: What is locked.
        record: The holder's record, of whatever form.
        note: What else is known of the holder, to follow its name.
    """
    try:
        since = iso_utc(record["since"])  # type: ignore[index]  # what cannot be read is another run
        who = (
            f"run {record['run_id']} ({record['source']}) on {record['host']}, "  # type: ignore[index]  # as above
            f"process {record['pid']}, since {since}"  # type: ignore[index]  # as above
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        who = "another run"
    return LockedError(
        f"The organisation {name} is being changed by {who}{note}.",
        hint="Wait until it has ended (--wait SECONDS does), or stop it; a run that was stopped goes on with "
        "'bulkid resume'.",
    )


def forget_lock(state_dir: Path, organization_id: str) -> None:
    """Remove the file of a lock that nobody will ask for again; never raises.

    Only for what is gone for good: whoever waits for the file that is removed would get a lock that the next does not
    see.
    """
    with suppress(OSError):
        (state_dir / "locks" / f"{_file_name(organization_id)}.lock").unlink()
