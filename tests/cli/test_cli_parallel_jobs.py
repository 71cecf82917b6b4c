"""Several jobs in one terminal: one line for each, and one stop for all."""

import asyncio
import io
from pathlib import Path

import anyio
import pytest
from rich.console import Console

from bulkid.cli.jobs import StopGroup, _summaries
from bulkid.cli.progress_display import progress_bar
from bulkid.cli.terminal import show_progress
from bulkid.runs import Job, JobResult, Progress, Snapshot, Target


class ClockReading(Progress):
    """Figures that stay as they are."""

    def __init__(self, done: int, total: int) -> None:
        self.total = total
        self._snapshot = Snapshot(done, total, done, 0, 2.0, 7, None, None, None)

    def snapshot(self) -> Snapshot:
        return self._snapshot


@pytest.mark.parametrize("width", [60, 100])
def test_each_job_has_a_line_of_its_own_on_a_terminal(width: int) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width)

    async def main() -> None:
        with progress_bar(console, name_width=6) as bar:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(show_progress, console, ClockReading(3, 10), "acme", bar)
                tasks.start_soon(show_progress, console, ClockReading(4, 20), "globex", bar)
                await anyio.wait_all_tasks_blocked()
                bar.refresh()
                tasks.cancel_scope.cancel()

    asyncio.run(main())
    text = stream.getvalue()
    for words in ("acme", "globex", "3/10", "4/20", "30 %", "20 %", "0 failed"):
        assert words in text


def test_one_stop_is_a_stop_for_all_and_one_jobs_own_is_not() -> None:
    stop_group = StopGroup()
    first, second = stop_group.member(), stop_group.member()
    first.request("Stopped: too many accounts failed")
    assert not second.requested
    assert not stop_group.requested
    stop_group.request("Stopped with Ctrl+C")
    assert (first.reason, second.reason) == ("Stopped: too many accounts failed", "Stopped with Ctrl+C")
    stop_group.abort()
    assert first.aborted
    assert second.aborted


@pytest.mark.parametrize(
    ("exit_code", "status"), [(1, "completed_with_failures"), (2, "refused"), (5, "interrupted"), (6, "refused")]
)
def test_what_ended_without_a_run_has_the_status_of_its_exit_code(exit_code: int, status: str) -> None:
    job = Job(name="drop", source=Path("in"), target=Target(url=""))
    (summary,) = _summaries(JobResult(job, (), exit_code))
    assert summary["status"] == status
