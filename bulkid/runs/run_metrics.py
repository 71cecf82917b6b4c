"""Metrics of runs for Prometheus: of one run in the file that ``--metrics-file`` names, of all jobs on a page."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bulkid.clock import Clock
from bulkid.extras import require_extra
from bulkid.journal.store import Journal, open_journal
from bulkid.logs import log
from bulkid.model import RunRecord, RunStatus, Status
from bulkid.paths import default_state_dir
from bulkid.report.atomic import ReportError
from bulkid.runs.concurrency import in_thread
from bulkid.runs.options import RunResult

if TYPE_CHECKING:
    from bulkid.report.prometheus import RunMetrics

COUNTERS_INTERVAL_S = 2.0
"""How often the metrics of a run under way are journaled, for other processes that read them."""

FILE_INTERVAL_S = 15.0
"""How often the file is written while a run goes on: Prometheus mostly scrapes every 15 to 60 seconds."""


def job_of(record: RunRecord) -> str:
    """The job that a run belongs to; empty for none."""
    return str(record.options.get("job") or "")


def write_run_metrics(path: Path | None, journal: Journal, record: RunRecord) -> str:
    """Write the metrics of a run to its file, if one is set; return what went wrong as a sentence. Never raises."""
    if path is None:
        return ""
    from bulkid.report.prometheus import write_metrics

    try:
        write_metrics(path, [_metrics(journal, record)])
    except ReportError as error:
        log.info("metrics.failed", reason=error.message)
        return str(error)
    return ""


def with_run_metrics(path: Path | None, journal: Journal, result: RunResult) -> RunResult:
    """Write the metrics of a run that has ended; an error of that becomes a note of the result."""
    problem = write_run_metrics(path, journal, result.run)
    return replace(result, notes=(*result.notes, problem)) if problem else result


@dataclass(slots=True)
class LiveMetrics:
    """Writes the metrics of a run while it goes on."""

    path: Path | None
    journal: Journal
    run_id: str
    clock: Clock
    written_at: float = -math.inf

    async def update(self) -> None:
        """Write the metrics, unless they were written a moment ago or no file is set."""
        if self.path is None or self.clock.monotonic() - self.written_at < FILE_INTERVAL_S:
            return
        self.written_at = self.clock.monotonic()
        await in_thread(self._write)

    def _write(self) -> None:
        record = self.journal.get_run(self.run_id)
        if record is not None:
            write_run_metrics(self.path, self.journal, record)


def sum_responses(
    before: Mapping[str, Mapping[str, int]], now: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """The sums of what earlier attempts and this one counted, by method and status class."""
    total = {method: dict(classes) for method, classes in before.items()}
    for method, classes in now.items():
        sums = total.setdefault(method, {})
        for each, count in classes.items():
            sums[each] = sums.get(each, 0) + count
    return total


def _metrics(journal: Journal, record: RunRecord) -> "RunMetrics":
    from bulkid.journal.queries import newest_runs
    from bulkid.report.prometheus import RunMetrics

    job = job_of(record)
    counts: Mapping[Status, int] = journal.counts(record.run_id)
    if _has_succeeded(record):
        return RunMetrics(job, record, counts, record.finished_at)
    completed = filter(_has_succeeded, newest_runs(journal, (RunStatus.COMPLETED,)))
    kind = _kind(record)
    before = next((run for run in completed if _kind(run) == kind and run.run_id != record.run_id), None)
    return RunMetrics(job, record, counts, None if before is None else before.finished_at)


def _kind(record: RunRecord) -> tuple[str, bool]:
    """The job of a run, and whether it was only tried in the sandbox: that says nothing of the real accounts."""
    return job_of(record), bool(record.options.get("sandbox"))


def _has_succeeded(record: RunRecord) -> bool:
    """Whether every row is updated, created, deleted or unchanged: a trial that is complete may have left some."""
    return record.status is RunStatus.COMPLETED and not record.counters.get("left_rows")


def metrics(state_dir: Path | None = None, *, database_url: str = "") -> bytes:
    """The metrics of the newest run of every job on a state directory, as Prometheus text.

    A run in the sandbox counts for a job that has no other.

    Raises:
        MissingExtraError: The library for metrics is not installed.
        StateError: The state directory cannot be used.
    """
    from bulkid.journal.queries import newest_runs
    from bulkid.report.prometheus import RunMetrics, render_metrics
    from bulkid.runs.history import with_actual_status

    require_extra("metrics", "The page of metrics")
    newest: dict[tuple[str, bool], RunRecord] = {}
    succeeded: dict[tuple[str, bool], float | None] = {}
    with open_journal(state_dir or default_state_dir(), database_url) as journal:
        for record in newest_runs(journal):
            kind = _kind(record)
            if kind not in newest:
                newest[kind] = with_actual_status(journal, record)
            if _has_succeeded(record):
                succeeded.setdefault(kind, record.finished_at)
        shown = {
            job: (job, sandbox) for job, sandbox in sorted(newest, reverse=True)
        }  # a run of a server, if there is one
        return render_metrics(
            RunMetrics(job, newest[kind], journal.counts(newest[kind].run_id), succeeded.get(kind))
            for job, kind in sorted(shown.items())
        )
