"""The accounts of a run as journal entries: made from a plan, compared with the directory when they are taken up."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from bulkid.model import Account, Change, Entry, Outcome, Status, Via
from bulkid.planning import Absent, Directory, Route, Unknown, departed, describe, diff, pinned
from bulkid.runs.execution.partial_run import LEFT
from bulkid.runs.options import Preview


@dataclass(frozen=True, slots=True)
class PlannedEntries:
    """Every account of a plan as a journal entry: what changes first, numbered as ``plan.changes`` is.

    They are made one by one as they are gone through, as often as that is: all at once would take 25 MB of 100,000
    accounts, at the moment that holds the most.
    """

    preview: Preview
    now: float  # seconds since the epoch

    def __iter__(self) -> Iterator[Entry]:
        plan, directory = self.preview.plan, self.preview.directory
        number = 0
        pending = Outcome(Status.PENDING)
        for change, wish in zip(plan.changes, plan.changing, strict=True):
            yield Entry(number, wish, change.before, describe(change, directory), pending)
            number += 1
        unchanged = Outcome(Status.UNCHANGED, finished_at=self.now)
        for wish in plan.unchanged:
            yield Entry(number, wish, directory.account(wish.account_id), "", unchanged)
            number += 1
        for wish in plan.left_out:
            account = directory.account(wish.account_id)
            text = describe(diff(wish, account, directory), directory)
            yield Entry(number, wish, account, text, LEFT)
            number += 1


class ToSend(NamedTuple):
    """What sending needs of a plan."""

    directory: Directory  # without its accounts
    changes: Sequence[tuple[int, Change]]  # by entry
    route: Route | None
    failed: int = 0  # accounts that were found to have failed before anything was sent
    unknown: Mapping[int, str] = MappingProxyType(
        {}
    )  # entries of which it is not known whether the account exists, and why


def to_send(directory: Directory, changes: Iterable[tuple[int, Change]], route: Route | None) -> ToSend:
    """What sending needs of a plan: no account and no state before, which the journal has.

    The accounts are let go of so, before the sending begins.
    """
    return ToSend(directory.without_accounts(), [(n, change._replace(before=None)) for n, change in changes], route)


class Comparison(NamedTuple):
    """What became of the unsettled accounts of a run when they were compared with the directory, by entry."""

    settled: list[tuple[int, Outcome]]
    changes: list[tuple[int, Change]]  # what is to be sent
    unknown: dict[int, str]  # accounts of which it is not known whether they exist, and why: still pending

    @property
    def failed(self) -> set[int]:
        """The entries that are settled as failed."""
        return {entry for entry, outcome in self.settled if outcome.status is Status.FAILED}


def compare(entries: Iterable[Entry], directory: Directory, now: float, *, guarded: bool) -> Comparison:
    """Settle what the directory shows to be as wanted; what differs is to be sent.

    Args:
        entries: What is unsettled.
        directory: The present state.
        now: When.
        guarded: Whether to leave accounts alone that are neither as planned from nor as wanted.
    """
    settled: list[tuple[int, Outcome]] = []
    changes: list[tuple[int, Change]] = []
    unknown: dict[int, str] = {}
    blind = directory.accounts is None
    for entry in entries:
        found = directory.find(entry.wish.account_id)
        if isinstance(found, Unknown) and not blind:
            unknown[entry.entry] = found.reason
            continue
        account = found if isinstance(found, Account) else None
        if isinstance(found, Absent):
            error = "The account does not exist any more."
            settled.append(
                (entry.entry, Outcome(Status.FAILED, error_code="account_gone", error=error, finished_at=now))
            )
            continue
        wish = pinned(entry, directory) if guarded else entry.wish
        if guarded and (differs := departed(entry._replace(wish=wish), account, directory)):
            error = f"The account is not as it was when the changes were planned: {differs}. It is left alone."
            settled.append(
                (entry.entry, Outcome(Status.FAILED, error_code="changed_since", error=error, finished_at=now))
            )
            continue
        change = diff(wish, account, directory)
        if not change.empty:
            changes.append((entry.entry, change))
        elif entry.intended:
            # A request for it may have left, and now it reads as wanted: confirmed by reading the account back.
            via = entry.outcome.via or Via.ACCOUNT
            settled.append((entry.entry, Outcome(Status.UPDATED, via=via, finished_at=now)))
        else:
            settled.append((entry.entry, Outcome(Status.UNCHANGED, finished_at=now)))
    return Comparison(settled, changes, unknown)
