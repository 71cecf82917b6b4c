"""The plan: which accounts change, and how each differs from what is wanted; descriptions of changes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from dataclasses import field as attribute
from typing import Final

from bulkid.errors import PermissionDeniedError
from bulkid.model import CREATE, DELETE, UPDATE, Account, Action, Change, DesiredState, Group, new_tuple
from bulkid.planning.directory import Directory
from bulkid.planning.resolve import Resolution
from bulkid.planning.strategy import Strategy
from bulkid.resources import Field, current
from bulkid.text import count_of, fold, listing, quote

_MEMBERSHIPS_REMEMBERED: Final = 4096  # distinct comparisons of groups; more than that and they hardly repeat

DELETE_BATCH = 100
"""Accounts that one DELETE names at most."""


def diff(desired: DesiredState, account: Account | None, directory: Directory) -> Change:
    """Work out what must be sent so that the account becomes as desired: nothing more than what differs.

    The account's current values are carried along where no others are desired: it is not documented whether a PUT
    without one keeps it. Without an account (blind) everything desired is sent. The state before may stand in for a
    present state that cannot be read.

    The change of an account to create carries all that is desired; where the account exists already, it is an update.
    The change of an account to delete is empty where there is none.

    Raises:
        PermissionDeniedError: An exact list of groups is desired, and the present groups cannot be known, as when
            a run is resumed that may no longer read.
    """
    if desired.action is not UPDATE:
        if desired.action is DELETE:
            return _deletion(desired, account)
        if account is None:
            return _creation(desired)
    add, remove = _membership(desired, account, directory)
    if account is None:
        sets_fields = desired.values.count(None) < len(desired.values)
        return Change(desired.account_id, desired.name, desired.values, sets_fields, add, remove, None)
    values = _carried(desired.values, account.values)
    sets_fields = values is not account.values
    return new_tuple(Change, (account.id, account.name, values, sets_fields, add, remove, account, UPDATE))


def _creation(desired: DesiredState) -> Change:
    add = desired.add if desired.exact is None else desired.exact
    sets_fields = desired.values.count(None) < len(desired.values)
    return new_tuple(Change, ("", desired.name, desired.values, sets_fields, add, (), None, CREATE))


def _deletion(desired: DesiredState, account: Account | None) -> Change:
    nothing = current().nothing
    if account is None:
        return Change(desired.account_id, desired.name, nothing, False, (), (), None)  # noqa: FBT003 - sets no field
    return new_tuple(Change, (account.id, account.name, nothing, False, (), (), account, DELETE))


def changed_fields(change: Change) -> list[tuple[Field, str | None, str]]:
    """Give each field that a change sets, with its value before (None where it is not known) and after."""
    found: list[tuple[Field, str | None, str]] = []
    if not change.sets_fields:
        return found
    resource, values = current(), change.values
    before = resource.nothing if change.before is None else change.before.values
    # Most resources have one field: to make a ``zip`` for it takes longer than all the rest.
    for index, field in enumerate(resource.fields):
        value, was = values[index], before[index]
        if value is not None and not field.equal(was, value):
            found.append((field, was, value))
    return found


def values_confirmed(change: Change, after: Account) -> bool:
    """Return whether a state that the server returned has all values that the change carries."""
    if change.values == after.values:
        return True
    return all(
        wanted is None or field.equal(found, wanted)
        for field, wanted, found in zip(current().fields, change.values, after.values, strict=True)
    )


def _carried(wanted: tuple[str | None, ...], present: tuple[str | None, ...]) -> tuple[str | None, ...]:
    """Give the values that a PUT carries; the present tuple itself where they are the same."""
    if wanted == present or wanted.count(None) == len(wanted):
        return present
    for field, value, now in zip(current().fields, wanted, present, strict=True):
        if not (value is None or field.equal(value, now)):
            break
    else:
        return present
    if None not in wanted:
        return wanted
    return tuple([now if value is None else value for value, now in zip(wanted, present, strict=True)])


def confirms(change: Change, after: Account) -> bool:
    """Whether a state that the server returned after the change is the one that the change wanted.

    Another account's state confirms nothing, and a server that does not say which groups the account is in confirms no
    change of groups.
    """
    if fold(after.id) != fold(change.account_id):
        return False
    if not values_confirmed(change, after):
        return False
    if not (change.add or change.remove):
        return True
    if after.group_ids is None:
        return False
    groups = _folded(after.group_ids)
    return all(fold(group) in groups for group in change.add) and not any(
        fold(group) in groups for group in change.remove
    )


def shortfall(change: Change, after: Account, directory: Directory) -> str:
    """Describe what is not as the change wanted, "" exactly when the state confirms it.

    For example ``display name is "Roby", not "Robbie"; not in Finance``.
    """
    if fold(after.id) != fold(change.account_id):
        return f"the state shown is that of another account, {after.id}"
    parts = []
    for field, wanted, found in zip(current().fields, change.values, after.values, strict=True):
        if wanted is not None and not field.equal(found, wanted):
            parts.append(field.describe_mismatch(found, wanted))
    if after.group_ids is None:
        if change.add or change.remove:
            parts.append("the server does not say which groups the account is in")
        return "; ".join(parts)
    groups = _folded(after.group_ids)
    missing = [directory.group_name(group) for group in change.add if fold(group) not in groups]
    kept = [directory.group_name(group) for group in change.remove if fold(group) in groups]
    if missing:
        parts.append(f"not in {listing(missing)}")
    if kept:
        parts.append(f"still in {listing(kept)}")
    return "; ".join(parts)


def describe(change: Change, directory: Directory) -> str:
    """Describe a change on one line: ``display name: Roby -> Robbie; + Finance; - Trainees``; "" when it is empty.

    Groups go by name where it is known. Without the state before, the old display name is left out. A creation is
    ``created: display name "X"; + Finance``, a deletion ``deleted``. No name can be taken for a separator:
    :func:`split_description` takes the line apart.
    """
    return ChangeDescriber(directory).describe(change)


class ChangeDescriber:
    """Describes changes as :func:`describe` does. It makes the words for equal lists of groups once."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._fields, self._nothing = current().fields, current().nothing
        self._memberships: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}

    def describe(self, change: Change) -> str:
        """Describe a change."""
        _, _, values, sets_fields, add, remove, account, action = change
        if action is not UPDATE:
            return "deleted" if action is DELETE else self._creation(change)
        words = ""
        if sets_fields:
            present = self._nothing if account is None else account.values
            for index, field in enumerate(self._fields):  # as in changed_fields, without the list
                value, was = values[index], present[index]
                if value is not None and not field.equal(was, value):
                    part = _escaped(field.describe_change(was, value))
                    words = f"{words}; {part}" if words else part
        if add or remove:
            memberships = self._memberships.get((add, remove))
            if memberships is None:
                memberships = self._describe_memberships(add, remove)
            words = f"{words}; {memberships}" if words else memberships
        return words

    def _creation(self, change: Change) -> str:
        parts = [f'{field.label} "{value}"' for field, _, value in changed_fields(change) if value]
        parts += [f"+ {self._directory.group_name(group)}" for group in change.add]
        return f"created: {join_description(parts)}" if parts else "created"

    def _describe_memberships(self, add: tuple[str, ...], remove: tuple[str, ...]) -> str:
        name = self._directory.group_name
        described = join_description([f"+ {name(group)}" for group in add] + [f"- {name(group)}" for group in remove])
        if len(self._memberships) < _MEMBERSHIPS_REMEMBERED:
            self._memberships[add, remove] = described
        return described


