"""Runs that are refused before they have a connection: for their settings, or for a sheet that cannot be read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulkid import runs
from bulkid.errors import ConnectionFailedError, InterruptedRunError, SheetError
from bulkid.model import RunStatus
from bulkid.runs.execution import run as execution
from bulkid.runs.inputs.sheet import SheetInput
from tests.support.identity_server import Answer, Identity, account, context, options, sheet

HEADERS = ("id", "display_name")


async def away(*_: object) -> None:
    raise ConnectionFailedError("The server cannot be reached.")


async def test_a_run_that_was_refused_for_its_settings_stays_refused_where_its_resume_is(tmp_path: Path) -> None:
    """Else `bulkid resume` would take up a run that no settings have ever let begin."""
    path = sheet(tmp_path, HEADERS, [("a", "New")])
    async with Identity([account("a")]).served() as server:
        unusable = replace(server.target, access_token="")
        first = await runs.run(path, unusable, options(tmp_path), context(tmp_path))
        assert (first.exit_code, first.status, first.summary["pending"]) == (2, RunStatus.REFUSED, 1)
        again = await runs.resume(first.run.run_id, unusable, context(tmp_path))
        assert (again.exit_code, again.status) == (2, RunStatus.REFUSED)
        good = await runs.resume(first.run.run_id, server.target, context(tmp_path))
    assert (good.exit_code, good.summary["updated"]) == (0, 1)


async def test_a_run_without_a_valid_row_does_not_count_as_ended_where_its_resume_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sheet(tmp_path, HEADERS, [("a", "#N/A")])
    async with Identity([account("a")]).served() as server:
        with monkeypatch.context() as broken:
            broken.setattr(execution, "prepare", away)
            first = await runs.run(path, server.target, options(tmp_path, skip_invalid=True), context(tmp_path))
        assert (first.status, first.summary["invalid"]) == (RunStatus.STOPPED, 1)
        unusable = replace(server.target, access_token="")
        again = await runs.resume(first.run.run_id, unusable, context(tmp_path))
    assert (again.exit_code, again.status) == (2, RunStatus.REFUSED)


async def test_a_resume_that_cannot_read_its_sheet_to_the_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a job would resume it for ever: its file would never go to `failed`."""
    path, read = sheet(tmp_path, HEADERS, [("a", "New")]), SheetInput.read

    async def stopped(_: SheetInput, _journal: Any = None) -> None:
        raise InterruptedRunError("Stopped.")

    async def broken(self: SheetInput, journal: Any = None) -> None:
        await read(self, journal)
        raise SheetError("A quote is never closed.")

    async with Identity([account("a")]).served() as server:
        monkeypatch.setattr(SheetInput, "read", stopped)
        first = await runs.run(path, server.target, options(tmp_path), context(tmp_path))
        assert (first.status, first.run.phase) == (RunStatus.INTERRUPTED, "reading")
        monkeypatch.setattr(SheetInput, "read", broken)
        again = await runs.resume(first.run.run_id, server.target, context(tmp_path))
    assert (again.exit_code, again.status, again.summary["pending"]) == (2, RunStatus.REFUSED, 1)


async def test_where_the_server_refuses_the_list_the_advised_command_is_for_the_same_connection(tmp_path: Path) -> None:
    """Without its options `bulkid doctor` would examine another server, or another state."""

    class Refusing(Identity):
        def on_page(self, skip: int, top: int, term: str) -> Answer:  # noqa: ARG002 - that of the base class
            return 400, {"message": "Not today."}

    path = sheet(tmp_path, HEADERS, [("a", "New"), ("b", "New")])
    async with Refusing([account("a"), account("b")]).served() as server:
        target = replace(server.target, named_by=(("--profile", "eu"), ("--state-dir", "other")))
        planned = await runs.plan(path, target, options(tmp_path), context(tmp_path))
    assert planned.error is not None
    assert planned.error.cli_hint == "Check the connection with: bulkid doctor --profile eu --state-dir other"
    assert "bulkid" not in planned.error.hint


async def test_the_plan_of_a_rest_that_ends_with_an_error_counts_its_requests(tmp_path: Path) -> None:
    path = sheet(tmp_path, HEADERS, [(each, "New") for each in "abc"])
    async with Identity([account(each) for each in "abc"]).served() as server:
        trial = await runs.run(path, server.target, options(tmp_path, first=1), context(tmp_path))
        server.asked.clear()
        server.on_page = lambda *_: (400, {"message": "Not today."})  # type: ignore[method-assign]
        planned = await runs.plan_rest(trial.run.run_id, server.target, context(tmp_path))
    assert planned.exit_code == ConnectionFailedError.exit_code
    assert planned.summary["requests"] == {"GET": len(server.asked), "PUT": 0, "POST": 0, "DELETE": 0}
    assert server.asked
