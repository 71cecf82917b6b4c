"""The circuit breaker by itself: opened by one refusal, closed by one probe, and not confused by stale replies."""

import anyio
import pytest

from bulkid.engine.circuit_breaker import CircuitBreaker
from bulkid.errors import ConnectionFailedError
from bulkid.model import Reply, ReplyKind
from tests.support.engine_world import (
    BROKEN,
    LOST,
    NO_CONNECTION,
    NOT_JSON,
    OK,
    REFUSED,
    THROTTLED,
    UNAUTHORIZED,
    UNAVAILABLE,
)
from tests.support.fake_clock import FakeClock

PASSING = [OK, REFUSED, UNAUTHORIZED, BROKEN, LOST, NOT_JSON, Reply(ReplyKind.FORBIDDEN, 403)]


class Chance:
    """Jitter as the test wants it."""

    def __init__(self, value: float = 0.5) -> None:
        self.value = value

    def __call__(self) -> float:
        return self.value


def open_breaker(clock: FakeClock, reply: Reply, chance: Chance | None = None) -> CircuitBreaker:
    breaker = CircuitBreaker(clock, chance or Chance())
    breaker.response_received(breaker.request_started(), OK)
    breaker.response_received(breaker.request_started(), reply)
    assert not breaker.closed
    return breaker


async def probe(breaker: CircuitBreaker, reply: Reply | None) -> None:
    assert await breaker.wait_for_permission("PUT")
    ticket = breaker.request_started()
    breaker.cancel_wait("PUT")
    breaker.response_received(ticket, reply)


async def keep_probing(breaker: CircuitBreaker, reply: Reply) -> None:
    while True:
        await probe(breaker, reply)


@pytest.mark.parametrize("reply", PASSING, ids=lambda reply: reply.kind)
async def test_a_reply_that_shows_the_server_takes_requests_leaves_the_breaker_closed_and_closes_it(
    reply: Reply,
) -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock, Chance())
    breaker.response_received(breaker.request_started(), reply)
    assert breaker.closed
    assert breaker.seconds_until_free() is None
    assert await breaker.wait_for_permission("PUT") is False
    breaker = open_breaker(clock, THROTTLED)
    await probe(breaker, reply)
    assert breaker.closed


@pytest.mark.parametrize("reply", [THROTTLED, UNAVAILABLE, NO_CONNECTION], ids=lambda reply: reply.kind)
async def test_without_retry_after_waits_double_with_full_jitter_up_to_a_minute_and_begin_again_after_a_success(
    reply: Reply,
) -> None:
    clock, chance = FakeClock(), Chance(0.5)
    breaker = open_breaker(clock, reply, chance)
    for longest in (0.5, 1, 2, 4, 8, 16, 32, 60, 60):
        assert breaker.seconds_until_free() == pytest.approx(longest / 2)
        begun = clock.elapsed
        await probe(breaker, reply)
        assert clock.elapsed - begun == pytest.approx(longest / 2)
    await probe(breaker, OK)
    breaker.response_received(breaker.request_started(), reply)
    assert breaker.seconds_until_free() == pytest.approx(0.25)
    chance.value = 0.0
    await probe(breaker, reply)
    assert breaker.seconds_until_free() == 0.0


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("kind", [ReplyKind.THROTTLED, ReplyKind.UNAVAILABLE])
async def test_retry_after_is_obeyed_in_full_and_wins_over_the_cap(kind: ReplyKind, jitter: float) -> None:
    clock = FakeClock()
    breaker = open_breaker(clock, Reply(kind, retry_after=300.0), Chance(jitter))
    seconds_until_free = breaker.seconds_until_free()
    assert seconds_until_free is not None
    assert 300 < seconds_until_free <= 300.25
    await probe(breaker, Reply(kind, retry_after=2.0))
    assert clock.elapsed > 300
    seconds_until_free = breaker.seconds_until_free()
    assert seconds_until_free is not None
    assert 2 < seconds_until_free <= 2.25


async def test_a_retry_after_of_nothing_waits_as_if_there_were_none() -> None:
    breaker = open_breaker(FakeClock(), Reply(ReplyKind.THROTTLED, 429, retry_after=0.0))
    assert breaker.seconds_until_free() == pytest.approx(0.25)


async def test_replies_that_were_under_way_when_it_opened_neither_double_the_wait_nor_close_it() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock, Chance(0.5))
    tickets = [breaker.request_started() for _ in range(10)]
    for ticket in tickets[:5]:
        breaker.response_received(ticket, THROTTLED)
    assert breaker.seconds_until_free() == pytest.approx(0.25)
    for ticket in tickets[5:7]:
        breaker.response_received(ticket, OK)
    assert not breaker.closed
    await probe(breaker, OK)
    breaker.response_received(tickets[7], THROTTLED)
    assert breaker.closed  # stale: it left before the breaker last opened
    breaker.response_received(breaker.request_started(), THROTTLED)
    breaker.response_received(tickets[8], THROTTLED)
    assert breaker.seconds_until_free() == pytest.approx(0.25)


