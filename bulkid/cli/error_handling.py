"""Turns errors into sentences and exit codes; the user never sees a traceback."""

import functools
import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import Any, ParamSpec

import typer

from bulkid.cli.help_pages import HelpfulGroup
from bulkid.cli.signals import pending_signals
from bulkid.errors import EXIT_INTERRUPTED, BulkidError, DeclinedError, interrupted
from bulkid.text import printable

P = ParamSpec("P")

_ClickUsageError: Any = typer.BadParameter.__base__  # click's UsageError, which typer does not name

_PYDANTIC_PREFIX = "Value error, "
"""What pydantic, by which typer converts words, writes before the reason for which it refuses one."""


class BulkidGroup(HelpfulGroup):
    """A group of commands that takes file names for what they are: text of others."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click's own
        """Parse a command line and do what it says; a page that cannot be written is an error in a sentence."""
        try:
            return super().main(*args, **kwargs)
        except BulkidError as error:  # of a help page or the version: those of commands are handled there
            print_error(error)
            sys.exit(error.exit_code)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's own context, and whatever the command gives
        """Call the command; errors in its arguments (which may quote file names) are printable text."""
        try:
            return super().invoke(ctx)
        except _ClickUsageError as error:
            error.message = printable(error.message.removeprefix(_PYDANTIC_PREFIX))
            raise


def handle_errors(command: Callable[P, int]) -> Callable[P, None]:
    """Make a command exit with the exit code of the error that it raises."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        allow_any_character()
        raise typer.Exit(_exit_code(lambda: command(*args, **kwargs)))

    return wrapper


def _exit_code(command: Callable[[], int]) -> int:
    if pending_signals.has_pending:
        sys.stderr.write("bulkid: stopped before anything was begun.\n")
        return EXIT_INTERRUPTED
    try:
        with pending_signals.raising():
            return command()
    except BulkidError as error:
        print_error(error)
        return error.exit_code
    except (KeyboardInterrupt, RuntimeError) as error:
        if not interrupted(error):
            raise
        sys.stderr.write("bulkid: stopped. `bulkid runs` lists what was begun, `bulkid resume` continues it.\n")
        return EXIT_INTERRUPTED


def allow_any_character() -> None:
    """Let the standard streams show a letter that their encoding lacks as an escape, instead of failing on it.

    On Windows an output that goes into a pipe or a file has the system's code page, which knows no 北京.
    """
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")


def print_error(error: BulkidError | None) -> None:
    """Print an error and its hint on standard error, without secrets; nothing for None."""
    from bulkid.redaction import redact_text

    if error is None:
        return
    name = "" if isinstance(error, DeclinedError) else "bulkid: "  # the user's own decision is no error
    sys.stderr.write(_wrapped(printable(redact_text(f"{name}{error.message}"))) + "\n")
    if advice := f"{error.hint} {error.cli_hint}".strip():
        sys.stderr.write(_wrapped(printable(redact_text(f"  {advice}"))) + "\n")


def _wrapped(text: str) -> str:
    """Break lines between words on a terminal, which would break them anywhere."""
    if not sys.stderr.isatty():
        return text
    fill = functools.partial(
        textwrap.fill,
        width=shutil.get_terminal_size().columns,
        subsequent_indent="  ",
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(map(fill, text.split("\n")))
