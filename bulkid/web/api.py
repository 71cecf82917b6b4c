"""The JSON interface: what users do on the pages, for programs with a token. Its models are in ``api_models``."""

from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from bulkid.clock import iso_utc
from bulkid.errors import BulkidError, UsageError
from bulkid.model import ReportRow, RunStatus
from bulkid.report.formats import exporters
from bulkid.report.text_files import report_object
from bulkid.runs import RunListItem, summary_of
from bulkid.runs.concurrency import in_thread
from bulkid.runs.descriptions import count_actions, deleted_accounts
from bulkid.text import listing, quote
from bulkid.web import api_models as models
from bulkid.web.api_models import Operation
from bulkid.web.approvals import rejected_plan
from bulkid.web.audit import record_action
from bulkid.web.auth.access import Handler, RefusedError, Role
from bulkid.web.console import Console, console_of, uploaded_sheet_of
from bulkid.web.export_pages import export_file
from bulkid.web.middleware import principal_of
from bulkid.web.preview_lines import preview_page
from bulkid.web.preview_pages import warnings_of
from bulkid.web.request_bodies import read_body, without_nul
from bulkid.web.run_pages import found_run, record_end, report_file
from bulkid.web.upload_pages import receive_sheet
from bulkid.web.uploaded_sheets import PreviewTask, UploadedSheet
from bulkid.web.uploads import ReadOptions

Model = TypeVar("Model", bound=BaseModel)


def json_response(model: models.ResponseModel, status: int = 200) -> web.Response:
    """A response in JSON."""
    body = model.model_dump_json(exclude_unset=True)
    return web.Response(text=body, content_type="application/json", status=status)


# --- requests


def query_of(request: web.Request, model: type[Model]) -> Model:
    """The query of a request, without parameters that the model does not name; raises UsageError."""
    known = {name: request.query[name] for name in model.model_fields if name in request.query}
    try:
        return model.model_validate(known)
    except ValidationError as error:
        raise _invalid(error, "parameter") from None


async def body_of(request: web.Request, model: type[Model]) -> Model:
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


async def describe(_request: web.Request) -> web.Response:
    """This document."""
    return web.json_response(models.document(OPERATIONS))


async def upload(request: web.Request) -> web.Response:
    """Upload a sheet."""
    taken = await receive_sheet(request, trusted=True)
    return json_response(sheet_model(await console_of(request).uploaded_sheets.get(taken)), 201)


async def sheet(request: web.Request) -> web.Response:
    """Get a sheet as bulkid reads it."""
    page = query_of(request, models.Page)
    return json_response(sheet_model(await uploaded_sheet_of(request), page.offset, page.limit))


def sheet_model(uploaded_sheet: UploadedSheet, offset: int = 0, limit: int = 100) -> models.Sheet:
    """A sheet as bulkid reads it, with some of its invalid rows."""
    upload, check, error = uploaded_sheet.upload, uploaded_sheet.parsed.check, uploaded_sheet.parsed.error
    row_errors = () if check is None else check.row_errors
    fields = () if check is None else zip(check.info.headers, check.info.fields, strict=True)
    return models.Sheet(
        sheet=upload.upload_id,
        name=upload.name,
        uploaded_at=iso_utc(upload.at),
        note=upload.note,
        authors=list(upload.by),
        rest_of=upload.rest_of or None,
        rejected_by=upload.rejected_by or None,
        comment=upload.comment,
        readable=check is not None or bool(upload.derived_from),
        error=_message(error),
        columns=[models.Column(header=header, field=field or None) for header, field in fields],
        skip_invalid=upload.reading.skip_invalid,
        rows=0 if check is None else check.rows,
        accounts=0 if check is None else check.accounts,
        invalid_rows=0 if check is None else check.invalid_rows,
        faults=[models.Fault.model_validate(each) for each in row_errors[offset : offset + limit]],
        faults_total=len(row_errors),
    )


def _message(error: BulkidError | None) -> models.Message | None:
    return None if error is None else models.Message(message=error.message, hint=error.hint)


async def change_read_options(request: web.Request) -> web.Response:
    """Change how a sheet is read; bulkid detects what is left out."""
    console, uploaded_sheet = console_of(request), await uploaded_sheet_of(request)
    body = await body_of(request, models.Reading)
    reading = ReadOptions(
        sheet=body.worksheet,
        encoding=body.encoding,
        delimiter=body.delimiter,
        column_map=body.map,
        ignore_columns=tuple(body.ignore),
        skip_invalid=body.skip_invalid,
    )
    upload = uploaded_sheet.upload
    if not upload.derived_from:  # else the change is refused
        await record_action(request, "sheet read otherwise", upload.upload_id, upload.name)
    changed = await console.change_read_options(uploaded_sheet, reading, principal_of(request))
    return json_response(sheet_model(await console.uploaded_sheets.get(changed)))


# --- previews


