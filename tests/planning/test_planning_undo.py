"""Undo: the changes of the run are put back, those of other clients stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import DesiredState, Outcome, RowRequest, RunItem, Status
from bulkid.planning.directory import Directory
from bulkid.planning.plan import Plan, build_plan, describe, diff
from bulkid.planning.preconditions import PreconditionRules, item_conflict, resolve_preconditions
from bulkid.planning.resolve import Resolution, resolve
from bulkid.planning.undo import inverse, may_have_changed, undo_obstacle
from tests.support.planning_world import (
    ACCOUNTS,
    COLUMNS,
    DESIRED,
    EVERYONE_ID,
    GROUPS,
    LAW,
    UPDATED,
    State,
    account,
    accounts,
    directory,
    plain,
    put,
    rows,
    run_item,
    skeleton,
    touches,
)

PENDING = Outcome(Status.PENDING)
UNSETTLED = st.sampled_from([PENDING, Outcome(Status.FAILED, error_code="not_applied")])


def items_of(plan: Plan, state: State) -> list[RunItem]:
    """What a run that carried out the plan leaves in its journal."""
    known = directory(state)
    made = [
        RunItem(0, desired, change.before, describe(change, known), UPDATED, intended=True)
        for desired, change in zip(plan.changing, plan.changes, strict=True)
    ]
    return made + [
        RunItem(0, desired, known.account(desired.account_id), "", Outcome(Status.UNCHANGED))
        for desired in plan.unchanged
    ]


def plan_of(sheet: list[RowRequest], state: State) -> Plan:
    known = directory(state)
    return build_plan(resolve(sheet, known, COLUMNS), known)


def sent(plan: Plan, state: State) -> State:
    """The accounts once the plan's changes have been sent."""
    changes = {change.account_id: change for change in plan.changes}
    return tuple(put(each, changes[each.id]) if each.id in changes else each for each in state)


def resolved(items: list[RunItem], state: State) -> tuple[Resolution, Plan]:
    known = directory(state)
    items = [inverse(item) for item in items if may_have_changed(item)]
    resolution = resolve_preconditions(items, known, PreconditionRules("as it was left"))
    return resolution, build_plan(resolution, known)


@LAW
@given(rows(), accounts())
def test_an_undo_gives_the_state_before_and_its_undo_the_state_after(sheet: list[RowRequest], before: State) -> None:
    run = plan_of(sheet, before)
    after = sent(run, before)
    resolution, undo = resolved(items_of(run, before), after)
    assert resolution.row_errors == ()
    assert {desired.rows for desired in resolution.desired_states} == {desired.rows for desired in run.changing}
    assert undo.planned_puts == run.planned_puts
    back = sent(undo, after)
    assert plain(back) == plain(before)
    resolution, redo = resolved(items_of(undo, after), back)
    assert resolution.row_errors == ()
    assert plain(sent(redo, back)) == plain(after)


@LAW
@given(rows(), accounts())
def test_what_is_back_already_is_left_as_it_is(sheet: list[RowRequest], before: State) -> None:
    run = plan_of(sheet, before)
    resolution, undo = resolved(items_of(run, before), before)
    assert resolution.row_errors == ()
    assert undo.changes == ()
    assert len(undo.unchanged) == len(run.changes)


