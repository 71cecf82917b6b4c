"""A job, and one attempt at it: the runs that it begins or resumes, and their exit codes."""

from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bulkid.errors import (
    EXIT_CONNECTION,
    EXIT_INTERRUPTED,
    EXIT_LOCKED,
    EXIT_MAX_FAILURES,
    EXIT_OK,
    EXIT_ROWS_FAILED,
    EXIT_USAGE,
    BulkidError,
)
from bulkid.identity.urls import is_same_base
from bulkid.journal.store import RESUMABLE
from bulkid.logs import log
from bulkid.model import FailureBound, RunRecord
from bulkid.runs.commands import resume, run
from bulkid.runs.execution.connection import base_of
from bulkid.runs.jobs.drop_folder import DropFolder
from bulkid.runs.jobs.schedule import Schedule
from bulkid.runs.options import Context, RunOptions, RunResult, Target
from bulkid.text import dashed_guid, fold

WORST_LAST = (
    EXIT_OK,
    EXIT_ROWS_FAILED,
    EXIT_USAGE,
    EXIT_LOCKED,
    EXIT_INTERRUPTED,
    EXIT_MAX_FAILURES,
    EXIT_CONNECTION,
)
"""Exit codes from the best to the worst: finished; resumed by the next start; a user may have to act."""

_UNFINISHED = frozenset({EXIT_LOCKED, EXIT_INTERRUPTED, EXIT_MAX_FAILURES, EXIT_CONNECTION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What runs without a person."""

    name: str  # by which its runs are known in the journal
    source: Path | DropFolder  # a sheet, or a drop folder of them
    target: Target  # which server, as whom
    options: RunOptions = field(default_factory=RunOptions)  # how to read, plan, send and report
    schedule: Schedule = field(default_factory=Schedule)  # when it may send


@dataclass(frozen=True, slots=True)
class JobResult:
    """The result of one start of a job: its runs in their order, and the worst of their exit codes."""

    job: Job
    runs: tuple[RunResult, ...]
    exit_code: int
    error: BulkidError | None = None  # what ended the job outside of a run


def worst_exit_code(codes: Iterable[int]) -> int:
    """The worst of several exit codes; 0 of none."""
    return max(codes, key=WORST_LAST.index, default=EXIT_OK)


def is_unfinished(result: RunResult) -> bool:
    """Whether a job takes nothing new after a run: the next start goes on.

    A run that is resumed with settings that cannot be used (exit code 2) stays interrupted.
    """
    return result.exit_code in _UNFINISHED or result.status in RESUMABLE


def has_destination_of(record: RunRecord, job: Job) -> bool:
    """Whether a run went to where the job sends, as far as that is known before the job connects."""
    in_sandbox = bool(record.options.get("sandbox"))
    return sends_to(job, record.base_url, record.organization_id, sandbox=in_sandbox)


def sends_to(job: Job, base_url: str, organization_id: str, *, sandbox: bool = False) -> bool:
    """Whether a job sends to a server and organisation; an organisation that is not known yet may be any."""
    if sandbox is not job.options.sandbox:
        return False
    wanted, found = (fold(dashed_guid(each)) for each in (job.target.organization_id, organization_id))
    if wanted and found and wanted != found:
        return False
    return sandbox or is_same_base(base_url, base_of(job.target).url)


@dataclass(slots=True)
class JobAttempt:
    """One start of a job: what its runs share, and their results."""

    job: Job
    context: Context
    results: list[RunResult] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    reported_error: BulkidError | None = None

    async def run(self, source: Path, *, name: str | None = None, run_id: str = "") -> RunResult:
        """Run a sheet as one of the job's runs.

        Raises:
            BulkidError: There is no run: the sheet cannot be read, or the settings cannot be used.
        """
        begun = run(source, self.job.target, self.job.options, self.context, name=name, run_id=run_id)
        return await self._done(begun)

    async def resume(self, run_id: str) -> RunResult:
        """Resume one of the job's runs. Of failures it may have as many as the job allows now.

        Raises:
            BulkidError: The run cannot be resumed.
        """
        log.info("job.resumed", job=self.job.name, run=run_id)
        options = self.job.options
        begun = resume(
            run_id,
            self.job.target,
            self.context,
            skip_invalid=options.skip_invalid or None,
            max_failures=options.max_failures or FailureBound(),
            yes_really=options.yes_really,
        )
        return await self._done(begun)

    async def _done(self, begun: Awaitable[RunResult]) -> RunResult:
        try:
            result = await begun
        except BulkidError as error:
            self.reported_error = error  # the run has sent its notifications
            raise
        self.results.append(result)
        self.codes.append(result.exit_code)
        self.context.hooks.concluded(result)
        return result
