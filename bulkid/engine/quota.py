"""The quota of each method: never more in a rolling window than the rules allow, and none left unused.

Slots are leased from the ledger only when somebody waits for one, and only as many as could leave at once. Within the
process the leader of those who wait talks to the ledger for all of them, so however many wait there is one exchange
at a time.
"""

from collections.abc import Iterable, Sequence

import anyio

from bulkid.clock import Clock
from bulkid.engine.ledger import Ledger
from bulkid.engine.wakeup import Alarm
from bulkid.model import QuotaRule

_POLL_SHARE = 50  # polls per window while every slot is in flight, perhaps in another process ...
_POLL_MIN_S, _POLL_MAX_S = 0.05, 1.0  # ... but neither busily nor lazily
_RECHECK_POLLS = 10  # polls between looks at a window whose next opening is known: another process may give slots back
_TELL_AFTER_S = 0.5  # how long other processes may have to do without the news of a response


class _Lane:
    """One method that has rules: the slots leased and not yet used, what the ledger has not been told, who waits."""

    __slots__ = (
        "asked",
        "followers",
        "free",
        "leader",
        "led",
        "left",
        "opens_at",
        "poll_s",
        "round",
        "rules",
        "stamped",
        "unused",
        "waiting",
    )

    def __init__(self, rules: Iterable[QuotaRule], clock: Clock) -> None:
        self.rules = tuple(rules)
        shortest_s = min(rule.seconds for rule in self.rules)
        self.poll_s = min(max(shortest_s / _POLL_SHARE, _POLL_MIN_S), _POLL_MAX_S, shortest_s)
        self.free: list[int] = []
        self.stamped: list[tuple[int, float]] = []  # slot, when its response came in
        self.unused: list[int] = []
        self.left = min(rule.count for rule in self.rules)  # as of the last exchange
        self.opens_at: float | None = None  # as of the last exchange; None: not known
        self.asked = False  # whether the ledger thinks that somebody here waits
        self.waiting = 0
        self.led = False  # one of those who wait is talking to the ledger, for all
        self.leader = Alarm(clock)
        self.followers = Alarm(clock)
        self.round = 0  # goes up when everybody who waits is sent away

    @property
    def untold(self) -> bool:
        return bool(self.stamped or self.unused)

    def give_back(self, keep: int = 0) -> None:
        """Hand leased slots back unused, but for ``keep`` of them; the next exchange tells."""
        while len(self.free) > keep:
            self.unused.append(self.free.pop())

    def pause(self, now: float) -> float:
        """Seconds until another exchange may bring a slot."""
        if self.unused:
            return 0.0
        if self.opens_at is None:
            return self.poll_s
        return min(self.opens_at - now, _RECHECK_POLLS * self.poll_s)


class Permit:
    """The right to send one request of a method; to be released once its response is in. Opaque but to its quota."""

    __slots__ = ("lane", "slot")

    def __init__(self, lane: _Lane | None, slot: int) -> None:
        self.lane = lane
        self.slot = slot


_FREE = Permit(None, 0)  # of a method without rules


