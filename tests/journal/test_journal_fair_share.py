"""Fair shares: every process gets some of the quota, none gets more than is left, and none of it stays unused."""

from hypothesis import given
from hypothesis import strategies as st

from bulkid.journal.quota.ledger import Demand, grant

counts = st.integers(1, 40)
wants = st.lists(st.integers(1, 30), min_size=1, max_size=5)


def waiters(wants: list[int]) -> list[Demand]:
    return [Demand(f"run-{number}", want, float(number)) for number, want in enumerate(wants)]


def play(count: int, wants: list[int], order: list[int]) -> dict[str, int]:
    """Let all processes ask in some order, again and again, until none is given any more."""
    everybody = waiters(wants)
    used = {waiter.owner: 0 for waiter in everybody}
    given_any = True
    while given_any:
        given_any = False
        for place in order:
            asking = everybody[place]
            left = wants[place] - used[asking.owner]
            if left <= 0:
                continue
            others = [
                Demand(other.owner, wants[number] - used[other.owner], other.since)
                for number, other in enumerate(everybody)
                if number != place and wants[number] > used[other.owner]
            ]
            got = grant(count, used, Demand(asking.owner, left, asking.since), others)
            assert 0 <= got <= left
            used[asking.owner] += got
            assert sum(used.values()) <= count
            given_any = given_any or got > 0
    return used


@given(counts, wants, st.data())
def test_whoever_asks_first_all_is_given_away_and_each_has_its_share_or_all_it_wants(
    count: int, wants: list[int], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(wants))))
    used = play(count, wants, order)
    assert sum(used.values()) == min(count, sum(wants))
    for number, want in enumerate(wants):
        assert used[f"run-{number}"] >= min(want, count // len(wants))


@given(counts, st.integers(0, 60))
def test_who_is_alone_gets_whatever_is_free(count: int, want: int) -> None:
    assert grant(count, {}, Demand("a", want, 0.0), []) == min(count, want)
    assert grant(count, {"a": count - 1, "gone": 0}, Demand("a", want, 0.0), []) == min(1, want)


def test_with_one_slot_for_two_it_goes_to_who_has_waited_longer() -> None:
    patient, hasty = Demand("patient", 1, 1.0), Demand("hasty", 1, 2.0)
    assert grant(1, {}, hasty, [patient]) == 0
    assert grant(1, {}, patient, [hasty]) == 1


def test_what_others_have_taken_already_is_not_kept_for_them_again() -> None:
    greedy, modest = Demand("greedy", 10, 0.0), Demand("modest", 2, 1.0)
    assert grant(10, {"modest": 5}, greedy, [modest]) == 5
    assert grant(10, {"greedy": 8}, greedy, [modest]) == 0
    assert grant(10, {"greedy": 8}, modest, [greedy]) == 2
