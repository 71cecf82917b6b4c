"""The minimum cut: bulkid's own search gives the cut of the library, and leaves hard cases to the library."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkid.planning import min_cut
from bulkid.planning.membership_classes import MembershipClasses
from bulkid.planning.min_cut import cheapest_cut
from tests.support.examples import examples
from tests.support.planning_world import LAW


def classes_of(groups: Sequence[tuple[int, ...]], counts: Sequence[int], size: int) -> MembershipClasses:
    return MembershipClasses(tuple(f"g-{number}" for number in range(size)), tuple(groups), tuple(counts), ())


@st.composite
def graphs(draw: st.DrawFn) -> tuple[MembershipClasses, list[int]]:
    """Kinds of accounts, and what each group costs."""
    size = draw(st.integers(1, 8))
    sets = st.frozensets(st.integers(0, size - 1), min_size=1, max_size=4).map(lambda each: tuple(sorted(each)))
    groups = draw(st.lists(sets, unique=True, min_size=1, max_size=30))
    counts = draw(st.lists(st.integers(1, 5), min_size=len(groups), max_size=len(groups)))
    return classes_of(groups, counts, size), draw(st.lists(st.integers(1, 9), min_size=size, max_size=size))


def cost(classes: MembershipClasses, prices: Sequence[int], own: Sequence[int]) -> tuple[int, int]:
    """PUTs in all, and those of groups."""
    carried = {group for groups, some in zip(classes.groups, own, strict=True) if not some for group in groups}
    of_groups = sum(prices[group] for group in carried)
    return sum(own) + of_groups, of_groups


def both(classes: MembershipClasses, prices: list[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """What the cut costs by our own method, and by the library."""
    costs = []
    for steps in (10_000, -1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(min_cut, "STEPS_PER_EDGE", steps)
            if steps > 0:
                patch.delattr(min_cut, "_cut")
            costs.append(cost(classes, prices, cheapest_cut(classes, prices)))
    return costs[0], costs[1]


@settings(LAW, max_examples=examples(150, soak=2000))
@given(graphs())
def test_both_methods_find_cuts_of_the_same_cost(graph: tuple[MembershipClasses, list[int]]) -> None:
    own, library = both(*graph)
    assert own == library


@pytest.mark.parametrize("seed", range(12))
def test_both_methods_find_cuts_of_the_same_cost_in_graphs_of_long_paths(seed: int) -> None:
    chance = random.Random(seed)
    size = chance.choice((40, 80, 160))
    groups = list({tuple(sorted(chance.sample(range(size), chance.choice((2, 2, 3))))) for _ in range(size * 5 // 4)})
    graph = classes_of(groups, [chance.choice((1, 1, 1, 2)) for _ in groups], size)
    own, library = both(graph, [1 + (chance.random() < 0.2) for _ in range(size)])
    assert own == library


def test_a_sheet_of_thousands_of_groups_takes_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library takes 55 MB for 100,000 accounts in 2 of 33,333 groups each, just when a plan holds the most."""
    chance = random.Random(1)
    groups = list({tuple(sorted(chance.sample(range(2_000), 2))) for _ in range(6_000)})
    monkeypatch.setattr(min_cut, "STEPS_PER_EDGE", 10)
    monkeypatch.delattr(min_cut, "_cut")
    own = cheapest_cut(classes_of(groups, [1] * len(groups), 2_000), [1] * 2_000)
    assert 0 < sum(own) < 2_000
