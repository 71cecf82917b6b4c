"""What a caller hands to :mod:`bulkid.runs`, and what it gets back. Values only; the work is done elsewhere."""

import random as randomness
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulkid.clock import Clock, SystemClock
from bulkid.engine import Stop
from bulkid.errors import EXIT_OK, BulkidError
from bulkid.model import ChangeBound, FailureBound, QuotaRule, RowError, RunRecord, RunStatus
from bulkid.notify import Recipients
from bulkid.paths import default_state_dir
from bulkid.runs.concurrency import OrganizationMutex
from bulkid.sheet import SheetInfo, SheetOptions

if TYPE_CHECKING:
    from bulkid.planning.change_limit import Excess
    from bulkid.planning.directory import Directory
    from bulkid.planning.plan import Plan
    from bulkid.planning.strategy import StrategyOption
    from bulkid.report.writer import ReportFiles
    from bulkid.runs.execution.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which server, as whom. The secrets never appear in its ``repr``.

    Args:
        url: The identity base, or the address that an admin knows.
        client_id: Of a confidential external application.
        client_secret: Its secret; not needed with ``access_token``.
        access_token: A ready token, used as it is instead of asking for one.
        scope: Space-separated scopes to ask for; empty for the ones that bulkid needs.
        organization_id: The ``partitionGlobalId``; empty to take it from the token's ``prt_id``.
        tenant: Sent as ``X-UIPATH-TenantName`` to a standalone server; empty to leave it out.
        ca_bundle: PEM file of certificate authorities to trust instead of the operating system's.
    """

    url: str
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)
    scope: str = ""
    organization_id: str = ""
    tenant: str = ""
    ca_bundle: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to read, plan, send and report.

    Args:
        sheet: How to read the sheet.
        skip_invalid: Send the good rows although others are invalid.
        read: Read the directory first; False runs blind on ids, nothing is compared.
        quota: Rules that replace the preset of the deployment; ``()`` lifts it; None keeps it.
        rate: Requests per second at most; None for no such limit.
        concurrency: Requests in flight at most.
        max_attempts: How often one request is tried.
        timeout_s: Seconds that one request may take.
        max_failures: When to stop for good; None never.
        via: Which requests carry the changes: ``auto`` (the fewest, where that matters), ``accounts`` or ``groups``.
        group_batch: Members that one group PUT changes at most.
        first: Apply only to the first so many accounts that change; None for all.
        max_change: How many accounts a plan may change without ``yes_really``; None for half of the organisation's,
            where it has more than 20.
        yes_really: Send also a plan that changes more than that.
        report_dir: Folder that holds a folder per run.
        formats: Report formats beside ``csv``: ``xlsx``, ``jsonl``.
        sandbox: Whether the target is the embedded sandbox (``resume`` then starts one again).
        retry_base_s: First backoff, in seconds; doubles with each attempt, with full jitter.
        outage_limit_s: Seconds that a server which has answered before may be away, until the run gives up.
        job: Name of the job that the run belongs to; empty for none.
        authors: The users who wrote what the run applies, as the web console knows them; kept with the run.
        approved: The hash of the plan that a user other than the authors approved; empty where none was needed. It is
            kept with the run once that plan is confirmed, and then a resume makes only the changes that were planned.
    """

    sheet: SheetOptions = field(default_factory=SheetOptions)
    skip_invalid: bool = False
    read: bool = True
    quota: tuple[QuotaRule, ...] | None = None
    rate: float | None = None
    concurrency: int = 16
    max_attempts: int = 5
    timeout_s: float = 30.0
    max_failures: FailureBound | None = None
    via: "StrategyOption" = "auto"
    group_batch: int = 200
    first: int | None = None
    max_change: ChangeBound | None = None
    yes_really: bool = False
    report_dir: Path = Path("reports")
    formats: tuple[str, ...] = ()
    sandbox: bool = False
    retry_base_s: float = 0.5
    outage_limit_s: float = 600.0
    job: str = ""
    authors: tuple[str, ...] = ()
    approved: str = ""


