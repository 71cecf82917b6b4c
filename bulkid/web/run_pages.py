"""The page of a run, and what a user can do with the run."""

import tempfile
from collections.abc import Collection, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlencode

import anyio
from aiohttp import web
from aiohttp.web import HTTPSeeOther
from aiohttp_sse import sse_response

from bulkid import runs
from bulkid.errors import BulkidError, LockedError, StateError, UsageError
from bulkid.journal.queries import ChangeKind
from bulkid.logs import log
from bulkid.model import CHANGED, RETRY_STATUSES, Phase, RunRecord, RunStatus, Status
from bulkid.planning.plan import split_description
from bulkid.report.formats import FORMATS, ReportFormat
from bulkid.report.summary import server_options, status_label, trial_finished
from bulkid.runs import RunListItem
from bulkid.runs.concurrency import in_thread
from bulkid.runs.descriptions import outcome
from bulkid.runs.run_records import RECREATE, UNDO, load_options
from bulkid.sheet.headers import header_key
from bulkid.web.audit import record_action
from bulkid.web.auth.access import RefusedError
from bulkid.web.console import Console, console_of
from bulkid.web.middleware import principal_of
from bulkid.web.pages import Pager, attachment, page
from bulkid.web.plots import Plot, plot_of
from bulkid.web.preview_pages import address_of, preview_made
from bulkid.web.request_bodies import form_of
from bulkid.web.sse import live_state, state_from_journal
from bulkid.web.uploaded_sheets import UploadedSheet
from bulkid.web.uploads import ReadOptions, Upload

RECONNECT_MS: Final = 2000

_DISCONNECTED: Final = (ConnectionResetError, TimeoutError)
"""What sending an event raises when the browser has disconnected, or does not read any more."""


async def recent_quota_plots(console: Console) -> list[Plot]:
    """The use of the quota in the last hour, for ``quota_plot.html``: a plot for PUT, and for each other method used.

    There is none where the organisation is not known yet.
    """
    rates = await in_thread(console.run_browser.recent_rates, console.target, console.options, console.clock.now())
    return [plot_of(rate, _plot_name("recent", index), ago=True, small=True) for index, rate in enumerate(rates)]


async def _rate_plots(console: Console, run: RunRecord) -> list[Plot]:
    rates = await in_thread(console.run_browser.rates, run)
    return [plot_of(rate, _plot_name("rate", index)) for index, rate in enumerate(rates)]


def _plot_name(prefix: str, index: int) -> str:
    """A name for the ids of a plot; those of the first have no number."""
    return f"{prefix}{index or ''}"


async def rate(request: web.Request) -> web.StreamResponse:
    """The plots of a run's rate, as a part of its page."""
    console, record = console_of(request), await _found_record(request)
    plots = await console.watched_plots.of(record.run_id, partial(_rate_plots, console, record))
    return page(request, "run_rate.html", plots=plots)


KINDS: Final[Mapping[ChangeKind, str]] = {
    ChangeKind.FIELDS: "fields changed",
    ChangeKind.JOINS: "groups added",
    ChangeKind.LEAVES: "groups removed",
}
"""The kinds of changes by which the rows of the report can be filtered, with their words."""

