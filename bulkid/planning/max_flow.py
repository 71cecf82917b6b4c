"""The largest flow from accounts to groups, by augmenting paths from one group after another; it tells a minimum cut.

A group asks the accounts that change it for what it costs, and each account can give what it costs. A group that is
not satisfied asks an account that gave to another group; that group then asks further (Ford and Fulkerson 1956; the
search by trees is that of the Hungarian method, Kuhn 1955). Groups from which no account with something left is
reached stay so, and are not searched again. Nearly every group is satisfied by its own accounts, so that this takes a
tenth of the memory, and less time, than a general flow library, which is asked where it takes too many steps.
"""

from array import array
from collections.abc import Sequence

from bulkid.planning.membership_classes import MembershipClasses

STEPS_PER_EDGE = 20
"""How many looks at an account are allowed for each membership change, before a general method takes over."""


class Flow:
    """A flow from the open classes of accounts to their open groups.

    Args:
        classes: The accounts by the groups that they change.
        left: The classes that are open.
        demands: What each group asks for; 0 for a group that is not open.
        supply: What one account can give.
    """

    __slots__ = ("_by_group", "_demands", "_flow", "_groups", "_spare", "_start", "_steps", "unmet")

    def __init__(self, classes: MembershipClasses, left: Sequence[int], demands: Sequence[int], supply: int) -> None:
        self._groups, self._demands = classes.groups, demands
        self._by_group: list[array[int] | None] = [array("i") if demand else None for demand in demands]
        self._spare = array("q", bytes(8 * len(classes.groups)))
        self._start = array("i", bytes(4 * len(classes.groups)))  # of each class: where its edges begin
        edges = 0
        for class_index in left:
            self._spare[class_index] = supply * classes.counts[class_index]
            self._start[class_index] = edges
            edges += len(classes.groups[class_index])
            for group in classes.groups[class_index]:
                demanding = self._by_group[group]
                if demanding is not None:
                    demanding.append(class_index)
        self._flow = array("q", bytes(8 * edges))  # of each edge, in the order of the classes and of their groups
        self._steps = STEPS_PER_EDGE * edges
        self.unmet = bytearray(len(demands))
        """Of each group: whether it is on the sink's side of the minimum cut."""

    def fill(self) -> bool:
        """Satisfy as many groups as possible; say whether that came to its end within the steps allowed."""
        for group, demand in enumerate(self._demands):
            while demand > 0 and not self.unmet[group]:
                demand -= self._augment(group, demand)  # noqa: PLW2901 - what is still asked for
                if self._steps < 0:
                    return False
        return True

    def _augment(self, group: int, demand: int) -> int:
        """Send more to a group along a shortest path; give how much, or mark all that was searched and give 0."""
        reached_from: dict[int, tuple[int, int]] = {
            group: (-1, -1)
        }  # group -> the class that gave to it, and which group asks
        queue = [group]
        for here in queue:
            members = self._by_group[here] or ()
            self._steps -= len(members)
            for class_index in members:
                if self._spare[class_index]:
                    return self._send(class_index, here, reached_from, demand)
                start = self._start[class_index]
                for edge, other in enumerate(self._groups[class_index], start):
                    if self._flow[edge] and other not in reached_from and not self.unmet[other]:
                        reached_from[other] = (class_index, here)
                        queue.append(other)
        for each in reached_from:
            self.unmet[each] = True
        return 0

    def _send(self, class_index: int, to: int, reached_from: dict[int, tuple[int, int]], most: int) -> int:
        """Send what an account has left, and what every account on the path gave, to the group that asks."""
        amount = min(most, self._spare[class_index])
        supplier, demanding = reached_from[to]
        group = to
        while supplier >= 0:
            amount = min(amount, self._flow[self._edge(supplier, group)])
            group = demanding
            supplier, demanding = reached_from[group]
        self._spare[class_index] -= amount
        self._flow[self._edge(class_index, to)] += amount
        supplier, demanding = reached_from[to]
        group = to
        while supplier >= 0:
            self._flow[self._edge(supplier, group)] -= amount
            self._flow[self._edge(supplier, demanding)] += amount
            group = demanding
            supplier, demanding = reached_from[group]
        return amount

    def _edge(self, class_index: int, group: int) -> int:
        return self._start[class_index] + self._groups[class_index].index(group)
