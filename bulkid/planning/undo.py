"""The undo of a run's changes: which accounts it concerns, which of them can be put back, and the change that does it.

Each such change has a precondition: the account is still as the run left it.
"""

from collections.abc import Collection

from bulkid.model import CHANGED, Account, Action, DesiredState, RunItem, Status
from bulkid.planning.partial_changes import PARTLY_DONE
from bulkid.planning.preconditions import Precondition, is_creation
from bulkid.resources import current
from bulkid.text import fold


def may_have_changed(item: RunItem, new_groups: Collection[str] = ()) -> bool:
    """Whether the run changed the account, or may have: its present state then decides.

    ``new_groups`` are the folded ids of the groups that the run created: the account may have joined them by their POST
    although its own request failed.
    """
    return item.outcome.status in CHANGED or _uncertain(item, new_groups)


def is_irreversible(item: RunItem) -> bool:
    """Whether the run deleted the account for certain: it can only be made again, with another id."""
    return item.desired.action is Action.DELETE and item.outcome.status is Status.DELETED


def undo_obstacle(item: RunItem) -> str:
    """Say why an account cannot be put back; "" when it can."""
    desired = item.desired
    if is_creation(item):
        return ""
    if item.before is None:
        return "The run was blind: what the account was like before it is not known, so it cannot be put back."
    touches_groups = desired.add or desired.remove or desired.exact is not None or desired.action is Action.DELETE
    if item.before.group_ids is None and touches_groups:
        return (
            "The server did not say which groups the account was in before the run, so they cannot be put back: set "
            "them with a sheet."
        )
    return ""


def inverse(item: RunItem, new_groups: Collection[str] = ()) -> Precondition:
    """Work out what puts an account back as it was before a run: only what the run itself changed.

    A creation is undone by a deletion; a deletion by a creation, of an account with another id. ``new_groups``: see
    :func:`may_have_changed`.
    """
    uncertain = _uncertain(item, new_groups)
    if is_creation(item):
        return _inverse_of_creation(item, partial=uncertain)
    if item.desired.action is Action.DELETE:
        return _inverse_of_deletion(item, partial=uncertain)
    return _inverse_of_update(item, partial=uncertain)


def _inverse_of_creation(item: RunItem, *, partial: bool) -> Precondition:
    """Delete the account, which the run left with what its POST carried, and which has never logged in."""
    desired = item.desired
    left = Account(desired.account_id, desired.name, desired.values, _joined(desired))
    gone = DesiredState(
        desired.account_id, desired.name, current().nothing, (), (), None, desired.rows, action=Action.DELETE
    )
    # An account that is found by its name alone may be another client's: it must have all that the POST carried.
    partial = partial and bool(desired.account_id)
    return Precondition(gone, left, partial=partial, description=_run_change(item))


def _inverse_of_deletion(item: RunItem, *, partial: bool) -> Precondition:
    """Create an account with the name, the values and the groups of the one that the run deleted."""
    before = _require_before(item)
    values = tuple([value or None for value in before.values])
    again = DesiredState(
        "", before.name, values, before.group_ids or (), (), None, item.desired.rows, action=Action.CREATE
    )
    return Precondition(again, before, partial=partial, description=_run_change(item))


def _inverse_of_update(item: RunItem, *, partial: bool) -> Precondition:
    """Put back the fields and groups that the run changed.

    A group that the account was in already is not removed, and one that it was not in is not added back. With an
    exact list of groups the run may seem to have removed Everyone, which no request can:
    :func:`~bulkid.planning.preconditions.resolve_preconditions` ignores it.
    """
    before, desired = _require_before(item), item.desired
    held = before.group_ids or ()
    were = frozenset(map(fold, held))
    added = tuple(group for group in _joined(desired) if fold(group) not in were)
    removed = _without(held, _without(held, desired.remove) if desired.exact is None else desired.exact)
    left = Account(
        id=before.id,
        name=before.name,
        values=tuple(was if value is None else value for value, was in zip(desired.values, before.values, strict=True)),
        group_ids=None if before.group_ids is None else _without(held, removed) + added,
    )
    back = DesiredState(
        account_id=before.id,
        name=before.name,
        values=tuple(
            None if value is None or field.equal(value, was) else was
            for field, value, was in zip(current().fields, desired.values, before.values, strict=True)
        ),
        add=removed,
        remove=added,
        exact=None,
        rows=desired.rows,
    )
    return Precondition(back, left, partial=partial, description=_run_change(item))


def _require_before(item: RunItem) -> Account:
    if item.before is None:
        raise ValueError("nothing is known of the state before")
    return item.before


def _run_change(item: RunItem) -> str:
    return f"the run's change: {item.changes}"


def _uncertain(item: RunItem, new_groups: Collection[str]) -> bool:
    """Whether requests may have done the whole of it, a part, or nothing."""
    outcome = item.outcome
    if outcome.status is Status.PENDING:
        return item.intended
    if outcome.status is not Status.FAILED or not item.intended:
        return False
    if is_creation(item):
        return bool(item.desired.account_id)  # known where the account was created
    return outcome.error_code in PARTLY_DONE or any(fold(group) in new_groups for group in _joined(item.desired))


def _joined(desired: DesiredState) -> tuple[str, ...]:
    return desired.add if desired.exact is None else desired.exact


def _without(groups: tuple[str, ...], gone: tuple[str, ...]) -> tuple[str, ...]:
    removed_ids = frozenset(map(fold, gone))
    return tuple(group for group in groups if fold(group) not in removed_ids)
