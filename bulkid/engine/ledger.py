"""The ledger of the quota: which slots are in flight, and when the others open again.

A *slot* is the right to one request. It is held from the moment it is reserved until the response is in, and for a
full window after that: the server can have counted the request no later than it answered. Reserving is atomic, so
several runs on one ledger keep one quota together.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from bulkid.model import QuotaRule

SlotReport = tuple[int, float]
"""A slot and the age of its response: seconds since the response came in."""


class Lease(NamedTuple):
    """The result of one exchange with the ledger."""

    slots: tuple[int, ...]  # reserved now, for requests that leave at once
    seconds_until_free: float | None  # until the next slot may open: 0 < x <= window; None: not known yet
    used: int  # slots taken of the rule with the least left, after this exchange
    remaining: int  # slots that every rule still allows, after this exchange


class QuotaUse(NamedTuple):
    """How much of one rule's window is taken."""

    rule: QuotaRule
    used: int  # in flight, or answered within the window
    oldest: float | None  # age of the oldest response within the window; None: there is none

    @property
    def remaining(self) -> int:
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
    full = [use.seconds_until_free for use in uses if use.remaining <= len(slots)]
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
        max(0, tightest.remaining - len(slots)),
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
