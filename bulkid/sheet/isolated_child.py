"""The child process of :mod:`bulkid.sheet.isolation`: reads one sheet for its parent, within limits."""

import gc
import io
import json
import os
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, NoReturn

import orjson

from bulkid.errors import SheetError
from bulkid.sheet.csv_reader import open_text_table
from bulkid.sheet.headers import SheetOptions
from bulkid.sheet.isolation import LENGTH, MAX_RESPONSE, PREPARE, START
from bulkid.sheet.table import WORKBOOK_KINDS, Table
from bulkid.sheet.text_format import UncertainEncodingError

_TYPICAL_RESPONSE_SIZE = 8 << 20  # bytes; rows that take more are sent in several responses


_TABLE_FIELDS = ("notes", "name", "names", "guessed", "encoding", "delimiter", "first_column")


def main() -> None:
    """Answer the parent until it closes the pipe."""
    if "text" in sys.argv[1:]:
        gc.disable()  # an import makes many objects that stay; to search them for garbage takes a tenth of its time
        import pandas as pd  # noqa: F401 - the parent started this process ahead, and its sheet is a text

        gc.freeze()
        gc.enable()
    else:
        import bulkid.sheet.workbook  # noqa: F401 - a spreadsheet is to be read, and this process has no limits yet

    source, out = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing else may write between the responses
    line = source.readline()
    if not line:  # the parent has no sheet to read
        return
    task: dict[str, Any] = json.loads(line)
    limit(task["memory"], task["cpu_s"])
    try:
        (size,) = LENGTH.unpack(source.read(LENGTH.size))
        content = io.BytesIO(source.read(size))
        commands: SimpleQueue[bytes] = SimpleQueue()
        threading.Thread(target=_listen, args=(source, commands), daemon=True).start()
        table = _open(
            content,
            task["source"],
            task["kind"],
            SheetOptions(**{**task["options"], "ignore_columns": tuple(task["options"]["ignore_columns"])}),
        )
        _respond(out, {key: getattr(table, key) for key in _TABLE_FIELDS})
        _serve(commands, out, table, task["source"])
    except UncertainEncodingError as error:
        _respond(out, {"readings": dict(error.readings)})
    except SheetError as error:
        _respond(out, {"error": error.message, "hint": error.hint})
    except MemoryError:
        _respond(out, {"error": f"{task['source']} does not fit into memory.", "hint": "Save the sheet as CSV."})


def _open(content: BinaryIO, source: str, kind: str, options: SheetOptions) -> Table:
    if kind in WORKBOOK_KINDS:
        from bulkid.sheet.workbook import open_worksheet

        return open_worksheet(content, source, kind, options.sheet)
    return open_text_table(content, source, kind, options)


def _listen(source: BinaryIO, commands: "SimpleQueue[bytes]") -> None:
    """Take the parent's commands, and end this process as soon as the parent has ended.

    calamine lets other threads run while it works (it releases the interpreter's lock).
    """
    for line in source:
        commands.put(line)
    os._exit(0)


def _serve(commands: "SimpleQueue[bytes]", out: BinaryIO, table: Table, source: str) -> None:
    responses: Generator[bytes, None, None] | None = None
    ready = b""
    prepared = 0  # the size of chunks of which the first is ready, and none was asked for yet
    while True:
        command, *arguments = commands.get().decode().split()
        if command == PREPARE:
            prepared = 0
            with suppress(SheetError, MemoryError):  # START comes upon it again, and says so
                responses = _responses(table, source, int(arguments[0]))
                ready = next(responses)
                prepared = int(arguments[0])
            continue
        if command == START and int(arguments[0]) != prepared:
            responses = _responses(table, source, int(arguments[0]))
            ready = next(responses)
        if responses is None:
            return
        prepared = 0
        _send(out, ready)
        ready = next(responses, ready)  # while the parent works on the last ones


def _responses(table: Table, source: str, size: int) -> Generator[bytes, None, None]:
    for chunk in table.rows(size):
        yield from _encoded(chunk, source)
    yield orjson.dumps({"rows": []})


