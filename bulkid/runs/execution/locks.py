"""Acquiring a lock of the journal, and waiting for it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from bulkid.errors import LockedError
from bulkid.journal.locks import LockHandle
from bulkid.journal.store import Journal
from bulkid.runs.concurrency import in_thread, until_stopped
from bulkid.runs.options import Context

_POLL_S = 1.0


@asynccontextmanager
async def hold_lock(
    journal: Journal, name: str, record: Mapping[str, Any], context: Context
) -> AsyncIterator[LockHandle]:
    """Hold a lock of the journal while the block runs; wait for it first, for ``context.wait_s`` at most.

    Args:
        journal: Its database keeps the lock.
        name: The name of the lock.
        record: The holder, as others see it; see :func:`~bulkid.runs.run_records.owner_of`.
        context: Gives the time to wait; its hooks show that the run waits, and its stop ends the wait.

    Raises:
        LockedError: Another run still holds it.
        InterruptedRunError: A stop was requested during the wait.
        StateError: The lock cannot be kept.
    """
    hold = await _acquire(journal, name, record, context)
    try:
        yield hold
    finally:
        with anyio.CancelScope(shield=True):
            await in_thread(hold.release)


async def _acquire(journal: Journal, name: str, record: Mapping[str, Any], context: Context) -> LockHandle:
    deadline = context.clock.monotonic() + context.wait_s
    reported = False
    while True:
        try:
            # A cancellation half-way would leave a lock that the process holds to its end.
            with anyio.CancelScope(shield=True):
                return await in_thread(journal.acquire_lock, name, record)
        except LockedError as locked:
            left_s = deadline - context.clock.monotonic()
            if left_s <= 0:
                raise
            if not reported:
                context.hooks.note(f"{locked.message} Waiting for it, at most {context.wait_s:g} s.")
                reported = True
            async with until_stopped(context.stop):
                await context.clock.sleep(min(_POLL_S, left_s))
