"""Names on a terminal are text: no control characters, nothing that reorders a line, no markup."""

import io
import subprocess
import sys
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from bulkid.cli import error_handling, listings, progress_display, render, row_errors
from bulkid.cli.render import EscapingConsole
from bulkid.cli.stdio import SafeStream
from bulkid.errors import UsageError
from bulkid.model import RowError, RunRecord, RunStatus, Status
from bulkid.runs import Finding, Snapshot
from bulkid.text import as_argument, printable, printable_json, printable_line
from tests.support.terminal_text import NASTY, STYLE, UNSAFE, assert_safe

SENDING = Snapshot(1, 3, 1, 0, 2.0, 7, None, None, None)
names = st.text(
    st.characters() | st.sampled_from("\x1b[]\\;m\x07\x9b\r\n\t\u202e\u2066\u200f\u2028\u200d"), min_size=1, max_size=30
)


def consoles() -> list[tuple[EscapingConsole, io.StringIO]]:
    """A pipe and a terminal."""
    made = []
    for terminal in (False, True):
        stream = io.StringIO()
        console = EscapingConsole(
            file=stream, force_terminal=terminal, color_system="truecolor", width=120, markup=False, highlight=False
        )
        made.append((console, stream))
    return made


def test_the_consoles_of_all_commands_are_safe_ones() -> None:
    assert isinstance(render.console(stderr=False), EscapingConsole)
    assert isinstance(render.console(stderr=True), EscapingConsole)


@settings(max_examples=150, deadline=None)
@given(names)
def test_any_name_is_printed_as_text(name: str) -> None:
    for console, stream in consoles():
        console.print(name)
        console.print(Text(name), style="red")
        table = Table(name, title=name)
        table.add_row(name)
        console.print(table)
        row_errors.print_row_errors(console, name, [RowError(2, name, name, "code", name)])
        render.print_notes(console, [name])
        listings.print_findings(console, [Finding("x", ok=False, detail=name, hint=name)])
        run = RunRecord("20260131-081500-x7k2", 0.0, RunStatus.COMPLETED, "run", name, "", "", "", 0)
        listings.print_runs(console, [(run, {Status.UPDATED: 1})])
        assert_safe(stream.getvalue())


@settings(max_examples=60, deadline=None)
@given(st.lists(names, max_size=7))
def test_errors_printed_in_blocks_read_as_line_by_line(values: list[str]) -> None:
    found = [RowError(row, "groups", value, "code", "Take it out.") for row, value in enumerate(values, 2)]
    console, stream = consoles()[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_errors, "_LINES_PER_PRINT", 3)
        row_errors.print_row_errors(console, "sheet.csv", found, rest=row_errors.LISTED_WITH_ALL)
    lines = [printable_line(row_errors.row_error_line(each)) for each in found]
    assert stream.getvalue().splitlines()[1:] == lines


def test_thousands_of_errors_take_few_calls_of_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [RowError(row, "", f"{row}", "code", "Take it out.") for row in range(2, 2002)]
    for console, stream in consoles():
        calls: list[object] = []
        printing = console.print
        monkeypatch.setattr(console, "print", lambda *a, p=printing, c=calls, **k: (c.append(a), p(*a, **k)))
        row_errors.print_row_errors(console, "sheet.csv", found, rest=row_errors.LISTED_WITH_ALL)
        assert len(calls) <= 10
        assert stream.getvalue().count("Take it out.") == (1 if console.is_terminal else 2000)


@settings(max_examples=60, deadline=None)
@given(names)
def test_any_job_s_name_is_text_in_a_live_display(name: str) -> None:
    console, stream = consoles()[1]
    with progress_display.progress_bar(console, name_width=10) as shared_bar:
        task = shared_bar.add_task(name, total=None, snapshot=SENDING)
        shared_bar.refresh()
        shared_bar.remove_task(task)
    assert_safe(stream.getvalue())


def test_markup_in_a_job_s_name_is_shown_and_not_obeyed() -> None:
    console, stream = consoles()[1]
    with progress_display.progress_bar(console, name_width=20) as shared_bar:
        shared_bar.add_task("[red]x[/red]", total=None, snapshot=SENDING)
        shared_bar.refresh()
    assert "[red]x[/red]" in STYLE.sub("", stream.getvalue())


