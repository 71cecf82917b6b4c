"""The JSON interface: what users do on the pages, for programs with a token. Its models are in ``api_models``."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal, TypeVar

import anyio
import anyio.to_thread
from aiohttp import web
from pydantic import BaseModel, ValidationError

from bulkid.clock import iso_utc
from bulkid.errors import BulkidError, UsageError
from bulkid.model import ReportRow, RunStatus
from bulkid.report.formats import FORMATS
from bulkid.report.text_files import report_object
from bulkid.runs import RunListItem, summary_of
from bulkid.web import audit, openapi
from bulkid.web.api_models import (
    Answer,
    Change,
    Column,
    Fault,
    Message,
    Page,
    Preview,
    Reading,
    Row,
    Rows,
    RowsPage,
    Run,
    Runs,
    RunsPage,
    Sheet,
    Start,
)
from bulkid.web.auth.access import Handler, RefusedError, Role, RouteKind, access_rule
from bulkid.web.auth.approval import with_authors
from bulkid.web.console import Console, console_of
from bulkid.web.middleware import principal_of
from bulkid.web.openapi import Operation
from bulkid.web.previews import PreviewTask, UploadPreview, preview_page
from bulkid.web.request_bodies import UploadReader, read_body, without_nul
from bulkid.web.run_pages import found_run, written
from bulkid.web.sheet_pages import MALFORMED, require_sheet, take_part, warnings_of
from bulkid.web.uploads import ReadOptions, Upload

Query = TypeVar("Query", bound=BaseModel)
Body = TypeVar("Body", bound=BaseModel)


def answer(model: Answer, status: int = 200) -> web.Response:
    """An answer in JSON."""
    body = model.model_dump_json(exclude_unset=True)
    return web.Response(text=body, content_type="application/json", status=status)


# --- requests


def query_of(request: web.Request, model: type[Query]) -> Query:
    """The query of a request. Parameters that the model does not name are ignored.

    Raises:
        UsageError: A parameter is not valid.
    """
    known = {name: request.query[name] for name in model.model_fields if name in request.query}
    try:
        return model.model_validate(known)
    except ValidationError as error:
        raise _invalid(error, "parameter") from None


async def body_of(request: web.Request, model: type[Body]) -> Body:
    """The JSON body of a request.

    Raises:
        RefusedError: The body is not JSON by its content type.
        UsageError: The body is not valid.
    """
    if request.content_type != "application/json":
        raise RefusedError(415, "The body must be JSON (Content-Type: application/json).")
    try:
        body = model.model_validate_json(await read_body(request))
    except ValidationError as error:
        raise _invalid(error, "member", f"The members are {', '.join(model.model_fields)}.") from None
    if not without_nul(body.model_dump()):
        raise UsageError("A text in the body contains the character U+0000.")
    return body


def _invalid(error: ValidationError, part: str, hint: str = "") -> UsageError:
    """The error that names the first invalid part of a query or body."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    kind, name = first["type"], ".".join(str(each)[:40] for each in first["loc"])
    if kind == "json_invalid":
        return UsageError("The body is not JSON.")
    if not name:
        return UsageError("The body must be a JSON object.")
    if kind == "extra_forbidden":
        return UsageError(f"There is no {part} {name!r}.", hint=hint)
    if kind == "missing":
        return UsageError(f"The {part} {name} is missing.", hint=hint)
    return UsageError(f"The {part} {name} is not valid: {first['msg']}.")


# --- sheets


def document() -> dict[str, Any]:
    """The OpenAPI document of this interface."""
    return openapi.document(OPERATIONS)


@access_rule(Role.VIEWER, RouteKind.API)
async def describe(_request: web.Request) -> web.Response:
    """This document."""
    return web.json_response(document())


@access_rule(Role.OPERATOR, RouteKind.API, action="upload")
async def upload(request: web.Request) -> web.Response:
    """Upload a sheet."""
    console = console_of(request)
    if request.content_type != "multipart/form-data":
        raise RefusedError(415, "A sheet is uploaded as multipart/form-data, in a part named sheet.")
    taken: Upload | None = None
    try:
        reader = UploadReader(await request.multipart(), console.clock.monotonic)
        while taken is None and (part := await reader.next_part()) is not None:
            if part.name == "sheet" and part.filename:
                taken = await take_part(request, reader, part)
    except MALFORMED:
        raise UsageError("The body broke off, or is no multipart/form-data.") from None
    if taken is None:
        raise UsageError("There is no part named sheet with a file name.")
    await audit.note(request, "sheet uploaded", taken.upload_id, taken.name)
    return answer(sheet_answer(await console.upload_previews.get(taken)), 201)


