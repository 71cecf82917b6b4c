"""Sends single requests, from the permit to the decision about the reply; `Engine` adds runs over many tasks."""

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import anyio

from bulkid.clock import Clock
from bulkid.engine.auth_failures import (
    MAX_REQUEST_REFUSALS,
    Credentials,
    ForbiddenWrites,
    OnForbidden,
    SuspectCredential,
)
from bulkid.engine.circuit_breaker import CircuitBreaker
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
from bulkid.engine.signals import Wakeup
from bulkid.engine.stats import Stats
from bulkid.errors import BulkidError, PermissionDeniedError
from bulkid.model import QuotaRule, Reply, ReplyKind, Request

Send = Callable[[Request], Awaitable[Reply]]
"""Sends a request once. Never raises for what a server or a network does; raises `BulkidError` for what is fatal."""

CHECK_REQUEST_KEY: Final = -2
"""The key of the check request, which shows whether the server still takes a credential."""

SendPermit = tuple[QuotaPermit, int]
"""The right to send one request now: the quota's permit and the breaker's ticket."""


class Task(NamedTuple):
    """One request to be settled by `Engine.run`."""

    key: int  # the caller's own number for it
    request: Request
    renew: Callable[[], Request] | None = None  # gives the request as it must be now, each time it is about to leave
    on_forbidden: OnForbidden = OnForbidden.SCOPE_MAY_BE_MISSING  # what a 403 can mean, where the request writes


class Settled(NamedTuple):
    """What came of one request."""

    key: int  # of the task; -1 for `Engine.call`
    reply: Reply  # the last one
    attempts: int  # replies that count: those that say something about this request
    maybe_applied: bool  # the last reply is no yes, but this or an earlier one may have been applied: read back
    finished_at: float  # seconds since the epoch


