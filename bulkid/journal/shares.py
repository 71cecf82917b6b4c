"""Who may have how much of a quota, where several processes want more of it than there is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiter:
    """A process that wants slots."""

    owner: str
    want: int
    since: float  # since when it has been given nothing


def grant(count: int, used: Mapping[str, int], me: Waiter, others: Sequence[Waiter]) -> int:
    """How many of the slots that it wants a process may have now, so that nobody starves and none is left over.

    Of the whole window each gets an equal share; what is left of the division goes to those who have waited longest.
    Up to its share a process is given whatever is free; beyond it, only what the others do not want of theirs.

    Args:
        count: Slots of the window.
        used: How many each owner has of them, in flight or within the window.
        me: Who asks.
        others: Who else wants some.
    """
    free = max(0, count - sum(used.values()))
    if not others or not free:
        return min(me.want, free)
    everybody = sorted((me, *others), key=lambda waiter: (waiter.since, waiter.owner))
    share, rest = divmod(count, len(everybody))
    missing = {
        waiter.owner: max(0, share + (place < rest) - used.get(waiter.owner, 0))
        for place, waiter in enumerate(everybody)
    }
    kept = sum(min(waiter.want, missing[waiter.owner]) for waiter in others)
    return min(me.want, free, max(missing[me.owner], free - kept))
