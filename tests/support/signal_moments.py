"""Started by a test: runs a command, and at many moments of its start a copy of the process that gets a signal there.

    python signal_moments.py SIGNAL STEP LOG ARGUMENT...

At every STEP-th function call, and in callbacks of the import system (Python drops an exception that is raised there),
the process is forked: the copy gets the signal and goes on by itself; how it ended is a line of LOG. The copies begin
before the event loop does.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType

CALLBACKS = 200
"""One in so many callbacks of the import system is a moment."""

LONGEST_S = 120
"""A copy that has not ended by then has lost its signal."""


def main() -> None:
    number, step, log = getattr(signal, sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    calls = callbacks = 0

    def moment(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls, callbacks
        if event != "call":
            return
        calls += 1
        in_callback = frame.f_code.co_name == "cb" and "importlib" in frame.f_code.co_filename
        callbacks += in_callback
        if calls % step and not (in_callback and callbacks % CALLBACKS == 1):
            return
        if asyncio._get_running_loop() is not None:
            sys.setprofile(None)
            return
        said = log.with_suffix(f".{calls}")
        sys.stdout.flush()
        copy = os.fork()
        if copy:
            _, status = os.waitpid(copy, 0)
            with log.open("a", encoding="utf-8") as lines:
                ended = os.waitstatus_to_exitcode(status)
                lines.write(json.dumps([calls, in_callback, ended, said.read_text("utf-8")]) + "\n")
            return
        sys.setprofile(None)
        signal.alarm(LONGEST_S)
        for stream in (1, 2):
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), stream)
        signal.raise_signal(number)

    sys.argv = ["bulkid", *sys.argv[4:]]
    import bulkid.cli.signals  # noqa: F401 - what precedes the handler has a test of its own
    from bulkid.cli import main as start

    sys.setprofile(moment)
    start()


if __name__ == "__main__":
    main()