@dataclass(slots=True, eq=False)
class SendTask:
    """A request under way, with what has come of it so far."""

    key: int
    request: Request
    renew: Callable[[], Request] | None = None
    on_forbidden: OnForbidden = OnForbidden.SCOPE_MAY_BE_MISSING
    number: int = 0  # in the order in which requests left
    request_refusals: int = 0  # replies 401 that were about this request
    first_refused: int = 0  # the number under which it left when the first of them came
    attempts: int = 0
    spent_s: float = 0.0
    maybe_applied: bool = False
    successes_seen: int | None = None  # of others, when the server last turned it away; None: it never did
    reply: Reply | None = None

    def settled(self, finished_at: float) -> Settled:
        """The result, once the decision about its last reply is made."""
        reply = self.reply
        assert reply is not None  # noqa: S101 - a decision is only ever made about a reply
        maybe_applied = self.maybe_applied and reply.kind is not ReplyKind.OK
        return Settled(self.key, reply, self.attempts, maybe_applied, finished_at)


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
        credentials: Where the engine reports a credential that the server refuses; None: a 401 is never final.
        check: A request that the server takes with every good credential. The engine sends it where no other request
            shows whether a 401 is about one request or about all; None: then it is about all.
        forbidden_hint: What a user can do where the server forbids every change, for the error.
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
        credentials: Credentials | None = None,
        check: Request | None = None,
        forbidden_hint: str = "",
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
        self._credentials = credentials
        self._forbidden_hint = forbidden_hint
        self._check = check
        self._checking = False
        self._sent_count = 0  # requests that have left
        self._suspects: list[SuspectCredential] = []
        self._reply_received = Wakeup(clock)  # set on each reply while there are suspects
        self._last_accepted: dict[str, SendTask] = {}  # by method: the latest that the server took
        self._forbidden = ForbiddenWrites()

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
                self._reply_received.set()
        was_sent = reply.was_sent
        if permit.method_quota is not None:
            self.quota.release(permit, answered=was_sent)
        if not was_sent:
            stats.sent[method] -= 1
        elif reply.kind is not ReplyKind.OK:
            stats.count_response(method, reply.status)
        if self._suspects:
            self._inform_suspects(send_task.number, reply)
        decision = self._judge(send_task, reply, ticket, self._monotonic() - started)
        if decision is REQUEUE and reply.kind is ReplyKind.UNAUTHORIZED and self._credentials is not None:
            return await self._judge_refusal(send_task, reply, self._credentials)
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

    # --- 401

    async def _judge_refusal(self, send_task: SendTask, reply: Reply, credentials: Credentials) -> Decision:
        """Find out whether a 401 is about the request or about its credential.

        Requests that left after the 401 came in show it; where none is under way, the check request does.
        """
        if send_task.key == CHECK_REQUEST_KEY or not self._can_be_compared(send_task.request):
            self._drop_credential(credentials, reply)
            return REQUEUE
        if not await self._is_request_refused(reply, credentials):
            return REQUEUE
        send_task.attempts += 1
        send_task.request_refusals += 1
        if send_task.request_refusals < MAX_REQUEST_REFUSALS:
            send_task.first_refused = send_task.number
            return REQUEUE
        if self._every_write_is_refused(send_task):
            raise self._permission_denied("The server refuses every change, and lets this token read (401)", reply)
        return GIVE_UP

    def _can_be_compared(self, refused: Request) -> bool:
        """Whether another request may show what a 401 is about.

        None does if the server refuses to be read and has taken nothing yet. But where it refuses an item of the list
        that the check request reads, the check request shows more.
        """
        if self._check is not None and _is_item_of(refused, self._check):
            return True
        return bool(self._last_accepted) or self._in_flight > 0 or refused.method != "GET"

    async def _is_request_refused(self, reply: Reply, credentials: Credentials) -> bool:
        """Wait until other requests show whether a 401 is about its request; else it is about the credential."""
        suspect = SuspectCredential(reply.credential, self._sent_count)
        self._suspects.append(suspect)
        try:
            while suspect.request_refused is None:
                if self._in_flight or self._checking:
                    await self._reply_received.wait()
                else:
                    if self._check is not None:
                        await self._send_check_request(self._check)
                    if suspect.request_refused is None:  # the check showed nothing
                        self._drop_credential(credentials, reply)
        finally:
            self._suspects.remove(suspect)
        return suspect.request_refused

    def _every_write_is_refused(self, send_task: SendTask) -> bool:
        """Count a write that has failed with 401, unless the server took one that left after its first 401."""
        if send_task.request.method == "GET":
            return False
        taken = self._last_accepted.get(send_task.request.method)
        if taken is not None and taken.number > send_task.first_refused:
            return False
        return self._forbidden.refused(send_task.on_forbidden)

    async def _send_check_request(self, check: Request) -> None:
        """Send the check request, with retries, until it or another request shows what the refusals are about."""
        self._checking = True
        try:
            await self.settle(SendTask(CHECK_REQUEST_KEY, check), self._undecided)
        finally:
            self._checking = False
            self._reply_received.set()

    def _undecided(self) -> bool:
        return any(suspect.request_refused is None for suspect in self._suspects)

    def _drop_credential(self, credentials: Credentials, reply: Reply) -> None:
        for suspect in self._suspects:
            suspect.drop(reply.credential)
        self._reply_received.set()
        credentials.refused(reply.credential, reply.error)

    def _inform_suspects(self, number: int, reply: Reply) -> None:
        for suspect in self._suspects:
            suspect.observe(number, reply)
        self._reply_received.set()

    # --- the decision

    def _judge(self, send_task: SendTask, reply: Reply, ticket: int, elapsed_s: float) -> Decision:
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
            self._last_accepted[send_task.request.method] = send_task
            if send_task.request.method != "GET":
                self._forbidden.record_accepted()
            return SETTLE
        seen = send_task.successes_seen
        if counts(kind, others_succeeded=seen is not None and self._successes > seen):
            send_task.attempts += 1
            send_task.spent_s += elapsed_s
        if kind in (ReplyKind.UNAVAILABLE, ReplyKind.NO_CONNECTION):
            send_task.successes_seen = self._successes
        if kind is ReplyKind.FORBIDDEN and send_task.request.method != "GET":
            return self._judge_forbidden(send_task, reply)
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

    def _judge_forbidden(self, send_task: SendTask, reply: Reply) -> Decision:
        taken = self._last_accepted.get(send_task.request.method)
        latest = None if taken is None or taken.reply is None else (taken.request, taken.reply.credential)
        about_this = self._forbidden.judge(send_task.request, send_task.on_forbidden, reply.credential, latest)
        if about_this is None:
            raise self._permission_denied("The server forbids the change (403)", reply)
        return SETTLE if about_this else REQUEUE

    def _permission_denied(self, what: str, reply: Reply) -> PermissionDeniedError:
        said = f": {reply.error.rstrip('.')}" if reply.error else ""
        return PermissionDeniedError(
            f"{what}{said}.",
            hint=f"{self._forbidden_hint} What was not sent is pending.".strip(),
        )


def _is_item_of(request: Request, listed: Request) -> bool:
    """Whether a request reads one item of the list that another request reads."""
    return request.path.startswith(listed.path.partition("?")[0] + "/")
