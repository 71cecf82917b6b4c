"""Undo and expected states: what a run did is put back, and nothing that somebody else did."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning_world import (
    ACCOUNTS,
    COLUMNS,
    EVERYONE_ID,
    GROUPS,
    LAW,
    State,
    account,
    accounts,
    directory,
    looks,
    plain,
    put,
    rows,
    touches,
)

from bulkid.errors import PermissionDeniedError
from bulkid.model import Account, AccountWish, Entry, Outcome, RowWish, Status
from bulkid.planning import (
    Directory,
    Expected,
    Plan,
    Resolution,
    build_plan,
    departed,
    departure,
    describe,
    diff,
    inverse,
    refusal,
    resolve,
    resolve_expected,
    touched,
)

UPDATED, PENDING = Outcome(Status.UPDATED), Outcome(Status.PENDING)


def entries_of(plan: Plan, state: State) -> list[Entry]:
    """What a run that carried out the plan leaves in its journal."""
    known = directory(state)
    made = [
        Entry(0, wish, change.before, describe(change, known), UPDATED, intended=True)
        for wish, change in zip(plan.changing, plan.changes, strict=True)
    ]
    return made + [
        Entry(0, wish, known.account(wish.account_id), "", Outcome(Status.UNCHANGED)) for wish in plan.unchanged
    ]


def plan_of(sheet: list[RowWish], state: State) -> Plan:
    known = directory(state)
    return build_plan(resolve(sheet, known, COLUMNS), known)


def sent(plan: Plan, state: State) -> State:
    """The accounts once the plan's changes have been sent."""
    changes = {change.account_id: change for change in plan.changes}
    return tuple(put(each, changes[each.id]) if each.id in changes else each for each in state)


def resolved(entries: list[Entry], state: State) -> tuple[Resolution, Plan]:
    known = directory(state)
    items = [inverse(entry) for entry in entries if touched(entry)]
    resolution = resolve_expected(items, known, "as it was left")
    return resolution, build_plan(resolution, known)


@LAW
@given(rows(), accounts())
def test_an_undo_gives_the_state_before_and_its_undo_the_state_after(sheet: list[RowWish], before: State) -> None:
    run = plan_of(sheet, before)
    after = sent(run, before)
    resolution, undo = resolved(entries_of(run, before), after)
    assert resolution.faults == ()
    assert {wish.rows for wish in resolution.wishes} == {wish.rows for wish in run.changing}
    assert undo.planned_puts == run.planned_puts
    back = sent(undo, after)
    assert plain(back) == plain(before)
    resolution, redo = resolved(entries_of(undo, after), back)
    assert resolution.faults == ()
    assert plain(sent(redo, back)) == plain(after)


@LAW
@given(rows(), accounts())
def test_what_is_back_already_is_left_as_it_is(sheet: list[RowWish], before: State) -> None:
    run = plan_of(sheet, before)
    resolution, undo = resolved(entries_of(run, before), before)
    assert resolution.faults == ()
    assert undo.changes == ()
    assert len(undo.unchanged) == len(run.changes)


@LAW
@given(rows(), accounts(), accounts(), st.sets(st.sampled_from([known.id for known in ACCOUNTS])))
def test_an_account_is_left_and_named_exactly_when_what_the_run_changed_was_changed_again(
    sheet: list[RowWish], before: State, others: State, meddled: set[str]
) -> None:
    run = plan_of(sheet, before)
    entries = entries_of(run, before)
    after = {each.id: each for each in sent(run, before)}
    found = tuple(other if other.id in meddled else after[other.id] for other in others)
    resolution, undo = resolved(entries, found)
    back = {each.id: each for each in sent(undo, found)}
    faulty = {fault.row for fault in resolution.faults}
    for entry in entries:
        if not touched(entry):
            continue
        was = entry.before
        assert was is not None
        mine = touches(was, after[was.id])
        (present,) = (each for each in found if each.id == was.id)
        fits = looks(present, mine) in (looks(was, mine), looks(after[was.id], mine))
        assert faulty.isdisjoint(entry.wish.rows) == fits
        if fits:
            assert looks(back[was.id], mine) == looks(was, mine)
            untouched = {"name", *(group.id.lower() for group in GROUPS)} - mine
            assert looks(back[was.id], untouched) == looks(present, untouched)
        else:
            assert set(entry.wish.rows) <= faulty
            assert back[was.id] == present
    assert {fault.code for fault in resolution.faults} <= {"changed_since"}
    assert all("expected" in fault.message and "found" in fault.message for fault in resolution.faults)


@LAW
@given(rows(), accounts(), st.data())
def test_where_a_request_may_have_done_a_part_what_is_done_is_put_back(
    sheet: list[RowWish], before: State, data: st.DataObject
) -> None:
    run = plan_of(sheet, before)
    entries = [
        entry._replace(outcome=data.draw(st.sampled_from([PENDING, Outcome(Status.FAILED, error_code="not_applied")])))
        for entry in entries_of(run, before)
        if touched(entry)
    ]
    found = {each.id: each for each in before}
    for change in run.changes:
        some = change._replace(
            display_name=data.draw(st.sampled_from([change.display_name, None])),
            add=tuple(group for group in change.add if data.draw(st.booleans())),
            remove=tuple(group for group in change.remove if data.draw(st.booleans())),
        )
        found[change.account_id] = put(found[change.account_id], some)
    state = tuple(found.values())
    resolution, undo = resolved(entries, state)
    assert resolution.faults == ()
    assert plain(sent(undo, state)) == plain(before)


