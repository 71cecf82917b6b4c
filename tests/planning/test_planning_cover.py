"""Which request carries which change: compared with a search of every possible choice."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkid.model import Change
from bulkid.planning.cover import Cover, GroupBatch, accounts_only, cover, groups_where_possible
from bulkid.text import fold
from tests.support.examples import examples
from tests.support.planning_world import LAW, account

Sets = list[frozenset[int]]
HARD = settings(LAW, max_examples=examples(150, soak=2000))


def change(
    number: int, add: Sequence[str] = (), remove: Sequence[str] = (), *, renames: bool = False, blind: bool = False
) -> Change:
    before = None if blind else account(f"a-{number}", f"Robot {number}", "Roby")
    return Change(f"a-{number}", f"Robot {number}", ("Robbie",), renames, tuple(add), tuple(remove), before)


def adding(sets: Sequence[Sequence[int] | frozenset[int]]) -> list[Change]:
    return [change(number, [f"g-{group}" for group in sorted(groups)]) for number, groups in enumerate(sets)]


def group_sets(accounts: int = 7, groups: int = 4) -> st.SearchStrategy[Sets]:
    return st.lists(st.frozensets(st.integers(0, groups - 1), min_size=1), min_size=1, max_size=accounts)


SOME_IDS = st.lists(st.sampled_from(["g-a", "g-b", "g-c", "g-d", "g-e"]), unique=True)
SPELL = st.sampled_from([str.lower, str.upper])


@st.composite
def any_changes(draw: st.DrawFn) -> list[Change]:
    """Changes of every sort, the groups in any spelling."""
    made = []
    for number in range(draw(st.integers(0, 12))):
        ids = draw(SOME_IDS)
        cut = draw(st.integers(0, len(ids)))
        spelled = [draw(SPELL)(text) for text in ids]
        renames, blind = draw(st.booleans()) and draw(st.booleans()), draw(st.integers(0, 9)) == 0
        made.append(change(number, spelled[:cut], spelled[cut:], renames=renames, blind=blind))
    return made


BATCHES = st.sampled_from([1, 2, 3, None])


def cheapest(sets: Sequence[frozenset[int]], batch: int | None) -> tuple[int, int]:
    """The fewest PUTs over all choices and, with that many, the fewest of groups."""
    best = (len(sets) + 1, 0)
    for choice in range(1 << len(sets)):
        carried = Counter(group for place, groups in enumerate(sets) if not choice >> place & 1 for group in groups)
        of_groups = len(carried) if batch is None else sum(-(-load // batch) for load in carried.values())
        best = min(best, (choice.bit_count() + of_groups, of_groups))
    return best


def carried(found: Cover, changes: Sequence[Change]) -> Counter[tuple[int, str, bool]]:
    """Every membership change that a request of the cover carries: account, group, whether it is added."""
    own = [
        (place, fold(group), added)
        for place in found.by_account
        for ids, added in ((changes[place].add, True), (changes[place].remove, False))
        for group in ids
    ]
    of_groups = [
        (place, fold(batch.group_id), added)
        for batch in found.batches
        for places, added in ((batch.add, True), (batch.remove, False))
        for place in places
    ]
    return Counter(own + of_groups)


@HARD
@given(group_sets())
@example([frozenset({0}), frozenset({0, 1}), frozenset({1})])
def test_without_a_limit_for_group_puts_no_choice_takes_fewer_and_ties_go_to_the_accounts(sets: Sets) -> None:
    found = cover(adding(sets), None)
    assert (found.puts, len(found.batches)) == cheapest(sets, None)


@HARD
@given(group_sets(), BATCHES)
def test_with_batches_the_puts_are_within_one_of_the_fewest_and_never_more_than_one_per_account(
    sets: Sets, batch: int | None
) -> None:
    found = cover(adding(sets), batch)
    assert cheapest(sets, batch)[0] <= found.puts <= cheapest(sets, batch)[0] + 1
    assert found.puts <= accounts_only(adding(sets)).puts


@pytest.mark.parametrize(
    ("batch", "sets"),
    [
        (3, [(0,), (2,), (0, 2), (0, 2), (1, 2), (0, 2)]),  # from the cut alone
        (2, [(0, 1), (2,), (0,), (1, 2), (0, 1)]),  # from all accounts by group alone
        (3, [(1, 2, 3), (1,), (0, 3), (2,), (0, 2, 3), (1, 2, 3), (3,)]),  # from all accounts by themselves alone
        (2, [(1,), (0, 1), (0,), (0, 1)]),  # what spares two PUTs comes before what spares one
        (2, [(0,), (3, 0, 2), (3,), (1, 0, 3), (2,)]),  # a whole group's accounts at once back to the group
        (2, [(0, 1), (0,), (2, 1), (0, 1), (1,)]),  # one more batch for several accounts
        (4, [(0, 1, 2)] * 3 + [(0, 2), (0, 1), (1, 2), (0,)]),
        (2, [(0, 1), (0, 3), (1,), (0,), (0,), (0, 2), (2,)]),
    ],
)
def test_where_a_greedy_choice_goes_astray_the_fewest_are_found(batch: int, sets: list[tuple[int, ...]]) -> None:
    assert cover(adding(sets), batch).puts == cheapest([frozenset(groups) for groups in sets], batch)[0]


@HARD
@given(group_sets(9, 5), st.sampled_from([2, 3, 4]))
def test_no_account_and_no_whole_group_moved_to_the_other_side_makes_the_cover_smaller(sets: Sets, batch: int) -> None:
    found = cover(adding(sets), batch)
    own = frozenset(found.by_account)
    whole = [frozenset(place for place, groups in enumerate(sets) if group in groups) for group in range(5)]
    others = [own ^ {place} for place in range(len(sets))]
    for other in [*others, *(own | members for members in whole), *(own - members for members in whole)]:
        loads = Counter(group for place, groups in enumerate(sets) if place not in other for group in groups)
        assert len(other) + sum(-(-load // batch) for load in loads.values()) >= found.puts


@LAW
@given(any_changes(), BATCHES, st.sampled_from(["auto", "accounts", "groups"]))
def test_every_change_is_carried_exactly_once_by_its_account_or_by_its_groups(
    changes: list[Change], batch: int | None, via: str
) -> None:
    found = {
        "auto": lambda: cover(changes, batch),
        "accounts": lambda: accounts_only(changes),
        "groups": lambda: groups_where_possible(changes, batch),
    }[via]()
    wanted = Counter(
        (place, fold(group), added)
        for place, one in enumerate(changes)
        for ids, added in ((one.add, True), (one.remove, False))
        for group in ids
    )
    assert carried(found, changes) == wanted
    assert list(found.by_account) == sorted(set(found.by_account))
    by_group = {place for each in found.batches for place in each.add + each.remove}
    assert by_group.isdisjoint(found.by_account)
    assert by_group | set(found.by_account) == {place for place, one in enumerate(changes) if not one.empty}
    for place, one in enumerate(changes):
        assert place in found.by_account or not (one.sets_fields or (one.before is None and not one.empty))


@LAW
@given(any_changes(), BATCHES)
def test_no_group_put_is_empty_or_larger_than_a_batch_and_only_its_last_one_has_room(
    changes: list[Change], batch: int | None
) -> None:
    for found in (cover(changes, batch), groups_where_possible(changes, batch)):
        sizes: dict[str, list[int]] = {}
        for each in found.batches:
            sizes.setdefault(fold(each.group_id), []).append(len(each.add) + len(each.remove))
            assert list(each.add) == sorted(each.add)
            assert list(each.remove) == sorted(each.remove)
        for of_group in sizes.values():
            assert of_group[-1] >= 1
            assert len(of_group) == 1 if batch is None else of_group[:-1] == [batch] * (len(of_group) - 1)
            assert batch is None or of_group[-1] <= batch


@LAW
@given(any_changes(), BATCHES)
def test_the_same_changes_always_give_the_same_cover(changes: list[Change], batch: int | None) -> None:
    assert cover(changes, batch) == cover(list(changes), batch)


def test_many_accounts_into_three_groups_take_the_groups_puts() -> None:
    found = cover(adding([(0, 1, 2)] * 2_000), 200)
    assert (found.puts, found.by_account) == (30, ())
    assert found.batches[0] == GroupBatch("g-0", tuple(range(200)), ())


def test_a_rename_carries_its_memberships_so_that_its_groups_have_less_to_carry() -> None:
    plain = adding([(0,)] * 4)
    changes = [*plain, change(4, ["g-0"], ["g-1"], renames=True), change(5, [], ["G-0"])]
    found = cover(changes, 5)
    assert found == Cover((4,), (GroupBatch("g-0", (0, 1, 2, 3), (5,)),))
    assert groups_where_possible(changes, 5) == found
    assert accounts_only(changes).by_account == (0, 1, 2, 3, 4, 5)


def test_an_account_whose_state_is_not_known_is_never_in_a_group_put() -> None:
    changes = [*adding([(0,)] * 3), change(3, ["g-0"], blind=True)]
    for found in (cover(changes, 10), groups_where_possible(changes, 10)):
        assert found == Cover((3,), (GroupBatch("g-0", (0, 1, 2), ()),))


def test_an_account_that_would_begin_a_new_batch_goes_by_its_own_put() -> None:
    found = cover(adding([(0,)] * 7), 3)
    assert found.puts == 3
    assert found.by_account == (0,)
    assert [len(batch.add) for batch in found.batches] == [3, 3]


def test_accounts_that_spare_two_groups_their_last_batch_go_by_their_own_put() -> None:
    # Each group has one batch of three and two accounts over; the two that are in both groups are the ones to take out.
    sets: list[tuple[int, ...]] = [(0,)] * 3 + [(1,)] * 3 + [(0, 1)] * 2
    found = cover(adding(sets), 3)
    assert found.by_account == (6, 7)
    assert found.puts == 4


def test_groups_that_fit_into_one_put_each_are_covered_as_if_there_were_no_limit() -> None:
    changes = adding([(0, 1), (0, 2), (0, 3), (1, 2)])
    assert cover(changes, 3) == cover(changes, None)


def test_nothing_to_send_takes_no_put() -> None:
    assert cover([], 200) == cover([change(0)], 200) == accounts_only([change(0)]) == Cover((), ())


def test_an_account_to_be_both_in_and_out_of_a_group_is_left_to_its_own_put() -> None:
    changes = [*adding([(0,)] * 3), change(3, ["g-0"], ["G-0"])]
    assert cover(changes, 10).by_account == (3,)


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_without_room_is_refused(batch: int) -> None:
    with pytest.raises(ValueError, match="room for at least one account"):
        cover([], batch)


# --- groups that refuse group requests


@HARD
@given(any_changes(), st.sets(st.sampled_from(["g-a", "g-b", "g-c"])), BATCHES, st.booleans())
def test_no_group_request_goes_to_a_group_that_refuses_them_and_every_change_is_carried(
    changes: list[Change], refusing: set[str], batch: int | None, everything: bool
) -> None:
    choose = groups_where_possible if everything else cover
    chosen = choose(changes, batch, refusing)
    assert not {fold(each.group_id) for each in chosen.batches} & refusing
    by_group: dict[int, set[str]] = {}
    for each in chosen.batches:
        for place in (*each.add, *each.remove):
            by_group.setdefault(place, set()).add(fold(each.group_id))
    for place, one in enumerate(changes):
        groups = {fold(group) for group in (*one.add, *one.remove)}
        if groups & refusing:
            assert place in chosen.by_account
        assert place in chosen.by_account or by_group.get(place, set()) == groups
    if not refusing:
        assert chosen == choose(changes, batch)