async def make_preview(request: web.Request) -> web.Response:
    """Begin a preview of what a sheet would change."""
    uploaded_sheet = await uploaded_sheet_of(request)
    before = uploaded_sheet.preview
    job = console_of(request).make_preview(uploaded_sheet)
    if job is not before:
        await record_action(request, "preview made", uploaded_sheet.upload.upload_id, uploaded_sheet.upload.name)
    return json_response(preview_model(job), 202)


async def preview(request: web.Request) -> web.Response:
    """Get the preview of a sheet, or its state while it is made."""
    uploaded_sheet = await uploaded_sheet_of(request)
    if uploaded_sheet.preview is None:
        raise RefusedError(404, "This sheet has no preview.", "Make one: POST to this address.")
    page = query_of(request, models.Page)
    return json_response(await in_thread(preview_model, uploaded_sheet.preview, page.offset, page.limit))


def preview_model(job: PreviewTask, offset: int = 0, limit: int = 100) -> models.Preview:
    """A preview, with some of the accounts that change."""
    found = job.result
    state: Literal["making", "ready", "failed"] = "failed" if job.done.is_set() else "making"
    plan, error = job.plan_hash or None, _message(job.error)
    if found is None or state == "making":
        return models.Preview(preview=job.preview_id, state=state, plan=plan, error=error)
    lines = preview_page(job, "changes", "", offset, limit)
    counts = count_actions(found.plan.changes)
    return models.Preview(
        preview=job.preview_id,
        state="ready",
        plan=plan,
        error=error,
        base_url=found.base_url,
        changes=counts.total,
        creations=counts.create,
        deletions=counts.delete,
        unchanged=len(found.plan.unchanged),
        invalid_rows=found.invalid_rows,
        new_groups=[group.name for group in found.plan.new_groups],
        requests=found.plan.requests,
        planned_puts=found.plan.planned_puts,
        naive_puts=found.plan.naive_puts,
        eta_s=found.eta_s,
        warnings=list(warnings_of(found)),
        too_much=". ".join(each.sentence for each in found.excesses) or None,
        deleted=[models.DeletedAccount.model_validate(each) for each in deleted_accounts(found)],
        accounts=[models.Change.model_validate(line) for line in lines.changes],
    )


async def start(request: web.Request) -> web.Response:
    """Begin the run that a preview showed."""
    console, uploaded_sheet = console_of(request), await uploaded_sheet_of(request)
    body = await body_of(request, models.Start)
    job = await console.start(
        uploaded_sheet,
        body.preview,
        principal_of(request),
        partial(record_action, request),
        first=body.first,
        really=body.really,
        deletions=body.deletions,
    )
    return json_response(run_model(console, await found_run(request, job.run_id)), 201)


async def reject(request: web.Request) -> web.Response:
    """Reject the plan that a preview shows, in place of its approval."""
    body = await body_of(request, models.Reject)
    await rejected_plan(request, body.preview, body.comment)
    return json_response(sheet_model(await uploaded_sheet_of(request)))


# --- runs


async def runs(request: web.Request) -> web.Response:
    """List runs, the newest first."""
    console, page = console_of(request), query_of(request, models.RunsPage)
    lines, total = await in_thread(console.run_browser.runs, offset=page.offset, limit=page.limit)
    return json_response(models.Runs(runs=[run_model(console, line) for line in lines], total=total))


async def run(request: web.Request) -> web.Response:
    """Get how far a run is, or how it ended."""
    return json_response(run_model(console_of(request), await found_run(request)))


def run_model(console: Console, line: RunListItem) -> models.Run:
    """A run: its summary as ``--json`` prints it, and whether it is under way.

    For a moment after a resume its record still says how the attempt before has ended.
    """
    job = console.job_runner.job(line.run.run_id)
    running = job is not None or line.run.status is RunStatus.RUNNING
    if running:
        line = replace(line, run=replace(line.run, status=RunStatus.RUNNING, finished_at=None, message=""))
    summary = summary_of(line.run, line.counts)
    del summary["report"]  # a path on the server's own disk
    snapshot = None if job is None else job.snapshot
    return models.Run(
        **summary,
        running=running,
        source=line.run.source,
        user=line.run.user,
        host=line.run.host,
        created_at=iso_utc(line.run.created_at),
        finished_at=None if line.run.finished_at is None else iso_utc(line.run.finished_at),
        message=line.run.message,
        done=None if snapshot is None else snapshot.done,
        eta_s=None if snapshot is None else snapshot.eta_s,
    )


async def rows(request: web.Request) -> web.Response:
    """List the rows of a run with their results."""
    console, page = console_of(request), query_of(request, models.RowsPage)
    run_id = (await found_run(request)).run.run_id
    found = await in_thread(
        console.run_browser.rows,
        run_id,
        statuses=() if page.status is None else (page.status,),
        search=page.search[:200],
        offset=page.offset,
        limit=page.limit,
    )
    return json_response(models.Rows(rows=[row_model(row) for row in found.rows], total=found.total))


