"""Earlier runs: finding them, listing them, writing their reports again, and holding the one that is worked on."""

import os
import platform
from collections.abc import Collection, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulkid.errors import LockedError, UsageError
from bulkid.journal import RESUMABLE, Journal, open_journal
from bulkid.model import RunRecord, RunStatus, Status
from bulkid.paths import default_state_dir
from bulkid.report.atomic import prepare_folder
from bulkid.report.summary import build_summary
from bulkid.runs.execution import finish
from bulkid.runs.execution.locks import hold_lock
from bulkid.runs.execution.reconcile import items_to_resume
from bulkid.runs.options import Context, RunResult
from bulkid.runs.run_records import UNDO, owner_of


def list_runs(
    state_dir: Path | None = None, limit: int | None = None, *, database_url: str = ""
) -> list[tuple[RunRecord, Mapping[Status, int]]]:
    """Earlier runs, newest first, each with its rows by status. A run that a kill ended shows as interrupted.

    Raises:
        StateError: The state directory cannot be used.
    """
    state_dir = state_dir or default_state_dir()
    with open_journal(state_dir, database_url) as journal:
        return [
            (with_actual_status(journal, record), journal.counts(record.run_id)) for record in journal.list_runs(limit)
        ]


def with_actual_status(journal: Journal, record: RunRecord) -> RunRecord:
    """The record, corrected where it says ``running`` although no process holds the run any more."""
    if record.status is not RunStatus.RUNNING or journal.is_locked(lock_name(record)):
        return record
    return replace(record, status=RunStatus.INTERRUPTED)


def report(
    text: str,
    *,
    state_dir: Path | None = None,
    database_url: str = "",
    report_dir: Path | None = None,
    formats: Collection[str] = (),
) -> RunResult:
    """Write a run's report again, from the journal, also while the run is still going.

    ``text`` is the run's id, the beginning of it, or empty for the newest. ``report_dir`` gets a folder for the
    run; None: where the run wrote it.

    Raises:
        UsageError: There is no such run, or the folder cannot be written.
        ReportError: Writing failed; the outcomes are safe in the journal.
    """
    state_dir = state_dir or default_state_dir()
    with open_journal(state_dir, database_url) as journal:
        record = with_actual_status(journal, finish.find(journal, text))
        parent = report_dir.absolute() if report_dir is not None else Path(record.report_dir).parent
        folder = prepare_folder(parent, record.run_id)
        summary = finish.summarise(journal, record, folder)
        files = finish.write(journal, record, folder, formats, summary)
        return RunResult(record, record.status, files.summary, files, notes=files.notes)


def summary_of(record: RunRecord, counts: Mapping[Status, int]) -> dict[str, Any]:
    """A run's summary from what :func:`list_runs` gave."""
    report_path = str(Path(record.report_dir) / "report.csv") if record.report_dir else None
    return build_summary(record, counts, int(record.counters.get("accounts", 0)), report_path)


def find_run(text: str, state_dir: Path | None = None, database_url: str = "") -> RunRecord:
    """The run with this id, or whose id begins so, or (``last``) the newest.

    Raises:
        UsageError: There is none, or several.
        StateError: The state directory cannot be used.
    """
    with open_journal(state_dir or default_state_dir(), database_url) as journal:
        return finish.find(journal, text)


def find_resumable_run(text: str, state_dir: Path | None = None, database_url: str = "") -> RunRecord:
    """The run that ``resume`` would go on with.

    Raises:
        UsageError: There is none, or it is complete.
        StateError: The state directory cannot be used.
    """
    with open_journal(state_dir or default_state_dir(), database_url) as journal:
        return find_resumable(journal, text)


def needs_confirmation(record: RunRecord, state_dir: Path | None = None, database_url: str = "") -> bool:
    """Whether resuming this run would send what nobody has agreed to yet.

    That is so where it ended before its plan was confirmed, and where only what it left for later as a trial is open.

    Raises:
        StateError: The state directory cannot be used.
    """
    if record.phase != "planned" or not record.counters.get("left_accounts"):
        return record.phase != "planned"
    with open_journal(state_dir or default_state_dir(), database_url) as journal:
        return items_to_resume(list(journal.iter_unsettled(record.run_id)))[1]


def find_resumable(journal: Journal, text: str) -> RunRecord:
    """The run to go on with.

    Raises:
        UsageError: There is none, or it is complete.
    """
    if not text:
        newest = _newest_resumable(journal)
        if newest is None:
            raise UsageError("There is no interrupted run.", hint="`bulkid runs` lists the runs there are.")
        return newest
    record = finish.find(journal, text)
    ended = record.status not in RESUMABLE and record.status is not RunStatus.REFUSED
    if ended and not journal.counts(record.run_id).get(Status.PENDING):
        raise UsageError(
            f"Run {record.run_id} is complete: nothing is pending.",
            hint="Failed rows are in its retry.csv; run that once it is mended.",
        )
    return record


def _newest_resumable(journal: Journal) -> RunRecord | None:
    if journal.latest_resumable() is None:
        return None
    return next(resumable_runs(journal), None)


def resumable_runs(journal: Journal) -> Iterator[RunRecord]:
    """The runs that can go on, newest first, but for those that were undone since: to go on would do them again."""
    undone: set[str] = set()
    for record in journal.list_runs():
        if record.status in RESUMABLE and record.run_id not in undone:
            yield record
        elif UNDO in record.options and record.phase == "planned":
            undone.add(str(record.options[UNDO]))


def was_undone(journal: Journal, run_id: str) -> bool:
    """Whether a later run has put back what a run changed."""
    return any(each.options.get(UNDO) == run_id and each.phase == "planned" for each in journal.list_runs())


@contextmanager
def run_lock(journal: Journal, record: RunRecord) -> Iterator[None]:
    """The lock on one run, free exactly when no process works on it.

    Raises:
        LockedError: A process works on it.
    """
    handle = journal.acquire_lock(lock_name(record), owner_of(record))
    try:
        yield
    finally:
        handle.release()


def lock_name(record: RunRecord) -> str:
    """The name of the lock on one run, which is free exactly when no process works on it."""
    return f"run {record.run_id}"


async def lock_run(
    stack: AsyncExitStack, journal: Journal, record: RunRecord, context: Context, *, then: str = "resumed"
) -> None:
    """Lock a run for as long as this process works on it: nobody resumes a run that is still alive.

    Raises:
        LockedError: Another process works on it.
        InterruptedRunError: A stop was requested while it waited.
    """
    holder = owner_of(replace(record, host=platform.node(), pid=os.getpid()))
    try:
        await stack.enter_async_context(hold_lock(journal, lock_name(record), holder, context))
    except LockedError:
        raise LockedError(
            f"Run {record.run_id} ({record.source}) is still under way: process {record.pid} on {record.host}.",
            hint=f"Wait until it has ended, or stop it (Ctrl+C in its window); then it can be {then}.",
        ) from None
