"""Command-line options, made from the table of settings."""

import functools
import inspect
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bulkid.cli import completion
from bulkid.config import parse
from bulkid.config.resolve import load_settings
from bulkid.config.settings import CONNECTION, SETTINGS, Setting, Settings
from bulkid.errors import UsageError

if TYPE_CHECKING:
    from bulkid.jobfile.read import JobFile

_CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)


Load = Callable[[Any], Settings]
"""Loads the settings of a command, with those of a ``JobFile``; None for none."""


def with_settings(name: str, *, by_job: bool = False) -> Callable[..., Any]:
    """Give a command the options that the table of settings names it for, and pass it one ``settings`` in their place.

    With ``by_job`` the command may be given job files: ``settings`` is then a :class:`Load`.
    """
    entries = [entry for entry in SETTINGS if entry.option and name in entry.commands]
    offline = name not in CONNECTION.commands

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        signature = inspect.signature(command)
        own = [parameter for name, parameter in signature.parameters.items() if name != "settings"]

        @functools.wraps(command)
        def wrapper(context: typer.Context, **given: object) -> int:
            named = {entry.name: _value_if_given(given.pop(entry.name)) for entry in entries}
            options = {**_present(context.obj or {}), **_present(named)}

            def load(job: "JobFile | None") -> Settings:
                settle = load_settings if job is None else job.load
                return settle(options, environ=os.environ, cwd=_working_directory(), offline=offline)

            return command(**given, settings=load if by_job else load(None))

        wrapper.__signature__ = signature.replace(  # type: ignore[attr-defined]  # what typer reads the options from
            parameters=[_CONTEXT, *own, *(_parameter(entry) for entry in entries)], return_annotation=int
        )
        del wrapper.__wrapped__
        return wrapper

    return decorate


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except OSError as error:  # it was removed, or the process may no longer search it
        raise UsageError(
            f"The working directory cannot be used: {error.strerror}.",
            hint="Change to another one (cd), and try again.",
        ) from None


@functools.cache
def _parameter(entry: Setting) -> inspect.Parameter:
    """Make the option of a setting, once for all commands that take it, since every start makes them all."""
    default = f" Default: {entry.default_text}." if entry.default_text else ""
    names = [entry.option] if entry.option != "-v" else ["--verbose", "-v"]
    kind: Any
    initial: Any
    counted = entry.parse is parse.verbosity
    switch = counted or entry.parse is parse.flag
    if counted:
        kind, initial = int, 0
    elif switch:
        kind, initial = bool, False
    elif entry.repeatable:
        kind, initial = list[str] | None, None
    else:
        kind, initial = str | None, None
    option = typer.Option(
        *names,
        help=f"{entry.help[:1].upper()}{entry.help[1:]}.{default}",
        metavar="" if switch else entry.metavar,
        show_default=False,
        count=counted,
        autocompletion=completion.of_setting(entry.name, _choices(entry)),
        rich_help_panel=None if entry.common else f"{entry.group.name.capitalize()} options",
    )
    return inspect.Parameter(
        entry.name, inspect.Parameter.KEYWORD_ONLY, default=initial, annotation=Annotated[kind, option]
    )


def _choices(entry: Setting) -> tuple[str, ...]:
    """The words of which the value of an option is one, as its metavar lists them."""
    return tuple(entry.metavar.split("|")) if re.fullmatch(r"[a-z]+(\|[a-z]+)+", entry.metavar) else ()


def _value_if_given(value: object) -> object:
    """None for a switch that was not given, and for an empty list: they leave the setting to the layers below.

    An empty text is a value, which most settings refuse: a script may have meant another one.
    """
    return value if value or isinstance(value, str) else None


def _present(options: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in options.items() if value is not None}
