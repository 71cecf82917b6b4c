"""The JSON interface: what a person does on the pages, for programs with a token. ``openapi.py`` describes it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Final

import anyio
import anyio.to_thread
import orjson
from aiohttp import web

from bulkid.clock import iso_utc
from bulkid.errors import BulkidError, UsageError
from bulkid.model import RowError, Status
from bulkid.runs import Preview, RunListItem, summary_of
from bulkid.sheet import FIELDS
from bulkid.web import audit, openapi
from bulkid.web.auth.access import RouteKind, access_rule
from bulkid.web.auth.approval import with_authors
from bulkid.web.auth.principals import Role
from bulkid.web.console import Console, console_of
from bulkid.web.errors import RefusedError
from bulkid.web.middleware import principal_of
from bulkid.web.previews import PreviewTask, UploadPreview, preview_page
from bulkid.web.request_bodies import UploadReader, read_body, without_nul
from bulkid.web.run_pages import DOWNLOADS, found_run, written
from bulkid.web.sheet_pages import MALFORMED, require_sheet, take_part, warnings_of
from bulkid.web.uploads import ReadOptions, Upload

MAX_PAGE_SIZE: Final = 1000
"""Lines of a list that one answer holds at most."""

_MAX_INTEGER: Final = 2**31 - 1


def answer(value: Mapping[str, Any], status: int = 200) -> web.Response:
    """An answer of JSON."""
    body = orjson.dumps(value, default=str)
    return web.Response(body=body, content_type="application/json", status=status)


# --- what came in


def number_of(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number of the query.

    Raises:
        UsageError: It is none, or out of bounds.
    """
    text = request.query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) < 11 and least <= int(text) <= most:  # noqa: PLR2004
        return int(text)
    raise UsageError(f"{name} is a whole number from {least} to {most}.")


