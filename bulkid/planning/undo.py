"""Undo: from what a run wanted of an account and what it found, the changes that put it back."""

from bulkid.model import Account, AccountWish, Entry, Status
from bulkid.planning.preconditions import Expected
from bulkid.text import fold

PARTLY_DONE = frozenset({"not_applied", "group_gone"})
"""Error codes of failed accounts that have part of the change, maybe: one that the server called changed, and that did
not read so; one that waited for a group which was deleted, while other groups had taken it in."""


def touched(entry: Entry) -> bool:
    """Whether the run changed the account, or may have: its present state then tells."""
    outcome = entry.outcome
    return outcome.status is Status.UPDATED or _uncertain(entry)


def refusal(entry: Entry) -> str:
    """Say why an account cannot be put back; "" when it can."""
    if entry.before is None:
        return "The run was blind: what the account was like before it is not known, so it cannot be put back."
    wish = entry.wish
    if entry.before.group_ids is None and (wish.add or wish.remove or wish.exact is not None):
        return (
            "The server did not say which groups the account was in before the run, so they cannot be put back: set "
            "them with a sheet."
        )
    return ""


def inverse(entry: Entry) -> Expected:
    """Work out what puts an account back as it was before a run: only what the run itself changed.

    A group that the account was in already is not removed, and one that it was not in is not added back. With an
    exact list of groups the run may seem to have removed Everyone, which no request can; the directory tells which
    group that is, and :func:`~bulkid.planning.preconditions.resolve_expected` passes over it.

    Args:
        entry: The account in the run's journal; :func:`refusal` has nothing against it.

    Raises:
        ValueError: The state before is not known.
    """
    before, wish = entry.before, entry.wish
    if before is None:
        msg = "nothing is known of the state before"
        raise ValueError(msg)
    held = before.group_ids or ()
    were = frozenset(map(fold, held))
    wanted = wish.add if wish.exact is None else wish.exact
    added = tuple(group for group in wanted if fold(group) not in were)
    removed = _without(held, _without(held, wish.remove) if wish.exact is None else wish.exact)
    renamed = wish.display_name is not None and wish.display_name != before.display_name
    left = Account(
        id=before.id,
        name=before.name,
        display_name=before.display_name if wish.display_name is None else wish.display_name,
        group_ids=None if before.group_ids is None else _without(held, removed) + added,
    )
    back = AccountWish(
        account_id=before.id,
        name=before.name,
        display_name=before.display_name if renamed else None,
        add=removed,
        remove=added,
        exact=None,
        rows=wish.rows,
    )
    return Expected(back, left, partial=_uncertain(entry), words=f"the run's change: {entry.changes}")


def _uncertain(entry: Entry) -> bool:
    """Whether a request may have done the whole of it, a part, or nothing."""
    outcome = entry.outcome
    if outcome.status is Status.PENDING:
        return entry.intended
    return outcome.status is Status.FAILED and outcome.error_code in PARTLY_DONE


def _without(groups: tuple[str, ...], gone: tuple[str, ...]) -> tuple[str, ...]:
    left_out = frozenset(map(fold, gone))
    return tuple(group for group in groups if fold(group) not in left_out)
