"""What every ledger must do, whatever it is kept in: run over each implementation, so that none is more lenient.

Each scenario takes a factory of handles (every call gives another handle on the *same* store, as two processes have)
and a fake clock that the ledger measures by. ``SCENARIOS`` lists them all::

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
    async def test_ledger(scenario):
        clock = FakeClock()
        ledger = MemoryLedger(clock)
        await scenario(lambda: ledger, clock)

Times are compared to a millisecond: a durable ledger keeps wall-clock times, which are coarser.
"""

from collections.abc import Awaitable, Callable

import pytest

from bulkid.engine.ledger import Ledger, SlotReport
from bulkid.model import QuotaRule
from tests.support.fake_clock import FakeClock

LedgerFactory = Callable[[], Ledger]
Scenario = Callable[[LedgerFactory, FakeClock], Awaitable[None]]

PUT3 = QuotaRule("PUT", 3, 10.0)


def _stamps(slots: tuple[int, ...], age: float = 0.0) -> list[SlotReport]:
    return [(slot, age) for slot in slots]


async def never_more_than_count(make: LedgerFactory, clock: FakeClock) -> None:
    """Slots in flight count as taken however long they fly, and are not told as opening."""
    ledger = make()
    first = await ledger.exchange([PUT3], 2, [], [])
    assert (len(first.slots), first.seconds_until_free, first.used) == (2, None, 2)
    second = await ledger.exchange([PUT3], 2, [], [])
    assert (len(second.slots), second.seconds_until_free, second.used) == (1, None, 3)
    await clock.sleep(60)
    third = await ledger.exchange([PUT3], 2, [], [])
    assert third.slots == ()
    assert (third.seconds_until_free, third.used) == (None, 3)
    assert len({*first.slots, *second.slots}) == 3


async def opens_one_window_after_the_response(make: LedgerFactory, clock: FakeClock) -> None:
    """A stamped slot is taken until exactly ``seconds`` after its response, and free from then on."""
    ledger = make()
    lease = await ledger.exchange([PUT3], 3, [], [])
    await clock.sleep(4)
    after = await ledger.exchange([PUT3], 1, _stamps(lease.slots), [])
    assert after.slots == ()
    assert after.seconds_until_free == pytest.approx(10, abs=1e-3)
    assert 0 < after.seconds_until_free <= 10
    await clock.sleep(9.75)
    before = await ledger.exchange([PUT3], 1, [], [])
    assert (before.slots, before.used) == ((), 3)
    assert before.seconds_until_free == pytest.approx(0.25, abs=1e-3)
    await clock.sleep(0.25)
    opened = await ledger.exchange([PUT3], 5, [], [])
    assert (len(opened.slots), opened.seconds_until_free, opened.used) == (3, None, 3)


async def age_counts_from_the_response(make: LedgerFactory, clock: FakeClock) -> None:
    """A stamp told late opens when it would have opened had it been told at once."""
    ledger = make()
    a, b, c = (await ledger.exchange([PUT3], 3, [], [])).slots
    await clock.sleep(30)
    lease = await ledger.exchange([PUT3], 3, [(a, 25.0), (b, 10.0), (c, 4.0)], [])
    assert (len(lease.slots), lease.used) == (2, 3)
    assert lease.seconds_until_free == pytest.approx(6, abs=1e-3)


async def next_to_open_is_the_oldest_response(make: LedgerFactory, clock: FakeClock) -> None:
    """``seconds_until_free`` looks to the oldest response, in whatever order the responses are told."""
    ledger = make()
    a, b, c = (await ledger.exchange([PUT3], 3, [], [])).slots
    await clock.sleep(8)
    await ledger.exchange([PUT3], 0, [(b, 1.0)], [])
    lease = await ledger.exchange([PUT3], 0, [(c, 5.0)], [])
    assert lease.seconds_until_free == pytest.approx(5, abs=1e-3)
    lease = await ledger.exchange([PUT3], 0, [(a, 3.0)], [])
    assert lease.seconds_until_free == pytest.approx(5, abs=1e-3)
    await clock.sleep(5)
    lease = await ledger.exchange([PUT3], 3, [], [])
    assert len(lease.slots) == 1
    assert lease.seconds_until_free == pytest.approx(2, abs=1e-3)


async def unused_slots_open_at_once(make: LedgerFactory, clock: FakeClock) -> None:
    """A slot given back unused can be had in the same exchange; one already given back is passed over."""
    ledger = make()
    a, b, c = (await ledger.exchange([PUT3], 3, [], [])).slots
    lease = await ledger.exchange([PUT3], 3, [(a, 0.0)], [b])
    assert (len(lease.slots), lease.used) == (1, 3)
    lease = await ledger.exchange([PUT3], 3, [], [b])
    assert (lease.slots, lease.used) == ((), 3)
    await clock.sleep(10)
    lease = await ledger.exchange([PUT3], 0, [], [c])
    assert lease.used == 1