@LAW
@given(rows(), accounts(), accounts(), st.sets(st.sampled_from([known.id for known in ACCOUNTS])))
def test_an_account_is_left_and_named_exactly_when_what_the_run_changed_was_changed_again(
    sheet: list[RowRequest], before: State, others: State, meddled: set[str]
) -> None:
    run = plan_of(sheet, before)
    items = items_of(run, before)
    after = {each.id: each for each in sent(run, before)}
    found = tuple(other if other.id in meddled else after[other.id] for other in others)
    resolution, undo = resolved(items, found)
    back = {each.id: each for each in sent(undo, found)}
    invalid = {row_error.row for row_error in resolution.row_errors}
    for item in items:
        if not may_have_changed(item):
            continue
        was = item.before
        assert was is not None
        mine = touches(was, after[was.id])
        (present,) = (each for each in found if each.id == was.id)
        fits = skeleton(present, mine) in (skeleton(was, mine), skeleton(after[was.id], mine))
        assert invalid.isdisjoint(item.desired.rows) == fits
        if fits:
            assert skeleton(back[was.id], mine) == skeleton(was, mine)
            untouched = {"name", *(group.id.lower() for group in GROUPS)} - mine
            assert skeleton(back[was.id], untouched) == skeleton(present, untouched)
        else:
            assert set(item.desired.rows) <= invalid
            assert back[was.id] == present
    assert {row_error.code for row_error in resolution.row_errors} <= {"changed_since"}
    assert all("expected" in row_error.message and "found" in row_error.message for row_error in resolution.row_errors)


@LAW
@given(rows(), accounts(), st.data())
def test_where_a_request_may_have_done_a_part_what_is_done_is_put_back(
    sheet: list[RowRequest], before: State, data: st.DataObject
) -> None:
    run = plan_of(sheet, before)
    items = [item._replace(outcome=data.draw(UNSETTLED)) for item in items_of(run, before) if may_have_changed(item)]
    found = {each.id: each for each in before}
    for change in run.changes:
        some = change._replace(
            values=data.draw(st.sampled_from([change.values, (None,)])),
            add=tuple(group for group in change.add if data.draw(st.booleans())),
            remove=tuple(group for group in change.remove if data.draw(st.booleans())),
        )
        found[change.account_id] = put(found[change.account_id], some)
    state = tuple(found.values())
    resolution, undo = resolved(items, state)
    assert resolution.row_errors == ()
    assert plain(sent(undo, state)) == plain(before)


@LAW
@given(rows(), accounts(), accounts(), st.booleans())
def test_a_resumed_run_finds_a_departure_exactly_where_an_account_is_neither_as_planned_from_nor_as_wanted(
    sheet: list[RowRequest], before: State, others: State, intended: bool
) -> None:
    known = directory(others)
    run = plan_of(sheet, before)
    undo = resolved(items_of(run, before), sent(run, before))[1]
    for item in items_of(undo, sent(run, before)):
        if not may_have_changed(item):
            continue
        was, present = item.before, known.account(item.desired.account_id)
        assert was is not None
        assert present is not None
        mine = touches(was, put(was, diff(item.desired, was, known)))
        now, old = skeleton(present, mine), skeleton(was, mine)
        new = skeleton(put(was, diff(item.desired, was, known)), mine)
        fits = now in (old, new) or (intended and now <= old | new)
        open_item = item._replace(outcome=PENDING, intended=intended)
        assert (item_conflict(open_item, present, known) == "") == fits


@pytest.mark.parametrize(
    ("outcome", "intended", "expected"),
    [
        (UPDATED, True, True),
        (PENDING, True, True),
        (PENDING, False, False),
        (Outcome(Status.UNCHANGED), False, False),
        (Outcome(Status.FAILED, error_code="400"), True, False),
        (Outcome(Status.FAILED, error_code="changed_since"), False, False),
        (Outcome(Status.FAILED, error_code="not_applied"), True, True),
        (Outcome(Status.FAILED, error_code="group_gone"), True, True),
    ],
)
def test_only_what_a_run_changed_or_may_have_changed_is_undone(
    outcome: Outcome, intended: bool, expected: bool
) -> None:
    assert may_have_changed(run_item(DESIRED, account(), outcome, intended=intended)) is expected


