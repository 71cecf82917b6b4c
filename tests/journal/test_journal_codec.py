"""Entries as columns: what many entries have in common is stored and read for each of them as it was."""

from hypothesis import given
from hypothesis import strategies as st

from bulkid.journal.codec import item_of, item_values
from bulkid.model import Account, Action, DesiredState, Outcome, RunItem, Status, Via

FEW_TEXTS = st.sampled_from(["", "a", "b", "A", "a b"])
GROUP_IDS = st.lists(FEW_TEXTS, max_size=4).map(tuple)
OUTCOMES = st.builds(
    Outcome,
    st.sampled_from(Status),
    http_status=st.sampled_from([None, 200, 404]),
    error_code=FEW_TEXTS,
    error=FEW_TEXTS,
    attempts=st.integers(0, 2),
    via=st.sampled_from([None, *Via]),
    finished_at=st.sampled_from([None, 1.0, 2.5]),
    account_id=st.just(""),  # once journaled, it is the id of the item
)
DESIRED = st.builds(
    DesiredState,
    account_id=FEW_TEXTS,
    name=FEW_TEXTS,
    values=st.tuples(st.none() | FEW_TEXTS),
    add=GROUP_IDS,
    remove=GROUP_IDS,
    exact=st.none() | GROUP_IDS,
    rows=st.lists(st.integers(2, 5), max_size=2).map(tuple),
    action=st.sampled_from(Action),
)
# When an account was made is not stored, and when it was last used of deletions alone.
ACCOUNTS = st.tuples(FEW_TEXTS, FEW_TEXTS, st.tuples(FEW_TEXTS), st.none() | GROUP_IDS).map(
    lambda fields: Account(*fields)
)
ITEMS = st.builds(RunItem, st.integers(0, 9), DESIRED, st.none() | ACCOUNTS, FEW_TEXTS, OUTCOMES, st.booleans())


def _read_back(items: list[RunItem]) -> list[RunItem]:
    return [item_of(columns[1:]) for columns in [item_values(1, item) for item in items]]


@given(st.lists(ITEMS, max_size=8))
def test_entries_that_share_groups_and_outcomes_come_back_each_as_it_was(items: list[RunItem]) -> None:
    assert _read_back(items) == items


def test_the_last_login_is_kept_of_a_deletion_whose_resume_compares_it() -> None:
    before = Account("a", "robot", ("Robot",), ("g",), "2026-01-01T00:00:00Z", "2026-01-31T08:15:00Z")
    desired = DesiredState("a", "robot", (None,), (), (), None, (2,))
    update, deletion = _read_back(
        [
            RunItem(0, desired._replace(action=action), before, "", Outcome(Status.PENDING))
            for action in list(Action)[::2]
        ]
    )
    assert update.before == before._replace(created="", last_login="")
    assert deletion.before == before._replace(created="")


def test_more_kinds_of_outcomes_than_are_remembered_come_back_each_as_it_was_also_a_second_time() -> None:
    desired = DesiredState("a", "robot", (None,), ("g",), (), None, (2,))
    items = [
        RunItem(number, desired, None, "", Outcome(Status.FAILED, error=f"error {number % 150}", attempts=number % 7))
        for number in range(300)
    ]
    assert _read_back(items) == items
    assert _read_back(items[::-1]) == items[::-1]


def test_the_outcome_of_one_entry_leaves_another_with_the_same_outcome_as_it_is() -> None:
    desired = DesiredState("a", "robot", (None,), ("g",), (), None, (2,))
    first, second = _read_back([RunItem(n, desired, None, "", Outcome(Status.PENDING)) for n in range(2)])
    settled = first._replace(outcome=first.outcome._replace(status=Status.UPDATED))
    assert (settled.outcome.status, second.outcome.status) == (Status.UPDATED, Status.PENDING)
    assert _read_back([settled, second]) == [settled, second]
