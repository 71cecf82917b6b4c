"""The page of a run, and what a user can do with the run."""

import tempfile
from collections.abc import Collection
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final

import anyio
from aiohttp import web
from aiohttp.web import HTTPSeeOther
from aiohttp_sse import sse_response

from bulkid import runs
from bulkid.errors import BulkidError, UsageError
from bulkid.logs import log
from bulkid.model import RunStatus, Status
from bulkid.report.formats import FORMATS, ReportFormat
from bulkid.runs import RunListItem
from bulkid.runs.concurrency import in_thread
from bulkid.web.audit import note
from bulkid.web.auth.access import RefusedError
from bulkid.web.console import Console, console_of
from bulkid.web.middleware import principal_of
from bulkid.web.pages import Pager, attachment, page
from bulkid.web.plots import Plot, plot_of
from bulkid.web.previews import UploadPreview
from bulkid.web.sse import live_state, state_from_journal
from bulkid.web.uploads import Upload

RECONNECT_MS: Final = 2000
PREVIEW_WAIT_S: Final = 2.0  # how long a request for a preview waits before it shows that the preview is being made

_DISCONNECTED: Final = (ConnectionResetError, TimeoutError)
"""What sending an event raises when the browser has disconnected, or does not read any more."""


async def recent_quota_plot(console: Console) -> Plot | None:
    """The use of the quota in the last hour, for ``quota_plot.html``; None where the organisation is not known yet."""
    rate = await in_thread(console.run_browser.recent_rate, console.target, console.options, console.clock.now())
    return None if rate is None else plot_of(rate, "recent", ago=True, small=True)


async def run(request: web.Request) -> web.StreamResponse:
    """One run: its figures, live while it is under way, and the result of each row."""
    console, pager = console_of(request), Pager(request)
    line = await found_run(request)
    run_id, search, word = line.run.run_id, request.query.get("search", "")[:200], request.query.get("status", "")
    status = next((each for each in Status if each.value == word), None)
    rows = await in_thread(
        console.run_browser.rows,
        run_id,
        status=status,
        search=search,
        offset=pager.offset,
        limit=pager.size,
    )
    undone = await in_thread(console.run_browser.undone)
    job = console.job_runner.job(run_id)
    rate = await in_thread(console.run_browser.rate, line.run)
    return page(
        request,
        "run.html",
        plot=None if rate is None else plot_of(rate),
        line=line,
        run=line.run,
        rows=rows.rows,
        state=live_state(job) or state_from_journal(line, job),
        formats=FORMATS.values(),
        chosen=status,
        asked=bool(request.query),
        search=search,
        controls=actions_of(console, line, await console.upload_of(line.run), undone),
        notes=[] if job is None else job.notes,
        pager=pager.of(rows.total),
    )


def actions_of(console: Console, line: RunListItem, upload: Upload | None, undone: Collection[str]) -> dict[str, bool]:
    """What a user with the role for it can do with a run at present."""
    job = console.job_runner.job(line.run.run_id)
    going = job is not None or line.run.status is RunStatus.RUNNING
    open_rows = line.counts[Status.FAILED] + line.counts[Status.INVALID] + line.counts[Status.PENDING]
    resumable = console.can_resume(line, undone)
    return {
        "stop": job is not None,
        "resume": resumable,
        "rest": resumable and console.has_unseen_rest(line),  # resuming leads to a preview of what is pending
        "retry": not going and open_rows > 0 and not resumable,
        "undo": not going and line.counts[Status.UPDATED] > 0 and line.run.run_id not in undone,
        "again": not going and line.run.phase != "planned" and upload is not None,
    }


async def found_run(request: web.Request, run_id: str = "") -> RunListItem:
    """The run with this id, or the one that the address of a request names; raises RefusedError (404)."""
    try:
        return await in_thread(console_of(request).run_browser.run, run_id or request.match_info["run"])
    except UsageError as error:
        raise RefusedError(404, error.message, error.hint) from None


async def events(request: web.Request) -> web.StreamResponse:
    """The live figures of a run, as server-sent events. Each holds the whole state, so that one may be missed."""
    console = console_of(request)
    line = await found_run(request)
    async with sse_response(request) as response:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_end_with_session, request, tasks.cancel_scope)
            with suppress(*_DISCONNECTED):
                async with aclosing(console.run_feeds.watch(line.run.run_id)) as states:
                    async for text in states:
                        await response.send(text, event="state", retry=RECONNECT_MS)
            tasks.cancel_scope.cancel()
        if not console.run_feeds.closing:  # else the browser connects again when the console is back
            with suppress(*_DISCONNECTED):
                await response.send("{}", event="ended")
    return response


