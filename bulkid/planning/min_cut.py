"""The cheapest cover where a group's price is fixed: a minimum cut.

Accounts stand on one side, groups on the other, a membership change is an edge between them, and each edge needs one of
its ends: its account's own PUT (price 1) or its group's PUTs. That is the vertex cover of least weight in a bipartite
graph, which is a minimum s-t cut (Koenig 1931; Ford and Fulkerson 1956): source -> account (price), account -> group
(infinite), group -> sink (price). Where each group takes one PUT the cut is the optimum; where it takes several, their
number depends on who is left to carry, and the cut is a start for :mod:`bulkid.planning.local_search`.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

from bulkid.planning.membership_classes import MembershipClasses


def cheapest_cut(classes: MembershipClasses, prices: Sequence[int]) -> list[int]:
    """Choose the accounts that go by their own PUT.

    Of all cheapest choices it is the one with the most accounts by their own PUT.
    A group's price is what it costs in PUTs if it carries anything. Returned is, for each class, how many of its
    accounts go by their own PUT: all or none.
    """
    with_groups = array("i", [class_index for class_index, groups in enumerate(classes.groups) if groups])
    by_account = set(_by_account(classes, prices, with_groups)) if with_groups else ()
    return [count if class_index in by_account else 0 for class_index, count in enumerate(classes.counts)]


def _by_account(classes: MembershipClasses, prices: Sequence[int], with_groups: Sequence[int]) -> Iterator[int]:
    """Give the classes that go by account in the cheapest cover."""
    # A tie goes to the accounts: every PUT costs `scale`, and one of a group a grain more. All grains together
    # stay below one PUT, so they decide between equals only.
    scale = 1 + sum(prices)
    flow = Flow(classes, [(scale + 1) * price for price in prices], scale)
    if flow.fill():
        dearer = {group for group, is_one in enumerate(flow.unmet) if is_one}  # than their accounts
        return (class_index for class_index in with_groups if not dearer.isdisjoint(classes.groups[class_index]))
    del flow
    return _cut(classes, prices, with_groups)


def _cut(classes: MembershipClasses, prices: Sequence[int], with_groups: Sequence[int]) -> Iterator[int]:
    """Cut the graph with a library; arrays for what there is one of per edge take an eighth of the memory of lists."""
    import igraph  # type: ignore[import-untyped]  # it has no type information

    first = 2 + len(with_groups)  # vertex of the first group; 0 is the source, 1 the sink
    heads, tails = array("i"), array("i")
    for vertex, class_index in enumerate(with_groups, 2):
        for group in classes.groups[class_index]:
            tails.append(vertex)
            heads.append(first + group)
    # The same prices as in `_by_account`; whole numbers below 2**53 are exact as floats.
    scale = 1 + sum(prices)
    endless = float(scale * sum(classes.counts) + scale)
    weights = [float(scale * classes.counts[class_index]) for class_index in with_groups]
    weights += [float((scale + 1) * price) for price in prices]
    weights += [endless] * len(heads)
    graph = igraph.Graph(first + len(prices), _edges(len(with_groups), len(prices), tails, heads), directed=True)
    del tails, heads
    sides: Sequence[Sequence[int]] = graph.st_mincut(0, 1, weights).partition
    with_source = bytearray(first + len(prices))
    for vertex in next(side for side in sides if 0 in side):
        with_source[vertex] = True
    return (class_index for vertex, class_index in enumerate(with_groups, 2) if not with_source[vertex])


def _edges(accounts: int, groups: int, tails: Iterable[int], heads: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Give the edges in the order of their weights: source to accounts, groups to sink, accounts to groups."""
    first_group = 2 + accounts
    yield from zip(repeat(0), range(2, first_group))
    yield from zip(range(first_group, first_group + groups), repeat(1))
    yield from zip(tails, heads, strict=True)


STEPS_PER_EDGE = 20
"""How many looks at an account are allowed for each membership change, before a general method takes over."""


class Flow:
    """A flow from the classes of accounts to their groups.

    A group asks the accounts that change it for what it costs (``demands``), and an account can give what it costs
    (``supply``). A group that is not satisfied asks an account that gave to another group; that group then asks further
    (Ford and Fulkerson 1956; the search by trees is that of the Hungarian method, Kuhn 1955). Groups from which no
    account with something left is reached stay so, and are not searched again. Nearly every group is satisfied by its
    own accounts, so that this takes a tenth of the memory, and less time, than a general flow library, which is asked
    where it takes too many steps.
    """

    def __init__(self, classes: MembershipClasses, demands: Sequence[int], supply: int) -> None:
        self._groups, self._demands = classes.groups, demands
        self._by_group = [array("i") for _ in demands]
        self._spare = array("q", [supply * count for count in classes.counts])
        self._start = array("i")  # of each class: where its edges begin
        edges = 0
        for class_index, groups in enumerate(classes.groups):
            self._start.append(edges)
            edges += len(groups)
            for group in groups:
                self._by_group[group].append(class_index)
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
        # group -> the class that gave to it, and which group asks
        reached_from: dict[int, tuple[int, int]] = {group: (-1, -1)}
        queue = [group]
        for here in queue:
            members = self._by_group[here]
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
