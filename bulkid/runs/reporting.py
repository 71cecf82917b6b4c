"""Concluding a run and writing its report, always from the journal: the same words now, later, or while it goes on."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulkid.errors import (
    EXIT_INTERRUPTED,
    EXIT_LOCKED,
    EXIT_OK,
    EXIT_ROWS_FAILED,
    EXIT_USAGE,
    BulkidError,
    StateError,
    UsageError,
)
from bulkid.events import log
from bulkid.journal import Journal
from bulkid.model import Fault, RunRecord, RunStatus, Status
from bulkid.report import ReportError, ReportFiles, build_summary, write_report
from bulkid.runs.options import RunResult

_ENDED_EARLY = {EXIT_USAGE: RunStatus.REFUSED, EXIT_LOCKED: RunStatus.REFUSED, EXIT_INTERRUPTED: RunStatus.INTERRUPTED}


def verdict(counts: Mapping[Status, int], error: BulkidError | None, left: int = 0) -> tuple[RunStatus, int]:
    """What a run's status and exit code are.

    Args:
        counts: What became of its rows.
        error: What ended it early; None: it came to its end.
        left: Rows that it leaves for later as a trial: pending by intention.
    """
    if error is not None:
        return _ENDED_EARLY.get(error.exit_code, RunStatus.STOPPED), error.exit_code
    if counts.get(Status.PENDING, 0) > left:
        return RunStatus.INTERRUPTED, EXIT_INTERRUPTED
    if counts.get(Status.FAILED) or counts.get(Status.INVALID):
        return RunStatus.COMPLETED_WITH_FAILURES, EXIT_ROWS_FAILED
    return RunStatus.COMPLETED, EXIT_OK


def conclude(
    journal: Journal,
    run_id: str,
    *,
    folder: Path,
    formats: Collection[str],
    counters: Mapping[str, Any],
    error: BulkidError | None,
    faults: Sequence[Fault],
    now: float,
) -> RunResult:
    """Write a run's report and settle its status in the journal. Never raises for a full disk or a broken folder.

    The message comes first, since the report shows it for pending rows; the status comes last, so that a run that is
    killed while it writes its report is still one that ``resume`` finishes.
    """
    notes: list[str] = []

    def keep(**fields: object) -> None:
        try:
            journal.update_run(run_id, **fields)
        except StateError as failed:
            # The outcomes are what matters, and those are committed; only the closing words are missing.
            note = f"The run's end could not be journaled: {failed}"
            if note not in notes and (error is None or failed.message != error.message):
                notes.append(note)

    counts = journal.counts(run_id)
    status, exit_code = verdict(counts, error, int(counters.get("left_rows") or 0))
    message = str(error) if error is not None else ""
    keep(message=message, counters=dict(counters))
    record = journal.get_run(run_id)
    if record is None:
        raise StateError(f"Run {run_id} is missing from the journal.")
    record = replace(record, status=status, message=message, counters=dict(counters), finished_at=now)
    summary = summarise(journal, record, folder, counts)
    files: ReportFiles | None = None
    with suppress(StateError):  # told below, where the same is tried again
        journal.update_run(run_id, message=message)  # the report tells it of each pending row
    try:
        files = write(journal, record, folder, formats, summary)
        summary = dict(files.summary)
        notes.extend(files.notes)
    except ReportError as failed:
        notes.append(str(failed))
        exit_code = exit_code or failed.exit_code
        summary = {**summary, "report": None}
    keep(status=status, finished_at=now)
    log.info("run.finished", status=status.value, exit_code=exit_code)
    return RunResult(record, status, summary, files, error, exit_code, tuple(faults), tuple(notes))


def summarise(
    journal: Journal, record: RunRecord, folder: Path | None, counts: Mapping[Status, int] | None = None
) -> dict[str, Any]:
    """The summary of a run as the journal knows it now; ``counts`` are its rows by status where they are known."""
    report = str(folder / "report.csv") if folder is not None else None
    accounts = sum(journal.account_counts(record.run_id).values()) or int(record.counters.get("accounts", 0))
    return build_summary(record, counts or journal.counts(record.run_id), accounts, report)


def write(
    journal: Journal, record: RunRecord, folder: Path, formats: Collection[str], summary: Mapping[str, Any]
) -> ReportFiles:
    """Write a run's report files into ``folder``.

    Raises:
        ReportError: The folder or the disk does not take them; the outcomes are safe in the journal.
    """
    headers = tuple(record.sheet.get("headers", ()))
    return write_report(
        lambda: journal.report_rows(record.run_id),
        record,
        folder,
        formats,
        headers=headers,
        summary=summary,
        sheet_name=str(record.sheet.get("sheet", "")),
    )


def find(journal: Journal, text: str) -> RunRecord:
    """The run with this id, or whose id begins so, or (``last``) the newest.

    Raises:
        UsageError: There is none, or several.
    """
    record = next(iter(journal.list_runs(1)), None) if text in {"", "last"} else journal.find_run(text)
    if record is None:
        raise UsageError(f"There is no run {text!r}.", hint="`bulkid runs` lists them.")
    return record
