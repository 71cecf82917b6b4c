"""The quota of each method: never more in a rolling window than the rules allow, and none left unused.

Slots are leased from the ledger only when a worker waits for one, and only as many as could leave at once. One of the
workers that wait, the leader, exchanges with the ledger for all of them, so there is one exchange at a time.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import anyio

from bulkid.clock import Clock
from bulkid.engine.ledger import Ledger
from bulkid.engine.signals import Wakeup
from bulkid.model import QuotaRule

_POLL_SHARE = 50  # polls per window while every slot is in flight, perhaps in another process ...
_POLL_MIN_S, _POLL_MAX_S = 0.05, 1.0  # ... but neither busily nor lazily
_RECHECK_POLLS = 10  # polls between exchanges while the next opening is known: another process may give slots back
_REPORT_AFTER_S = 0.5  # how long a response may stay unreported to other processes


class _MethodQuota:
    """One method that has rules: the slots leased and not yet used, what is unreported, and how many workers wait."""

    def __init__(self, rules: Iterable[QuotaRule], clock: Clock) -> None:
        self.rules = tuple(rules)
        shortest_s = min(rule.seconds for rule in self.rules)
        self.poll_s = min(max(shortest_s / _POLL_SHARE, _POLL_MIN_S), _POLL_MAX_S, shortest_s)
        self.free: list[int] = []
        self.reports: list[tuple[int, float]] = []  # slot, when its response came in
        self.unused: list[int] = []
        self.remaining = min(rule.count for rule in self.rules)  # as of the last exchange
        self.next_free_at: float | None = None  # as of the last exchange; None: not known
        self.demand_reported = False  # whether the ledger knows that a worker here waits
        self.waiting = 0
        self.has_leader = False  # whether one of those that wait exchanges with the ledger, for all
        self.leader = Wakeup(clock)
        self.followers = Wakeup(clock)
        self.generation = 0  # goes up when the waiters are released

    @property
    def unreported(self) -> bool:
        return bool(self.reports or self.unused)

    def give_back(self, keep: int = 0) -> None:
        """Give leased slots back unused, but for ``keep`` of them; the next exchange reports them."""
        while len(self.free) > keep:
            self.unused.append(self.free.pop())

    def pause(self, now: float) -> float:
        """Seconds until another exchange may bring a slot."""
        if self.unused:
            return 0.0
        if self.next_free_at is None:
            return self.poll_s
        return min(self.next_free_at - now, _RECHECK_POLLS * self.poll_s)


@dataclass(slots=True, eq=False)
class QuotaPermit:
    """The right to send one request of a method; to be released once its response is in."""

    method_quota: _MethodQuota | None
    slot: int


_FREE = QuotaPermit(None, 0)  # of a method without rules


class Quota:
    """The rules of all methods, over one ledger. A method without a rule is free.

    Several rules may hold for one method; of those with one window the strictest counts. Belongs to one event loop.
    Its coroutines raise `StateError` when the ledger cannot be used. ``on_wait`` is called with the seconds until the
    next slot opens where none is left.

    Raises:
        ValueError: A rule that allows nothing, ever.
    """

    def __init__(
        self,
        rules: Sequence[QuotaRule],
        ledger: Ledger,
        clock: Clock,
        on_wait: Callable[[float], None] = lambda _: None,
    ) -> None:
        strictest: dict[tuple[str, float], QuotaRule] = {}
        for rule in rules:
            if rule.count < 1 or not rule.seconds > 0:
                raise ValueError(f"a quota needs a count and a window above zero: {rule}")
            known = strictest.setdefault((rule.method, rule.seconds), rule)
            if rule.count < known.count:
                strictest[rule.method, rule.seconds] = rule
        self._method_quotas = {
            method: _MethodQuota([rule for rule in strictest.values() if rule.method == method], clock)
            for method in dict.fromkeys(rule.method for rule in rules)
        }
        self._ledger = ledger
        self._clock = clock
        self._on_wait = on_wait
        self._update_pending = Wakeup(clock)

    def try_acquire(self, method: str) -> QuotaPermit | None:
        """Take a permit if one is at hand; None: `wait` first. Cheap, and never suspends."""
        method_quota = self._method_quotas.get(method)
        if method_quota is None:
            return _FREE
        return QuotaPermit(method_quota, method_quota.free.pop()) if method_quota.free else None

    def available(self, method: str) -> bool:
        """Whether `try_acquire` would give a permit now."""
        method_quota = self._method_quotas.get(method)
        return method_quota is None or bool(method_quota.free)

    async def wait(self, method: str) -> None:
        """Wait until `try_acquire` may succeed, or `release_waiters`; only for a request that could leave at once."""
        method_quota = self._method_quotas.get(method)
        if method_quota is None or method_quota.free:
            return
        method_quota.waiting += 1
        try:
            if method_quota.has_leader:
                await method_quota.followers.wait()
            else:
                await self._lead(method_quota)
        finally:
            method_quota.waiting -= 1

    def release(self, permit: QuotaPermit, *, answered: bool) -> None:
        """Release a permit once the response is in, which is when its window begins.

        ``answered`` is False where the request never left (no connection), so that the server cannot have counted it.
        """
        method_quota = permit.method_quota
        if method_quota is None:
            return
        if answered:
            method_quota.reports.append((permit.slot, self._clock.monotonic()))
        else:
            method_quota.unused.append(permit.slot)
            method_quota.leader.set()  # this slot is free at once
        self._update_pending.set()

    def release_waiters(self) -> None:
        """Give back what is leased and not used, and wake every worker that waits: nothing may leave for now."""
        for method_quota in self._method_quotas.values():
            method_quota.generation += 1
            method_quota.give_back()
            method_quota.leader.set()
            method_quota.followers.set()
        self._update_pending.set()

    async def report_loop(self) -> None:
        """Report responses to the ledger soon, also while no worker here waits for a slot. Runs until cancelled."""
        while True:
            if not any(method_quota.unreported for method_quota in self._method_quotas.values()):
                await self._update_pending.wait()
            await self._clock.sleep(_REPORT_AFTER_S)
            await self._report()

    async def flush(self) -> None:
        """Give back what is leased and not used, and report everything. A cancellation does not stop it half-way."""
        for method_quota in self._method_quotas.values():
            method_quota.give_back(keep=method_quota.waiting)
        await self._report(withdraw=True)

    def remaining(self, method: str) -> int | None:
        """How many requests of ``method`` could leave now, as far as known; None: without limit."""
        method_quota = self._method_quotas.get(method)
        return None if method_quota is None else method_quota.remaining + len(method_quota.free)

    def seconds_until_free(self, method: str) -> float | None:
        """Seconds until the next slot opens when none is left, as far as known; None: some are left, or not known."""
        method_quota = self._method_quotas.get(method)
        if method_quota is None or self.remaining(method) or method_quota.next_free_at is None:
            return None
        return max(0.0, method_quota.next_free_at - self._clock.monotonic())

    async def _lead(self, method_quota: _MethodQuota) -> None:
        """Exchange with the ledger for all that wait, until there is a slot for one of them."""
        method_quota.has_leader = True
        generation = method_quota.generation
        try:
            while not method_quota.free and method_quota.generation == generation:
                await self._exchange(method_quota, method_quota.waiting)
                if not method_quota.free and method_quota.generation == generation:
                    if method_quota.next_free_at is not None:
                        self._on_wait(method_quota.next_free_at - self._clock.monotonic())
                    await method_quota.leader.wait(method_quota.pause(self._clock.monotonic()))
        finally:
            method_quota.has_leader = False
            method_quota.followers.set()
            if method_quota.generation != generation:
                method_quota.give_back()

    async def _report(self, *, withdraw: bool = False) -> None:
        """Report what is unreported, and if asked to, that no worker here waits any more."""
        for method_quota in self._method_quotas.values():
            no_demand = withdraw and method_quota.demand_reported and not method_quota.waiting
            if method_quota.unreported or no_demand:
                await self._exchange(method_quota, 0)

    async def _exchange(self, method_quota: _MethodQuota, want: int) -> None:
        """Make one exchange for one method; what it could not report, the next one reports."""
        reports, method_quota.reports = method_quota.reports, []
        unused, method_quota.unused = method_quota.unused, []
        now = self._clock.monotonic()
        ages = [(slot, now - at) for slot, at in reports]
        method_quota.demand_reported = bool(want or method_quota.waiting)
        try:
            with anyio.CancelScope(shield=True):  # a lease whose answer is dropped would be lost until it expires
                lease = await self._ledger.exchange(
                    method_quota.rules, want, ages, unused, waiting=bool(method_quota.waiting)
                )
        except BaseException:  # a cancellation too
            method_quota.reports[:0] = reports
            method_quota.unused[:0] = unused
            raise
        method_quota.free.extend(lease.slots)
        method_quota.remaining = lease.remaining
        method_quota.next_free_at = (
            None if lease.seconds_until_free is None else self._clock.monotonic() + lease.seconds_until_free
        )