PROBLEMS: Final = (Status.FAILED, Status.INVALID)
"""What the report opens on where there is any: the rows that need a user."""


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows of a report a request asks for."""

    show: str  # "all", "problems", or a status
    kind: ChangeKind | None
    search: str

    @property
    def statuses(self) -> tuple[Status, ...]:
        """The statuses of the rows; empty for all."""
        if self.show == "problems":
            return PROBLEMS
        return tuple(status for status in Status if status.value == self.show)

    def link(self, *, show: str | None = None, kind: str | None = None) -> str:
        """The address of the same rows with another status or another kind; "" for every kind."""
        chosen = self.kind.value if self.kind is not None else ""
        query = {
            "status": self.show if show is None else show,
            "kind": chosen if kind is None else kind,
            "search": self.search,
        }
        return f"?{urlencode({name: value for name, value in query.items() if value})}#report"


def _row_filter(request: web.Request, line: RunListItem, *, running: bool) -> RowFilter:
    query = request.query
    show = query.get("status", "")
    if show not in {"all", "problems", *Status}:
        opens_on_problems = not running and not query and any(line.counts[status] for status in PROBLEMS)
        show = "problems" if opens_on_problems else "all"
    kind = next((each for each in ChangeKind if each.value == query.get("kind")), None)
    return RowFilter(show, kind, query.get("search", "")[:200])


async def run(request: web.Request) -> web.StreamResponse:
    """One run: how it ended, or its figures, live while it is under way; and the result of each row."""
    console, pager = console_of(request), Pager(request)
    line = await found_run(request)
    run_id, browser = line.run.run_id, console.run_browser
    job = console.job_runner.job(run_id)
    state = live_state(job) or state_from_journal(line, job)
    chosen = _row_filter(request, line, running=state["running"])
    rows = await in_thread(
        browser.rows,
        run_id,
        statuses=chosen.statuses,
        kind=chosen.kind,
        search=chosen.search,
        offset=pager.offset,
        limit=pager.size,
    )
    undone = await in_thread(browser.undone)
    return page(
        request,
        "run.html",
        plots=await _rate_plots(console, line.run),
        line=line,
        run=line.run,
        outcome=outcome_of(line),
        label=status_label(line.run.status, line.counts),
        remaining=remaining_of(line) or line.counts[Status.PENDING],
        undone_by=undone.get(run_id, ""),
        undo_of=str(line.run.options.get(UNDO) or ""),
        recreates=bool(line.run.options.get(RECREATE)),
        rows=rows.rows,
        state=state,
        percent=100 * state["done"] // (state["total"] or 1),
        formats=FORMATS.values(),
        chosen=chosen,
        kinds=KINDS,
        change_parts=change_parts,
        open_rows=open_rows_of(line),
        problems=sum(line.counts[status] for status in PROBLEMS),
        asked=bool(request.query),
        controls=actions_of(console, line, await console.upload_of(line.run), undone),
        notes=[] if job is None else job.notes,
        pager=pager.of(rows.total),
    )


_CREATED_IN_GROUP: Final = "created: + "
"""The beginning of the description of a new account that has groups and no other value."""


class ChangeParts(NamedTuple):
    """The description of a row's changes, in parts."""

    fields: str
    groups: tuple[tuple[str, str], ...]  # "+" or "-", and a name


def change_parts(changes: str) -> ChangeParts:
    """Take ``display name: Roby -> Robbie; + Finance; - Trainees`` apart, or ``created: + Finance``."""
    parts = split_description(changes)
    if parts and parts[0].startswith(_CREATED_IN_GROUP):
        parts[:1] = ["created", parts[0].removeprefix(_CREATED_IN_GROUP[:-2])]
    fields = [part for part in parts if part[:2] not in {"+ ", "- "}]
    return ChangeParts("; ".join(fields), tuple((part[0], part[2:]) for part in parts if part[:2] in {"+ ", "- "}))


def outcome_of(line: RunListItem) -> str:
    """How a run ended: ``Done in 4 s: 153 updated, 48 already correct.`` or its like."""
    run = line.run
    left = remaining_of(line)
    if left and run.status in {RunStatus.COMPLETED, RunStatus.COMPLETED_WITH_FAILURES}:
        return f"{trial_finished(run)} Next: review the remaining {left:,}."
    counts = {status.value: count for status, count in line.counts.items()}
    return outcome(run.status, counts, float(run.counters.get("elapsed_s") or 0.0))


def remaining_of(line: RunListItem) -> int:
    """How many accounts a trial left for later; 0 where they have been sent since, and for other runs."""
    return int(line.run.counters.get("left_accounts") or 0) if line.counts[Status.PENDING] else 0


def open_rows_of(line: RunListItem) -> int:
    """How many rows are not done: those that a retry takes."""
    return sum(line.counts[status] for status in RETRY_STATUSES)


def _can_be_undone(line: RunListItem) -> bool:
    """Whether the run did more than delete accounts, which no undo brings back."""
    return any(line.counts[status] for status in CHANGED if status is not Status.DELETED)


def actions_of(console: Console, line: RunListItem, upload: Upload | None, undone: Collection[str]) -> dict[str, bool]:
    """What a user with the role for it can do with a run at present."""
    job = console.job_runner.job(line.run.run_id)
    going = job is not None or line.run.status is RunStatus.RUNNING
    resumable = console.can_resume(line, undone)
    left = not going and open_rows_of(line) > 0 and not resumable
    again = not going and line.run.phase != Phase.PLANNED and upload is not None
    undoes = bool(line.run.options.get(UNDO))
    return {
        "pause": job is not None and not job.stop.requested,
        "stop": job is not None,
        "resume": resumable,
        "rest": resumable and console.has_unseen_rest(line),  # resuming leads to a preview of what is pending
        "retry": left and not undoes,
        "undo_again": left and undoes and not again and line.run.run_id not in undone,
        "recreate": not going and line.counts[Status.DELETED] > 0,
        "undo": not going and _can_be_undone(line) and line.run.run_id not in undone,
        "again": again,
    }


async def found_run(request: web.Request, run_id: str = "") -> RunListItem:
    """The run with this id, or the one that the address of a request names; raises RefusedError (404)."""
    try:
        return await in_thread(console_of(request).run_browser.run, run_id or request.match_info["run"])
    except UsageError as error:
        raise RefusedError(404, error.message, error.hint) from None


