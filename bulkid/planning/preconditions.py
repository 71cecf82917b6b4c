"""Changes for a known state, as of an undo or a plan file: whether an account still has it, and what differs if not.

A sheet says what an account shall become whatever it is now. Such changes apply to an account *that is as expected*,
and leave one alone that has changed since. A creation expects that no account has its name. A deletion expects of the
whole account that it is as it was, and that it has not logged in since.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from bulkid.errors import PermissionDeniedError
from bulkid.model import NEW_GROUP, Account, Action, DesiredState, Group, RowError, RunItem
from bulkid.planning.creation import DELETION_NOT_ALLOWED
from bulkid.planning.directory import Absent, Directory, Unknown
from bulkid.planning.export_rows import account_time, has_time
from bulkid.planning.plan import diff, may_be_everyone
from bulkid.planning.resolve import Resolution
from bulkid.resources import current
from bulkid.text import count_of, fold, quote

DELETION_NOT_UNDONE = "deletion_not_undone"
"""The code of the error of a row whose account the undone run deleted."""

CHANGED_SINCE = "changed_since"
"""The code of the error of an account that is not as expected."""


class Precondition(NamedTuple):
    """What is wanted of one account, and the state that this was worked out for.

    A creation with a state before makes an account again that a run deleted. A deletion without an id finds its account
    by the name: it undoes a creation of which no answer came.
    """

    desired: DesiredState  # in ids, without an exact list
    before: Account | None  # the state expected; None: not known (blind), so that nothing is compared
    partial: bool = False  # whether each attribute by itself may be as expected or correct already
    description: str = ""  # the change, for messages


class PreconditionRules(NamedTuple):
    """What holds for all changes of one input.

    Args:
        expected_state: Ends messages: ``as run 20260131-081500-x7k2 left it``.
        allow_delete: Whether accounts may be deleted.
        recreate: Whether accounts that a run deleted are made again.
        new_groups: Groups that the changes may name before they exist. One that another id has by now is that group.
        creates_groups: Whether the groups of these that do not exist are created; else they are gone.
        group_names: Names that groups had when the changes were planned, by folded id; for messages.
    """

    expected_state: str
    allow_delete: bool = False
    recreate: bool = False
    new_groups: tuple[Group, ...] = ()
    creates_groups: bool = False
    group_names: Mapping[str, str] = MappingProxyType({})


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
    if present.values == before.values and present.group_ids == before.group_ids:
        return ""  # nothing has changed, as is nearly always so
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
    if is_creation(item):
        if present is None or item.intended or _is_made(item.desired, present, directory):
            return ""
        return f"an account of this name exists, with the id {quote(present.id)}"
    if item.before is None:
        return ""
    require_accounts(directory)
    if present is None:
        return "it does not exist any more"
    if item.desired.action is Action.DELETE:
        return deletion_conflict(item.before, present, directory)
    return precondition_conflict(item.desired, item.before, present, directory, partial=item.intended)


def is_creation(item: RunItem) -> bool:
    """Whether the account did not exist before the run; else the run updated the one that has the name."""
    return item.desired.action is Action.CREATE and item.before is None


def left_alone(conflict: str) -> str:
    """Say of an account of a run that it is not as it was when the changes were planned."""
    return f"The account is not as it was when the changes were planned: {conflict}. It is left alone."


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


def resolve_preconditions(items: Iterable[Precondition], directory: Directory, rules: PreconditionRules) -> Resolution:
    """Compare every account with what is expected of it, and let those through that are as expected.

    Every row of the others gets an error.

    Raises:
        PermissionDeniedError: The accounts were not read, and something is expected of them.
    """
    resolver = _Resolver(directory, rules)
    desired_states: list[DesiredState] = []
    row_errors: list[RowError] = []
    count = 0
    for precondition in items:
        count += 1
        if precondition.before is not None or precondition.desired.action is not Action.UPDATE:
            require_accounts(directory)
        found = resolver.resolve(precondition)
        if isinstance(found, DesiredState):
            desired_states.append(found)
        else:
            code, message = found
            row_errors.extend(RowError(row, "", "", code, message) for row in precondition.desired.rows)
    row_errors.sort(key=lambda row_error: row_error.row)
    warnings: tuple[str, ...] = ()
    if directory.accounts is None and count:
        warnings = (f"Nothing is compared with the present state: {count_of(count, 'account')} taken by id.",)
    return Resolution(tuple(desired_states), tuple(row_errors), warnings, resolver.new_groups_of(desired_states))


_Refusal = tuple[str, str]
"""A code, and a sentence that says why an account is left alone."""


class _Resolver:
    """Compares accounts with what is expected of them."""

    def __init__(self, directory: Directory, rules: PreconditionRules) -> None:
        self._directory = directory.with_former_names(rules.group_names)
        self._rules = rules
        self._everyone = fold(directory.everyone_id)
        read = directory.accounts if directory.groups is not None and not self._everyone else None
        self._joined = {fold(group) for account in read or () for group in account.group_ids or ()}
        self._stand_ins, self._missing = _place_new_groups(directory, rules)
        self._new = self._missing if rules.creates_groups else {}

    def new_groups_of(self, desired_states: Iterable[DesiredState]) -> tuple[Group, ...]:
        """Return the groups that do not exist yet and that some accounts are to join."""
        if not self._new:
            return ()
        joined = {fold(group) for desired in desired_states for group in desired.add}
        return tuple([group for key, group in self._new.items() if key in joined])

    def resolve(self, precondition: Precondition) -> DesiredState | _Refusal:
        """Give the desired state in the server's ids; or say why the account is left alone."""
        match precondition.desired.action:
            case Action.CREATE:
                return self._creation(precondition)
            case Action.DELETE:
                return self._deletion(precondition)
            case _:
                return self._update(precondition)

    def _update(self, precondition: Precondition) -> DesiredState | _Refusal:
        """Give the desired state of an update in the server's ids, or the reason why it is refused."""
        directory, desired = self._directory, precondition.desired
        found = directory.find(desired.account_id)
        if isinstance(found, Absent):
            return "account_gone", f"The account {quote(desired.name or desired.account_id)} does not exist any more."
        if isinstance(found, Unknown) and directory.accounts is not None:
            return _unknown(desired, found)
        account = found if isinstance(found, Account) else None
        if self._missing:  # no account is in a group that does not exist
            desired = desired._replace(
                remove=tuple([each for each in desired.remove if fold(each) not in self._missing])
            )
            precondition = precondition._replace(desired=desired)
        if refused := self._group_refusal(precondition):
            return refused
        desired = self._in_servers_ids(desired)
        if account is None:
            return desired
        if (account.id, account.name) != (desired.account_id, desired.name):
            desired = desired._replace(account_id=account.id, name=account.name)
        if precondition.before is not None:
            expected = self._expected(precondition.before)
            if conflict := precondition_conflict(desired, expected, account, directory, partial=precondition.partial):
                return self._changed_since(conflict)
        return desired

    def _creation(self, precondition: Precondition) -> DesiredState | _Refusal:
        desired = precondition.desired
        if precondition.before is not None:
            state = self._find_deleted(precondition, precondition.before)
            if not isinstance(state, Absent):
                return state
        found = self._directory.find_named(desired.name)
        if isinstance(found, Unknown):
            return _unknown(desired, found)
        if refused := self._group_refusal(precondition):
            return refused
        desired = self._in_servers_ids(desired)
        if isinstance(found, Absent):
            return desired
        if _is_made(desired, found, self._directory):
            return _nothing_for(found, desired)
        message = f"An account named {quote(found.name)} exists already, with the id {quote(found.id)}"
        return "account_exists", f"{message}. It is left alone."

    def _find_deleted(self, precondition: Precondition, deleted: Account) -> DesiredState | _Refusal | Absent:
        """Say what becomes of an account that a run deleted, or was to delete; Absent if it is to be made again."""
        desired = precondition.desired
        kept = self._directory.find(deleted.id) if precondition.partial else Absent()
        if isinstance(kept, Unknown):
            return _unknown(desired, kept)
        if isinstance(kept, Account):
            return _nothing_for(kept, desired)
        return kept if self._rules.recreate else (DELETION_NOT_UNDONE, deletion_not_undone(desired.name))

    def _deletion(self, precondition: Precondition) -> DesiredState | _Refusal:
        desired = precondition.desired
        found = (
            self._directory.find(desired.account_id) if desired.account_id else self._directory.find_named(desired.name)
        )
        if isinstance(found, Unknown):
            return _unknown(desired, found)
        if isinstance(found, Absent):
            return desired
        if precondition.before is not None:
            expected = self._expected(precondition.before)
            if conflict := deletion_conflict(expected, found, self._directory, partial=precondition.partial):
                return self._changed_since(conflict)
        if not self._rules.allow_delete:
            message = f"The account {quote(found.name)} would be deleted, and deletions are not allowed"
            return DELETION_NOT_ALLOWED, f"{message}. It is left alone. Add --allow-delete to delete it."
        return desired._replace(account_id=found.id, name=found.name)

    def _changed_since(self, conflict: str) -> _Refusal:
        message = f"The account is not {self._rules.expected_state}: {conflict}. It is left alone."
        return CHANGED_SINCE, message

    # --- groups

    def _is_everyone(self, group_id: str) -> bool:
        """Whether a group is Everyone; where the list of groups lacks that one: a group not listed that has members."""
        key = fold(group_id)
        return key == self._everyone or (key in self._joined and self._directory.group_with_id(key) is None)

    def _expected(self, before: Account) -> Account:
        """Replace ids of new groups by those of the groups that took their place."""
        if before.group_ids is None or not self._stand_ins:
            return before
        return before._replace(group_ids=tuple([self._stand_ins.get(fold(each), each) for each in before.group_ids]))

    def _in_servers_ids(self, desired: DesiredState) -> DesiredState:
        add = tuple([self._as_the_server_writes(group) for group in desired.add if not self._is_everyone(group)])
        remove = tuple(map(self._as_the_server_writes, desired.remove))
        return desired if (add, remove) == (desired.add, desired.remove) else desired._replace(add=add, remove=remove)

    def _as_the_server_writes(self, group_id: str) -> str:
        group = self._directory.group_with_id(group_id)
        return self._stand_ins.get(fold(group_id), group_id) if group is None else group.id

    def _group_refusal(self, precondition: Precondition) -> _Refusal | None:
        """Say why the groups of a change cannot be changed, with a code; None when they can."""
        desired, directory = precondition.desired, self._directory
        if self._everyone and any(fold(group) == self._everyone for group in desired.remove):
            return "everyone_cannot_be_removed", "Every account belongs to the group Everyone; it cannot be removed."
        if directory.groups is not None:
            for group in (*(each for each in desired.add if not self._is_everyone(each)), *desired.remove):
                key = fold(group)
                if directory.group_with_id(group) is None and key not in self._stand_ins and key not in self._new:
                    change = f" ({precondition.description})" if precondition.description else ""
                    name = directory.group_name(group)
                    named = quote(group) if name == group else f"{quote(name)} ({group})"
                    return "group_gone", f"The group {named} does not exist any more{change}."
        return None