def _encoded(rows: list[tuple[str, ...]], source: str) -> Generator[bytes, None, None]:
    """Encode rows, in as many responses as keeps each small."""
    widths = set(map(len, rows))
    if len(widths) == 1 and any(widths):
        # zip would make an iterator for each row, which sets off the search for garbage cycles
        encoded = orjson.dumps({"columns": [[row[place] for row in rows] for place in range(max(widths))]})
    else:
        encoded = orjson.dumps({"rows": rows})
    if len(encoded) > MAX_RESPONSE and len(rows) == 1:
        raise SheetError(
            f"{source}: a row holds more than {MAX_RESPONSE >> 20} MB.", hint="Save the columns that you need as CSV."
        )
    if len(encoded) <= _TYPICAL_RESPONSE_SIZE or len(rows) == 1:
        yield encoded
        return
    half = len(rows) // 2
    yield from _encoded(rows[:half], source)
    yield from _encoded(rows[half:], source)


def _respond(out: BinaryIO, facts: Mapping[str, object]) -> None:
    """Send all but rows: by json, since a message may hold what is no text, as bytes of the command line."""
    _send(out, json.dumps(facts).encode())


def _send(out: BinaryIO, encoded: bytes) -> None:
    out.write(LENGTH.pack(len(encoded)))
    out.write(encoded)
    out.flush()


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
    _PROCESS_TIME, _PROCESS_MEMORY = 0x2, 0x100  # JOB_OBJECT_LIMIT_PROCESS_TIME, ..._PROCESS_MEMORY
    _TICKS_PER_SECOND = 10_000_000

    class _JobLimits(ctypes.Structure):
        """JOBOBJECT_EXTENDED_LIMIT_INFORMATION, with the structures in it laid out flat."""

        _fields_ = (
            ("PerProcessUserTimeLimit", ctypes.c_int64),
            ("PerJobUserTimeLimit", ctypes.c_int64),
            ("LimitFlags", wintypes.DWORD),
            ("MinimumWorkingSetSize", ctypes.c_size_t),
            ("MaximumWorkingSetSize", ctypes.c_size_t),
            ("ActiveProcessLimit", wintypes.DWORD),
            ("Affinity", ctypes.c_size_t),
            ("PriorityClass", wintypes.DWORD),
            ("SchedulingClass", wintypes.DWORD),
            ("IoInfo", ctypes.c_uint64 * 6),
            ("ProcessMemoryLimit", ctypes.c_size_t),
            ("JobMemoryLimit", ctypes.c_size_t),
            ("PeakProcessMemoryUsed", ctypes.c_size_t),
            ("PeakJobMemoryUsed", ctypes.c_size_t),
        )

    def limit(memory: int, cpu_s: int) -> None:
        """Limit this process to bytes of committed memory and seconds of processor time, by a job object of its own.

        Raises:
            OSError: Windows refuses it.
        """
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.CreateJobObjectW.restype = wintypes.HANDLE
        kernel.GetCurrentProcess.restype = wintypes.HANDLE
        kernel.SetInformationJobObject.argtypes = (wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD)
        kernel.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
        limits = _JobLimits(
            PerProcessUserTimeLimit=cpu_s * _TICKS_PER_SECOND,
            LimitFlags=_PROCESS_TIME | _PROCESS_MEMORY,
            ProcessMemoryLimit=memory,
        )
        job = kernel.CreateJobObjectW(None, None)
        if not (
            job
            and kernel.SetInformationJobObject(job, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits))
            and kernel.AssignProcessToJobObject(job, kernel.GetCurrentProcess())
        ):
            raise ctypes.WinError(ctypes.get_last_error())

else:
    import resource

    def limit(memory: int, cpu_s: int) -> None:
        """Limit this process to bytes of address space and seconds of processor time; keep it from writing files."""
        for kind, wanted in (
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_CPU, cpu_s),
            (resource.RLIMIT_CORE, 0),  # a core file would hold what the sheet holds
            (resource.RLIMIT_FSIZE, 0),
        ):
            _, hard = resource.getrlimit(kind)
            lower = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            with suppress(ValueError, OSError):  # macOS refuses some limits of memory: its limit of time remains
                resource.setrlimit(kind, (lower, lower))


def run() -> NoReturn:
    """Answer the parent, then end this process."""
    with suppress(BrokenPipeError):  # the parent does not want the rest
        main()
    os._exit(0)  # at once: the thread that listens holds what the interpreter would close
