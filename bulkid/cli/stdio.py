"""Standard streams whose errors cannot abort a run: closed pipes, missing streams, full disks; and printing JSON."""

import errno
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

from bulkid.errors import BulkidError
from bulkid.text import printable, printable_json


class OutputError(BulkidError):
    """Standard output cannot be written (a full disk). What a run did is in its report all the same."""


class SafeStream:
    """A text stream that discards the rest of the output after a write error.

    A pipe whose reader has left (``2>&1 | head``) or a terminal that was closed is no error of the run.

    Args:
        wanted: The user relies on the output: then every error but a closed pipe is raised.
    """

    def __init__(self, stream: TextIO, *, wanted: bool) -> None:
        self._stream = stream
        self._wanted = wanted
        self._styled = stream.isatty()  # the styles of a terminal are control characters themselves

    def write(self, text: str) -> int:
        """Write, or discard after an error; control characters become escapes unless the stream is a terminal."""
        try:
            self._stream.write(text if self._styled else printable(text))
            return len(text)
        except OSError as error:
            self._handle_error(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or do nothing after an error."""
        try:
            self._stream.flush()
        except OSError as error:
            self._handle_error(error)

    def _handle_error(self, error: OSError) -> None:
        """Discard the rest, buffered text included, or the interpreter reports an error when it ends."""
        with suppress(OSError, ValueError):
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, self._stream.fileno())
            os.close(devnull)
        if self._wanted and not _is_closed_pipe(error):
            raise OutputError(f"The output cannot be written: {error.strerror or error}.") from None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else the stream has
        return getattr(self._stream, name)


def _is_closed_pipe(error: OSError) -> bool:
    """Whether a pipe has lost its reader, which Windows calls an invalid argument."""
    return isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)


def wrap_standard_streams() -> None:
    """Wrap the standard streams so that write errors cannot abort a run; replace those that a service lacks."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - it lives as long as the process
    sys.stdout = cast("TextIO", SafeStream(_buffered(sys.stdout or _open_devnull()), wanted=True))
    sys.stderr = cast("TextIO", SafeStream(_buffered(sys.stderr or _open_devnull()), wanted=False))


def _buffered(stream: TextIO) -> TextIO:
    """Give a stream without a buffer (``PYTHONUNBUFFERED``) one, which it flushes at the end of each line.

    A terminal takes a part of a long text when a signal arrives. Without a buffer the rest would be lost.
    """
    raw = getattr(stream, "buffer", None)
    if not isinstance(raw, io.RawIOBase):
        return stream
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=stream.encoding, errors=stream.errors, line_buffering=True)


def _open_devnull() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def is_interactive() -> bool:
    """Whether a user can be asked: standard input and standard error are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def print_json(value: object) -> None:
    """Print JSON as UTF-8, as programs expect it, whatever encoding the system has for its pipes."""
    import orjson

    if (reconfigure := getattr(sys.stdout, "reconfigure", None)) is not None:
        reconfigure(encoding="utf-8", newline="\n")
    sys.stdout.write(printable_json(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()) + "\n")
    sys.stdout.flush()
