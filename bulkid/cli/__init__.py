"""The command line: arguments in, one call of :mod:`bulkid.runs`, words and an exit code out."""

import sys


def main() -> None:
    """Entry point of the ``bulkid`` command."""
    from bulkid.cli.app import app

    app(prog_name="bulkid", args=sys.argv[1:])
