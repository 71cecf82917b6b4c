"""The console: its options, and what pages and programs ask of it: previews, runs, the state of the connection."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from aiohttp import web
from argon2 import PasswordHasher

from bulkid import runs
from bulkid.clock import Clock, SystemClock
from bulkid.errors import BulkidError, InterruptedRunError, LockedError, UsageError
from bulkid.journal.console_store import ConsoleStore
from bulkid.logs import log
from bulkid.model import Phase, RunRecord, RunStatus, Status
from bulkid.report.summary import server_options
from bulkid.runs.concurrency import in_thread
from bulkid.runs.connection_check import ORGANIZATION
from bulkid.runs.descriptions import ActionCounts, Destination, count_actions, destination
from bulkid.runs.run_records import RECREATE, UNDO
from bulkid.text import count_of
from bulkid.web.auth.access import (
    ApprovalPolicy,
    Authors,
    Principal,
    RefusedError,
    Role,
    is_another_user,
    with_authors,
)
from bulkid.web.auth.passwords import HASHER
from bulkid.web.auth.sessions import Sessions
from bulkid.web.auth.throttle import RefusalLimit
from bulkid.web.auth.users import Authenticator
from bulkid.web.job_runner import Job, JobRunner, StartEntry
from bulkid.web.plots import WatchedPlots
from bulkid.web.sse import RunFeeds
from bulkid.web.start_checks import (
    changed_accounts,
    deletions_of,
    plan_changed,
    refuse_preview,
    require_deletions_confirmed,
    require_not_rejected,
    require_not_started,
    require_startable,
)
from bulkid.web.uploaded_sheets import BusyError, PreviewTask, UploadedSheet, UploadedSheets, require_same_server
from bulkid.web.uploads import ReadOptions, Upload, UploadLimits, Uploads
from bulkid.web.wording import ALLOW_DELETIONS

DOCTOR_CACHE_S: Final = 30.0  # seconds for which the result of a connection check is shown again
SUMMARY_MAX_AGE_S: Final = 300.0  # seconds after which the home page has the connection checked again
KEEP_AUDIT_S: Final = 400 * 86_400.0  # seconds that entries of the audit log are kept by default
MAX_AUDIT_ENTRIES: Final = 1_000_000  # entries of the audit log that are kept at most, the newest ones
PRUNE_INTERVAL_S: Final = 3600.0  # seconds between two removals of what was kept long enough

RecordAction = Callable[[str, str, str], Awaitable[None]]
"""Writes an action, its subject and a detail into the audit log."""

_HTTPS_PORT: Final = 443
_REMOVE: Final = "An author can remove the sheet instead."


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Where and how to serve."""

    host: str = "127.0.0.1"
    port: int = 8766  # 0 takes a free one
    certfile: Path | None = None  # certificate chain (PEM) for TLS
    keyfile: Path | None = None  # its key (PEM), where the chain does not hold it
    behind_proxy: bool = False  # a reverse proxy ends TLS, and adds the client's address as X-Forwarded-For
    public_names: Sequence[str] = ()  # host names under which browsers reach the console, besides its address
    require_approval: bool = False  # an author of a plan cannot start it (see auth/access.py)
    upload_limits: UploadLimits = field(default_factory=UploadLimits)
    keep_audit_s: float = KEEP_AUDIT_S  # seconds that entries of the audit log are kept
    hasher: PasswordHasher = HASHER  # hashes the passwords of users

    @property
    def secure(self) -> bool:
        """Whether browsers reach the console by TLS."""
        return self.certfile is not None or self.behind_proxy

    @property
    def is_tls_alone(self) -> bool:
        """Whether browsers shall open the console's host names by TLS alone.

        That holds for all ports of a host, so the console does not ask for it where it listens beside other services.
        """
        return self.behind_proxy or (self.certfile is not None and self.port == _HTTPS_PORT)


@dataclass(eq=False, slots=True)
class _AllowedStart:
    """A start that passed its checks: the plan that the user saw, and how its run is to go."""

    uploaded_sheet: UploadedSheet
    upload: Upload  # as it was checked
    seen: runs.Preview  # what the preview showed
    options: runs.RunOptions
    plan_hash: str  # of ``seen``
    approves: bool  # whether the start approves the plan
    record_action: RecordAction
    entry: StartEntry = field(init=False)
    stale: str = ""  # how the plan that the run computed differs from the one that was shown

    def __post_init__(self) -> None:
        self.entry = StartEntry(resumes=bool(self.upload.rest_of))


