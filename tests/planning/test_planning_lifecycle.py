"""Rows that create and delete accounts, and groups that do not exist: what each row becomes, and the plan of all."""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import NEW_GROUP, Account, Action, Change, DesiredState, Group, RowError, RowRequest
from bulkid.planning import lookup
from bulkid.planning.creation import ResolveOptions
from bulkid.planning.directory import Directory
from bulkid.planning.plan import Plan, build_plan, describe, diff, limit_changes
from bulkid.planning.resolve import Resolution, offline_row_errors, resolve
from bulkid.text import fold, quote
from tests.support.planning_world import (
    ACCOUNTS,
    COLUMNS,
    EVERYONE_ID,
    GROUPS,
    LAW,
    ORG,
    account,
    accounts,
    cased,
    directory,
    put,
    request,
)

CREATE, DELETE, UPDATE = Action.CREATE, Action.DELETE, Action.UPDATE


def ids() -> Callable[[], str]:
    """A source of ids of new groups."""
    numbers: Iterator[int] = count(1)
    return lambda: f"new-{next(numbers)}"


def options(
    *,
    create_missing: bool = False,
    create_groups: bool = False,
    new_groups: tuple[str, ...] = (),
    allow_delete: bool = True,
) -> ResolveOptions:
    return ResolveOptions(
        create_missing=create_missing,
        create_groups=create_groups,
        new_groups=new_groups,
        allow_delete=allow_delete,
        new_id=ids(),
    )


def read(*rows: RowRequest, known: Directory | None = None, may: ResolveOptions | None = None) -> Resolution:
    return resolve(rows, known or directory(), COLUMNS, may or options())


def planned(*rows: RowRequest, known: Directory | None = None, may: ResolveOptions | None = None) -> Plan:
    result = read(*rows, known=known, may=may)
    assert result.row_errors == ()
    return build_plan(result, known or directory())


def only_change(*rows: RowRequest, known: Directory | None = None, may: ResolveOptions | None = None) -> Change:
    (change,) = planned(*rows, known=known, may=may).changes
    return change


def only_error(*rows: RowRequest, known: Directory | None = None, may: ResolveOptions | None = None) -> RowError:
    result = read(*rows, known=known, may=may)
    assert result.desired_states == ()
    (row_error,) = result.row_errors
    return row_error


def errors(found: Sequence[RowError]) -> list[tuple[int, str, str]]:
    return [(row_error.row, row_error.column, row_error.code) for row_error in found]


# --- creations


def test_a_creation_carries_its_display_name_and_all_its_groups_without_everyone() -> None:
    row = request(name="New", display_name="Newt", add=("Finance", "everyone", "alumni-02"), action=CREATE)
    change = only_change(row)
    assert change == Change(
        "", "New", ("Newt",), sets_fields=True, add=("g-fin", "alumni-02"), remove=(), before=None, action=CREATE
    )
    assert describe(change, directory()) == 'created: display name "Newt"; + Finance; + Alumni'


def test_a_creation_without_a_display_name_leaves_the_field_out_and_takes_an_exact_list() -> None:
    change = only_change(request(name="New", exact=("Trainees", "Everyone"), action=CREATE))
    assert (change.values, change.sets_fields, change.add) == ((None,), False, ("G-TRA",))
    assert describe(only_change(request(name="New", action=CREATE)), directory()) == "created"


def test_a_creation_of_an_account_that_exists_updates_it() -> None:
    row = request(name="ROBY01", display_name="Robbie", add=("Finance",), remove=("Alumni",), action=CREATE)
    change = only_change(row)
    assert (change.account_id, change.action, change.add, change.sets_fields) == ("88-uv", UPDATE, (), True)
    assert planned(request(name="roby01", action=CREATE)).changes == ()


