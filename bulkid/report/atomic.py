"""Files that are there whole or not at all, and the one error of this room.

Each file is written beside its target, flushed to the disk and then put in the target's place. A reader never sees half
a report, and a report that fails half-way leaves the earlier one as it was.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from bulkid.errors import BulkidError, UsageError

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
SHARED_FILE = 0o666  # less the umask: what a program of another user reads
"""What a report says of accounts is for the user who made it. Windows has other rights: there a folder and its files
inherit those of the folder that they are made in (the user's profile gives them to the user and administrators)."""


class ReportError(BulkidError):
    """A report file cannot be written (disk full, folder read-only). What the run did is safe in the journal."""


class AtomicFile:
    """One file on its way: written at ``temp``, put in place by :meth:`commit`.

    Args:
        folder: Where the file belongs; must exist.
        name: The file's name, such as ``report.csv``.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.temp = folder / f".{name}.{secrets.token_hex(4)}.tmp"

    def begin(self, mode: int = PRIVATE_FILE) -> Path:
        """Make the temporary file, empty, and give its path. Never follows a link.

        Args:
            mode: The file's rights on POSIX; by default its owner alone can read it.

        Raises:
            OSError: When the folder does not take it.
        """
        os.close(os.open(self.temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
        return self.temp

    def commit(self) -> Path:
        """Put the finished temporary file in place; give the path that it really has now.

        A target that another program holds open (Excel on Windows does) cannot be replaced: the file then gets the
        next free number, ``report-2.csv``.

        Raises:
            OSError: When neither place takes it.
        """
        target = self.folder / self.name
        try:
            # Windows calls a target that is held open (or is a folder) a PermissionError; POSIX knows only the folder
            self.temp.replace(target)
        except (PermissionError, IsADirectoryError):
            target = next_free(target)
            self.temp.replace(target)
        return target

    def discard(self) -> None:
        """Remove the temporary file where there still is one; never raises."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: a NUL in the name, so that there is no such file
            self.temp.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files that a kill left behind; never raises.

    To be called by whoever holds the run: a report that somebody else writes at this very moment would have to be
    written again.
    """
    for temp in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            temp.unlink()


def next_free(target: Path) -> Path:
    """The first of ``report-2.csv``, ``report-3.csv`` ... that does not exist."""
    numbered = (target.with_name(f"{target.stem}-{number}{target.suffix}") for number in count(2))
    return next(path for path in numbered if not os.path.lexists(path))


def sync(path: Path) -> None:
    """Have the operating system put a closed file's content on the disk.

    Raises:
        OSError: When the disk does not take it.
    """
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def os_errors_as_report_error(name: str, folder: Path, run_id: str) -> Iterator[None]:
    """Turn an operating system's error into a sentence: what could not be written where, and how to do it again.

    Raises:
        ReportError: For any ``OSError`` inside.
    """
    try:
        yield
    except OSError as error:
        raise ReportError(
            f"Could not write {name} in {folder}: {reason(error)}.",
            hint="What the run did is safe in the journal. "
            f"Write the report again with: bulkid report {run_id} --report-dir DIR",
        ) from error


def reason(error: OSError) -> str:
    """Say why in the operating system's words, without its number."""
    return error.strerror or str(error) or type(error).__name__


def make_private(folder: Path) -> None:
    """Make a folder that its owner alone can look into (on POSIX); one that exists stays as it is.

    Raises:
        OSError: It cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def prepare_folder(report_dir: Path, run_id: str) -> Path:
    """Create the folder of a run's files and prove that it can be written to, before anything is sent.

    Args:
        report_dir: Where reports go, as the user named it.
        run_id: The run, which gets a folder of its own there.

    Returns:
        The absolute folder.

    Raises:
        UsageError: When it cannot be created or written to.
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
    except OSError as error:
        why = reason(error)
    except (ValueError, RuntimeError) as error:  # a NUL in the path; "~" without a home directory
        why = str(error)
    else:
        return folder
    raise UsageError(
        f"The report cannot be written to {folder}: {why}. Nothing was sent.",
        hint="Name a folder that you may write to with --report-dir DIR.",
    )
