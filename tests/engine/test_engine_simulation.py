"""A whole engine, or several, against a simulated server that counts in rolling windows, on the fake clock."""

import math
import random
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkid.model import QuotaRule, Reply, ReplyKind, Request
from tests.support.engine_world import OK, THROTTLED, UNAVAILABLE, Server, make_engine, puts, settle
from tests.support.fake_clock import FakeClock, run
from tests.support.memory_ledger import MemoryLedger

WORST = 0.25  # seconds that a request takes at most, both ways


def theoretical(count: int, rule: QuotaRule) -> float:
    """The least time that so many requests can take, answers not counted."""
    return (math.ceil(count / rule.count) - 1) * rule.seconds


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("count", "rule"),
    [
        (200, QuotaRule("PUT", 20, 5.0)),
        (100, QuotaRule("PUT", 7, 3.0)),
        (500, QuotaRule("PUT", 160, 300.0)),
        (30, QuotaRule("PUT", 1, 0.5)),
        (20, QuotaRule("PUT", 20, 5.0)),
    ],
    ids=str,
)
async def test_within_the_servers_limits_nothing_is_throttled_and_little_time_is_lost(
    count: int, rule: QuotaRule, seed: int
) -> None:
    clock = FakeClock()
    server = Server(clock, seed=seed, limits=[rule], latency=(0.0, WORST / 2))
    settled = await settle(make_engine(clock, server.send, rules=[rule]), puts(count))
    assert len(settled) == count
    assert set(server.kinds()) == {ReplyKind.OK}
    assert len(server.arrivals) == count
    windows = math.ceil(count / rule.count)
    rounds = math.ceil(rule.count / 16)  # it takes the workers so many to use up a window
    assert clock.elapsed <= theoretical(count, rule) + (windows + rounds) * WORST


async def test_the_first_window_is_used_up_at_once() -> None:
    clock = FakeClock()
    rule = QuotaRule("PUT", 20, 5.0)
    server = Server(clock, limits=[rule], latency=(0.0, WORST / 2))
    await settle(make_engine(clock, server.send, rules=[rule]), puts(60))
    for window in range(3):
        times = sorted(at for at, _, _ in server.arrivals)[20 * window : 20 * (window + 1)]
        assert window * 5 <= times[0]
        assert times[-1] <= window * (5 + WORST) + 2 * WORST


async def test_under_the_acceptance_quota_the_time_is_within_two_percent_of_the_least() -> None:
    clock = FakeClock()
    rule = QuotaRule("PUT", 20, 5.0)
    server = Server(clock, limits=[rule], latency=(0.0, 0.015625))
    await settle(make_engine(clock, server.send, rules=[rule]), puts(200))
    assert 45 <= clock.elapsed <= 45 * 1.02
    assert set(server.kinds()) == {ReplyKind.OK}


async def test_hours_of_updates_at_the_vendors_limit_takes_what_it_must() -> None:
    clock = FakeClock()
    rule = QuotaRule("PUT", 160, 300.0)
    server = Server(clock, limits=[rule])
    await settle(make_engine(clock, server.send, rules=[rule]), puts(4_000), size=256)
    least = theoretical(4_000, rule)
    assert least <= clock.elapsed <= least * 1.001
    assert set(server.kinds()) == {ReplyKind.OK}


@settings(max_examples=25, deadline=None)
@given(
    engines=st.integers(1, 3),
    count=st.integers(1, 40),
    limit=st.builds(QuotaRule, st.just("PUT"), st.integers(1, 8), st.sampled_from([1.0, 4.0])),
    concurrency=st.integers(1, 6),
    seed=st.integers(0, 2**32),
)
def test_several_runs_on_one_ledger_are_never_throttled(
    engines: int, count: int, limit: QuotaRule, concurrency: int, seed: int
) -> None:
    clock = FakeClock()
    server = Server(clock, seed=seed, limits=[limit], latency=(0.0, 0.5))
    ledger = MemoryLedger(clock)

    async def play() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(engines):
                engine = make_engine(clock, server.send, rules=[limit], ledger=ledger, concurrency=concurrency)
                group.start_soon(settle, engine, puts(count))

    run(play)
    assert server.kinds() == [ReplyKind.OK] * (engines * count)


async def test_a_run_after_a_run_counts_what_the_first_one_sent() -> None:
    clock = FakeClock()
    rule = QuotaRule("PUT", 20, 300.0)
    server = Server(clock, limits=[rule])
    ledger = MemoryLedger(clock)
    for _ in range(3):
        await settle(make_engine(clock, server.send, rules=[rule], ledger=ledger), puts(20))
    assert set(server.kinds()) == {ReplyKind.OK}
    assert 600 <= clock.elapsed < 602


