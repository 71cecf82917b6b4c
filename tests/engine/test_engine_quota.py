"""The quota: never exceeded over random interleavings, and its edge cases."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkid.engine.ledger import Lease, SlotReport
from bulkid.engine.quota import Quota, QuotaPermit
from bulkid.errors import StateError
from bulkid.model import QuotaRule
from tests.support.examples import examples
from tests.support.fake_clock import FakeClock, run
from tests.support.memory_ledger import MemoryLedger

ROUNDING = 1e-6  # of sums of seconds
PUT3 = QuotaRule("PUT", 3, 10.0)


@dataclass
class InFlightRequest:
    """One request, with the times that matter to the quota."""

    asked: float
    left: float
    back: float
    answered: bool


@dataclass
class World:
    """Several processes on one ledger, each with several workers that each send several requests."""

    rules: Sequence[QuotaRule]
    clients: int
    workers: int
    each: int
    seed: int
    unanswered: float = 0.0
    clock: FakeClock = field(default_factory=FakeClock)
    flights: list[InFlightRequest] = field(default_factory=list)

    async def play(self) -> None:
        ledger = MemoryLedger(self.clock)
        dice = random.Random(self.seed)
        quotas = [Quota(self.rules, ledger, self.clock) for _ in range(self.clients)]
        async with anyio.create_task_group() as keepers:
            for quota in quotas:
                keepers.start_soon(quota.report_loop)
            async with anyio.create_task_group() as group:
                for quota in quotas:
                    for _ in range(self.workers):
                        group.start_soon(self._work, quota, random.Random(dice.random()))
            keepers.cancel_scope.cancel()

    async def _work(self, quota: Quota, dice: random.Random) -> None:
        for _ in range(self.each):
            await self.clock.sleep(dice.choice([0, 0, dice.randrange(3072) / 1024]))
            asked = self.clock.elapsed
            while (permit := quota.try_acquire("PUT")) is None:
                await quota.wait("PUT")
            left = self.clock.elapsed
            await self.clock.sleep(dice.choice([1, 256, 2048]) * dice.randrange(1, 4) / 1024)
            answered = dice.random() >= self.unanswered
            quota.release(permit, answered=answered)
            self.flights.append(InFlightRequest(asked, left, self.clock.elapsed, answered))

    def taken(self, rule: QuotaRule, at: float) -> int:
        """Slots that the conservative log holds just after a moment."""
        return sum(f.left <= at < f.back + (rule.seconds if f.answered else 0) for f in self.flights)

    def moments(self) -> list[float]:
        ends = [f.back + rule.seconds for f in self.flights for rule in self.rules]
        return sorted({*ends, *(f.left for f in self.flights), *(f.back for f in self.flights)})

    def most_in_a_window(self, rule: QuotaRule) -> int:
        """The most that a server can have counted in any rolling window, whenever in a flight it counts.

        Requests i and j can fall into one window exactly when ``left_j < back_i + seconds`` and the other way round, so
        a window holds at most as many as the spans from ``left`` to ``back + seconds`` overlap.
        """
        spans = [(f.left, f.back + rule.seconds - ROUNDING) for f in self.flights if f.answered]
        return max((sum(a <= at < b for a, b in spans) for at, _ in spans), default=0)

    def longest_idle(self) -> float:
        """The longest time that a worker waited while every rule had room."""
        moments = self.moments()
        room = [(a, b) for a, b in itertools.pairwise(moments) if self._has_room(a)]
        longest = 0.0
        for flight in self.flights:
            idle = [(max(a, flight.asked), min(b, flight.left)) for a, b in room]
            longest = max(longest, _longest_run([(a, b) for a, b in idle if a < b]))
        return longest

    def free_slots_are_used_within(self, seconds: float) -> bool:
        """Whether, of the slots that are free at a moment, as many as workers wait for are used soon after it."""
        for at in self.moments():
            free = min(rule.count - self.taken(rule, at) for rule in self.rules)
            waiting = sum(f.asked <= at < f.left for f in self.flights)
            used = sum(at < f.left <= at + seconds for f in self.flights)
            if used < min(free, waiting):
                return False
        return True

    def _has_room(self, at: float) -> bool:
        return all(self.taken(rule, at) < rule.count for rule in self.rules)


def _longest_run(spans: list[tuple[float, float]]) -> float:
    longest, begun, ended = 0.0, -1.0, -1.0
    for a, b in spans:
        begun = begun if a == ended else a
        ended = b
        longest = max(longest, ended - begun)
    return longest


rules = st.builds(QuotaRule, st.just("PUT"), st.integers(1, 5), st.sampled_from([1.0, 5.0, 16.0]))
seeds = st.integers(0, 2**32)


@settings(max_examples=examples(40, soak=1000), deadline=None)
@given(rule=rules, workers=st.integers(1, 6), each=st.integers(1, 6), seed=seeds, unanswered=st.sampled_from([0, 0.3]))
def test_one_process_never_exceeds_a_window_and_leaves_nothing_unused(
    rule: QuotaRule, workers: int, each: int, seed: int, unanswered: float
) -> None:
    world = World([rule], clients=1, workers=workers, each=each, seed=seed, unanswered=unanswered)
    run(world.play)
    assert len(world.flights) == workers * each
    assert world.most_in_a_window(rule) <= rule.count
    assert world.longest_idle() <= 1e-5


@settings(max_examples=examples(25, soak=1000), deadline=None)
@example(
    rule=QuotaRule("PUT", 3, 16.0), clients=2, workers=2, seed=45, unanswered=0.3
)  # two slots, one after the other
@given(
    rule=rules, clients=st.integers(2, 3), workers=st.integers(1, 3), seed=seeds, unanswered=st.sampled_from([0, 0.3])
)
def test_several_processes_together_never_exceed_a_window_and_leave_nothing_unused_for_long(
    rule: QuotaRule, clients: int, workers: int, seed: int, unanswered: float
) -> None:
    world = World([rule], clients=clients, workers=workers, each=4, seed=seed, unanswered=unanswered)
    run(world.play)
    assert len(world.flights) == clients * workers * 4
    assert world.most_in_a_window(rule) <= rule.count
    poll = max(0.05, rule.seconds / 50)
    assert world.free_slots_are_used_within(0.5 + 10 * poll + 1e-5)


@settings(max_examples=examples(20, soak=1000), deadline=None)
@given(short=st.integers(1, 4), long=st.integers(1, 8), workers=st.integers(1, 5), seed=seeds)
def test_several_rules_for_one_method_all_hold(short: int, long: int, workers: int, seed: int) -> None:
    both = [QuotaRule("PUT", short, 2.0), QuotaRule("PUT", long, 10.0)]
    world = World(both, clients=1, workers=workers, each=4, seed=seed)
    run(world.play)
    assert world.most_in_a_window(both[0]) <= short
    assert world.most_in_a_window(both[1]) <= long
    assert world.longest_idle() <= 1e-5


async def test_of_several_rules_none_reserves_more_than_the_others_allow() -> None:
    clock = FakeClock()
    ledger = Spy(clock, takes=0.25)  # so that the others come while the first one asks
    long, short = QuotaRule("PUT", 2, 100.0), QuotaRule("PUT", 9, 1.0)
    quota = Quota([short, long], ledger, clock)
    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(acquire, quota)
        await clock.sleep(5)
        assert (await ledger.exchange([long], 0, [], [])).used == 2
        assert (await ledger.exchange([short], 0, [], [])).used == 2
        group.cancel_scope.cancel()


class Spy:
    """A ledger that notes what it is asked; may be made to fail, or to take its time."""

    def __init__(self, clock: FakeClock, *, takes: float = 0.0) -> None:
        self.inner = MemoryLedger(clock)
        self.clock = clock
        self.takes = takes
        self.fails = False
        self.wants: list[int] = []
        self.used = 0

    async def exchange(
        self,
        rules: Sequence[QuotaRule],
        want: int,
        reports: Sequence[SlotReport],
        unused: Sequence[int],
        *,
        waiting: bool = False,
    ) -> Lease:
        if self.fails:
            raise StateError("The disk is full.")
        self.wants.append(want)
        await self.clock.sleep(self.takes)
        lease = await self.inner.exchange(rules, want, reports, unused, waiting=waiting)
        self.used = lease.used
        return lease


async def acquire(quota: Quota, method: str = "PUT") -> QuotaPermit:
    while (permit := quota.try_acquire(method)) is None:
        await quota.wait(method)
    return permit


async def test_a_method_without_a_rule_is_free_and_asks_nobody() -> None:
    clock = FakeClock()
    ledger = Spy(clock)
    quota = Quota([PUT3], ledger, clock)
    for _ in range(100):
        permit = quota.try_acquire("GET")
        assert permit is not None
        quota.release(permit, answered=True)
    await quota.wait("GET")
    await quota.flush()
    assert ledger.wants == []
    assert (quota.remaining("GET"), quota.seconds_until_free("GET")) == (None, None)


async def test_nothing_is_leased_before_a_request_waits() -> None:
    clock = FakeClock()
    ledger = Spy(clock)
    quota = Quota([PUT3], ledger, clock)
    assert quota.try_acquire("PUT") is None
    assert ledger.wants == []


async def test_as_many_slots_are_leased_as_wait_and_no_more() -> None:
    clock = FakeClock()
    ledger = Spy(clock, takes=0.25)
    quota = Quota([QuotaRule("PUT", 100, 10.0)], ledger, clock)
    async with anyio.create_task_group() as group:
        for _ in range(7):
            group.start_soon(acquire, quota)
    assert ledger.used == 7
    assert sum(ledger.wants) == 7
    assert len(ledger.wants) == 2  # the first for the one who came first, the second for all who came meanwhile


async def test_the_strictest_of_two_rules_with_one_window_counts() -> None:
    clock = FakeClock()
    quota = Quota([PUT3, QuotaRule("PUT", 2, 10.0), QuotaRule("PUT", 9, 10.0)], MemoryLedger(clock), clock)
    for _ in range(2):
        await acquire(quota)
    assert quota.remaining("PUT") == 0


@pytest.mark.parametrize("rule", [QuotaRule("PUT", 0, 1.0), QuotaRule("PUT", -1, 1.0), QuotaRule("PUT", 1, 0.0)])
def test_a_rule_that_allows_nothing_is_refused(rule: QuotaRule) -> None:
    clock = FakeClock()
    with pytest.raises(ValueError, match="above zero"):
        Quota([rule], MemoryLedger(clock), clock)


async def test_a_slot_whose_request_never_left_can_be_had_at_once() -> None:
    clock = FakeClock()
    quota = Quota([QuotaRule("PUT", 1, 10.0)], MemoryLedger(clock), clock)
    permit = await acquire(quota)
    async with anyio.create_task_group() as group:
        group.start_soon(acquire, quota)
        await clock.sleep(3)
        quota.release(permit, answered=False)
    assert clock.elapsed == 3


async def test_a_slot_is_held_while_its_request_flies_and_for_a_window_after() -> None:
    clock = FakeClock()
    quota = Quota([QuotaRule("PUT", 1, 10.0)], MemoryLedger(clock), clock)
    permit = await acquire(quota)
    async with anyio.create_task_group() as group:
        group.start_soon(acquire, quota)
        await clock.sleep(3)
        quota.release(permit, answered=True)
    assert clock.elapsed == pytest.approx(13)


async def test_when_another_process_flies_everything_it_is_asked_again_within_a_second() -> None:
    clock = FakeClock()
    ledger = Spy(clock)
    rule = QuotaRule("PUT", 1, 300.0)
    theirs = (await ledger.exchange([rule], 1, [], [])).slots
    quota = Quota([rule], ledger, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(acquire, quota)
        await clock.sleep(30.5)
        assert 30 <= len(ledger.wants) <= 33
        await ledger.exchange([rule], 0, [], theirs)
        given_back = clock.elapsed
    assert clock.elapsed - given_back <= 1


async def test_what_another_process_gives_back_is_noticed_long_before_the_next_slot_opens() -> None:
    clock = FakeClock()
    ledger = Spy(clock)
    rule = QuotaRule("PUT", 2, 300.0)
    theirs = (await ledger.exchange([rule], 1, [], [])).slots
    quota = Quota([rule], ledger, clock)
    quota.release(await acquire(quota), answered=True)
    async with anyio.create_task_group() as group:
        group.start_soon(acquire, quota)
        await clock.sleep(50)
        assert len(ledger.wants) <= 2 + 6  # and nobody is asked all the time
        await ledger.exchange([rule], 0, [], theirs)
    assert clock.elapsed <= 60


async def test_a_slot_given_back_while_the_ledger_is_being_asked_is_not_overlooked() -> None:
    clock = FakeClock()
    quota = Quota([QuotaRule("PUT", 1, 300.0)], Spy(clock, takes=0.25), clock)
    permit = await acquire(quota)
    begun = clock.elapsed
    async with anyio.create_task_group() as group:
        group.start_soon(acquire, quota)
        await clock.sleep(0.125)
        quota.release(permit, answered=False)
    assert clock.elapsed - begun == pytest.approx(
        0.5, abs=1e-4
    )  # the exchange under way, and the one that gives the slot back


async def test_responses_are_reported_within_a_second_also_when_nothing_here_waits() -> None:
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    quota = Quota([PUT3], ledger, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(quota.report_loop)
        permit = await acquire(quota)
        await clock.sleep(5)
        quota.release(permit, answered=True)
        await clock.sleep(1)
        lease = await ledger.exchange([PUT3], 0, [], [])
        assert lease.seconds_until_free == pytest.approx(9)
        group.cancel_scope.cancel()


async def test_a_flush_reports_everything_and_gives_back_unused_slots_even_when_cancelled() -> None:
    clock = FakeClock()
    ledger = Spy(clock, takes=0.5)
    quota = Quota([QuotaRule("PUT", 5, 10.0)], ledger, clock)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(acquire, quota)
    await quota.wait("PUT")
    permit = await acquire(quota)
    await quota.wait("PUT")
    assert ledger.used == 5
    quota.release(permit, answered=True)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await quota.flush()
    assert ledger.used == 4
    assert quota.try_acquire("PUT") is None


async def test_a_cancelled_wait_loses_no_slot() -> None:
    clock = FakeClock()
    ledger = Spy(clock, takes=1.0)
    quota = Quota([QuotaRule("PUT", 1, 10.0)], ledger, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(quota.wait, "PUT")
        await clock.sleep(0.5)
        group.cancel_scope.cancel()
    assert ledger.used == 1
    assert quota.try_acquire("PUT") is not None


async def test_when_the_one_who_asks_for_all_is_cancelled_another_asks() -> None:
    clock = FakeClock()
    quota = Quota([QuotaRule("PUT", 1, 10.0)], MemoryLedger(clock), clock)
    first = await acquire(quota)
    quota.release(first, answered=True)
    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def leader() -> None:
            with scope:
                await acquire(quota)

        group.start_soon(leader)
        await clock.sleep(1)
        group.start_soon(acquire, quota)
        await clock.sleep(1)
        scope.cancel()
    assert clock.elapsed == pytest.approx(10)


async def test_what_the_ledger_could_not_take_is_reported_later() -> None:
    clock = FakeClock()
    ledger = Spy(clock)
    quota = Quota([QuotaRule("PUT", 2, 10.0)], ledger, clock)
    used, unused = await acquire(quota), await acquire(quota)
    quota.release(used, answered=True)
    quota.release(unused, answered=False)
    ledger.fails = True
    with pytest.raises(StateError):
        await quota.flush()
    with pytest.raises(StateError):
        await quota.wait("PUT")
    ledger.fails = False
    await clock.sleep(4)
    await quota.flush()
    assert ledger.used == 1
    assert quota.seconds_until_free("PUT") is None  # one is left
    await acquire(quota)
    assert quota.seconds_until_free("PUT") == pytest.approx(6)


async def test_a_released_waiter_returns_at_once_and_gives_back_what_was_leased() -> None:
    clock = FakeClock()
    ledger = Spy(clock, takes=1.0)
    quota = Quota([QuotaRule("PUT", 5, 10.0)], ledger, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(quota.wait, "PUT")  # asks
        group.start_soon(quota.wait, "PUT")  # waits for the answer
        await clock.sleep(0.5)
        quota.release_waiters()
    assert clock.elapsed == 1.0  # the exchange under way ends in its own time
    assert quota.try_acquire("PUT") is None
    await quota.flush()
    assert ledger.used == 0


async def test_a_waiter_released_while_the_window_is_full_returns_at_once() -> None:
    clock = FakeClock()
    quota = Quota([QuotaRule("PUT", 1, 300.0)], MemoryLedger(clock), clock)
    quota.release(await acquire(quota), answered=True)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(quota.wait, "PUT")
        await clock.sleep(5)
        quota.release_waiters()
    assert clock.elapsed == 5


async def test_an_available_slot_is_given_back_when_waiters_are_released() -> None:
    clock = FakeClock()
    ledger = Spy(clock)
    quota = Quota([QuotaRule("PUT", 5, 10.0)], ledger, clock)
    await quota.wait("PUT")
    assert quota.available("PUT")
    quota.release_waiters()
    assert not quota.available("PUT")
    assert quota.try_acquire("PUT") is None
    async with anyio.create_task_group() as group:
        group.start_soon(quota.report_loop)
        await clock.sleep(1)
        group.cancel_scope.cancel()
    assert ledger.used == 0


async def test_progress_can_tell_what_is_left_and_when_more_opens() -> None:
    clock = FakeClock()
    quota = Quota([PUT3], MemoryLedger(clock), clock)
    assert quota.remaining("PUT") == 3
    await quota.wait("PUT")
    assert quota.remaining("PUT") == 3  # one of them at hand
    permits = [await acquire(quota) for _ in range(3)]
    assert (quota.remaining("PUT"), quota.seconds_until_free("PUT")) == (0, None)  # all in flight: nobody can say
    quota.release(permits[0], answered=True)
    await quota.flush()
    await clock.sleep(4)
    assert quota.seconds_until_free("PUT") == pytest.approx(6)
    await clock.sleep(60)
    assert quota.seconds_until_free("PUT") == 0.0


async def test_a_lower_count_in_a_later_run_never_tells_less_than_nothing() -> None:
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    await ledger.exchange([PUT3], 3, [], [])
    quota: Any = Quota([QuotaRule("PUT", 1, 10.0)], ledger, clock)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(quota.wait, "PUT")
            await clock.sleep(5)
            assert quota.remaining("PUT") == 0
            scope.cancel()
