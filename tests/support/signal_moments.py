"""Started by a test: runs a command, and at many moments of its start a copy of the process that gets a signal there.

    python signal_moments.py SIGNAL STEP LOG ARGUMENT...

At moments that the events of the interpreter's audit spread over the start, the process is forked: the copy gets the
signal and goes on by itself; how it ended is a line of LOG. A moment is a function call some way behind every STEP-th
event, or the next callback of the import system (Python drops an exception that is raised there). The copies begin
before the event loop does. (To count the function calls of the whole start would take as long as the start twice over.)
"""

import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

CALLS = 700
"""How many function calls behind its event a moment is."""

CALLBACKS = 3
"""One of so many moments is a callback of the import system."""

LONGEST_S = 120
"""A copy that has not ended by then has lost its signal."""


class Moments:
    """Chooses the moments, and makes the copies."""

    def __init__(self, number: signal.Signals, step: int, log: Path) -> None:
        self._number, self._step, self._log = number, step, log
        self._events = self._calls = self._made = 0
        self._searching = self._for_callback = self._pausing = False

    def audit(self, _event: str, _arguments: object) -> None:
        """Count an event of the process; behind every STEP-th begins the search for a moment."""
        if self._pausing or threading.current_thread() is not threading.main_thread():
            return
        self._events += 1
        if self._events % self._step == 0:
            # Where nothing is imported any more there is no callback to find, and a call is a moment.
            self._for_callback = not self._searching and self._made % CALLBACKS == 0
            self._calls, self._searching = 0, True
            sys.setprofile(self._profile)

    def _profile(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call":
            return
        self._calls += 1
        in_callback = frame.f_code.co_name == "cb" and "importlib" in frame.f_code.co_filename
        if asyncio._get_running_loop() is not None:
            self._pausing = True
            sys.setprofile(None)
        elif in_callback if self._for_callback else self._calls == CALLS:
            sys.setprofile(None)
            self._searching = False
            self._made += 1
            self._copy(in_callback)

    def _copy(self, in_callback: bool) -> None:
        place = f"{self._events}+{self._calls}"
        said = self._log.with_suffix(f".{place}")
        sys.stdout.flush()
        self._pausing = True
        copy = os.fork()
        if copy:
            _, status = os.waitpid(copy, 0)
            with self._log.open("a", encoding="utf-8") as lines:
                ended = os.waitstatus_to_exitcode(status)
                lines.write(json.dumps([place, in_callback, ended, said.read_text("utf-8")]) + "\n")
            self._pausing = False
            return
        signal.alarm(LONGEST_S)
        for stream in (1, 2):
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), stream)
        signal.raise_signal(self._number)


def main() -> None:
    number, step, log = getattr(signal, sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    sys.argv = ["bulkid", *sys.argv[4:]]
    import bulkid.cli.signals  # noqa: F401 - what precedes the handler has a test of its own
    from bulkid.cli import main as start

    sys.addaudithook(Moments(number, step, log).audit)
    start()


if __name__ == "__main__":
    main()