async def upload_preview_of(request: web.Request) -> UploadPreview:
    """The sheet that the path of a request names."""
    try:
        return await console_of(request).upload_preview(request.match_info["upload"])
    except UsageError as error:
        raise RefusedError(404, error.message, error.hint) from None


@access_rule(Role.VIEWER, RouteKind.API)
async def sheet(request: web.Request) -> web.Response:
    """Get a sheet as bulkid reads it."""
    page = query_of(request, Page)
    return answer(sheet_answer(await upload_preview_of(request), page.offset, page.limit))


def sheet_answer(upload_preview: UploadPreview, offset: int = 0, limit: int = 100) -> Sheet:
    """A sheet as bulkid reads it, with some of its invalid rows."""
    upload, check, error = upload_preview.upload, upload_preview.parsed.check, upload_preview.parsed.error
    row_errors = [] if check is None else check.row_errors
    return Sheet(
        sheet=upload.upload_id,
        name=upload.name,
        uploaded_at=iso_utc(upload.at),
        authors=list(upload.by),
        rest_of=upload.rest_of or None,
        readable=check is not None or bool(upload.derived_from),
        error=_message(error),
        columns=[] if check is None else columns_answer(check.info.headers, check.info.fields),
        skip_invalid=upload.reading.skip_invalid,
        rows=0 if check is None else check.rows,
        accounts=0 if check is None else check.accounts,
        invalid_rows=0 if check is None else check.invalid_rows,
        faults=[Fault.model_validate(each) for each in row_errors[offset : offset + limit]],
        faults_total=len(row_errors),
    )


def columns_answer(headers: Sequence[str], fields: Sequence[str]) -> list[Column]:
    """Each column with the field that it is read as."""
    return [Column(header=header, field=field or None) for header, field in zip(headers, fields, strict=True)]


def _message(error: BulkidError | None) -> Message | None:
    return None if error is None else Message(message=error.message, hint=error.hint)


@access_rule(Role.OPERATOR, RouteKind.API, action="reading of a sheet")
async def change_read_options(request: web.Request) -> web.Response:
    """Change how a sheet is read; bulkid detects what is left out."""
    console, principal = console_of(request), principal_of(request)
    upload_preview = await upload_preview_of(request)
    require_sheet(upload_preview)
    body = await body_of(request, Reading)
    reading = ReadOptions(
        sheet=body.worksheet,
        encoding=body.encoding,
        delimiter=body.delimiter,
        column_map=body.map,
        ignore_columns=tuple(body.ignore),
        skip_invalid=body.skip_invalid,
    )
    changed = replace(
        upload_preview.upload, reading=reading, by=with_authors(upload_preview.upload.by, principal.person)
    )
    await anyio.to_thread.run_sync(console.uploads.keep, changed)
    await audit.note(request, "sheet read otherwise", changed.upload_id, changed.name)
    return answer(sheet_answer(await console.upload_previews.get(changed)))


# --- previews


@access_rule(Role.OPERATOR, RouteKind.API, action="preview")
async def make_preview(request: web.Request) -> web.Response:
    """Begin a preview of what a sheet would change."""
    console = console_of(request)
    upload_preview = await upload_preview_of(request)
    if upload_preview.parsed.check is None and not upload_preview.upload.derived_from:
        raise UsageError("The sheet cannot be read yet.", hint="Map its columns: PATCH /api/v1/sheets/ID.")
    job = upload_preview.preview
    if job is None or job.done.is_set():
        job = console.begin_preview(upload_preview, principal_of(request))
        await audit.note(request, "preview made", upload_preview.upload.upload_id, upload_preview.upload.name)
    return answer(preview_answer(job), 202)


@access_rule(Role.VIEWER, RouteKind.API)
async def preview(request: web.Request) -> web.Response:
    """Get the preview of a sheet, or its state while it is made."""
    upload_preview = await upload_preview_of(request)
    if upload_preview.preview is None:
        raise RefusedError(404, "This sheet has no preview.", "Make one: POST to this address.")
    page = query_of(request, Page)
    find = partial(preview_answer, upload_preview.preview, page.offset, page.limit)
    return answer(await anyio.to_thread.run_sync(find))


