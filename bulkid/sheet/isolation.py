"""Reading a sheet in a process of its own, so that no file can take this process down, and cancelling a reading.

calamine is fast and not made for hostile files: some make it ask for more memory than there is, which ends its process
at once, and others never let it end. The scan (:mod:`bulkid.sheet.error_scan`) refuses all those that are known. For
the unknown ones, the child process has limits of memory and of time, knows nothing but the file, and only sends texts
back. If it ends early, the file is refused.

A text is read in a child only where one was started for it ahead (:mod:`bulkid.sheet.child_process`): the child then
imports pandas and reads the sheet on another core, while this process imports its own modules.

The parent sends the file's content through the child's standard input, then one line for each chunk of rows that it
wants; the child (:mod:`bulkid.sheet.isolated_child`) answers on its standard output, and makes the next chunk while the
parent works on the last one. Neither holds more than a chunk or two, and the rows can be read again from the first one.
The child watches its standard input, and ends with its parent.
"""

import json
import os
import struct
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import IO, Any, BinaryIO, cast

import orjson

from bulkid.errors import BulkidError, InterruptedRunError, SheetError
from bulkid.sheet.child_process import Limits, Process, end_child, start_child
from bulkid.sheet.headers import SheetOptions
from bulkid.sheet.table import WORKBOOK_KINDS, Table
from bulkid.sheet.text_format import UncertainEncodingError

MAX_RESPONSE = 64 << 20
"""Bytes of one response, which holds one row at least."""

LENGTH = struct.Struct("<Q")
"""Stands before the content of the file and before each response."""

START, NEXT, PREPARE = "start", "next", "prepare"
"""What the parent may ask for: rows from the first one, so many at a time; the next chunk of them; or to have the
first chunk ready before it asks for that, which has no response."""

ROWS = (b'{"columns":', b'{"rows":')
"""How a response that holds rows begins: rows of one length come by columns, which takes half as long to read."""

_BLOCK = 1 << 20


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


def open_isolated(
    stream: BinaryIO,
    source: str,
    kind: str,
    options: SheetOptions | None = None,
    limits: Limits | None = None,
    *,
    token: CancelToken | None = None,
    process: Process | None = None,
) -> Table:
    """Open a text or one worksheet in a child process. Blocks, in any thread.

    A token that is cancelled ends the child at once.

    Args:
        stream: Seekable bytes, which are sent to the child as a whole.
        source: The sheet's name for messages.
        kind: The extension without its dot; any that is of no workbook is a text.
        options: What the user says about the sheet.
        limits: What the child may take; a process that is given has its program already.
        token: Ends the reading.
        process: The child, where it was started ahead.

    Raises:
        SheetError: As for ``open_worksheet`` and ``open_text_table``; or the child took too much memory or time, or
            ended early.
        InterruptedRunError: The reading was cancelled.
    """
    token = token or CancelToken()
    child = _Child(source, kind, limits or Limits(), token, process)
    try:
        token.on_cancel(child.end)
        found = child.opened(stream, options or SheetOptions())
    except BaseException:  # an interrupt too must not leave the child behind; it is raised again
        child.close()
        raise

    def rows(size: int) -> Generator[list[tuple[str, ...]], None, None]:
        response = child.ask(f"{START} {size}")
        while chunk := _chunk_of(response):
            yield chunk
            response = child.ask(NEXT)

    found |= {"notes": tuple(found["notes"]), "names": tuple(found["names"])}
    return Table(rows, **found, close=child.close, prepare=child.prepare)


def _chunk_of(response: Mapping[str, Any]) -> list[tuple[str, ...]]:
    if "columns" in response:
        return list(zip(*response["columns"], strict=True))
    return [tuple(cells) for cells in response["rows"]]


class _Child:
    """The child process, and the conversation with it."""

    def __init__(self, source: str, kind: str, limits: Limits, token: CancelToken, process: Process | None) -> None:
        self._source = source
        self._kind = kind
        self._limits = limits
        self._token = token
        self._late = False
        try:
            self._process = process or start_child(limits)
        except OSError as error:
            raise SheetError(
                f"{source} cannot be read: no process can be started for it ({error.strerror or error}).",
                hint="Try again when the machine is less busy, or save the sheet as CSV.",
            ) from None
        self._to_child = cast("IO[bytes]", self._process.stdin)
        self._from_child = cast("IO[bytes]", self._process.stdout)

    def opened(self, stream: BinaryIO, options: SheetOptions) -> dict[str, Any]:
        """Send the file to the child; return what the child found out about it: fields of a ``Table``."""
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        task = {
            "source": self._source,
            "kind": self._kind,
            "options": {each.name: getattr(options, each.name) for each in fields(options)},
            "memory": self._limits.memory,
            "cpu_s": int(self._limits.time_s) + 1,
        }
        with self._deadline():
            # json, not orjson: an option may hold bytes of the command line that are no text
            self._send(json.dumps(task, default=dict).encode() + b"\n" + LENGTH.pack(size))
            while size > 0 and (block := stream.read(min(size, _BLOCK))):
                size -= len(block)
                self._send(block)
            return self._read_response()

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command and return its response."""
        with self._deadline():
            self._send(f"{command}\n".encode())
            return self._read_response()

    def prepare(self, size: int) -> None:
        """Have the child make the first chunk of so many rows, without waiting for it."""
        self._send(f"{PREPARE} {size}\n".encode())

    def end(self) -> None:
        """End the child, which ends the wait for its response; harmless when repeated."""
        self._process.kill()

    def close(self) -> None:
        """End the child and free what it holds; harmless when repeated."""
        end_child(self._process)

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
        with suppress(OSError, ValueError):  # the child has ended: its response or its exit code says why
            self._to_child.write(content)
            self._to_child.flush()

    def _read_response(self) -> dict[str, Any]:
        head = self._from_child.read(LENGTH.size)
        size = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else MAX_RESPONSE + 1
        body = self._from_child.read(size) if size <= MAX_RESPONSE else b""
        if len(body) < size:
            raise self._child_ended()
        # orjson for rows; messages may hold what is no text, as bytes of the command line
        response: dict[str, Any] = orjson.loads(body) if body.startswith(ROWS) else json.loads(body)
        if "readings" in response:
            readings = response["readings"]
            raise UncertainEncodingError(
                self._source, {each: tuple(map(tuple, lines)) for each, lines in readings.items()}
            )
        if "error" in response:
            raise SheetError(response["error"], hint=response["hint"])
        return response

    def _child_ended(self) -> BulkidError:
        """Say why there is no response."""
        self.end()
        self._process.wait()
        if self._token.cancelled:
            return InterruptedRunError(f"The reading of {self._source} was stopped.")
        why = f"it takes longer than {self._limits.time_s:g} seconds."
        if not self._late:
            memory = f"{self._limits.memory >> 20:,} MB of memory"
            why = f"the process that reads it ended early. The file is damaged, or takes more than {memory}."
        hint = "Open it in a spreadsheet program and save the rows and columns that you need as CSV."
        if self._kind not in WORKBOOK_KINDS:
            hint = "Check that the file is the right one, and is CSV."
        return SheetError(f"{self._source} cannot be read: {why}", hint=hint)
