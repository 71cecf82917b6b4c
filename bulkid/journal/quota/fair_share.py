"""Who may have how much of a quota, where several processes want more of it than there is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace


@dataclass(frozen=True, slots=True)
class Demand:
    """A process that wants slots."""

    owner: str
    want: int
    since: float  # since when it has been given nothing


def grant(count: int, used: Mapping[str, int], demand: Demand, others: Sequence[Demand]) -> int:
    """How many of the slots that it wants a process may have now, so that nobody starves and none is left over.

    What is free goes, slot by slot, to whoever has the fewest of the window, and among equals to who has waited
    longest, until nobody wants more: max-min fair sharing by progressive filling
    (https://en.wikipedia.org/wiki/Max-min_fairness). What falls to the others that way stays free for them.

    Args:
        count: Slots of the window.
        used: How many each owner has of them, in flight or within the window.
        demand: Of the process that asks.
        others: Who else wants some.
    """
    free = max(0, count - sum(used.values()))
    if not others:
        return min(demand.want, free)
    mine = 0
    heap = [(used.get(each.owner, 0), each.since, each.owner, each.want) for each in (demand, *others) if each.want > 0]
    heapify(heap)
    while free and heap:
        used_count, since, owner, want = heap[0]
        mine += owner == demand.owner
        free -= 1
        if want > 1:
            heapreplace(heap, (used_count + 1, since, owner, want - 1))
        else:
            heappop(heap)
    return mine