class Shared:
    """An organisation whose limit others use up: 429 from time to time, whatever we do."""

    def __init__(self, clock: FakeClock, spans: list[tuple[float, float]], reply: Any) -> None:
        self.clock = clock
        self.spans = spans
        self.reply = reply

    def __call__(self, _: Request) -> Reply:
        return self.reply(self.ends_in()) if self.ends_in() > 0 else OK

    def ends_in(self) -> float:
        now = self.clock.elapsed
        return max((end - now for begin, end in self.spans if begin <= now < end), default=0.0)


@pytest.mark.parametrize(
    "reply",
    [
        lambda _: THROTTLED,
        lambda ends_in: Reply(ReplyKind.THROTTLED, 429, retry_after=float(math.ceil(ends_in))),
        lambda _: UNAVAILABLE,
    ],
    ids=["no-retry-after", "retry-after", "unavailable"],
)
async def test_unexpected_throttling_is_survived_with_few_probes_and_no_row_pays_for_it(reply: Any) -> None:
    clock = FakeClock()
    spans = [(1.0, 60.0), (62.0, 62.5), (70.0, 400.0)]
    server = Server(clock, answer=Shared(clock, spans, reply), latency=(0.0, 0.125))
    settled = await settle(make_engine(clock, server.send), puts(3000))
    assert len(settled) == 3000
    assert {one.reply.kind for one in settled} == {ReplyKind.OK}
    # Only a row that two outages met, with successes of others between them, pays for the second.
    paid = [one for one in settled if one.attempts > 1]
    assert len(paid) <= (16 if reply(0.0) == UNAVAILABLE else 0)
    assert all(one.attempts == 2 for one in paid)
    in_spans = [at for at, _, answer in server.arrivals if answer != OK]
    for begin, end in spans:
        refused = sorted(at for at in in_spans if begin <= at < end)
        assert len(refused) <= 16 + 2 + (end - begin) / 5  # what was in flight, and then a few probes


async def test_while_the_breaker_is_open_only_the_probe_is_in_flight() -> None:
    clock = FakeClock()
    server = Server(clock, answer=lambda _: THROTTLED if 1 < clock.elapsed < 300 else OK, latency=(0.25, 0.25))
    alone: list[bool] = []

    async def send(request: Request) -> Reply:
        if clock.elapsed > 2 and not engine.breaker.closed:
            alone.append(not server.in_flight)
        return await server.send(request)

    engine = make_engine(clock, send)
    await settle(engine, puts(500))
    assert 8 <= len(alone) <= 30
    assert all(alone)


async def test_retry_after_is_obeyed_to_the_second_by_everybody() -> None:
    clock = FakeClock()
    until = 0.0
    early: list[float] = []
    dice = random.Random(5)

    def answer(_: Request) -> Reply:
        nonlocal until
        if clock.elapsed < until - 0.5:
            early.append(clock.elapsed)
        if dice.random() < 0.01:
            until = clock.elapsed + 30
            return Reply(ReplyKind.THROTTLED, 429, retry_after=30.0)
        return OK

    server = Server(clock, answer=answer, latency=(0.125, 0.125))
    settled = await settle(make_engine(clock, server.send), puts(1000))
    assert len(settled) == 1000
    throttled = server.kinds().count(ReplyKind.THROTTLED)
    assert throttled >= 5
    assert len(early) <= throttled * 16  # only what had already left


async def test_when_the_breaker_opens_leased_slots_go_back_to_those_who_can_use_them() -> None:
    clock = FakeClock()
    rule = QuotaRule("PUT", 10, 1000.0)
    ledger = MemoryLedger(clock)

    async def send(_: Request) -> Reply:
        await clock.sleep(0.25)
        return Reply(ReplyKind.THROTTLED, 429, retry_after=500.0)

    engine = make_engine(clock, send, rules=[rule], ledger=ledger, concurrency=4)
    async with anyio.create_task_group() as group:
        group.start_soon(settle, engine, puts(30))
        await clock.sleep(100)
        lease = await ledger.exchange([rule], 99, [], [])
        assert len(lease.slots) == 10 - 4  # all but what was sent
        group.cancel_scope.cancel()


async def test_the_order_of_events_is_the_same_each_time() -> None:
    logs = []
    for _ in range(2):
        clock = FakeClock()
        server = Server(clock, limits=[QuotaRule("PUT", 9, 2.0)], retry_after=True)
        await settle(make_engine(clock, server.send), puts(100))
        logs.append([(at, request.path, reply.kind) for at, request, reply in server.arrivals])
    assert logs[0] == logs[1]
    assert ReplyKind.THROTTLED in {kind for _, _, kind in logs[0]}
