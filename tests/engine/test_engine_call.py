"""`Engine.call`: a single request passes the same quota, circuit breaker, rate and retry as a task."""

from typing import Any

import anyio
import pytest

from bulkid.engine.engine import CALL_KEY
from bulkid.engine.retry import RetryPolicy
from bulkid.engine.signals import Stop
from bulkid.engine.task import Settled
from bulkid.errors import AuthenticationError, ConnectionFailedError, PermissionDeniedError
from bulkid.model import QuotaRule, Reply, ReplyKind, Request
from tests.support.engine_world import (
    BROKEN,
    FORBIDDEN,
    NO_CONNECTION,
    OK,
    THROTTLED,
    Server,
    chunks,
    get,
    make_engine,
    put,
    puts,
)
from tests.support.fake_clock import WALL_START, FakeClock
from tests.support.memory_ledger import MemoryLedger


def scripted(clock: FakeClock, *replies: Reply) -> Any:
    left = list(replies)

    async def send(_: Request) -> Reply:
        await clock.sleep(0.25)
        return left.pop(0) if len(left) > 1 else left[0]

    return send


async def test_a_call_gives_its_reply() -> None:
    clock = FakeClock()
    settled = await make_engine(clock, scripted(clock, OK)).call(get(1))
    assert settled == Settled(CALL_KEY, OK, 1, maybe_applied=False, finished_at=WALL_START + 0.25)


async def test_a_call_is_tried_again_like_any_task() -> None:
    clock = FakeClock()
    engine = make_engine(clock, scripted(clock, THROTTLED, BROKEN, NO_CONNECTION, BROKEN, OK))
    settled = await engine.call(get(1))
    assert (settled.reply, settled.attempts) == (OK, 3)
    assert engine.stats.retries == 4
    assert engine.stats.throttled == 1
    assert engine.stats.sent["GET"] == 4  # one never left
    assert engine.stats.settled == 0


async def test_a_call_gives_up_and_waits_as_the_policy_says() -> None:
    clock = FakeClock()
    policy = RetryPolicy(max_attempts=3, base_s=8.0)
    settled = await make_engine(clock, scripted(clock, BROKEN), policy=policy, random=lambda: 0.5).call(put(1))
    assert (settled.reply, settled.attempts, settled.maybe_applied) == (BROKEN, 3, True)
    assert clock.elapsed == 4 + 8 + 3 * 0.25


async def test_waits_count_against_the_budget_of_a_call() -> None:
    clock = FakeClock()
    policy = RetryPolicy(max_attempts=10**6, base_s=4.0, cap_s=4.0, budget_s=20.0)
    settled = await make_engine(clock, scripted(clock, BROKEN), policy=policy, random=lambda: 0.5).call(put(1))
    assert settled.attempts == 9  # 9 x 0.25 s in flight and 8 x 2 s of waiting; another wait would be too much


async def test_a_missing_scope_is_an_answer_when_reading_and_fatal_when_writing() -> None:
    clock = FakeClock()
    engine = make_engine(clock, scripted(clock, FORBIDDEN))
    assert (await engine.call(get(1))).reply == FORBIDDEN
    for method in ("PUT", "POST", "DELETE"):
        with pytest.raises(PermissionDeniedError):
            await engine.call(Request(method, "api/RobotAccount"))


async def test_a_fatal_error_of_send_goes_straight_through_and_leaves_nothing_behind() -> None:
    clock = FakeClock()

    async def send(_: Request) -> Reply:
        raise AuthenticationError("The secret is wrong.")

    engine = make_engine(clock, send, rules=[QuotaRule("GET", 5, 60.0)])
    with pytest.raises(AuthenticationError):
        await engine.call(get(1))
    assert engine.stats.in_flight == 0
    assert engine.quota.remaining("GET") == 4


