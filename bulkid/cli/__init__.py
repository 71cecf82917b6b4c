"""The command line: parses arguments, calls :mod:`bulkid.runs`, prints the result and returns an exit code.

Start reading at :mod:`bulkid.cli.app`, which declares the commands; :mod:`bulkid.cli.commands` (and for those that send
:mod:`bulkid.cli.run_commands`) holds what they do, and :mod:`bulkid.cli.options` makes their options from the table of
settings. :func:`main` is the entry point.
"""

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_COLLECT_AFTER = 1_000_000
"""New objects until the next search for garbage cycles. Python's own 700 takes a tenth of a run's CPU time: a run makes
millions of objects that stay, and hardly any cycle (the peak memory over 100,000 rows is the same with either)."""


_COMMANDS_OF_SHEETS = frozenset({"check", "plan", "run"})
_TEXTS, _WORKBOOKS = (".csv", ".tsv", ".txt"), (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")


def ending_of_sheet(arguments: Sequence[str]) -> str:
    """Return the ending of the sheet that a command line is about, without a dot; empty where there is none.

    A guess, before the modules are there that parse a command line: the first file among the arguments that may be one.
    """
    if _COMMANDS_OF_SHEETS.isdisjoint(arguments):
        return ""
    named = (each for each in arguments if each.lower().endswith((*_TEXTS, *_WORKBOOKS)) and os.path.isfile(each))  # noqa: PTH113 - pathlib takes 10 ms to import
    return next(named, "").lower().rpartition(".")[2]


def usable_cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def sheet_child(arguments: Sequence[str]) -> Iterator[None]:
    """Start the child process that will read the sheet, before the modules of this process are imported.

    Where pandas is imported already, or where there is one core, a text is read faster without one.
    """
    ending = ending_of_sheet(arguments)
    is_text = f".{ending}" in _TEXTS
    if not ending or (is_text and ("pandas" in sys.modules or usable_cores() == 1)):
        yield
        return
    from bulkid.sheet.child_process import spare_child

    with spare_child.started(for_text=is_text):
        yield


def _answer_shell() -> None:
    """Answer a shell that asks for completions, and exit."""
    from bulkid.cli.app import app
    from bulkid.cli.completion import answer_shell

    answer_shell(app)


def main() -> None:
    """Entry point of the ``bulkid`` command."""
    try:
        from bulkid.cli.signals import pending_signals

        pending_signals.install()  # before anything else: what arrives from here on is not lost
        gc.set_threshold(_COLLECT_AFTER, 20, 20)
        from bulkid.cli.stdio import wrap_standard_streams

        wrap_standard_streams()
        if os.environ.get("_BULKID_COMPLETE"):
            _answer_shell()
        with sheet_child(sys.argv[1:]):
            from bulkid.cli.app import app_for

            app_for(sys.argv[1:])(prog_name="bulkid", args=sys.argv[1:])
    except (KeyboardInterrupt, RuntimeError) as error:
        from bulkid.errors import EXIT_INTERRUPTED, interrupted

        # While modules are still being imported; once a command runs, it stops in its own way.
        if not interrupted(error):
            raise
        sys.stderr.write("bulkid: stopped before anything was begun.\n")
        sys.exit(EXIT_INTERRUPTED)
    finally:
        gc.freeze()  # else the interpreter goes through all objects once more as it ends, which takes 0.2 s
