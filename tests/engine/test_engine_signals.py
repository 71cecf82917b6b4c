"""Rate, stop, counters, wakeup, and the clock that all these tests use."""

import asyncio
import threading
from collections import Counter

import anyio
import anyio.to_thread
import pytest

from bulkid.clock import SystemClock
from bulkid.engine.pacing import smooth_rate
from bulkid.engine.signals import Stop, Wakeup
from bulkid.engine.stats import Stats
from bulkid.model import QuotaRule, ReplyKind
from tests.support.engine_world import BROKEN, NO_CONNECTION, OK, THROTTLED, Server, get, make_engine, puts, settle
from tests.support.fake_clock import FakeClock

# --- rate: the library measures by the loop's clock, so these few requests take real, if little, time


async def test_a_rate_lets_one_after_another_through_with_no_burst() -> None:
    loop = asyncio.get_running_loop()
    rate = smooth_rate(100)
    begun = loop.time()
    for _ in range(5):
        await rate.acquire()
    assert loop.time() - begun >= 0.0399  # four spaces


async def test_an_engine_with_a_rate_spaces_what_all_its_workers_send() -> None:
    async def send(_: object) -> object:
        await anyio.sleep(0.05)
        return OK

    begun = asyncio.get_running_loop().time()
    engine = make_engine(SystemClock(), send, rate=100.0)  # type: ignore[arg-type]
    assert len(await settle(engine, puts(8))) == 8
    assert asyncio.get_running_loop().time() - begun >= 0.0699  # seven spaces


async def test_a_rate_and_a_quota_hold_together() -> None:
    async def send(_: object) -> object:
        return OK

    rule = QuotaRule("PUT", 3, 0.1)
    engine = make_engine(SystemClock(), send, rate=500.0, rules=[rule])  # type: ignore[arg-type]
    begun = asyncio.get_running_loop().time()
    async with anyio.create_task_group() as group:
        group.start_soon(settle, engine, puts(6))
        group.start_soon(engine.call, get(1))
    assert asyncio.get_running_loop().time() - begun >= 0.1


# --- stop


async def test_a_stop_keeps_its_first_reason_and_wakes_those_who_wait() -> None:
    stop = Stop()
    assert not stop.requested
    woken: list[str] = []

    async def waiter() -> None:
        await stop.wait()
        woken.append(stop.reason)

    async with anyio.create_task_group() as group:
        group.start_soon(waiter)
        group.start_soon(stop.wait)
        await asyncio.sleep(0)
        stop.request("interrupted")
        stop.request("too many failures")
    assert woken == ["interrupted"]
    assert (stop.requested, stop.aborted) == (True, False)
    stop.abort()
    await stop.wait_aborted()
    assert (stop.aborted, stop.reason) == (True, "interrupted")


async def test_a_stop_can_be_requested_from_another_thread_and_made_outside_of_a_loop() -> None:
    stop = await anyio.to_thread.run_sync(Stop)
    loop = asyncio.get_running_loop()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(stop.request, "interrupted"))
    thread.start()
    await stop.wait()
    thread.join()
    assert stop.reason == "interrupted"


def test_an_abort_alone_requests_the_stop_too() -> None:
    stop = Stop()
    stop.abort()
    assert stop.requested


# --- counters


async def test_counters_follow_what_is_sent() -> None:
    clock = FakeClock()
    replies = [OK, BROKEN, THROTTLED, NO_CONNECTION]
    server = Server(clock, latency=(0.25, 0.25), answer=lambda _: replies.pop() if replies else OK)
    stats = Stats()
    engine = make_engine(clock, server.send, stats=stats, concurrency=3)
    assert engine.stats is stats
    await clock.sleep(5)
    async with anyio.create_task_group() as group:
        group.start_soon(settle, engine, puts(10))
        await clock.sleep(0.1)
        assert stats.in_flight == 3
    await engine.call(get(1))
    assert stats.in_flight == 0
    assert stats.settled == 10
    assert stats.sent == Counter(PUT=12, GET=1)
    assert stats.throttled == server.kinds().count(ReplyKind.THROTTLED) == 1
    assert stats.retries == 3


def test_requests_per_second_are_measured_over_the_last_ten_seconds() -> None:
    stats = Stats(started_at=100.0)
    assert stats.per_second(100.0) == 0.0
    for now in range(101, 131):
        stats.sent["PUT"] += 8
        assert stats.per_second(float(now)) == 8.0
    for now in range(131, 141):
        stats.per_second(float(now))
    assert stats.per_second(141.0) == 0.0
    assert len(stats._samples) < 15
    stats.sent["PUT"] += 50
    assert stats.per_second(141.0) == pytest.approx(5.0)


# --- wakeup and clock


async def test_a_wakeup_wakes_all_waiters_and_only_them() -> None:
    clock = FakeClock()
    wakeup = Wakeup(clock)
    wakeup.set()
    woken: list[float] = []

    async def waiter(seconds: float | None) -> None:
        await wakeup.wait(seconds)
        woken.append(clock.elapsed)

    async with anyio.create_task_group() as group:
        group.start_soon(waiter, 1.0)
        group.start_soon(waiter, 50.0)
        group.start_soon(waiter, None)
        await clock.sleep(3)
        assert wakeup.waiting == 2
        wakeup.set()
    assert woken == [1.0, 3.0, 3.0]
    assert wakeup.waiting == 0


async def test_a_wait_too_short_for_the_clock_still_ends() -> None:
    clock = FakeClock()
    await clock.sleep(2.0**20)
    before = clock.elapsed
    for seconds in (1e-12, 0.0, -5.0):
        await Wakeup(clock).wait(seconds)
        assert before < clock.elapsed <= before + 1e-3  # else who waits until a time would never get there
        before = clock.elapsed


async def test_the_fake_clock_moves_only_when_all_wait_and_wakes_in_order() -> None:
    clock = FakeClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.elapsed))
        for _ in range(50):
            await asyncio.sleep(0)
            assert clock.elapsed == woken[-1][1]

    async with anyio.create_task_group() as group:
        for name, seconds in [("c", 3600.0), ("a", 1.0), ("b", 1.0), ("never", 9999.0)]:
            group.start_soon(sleeper, name, seconds)
        await clock.sleep(3601)
        group.cancel_scope.cancel()
    assert woken == [("a", 1.0), ("b", 1.0), ("c", 3600.0)]
    assert clock.now() - clock.monotonic() == pytest.approx(FakeClock().now() - FakeClock().monotonic())


async def test_the_fake_clock_stands_still_while_a_thread_works() -> None:
    clock = FakeClock()
    seen: list[float] = []
    done = threading.Event()

    async def work() -> None:
        await anyio.to_thread.run_sync(done.wait)
        seen.append(clock.elapsed)

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.02, done.set)
        await clock.sleep(10)
    assert seen == [0.0]
    assert clock.elapsed == 10


async def test_the_fake_clock_can_be_moved_by_hand() -> None:
    clock = FakeClock()
    async with anyio.create_task_group() as group:
        group.start_soon(clock.sleep, 5)
        await asyncio.sleep(0)
        clock.advance(7)
        await asyncio.sleep(0)
    assert clock.elapsed == 7
