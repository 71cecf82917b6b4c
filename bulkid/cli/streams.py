"""Standard output and standard error that never end a run because nobody reads them any more."""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast


class Unfailing:
    """A text stream that goes silent where writing to it fails.

    A pipe whose reader has left (``2>&1 | head``) or a terminal that was closed says nothing about the work.

    Args:
        stream: Where to write.
        errors: What makes it go silent; other errors are raised.
    """

    def __init__(self, stream: TextIO, errors: type[OSError]) -> None:
        self._stream = stream
        self._errors = errors

    def write(self, text: str) -> int:
        """Write, or do as if."""
        try:
            return self._stream.write(text)
        except self._errors:
            self._silence()
            return len(text)

    def flush(self) -> None:
        """Flush, or do as if."""
        try:
            self._stream.flush()
        except self._errors:
            self._silence()

    def _silence(self) -> None:
        """Let the rest go nowhere, what is still buffered too, or the interpreter would complain when it ends."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else the stream has
        return getattr(self._stream, name)


def never_fail() -> None:
    """Make the standard streams so. An output that cannot be written for another reason (a full disk) still fails."""
    if sys.stdout is not None:  # as for a program without a console on Windows
        sys.stdout = cast("TextIO", Unfailing(sys.stdout, BrokenPipeError))
    if sys.stderr is not None:
        sys.stderr = cast("TextIO", Unfailing(sys.stderr, OSError))
