"""The ledger of the quota: which slots are in flight, and when the others open again.

A *slot* is the right to one request. It is held from the moment it is reserved until the response is in, and for a
full window after that: the server can have counted the request no later than it answered. Reserving is atomic, so
several runs on one ledger keep one quota together.
"""

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bulkid.clock import Clock
from bulkid.model import QuotaRule

SlotReport = tuple[int, float]
"""A slot and the age of its response: seconds since the response came in."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The result of one exchange with the ledger."""

    slots: tuple[int, ...]  # reserved now, for requests that leave at once
    seconds_until_free: float | None  # until the next slot may open: 0 < x <= window; None: not known yet
    used: int  # slots taken of the rule with the least left, after this exchange
    left: int  # slots that every rule still allows, after this exchange


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """How much of one rule's window is taken."""

    rule: QuotaRule
    used: int  # in flight, or answered within the window
    oldest: float | None  # age of the oldest response within the window; None: there is none

    @property
    def left(self) -> int:
        """How many more requests the rule allows now."""
        return max(0, self.rule.count - self.used)

    @property
    def seconds_until_free(self) -> float | None:
        """Seconds until the oldest response leaves the window."""
        return None if self.oldest is None else min(self.rule.seconds - self.oldest, self.rule.seconds)


def lease(slots: Sequence[int], uses: Sequence[QuotaUse], *, withheld: bool = False) -> Lease:
    """Make the lease of the slots reserved, from each rule's window before they were reserved.

    ``withheld`` says that slots are left for other processes: they may become free sooner than a window opens.
    """
    tightest = min(uses, key=lambda use: use.rule.count - use.used)
    full = [use.seconds_until_free for use in uses if use.left <= len(slots)]
    known = [seconds_until_free for use in uses if (seconds_until_free := use.seconds_until_free) is not None]
    if full:
        # Each full rule must open; when one opens whose slots are all in flight is not known.
        seconds_until_free = None if None in full else max(seconds for seconds in full if seconds is not None)
    else:
        seconds_until_free = min(known, default=None)
    return Lease(
        tuple(slots),
        None if withheld else seconds_until_free,
        tightest.used + len(slots),
        max(0, tightest.left - len(slots)),
    )


class Ledger(Protocol):
    """Where the slots of a quota are kept. Every handle on one store sees the same slots."""

    async def exchange(
        self,
        rules: Sequence[QuotaRule],
        want: int,
        reports: Sequence[SlotReport],
        unused: Sequence[int],
        *,
        waiting: bool = False,
    ) -> Lease:
        """Bring the ledger up to date and reserve slots, in one atomic step.

        In this order: note the responses, give back the slots never used, then reserve up to ``want`` while each rule
        has fewer slots taken than its ``count``. A rule counts every request of its method: those in flight and those
        whose response is less than ``rule.seconds`` old, whichever rules they were sent under. A slot stays known
        until the longest window that any exchange named has passed.

        Slot numbers are unique, and are never given out twice. The ledger ignores slots that it does not hold (any
        more). Where several processes want more than there is, a ledger that they share gives each its share.

        Args:
            rules: The rules of one method; at least one.
            want: How many slots could be used at once; 0 only brings the ledger up to date.
            reports: Slots whose response is in.
            unused: Slots whose request never left.
            waiting: Whether a worker here waits for a slot although ``want`` is 0; otherwise its share is not kept.

        Raises:
            StateError: The store cannot be used.
        """
        ...


@dataclass(slots=True)
class _Log:
    """The slots of one method."""

    in_flight: set[int] = field(default_factory=set)
    held: list[tuple[float, int]] = field(default_factory=list)  # (when its response came in, slot), in this order
    next_slot: int = 1
    longest_s: float = 0.0

    def use(self, rule: QuotaRule, now: float) -> QuotaUse:
        gone = bisect_right(self.held, (now - rule.seconds, self.next_slot))
        oldest = now - self.held[gone][0] if gone < len(self.held) else None
        return QuotaUse(rule, len(self.in_flight) + len(self.held) - gone, oldest)


class MemoryLedger:
    """A ledger in memory, for one process: for tests, and where there is no database."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logs: dict[str, _Log] = {}

    async def exchange(
        self,
        rules: Sequence[QuotaRule],
        want: int,
        reports: Sequence[SlotReport],
        unused: Sequence[int],
        *,
        waiting: bool = False,  # noqa: ARG002 - one process needs no shares
    ) -> Lease:
        """Bring the log up to date and reserve slots; see `Ledger`. Never suspends, so it is atomic."""
        log = self._logs.setdefault(rules[0].method, _Log())
        log.longest_s = max(log.longest_s, *(rule.seconds for rule in rules))
        now = self._clock.monotonic()
        for slot, age in reports:
            if slot in log.in_flight:
                log.in_flight.remove(slot)
                insort(log.held, (now - max(age, 0.0), slot))
        log.in_flight.difference_update(unused)
        del log.held[: bisect_right(log.held, (now - log.longest_s, log.next_slot))]
        uses = [log.use(rule, now) for rule in rules]
        granted = range(log.next_slot, log.next_slot + max(0, min(want, *(use.left for use in uses))))
        log.next_slot = granted.stop
        log.in_flight.update(granted)
        return lease(granted, uses)
