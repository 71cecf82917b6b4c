"""Reading a spreadsheet in a process of its own, so that no file can take this process down, and cancelling a reading.

calamine is fast and not made for hostile files: some make it ask for more memory than there is, which ends its process
at once, and others never let it end. The scan (:mod:`bulkid.sheet.error_scan`) refuses all those that are known. For
the unknown ones, the child process has limits of memory and of time, knows nothing but the file, and only sends texts
back. If it ends early, the file is refused.

The parent sends the file's content through the child's standard input, then one line for each chunk of rows that it
wants; the child (:mod:`bulkid.sheet.isolated_child`) answers on its standard output. Neither holds more than a chunk,
and the rows can be read again from the first one. The child watches its standard input, and ends with its parent.
"""

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, cast

import orjson

from bulkid.errors import BulkidError, InterruptedRunError, SheetError
from bulkid.sheet.workbook import Table

MAX_RESPONSE = 64 << 20
"""Bytes of one answer, which holds one row at least."""

LENGTH = struct.Struct("<Q")
"""Stands before the content of the file and before each answer."""

START, NEXT = "start", "next"
"""What the parent may ask for: rows from the first one, so many at a time, or the next chunk of them."""

_BLOCK = 1 << 20
_KEPT_VARIABLES = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
"""What a Python needs to start; the child gets nothing else of the environment, which holds secrets."""


class CancelToken:
    """Ends one reading of a sheet, from any thread; it cannot be reset."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: list[Callable[[], None]] = []
        self.cancelled = False

    def cancel(self) -> None:
        """End the reading; harmless when repeated. Does not wait until it has ended."""
        with self._lock:
            self.cancelled = True
            ends, self._ends = self._ends, []
        for end in ends:
            end()

    def on_cancel(self, end: Callable[[], None]) -> None:
        """Call a function when the reading is cancelled, in the thread that cancels; at once where it is already."""
        with self._lock:
            if not self.cancelled:
                self._ends.append(end)
                return
        end()


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the child process."""

    memory: int = 2 << 30  # bytes of address space (not held on macOS); a million rows of ten columns take half of it
    time_s: float = 120.0  # for one answer, and of processor time altogether; opening 100,000 rows takes a second
    program: tuple[str, ...] = ("-P", "-m", "bulkid.sheet.isolated_child")  # as arguments of Python; for tests


def open_isolated(
    stream: BinaryIO,
    source: str,
    kind: str,
    wanted: str | None,
    limits: Limits | None = None,
    *,
    token: CancelToken | None = None,
) -> Table:
    """Open one worksheet in a child process, with the arguments of ``open_worksheet``. Blocks, in any thread.

    A token that is cancelled ends the child at once.

    Raises:
        SheetError: As for ``open_worksheet``; or the child took too much memory or time, or ended early.
        InterruptedRunError: The reading was cancelled.
    """
    token = token or CancelToken()
    child = _Child(source, limits or Limits(), token)
    try:
        token.on_cancel(child.end)
        found = child.opened(stream, {"source": source, "kind": kind, "wanted": wanted})
    except BaseException:  # an interrupt too must not leave the child behind; it is raised again
        child.close()
        raise

    def rows(size: int) -> Generator[list[tuple[str, ...]], None, None]:
        response = child.ask(f"{START} {size}")
        while response["rows"]:
            yield [tuple(cells) for cells in response["rows"]]
            response = child.ask(NEXT)

    notes, names = tuple(found["notes"]), tuple(found["names"])
    return Table(rows, notes, found["name"], names, found["guessed"], close=child.close)


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
        self._to_child = cast("IO[bytes]", self._process.stdin)
        self._from_child = cast("IO[bytes]", self._process.stdout)

    def opened(self, stream: BinaryIO, task: Mapping[str, Any]) -> dict[str, Any]:
        """Send the file to the child; return what the child found out about it."""
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        limits = {"memory": self._limits.memory, "cpu_s": int(self._limits.time_s) + 1}
        with self._deadline():
            self._send(orjson.dumps({**task, **limits}) + b"\n" + LENGTH.pack(size))
            while size > 0 and (block := stream.read(min(size, _BLOCK))):
                size -= len(block)
                self._send(block)
            return self._read_response()

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command and return its answer."""
        with self._deadline():
            self._send(f"{command}\n".encode())
            return self._read_response()

    def end(self) -> None:
        """End the child, which ends the wait for its answer; harmless when repeated."""
        self._process.kill()

    def close(self) -> None:
        """End the child and free what it holds; harmless when repeated."""
        self.end()
        self._process.wait()
        for pipe in (self._to_child, self._from_child):
            with suppress(OSError):  # what could not be written any more
                pipe.close()

    @contextmanager
    def _deadline(self) -> Generator[None, None, None]:
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
        with suppress(OSError, ValueError):  # the child has ended: its answer or its exit code says why
            self._to_child.write(content)
            self._to_child.flush()

    def _read_response(self) -> dict[str, Any]:
        head = self._from_child.read(LENGTH.size)
        size = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else MAX_RESPONSE + 1
        body = self._from_child.read(size) if size <= MAX_RESPONSE else b""
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
        why = f"it takes longer than {self._limits.time_s:g} seconds."
        if not self._late:
            memory = f"{self._limits.memory >> 20:,} MB of memory"
            why = f"the process that reads it ended early. The file is damaged, or takes more than {memory}."
        return SheetError(
            f"{self._source} cannot be read: {why}",
            hint="Open it in a spreadsheet program and save the rows and columns that you need as CSV.",
        )


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
