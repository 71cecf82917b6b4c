"""The engine keeps to the allowance that the server reports, and does not stall whatever it reports."""

import math
import random

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkid.engine.pacing import MAX_RESET_S, ServerPacing, bounded_reset
from bulkid.engine.signals import Stop
from bulkid.engine.task import Settled
from bulkid.model import Allowance, QuotaRule, Reply, ReplyKind, Request
from tests.support.engine_world import NO_CONNECTION, OK, chunks, get, make_engine, put, puts, settle
from tests.support.examples import examples
from tests.support.fake_clock import FakeClock, run


def limited_reply(remaining: int, reset_s: float, reply: Reply = OK) -> Reply:
    return reply._replace(allowance=Allowance(remaining, reset_s))


class Windows:
    """A server with a limit in fixed windows that says in each answer what is left.

    Args:
        clock: Its time.
        limit: Requests of a method in one window.
        window_s: How long a window is.
        seed: Of its latencies.
    """

    def __init__(self, clock: FakeClock, limit: int, window_s: float, seed: int = 1) -> None:
        self.clock, self.limit, self.window_s = clock, limit, window_s
        self.counts: dict[tuple[str, int], int] = {}
        self.throttled = 0
        self._random = random.Random(seed)

    async def send(self, request: Request) -> Reply:
        await self.clock.sleep(self._random.randint(0, 64) / 1024)
        now = self.clock.elapsed
        window = int(now // self.window_s)
        used = self.counts.get((request.method, window), 0)
        reset_s = float(math.ceil((window + 1) * self.window_s - now))
        if used >= self.limit:
            self.throttled += 1
            reply = limited_reply(0, reset_s, Reply(ReplyKind.THROTTLED, 429))
        else:
            self.counts[request.method, window] = used + 1
            reply = limited_reply(self.limit - used - 1, reset_s)
        await self.clock.sleep(self._random.randint(0, 64) / 1024)
        return reply


@settings(max_examples=examples(40, soak=1000), deadline=None)
@given(
    count=st.integers(1, 150),
    limit=st.integers(8, 40),
    window_s=st.sampled_from([5.0, 60.0, 300.0]),
    concurrency=st.integers(1, 8),
    seed=st.integers(0, 2**16),
)
def test_a_limit_that_only_the_headers_tell_is_kept_and_used_up(
    count: int, limit: int, window_s: float, concurrency: int, seed: int
) -> None:
    clock = FakeClock()
    server = Windows(clock, limit, window_s, seed)
    settled = run(lambda: settle(make_engine(clock, server.send, concurrency=concurrency), puts(count)))
    assert len(settled) == count
    assert {one.reply.kind for one in settled} == {ReplyKind.OK}
    assert server.throttled == 0
    # A reset is told in whole seconds, so each window begins up to a second late.
    assert clock.elapsed <= (math.ceil(count / limit) - 1) * (window_s + 2) + count * 0.125 + 1


async def test_they_never_make_a_run_faster_than_its_own_quota() -> None:
    clock = FakeClock()
    server = Windows(clock, 1000, 5.0)
    engine = make_engine(clock, server.send, rules=[QuotaRule("PUT", 10, 60.0)])
    await settle(engine, puts(30))
    assert clock.elapsed >= 120


async def test_one_method_does_not_wait_for_another() -> None:
    clock = FakeClock()

    async def send(request: Request) -> Reply:
        await clock.sleep(0.125)
        return limited_reply(0, 300.0) if request.method == "PUT" else limited_reply(5, 300.0)

    engine = make_engine(clock, send)
    await engine.call(put(0))
    for number in range(5):
        await engine.call(get(number))
    assert clock.elapsed < 1
    assert engine.pacing.seconds_until_free("PUT") == pytest.approx(300, abs=1)
    assert engine.pacing.seconds_until_free("GET") is None
    await engine.call(put(1))
    assert 300 <= clock.elapsed < 301


ANY_NUMBER = st.floats(allow_nan=True, allow_infinity=True)
ANY_ALLOWANCE = st.none() | st.builds(
    Allowance, st.integers(-5, 20) | st.integers(-(10**9), 10**9), st.floats(-10, 1000) | ANY_NUMBER
)


@settings(max_examples=examples(50, soak=1000), deadline=None)
@given(
    allowances=st.lists(ANY_ALLOWANCE, min_size=1, max_size=30),
    kinds=st.lists(st.sampled_from([OK, NO_CONNECTION, Reply(ReplyKind.REFUSED, 400)]), max_size=9),
    count=st.integers(1, 30),
    concurrency=st.integers(1, 8),
)
def test_whatever_a_server_says_the_run_ends_in_bounded_time(
    allowances: list[Allowance | None], kinds: list[Reply], count: int, concurrency: int
) -> None:
    clock = FakeClock()
    sent = 0

    async def send(_: Request) -> Reply:
        nonlocal sent
        sent += 1
        await clock.sleep(0.125)
        return ([*kinds, OK][sent % (len(kinds) + 1)])._replace(allowance=allowances[sent % len(allowances)])

    async def play() -> list[Settled]:
        await (
            engine := make_engine(clock, send, concurrency=concurrency, outage_limit_s=1e9, first_contact_limit_s=1e9)
        ).call(get(0))
        return await settle(engine, puts(count))

    assert len(run(play)) == count
    assert clock.elapsed <= sent * (MAX_RESET_S + 61)


async def test_nothing_left_for_a_year_is_asked_again_after_the_longest_wait() -> None:
    clock = FakeClock()

    async def send(_: Request) -> Reply:
        return limited_reply(0, 365 * 86_400.0)

    engine = make_engine(clock, send, concurrency=1)
    await settle(engine, puts(3))
    assert clock.elapsed == pytest.approx(2 * MAX_RESET_S, abs=1)


async def test_a_stop_ends_a_wait_for_the_reset() -> None:
    clock, stop = FakeClock(), Stop()
    settled: list[Settled] = []

    async def send(_: Request) -> Reply:
        return limited_reply(0, 300.0)

    def stop_at_first(one: Settled) -> None:
        settled.append(one)
        stop.request("SIGINT")

    await make_engine(clock, send, concurrency=1).run(chunks(puts(3)), stop_at_first, stop)
    assert len(settled) == 1
    assert clock.elapsed < 1


async def test_a_pause_is_reported_once_so_that_leased_slots_are_given_back() -> None:
    clock, pauses = FakeClock(), list[float]()
    pacing = ServerPacing(clock, lambda: pauses.append(clock.elapsed))
    for _ in range(2):
        pacing.response_received("PUT", limited_reply(0, 100.0))
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(pacing.wait, "PUT")
    assert pauses == [0.0, pytest.approx(100, abs=1)]


@pytest.mark.parametrize(
    ("reset_s", "waits"),
    [(-1.0, 0.0), (0.0, 0.0), (math.nan, 0.0), (12.5, 12.5), (1e9, MAX_RESET_S), (math.inf, MAX_RESET_S)],
)
def test_a_reset_is_bounded(reset_s: float, waits: float) -> None:
    assert bounded_reset(reset_s) == waits


def test_late_answers_of_a_window_change_nothing_and_what_outlasts_it_is_kept() -> None:
    clock = FakeClock()
    pacing = ServerPacing(clock)
    pacing.response_received("PUT", limited_reply(3, 10.0))
    pacing.response_received("PUT", limited_reply(5, 10.0))  # left before the other, came in after it
    assert (pacing.allows("PUT", 2), pacing.allows("PUT", 3)) == (True, False)
    pacing.response_received("PUT", limited_reply(4, 50.0))  # of the next window
    clock.advance(11)
    assert (pacing.allows("PUT", 3), pacing.allows("PUT", 4)) == (True, False)
    pacing.response_received("PUT", OK)  # counted or not: nobody says
    assert pacing.allows("PUT", 3) is False
    pacing.response_received("PUT", NO_CONNECTION)
    assert pacing.allows("PUT", 2) is True
    clock.advance(50)
    assert pacing.allows("PUT", 10**6)


def test_a_window_does_not_end_sooner_for_a_later_statement_and_the_next_one_keeps_the_least() -> None:
    clock = FakeClock()
    pacing = ServerPacing(clock)
    pacing.response_received("PUT", limited_reply(3, 60.0))
    pacing.response_received("PUT", limited_reply(0, 10.0))  # less is left, and its clock is another
    clock.advance(20)
    assert not pacing.allows("PUT", 0)
    seconds_until_free = pacing.seconds_until_free("PUT")
    assert seconds_until_free is not None
    assert seconds_until_free > 40, "never a moment too early"
    for remaining, reset_s in ((9, 50.0), (2, 90.0), (7, 70.0)):  # of windows that outlast this one
        pacing.response_received("PUT", limited_reply(remaining, reset_s))
    clock.advance(41)
    assert (pacing.allows("PUT", 1), pacing.allows("PUT", 2)) == (True, False)
    clock.advance(48)
    assert not pacing.allows("PUT", 2)
    clock.advance(2)
    assert pacing.allows("PUT", 10**6)
