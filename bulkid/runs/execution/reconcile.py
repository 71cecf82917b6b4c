"""The accounts of a run as run items: made from a plan, compared with the directory when a resume takes them up.

A trial (``--first``) leaves accounts for later, and the user sees its plan without them. So bulkid asks again when a
user resumes the run for them, and the change limit applies as to a plan of its own. Resuming an interrupted trial
finishes the trial.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from bulkid.model import Account, AccountUpdate, Outcome, RunItem, Status, Via
from bulkid.planning import (
    Absent,
    Directory,
    GroupBatch,
    Plan,
    Strategy,
    Unknown,
    describe,
    diff,
    item_conflict,
    without_exact_list,
)
from bulkid.runs.execution.bisection import Batch, Member
from bulkid.runs.options import Preview

DEFERRED = Outcome(Status.PENDING, error_code="left_for_later", error="Left for later by --first.")
"""What is known of an account that a trial leaves out."""

RESUMED = Outcome(Status.PENDING)
"""What is known of it once a user agreed to send it: it is pending like any other."""


@dataclass(frozen=True, slots=True)
class PlannedItems:
    """Every account of a plan as a run item: what changes first, numbered as ``plan.changes`` is.

    They are made one by one as they are gone through, as often as that is: all at once would take 25 MB of 100,000
    accounts, at the moment that holds the most.
    """

    preview: Preview
    now: float  # seconds since the epoch

    def __iter__(self) -> Iterator[RunItem]:
        plan, directory = self.preview.plan, self.preview.directory
        number = 0
        pending = Outcome(Status.PENDING)
        for change, desired in zip(plan.changes, plan.changing, strict=True):
            yield RunItem(number, desired, change.before, describe(change, directory), pending)
            number += 1
        unchanged = Outcome(Status.UNCHANGED, finished_at=self.now)
        for desired in plan.unchanged:
            yield RunItem(number, desired, directory.account(desired.account_id), "", unchanged)
            number += 1
        for change, desired in zip(plan.skipped_changes, plan.skipped, strict=True):
            yield RunItem(number, desired, change.before, describe(change, directory), DEFERRED)
            number += 1


@dataclass(frozen=True, slots=True)
class PlannedAgain:
    """The entries that a trial left for later, as what they change was confirmed now; made one by one like the others.

    Args:
        items: Unsettled entries of the run, in the order of their numbers.
        changes: What still differs of them, each with its entry's number, in the same order.
        directory: Names groups.
    """

    items: Sequence[RunItem]
    changes: Sequence[tuple[int, AccountUpdate]]
    directory: Directory

    def __iter__(self) -> Iterator[RunItem]:
        items = iter(self.items)
        for number, change in self.changes:
            item = next(each for each in items if each.number == number)
            if is_deferred(item):
                yield item._replace(before=change.before, changes=describe(change, self.directory))


class SendPlan(NamedTuple):
    """What sending needs of a plan. Each change has its item's number."""

    directory: Directory  # without its accounts
    by_account: list[
        tuple[int, AccountUpdate]
    ]  # those that go by the PUT of their own account, in the order of the plan
    by_group: dict[int, AccountUpdate]  # those that the batches carry
    batches: list[Batch]
    failed: int = 0  # accounts that were found to have failed before anything was sent
    unknown: Mapping[int, str] = MappingProxyType(
        {}
    )  # entries of which it is not known whether the account exists, and why

    @property
    def accounts(self) -> int:
        """How many accounts are to be changed."""
        return len(self.by_account) + len(self.by_group)


def send_plan_of(
    directory: Directory, changes: Iterable[tuple[int, AccountUpdate]], strategy: Strategy | None
) -> SendPlan:
    """What sending needs of a plan: no account and no state before, which the journal has.

    Args:
        directory: Its accounts are let go of.
        changes: Each with its entry's number, in the order that the route was chosen for. Where the caller holds
            neither these nor the directory, each state before is let go of as its change is taken.
        strategy: Which requests carry the changes; None: one PUT per account.
    """
    directory = directory.without_accounts()
    taken = [(number, change._replace(before=None)) for number, change in changes]
    if strategy is None or not strategy.cover.batches:
        return SendPlan(directory, taken, {}, [])
    by_account = [taken[place] for place in strategy.cover.by_account]
    batches = [_batch(planned, taken) for planned in strategy.cover.batches]
    by_group = dict(taken)
    for number, _ in by_account:
        del by_group[number]
    return SendPlan(directory, by_account, by_group, batches)