def _place_new_groups(directory: Directory, rules: PreconditionRules) -> tuple[dict[str, str], dict[str, Group]]:
    """Return the ids that stand in for those of new groups, and the groups that do not exist; both by folded new id."""
    stand_ins: dict[str, str] = {}
    missing: dict[str, Group] = {}
    for group in rules.new_groups:
        if directory.groups is None or directory.group_with_id(group.id) is not None:
            continue
        named = existing_group(group, directory)
        if named is not None:
            stand_ins[fold(group.id)] = named.id
        else:
            missing[fold(group.id)] = Group(group.id, group.name, NEW_GROUP)
    return stand_ins, missing


def existing_group(group: Group, directory: Directory) -> Group | None:
    """Find a group by its id, or else the one that has its name apart from case; None where neither exists."""
    by_id = directory.group_with_id(group.id)
    if by_id is not None:
        return by_id
    return next((each for each in directory.groups_alike(group.name) if fold(each.name) == fold(group.name)), None)


def _unknown(desired: DesiredState, found: Unknown) -> _Refusal:
    named = quote(desired.name or desired.account_id)
    message = f"Whether the account {named} still exists is not known: {found.reason}. It is left alone."
    return "unknown_account", message


def deletion_not_undone(name: str) -> str:
    """Say of an account that a run deleted that an undo does not bring it back."""
    return (
        f"The run deleted the account {quote(name)}, and a deletion cannot be undone. --recreate makes an account of "
        "the same name, display name and groups again, with a new id."
    )


