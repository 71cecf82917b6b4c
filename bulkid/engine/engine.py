"""The engine: the rest of bulkid sends requests through it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Self

import anyio

from bulkid.clock import Clock
from bulkid.engine.auth_failures import Credentials
from bulkid.engine.circuit_breaker import CircuitBreaker
from bulkid.engine.ledger import Ledger
from bulkid.engine.pacing import ServerPacing, smooth_rate
from bulkid.engine.quota import Quota
from bulkid.engine.retry import RetryPolicy
from bulkid.engine.sender import Send, Sender, SendTask, Settled, Task
from bulkid.engine.signals import Stop
from bulkid.engine.stats import Stats
from bulkid.engine.worker_pool import WorkerPool
from bulkid.errors import BulkidError
from bulkid.model import QuotaRule, Request

CALL_KEY: Final = -1
"""The key of what `Engine.call` settles."""


class Engine:
    """Sends requests within quota, circuit breaker, rate and concurrency, and retries where that can help.

    One engine serves one server, for one run. Single calls and one pool may be under way at the same time; what they
    send together keeps all bounds. Belongs to one event loop. Leave it by ``async with``.

    Args:
        send: Sends a request once and gives the reply; raises `BulkidError` when nothing more should be sent.
        clock: Gives all time.
        random: Gives numbers in [0, 1), for the jitter.
        policy: The bounds of retries.
        rules: The quota; a method without a rule is free.
        ledger: Keeps the quota's slots.
        rate: Requests per second, evenly spaced; None: no such bound.
        concurrency: How many requests may be in flight at once.
        outage_limit_s: How long the server may be away (503, no connection) before that ends the run.
        first_contact_limit_s: The same, as long as the server has never answered.
        grace_s: How long requests in flight may take to settle, once a run stops early.
        stats: Counters to write to; by default new ones, in ``engine.stats``.
        credentials: Where the engine reports a credential that the server refuses; None: a 401 is never final.
        check: A request that the server takes with every good credential. The engine sends it where no other request
            shows whether a 401 is about one request or about all; None: then it is about all.
        forbidden_hint: What a user can do where the server forbids every change, for the error.

    Raises:
        ValueError: A bound that lets nothing through, ever.
    """

    def __init__(
        self,
        send: Send,
        *,
        clock: Clock,
        random: Callable[[], float],
        policy: RetryPolicy,
        rules: Sequence[QuotaRule],
        ledger: Ledger,
        rate: float | None = None,
        concurrency: int = 16,
        outage_limit_s: float = 600.0,
        first_contact_limit_s: float = 15.0,
        grace_s: float = 10.0,
        stats: Stats | None = None,
        credentials: Credentials | None = None,
        check: Request | None = None,
        forbidden_hint: str = "",
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"a concurrency must be above zero: {concurrency}")
        self.stats = stats if stats is not None else Stats()
        self.stats.started_at = clock.monotonic()
        self.quota = Quota(rules, ledger, clock)
        self.breaker = CircuitBreaker(
            clock,
            random,
            outage_limit_s=outage_limit_s,
            first_contact_limit_s=first_contact_limit_s,
            on_open=self.quota.release_waiters,
        )
        self.pacing = ServerPacing(clock, on_exhausted=self.quota.release_waiters)
        self._sender = Sender(
            send,
            clock,
            random,
            policy,
            breaker=self.breaker,
            quota=self.quota,
            pacing=self.pacing,
            rate=None if rate is None else smooth_rate(rate),
            concurrency=concurrency,
            stats=self.stats,
            credentials=credentials,
            check=check,
            forbidden_hint=forbidden_hint,
        )
        self._clock = clock
        self._grace_s = grace_s
        self._users = 0  # calls and runs under way

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
            await self._sender.settle(send_task, lambda: True)
            return send_task.settled(self._clock.now())

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
        pool = WorkerPool(self._sender, on_settled, stop, self._grace_s)
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