def preview_answer(job: PreviewTask, offset: int = 0, limit: int = 100) -> Preview:
    """A preview, with some of the accounts that change."""
    found = job.result
    state: Literal["making", "ready", "failed"] = "failed" if job.done.is_set() else "making"
    plan, error = job.plan_hash or None, _message(job.error)
    if found is None or state == "making":
        return Preview(preview=job.preview_id, state=state, plan=plan, error=error)
    lines = preview_page(job, "changes", "", offset, limit)
    return Preview(
        preview=job.preview_id,
        state="ready",
        plan=plan,
        error=error,
        base_url=found.base_url,
        changes=len(found.plan.changes),
        unchanged=len(found.plan.unchanged),
        invalid_rows=found.invalid_rows,
        planned_puts=found.plan.planned_puts,
        naive_puts=found.plan.naive_puts,
        eta_s=found.eta_s,
        warnings=list(warnings_of(found)),
        too_much=None if found.excess is None else found.excess.sentence,
        accounts=[Change.model_validate(line) for line in lines.changes],
    )


@access_rule(Role.OPERATOR, RouteKind.API, action="start")
async def start(request: web.Request) -> web.Response:
    """Begin the run that a preview showed."""
    console, principal = console_of(request), principal_of(request)
    upload_preview = await upload_preview_of(request)
    body = await body_of(request, Start)
    job = await console.start(
        upload_preview,
        body.preview,
        principal,
        first=body.first,
        really=body.really,
        note=partial(audit.note, request),
    )
    await audit.note(request, "run started", job.run_id, upload_preview.upload.name)
    return answer(run_answer(console, await found_run(console, job.run_id)), 201)


# --- runs


@access_rule(Role.VIEWER, RouteKind.API)
async def runs(request: web.Request) -> web.Response:
    """List runs, the newest first."""
    console = console_of(request)
    page = query_of(request, RunsPage)
    lines, total = await anyio.to_thread.run_sync(
        partial(console.run_browser.runs, offset=page.offset, limit=page.limit)
    )
    return answer(Runs(runs=[run_answer(console, line) for line in lines], total=total))


@access_rule(Role.VIEWER, RouteKind.API)
async def run(request: web.Request) -> web.Response:
    """Get how far a run is, or how it ended."""
    console = console_of(request)
    return answer(run_answer(console, await found_run(console, request.match_info["run"])))


def run_answer(console: Console, line: RunListItem) -> Run:
    """A run: its summary as ``--json`` prints it, and whether it is under way."""
    job = console.job_runner.job(line.run.run_id)
    summary = summary_of(line.run, line.counts)
    del summary["report"]  # a path on the server's own disk
    snapshot = job.live_progress.snapshot() if job is not None and job.live_progress is not None else None
    more = {
        "running": job is not None or line.run.status is RunStatus.RUNNING,
        "source": line.run.source,
        "user": line.run.user,
        "host": line.run.host,
        "created_at": iso_utc(line.run.created_at),
        "finished_at": None if line.run.finished_at is None else iso_utc(line.run.finished_at),
        "message": line.run.message,
        "done": None if snapshot is None else snapshot.done,
        "eta_s": None if snapshot is None else snapshot.eta_s,
    }
    return Run.model_validate({**summary, **more})


@access_rule(Role.VIEWER, RouteKind.API)
async def rows(request: web.Request) -> web.Response:
    """List the rows of a run with their results."""
    console, page = console_of(request), query_of(request, RowsPage)
    line = await found_run(console, request.match_info["run"])
    find = partial(
        console.run_browser.rows,
        line.run.run_id,
        status=page.status,
        search=page.search[:200],
        offset=page.offset,
        limit=page.limit,
    )
    found = await anyio.to_thread.run_sync(find)
    return answer(Rows(rows=[row_answer(row) for row in found.rows], total=found.total))


def row_answer(row: ReportRow) -> Row:
    """A row as in ``report.jsonl``, without the run's id."""
    values = report_object(row, "")
    del values["run_id"]
    return Row.model_validate(values)


