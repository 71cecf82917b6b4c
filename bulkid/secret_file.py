"""Reads the text of a file that holds one secret, and nothing else."""

import errno
import os
import stat
import time
from pathlib import Path
from typing import Final

MAX_SECRET_BYTES = 64 * 1024
"""Largest file that is read: no secret is longer, and a device such as /dev/zero has no end."""

PIPE_WAIT_S = 10.0
"""Seconds until a program must have opened a pipe and written to it."""

_POLL_S: Final = 0.05

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # what Windows PowerShell's ">" writes


class SecretTooLargeError(Exception):
    """The file is larger than ``MAX_SECRET_BYTES``."""


def read_secret_text(path: Path) -> str:
    """Return the text of a file (UTF-8, or UTF-16 with a byte order mark) without the line ends behind it.

    Raises:
        OSError: The file cannot be read.
        SecretTooLargeError: It is too large to be the file of a secret.
        ValueError: It is not text.
    """
    if stat.S_ISFIFO(path.stat().st_mode):
        content = pipe_content(path, MAX_SECRET_BYTES)
    else:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    if len(content) > MAX_SECRET_BYTES:
        raise SecretTooLargeError
    return content.decode("utf-16" if content.startswith(_UTF16_MARKS) else "utf-8-sig").rstrip("\r\n")


def pipe_content(path: Path, max_bytes: int) -> bytes:
    """Read what a program writes to a pipe, as in ``<(vault read ...)`` of a shell; without one it would never end.

    Reading stops one byte behind ``max_bytes``.

    Raises:
        OSError: It cannot be opened, or nothing has written to it in time.
    """
    content = b""
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb", buffering=0) as pipe:
        tries = round(PIPE_WAIT_S / _POLL_S)
        while len(content) <= max_bytes:
            read = pipe.read(max_bytes + 1 - len(content))
            if read:
                content += read
                continue
            if read is not None:  # no program has it open
                if content or not tries:
                    break
                tries -= 1
            time.sleep(_POLL_S)
    if not content:
        raise OSError(errno.ETIMEDOUT, f"no program has written to this pipe within {PIPE_WAIT_S:g} seconds")
    return content


def path_exists(path: Path) -> bool:
    """Whether a path exists; one that cannot be looked up does not."""
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long or holds a NUL, a folder that may not be searched
        return False
