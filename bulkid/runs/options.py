"""The arguments and results of the functions of :mod:`bulkid.runs`."""

import random as randomness
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulkid.clock import Clock, SystemClock
from bulkid.engine.signals import Stop
from bulkid.errors import EXIT_OK, BulkidError
from bulkid.extras import require_extra
from bulkid.model import ChangeBound, FailureBound, QuotaRule, RowError, RunRecord, RunStatus
from bulkid.notify.recipients import Recipients
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
    """The server and the credentials. Its ``repr`` contains no secrets.

    Args:
        url: The identity base, or the address of the organisation or of the Orchestrator.
        client_id: The id of a confidential external application.
        client_secret: Its secret; not needed with ``client_assertion_file`` or ``access_token``.
        client_assertion_file: File with a JWT to sign in with in place of the secret; read again for every token.
        access_token: A token to use instead of requesting one.
        scope: Space-separated scopes to request; empty for those that bulkid needs.
        organization_id: The ``partitionGlobalId``; empty to take it from the token's ``prt_id``.
        tenant: Sent to a standalone server as ``X-UIPATH-TenantName``; empty to omit it.
        ca_bundle: PEM file of certificate authorities to trust instead of the operating system's.
        named_by: The options of the command line that name the server and the state, each with its value. They are
            kept with a run: the commands that its messages advise need them, too.
    """

    url: str
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    client_assertion_file: Path | None = field(default=None, repr=False)  # a mistaken value may be the JWT itself
    access_token: str = field(default="", repr=False)
    scope: str = ""
    organization_id: str = ""
    tenant: str = ""
    ca_bundle: Path | None = None
    named_by: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to read, plan, send and report.

    Args:
        sheet: How to read the sheet.
        skip_invalid: Send the valid rows although others are invalid.
        read: Read the directory first. False: run blind on ids, without comparing.
        quota: Rules that replace the preset of the deployment; ``()`` for no quota, None for the preset.
        rate: Maximum requests per second; None for no limit.
        concurrency: Maximum requests in flight.
        max_attempts: Maximum attempts per request.
        timeout_s: Seconds that one request may take.
        max_failures: The failed accounts after which the run stops; None for no limit.
        via: The requests that carry the changes: ``auto`` (fewest if that matters), ``accounts`` or ``groups``.
        group_batch: Maximum members per group PUT.
        first: Change only this many accounts; None for all.
        max_change: The accounts that a plan may change without ``yes_really``; None for half of the organisation's
            accounts if there are more than 20.
        yes_really: Send also a plan that exceeds ``max_change`` or ``max_delete``.
        create_missing: Create the account of each row whose name no account has.
        create_groups: Create the groups of the rows that do not exist.
        new_groups: Names of groups to create where they do not exist, also if an existing name is near.
        allow_delete: Accept rows that delete an account.
        max_delete: The accounts that a plan may delete without ``yes_really``; None for 10.
        report_dir: The folder that contains a folder per run.
        formats: Report formats besides ``csv``: ``xlsx``, ``jsonl``.
        sandbox: Whether the target is the embedded sandbox, which ``resume`` must start again.
        retry_base_s: First backoff in seconds; it doubles with each attempt, with full jitter.
        outage_limit_s: Seconds until the run gives up on a server that has responded before.
        job: Name of the job that the run belongs to; empty for none.
        note: What the user wants to keep with the run, such as a ticket number; at most 200 characters.
        authors: The users of the web console who wrote the sheet or plan; kept with the run.
        approved: The hash of the plan that another user approved; empty if no approval is needed. It is kept with the
            run once that plan is confirmed; then a resume sends only the planned changes.
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
    create_missing: bool = False
    create_groups: bool = False
    new_groups: tuple[str, ...] = ()
    allow_delete: bool = False
    max_delete: ChangeBound | None = None
    report_dir: Path = Path("reports")
    formats: tuple[str, ...] = ()
    sandbox: bool = False
    retry_base_s: float = 0.5
    outage_limit_s: float = 600.0
    job: str = ""
    note: str = ""
    authors: tuple[str, ...] = ()
    approved: str = ""