def _batch(planned: GroupBatch, changes: Sequence[tuple[int, AccountUpdate]]) -> Batch:
    """A group request of a plan by the entries of its members, in the order of the plan."""
    places = sorted([*((place, True) for place in planned.add), *((place, False) for place in planned.remove)])
    members = tuple([Member(changes[place][0], changes[place][1].account_id, joins) for place, joins in places])
    return Batch(planned.group_id, members)


class Comparison(NamedTuple):
    """What became of the unsettled accounts of a run when they were compared with the directory, by entry."""

    settled: list[tuple[int, Outcome]]
    changes: list[tuple[int, AccountUpdate]]  # what is to be sent
    unknown: dict[int, str]  # accounts of which it is not known whether they exist, and why: still pending

    @property
    def failed(self) -> set[int]:
        """The entries that are settled as failed."""
        return {item for item, outcome in self.settled if outcome.status is Status.FAILED}


def compare(items: Iterable[RunItem], directory: Directory, now: float, *, with_preconditions: bool) -> Comparison:
    """Settle what the directory shows to be as wanted; what differs is to be sent.

    Args:
        items: What is unsettled.
        directory: The present state.
        now: When.
        with_preconditions: Whether to leave accounts alone that are neither as planned from nor as wanted.
    """
    settled: list[tuple[int, Outcome]] = []
    changes: list[tuple[int, AccountUpdate]] = []
    unknown: dict[int, str] = {}
    blind = directory.accounts is None
    for item in items:
        found = directory.find(item.desired.account_id)
        if isinstance(found, Unknown) and not blind:
            unknown[item.number] = found.reason
            continue
        account = found if isinstance(found, Account) else None
        if isinstance(found, Absent):
            error = "The account does not exist any more."
            settled.append(
                (item.number, Outcome(Status.FAILED, error_code="account_gone", error=error, finished_at=now))
            )
            continue
        desired = without_exact_list(item, directory) if with_preconditions else item.desired
        if with_preconditions and (conflict := item_conflict(item._replace(desired=desired), account, directory)):
            error = f"The account is not as it was when the changes were planned: {conflict}. It is left alone."
            settled.append(
                (item.number, Outcome(Status.FAILED, error_code="changed_since", error=error, finished_at=now))
            )
            continue
        change = diff(desired, account, directory)
        if not change.empty:
            changes.append((item.number, change))
        elif item.intended:
            # A request for it may have left, and now it reads as wanted: confirmed by reading the account back.
            via = item.outcome.via or Via.ACCOUNT
            settled.append((item.number, Outcome(Status.UPDATED, via=via, finished_at=now)))
        else:
            settled.append((item.number, Outcome(Status.UNCHANGED, finished_at=now)))
    return Comparison(settled, changes, unknown)


def items_to_resume(unsettled: Sequence[RunItem]) -> tuple[list[RunItem], bool]:
    """Choose what resuming takes up: what the run itself left open, else what it left for later as a trial.

    Returns:
        The entries, and whether they are the rest of a trial.
    """
    interrupted = [item for item in unsettled if not is_deferred(item)]
    return (interrupted, False) if interrupted else (list(unsettled), bool(unsettled))


def is_deferred(item: RunItem) -> bool:
    """Whether an entry was left for later by a trial, and was not taken up since."""
    return item.outcome.error_code == DEFERRED.error_code and not item.intended


def remaining_plan(
    items: Sequence[RunItem], changes: Sequence[tuple[int, AccountUpdate]], strategy: Strategy | None
) -> Plan:
    """The rest of a trial as a plan.

    Args:
        items: The rest, without what can no longer be sent.
        changes: Those of them that still differ, each with its entry's number.
        strategy: Which requests carry the changes.
    """
    desired_states = {item.number: item.desired for item in items}
    changing = tuple([desired_states.pop(number) for number, _ in changes])
    return Plan(tuple([change for _, change in changes]), changing, tuple(desired_states.values()), strategy=strategy)