def test_what_was_not_known_before_the_run_cannot_be_put_back() -> None:
    assert "blind" in undo_obstacle(run_item(DESIRED, None))
    assert "which groups" in undo_obstacle(run_item(DESIRED, account(groups=None)))
    assert "which groups" in undo_obstacle(
        run_item(DESIRED._replace(add=(), remove=(), exact=()), account(groups=None))
    )
    rename = run_item(DESIRED._replace(add=(), remove=()), account(groups=None))
    assert undo_obstacle(rename) == ""
    back = inverse(rename)
    assert (back.desired.values[0], back.desired.add, back.desired.remove) == ("Roby", (), ())
    renamed = account(display_name="Robbie", groups=("g-fin",))
    assert resolve_preconditions([back], directory((renamed,)), PreconditionRules("")).desired_states == (back.desired,)


def test_an_empty_display_name_is_put_back_as_empty() -> None:
    back = inverse(run_item(DESIRED, account(display_name="", groups=("g-fin",))))
    assert back.desired == DesiredState("88-uv", "Roby01", ("",), (), (), None, (2, 5))


def test_accounts_and_groups_that_are_gone_are_named() -> None:
    back = inverse(run_item(DESIRED, account(groups=("G-TRA",))))
    left = account(display_name="Robbie", groups=("g-fin",))
    gone = resolve_preconditions([back], directory(ACCOUNTS[1:]), PreconditionRules("as it was left"))
    assert [(row_error.row, row_error.code) for row_error in gone.row_errors] == [
        (2, "account_gone"),
        (5, "account_gone"),
    ]
    assert "Roby01" in gone.row_errors[0].message
    groupless = resolve_preconditions(
        [back], directory((left,), groups=GROUPS[:2]), PreconditionRules("as it was left")
    )
    assert [row_error.code for row_error in groupless.row_errors] == ["group_gone", "group_gone"]
    assert '"G-TRA" does not exist any more (the run\'s change: the change)' in groupless.row_errors[0].message
    joined_gone = resolve_preconditions(
        [back], directory((left,), groups=GROUPS[:1] + GROUPS[2:]), PreconditionRules("as it was left")
    )
    assert [row_error.code for row_error in joined_gone.row_errors] == ["group_gone", "group_gone"]
    assert '"g-fin" does not exist any more' in joined_gone.row_errors[0].message
    rules = PreconditionRules("as it was left", group_names={"g-fin": "Finance", "g-tra": "Trainees"})
    named = resolve_preconditions([back], directory((left,), groups=GROUPS[:1]), rules)
    assert 'The group "Trainees" (G-TRA) does not exist any more' in named.row_errors[0].message
    assert resolve_preconditions([back], directory((left,), groups=None), PreconditionRules("")).row_errors == ()


def test_an_undo_of_an_exact_list_lets_everyone_be_also_where_the_list_of_groups_lacks_it() -> None:
    """A run lets it be then, since it may be Everyone: so the undo has nothing to put back."""
    before, groups = account(groups=("g-fin",)), GROUPS[1:]
    there = Directory("org", [before], groups)
    desired = DesiredState(before.id, before.name, (None,), (), (), ("g-TRA",), (2,))
    change = diff(desired, before, there)
    assert change.remove == ("g-fin",)
    left = put(before, change)
    assert EVERYONE_ID in (left.group_ids or ())
    back = inverse(RunItem(0, desired, before, "", UPDATED, intended=True))
    known = Directory("org", [left], groups)
    found = resolve_preconditions([back], known, PreconditionRules("as it was left"))
    assert found.row_errors == ()
    (undo,) = build_plan(found, known).changes
    assert plain((put(left, undo),)) == plain((before,))


def test_a_group_to_put_back_that_was_deleted_is_gone_also_where_the_list_of_groups_lacks_everyone() -> None:
    before = account(groups=("g-fin",))
    desired = DesiredState(before.id, before.name, (None,), (), (), (), (2,))
    back = inverse(RunItem(0, desired, before, "", UPDATED, intended=True))
    known = Directory("org", [account(groups=())], GROUPS[2:])
    (row_error,) = resolve_preconditions([back], known, PreconditionRules("as it was left")).row_errors
    assert (row_error.code, "g-fin" in row_error.message) == ("group_gone", True)
