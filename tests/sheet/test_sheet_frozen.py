"""The program without Python reads sheets in a child too: it starts itself, since ``sys.executable`` is no Python."""

import io
import subprocess
import sys

import pytest

from bulkid.sheet.child_process import CHILD_OF_PROGRAM, Limits, SpareChild, child_arguments
from bulkid.sheet.isolation import open_isolated
from tests.support.sheet_books import written

BOOK = written(["name", "groups"], ["r1", "Ops"])
TEXT = b"name,groups\nr1,Ops\n"
START_PROGRAM = "import runpy, sys; sys.frozen = True; runpy.run_module('bulkid', run_name='__main__', alter_sys=True)"


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyInstaller's start code marks a program."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)


def _as_program(*arguments: str) -> Limits:
    """The limits of a child that Python starts as PyInstaller's program would."""
    return Limits(program=("-c", START_PROGRAM, *arguments))


def test_python_runs_the_child_and_the_program_starts_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "from bulkid.sheet.isolated_child import run; run()"
    assert child_arguments() == Limits().program == ("-P", "-c", program)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert child_arguments() == Limits().program == (CHILD_OF_PROGRAM,)


@pytest.mark.parametrize(("content", "kind"), [(BOOK, "xlsx"), (TEXT, "csv")], ids=["xlsx", "csv"])
@pytest.mark.usefixtures("frozen")
def test_the_program_as_the_child_reads_a_sheet(content: bytes, kind: str) -> None:
    limits = _as_program(*child_arguments())
    table = open_isolated(io.BytesIO(content), f"s.{kind}", kind, None, limits)
    try:
        assert [row for chunk in table.rows(10) for row in chunk] == [("name", "groups"), ("r1", "Ops")]
    finally:
        table.close()


def test_a_child_that_was_started_ahead_reads_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkid.sheet.child_process.Limits", lambda: _as_program(CHILD_OF_PROGRAM))
    spare = SpareChild()
    with spare.started(for_text=True):
        table = open_isolated(io.BytesIO(TEXT), "s.csv", "csv", None, process=spare.take())
        try:
            assert next(table.rows(10)) == [("name", "groups"), ("r1", "Ops")]
        finally:
            table.close()


def test_without_that_argument_the_program_is_the_command() -> None:
    found = subprocess.run(
        [sys.executable, "-c", START_PROGRAM, "--version"], capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith("bulkid ")
