"""Help pages: every command has one, by ``-h`` too; they fit the terminal, and their examples are what bulkid takes."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from bulkid.cli.app import app
from bulkid.cli.examples import EXAMPLES
from bulkid.config.settings import SETTINGS
from tests.support.bulkid_command import Bulkid

ROOT: Any = typer.main.get_command(app)


def commands() -> Iterator[tuple[str, ...]]:
    yield ()
    for name, command in ROOT.commands.items():
        yield (name,)
        yield from ((name, inner) for inner in getattr(command, "commands", {}))


COMMANDS = tuple(commands())


@cache
def page(command: tuple[str, ...], width: int = 80, option: str = "--help") -> str:
    result = Bulkid(Path.cwd(), {"COLUMNS": str(width)})(*command, option)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_a_page_by_either_option(command: tuple[str, ...]) -> None:
    text = page(command)
    assert page(command, option="-h") == text
    assert text.startswith(f"Usage: {' '.join(['bulkid', *command])}")
    assert not re.search(r"<[a-z]|\[(default|required|dim)|╭", text)
    parts = [text.index(f"\n{heading}:\n") for heading in ("Examples", "Options")]
    assert parts == sorted(parts)
    assert "-h, --help" in text


def test_plan_takes_the_options_of_run() -> None:
    options = {name: {opt for each in ROOT.commands[name].params for opt in each.opts} for name in ("plan", "run")}
    assert options["run"] - options["plan"] == {"sources", "--plan"}


def test_an_argument_is_named_as_it_is_given() -> None:
    for command, usage in (
        (("check",), "SOURCE"),
        (("run",), "[SOURCE]..."),
        (("resume",), "[RUN]"),
        (("users", "role"), "NAME ROLE"),
    ):
        first = page(command).splitlines()[0]
        assert first == f"Usage: {' '.join(['bulkid', *command])} [OPTIONS] {usage}"


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_page_fits_the_terminal(command: tuple[str, ...], width: int) -> None:
    assert max(map(len, page(command, width).splitlines())) <= width


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_paragraph_is_broken_only_where_the_line_is_full(command: tuple[str, ...], width: int) -> None:
    about = page(command, width).partition("\nExamples:")[0].partition("\n\n")[2]
    assert about.strip()
    for paragraph in about.strip("\n").split("\n\n"):
        lines = paragraph.splitlines()
        for line, following in pairwise(lines):
            assert len(line) + 1 + len(following.split()[0]) > width - 2, line


def test_common_options_come_first_and_the_others_by_subject() -> None:
    text = page(("run",))
    first, _, others = text.partition("\nConnection options:")
    for option in ("--sandbox", "--yes", "--first", "--skip-invalid"):
        assert re.search(rf"^  {option}\b", first, re.MULTILINE), option
        assert not re.search(rf"^  {option}( |$)", others, re.MULTILINE), option
    for entry in SETTINGS:
        if "run" in entry.commands and entry.option:
            assert f"{entry.option}" in text


def test_the_defaults_are_said() -> None:
    assert "Requests in flight at once. Default: 16." in page(("run",), 100)
    assert "Seed of the directory and of the faults. Default: 1." in page(("sandbox",), 100)


EXAMPLE_LINES = [
    line.strip() for text in EXAMPLES.values() for line in text.splitlines() if line.strip() and "#" not in line
]


@pytest.mark.parametrize("line", sorted(set(EXAMPLE_LINES)))
def test_an_example_is_what_bulkid_takes(line: str) -> None:
    words = shlex.split(line.rpartition("| ")[2].partition(" > ")[0])
    assert words.pop(0) == "bulkid"
    command, context = ROOT, None
    while True:
        context = command.make_context(
            words[0] if context else "bulkid", words[1:] if context else words, parent=context
        )
        words = [*context._protected_args, *context.args]
        if not hasattr(command, "commands"):
            break
        command = command.commands[words[0]]
    assert words == []


def test_every_command_has_examples() -> None:
    assert {command[-1] for command in commands() if command} | {"bulkid"} == set(EXAMPLES)


def test_a_word_that_an_option_does_not_take_is_refused_in_words_for_people() -> None:
    result = Bulkid(Path.cwd())("export", "accounts.csv", "--action", "x")
    assert result.returncode == 2
    assert "Invalid value for '--action': 'x' is not one of 'update', 'create', 'delete'." in result.stderr