@pytest.mark.parametrize("name", ["Zu\u0308rich 1", "Z\u00fcrich  1", "\uff3a\u00fcrich\u00a01"])
def test_a_new_name_that_looks_like_that_of_an_account_is_created_with_a_warning(name: str) -> None:
    known = directory((account(name="z\u00fcrich 1"), account("2", "Other")))
    found = read(request(name=name, action=CREATE), request(3, name="Other 2", action=CREATE), known=known)
    assert [desired.action for desired in found.desired_states] == [CREATE, CREATE]
    (warning,) = found.warnings
    assert warning.startswith("1 new account has a name that looks like that of another account")
    assert quote(name) in warning


def test_new_names_that_look_like_one_another_are_created_with_a_warning() -> None:
    names = [f"Z\u00fcrich {number}" for number in range(5)]
    alike = [name.replace("\u00fc", "u\u0308") for name in names]
    rows = [request(number + 2, name=name, action=CREATE) for number, name in enumerate([*names, *alike, "Other"])]
    found = read(*rows)
    assert len(found.desired_states) == 11
    (warning,) = found.warnings
    assert warning.startswith("5 new accounts have names that look like that of another account")
    assert "and 2 more" in warning


def test_an_update_of_an_account_beside_one_of_a_similar_name_is_no_reason_for_a_warning() -> None:
    known = directory((account(name="Z\u00fcrich"), account("2", "Zu\u0308rich")))
    assert read(request(name="z\u00fcrich", action=CREATE), known=known).warnings == ()


def test_what_a_creation_removes_counts_only_where_the_account_exists() -> None:
    row = request(name="New", remove=("Finance",), action=CREATE)
    change = only_change(row)
    assert (change.add, change.remove) == ((), ())
    assert only_change(row, known=directory((account(name="New", groups=("g-fin",)),))).remove == ("g-fin",)


def test_a_creation_with_an_id_needs_an_account_of_that_id() -> None:
    row_error = only_error(request(account_id="nobody", name="New", action=CREATE))
    assert (row_error.column, row_error.code) == ("Id", "unknown_account")
    assert row_error.message.endswith("The server makes the id of a new account: leave it blank.")
    assert only_error(request(account_id="88-uv", name="New", action=CREATE)).code == "account_mismatch"
    assert planned(request(account_id="88-uv", name="Roby01", action=CREATE)).changes == ()


def test_a_name_that_several_accounts_have_apart_from_case_is_not_created() -> None:
    similar = directory((account("1", "Robo"), account("2", "ROBO")))
    assert only_error(request(name="robo", action=CREATE), known=similar).code == "ambiguous_account"
    assert only_error(request(name="robo", action=DELETE), known=similar).code == "ambiguous_account"


@pytest.mark.parametrize(("name", "valid"), [("x" * 256, True), ("x" * 257, False), ("\U0001f916" * 129, False)])
def test_a_name_that_the_server_refuses_for_its_length_is_not_created(name: str, valid: bool) -> None:
    found = read(request(name=name, action=CREATE))
    assert [each.code for each in found.row_errors] == ([] if valid else ["name_too_long"])


def test_a_row_whose_name_no_account_has_creates_it_only_with_create_missing() -> None:
    row = request(name="New", display_name="Newt")
    assert only_error(row).code == "unknown_account"
    assert only_change(row, may=options(create_missing=True)).action is CREATE
    assert only_error(request(account_id="nobody"), may=options(create_missing=True)).code == "unknown_account"
    both = request(account_id="nobody", name="New")
    row_error = only_error(both, may=options(create_missing=True))
    assert row_error.code == "unknown_account"
    assert row_error.message.endswith("The server makes the id of a new account: leave it blank.")
    assert "leave it blank" not in only_error(both).message


def test_an_id_in_the_column_of_names_is_no_missing_account() -> None:
    for action in (UPDATE, DELETE):
        row_error = only_error(request(name="88-uv", action=action), may=options(create_missing=True))
        assert "put it in the column robot_account_id" in row_error.message


def test_creations_of_one_name_are_merged_when_they_agree() -> None:
    rows = [
        request(2, name="New", add=("Finance",), action=CREATE),
        request(3, name="NEW", display_name="N", action=CREATE),
    ]
    (found,) = read(*rows).desired_states
    assert found == DesiredState("", "New", ("N",), ("g-fin",), (), None, (2, 3), CREATE)