@LAW
@given(rows(), accounts(), accounts(), st.booleans())
def test_a_resumed_run_finds_a_departure_exactly_where_an_account_is_neither_as_planned_from_nor_as_wanted(
    sheet: list[RowWish], before: State, others: State, intended: bool
) -> None:
    known = directory(others)
    run = plan_of(sheet, before)
    undo = resolved(entries_of(run, before), sent(run, before))[1]
    for entry in entries_of(undo, sent(run, before)):
        if not touched(entry):
            continue
        was, present = entry.before, known.account(entry.wish.account_id)
        assert was is not None
        assert present is not None
        mine = touches(was, put(was, diff(entry.wish, was, known)))
        now, old = looks(present, mine), looks(was, mine)
        new = looks(put(was, diff(entry.wish, was, known)), mine)
        fits = now in (old, new) or (intended and now <= old | new)
        open_entry = entry._replace(outcome=PENDING, intended=intended)
        assert (departed(open_entry, present, known) == "") == fits


def entry(wish: AccountWish, before: Account | None, outcome: Outcome = UPDATED, *, intended: bool = True) -> Entry:
    return Entry(0, wish, before, "the change", outcome, intended)


WISH = AccountWish("88-uv", "Roby01", "Robbie", ("g-fin",), ("G-TRA",), None, (2, 5))


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
    assert touched(entry(WISH, account(), outcome, intended=intended)) is expected


def test_what_was_not_known_before_the_run_cannot_be_put_back() -> None:
    assert "blind" in refusal(entry(WISH, None))
    assert "which groups" in refusal(entry(WISH, account(groups=None)))
    assert "which groups" in refusal(entry(WISH._replace(add=(), remove=(), exact=()), account(groups=None)))
    rename = entry(WISH._replace(add=(), remove=()), account(groups=None))
    assert refusal(rename) == ""
    back = inverse(rename)
    assert (back.wish.display_name, back.wish.add, back.wish.remove) == ("Roby", (), ())
    renamed = account(display_name="Robbie", groups=("g-fin",))
    assert resolve_expected([back], directory((renamed,)), "").wishes == (back.wish,)


def test_an_empty_display_name_is_put_back_as_empty() -> None:
    back = inverse(entry(WISH, account(display_name="", groups=("g-fin",))))
    assert back.wish == AccountWish("88-uv", "Roby01", "", (), (), None, (2, 5))


def test_the_message_says_what_was_expected_and_what_was_found() -> None:
    before = account(groups=("G-TRA",))
    present = account(display_name="Rob", groups=("g-fin",))
    name = 'display name: expected "Roby", found "Rob"'
    groups = "in Finance: expected no, found yes; in Trainees: expected yes, found no"
    assert departure(WISH, before, present, directory(), partial=False) == f"{name}; {groups}"
    assert departure(WISH, before, present, directory(), partial=True) == name
    hidden = departure(WISH, before, account(groups=None), directory(), partial=True)
    assert hidden == "the server does not say which groups it is in"


def test_accounts_and_groups_that_are_gone_are_named() -> None:
    back = inverse(entry(WISH, account(groups=("G-TRA",))))
    left = account(display_name="Robbie", groups=("g-fin",))
    gone = resolve_expected([back], directory(ACCOUNTS[1:]), "as it was left")
    assert [(fault.row, fault.code) for fault in gone.faults] == [(2, "account_gone"), (5, "account_gone")]
    assert "Roby01" in gone.faults[0].message
    groupless = resolve_expected([back], directory((left,), groups=GROUPS[:2]), "as it was left")
    assert [fault.code for fault in groupless.faults] == ["group_gone", "group_gone"]
    assert '"G-TRA" does not exist any more (the run\'s change: the change)' in groupless.faults[0].message
    joined_gone = resolve_expected([back], directory((left,), groups=GROUPS[:1] + GROUPS[2:]), "as it was left")
    assert [fault.code for fault in joined_gone.faults] == ["group_gone", "group_gone"]
    assert '"g-fin" does not exist any more' in joined_gone.faults[0].message
    assert resolve_expected([back], directory((left,), groups=None), "").faults == ()


def test_nobody_is_taken_out_of_everyone() -> None:
    item = Expected(WISH._replace(remove=(EVERYONE_ID.lower(),)), account())
    (fault, _) = resolve_expected([item], directory(), "").faults
    assert fault.code == "everyone_cannot_be_removed"


def test_nothing_is_done_unseen_where_a_state_is_expected() -> None:
    back = inverse(entry(WISH, account()))
    with pytest.raises(PermissionDeniedError, match=r"PM\.RobotAccount\.Read"):
        resolve_expected([back], directory(None), "")
    with pytest.raises(PermissionDeniedError):
        departed(entry(WISH, account(), PENDING), None, directory(None))
    assert departed(entry(WISH, None, PENDING), None, directory(None)) == ""
    blind = resolve_expected([Expected(WISH, None)], directory(None), "")
    assert blind.wishes == (WISH,)
    assert "1 account" in blind.warnings[0]


@pytest.mark.parametrize(("absent", "code"), [(frozenset({"a1"}), "account_gone"), (frozenset(), "unknown_account")])
def test_an_account_that_was_not_found_is_left_alone_and_gone_only_where_that_is_known(
    absent: frozenset[str], code: str
) -> None:
    known = Directory("org", [], [], absent=absent, unknown={"a1": "the server does not look it up (HTTP 400: no id)"})
    expected = Expected(AccountWish("a1", "Roby", "New", (), (), None, (2, 5)), account("a1", "Roby"))
    found = resolve_expected([expected], known, "as it was")
    assert not found.wishes
    assert [(fault.row, fault.code) for fault in found.faults] == [(2, code), (5, code)]
    assert ("HTTP 400" in found.faults[0].message) == (code == "unknown_account")
