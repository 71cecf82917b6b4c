"""Preconditions: an account that is not as a change expects it is left alone, and the message says how it differs."""

import pytest

from bulkid.errors import PermissionDeniedError
from bulkid.model import Action, DesiredState, Outcome, Status
from bulkid.planning.directory import Directory
from bulkid.planning.preconditions import (
    Precondition,
    PreconditionRules,
    deletion_conflict,
    item_conflict,
    precondition_conflict,
    resolve_preconditions,
)
from tests.support.lifecycle_world import CREATION, MADE, NOTHING, creation, deletion
from tests.support.planning_world import DESIRED, EVERYONE_ID, GROUPS, account, directory, run_item

PENDING = Outcome(Status.PENDING)


def test_the_message_says_what_was_expected_and_what_was_found() -> None:
    before = account(groups=("G-TRA",))
    present = account(display_name="Rob", groups=("g-fin",))
    name = 'display name: expected "Roby", found "Rob"'
    groups = "in Finance: expected no, found yes; in Trainees: expected yes, found no"
    assert precondition_conflict(DESIRED, before, present, directory(), partial=False) == f"{name}; {groups}"
    assert precondition_conflict(DESIRED, before, present, directory(), partial=True) == name
    hidden = precondition_conflict(DESIRED, before, account(groups=None), directory(), partial=True)
    assert hidden == "the server does not say which groups it is in"


def test_nobody_is_taken_out_of_everyone() -> None:
    item = Precondition(DESIRED._replace(remove=(EVERYONE_ID.lower(),)), account())
    (row_error, _) = resolve_preconditions([item], directory(), PreconditionRules("")).row_errors
    assert row_error.code == "everyone_cannot_be_removed"


def test_nothing_is_done_unseen_where_a_state_is_expected() -> None:
    expected = Precondition(DESIRED, account())
    with pytest.raises(PermissionDeniedError, match=r"PM\.RobotAccount\.Read"):
        resolve_preconditions([expected], directory(None), PreconditionRules(""))
    with pytest.raises(PermissionDeniedError):
        item_conflict(run_item(DESIRED, account(), PENDING), None, directory(None))
    assert item_conflict(run_item(DESIRED, None, PENDING), None, directory(None)) == ""
    blind = resolve_preconditions([Precondition(DESIRED, None)], directory(None), PreconditionRules(""))
    assert blind.desired_states == (DESIRED,)
    assert "1 account" in blind.warnings[0]


@pytest.mark.parametrize(("absent", "code"), [(frozenset({"a1"}), "account_gone"), (frozenset(), "unknown_account")])
def test_an_account_that_was_not_found_is_left_alone_and_gone_only_where_that_is_known(
    absent: frozenset[str], code: str
) -> None:
    known = Directory("org", [], [], absent=absent, unknown={"a1": "the server does not look it up (HTTP 400: no id)"})
    expected = Precondition(DesiredState("a1", "Roby", ("New",), (), (), None, (2, 5)), account("a1", "Roby"))
    found = resolve_preconditions([expected], known, PreconditionRules("as it was"))
    assert not found.desired_states
    assert [(row_error.row, row_error.code) for row_error in found.row_errors] == [(2, code), (5, code)]
    assert ("HTTP 400" in found.row_errors[0].message) == (code == "unknown_account")


@pytest.mark.parametrize(
    ("before", "present", "fits"),
    [
        ("", "", True),
        ("2026-01-31T08:15:00Z", "2026-01-31T08:15:00Z", True),
        ("2026-01-31T08:15:00Z", "2026-01-31T09:15:00+01:00", True),
        ("2026-01-31T08:15:00Z", "2026-01-31T08:15:01Z", False),
        ("2026-01-31T08:15:00Z", "", True),
        ("", "2026-01-31T08:15:00Z", False),
        ("yesterday", "yesterday", True),
        ("yesterday", "today", False),
        ("2026-01-31T08:15:00Z", "today", False),
    ],
)
def test_a_login_since_stands_against_a_deletion(before: str, present: str, fits: bool) -> None:
    was, now = MADE._replace(last_login=before), MADE._replace(last_login=present)
    assert (deletion_conflict(was, now, directory()) == "") is fits
    item = deletion()._replace(before=was, outcome=PENDING)
    assert (item_conflict(item, now, directory((now,))) == "") is fits


def test_a_resumed_creation_meets_an_account_of_its_name_only_where_its_request_may_have_left() -> None:
    fresh = creation(PENDING, account_id="")._replace(intended=False)
    other = MADE._replace(values=("Other",))
    assert item_conflict(fresh, None, directory()) == ""
    assert item_conflict(fresh, MADE, directory((MADE,))) == ""
    assert '"made"' in item_conflict(fresh, other, directory((other,)))
    assert item_conflict(fresh._replace(intended=True), other, directory((other,))) == ""


def test_nothing_is_created_or_deleted_unseen() -> None:
    rules = PreconditionRules("as it was left", allow_delete=True, recreate=True)
    for desired in (CREATION, DesiredState("made", "bot", NOTHING, (), (), None, (2,), Action.DELETE)):
        with pytest.raises(PermissionDeniedError, match=r"PM\.RobotAccount\.Read"):
            resolve_preconditions([Precondition(desired, None)], directory(None), rules)


def test_a_group_of_a_created_account_may_be_everyone_where_the_groups_were_not_read() -> None:
    left, found = (account("a-new", "Newcomer", "New", groups=groups) for groups in (None, ()))
    left = left._replace(group_ids=())
    unread, read = Directory("org", [found], None), Directory("org", [found], GROUPS)
    assert deletion_conflict(left, found, read) == ""
    assert "it may be Everyone: without PM.Group.Read" in deletion_conflict(left, found, unread)
