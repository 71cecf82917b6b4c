"""The cheapest cover where a group's price is fixed: a minimum cut.

Accounts stand on one side, groups on the other, a membership change is an edge between them, and each edge needs one of
its ends: its account's own PUT (price 1) or its group's PUTs. That is the vertex cover of least weight in a bipartite
graph, which is a minimum s-t cut (Koenig 1931; Ford and Fulkerson 1956): source -> account (price), account -> group
(infinite), group -> sink (price). Where each group takes one PUT the cut is the optimum; where it takes several, their
number depends on who is left to carry, and the cut is a start for :mod:`bulkid.planning.local_search`.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, repeat

from bulkid.planning.max_flow import Flow
from bulkid.planning.membership_classes import MembershipClasses

_UNDECIDED, _BY_GROUP, _BY_ACCOUNT = 0, 1, 2  # which PUT carries a class, or a group's changes


def cheapest_cut(classes: MembershipClasses, prices: Sequence[int]) -> list[int]:
    """Choose the accounts that go by their own PUT.

    Of all cheapest choices it is the one with the most accounts by their own PUT.

    Args:
        classes: The accounts by the groups that they change.
        prices: What each group costs if it carries anything, in PUTs.

    Returns:
        For each class, how many of its accounts go by their own PUT: all or none.
    """
    side_of_class, side_of_group = _decided_by_neighbours(classes, prices)
    undecided = array("i", [class_index for class_index, side in enumerate(side_of_class) if side == _UNDECIDED])
    if undecided:
        for class_index in _by_account(classes, prices, undecided, side_of_group):
            side_of_class[class_index] = _BY_ACCOUNT
    return [count if side == _BY_ACCOUNT else 0 for side, count in zip(side_of_class, classes.counts, strict=True)]


def _decided_by_neighbours(classes: MembershipClasses, prices: Sequence[int]) -> tuple[list[int], list[int]]:
    """Give the sides of classes and of groups, as far as a look at their neighbours tells."""
    known = _Neighbours(classes, prices)
    known.decide()
    return known.side_of_class, known.side_of_group


class _Neighbours:
    """What needs no cut: groups of which a look at their accounts tells on which side they are in the cheapest cover.

    A group that is as dear as all that it would carry, or dearer, is left to the accounts. A group that alone could
    carry more accounts than it costs (they change no other group that is still open) is taken. Either takes edges
    away, and so may settle other groups. A sheet that puts many accounts into few groups is settled by this alone.
    """

    __slots__ = (
        "_alone",
        "_by_group",
        "_counts",
        "_degree",
        "_groups",
        "_load",
        "_prices",
        "side_of_class",
        "side_of_group",
    )

    def __init__(self, classes: MembershipClasses, prices: Sequence[int]) -> None:
        self._groups, self._counts, self._prices = classes.groups, classes.counts, prices
        self._by_group = classes.by_group()
        self._load = classes.loads()  # of each group: accounts that are open
        self._degree = [len(groups) for groups in classes.groups]  # of each class: groups that are open
        self._alone = [0] * len(prices)  # of each group: open accounts without another open group
        for groups, count in zip(classes.groups, classes.counts, strict=True):
            if len(groups) == 1:
                self._alone[groups[0]] += count
        self.side_of_group = [_UNDECIDED] * len(prices)
        self.side_of_class = [
            _UNDECIDED if groups else _BY_GROUP for groups in classes.groups
        ]  # without a group: nothing to send

    def decide(self) -> None:
        """Decide as many groups as can be, and the accounts that this decides."""
        queue = list(range(len(self._prices)))
        while queue:
            group = queue.pop()
            if self.side_of_group[group] != _UNDECIDED:
                continue
            if self._load[group] <= self._prices[group]:
                queue += self._assign_to_accounts(group)
            elif self._alone[group] > self._prices[group]:
                queue += self._assign_to_group(group)

    def _assign_to_accounts(self, group: int) -> list[int]:
        """Send a group's accounts by their own PUT; give the groups that have less to carry now."""
        self.side_of_group[group] = _BY_ACCOUNT
        lighter = []
        for class_index in self._undecided(group):
            self.side_of_class[class_index] = _BY_ACCOUNT
            for other in self._groups[class_index]:
                if self.side_of_group[other] == _UNDECIDED:
                    self._load[other] -= self._counts[class_index]
                    lighter.append(other)
        return lighter

    def _assign_to_group(self, group: int) -> list[int]:
        """Let a group carry its accounts; give the groups that have more accounts for themselves now."""
        self.side_of_group[group] = _BY_GROUP
        sole = []
        for class_index in self._undecided(group):
            self._degree[class_index] -= 1
            if not self._degree[class_index]:
                self.side_of_class[class_index] = _BY_GROUP
            elif self._degree[class_index] == 1:
                last = next(other for other in self._groups[class_index] if self.side_of_group[other] == _UNDECIDED)
                self._alone[last] += self._counts[class_index]
                sole.append(last)
        return sole

    def _undecided(self, group: int) -> list[int]:
        return [class_index for class_index in self._by_group[group] if self.side_of_class[class_index] == _UNDECIDED]


