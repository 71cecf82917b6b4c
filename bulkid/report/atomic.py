"""Files that are there whole or not at all, the folder of a report, and the error of this package.

Each file is written beside its target, flushed to the disk and then put in the target's place. A reader never sees half
a report, and a report that fails half-way leaves the earlier one as it was.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import BinaryIO

from bulkid.errors import BulkidError, UsageError

PRIVATE_FOLDER = 0o700
OWN_FOLDER = 0o755  # other users may look for what they may read, and replace nothing
PRIVATE_FILE = 0o600
SHARED_FILE = 0o666  # less the umask: what a program of another user reads
"""What a report says of accounts is for the user who made it. Windows has other rights: there a folder and its files
inherit those of the folder that they are made in (the user's profile gives them to the user and administrators)."""


class ReportError(BulkidError):
    """A report file cannot be written (disk full, folder read-only). What the run did is safe in the journal."""


class AtomicFile:
    """A file that is written at ``temp`` and put in place by :meth:`commit`. Its folder must exist."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.temp = folder / f".{name}.{secrets.token_hex(4)}.tmp"

    def begin(self, mode: int = PRIVATE_FILE) -> Path:
        """Make the temporary file, empty, with these rights (on POSIX), and give its path. Never follows a link."""
        os.close(os.open(self.temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
        return self.temp

    def commit(self, *, replace: bool = True) -> Path:
        """Put the finished temporary file in place; give the path that it really has now.

        A target that another program holds open (Excel on Windows does) cannot be replaced: the file then gets the
        next free number, ``report-2.csv``. So it does with ``replace=False`` where there is a target already.

        Raises:
            OSError: Neither place takes it.
        """
        target = self.folder / self.name
        if replace or not os.path.lexists(target):
            # Windows calls a target that is held open (or is a folder) a PermissionError; POSIX knows only the folder
            with contextlib.suppress(PermissionError, IsADirectoryError):
                self.temp.replace(target)
                return target
        target = next_free(target)
        self.temp.replace(target)
        return target

    def discard(self) -> None:
        """Remove the temporary file where there still is one; never raises."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: a NUL in the name, so that there is no such file
            self.temp.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files that a kill left behind; never raises. Only the holder of the run may call it."""
    for temp in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            temp.unlink()


def next_free(target: Path) -> Path:
    """The first of ``report-2.csv``, ``report-3.csv`` ... that does not exist."""
    numbered = (target.with_name(f"{target.stem}-{number}{target.suffix}") for number in count(2))
    return next(path for path in numbered if not os.path.lexists(path))


def sync(path: Path) -> None:
    """Flush a closed file's content to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def os_errors_as_report_error(what: str, hint: str) -> Iterator[None]:
    """Raise any ``OSError`` inside as a :class:`ReportError` that says what could not be written, and what to do."""
    try:
        yield
    except OSError as error:
        raise ReportError(f"Could not write {what}: {reason(error)}.", hint=hint) from error


def reason(error: Exception) -> str:
    """The operating system's own text for an error, without its number; for other errors their message."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def make_private(folder: Path) -> None:
    """Make a folder that its owner alone can read (on POSIX), in one that no other user can write to.

    A folder that exists stays as it is.
    """
    folder.parent.mkdir(mode=OWN_FOLDER, parents=True, exist_ok=True)
    folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def create_private(path: Path) -> BinaryIO:
    """Create a file that its owner alone can read (on POSIX), whatever the process's umask.

    Raises:
        FileExistsError: There is one of that name.
        OSError: It cannot be created.
    """
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, PRIVATE_FILE))


def prepare_folder(report_dir: Path, run_id: str) -> Path:
    """Create the folder of a run's files below ``report_dir``, and prove that files can be written to it.

    Returns:
        The absolute folder.

    Raises:
        UsageError: It cannot be created or written to.
    """
    folder = Path(report_dir)
    try:
        folder = folder.expanduser().absolute() / run_id
        make_private(folder)
        probe = AtomicFile(folder, "probe")
        try:
            probe.begin().write_bytes(b"bulkid\n")
            sync(probe.temp)
        finally:
            probe.discard()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the path; "~" without a home directory
        raise UsageError(
            f"The report cannot be written to {folder}: {reason(error)}. Nothing was sent.",
            hint="Name a folder that you may write to with --report-dir DIR.",
        ) from None
    return folder
