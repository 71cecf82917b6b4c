"""Accounts that failed after the run had made a part of their change: an undo must know of them."""

from bulkid.model import Account, Action, Change, Outcome, RunItem
from bulkid.planning.directory import Directory
from bulkid.planning.plan import diff, values_confirmed
from bulkid.text import fold

PARTLY_APPLIED = "partly_applied"
"""The code of the error of a failed account of whose change the run has made a part: an undo puts that back."""

PARTLY_DONE = frozenset({PARTLY_APPLIED, "not_applied", "group_gone", "group_not_created"})
"""Error codes of failed accounts that have part of the change, maybe: also one that the server called changed, and that
did not read so; one that waited for a group which was deleted, or could not be created, while others had taken it in.
"""

_GONE = "account_gone"
"""The error code of an account that does not exist any more: there is nothing to put back."""


def partly_applied(outcome: Outcome) -> Outcome:
    """Say of a failed account that it has part of its change, so that an undo puts it back."""
    if outcome.error_code in {*PARTLY_DONE, _GONE}:
        return outcome
    error = f"{outcome.error.rstrip('.')}. Part of the change was made."
    return outcome._replace(error_code=PARTLY_APPLIED, error=error)


def has_part(item: RunItem, present: Account, directory: Directory) -> bool:
    """Whether an account already has part of what a run wants of it and it did not have when the run was planned."""
    if item.before is None or item.desired.action is Action.DELETE:
        return False
    planned, left = (diff(item.desired, account, directory) for account in (item.before, present))
    has_values = planned.sets_fields and not left.sets_fields
    return has_values or not ({*planned.add, *planned.remove} <= {*left.add, *left.remove})


def shows_part(change: Change, after: Account) -> bool:
    """Whether an account shows a part of a change."""
    groups = frozenset(map(fold, after.group_ids or ()))
    joined = any(fold(group) in groups for group in change.add)
    left = after.group_ids is not None and any(fold(group) not in groups for group in change.remove)
    return joined or left or (change.sets_fields and values_confirmed(change, after))
