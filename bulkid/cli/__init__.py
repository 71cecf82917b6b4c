"""The command line: arguments in, one call of :mod:`bulkid.runs`, words and an exit code out."""

import gc
import sys

_COLLECT_AFTER = 100_000
"""New objects until the next search for garbage cycles. Python's own 700 costs a tenth of a run's CPU time: imports,
rows, plan and entries make millions of objects that stay, and hardly any cycle."""


def main() -> None:
    """Entry point of the ``bulkid`` command."""
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
    from bulkid.cli.app import app

    try:
        app(prog_name="bulkid", args=sys.argv[1:])
    finally:
        gc.freeze()  # else the interpreter goes through all of it once more as it ends
