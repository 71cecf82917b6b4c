"""Makes ``docs/cli.md`` from the help pages: each command's page writes itself into Markdown instead of a terminal.

``python -m tests.support.cli_reference`` writes the page again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import typer

from bulkid.cli.app import app
from tests.support.bulkid_command import ROOT

PAGE: Final = ROOT / "docs" / "cli.md"
_HEAD: Final = """\
# The command line

Every command with its options, as `bulkid COMMAND --help` shows them. [Commands and exit codes](commands.md) is
shorter; [settings](settings.md) says which variable and which key of `bulkid.toml` each option has.
"""


class MarkdownFormatter:
    """Takes the calls that a help page makes to click's formatter, and keeps them as Markdown."""

    current_indent = 0

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._section = ""
        self._block: list[str] | None = None

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write how the command is called."""
        del prefix
        self._parts.append(f"```sh\n{prog} {args}\n```")

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        self._parts += [" ".join(each.split()) for each in text.split("\n\n")]

    def write_paragraph(self) -> None:
        """Begin a paragraph: every part is one already."""

    def write_heading(self, heading: str) -> None:
        """Write the heading of a section."""
        self._parts.append(f"**{heading}**")

    @contextmanager
    def indentation(self) -> Iterator[None]:
        """Indent nothing."""
        yield

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Write a section: what is written line by line in it is one block of commands."""
        self.write_heading(name)
        self._section, self._block = name, []
        yield
        if self._block:
            self._parts.append("```sh\n" + "".join(self._block) + "```")
        self._block = None

    def write(self, line: str) -> None:
        """Write a line of a block."""
        if self._block is not None:
            self._block.append(line)

    def write_dl(self, rows: Sequence[tuple[str, str]], **_: Any) -> None:
        """Write names with their texts."""
        noun = self._section.split()[-1].lower().removesuffix("s")
        cells = ((each.replace("|", r"\|") for each in row) for row in rows)
        lines = [f"| `{name}` | {text} |" for name, text in cells]
        self._parts.append("\n".join([f"| {noun} | what it does |", "| --- | --- |", *lines]))

    def text(self) -> str:
        """Everything, with a blank line between the parts."""
        return "\n\n".join(self._parts) + "\n"


def _commands(command: Any, name: str, parent: Any) -> Iterator[tuple[str, Any, Any]]:
    """A command and those below it, each with its whole name and its context."""
    context = type(command).context_class(command, info_name=name, parent=parent, **command.context_settings)
    yield context.command_path, command, context
    for inner_name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from _commands(inner, inner_name, context)


def cli_reference() -> str:
    """The text of ``docs/cli.md``."""
    parts = [_HEAD]
    for path, command, context in _commands(typer.main.get_command(app), "bulkid", None):
        formatter = MarkdownFormatter()
        command.format_help(context, formatter)
        parts.append(f"## {path}\n\n{formatter.text()}")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(cli_reference(), encoding="utf-8")