_SEPARATOR_IN_NAME: Final = re.compile(r";(\\*) (?=[+-] )")
_ESCAPED_IN_NAME: Final = re.compile(r";\\(\\*) (?=[+-] )")
_BEFORE_GROUP: Final = re.compile(r"; (?=[+-] )")


def join_description(parts: Iterable[str]) -> str:
    r"""Join the parts of a description. ``; + `` and ``; - `` begin a group and nothing else.

    A name that contains one of these gets a backslash in it: ``A; + B`` becomes ``A;\ + B``.
    """
    return "; ".join(map(_escaped, parts))


def _escaped(part: str) -> str:
    return _SEPARATOR_IN_NAME.sub(r";\\\1 ", part) if ";" in part else part


def split_description(description: str) -> list[str]:
    """Split a description into what it says of fields, and of each group; without the backslashes."""
    parts = _BEFORE_GROUP.split(description)
    return [_ESCAPED_IN_NAME.sub(r";\1 ", part) for part in parts] if description else []


def _membership(
    desired: DesiredState, account: Account | None, directory: Directory
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the groups to add and to remove."""
    if desired.exact is not None:
        return _to_exact(desired, desired.exact, account, directory)
    add, remove = desired.add, desired.remove
    if account is None or account.group_ids is None or not (add or remove):
        return add, remove
    present = _folded(account.group_ids)
    # The desired state's own tuples where nothing falls away: many accounts share them.
    if add and len(missing := [group for group in add if fold(group) not in present]) < len(add):
        add = tuple(missing)
    if remove and len(held := [group for group in remove if fold(group) in present]) < len(remove):
        remove = tuple(held)
    return add, remove


def _to_exact(
    desired: DesiredState, exact: tuple[str, ...], account: Account | None, directory: Directory
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the groups to add and to remove so that the account is in exactly these groups, and in Everyone.

    Raises:
        PermissionDeniedError: The account or the groups were not read.
    """
    if account is None or directory.groups is None:
        raise PermissionDeniedError(
            f"The groups of the account {quote(desired.name or desired.account_id)} are to be exactly as listed, but "
            "the present accounts and groups could not be read.",
            hint=f"Give the application the scopes {current().read_scope} and PM.Group.Read, and do not use --no-read.",
        )
    wanted = _folded(exact)
    if account.group_ids is None:
        # The server does not say: leaving a group that the account is not in does nothing, so leave all others.
        present: frozenset[str] = frozenset()
        held = tuple(group.id for group in directory.groups)
    else:
        present = _folded(account.group_ids)
        held = account.group_ids
    everyone = fold(directory.everyone_id)
    add = tuple([group for group in exact if fold(group) not in present])
    remove = tuple(
        [group for group in held if fold(group) not in wanted and not may_be_everyone(group, everyone, directory)]
    )
    return add, remove


def may_be_everyone(group_id: str, everyone: str, directory: Directory) -> bool:
    """Whether a group is Everyone; or may be, being unknown where the groups that were read hold no Everyone."""
    if everyone:
        return fold(group_id) == everyone
    return directory.group_with_id(group_id) is None


def _folded(group_ids: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(fold, group_ids))


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done for a whole sheet, in its order. Nothing here is empty: what needs no request is unchanged."""

    changes: tuple[Change, ...] = attribute(repr=False)  # what differs, one per account
    changing: tuple[DesiredState, ...] = attribute(repr=False)  # side by side, the states that the changes lead to
    unchanged: tuple[DesiredState, ...] = attribute(repr=False)  # already correct
    skipped: tuple[DesiredState, ...] = attribute(default=(), repr=False)  # would change, but are no part of this trial
    skipped_changes: tuple[Change, ...] = attribute(default=(), repr=False)  # side by side with these
    notes: tuple[str, ...] = ()  # what resolving had to warn of
    strategy: Strategy | None = None  # which requests carry the changes; None: one PUT per account
    new_groups: tuple[Group, ...] = ()  # groups that the changes need, and that the run creates first

    @property
    def accounts(self) -> int:
        """How many accounts the sheet has good rows for."""
        return len(self.changing) + len(self.unchanged) + len(self.skipped)

    def changes_of(self, action: Action) -> tuple[Change, ...]:
        """The changes with this action, in the order of the sheet."""
        return tuple([change for change in self.changes if change.action is action])

    def count_of(self, action: Action) -> int:
        """How many changes have this action."""
        return [change.action for change in self.changes].count(action)

    @property
    def by_account(self) -> tuple[Change, ...]:
        """The changes that go out as the PUT of their own account; group requests carry the other updates."""
        if self.strategy is None:
            return self.changes_of(Action.UPDATE)
        return tuple([self.changes[index] for index in self.strategy.cover.by_account])

    @property
    def planned_puts(self) -> int:
        """How many PUTs the plan takes, when none has to be repeated."""
        return len(self.by_account) if self.strategy is None else self.strategy.cover.puts

    @property
    def requests(self) -> dict[str, int]:
        """How many requests of each method the changes take, when none has to be repeated."""
        return {
            "PUT": self.planned_puts,
            "POST": len(self.new_groups) + self.count_of(Action.CREATE),
            "DELETE": -(-self.count_of(Action.DELETE) // DELETE_BATCH),
        }

    @property
    def naive_puts(self) -> int:
        """How many PUTs one per good row that updates an account would take, of the rows that this plan covers."""
        return sum(
            len(desired.rows)
            for desired_states in (self.changing, self.unchanged)
            for desired in desired_states
            if desired.action is UPDATE
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before agreeing, as sentences."""
        unknown = [
            f"The {field.label} of {count_of(count, 'account')} is not known and is left out of the request; whether "
            "the server then keeps it is not documented."
            for number, field in enumerate(current().fields)
            if (count := sum(change.values[number] is None for change in self.changes if change.action is UPDATE))
        ]
        return (*self.notes, *unknown)


class _Comparison:
    """Compares desired states with a directory, as :func:`diff` does. It compares equal lists of groups once."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._account = directory.account
        self._memberships: dict[tuple[object, ...], tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self._compared_as_texts = all(
            type(field).equal is Field.equal and type(field).normalize is Field.normalize for field in current().fields
        )

    def change(self, desired: DesiredState) -> Change | None:
        """Give what must be sent for an account; None when it is already as desired."""
        account = self._account(desired.account_id)
        if account is None or desired.action is not UPDATE:
            change = diff(desired, account, self._directory)
            return None if change.empty else change
        wanted, add, remove = desired.values, desired.add, desired.remove
        if add or remove or desired.exact is not None:
            add, remove = self._membership(desired, account)
        present = account.values
        if self._compared_as_texts and None not in wanted and wanted != present:
            values: tuple[str | None, ...] = wanted
        else:
            values = _carried(wanted, present)
        sets_fields = values is not present
        if not (sets_fields or add or remove):
            return None
        return new_tuple(Change, (account.id, account.name, values, sets_fields, add, remove, account, UPDATE))

    def _membership(self, desired: DesiredState, account: Account) -> tuple[tuple[str, ...], tuple[str, ...]]:
        key = (desired.add, desired.remove, desired.exact, account.group_ids)
        found = self._memberships.get(key)
        if found is None:
            found = _membership(desired, account, self._directory)
            if len(self._memberships) < _MEMBERSHIPS_REMEMBERED:
                self._memberships[key] = found
        return found


def build_plan(resolution: Resolution, directory: Directory) -> Plan:
    """Compare every desired state with the directory.

    Raises:
        PermissionDeniedError: An exact list of groups cannot be compared (never where they were resolved with
            this directory).
    """
    changes: list[Change] = []
    changing: list[DesiredState] = []
    unchanged: list[DesiredState] = []
    compare = _Comparison(directory).change
    for desired in resolution.desired_states:
        change = compare(desired)
        if change is None:
            unchanged.append(desired)
        else:
            changes.append(change)
            changing.append(desired)
    new_groups = _needed_groups(resolution.new_groups, changes)
    return Plan(tuple(changes), tuple(changing), tuple(unchanged), notes=resolution.warnings, new_groups=new_groups)


def _needed_groups(new_groups: tuple[Group, ...], changes: Iterable[Change]) -> tuple[Group, ...]:
    """Give the groups that some change needs, of those that the run may create."""
    if not new_groups:
        return ()
    needed = {group_id for change in changes for group_id in change.add}
    return tuple([group for group in new_groups if group.id in needed])


def limit_changes(plan: Plan, first: int | None) -> Plan:
    """Keep only the first accounts that change, for a trial; the others are left out, not forgotten.

    A new group that only these others need is not created.
    """
    if first is None or first >= len(plan.changes):
        return plan
    kept = max(first, 0)
    return replace(
        plan,
        changes=plan.changes[:kept],
        changing=plan.changing[:kept],
        skipped=plan.changing[kept:] + plan.skipped,
        skipped_changes=plan.changes[kept:] + plan.skipped_changes,
        strategy=None,  # it was for all of them
        new_groups=_needed_groups(plan.new_groups, plan.changes[:kept]),
    )
