"""The run items of a run: made from a plan, and compared with the directory by a resume.

A trial (``--first``) leaves accounts for later, and its preview does not show them. So the rest of a trial is a plan of
its own: a resume has it confirmed, and checks its change limit. Resuming an interrupted trial finishes the trial first.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from bulkid.model import (
    NEW_GROUP,
    UPDATE,
    Account,
    Action,
    Change,
    DesiredState,
    Group,
    Outcome,
    RunItem,
    Status,
    Via,
    new_tuple,
)
from bulkid.planning.directory import Absent, Directory, Unknown
from bulkid.planning.partial_changes import has_part, partly_applied
from bulkid.planning.plan import ChangeDescriber, Plan, describe, diff
from bulkid.planning.preconditions import (
    CHANGED_SINCE,
    existing_group,
    item_conflict,
    left_alone,
    name_conflict,
    without_exact_list,
)
from bulkid.planning.strategy import Strategy
from bulkid.resources import current
from bulkid.runs.options import Preview
from bulkid.text import fold

if TYPE_CHECKING:
    from bulkid.planning.cover import GroupBatch
    from bulkid.runs.execution.bisection import Batch

DEFERRED = Outcome(Status.PENDING, error_code="left_for_later", error="Left for later: the run was a trial.")
"""The outcome of an account that a trial leaves for later."""

RESUMED = Outcome(Status.PENDING)
"""The outcome of such an account after the user confirmed to send it."""


@dataclass(frozen=True, slots=True)
class PlannedItems:
    """The run items of a plan. Accounts that change come first, numbered like ``plan.changes``.

    Each iteration makes them one by one: a list of 100,000 would take 25 MB while the plan is in memory, too.
    """

    preview: Preview
    now: float  # seconds since the epoch

    def __iter__(self) -> Iterator[RunItem]:
        plan, directory = self.preview.plan, self.preview.directory
        describe_change = ChangeDescriber(directory).describe
        pending = Outcome(Status.PENDING)
        for number, (change, desired) in enumerate(zip(plan.changes, plan.changing, strict=True)):
            yield new_tuple(RunItem, (number, desired, change.before, describe_change(change), pending, False))
        unchanged = Outcome(Status.UNCHANGED, finished_at=self.now)
        for number, desired in enumerate(plan.unchanged, len(plan.changes)):
            yield new_tuple(RunItem, (number, desired, directory.account(desired.account_id), "", unchanged, False))
        skipped = zip(plan.skipped_changes, plan.skipped, strict=True)
        for number, (change, desired) in enumerate(skipped, len(plan.changes) + len(plan.unchanged)):
            yield RunItem(number, desired, change.before, describe_change(change), DEFERRED)


@dataclass(frozen=True, slots=True)
class PlannedAgain:
    """The run items that a trial left for later, with their changes as they were confirmed now; made one by one.

    Args:
        items: Unsettled run items, in the order of their numbers.
        changes: Their changes, each with the number of its run item, in the same order.
        directory: Names groups.
    """

    items: Sequence[RunItem]
    changes: Sequence[tuple[int, Change]]
    directory: Directory

    def __iter__(self) -> Iterator[RunItem]:
        items = iter(self.items)
        for number, change in self.changes:
            item = next(each for each in items if each.number == number)
            if is_deferred(item):
                yield item._replace(before=change.before, changes=describe(change, self.directory))


class NewGroup(NamedTuple):
    """A group that the run creates."""

    group: Group
    members: tuple[int, ...]  # run items of the existing accounts that its POST carries


class SendPlan(NamedTuple):
    """The part of a plan that sending needs. Each change has the number of its run item.

    The order of sending: new groups, creations, updates, deletions.
    """

    directory: Directory  # without its accounts
    by_account: list[tuple[int, Change]]  # sent by account PUTs, in the order of the plan
    by_group: dict[int, Change]  # carried by the batches and by the POSTs of new groups
    batches: "list[Batch]"
    new_groups: tuple[NewGroup, ...] = ()
    creations: tuple[tuple[int, Change], ...] = ()
    deletions: tuple[tuple[int, Change], ...] = ()
    sent_before: frozenset[int] = frozenset()  # run items of creations that an earlier attempt may have sent
    partly: frozenset[int] = frozenset()  # run items whose accounts have part of their change, by an earlier attempt
    failed: int = 0  # accounts that failed before anything was sent
    unknown: Mapping[int, str] = MappingProxyType({})  # why it is not known whether an account exists

    @property
    def accounts(self) -> int:
        """The number of accounts to change."""
        return len(self.by_account) + len(self.by_group) + len(self.creations) + len(self.deletions)

    def with_groups(self, replaced: Mapping[str, Group]) -> "SendPlan":
        """Return the plan with other groups in place of some new ones, given by their folded ids."""

        def with_their_ids(change: Change) -> Change:
            if needs_any(change, replaced) is None:
                return change
            return change._replace(add=tuple([_id_in_place(group_id, replaced) for group_id in change.add]))

        return self._replace(
            directory=self.directory.with_groups(tuple(replaced.values())),
            by_account=[(number, with_their_ids(change)) for number, change in self.by_account],
            by_group={number: with_their_ids(change) for number, change in self.by_group.items()},
            creations=tuple([(number, with_their_ids(change)) for number, change in self.creations]),
        )


def needs_any(change: Change, group_ids: Collection[str]) -> str | None:
    """Return the folded id of the first group that an account joins by a change and that is among some groups."""
    return next((key for group_id in change.add if (key := fold(group_id)) in group_ids), None)


def _id_in_place(group_id: str, replaced: Mapping[str, Group]) -> str:
    group = replaced.get(fold(group_id))
    return group_id if group is None else group.id


def _of_action(taken: Iterable[tuple[int, Change]], action: Action) -> tuple[tuple[int, Change], ...]:
    return tuple([each for each in taken if each[1].action is action])


def send_plan_of(directory: Directory, changes: Iterable[tuple[int, Change]], strategy: Strategy | None) -> SendPlan:
    """Reduce a plan to what sending needs, without the accounts and their states before, which the journal has.

    Args:
        directory: Names groups.
        changes: Each with the number of its run item, in the order that the strategy was chosen for. An iterator that
            drops its items frees each state before as its change is read.
        strategy: The requests that carry the changes; None: one PUT per account.
    """
    directory = directory.without_accounts()
    taken: list[tuple[int, Change]] = []
    for number, (account_id, name, values, sets_fields, add, remove, _, action) in changes:
        change = new_tuple(Change, (account_id, name, values, sets_fields, add, remove, None, action))
        taken.append((number, change))
    creations, deletions = (_of_action(taken, action) for action in (Action.CREATE, Action.DELETE))
    updates = [each for each in taken if each[1].action is UPDATE] if creations or deletions else taken
    new_groups = _new_groups(directory, updates, creations)
    if strategy is None or not (strategy.cover.batches or new_groups):
        return SendPlan(directory, updates, {}, [], new_groups, creations, deletions)
    by_account = [taken[place] for place in strategy.cover.by_account]
    batches = _batches(strategy.cover.batches, taken)
    by_group = dict(updates)
    for number, _ in by_account:
        del by_group[number]
    return SendPlan(directory, by_account, by_group, batches, new_groups, creations, deletions)


def _new_groups(
    directory: Directory, updates: Sequence[tuple[int, Change]], creations: Sequence[tuple[int, Change]]
) -> tuple[NewGroup, ...]:
    """Return the groups that the changes need and that the run creates, each with the existing accounts that join."""
    new = new_groups_in(directory)
    if not new:
        return ()
    members: dict[str, list[int]] = {fold(group.id): [] for group in _needed(new, (*updates, *creations))}
    for number, change in updates:
        for group_id in change.add:
            if (joining := members.get(fold(group_id))) is not None:
                joining.append(number)
    return tuple([NewGroup(group, tuple(members[fold(group.id)])) for group in new if fold(group.id) in members])


def new_groups_in(directory: Directory) -> tuple[Group, ...]:
    """Return the groups of a directory that the run creates."""
    return tuple([group for group in directory.groups or () if group.type == NEW_GROUP])


def changed_groups(plan: Plan, directory: Directory) -> dict[str, str]:
    """Return the names of the groups that accounts join or leave by a plan, by their folded ids.

    A run keeps them, since its items have ids alone: a later undo names a group that is gone by then.
    """
    changes = (*plan.changes, *plan.skipped_changes)
    lists = {*map(attrgetter("add"), changes), *map(attrgetter("remove"), changes)}
    ids = {group_id for groups in lists for group_id in groups}
    return {fold(group_id): name for group_id in ids if (name := directory.group_name(group_id)) != group_id}


def new_groups_of(items: Iterable[RunItem], names: Mapping[str, str]) -> Mapping[str, str]:
    """Return the names of the groups to create that some run items need, by their ids; ``names`` has those of all."""
    if not names:
        return names
    needed = {fold(group) for item in items for group in (*item.desired.add, *(item.desired.exact or ()))}
    return {group_id: name for group_id, name in names.items() if fold(group_id) in needed}


def _needed(new_groups: tuple[Group, ...], changes: Iterable[tuple[int, Change]]) -> tuple[Group, ...]:
    if not new_groups:
        return ()
    joined = {fold(group_id) for _, change in changes for group_id in change.add}
    return tuple([group for group in new_groups if fold(group.id) in joined])


def _batches(planned: "Iterable[GroupBatch]", changes: Sequence[tuple[int, Change]]) -> "list[Batch]":
    """Return group requests of a plan by their run items: those that join the group, then those that leave it."""
    from bulkid.runs.execution.bisection import Batch

    batches = []
    for each in planned:
        places = [*sorted(each.add), *sorted(each.remove)]
        batches.append(Batch(each.group_id, tuple([changes[place][0] for place in places]), len(each.add)))
    return batches


class Comparison(NamedTuple):
    """The result of comparing the unsettled run items with the directory, by their numbers."""

    settled: list[tuple[int, Outcome]]
    changes: list[tuple[int, Change]]  # to send
    unknown: dict[int, str]  # pending, because it is not known whether the account exists; with the reason
    existing: list[RunItem]  # whose account is in another state than planned: with the state that their change is from
    partly: set[int]  # whose accounts have part of their change, by an earlier attempt
    replaced: Mapping[str, str] = MappingProxyType({})  # ids of new groups, with those of the groups to use instead

    @property
    def failed(self) -> set[int]:
        """The run items that are settled as failed."""
        return {item for item, outcome in self.settled if outcome.status is Status.FAILED}


def compare(items: Iterable[RunItem], directory: Directory, now: float, *, with_preconditions: bool) -> Comparison:
    """Compare unsettled run items with the directory: settle those that are correct, send the others.

    With preconditions, an account that is neither as it was when planned nor correct has failed. ``now`` is in
    seconds since the epoch.
    """
    comparer = _Comparer(directory, now, with_preconditions)
    for item in items:
        comparer.compare(item)
    return comparer.result


@dataclass(frozen=True, slots=True)
class _Comparer:
    """Compares run items with the directory, one by one. See :func:`compare`."""

    directory: Directory
    now: float  # seconds since the epoch
    with_preconditions: bool
    result: Comparison = field(default_factory=lambda: Comparison([], [], {}, [], set()))

    def compare(self, item: RunItem) -> None:
        """Decide what becomes of a run item, and add it to the result."""
        action = item.desired.action
        if action is Action.CREATE:
            found = self.directory.find_named(item.desired.name)
        else:
            found = self.directory.find(item.desired.account_id)
        is_blind_update = self.directory.accounts is None and action is Action.UPDATE
        if isinstance(found, Unknown) and not is_blind_update:
            self.result.unknown[item.number] = found.reason
        elif isinstance(found, Absent) and action is Action.DELETE:
            self._settle(item, settled_by_reading(item, Status.DELETED, self.now))
        elif isinstance(found, Absent) and action is Action.UPDATE:
            self._fail(item, "account_gone", "The account does not exist any more.")
        else:
            self._compare_state(item, found if isinstance(found, Account) else None)

    def _compare_state(self, item: RunItem, account: Account | None) -> None:
        """Compare a run item with its account; None: an account to create does not exist, or the run is blind."""
        if item.intended and account is not None and has_part(item, account, self.directory):
            self.result.partly.add(item.number)
        desired = without_exact_list(item, self.directory) if self.with_preconditions else item.desired
        if conflict := self._conflict(item, desired, account):
            self._fail(item, CHANGED_SINCE, left_alone(conflict))
            return
        change = diff(desired, account, self.directory)
        if not change.empty:
            self._send(item, desired, account, change)
        elif _is_new(item):
            outcome = settled_by_reading(item, Status.CREATED, self.now)
            self._settle(item, outcome._replace(account_id=change.account_id))
        else:
            self._settle(item, settled_by_reading(item, Status.UPDATED, self.now))

    def _conflict(self, item: RunItem, desired: DesiredState, account: Account | None) -> str:
        """Describe why the account must be left alone; "" if it need not be."""
        if self.with_preconditions and (
            conflict := item_conflict(item._replace(desired=desired), account, self.directory)
        ):
            return conflict
        is_deletion = item.desired.action is Action.DELETE
        return name_conflict(desired.name, account) if is_deletion and account is not None else ""

    def _send(self, item: RunItem, desired: DesiredState, account: Account | None, change: Change) -> None:
        """Add the change of an account that differs; with the state before if that is another than planned."""
        self.result.changes.append((item.number, change))
        if item.desired.action is Action.CREATE and account is not None:
            self._settle(item, Outcome(Status.PENDING, account_id=account.id))
        if _is_new(item):
            before = account
        elif self.with_preconditions:
            before = None
        else:
            before = _other_state_before(item, account)
        if before is not None:
            changes = describe(diff(desired, before, self.directory), self.directory)
            self.result.existing.append(item._replace(before=before, changes=changes))

    def _fail(self, item: RunItem, code: str, error: str) -> None:
        outcome = Outcome(Status.FAILED, error_code=code, error=error, finished_at=self.now)
        self._settle(item, partly_applied(outcome) if item.number in self.result.partly else outcome)

    def _settle(self, item: RunItem, outcome: Outcome) -> None:
        self.result.settled.append((item.number, outcome))


def _is_new(item: RunItem) -> bool:
    """Whether an item creates an account; not where an earlier attempt found the account, and was to update it."""
    return item.desired.action is Action.CREATE and not item.desired.account_id and item.before is None


def _other_state_before(item: RunItem, present: Account | None) -> Account | None:
    """Give the state that the change of an item is from; None where that is the one that was planned.

    Other clients may have changed the account since: an undo puts that back, and the report shows it. Where a request
    may have left, what is as desired by now counts as changed by the run.
    """
    before, desired = item.before, item.desired
    if present is None or before is None:
        return None
    values, groups = present.values, present.group_ids
    if groups is None or before.group_ids is None:
        groups = before.group_ids
    if item.intended and desired.action is not Action.DELETE:
        fields = zip(current().fields, desired.values, before.values, values, strict=True)
        values = tuple(
            [was if wanted is not None and each.equal(now, wanted) else now for each, wanted, was, now in fields]
        )
        groups = None if groups is None else _groups_before(desired, before.group_ids or (), groups)
    if values == before.values and _folded(groups or ()) == _folded(before.group_ids or ()):
        return None
    return present._replace(values=values, group_ids=groups)


def _groups_before(desired: DesiredState, before: Sequence[str], present: Sequence[str]) -> tuple[str, ...]:
    """Give the groups that an account is in; of those that are as desired, the ones that it was in."""
    were, are, leaves = _folded(before), _folded(present), _folded(desired.remove)
    joins = _folded(desired.add if desired.exact is None else desired.exact)

    def is_as_wanted(key: str) -> bool:
        return key in joins if key in are else key in leaves or (desired.exact is not None and key not in joins)

    groups = {fold(group): group for group in (*before, *present)}
    return tuple([group for key, group in groups.items() if key in (were if is_as_wanted(key) else are)])


def _folded(group_ids: Sequence[str]) -> frozenset[str]:
    return frozenset(map(fold, group_ids))


def settled_by_reading(item: RunItem, status: Status, now: float) -> Outcome:
    """Make the outcome of an item whose account is correct now: it was so before if no request for it has left."""
    if not item.intended:
        return Outcome(Status.UNCHANGED, finished_at=now)
    # A request for it may have left: reading the account has confirmed the change.
    return Outcome(status, via=item.outcome.via or Via.ACCOUNT, finished_at=now)


def items_to_resume(unsettled: Sequence[RunItem]) -> tuple[list[RunItem], bool]:
    """Choose the run items that a resume works on, and return whether they are the rest of a trial.

    Items that the run did not settle come first; if there are none, those that it left for later as a trial.
    """
    interrupted = [item for item in unsettled if not is_deferred(item)]
    return (interrupted, False) if interrupted else (list(unsettled), bool(unsettled))


def is_deferred(item: RunItem) -> bool:
    """Whether a trial left a run item for later, and no resume has confirmed it since."""
    return item.outcome.error_code == DEFERRED.error_code and not item.intended


def with_new_groups(
    items: Sequence[RunItem], directory: Directory, names: Mapping[str, str]
) -> tuple[list[RunItem], Directory, dict[str, str]]:
    """Find out which groups that a run was to create exist by now.

    Args:
        items: Run items.
        directory: The groups as they are now.
        names: The names of the groups to create by their ids, as they are journaled.

    Returns:
        The items, with the ids of groups that have taken such a name meanwhile; the directory, with the groups that
        are still to be created; and the ids that have replaced others.
    """
    new: list[Group] = []
    replaced: dict[str, Group] = {}
    for group_id, name in names.items():
        group = Group(group_id, name, NEW_GROUP)
        found = existing_group(group, directory)
        if found is None:
            new.append(group)
        elif fold(found.id) != fold(group_id):
            replaced[fold(group_id)] = found
    directory = directory.with_groups(new)
    if not replaced:
        return list(items), directory, {}
    changed = [item._replace(desired=_with_ids(item.desired, replaced)) for item in items]
    return changed, directory, {group_id: replaced[key].id for group_id in names if (key := fold(group_id)) in replaced}


def _with_ids(desired: DesiredState, replaced: Mapping[str, Group]) -> DesiredState:
    add = tuple([_id_in_place(group_id, replaced) for group_id in desired.add])
    if desired.exact is None:
        return desired._replace(add=add)
    return desired._replace(add=add, exact=tuple([_id_in_place(group_id, replaced) for group_id in desired.exact]))


def remaining_plan(
    items: Sequence[RunItem],
    changes: Sequence[tuple[int, Change]],
    strategy: Strategy | None,
    directory: Directory,
) -> Plan:
    """Make a plan of the run items that can still be sent; ``changes`` are those that still differ, by number."""
    desired_states = {item.number: item.desired for item in items}
    changing = tuple([desired_states.pop(number) for number, _ in changes])
    return Plan(
        tuple([change for _, change in changes]),
        changing,
        tuple(desired_states.values()),
        strategy=strategy,
        new_groups=_needed(new_groups_in(directory), changes),
    )
