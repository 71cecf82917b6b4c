"""Help pages: usage, what the command does, examples, arguments, common options, then the others by subject.

They are plain text, the same for groups and for commands: rich's panels would have every page wait for its Markdown.
"""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from bulkid.cli.plain_values import PlainCommand, PlainGroup

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Settings of the outermost group, which hands them on to all commands."""

_COMMON = "Options"
_NAME_COLUMNS = 26
"""Columns for the names of options; the text of one with a longer name begins on the next line."""

_LONGEST_LIST = 10_000  # letters of the sentence beside a command: as many as it has


class HelpfulCommand(PlainCommand):
    """A command whose ``epilog`` holds its examples: lines of commands, and of comments that begin with ``#``."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401 - click's
        """Name a required argument without the braces that typer puts around it."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's, which typer does not name
        """Write the page."""
        _write_top(self, ctx, formatter)
        _write_parameters(self, ctx, formatter)


class HelpfulGroup(PlainGroup):
    """A group of commands, whose ``epilog`` holds examples in the same form."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's, which typer does not name
        """Write the page."""
        _write_top(self, ctx, formatter)
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        listed = [
            (name, command.get_short_help_str(_LONGEST_LIST))
            for name, command in commands
            if command is not None and not command.hidden
        ]
        _write_list(formatter, "Commands", listed)
        _write_parameters(self, ctx, formatter)


def _write_top(command: PlainCommand | PlainGroup, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's
    command.format_usage(ctx, formatter)
    command.format_help_text(ctx, formatter)
    if command.epilog:
        with formatter.section("Examples"):
            for line in inspect.cleandoc(command.epilog).splitlines():
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def _write_parameters(command: PlainCommand | PlainGroup, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], _COMMON: []}
    for parameter in command.get_params(ctx):
        is_option = parameter.param_type_name == "option"
        section = getattr(parameter, "rich_help_panel", None) or _COMMON if is_option else "Arguments"
        sections.setdefault(section, []).append((option_name(parameter), parameter_text(parameter)))
    for section, listed in sections.items():
        _write_list(formatter, section, listed)


def option_name(option: Any) -> str:  # noqa: ANN401 - click's
    """The names of an option, the short one first, and what its value is called; the name of an argument."""
    if option.param_type_name != "option":
        return str(option.metavar or option.name)
    names = ", ".join(sorted(option.opts, key=len))
    switch = option.is_flag or option.count or not option.metavar
    return names if switch else f"{names} {option.metavar}"


def parameter_text(parameter: Any) -> str:  # noqa: ANN401 - click's
    """What a parameter does, and its default unless the text says it already."""
    default, text = parameter.default, parameter.help or ""
    if not parameter.show_default or isinstance(default, bool) or not isinstance(default, str | int | float):
        return text
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return f"{text} Default: {shown}." if shown else text


def _write_list(formatter: Any, heading: str, listed: Iterable[Sequence[str]]) -> None:  # noqa: ANN401 - click's
    if rows := list(listed):
        with formatter.section(heading):
            formatter.write_dl(rows, col_max=_NAME_COLUMNS)
