"""Runs: the list of them all, and the page of one, watched while it goes and read as a report afterwards."""

import tempfile
from collections.abc import Collection
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from aiohttp import web
from aiohttp.web import HTTPSeeOther
from aiohttp_sse import sse_response

from bulkid import runs
from bulkid.errors import BulkidError, UsageError
from bulkid.logs import log
from bulkid.model import RunRecord, RunStatus, Status
from bulkid.report.formats import FORMATS
from bulkid.resources import current
from bulkid.runs import RunListItem
from bulkid.web.audit import note
from bulkid.web.auth.access import Principal, RefusedError, Role, RouteKind, access_rule
from bulkid.web.auth.approval import with_authors
from bulkid.web.console import Console, console_of
from bulkid.web.middleware import principal_of
from bulkid.web.pages import PAGE_SIZE, Pager, page, page_number
from bulkid.web.previews import UploadPreview
from bulkid.web.sse import state_from_journal, state_of
from bulkid.web.uploads import Upload

RUNS_PER_PAGE: Final = 25
RECONNECT_MS: Final = 2000
PREVIEW_WAIT_S: Final = 2.0  # how long a request for a preview waits for it before it says that it is being made

_DISCONNECTED: Final = (ConnectionResetError, TimeoutError)
"""What sending an event raises when the browser has gone, or takes nothing any more."""

FILTERS: Final = {
    "going": (RunStatus.RUNNING,),
    "open": (RunStatus.INTERRUPTED, RunStatus.STOPPED, RunStatus.RUNNING),
    "completed": (RunStatus.COMPLETED, RunStatus.COMPLETED_WITH_FAILURES),
    "refused": (RunStatus.REFUSED,),
}
"""The filters of the history."""


@access_rule(Role.VIEWER)
async def home(request: web.Request) -> web.StreamResponse:
    """The start page: upload a sheet, or go on where something was left."""
    console = console_of(request)
    lines, _ = await anyio.to_thread.run_sync(partial(console.run_browser.runs, limit=8))
    undone = await anyio.to_thread.run_sync(console.run_browser.undone)
    resumable = [line for line in lines if can_resume(console, line, undone)]
    return page(request, "home.html", lines=lines, resumable=resumable, resource=current())


@access_rule(Role.VIEWER)
async def history(request: web.Request) -> web.StreamResponse:
    """All runs, those of terminals and scheduled jobs too."""
    console, number = console_of(request), page_number(request)
    chosen = request.query.get("show", "")
    find = partial(
        console.run_browser.runs,
        statuses=FILTERS.get(chosen, ()),
        offset=(number - 1) * RUNS_PER_PAGE,
        limit=RUNS_PER_PAGE,
    )
    lines, total = await anyio.to_thread.run_sync(find)
    return page(request, "runs.html", lines=lines, chosen=chosen, pager=Pager(request, total, number, RUNS_PER_PAGE))


@dataclass(frozen=True, slots=True)
class RunActions:
    """What may be done with a run at present."""

    stop: bool
    resume: bool
    rest: bool  # resuming leads to a preview of what is pending
    retry: bool
    undo: bool
    again: bool


@access_rule(Role.VIEWER)
async def run(request: web.Request) -> web.StreamResponse:
    """One run: its figures, live while it goes, and what became of each row."""
    console, number = console_of(request), page_number(request)
    run_id = request.match_info["run"]
    line = await found_run(console, run_id)
    status = _status_of(request.query.get("status", ""))
    search = request.query.get("search", "")[:200]
    find = partial(
        console.run_browser.rows,
        run_id,
        status=status,
        search=search,
        offset=(number - 1) * PAGE_SIZE,
        limit=PAGE_SIZE,
    )
    rows = await anyio.to_thread.run_sync(find)
    undone = await anyio.to_thread.run_sync(console.run_browser.undone)
    job = console.job_runner.job(run_id)
    snapshot = job.live_progress.snapshot() if job is not None and job.live_progress is not None else None
    state = state_of(job, snapshot) if snapshot is not None else state_from_journal(line, job)
    return page(
        request,
        "run.html",
        line=line,
        run=line.run,
        rows=rows.rows,
        state=state,
        formats=FORMATS.values(),
        chosen=status,
        asked=bool(request.query),
        search=search,
        controls=actions_of(console, line, await console.upload_of(line.run), undone),
        notes=[] if job is None else job.notes,
        pager=Pager(request, rows.total, number),
    )


