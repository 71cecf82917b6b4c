"""Reads a named pipe, without a wait for a program that never comes."""

import errno
import os
import time
from pathlib import Path
from typing import Final

PIPE_WAIT_S = 10.0
"""Seconds until a program must have opened a pipe."""

_POLL_S: Final = 0.05


def pipe_content(path: Path, max_bytes: int) -> bytes:
    """Read what a program writes to a pipe, as ``<(vault read ...)`` of a shell makes it. Blocks.

    A program that has the pipe open is waited for. Reading stops one byte behind ``max_bytes``.

    Raises:
        OSError: It cannot be opened, or no program has opened it and written to it in time.
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
            time.sleep(_POLL_S)  # before there is an event loop, or in a worker thread
    if not content:
        raise OSError(errno.ETIMEDOUT, f"no program has written to this pipe within {PIPE_WAIT_S:g} seconds")
    return content
