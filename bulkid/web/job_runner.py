"""Runs in one task group of the server: no request of a browser ends them."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from anyio.abc import TaskGroup

from bulkid.errors import BulkidError, InterruptedRunError, UsageError
from bulkid.logs import log
from bulkid.model import RunRecord
from bulkid.runs import Context, Preview, Progress, RunResult, Snapshot, Stop
from bulkid.web.activity import ActivityHooks

Confirm = Callable[["Job", Preview], Awaitable[bool]]
Work = Callable[[Context], Awaitable[RunResult]]


@dataclass(eq=False)
class Job(ActivityHooks):
    """One run under way in this process, seen through its hooks."""

    user: str  # who began it
    confirm_plan: Confirm  # whether the plan is the one that the user saw; the run ends with an error that this raises
    stop: Stop = field(default_factory=Stop)
    run_id: str = ""
    live_progress: Progress | None = None
    notes: list[str] = field(default_factory=list)
    error: BulkidError | None = None
    started: anyio.Event = field(default_factory=anyio.Event)  # it has a run id, or has ended without one
    ended: anyio.Event = field(default_factory=anyio.Event)

    @property
    def snapshot(self) -> Snapshot | None:
        """The live metrics of the run; None while it is not sending."""
        return None if self.live_progress is None else self.live_progress.snapshot()

    def began(self, record: RunRecord) -> None:
        """Set the id of the run."""
        self.run_id = record.run_id
        self.started.set()

    def note(self, text: str) -> None:
        """Keep a sentence for the run's page."""
        self.notes.append(text)

    def warn(self, text: str) -> None:
        """Keep a sentence for the run's page, and log it: it may come when the page shows the end of the run."""
        self.note(text)
        log.warning("console.run_warning", run_id=self.run_id, warning=text)

    def stage(self, name: str) -> None:
        """Set the stage of the run; its live figures end with the sending."""
        super().stage(name)
        if name == "report":
            self.live_progress = None

    def progress(self, progress: Progress) -> None:
        """Take the live figures."""
        self.live_progress = progress

    async def confirm(self, preview: Preview) -> bool:
        """Return whether to send the plan."""
        return await self.confirm_plan(self, preview)


@dataclass(eq=False, slots=True)
class StartEntry:
    """The entry of the audit log on the start of a run, which sends nothing before."""

    resumes: bool  # whether the run has begun before
    settled: anyio.Event = field(default_factory=anyio.Event)  # it is written, or cannot be
    is_written: bool = False

    async def require(self) -> None:
        """Wait for the entry; raise InterruptedRunError or, for a new run, UsageError where it cannot be written."""
        await self.settled.wait()
        if not self.is_written:
            message = "The start of this run could not be recorded in the audit log: nothing was sent."
            raise (InterruptedRunError if self.resumes else UsageError)(message, hint="Start it again.")


class JobRunner:
    """Begins runs in the server's task group, keeps those under way, and ends them when the server ends."""

    def __init__(self, tasks: TaskGroup, context: Context) -> None:
        self._tasks = tasks
        self._context = context
        self._jobs: set[Job] = set()
        self._closing = False

    def job(self, run_id: str) -> Job | None:
        """The job of a run that is under way in this process."""
        return next((job for job in self._jobs if job.run_id == run_id), None)

    @property
    def running(self) -> int:
        """How many runs are under way in this process."""
        return len(self._jobs)

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a task other than a run (a preview, a feed of figures) in the server's task group."""
        self._tasks.start_soon(self._log_errors, work)

    async def _log_errors(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - a defect here must end neither the runs nor the server
            log.warning("console.task_broke", error=f"{type(error).__name__}: {error}")

    async def start(self, work: Work, user: str, confirm_plan: Confirm) -> Job:
        """Begin a run, and wait until it is in the journal or has failed before that.

        Raises:
            BulkidError: It failed before there was a run.
            InterruptedRunError: The server is being stopped.
        """
        if self._closing:
            raise InterruptedRunError("The console is being stopped: nothing was begun.", hint="Start it again.")
        job = Job(user, confirm_plan)
        self._jobs.add(job)
        self._tasks.start_soon(self._run_job, job, work)
        await job.started.wait()
        if not job.run_id and job.error is not None:
            raise job.error
        return job

    async def _run_job(self, job: Job, work: Work) -> None:
        context = replace(self._context, hooks=job, stop=job.stop, user=job.user)
        try:
            result = await work(context)
            job.error = result.error
            for text in result.notes:
                job.warn(text)
        except BulkidError as error:
            job.error = error
        except Exception as error:  # noqa: BLE001 - one run's defect must end neither the others nor the server
            log.warning("console.run_broke", run_id=job.run_id, error=f"{type(error).__name__}: {error}")
            job.error = InterruptedRunError(
                "bulkid ended the run with an internal error.", hint="The console's log contains details."
            )
        finally:
            self._jobs.discard(job)
            job.ended.set()
            job.started.set()

    async def close(self, grace_s: float) -> None:
        """Stop all runs and begin no new ones; cancel requests in flight that take longer than ``grace_s`` seconds."""
        self._closing = True
        jobs = list(self._jobs)
        for job in jobs:
            job.stop.request("Stopped with the console")
        with anyio.move_on_after(grace_s):
            for job in jobs:
                await job.ended.wait()
        for job in jobs:
            job.stop.abort()
        for job in jobs:
            await job.ended.wait()

    def abort(self) -> None:
        """Stop all runs at once; the journal keeps what was sent."""
        self._closing = True
        for job in self._jobs:
            job.stop.abort()
