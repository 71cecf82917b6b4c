"""Reading a spreadsheet in a process of its own, so that no file can take this process down.

calamine is fast and not made for files that mean harm: some make it ask for more memory than there is, which ends its
process at once, and others never let it end. The scan (``prescan``) refuses all those that are known. This module
keeps the unknown ones from doing harm: the child process has limits of memory and of time, knows nothing but the file,
and only ever sends texts back. If it ends early, the file is refused.

The parent sends the file's content through the child's standard input, then one line for each chunk of rows that it
wants; the child answers on its standard output (``isolated_child``). So neither holds more than a chunk, and the rows
can be read again from the first one. The child ends with its parent, however that ends: it watches its standard input.
"""

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

import orjson

from bulkid.errors import BulkidError, InterruptedRunError, SheetError
from bulkid.sheet.cancellation import CancelToken
from bulkid.sheet.workbook import Worksheet

MEMORY_LIMIT = 2 << 30
"""Bytes of address space that the child may use; a million rows of ten columns take about half of it."""

TIME_LIMIT_S = 120.0
"""Seconds that the child may take for one answer. Opening a file takes longest: a second for 100,000 rows."""

MAX_RESPONSE = 64 << 20
"""Bytes of one answer, which holds one row at least."""

LENGTH = struct.Struct("<Q")
"""Stands before the content of the file and before each answer."""

START, NEXT = "start", "next"
"""What the parent may ask for: rows from the first one, so many at a time, or the next chunk of them."""

_CHILD = "bulkid.sheet.isolated_child"
_BLOCK = 1 << 20
_KEPT_VARIABLES = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
"""What a Python needs to start; nothing else of the environment, which holds secrets, is handed on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the child process.

    Args:
        memory: Bytes of address space. macOS does not hold a process to it; there the limit of time has to do.
        time_s: Seconds for one answer, and of processor time altogether.
        program: What the child runs, as arguments of Python; for tests.
    """

    memory: int = MEMORY_LIMIT
    time_s: float = TIME_LIMIT_S
    program: tuple[str, ...] = ("-P", "-m", _CHILD)


def open_isolated(
    stream: BinaryIO,
    source: str,
    kind: str,
    wanted: str | None,
    limits: Limits | None = None,
    *,
    token: CancelToken | None = None,
) -> Worksheet:
    """Open one worksheet of a workbook in a child process. Blocks, and may be called in any thread.

    Args:
        stream: Seekable bytes; read to the end, and not needed any more afterwards.
        source: The sheet's name for messages.
        kind: The extension without its dot.
        wanted: The worksheet's name; None takes the first visible one.
        limits: Of the child; None for the usual ones.
        token: Ends the child at once when it is cancelled.

    Raises:
        SheetError: As for ``open_worksheet``; or the child took too much memory or time, or ended early.
        InterruptedRunError: The reading was cancelled.
    """
    token = token or CancelToken()
    child = _Child(source, limits or Limits(), token)
    try:
        token.on_cancel(child.end)
        stream.seek(0)
        found = child.opened(stream, {"source": source, "kind": kind, "wanted": wanted})
    except BaseException:
        child.close()
        raise

    def rows(size: int) -> Generator[list[tuple[str, ...]], None, None]:
        response = child.ask(f"{START} {size}")
        while response["rows"]:
            yield [tuple(cells) for cells in response["rows"]]
            response = child.ask(NEXT)

    return Worksheet(
        name=found["name"],
        rows=rows,
        notes=tuple(found["notes"]),
        guessed=found["guessed"],
        close=child.close,
        names=tuple(found["names"]),
    )


class _Child:
    """The child process, and the conversation with it."""

    def __init__(self, source: str, limits: Limits, token: CancelToken) -> None:
        self._source = source
        self._limits = limits
        self._token = token
        self._late = False
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, a module of bulkid, and no shell
                [sys.executable, *limits.program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # a panic of calamine's prints itself
                env=_environment(),
                **_process_group_options(),
            )
        except OSError as error:
            raise SheetError(
                f"{source} cannot be read: no process can be started for it ({error.strerror or error}).",
                hint="Try again when the machine is less busy, or save the sheet as CSV.",
            ) from None

    def opened(self, stream: BinaryIO, task: Mapping[str, Any]) -> dict[str, Any]:
        """Hand over the file; return what the child found out of it."""
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        limits = {"memory": self._limits.memory, "cpu_s": int(self._limits.time_s) + 1}
        with self._with_deadline():
            self._send(orjson.dumps({**task, **limits}) + b"\n" + LENGTH.pack(size))
            while size > 0 and (block := stream.read(min(size, _BLOCK))):
                size -= len(block)
                self._send(block)
            self._flush()
            return self._read_response()

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command and return its answer."""
        with self._with_deadline():
            self._send(f"{command}\n".encode())
            self._flush()
            return self._read_response()

    def end(self) -> None:
        """End the child, which ends the wait for its answer; harmless when repeated."""
        self._process.kill()

    def close(self) -> None:
        """End the child and give back what it holds; harmless when repeated."""
        self.end()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what could not be written any more
                    pipe.close()

    @contextmanager
    def _with_deadline(self) -> Generator[None, None, None]:
        timer = threading.Timer(self._limits.time_s, self._kill_overdue)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _kill_overdue(self) -> None:
        self._late = True
        self.end()

    def _send(self, content: bytes) -> None:
        # A child that has ended says why, or its exit code does: both are looked for when its answer is read.
        with suppress(OSError, ValueError):
            self._pipe(self._process.stdin).write(content)

    def _flush(self) -> None:
        with suppress(OSError, ValueError):
            self._pipe(self._process.stdin).flush()

    def _read_response(self) -> dict[str, Any]:
        out = self._pipe(self._process.stdout)
        head = out.read(LENGTH.size)
        size = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else MAX_RESPONSE + 1
        body = out.read(size) if size <= MAX_RESPONSE else b""
        if len(body) < size:
            raise self._child_ended()
        response: dict[str, Any] = orjson.loads(body)
        if "error" in response:
            raise SheetError(response["error"], hint=response["hint"])
        return response

    def _child_ended(self) -> BulkidError:
        """Say why there is no answer."""
        self.end()
        self._process.wait()
        if self._token.cancelled:
            return InterruptedRunError(f"The reading of {self._source} was stopped.")
        hint = "Open it in a spreadsheet program and save the rows and columns that you need as CSV."
        if self._late:
            return SheetError(
                f"{self._source} cannot be read: it takes longer than {self._limits.time_s:g} seconds.", hint=hint
            )
        return SheetError(
            f"{self._source} cannot be read: the process that reads it ended early. The file is damaged, or takes more "
            f"than {self._limits.memory >> 20:,} MB of memory.",
            hint=hint,
        )

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise ValueError("the child has no such pipe")
        return pipe


def _environment() -> dict[str, str]:
    """The child's environment: what Python needs, and where this process finds its modules."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _process_group_options() -> dict[str, Any]:
    """Keep Ctrl+C of the terminal from the child: this process decides when it ends."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}