async def test_a_fatal_error_before_a_request_leaves_counts_no_request_and_takes_no_slot() -> None:
    clock = FakeClock()

    async def send(_: Request) -> Reply:
        error = AuthenticationError("The secret is wrong.")
        error.request_was_sent = False
        raise error

    engine = make_engine(clock, send, rules=[QuotaRule("GET", 5, 60.0)])
    with pytest.raises(AuthenticationError):
        await engine.call(get(1))
    assert engine.stats.sent["GET"] == 0
    assert engine.stats.responses() == {"GET": {}}
    assert (await engine.quota._ledger.exchange([QuotaRule("GET", 5, 60.0)], 0, (), ())).used == 0


async def test_a_server_that_answers_for_the_token_is_not_said_to_be_out_of_reach() -> None:
    clock = FakeClock()
    error = "No access token at present: 503 Service Unavailable"
    no_token = Reply(ReplyKind.NO_CONNECTION, 503, error=error, for_token=True)
    engine = make_engine(clock, Server(clock, answer=lambda _: no_token).send)
    with pytest.raises(ConnectionFailedError) as failed:
        await engine.call(get(1))
    assert str(failed.value) == (
        f"The server has taken no requests for 600 seconds: {error}. Check the address, and that the server is up."
    )


async def test_a_server_that_answers_for_the_token_as_none_that_is_only_away_may_be_a_wrong_address() -> None:
    clock = FakeClock()
    no_token = Reply(ReplyKind.NO_CONNECTION, 500, error="Some page", for_token=True)
    engine = make_engine(clock, Server(clock, answer=lambda _: no_token).send)
    with pytest.raises(ConnectionFailedError) as failed:
        await engine.call(get(1))
    assert str(failed.value) == "Some page. Check the address, and that the server is up."
    assert clock.elapsed < 30


async def test_all_calls_end_when_the_server_is_never_reached() -> None:
    clock = FakeClock()
    engine = make_engine(clock, Server(clock, answer=lambda _: NO_CONNECTION).send)
    failed: list[str] = []

    async def one(number: int) -> None:
        try:
            await engine.call(get(number))
        except ConnectionFailedError as error:
            failed.append(error.message)

    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(one, number)
    assert failed == ["The server cannot be reached: connection refused"] * 40
    assert clock.elapsed < 16


async def test_many_calls_at_once_keep_the_concurrency() -> None:
    clock = FakeClock()
    server = Server(clock, latency=(0.25, 0.25))
    engine = make_engine(clock, server.send, concurrency=4)
    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(engine.call, get(number))
    assert server.most_in_flight == 4
    assert clock.elapsed == 5.0
    assert [request.path for _, request, _ in server.arrivals] == [get(number).path for number in range(40)]


async def test_calls_and_a_run_share_the_concurrency_and_neither_starves() -> None:
    clock = FakeClock()
    server = Server(clock, latency=(0.25, 0.25))
    engine = make_engine(clock, server.send, concurrency=4)
    ended: list[float] = []

    async def call(number: int) -> None:
        await engine.call(get(number))
        ended.append(clock.elapsed)

    settled: list[Settled] = []
    async with anyio.create_task_group() as group:
        group.start_soon(engine.run, chunks(puts(80)), settled.append, Stop())
        await clock.sleep(2.1)
        for number in range(8):
            group.start_soon(call, number)
    assert server.most_in_flight == 4
    assert len(settled) == 80
    assert max(ended) <= 4
    assert clock.elapsed == 88 / 4 * 0.5


async def test_a_notified_call_whose_quota_is_used_up_lets_the_next_one_go_first() -> None:
    clock = FakeClock()
    server = Server(clock, latency=(0.25, 0.25))
    engine = make_engine(clock, server.send, concurrency=1, rules=[QuotaRule("PUT", 1, 60.0)])
    await engine.call(put(0))
    async with anyio.create_task_group() as group:
        for request in (get(1), put(1), get(2)):
            group.start_soon(engine.call, request)
            await clock.sleep(0)
    assert [request for _, request, _ in server.arrivals] == [put(0), get(1), get(2), put(1)]
    assert server.arrivals[2][0] == 1.25
    assert server.arrivals[3][0] == pytest.approx(60.75)


