"""The lock on each run that a process works on."""

import os
import platform
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace

from bulkid.errors import LockedError
from bulkid.journal.store import Journal
from bulkid.model import RunRecord, RunStatus
from bulkid.runs.concurrency import in_thread
from bulkid.runs.options import Context
from bulkid.runs.run_records import owner_of


@contextmanager
def run_lock(journal: Journal, record: RunRecord) -> Iterator[None]:
    """Lock a run while the block runs.

    Raises:
        LockedError: A process works on it.
    """
    handle = journal.acquire_lock(lock_name(record), owner_of(record))
    try:
        yield
    finally:
        handle.release()


def lock_name(record: RunRecord) -> str:
    """The name of the lock on one run, which is free exactly when no process works on it."""
    return f"run {record.run_id}"


async def lock_run(
    stack: AsyncExitStack, journal: Journal, record: RunRecord, context: Context, *, then: str = "resumed"
) -> None:
    """Lock a run for as long as this process works on it, so that no other process resumes it.

    Raises:
        LockedError: Another process works on it.
        InterruptedRunError: A stop was requested while it waited.
    """
    from bulkid.runs.execution.connection import hold_lock

    holder = owner_of(replace(record, host=platform.node(), pid=os.getpid()))
    try:
        await stack.enter_async_context(hold_lock(journal, lock_name(record), holder, context))
    except LockedError as locked:
        latest = await in_thread(journal.get_run, record.run_id) or record
        # The record of a run that was killed still says that it runs, and names its process.
        if latest.status is not RunStatus.RUNNING or locked.process not in {None, (latest.host, latest.pid)}:
            raise LockedError(
                f"Run {record.run_id} ({record.source}) is in use: it is being undone or resumed, or what that would "
                "change is being computed.",
                hint="Try again when that has ended.",
            ) from None
        raise LockedError(
            f"Run {record.run_id} ({record.source}) is still under way: process {latest.pid} on {latest.host}.",
            hint=f"Wait until it has ended, or stop it. Then it can be {then}.",
        ) from None
    if record.status is RunStatus.RUNNING and record.finished_at is not None:
        await in_thread(_forget_end, journal, record.run_id)


def _forget_end(journal: Journal, run_id: str) -> None:
    """Take back the time of the end of a run that was killed while it wrote its report.

    Else :func:`report` would wait for that end for as long as another process works on the run.
    """
    latest = journal.get_run(run_id)
    if latest is not None and latest.status is RunStatus.RUNNING:
        journal.update_run(run_id, finished_at=None)