def test_creations_of_one_name_that_disagree_are_contradictions() -> None:
    rows = [
        request(2, name="New", display_name="A", action=CREATE),
        request(3, name="new", display_name="B", action=CREATE),
    ]
    assert errors(read(*rows).row_errors) == [
        (2, "Display Name", "contradiction"),
        (3, "Display Name", "contradiction"),
    ]


def test_an_update_of_a_name_that_another_row_creates_is_a_creation_only_with_create_missing() -> None:
    rows = [request(2, name="New", action=CREATE), request(3, name="new", add=("Finance",))]
    result = read(*rows)
    assert errors(result.row_errors) == [(3, "Robot", "unknown_account")]
    assert [found.rows for found in result.desired_states] == [(2,)]
    (found,) = read(*rows, may=options(create_missing=True)).desired_states
    assert (found.action, found.rows, found.add) == (CREATE, (2, 3), ("g-fin",))


# --- deletions


@pytest.mark.parametrize("row", [request(account_id="A-2", action=DELETE), request(name="robot two", action=DELETE)])
def test_a_deletion_names_the_account_and_its_state(row: RowRequest) -> None:
    change = only_change(row)
    assert (change.account_id, change.name, change.before, change.action) == ("A-2", "Robot Two", ACCOUNTS[1], DELETE)
    assert (change.sets_fields, change.add, change.remove, change.empty) == (False, (), (), False)
    assert describe(change, directory()) == "deleted"


@pytest.mark.parametrize(
    "row",
    [
        request(account_id="gone", action=DELETE),
        request(name="Gone", action=DELETE),
        request(account_id="gone", name="Gone", action=DELETE),
    ],
)
def test_a_deletion_of_what_is_gone_is_unchanged(row: RowRequest) -> None:
    plan = planned(row)
    assert (plan.changes, [found.rows for found in plan.unchanged], plan.naive_puts) == ((), [(2,)], 0)


def test_an_account_of_which_it_is_not_known_whether_it_exists_is_not_called_gone() -> None:
    known = Directory(ORG, ACCOUNTS, GROUPS, absent=(), unknown={"odd": "the server refused to look it up"})
    row_error = only_error(request(account_id="odd", action=DELETE), known=known)
    assert (row_error.code, "the server refused to look it up" in row_error.message) == ("unknown_account", True)


def test_a_gone_account_that_a_row_names_too_is_not_created_again_by_another_row() -> None:
    rows = [request(2, account_id="gone", name="New", action=DELETE), request(3, name="new", action=CREATE)]
    assert errors(read(*rows).row_errors) == [(2, "Action", "contradiction"), (3, "Action", "contradiction")]


def test_an_id_that_no_account_has_beside_a_name_that_one_has_is_an_error() -> None:
    assert only_error(request(account_id="gone", name="Roby01", action=DELETE)).code == "unknown_account"
    assert "column name" in only_error(request(account_id="Roby01", action=DELETE)).message
    assert only_error(request(account_id="88-uv", name="Robot Two", action=DELETE)).code == "account_mismatch"


def test_deletions_are_refused_unless_they_are_allowed() -> None:
    for row in (request(name="Roby01", action=DELETE), request(name="gone", action=DELETE)):
        row_error = only_error(row, may=options(allow_delete=False))
        assert (row_error.column, row_error.value, row_error.code) == ("Action", "delete", "deletion_not_allowed")


@pytest.mark.parametrize(
    "other", [request(3, name="Roby01", display_name="X"), request(3, name="Roby01", action=CREATE)]
)
def test_two_actions_for_one_account_contradict_each_other_and_name_the_rows(other: RowRequest) -> None:
    result = read(request(2, account_id="88-uv", action=DELETE), other)
    assert errors(result.row_errors) == [(2, "Action", "contradiction"), (3, "Action", "contradiction")]
    assert [row_error.message for row_error in result.row_errors] == [
        "This row deletes the account, but row 3 changes it. Make the rows agree, or keep one.",
        "This row updates the account, but row 2 deletes it. Make the rows agree, or keep one.",
    ]