async def test_calls_that_are_cancelled_while_they_wait_for_capacity_leave_it_to_others() -> None:
    clock = FakeClock()
    server = Server(clock, latency=(0.25, 0.25))
    engine = make_engine(clock, server.send, concurrency=1)
    async with anyio.create_task_group() as group:
        group.start_soon(engine.call, get(0))
        async with anyio.create_task_group() as waiting:
            for number in range(1, 4):
                waiting.start_soon(engine.call, get(number))
            await clock.sleep(0.3)
            waiting.cancel_scope.cancel()
        group.start_soon(engine.call, get(9))
    assert [request.path for _, request, _ in server.arrivals] == [get(0).path, get(9).path]
    assert clock.elapsed == 1.0


@pytest.mark.parametrize("delay", [0.4999, 0.5, 0.5001])
async def test_a_call_cancelled_just_as_it_is_notified_notifies_the_next(delay: float) -> None:
    clock = FakeClock()
    server = Server(clock, latency=(0.25, 0.25))
    engine = make_engine(clock, server.send, concurrency=1)
    async with anyio.create_task_group() as group:
        group.start_soon(engine.call, get(0))
        await clock.sleep(0)
        scope = anyio.CancelScope()

        async def cancelled() -> None:
            with scope:
                await engine.call(get(1))

        group.start_soon(cancelled)
        await clock.sleep(0)
        group.start_soon(engine.call, get(2))
        await clock.sleep(delay)
        scope.cancel()
    assert clock.elapsed <= 1.5
    assert get(2) in [request for _, request, _ in server.arrivals]


async def test_calls_keep_the_quota_and_report_to_the_ledger_when_the_last_is_done() -> None:
    clock = FakeClock()
    rule = QuotaRule("GET", 3, 10.0)
    ledger = MemoryLedger(clock)
    server = Server(clock, limits=[rule])
    engine = make_engine(clock, server.send, rules=[rule], ledger=ledger)
    async with anyio.create_task_group() as group:
        for number in range(7):
            group.start_soon(engine.call, get(number))
    assert set(server.kinds()) == {ReplyKind.OK}
    assert 20 <= clock.elapsed <= 21
    await clock.sleep(4)
    lease = await ledger.exchange([rule], 0, [], [])
    assert lease.seconds_until_free == pytest.approx(6, abs=0.3)


async def test_a_cancelled_call_ends_at_once_and_its_slot_stays_taken_for_a_window() -> None:
    clock = FakeClock()
    rule = QuotaRule("GET", 3, 10.0)
    ledger = MemoryLedger(clock)
    server = Server(clock, latency=(3600, 3600))
    engine = make_engine(clock, server.send, rules=[rule], ledger=ledger)
    async with anyio.create_task_group() as group:
        group.start_soon(engine.call, get(0))
        await clock.sleep(2)
        group.cancel_scope.cancel()
    assert clock.elapsed == 2
    assert server.in_flight == []
    lease = await ledger.exchange([rule], 0, [], [])
    assert (lease.used, lease.seconds_until_free) == (1, pytest.approx(10))


async def test_leaving_the_engine_reports_to_the_ledger() -> None:
    clock = FakeClock()
    rule = QuotaRule("GET", 3, 10.0)
    ledger = MemoryLedger(clock)
    async with make_engine(clock, Server(clock).send, rules=[rule], ledger=ledger) as engine:
        await engine.quota.wait("GET")
    assert (await ledger.exchange([rule], 0, [], [])).used == 0


async def test_an_engine_that_could_send_nothing_is_refused() -> None:
    clock = FakeClock()
    for wrong in ({"concurrency": 0}, {"rate": 0.0}, {"rate": -1.0}):
        with pytest.raises(ValueError, match="above zero"):
            make_engine(clock, Server(clock).send, **wrong)