@pytest.mark.parametrize("when", ["open", "probing", "closed"])
async def test_retry_after_in_a_late_reply_is_obeyed_and_does_not_double_the_wait(when: str) -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock, Chance(0.5))
    first, late, shorter = breaker.request_started(), breaker.request_started(), breaker.request_started()
    breaker.response_received(first, THROTTLED)
    if when == "open":
        breaker.response_received(late, Reply(ReplyKind.THROTTLED, 429, retry_after=30.0))
    elif when == "probing":
        await breaker.wait_for_permission("PUT")
        ticket = breaker.request_started()
        breaker.cancel_wait("PUT")
        breaker.response_received(late, Reply(ReplyKind.THROTTLED, 429, retry_after=30.0))
        breaker.response_received(ticket, OK)
    else:
        await probe(breaker, OK)
        breaker.response_received(late, Reply(ReplyKind.THROTTLED, 429, retry_after=30.0))
    assert breaker.seconds_until_free() == pytest.approx(30.13)
    breaker.response_received(shorter, Reply(ReplyKind.THROTTLED, 429, retry_after=3.0))
    assert breaker.seconds_until_free() == pytest.approx(30.13)
    await probe(breaker, THROTTLED)
    assert breaker.seconds_until_free() == pytest.approx(0.5 if when == "open" else 0.25)


async def test_a_late_retry_after_holds_also_when_the_probe_is_refused_without_one() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock, Chance(0.5))
    first, late = breaker.request_started(), breaker.request_started()
    breaker.response_received(first, THROTTLED)
    await breaker.wait_for_permission("PUT")
    ticket = breaker.request_started()
    breaker.cancel_wait("PUT")
    breaker.response_received(late, Reply(ReplyKind.THROTTLED, 429, retry_after=30.0))
    breaker.response_received(ticket, THROTTLED)
    assert breaker.seconds_until_free() == pytest.approx(30.13)


async def test_exactly_one_request_probes_and_a_probe_that_comes_to_nothing_lets_another_probe() -> None:
    clock = FakeClock()
    breaker = open_breaker(clock, THROTTLED)
    probing: list[float] = []

    async def worker() -> None:
        while await breaker.wait_for_permission("PUT"):
            probing.append(clock.elapsed)
            ticket = breaker.request_started()
            breaker.cancel_wait("PUT")
            await clock.sleep(1)
            breaker.response_received(ticket, None if len(probing) < 3 else OK)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(worker)
    assert probing == [0.25, 1.25, 2.25]


async def test_a_claim_that_is_not_used_goes_to_the_next() -> None:
    clock = FakeClock()
    breaker = open_breaker(clock, THROTTLED)
    assert await breaker.wait_for_permission("PUT")
    async with anyio.create_task_group() as group:
        group.start_soon(breaker.wait_for_permission, "PUT")
        await clock.sleep(5)
        breaker.cancel_wait("PUT")
    assert clock.elapsed == 5.25
    assert not breaker.closed


async def test_a_method_that_waits_for_its_quota_does_not_keep_another_from_probing() -> None:
    clock = FakeClock()
    breaker = open_breaker(clock, THROTTLED)
    assert await breaker.wait_for_permission("PUT")
    assert await breaker.wait_for_permission("GET")
    ticket = breaker.request_started()
    breaker.cancel_wait("GET")
    breaker.cancel_wait("PUT")
    async with anyio.create_task_group() as group:
        group.start_soon(breaker.wait_for_permission, "PUT")  # waits for the probe, and then for the longer time
        await clock.sleep(2)
        breaker.response_received(ticket, THROTTLED)
    assert clock.elapsed == pytest.approx(0.25 + 2 + 0.5)


async def test_when_a_probe_comes_to_nothing_another_goes_at_once() -> None:
    clock = FakeClock()
    breaker = open_breaker(clock, THROTTLED)
    await breaker.wait_for_permission("PUT")
    ticket = breaker.request_started()
    breaker.cancel_wait("PUT")
    async with anyio.create_task_group() as group:
        group.start_soon(probe, breaker, OK)
        await clock.sleep(7)
        breaker.response_received(ticket, None)
    assert clock.elapsed == 7.25
    assert breaker.closed


@pytest.mark.parametrize("reply", [UNAVAILABLE, NO_CONNECTION], ids=lambda reply: reply.kind)
async def test_a_server_that_stays_away_for_longer_than_the_limit_ends_it_with_its_last_words(reply: Reply) -> None:
    clock = FakeClock()
    breaker = open_breaker(clock, reply, Chance(0.9))
    with pytest.raises(ConnectionFailedError, match=reply.error):
        await keep_probing(breaker, reply)
    assert clock.elapsed == pytest.approx(600)
    with pytest.raises(ConnectionFailedError):
        await breaker.wait_for_permission("PUT")