def actions_of(console: Console, line: RunListItem, upload: Upload | None, undone: Collection[str]) -> RunActions:
    """What may be done with a run, by whoever has the role for it."""
    job = console.job_runner.job(line.run.run_id)
    going = job is not None or line.run.status is RunStatus.RUNNING
    open_rows = line.counts[Status.FAILED] + line.counts[Status.INVALID] + line.counts[Status.PENDING]
    resumable = can_resume(console, line, undone)
    return RunActions(
        stop=job is not None,
        resume=resumable,
        rest=resumable and console.has_unseen_rest(line),
        retry=not going and open_rows > 0 and not resumable,
        undo=not going and line.counts[Status.UPDATED] > 0 and line.run.run_id not in undone,
        again=not going and line.run.phase != "planned" and upload is not None,
    )


def can_resume(console: Console, line: RunListItem, undone: Collection[str]) -> bool:
    """Whether a run can go on from here."""
    if console.job_runner.job(line.run.run_id) is not None or line.run.status is RunStatus.RUNNING:
        return False
    if line.run.status is RunStatus.REFUSED or not line.counts[Status.PENDING] or line.run.run_id in undone:
        return False
    try:
        console.require_resumable(line.run)
    except UsageError:
        return False
    return True


def _status_of(word: str) -> Status | None:
    try:
        return Status(word)
    except ValueError:
        return None


async def found_run(console: Console, run_id: str) -> RunListItem:
    """A run, or the answer that there is none."""
    try:
        return await anyio.to_thread.run_sync(console.run_browser.run, run_id)
    except UsageError as error:
        raise RefusedError(404, error.message, error.hint) from None


@access_rule(Role.VIEWER, RouteKind.DATA)
async def events(request: web.Request) -> web.StreamResponse:
    """The live figures of a run, as server-sent events; each holds the whole state, so that none may be missed."""
    console = console_of(request)
    line = await found_run(console, request.match_info["run"])
    async with sse_response(request) as response:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_end_with_session, request, tasks.cancel_scope)
            with suppress(*_DISCONNECTED):
                async with aclosing(console.run_feeds.watch(line.run.run_id)) as states:
                    async for text in states:
                        await response.send(text, event="state", retry=RECONNECT_MS)
            tasks.cancel_scope.cancel()
        if not console.run_feeds.closing:  # then the run goes on, or is told of when the console is back
            with suppress(*_DISCONNECTED):
                await response.send("{}", event="ended")
    return response


async def _end_with_session(request: web.Request, stream: anyio.CancelScope) -> None:
    """End an event stream when its session ends; the page is then loaded again, and asks the user to sign in."""
    try:
        await console_of(request).sessions.wait_until_ended(request)
    except BulkidError as error:  # a session that cannot be looked up is not valid, here as for any other request
        log.warning("console.session_unknown", error=error.message)
    stream.cancel()


# --- pause, stop, resume


@access_rule(Role.OPERATOR, action="pause")
async def pause(request: web.Request) -> web.StreamResponse:
    """Let the requests in flight finish, and keep the rest of the run for later."""
    return await _end(request, "run paused", f"a pause ({principal_of(request).name})")


@access_rule(Role.OPERATOR, action="stop")
async def stop(request: web.Request) -> web.StreamResponse:
    """Stop a run; when that was asked for before, stop at once."""
    return await _end(request, "run stopped", principal_of(request).name)


async def _end(request: web.Request, action: str, reason: str) -> web.StreamResponse:
    console, run_id = console_of(request), request.match_info["run"]
    job = console.job_runner.job(run_id)
    if job is None:
        line = await found_run(console, run_id)
        raise UsageError(_refusal_reason(line.run), hint="")
    if job.stop.requested:
        job.stop.abort()
    else:
        job.stop.request(reason)
    await note(request, action, run_id)
    raise HTTPSeeOther(f"/runs/{run_id}")


def _refusal_reason(record: RunRecord) -> str:
    if record.status is RunStatus.RUNNING:
        return f"The run is under way in process {record.pid} on {record.host}: stop it there."
    return "The run has ended already."


@access_rule(Role.OPERATOR, action="resume")
async def resume(request: web.Request) -> web.StreamResponse:
    """Go on with an interrupted run, or preview what is pending of it where that was not shown or not approved yet."""
    console = console_of(request)
    line = await found_run(console, request.match_info["run"])
    found = await console.resume(line.run, principal_of(request))
    if isinstance(found, UploadPreview):
        shown_at = await preview_made(console, found, principal_of(request))
        await note(request, "rest previewed", line.run.run_id)
        raise HTTPSeeOther(shown_at)
    await note(request, "run resumed", line.run.run_id)
    raise HTTPSeeOther(f"/runs/{found.run_id or line.run.run_id}")