def test_a_creation_and_a_deletion_of_one_new_name_contradict_each_other() -> None:
    rows = [request(2, name="New", action=CREATE), request(3, name="NEW", action=DELETE)]
    result = read(*rows)
    assert errors(result.row_errors) == [(2, "Action", "contradiction"), (3, "Action", "contradiction")]
    assert errors(offline_row_errors(rows, COLUMNS)) == errors(result.row_errors)


def test_a_check_sees_that_one_row_deletes_what_another_changes_or_creates() -> None:
    for action in (UPDATE, CREATE):
        rows = [request(2, name="A", action=action), request(3, name="a", action=DELETE)]
        assert [row_error.code for row_error in offline_row_errors(rows, COLUMNS)] == ["contradiction"] * 2
    agreeing = [request(2, name="A", action=CREATE), request(3, name="a"), request(4, name="B", action=DELETE)]
    assert offline_row_errors(agreeing, COLUMNS) == ()


@pytest.mark.parametrize("action", [CREATE, DELETE])
def test_a_blind_run_creates_and_deletes_nothing(action: Action) -> None:
    row_error = only_error(request(account_id="88-uv", name="x", action=action), known=directory(None))
    assert (row_error.column, row_error.code) == ("Action", "needs_directory")
    assert "PM.RobotAccount.Read" in row_error.message


# --- groups that do not exist


def test_a_group_that_does_not_exist_is_created_once_for_all_rows() -> None:
    rows = [
        request(2, name="Roby01", add=("Marketing", "Finance")),
        request(3, name="robot two", exact=("MARKETING",)),
        request(4, name="New", add=("marketing",), action=CREATE),
    ]
    plan = planned(*rows, may=options(create_groups=True))
    assert plan.new_groups == (Group("new-1", "Marketing", NEW_GROUP),)
    assert [change.add for change in plan.changes] == [("new-1",), ("new-1",), ("new-1",)]
    known = directory().with_groups(plan.new_groups)
    assert describe(plan.changes[0], known) == "+ Marketing"
    assert plan.requests == {"PUT": 2, "POST": 2, "DELETE": 0}


def test_a_group_is_created_only_where_some_change_needs_it() -> None:
    rows = [
        request(2, name="nobody here", add=("Marketing",)),
        request(3, name="Roby01", add=("Research",), remove=("Research",)),
        request(4, name="Roby01", add=("Legal",), display_name="a"),
        request(5, name="Roby01", display_name="b"),
    ]
    result = read(*rows, may=options(create_groups=True))
    assert result.desired_states == ()
    assert build_plan(result, directory()).new_groups == ()


@pytest.mark.parametrize("text", ["Financ", "finance ", "Trainee"])
def test_a_text_that_is_near_a_name_is_no_new_group_unless_it_is_named(text: str) -> None:
    row = request(name="Roby01", add=(text,))
    row_error = only_error(row, may=options(create_groups=True))
    assert row_error.code == "unknown_group"
    assert "Did you mean" in row_error.message
    assert f'name it: --new-group "{text.strip()}"' in row_error.message
    plan = planned(row, may=options(new_groups=(text.upper(),)))
    assert [group.name for group in plan.new_groups] == [text.upper()]


def test_a_named_group_that_exists_is_used_and_others_are_errors_as_ever() -> None:
    may = options(new_groups=("finance", "Marketing"))
    assert planned(request(name="Robot Two", add=("FINANCE",)), may=may).new_groups == ()
    message = only_error(request(name="Roby01", add=("Research",)), may=may).message
    assert message.endswith("Check the spelling, or create the group first.")


@pytest.mark.parametrize(
    "text",
    [
        "7b0f8d6e-6f2c-4f0e-9d6a-0c9b1f2e3d4c",
        "{7B0F8D6E-6F2C-4F0E-9D6A-0C9B1F2E3D4C}",
        "7b0f8d6e6f2c4f0e9d6a0c9b1f2e3d4c",
        "y" * 257,
        "",
    ],
)
def test_an_id_or_a_text_that_no_group_can_have_is_never_a_new_name(text: str) -> None:
    for may in (options(create_groups=True), options(create_groups=True, new_groups=(text,))):
        assert only_error(request(name="Roby01", add=(text,)), may=may).code == "unknown_group"