async def test_a_server_never_reached_ends_it_sooner() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock, Chance(0.5))
    breaker.response_received(breaker.request_started(), NO_CONNECTION)
    with pytest.raises(ConnectionFailedError, match="cannot be reached: connection refused"):
        await keep_probing(breaker, NO_CONNECTION)
    assert clock.elapsed == pytest.approx(15)


async def test_it_looks_once_more_before_it_gives_up() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock, Chance(0.999))
    breaker.response_received(breaker.request_started(), NO_CONNECTION)
    while clock.elapsed < 7.4:
        await probe(breaker, NO_CONNECTION)
    await probe(breaker, OK)  # the next wait would end after the limit
    assert clock.elapsed == pytest.approx(15)
    assert breaker.closed


async def test_requests_that_vanish_before_any_answer_end_it_sooner_too() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock, Chance())
    for _ in range(3):
        ticket = breaker.request_started()
        await clock.sleep(4)
        breaker.response_received(ticket, LOST)
    ticket = breaker.request_started()
    await clock.sleep(3)
    with pytest.raises(ConnectionFailedError, match="cannot be reached: the connection was reset"):
        breaker.response_received(ticket, LOST)


async def test_a_few_slow_first_requests_that_vanish_are_no_proof() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock, Chance())
    for _ in range(2):
        ticket = breaker.request_started()
        await clock.sleep(30)
        breaker.response_received(ticket, LOST)
    breaker.response_received(breaker.request_started(), OK)
    for _ in range(20):
        breaker.response_received(breaker.request_started(), LOST)
    assert breaker.closed


async def test_a_503_is_an_answer_so_the_longer_limit_holds() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock, Chance(0.5))
    breaker.response_received(breaker.request_started(), UNAVAILABLE)
    with pytest.raises(ConnectionFailedError, match="no requests for 600 seconds: down for maintenance"):
        await keep_probing(breaker, UNAVAILABLE)
    assert clock.elapsed == pytest.approx(600)


async def test_retry_after_beyond_the_limit_is_not_waited_for() -> None:
    clock = FakeClock()
    breaker = open_breaker(clock, Reply(ReplyKind.UNAVAILABLE, 503, retry_after=7200.0, error="back at noon"))
    with pytest.raises(ConnectionFailedError, match="back at noon"):
        await breaker.wait_for_permission("PUT")
    assert clock.elapsed == 600


async def test_throttling_never_ends_it() -> None:
    clock = FakeClock()
    breaker = open_breaker(clock, THROTTLED, Chance(0.99))
    while clock.elapsed < 7200:
        await probe(breaker, THROTTLED)
    assert not breaker.closed


@pytest.mark.parametrize("alive", [OK, THROTTLED], ids=lambda reply: reply.kind)
async def test_any_sign_of_life_begins_the_limit_anew(alive: Reply) -> None:
    clock = FakeClock()
    breaker = open_breaker(clock, UNAVAILABLE, Chance(0.9))
    while clock.elapsed < 500:
        await probe(breaker, UNAVAILABLE)
    await probe(breaker, alive)
    begun = clock.elapsed
    if breaker.closed:
        breaker.response_received(breaker.request_started(), UNAVAILABLE)
    with pytest.raises(ConnectionFailedError):
        await keep_probing(breaker, UNAVAILABLE)
    assert clock.elapsed - begun >= 600


async def test_a_quiet_time_between_two_outages_is_no_part_of_either() -> None:
    clock = FakeClock()
    breaker = open_breaker(clock, UNAVAILABLE)
    await probe(breaker, OK)
    await clock.sleep(5000)
    breaker.response_received(breaker.request_started(), UNAVAILABLE)
    await probe(breaker, OK)
    assert breaker.closed


async def test_a_late_success_begins_the_limit_anew_too() -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(clock, Chance(0.9))
    late = breaker.request_started()
    breaker.response_received(breaker.request_started(), UNAVAILABLE)
    await clock.sleep(300)
    breaker.response_received(late, OK)
    with pytest.raises(ConnectionFailedError):
        await keep_probing(breaker, UNAVAILABLE)
    assert clock.elapsed == pytest.approx(900)


async def test_closing_is_announced_each_time() -> None:
    clock = FakeClock()
    closings: list[float] = []
    breaker = CircuitBreaker(clock, Chance(), on_open=lambda: closings.append(clock.elapsed))
    breaker.response_received(breaker.request_started(), THROTTLED)
    await probe(breaker, THROTTLED)
    await probe(breaker, OK)
    assert closings == [0.0, 0.25]