async def body_of(request: web.Request, known: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """The JSON object of a request, each member of its type.

    Raises:
        UsageError: It is no such object.
    """
    if request.content_type != "application/json":
        raise RefusedError(415, "The body must be JSON (Content-Type: application/json).")
    try:
        found = orjson.loads(await read_body(request))
    except orjson.JSONDecodeError:
        raise UsageError("The body is not JSON.") from None
    if not without_nul(found):
        raise UsageError("A text of the body holds the character U+0000.")
    if not isinstance(found, dict):
        raise UsageError("The body must be a JSON object.")
    for name, value in found.items():
        if name not in known:
            raise UsageError(f"There is no member {name[:40]!r}.", hint=f"There are {', '.join(known)}.")
        kinds = known[name]
        right = isinstance(value, kinds) and not (isinstance(value, bool) and kinds is not bool)
        if not right:
            raise UsageError(f"The member {name} is of the wrong type.")
    return found


# --- sheets


@access_rule(Role.VIEWER, RouteKind.API)
async def describe(_request: web.Request) -> web.Response:
    """The interface itself, as OpenAPI."""
    return answer(openapi.document())


@access_rule(Role.OPERATOR, RouteKind.API, action="upload")
async def upload(request: web.Request) -> web.Response:
    """Take a sheet in."""
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
    return answer(sheet_json(await console.upload_previews.get(taken)), 201)


async def upload_preview_of(request: web.Request) -> UploadPreview:
    """The sheet that a request is about, or the answer that there is none."""
    try:
        return await console_of(request).upload_preview(request.match_info["upload"])
    except UsageError as error:
        raise RefusedError(404, error.message, error.hint) from None


@access_rule(Role.VIEWER, RouteKind.API)
async def sheet(request: web.Request) -> web.Response:
    """A sheet as it was understood."""
    offset, limit = number_of(request, "offset", 0, 0, _MAX_INTEGER), number_of(request, "limit", 100, 1, MAX_PAGE_SIZE)
    return answer(sheet_json(await upload_preview_of(request), offset, limit))


def sheet_json(upload_preview: UploadPreview, offset: int = 0, limit: int = 100) -> dict[str, Any]:
    """A sheet for programs: what it is read as, and some of what is wrong with it."""
    check, error = upload_preview.parsed.check, upload_preview.parsed.error
    return {
        "sheet": upload_preview.upload.upload_id,
        "name": upload_preview.upload.name,
        "uploaded_at": iso_utc(upload_preview.upload.at),
        "authors": list(upload_preview.upload.by),
        "rest_of": upload_preview.upload.rest_of or None,
        "readable": check is not None or bool(upload_preview.upload.derived_from),
        "error": None if error is None else error_json(error),
        "columns": [] if check is None else columns_json(check.info.headers, check.info.fields),
        "skip_invalid": upload_preview.upload.reading.skip_invalid,
        "rows": 0 if check is None else check.rows,
        "accounts": 0 if check is None else check.accounts,
        "invalid_rows": 0 if check is None else check.invalid_rows,
        "faults": [] if check is None else row_errors_json(check.row_errors[offset : offset + limit]),
        "faults_total": 0 if check is None else len(check.row_errors),
    }


def columns_json(headers: Sequence[str], fields: Sequence[str]) -> list[dict[str, Any]]:
    """Each column with the field that it is read as."""
    return [{"header": header, "field": field or None} for header, field in zip(headers, fields, strict=True)]


def row_errors_json(row_errors: Sequence[RowError]) -> list[dict[str, Any]]:
    """Faults as they are in reports."""
    return [asdict(row_error) for row_error in row_errors]


def error_json(error: BulkidError) -> dict[str, str]:
    """What went wrong, and what to do next."""
    return {"message": error.message, "hint": error.hint}


@access_rule(Role.OPERATOR, RouteKind.API, action="reading of a sheet")
async def change_read_options(request: web.Request) -> web.Response:
    """Say how a sheet is to be read; what is not said is left to bulkid."""
    console, principal = console_of(request), principal_of(request)
    upload_preview = await upload_preview_of(request)
    require_sheet(upload_preview)
    text = dict.fromkeys(("worksheet", "encoding", "delimiter"), str)
    said = await body_of(request, {**text, "map": dict, "ignore": list, "skip_invalid": bool})
    mapped, ignored = said.get("map", {}), said.get("ignore", [])
    if not all(value in FIELDS for value in mapped.values() if isinstance(value, str)) or not all(
        isinstance(value, str) for value in (*mapped.values(), *ignored)
    ):
        raise UsageError("map leads from headers to fields.", hint=f"The fields are {', '.join(FIELDS)}.")
    reading = ReadOptions(
        sheet=said.get("worksheet", ""),
        encoding=said.get("encoding", ""),
        delimiter=said.get("delimiter", ""),
        column_map=mapped,
        ignore_columns=tuple(ignored),
        skip_invalid=said.get("skip_invalid", False),
    )
    changed = replace(
        upload_preview.upload, reading=reading, by=with_authors(upload_preview.upload.by, principal.person)
    )
    await anyio.to_thread.run_sync(console.uploads.keep, changed)
    await audit.note(request, "sheet read otherwise", changed.upload_id, changed.name)
    return answer(sheet_json(await console.upload_previews.get(changed)))


# --- previews


@access_rule(Role.OPERATOR, RouteKind.API, action="preview")
async def make_preview(request: web.Request) -> web.Response:
    """Begin to find out what a sheet would change."""
    console = console_of(request)
    upload_preview = await upload_preview_of(request)
    if upload_preview.parsed.check is None and not upload_preview.upload.derived_from:
        raise UsageError("The sheet cannot be read yet.", hint="Say what its columns are.")
    job = upload_preview.preview
    if job is None or job.done.is_set():
        job = console.begin_preview(upload_preview, principal_of(request))
        await audit.note(request, "preview made", upload_preview.upload.upload_id, upload_preview.upload.name)
    return answer(preview_json(job), 202)


@access_rule(Role.VIEWER, RouteKind.API)
async def preview(request: web.Request) -> web.Response:
    """What a sheet would change, as far as that is known."""
    upload_preview = await upload_preview_of(request)
    if upload_preview.preview is None:
        raise RefusedError(404, "There is no preview of this sheet at present.", "Make one.")
    offset, limit = number_of(request, "offset", 0, 0, _MAX_INTEGER), number_of(request, "limit", 100, 1, MAX_PAGE_SIZE)
    find = partial(preview_json, upload_preview.preview, offset, limit)
    return answer(await anyio.to_thread.run_sync(find))


def preview_json(job: PreviewTask, offset: int = 0, limit: int = 100) -> dict[str, Any]:
    """A preview for programs."""
    found: Preview | None = job.result
    state = "making" if not job.done.is_set() else "ready" if found is not None else "failed"
    value: dict[str, Any] = {"preview": job.preview_id, "state": state, "plan": job.plan_hash or None}
    value["error"] = None if job.error is None else error_json(job.error)
    if found is None:
        return value
    lines = preview_page(job, "changes", "", offset, limit)
    return {
        **value,
        "base_url": found.base_url,
        "changes": len(found.plan.changes),
        "unchanged": len(found.plan.unchanged),
        "invalid_rows": found.invalid_rows,
        "planned_puts": found.plan.planned_puts,
        "naive_puts": found.plan.naive_puts,
        "eta_s": found.eta_s,
        "warnings": warnings_of(found),
        "too_much": None if found.excess is None else found.excess.sentence,
        "accounts": [asdict(line) for line in lines.changes],
    }


@access_rule(Role.OPERATOR, RouteKind.API, action="start")
async def start(request: web.Request) -> web.Response:
    """Begin the run that a preview showed."""
    console, principal = console_of(request), principal_of(request)
    upload_preview = await upload_preview_of(request)
    said = await body_of(request, {"preview": str, "first": (int, type(None)), "really": bool})
    first = said.get("first")
    if first is not None and not 1 <= first <= _MAX_INTEGER:
        raise UsageError("first is a whole number, 1 or more.")
    job = await console.start(
        upload_preview,
        said.get("preview", ""),
        principal,
        first=first,
        really=said.get("really", False),
        note=partial(audit.note, request),
    )
    await audit.note(request, "run started", job.run_id, upload_preview.upload.name)
    return answer(run_json(console, await found_run(console, job.run_id)), 201)


# --- runs


@access_rule(Role.VIEWER, RouteKind.API)
async def runs(request: web.Request) -> web.Response:
    """Runs, newest first."""
    console = console_of(request)
    offset, limit = number_of(request, "offset", 0, 0, _MAX_INTEGER), number_of(request, "limit", 25, 1, 100)
    lines, total = await anyio.to_thread.run_sync(partial(console.run_browser.runs, offset=offset, limit=limit))
    return answer({"runs": [run_json(console, line) for line in lines], "total": total})


@access_rule(Role.VIEWER, RouteKind.API)
async def run(request: web.Request) -> web.Response:
    """One run: how far it is, or how it ended."""
    console = console_of(request)
    return answer(run_json(console, await found_run(console, request.match_info["run"])))


def run_json(console: Console, line: RunListItem) -> dict[str, Any]:
    """A run for programs: its summary as ``--json`` prints it, and whether it is under way."""
    job = console.job_runner.job(line.run.run_id)
    summary = summary_of(line.run, line.counts)
    going = job is not None or line.run.status == "running"
    snapshot = job.live_progress.snapshot() if job is not None and job.live_progress is not None else None
    return {
        **{name: value for name, value in summary.items() if name != "report"},  # a path of the server's own disk
        "running": going,
        "source": line.run.source,
        "user": line.run.user,
        "host": line.run.host,
        "created_at": iso_utc(line.run.created_at),
        "finished_at": None if line.run.finished_at is None else iso_utc(line.run.finished_at),
        "message": line.run.message,
        "done": None if snapshot is None else snapshot.done,
        "eta_s": None if snapshot is None else snapshot.eta_s,
    }


@access_rule(Role.VIEWER, RouteKind.API)
async def rows(request: web.Request) -> web.Response:
    """What became of the rows of a run."""
    console = console_of(request)
    offset, limit = number_of(request, "offset", 0, 0, _MAX_INTEGER), number_of(request, "limit", 100, 1, MAX_PAGE_SIZE)
    word = request.query.get("status")
    if word is not None and word not in set(Status):
        raise UsageError(f"status is one of {', '.join(Status)}.")
    line = await found_run(console, request.match_info["run"])
    find = partial(
        console.run_browser.rows,
        line.run.run_id,
        status=None if word is None else Status(word),
        search=request.query.get("search", "")[:200],
        offset=offset,
        limit=limit,
    )
    found = await anyio.to_thread.run_sync(find)
    return answer({"rows": [row_json(row) for row in found.rows], "total": found.total})


def row_json(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a ReportRow
    """A row as in ``report.jsonl``."""
    from bulkid.report.columns import json_object

    found = json_object(row, "")
    del found["run_id"]
    return found


@access_rule(Role.VIEWER, RouteKind.API, action="download")
async def report(request: web.Request) -> web.Response:
    """A run's report as a file."""
    console, kind = console_of(request), request.match_info["kind"]
    if kind not in DOWNLOADS:
        raise RefusedError(404, f"There is no report of the kind {kind[:40]!r}.", f"There are {', '.join(DOWNLOADS)}.")
    line = await found_run(console, request.match_info["run"])
    content = await anyio.to_thread.run_sync(partial(written, console, line.run.run_id, kind))
    if content is None:
        raise RefusedError(404, "Every row of this run is done: there is nothing to retry.")
    await audit.note(request, "report downloaded", line.run.run_id, kind)
    return web.Response(body=content, content_type=DOWNLOADS[kind][1])


@access_rule(Role.OPERATOR, RouteKind.API, action="stop")
async def stop(request: web.Request) -> web.Response:
    """Stop a run: what is in flight may finish, the rest stays pending."""
    console, run_id = console_of(request), request.match_info["run"]
    line = await found_run(console, run_id)
    job = console.job_runner.job(run_id)
    if job is None:
        raise RefusedError(409, "The run is not under way in this console.")
    job.stop.request(principal_of(request).name)
    await audit.note(request, "run stopped", run_id)
    return answer(run_json(console, line), 202)


@access_rule(Role.OPERATOR, RouteKind.API, action="resume")
async def resume(request: web.Request) -> web.Response:
    """Go on with an interrupted run."""
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
    return answer(run_json(console, await found_run(console, line.run.run_id)), 202)


@access_rule(Role.OPERATOR, RouteKind.API, action="resume")
async def rest(request: web.Request) -> web.Response:
    """Make what is pending of a run a sheet of its own, to be previewed and started."""
    console = console_of(request)
    line = await found_run(console, request.match_info["run"])
    upload_preview = await console.rest_of(line.run, principal_of(request))
    await audit.note(request, "rest previewed", line.run.run_id)
    return answer(sheet_json(upload_preview), 201)


ROUTES: Final = (
    web.get("/api/v1/openapi.json", describe),
    web.post("/api/v1/sheets", upload),
    web.get("/api/v1/sheets/{upload}", sheet),
    web.patch("/api/v1/sheets/{upload}", change_read_options),
    web.post("/api/v1/sheets/{upload}/preview", make_preview),
    web.get("/api/v1/sheets/{upload}/preview", preview),
    web.post("/api/v1/sheets/{upload}/start", start),
    web.get("/api/v1/runs", runs),
    web.get("/api/v1/runs/{run}", run),
    web.get("/api/v1/runs/{run}/rows", rows),
    web.get("/api/v1/runs/{run}/report/{kind}", report),
    web.post("/api/v1/runs/{run}/stop", stop),
    web.post("/api/v1/runs/{run}/resume", resume),
    web.post("/api/v1/runs/{run}/rest", rest),
)