async def _found_record(request: web.Request) -> RunRecord:
    """The record of the run that the address names, without a count of its rows; raises RefusedError (404)."""
    try:
        return await in_thread(console_of(request).run_browser.record, request.match_info["run"])
    except UsageError as error:
        raise RefusedError(404, error.message, error.hint) from None


async def events(request: web.Request) -> web.StreamResponse:
    """The live figures of a run, as server-sent events. Each holds the whole state, so that one may be missed.

    The stream ends with the session; the event ``ended`` lets the page be loaded again, which asks the user to sign in.
    """
    console = console_of(request)
    run_id = (await _found_record(request)).run_id
    async with sse_response(request) as response:
        is_known = True  # whether the state of the run and of the session could be read

        async def end_with_session() -> None:
            nonlocal is_known
            try:
                await console.sessions.wait_until_ended(request)
            except BulkidError as error:  # as for any other request, a session that cannot be read is not valid
                log.warning("console.session_unknown", error=error.message)
                is_known = False
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end_with_session)
            with suppress(*_DISCONNECTED):
                async with aclosing(console.run_feeds.watch(run_id)) as states:
                    try:
                        async for text in states:
                            await response.send(text, event="state", retry=RECONNECT_MS)
                    except StateError:
                        is_known = False
            tasks.cancel_scope.cancel()
        if is_known and not console.run_feeds.closing:  # else the browser connects again, until the console is back
            with suppress(*_DISCONNECTED):
                await response.send("{}", event="ended")
    return response


# --- pause, stop, resume


async def pause(request: web.Request) -> web.StreamResponse:
    """Let the requests in flight finish, and keep the rest of the run for later; the second time changes nothing."""
    return await _end(request, "run paused", f"Paused by {principal_of(request).name}", aborts=False)


async def stop(request: web.Request) -> web.StreamResponse:
    """Stop a run; the second time, stop it at once."""
    return await _end(request, "run stopped", f"Stopped by {principal_of(request).name}", aborts=True)


async def _end(request: web.Request, action: str, reason: str, *, aborts: bool) -> web.StreamResponse:
    """Stop a run; if it is stopping already and the action ``aborts``, stop it at once."""
    run_id = request.match_info["run"]
    job = console_of(request).job_runner.job(run_id)
    if job is None:
        record = (await found_run(request)).run
        if record.status is RunStatus.RUNNING:
            raise UsageError(f"The run is under way in process {record.pid} on {record.host}: stop it there.")
        raise HTTPSeeOther(f"/runs/{run_id}")  # it has ended meanwhile, which its page says
    if aborts and job.stop.requested:
        job.stop.abort()
    else:
        job.stop.request(reason)
    await record_end(request, action, run_id)
    raise HTTPSeeOther(f"/runs/{run_id}")


async def record_end(request: web.Request, action: str, run_id: str) -> None:
    """Record that a user ends a run. It ends also where that cannot be recorded, which the error says."""
    try:
        await record_action(request, action, run_id)
    except StateError as error:
        message = f"The run is being stopped, but the audit log has no entry of it: {error.message}"
        raise StateError(message, hint=error.hint) from None


async def resume(request: web.Request) -> web.StreamResponse:
    """Resume an interrupted run, or preview what is pending of it where that was not shown or not approved yet."""
    console, record = console_of(request), (await found_run(request)).run
    found = await console.resume(record, principal_of(request), partial(record_action, request))
    if isinstance(found, UploadedSheet):
        await record_action(request, "rest previewed", record.run_id)
        raise HTTPSeeOther(await preview_made(console, found))
    raise HTTPSeeOther(f"/runs/{found.run_id or record.run_id}")


# --- plans that derive from a run


async def retry(request: web.Request) -> web.StreamResponse:
    """Make the rows of a run that are not done a new sheet, to be previewed like any other."""
    console, principal = console_of(request), principal_of(request)
    line = await found_run(request)
    record = line.run
    if record.status is RunStatus.RUNNING or console.job_runner.job(record.run_id) is not None:  # it sends them itself
        raise LockedError(f"Run {record.run_id} is still under way.", hint="Wait until it has ended, or stop it.")
    if undone := record.options.get(UNDO):  # as a sheet, its rows would also change accounts that others have changed
        raise UsageError(
            f"Run {record.run_id} is an undo, which has no rows to retry.", hint=f"Undo run {undone} again."
        )
    if console.can_resume(line, await in_thread(console.run_browser.undone)):
        raise UsageError(
            f"Run {record.run_id} can be resumed, which sends its pending rows.",
            hint=f"{'Review the remaining' if console.has_unseen_rest(line) else 'Resume it'} first.",
        )
    console.require_same_server(record, then="To send its rows here, download its retry.csv and upload it.")
    content = await in_thread(_written, console, record.run_id, "retry")
    if content is None:
        raise UsageError("Every row of this run is done: there is nothing to retry.")
    authors, now = await console.authors_of(record, principal.user), console.clock.now()
    kept = str(record.options.get("note") or "")
    derive = partial(console.uploads.derive, content=content, note=kept, reading=_columns_as_read(record))
    made = await in_thread(derive, "retry", record.run_id, now, principal.user, authors)
    await _record_derived(request, "retry prepared", made)
    raise HTTPSeeOther(f"/sheets/{made.upload_id}")


