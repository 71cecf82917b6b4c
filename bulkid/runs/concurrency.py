"""Helpers for structured concurrency: task groups, stops, worker threads, one job per organisation."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import TaskGroup

from bulkid.engine import Stop
from bulkid.errors import BulkidError, InterruptedRunError

P = ParamSpec("P")
T = TypeVar("T")


def first_cause(error: BaseException) -> BaseException:
    """The one error to report out of a group: bulkid's own before all others, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [first_cause(inner) for inner in error.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, BulkidError)), leaves[0])


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """A task group whose failure is the plain error of the task that failed, not a group of errors."""
    try:
        async with anyio.create_task_group() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        raise first_cause(group) from None


@asynccontextmanager
async def until_stopped(stop: Stop, *, aborted: bool = False) -> AsyncIterator[None]:
    """Run the block, but leave it at once when a stop is requested.

    Args:
        stop: Asks to stop.
        aborted: Whether to leave only when a stop at once is requested.

    Raises:
        InterruptedRunError: The block was left before its end.
    """
    done = False
    async with task_group() as tasks:

        async def watch() -> None:
            await (stop.wait_aborted if aborted else stop.wait)()
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        yield
        done = True
        tasks.cancel_scope.cancel()
    if not done:
        raise InterruptedRunError(f"Stopped by {stop.reason}.")


async def in_thread_until_cancelled(
    end: Callable[[], None], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Like :func:`in_thread`, for what may wait long: when the caller is cancelled, ``end`` ends the wait at once.

    Args:
        end: Makes the function return or raise soon; called in the event loop's thread.
        function: Called in a worker thread.
        args: Its arguments.
        kwargs: Its arguments by name.
    """
    async with task_group() as tasks:

        async def watch() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                if not done:
                    end()

        done = False
        tasks.start_soon(watch)
        try:
            result = await in_thread(function, *args, **kwargs)
        except Exception:
            await anyio.lowlevel.checkpoint_if_cancelled()  # then the error is only how the function was ended
            raise
        done = True
        tasks.cancel_scope.cancel()
    return result


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what would hold up the event loop (a file, the database) in a worker thread."""
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))


class OrganizationMutex:
    """One lock per organisation, for the jobs of one process; between processes the journal's lock decides."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)

    @asynccontextmanager
    async def taken(self, organization_id: str, stop: Stop, notify: Callable[[str], None]) -> AsyncIterator[None]:
        """Wait until no other job of this process works on an organisation, and keep the others waiting meanwhile.

        Args:
            organization_id: Compared without regard to case.
            stop: Ends the wait.
            notify: Told that there is something to wait for.

        Raises:
            InterruptedRunError: A stop was requested while it waited.
        """
        lock = self._locks[organization_id.casefold()]
        if lock.locked():
            notify("Waiting: another job of this start works on the same organisation.")
        async with until_stopped(stop):
            await lock.acquire()
        try:
            yield
        finally:
            lock.release()
