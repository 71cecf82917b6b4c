"""Says what is at a path, and opens plain files: only such a file can be read as a sheet, plan or job.

In folders that others may write to, another user may put a link in a file's place between the moment in which bulkid
looks at the file and the one in which bulkid opens it, or put a link in the folder's place. So bulkid opens and holds
the folder first, takes a link for neither, and looks at what it has opened, not at what the name stands for.

Windows cannot open a file that way. There bulkid looks at the file before and after, and both must be the one that was
opened.
"""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

_NAME_SURROGATE = 0x2000_0000
"""The bit of a reparse tag that says that the path stands for another one."""


def kind_of_mode(mode: int) -> str:
    """Name what a mode of ``stat`` says: "" for a regular file, else "a folder", "a named pipe" and the like."""
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "")


def special_kind(path: Path) -> str:
    """Name what is at a path, as `kind_of_mode`, without opening it: a named pipe would wait for a writer.

    Raises:
        OSError: Nothing is there, or it cannot be examined.
        ValueError: The path holds a NUL.
    """
    return kind_of_mode(os.stat(path).st_mode)  # noqa: PTH116 - follows links, as opening does


class NotAFileError(OSError):
    """What has a file's name is no plain file: a link, a pipe, a device, or a file with a second name."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(0, what, str(path))


def open_regular(path: Path) -> BinaryIO:
    """Open a plain file for reading.

    Raises:
        NotAFileError: It is no plain file, or its folder is a link.
        OSError: It cannot be opened.
    """
    with pinned_folder(path.parent) as folder:
        number = _open(path, folder)
    try:
        _refuse_others(path, os.fstat(number), by_name=folder is None)
        return os.fdopen(number, "rb")
    except BaseException:  # a cancellation too: the file must not stay open
        os.close(number)
        raise


@contextmanager
def pinned_folder(folder: Path) -> Iterator[int | None]:
    """Open a folder that is no link, to reach its files by the descriptor (Windows: None) whatever becomes of its name.

    Raises:
        NotAFileError: It is a link.
        OSError: It cannot be opened.
    """
    if sys.platform == "win32":
        if not is_folder(folder):
            raise NotAFileError(folder, "it is a link, not a folder")
        yield None
        return
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        if not is_folder(folder) and os.path.lexists(folder):
            raise NotAFileError(folder, "it is a link, not a folder") from None
        raise
    try:
        yield number
    finally:
        os.close(number)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder, and no link to one."""
    try:
        facts = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and not _leads_elsewhere(facts)


def _leads_elsewhere(facts: os.stat_result) -> bool:
    """Whether a path is a link, or a junction of Windows.

    Windows also tags what is stored in another way, such as the files and folders of OneDrive and those that it has
    deduplicated. These tags stand for no other name.
    """
    return stat.S_ISLNK(facts.st_mode) or bool(getattr(facts, "st_reparse_tag", 0) & _NAME_SURROGATE)


def _refuse_others(path: Path, facts: os.stat_result, *, by_name: bool) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise NotAFileError(path, "it is a pipe, a device or a folder, not a file")
    if facts.st_nlink > 1:
        # A user may give a second name to a file that only bulkid may read; its report would tell the content.
        raise NotAFileError(path, "it has a second name elsewhere (a hard link): copy it instead")
    if by_name and not _is_same(path, facts):
        raise NotAFileError(path, "it is a link, not a file, or was replaced a moment ago")


def _open(path: Path, folder: int | None) -> int:
    if sys.platform == "win32":
        return os.open(path, os.O_RDONLY | os.O_BINARY | os.O_NOINHERIT)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not be waited for
    try:
        return os.open(path.name, flags, dir_fd=folder)
    except OSError:
        if path.is_symlink():
            raise NotAFileError(path, "it is a link, not a file") from None
        raise


def _is_same(path: Path, opened: os.stat_result) -> bool:
    facts = os.lstat(path)
    return not _leads_elsewhere(facts) and (facts.st_dev, facts.st_ino) == (opened.st_dev, opened.st_ino)
