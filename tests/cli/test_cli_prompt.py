"""The prompt: a plan with deletions is sent only after the user has typed the number of accounts to delete."""

import io
import json
from types import SimpleNamespace

import pytest
from anyio import CancelScope, create_task_group
from anyio.lowlevel import checkpoint
from rich.console import Console

from bulkid import runs
from bulkid.cli import run_commands, terminal
from bulkid.cli.terminal import TerminalHooks
from bulkid.config.settings import Settings
from bulkid.errors import StateError
from bulkid.runs import Preview
from tests.support.journal_data import record
from tests.support.planning_world import account, request
from tests.support.previews import deletion, preview_of, with_changes

UPDATES = preview_of([request(2, "a-4", display_name="New Four")])
DELETIONS = with_changes(UPDATES, *(deletion(account(f"old-{number}", f"PROD-{number}")) for number in range(3)))


async def asked(
    monkeypatch: pytest.MonkeyPatch, preview: Preview, typed: str, *, quiet: bool = False, name: str = ""
) -> tuple[bool, str]:
    """Answer the question about a plan; return whether it may be sent, and what was printed."""

    async def answer() -> str:
        return typed

    monkeypatch.setattr(terminal, "_line_from_stdin", answer)
    err = Console(file=io.StringIO(), width=100, markup=False, highlight=False)
    async with create_task_group() as tasks:
        hooks = TerminalHooks(err, Settings(quiet=quiet), tasks, ask=not name, name=name)
        agreed = await hooks.confirm(preview)
    assert isinstance(err.file, io.StringIO)
    return agreed, err.file.getvalue()


@pytest.mark.parametrize(
    ("typed", "agreed"), [("3\n", True), ("y\n", False), ("yes\n", False), ("4\n", False), ("\n", False), ("", False)]
)
async def test_a_plan_with_deletions_wants_their_number(
    monkeypatch: pytest.MonkeyPatch, typed: str, agreed: bool
) -> None:
    found, text = await asked(monkeypatch, DELETIONS, typed)
    assert found is agreed
    before, question, after = text.partition("Type the number of accounts to delete (3) to go on: ")
    assert question
    assert "[y/N]" not in text
    assert "Deletions cannot be undone." in before
    assert all(f"PROD-{number}" in before for number in range(3)), "seen before they are confirmed"
    assert ("That is not the number of accounts to delete (3)." in after) == (bool(typed.strip()) and not agreed)


@pytest.mark.parametrize(("typed", "agreed"), [("y\n", True), ("3\n", False), ("\n", False)])
async def test_a_plan_without_deletions_wants_a_yes(monkeypatch: pytest.MonkeyPatch, typed: str, agreed: bool) -> None:
    found, text = await asked(monkeypatch, UPDATES, typed)
    assert found is agreed
    assert "Update 1 account? You can reverse this with bulkid undo. [y/N] " in text


async def test_ctrl_c_at_the_prompt_on_windows_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """There Ctrl+C ends the input, and its signal comes a moment later."""
    signalled = CancelScope()

    async def signal_meanwhile(_: float) -> None:
        signalled.cancel()
        await checkpoint()

    monkeypatch.setattr(terminal, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(terminal.anyio, "sleep", signal_meanwhile)
    with signalled:
        await asked(monkeypatch, UPDATES, "")
    assert signalled.cancelled_caught


async def test_deletions_are_listed_where_little_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    _, quiet = await asked(monkeypatch, DELETIONS, "3\n", quiet=True)
    assert quiet.count("- delete account old-") == 3
    agreed, of_job = await asked(monkeypatch, DELETIONS, "", quiet=True, name="nightly")
    assert agreed, "a job among several does not ask"
    assert of_job.count(": delete account old-") == 3


def test_a_resume_prints_its_object_also_where_it_cannot_find_out_whether_to_ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreadable(*_: object) -> bool:
        raise StateError("The state database cannot be read.")

    monkeypatch.setattr(runs, "find_resumable_run", lambda *_, **__: record(), raising=False)
    monkeypatch.setattr(runs, "needs_confirmation", unreadable, raising=False)
    with pytest.raises(StateError):
        run_commands.resume("", Settings(json=True), yes=False, yes_really=False, skip_invalid=False)
    assert json.loads(capsys.readouterr().out)["status"] == "refused"
