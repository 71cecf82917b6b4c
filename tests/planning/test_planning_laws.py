"""Properties that hold for every sheet and every directory."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import Account, Action, DesiredState, RowRequest
from bulkid.planning import plan as plan_module
from bulkid.planning import resolve as resolve_module
from bulkid.planning.creation import ResolveOptions
from bulkid.planning.directory import Directory
from bulkid.planning.plan import build_plan, confirms, describe, diff, shortfall
from bulkid.planning.resolve import Resolution, offline_row_errors, resolve
from bulkid.resources import DISPLAY_NAME, ROBOT_ACCOUNTS, Field, Resource, using
from bulkid.text import fold
from tests.support.planning_world import (
    ACCOUNTS,
    COLUMNS,
    EVERYONE_ID,
    GROUP_LISTS,
    GROUPS,
    LAW,
    ORG,
    accounts,
    directory,
    put,
    request,
    rows,
)

REMEMBERED = st.sampled_from([0, 1, 4096])
"""How many distinct lists of groups planning remembers."""


class AnyCase(Field):
    """A field whose values do not differ by case."""

    def normalize(self, value: str) -> str:
        return value.lower()


ANY_CASE = AnyCase("display_name", "displayName", "display name", ("display name",))
RESOURCES = st.sampled_from([replace(ROBOT_ACCOUNTS, fields=(field,)) for field in (DISPLAY_NAME, ANY_CASE)])
ANY_TEXT = st.text(st.characters(), max_size=12)
ID_OF_GROUP = {text.lower(): group.id for group in GROUPS for text in (group.name, group.id)}
ID_OF_ACCOUNT = {text.lower(): known.id for known in ACCOUNTS for text in (known.name, known.id)}
DIRECTORIES = st.sampled_from(
    [
        directory(),
        directory(None),
        directory(groups=None),
        directory(None, None),
        directory((), ()),
        directory(groups=GROUPS[1:]),
        directory(ACCOUNTS[:1]),
    ]
)


def ids(texts: tuple[str, ...]) -> set[str]:
    """The test's own reading of a list cell, in ids, without Everyone and what is unknown."""
    return {ID_OF_GROUP[text.lower().replace("zürich strasse", "zürich straße")] for text in texts} - {EVERYONE_ID}


def conflicting(one: RowRequest, other: RowRequest) -> bool:
    """Whether two good rows for one account contradict each other: the contract's rule, pair by pair."""
    names = {name for name in (one.values[0], other.values[0]) if name is not None}
    if len(names) > 1:
        return True
    for left, right in ((one, other), (other, one)):
        if ids(left.add) & ids(right.remove):
            return True
        if left.exact is not None:
            if right.exact is not None and ids(left.exact) != ids(right.exact):
                return True
            if ids(right.add) - ids(left.exact) or ids(right.remove) & ids(left.exact):
                return True
    return False


def rewritten(row: RowRequest, spell: Callable[[str], str]) -> RowRequest:
    """The same row with its id and its groups spelled in another way."""
    add, remove = (tuple(map(spell, cell)) for cell in (row.add, row.remove))
    exact = None if row.exact is None else tuple(map(spell, row.exact))
    return row._replace(account_id=row.account_id.lower(), add=add, remove=remove, exact=exact)


def account_of(row: RowRequest) -> str:
    return ID_OF_ACCOUNT[(row.account_id or row.name).lower()]


def assert_each_row_has_one_place(sheet: list[RowRequest], result: Resolution) -> None:
    placed = [row for found in result.desired_states for row in found.rows]
    invalid = {row_error.row for row_error in result.row_errors}
    assert len(placed) == len(set(placed))
    assert sorted([*placed, *invalid]) == [row.row for row in sheet]


@LAW
@given(rows(), accounts())
def test_every_row_is_in_one_request_or_has_a_row_error_and_never_both(
    sheet: list[RowRequest], state: tuple[Account, ...]
) -> None:
    result = resolve(sheet, directory(state), COLUMNS)
    assert_each_row_has_one_place(sheet, result)
    assert len({found.account_id for found in result.desired_states}) == len(result.desired_states)
    assert [row_error.row for row_error in result.row_errors] == sorted(
        row_error.row for row_error in result.row_errors
    )