def count_invalid_rows(row_errors: Iterable[RowError]) -> int:
    """How many rows have at least one fault."""
    return len({row_error.row for row_error in row_errors})


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What ``check`` found without a network."""

    info: SheetInfo
    rows: int
    accounts: int
    row_errors: tuple[RowError, ...] = field(repr=False)
    summary: Mapping[str, Any]

    @property
    def invalid_rows(self) -> int:
        """How many rows have at least one fault."""
        return count_invalid_rows(self.row_errors)


@dataclass(frozen=True, slots=True)
class Preview:
    """A plan together with what a person needs to judge it."""

    info: SheetInfo
    plan: "Plan"
    directory: "Directory"
    base_url: str
    organization_id: str
    rows: int
    row_errors: tuple[RowError, ...] = field(repr=False)
    rules: tuple[QuotaRule, ...]
    rate: float | None
    eta_s: float
    requests: Mapping[str, int]  # already sent, to read the directory
    skipped: int  # accounts that --first leaves for later
    warnings: tuple[str, ...]
    excess: "Excess | None"  # how the plan goes beyond --max-change

    @property
    def invalid_rows(self) -> int:
        """How many rows have at least one fault."""
        return count_invalid_rows(self.row_errors)


@dataclass(frozen=True, slots=True)
class PlanResult:
    """What ``plan`` found: the preview, or why there is none. ``summary`` has the keys of ``summary.json``."""

    preview: Preview | None
    summary: Mapping[str, Any]
    row_errors: tuple[RowError, ...] = field(repr=False)
    error: BulkidError | None
    exit_code: int


STAGES: Mapping[str, str] = {
    "sheet": "Reading the sheet",
    "connect": "Connecting",
    "directory": "Reading the directory",
    "send": "Sending",
    "verify": "Reading back what no answer confirmed",
    "report": "Writing the report",
    "notify": "Sending notifications",
}
"""The stages of a run, in their order, and the words that the terminal and the web console show for each."""


class Hooks:
    """What a face may want to see or decide while a run is under way; the defaults show nothing and agree."""

    def began(self, record: RunRecord) -> None:
        """Take the run's record, now that it is in the journal and the work on it begins."""

    def note(self, text: str) -> None:
        """Tell the user one sentence."""

    def warn(self, text: str) -> None:
        """Tell the user one sentence that matters also to one who wants to hear of errors only."""
        self.note(text)

    def stage(self, name: str) -> None:
        """A stage begins, one of :data:`STAGES`."""

    def progress(self, progress: "Progress") -> None:
        """Take the live figures of the sending that now begins, to be looked at until ``stage`` is called again."""

    def concluded(self, result: "RunResult") -> None:
        """Take what became of one of the runs of a job."""

    async def confirm(self, preview: Preview) -> bool:
        """Decide whether the plan is sent."""
        return bool(preview)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostRunOptions:
    """What follows a run that has ended. Nothing of it changes what became of the run.

    Args:
        recipients: Whom to tell.
        metrics_file: Where to leave figures for Prometheus; None for nowhere.
    """

    recipients: Recipients = field(default_factory=Recipients)
    metrics_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What surrounds a run: where its state is kept, who watches it, who may stop it, time and chance.

    Args:
        state_dir: Holds the journal and the quota ledger that all runs share.
        database_url: Of the PostgreSQL database that holds both instead, for several hosts; empty for none.
        wait_s: Seconds to wait for another run on the organisation to end, before `LockedError` is raised.
        hooks: What a face wants to see and decide.
        stop: Ends the work early.
        clock: Source of time.
        random: Source of jitter, in [0, 1).
        organization_mutex: Shared by the contexts of parallel jobs: those of one organisation run one after another.
        after: What follows the run.
        user: Who begins runs, for the history; empty for the user of the operating system.
    """

    state_dir: Path = field(default_factory=default_state_dir)
    database_url: str = field(default="", repr=False)
    wait_s: float = 0.0
    hooks: Hooks = field(default_factory=Hooks)
    stop: Stop = field(default_factory=Stop)
    clock: Clock = field(default_factory=SystemClock)
    random: Callable[[], float] = randomness.random
    organization_mutex: OrganizationMutex = field(default_factory=OrganizationMutex)
    after: PostRunOptions = field(default_factory=PostRunOptions)
    user: str = ""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of a run, for every face: the summary is what ``summary.json`` holds."""

    run: RunRecord
    status: RunStatus
    summary: Mapping[str, Any]
    report: "ReportFiles | None" = None
    error: BulkidError | None = None
    exit_code: int = EXIT_OK
    row_errors: Sequence[RowError] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
