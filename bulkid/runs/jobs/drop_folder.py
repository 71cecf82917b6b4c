"""A drop folder on the disk: which files are pending, which are complete, and moves that lose none.

Below the folder lie ``working`` (the file that a run has been begun for), ``archive`` and ``failed``. All moves are
renames within one file system. ``drop_folder_job`` decides about files, and journals what it decides.
"""

import os
import re
import secrets
import stat
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from hashlib import sha256
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

from bulkid.clock import Clock
from bulkid.engine.signals import Stop
from bulkid.errors import UsageError
from bulkid.file_kind import NotAFileError, is_folder, open_regular, pinned_folder
from bulkid.journal.names import stored_name
from bulkid.report.atomic import PRIVATE_FILE, next_free
from bulkid.report.formats import FORMATS
from bulkid.report.writer import ReportFiles
from bulkid.runs.concurrency import until_stopped
from bulkid.text import printable, unnumbered

WORKING, ARCHIVE, FAILED = "working", "archive", "failed"
SETTLE_S = 10.0

_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")
_OFFICE_LOCK = "~$"
_ERROR = "error.txt"
_LONGEST_NAME, _LONGEST_SUFFIX = 180, 20  # bytes; file systems take 255, and a date or a number is added
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{at}" for port in ("com", "lpt") for at in range(10))})
_BINARY = getattr(os, "O_BINARY", 0)


class FileSnapshot(NamedTuple):
    """A file as it was seen at one moment."""

    path: Path
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class DropFolder:
    """A folder that files are dropped into."""

    folder: Path  # where it is
    glob: str = "*"  # which of its files are taken, without regard to case
    settle_s: float = SETTLE_S  # how long a file must stay as it is until it counts as complete

    @property
    def key(self) -> str:
        """The folder's path, always written the same way, as a text that any database takes."""
        return stored_name(str(self.real))

    @property
    def real(self) -> Path:
        """The folder itself, where its path leads over a link."""
        return Path(os.path.realpath(self.folder))

    def pending_files(self) -> list[FileSnapshot]:
        """The pending files, oldest first, complete or not.

        Raises:
            UsageError: The folder cannot be looked into.
        """
        found = []
        try:
            with os.scandir(self.real) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):  # taken away a moment ago
                        if self._matches(entry):
                            facts = entry.stat(follow_symlinks=False)
                            found.append(FileSnapshot(Path(entry.path), facts.st_size, facts.st_mtime_ns))
        except OSError as error:
            raise UsageError(
                f"The drop folder {self.folder} cannot be looked into: {error.strerror or error}.",
                hint="Make the folder, or correct its path in the job file (key source.folder).",
            ) from None
        return sorted(found, key=lambda seen: (seen.modified_ns, seen.path.name))

    def _matches(self, entry: "os.DirEntry[str]") -> bool:
        name = entry.name.lower()
        if name.startswith((".", _OFFICE_LOCK)) or name.endswith(_UNFINISHED):
            return False
        if sys.platform == "win32" and _is_device(name):
            return False
        if not entry.is_file(follow_symlinks=False) or _hidden(entry):
            return False
        return self.takes(name)

    def takes(self, name: str) -> bool:
        """Whether files of a name are taken out of this folder by this job; another job may take others."""
        return fnmatchcase(name.lower(), self.glob.lower())

    def make_subfolders(self) -> None:
        """Make the folders below where they are missing.

        Raises:
            UsageError: They cannot be made.
        """
        try:
            for name in (WORKING, ARCHIVE, FAILED):
                subfolder = self.real / name
                subfolder.mkdir(exist_ok=True)
                if not is_folder(subfolder):
                    raise NotAFileError(subfolder, f"{name} is a link, not a folder")
        except OSError as error:
            raise UsageError(
                f"In the drop folder {self.folder} no folder can be made: {error.strerror or error}.",
                hint="Files that were taken are moved into folders below it: let this user write there.",
            ) from None

    def free_name(self, subfolder: str, name: str) -> str:
        """A path below the folder that is not taken: ``archive/robots.xlsx``, else ``archive/robots-2.xlsx`` ..."""
        target = self.real / subfolder / name
        return f"{subfolder}/{(next_free(target) if os.path.lexists(target) else target).name}"

    def free_name_with(self, beside: Mapping[str, bytes], subfolder: str, name: str) -> str:
        """The same for a file and its report: other files have neither its name nor one of a report beside it.

        ``robots.csv`` and ``robots.xlsx`` would have one report, and ``robots.retry.csv`` may be a sheet itself.
        """
        first = self.real / subfolder / name
        numbered = (first.with_name(f"{first.stem}-{number}{first.suffix}") for number in count(2))
        return f"{subfolder}/{next(path for path in chain((first,), numbered) if _is_free(path, beside)).name}"


def _is_free(target: Path, beside: Mapping[str, bytes]) -> bool:
    """Whether a file and its report can get their names; the report may be there, from a process that was killed."""
    if os.path.lexists(target):
        return False
    places = {name: _beside(target, name) for name in _report_names()}
    return all(_holds(place, beside.get(name)) for name, place in places.items() if os.path.lexists(place))


def _holds(path: Path, content: bytes | None) -> bool:
    try:
        with open_regular(path) as file:
            return content is not None and file.read(len(content) + 1) == content
    except OSError:
        return False


