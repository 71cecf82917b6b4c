"""Changes for a known state, as of an undo or a plan file: whether an account still has it, and what differs if not.

A sheet says what an account shall become whatever it is now. Such changes apply to an account *that is as expected*,
and leave one alone that has changed since.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bulkid.errors import PermissionDeniedError
from bulkid.model import CHANGED, Account, DesiredState, RowError, RunItem, Status
from bulkid.planning.directory import Absent, Directory, Unknown
from bulkid.planning.plan import diff
from bulkid.planning.resolve import Resolution
from bulkid.resources import current
from bulkid.text import count_of, fold, quote


class Precondition(NamedTuple):
    """What is wanted of one account, and the state that this was worked out for."""

    desired: DesiredState  # in ids, without an exact list
    before: Account | None  # the state expected; None: not known (blind), so that nothing is compared
    partial: bool = False  # whether each attribute by itself may be as expected or correct already
    description: str = ""  # the change, for messages


class _Attribute(NamedTuple):
    """One attribute that a desired state touches, as it is now."""

    as_before: bool
    as_wanted: bool
    description: str


def precondition_conflict(
    desired: DesiredState, before: Account, present: Account, directory: Directory, *, partial: bool
) -> str:
    """Describe how an account differs from the state that a desired state was worked out for.

    Only what is to change is compared. An account that is already correct has no conflict. With ``partial``
    a mixture of the two states is expected, as where a request may have done part of the work; else all must be as
    before, or all correct.

    Returns:
        ``display name: expected "Robbie", found "Rob"; in Finance: expected yes, found no``; "" without a conflict.
    """
    attributes = list(_attributes(desired, before, present, directory))
    if all(attribute.as_wanted for attribute in attributes):
        return ""
    conflicting = [
        attribute for attribute in attributes if not (attribute.as_before or (partial and attribute.as_wanted))
    ]
    return "; ".join(attribute.description for attribute in conflicting)


def item_conflict(item: RunItem, present: Account | None, directory: Directory) -> str:
    """Say how an account differs both from what a run found it to be and from what the run wants it to be.

    Returns:
        As :func:`precondition_conflict`; "" also where the run was blind, and expects nothing.

    Raises:
        PermissionDeniedError: The accounts were not read, and something is expected of them.
    """
    if item.before is None:
        return ""
    require_accounts(directory)
    if present is None:
        return "it does not exist any more"
    return precondition_conflict(item.desired, item.before, present, directory, partial=item.intended)


def without_exact_list(item: RunItem, directory: Directory) -> DesiredState:
    """Give what a run wants of an account as the change that was planned and shown.

    An exact list of groups asks for whatever leads to it; this is what it added and removed at the time of the plan.

    Raises:
        PermissionDeniedError: The desired state is an exact list, and the groups cannot be read.
    """
    desired = item.desired
    if desired.exact is None or item.before is None:
        return desired
    planned = diff(desired, item.before, directory)
    return desired._replace(exact=None, add=planned.add, remove=planned.remove)


def require_accounts(directory: Directory) -> None:
    """Stop where accounts cannot be compared with what is expected of them.

    Raises:
        PermissionDeniedError: The accounts were not read.
    """
    if directory.accounts is None:
        raise PermissionDeniedError(
            "These changes are made only where an account still is as expected, and the accounts cannot be read.",
            hint=f"Grant {current().read_scope} to the external application, and leave --no-read out.",
        )


def resolve_preconditions(items: Iterable[Precondition], directory: Directory, expected_state: str) -> Resolution:
    """Compare every account with what is expected of it, and let those through that are as expected.

    Every row of the others gets an error, which ends with ``expected_state``: ``as run 20260131-081500-x7k2 left it``.

    Raises:
        PermissionDeniedError: The accounts were not read, and something is expected of them.
    """
    desired_states: list[DesiredState] = []
    row_errors: list[RowError] = []
    count = 0
    for precondition in items:
        count += 1
        if precondition.before is not None:
            require_accounts(directory)
        found = _resolve(precondition, directory, expected_state)
        if isinstance(found, DesiredState):
            desired_states.append(found)
        else:
            code, message = found
            row_errors.extend(RowError(row, "", "", code, message) for row in precondition.desired.rows)
    row_errors.sort(key=lambda row_error: row_error.row)
    warnings: tuple[str, ...] = ()
    if directory.accounts is None and count:
        warnings = (f"Nothing is compared with the present state: {count_of(count, 'account')} taken by id.",)
    return Resolution(tuple(desired_states), tuple(row_errors), warnings)


def _resolve(precondition: Precondition, directory: Directory, expected_state: str) -> DesiredState | tuple[str, str]:
    """Give the desired state in the server's ids; or a code, and a sentence that says why the account is left alone."""
    desired = precondition.desired
    found = directory.find(desired.account_id)
    if isinstance(found, Absent):
        return "account_gone", f"The account {quote(desired.name or desired.account_id)} does not exist any more."
    if isinstance(found, Unknown) and directory.accounts is not None:
        named = quote(desired.name or desired.account_id)
        return (
            "unknown_account",
            f"Whether the account {named} still exists is not known: {found.reason}. It is left alone.",
        )
    account = found if isinstance(found, Account) else None
    if refused := _group_refusal(precondition, directory):
        return refused
    everyone = fold(directory.everyone_id)
    add = tuple(_as_the_server_writes(group, directory) for group in desired.add if fold(group) != everyone)
    remove = tuple(_as_the_server_writes(group, directory) for group in desired.remove)
    desired = desired._replace(add=add, remove=remove)
    if account is None:
        return desired
    desired = desired._replace(account_id=account.id, name=account.name)
    if precondition.before is not None:
        conflict = precondition_conflict(desired, precondition.before, account, directory, partial=precondition.partial)
        if conflict:
            return "changed_since", f"The account is not {expected_state}: {conflict}. It is left alone."
    return desired