async def _end_with_session(request: web.Request, stream: anyio.CancelScope) -> None:
    """End an event stream when its session ends; the page is then loaded again, and asks the user to sign in."""
    try:
        await console_of(request).sessions.wait_until_ended(request)
    except BulkidError as error:  # as for any other request, a session that cannot be read is not valid
        log.warning("console.session_unknown", error=error.message)
    stream.cancel()


# --- pause, stop, resume


async def pause(request: web.Request) -> web.StreamResponse:
    """Let the requests in flight finish, and keep the rest of the run for later."""
    return await _end(request, "run paused", f"Paused by {principal_of(request).name}")


async def stop(request: web.Request) -> web.StreamResponse:
    """Stop a run; the second time, stop it at once."""
    return await _end(request, "run stopped", f"Stopped by {principal_of(request).name}")


async def _end(request: web.Request, action: str, reason: str) -> web.StreamResponse:
    run_id = request.match_info["run"]
    job = console_of(request).job_runner.job(run_id)
    if job is None:
        record = (await found_run(request)).run
        if record.status is RunStatus.RUNNING:
            raise UsageError(f"The run is under way in process {record.pid} on {record.host}: stop it there.")
        raise UsageError("The run has ended already.")
    if job.stop.requested:
        job.stop.abort()
    else:
        job.stop.request(reason)
    await note(request, action, run_id)
    raise HTTPSeeOther(f"/runs/{run_id}")


async def resume(request: web.Request) -> web.StreamResponse:
    """Resume an interrupted run, or preview what is pending of it where that was not shown or not approved yet."""
    console, record = console_of(request), (await found_run(request)).run
    found = await console.resume(record, principal_of(request))
    if isinstance(found, UploadPreview):
        shown_at = await preview_made(console, found)
        await note(request, "rest previewed", record.run_id)
        raise HTTPSeeOther(shown_at)
    await note(request, "run resumed", record.run_id)
    raise HTTPSeeOther(f"/runs/{found.run_id or record.run_id}")


# --- plans that derive from a run


async def retry(request: web.Request) -> web.StreamResponse:
    """Make the rows of a run that are not done a new sheet, to be previewed like any other."""
    console, principal = console_of(request), principal_of(request)
    record = (await found_run(request)).run
    content = await in_thread(_written, console, record.run_id, "retry")
    if content is None:
        raise UsageError("Every row of this run is done: there is nothing to retry.")
    authors, now = await console.authors_of(record, principal.person), console.clock.now()
    derive = console.uploads.derive
    made = await in_thread(derive, "retry", record.run_id, now, principal.person, authors, content=content)
    await note(request, "retry prepared", record.run_id)
    raise HTTPSeeOther(f"/sheets/{made.upload_id}")


async def undo(request: web.Request) -> web.StreamResponse:
    """Preview what would undo the changes of a run."""
    console, principal = console_of(request), principal_of(request)
    record = (await found_run(request)).run
    console.require_same_server(record, then=f"Undo it in a terminal: bulkid undo {record.run_id}")
    authors, now = await console.authors_of(record, principal.person), console.clock.now()
    made = await in_thread(console.uploads.derive, "undo", record.run_id, now, principal.person, authors)
    shown_at = await preview_made(console, await console.upload_previews.get(made))
    await note(request, "undo previewed", record.run_id)
    raise HTTPSeeOther(shown_at)


async def again(request: web.Request) -> web.StreamResponse:
    """Preview once more the sheet of a run that ended before it sent anything."""
    console = console_of(request)
    upload = await console.upload_of((await found_run(request)).run)
    if upload is None:
        raise UsageError("The sheet of this run is not here any more.", hint="Upload it again.")
    upload_preview = await console.upload_previews.get(upload)
    shown_at = address_of(upload_preview)
    made = upload_preview.preview  # a run that found another plan has made it
    if made is None or made.result is None:
        shown_at = await preview_made(console, upload_preview)
    await note(request, "preview made", upload.upload_id, upload.name)
    raise HTTPSeeOther(shown_at)


def address_of(upload_preview: UploadPreview) -> str:
    """The address of a preview."""
    return f"/sheets/{upload_preview.upload.upload_id}/preview"


async def preview_made(console: Console, upload_preview: UploadPreview) -> str:
    """Make a preview, wait for it up to ``PREVIEW_WAIT_S``, and return its address."""
    task = console.make_preview(upload_preview)
    with anyio.move_on_after(PREVIEW_WAIT_S):
        await task.done.wait()
    return address_of(upload_preview)


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
    await note(request, "report downloaded", run_id, kind)
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
