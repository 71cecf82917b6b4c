"""The child process that reads a sheet: how it is started and ended.

The command line starts it before all else, since its own start takes longest. So this module imports little.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Final, cast

CHILD_OF_PROGRAM = "--read-sheet-for-parent"
"""The only argument by which the program without Python starts itself as the child; no option of the command line."""

_KEPT_VARIABLES = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
"""What a Python needs to start; the child gets nothing else of the environment, which holds secrets."""

_THREADS_OF_NUMPY = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""The child, which computes nothing, would else reserve memory for a thread on each core: its limit counts that."""


def child_arguments() -> tuple[str, ...]:
    """Return the arguments that make ``sys.executable`` the child: those of Python, or of the program without it."""
    if getattr(sys, "frozen", False):
        return (CHILD_OF_PROGRAM,)
    return ("-P", "-c", "from bulkid.sheet.isolated_child import run; run()")  # -m takes 15 ms more


class Limits:
    """Limits of the child process.

    Args:
        memory: Bytes of address space (not held on macOS); a million rows of ten columns take half of it.
        time_s: For one response, and of processor time altogether; opening 100,000 rows takes a second.
        program: The arguments of the Python that is the child; for tests.
    """

    def __init__(self, memory: int = 2 << 30, time_s: float = 120.0, program: tuple[str, ...] = ()) -> None:
        self.memory: Final = memory
        self.time_s: Final = time_s
        self.program: Final = program or child_arguments()


Process = subprocess.Popen[bytes]


class SpareChild:
    """At most one child process that was started before its sheet is known; any thread may take it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Process | None = None

    @contextmanager
    def started(self, *, for_text: bool) -> Iterator[None]:
        """Start the child, and end it with the block unless it is taken. A machine that can start none goes without.

        Args:
            for_text: Have the child import what reads texts, which takes the longest.
        """
        with suppress(OSError):
            self._process = start_child(Limits(), *(("text",) if for_text else ()))
        try:
            yield
        finally:
            process = self.take()
            if process is not None:
                end_child(process)

    def take(self) -> Process | None:
        """Return the child for one sheet; None where there is none. The caller ends it."""
        with self._lock:
            process, self._process = self._process, None
        return process


spare_child = SpareChild()
"""The one of this process: the command line starts it ahead of all other modules."""


def start_child(limits: Limits, *arguments: str) -> Process:
    """Start the child.

    Raises:
        OSError: The machine can start no process.
    """
    return subprocess.Popen(  # noqa: S603 - this Python or this program, and no shell
        [sys.executable, *limits.program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a panic of calamine's prints itself
        env=child_environment(),
        **process_group_options(),
    )


def end_child(process: Process) -> None:
    """End a child and free what it holds; harmless when repeated.

    Another thread waits for the system to end it, which takes some milliseconds for the memory of pandas.
    """
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what could not be written any more
            cast("IO[bytes]", pipe).close()
    try:
        threading.Thread(target=process.wait, daemon=True).start()
    except RuntimeError:  # the machine can start no thread
        process.wait()


def child_environment() -> dict[str, str]:
    """The child's environment: what Python needs, and where this process finds its modules."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {
        **kept,
        **dict.fromkeys(_THREADS_OF_NUMPY, "1"),
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def process_group_options() -> dict[str, Any]:
    """Keep Ctrl+C of the terminal from the child: this process decides when it ends."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}
