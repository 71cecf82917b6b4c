"""The gate by itself: closed by one refusal, opened by one probe, and not confused by old news."""

import anyio
import pytest

from bulkid.engine import Gate
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


def closed_gate(clock: FakeClock, reply: Reply, chance: Chance | None = None) -> Gate:
    gate = Gate(clock, chance or Chance())
    gate.arrive(gate.depart(), OK)
    gate.arrive(gate.depart(), reply)
    assert not gate.open
    return gate


async def probe(gate: Gate, reply: Reply | None) -> None:
    assert await gate.approach("PUT")
    ticket = gate.depart()
    gate.leave("PUT")
    gate.arrive(ticket, reply)


async def keep_probing(gate: Gate, reply: Reply) -> None:
    while True:
        await probe(gate, reply)


@pytest.mark.parametrize("reply", PASSING, ids=lambda reply: reply.kind)
async def test_a_reply_that_shows_the_server_takes_requests_leaves_the_gate_open_and_opens_it(reply: Reply) -> None:
    clock = FakeClock()
    gate = Gate(clock, Chance())
    gate.arrive(gate.depart(), reply)
    assert gate.open
    assert gate.opens_in() is None
    assert await gate.approach("PUT") is False
    gate = closed_gate(clock, THROTTLED)
    await probe(gate, reply)
    assert gate.open


@pytest.mark.parametrize("reply", [THROTTLED, UNAVAILABLE, NO_CONNECTION], ids=lambda reply: reply.kind)
async def test_without_retry_after_waits_double_with_full_jitter_up_to_a_minute_and_begin_again_after_a_pass(
    reply: Reply,
) -> None:
    clock, chance = FakeClock(), Chance(0.5)
    gate = closed_gate(clock, reply, chance)
    for longest in (0.5, 1, 2, 4, 8, 16, 32, 60, 60):
        assert gate.opens_in() == pytest.approx(longest / 2)
        begun = clock.elapsed
        await probe(gate, reply)
        assert clock.elapsed - begun == pytest.approx(longest / 2)
    await probe(gate, OK)
    gate.arrive(gate.depart(), reply)
    assert gate.opens_in() == pytest.approx(0.25)
    chance.value = 0.0
    await probe(gate, reply)
    assert gate.opens_in() == 0.0


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("kind", [ReplyKind.THROTTLED, ReplyKind.UNAVAILABLE])
async def test_retry_after_is_obeyed_in_full_and_wins_over_the_cap(kind: ReplyKind, jitter: float) -> None:
    clock = FakeClock()
    gate = closed_gate(clock, Reply(kind, retry_after=300.0), Chance(jitter))
    opens_in = gate.opens_in()
    assert opens_in is not None
    assert 300 < opens_in <= 300.25
    await probe(gate, Reply(kind, retry_after=2.0))
    assert clock.elapsed > 300
    opens_in = gate.opens_in()
    assert opens_in is not None
    assert 2 < opens_in <= 2.25


async def test_a_retry_after_of_nothing_waits_as_if_there_were_none() -> None:
    gate = closed_gate(FakeClock(), Reply(ReplyKind.THROTTLED, 429, retry_after=0.0))
    assert gate.opens_in() == pytest.approx(0.25)


async def test_replies_that_were_under_way_when_it_closed_neither_double_the_wait_nor_open_it() -> None:
    clock = FakeClock()
    gate = Gate(clock, Chance(0.5))
    tickets = [gate.depart() for _ in range(10)]
    for ticket in tickets[:5]:
        gate.arrive(ticket, THROTTLED)
    assert gate.opens_in() == pytest.approx(0.25)
    for ticket in tickets[5:7]:
        gate.arrive(ticket, OK)
    assert not gate.open
    await probe(gate, OK)
    gate.arrive(tickets[7], THROTTLED)
    assert gate.open  # old news: it left before the gate last closed
    gate.arrive(gate.depart(), THROTTLED)
    gate.arrive(tickets[8], THROTTLED)
    assert gate.opens_in() == pytest.approx(0.25)


