"""What a resumed run takes over from the attempt before: requests in flight, and accounts that have failed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from bulkid import runs
from bulkid.clock import SystemClock
from bulkid.journal.quota.ledger import JournalLedger
from bulkid.journal.store import Journal, open_journal
from bulkid.model import FailureBound, Outcome, QuotaRule, RunRecord, RunStatus
from bulkid.report.summary import next_steps
from bulkid.runs import OrganizationMutex, descriptions
from bulkid.runs.execution.reconcile import RESUMED
from tests.support.identity_server import ORG, Answer, Identity, account, context, options, report, sheet

IDS = [f"a{number:02}" for number in range(5)]
LINES = ("id", "display_name"), [(each, "New") for each in IDS]
RULE = QuotaRule("PUT", 1000, 60.0)


class Killed(BaseException):
    """Ends a run at once: nothing is concluded."""


class Stopping(Identity):
    """Asks the client to stop when it takes its first PUT."""

    def __init__(self, stop: runs.Stop) -> None:
        super().__init__(account(each) for each in IDS)
        self.stop = stop

    def on_put(self, account_id: str, body: dict[str, Any]) -> Answer:
        self.stop.request("Stopped with Ctrl+C")
        return super().on_put(account_id, body)


async def stopped(server: Stopping, folder: Path, **more: Any) -> str:
    """A run that has sent one of five accounts when it is stopped."""
    how = options(folder, via="accounts", concurrency=1, quota=(RULE,), **more)
    result = await runs.run(sheet(folder, *LINES), server.target, how, context(folder, stop=server.stop))
    assert (result.exit_code, result.summary["updated"], result.summary["pending"]) == (5, 1, 4)
    run_id: str = result.summary["run_id"]
    return run_id


@pytest.mark.parametrize("command", ["resume", "run"])
async def test_requests_in_flight_of_a_dead_run_are_taken_as_answered_once_the_lock_is_held(
    command: str, tmp_path: Path
) -> None:
    """Otherwise their slots of the quota would be kept until the longest time is over that a request can take."""
    async with Stopping(runs.Stop()).served() as server:
        dead = await stopped(server, tmp_path)
        with open_journal(tmp_path / "state") as journal:
            ledger = JournalLedger(journal, ORG, dead, SystemClock(), hold_s=86_400.0)
            assert len((await ledger.exchange([RULE], 3, (), ())).slots) == 3
            if command == "resume":
                result = await runs.resume("", server.target, context(tmp_path))
            else:
                path = sheet(tmp_path, *LINES, name="again.csv")
                how = options(tmp_path, via="accounts", quota=(RULE,))
                result = await runs.run(path, server.target, how, context(tmp_path))
            assert result.exit_code == 0
            assert await ledger.recover_runs() == 0


@pytest.mark.parametrize(("percent", "exit_code"), [(50.0, 1), (49.0, 4)])
async def test_a_share_of_failures_counts_accounts_that_failed_before_anything_was_sent_on_both_sides(
    percent: float, exit_code: int, tmp_path: Path
) -> None:
    """Two of the four accounts that a resume takes up do not exist any more: that is half of them."""
    async with Stopping(runs.Stop()).served() as server:
        await stopped(server, tmp_path, max_failures=FailureBound(percent=percent))
        del server.accounts["a02"], server.accounts["a04"]
        resumed = await runs.resume("", server.target, context(tmp_path))
    assert resumed.exit_code == exit_code
    left = "updated" if exit_code == 1 else "pending"
    assert [row["status"] for row in report(resumed)] == ["updated", left, "failed", left, "failed"]


class Watching(runs.Hooks):
    """Keeps what a user sees of a resumed run when it begins to send."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sentences: list[str] = []
        self.counts = (0, 0, 0)
        self.record: RunRecord | None = None

    def resumed(self, record: RunRecord, rows: int | None) -> None:
        self.sentences.append(descriptions.resuming(record, rows))

    def progress(self, progress: runs.Progress) -> None:
        first = progress.snapshot()
        self.counts = first.done, first.total, first.updated
        with open_journal(self.folder / "state") as journal:
            (self.record,) = journal.list_runs()