def test_a_group_to_leave_must_exist() -> None:
    may = options(create_groups=True, new_groups=("Marketing",))
    assert errors([only_error(request(name="Roby01", remove=("Marketing",)), may=may)]) == [
        (2, "Remove", "unknown_group")
    ]


def test_everyone_is_never_created() -> None:
    may = options(create_groups=True, new_groups=("Everyone",))
    known = directory(groups=())
    plan = planned(request(name="Roby01", add=("EVERYONE",)), known=known, may=may)
    assert (plan.changes, plan.new_groups) == ((), ())


def test_a_text_that_could_not_be_compared_with_the_names_is_no_new_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "_COMPARISONS", len(GROUPS))
    rows = [request(2, name="Roby01", add=("Marketing",)), request(3, name="Robot Two", add=("Research",))]
    result = read(*rows, may=options(create_groups=True))
    assert errors(result.row_errors) == [(3, "Add", "unknown_group")]
    assert "has not compared it" in result.row_errors[0].message
    assert [group.name for group in result.new_groups] == ["Marketing"]


def test_without_the_groups_none_is_created() -> None:
    result = read(
        request(name="Roby01", add=("Marketing",)), known=directory(groups=None), may=options(create_groups=True)
    )
    assert (result.new_groups, result.desired_states[0].add) == ((), ("Marketing",))


# --- the plan


def test_a_trial_counts_accounts_of_every_action_and_creates_only_the_groups_that_these_need() -> None:
    rows = [
        request(2, name="New", add=("Marketing",), action=CREATE),
        request(3, name="Roby01", action=DELETE),
        request(4, name="Robot Two", add=("Research",)),
    ]
    whole = planned(*rows, may=options(create_groups=True))
    trial = limit_changes(whole, 2)
    assert [change.action for change in trial.changes] == [CREATE, DELETE]
    assert [group.name for group in whole.new_groups] == ["Marketing", "Research"]
    assert [group.name for group in trial.new_groups] == ["Marketing"]
    assert trial.requests == {"PUT": 0, "POST": 2, "DELETE": 1}
    known = directory().with_groups(whole.new_groups)
    assert [describe(change, known) for change in trial.skipped_changes] == ["+ Research"]


def test_the_naive_count_is_of_rows_that_update_accounts() -> None:
    rows = [
        request(2, name="Roby01", add=("Alumni",)),
        request(3, name="Roby01", display_name="R"),
        request(4, name="New", action=CREATE),
        request(5, name="Robot Two", action=DELETE),
        request(6, name="robot four", action=CREATE),
    ]
    plan = planned(*rows)
    assert (plan.naive_puts, plan.planned_puts, plan.accounts) == (3, 1, 4)
    assert [plan.count_of(action) for action in (UPDATE, CREATE, DELETE)] == [1, 1, 1]


def test_deletions_go_in_batches() -> None:
    many = directory(tuple(account(f"id-{number}", f"robot {number}") for number in range(101)))
    rows = [request(number + 2, account_id=f"id-{number}", action=DELETE) for number in range(101)]
    assert planned(*rows, known=many).requests["DELETE"] == 2
    assert planned(*rows[:100], known=many).requests["DELETE"] == 1


def test_a_creation_whose_account_appears_becomes_an_update_of_what_differs() -> None:
    (desired,) = read(
        request(name="New", display_name="N", add=("Finance",), remove=("Alumni",), action=CREATE)
    ).desired_states
    found = account("id", "New", "N", ("alumni-02",))
    change = diff(desired, found, directory())
    assert (change.account_id, change.action, change.sets_fields) == ("id", UPDATE, False)
    assert (change.add, change.remove) == (("g-fin",), ("alumni-02",))


# --- laws