def _columns_as_read(record: RunRecord) -> ReadOptions:
    """Read the columns of a retry as its run did: one that a user chose to ignore must not change accounts now."""
    given = load_options(record.options).sheet
    mapped, ignored = (set(map(header_key, names)) for names in (given.column_map, given.ignore_columns))
    read = zip(record.sheet.get("headers", ()), record.sheet.get("fields", ()), strict=True)
    fields = {header: field for header, field in read if header.strip()}
    return ReadOptions(
        column_map={header: field for header, field in fields.items() if field and header_key(header) in mapped},
        ignore_columns=tuple(header for header, field in fields.items() if not field and header_key(header) in ignored),
    )


async def undo(request: web.Request) -> web.StreamResponse:
    """Preview what would undo a run; a form with ``recreate`` also creates the accounts again that the run deleted."""
    console, principal, form = console_of(request), principal_of(request), await form_of(request)
    record = (await found_run(request)).run
    in_terminal = f"bulkid undo {record.run_id}{server_options(record)}"
    console.require_same_server(record, then=f"Undo it in a terminal: {in_terminal}")
    authors, now = await console.authors_of(record, principal.user), console.clock.now()
    derive = partial(console.uploads.derive, recreate=bool(form.get("recreate")))
    made = await in_thread(derive, "undo", record.run_id, now, principal.user, authors)
    await _record_derived(request, "undo previewed", made)
    raise HTTPSeeOther(await preview_made(console, await console.uploaded_sheets.get(made)))


async def _record_derived(request: web.Request, action: str, made: Upload) -> None:
    """Record that a user makes a plan of a run. A plan that cannot be recorded is not kept."""
    try:
        await record_action(request, action, made.derived_from or made.retry_of)
    except BulkidError:
        await in_thread(console_of(request).uploads.drop, made)
        raise


async def again(request: web.Request) -> web.StreamResponse:
    """Preview once more the sheet of a run that ended before it sent anything."""
    console, record = console_of(request), (await found_run(request)).run
    console.require_same_server(record, then="To apply its sheet here, upload it again.")
    upload = await console.upload_of(record)
    if upload is None:
        raise UsageError("The sheet of this run is not here any more.", hint="Upload it again.")
    uploaded_sheet = await console.uploaded_sheets.get(upload)
    shown_at = address_of(uploaded_sheet)
    made = uploaded_sheet.preview  # a run that found another plan has made it
    if made is None or made.result is None:
        shown_at = await preview_made(console, uploaded_sheet)
    await record_action(request, "preview made", upload.upload_id, upload.name)
    raise HTTPSeeOther(shown_at)


# --- report files


async def download(request: web.Request) -> web.StreamResponse:
    """A file of a run's report, written from the journal as it is now."""
    entry, content = await report_file(request)
    return attachment(content, f"{request.match_info['run']}-{entry.file_name}", entry.media_type)


async def report_file(request: web.Request) -> tuple[ReportFormat, bytes]:
    """The file of a run's report that the address of a request names; recorded in the audit log.

    Raises:
        RefusedError: There is no such run, kind of report, or file (404).
    """
    console, kind = console_of(request), request.match_info["kind"]
    if kind not in FORMATS:
        raise RefusedError(404, f"There is no report of the kind {kind[:40]!r}.", f"There are {', '.join(FORMATS)}.")
    run_id = (await found_run(request)).run.run_id
    content = await in_thread(_written, console, run_id, kind)
    if content is None:
        raise RefusedError(404, "Every row of this run is done: there is nothing to retry.")
    await record_action(request, "report downloaded", run_id, kind)
    return FORMATS[kind], content


def _written(console: Console, run_id: str, kind: str) -> bytes | None:
    """One file of a run's report; None where there is none."""
    with tempfile.TemporaryDirectory(prefix="bulkid-") as folder:
        written = runs.report(
            run_id,
            state_dir=console.state_dir,
            database_url=console.context.database_url,
            report_dir=Path(folder),
            formats=(kind,),
        )
        if written.report is None:
            return None
        path = written.report.folder / FORMATS[kind].file_name
        return path.read_bytes() if path.exists() else None
