"""What lies at a path: only a regular file can be read as a sheet, a plan file or a job file."""

import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def kind_of_mode(mode: int) -> str:
    """Name what a mode of ``stat`` says: ``""``` for a regular file, else "a folder", "a named pipe" and the like."""
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "")


def special_kind(path: Path) -> str:
    """Name what lies at a path where it is no regular file, without opening it: a named pipe would wait for a writer.

    Returns:
        ``""``` for a regular file.

    Raises:
        OSError: Nothing is there, or it cannot be looked at.
        ValueError: The path holds a NUL.
    """
    return kind_of_mode(os.stat(path).st_mode)  # noqa: PTH116 - follows links, as opening does