NEW_NAMES = st.sampled_from(["Onboarded", "Invoicing"]).flatmap(cased)
NEW_GROUP_NAMES = ("Marketing", "Research")
SOME_GROUPS = st.lists(
    st.sampled_from([*(group.name for group in GROUPS), *NEW_GROUP_NAMES]).flatmap(cased), max_size=3
).map(tuple)
OPTIONS = st.builds(
    options,
    create_missing=st.booleans(),
    create_groups=st.booleans(),
    new_groups=st.sampled_from([(), ("MARKETING",)]),
    allow_delete=st.booleans(),
)


ACTIONS = st.sampled_from([UPDATE, CREATE, CREATE, DELETE])
KNOWN_ACCOUNTS = st.sampled_from(ACCOUNTS)
IDS = {known.id: st.sampled_from(["", "", "gone", known.id]) for known in ACCOUNTS}
NAMES = {known.id: NEW_NAMES | cased(known.name) for known in ACCOUNTS}
NAMES_BESIDE_ID = {known.id: st.sampled_from(["", known.name]) for known in ACCOUNTS}
NEW_DISPLAY_NAMES = st.sampled_from([None, "", "Robbie", "Four"])
EXACT_GROUPS = st.none() | st.none() | SOME_GROUPS
FEW_OR_NO_GROUPS = st.just(()) | SOME_GROUPS


@st.composite
def sheets(draw: st.DrawFn) -> list[RowRequest]:
    """Rows with every action, for accounts that exist and others; many at odds."""
    made = []
    for number in range(2, 2 + draw(st.integers(0, 6))):
        action = draw(ACTIONS)
        known = draw(KNOWN_ACCOUNTS)
        name = draw(NAMES[known.id])
        account_id = draw(IDS[known.id])
        if account_id == known.id:
            name = draw(NAMES_BESIDE_ID[known.id])
        if action is DELETE:
            made.append(request(number, account_id, name, action=action))
            continue
        exact = draw(EXACT_GROUPS)
        made.append(
            request(
                number,
                account_id,
                name or known.name,
                display_name=draw(NEW_DISPLAY_NAMES),
                add=draw(SOME_GROUPS) if exact is None else (),
                remove=draw(FEW_OR_NO_GROUPS) if exact is None else (),
                exact=exact,
                action=action,
            )
        )
    return made


def applied(plan: Plan, state: Sequence[Account]) -> tuple[tuple[Account, ...], tuple[Group, ...]]:
    """What the server makes of a plan, change by change."""
    after = {each.id: each for each in state}
    for number, change in enumerate(plan.changes):
        if change.action is CREATE:
            assert all(fold(each.name) != fold(change.name) for each in after.values())
            display = change.values[0] or ""
            after[f"made-{number}"] = Account(f"made-{number}", change.name, (display,), (EVERYONE_ID, *change.add))
        elif change.action is DELETE:
            del after[change.account_id]
        else:
            after[change.account_id] = put(after[change.account_id], change)
    return tuple(after.values()), (*GROUPS, *(Group(group.id, group.name) for group in plan.new_groups))


@LAW
@given(sheets(), accounts(), OPTIONS)
def test_the_plan_leads_to_what_the_good_rows_want_and_planning_again_gives_nothing(
    sheet: list[RowRequest], state: tuple[Account, ...], may: ResolveOptions
) -> None:
    known = directory(state)
    result = resolve(sheet, known, COLUMNS, may)
    invalid = {row_error.row for row_error in result.row_errors}
    placed = [row for found in result.desired_states for row in found.rows]
    assert sorted([*placed, *invalid]) == [row.row for row in sheet]
    plan = build_plan(result, known)
    after, groups = applied(plan, state)

    good = [row for row in sheet if row.row not in invalid]
    by_id, by_name = {each.id: each for each in after}, {fold(each.name): each for each in after}
    names = {group.id: fold(group.name) for group in groups}
    before = {each.id: each for each in state}
    for row in good:
        found = by_id.get(row.account_id) if row.account_id else by_name.get(fold(row.name))
        if row.action is DELETE:
            assert found is None
            continue
        assert found is not None
        held = {names[each] for each in map(_written, found.group_ids or ())}
        assert row.values[0] in (None, found.values[0])
        assert {fold(text) for text in row.add} <= held
        assert not {fold(text) for text in row.remove} & held
        if row.exact is not None:
            assert {fold(text) for text in row.exact} | {"everyone"} == held
    touched = {change.account_id for change in plan.changes}
    assert all(by_id[each.id] is each for each in before.values() if each.id not in touched)
    if not may.allow_delete:
        assert before.keys() <= by_id.keys()

    again = directory(after, groups)
    repeated = resolve(good, again, COLUMNS, may)
    assert repeated.row_errors == ()
    assert build_plan(repeated, again).changes == ()
    assert build_plan(repeated, again).new_groups == ()