@pytest.mark.parametrize("when", ["closed", "probing", "open"])
async def test_retry_after_in_a_late_reply_is_obeyed_and_does_not_double_the_wait(when: str) -> None:
    clock = FakeClock()
    gate = Gate(clock, Chance(0.5))
    first, late, shorter = gate.depart(), gate.depart(), gate.depart()
    gate.arrive(first, THROTTLED)
    if when == "closed":
        gate.arrive(late, Reply(ReplyKind.THROTTLED, 429, retry_after=30.0))
    elif when == "probing":
        await gate.approach("PUT")
        ticket = gate.depart()
        gate.leave("PUT")
        gate.arrive(late, Reply(ReplyKind.THROTTLED, 429, retry_after=30.0))
        gate.arrive(ticket, OK)
    else:
        await probe(gate, OK)
        gate.arrive(late, Reply(ReplyKind.THROTTLED, 429, retry_after=30.0))
    assert gate.opens_in() == pytest.approx(30.13)
    gate.arrive(shorter, Reply(ReplyKind.THROTTLED, 429, retry_after=3.0))
    assert gate.opens_in() == pytest.approx(30.13)
    await probe(gate, THROTTLED)
    assert gate.opens_in() == pytest.approx(0.5 if when == "closed" else 0.25)


async def test_a_late_retry_after_holds_also_when_the_probe_is_refused_without_one() -> None:
    clock = FakeClock()
    gate = Gate(clock, Chance(0.5))
    first, late = gate.depart(), gate.depart()
    gate.arrive(first, THROTTLED)
    await gate.approach("PUT")
    ticket = gate.depart()
    gate.leave("PUT")
    gate.arrive(late, Reply(ReplyKind.THROTTLED, 429, retry_after=30.0))
    gate.arrive(ticket, THROTTLED)
    assert gate.opens_in() == pytest.approx(30.13)


async def test_exactly_one_request_probes_and_a_probe_that_comes_to_nothing_lets_another_probe() -> None:
    clock = FakeClock()
    gate = closed_gate(clock, THROTTLED)
    probing: list[float] = []

    async def worker() -> None:
        while await gate.approach("PUT"):
            probing.append(clock.elapsed)
            ticket = gate.depart()
            gate.leave("PUT")
            await clock.sleep(1)
            gate.arrive(ticket, None if len(probing) < 3 else OK)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(worker)
    assert probing == [0.25, 1.25, 2.25]


async def test_a_claim_that_is_not_used_goes_to_the_next() -> None:
    clock = FakeClock()
    gate = closed_gate(clock, THROTTLED)
    assert await gate.approach("PUT")
    async with anyio.create_task_group() as group:
        group.start_soon(gate.approach, "PUT")
        await clock.sleep(5)
        gate.leave("PUT")
    assert clock.elapsed == 5.25
    assert not gate.open


async def test_a_method_that_waits_for_its_quota_does_not_keep_another_from_probing() -> None:
    clock = FakeClock()
    gate = closed_gate(clock, THROTTLED)
    assert await gate.approach("PUT")
    assert await gate.approach("GET")
    ticket = gate.depart()
    gate.leave("GET")
    gate.leave("PUT")
    async with anyio.create_task_group() as group:
        group.start_soon(gate.approach, "PUT")  # waits for the probe, and then for the longer time
        await clock.sleep(2)
        gate.arrive(ticket, THROTTLED)
    assert clock.elapsed == pytest.approx(0.25 + 2 + 0.5)


async def test_when_a_probe_comes_to_nothing_another_goes_at_once() -> None:
    clock = FakeClock()
    gate = closed_gate(clock, THROTTLED)
    await gate.approach("PUT")
    ticket = gate.depart()
    gate.leave("PUT")
    async with anyio.create_task_group() as group:
        group.start_soon(probe, gate, OK)
        await clock.sleep(7)
        gate.arrive(ticket, None)
    assert clock.elapsed == 7.25
    assert gate.open


@pytest.mark.parametrize("reply", [UNAVAILABLE, NO_CONNECTION], ids=lambda reply: reply.kind)
async def test_a_server_that_stays_away_for_longer_than_the_limit_ends_it_with_its_last_words(reply: Reply) -> None:
    clock = FakeClock()
    gate = closed_gate(clock, reply, Chance(0.9))
    with pytest.raises(ConnectionFailedError, match=reply.error):
        await keep_probing(gate, reply)
    assert clock.elapsed == pytest.approx(600)
    with pytest.raises(ConnectionFailedError):
        await gate.approach("PUT")


async def test_a_server_never_reached_ends_it_sooner() -> None:
    clock = FakeClock()
    gate = Gate(clock, Chance(0.5))
    gate.arrive(gate.depart(), NO_CONNECTION)
    with pytest.raises(ConnectionFailedError, match="cannot be reached: connection refused"):
        await keep_probing(gate, NO_CONNECTION)
    assert clock.elapsed == pytest.approx(15)


