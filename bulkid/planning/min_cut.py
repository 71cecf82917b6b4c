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
from bulkid.planning.membership_classes import Kinds

_OPEN, _BY_GROUP, _BY_ACCOUNT = 0, 1, 2  # which PUT carries a kind, or a group's changes


def cheapest_cut(kinds: Kinds, prices: Sequence[int]) -> list[int]:
    """Choose the accounts that go by their own PUT.

    Of all cheapest choices it is the one with the most accounts by their own PUT.

    Args:
        kinds: The accounts by the groups that they change.
        prices: What each group costs if it carries anything, in PUTs.

    Returns:
        For each kind, how many of its accounts go by their own PUT: all or none.
    """
    of_kind, of_group = _settled(kinds, prices)
    left = array("i", [kind for kind, side in enumerate(of_kind) if side == _OPEN])
    if left:
        for kind in _by_account(kinds, prices, left, of_group):
            of_kind[kind] = _BY_ACCOUNT
    return [count if side == _BY_ACCOUNT else 0 for side, count in zip(of_kind, kinds.counts, strict=True)]


def _settled(kinds: Kinds, prices: Sequence[int]) -> tuple[list[int], list[int]]:
    """Give the sides of kinds and of groups, as far as a look at their neighbours tells."""
    known = _Neighbours(kinds, prices)
    known.settle()
    return known.of_kind, known.of_group


class _Neighbours:
    """What needs no cut: groups of which a look at their accounts tells on which side they are in the cheapest cover.

    A group that is as dear as all that it would carry, or dearer, is left to the accounts. A group that alone could
    carry more accounts than it costs (they change no other group that is still open) is taken. Either takes edges
    away, and so may settle other groups. A sheet that puts many accounts into few groups is settled by this alone.
    """

    __slots__ = ("_alone", "_by_group", "_counts", "_degree", "_groups", "_load", "_prices", "of_group", "of_kind")

    def __init__(self, kinds: Kinds, prices: Sequence[int]) -> None:
        self._groups, self._counts, self._prices = kinds.groups, kinds.counts, prices
        self._by_group = kinds.by_group()
        self._load = kinds.loads()  # of each group: accounts that are open
        self._degree = [len(groups) for groups in kinds.groups]  # of each kind: groups that are open
        self._alone = [0] * len(prices)  # of each group: open accounts without another open group
        for groups, count in zip(kinds.groups, kinds.counts, strict=True):
            if len(groups) == 1:
                self._alone[groups[0]] += count
        self.of_group = [_OPEN] * len(prices)
        self.of_kind = [_OPEN if groups else _BY_GROUP for groups in kinds.groups]  # without a group: nothing to send

    def settle(self) -> None:
        """Decide as many groups as can be, and the accounts that this decides."""
        queue = list(range(len(self._prices)))
        while queue:
            group = queue.pop()
            if self.of_group[group] != _OPEN:
                continue
            if self._load[group] <= self._prices[group]:
                queue += self._leave(group)
            elif self._alone[group] > self._prices[group]:
                queue += self._take(group)

    def _leave(self, group: int) -> list[int]:
        """Send a group's accounts by their own PUT; give the groups that have less to carry now."""
        self.of_group[group] = _BY_ACCOUNT
        lighter = []
        for kind in self._open(group):
            self.of_kind[kind] = _BY_ACCOUNT
            for other in self._groups[kind]:
                if self.of_group[other] == _OPEN:
                    self._load[other] -= self._counts[kind]
                    lighter.append(other)
        return lighter

    def _take(self, group: int) -> list[int]:
        """Let a group carry its accounts; give the groups that have more accounts for themselves now."""
        self.of_group[group] = _BY_GROUP
        sole = []
        for kind in self._open(group):
            self._degree[kind] -= 1
            if not self._degree[kind]:
                self.of_kind[kind] = _BY_GROUP
            elif self._degree[kind] == 1:
                last = next(other for other in self._groups[kind] if self.of_group[other] == _OPEN)
                self._alone[last] += self._counts[kind]
                sole.append(last)
        return sole

    def _open(self, group: int) -> list[int]:
        return [kind for kind in self._by_group[group] if self.of_kind[kind] == _OPEN]


def _by_account(kinds: Kinds, prices: Sequence[int], left: Sequence[int], of_group: Sequence[int]) -> Iterator[int]:
    """Give the open kinds that go by account in the cheapest cover."""
    # A tie goes to the accounts: every PUT costs `scale`, and one of a group a grain more. All grains together
    # stay below one PUT, so they decide between equals only.
    is_open = [side == _OPEN for side in of_group]
    scale = 1 + sum(compress(prices, is_open))
    asks = [(scale + 1) * price if each else 0 for price, each in zip(prices, is_open, strict=True)]
    flow = Flow(kinds, left, asks, scale)
    if flow.fill():
        dearer = {group for group, is_one in enumerate(flow.unsatisfied) if is_one}  # than their accounts
        return (kind for kind in left if not dearer.isdisjoint(kinds.groups[kind]))
    del flow
    return _cut(kinds, prices, left, of_group)


def _cut(kinds: Kinds, prices: Sequence[int], left: Sequence[int], of_group: Sequence[int]) -> Iterator[int]:
    """Cut the graph of what is still open; give the kinds that go by account.

    What there is one of per edge is in arrays of plain numbers, which take an eighth of what lists of them do.
    """
    import igraph  # type: ignore[import-untyped]  # it has no type information

    place: dict[int, int] = {}  # group -> vertex
    first = 2 + len(left)  # 0 is the source, 1 the sink
    heads, tails = array("i"), array("i")
    for vertex, kind in enumerate(left, 2):
        for group in kinds.groups[kind]:
            if of_group[group] == _OPEN:
                tails.append(vertex)
                heads.append(place.setdefault(group, first + len(place)))
    # The same prices as in `_by_account`; whole numbers below 2**53 are exact as floats.
    scale = 1 + sum(prices[group] for group in place)
    endless = float(scale * sum(kinds.counts[kind] for kind in left) + scale)
    weights = [float(scale * kinds.counts[kind]) for kind in left]
    weights += [float((scale + 1) * prices[group]) for group in place]
    weights += [endless] * len(heads)
    graph = igraph.Graph(first + len(place), _edges(len(left), len(place), tails, heads), directed=True)
    del tails, heads
    sides: Sequence[Sequence[int]] = graph.st_mincut(0, 1, weights).partition
    with_source = bytearray(first + len(place))
    for vertex in next(side for side in sides if 0 in side):
        with_source[vertex] = True
    return (kind for vertex, kind in enumerate(left, 2) if not with_source[vertex])


def _edges(accounts: int, groups: int, tails: Iterable[int], heads: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Give the edges in the order of their weights: source to accounts, groups to sink, accounts to groups."""
    first_group = 2 + accounts
    yield from zip(repeat(0), range(2, first_group))
    yield from zip(range(first_group, first_group + groups), repeat(1))
    yield from zip(tails, heads, strict=True)
