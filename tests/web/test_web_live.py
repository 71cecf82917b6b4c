"""The live metrics of a run: computed once for all users who watch, and complete in every event."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import anyio
import pytest

from bulkid.errors import StateError
from bulkid.model import ReportRow, RunRecord, RunStatus, Status
from bulkid.runs import Context, RunBrowser, RunListItem, RunResult, Snapshot
from bulkid.web import sse
from bulkid.web.job_runner import Job, JobRunner
from bulkid.web.sse import RunFeeds

FAILED = ReportRow(2, "id", "robot-1", Status.FAILED, "", 400, "locked", "is locked", 1, None, 1.0)
SENDING = Snapshot(3, 9, 2, 1, 4.0, 7, None, None, 2.0)


class SlowJournal:
    """A journal in which a failure shows up only at the third look, as a commit takes its time."""

    def __init__(self) -> None:
        self.look_count = 0

    def run(self, run_id: str) -> RunListItem:
        """A run that has ended."""
        record = RunRecord(run_id, 0.0, RunStatus.COMPLETED, "run", "a.csv", "", "", "", 1)
        return RunListItem(record, {**dict.fromkeys(Status, 0), Status.UPDATED: 8, Status.FAILED: 1})

    def failures(self, run_id: str, limit: int) -> Sequence[ReportRow]:
        """What is committed so far."""
        assert (run_id, limit) == ("run", sse.MAX_SHOWN_FAILURES)
        self.look_count += 1
        return [FAILED] if self.look_count >= 3 else []


@dataclass
class SnapshotSource:
    """The figures of a run that is sending."""

    figures: Snapshot = SENDING

    def snapshot(self) -> Snapshot:
        """Always the same."""
        return self.figures


async def _reported(live_feeds: RunFeeds, enough: Any) -> list[dict[str, Any]]:
    reported = []
    async for text in live_feeds.watch("run"):
        reported.append(json.loads(text))
        if enough(reported[-1]):
            return reported
    return reported


async def test_a_failure_that_is_counted_before_it_is_committed_is_still_shown(monkeypatch: Any) -> None:
    monkeypatch.setattr(sse, "POLL_INTERVAL_S", 0.001)
    run_browser = SlowJournal()
    async with anyio.create_task_group() as tasks:
        job_runner = JobRunner(tasks, Context())
        job = Job("ada", bool, run_id="run", live_progress=cast("Any", SnapshotSource()))
        monkeypatch.setattr(job_runner, "job", lambda _run_id: job)
        feeds = RunFeeds(cast("RunBrowser", run_browser), job_runner)
        with anyio.fail_after(20):
            reported = await _reported(feeds, lambda state: state["failures"])
        assert reported[0]["failed"] == 1
        assert reported[0]["failures"] == []
        assert reported[-1]["failures"] == [{"row": 2, "name": "robot-1", "error": "is locked"}]
        tasks.cancel_scope.cancel()


async def test_fifty_watchers_cost_one_look_at_the_journal() -> None:
    run_browser = SlowJournal()
    run_browser.look_count = 2
    async with anyio.create_task_group() as tasks:
        feeds = RunFeeds(cast("RunBrowser", run_browser), JobRunner(tasks, Context()))
        heard: list[list[dict[str, Any]]] = []

        async def watch() -> None:
            heard.append(await _reported(feeds, lambda _state: False))

        async with anyio.create_task_group() as watchers:
            for _ in range(50):
                watchers.start_soon(watch)
        assert len(heard) == 50
        assert all(each == heard[0] and each[0]["running"] is False for each in heard)
        assert run_browser.look_count == 3
        tasks.cancel_scope.cancel()


async def test_watchers_of_a_run_hear_of_no_end_while_the_database_is_away(monkeypatch: Any) -> None:
    run_browser = SlowJournal()

    def away(_run_id: str) -> RunListItem:
        raise StateError("The database cannot be reached.")

    monkeypatch.setattr(run_browser, "run", away)
    async with anyio.create_task_group() as tasks:
        feeds = RunFeeds(cast("RunBrowser", run_browser), JobRunner(tasks, Context()))
        with anyio.fail_after(20), pytest.raises(StateError):
            await _reported(feeds, lambda _state: False)
        monkeypatch.undo()
        run_browser.look_count = 2
        with anyio.fail_after(20):
            assert [state["running"] for state in await _reported(feeds, lambda _state: False)] == [False]
        tasks.cancel_scope.cancel()


async def test_what_a_run_warns_of_at_its_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def work(context: Context) -> RunResult:
        context.hooks.began(SlowJournal().run("run").run)
        context.hooks.warn("notify: always, address 1 (slack://...) was not notified")
        return RunResult(None, RunStatus.COMPLETED, {}, None, notes=("The metrics were not written.",))

    async with anyio.create_task_group() as tasks:
        await (await JobRunner(tasks, Context()).start(work, "ada", confirm_plan=bool)).ended.wait()
    assert "address 1 (slack://...) was not notified" in caplog.text
    assert "The metrics were not written." in caplog.text


def test_the_quota_is_reported_in_words() -> None:
    say = sse.quota_text
    assert say(None, None) == ""
    assert say(1200, None) == "1,200 left"
    assert say(0, 30.0) == "used up, more in 30 s"


def test_a_limit_of_the_server_is_reported_in_place_of_the_quota() -> None:
    def quota(figures: Snapshot) -> str:
        state = sse.live_state(Job("ada", bool, live_progress=cast("Any", SnapshotSource(figures))))
        assert state is not None
        return str(state["quota"])

    for limited in (SENDING._replace(server_retry_in=4.0), SENDING._replace(pace_opens_in=4.0)):
        assert limited.server_limit
        assert quota(limited) == limited.server_limit
    assert quota(SENDING) == "7 left"
    assert sse.live_state(None) is None


def test_the_page_says_what_a_run_does_or_waits_for() -> None:
    job = Job("ada", bool, live_progress=cast("Any", SnapshotSource(SENDING)))

    def words() -> str:
        state = sse.live_state(job)
        assert state is not None
        return str(state["words"])

    job.stage("send")
    assert words() == "Sending"
    job.waiting("Waiting for run 20261128-094500-k3mp on this organisation to finish")
    assert words() == "Waiting for run 20261128-094500-k3mp on this organisation to finish"
    job.stop.request("Paused by ada")
    assert words() == "Pausing: requests in flight may finish"
    job.stop.abort()
    assert words() == "Stopping now"


def test_a_run_that_waits_for_another_says_so_until_its_next_stage() -> None:
    line, job = SlowJournal().run("run"), Job("ada", bool)
    job.stage("connect")
    job.waiting("Waiting for run 20260131-081500-ab12 on this organisation to finish.")
    assert sse.state_from_journal(line, job)["words"].startswith("Waiting for run 20260131-081500-ab12")
    job.stage("directory")
    assert sse.state_from_journal(line, job)["words"] == "Reading the directory"


def test_a_run_that_sends_again_shows_its_stage_in_place_of_what_it_waited_for() -> None:
    line, job = SlowJournal().run("run"), Job("ada", bool)
    job.stage("directory")
    job.waiting("The quota is used: the next request leaves in 5 min, at 12:30 UTC.")
    assert sse.state_from_journal(line, job)["words"].startswith("The quota is used")
    job.wait_ended()
    assert sse.state_from_journal(line, job)["words"] == "Reading the directory"


def test_a_run_with_invalid_rows_alone_has_no_failures() -> None:
    record = RunRecord("run", 0.0, RunStatus.COMPLETED_WITH_FAILURES, "run", "a.csv", "", "", "", 1)
    for status, words in ((Status.INVALID, "completed, rows invalid"), (Status.FAILED, "completed with failures")):
        line = RunListItem(record, {**dict.fromkeys(Status, 0), status: 3})
        assert sse.state_from_journal(line, None)["words"] == words
