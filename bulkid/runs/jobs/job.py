"""Runs jobs: within its hours a job first resumes what is pending, and then runs what is new."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulkid.errors import EXIT_INTERRUPTED, EXIT_OK, BulkidError
from bulkid.extras import MissingExtraError
from bulkid.journal.store import open_journal
from bulkid.model import Phase, RunRecord, RunStatus, Status
from bulkid.notify.message import message_of_failure
from bulkid.runs.concurrency import in_thread
from bulkid.runs.execution.connection import base_of, tokens_of
from bulkid.runs.execution.finish import nothing_summary
from bulkid.runs.history import resumable_runs
from bulkid.runs.jobs.attempt import (
    Job,
    JobAttempt,
    JobResult,
    has_destination_of,
    is_unfinished,
    worst_exit_code,
)
from bulkid.runs.jobs.drop_folder import DropFolder
from bulkid.runs.jobs.drop_folder_job import has_open_files, process_folder
from bulkid.runs.jobs.schedule import within_schedule
from bulkid.runs.notifications import send_notification
from bulkid.runs.options import Context


async def run_job(job: Job, context: Context) -> JobResult:
    """Do a job once: wait for its window if that is near, resume what is pending, then run what is new.

    Raises nothing of bulkid's own: what ends the job is in the result.
    """
    job = replace(job, options=replace(job.options, job=job.name))
    attempt = JobAttempt(job, context)
    error = None
    try:
        context.after.require_extras()
        async with within_schedule(job.schedule, context) as may_work:
            if not may_work:
                pending = await in_thread(_has_pending, job, context)
                return JobResult(job, (), EXIT_INTERRUPTED if pending else EXIT_OK)
            base_of(job.target)
            tokens_of(job.target, context.clock)  # before a file is moved: an error of the settings is none of the file
            await _run_pending_and_new(attempt)
    except BulkidError as caught:
        error = caught
        attempt.codes.append(caught.exit_code)
        if caught is not attempt.reported_error and not isinstance(caught, MissingExtraError):
            place = job.source if isinstance(job.source, Path) else job.source.folder
            await send_notification(
                message_of_failure("run", str(place), caught, host=platform.node(), job=job.name), context
            )
    return JobResult(job, tuple(attempt.results), worst_exit_code(attempt.codes), error)


async def _run_pending_and_new(attempt: JobAttempt) -> None:
    source = attempt.job.source
    if isinstance(source, DropFolder):
        await process_folder(attempt, source)
        return
    pending = await in_thread(_pending_run, attempt.job, source, attempt.context)
    if pending is not None:
        result = await attempt.resume(pending.run_id)
        if is_unfinished(result):
            return
    await attempt.run(source)


def _has_pending(job: Job, context: Context) -> bool:
    if isinstance(job.source, DropFolder):
        return has_open_files(job, job.source, context.state_dir, context.database_url)
    return _pending_run(job, job.source, context) is not None


def _pending_run(job: Job, source: Path, context: Context) -> RunRecord | None:
    """The newest run of this job, on this sheet and organisation, that is to be finished before anything new."""
    with open_journal(context.state_dir, context.database_url) as journal:
        # One that ended while its sheet was being read has sent nothing, and the sheet is about to be read again.
        pending = (record for record in resumable_runs(journal) if record.phase != Phase.READING)
        return next((record for record in pending if _belongs_to(record, job, source)), None)


def _belongs_to(record: RunRecord, job: Job, source: Path) -> bool:
    stored = record.options
    if stored.get("job") != job.name or stored.get("path") != str(source.absolute()):
        return False
    return has_destination_of(record, job)


_STATUS_WORST_LAST = (
    RunStatus.COMPLETED,
    RunStatus.COMPLETED_WITH_FAILURES,
    RunStatus.REFUSED,
    RunStatus.INTERRUPTED,
    RunStatus.STOPPED,
)
_SUMMED_KEYS = (
    "rows",
    "accounts",
    *(status.value for status in Status),
    "planned_puts",
    "naive_puts",
    "retries",
    "throttled",
)


def combined_summary(summaries: Sequence[Mapping[str, Any]], command: str = "run") -> dict[str, Any]:
    """One summary of several: of one, that itself; else the sums of all, and each under ``runs``."""
    if len(summaries) == 1:
        return dict(summaries[0])
    statuses = [RunStatus(summary["status"]) for summary in summaries]
    status = max(statuses, key=_STATUS_WORST_LAST.index, default=RunStatus.COMPLETED)
    total = nothing_summary(command, status)
    for name in _SUMMED_KEYS:
        total[name] = sum(summary[name] or 0 for summary in summaries)
    total["requests"] = {
        method: sum(summary["requests"].get(method, 0) for summary in summaries) for method in total["requests"]
    }
    total["elapsed_s"] = round(sum(summary["elapsed_s"] or 0.0 for summary in summaries), 3)
    return {**total, "runs": [dict(summary) for summary in summaries]} if summaries else total