def _nothing_for(account: Account, desired: DesiredState) -> DesiredState:
    """Give a desired state for which nothing is sent: the account is already correct."""
    nothing = current().nothing
    return desired._replace(
        account_id=account.id, name=account.name, values=nothing, add=(), remove=(), action=Action.UPDATE
    )


def _is_made(desired: DesiredState, account: Account, directory: Directory) -> bool:
    """Whether an account already has all that a creation gives it."""
    update = desired._replace(account_id=account.id, action=Action.UPDATE, remove=())
    return account.group_ids is not None and diff(update, account, directory).empty


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


def name_conflict(expected: str, present: Account) -> str:
    """Say that an account has another name than the one to delete; "" if not. Names never change: it is another one."""
    if not expected or fold(expected) == fold(present.name):
        return ""
    return f"name: expected {quote(expected)}, found {quote(present.name)}"


def deletion_conflict(before: Account, present: Account, directory: Directory, *, partial: bool = False) -> str:
    """Describe how an account differs from the state that its deletion was worked out for; "" where it does not.

    Name, fields, groups (but Everyone) and the last login count. A value that is not known (None) is what a server
    makes of a creation without it: none, or the name. With ``partial`` the account may lack values and groups.
    """
    parts = [conflict] if (conflict := name_conflict(before.name, present)) else []
    parts += _differing_values(before, present, partial=partial)
    if before.group_ids is not None:
        parts += _differing_groups(before.group_ids, present.group_ids, directory, partial=partial)
    if _has_logged_in_since(before.last_login, present.last_login):
        expected = quote(before.last_login) if has_time(before.last_login) else "none"
        parts.append(f"last login: expected {expected}, found {quote(present.last_login)}")
    return "; ".join(parts)