def _group_refusal(precondition: Precondition, directory: Directory) -> tuple[str, str] | None:
    """Say why the groups of a change cannot be changed, with a code; None when they can."""
    desired = precondition.desired
    everyone = fold(directory.everyone_id)
    if everyone and any(fold(group) == everyone for group in desired.remove):
        return "everyone_cannot_be_removed", "Every account belongs to the group Everyone; it cannot be removed."
    if directory.groups is not None:
        for group in (*desired.add, *desired.remove):
            if directory.group_with_id(group) is None:
                change = f" ({precondition.description})" if precondition.description else ""
                return "group_gone", f"The group {quote(group)} does not exist any more{change}."
    return None


def _as_the_server_writes(group_id: str, directory: Directory) -> str:
    group = directory.group_with_id(group_id)
    return group_id if group is None else group.id


def _attributes(desired: DesiredState, before: Account, present: Account, directory: Directory) -> Iterator[_Attribute]:
    fields = current().fields
    for field, wanted, was, now in zip(fields, desired.values, before.values, present.values, strict=True):
        if wanted is not None:
            yield _Attribute(field.equal(now, was), field.equal(now, wanted), field.describe_conflict(was, now))
    if before.group_ids is None or not (desired.add or desired.remove):
        return  # nothing is expected where the server did not say
    if present.group_ids is None:
        yield _Attribute(as_before=False, as_wanted=False, description="the server does not say which groups it is in")
        return
    were, are = (frozenset(map(fold, account.group_ids or ())) for account in (before, present))
    for groups, member in ((desired.add, True), (desired.remove, False)):
        for group in groups:
            was_in, is_in = fold(group) in were, fold(group) in are
            description = f"in {directory.group_name(group)}: expected {_yes(was_in)}, found {_yes(is_in)}"
            yield _Attribute(was_in == is_in, is_in == member, description)


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


PARTLY_DONE = frozenset({"not_applied", "group_gone"})
"""Error codes of failed accounts that have part of the change, maybe: one that the server called changed, and that did
not read so; one that waited for a group which was deleted, while other groups had taken it in."""


def may_have_changed(item: RunItem) -> bool:
    """Whether the run changed the account, or may have: its present state then decides."""
    outcome = item.outcome
    return outcome.status in CHANGED or _uncertain(item)


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
    exact list of groups the run may seem to have removed Everyone, which no request can: :func:`resolve_preconditions`
    ignores it.
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
