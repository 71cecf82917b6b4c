"""The live figures of a run for any number of watchers: worked out once, by one task, whoever looks on."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import anyio
import anyio.to_thread
import orjson

from bulkid.errors import BulkidError
from bulkid.model import RunStatus, Status
from bulkid.runs import STAGES, RunBrowser, RunListItem, Snapshot
from bulkid.text import humanize_seconds
from bulkid.web.job_runner import Job, JobRunner

POLL_INTERVAL_S: Final = 0.5
"""How often the figures of a run in this process are taken."""

JOURNAL_POLL_INTERVAL_S: Final = 2.0
"""How often the journal is asked for those of a run in another process, which notes them as often."""

MAX_SHOWN_FAILURES: Final = 20


@dataclass(eq=False)
class RunFeed:
    """What all watchers of one run are told."""

    run_id: str
    watchers: int = 0
    text: str = ""
    ended: bool = False
    changed: anyio.Event = field(default_factory=anyio.Event)

    def publish(self, text: str) -> None:
        """Hand a new state to all watchers."""
        if text != self.text:
            self.text = text
            self._wake()

    def end(self) -> None:
        """Tell all watchers that there will be no more."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        changed, self.changed = self.changed, anyio.Event()
        changed.set()


class RunFeeds:
    """Feeds by run; each lives as long as somebody watches. ``closing``: the console is being stopped.

    Args:
        run_browser: What the journal says.
        job_runner: The runs of this process, and where feeds live.
    """

    def __init__(self, run_browser: RunBrowser, job_runner: JobRunner) -> None:
        self._archive = run_browser
        self._supervisor = job_runner
        self._feeds: dict[str, RunFeed] = {}
        self.closing = False

    async def watch(self, run_id: str) -> AsyncGenerator[str]:
        """Yield the state of a run as JSON whenever it changes, from now until it ends or the console does."""
        feed = self._feeds.get(run_id)
        if feed is None:
            feed = self._feeds[run_id] = RunFeed(run_id)
            self._supervisor.spawn(partial(self._run, feed))
        feed.watchers += 1
        sent = ""
        try:
            while True:
                changed = feed.changed
                if feed.text and feed.text != sent:
                    sent = feed.text
                    yield sent
                if feed.ended or self.closing:
                    return
                if feed.changed is changed:
                    await changed.wait()
        finally:
            feed.watchers -= 1

    def close(self) -> None:
        """Let all watchers go."""
        self.closing = True
        for feed in self._feeds.values():
            feed.end()

    async def _run(self, feed: RunFeed) -> None:
        failed, failures = -1, list[dict[str, Any]]()
        try:
            while not self.closing:
                job = self._supervisor.job(feed.run_id)
                snapshot = job.live_progress.snapshot() if job is not None and job.live_progress is not None else None
                if snapshot is None:
                    state = await anyio.to_thread.run_sync(self._from_journal, feed.run_id, job)
                else:
                    state = state_of(job, snapshot)
                # An outcome is counted a moment before it is in the journal: ask again until the list is as long.
                if state["failed"] != failed or len(failures) < min(failed, MAX_SHOWN_FAILURES):
                    failed = state["failed"]
                    failures = await anyio.to_thread.run_sync(self._failures, feed.run_id)
                feed.publish(orjson.dumps({**state, "failures": failures}).decode())
                if not state["running"] or not feed.watchers:
                    return
                await anyio.sleep(POLL_INTERVAL_S if job is not None else JOURNAL_POLL_INTERVAL_S)
        except BulkidError as error:  # the database is away: watchers come again, and are told then
            feed.publish(orjson.dumps({"running": False, "words": error.message, "failures": []}).decode())
        finally:
            self._feeds.pop(feed.run_id, None)
            feed.end()

    def _from_journal(self, run_id: str, job: Job | None) -> dict[str, Any]:
        line = self._archive.run(run_id)
        return state_from_journal(line, job)

    def _failures(self, run_id: str) -> list[dict[str, Any]]:
        return [
            {"row": row.row, "name": row.name or row.robot_account_id, "error": row.error or row.error_code}
            for row in self._archive.failures(run_id, MAX_SHOWN_FAILURES)
        ]


def state_of(job: Job | None, snapshot: Snapshot) -> dict[str, Any]:
    """The state of a run that is sending, from its live figures."""
    phase = job.phase if job is not None else "send"
    stopping = job is not None and job.stop.requested
    return {
        "running": True,
        "ours": True,
        "words": "Stopping: requests in flight may finish" if stopping else STAGES.get(phase, phase),
        "done": snapshot.done,
        "total": snapshot.total,
        "updated": snapshot.updated,
        "failed": snapshot.failed,
        "rate": f"{snapshot.per_second:.1f} per second" if snapshot.per_second else "",
        "quota": snapshot.server_limit or quota_text(snapshot.quota_left, snapshot.quota_opens_in),
        "eta": f"{humanize_seconds(snapshot.eta_s)} to go" if snapshot.eta_s else "",
    }


def quota_text(left: int | None, opens_in: float | None) -> str:
    """What the quota lets through at present, as words; empty where nothing limits."""
    if left == 0 and opens_in:
        return f"used up; opens in {humanize_seconds(opens_in)}"
    return "" if left is None else f"{left:,} left"


def state_from_journal(line: RunListItem, job: Job | None) -> dict[str, Any]:
    """The state of a run as the journal knows it: one in another process, or one that is not sending at present."""
    counts = line.counts
    running = job is not None or line.run.status is RunStatus.RUNNING
    phase = STAGES.get(job.phase, job.phase) if job is not None else "Under way in another process"
    return {
        "running": running,
        "ours": job is not None,
        "words": phase if running else line.run.status.value.replace("_", " "),
        "done": line.rows - counts[Status.PENDING],
        "total": line.rows,
        "updated": counts[Status.UPDATED],
        "failed": counts[Status.FAILED],
        "rate": "",
        "quota": "",
        "eta": "",
    }