@LAW
@given(rows(), DIRECTORIES, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing_but_the_order_of_requests(
    sheet: list[RowRequest], known: Directory, chance: random.Random
) -> None:
    lower = [rewritten(row, str.casefold) for row in sheet]  # without a directory the first row's spelling is kept
    if known.accounts is None or known.groups is None:
        sheet = lower
    shuffled = chance.sample(sheet, len(sheet))
    one, other = resolve(sheet, known, COLUMNS), resolve(shuffled, known, COLUMNS)
    assert set(one.desired_states) == set(other.desired_states)
    assert set(one.row_errors) == set(other.row_errors)
    assert one.warnings == other.warnings
    assert set(offline_row_errors(lower, COLUMNS)) == set(offline_row_errors(chance.sample(lower, len(lower)), COLUMNS))


@LAW
@given(rows(invalid=False))
def test_rows_are_contradictions_exactly_when_two_good_rows_for_the_account_are_at_odds(
    sheet: list[RowRequest],
) -> None:
    result = resolve(sheet, directory(), COLUMNS)
    bad_alone = {row_error.row for row_error in result.row_errors if row_error.code != "contradiction"}
    good = [row for row in sheet if row.row not in bad_alone]
    torn = {
        account_of(one)
        for one, other in combinations(good, 2)
        if account_of(one) == account_of(other) and conflicting(one, other)
    }
    told = {row_error.row for row_error in result.row_errors if row_error.code == "contradiction"}
    assert told == {row.row for row in good if account_of(row) in torn}
    for row_error in result.row_errors:  # each names another row of its account
        if row_error.code == "contradiction":
            own = next(account_of(row) for row in good if row.row == row_error.row)
            others = [row.row for row in good if account_of(row) == own and row.row != row_error.row]
            assert any(str(row) in row_error.message for row in others)


@LAW
@given(rows(), accounts())
def test_sending_the_plan_gives_what_the_rows_want_and_planning_again_gives_nothing(
    sheet: list[RowRequest], state: tuple[Account, ...]
) -> None:
    known = directory(state)
    result = resolve(sheet, known, COLUMNS)
    plan = build_plan(result, known)
    after = {account.id: account for account in state}
    for change in plan.changes:
        assert change.before is after[change.account_id]
        after[change.account_id] = put(after[change.account_id], change)

    invalid = {row_error.row for row_error in result.row_errors}
    for before in state:
        mine = [row for row in sheet if row.row not in invalid and account_of(row) == before.id]
        name = next((row.values[0] for row in mine if row.values[0] is not None), before.values[0])
        exact = next((row.exact for row in mine if row.exact is not None), None)
        added, removed = (set().union(*(ids(getattr(row, kind)) for row in mine)) for kind in ("add", "remove"))
        held = ids(before.group_ids or ())
        wanted = ids(exact) if exact is not None else (held | added) - removed
        now = after[before.id]
        assert now.values[0] == name
        assert ids(now.group_ids or ()) == wanted
        assert EVERYONE_ID in (now.group_ids or ())

    again = directory(tuple(after.values()))
    assert build_plan(resolve(sheet, again, COLUMNS), again).changes == ()


@LAW
@given(rows(), accounts())
def test_a_change_sends_only_what_differs_and_never_everyone(
    sheet: list[RowRequest], state: tuple[Account, ...]
) -> None:
    known = directory(state)
    plan = build_plan(resolve(sheet, known, COLUMNS), known)
    for change in plan.changes:
        before = known.account(change.account_id)
        assert before is not None
        held = ids(before.group_ids or ())
        assert EVERYONE_ID.lower() not in {group.lower() for group in (*change.add, *change.remove)}
        assert not ids(change.add) & held
        assert ids(change.remove) <= held
        assert change.sets_fields == (change.values[0] != before.values[0])
        assert change.values[0] is not None
        assert not change.empty
        assert describe(change, known)
    assert plan.planned_puts <= plan.accounts <= plan.naive_puts


@LAW
@given(rows(), accounts(), accounts(), st.booleans())
def test_a_state_confirms_a_change_exactly_when_nothing_falls_short(
    sheet: list[RowRequest], state: tuple[Account, ...], other: tuple[Account, ...], blind: bool
) -> None:
    known = directory(None if blind else state)
    for change in build_plan(resolve(sheet, known, COLUMNS), known).changes:
        unread = state[0]._replace(id=change.account_id)  # blind, any id may be asked for
        account = next((known for known in state if known.id.lower() == change.account_id.lower()), unread)
        after = put(account, change)
        assert confirms(change, after)
        assert shortfall(change, after, known) == ""
        for found in (each._replace(id=change.account_id) for each in (*state, *other)):
            assert confirms(change, found) == (shortfall(change, found, known) == "")
            # What a state confirms, sending would leave as it is.
            if confirms(change, found):
                sent = put(found, change)
                assert (sent.values[0], set(sent.group_ids or ())) == (
                    found.values[0],
                    set(found.group_ids or ()),
                )
            elif not change.empty:
                assert put(found, change) != found


TEXTS = ANY_TEXT | st.sampled_from(["88-uv", "Roby01", "Finance", "everyone", "g-fin"])
CELLS = st.lists(TEXTS, max_size=2).map(tuple)
ANY_ROWS = st.lists(
    st.builds(
        request,
        account_id=TEXTS,
        name=TEXTS,
        display_name=st.none() | TEXTS,
        add=CELLS,
        remove=CELLS,
        exact=st.none() | CELLS,
        partition=st.just("") | TEXTS,
    ),
    max_size=4,
).map(lambda made: [row._replace(row=number) for number, row in enumerate(made, 2)])


@LAW
@given(ANY_ROWS, DIRECTORIES, st.sampled_from([COLUMNS, {}]))
def test_no_text_of_any_kind_raises_and_each_row_still_has_one_place(
    sheet: list[RowRequest], known: Directory, columns: dict[str, str]
) -> None:
    result = resolve(sheet, known, columns)
    assert_each_row_has_one_place(sheet, result)
    for row_error in (*result.row_errors, *offline_row_errors(sheet, columns)):
        assert row_error.code
        assert row_error.message.endswith((".", "?"))
    for change in build_plan(result, known).changes:
        assert describe(change, known)


@LAW
@given(rows(invalid=False))
def test_a_check_finds_all_contradictions_where_the_sheet_spells_each_thing_in_one_way(sheet: list[RowRequest]) -> None:
    same = [
        rewritten(row, lambda text: "Everyone" if not ids((text,)) else min(ids((text,))))._replace(name="")
        for row in (row._replace(account_id=account_of(row)) for row in sheet)
    ]
    online, offline = resolve(same, directory(), COLUMNS).row_errors, offline_row_errors(same, COLUMNS)
    assert [(row_error.row, row_error.column, row_error.code) for row_error in offline] == [
        (row_error.row, row_error.column, row_error.code) for row_error in online
    ]


@LAW
@given(GROUP_LISTS, accounts())
def test_where_the_server_does_not_tell_the_groups_an_exact_list_still_comes_true(
    texts: tuple[str, ...], state: tuple[Account, ...]
) -> None:
    hidden = Account(state[0].id, state[0].name, (state[0].values[0],), None)
    known = directory((hidden,))
    (found,) = resolve([request(account_id=hidden.id, exact=texts)], known, COLUMNS).desired_states
    after = put(state[0], diff(found, hidden, known))
    assert ids(after.group_ids or ()) == ids(texts)


@LAW
@given(rows(most=12), accounts(), DIRECTORIES, RESOURCES, REMEMBERED)
def test_accounts_compared_together_differ_as_each_does_alone(
    sheet: list[RowRequest], state: tuple[Account, ...], known: Directory, resource: Resource, remembered: int
) -> None:
    """Also where names differ by case alone, where the server does not say which groups an account is in, and blind."""
    some = tuple(
        each._replace(values=(each.values[0] and each.values[0].upper(),), group_ids=None) if place % 2 else each
        for place, each in enumerate(state)
    )
    sheet = [
        row._replace(action=Action.CREATE if row.name else Action.DELETE) if row.row % 5 == 0 else row for row in sheet
    ]
    with using(resource), patch.object(plan_module, "_MEMBERSHIPS_REMEMBERED", remembered):
        for present in (directory(state), directory(some), known):
            resolution = resolve(sheet, present, COLUMNS, ResolveOptions(create_missing=True, allow_delete=True))
            plan = build_plan(resolution, present)
            alone = [
                (desired, diff(desired, present.account(desired.account_id), present))
                for desired in resolution.desired_states
            ]
            assert list(zip(plan.changing, plan.changes, strict=True)) == [pair for pair in alone if not pair[1].empty]
            assert list(plan.unchanged) == [desired for desired, change in alone if change.empty]


def folded(state: DesiredState) -> DesiredState:
    """The state with its groups folded: where none were read, a sheet's first spelling of each is taken."""
    add, remove, exact = (groups and tuple(map(fold, groups)) for groups in (state.add, state.remove, state.exact))
    return state._replace(add=add or (), remove=remove or (), exact=exact)


@LAW
@given(rows(most=12), DIRECTORIES, st.lists(st.sampled_from(["", "", ORG, ORG.upper(), "another"])), REMEMBERED)
def test_rows_read_together_ask_for_what_each_asks_for_alone(
    sheet: list[RowRequest], known: Directory, organizations: list[str], remembered: int
) -> None:
    """Lists of groups repeat in a sheet, and nothing of one row may pass to another that has the same."""
    actions = [Action.UPDATE, Action.UPDATE, Action.CREATE, Action.DELETE]
    sheet = [
        row._replace(partition=organization, action=actions[place % len(actions)])
        for place, (row, organization) in enumerate(zip(sheet, organizations, strict=False))
    ]
    with patch.object(resolve_module, "_LISTS_REMEMBERED", remembered):
        for options in (ResolveOptions(), ResolveOptions(create_missing=True, allow_delete=True)):
            alone = [resolve([row], known, COLUMNS, options) for row in sheet]
            together = resolve(sheet, known, COLUMNS, options)
            expected = [error for each in alone for error in each.row_errors]
            between_rows = {"contradiction", "account_mismatch"}
            assert [error for error in together.row_errors if error.code not in between_rows] == [
                error for error in expected if error.code not in between_rows
            ]
            by_row = {state.rows[0]: state for each in alone for state in each.desired_states}
            for state in together.desired_states:
                if len(state.rows) == 1:
                    assert folded(state) == folded(by_row[state.rows[0]])
