"""Make the manual page of bulkid from the same declarations as the help pages.

Call it as ``python docs/make_man.py``; it writes ``docs/bulkid.1``.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from bulkid import __version__
from bulkid.cli.app import app
from bulkid.cli.help_pages import option_name, parameter_text
from bulkid.config.settings import SETTINGS

PAGE = Path(__file__).resolve().parent / "bulkid.1"

EXIT_CODES = Path(__file__).resolve().parent / "commands.md"
"""Its table of exit codes is the page's too."""


_SIGNS = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "~": "\\(ti", '"': "\\(dq", "^": "\\(ha"}


def manual() -> str:
    """Return the page, in the macros of man(7)."""
    root: Any = typer.main.get_command(app)
    context = root.make_context("bulkid", [], resilient_parsing=True)
    lines = [
        f'.TH BULKID 1 "" "bulkid {__version__}" "User Commands"',
        ".SH NAME",
        f"bulkid \\- {_escaped(root.help.split(':')[0][:1].lower() + root.help.split(':')[0][1:])}",
        ".SH SYNOPSIS",
        ".B bulkid",
        _escaped("[OPTIONS] COMMAND [ARGUMENTS]"),
        ".SH DESCRIPTION",
        _escaped(root.help),
        ".SH OPTIONS",
        *_parameters(root, context),
        ".SH COMMANDS",
    ]
    for path, command, inner in _commands(root, context):
        lines += _command(path, command, inner)
    lines += [".SH EXAMPLES", *_examples(root), ".SH ENVIRONMENT"]
    for entry in SETTINGS:
        lines += [".TP", f".B {_escaped(entry.env)}", _escaped(f"{entry.help[:1].upper()}{entry.help[1:]}.")]
    lines.append(".SH EXIT STATUS")
    for code, meaning in re.findall(r"^\| (\d) \| (.*) \|$", EXIT_CODES.read_text(encoding="utf-8"), re.MULTILINE):
        lines += [".TP", f".B {code}", _escaped(meaning.replace("`", "").split(" (`--wait")[0])]
    lines += [
        ".SH FILES",
        ".TP",
        ".I bulkid.toml",
        _escaped("Settings, in the working directory and in the user's configuration directory."),
    ]
    return "\n".join(lines) + "\n"


def _commands(group: Any, context: Any) -> Iterator[tuple[str, Any, Any]]:
    """The commands of a group and of the groups in it, each with its path and its context."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        if hasattr(command, "list_commands"):
            yield from _commands(command, inner)
        else:
            yield inner.command_path, command, inner


def _command(path: str, command: Any, context: Any) -> list[str]:
    usage = re.sub(r"[{}]", "", " ".join(command.collect_usage_pieces(context)))  # versions of typer differ in these
    lines = [f'.SS "{_escaped(path)}"', f".B {_escaped(path)}", _escaped(usage)]
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines += [".PP", _escaped(" ".join(paragraph.split()))]
    return [*lines, *_parameters(command, context), *([".PP", *_examples(command)] if command.epilog else [])]


def _parameters(command: Any, context: Any) -> list[str]:
    lines = []
    for parameter in command.get_params(context):
        lines += [".TP", f".B {_escaped(option_name(parameter))}", _escaped(parameter_text(parameter))]
    return lines


def _examples(command: Any) -> list[str]:
    text = inspect.cleandoc(command.epilog or "")
    return [".nf", *map(_escaped, text.splitlines()), ".fi"]


def _escaped(text: str) -> str:
    """Text without anything that roff would read as a command or change."""
    text = "".join(_SIGNS.get(sign, sign) for sign in text)
    return f"\\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    PAGE.write_text(manual(), encoding="utf-8")