async def test_a_resumed_run_says_what_is_left_and_counts_on_from_what_is_done(tmp_path: Path) -> None:
    """Its record says no more how the attempt before ended: a page would show an end of a run that is under way."""
    async with Stopping(runs.Stop()).served() as server:
        run_id = await stopped(server, tmp_path)
        with open_journal(tmp_path / "state") as journal:
            (ended,) = journal.list_runs()
        assert (ended.finished_at is not None, ended.message) == (True, "Stopped with Ctrl+C.")
        watching = Watching(tmp_path)
        result = await runs.resume("", server.target, context(tmp_path, hooks=watching))
    assert watching.sentences == [f"Resuming {run_id}: {ended.source}, 4 rows left"]
    assert watching.counts == (1, 5, 1)
    assert watching.record is not None
    assert (watching.record.status, watching.record.finished_at, watching.record.message) == (
        RunStatus.RUNNING,
        None,
        "",
    )
    assert (result.run.finished_at is not None, result.summary["updated"]) == (True, 5)


async def test_a_run_that_waits_for_another_one_of_its_process_names_it() -> None:
    mutex, stop, waits = OrganizationMutex(), runs.Stop(), list[str]()
    async with mutex.taken("ORG", "20260131-081500-ab12", stop, waits.append):
        assert waits == []

        async def second() -> None:
            async with mutex.taken("org", "20260131-081501-cd34", stop, waits.append):
                pass

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert waits == ["Waiting for run 20260131-081500-ab12 on this organisation to finish."]


async def test_runs_that_begin_at_once_name_the_first_of_them() -> None:
    """The second asks for the lock while the first, which has it, has not yet gone on."""
    mutex, stop, waits, held = OrganizationMutex(), runs.Stop(), list[str](), list[str]()

    async def hold(run_id: str) -> None:
        async with mutex.taken("org", run_id, stop, waits.append):
            held.append(run_id)

    async with anyio.create_task_group() as tasks:
        for run_id in ("first", "second", "third"):
            tasks.start_soon(hold, run_id)
    assert (held, waits) == (
        ["first", "second", "third"],
        ["Waiting for run first on this organisation to finish."] * 2,
    )


async def test_a_resume_that_is_refused_does_not_say_that_the_run_has_sent_nothing(tmp_path: Path) -> None:
    class Refusing(Stopping):
        def on_put(self, account_id: str, body: dict[str, Any]) -> Answer:
            super().on_put(account_id, body)
            return 400, {"message": "No."}

    async with Refusing(runs.Stop()).served() as server:
        how = options(tmp_path, via="accounts", concurrency=1)
        first = await runs.run(sheet(tmp_path, *LINES), server.target, how, context(tmp_path, stop=server.stop))
        assert (first.summary["failed"], first.summary["pending"], server.count("PUT")) == (1, 4, 1)
        result = await runs.resume("", replace(server.target, access_token=""), context(tmp_path))
    assert result.exit_code == 2
    assert {row["error"] for row in report(result)} == {"No.", str(result.error)}
    assert "Nothing more was sent. Set BULKID_CLIENT_ID" in str(result.error)


async def test_a_rest_that_was_confirmed_is_no_trial_after_a_kill_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the run would count as completed as soon as no more rows are pending than the trial has left."""
    real = Journal.settle

    def killed_after(journal: Journal, run_id: str, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        real(journal, run_id, outcomes)
        if any(outcome is RESUMED for _, outcome in outcomes):
            raise Killed

    async with Stopping(runs.Stop()).served() as server:
        how = options(tmp_path, first=2, via="accounts", concurrency=1, quota=(RULE,))
        trial = await runs.run(sheet(tmp_path, *LINES), server.target, how, context(tmp_path))
        assert (trial.status, trial.summary["pending"]) == (RunStatus.COMPLETED, 3)
        with monkeypatch.context() as killing:
            killing.setattr(Journal, "settle", killed_after)
            with pytest.raises(Killed):
                await runs.resume(trial.run.run_id, server.target, context(tmp_path))
        server.stop = runs.Stop()
        result = await runs.resume("", server.target, context(tmp_path, stop=server.stop))
        assert (result.status, result.summary["pending"]) == (RunStatus.INTERRUPTED, 2)
        result = await runs.resume("", server.target, context(tmp_path))
        assert (result.status, result.summary["updated"]) == (RunStatus.COMPLETED, 5)
        assert next_steps(result.run, result.summary) == []
