"""Runs several jobs in one process: each has its own line of progress, and Ctrl+C stops all of them.

Jobs of different organisations have nothing in common but the process; those of one organisation take turns.
"""

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import anyio
from anyio.abc import TaskGroup
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

from bulkid import runs as library
from bulkid.cli import render
from bulkid.cli.library_options import context_of, open_target
from bulkid.cli.signals import stopping
from bulkid.cli.terminal import PLAIN_INTERVAL_S, REFRESH_INTERVAL_S, TerminalHooks, progress_line
from bulkid.config import Settings
from bulkid.engine import Stop
from bulkid.runs import STAGES, Job, JobResult, OrganizationMutex, Progress, RunOptions, Target, task_group

MAX_NAME_WIDTH = 24
"""Letters of a job's name that are shown beside its progress."""

COUNT_WIDTH = 11
"""Columns for how many of how many: 12345/12345."""

MakeJob = Callable[[Target, RunOptions], Job]
"""Makes a job once it is known which server it works on (``--sandbox`` starts one)."""


class StopGroup(Stop):
    """A stop that is handed on to several others, each of which may also be requested by itself."""

    def __init__(self) -> None:
        super().__init__()
        self._members: list[Stop] = []

    def member(self) -> Stop:
        """Another stop that is requested together with this one."""
        member_stop = Stop()
        self._members.append(member_stop)
        return member_stop

    def request(self, reason: str) -> None:
        """Take nothing new, anywhere."""
        super().request(reason)
        for member_stop in self._members:
            member_stop.request(reason)

    def abort(self) -> None:
        """Stop now, everywhere."""
        super().abort()
        for member_stop in self._members:
            member_stop.abort()


class JobHooks(TerminalHooks):
    """Hooks of one job among several: its name precedes its messages, and all share one display."""

    def __init__(
        self, err: Console, settings: Settings, tasks: TaskGroup, name: str, progress_board: "ProgressBoard"
    ) -> None:
        super().__init__(err, settings, tasks, ask=False)
        self._name = name
        self._board = progress_board

    def say(self, text: str) -> None:
        """Print a sentence, even with ``--quiet``."""
        super().say(f"{self._name}: {text}")

    def note(self, text: str) -> None:
        """Print a note, unless the run is quiet."""
        super().note(f"{self._name}: {text}")

    def warn(self, text: str) -> None:
        """Print a warning, even with ``--quiet``."""
        super().warn(f"{self._name}: {text}")

    def stage(self, name: str) -> None:
        """End the progress of the stage before; name the new one where more is wanted."""
        self._end_display()
        if self._verbose and not self._quiet:
            self._err.print(f"{self._name}: {STAGES[name]} ...")

    async def _show(self, progress: Progress, scope: anyio.CancelScope) -> None:
        with scope:
            await self._board.show(self._name, progress)

    async def confirm(self, preview: library.Preview) -> bool:
        """Print the plan in one line, instead of a table for each job."""
        for text in render.plan_lines(preview):
            self.note(text)
        return True


class ProgressBoard:
    """One display for all jobs: a live line each on a terminal, a plain line now and then elsewhere.

    It shows up to ``MAX_NAME_WIDTH`` letters of each job's name.
    """

    def __init__(self, err: Console, names: Sequence[str]) -> None:
        self._err = err
        longest = min(max(map(len, names), default=0), MAX_NAME_WIDTH)
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn(
                "{task.description}",
                markup=False,  # a job's name is no markup
                table_column=Column(no_wrap=True, min_width=longest, max_width=longest),
            ),
            BarColumn(bar_width=8, table_column=Column(min_width=8)),
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=COUNT_WIDTH)),
            TextColumn(
                "{task.fields[words]}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
            ),
            console=err,
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    @asynccontextmanager
    async def displayed(self) -> AsyncIterator[None]:
        """Show what the jobs report while the block runs."""
        if not self._err.is_terminal:
            yield
            return
        with self._bar:
            async with task_group() as tasks:
                tasks.start_soon(self._refresh)
                yield
                tasks.cancel_scope.cancel()

    async def _refresh(self) -> None:
        while True:
            self._bar.refresh()
            await anyio.sleep(REFRESH_INTERVAL_S)

    async def show(self, name: str, progress: Progress) -> None:
        """Show one job's sending until cancelled."""
        if not self._err.is_terminal:
            await self._plain(name, progress)
            return
        task = self._bar.add_task(name, total=progress.total, words="")
        try:
            await self._keep_updated(task, progress)
        finally:
            self._bar.remove_task(task)

    async def _keep_updated(self, task: TaskID, progress: Progress) -> None:
        while True:
            snapshot = progress.snapshot()
            self._bar.update(task, completed=snapshot.done, words=progress_line(snapshot))
            await anyio.sleep(REFRESH_INTERVAL_S)

    async def _plain(self, name: str, progress: Progress) -> None:
        while True:
            await anyio.sleep(PLAIN_INTERVAL_S)
            snapshot = progress.snapshot()
            self._err.print(f"{name}: {snapshot.done}/{snapshot.total} · {progress_line(snapshot)}")


async def run_parallel(jobs: Sequence[tuple[Settings, str, MakeJob]]) -> list[JobResult]:
    """Run jobs (their settings, names and makers) side by side until all have ended; results in their order."""
    _raise_file_limit()
    err, stop_group, organization_mutex = render.console(stderr=True), StopGroup(), OrganizationMutex()
    progress_board = ProgressBoard(err, [name for _, name, _ in jobs])
    results: dict[int, JobResult] = {}

    async def member(number: int, settings: Settings, make: MakeJob, stop: Stop) -> None:
        async with open_target(settings) as (target, options):
            job = make(target, options)
            async with task_group() as tasks:
                hooks = JobHooks(err, settings, tasks, job.name, progress_board)
                context = context_of(settings, hooks, stop)
                result = results[number] = await library.run_job(
                    job, replace(context, organization_mutex=organization_mutex)
                )
                tasks.cancel_scope.cancel()
            if not settings.quiet:
                hooks.say(f"ended with exit code {result.exit_code}.")

    async with progress_board.displayed():
        with stopping(stop_group, err.print):
            async with task_group() as tasks:
                for number, (settings, _, make) in enumerate(jobs):
                    tasks.start_soon(member, number, settings, make, stop_group.member())
    return [results[number] for number in range(len(jobs))]


def _raise_file_limit() -> None:
    """Let the process have as many open files and connections as the system grants it: each job needs some."""
    if sys.platform == "win32":  # no such limit
        return
    import resource

    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says "unlimited" and grants less
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