def _written(group_id: str) -> str:
    """A group's id as the directory writes it."""
    return next((group.id for group in GROUPS if fold(group.id) == fold(group_id)), group_id)


@LAW
@given(sheets(), accounts(), OPTIONS, st.integers(0, 4))
def test_nothing_is_created_or_deleted_unasked(
    sheet: list[RowRequest], state: tuple[Account, ...], may: ResolveOptions, first: int
) -> None:
    known = directory(state)
    plan = limit_changes(build_plan(resolve(sheet, known, COLUMNS, may), known), first)
    asked = {action: [row for row in sheet if row.action is action] for action in Action}
    for change, desired in zip(plan.changes, plan.changing, strict=True):
        assert change.action is desired.action
        if change.action is CREATE:
            makers = [*asked[CREATE], *(asked[UPDATE] if may.create_missing else ())]
            assert fold(change.name) in {fold(row.name) for row in makers if not row.account_id}
        if change.action is DELETE:
            assert may.allow_delete
            assert {row.row for row in asked[DELETE]} >= set(desired.rows)
        assert EVERYONE_ID not in change.add
    created = {fold(group.name) for group in plan.new_groups}
    assert len(created) == len(plan.new_groups)
    assert created <= {fold(name) for name in (NEW_GROUP_NAMES if may.create_groups else may.new_groups)}
    needed = {group for change in plan.changes for group in change.add}
    assert all(group.id in needed for group in plan.new_groups)
    assert needed <= {group.id for group in (*GROUPS, *plan.new_groups)}


@LAW
@given(sheets(), OPTIONS, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing_but_the_order_of_the_plan(
    sheet: list[RowRequest], may: ResolveOptions, chance: random.Random
) -> None:
    shuffled = chance.sample(sheet, len(sheet))
    one, other = (resolve(rows, directory(), COLUMNS, may) for rows in (sheet, shuffled))
    assert _in_any_spelling(one.row_errors) == _in_any_spelling(other.row_errors)
    assert set(_with_group_names(one)) == set(_with_group_names(other))


def _in_any_spelling(row_errors: Sequence[RowError]) -> set[RowError]:
    """Row errors without the spelling of names: a group that is new is spelled as in the first row that names it."""
    return {each._replace(value=fold(each.value), message=fold(each.message)) for each in row_errors}


def _with_group_names(result: Resolution) -> list[DesiredState]:
    """The desired states with the names of new groups in place of their ids."""
    names = {group.id: fold(group.name) for group in result.new_groups}

    def named(group_ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(each, each) for each in group_ids)

    return [
        found._replace(add=named(found.add), exact=None if found.exact is None else named(found.exact))
        for found in result.desired_states
    ]


@LAW
@given(sheets())
def test_a_check_finds_only_contradictions_that_a_plan_finds_too_where_rows_give_names(sheet: list[RowRequest]) -> None:
    existing = {fold(group.name) for group in GROUPS}
    named = [row._replace(account_id="", name=row.name or "Roby01") for row in sheet]
    named = [row for row in named if {fold(text) for text in row.remove} <= existing]  # only a plan knows of these
    may = options(create_missing=True, create_groups=True)
    online = {row_error.row for row_error in resolve(named, directory(), COLUMNS, may).row_errors}
    assert {row_error.row for row_error in offline_row_errors(named, COLUMNS)} <= online
