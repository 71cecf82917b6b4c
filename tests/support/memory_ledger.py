"""A quota ledger in memory, for tests of the engine."""

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from bulkid.clock import Clock
from bulkid.engine.ledger import Lease, QuotaUse, SlotReport, lease
from bulkid.model import QuotaRule


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
    """A ledger in memory, for one process."""

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
        granted = range(log.next_slot, log.next_slot + max(0, min(want, *(use.remaining for use in uses))))
        log.next_slot = granted.stop
        log.in_flight.update(granted)
        return lease(granted, uses)
