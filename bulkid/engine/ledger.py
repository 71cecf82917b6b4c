"""The log behind the quota: which slots are in flight, and when the others open again.

A *slot* is the right to one request. It is held from the moment it is reserved until the response is in, and for a
full window after that: the server can have counted the request no later than it answered. Reserving is atomic, so
several runs on one ledger keep one quota together.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bulkid.clock import Clock
from bulkid.model import QuotaRule

Stamp = tuple[int, float]
"""A slot and the age of its response: seconds since the response came in."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What one exchange with the ledger gave."""

    slots: tuple[int, ...]  # reserved now, for requests that leave at once
    opens_in: float | None  # seconds until the next slot opens (0 < x <= window); None: nothing is stamped
    used: int  # slots taken after this exchange: in flight (these included) or stamped within the window


class Ledger(Protocol):
    """Where the slots of a quota are kept. Every handle on one store sees the same slots."""

    async def exchange(self, rule: QuotaRule, want: int, stamped: Sequence[Stamp], unused: Sequence[int]) -> Lease:
        """Bring the ledger up to date and reserve slots, in one atomic step.

        In this order: note the responses, give back the slots never used, open the slots whose response is
        ``rule.seconds`` old or older, then reserve up to ``want`` while the slots taken are fewer than ``rule.count``.

        Each pair of method and window length is a log of its own, so that several rules may hold for one method;
        a changed ``count`` applies to the log as it stands. Slot numbers are unique within a log, and are never given
        out twice. Slots that the log does not hold (any more) are passed over.

        Args:
            rule: The rule that asks.
            want: How many slots could be used at once; 0 only brings the ledger up to date.
            stamped: Slots whose response is in, with its age in seconds.
            unused: Slots whose request never left.

        Raises:
            StateError: The store cannot be used.
        """
        ...


@dataclass(slots=True)
class _Log:
    """The slots of one method and window length."""

    flying: set[int] = field(default_factory=set)
    resting: list[tuple[float, int]] = field(default_factory=list)  # heap of (opens at, slot)
    next_slot: int = 1


class MemoryLedger:
    """A ledger that lives and dies with the process: for tests, and where there is no database.

    Args:
        clock: Measures the windows (monotonic).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logs: dict[tuple[str, float], _Log] = {}

    async def exchange(self, rule: QuotaRule, want: int, stamped: Sequence[Stamp], unused: Sequence[int]) -> Lease:
        """Bring the log up to date and reserve slots; see `Ledger`. Never suspends, so it is atomic."""
        log = self._logs.setdefault((rule.method, rule.seconds), _Log())
        now = self._clock.monotonic()
        for slot, age in stamped:
            if slot in log.flying:
                log.flying.remove(slot)
                heapq.heappush(log.resting, (now - max(age, 0.0) + rule.seconds, slot))
        log.flying.difference_update(unused)
        while log.resting and log.resting[0][0] <= now:
            heapq.heappop(log.resting)
        used = len(log.flying) + len(log.resting)
        granted = range(log.next_slot, log.next_slot + max(0, min(want, rule.count - used)))
        log.next_slot = granted.stop
        log.flying.update(granted)
        opens_in = min(log.resting[0][0] - now, rule.seconds) if log.resting else None
        return Lease(tuple(granted), opens_in, used + len(granted))
