"""Sends single requests, from the permit to the decision about the reply; `Engine` adds runs over many tasks."""

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence

import anyio

from bulkid.clock import Clock
from bulkid.engine.auth_judge import NO_AUTH, AuthJudge, AuthOptions
from bulkid.engine.circuit_breaker import CircuitBreaker, Ticket
from bulkid.engine.ledger import Ledger
from bulkid.engine.pacing import ServerPacing, smooth_rate
from bulkid.engine.quota import Quota, QuotaPermit
from bulkid.engine.retry import (
    GIVE_UP,
    MAYBE_APPLIED,
    REQUEUE,
    SETTLE,
    Decision,
    Retry,
    RetryPolicy,
    counts,
    decide,
)
from bulkid.engine.stats import Stats
from bulkid.engine.task import SendTask
from bulkid.errors import BulkidError
from bulkid.model import QuotaRule, Reply, ReplyKind, Request

Send = Callable[[Request], Awaitable[Reply]]
"""Sends a request once. Never raises for what a server or a network does; raises `BulkidError` for what is fatal."""

SendPermit = tuple[QuotaPermit, Ticket]
"""The right to send one request now: the quota's permit and the breaker's ticket."""


class Sender:
    """Lets requests leave one by one, by breaker, concurrency, quota and rate together, and judges what comes back.

    The coroutines raise `BulkidError` when nothing more should be sent.

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
        grace_s: How long requests in flight may take to settle, once `Engine.run` stops early.
        stats: Counters to write to; by default new ones, in ``engine.stats``.
        auth: How to find out what a 401 or 403 is about.
        on_wait: Called with the seconds until the next request may leave, whenever quota, pacing or breaker begin such
            a wait, or prolong it.

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
        auth: AuthOptions = NO_AUTH,
        on_wait: Callable[[float], None] = lambda _: None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"a concurrency must be above zero: {concurrency}")
        self.clock = clock
        self.concurrency = concurrency
        self.grace_s = grace_s
        self.stats = stats if stats is not None else Stats()
        self.stats.started_at = clock.monotonic()
        self.quota = Quota(rules, ledger, clock, on_wait)
        self.breaker = CircuitBreaker(
            clock,
            random,
            outage_limit_s=outage_limit_s,
            first_contact_limit_s=first_contact_limit_s,
            on_open=self._breaker_opened,
        )
        self._on_wait = on_wait
        self.pacing = ServerPacing(clock, on_exhausted=self.quota.release_waiters)
        self._send = send
        self._monotonic = clock.monotonic
        self._random = random
        self._policy = policy
        self._rate = None if rate is None else smooth_rate(rate)
        self._rate_locks: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._in_flight = 0
        self._capacity_waiters: deque[anyio.Event] = deque()  # tasks that wait for capacity
        self._notified = 0  # of them, those that were notified and have not gone on yet
        self._successes = 0  # requests that the server took and answered for good
        self._sent_count = 0  # requests that have left
        self._auth = AuthJudge(auth, clock, in_flight=lambda: self._in_flight, settle=self.settle)

    def _breaker_opened(self) -> None:
        self.quota.release_waiters()
        self._on_wait(self.breaker.seconds_until_free() or 0.0)

    def try_permit(self, method: str) -> SendPermit | None:
        """Let a request leave, if nothing at all prevents it. Cheap, and never suspends."""
        free = self._rate is None and self.breaker.closed and self._has_capacity()
        return self._take_permit(method) if free and self.pacing.allows(method, self._in_flight) else None

    async def admit(self, method: str, wanted: Callable[[], bool]) -> SendPermit | None:
        """Wait until a request may leave: the caller then sends at once, with no await before.

        While it waits it holds nothing: no slot of the quota, no capacity. None when ``wanted`` says that the request
        is no longer to be sent.
        """
        try:
            if self._rate is None:
                return await self._admit(method, wanted)
            async with self._rate_locks[method]:  # one at a time, so that it uses its turn at once
                return await self._admit(method, wanted)
        finally:
            self._notify_waiters()  # by now it has used its capacity, or does not need it

    async def _admit(self, method: str, wanted: Callable[[], bool]) -> SendPermit | None:
        """Wait for what is missing, one thing at a time, and check everything again after each wait."""
        rate_slot_taken = False  # whether our turn by the rate has come
        while True:
            probing = await self.breaker.wait_for_permission(method)
            try:
                if not wanted():
                    return None
                if not self._has_capacity():
                    rate_slot_taken = False
                    await self._wait_for_capacity()
                elif not self.pacing.allows(method, self._in_flight):
                    rate_slot_taken = False
                    self._notify_waiters()  # it does not need its capacity yet
                    self._on_wait(self.pacing.seconds_until_free(method) or 0.0)
                    await self.pacing.wait(method)
                elif not self.quota.available(method):
                    rate_slot_taken = False
                    self._notify_waiters()  # it does not need its capacity yet
                    await self.quota.wait(method)
                elif self._rate is not None and not rate_slot_taken:
                    await self._rate.acquire()
                    rate_slot_taken = True
                else:
                    return self._take_permit(method)
            finally:
                if probing:
                    self.breaker.cancel_wait(method)

    def _take_permit(self, method: str) -> SendPermit | None:
        permit = self.quota.try_acquire(method)
        if permit is None:
            return None
        self._in_flight += 1
        return permit, self.breaker.request_started()

    def _has_capacity(self) -> bool:
        """Whether one more may be in flight, beside those that were notified that they may."""
        return self._in_flight + self._notified < self.concurrency

    async def _wait_for_capacity(self) -> None:
        turn = anyio.Event()
        self._capacity_waiters.append(turn)
        try:
            await turn.wait()
        finally:
            if turn.is_set():
                self._notified -= 1
            else:
                self._capacity_waiters.remove(turn)

    def _notify_waiters(self) -> None:
        """Wake as many of the tasks that wait for capacity as there is capacity for, the first ones first."""
        while self._capacity_waiters and self._has_capacity():
            self._notified += 1
            self._capacity_waiters.popleft().set()

    async def exchange(self, send_task: SendTask, granted: SendPermit) -> Decision:
        """Send a task once, with the permit it was given, and decide about the reply (kept in ``send_task.reply``)."""
        permit, ticket = granted
        stats, method = self.stats, send_task.request.method
        stats.sent[method] += 1
        stats.in_flight += 1
        reply: Reply | None = None
        was_sent = True
        self._sent_count = send_task.number = self._sent_count + 1
        if send_task.renew is not None:  # it may have waited for the quota for minutes
            send_task.request = send_task.renew()
        started = self._monotonic()
        try:
            send_task.reply = reply = await self._send(send_task.request)
        except BulkidError as error:
            was_sent = error.request_was_sent
            raise
        finally:
            stats.in_flight -= 1
            self._in_flight -= 1
            self.pacing.response_received(method, reply)
            if self._capacity_waiters:
                self._notify_waiters()
            if reply is None:  # cancelled or fatal: where it may have left, its slot counts as answered now
                self.quota.release(permit, answered=was_sent)
                self.breaker.response_received(ticket, None)
                if was_sent:
                    stats.count_response(method, None)
                else:
                    stats.sent[method] -= 1
                self._auth.wake()
        was_sent = reply.was_sent
        if permit.method_quota is not None:
            self.quota.release(permit, answered=was_sent)
        if not was_sent:
            stats.sent[method] -= 1
        elif reply.kind is not ReplyKind.OK:
            stats.count_response(method, reply.status)
        if self._auth.suspects:
            self._auth.observe(send_task.number, reply)
        decision = self._judge(send_task, reply, ticket, self._monotonic() - started)
        if decision is REQUEUE and reply.kind is ReplyKind.UNAUTHORIZED:
            return await self._auth.judge_unauthorized(send_task, reply, self._sent_count)
        return decision

    async def settle(self, send_task: SendTask, wanted: Callable[[], bool]) -> None:
        """Send a task, with retries, until it is settled or ``wanted`` says that it is no longer to be sent."""
        resent = False
        while wanted() and (granted := await self.admit(send_task.request.method, wanted)) is not None:
            if resent:
                self.stats.retries += 1
            decision = await self.exchange(send_task, granted)
            if decision is SETTLE or decision is GIVE_UP:
                return
            resent = True
            if isinstance(decision, Retry):
                send_task.spent_s += decision.wait_s
                await self.clock.sleep(decision.wait_s)

    def _judge(self, send_task: SendTask, reply: Reply, ticket: Ticket, elapsed_s: float) -> Decision:
        """Decide what follows a reply: settle the task, send it again, or give it up. Count its attempt and its time.

        ``ticket`` is the circuit breaker's for the request; ``elapsed_s`` is how long the request took, in seconds.

        Raises:
            ConnectionFailedError: The circuit breaker gives the server up.
        """
        kind = reply.kind
        if kind in MAYBE_APPLIED:
            send_task.maybe_applied = True
        self.breaker.response_received(ticket, reply)
        if kind is ReplyKind.OK:  # what the code below comes to as well, in half of the engine's own time
            send_task.attempts += 1
            send_task.spent_s += elapsed_s
            self._successes += 1
            self._auth.record_accepted(send_task)
            return SETTLE
        seen = send_task.successes_seen
        if counts(kind, others_succeeded=seen is not None and self._successes > seen):
            send_task.attempts += 1
            send_task.spent_s += elapsed_s
        if kind in (ReplyKind.UNAVAILABLE, ReplyKind.NO_CONNECTION):
            send_task.successes_seen = self._successes
        if kind is ReplyKind.FORBIDDEN and send_task.request.method != "GET":
            return self._auth.judge_forbidden(send_task, reply)
        decision = decide(
            self._policy,
            kind,
            attempts=send_task.attempts,
            spent_s=send_task.spent_s,
            retry_after=reply.retry_after,
            jitter=self._random(),
        )
        if decision is GIVE_UP and not self.breaker.answered:
            raise self.breaker.give_up()
        if kind in MAYBE_APPLIED and not send_task.request.idempotent:
            return GIVE_UP
        if decision is SETTLE:
            self._successes += 1
        elif kind is ReplyKind.THROTTLED:
            self.stats.throttled += 1
        return decision
