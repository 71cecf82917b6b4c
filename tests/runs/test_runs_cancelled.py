"""A program that uses bulkid cancels the task of a run, by asyncio: the run is concluded all the same."""

import asyncio
import csv
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from bulkid import runs
from bulkid.journal.locks import LockHandle
from bulkid.journal.store import open_journal
from bulkid.model import RunStatus
from bulkid.runs.concurrency import uncancelled
from bulkid.runs.execution.connection import release_lock, take_lock
from tests.support.identity_server import Identity, account, context, options, sheet


class Cancelling(runs.Hooks):
    """Cancels the task of the run when some stages begin."""

    task: "asyncio.Task[runs.RunResult]"

    def __init__(self, stages: Collection[str]) -> None:
        self.stages = stages

    def stage(self, name: str) -> None:
        if name in self.stages:
            self.task.cancel()


def _statuses(folder: str) -> list[str]:
    with Path(folder, "report.csv").open(encoding="utf-8-sig", newline="") as file:
        return [row["status"] for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("stages", "status", "updated"),
    [
        (["report"], RunStatus.COMPLETED, 2),
        (["directory"], RunStatus.INTERRUPTED, 0),
        (["directory", "report"], RunStatus.INTERRUPTED, 0),
    ],
)
async def test_a_run_whose_task_is_cancelled_has_its_report(
    tmp_path: Path, stages: Collection[str], status: RunStatus, updated: int
) -> None:
    hooks = Cancelling(stages)
    path = sheet(tmp_path, ("id", "display_name"), [("a", "New"), ("b", "New")])
    own = context(tmp_path, hooks=hooks)
    async with Identity([account("a"), account("b")]).served() as server:
        hooks.task = asyncio.ensure_future(runs.run(path, server.target, options(tmp_path), own))
        with pytest.raises(asyncio.CancelledError):
            await hooks.task
    ((record, _),) = runs.list_runs(own.state_dir)
    assert record.status is status
    statuses = _statuses(record.report_dir)
    assert (len(statuses), statuses.count("updated")) == (2, updated)


async def test_a_cancellation_is_not_lost_where_the_work_that_holds_it_up_fails() -> None:
    async def fail() -> None:
        task.cancel()
        await asyncio.sleep(0)
        raise LookupError

    task = asyncio.ensure_future(uncancelled(fail))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_lock_that_is_taken_while_its_task_is_cancelled_is_free_afterwards(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    with open_journal(tmp_path) as journal:
        real, taken, done = journal.acquire_lock, list[LockHandle](), threading.Event()

        def acquire(name: str, record: Mapping[str, Any]) -> LockHandle:
            seen = threading.Event()

            def turn(number: int) -> None:
                """Let the loop turn until the cancellation has come to its end, if nothing holds it up."""
                if number:
                    loop.call_soon(turn, number - 1)
                else:
                    seen.set()

            loop.call_soon_threadsafe(task.cancel)
            loop.call_soon_threadsafe(turn, 100)
            seen.wait()
            taken.append(real(name, record))  # a database keeps a lock that this process has lost sight of
            done.set()
            return taken[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "acquire_lock", acquire)
            task = asyncio.ensure_future(take_lock(journal, "an organisation", {}))
            with pytest.raises(asyncio.CancelledError):
                await task
        await anyio.to_thread.run_sync(done.wait)
        await release_lock(await take_lock(journal, "an organisation", {}))
