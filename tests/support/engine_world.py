"""A simulated server and the pieces to drive an engine against it, all on the fake clock."""

import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from bulkid.engine.engine import Engine
from bulkid.engine.retry import RetryPolicy
from bulkid.engine.signals import Stop
from bulkid.engine.task import Settled, Task
from bulkid.model import QuotaRule, Reply, ReplyKind, Request
from tests.support.fake_clock import FakeClock
from tests.support.memory_ledger import MemoryLedger

OK = Reply(ReplyKind.OK, 200, {})
THROTTLED = Reply(ReplyKind.THROTTLED, 429)
UNAVAILABLE = Reply(ReplyKind.UNAVAILABLE, 503, error="down for maintenance")
NO_CONNECTION = Reply(ReplyKind.NO_CONNECTION, error="connection refused")
LOST = Reply(ReplyKind.LOST, error="the connection was reset")
BROKEN = Reply(ReplyKind.SERVER_ERROR, 500, error="internal error")
REFUSED = Reply(ReplyKind.REFUSED, 404, error="no such account")
FORBIDDEN = Reply(ReplyKind.FORBIDDEN, 403, error="Expect to have 'PM.RobotAccount'.")
UNAUTHORIZED = Reply(ReplyKind.UNAUTHORIZED, 401)
NOT_JSON = Reply(ReplyKind.NOT_JSON, 200)


def of_kind(kind: ReplyKind) -> Reply:
    return Reply(kind, 200)


def put(number: int) -> Request:
    return Request("PUT", f"api/RobotAccount/{number}", b"{}")


def post(number: int) -> Request:
    return Request("POST", "api/RobotAccount", b"%d" % number, idempotent=False)


def get(number: int) -> Request:
    return Request("GET", f"api/RobotAccount/org/{number}")


def puts(count: int) -> list[Task]:
    return [Task(number, put(number)) for number in range(count)]


async def chunks(tasks: Sequence[Task], size: int = 64) -> AsyncIterator[Sequence[Task]]:
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]


class Server:
    """Takes requests after one latency, counts them there in rolling windows, and answers after another.

    Args:
        clock: Its time.
        seed: Of its latencies.
        latency: Seconds that one way takes, from and to; a multiple of 1/1024, so that sums are exact.
        limits: Per method: how many in how many seconds; above it the answer is 429.
        answer: What it answers to a request that is within the limits.
        retry_after: Whether a 429 says when to come back.
    """

    def __init__(
        self,
        clock: FakeClock,
        *,
        seed: int = 1,
        latency: tuple[float, float] = (0.0, 0.125),
        limits: Sequence[QuotaRule] = (),
        answer: Callable[[Request], Reply] = lambda _: OK,
        retry_after: bool = False,
    ) -> None:
        self.clock = clock
        self.limits = limits
        self.answer = answer
        self.retry_after = retry_after
        self.arrivals: list[tuple[float, Request, Reply]] = []
        self.in_flight: list[Request] = []
        self.most_in_flight = 0
        self._random = random.Random(seed)
        self._latency = latency
        self._counted: dict[QuotaRule, deque[float]] = {rule: deque() for rule in limits}

    def _one_way(self) -> float:
        low, high = self._latency
        return self._random.randint(round(low * 1024), round(high * 1024)) / 1024

    def _judge(self, request: Request) -> Reply:
        now = self.clock.elapsed
        rules = [rule for rule in self.limits if rule.method == request.method]
        for rule in rules:
            counted = self._counted[rule]
            while counted and counted[0] <= now - rule.seconds:
                counted.popleft()
            if len(counted) >= rule.count:
                seconds_until_free = counted[0] + rule.seconds - now
                return Reply(ReplyKind.THROTTLED, 429, retry_after=seconds_until_free if self.retry_after else None)
        for rule in rules:
            self._counted[rule].append(now)
        return self.answer(request)

    async def send(self, request: Request) -> Reply:
        self.in_flight.append(request)
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
        try:
            await self.clock.sleep(self._one_way())
            reply = self._judge(request)
            self.arrivals.append((self.clock.elapsed, request, reply))
            await self.clock.sleep(self._one_way())
            return reply
        finally:
            self.in_flight.remove(request)

    def kinds(self) -> list[ReplyKind]:
        return [reply.kind for _, _, reply in self.arrivals]


def make_engine(clock: FakeClock, send: Any, **settings: Any) -> Engine:
    """An engine on the fake clock; jitter is drawn from a seed, settings are the engine's own."""
    defaults: dict[str, Any] = {
        "clock": clock,
        "random": random.Random(7).random,
        "policy": RetryPolicy(),
        "rules": (),
        "ledger": MemoryLedger(clock),
    }
    return Engine(send, **(defaults | settings))


async def settle(engine: Engine, tasks: Sequence[Task], *, stop: Stop | None = None, size: int = 64) -> list[Settled]:
    """Run all tasks, and give what was settled, in the order it was told."""
    settled: list[Settled] = []
    await engine.run(chunks(tasks, size), settled.append, stop or Stop())
    return settled
