import pytest

from bulkid.planning.directory import Directory
from bulkid.planning.plan import Plan, build_plan, limit_changes
from bulkid.planning.resolve import resolve
from tests.support.planning_world import COLUMNS, directory, request

ROWS = (
    request(2, "a-4", display_name="New Four"),
    request(3, "88-uv", display_name="Roby"),
    request(4, "A-2", add=("Finance",)),
    request(5, "a-4", remove=("g-zue",)),
    request(6, "a-3", add=("Alumni",)),
    request(7, "nobody"),
)


def plan(known: Directory | None = None) -> Plan:
    known = known or directory()
    return build_plan(resolve(ROWS, known, COLUMNS), known)


def test_a_plan_tells_changes_from_what_is_already_as_wanted_in_sheet_order() -> None:
    made = plan()
    assert [change.account_id for change in made.changes] == ["a-4", "A-2", "a-3"]
    assert [found.rows for found in made.changing] == [(2, 5), (4,), (6,)]
    assert [found.rows for found in made.unchanged] == [(3,)]
    assert (made.accounts, made.planned_puts, made.naive_puts) == (4, 3, 5)
    assert made.by_account == made.changes
    assert made.warnings == made.skipped == ()


def test_a_blind_plan_sends_everything_and_warns_of_display_names_left_out() -> None:
    made = plan(directory(None, None))
    assert [change.account_id for change in made.changes] == ["a-4", "88-uv", "A-2", "a-3"]
    assert [found.rows for found in made.unchanged] == [(7,)]  # asks for nothing
    accounts, groups, names = made.warnings
    assert "nothing is compared" in accounts
    assert "3 groups" in groups
    assert "The display name of 2 accounts is not known" in names


def test_a_trial_keeps_the_first_accounts_that_change_and_forgets_none() -> None:
    whole = plan(directory(None))
    trial = limit_changes(whole, 2)
    assert (trial.changes, trial.changing) == (whole.changes[:2], whole.changing[:2])
    assert trial.skipped == whole.changing[2:]
    assert trial.unchanged == whole.unchanged
    assert (trial.accounts, trial.planned_puts, trial.naive_puts) == (whole.accounts, 2, 4)
    assert not any("display name" in warning for warning in trial.warnings)
    assert limit_changes(trial, 1).skipped == whole.changing[1:]


@pytest.mark.parametrize("first", [None, 3, 4])
def test_a_trial_of_all_is_the_whole_plan(first: int | None) -> None:
    assert limit_changes(plan(), first) == plan()


@pytest.mark.parametrize("first", [0, -1])
def test_a_trial_of_none_changes_nothing(first: int) -> None:
    assert limit_changes(plan(), first).changes == ()
    assert len(limit_changes(plan(), first).skipped) == 3