def _by_account(
    classes: MembershipClasses, prices: Sequence[int], undecided: Sequence[int], side_of_group: Sequence[int]
) -> Iterator[int]:
    """Give the open classes that go by account in the cheapest cover."""
    # A tie goes to the accounts: every PUT costs `scale`, and one of a group a grain more. All grains together
    # stay below one PUT, so they decide between equals only.
    is_open = [side == _UNDECIDED for side in side_of_group]
    scale = 1 + sum(compress(prices, is_open))
    demands = [(scale + 1) * price if each else 0 for price, each in zip(prices, is_open, strict=True)]
    flow = Flow(classes, undecided, demands, scale)
    if flow.fill():
        dearer = {group for group, is_one in enumerate(flow.unmet) if is_one}  # than their accounts
        return (class_index for class_index in undecided if not dearer.isdisjoint(classes.groups[class_index]))
    del flow
    return _cut(classes, prices, undecided, side_of_group)


def _cut(
    classes: MembershipClasses, prices: Sequence[int], undecided: Sequence[int], side_of_group: Sequence[int]
) -> Iterator[int]:
    """Cut the graph of what is still open; give the classes that go by account.

    What there is one of per edge is in arrays of plain numbers, which take an eighth of what lists of them do.
    """
    import igraph  # type: ignore[import-untyped]  # it has no type information

    place: dict[int, int] = {}  # group -> vertex
    first = 2 + len(undecided)  # 0 is the source, 1 the sink
    heads, tails = array("i"), array("i")
    for vertex, class_index in enumerate(undecided, 2):
        for group in classes.groups[class_index]:
            if side_of_group[group] == _UNDECIDED:
                tails.append(vertex)
                heads.append(place.setdefault(group, first + len(place)))
    # The same prices as in `_by_account`; whole numbers below 2**53 are exact as floats.
    scale = 1 + sum(prices[group] for group in place)
    endless = float(scale * sum(classes.counts[class_index] for class_index in undecided) + scale)
    weights = [float(scale * classes.counts[class_index]) for class_index in undecided]
    weights += [float((scale + 1) * prices[group]) for group in place]
    weights += [endless] * len(heads)
    graph = igraph.Graph(first + len(place), _edges(len(undecided), len(place), tails, heads), directed=True)
    del tails, heads
    sides: Sequence[Sequence[int]] = graph.st_mincut(0, 1, weights).partition
    with_source = bytearray(first + len(place))
    for vertex in next(side for side in sides if 0 in side):
        with_source[vertex] = True
    return (class_index for vertex, class_index in enumerate(undecided, 2) if not with_source[vertex])


def _edges(accounts: int, groups: int, tails: Iterable[int], heads: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Give the edges in the order of their weights: source to accounts, groups to sink, accounts to groups."""
    first_group = 2 + accounts
    yield from zip(repeat(0), range(2, first_group))
    yield from zip(range(first_group, first_group + groups), repeat(1))
    yield from zip(tails, heads, strict=True)
