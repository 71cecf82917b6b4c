"""The last line before a user: errors become sentences and exit codes, never tracebacks."""

import os
import sys
from typing import Any

import typer

from bulkid.errors import EXIT_INTERRUPTED, BulkidError

DEBUG_VARIABLE = "BULKID_DEBUG"


class Guarded(typer.core.TyperGroup):
    """A command group whose commands end in an exit code, whatever they raise."""

    def invoke(self, ctx: Any) -> Any:
        """Call the command; translate what it raises."""
        try:
            return super().invoke(ctx)
        except BulkidError as error:
            tell(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            sys.stderr.write("bulkid: stopped; `bulkid runs` shows what was begun, `bulkid resume` goes on with it.\n")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of a pipe has seen enough (`bulkid check x.csv | head`): that is no fault of anyone.
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, sys.stdout.fileno())
            raise typer.Exit(0) from None


def tell(error: BulkidError) -> None:
    """Say on standard error what went wrong and what to do next, with no secret in it."""
    from bulkid.logs import redact_text

    sys.stderr.write(redact_text(f"bulkid: {error.message}") + "\n")
    if error.hint:
        sys.stderr.write(redact_text(f"  {error.hint}") + "\n")
