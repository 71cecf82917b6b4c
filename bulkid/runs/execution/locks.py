"""Taking a lock of the journal, and waiting for it where that is wanted."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from bulkid.errors import LockedError
from bulkid.journal import Journal, LockHandle
from bulkid.runs.concurrency import in_thread, until_stopped
from bulkid.runs.options import Context

_POLL_S = 1.0


@asynccontextmanager
async def hold_lock(
    journal: Journal, name: str, record: Mapping[str, Any], context: Context
) -> AsyncIterator[LockHandle]:
    """Hold a lock while the block runs; wait for it first, for as long as the context allows.

    Args:
        journal: Whose database keeps the lock.
        name: What is locked.
        record: Who takes it; see `Journal.hold`.
        context: How long to wait, who is told of it, and who may stop it.

    Raises:
        LockedError: Another run still holds it.
        InterruptedRunError: A stop was requested while it waited.
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
            # Not to be cancelled half-way: a lock that nobody knows of would be kept until the process ends.
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