@dataclass(slots=True)
class Console:
    """What the handlers work with; made by :func:`bulkid.web.server.serving`."""

    serve: ServeOptions
    target: runs.Target
    options: runs.RunOptions
    context: runs.Context
    run_browser: runs.RunBrowser
    job_runner: JobRunner
    authenticator: Authenticator
    store: ConsoleStore
    sessions: Sessions
    clock: Clock = field(default_factory=SystemClock)
    policy: ApprovalPolicy = field(init=False)
    uploads: Uploads = field(init=False)
    uploaded_sheets: UploadedSheets = field(init=False)
    run_feeds: RunFeeds = field(init=False)
    watched_plots: WatchedPlots = field(init=False)
    refusals: RefusalLimit = field(init=False)  # of clients that are not signed in, by address
    user_refusals: RefusalLimit = field(init=False)  # by user
    export_lock: anyio.Lock = field(default_factory=anyio.Lock)  # held while an export is made
    _findings: tuple[float, list[runs.Finding]] | None = None
    _doctor_lock: anyio.Lock = field(default_factory=anyio.Lock)

    def __post_init__(self) -> None:
        self.policy = ApprovalPolicy(self.serve.require_approval)
        self.uploads = Uploads(self.state_dir / "uploads", self.serve.upload_limits)
        self.uploaded_sheets = UploadedSheets(
            self.target, self.options, self.context, self.job_runner.spawn, self._mark_previewed
        )
        self.run_feeds = RunFeeds(self.run_browser, self.job_runner)
        self.watched_plots = WatchedPlots(self.clock.monotonic)
        self.refusals = RefusalLimit(self.clock.monotonic)
        self.user_refusals = RefusalLimit(self.clock.monotonic, per_source=100, max_total=1000)

    @property
    def state_dir(self) -> Path:
        """The state directory, shared with terminals and scheduled jobs."""
        return self.context.state_dir

    @property
    def destination(self) -> Destination:
        """The organisation and the server that the console works on."""
        return destination(self.target.url, self._organization_id, sandbox=self.options.sandbox)

    @property
    def _organization_id(self) -> str:
        """The organisation that the settings name, or that the last connection check found; "" where neither did."""
        found = () if self._findings is None else self._findings[1]
        known = (each.detail for each in found if each.ok and each.subject == ORGANIZATION)
        return self.target.organization_id or next(known, "")

    @property
    def last_findings(self) -> tuple[float, list[runs.Finding]] | None:
        """The result of the last connection check and its time; None where there was none yet."""
        return self._findings

    def has_findings(self, max_age_s: float) -> bool:
        """Whether there was a connection check in the last ``max_age_s`` seconds, by a clock that may be set back."""
        return self._findings is not None and 0 <= self.clock.now() - self._findings[0] <= max_age_s

    async def prune_periodically(self) -> None:
        """Every hour, remove uploads and entries of the audit log that were kept long enough."""
        while True:
            now = self.clock.now()
            try:
                uploads = await in_thread(self.uploads.drop_old, now)
                entries = await in_thread(self.store.prune_audit, now - self.serve.keep_audit_s, MAX_AUDIT_ENTRIES)
                if uploads or entries:
                    log.info("console.tidied", uploads=uploads, audit_entries=entries)
            except (BulkidError, OSError) as error:  # the next time may succeed
                log.warning("console.tidy_failed", error=f"{type(error).__name__}: {error}")
            await self.clock.sleep(PRUNE_INTERVAL_S)

    async def findings(self, *, max_age_s: float = DOCTOR_CACHE_S) -> tuple[float, list[runs.Finding]]:
        """The result of a connection check that is not older than ``max_age_s``, and its time."""
        async with self._doctor_lock:
            if self._findings is None or not self.has_findings(max_age_s):
                found = await runs.doctor(self.target, self.options, self.context)
                self._findings = (self.clock.now(), found)
            return self._findings

    # --- sheets and previews

    async def uploaded_sheet(self, upload_id: str) -> UploadedSheet:
        """The upload with its preview; raises UnknownUploadError."""
        return await self.uploaded_sheets.get(await in_thread(self.uploads.get, upload_id))

    async def change_read_options(
        self, uploaded_sheet: UploadedSheet, reading: ReadOptions, principal: Principal
    ) -> Upload:
        """Change how a sheet is read, which makes the user one of its authors; raises UsageError for a derived plan."""
        upload = uploaded_sheet.upload
        if upload.derived_from:
            raise UsageError("This is not a sheet: the journal of a run holds its contents.", hint="Check its preview.")
        changed = replace(upload, reading=reading, by=with_authors(upload.by, principal.user), changes=0)
        return await in_thread(self.uploads.keep, changed)

    def make_preview(self, uploaded_sheet: UploadedSheet) -> PreviewTask:
        """The preview that is being made, or a new one; raises UsageError for a sheet whose columns are not known."""
        if uploaded_sheet.parsed.check is None and not uploaded_sheet.upload.derived_from:
            raise UsageError("The sheet cannot be read yet.", hint="Map its columns first.")
        task = uploaded_sheet.preview
        if task is not None and not task.done.is_set():
            return task
        return self.uploaded_sheets.begin_preview(uploaded_sheet)

    def _mark_previewed(self, upload: Upload, preview: runs.Preview | None) -> None:
        """Note with the upload how many accounts wait for an approval; the home page shows it after a restart too."""
        blocked = preview is None or bool(preview.row_errors and not upload.reading.skip_invalid)
        counts = ActionCounts() if preview is None or blocked else count_actions(preview.plan.changes)
        if self.policy.required or counts.delete or upload.deletions:
            self.uploads.mark_previewed(upload, counts.total, counts.delete)

    async def reject(
        self,
        uploaded_sheet: UploadedSheet,
        preview_id: str,
        principal: Principal,
        comment: str,
        record_action: RecordAction,
    ) -> Upload:
        """Reject the plan that a preview shows, for good; the comment says why. The audit log has it before.

        Raises:
            UsageError: The preview is not the one that was shown, the plan requires no approval, or there is no
                comment.
            RefusedError: The user is an author of the plan.
        """
        shown, upload = uploaded_sheet.preview, uploaded_sheet.upload
        require_not_started(uploaded_sheet, preview_id)
        require_not_rejected(upload)
        if shown is None or shown.result is None or shown.preview_id != preview_id or not upload.is_open:
            raise UsageError(  # its run may be sending, begun before a restart or by another console
                "This preview is out of date: the plan was not rejected.", hint="Check the new preview first."
            )
        if not (self.policy.required or deletions_of(shown.result) > 0):
            raise UsageError("This plan requires no approval: there is nothing to reject.")
        if not is_another_user(principal.user, upload.by):
            raise RefusedError(403, f"{principal.user} is an author of this plan and cannot reject it.", _REMOVE)
        if not comment:
            raise UsageError("Enter a comment that says why you reject the plan.")
        uploaded_sheet.preview = shown.renamed()  # a start of the preview that was shown is out of date now
        try:
            await record_action("plan rejected", upload.upload_id, f"{upload.name}: {comment}")
            values = {"rejected_by": principal.user, "rejected_at": self.clock.now(), "comment": comment}
            uploaded_sheet.upload = await in_thread(partial(self.uploads.update, upload.upload_id, **values))
        except (BulkidError, OSError):
            uploaded_sheet.preview = shown
            raise
        return uploaded_sheet.upload

    # --- starting a run

    async def start(
        self,
        uploaded_sheet: UploadedSheet,
        preview_id: str,
        principal: Principal,
        record_action: RecordAction,
        *,
        first: int | None = None,
        really: bool = False,
        deletions: int | None = None,
    ) -> Job:
        """Run a sheet as its preview showed it, or its first accounts that change, for a trial.

        With ``require_approval`` this approves the plan: the user must not be one of its authors, and the run sends
        nothing unless the plan that it computes has the hash of the one that was shown. The same holds of a plan that
        deletes accounts, unless the user is an admin.

        Args:
            uploaded_sheet: The sheet.
            preview_id: The preview that the user looked at.
            principal: Who starts the run.
            record_action: Writes the start, the approval and a refusal into the audit log.
            first: How many accounts a trial changes.
            really: The user confirms a plan that changes or deletes more of the organisation than ``max_change`` and
                ``max_delete`` allow.
            deletions: How many accounts the user expects to be deleted.

        Raises:
            UsageError: The preview is not the one that was shown, or holds nothing that may be sent.
            RefusedError: The user may not approve the plan.
            BulkidError: The run could not be begun.
        """
        shown = uploaded_sheet.preview
        seen = None if shown is None else shown.result
        if shown is None or seen is None or shown.preview_id != preview_id:
            refuse_preview(uploaded_sheet, preview_id)
        upload = uploaded_sheet.upload
        require_startable(upload, seen, principal, self.policy, self.options, first=first, really=really)
        if upload.rest_of:
            await self._allowed_deletions(upload.rest_of)
        require_deletions_confirmed(deletions_of(seen, first), deletions)
        approves = self.policy.approves(principal, deletes=deletions_of(seen) > 0)
        options = replace(
            upload.reading.options(self.options),
            first=first,
            yes_really=really,
            authors=upload.by,
            note=upload.note,
        )
        plan_hash = await in_thread(runs.plan_hash, seen, options)
        if approves:
            options = replace(options, approved=plan_hash)
        allowed = _AllowedStart(
            uploaded_sheet, upload, seen, options, plan_hash, approves=approves, record_action=record_action
        )
        return await self._begin(allowed, shown, principal)

    async def _begin(self, start: _AllowedStart, shown: PreviewTask, principal: Principal) -> Job:
        """Begin the run of a start that is allowed, unless ``shown`` is not the present preview, and record it.

        Raises:
            UsageError: The preview was started, rejected or replaced while the start was checked.
            BulkidError: The run could not be begun.
        """
        uploaded_sheet, upload = start.uploaded_sheet, start.upload

        async def work(context: runs.Context) -> runs.RunResult:
            result = await self._apply(upload, start.options, context)
            if start.stale:  # only now: until its end the run holds what a preview needs
                with suppress(BusyError):
                    self.uploaded_sheets.begin_preview(uploaded_sheet, start.stale)
            return result

        if uploaded_sheet.preview is not shown:
            refuse_preview(uploaded_sheet, shown.preview_id)
        uploaded_sheet.preview = None  # a preview can be started once
        uploaded_sheet.started = (shown.preview_id, principal.name)
        try:
            job = await self.job_runner.start(work, principal.name, partial(self._confirm_plan, start))
            detail = f"{upload.name}; note: {upload.note}" if upload.note else upload.name
            await start.record_action("run started", job.run_id, detail)
            start.entry.is_written = True
        except BulkidError:
            uploaded_sheet.preview = uploaded_sheet.preview or shown  # no run was begun, or it sends nothing
            uploaded_sheet.started = ("", "")
            raise
        finally:
            start.entry.settled.set()
        return job

    async def _confirm_plan(self, start: _AllowedStart, job: Job, now: runs.Preview) -> bool:
        """Let a run send its plan if that is the one that the preview showed.

        Raises:
            BulkidError: It is another plan, it was rejected meanwhile, or the start is not in the audit log.
        """
        upload = start.upload
        await start.entry.require()
        require_not_rejected(await in_thread(self.uploads.refreshed, upload))  # by another console's user
        if await in_thread(runs.plan_hash, now, start.options) == start.plan_hash:
            if start.approves:  # in the audit log before anything is sent
                detail = f"plan {start.plan_hash} of {', '.join(upload.by)}"
                await start.record_action("plan approved", job.run_id, detail)
            await in_thread(self.uploads.mark_used, upload, self.clock.now())
            return True
        differ = changed_accounts(start.seen, now, start.options.first)
        error = plan_changed(differ, resumes=bool(upload.rest_of))
        start.stale, start.uploaded_sheet.preview = error.message, None
        await start.record_action("start refused", upload.upload_id, error.message)
        raise error

    async def _apply(self, upload: Upload, options: runs.RunOptions, context: runs.Context) -> runs.RunResult:
        if upload.rest_of:
            really, approved = options.yes_really, options.approved
            return await runs.resume(
                upload.rest_of, self.target, context, yes_really=really, approved=approved, reconfirm=True
            )
        if upload.undo_of:
            return await runs.undo(upload.undo_of, self.target, options, context, recreate=upload.recreate)
        return await runs.run(upload.path, self.target, options, context, name=upload.name)

    # --- runs

    async def authors_of(self, run: RunRecord, *more: str) -> Authors:
        """The authors of what a run applies, and ``more``; for a run of a terminal or a job, the user who began it."""
        known = run.options.get("authors")
        if known:
            return with_authors(known, *more)
        upload = await self.upload_of(run)  # of a console that did not keep authors with its runs
        return with_authors(() if upload is None else upload.by, run.user, *more)

    async def upload_of(self, run: RunRecord) -> Upload | None:
        """The sheet that a run was begun with here, as long as it is kept."""
        undone = run.options.get(UNDO)
        if undone:
            recreate = bool(run.options.get(RECREATE))
            return await in_thread(self.uploads.find_derived, undo_of=str(undone), recreate=recreate)
        path = Path(str(run.options.get("path") or "."))
        try:
            upload = await in_thread(self.uploads.get, path.parent.name)
        except UsageError:
            return None
        return upload if upload.path.absolute() == path else None

    def require_same_server(self, run: RunRecord, *, then: str) -> None:
        """Raise UsageError, with a hint, for a run of another server; see the function of this name."""
        require_same_server(run, self.target, self.options, then=then)

    def _require_resumable(self, run: RunRecord) -> None:
        if run.status is RunStatus.RUNNING:  # it may wait for another run, with a plan that is not confirmed yet
            raise LockedError(f"Run {run.run_id} is still under way.", hint="Wait until it has ended, or stop it.")
        if run.phase != Phase.PLANNED:
            raise UsageError(
                f"Run {run.run_id} ended before its plan was confirmed; nothing was sent.",
                hint="Upload the sheet again, and check the preview.",
            )
        self.require_same_server(run, then=f"Resume it in a terminal: bulkid resume {run.run_id}{server_options(run)}")

    async def _allowed_deletions(self, run_id: str) -> int:
        """Return how many accounts a run still has to delete.

        Raises:
            UsageError: It has some, and this console does not allow deletions.
        """
        count = await in_thread(self.run_browser.pending_deletions, run_id)
        if count and not self.options.allow_delete:
            raise UsageError(
                f"Run {run_id} has {count_of(count, 'account')} left to delete, and this console does not allow "
                "deletions: nothing was sent.",
                hint=ALLOW_DELETIONS,
            )
        return count

    def can_resume(self, line: runs.RunListItem, undone: Collection[str]) -> bool:
        """Whether this console can resume a run; ``undone`` are the ids of runs that were undone."""
        run = line.run
        if run.status in {RunStatus.RUNNING, RunStatus.REFUSED} or run.run_id in undone:
            return False
        if self.job_runner.job(run.run_id) is not None or not line.counts[Status.PENDING]:
            return False
        with suppress(UsageError):
            self._require_resumable(run)
            return True
        return False

    async def resume(self, run: RunRecord, principal: Principal, record_action: RecordAction) -> Job | UploadedSheet:
        """Resume an interrupted run, or return what is pending as a plan of its own, to be previewed and started.

        A run is resumed where all that is pending was shown and, with ``require_approval``, approved. One that still
        deletes accounts is resumed by an admin, or where another user has approved it. ``record_action`` writes the
        resume into the audit log, before it begins.
        """
        self._require_resumable(run)
        deletes = await self._allowed_deletions(run.run_id) > 0 and not principal.may(Role.ADMIN)
        unseen = await in_thread(runs.needs_confirmation, run, self.state_dir, self.context.database_url)
        if self._resume_needs_preview(run, unseen=unseen, deletes=deletes):
            return await self.rest_of(run, principal)

        async def work(context: runs.Context) -> runs.RunResult:
            return await runs.resume(run.run_id, self.target, context)

        async def unexpected(_job: Job, _now: runs.Preview) -> bool:
            raise InterruptedRunError(
                "Only rows that no preview has shown are pending now: nothing more was sent.", hint="Resume it again."
            )

        await in_thread(runs.find_resumable_run, run.run_id, self.state_dir, self.context.database_url)
        await record_action("run resumed", run.run_id, "")
        try:
            return await self.job_runner.start(work, principal.name, unexpected)
        except BulkidError as error:
            await record_action("resume refused", run.run_id, error.message)
            raise

    def has_unseen_rest(self, line: runs.RunListItem) -> bool:
        """Whether resuming a run leads to a preview, by its record alone; :meth:`resume` reads the journal."""
        left = int(line.run.counters.get("left_rows") or 0)
        unseen = 0 < line.counts[Status.PENDING] <= left
        return self._resume_needs_preview(line.run, unseen=unseen, deletes=False)

    def _resume_needs_preview(self, run: RunRecord, *, unseen: bool, deletes: bool) -> bool:
        approved = str(run.options.get("approved") or "")
        return self.policy.resume_needs_preview(approved=approved, unseen=unseen, deletes=deletes)

    async def rest_of(self, run: RunRecord, principal: Principal) -> UploadedSheet:
        """What is pending of a run, as a plan to be previewed and started. Its authors are those of the run."""
        self._require_resumable(run)
        await self._allowed_deletions(run.run_id)
        line = await in_thread(self.run_browser.run, run.run_id)
        if not line.counts[Status.PENDING]:
            raise UsageError(f"Nothing of run {run.run_id} is pending: there is nothing to send.")
        found = await in_thread(self.uploads.find_derived, rest_of=run.run_id)
        if found is None:
            authors, now = await self.authors_of(run), self.clock.now()
            found = await in_thread(self.uploads.derive, "rest", run.run_id, now, principal.user, authors)
        return await self.uploaded_sheets.get(found)


CONSOLE: Final = web.AppKey("console", Console)


def console_of(request: web.Request) -> Console:
    """The console that a request is for."""
    return request.app[CONSOLE]


async def uploaded_sheet_of(request: web.Request) -> UploadedSheet:
    """The sheet that the address of a request names; raises UnknownUploadError."""
    return await console_of(request).uploaded_sheet(request.match_info["upload"])