def count_invalid_rows(row_errors: Iterable[RowError]) -> int:
    """Return how many rows have at least one error."""
    return len({row_error.row for row_error in row_errors})


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of ``check``. ``summary`` has the keys of ``summary.json``."""

    info: SheetInfo
    rows: int
    accounts: int
    row_errors: tuple[RowError, ...] = field(repr=False)
    summary: Mapping[str, Any]
    first_column: int = 0  # the number of the first header's column in the sheet

    @property
    def invalid_rows(self) -> int:
        """The number of rows with at least one error."""
        return count_invalid_rows(self.row_errors)


@dataclass(frozen=True, slots=True)
class Preview:
    """A plan, and what a user needs to decide about it."""

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
    requests: Mapping[str, int]  # already sent to read the directory, by method
    skipped: int  # accounts that --first leaves for later
    warnings: tuple[str, ...]
    excess: "Excess | None"  # how the plan exceeds --max-change
    excess_deletions: "Excess | None" = None  # how it exceeds --max-delete

    @property
    def invalid_rows(self) -> int:
        """The number of rows with at least one error."""
        return count_invalid_rows(self.row_errors)

    @property
    def excesses(self) -> "tuple[Excess, ...]":
        """How the plan exceeds its limits; each is a reason not to send it without ``yes_really``."""
        return tuple(each for each in (self.excess, self.excess_deletions) if each is not None)


@dataclass(frozen=True, slots=True)
class PlanResult:
    """The result of ``plan``: a preview or an error. ``summary`` has the keys of ``summary.json``."""

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
    "verify": "Reading back unconfirmed accounts",
    "report": "Writing the report",
    "notify": "Sending notifications",
}
"""The stages of a run in their order, with the texts that the terminal and the web console show."""


class Hooks:
    """Called by a run to show its progress and to ask the user. The defaults show nothing and confirm every plan."""

    asks = False
    """Whether ``confirm`` asks a user. Until the user agrees, a new run is in no list of runs."""

    def began(self, record: RunRecord) -> None:
        """The run is in the journal, and begins."""

    def note(self, text: str) -> None:
        """Show the user a sentence."""

    def warn(self, text: str) -> None:
        """Show the user a sentence, even if the user wants to see only errors."""
        self.note(text)

    def resumed(self, record: RunRecord, rows: int | None) -> None:
        """A run is resumed with ``rows`` left; None if not all rows have been read."""

    def waiting(self, text: str) -> None:
        """The run waits for another one, or for the server; ``text`` says for what.

        The next call of ``wait_ended`` or ``stage`` ends the wait.
        """
        self.note(text)

    def wait_ended(self) -> None:
        """The wait that ``waiting`` told of is over: requests leave again."""

    def stage(self, name: str) -> None:
        """A stage begins, one of :data:`STAGES`."""

    def progress(self, progress: "Progress") -> None:
        """Sending begins; ``progress`` may be polled until the next call of ``stage``."""

    def concluded(self, result: "RunResult") -> None:
        """One of the runs of a job has ended."""

    async def confirm(self, preview: Preview) -> bool:
        """Return whether to send the plan."""
        return bool(preview)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostRunOptions:
    """Actions after a run, which do not change its result.

    Args:
        recipients: Get a notification.
        metrics_file: File of metrics for Prometheus; None for none.
    """

    recipients: Recipients = field(default_factory=Recipients)
    metrics_file: Path | None = None

    def require_extras(self) -> None:
        """Raise MissingExtraError if a library that the actions need is not installed."""
        if self.recipients:
            require_extra("notify", "A notification")
        if self.metrics_file is not None:
            require_extra("metrics", "A file of metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Runtime dependencies of a run: state location, hooks, stop signal, clock, random source.

    Args:
        state_dir: Contains the journal and the quota ledger, which all runs share.
        database_url: A PostgreSQL database to use instead, for several hosts; empty for none.
        wait_s: Seconds to wait for another run on the organisation before :class:`LockedError` is raised.
        hooks: Show the progress and ask the user.
        stop: Ends the run early.
        clock: Source of time.
        random: Source of jitter, in [0, 1).
        organization_mutex: Shared by parallel jobs: those of one organisation run one after another.
        after: Actions after the run.
        user: The user who begins the run, for the history; empty for the user of the operating system.
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
    """The result of a run. ``summary`` is the content of ``summary.json``."""

    run: RunRecord
    status: RunStatus
    summary: Mapping[str, Any]
    report: "ReportFiles | None" = None
    error: BulkidError | None = None
    exit_code: int = EXIT_OK
    row_errors: Sequence[RowError] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
