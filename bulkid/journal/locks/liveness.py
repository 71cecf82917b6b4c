"""A sign of life for others on the same host: a file that the operating system keeps locked as long as its owner lives.

A heartbeat cannot tell a dead process from one that is only stopped, or starved; this can.
"""

from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout


class LivenessFile:
    """A locked file of this process, until it is released or the process ends, however that ends.

    Args:
        folder: Where to; made when missing.
        token: Names the file.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self.path = folder / f"{token}.alive"
        self._lock = FileLock(self.path, timeout=0, mode=0o600, thread_local=False)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire()
        except (OSError, NotImplementedError, Timeout):  # NotImplementedError: a file system without locks
            # Without the file only the heartbeat shows a dead owner, which takes half a minute.
            self.path = Path()

    def release(self, *, needed: bool = False) -> None:
        """Let it go; harmless when repeated.

        Args:
            needed: Leave it behind, unlocked: for others to see that whoever is still named somewhere has gone.
        """
        self._lock.release()
        if self.path.name and not needed:
            with suppress(OSError):
                self.path.unlink()


def is_alive(path: str) -> bool | None:
    """Whether the process that made a life file on this host lives; None: that cannot be told."""
    if not path or not Path(path).is_file():
        return None
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # NotImplementedError: a file system without locks
        return None
    lock.release()
    return False


def remove_liveness_file(path: str) -> None:
    """Remove the life file of a dead process, once nothing names it any more."""
    with suppress(OSError):
        Path(path).unlink()
