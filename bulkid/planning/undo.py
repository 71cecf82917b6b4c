"""Undo: from what a run wanted of an account and what it found, the changes that put it back."""

from bulkid.model import Account, DesiredState, RunItem, Status
from bulkid.planning.preconditions import Precondition
from bulkid.resources import current
from bulkid.text import fold

PARTLY_DONE = frozenset({"not_applied", "group_gone"})
"""Error codes of failed accounts that have part of the change, maybe: one that the server called changed, and that did
not read so; one that waited for a group which was deleted, while other groups had taken it in."""


def may_have_changed(item: RunItem) -> bool:
    """Whether the run changed the account, or may have: its present state then tells."""
    outcome = item.outcome
    return outcome.status is Status.UPDATED or _uncertain(item)


def undo_obstacle(item: RunItem) -> str:
    """Say why an account cannot be put back; "" when it can."""
    if item.before is None:
        return "The run was blind: what the account was like before it is not known, so it cannot be put back."
    desired = item.desired
    if item.before.group_ids is None and (desired.add or desired.remove or desired.exact is not None):
        return (
            "The server did not say which groups the account was in before the run, so they cannot be put back: set "
            "them with a sheet."
        )
    return ""


def inverse(item: RunItem) -> Precondition:
    """Work out what puts an account back as it was before a run: only what the run itself changed.

    A group that the account was in already is not removed, and one that it was not in is not added back. With an
    exact list of groups the run may seem to have removed Everyone, which no request can; the directory tells which
    group that is, and :func:`~bulkid.planning.preconditions.resolve_preconditions` passes over it.

    Args:
        item: The account in the run's journal; :func:`undo_obstacle` has nothing against it.

    Raises:
        ValueError: The state before is not known.
    """
    before, desired = item.before, item.desired
    if before is None:
        msg = "nothing is known of the state before"
        raise ValueError(msg)
    held = before.group_ids or ()
    were = frozenset(map(fold, held))
    wanted = desired.add if desired.exact is None else desired.exact
    added = tuple(group for group in wanted if fold(group) not in were)
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
    return Precondition(back, left, partial=_uncertain(item), description=f"the run's change: {item.changes}")


def _uncertain(item: RunItem) -> bool:
    """Whether a request may have done the whole of it, a part, or nothing."""
    outcome = item.outcome
    if outcome.status is Status.PENDING:
        return item.intended
    return outcome.status is Status.FAILED and outcome.error_code in PARTLY_DONE


def _without(groups: tuple[str, ...], gone: tuple[str, ...]) -> tuple[str, ...]:
    removed_ids = frozenset(map(fold, gone))
    return tuple(group for group in groups if fold(group) not in removed_ids)
