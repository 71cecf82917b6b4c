"""The largest flow from accounts to groups, by augmenting paths from one group after another; it tells a minimum cut.

A group asks the accounts that change it for what it costs, and each account can give what it costs. A group that is
not satisfied asks an account that gave to another group; that group then asks further (Ford and Fulkerson 1956; the
search by trees is that of the Hungarian method, Kuhn 1955). Groups from which no account with something left is
reached stay so, and are not searched again. Nearly every group is satisfied by its own accounts, so that this takes a
tenth of the memory, and less time, than a general flow library, which is asked where it takes too many steps.
"""

from array import array
from collections.abc import Sequence

from bulkid.planning.membership_classes import Kinds

STEPS_PER_EDGE = 20
"""How many looks at an account are allowed for each membership change, before a general method takes over."""


class Flow:
    """A flow from the open kinds of accounts to their open groups.

    Args:
        kinds: The accounts by the groups that they change.
        left: The kinds that are open.
        asks: What each group asks for; 0 for a group that is not open.
        gives: What one account can give.
    """

    __slots__ = ("_asks", "_by_group", "_flow", "_groups", "_spare", "_start", "_steps", "unsatisfied")

    def __init__(self, kinds: Kinds, left: Sequence[int], asks: Sequence[int], gives: int) -> None:
        self._groups, self._asks = kinds.groups, asks
        self._by_group: list[array[int] | None] = [array("i") if ask else None for ask in asks]
        self._spare = array("q", bytes(8 * len(kinds.groups)))
        self._start = array("i", bytes(4 * len(kinds.groups)))  # of each kind: where its edges begin
        edges = 0
        for kind in left:
            self._spare[kind] = gives * kinds.counts[kind]
            self._start[kind] = edges
            edges += len(kinds.groups[kind])
            for group in kinds.groups[kind]:
                asking = self._by_group[group]
                if asking is not None:
                    asking.append(kind)
        self._flow = array("q", bytes(8 * edges))  # of each edge, in the order of the kinds and of their groups
        self._steps = STEPS_PER_EDGE * edges
        self.unsatisfied = bytearray(len(asks))
        """Of each group: whether it is on the sink's side of the minimum cut."""

    def fill(self) -> bool:
        """Satisfy as many groups as possible; say whether that came to its end within the steps allowed."""
        for group, ask in enumerate(self._asks):
            while ask > 0 and not self.unsatisfied[group]:
                ask -= self._augment(group, ask)  # noqa: PLW2901 - what is still asked for
                if self._steps < 0:
                    return False
        return True

    def _augment(self, group: int, ask: int) -> int:
        """Send more to a group along a shortest path; give how much, or mark all that was searched and give 0."""
        came: dict[int, tuple[int, int]] = {group: (-1, -1)}  # group -> the kind that gave to it, and which group asks
        queue = [group]
        for here in queue:
            members = self._by_group[here] or ()
            self._steps -= len(members)
            for kind in members:
                if self._spare[kind]:
                    return self._send(kind, here, came, ask)
                start = self._start[kind]
                for edge, other in enumerate(self._groups[kind], start):
                    if self._flow[edge] and other not in came and not self.unsatisfied[other]:
                        came[other] = (kind, here)
                        queue.append(other)
        for each in came:
            self.unsatisfied[each] = True
        return 0

    def _send(self, kind: int, to: int, came: dict[int, tuple[int, int]], most: int) -> int:
        """Send what an account has left, and what every account on the path gave, to the group that asks."""
        amount = min(most, self._spare[kind])
        giver, asking = came[to]
        group = to
        while giver >= 0:
            amount = min(amount, self._flow[self._edge(giver, group)])
            group = asking
            giver, asking = came[group]
        self._spare[kind] -= amount
        self._flow[self._edge(kind, to)] += amount
        giver, asking = came[to]
        group = to
        while giver >= 0:
            self._flow[self._edge(giver, group)] -= amount
            self._flow[self._edge(giver, asking)] += amount
            group = asking
            giver, asking = came[group]
        return amount

    def _edge(self, kind: int, group: int) -> int:
        return self._start[kind] + self._groups[kind].index(group)