# --- what comes after


@access_rule(Role.OPERATOR, action="retry")
async def retry(request: web.Request) -> web.StreamResponse:
    """Take the rows of a run that are not done as a new sheet, to be looked at and previewed like any other."""
    console, principal = console_of(request), principal_of(request)
    line = await found_run(console, request.match_info["run"])
    content = await anyio.to_thread.run_sync(partial(written, console, line.run.run_id, "retry"))
    if content is None:
        raise UsageError("Every row of this run is done: there is nothing to retry.")

    authors = with_authors(await console.authors_of(line.run), principal.person)

    def keep() -> str:
        name, now = f"retry of {line.run.run_id}.csv", console.clock.now()
        made = console.uploads.reserve(name, now, principal.person, authors=authors, retry_of=line.run.run_id)
        try:
            with made.path.open("xb") as file:
                console.uploads.write(made, file, content, 0)
            return console.uploads.keep(made).upload_id
        except BaseException:
            console.uploads.drop(made)
            raise

    upload_id = await anyio.to_thread.run_sync(keep)
    await note(request, "retry prepared", line.run.run_id)
    raise HTTPSeeOther(f"/sheets/{upload_id}")


@access_rule(Role.OPERATOR, action="undo")
async def undo(request: web.Request) -> web.StreamResponse:
    """Find out what would put back what a run changed, and show it as a preview."""
    console, principal = console_of(request), principal_of(request)
    line = await found_run(console, request.match_info["run"])
    console.require_same_server(line.run, then=f"Undo it in a terminal: bulkid undo {line.run.run_id}")

    authors = with_authors(await console.authors_of(line.run), principal.person)

    def keep() -> str:
        made = console.uploads.reserve_undo(line.run.run_id, console.clock.now(), principal.person, authors)
        return console.uploads.keep(made).upload_id

    upload_preview = await console.upload_preview(await anyio.to_thread.run_sync(keep))
    shown_at = await preview_made(console, upload_preview, principal)
    await note(request, "undo previewed", line.run.run_id)
    raise HTTPSeeOther(shown_at)


@access_rule(Role.OPERATOR, action="preview")
async def again(request: web.Request) -> web.StreamResponse:
    """Preview the sheet of a run once more that ended before it sent anything."""
    console = console_of(request)
    line = await found_run(console, request.match_info["run"])
    upload = await console.upload_of(line.run)
    if upload is None:
        raise UsageError("The sheet of this run is not here any more.", hint="Upload it again.")
    upload_preview = await console.upload_previews.get(upload)
    shown_at = f"/sheets/{upload.upload_id}/preview"
    if (
        upload_preview.preview is None or upload_preview.preview.result is None
    ):  # else: made when the run found another plan
        shown_at = await preview_made(console, upload_preview, principal_of(request))
    await note(request, "preview made", upload.upload_id, upload.name)
    raise HTTPSeeOther(shown_at)


async def preview_made(console: Console, upload_preview: UploadPreview, principal: Principal) -> str:
    """Have a preview made, wait a little for it, and give the address where it shows."""
    job = upload_preview.preview
    if job is None or job.done.is_set():
        job = console.begin_preview(upload_preview, principal)
    with anyio.move_on_after(PREVIEW_WAIT_S):
        await job.done.wait()
    return f"/sheets/{upload_preview.upload.upload_id}/preview"


@access_rule(Role.VIEWER, RouteKind.DATA, action="download")
async def download(request: web.Request) -> web.StreamResponse:
    """A run's report as a file, written from the journal as it is now."""
    console, kind = console_of(request), request.match_info["kind"]
    if kind not in FORMATS:
        raise RefusedError(404, f"There is no report of the kind {kind!r}.", f"There are {', '.join(FORMATS)}.")
    line = await found_run(console, request.match_info["run"])
    content = await anyio.to_thread.run_sync(partial(written, console, line.run.run_id, kind))
    if content is None:
        raise RefusedError(404, "Every row of this run is done: there is nothing to retry.")
    await note(request, "report downloaded", line.run.run_id, kind)
    entry = FORMATS[kind]
    return web.Response(
        body=content,
        content_type=entry.media_type,
        headers={"Content-Disposition": f'attachment; filename="{line.run.run_id}-{entry.file_name}"'},
    )


def written(console: Console, run_id: str, kind: str) -> bytes | None:
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