@access_rule(Role.VIEWER, RouteKind.API, action="download")
async def report(request: web.Request) -> web.Response:
    """Download the report of a run."""
    console, kind = console_of(request), request.match_info["kind"]
    if kind not in FORMATS:
        raise RefusedError(404, f"There is no report of the kind {kind[:40]!r}.", f"There are {', '.join(FORMATS)}.")
    line = await found_run(console, request.match_info["run"])
    content = await anyio.to_thread.run_sync(partial(written, console, line.run.run_id, kind))
    if content is None:
        raise RefusedError(404, "Every row of this run is done: there is nothing to retry.")
    await audit.note(request, "report downloaded", line.run.run_id, kind)
    return web.Response(body=content, content_type=FORMATS[kind].media_type)


@access_rule(Role.OPERATOR, RouteKind.API, action="stop")
async def stop(request: web.Request) -> web.Response:
    """Stop a run: requests in flight may finish, other rows stay pending."""
    console, run_id = console_of(request), request.match_info["run"]
    line = await found_run(console, run_id)
    job = console.job_runner.job(run_id)
    if job is None:
        raise RefusedError(409, "The run is not under way in this console.")
    job.stop.request(principal_of(request).name)
    await audit.note(request, "run stopped", run_id)
    return answer(run_answer(console, line), 202)


@access_rule(Role.OPERATOR, RouteKind.API, action="resume")
async def resume(request: web.Request) -> web.Response:
    """Resume an interrupted run."""
    console = console_of(request)
    line = await found_run(console, request.match_info["run"])
    found = await console.resume(line.run, principal_of(request))
    if isinstance(found, UploadPreview):
        raise RefusedError(
            409,
            "What is pending of this run was not shown, or not approved, yet: nothing was sent.",
            f"Make it a sheet of its own, preview it and start it: POST /api/v1/runs/{line.run.run_id}/rest",
        )
    await audit.note(request, "run resumed", found.run_id or line.run.run_id)
    return answer(run_answer(console, await found_run(console, line.run.run_id)), 202)


@access_rule(Role.OPERATOR, RouteKind.API, action="resume")
async def rest(request: web.Request) -> web.Response:
    """Make a sheet of the pending rows of a run, to be previewed and started."""
    console = console_of(request)
    line = await found_run(console, request.match_info["run"])
    upload_preview = await console.rest_of(line.run, principal_of(request))
    await audit.note(request, "rest previewed", line.run.run_id)
    return answer(sheet_answer(upload_preview), 201)


def _operation(method: str, path: str, handler: Handler, **more: Any) -> Operation:  # noqa: ANN401 - of Operation
    return Operation(method=method, path=f"/api/v1{path}", handler=handler, **more)


OPERATIONS: Final = (
    _operation("GET", "/openapi.json", describe),
    _operation("POST", "/sheets", upload, status=201, answer=Sheet, upload=True, errors=(413, 415, 507)),
    _operation("GET", "/sheets/{upload}", sheet, answer=Sheet, query=Page, errors=(404,)),
    _operation("PATCH", "/sheets/{upload}", change_read_options, answer=Sheet, body=Reading, errors=(404, 413, 415)),
    _operation("POST", "/sheets/{upload}/preview", make_preview, status=202, answer=Preview, errors=(404,)),
    _operation("GET", "/sheets/{upload}/preview", preview, answer=Preview, query=Page, errors=(404,)),
    _operation(
        "POST",
        "/sheets/{upload}/start",
        start,
        status=201,
        answer=Run,
        body=Start,
        errors=(404, 409, 413, 415, 502),
    ),
    _operation("GET", "/runs", runs, answer=Runs, query=RunsPage),
    _operation("GET", "/runs/{run}", run, answer=Run, errors=(404,)),
    _operation("GET", "/runs/{run}/rows", rows, answer=Rows, query=RowsPage, errors=(404,)),
    _operation("GET", "/runs/{run}/report/{kind}", report, media="*/*", errors=(404,)),
    _operation("POST", "/runs/{run}/stop", stop, status=202, answer=Run, errors=(404, 409)),
    _operation("POST", "/runs/{run}/resume", resume, status=202, answer=Run, errors=(404, 409, 502)),
    _operation("POST", "/runs/{run}/rest", rest, status=201, answer=Sheet, errors=(404, 507)),
)

ROUTES: Final = tuple(web.route(each.method, each.path, each.handler) for each in OPERATIONS)