class Quota:
    """The rules of all methods, over one ledger.

    Several rules may hold for one method; of those with one window the strictest counts. Belongs to one event loop.

    Args:
        rules: What is allowed; a method without a rule is free.
        ledger: Where the slots are kept.
        clock: Measures ages and waits (monotonic).

    Raises:
        ValueError: A rule that allows nothing, ever.
    """

    def __init__(self, rules: Sequence[QuotaRule], ledger: Ledger, clock: Clock) -> None:
        strictest: dict[tuple[str, float], QuotaRule] = {}
        for rule in rules:
            if rule.count < 1 or not rule.seconds > 0:
                raise ValueError(f"a quota needs a count and a window above zero: {rule}")
            known = strictest.setdefault((rule.method, rule.seconds), rule)
            if rule.count < known.count:
                strictest[rule.method, rule.seconds] = rule
        self._lanes = {
            method: _Lane([rule for rule in strictest.values() if rule.method == method], clock)
            for method in dict.fromkeys(rule.method for rule in rules)
        }
        self._ledger = ledger
        self._clock = clock
        self._news = Alarm(clock)

    @property
    def ruled(self) -> bool:
        """Whether there is any rule."""
        return bool(self._lanes)

    def try_acquire(self, method: str) -> Permit | None:
        """Take a permit if one is at hand; None: `wait` first. Cheap, and never suspends."""
        lane = self._lanes.get(method)
        if lane is None:
            return _FREE
        return Permit(lane, lane.free.pop()) if lane.free else None

    def at_hand(self, method: str) -> bool:
        """Whether `try_acquire` would give a permit now."""
        lane = self._lanes.get(method)
        return lane is None or bool(lane.free)

    async def wait(self, method: str) -> None:
        """Park until `try_acquire` may succeed, or until sent away; call it only when a request could leave at once.

        Raises:
            StateError: The ledger cannot be used.
        """
        lane = self._lanes.get(method)
        if lane is None or lane.free:
            return
        lane.waiting += 1
        try:
            if lane.led:
                await lane.followers.wait()
            else:
                await self._lead(lane)
        finally:
            lane.waiting -= 1

    def release(self, permit: Permit, *, answered: bool) -> None:
        """Say that the response to a request is in, which is when its window begins.

        Args:
            permit: As given by `try_acquire`; to be released once.
            answered: False: the request never left (no connection), so the server cannot have counted it.
        """
        lane = permit.lane
        if lane is None:
            return
        if answered:
            lane.stamped.append((permit.slot, self._clock.monotonic()))
        else:
            lane.unused.append(permit.slot)
            lane.leader.ring()  # there is a slot to be had at once; one that was answered opens later than any poll
        self._news.ring()

    def send_away(self) -> None:
        """Give back what is leased and not used, and let everybody who waits return: nothing may leave for now."""
        for lane in self._lanes.values():
            lane.round += 1
            lane.give_back()
            lane.leader.ring()
            lane.followers.ring()
        self._news.ring()

    async def keep_told(self) -> None:
        """Tell the ledger of responses soon, also while nobody here waits for a slot. Runs until cancelled.

        Raises:
            StateError: The ledger cannot be used.
        """
        while True:
            if not any(lane.untold for lane in self._lanes.values()):
                await self._news.wait()
            await self._clock.sleep(_TELL_AFTER_S)
            await self._tell()

    async def flush(self) -> None:
        """Give back what is leased and not used, and tell the ledger everything. No cancellation stops it half-way.

        Raises:
            StateError: The ledger cannot be used.
        """
        for lane in self._lanes.values():
            lane.give_back(keep=lane.waiting)
        await self._tell(also=[lane for lane in self._lanes.values() if lane.asked and not lane.waiting])

    def left(self, method: str) -> int | None:
        """How many requests of ``method`` could leave now, as far as known; None: without limit."""
        lane = self._lanes.get(method)
        return None if lane is None else lane.left + len(lane.free)

    def opens_in(self, method: str) -> float | None:
        """Seconds until the next slot opens when none is left, as far as known; None: some are left, or not known."""
        lane = self._lanes.get(method)
        if lane is None or self.left(method) or lane.opens_at is None:
            return None
        return max(0.0, lane.opens_at - self._clock.monotonic())

    async def _lead(self, lane: _Lane) -> None:
        """Talk to the ledger for all who wait, until there is something for one of them."""
        lane.led = True
        begun = lane.round
        try:
            while not lane.free and lane.round == begun:
                pause = await self._lease(lane)
                if pause is not None and lane.round == begun:
                    await lane.leader.wait(pause)
        finally:
            lane.led = False
            lane.followers.ring()
            if lane.round != begun:
                lane.give_back()

    async def _lease(self, lane: _Lane) -> float | None:
        """Lease as many slots as could be used at once; None when there is one, else the pause before asking again."""
        await self._exchange(lane, lane.waiting)
        return None if lane.free else lane.pause(self._clock.monotonic())

    async def _tell(self, also: Sequence[_Lane] = ()) -> None:
        for lane in self._lanes.values():
            if lane.untold or lane in also:
                await self._exchange(lane, 0)

    async def _exchange(self, lane: _Lane, want: int) -> None:
        """One exchange for one method; what could not be told stays to be told."""
        stamped, lane.stamped = lane.stamped, []
        unused, lane.unused = lane.unused, []
        now = self._clock.monotonic()
        ages = [(slot, now - at) for slot, at in stamped]
        lane.asked = bool(want or lane.waiting)
        try:
            with anyio.CancelScope(shield=True):  # a lease that nobody hears of would be lost until it is too old
                lease = await self._ledger.exchange(lane.rules, want, ages, unused, waiting=bool(lane.waiting))
        except BaseException:  # a cancellation too: what was not reported is reported by the next exchange
            lane.stamped[:0] = stamped
            lane.unused[:0] = unused
            raise
        lane.free.extend(lease.slots)
        lane.left = lease.left
        lane.opens_at = None if lease.opens_in is None else self._clock.monotonic() + lease.opens_in