async def slots_are_never_given_twice(make: LedgerFactory, clock: FakeClock) -> None:
    """Numbers stay unique after slots opened, so that a late stamp can never hit somebody else's slot."""
    ledger = make()
    seen: set[int] = set()
    for _ in range(4):
        slots = (await ledger.exchange([PUT3], 3, [], [])).slots
        assert len(slots) == 3
        assert not seen & set(slots)
        seen.update(slots)
        await ledger.exchange([PUT3], 0, _stamps(slots), [])
        await clock.sleep(10)
    stale = await ledger.exchange([PUT3], 3, _stamps(tuple(seen)), list(seen))
    assert (len(stale.slots), stale.used) == (3, 3)


async def two_handles_share_one_quota(make: LedgerFactory, clock: FakeClock) -> None:
    """What one process reserved or stamped is taken for the other."""
    one, two = make(), make()
    mine = (await one.exchange([PUT3], 2, [], [])).slots
    theirs = await two.exchange([PUT3], 3, [], [])
    assert (len(theirs.slots), theirs.used) == (1, 3)
    assert not set(mine) & set(theirs.slots)
    await one.exchange([PUT3], 0, _stamps(mine), [])
    seen = await two.exchange([PUT3], 1, [], [])
    assert seen.slots == ()
    assert seen.seconds_until_free == pytest.approx(10, abs=1e-3)
    await clock.sleep(10)
    assert len((await two.exchange([PUT3], 5, [], [])).slots) == 2


async def every_rule_counts_all_requests_of_its_method(make: LedgerFactory, clock: FakeClock) -> None:
    """Whatever rules a request was sent under, each rule of its method counts it; another method's does not."""
    ledger, other = make(), make()
    short, long, get = QuotaRule("PUT", 2, 5.0), QuotaRule("PUT", 3, 10.0), QuotaRule("GET", 2, 5.0)
    both = await ledger.exchange([short, long], 9, [], [])
    assert (len(both.slots), both.remaining) == (2, 0)
    assert len((await ledger.exchange([get], 9, [], [])).slots) == 2
    await ledger.exchange([short, long], 0, _stamps(both.slots), [])
    assert (await other.exchange([short], 9, [], [])).slots == ()
    assert len((await other.exchange([long], 9, [], [])).slots) == 1
    waits = await ledger.exchange([short, long], 9, [], [])
    assert (waits.slots, waits.used, waits.seconds_until_free) == ((), 3, pytest.approx(10, abs=1e-3))
    await clock.sleep(5)
    lease = await other.exchange([short], 9, [], [])
    assert (len(lease.slots), lease.used) == (1, 2)  # what was stamped is out of its window, one is in flight
    assert (await other.exchange([long], 9, [], [])).used == 4
    assert (await ledger.exchange([short, long], 9, [], [])).slots == ()


async def a_slot_stays_known_for_the_longest_window(make: LedgerFactory, clock: FakeClock) -> None:
    """A short rule does not make the ledger forget what a long one still counts."""
    ledger = make()
    short, long = QuotaRule("PUT", 3, 1.0), QuotaRule("PUT", 3, 100.0)
    await ledger.exchange([long], 0, [], [])
    slots = (await ledger.exchange([short], 3, [], [])).slots
    await ledger.exchange([short], 0, _stamps(slots), [])
    await clock.sleep(50)
    assert (await ledger.exchange([short], 0, [], [])).used == 0
    lease = await ledger.exchange([long], 1, [], [])
    assert (lease.slots, lease.used, lease.seconds_until_free) == ((), 3, pytest.approx(50, abs=1e-3))


async def a_changed_count_holds_at_once(make: LedgerFactory, clock: FakeClock) -> None:
    """The count of the asking rule applies to the log as it stands: a lower one grants nothing."""
    ledger = make()
    slots = (await ledger.exchange([PUT3], 3, [], [])).slots
    lower, higher = QuotaRule("PUT", 2, 10.0), QuotaRule("PUT", 5, 10.0)
    assert (await ledger.exchange([lower], 3, _stamps(slots[:1]), [])).used == 3
    await clock.sleep(10)
    assert (await ledger.exchange([lower], 3, [], [])).slots == ()
    assert len((await ledger.exchange([higher], 9, [], [])).slots) == 3


async def wanting_nothing_reserves_nothing(make: LedgerFactory, clock: FakeClock) -> None:  # noqa: ARG001 - one shape
    """An exchange that wants nothing only brings the ledger up to date; an empty ledger opens never."""
    ledger = make()
    lease = await ledger.exchange([PUT3], 0, [], [])
    assert (lease.slots, lease.seconds_until_free, lease.used) == ((), None, 0)


SCENARIOS: tuple[Scenario, ...] = (
    never_more_than_count,
    opens_one_window_after_the_response,
    age_counts_from_the_response,
    next_to_open_is_the_oldest_response,
    unused_slots_open_at_once,
    slots_are_never_given_twice,
    two_handles_share_one_quota,
    every_rule_counts_all_requests_of_its_method,
    a_slot_stays_known_for_the_longest_window,
    a_changed_count_holds_at_once,
    wanting_nothing_reserves_nothing,
)
