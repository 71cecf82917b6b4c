"""Undo of creations and deletions: untouched created accounts are deleted, deleted ones are created with new ids."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import Account, Action, DesiredState, Group, Outcome, RunItem, Status
from bulkid.planning.directory import Directory
from bulkid.planning.plan import Plan, build_plan, describe
from bulkid.planning.preconditions import PreconditionRules, item_conflict, resolve_preconditions
from bulkid.planning.resolve import Resolution
from bulkid.planning.undo import inverse, is_irreversible, may_have_changed, undo_obstacle
from tests.support.lifecycle_world import (
    CREATION,
    MADE,
    NEW,
    NOTHING,
    applied,
    by_name,
    creation,
    deletion,
    desired_states,
    known,
    planned,
    states,
    wanted,
)
from tests.support.planning_world import (
    ACCOUNTS,
    EVERYONE_ID,
    GROUPS,
    LAW,
    State,
    account,
    directory,
)

EVERYTHING = PreconditionRules("as it was left", allow_delete=True, recreate=True)
OPEN = Outcome(Status.PENDING)

DONE = {Action.UPDATE: Status.UPDATED, Action.CREATE: Status.CREATED, Action.DELETE: Status.DELETED}


def items_of(plan: Plan, created: dict[str, str], state: State) -> list[RunItem]:
    """What a run that carried out the plan leaves in its journal."""
    names = known(state, NEW)
    return [
        RunItem(
            number,
            desired._replace(account_id=created.get(desired.name, desired.account_id)),
            change.before,
            describe(change, names),
            Outcome(DONE[change.action]),
            intended=True,
        )
        for number, (desired, change) in enumerate(zip(plan.changing, plan.changes, strict=True))
    ]


def undone(
    items: Sequence[RunItem], state: State, rules: PreconditionRules = EVERYTHING, groups: Sequence[Group] = (NEW,)
) -> tuple[Resolution, Plan]:
    there = known(state, *groups)
    changed = [inverse(item) for item in items if may_have_changed(item)]
    resolution = resolve_preconditions(changed, there, rules)
    return resolution, build_plan(resolution, there)


@LAW
@given(desired_states(), states())
def test_an_undo_of_any_plan_gives_the_state_before_but_for_new_ids(
    desired_states: tuple[DesiredState, ...], before: State
) -> None:
    run = planned(desired_states, before)
    after, created = applied(before, run.changes)
    items = items_of(run, created, before)
    resolution, undo = undone(items, after)
    assert resolution.row_errors == ()
    assert resolution.new_groups == ()
    back, made_again = applied(after, undo.changes)
    assert by_name(back) == by_name(before)
    assert {row for each in resolution.desired_states for row in each.rows} == {
        row for each in run.changing for row in each.rows
    }
    _, again = undone(items_of(undo, made_again, after), back)
    assert by_name(applied(back, again.changes)[0]) == by_name(after)


@LAW
@given(desired_states(), states())
def test_without_leave_creations_and_deletions_stay_and_are_named_and_the_rest_is_undone(
    desired_states: tuple[DesiredState, ...], before: State
) -> None:
    run = planned(desired_states, before)
    after, created = applied(before, run.changes)
    items = items_of(run, created, before)
    resolution, undo = undone(items, after, PreconditionRules("as it was left"))
    back = by_name(applied(after, undo.changes)[0])
    was, stayed = by_name(before), by_name(after)
    errors = {row_error.row: row_error.code for row_error in resolution.row_errors}
    codes = {Action.CREATE: "deletion_not_allowed", Action.DELETE: "deletion_not_undone"}
    assert errors == {
        row: codes[change.action]
        for change, desired in zip(run.changes, run.changing, strict=True)
        if change.action in codes
        for row in desired.rows
    }
    for name in was | stayed:
        kept = name in created or name not in stayed
        assert back.get(name) == (stayed if kept else was).get(name)


@LAW
@given(desired_states(), states(), st.data())
def test_where_no_answer_came_what_was_done_is_undone_and_the_rest_is_as_it_was(
    desired_states: tuple[DesiredState, ...], before: State, data: st.DataObject
) -> None:
    run = planned(desired_states, before)
    done = [change for change in run.changes if data.draw(st.booleans())]
    after, _ = applied(before, done)
    items = [item._replace(outcome=OPEN) for item in items_of(run, {}, before)]
    resolution, undo = undone(items, after)
    assert resolution.row_errors == ()
    assert by_name(applied(after, undo.changes)[0]) == by_name(before)
    assert len(undo.unchanged) == len(run.changes) - len(done)
    resolution, _ = undone(items, after, PreconditionRules("as it was left", allow_delete=True))
    deleted = {change.name for change in done if change.action is Action.DELETE}
    assert {row_error.code for row_error in resolution.row_errors} == ({"deletion_not_undone"} if deleted else set())
    assert len(resolution.row_errors) == len(deleted)


@pytest.mark.parametrize(
    ("present", "words"),
    [
        (MADE, ""),
        (MADE._replace(values=("Renamed",)), 'display name: expected "Bot", found "Renamed"'),
        (MADE._replace(group_ids=(EVERYONE_ID,)), "in Finance: expected yes, found no"),
        (account("made", "bot", "Bot", ("g-fin", "G-TRA")), "in Trainees: expected no, found yes"),
        (MADE._replace(group_ids=("G-FIN",)), ""),
        (MADE._replace(group_ids=None), "the server does not say which groups"),
        (MADE._replace(last_login="2026-02-01T00:00:00Z"), "last login: expected none, found"),
        (MADE._replace(last_login="0001-01-01T00:00:00"), ""),
    ],
)
def test_an_account_is_deleted_only_where_it_is_as_the_run_left_it(present: Account, words: str) -> None:
    resolution, undo = undone([creation()], (*ACCOUNTS, present))
    if words:
        (row_error,) = resolution.row_errors
        assert (row_error.code, row_error.row) == ("changed_since", 2)
        assert f"not as it was left: {words}" in row_error.message
        assert row_error.message.endswith("It is left alone.")
        assert undo.changes == ()
    else:
        (change,) = undo.changes
        assert (change.action, change.account_id, change.before) == (Action.DELETE, "made", present)


@pytest.mark.parametrize(("shown", "untouched"), [("", True), ("bot", True), ("Bot", False)])
def test_a_creation_without_a_display_name_is_untouched_with_what_servers_make_of_it(
    shown: str, untouched: bool
) -> None:
    resolution, _ = undone([creation(values=NOTHING)], (MADE._replace(values=(shown,)),))
    assert (resolution.row_errors == ()) is untouched


def test_an_exact_list_of_groups_is_what_the_creation_gave() -> None:
    item = creation(add=(), exact=("g-fin", EVERYONE_ID))
    assert undone([item], (MADE,))[0].row_errors == ()


def test_an_account_that_existed_before_is_put_back_and_not_deleted() -> None:
    """A creation meets an account of the name that another user has created: the run updates it."""
    before = MADE._replace(values=("Before",), group_ids=(EVERYONE_ID, "G-TRA"))
    item = creation(Outcome(Status.UPDATED))._replace(before=before)
    left = account("made", "bot", "Bot", ("G-TRA", "g-fin"))
    (change,) = undone([item], (left,))[1].changes
    assert (change.action, change.account_id, change.values) == (Action.UPDATE, "made", ("Before",))
    assert (change.add, change.remove) == ((), ("g-fin",))
    assert "which groups" in undo_obstacle(item._replace(before=before._replace(group_ids=None)))
    assert "expected" in item_conflict(item, left._replace(values=("Other",)), directory((left,)))


def test_an_account_that_the_run_created_and_then_changed_is_deleted() -> None:
    (change,) = undone([creation(Outcome(Status.UPDATED))], (MADE,))[1].changes
    assert change.action is Action.DELETE
    assert undo_obstacle(creation()) == ""
    assert not may_have_changed(creation(Outcome(Status.UNCHANGED)))
    assert not may_have_changed(creation(Outcome(Status.FAILED, error_code="400"), account_id=""))


def test_a_creation_of_which_no_answer_came_is_found_by_its_name() -> None:
    item = creation(OPEN, account_id="")
    _, undo = undone([item], (MADE._replace(name="BOT"),))
    assert [change.account_id for change in undo.changes] == ["made"]
    touched = MADE._replace(values=("Other",))
    assert [each.code for each in undone([item], (touched,))[0].row_errors] == ["changed_since"]
    twice = (MADE, MADE._replace(id="other", name="BOT"))
    assert [
        each.code for each in undone([item._replace(desired=CREATION._replace(name="Bot"))], twice)[0].row_errors
    ] == ["unknown_account"]
    assert undone([item], ACCOUNTS)[1].unchanged[0].name == "bot"


PART = MADE._replace(group_ids=(EVERYONE_ID,), values=("",))
"""An account that has nothing of what the creation gives it."""


def test_an_account_that_is_found_by_its_name_is_deleted_only_where_it_has_all_that_the_run_gave_it() -> None:
    """Intents are journaled ahead of the requests: another client may have created it, and the run nothing."""
    resolution, undo = undone([creation(OPEN, account_id="")], (PART,))
    assert [each.code for each in resolution.row_errors] == ["changed_since"]
    assert undo.changes == ()
    assert len(undone([creation(OPEN)], (PART,))[1].changes) == 1


def test_an_account_that_the_run_created_and_could_not_make_right_is_deleted() -> None:
    failed = creation(Outcome(Status.FAILED, 400, "refused"))
    assert len(undone([failed], (PART,))[1].changes) == 1
    for never in (creation(Outcome(Status.FAILED, 400, "refused"), account_id=""), failed._replace(intended=False)):
        assert not may_have_changed(never)


def test_an_account_of_another_name_is_not_deleted_by_the_id_of_one_that_is_gone() -> None:
    other = MADE._replace(name="payroll")
    (row_error,) = undone([creation()], (other,))[0].row_errors
    assert (row_error.code, 'name: expected "bot", found "payroll"' in row_error.message) == ("changed_since", True)
    assert undone([creation()], (MADE._replace(name="BOT"),))[1].changes


def test_an_account_that_joined_a_new_group_and_missed_another_leaves_it_again() -> None:
    never = Group("1e8a1c5e-6f0b-4b5b-9d5c-1a2b3c4d5e6f", "Never")
    item = RunItem(
        0,
        wanted(2, "Roby01", Action.UPDATE, add=(NEW.id, never.id)),
        account(),
        "+ Newcomers; + Never",
        Outcome(Status.FAILED, 400, "group_not_created"),
        intended=True,
    )
    rules = PreconditionRules("as it was left", new_groups=(NEW, never))
    resolution, undo = undone([item], (account(groups=(NEW.id,)),), rules)
    assert resolution.row_errors == ()
    assert [(change.add, change.remove) for change in undo.changes] == [((), (NEW.id,))]
    assert not may_have_changed(creation(item.outcome, account_id="")._replace(intended=False))


def test_an_account_that_joined_a_new_group_and_whose_own_request_failed_leaves_it_again() -> None:
    """The POST of the group has carried it; its display name was to be set by its own PUT."""
    desired = wanted(2, "Roby01", Action.UPDATE, values=("New",), add=(NEW.id,))
    item = RunItem(0, desired, account(), "", Outcome(Status.FAILED, 400, "refused"), intended=True)
    new_groups = {NEW.id.lower()}
    assert may_have_changed(item, new_groups)
    assert not may_have_changed(item)
    rules = PreconditionRules("as it was left", new_groups=(NEW,))
    there = known((account(groups=(NEW.id,)),), NEW)
    resolution = resolve_preconditions([inverse(item, new_groups)], there, rules)
    assert resolution.row_errors == ()
    (change,) = build_plan(resolution, there).changes
    assert (change.sets_fields, change.add, change.remove) == (False, (), (NEW.id,))
    made = creation(item.outcome, account_id="", add=(NEW.id,))
    assert not may_have_changed(made, new_groups)


def test_a_deleted_account_is_made_again_with_name_display_name_and_groups() -> None:
    assert is_irreversible(deletion())
    assert not is_irreversible(deletion(Status.PENDING))
    (change,) = undone([deletion()], ACCOUNTS)[1].changes
    assert (change.action, change.account_id, change.name) == (Action.CREATE, "", "bot")
    assert (change.values, change.add) == (("Bot",), ("g-fin",))
    (change,) = undone([deletion(before=MADE._replace(values=("",)))], ACCOUNTS)[1].changes
    assert change.values == NOTHING
    assert "which groups" in undo_obstacle(deletion(before=MADE._replace(group_ids=None)))
    assert "blind" in undo_obstacle(deletion(before=None))


@pytest.mark.parametrize(
    ("present", "code"),
    [
        (MADE._replace(id="other", name="Bot"), None),
        (MADE._replace(id="other", values=("Other",)), "account_exists"),
        (MADE._replace(id="other", group_ids=(EVERYONE_ID,)), "account_exists"),
    ],
)
def test_an_account_that_has_the_name_of_a_deleted_one_is_left_as_it_is(present: Account, code: str | None) -> None:
    resolution, undo = undone([deletion()], (*ACCOUNTS, present))
    assert undo.changes == ()
    assert [row_error.code for row_error in resolution.row_errors] == ([code] if code else [])
    if code:
        assert '"other"' in resolution.row_errors[0].message


def test_a_group_that_is_gone_cannot_be_joined_again() -> None:
    there = directory(ACCOUNTS, (GROUPS[0], *GROUPS[2:]))
    resolution = resolve_preconditions([inverse(deletion())], there, EVERYTHING)
    assert [row_error.code for row_error in resolution.row_errors] == ["group_gone"]


def test_a_created_account_that_lost_its_group_with_it_is_left_alone_and_the_group_is_named() -> None:
    there = directory((*ACCOUNTS, MADE._replace(group_ids=())), (GROUPS[0], *GROUPS[2:]))
    rules = EVERYTHING._replace(group_names={"g-fin": "Finance"})
    (row_error,) = resolve_preconditions([inverse(creation())], there, rules).row_errors
    assert (row_error.code, "in Finance: expected yes, found no" in row_error.message) == ("changed_since", True)


def test_a_group_that_took_the_place_of_a_new_one_is_meant_by_its_id() -> None:
    other = Group("taken-id", "NEWCOMERS")
    left = account("made", "bot", "Bot", ("taken-id",))
    rules = PreconditionRules("as it was left", allow_delete=True, new_groups=(NEW,))
    item = creation(add=(NEW.id,))
    assert [each.account_id for each in undone([item], (left,), rules, (other,))[1].changes] == ["made"]
    joined = RunItem(
        0,
        wanted(2, "Roby01", Action.UPDATE, add=(NEW.id,)),
        account(),
        "+ Newcomers",
        Outcome(Status.UPDATED),
        intended=True,
    )
    resolution, undo = undone([joined], (account(groups=("taken-id",)),), rules, (other,))
    assert resolution.row_errors == ()
    assert undo.changes[0].remove == ("taken-id",)


def test_where_it_is_not_known_which_accounts_exist_none_is_created_or_deleted() -> None:
    unsure = Directory("org", ACCOUNTS, GROUPS, absent=(), uncertain="The list changed during each of 3 readings.")
    for item in (deletion(), creation(OPEN, account_id="")):
        (row_error,) = resolve_preconditions([inverse(item)], unsure, EVERYTHING).row_errors
        assert row_error.code == "unknown_account"
        assert "list changed" in row_error.message


def test_creations_and_deletions_are_undone_also_where_the_list_of_groups_lacks_everyone() -> None:
    groups, bystander = GROUPS[1:], account("a-by", "Bystander", groups=())
    made = account("a-new", "Newcomer", "New", groups=("g-fin",))
    created = DesiredState(made.id, made.name, made.values, ("g-fin",), (), None, (2,), Action.CREATE)
    gone = account("a-old", "Gone", "Old", groups=("g-fin",))
    deleted = DesiredState(gone.id, gone.name, NOTHING, (), (), None, (3,), Action.DELETE)
    items = [
        RunItem(0, created, None, "", Outcome(Status.CREATED), intended=True),
        RunItem(1, deleted, gone, "", Outcome(Status.DELETED), intended=True),
    ]
    now = Directory("org", [bystander, made], groups)
    found = resolve_preconditions([inverse(item) for item in items], now, EVERYTHING)
    assert found.row_errors == ()
    assert [(each.name, each.action) for each in found.desired_states] == [
        ("Newcomer", Action.DELETE),
        ("Gone", Action.CREATE),
    ]
    assert found.desired_states[1].add == ("g-fin",)