def row_model(row: ReportRow) -> models.Row:
    """A row as in ``report.jsonl``, without the run's id."""
    values = report_object(row, "")
    del values["run_id"]
    return models.Row.model_validate(values)


async def report(request: web.Request) -> web.Response:
    """Download the report of a run."""
    entry, content = await report_file(request)
    return web.Response(body=content, content_type=entry.media_type)


async def stop(request: web.Request) -> web.Response:
    """Stop a run: requests in flight may finish, other rows stay pending."""
    console, line = console_of(request), await found_run(request)
    job = console.job_runner.job(line.run.run_id)
    if job is None:
        raise RefusedError(409, "The run is not under way in this console.")
    job.stop.request(f"Stopped by {principal_of(request).name}")
    await record_end(request, "run stopped", line.run.run_id)
    return json_response(run_model(console, line), 202)


async def resume(request: web.Request) -> web.Response:
    """Resume an interrupted run."""
    console, record = console_of(request), (await found_run(request)).run
    found = await console.resume(record, principal_of(request), partial(record_action, request))
    if isinstance(found, UploadedSheet):
        raise RefusedError(
            409,
            "What is pending of this run was not shown, or not approved, yet: nothing was sent.",
            f"Make it a sheet of its own, preview it and start it: POST /api/v1/runs/{record.run_id}/rest",
        )
    return json_response(run_model(console, await found_run(request)), 202)


async def rest(request: web.Request) -> web.Response:
    """Make a sheet of the pending rows of a run, to be previewed and started."""
    record = (await found_run(request)).run
    uploaded_sheet = await console_of(request).rest_of(record, principal_of(request))
    await record_action(request, "rest previewed", record.run_id)
    return json_response(sheet_model(uploaded_sheet), 201)


# --- accounts


async def export(request: web.Request) -> web.Response:
    """Download the organisation's accounts, or those that match, as a sheet that can be edited and uploaded."""
    ending = request.match_info["ending"]
    if ending not in exporters():
        raise RefusedError(
            404, f"There is no export of the kind {ending[:40]!r}.", f"There are {', '.join(exporters())}."
        )
    unknown = [name for name in request.query if name not in models.Export.model_fields]
    if unknown:  # a misspelt one would export every account
        known = listing(models.Export.model_fields)
        raise UsageError(f"An export has no parameter {quote(unknown[0])}.", hint=f"It has {known}.")
    return await export_file(request, ending, query_of(request, models.Export).model_dump(exclude_none=True))


# --- routes


def _read(
    path: str,
    handler: Handler,
    response_model: type[models.ResponseModel] | None = None,
    **more: Any,  # noqa: ANN401 - other fields of the operation
) -> Operation:
    return Operation("GET", f"/api/v1{path}", handler, Role.VIEWER, response_model=response_model, **more)


def _change(
    method: str,
    path: str,
    handler: Handler,
    action: str,
    response_model: type[models.ResponseModel],
    **more: Any,  # noqa: ANN401
) -> Operation:
    return Operation(
        method, f"/api/v1{path}", handler, Role.OPERATOR, action=action, response_model=response_model, **more
    )


OPERATIONS: Final = (
    _read("/openapi.json", describe),
    _change("POST", "/sheets", upload, "upload", models.Sheet, status=201, upload=True),
    _read("/sheets/{upload}", sheet, models.Sheet, query=models.Page),
    _change(
        "PATCH",
        "/sheets/{upload}",
        change_read_options,
        "reading of a sheet",
        models.Sheet,
        body=models.Reading,
        errors=(507,),
    ),
    _change("POST", "/sheets/{upload}/preview", make_preview, "preview", models.Preview, status=202),
    _read("/sheets/{upload}/preview", preview, models.Preview, query=models.Page),
    _change(
        "POST",
        "/sheets/{upload}/start",
        start,
        "start",
        models.Run,
        status=201,
        body=models.Start,
        errors=(409, 502),
    ),
    _change("POST", "/sheets/{upload}/reject", reject, "rejection", models.Sheet, body=models.Reject, errors=(507,)),
    _read("/export/{ending}", export, action="export", media="*/*", query=models.Export, errors=(409, 502, 507)),
    _read("/runs", runs, models.Runs, query=models.RunsPage),
    _read("/runs/{run}", run, models.Run),
    _read("/runs/{run}/rows", rows, models.Rows, query=models.RowsPage),
    _read("/runs/{run}/report/{kind}", report, action="download", media="*/*", errors=(507,)),
    _change("POST", "/runs/{run}/stop", stop, "stop", models.Run, status=202, errors=(409,)),
    _change("POST", "/runs/{run}/resume", resume, "resume", models.Run, status=202, errors=(409, 502)),
    _change("POST", "/runs/{run}/rest", rest, "resume", models.Sheet, status=201, errors=(409, 507)),
)
