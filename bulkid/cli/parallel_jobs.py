"""Runs several jobs in one process: each has its own line of progress, and Ctrl+C stops all of them."""

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

import anyio
from rich.console import Console

from bulkid import runs as library
from bulkid.cli import render
from bulkid.cli.library_options import context_of, open_target
from bulkid.cli.signals import stopping
from bulkid.cli.terminal import REFRESH_INTERVAL_S, TerminalHooks, progress_bar, show_progress
from bulkid.config import Settings
from bulkid.engine import Stop
from bulkid.runs import Job, JobResult, OrganizationMutex, Progress, RunOptions, Target, task_group

MAX_NAME_WIDTH = 24
"""Letters of a job's name that are shown beside its progress."""

MAX_COUNT = 99_999
"""Accounts of a job for whose count the display keeps columns."""

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


class ProgressBoard:
    """One display for all jobs: a live line each on a terminal, a plain line now and then elsewhere."""

    def __init__(self, err: Console, names: Sequence[str]) -> None:
        self._err = err
        longest = max(map(len, names), default=1)
        self._bar = progress_bar(err, MAX_COUNT, min(longest, MAX_NAME_WIDTH))

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
        await show_progress(self._err, progress, name, self._bar)


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
                show = partial(progress_board.show, job.name)
                hooks = TerminalHooks(err, settings, tasks, name=job.name, show=show)
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
