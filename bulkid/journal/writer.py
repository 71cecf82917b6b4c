"""Group commit: the writer takes outcomes at once and writes many of them later in one transaction."""

from types import TracebackType
from typing import Self

import anyio
from anyio import CancelScope, to_thread
from anyio.abc import TaskGroup

from bulkid.clock import Clock
from bulkid.errors import StateError
from bulkid.journal.store import Journal
from bulkid.model import Outcome

COMMIT_DELAY_S = 0.1
"""Seconds that the first outcome of a group waits for others. A commit takes a millisecond of CPU time whatever it
holds. After a kill, accounts whose outcomes were not written yet are read back."""

COMMIT_SIZE = 500  # how many outcomes are written without waiting for more
MAX_PENDING = 10_000  # how many outcomes may wait for the disk before ``wait_for_capacity`` waits


class OutcomeWriter:
    """Takes outcomes from workers and writes them in groups; an async context manager.

    An outcome that ``add`` took is written, also when the body of the ``async with`` fails or is cancelled. When a
    group cannot be written, the body is cancelled, the writer tries the outcomes once more at the end, and the
    ``StateError`` leaves the ``async with`` by itself (in no exception group). The ``clock`` times the group's wait.
    """

    def __init__(self, journal: Journal, run_id: str, *, clock: Clock) -> None:
        self._journal = journal
        self._run_id = run_id
        self._clock = clock
        self._waiting: list[tuple[int, Outcome]] = []
        self._lock = anyio.Lock()  # one group at a time, in order
        self._closed = False
        self._failure: StateError | None = None

    async def __aenter__(self) -> Self:
        self._outcome_added = anyio.Event()
        self._delay_scope: CancelScope | None = None
        self._tasks: TaskGroup = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._work)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._tasks.cancel_scope.cancel()
        cancelled: BaseException | None = None
        try:
            await self.aclose()
        except StateError as last:
            self._failure = self._failure or last
        except anyio.get_cancelled_exc_class() as late:
            kind, error, trace = type(late), late, late.__traceback__
            cancelled = late
        # Only a cancellation goes to the task group, which would wrap any other error of the body in a group.
        ours = isinstance(error, anyio.get_cancelled_exc_class())
        try:
            ended = await self._tasks.__aexit__(*((kind, error, trace) if ours else (None, None, None)))
        finally:
            if self._failure is not None:
                raise self._failure  # also over a cancellation: the caller must know that outcomes were not written
        if cancelled is not None:
            raise cancelled
        # The group suppresses its own cancellation, and must not suppress an error of the body with it.
        return ended if ours else None

    def add(self, number: int, outcome: Outcome) -> None:
        """Take the outcome of an item, by its number; from the thread of the event loop.

        Raises:
            RuntimeError: The writer is closed: this outcome would be lost.
        """
        if self._closed:
            raise RuntimeError("the writer is closed")
        self._waiting.append((number, outcome))
        waiting = len(self._waiting)
        if waiting == 1:
            self._outcome_added.set()
        elif waiting >= COMMIT_SIZE and self._delay_scope is not None:
            self._delay_scope.cancel()

    async def wait_for_capacity(self) -> None:
        """Wait while too many outcomes wait for the disk. Call it before work that makes more of them."""
        if len(self._waiting) >= MAX_PENDING:
            await self.flush()

    async def flush(self) -> None:
        """Write everything that was added before this call.

        Raises:
            StateError: It could not be written; it is kept, for another try at the end.
        """
        async with self._lock:
            if not self._waiting:
                return
            group, self._waiting = self._waiting, []
            written = False
            try:
                with CancelScope(shield=True):
                    await to_thread.run_sync(self._journal.settle, self._run_id, group)
                written = True
            finally:
                if not written:
                    self._waiting = group + self._waiting

    async def aclose(self) -> None:
        """Write what is left and take no more; a cancellation waits for the end. Harmless when repeated.

        Raises:
            StateError: It could not be written, not at this try either.
        """
        self._closed = True
        cancelled: BaseException | None = None
        with CancelScope(shield=True):
            while True:
                try:
                    await self.flush()
                    break
                except anyio.get_cancelled_exc_class() as late:  # asyncio's own, such as on Ctrl+C: it has no shield
                    cancelled = late
        if cancelled is not None:
            raise cancelled

    async def _work(self) -> None:
        while True:
            await self._outcome_added.wait()
            self._outcome_added = anyio.Event()
            with CancelScope() as self._delay_scope:
                if len(self._waiting) < COMMIT_SIZE:
                    await self._clock.sleep(COMMIT_DELAY_S)
            self._delay_scope = None
            try:
                await self.flush()
            except StateError as error:
                self._failure = error
                self._tasks.cancel_scope.cancel()
                return
