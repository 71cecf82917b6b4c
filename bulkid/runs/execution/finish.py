"""Concluding a run and writing its report, always from the journal."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bulkid.errors import (
    EXIT_INTERRUPTED,
    EXIT_LOCKED,
    EXIT_MAX_FAILURES,
    EXIT_OK,
    EXIT_ROWS_FAILED,
    EXIT_USAGE,
    BulkidError,
    SheetError,
    StateError,
    UsageError,
)
from bulkid.journal.store import RESUMABLE, Journal
from bulkid.logs import log
from bulkid.model import Phase, RowError, RunRecord, RunStatus, Status
from bulkid.report.atomic import ReportError
from bulkid.report.formats import ReportContent, import_writers, wanted, written_before
from bulkid.report.summary import build_summary, how_to_resume
from bulkid.report.writer import OpenReport, ReportFiles, write_report
from bulkid.runs.options import RunResult

if TYPE_CHECKING:
    from bulkid.report.rate import Rate

EARLY_ROWS: Final = 128
"""Rows of the report that are written at a time while requests are sent: this delays responses by 1 ms."""

_STATUS_OF_ERROR = {
    EXIT_USAGE: RunStatus.REFUSED,
    EXIT_LOCKED: RunStatus.REFUSED,
    EXIT_INTERRUPTED: RunStatus.INTERRUPTED,
}


def final_status(
    counts: Mapping[Status, int], error: BulkidError | None, left: int = 0, *, planned: bool = False
) -> tuple[RunStatus, int]:
    """Return the status and exit code of a run.

    Args:
        counts: Its rows by status.
        error: The error that ended it early, if any.
        left: Pending rows that it leaves for later as a trial.
        planned: Whether its plan was confirmed before: an attempt to resume it that is refused leaves it as it was, and
            so does one that fails before the rest of a trial is confirmed.
    """
    status, exit_code = _status_of_rows(counts, left)
    if error is None:
        return status, exit_code
    if planned and (_is_refusal(error) or _is_rest_untouched(counts, error, left)):
        return status, error.exit_code
    return _STATUS_OF_ERROR.get(error.exit_code, RunStatus.STOPPED), error.exit_code


def _is_refusal(error: BulkidError) -> bool:
    return _STATUS_OF_ERROR.get(error.exit_code) is RunStatus.REFUSED


def _is_rest_untouched(counts: Mapping[Status, int], error: BulkidError, left: int) -> bool:
    """Whether a trial is over, and an attempt to resume its rest failed before a user confirmed that."""
    return 0 < counts.get(Status.PENDING, 0) <= left and error.exit_code != EXIT_MAX_FAILURES


def _status_of_rows(counts: Mapping[Status, int], left: int) -> tuple[RunStatus, int]:
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
    row_errors: Sequence[RowError],
    now: float,
    early: "EarlyReport | None" = None,
    never_connected: bool = False,
) -> RunResult:
    """Write a run's report and its status. A full disk or a broken folder becomes a note of the result.

    The message is journaled first, since the report shows it for pending rows, and with it the time: another process
    that writes the report then knows that its own may lack outcomes. The status is journaled last: if the process is
    killed while it writes the report, ``resume`` still finishes the run. ``early`` has the rows of the
    report that were written while requests were sent. An error that left rows pending says how to resume the run,
    unless the run was refused. ``never_connected`` says that an attempt to resume the run had no connection yet: if it
    is refused for its settings, the run stays interrupted.
    """
    notes: list[str] = []

    def update_run(**fields: object) -> None:
        if note := _update_run(journal, run_id, error, fields):
            notes.append(note)

    counts: Mapping[Status, int] | None = None
    if early is not None and error is None:  # an error must be in the journal before the rows that show it are written
        counts = early.write_rest()
    if counts is None:
        counts = journal.counts(run_id)
    record = journal.get_run(run_id)
    if record is None:
        raise StateError(f"Run {run_id} is missing from the journal.")
    left, planned = int(counters.get("left_rows") or 0), record.phase == Phase.PLANNED
    of_settings = never_connected and record.status in RESUMABLE and not isinstance(error, SheetError)
    stays = planned or (of_settings and counts.get(Status.PENDING, 0) > 0)
    status, exit_code = final_status(counts, error, left, planned=stays)
    if error is not None and _is_refusal(error):
        _say_that_nothing_was_sent(error, planned=planned)
    message = str(error) if error is not None else ""
    update_run(message=message, counters=dict(counters), finished_at=now)
    record = replace(record, status=status, message=message, counters=dict(counters), finished_at=now)
    summary = summarise(journal, record, folder, counts)
    files: ReportFiles | None = None
    try:
        files = write(journal, record, folder, formats, summary, early=early)
        summary = dict(files.summary)
        notes.extend(files.notes)
    except ReportError as failed:
        notes.append(str(failed))
        exit_code = exit_code or failed.exit_code
        summary = {**summary, "report": None}
    if error is not None and status in RESUMABLE and counts.get(Status.PENDING):
        error.cli_hint = f"{error.cli_hint} {how_to_resume(record)}".strip()
    update_run(status=status, finished_at=now)
    log.info("run.finished", status=status.value, exit_code=exit_code)
    return RunResult(record, status, summary, files, error, exit_code, tuple(row_errors), tuple(dict.fromkeys(notes)))


def _update_run(journal: Journal, run_id: str, error: BulkidError | None, fields: Mapping[str, object]) -> str:
    """Journal fields of a run's end. Return a note if that fails, unless the run's own error says it already.

    The outcomes are committed by then; only the status or the message is missing.
    """
    try:
        journal.update_run(run_id, **fields)
    except StateError as failed:
        if error is None or failed.message != error.message:
            return f"The run's end could not be journaled: {failed}"
    return ""


def _say_that_nothing_was_sent(error: BulkidError, *, planned: bool) -> None:
    """Let the hint of a refusal begin with what was sent, unless the error says it already.

    An earlier attempt at a plan may have sent requests that no row shows.
    """
    if "nothing was sent" not in str(error).lower():
        more = "more " if planned else ""
        error.hint = f"Nothing {more}was sent. {error.hint}".strip()


def summarise(
    journal: Journal, record: RunRecord, folder: Path, counts: Mapping[Status, int] | None = None
) -> dict[str, Any]:
    """Make the summary of a run from the journal; ``counts`` are its rows by status, if the caller has them."""
    accounts = int(record.counters.get("accounts") or 0) or sum(journal.account_counts(record.run_id).values())
    return build_summary(record, counts or journal.counts(record.run_id), accounts, str(folder / "report.csv"))


def nothing_summary(command: str, status: RunStatus = RunStatus.REFUSED) -> dict[str, Any]:
    """Make the summary of a command that has read no row."""
    record = RunRecord("", 0.0, status, command, "", "", "", "", 0)
    return {**build_summary(record, {}, 0, None), "run_id": None}


def import_for_conclude(folder: Path, formats: Collection[str], metrics_file: Path | None) -> None:
    """Import the modules that :func:`conclude` and the metrics of a run need, before the run sends its first change.

    An administrator may update bulkid during a run of many hours: what is imported later could be of another version.
    """
    names = {*formats, *written_before(folder)}
    import_writers(names)
    if any(entry.needs_end for entry in wanted(names)):
        import bulkid.runs.rates
    if metrics_file is not None:
        import bulkid.journal.queries  # noqa: F401 - names are imported from it where they are used
        from bulkid.report.prometheus import import_library

        import_library()


def write(
    journal: Journal,
    record: RunRecord,
    folder: Path,
    formats: Collection[str],
    summary: Mapping[str, Any],
    *,
    early: "EarlyReport | None" = None,
) -> ReportFiles:
    """Write the files of a run's report into ``folder``; ``early`` has the rows that are written already.

    Formats that an earlier report of the run has left there are written again, so that none shows an older state.

    Raises:
        ReportError: The files cannot be written; the outcomes are safe in the journal.
    """
    content = ReportContent(
        record,
        folder,
        _headers(record),
        summary,
        str(record.sheet.get("sheet", "")),
        rates=partial(_rates, journal, record),
        fields=_fields(record),
    )
    begun = early.take() if early is not None else None
    if more := written_before(folder).difference(formats):
        formats = (*formats, *more)
        if begun is not None:  # it lacks them
            begun.discard()
            begun = None
    if begun is not None:
        with suppress(ReportError):  # the folder may have been moved: then write everything again
            return write_report(lambda: journal.report_rows(record.run_id, begun.last_row), content, formats, begun)
    return write_report(lambda: journal.report_rows(record.run_id), content, formats)


def _rates(journal: Journal, record: RunRecord) -> "tuple[Rate, ...]":
    from bulkid.runs.rates import run_rates

    return run_rates(journal, record)


def _headers(record: RunRecord) -> tuple[str, ...]:
    return tuple(record.sheet.get("headers", ()))


def _fields(record: RunRecord) -> tuple[str, ...]:
    return tuple(record.sheet.get("fields", ()))


class EarlyReport:
    """Writes the first rows of a run's report while requests are sent: the rows up to the first that is not settled.

    The rows come from the journal, after the plan is journaled. Use it from one thread at a time.
    """

    def __init__(self, journal: Journal, run_id: str, folder: Path, formats: Collection[str]) -> None:
        self._journal = journal
        self._run_id = run_id
        self._folder = folder
        self._formats = formats
        self._report: OpenReport | None = None
        self.ended = False  # whether no more rows are written early

    def write_some(self) -> int:
        """Write up to ``EARLY_ROWS`` settled rows. Return how many.

        After an error there is no early report: the end of the run writes all rows, and reports the error if it lasts.
        """
        if self.ended:
            return 0
        try:
            if self._report is None:
                self._report = self._begin()
                if self._report is None:
                    self.ended = True
                    return 0
            settled = self._journal.settled_rows(self._run_id, self._report.last_row, EARLY_ROWS)
            self._report.write(settled)
        except (ReportError, StateError):
            self.discard()
            return 0
        return len(settled)

    def write_rest(self) -> Mapping[Status, int] | None:
        """Write the rows that are left, after the last request. Return all rows by status, counted without a query.

        Returns None if there is no early report, or if it cannot be written.
        """
        if self._report is None:
            return None
        try:
            self._report.write_all(self._journal.report_rows(self._run_id, self._report.last_row))
        except (ReportError, StateError):
            self.discard()
            return None
        return self._report.counts

    def _begin(self) -> OpenReport | None:
        record = self._journal.get_run(self._run_id)
        if record is None or any(entry.needs_end for entry in wanted(self._formats)):  # as a workbook does
            return None
        content = ReportContent(record, self._folder, _headers(record), {}, fields=_fields(record))
        return OpenReport(content, self._formats)

    def take(self) -> OpenReport | None:
        """End the early writing. Return the open report, which the caller finishes; None if there is none."""
        report, self._report, self.ended = self._report, None, True
        return report

    def discard(self) -> None:
        """Remove the files that were written; may be called again."""
        report = self.take()
        if report is not None:
            report.discard()


def find(journal: Journal, text: str) -> RunRecord:
    """Find a run by its id or the beginning of its id; ``last`` or "" for the newest.

    Raises:
        UsageError: No run matches, or several do.
    """
    record = next(iter(journal.list_runs(1)), None) if text in {"", "last"} else journal.find_run(text)
    if record is None:
        raise UsageError(
            f"There is no run {text!r}.",
            hint="A run that was pruned is gone for good.",
            cli_hint="`bulkid runs` lists those that are kept.",
        )
    return record