async def test_it_looks_once_more_before_it_gives_up() -> None:
    clock = FakeClock()
    gate = Gate(clock, Chance(0.999))
    gate.arrive(gate.depart(), NO_CONNECTION)
    while clock.elapsed < 7.4:
        await probe(gate, NO_CONNECTION)
    await probe(gate, OK)  # the next wait would end after the limit
    assert clock.elapsed == pytest.approx(15)
    assert gate.open


async def test_requests_that_vanish_before_any_answer_end_it_sooner_too() -> None:
    clock = FakeClock()
    gate = Gate(clock, Chance())
    for _ in range(3):
        ticket = gate.depart()
        await clock.sleep(4)
        gate.arrive(ticket, LOST)
    ticket = gate.depart()
    await clock.sleep(3)
    with pytest.raises(ConnectionFailedError, match="cannot be reached: the connection was reset"):
        gate.arrive(ticket, LOST)


async def test_a_few_slow_first_requests_that_vanish_are_no_proof() -> None:
    clock = FakeClock()
    gate = Gate(clock, Chance())
    for _ in range(2):
        ticket = gate.depart()
        await clock.sleep(30)
        gate.arrive(ticket, LOST)
    gate.arrive(gate.depart(), OK)
    for _ in range(20):
        gate.arrive(gate.depart(), LOST)
    assert gate.open


async def test_a_503_is_an_answer_so_the_longer_limit_holds() -> None:
    clock = FakeClock()
    gate = Gate(clock, Chance(0.5))
    gate.arrive(gate.depart(), UNAVAILABLE)
    with pytest.raises(ConnectionFailedError, match="no requests for 600 seconds: down for maintenance"):
        await keep_probing(gate, UNAVAILABLE)
    assert clock.elapsed == pytest.approx(600)


async def test_retry_after_beyond_the_limit_is_not_waited_for() -> None:
    clock = FakeClock()
    gate = closed_gate(clock, Reply(ReplyKind.UNAVAILABLE, 503, retry_after=7200.0, error="back at noon"))
    with pytest.raises(ConnectionFailedError, match="back at noon"):
        await gate.approach("PUT")
    assert clock.elapsed == 600


async def test_throttling_never_ends_it() -> None:
    clock = FakeClock()
    gate = closed_gate(clock, THROTTLED, Chance(0.99))
    while clock.elapsed < 7200:
        await probe(gate, THROTTLED)
    assert not gate.open


@pytest.mark.parametrize("alive", [OK, THROTTLED], ids=lambda reply: reply.kind)
async def test_any_sign_of_life_begins_the_limit_anew(alive: Reply) -> None:
    clock = FakeClock()
    gate = closed_gate(clock, UNAVAILABLE, Chance(0.9))
    while clock.elapsed < 500:
        await probe(gate, UNAVAILABLE)
    await probe(gate, alive)
    begun = clock.elapsed
    if gate.open:
        gate.arrive(gate.depart(), UNAVAILABLE)
    with pytest.raises(ConnectionFailedError):
        await keep_probing(gate, UNAVAILABLE)
    assert clock.elapsed - begun >= 600


async def test_a_quiet_time_between_two_outages_is_no_part_of_either() -> None:
    clock = FakeClock()
    gate = closed_gate(clock, UNAVAILABLE)
    await probe(gate, OK)
    await clock.sleep(5000)
    gate.arrive(gate.depart(), UNAVAILABLE)
    await probe(gate, OK)
    assert gate.open


async def test_a_late_success_begins_the_limit_anew_too() -> None:
    clock = FakeClock()
    gate = Gate(clock, Chance(0.9))
    late = gate.depart()
    gate.arrive(gate.depart(), UNAVAILABLE)
    await clock.sleep(300)
    gate.arrive(late, OK)
    with pytest.raises(ConnectionFailedError):
        await keep_probing(gate, UNAVAILABLE)
    assert clock.elapsed == pytest.approx(900)


async def test_closing_is_announced_each_time() -> None:
    clock = FakeClock()
    closings: list[float] = []
    gate = Gate(clock, Chance(), on_close=lambda: closings.append(clock.elapsed))
    gate.arrive(gate.depart(), THROTTLED)
    await probe(gate, THROTTLED)
    await probe(gate, OK)
    assert closings == [0.0, 0.25]