def _hidden(entry: "os.DirEntry[str]") -> bool:
    """Whether Windows hides the file."""
    attributes = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0)
    return bool(attributes & getattr(stat, "FILE_ATTRIBUTE_HIDDEN", 0))


async def scan(
    drop: DropFolder, clock: Clock, stop: Stop, skipped: Collection[FileSnapshot]
) -> tuple[list[FileSnapshot], int]:
    """Find the complete files, oldest first, and how many are incomplete.

    A file is complete when it stays as it is for the settle time, and can be opened. Files in ``skipped`` are ignored
    as long as they stay as they are.

    Raises:
        InterruptedRunError: A stop was requested.
        UsageError: The folder cannot be looked into.
    """
    before = set(drop.pending_files()) - set(skipped)
    if not before:
        return [], 0
    async with until_stopped(stop):
        await clock.sleep(drop.settle_s)
    now = [seen for seen in drop.pending_files() if seen not in skipped]
    complete = [seen for seen in now if seen in before and _can_be_opened(seen.path)]
    return complete, len(now) - len(complete)


def _can_be_opened(path: Path) -> bool:
    """Whether no program writes it: Windows refuses to open what another program has open for writing."""
    try:
        with open_regular(path):
            return True
    except NotAFileError:
        return True  # there is nothing to wait for; taking it says what is wrong with it
    except PermissionError:
        return sys.platform != "win32"  # elsewhere no program that writes it is the reason: the same holds
    except OSError:
        return False


def digest(path: Path) -> str:
    """The SHA-256 of a plain file's bytes, in hexadecimal.

    Raises:
        OSError: It cannot be read, or is no plain file.
    """
    found = sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def plain_name(name: str) -> str:
    """A file's name that messages, databases, reports and other systems' disks take.

    Control characters, and bytes that are no text, become ``_``; names that Windows keeps for devices get one in front;
    a very long name loses its middle.
    """
    shown = "".join(letter if letter.isprintable() else "_" for letter in name)
    if len(shown.encode()) > _LONGEST_NAME:
        stem, suffix = os.path.splitext(shown)  # noqa: PTH122 - the name alone
        kept = stem.encode()[: _LONGEST_NAME - len(suffix.encode()[:_LONGEST_SUFFIX])].decode(errors="ignore")
        shown = kept + suffix[:_LONGEST_SUFFIX]
    return f"_{shown}" if _is_device(shown) else shown


def _is_device(name: str) -> bool:
    """Whether Windows takes a name for a device, whatever its suffix: ``con.xlsx``."""
    return name.partition(".")[0].rstrip(" ").lower() in _DEVICES


def is_there(path: Path) -> bool:
    """Whether a name is taken, also by a link that leads nowhere."""
    return os.path.lexists(path)


def dated(name: str, day: date, mark: str = "") -> str:
    """A file's name with the date before it, and a mark before its suffix: ``2026-01-31_robots.xlsx``."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - the name alone
    # a name that had its date already, because it was taken back out of archive or failed, keeps one
    stem = re.sub(r"^\d{4}-\d{2}-\d{2}_", "", stem)
    return f"{day.isoformat()}_{stem}{mark}{suffix}"


def report_files(report: ReportFiles | None, message: str) -> dict[str, bytes]:
    """What is put beside a file, by the end of its name: its report, or why there is none.

    A report whose file was held open has another name: ``report-2.csv``. What has the name itself is an older one.

    Raises:
        OSError: The report cannot be read.
    """
    found = {}
    if report is not None:
        named = {unnumbered(path.name): path for path in report.files}
        found = {name: named[name].read_bytes() for name in _report_names() if name in named}
    return found or ({_ERROR: f"{printable(message)}\n".encode()} if message else {})


def write_report_beside(target: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a report beside the place that their file goes to.

    Raises:
        OSError: The folder or the disk does not take them.
    """
    for name, content in files.items():
        _write(_beside(target, name), content)


def _report_names() -> list[str]:
    return [*(entry.file_name for entry in FORMATS.values() if entry.always), _ERROR]


def _beside(target: Path, name: str) -> Path:
    return target.with_name(f"{target.stem}.{name}")


def _write(path: Path, content: bytes) -> None:
    """Write a file whole, or not at all, for its owner alone; a link of that name is replaced, never followed."""
    name = f".{secrets.token_hex(8)}.tmp"
    with pinned_folder(path.parent) as folder:
        subfolder: str | Path = name if folder is not None else path.with_name(name)
        target: str | Path = path.name if folder is not None else path
        try:
            number = os.open(subfolder, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, PRIVATE_FILE, dir_fd=folder)
            with os.fdopen(number, "wb") as file:
                file.write(content)
            os.replace(subfolder, target, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:  # a cancellation too: no unfinished file stays behind
            with suppress(OSError):
                os.unlink(subfolder, dir_fd=folder)
            raise


def move(source: Path, target: Path) -> None:
    """Rename a file; where the name is taken, the file that has it is never lost. Neither folder may be a link.

    Raises:
        OSError: It cannot be moved (Windows: a program has it open), or the name is taken.
    """
    with pinned_folder(source.parent) as old, pinned_folder(target.parent) as new:
        if os.path.lexists(target):
            raise FileExistsError(f"{target} is there already")
        if old is None or new is None:
            source.rename(target)
        else:
            os.rename(source.name, target.name, src_dir_fd=old, dst_dir_fd=new)
