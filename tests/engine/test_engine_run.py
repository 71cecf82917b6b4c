"""`Engine.run`: every task is settled once, whatever the replies are; and the ways in which it ends early."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkid.engine.retry import RetryPolicy
from bulkid.engine.signals import Stop
from bulkid.engine.task import Settled, Task
from bulkid.errors import (
    AuthenticationError,
    BulkidError,
    ConnectionFailedError,
    InterruptedRunError,
    PermissionDeniedError,
    StateError,
)
from bulkid.model import QuotaRule, Reply, ReplyKind, Request
from tests.support.engine_world import (
    BROKEN,
    FORBIDDEN,
    LOST,
    NO_CONNECTION,
    NOT_JSON,
    OK,
    REFUSED,
    THROTTLED,
    UNAUTHORIZED,
    UNAVAILABLE,
    Server,
    chunks,
    get,
    make_engine,
    put,
    puts,
    settle,
)
from tests.support.examples import examples
from tests.support.fake_clock import WALL_START, FakeClock, run
from tests.support.memory_ledger import MemoryLedger


def script(clock: FakeClock, replies: dict[str, list[Reply]], *, takes: float = 0.125) -> Any:
    """A send that answers each path with its own replies in turn, the last one for ever; others with OK."""
    turns: Counter[str] = Counter()

    async def send(request: Request) -> Reply:
        await clock.sleep(takes)
        mine = replies.get(request.path, [OK])
        turns[request.path] += 1
        return mine[min(turns[request.path], len(mine)) - 1]

    send.turns = turns  # type: ignore[attr-defined]
    return send


async def settle_one(*replies: Reply, policy: RetryPolicy | None = None, others: int = 0) -> tuple[Settled, int]:
    """What becomes of one task that meets these replies, and how often it was sent."""
    clock = FakeClock()
    send = script(clock, {put(0).path: list(replies)})
    engine = make_engine(clock, send, policy=policy or RetryPolicy())
    await engine.call(get(0))  # the server is there
    settled = {one.key: one for one in await settle(engine, puts(1 + others))}
    assert len(settled) == 1 + others
    return settled[0], send.turns[put(0).path]


async def test_every_task_is_settled_once_with_its_own_reply() -> None:
    clock = FakeClock()

    async def send(request: Request) -> Reply:
        await clock.sleep(0.25)
        return Reply(ReplyKind.OK, 200, payload=request.path)

    engine = make_engine(clock, send)
    settled = await settle(engine, puts(200))
    assert sorted(one.key for one in settled) == list(range(200))
    assert all(one.reply.payload == put(one.key).path for one in settled)
    assert {(one.attempts, one.maybe_applied) for one in settled} == {(1, False)}
    assert all(WALL_START < one.finished_at <= clock.now() for one in settled)


async def test_an_empty_source_and_empty_chunks_end_at_once() -> None:
    clock = FakeClock()
    assert await settle(make_engine(clock, Server(clock).send), []) == []

    async def source() -> AsyncIterator[Sequence[Task]]:
        yield []
        yield puts(1)
        yield []

    settled: list[Settled] = []
    await make_engine(clock, Server(clock).send).run(source(), settled.append, Stop())
    assert len(settled) == 1


@pytest.mark.parametrize("concurrency", [1, 3, 16])
async def test_as_many_are_in_flight_as_allowed_and_no_more(concurrency: int) -> None:
    clock = FakeClock()
    server = Server(clock, latency=(0.125, 0.125))
    await settle(make_engine(clock, server.send, concurrency=concurrency), puts(48))
    assert server.most_in_flight == concurrency
    assert clock.elapsed == 48 / concurrency * 0.25


@pytest.mark.parametrize(
    ("replies", "attempts", "sent", "maybe_applied"),
    [
        ([OK], 1, 1, False),
        ([REFUSED], 1, 1, False),
        ([THROTTLED, THROTTLED, OK], 1, 3, False),
        ([UNAUTHORIZED, UNAUTHORIZED, OK], 1, 3, False),
        ([UNAVAILABLE, OK], 1, 2, False),
        ([UNAVAILABLE, REFUSED], 1, 2, True),
        ([NO_CONNECTION, NO_CONNECTION, REFUSED], 1, 3, False),
        ([BROKEN, OK], 2, 2, False),
        ([BROKEN, REFUSED], 2, 2, True),
        ([LOST, LOST, OK], 3, 3, False),
        ([LOST, REFUSED], 2, 2, True),
        ([NOT_JSON, REFUSED], 2, 2, True),
        ([BROKEN], 5, 5, True),
        ([LOST], 5, 5, True),
        ([NOT_JSON], 5, 5, True),
        ([BROKEN, LOST, NOT_JSON, THROTTLED, BROKEN, OK], 5, 6, False),
        ([BROKEN, LOST, NOT_JSON, THROTTLED, BROKEN, LOST], 5, 6, True),
    ],
    ids=lambda value: "-".join(reply.kind for reply in value) if isinstance(value, list) else "",
)
async def test_what_becomes_of_a_task(replies: list[Reply], attempts: int, sent: int, *, maybe_applied: bool) -> None:
    settled, times = await settle_one(*replies)
    assert settled.reply == replies[-1]
    assert (settled.attempts, times, settled.maybe_applied) == (attempts, sent, maybe_applied)


async def test_the_number_of_attempts_is_the_policys() -> None:
    settled, times = await settle_one(BROKEN, policy=RetryPolicy(max_attempts=2))
    assert (settled.attempts, times) == (2, 2)


async def test_time_in_flight_and_waits_end_it_too() -> None:
    policy = RetryPolicy(max_attempts=10**6, base_s=1.0, cap_s=1.0, budget_s=20.0)
    settled, times = await settle_one(LOST, policy=policy)
    assert settled.reply == LOST
    assert 20 <= times <= 60  # each costs 0.125 s of flight and half a second of waiting, more or less


async def test_time_that_says_nothing_about_the_task_does_not_end_it() -> None:
    settled, _ = await settle_one(*[THROTTLED] * 500, BROKEN, OK, policy=RetryPolicy(budget_s=10.0))
    assert (settled.reply, settled.attempts) == (OK, 2)


async def test_an_account_that_alone_is_turned_away_runs_out_of_attempts_and_the_others_do_not() -> None:
    for reply in (UNAVAILABLE, NO_CONNECTION):
        settled, times = await settle_one(reply, others=400)
        assert settled.reply == reply
        assert settled.attempts == 5
        assert times == 6  # the first time nobody could tell whose fault it was
        assert settled.maybe_applied is (reply is UNAVAILABLE)


async def test_an_outage_costs_no_task_an_attempt() -> None:
    clock = FakeClock()
    server = Server(clock, answer=lambda _: NO_CONNECTION if 0.5 < clock.elapsed < 400 else OK)
    settled = await settle(make_engine(clock, server.send), puts(100))
    assert [one.attempts for one in settled] == [1] * 100
    assert clock.elapsed > 400


async def test_waiting_tasks_hold_no_worker() -> None:
    clock = FakeClock()
    send = script(clock, {put(number).path: [BROKEN, OK] for number in range(20)})
    slow = RetryPolicy(base_s=500.0, cap_s=500.0)
    engine = make_engine(clock, send, concurrency=2, random=lambda: 0.9, policy=slow)
    settled = await settle(engine, puts(60))
    assert {one.key for one in settled[:40]} == set(range(20, 60))
    assert clock.elapsed == pytest.approx(0.125 * 60 / 2 + 450 - 0.125 * 40 / 2, abs=1)


async def test_a_retry_waits_as_decided_and_then_goes_before_what_was_not_tried() -> None:
    clock = FakeClock()
    send = script(clock, {put(0).path: [BROKEN, OK]}, takes=1.0)
    engine = make_engine(clock, send, concurrency=1, random=lambda: 0.5, policy=RetryPolicy(base_s=6.0))
    settled = await settle(engine, puts(10))
    assert [one.key for one in settled] == [1, 2, 3, 0, 4, 5, 6, 7, 8, 9]


async def test_methods_with_quotas_of_their_own_do_not_wait_for_one_another() -> None:
    clock = FakeClock()
    server = Server(clock, latency=(0.125, 0.125))
    tasks = [Task(number, put(number)) for number in range(4)] + [Task(number, get(number)) for number in range(4, 40)]
    engine = make_engine(clock, server.send, rules=[QuotaRule("PUT", 2, 60.0)], concurrency=4)
    settled = await settle(engine, tasks)
    assert {one.key for one in settled[-2:]} == {2, 3}
    assert all(one.finished_at - WALL_START < 3 for one in settled[:-2])
    assert clock.elapsed <= 61.001  # two rounds of four, and then the window


# --- the source


async def test_chunks_are_taken_one_ahead_of_need() -> None:
    clock = FakeClock()
    taken: list[tuple[int, int]] = []
    settled: list[Settled] = []

    async def source() -> AsyncIterator[Sequence[Task]]:
        for start in range(0, 1000, 100):
            taken.append((start, len(settled)))
            yield puts(1000)[start : start + 100]

    await make_engine(clock, Server(clock).send, concurrency=4).run(source(), settled.append, Stop())
    assert len(settled) == 1000
    for start, done in taken[1:]:
        assert start - 80 <= done < start


async def test_the_workers_do_not_wait_for_a_source_that_takes_its_time() -> None:
    clock = FakeClock()

    async def source() -> AsyncIterator[Sequence[Task]]:
        for start in range(0, 320, 64):
            await clock.sleep(3.5)  # three quarters of a chunk last 4 with those in flight
            yield puts(320)[start : start + 64]

    settled: list[Settled] = []
    server = Server(clock, latency=(0.5, 0.5))
    await make_engine(clock, server.send, concurrency=16).run(source(), settled.append, Stop())
    assert len(settled) == 320
    assert clock.elapsed == 3.5 + 320 / 16


async def test_while_very_many_wait_to_be_tried_again_no_more_are_taken() -> None:
    clock = FakeClock()
    ahead: list[int] = []
    settled: list[Settled] = []

    async def source() -> AsyncIterator[Sequence[Task]]:
        for start in range(0, 6000, 250):
            ahead.append(start - len(settled))
            yield puts(6000)[start : start + 250]

    async def send(_: Request) -> Reply:
        await clock.sleep(0.0078125)
        return BROKEN

    engine = make_engine(clock, send, policy=RetryPolicy(max_attempts=2, base_s=60.0, cap_s=60.0), random=lambda: 0.9)
    await engine.run(source(), settled.append, Stop())
    assert len(settled) == 6000
    assert max(ahead) <= 1024 + 250


async def test_the_source_is_closed_whatever_happens() -> None:
    clock = FakeClock()
    closed: list[bool] = []

    async def source() -> AsyncIterator[Sequence[Task]]:
        try:
            while True:
                yield puts(64)
        finally:
            closed.append(True)

    stop = Stop()
    engine = make_engine(clock, Server(clock).send)
    await engine.run(source(), lambda _: stop.request("enough"), stop)
    assert closed == [True]


async def test_an_error_of_the_source_is_raised_once_what_is_in_flight_has_settled() -> None:
    clock = FakeClock()

    async def source() -> AsyncIterator[Sequence[Task]]:
        yield puts(4)
        raise StateError("The disk is full.")

    settled: list[Settled] = []
    with pytest.raises(StateError, match="disk is full"):
        await make_engine(clock, Server(clock, latency=(1, 1)).send).run(source(), settled.append, Stop())
    assert len(settled) in {0, 4}


# --- fatal replies


async def fatal(send: Any, tasks: Sequence[Task], expected: type[BulkidError], **engine: Any) -> list[Settled]:
    clock = engine.pop("clock")
    settled: list[Settled] = []
    with pytest.raises(expected):
        await make_engine(clock, send, **engine).run(chunks(tasks), settled.append, Stop())
    return settled


async def test_a_missing_scope_ends_the_run_with_the_servers_words_and_no_task_is_called_failed() -> None:
    clock = FakeClock()
    server = Server(clock, answer=lambda _: FORBIDDEN)
    engine = make_engine(clock, server.send)
    settled: list[Settled] = []
    with pytest.raises(PermissionDeniedError, match=r"Expect to have 'PM\.RobotAccount'"):
        await engine.run(chunks(puts(500)), settled.append, Stop())
    assert settled == []
    assert len(server.arrivals) <= 16 + 2  # the first two could have been about one request alone


async def test_a_missing_scope_on_reading_is_an_answer() -> None:
    clock = FakeClock()
    engine = make_engine(clock, Server(clock, answer=lambda _: FORBIDDEN).send)
    assert [one.reply for one in await settle(engine, [Task(0, get(0))])] == [FORBIDDEN]


async def test_a_fatal_error_of_send_ends_the_run_after_what_is_in_flight_has_settled() -> None:
    clock = FakeClock()

    async def send(request: Request) -> Reply:
        if request == put(5):
            await clock.sleep(0.25)
            raise AuthenticationError("The secret is wrong.")
        await clock.sleep(3)
        return OK

    settled = await fatal(send, puts(100), AuthenticationError, clock=clock)
    assert {one.key for one in settled} == set(range(16)) - {5}
    assert clock.elapsed == 3


async def test_after_a_fatal_error_what_hangs_is_cancelled_when_the_grace_is_over() -> None:
    clock = FakeClock()

    async def send(request: Request) -> Reply:
        if request == put(5):
            raise AuthenticationError("The secret is wrong.")
        await clock.sleep(9 if request == put(1) else 3600)
        return OK

    settled = await fatal(send, puts(100), AuthenticationError, clock=clock)
    assert [one.key for one in settled] == [1]
    assert clock.elapsed == 10


async def test_a_server_never_reached_ends_the_run_in_seconds_with_every_task_pending() -> None:
    clock = FakeClock()
    server = Server(clock, answer=lambda _: NO_CONNECTION)
    assert await fatal(server.send, puts(500), ConnectionFailedError, clock=clock) == []
    assert 15 <= clock.elapsed < 16
    assert 17 < len(server.arrivals) < 60  # the first of each worker, and then one probe at a time


async def test_a_server_that_drops_every_connection_ends_the_run_with_every_task_pending() -> None:
    clock = FakeClock()
    server = Server(clock, answer=lambda _: LOST)
    engine: dict[str, Any] = {"clock": clock, "policy": RetryPolicy(max_attempts=2)}
    assert await fatal(server.send, puts(5000), ConnectionFailedError, **engine) == []
    assert clock.elapsed < 3
    assert len(server.arrivals) < 500


async def test_a_server_that_goes_away_for_too_long_ends_the_run_with_the_rest_pending() -> None:
    clock = FakeClock()
    server = Server(clock, answer=lambda _: OK if clock.elapsed < 1 else UNAVAILABLE)
    settled = await fatal(server.send, puts(2000), ConnectionFailedError, clock=clock, outage_limit_s=120.0)
    assert all(one.reply == OK for one in settled)
    assert 0 < len(settled) < 2000
    assert 120 < clock.elapsed < 123


async def test_an_error_of_the_settled_callback_ends_the_run() -> None:
    clock = FakeClock()
    told: list[Settled] = []

    def on_settled(one: Settled) -> None:
        told.append(one)
        raise InterruptedRunError("The disk is full.")

    with pytest.raises(InterruptedRunError):
        await make_engine(clock, Server(clock).send).run(chunks(puts(100)), on_settled, Stop())
    assert len(told) <= 16


async def test_a_fault_in_the_program_is_raised_as_it_is() -> None:
    async def send(_: Request) -> Reply:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await settle(make_engine(FakeClock(), send), puts(3))


async def test_a_ledger_that_fails_ends_the_run() -> None:
    clock = FakeClock()

    class Broken:
        async def exchange(self, *_: Any, **__: Any) -> Any:
            raise StateError("The database is locked.")

    engine = make_engine(clock, Server(clock).send, rules=[QuotaRule("PUT", 1, 1.0)], ledger=Broken())
    with pytest.raises(StateError):
        await settle(engine, puts(3))


async def test_when_the_ledger_fails_at_the_end_too_the_first_error_is_raised() -> None:
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    exchange = ledger.exchange

    async def send(_: Request) -> Reply:
        ledger.exchange = fails  # type: ignore[method-assign]
        raise AuthenticationError("The secret is wrong.")

    async def fails(*_: Any, **__: Any) -> Any:
        raise StateError("The disk is full.")

    engine = make_engine(clock, send, rules=[QuotaRule("PUT", 5, 60.0)], ledger=ledger)
    with pytest.raises(AuthenticationError):
        await settle(engine, puts(1))
    with pytest.raises(StateError):
        await engine.quota.flush()
    ledger.exchange = exchange  # type: ignore[method-assign]
    await engine.quota.flush()
    assert (await ledger.exchange([QuotaRule("PUT", 5, 60.0)], 0, [], [])).seconds_until_free == pytest.approx(60)


# --- stopping


async def stopped(
    clock: FakeClock, engine: Any, at: float, act: Callable[[Stop], None], count: int = 500
) -> list[Settled]:
    stop = Stop()
    settled: list[Settled] = []
    async with anyio.create_task_group() as group:

        async def later() -> None:
            await clock.sleep(at)
            act(stop)

        group.start_soon(later)
        await engine.run(chunks(puts(count)), settled.append, stop)
        group.cancel_scope.cancel()
    return settled


def gently(stop: Stop) -> None:
    stop.request("interrupted")


async def test_a_stop_takes_nothing_new_and_lets_settle_what_is_in_flight() -> None:
    clock = FakeClock()
    server = Server(clock, latency=(1, 1))
    settled = await stopped(clock, make_engine(clock, server.send), 5, gently)
    assert len(settled) == len(server.arrivals) == 48
    assert clock.elapsed == 6


async def test_a_stop_from_the_settled_callback_takes_effect_at_once() -> None:
    clock = FakeClock()
    server = Server(clock, latency=(1, 1))
    stop = Stop()
    settled: list[Settled] = []

    def on_settled(one: Settled) -> None:
        settled.append(one)
        stop.request("too many failures")

    await make_engine(clock, server.send, concurrency=4).run(chunks(puts(100)), on_settled, stop)
    assert len(settled) == 4
    assert len(server.arrivals) == 4
    assert stop.reason == "too many failures"


async def test_a_stop_also_reaches_a_waiter_that_was_just_notified() -> None:
    clock = FakeClock()
    server = Server(clock)
    stop = Stop()
    tasks = [Task(0, put(0)), Task(1, get(1))]  # the second waits for the first to make room
    await make_engine(clock, server.send, concurrency=1).run(chunks(tasks), lambda _: stop.request("enough"), stop)
    assert len(server.arrivals) == 1


@pytest.mark.parametrize(
    ("answer", "rules"),
    [
        (Reply(ReplyKind.THROTTLED, 429, retry_after=3600.0), []),
        (THROTTLED, []),
        (BROKEN, []),
        (OK, [QuotaRule("PUT", 2, 3600.0)]),
    ],
    ids=["retry-after", "throttled", "delayed", "quota"],
)
async def test_a_stop_while_everything_waits_ends_at_once(answer: Reply, rules: list[QuotaRule]) -> None:
    clock = FakeClock()
    server = Server(clock, latency=(0, 0), answer=lambda _: answer)
    policy = RetryPolicy(base_s=3600, cap_s=3600, budget_s=1e9)
    engine = make_engine(clock, server.send, rules=rules, policy=policy, random=lambda: 0.9)
    await stopped(clock, engine, 50, gently, count=10)
    assert clock.elapsed == 50
    assert server.in_flight == []


async def test_a_stop_before_the_start_sends_nothing() -> None:
    clock = FakeClock()
    taken: list[bool] = []

    async def source() -> AsyncIterator[Sequence[Task]]:
        taken.append(True)
        yield puts(10)

    stop = Stop()
    stop.request("interrupted")
    server = Server(clock)
    await make_engine(clock, server.send).run(source(), lambda _: None, stop)
    assert server.arrivals == []
    assert taken == []  # whoever hands out tasks journals them as perhaps sent


async def test_when_the_grace_is_over_what_hangs_is_cancelled_and_not_reported() -> None:
    clock = FakeClock()
    server = Server(clock, latency=(3600, 3600))
    assert await stopped(clock, make_engine(clock, server.send), 5, gently) == []
    assert clock.elapsed == 15
    assert server.in_flight == []


async def test_the_grace_can_be_set() -> None:
    clock = FakeClock()
    server = Server(clock, latency=(3600, 3600))
    await stopped(clock, make_engine(clock, server.send, grace_s=2.5), 5, gently)
    assert clock.elapsed == 7.5


async def test_an_abort_cancels_what_is_in_flight_and_keeps_what_had_settled() -> None:
    clock = FakeClock()
    server = Server(clock, latency=(1, 1))
    settled = await stopped(clock, make_engine(clock, server.send), 5, Stop.abort)
    assert len(settled) == 32
    assert clock.elapsed == 5
    assert server.in_flight == []


async def test_an_abort_during_the_grace_ends_it() -> None:
    clock = FakeClock()
    server = Server(clock, latency=(3600, 3600))
    engine = make_engine(clock, server.send)
    stop = Stop()
    async with anyio.create_task_group() as group:

        async def later() -> None:
            await clock.sleep(5)
            stop.request("interrupted")
            await clock.sleep(3)
            stop.abort()

        group.start_soon(later)
        await engine.run(chunks(puts(100)), lambda _: None, stop)
    assert clock.elapsed == 8
    assert stop.reason == "interrupted"


async def test_slots_of_cancelled_requests_stay_taken_for_a_window_since_the_server_may_have_counted_them() -> None:
    clock = FakeClock()
    rule = QuotaRule("PUT", 4, 60.0)
    server = Server(clock, latency=(3600, 3600))
    engine = make_engine(clock, server.send, rules=[rule])
    await stopped(clock, engine, 5, Stop.abort)
    assert engine.quota.remaining("PUT") == 0
    assert engine.quota.seconds_until_free("PUT") == pytest.approx(60)


@pytest.mark.parametrize("earlier", [0, 3])
async def test_a_stop_while_a_chunk_is_being_made_sends_nothing_of_it(earlier: int) -> None:
    """A source may have to finish what it has begun (the journal is being written): its chunk then comes too late."""
    clock, stop = FakeClock(), Stop()
    server = Server(clock)

    async def source() -> AsyncIterator[Sequence[Task]]:
        if earlier:
            yield puts(earlier)
        with anyio.CancelScope(shield=True):
            await clock.sleep(5)
        yield puts(10)[earlier:]

    async def soon() -> None:
        await clock.sleep(2)
        stop.request("interrupted")

    settled: list[Settled] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(soon)
        await make_engine(clock, server.send).run(source(), settled.append, stop)
    assert len(settled) == earlier


async def test_a_stop_does_not_wait_for_a_source_that_hangs() -> None:
    clock = FakeClock()

    async def source() -> AsyncIterator[Sequence[Task]]:
        yield puts(3)
        await clock.sleep(3600)

    stop = Stop()
    settled: list[Settled] = []
    async with anyio.create_task_group() as group:

        async def later() -> None:
            await clock.sleep(5)
            stop.request("interrupted")

        group.start_soon(later)
        await make_engine(clock, Server(clock).send).run(source(), settled.append, stop)
    assert len(settled) == 3
    assert clock.elapsed == 5


async def test_a_cancelled_run_leaves_nothing_behind() -> None:
    clock = FakeClock()
    rule = QuotaRule("PUT", 40, 60.0)
    server = Server(clock, latency=(1, 1))
    engine = make_engine(clock, server.send, rules=[rule])
    async with anyio.create_task_group() as group:
        group.start_soon(settle, engine, puts(100))
        await clock.sleep(3)
        group.cancel_scope.cancel()
    assert server.in_flight == []
    assert engine.stats.in_flight == 0
    assert engine.quota.remaining("PUT") == 40 - 32


# --- everything at once


KINDS = st.sampled_from(
    [OK, OK, OK, REFUSED, BROKEN, LOST, NOT_JSON, THROTTLED, UNAVAILABLE, NO_CONNECTION, UNAUTHORIZED]
)


@settings(max_examples=examples(40, soak=1000), deadline=None)
@given(
    replies=st.lists(st.lists(KINDS, min_size=1, max_size=6), min_size=1, max_size=12),
    sizes=st.tuples(st.integers(0, 40), st.integers(1, 8), st.integers(1, 10)),
    quota=st.none() | st.integers(1, 5),
    stop_at=st.none() | st.floats(0, 30),
)
def test_whatever_comes_back_each_task_is_settled_once_or_not_at_all_and_nothing_hangs(
    replies: list[list[Reply]], sizes: tuple[int, int, int], quota: int | None, stop_at: float | None
) -> None:
    count, concurrency, size = sizes
    clock = FakeClock()
    scripts = {put(number).path: [*replies[number % len(replies)], OK] for number in range(count)}
    send = script(clock, scripts)
    rules = [] if quota is None else [QuotaRule("PUT", quota, 4.0)]
    settled: list[Settled] = []

    async def play() -> Any:
        patient: dict[str, Any] = {"policy": RetryPolicy(max_attempts=99), "outage_limit_s": 1e6}
        engine = make_engine(clock, send, concurrency=concurrency, rules=rules, **patient)
        await engine.call(get(0))
        stop = Stop()
        async with anyio.create_task_group() as group:

            async def later() -> None:
                if stop_at is not None:
                    await clock.sleep(stop_at)
                    stop.request("interrupted")

            group.start_soon(later)
            await engine.run(chunks(puts(count), size), settled.append, stop)
            group.cancel_scope.cancel()
        return engine

    engine = run(play)
    by_key = defaultdict(list)
    for one in settled:
        by_key[one.key].append(one)
    assert all(len(ones) == 1 for ones in by_key.values())
    if stop_at is None:
        assert set(by_key) == set(range(count))
    for one in settled:
        assert one.reply.kind in {ReplyKind.OK, ReplyKind.REFUSED}
    assert engine.stats.in_flight == 0
    assert engine.stats.settled == len(settled)