@settings(max_examples=150, deadline=None)
@given(names)
def test_any_error_is_reported_as_text(name: str) -> None:
    before, sys.stderr = sys.stderr, io.StringIO()
    try:
        error_handling.print_error(UsageError(f"There is no {name}.", hint=name))
        assert_safe(sys.stderr.getvalue())
    finally:
        sys.stderr = before


@settings(max_examples=150, deadline=None)
@given(names)
def test_what_is_written_past_every_console_is_text_too_where_there_is_no_terminal(name: str) -> None:
    stream = io.StringIO()
    assert SafeStream(stream, wanted=True).write(name) == len(name)
    assert_safe(stream.getvalue())


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_printable_text_is_safe_and_tells_all_and_stays_as_it_is(text: str) -> None:
    displayed = printable(text)
    assert not UNSAFE.search(displayed)
    assert printable(displayed) == displayed
    assert "\n" not in printable_line(text)
    assert "\t" not in printable_line(text)
    if not UNSAFE.search(text):
        assert displayed == text


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_is_safe_and_holds_the_same_data(text: str) -> None:
    displayed = printable_json(orjson.dumps({text: [text]}).decode())
    assert not UNSAFE.search(displayed)
    assert orjson.loads(displayed) == {text: [text]}


def test_escapes_say_what_stands_there() -> None:
    assert printable("a\x1b[1m\x9b\u202eb\n") == "a\\x1b[1m\\x9b\\u202eb\n"
    assert printable_line("a\nb\tc\r") == "a\\nb\\tc\\x0d"
    assert printable("Zürich 北京 ماریا 👍") == "Zürich 北京 ماریا 👍"


@pytest.mark.skipif(sys.platform == "win32", reason="file names there hold no control characters")
@pytest.mark.parametrize(
    "arguments", [["check", NASTY, NASTY], ["check", f"--{NASTY}"], [NASTY], ["report", "--limit"]]
)
def test_wrong_arguments_are_reported_as_text(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from bulkid.cli.app import app

    arguments = [each.replace("\x00", "") for each in arguments]
    with pytest.raises(SystemExit):
        app(prog_name="bulkid", args=arguments)
    written: Any = capsys.readouterr()
    assert_safe(written.out + written.err)


def test_a_cell_of_megabytes_is_not_written_to_a_pipe() -> None:
    line = row_errors.row_error_line(RowError(2, "name", "x" * 5_000_000, "too_long", "It is too long."))
    assert line.startswith("row 2, column name: 'xxx")
    assert line.endswith("x\u2026' It is too long.")
    assert len(line) < 3000


@pytest.mark.parametrize(
    "character", ["\u2065", "\u3164", "\uffa0", "\u034f", "\U0001d173", "\U000e0041", "\U000e0fff"]
)
def test_what_no_one_sees_in_a_name_is_shown_as_an_escape(character: str) -> None:
    assert printable(f"Fin{character}ance").isascii()
    data = {f"Fin{character}": character}
    written = printable_json(orjson.dumps(data).decode())
    assert written.isascii()
    assert orjson.loads(written) == data


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of Unix")
@pytest.mark.parametrize(
    "text",
    [
        "#",
        "#=name",
        "a$HOME.csv",
        "a`b`",
        'a"b',
        "it's",
        "Group[s]",
        "a!b",
        "~",
        "{a,b}",
        "*",
        "a\\b c",
        "=x",
        "",
        "a;b",
    ],
)
def test_a_shell_takes_an_argument_of_a_printed_command_as_it_is(text: str) -> None:
    command = ["sh", "-c", f"printf %s {as_argument(text)}"]
    assert subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout == text


@pytest.mark.parametrize("text", ["reports/20260131-081500-x7k2/retry.csv", "Cost=name", "https://x:8443/y", "Bücher"])
def test_an_argument_that_any_shell_takes_as_it_is_has_no_quotes(text: str) -> None:
    assert as_argument(text) == text
