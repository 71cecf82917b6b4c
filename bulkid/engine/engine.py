"""The engine: the rest of bulkid sends requests through it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Self

import anyio

from bulkid.engine.sender import Sender
from bulkid.engine.signals import Stop
from bulkid.engine.task import SendTask, Settled, Task
from bulkid.engine.worker_pool import WorkerPool
from bulkid.errors import BulkidError
from bulkid.model import Request

CALL_KEY: Final = -1
"""The key of what `Engine.call` settles."""


class Engine(Sender):
    """Sends requests within quota, circuit breaker, rate and concurrency, and retries where that can help.

    One engine serves one server, for one run. Single calls and one pool may be under way at the same time; what they
    send together keeps all bounds. Belongs to one event loop. Leave it by ``async with``.
    The arguments are those of `Sender`.
    """

    _users = 0  # calls and runs under way

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.quota.flush()

    async def call(self, request: Request) -> Settled:
        """Settle one request. Many calls may run at once, within the concurrency.

        A 403 on a GET is an answer like any other; on a write it ends the run where it is about all requests.

        Raises:
            BulkidError: Nothing more should be sent.
        """
        send_task = SendTask(CALL_KEY, request)
        async with self._in_use():
            await self.settle(send_task, lambda: True)
            return send_task.settled(self.clock.now())

    async def run(
        self, source: AsyncIterator[Sequence[Task]], on_settled: Callable[[Settled], None], stop: Stop
    ) -> None:
        """Settle every task of a source, or stop early.

        Returns once every task is settled, or once a stop was requested and what was in flight has settled or its time
        is over. A task that is not settled is not reported; if it was in flight, the server may have applied it.

        Args:
            source: Chunks of tasks, taken one ahead of need; closed at the end when it can be.
            on_settled: Called with each settled task, in the event loop's thread; must be cheap. May request a stop.
            stop: Asks to stop, gently or at once.

        Raises:
            BulkidError: Nothing more should be sent; by then what was in flight has settled, or its time is over.
        """
        pool = WorkerPool(self, on_settled, stop)
        async with self._in_use():
            try:
                if not stop.requested:
                    await pool.run(source)
            finally:
                if (close := getattr(source, "aclose", None)) is not None:
                    with anyio.CancelScope(shield=True):
                        await close()

    @asynccontextmanager
    async def _in_use(self) -> AsyncIterator[None]:
        """Count a call or run; the last one that ends reports everything to the ledger."""
        self._users += 1
        try:
            yield
        except BaseException:  # a cancellation too: the count of users must be right
            self._users -= 1
            with suppress(BulkidError):  # the caller gets the first error
                await self._report_when_idle()
            raise
        self._users -= 1
        await self._report_when_idle()

    async def _report_when_idle(self) -> None:
        if not self._users:
            await self.quota.flush()