def _differing_values(before: Account, present: Account, *, partial: bool) -> Iterator[str]:
    for field, was, now in zip(current().fields, before.values, present.values, strict=True):
        expected = {"", before.name} if was is None else {was, ""} if partial else {was}
        if not any(field.equal(now, each) for each in expected):
            yield field.describe_conflict(was, now)


def _differing_groups(
    before: tuple[str, ...], present: tuple[str, ...] | None, directory: Directory, *, partial: bool
) -> Iterator[str]:
    if present is None:
        yield "the server does not say which groups it is in"
        return
    everyone, listed = fold(directory.everyone_id), directory.groups is not None
    were, are = (
        {fold(group): group for group in groups if not (listed and may_be_everyone(group, everyone, directory))}
        for groups in (before, present)
    )
    lacking = () if partial else [were[key] for key in were if key not in are]
    yield from (f"in {directory.group_name(group)}: expected yes, found no" for group in lacking)
    joined = [are[key] for key in are if key not in were]
    doubt = "" if listed else " (it may be Everyone: without PM.Group.Read the groups were not read)"
    yield from (f"in {directory.group_name(group)}: expected no, found yes{doubt}" for group in joined)


def _has_logged_in_since(before: str, present: str) -> bool:
    """Whether an account has logged in later than before, or may have; times as the server wrote them."""
    if not has_time(present) or present == before:
        return False
    was, now = account_time(before), account_time(present)
    return was is None or now is None or now > was


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
