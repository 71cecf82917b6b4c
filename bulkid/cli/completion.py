"""Completion in a shell: the script that a shell loads, and the values that bulkid offers when the user presses Tab.

Typer completes commands and options, and calls the functions here for the values of some. A completion writes no file,
connects to no server, and prints no error: where anything is wrong, nothing is offered.
"""

import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from bulkid.errors import UsageError
from bulkid.paths import user_path

VARIABLE = "_BULKID_COMPLETE"
"""The script sets this variable when it asks for completions; typer derives it from the name of the program."""

SHELLS = ("bash", "zsh", "fish", "powershell")

_NEWEST_RUNS = 30
_SAFE = re.compile(r"[\w.-]+(?: [\w.-]+)*")
"""Values that every shell takes as they are, or in quotes. Others are not offered: a shell would read their signs as
parts of a command line, and the names of worksheets come from files of other people."""

Complete = Callable[..., list[str]]


def script(shell: str) -> str:
    """Return the script with which a shell completes ``bulkid``.

    Raises:
        UsageError: The shell is none of ``SHELLS``.
    """
    from typer._completion_shared import get_completion_script

    if shell not in SHELLS:
        raise UsageError(f"There is no completion script for {shell!r}.", hint="Give bash, zsh, fish or powershell.")
    return get_completion_script(prog_name="bulkid", complete_var=VARIABLE, shell=shell)


def answer_shell(app: typer.Typer) -> None:
    """Answer the request of a completion script, and exit."""
    try:
        _add_shells()
        app(prog_name="bulkid", args=[])
    except Exception:  # noqa: BLE001 - whatever goes wrong, a user who presses Tab must not see a traceback
        sys.exit(1)


def _add_shells() -> None:
    """Have typer know the shells, with values and texts in the quotes that each of them needs."""
    from typer import _completion_classes

    typers: Any = _completion_classes
    typers.completion_init()
    for base, shell in ((typers.BashComplete, "bash"), (typers.PowerShellComplete, "powershell")):
        typers.add_completion_class(_with_quotes(base), shell)
    typers.add_completion_class(_with_apostrophes(typers.ZshComplete), "zsh")


def _with_quotes(base: Any) -> Any:  # noqa: ANN401 - classes of typer
    """Put values with blanks into quotes: bash and PowerShell insert a value as it is given."""

    class WithQuotes(base):  # type: ignore[misc]
        def format_completion(self, item: Any) -> str:  # noqa: ANN401 - click's
            if " " in item.value:
                item.value = f"'{item.value}'"
            return str(super().format_completion(item))

    return WithQuotes


def _with_apostrophes(base: Any) -> Any:  # noqa: ANN401 - classes of typer
    """Keep apostrophes: zsh reads the answer between single quotes, and two of them in a row as none."""

    class WithApostrophes(base):  # type: ignore[misc]
        def format_completion(self, item: Any) -> str:  # noqa: ANN401 - click's
            return str(super().format_completion(item)).replace("''", r"'\''")

    return WithApostrophes


def words(choices: Sequence[str]) -> Complete:
    """Return a function that completes one of a few words."""

    def complete(incomplete: str) -> list[str]:
        return _beginning(incomplete, choices)

    return complete


def runs(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the id of a run: one of the newest in the state directory. A database server is not asked."""
    import sqlite3

    from bulkid.config.resolve import load_settings
    from bulkid.errors import BulkidError
    from bulkid.journal.run_ids import newest_run_ids

    given = {"state_dir": context.find_root().params.get("state_dir"), "profile": context.params.get("profile")}
    with suppress(BulkidError, OSError, ValueError, sqlite3.Error):
        settings = load_settings(given, environ=os.environ, cwd=Path.cwd(), offline=True)
        if settings.database_url is None:
            return _beginning(incomplete, newest_run_ids(settings.state_dir, _NEWEST_RUNS))
    return []


def runs_or_last(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the id of a run, or the word for the newest."""
    return [*_beginning(incomplete, ["last"]), *runs(context, incomplete)]


def profiles(incomplete: str) -> list[str]:
    """Complete the name of a profile in bulkid.toml."""
    from bulkid.config.resolve import profile_names
    from bulkid.errors import BulkidError

    with suppress(BulkidError, OSError):
        return _beginning(incomplete, profile_names(Path.cwd()))
    return []


def worksheets(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a worksheet of the .xlsx or .xlsm file that stands before the option."""
    from bulkid.sheet.archive_parts import ScanError
    from bulkid.sheet.error_scan import worksheet_names

    # Where the value of an option is missing, click leaves the arguments before it unparsed.
    sources = [context.params.get("source"), *(context.params.get("sources") or ()), *context.args]
    named = [each for each in sources if isinstance(each, str) and each.lower().endswith((".xlsx", ".xlsm"))]
    if len(named) != 1:
        return []
    import zipfile
    import zlib
    from xml.parsers.expat import ExpatError

    with suppress(ScanError, zipfile.BadZipFile, zlib.error, ExpatError, OSError, ValueError):
        path = user_path(named[0])
        if path.is_file():  # a named pipe would wait for a writer
            with path.open("rb") as stream:
                return _beginning(incomplete, worksheet_names(stream))
    return []


_OF_SETTINGS: dict[str, Any] = {"profile": profiles, "sheet": worksheets}


def of_setting(name: str, choices: Sequence[str]) -> Complete | None:
    """Return what completes the option of a setting, which may be one of a few words; None for nothing."""
    return _OF_SETTINGS.get(name) or (words(choices) if choices else None)


def _beginning(incomplete: str, values: Sequence[str]) -> list[str]:
    """The values that begin as the user has begun, and that every shell takes."""
    return [value for value in values if value.startswith(incomplete) and _SAFE.fullmatch(value)]
