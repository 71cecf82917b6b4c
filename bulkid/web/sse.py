"""The live figures of a run: one task computes them for any number of watchers."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import anyio
import orjson

from bulkid.errors import BulkidError, StateError
from bulkid.model import CHANGED, RunStatus, Status
from bulkid.report.summary import status_label
from bulkid.runs import RunBrowser, RunListItem
from bulkid.runs.concurrency import in_thread
from bulkid.text import short_duration
from bulkid.web.job_runner import Job, JobRunner

POLL_INTERVAL_S: Final = 0.5  # seconds between two looks at the figures of a run in this process
JOURNAL_POLL_INTERVAL_S: Final = 2.0
"""The same for a run in another process, which writes them into the journal as often."""

MAX_SHOWN_FAILURES: Final = 20


@dataclass(eq=False)
class RunFeed:
    """The state of one run, for all its watchers."""

    run_id: str
    watchers: int = 0
    text: str = ""
    ended: bool = False
    error: StateError | None = None  # why no other state follows although the run may go on
    changed: anyio.Event = field(default_factory=anyio.Event)

    def publish(self, text: str, *, ended: bool = False) -> None:
        """Send a new state to all watchers; ``ended``: no other state follows."""
        if ended or text != self.text:
            self.text, self.ended = text, ended
            changed, self.changed = self.changed, anyio.Event()
            changed.set()


class RunFeeds:
    """Feeds by run; each lives as long as it has a watcher. ``closing``: the console is being stopped."""

    def __init__(self, run_browser: RunBrowser, job_runner: JobRunner) -> None:
        self._run_browser = run_browser
        self._job_runner = job_runner
        self._feeds: dict[str, RunFeed] = {}
        self.closing = False

    async def watch(self, run_id: str) -> AsyncGenerator[str]:
        """Yield the state of a run as JSON whenever it changes, from now until it ends or the console does.

        Raises:
            StateError: The state cannot be read at present.
        """
        feed = self._feeds.get(run_id)
        if feed is None:
            feed = self._feeds[run_id] = RunFeed(run_id)
            self._job_runner.spawn(partial(self._run, feed))
        feed.watchers += 1
        sent = ""
        try:
            while True:
                changed = feed.changed
                if feed.text and feed.text != sent:
                    sent = feed.text
                    yield sent
                if feed.error is not None:
                    raise feed.error
                if feed.ended or self.closing:
                    return
                if feed.changed is changed:
                    await changed.wait()
        finally:
            feed.watchers -= 1

    def close(self) -> None:
        """End all feeds."""
        self.closing = True
        for feed in self._feeds.values():
            feed.publish(feed.text, ended=True)

    async def _run(self, feed: RunFeed) -> None:
        failed, failures = -1, list[dict[str, Any]]()
        try:
            while not self.closing:
                job = self._job_runner.job(feed.run_id)
                state = live_state(job)
                if state is None:
                    state = state_from_journal(await in_thread(self._run_browser.run, feed.run_id), job)
                # An outcome is counted a moment before it is in the journal: ask again until the list is as long.
                if state["failed"] != failed or len(failures) < min(failed, MAX_SHOWN_FAILURES):
                    failed = state["failed"]
                    failures = await in_thread(self._failures, feed.run_id)
                feed.publish(orjson.dumps({**state, "failures": failures}).decode())
                if not state["running"] or not feed.watchers:
                    return
                await anyio.sleep(POLL_INTERVAL_S if job is not None else JOURNAL_POLL_INTERVAL_S)
        except StateError as error:  # the database cannot be reached: watchers connect again later
            feed.error = error
        except BulkidError as error:  # there is no such run any more
            feed.publish(orjson.dumps({"running": False, "words": error.message, "failures": []}).decode())
        finally:
            self._feeds.pop(feed.run_id, None)
            feed.publish(feed.text, ended=True)

    def _failures(self, run_id: str) -> list[dict[str, Any]]:
        return [
            {"row": row.row, "name": row.name or row.robot_account_id, "error": row.error or row.error_code}
            for row in self._run_browser.failures(run_id, MAX_SHOWN_FAILURES)
        ]


def live_state(job: Job | None) -> dict[str, Any] | None:
    """The state of a run that is sending, from its live figures; None for any other run."""
    snapshot = None if job is None else job.snapshot
    if job is None or snapshot is None:
        return None
    return {
        "running": True,
        "stopping": job.stop.requested,
        "words": _words(job),
        "done": snapshot.done,
        "total": snapshot.total,
        "changed": snapshot.updated,
        "failed": snapshot.failed,
        "rate": f"{snapshot.per_second:.1f} per second" if snapshot.per_second else "",
        "quota": snapshot.server_limit or quota_text(snapshot.quota_left, snapshot.quota_opens_in),
        "eta": f"about {short_duration(snapshot.eta_s)} left" if snapshot.eta_s else "",
    }


def _words(job: Job) -> str:
    """What a run in this process does at present."""
    if job.stop.aborted:
        return "Stopping now"
    if job.stop.requested:
        return "Pausing: requests in flight may finish"
    return job.activity


def quota_text(left: int | None, opens_in: float | None) -> str:
    """How many requests the quota allows at present; empty where there is no quota."""
    if left == 0 and opens_in:
        return f"used up, more in {short_duration(opens_in)}"
    return "" if left is None else f"{left:,} left"


def state_from_journal(line: RunListItem, job: Job | None) -> dict[str, Any]:
    """The state of a run by the journal: of one in another process, or one that is not sending at present."""
    counts = line.counts
    running = job is not None or line.run.status is RunStatus.RUNNING
    activity = "Under way in another process" if job is None else _words(job)
    return {
        "running": running,
        "stopping": job is not None and job.stop.requested,
        "words": activity if running else status_label(line.run.status, counts),
        "done": line.rows - counts[Status.PENDING],
        "total": line.rows,
        "changed": sum(counts[status] for status in CHANGED),
        "failed": counts[Status.FAILED],
        "rate": "",
        "quota": "",
        "eta": "",
    }
