"""Helpers for structured concurrency: task groups, stops, worker threads, and a mutex per organisation."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import TaskGroup

from bulkid.engine.signals import Stop
from bulkid.errors import BulkidError, InterruptedRunError

P = ParamSpec("P")
T = TypeVar("T")


def first_cause(error: BaseException) -> BaseException:
    """Return the error to report out of a group: the first of bulkid's own errors, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [first_cause(inner) for inner in error.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, BulkidError)), leaves[0])


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """Open a task group that raises the error of the task that failed instead of an exception group."""
    try:
        async with anyio.create_task_group() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        raise first_cause(group) from None


@asynccontextmanager
async def until_stopped(stop: Stop, *, aborted: bool = False) -> AsyncIterator[None]:
    """Run the block, and cancel it when a stop is requested; with ``aborted`` only when the stop is an abort.

    Raises:
        InterruptedRunError: The block was cancelled.
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
        raise InterruptedRunError(f"{stop.reason}.")


async def in_thread_until_cancelled(
    end: Callable[[], None], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call a function in a worker thread, like :func:`in_thread`. When the caller is cancelled, call ``end``.

    ``end`` is called in the event loop's thread; it must make the function return or raise soon.
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
        except Exception:  # of any kind: it is raised again unless the caller is cancelled
            await anyio.lowlevel.checkpoint_if_cancelled()  # then ``end`` caused the error
            raise
        done = True
        tasks.cancel_scope.cancel()
    return result


async def uncancelled(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Await a coroutine function to its end, also where the caller is cancelled meanwhile, by anyio or by asyncio.

    A shielded cancel scope does not hold off ``Task.cancel`` of asyncio, which programs that use bulkid may call. The
    cancellation is raised afterwards, also where the function has raised an error.
    """
    import asyncio  # here, since `bulkid check` imports this module and needs no event loop

    work, cancelled = asyncio.ensure_future(function()), None
    with anyio.CancelScope(shield=True):
        while not work.done():
            try:
                await asyncio.wait({work})
            except asyncio.CancelledError as error:
                cancelled = error
    failure = work.exception()
    if cancelled is not None:
        raise cancelled from failure
    return work.result()


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that would block the event loop (files, the database) in a worker thread."""
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))


class OrganizationMutex:
    """One lock per organisation for the jobs of one process. Between processes the journal's lock serves."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._runs: defaultdict[str, list[str]] = defaultdict(list)  # the first holds the lock, the others wait for it

    @asynccontextmanager
    async def taken(
        self, organization_id: str, run_id: str, stop: Stop, notify: Callable[[str], None]
    ) -> AsyncIterator[None]:
        """Hold the lock of an organisation for a run while the block runs; ``notify`` shows a message if it must wait.

        The id of the organisation is compared without regard to case.

        Raises:
            InterruptedRunError: A stop was requested during the wait.
        """
        key = organization_id.casefold()
        lock, runs = self._locks[key], self._runs[key]
        if runs:
            notify(f"Waiting for run {runs[0]} on this organisation to finish.")
        runs.append(run_id)
        try:
            async with until_stopped(stop):
                await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            runs.remove(run_id)
