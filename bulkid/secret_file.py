"""Reads the text of a file that holds one secret, and nothing else."""

import stat
from pathlib import Path

from bulkid.named_pipe import pipe_content

MAX_SECRET_BYTES = 64 * 1024
"""Largest file that is read: no secret is longer, and a device such as /dev/zero has no end."""

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


def path_exists(path: Path) -> bool:
    """Whether a path exists; one that cannot be looked up does not."""
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long or holds a NUL, a folder that may not be searched
        return False
