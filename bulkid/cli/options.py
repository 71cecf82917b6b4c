"""Command-line options made from the table of settings, so that no option is written down twice."""

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from bulkid.config import SETTINGS, Setting, Settings, load_settings, parse
from bulkid.errors import UsageError

if TYPE_CHECKING:
    from bulkid.jobfile import JobFile

METAVARS = {
    "url": "URL",
    "organization_id": "ID",
    "profile": "NAME",
    "sheet": "NAME",
    "column_map": '"Column=field"',
    "ignore_columns": "NAME",
    "encoding": "NAME",
    "delimiter": "CHARACTER",
    "via": "auto|accounts|groups",
    "group_batch": "N",
    "quota": "METHOD=COUNT/SECONDS",
    "rate": "N",
    "concurrency": "N",
    "max_attempts": "N",
    "timeout": "SECONDS",
    "max_failures": "N|N%",
    "first": "N",
    "wait": "SECONDS",
    "max_change": "N|N%",
    "report_dir": "DIR",
    "formats": "csv|xlsx|jsonl",
    "log_format": "console|json",
    "until": "HH:MM",
    "max_duration": "LENGTH",
    "metrics_file": "FILE",
    "serve_host": "ADDRESS",
    "serve_port": "PORT",
    "certfile": "FILE",
    "keyfile": "FILE",
    "public_names": "NAME",
    "keep_audit": "AGE",
    "state_dir": "DIR",
}

_PARAMETERS: dict[str, inspect.Parameter] = {}

_CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)

PANELS = {
    "connection": "Connection",
    "sheet": "Sheet",
    "sending": "Sending",
    "hours": "Hours",
    "output": "Output",
    "console": "Console",
    "general": "General",
}


class Load(Protocol):
    """Settles the settings of a command, once it is known whether a job file has a say."""

    def __call__(self, job: "JobFile | None" = None) -> Settings:
        """Settle them.

        Raises:
            UsageError: Something given cannot be used.
        """
        ...


def with_settings(
    *groups: str, without: tuple[str, ...] = (), also: tuple[str, ...] = (), offline: bool = False, by_job: bool = False
) -> Callable[..., Any]:
    """Give a command the options of some groups of settings, and hand it one ``settings`` in their place.

    Args:
        groups: Groups of the table whose options the command takes.
        without: Settings of those groups that it does not take.
        also: Settings of other groups that it takes.
        offline: The command never connects: the connection's settings are left alone.
        by_job: The command may be given job files: ``settings`` is then a :class:`Load`.
    """
    lines = [
        line
        for line in SETTINGS
        if line.option and line.name not in without and (line.group in groups or line.name in also)
    ]

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        signature = inspect.signature(command)
        own = [parameter for name, parameter in signature.parameters.items() if name != "settings"]

        @functools.wraps(command)
        def wrapper(context: typer.Context, **given: object) -> int:
            # A switch that was not named, and an empty list, say nothing: the layers below then decide.
            named = {line.name: given.pop(line.name) or None for line in lines}
            options = {**_present(context.obj or {}), **_present(named)}

            def load(job: "JobFile | None" = None) -> Settings:
                settle = load_settings if job is None else job.load
                return settle(options, environ=os.environ, cwd=_working_directory(), offline=offline)

            return command(**given, settings=load if by_job else load())

        wrapper.__signature__ = signature.replace(  # type: ignore[attr-defined]  # what typer reads the options from
            parameters=[_CONTEXT, *own, *(_parameter(line) for line in lines)], return_annotation=int
        )
        del wrapper.__wrapped__
        return wrapper

    return decorate


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except OSError as error:  # somebody has removed it, or taken away the right to look into it
        raise UsageError(
            f"The working directory cannot be used: {error.strerror}.",
            hint="Change to another one (cd), and try again.",
        ) from None


def _parameter(line: Setting) -> inspect.Parameter:
    """The option of a setting; made once for all commands that take it, since that is a part of every start."""
    made = _PARAMETERS.get(line.name)
    if made is None:
        made = _PARAMETERS[line.name] = _new_parameter(line)
    return made


def _new_parameter(line: Setting) -> inspect.Parameter:
    default = f" [dim]{_plain(f'[{line.default_text}]')}[/dim]" if line.default_text else ""
    names = [line.option] if line.option != "-v" else ["--verbose", "-v"]
    kind: Any
    initial: Any
    counted = line.parse is parse.verbosity
    switch = counted or line.parse is parse.flag
    if counted:
        kind, initial = int, 0
    elif switch:
        kind, initial = bool, False
    elif line.repeatable:
        kind, initial = list[str] | None, None
    else:
        kind, initial = str | None, None
    option = typer.Option(
        *names,
        help=f"{_plain(line.help[:1].upper() + line.help[1:])}.{default}",
        metavar="" if switch else METAVARS[line.name],
        show_default=False,
        count=counted,
        rich_help_panel=PANELS[line.group],
    )
    return inspect.Parameter(
        line.name, inspect.Parameter.KEYWORD_ONLY, default=initial, annotation=Annotated[kind, option]
    )


def _plain(text: str) -> str:
    """Text for help pages, whose square brackets are no markup."""
    return text.replace("[", "\\[")


def _present(options: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in options.items() if value is not None}
