"""The command line: arguments in, one call of :mod:`bulkid.runs`, words and an exit code out."""

import sys


def main() -> None:
    """Entry point of the ``bulkid`` command."""
    try:
        from bulkid.cli.streams import never_fail

        never_fail()
        from bulkid.cli.app import app

        app(prog_name="bulkid", args=sys.argv[1:])
    except KeyboardInterrupt:  # while modules are still being imported; once a command runs, it stops in its own way
        from bulkid.errors import EXIT_INTERRUPTED

        sys.stderr.write("bulkid: stopped before anything was begun.\n")
        sys.exit(EXIT_INTERRUPTED)
