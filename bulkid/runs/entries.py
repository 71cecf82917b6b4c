"""The accounts of a run as journal entries: made from a plan, compared with the directory when they are taken up."""

from collections.abc import Iterable

from bulkid.model import Change, Entry, Outcome, Status, Via
from bulkid.planning import Directory, departed, describe, diff, pinned
from bulkid.runs.options import Preview
from bulkid.runs.trial import LEFT


def entries_of(preview: Preview, now: float) -> tuple[list[Entry], list[tuple[int, Change]]]:
    """Every account of the plan as a journal entry, and which of them are to be sent."""
    plan, directory = preview.plan, preview.directory
    entries: list[Entry] = []
    changes: list[tuple[int, Change]] = []
    pending = Outcome(Status.PENDING)  # one for all: 100,000 would be 11 MiB at the moment that holds the most
    for change, wish in zip(plan.changes, plan.changing, strict=True):
        changes.append((len(entries), change))
        text = describe(change, directory)
        entries.append(Entry(len(entries), wish, change.before, text, pending))
    unchanged = Outcome(Status.UNCHANGED, finished_at=now)
    for wish in plan.unchanged:
        entries.append(Entry(len(entries), wish, directory.account(wish.account_id), "", unchanged))
    for wish in plan.left_out:
        account = directory.account(wish.account_id)
        text = describe(diff(wish, account, directory), directory)
        entries.append(Entry(len(entries), wish, account, text, LEFT))
    return entries, changes


def compare(
    entries: Iterable[Entry], directory: Directory, now: float, *, guarded: bool
) -> tuple[list[tuple[int, Outcome]], list[tuple[int, Change]]]:
    """Settle what the directory shows to be as wanted; what differs is to be sent.

    Args:
        entries: What is unsettled.
        directory: The present state.
        now: When.
        guarded: Whether to leave accounts alone that are neither as planned from nor as wanted.
    """
    settled: list[tuple[int, Outcome]] = []
    changes: list[tuple[int, Change]] = []
    for entry in entries:
        account = directory.account(entry.wish.account_id)
        if account is None and directory.accounts is not None:
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
    return settled, changes
