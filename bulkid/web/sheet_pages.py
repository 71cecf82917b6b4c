"""The way of a sheet: uploaded, understood, previewed, started."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.multipart import BodyPartReader
from aiohttp.web import HTTPSeeOther

from bulkid.errors import SheetError, UsageError
from bulkid.resources import current
from bulkid.runs import STAGES, Preview, write_invalid_rows
from bulkid.sheet import UncertainEncodingError, column_label, fields_for_headers
from bulkid.web.audit import note
from bulkid.web.auth.access import Principal, RefusedError, Role, RouteKind, access_rule
from bulkid.web.auth.approval import same_user, with_authors
from bulkid.web.console import console_of
from bulkid.web.middleware import CSRF_FIELD, CSRF_HEADER, check_token, principal_of, require_access
from bulkid.web.pages import PAGE_SIZE, Pager, page, page_number
from bulkid.web.previews import ParsedUpload, UploadPreview, preview_page, row_errors_with
from bulkid.web.request_bodies import UploadReader, form_of
from bulkid.web.run_pages import preview_made
from bulkid.web.uploads import MAX_BYTES, ReadOptions, StorageFullError, Upload

SHOWN_COLUMNS: Final = 40
"""Columns that the page of a sheet shows; a sheet may have thousands, by accident or by malice."""

MALFORMED: Final = (ValueError, LookupError, HttpProcessingError)
"""What aiohttp's reader raises for a body that is no whole multipart."""

_CHUNK: Final = 1 << 18
_DRAINED: Final = 4 * MAX_BYTES  # read and thrown away, so that a browser hears the refusal of what is too large
_ENCODINGS: Final = (
    *("utf-8", "utf-16", "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("mac_roman", "cp850", "cp852", "cp932", "gb18030", "cp950", "cp949"),
)
"""The encodings that a user can choose."""

_KINDS: Final = ("changes", "unchanged", "invalid")


@access_rule(Role.OPERATOR, RouteKind.DATA)
async def template(_request: web.Request) -> web.Response:
    """An empty sheet to fill in."""
    text = ",".join(current().template_headers) + "\r\n"
    return web.Response(
        body=text.encode("utf-8-sig"),
        content_type="text/csv",
        headers={"Content-Disposition": 'attachment; filename="bulkid-template.csv"'},
    )


@access_rule(Role.OPERATOR, token_in_body=True, action="upload")
async def upload(request: web.Request) -> web.StreamResponse:
    """Take a sheet in."""
    if request.content_type != "multipart/form-data":
        raise RefusedError(415, "A sheet is uploaded as a form of the type multipart/form-data.")
    header = request.headers.get(CSRF_HEADER)
    if header is not None:
        check_token(request, header)
    try:
        taken = await _take(request, trusted=header is not None)
    except MALFORMED:
        raise RefusedError(400, "The upload broke off, or is not a form.", "Try it again.") from None
    await note(request, "sheet uploaded", taken.upload_id, taken.name)
    raise HTTPSeeOther(f"/sheets/{taken.upload_id}")


async def _take(request: web.Request, *, trusted: bool) -> Upload:
    reader = UploadReader(await request.multipart(), console_of(request).clock.monotonic)
    while (part := await reader.next_part()) is not None:
        if part.name == CSRF_FIELD and not trusted:
            check_token(request, (await reader.chunk(part, 1024)).decode("utf-8", "replace"))
            trusted = True
        elif part.name == "sheet":
            if not trusted:
                check_token(request, "")
            if not part.filename:
                raise SheetError("No file was chosen.", hint="Choose a sheet first.")
            return await take_part(request, reader, part)
    if not trusted:
        check_token(request, "")
    raise SheetError("No file was chosen.", hint="Choose a sheet first.")


async def take_part(request: web.Request, reader: UploadReader, part: BodyPartReader) -> Upload:
    """Write one part of a multipart body to the disk as a sheet, never more of it in memory than a chunk.

    Raises:
        SheetError: It is no sheet by its name, empty, or too large.
        StorageFullError: There is no room for it.
        RefusedError: It comes too slowly, or the access of the client ended meanwhile.
    """
    console, by = console_of(request), principal_of(request).person
    made = await anyio.to_thread.run_sync(console.uploads.reserve, part.filename or "", console.clock.now(), by)
    try:
        written = 0
        with made.path.open("xb") as file:
            while chunk := await reader.chunk(part, _CHUNK):
                try:
                    written = await anyio.to_thread.run_sync(console.uploads.write, made, file, chunk, written)
                except (SheetError, StorageFullError):
                    await _drain(reader, part)
                    raise
        _require_content(made, written)
        await require_access(request)  # the body may have taken long
        return await anyio.to_thread.run_sync(console.uploads.keep, made)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(console.uploads.drop, made)
        raise


def _require_content(made: Upload, written: int) -> None:
    if not written:
        raise SheetError(f"{made.name} is empty.", hint="The first row must hold the headers.")


async def _drain(reader: UploadReader, part: BodyPartReader) -> None:
    left = _DRAINED
    while left > 0 and (chunk := await reader.chunk(part, _CHUNK)):
        left -= len(chunk)


# --- as bulkid understood it


@dataclass(frozen=True, slots=True)
class ColumnLine:
    """One column of a sheet as its page shows it."""

    index: int
    label: str
    field: str  # "" for one that is not used
    sample: tuple[str, ...]


@access_rule(Role.VIEWER)
async def sheet(request: web.Request) -> web.StreamResponse:
    """Show a sheet as bulkid understood it."""
    upload_preview = await console_of(request).upload_preview(request.match_info["upload"])
    if upload_preview.upload.derived_from:
        raise HTTPSeeOther(f"/sheets/{upload_preview.upload.upload_id}/preview")
    parsed = upload_preview.parsed
    row_errors = row_errors_of(parsed, request.query.get("search", ""), request.query.get("column", ""))
    number = page_number(request)
    start = (number - 1) * PAGE_SIZE
    return page(
        request,
        "sheet.html",
        upload=upload_preview.upload,
        parsed=parsed,
        columns=columns_of(upload_preview),
        hidden=max(0, len(parsed.sheet_preview.headers) - SHOWN_COLUMNS) if parsed.sheet_preview else 0,
        fields=current().columns,
        readings=decodings_of(parsed),
        encodings=encodings_of(upload_preview),
        row_errors=row_errors[start : start + PAGE_SIZE],
        row_error_columns=row_error_columns(parsed),
        pager=Pager(request, len(row_errors), number),
        search=request.query.get("search", ""),
        column=request.query.get("column", ""),
        max_mb=MAX_BYTES >> 20,
        may_remove=may_remove(principal_of(request), upload_preview.upload),
    )


def decodings_of(parsed: ParsedUpload) -> Mapping[str, tuple[tuple[int, str], ...]]:
    """Lines of a sheet whose encoding is not certain, in each encoding that it may have; none for other sheets."""
    return parsed.error.readings if isinstance(parsed.error, UncertainEncodingError) else {}


def encodings_of(upload_preview: UploadPreview) -> tuple[str, ...]:
    """The encodings to choose from, the likeliest first; none where the encoding is not at fault."""
    readings, chosen, seen = (
        decodings_of(upload_preview.parsed),
        upload_preview.upload.reading.encoding,
        upload_preview.parsed.sheet_preview,
    )
    if not (readings or chosen or (seen is not None and seen.encoding)):
        return ()
    return tuple(dict.fromkeys((*readings, *filter(None, [chosen]), *_ENCODINGS)))


def row_errors_of(parsed: ParsedUpload, search: str, column: str) -> Sequence[object]:
    """The faults of a sheet that a filter leaves."""
    return [] if parsed.check is None else row_errors_with(parsed.check.row_errors, search, column)


def row_error_columns(parsed: ParsedUpload) -> list[str]:
    """The columns in which something is wrong, in the order of the first fault of each."""
    if parsed.check is None:
        return []
    return list(dict.fromkeys(row_error.column for row_error in parsed.check.row_errors if row_error.column))


def columns_of(upload_preview: UploadPreview) -> list[ColumnLine]:
    """The columns of a sheet with the fields that they are read as, as far as is known."""
    seen, check = upload_preview.parsed.sheet_preview, upload_preview.parsed.check
    if seen is None:
        return []
    if check is not None:
        fields: Sequence[str] = check.info.fields
    else:
        given = upload_preview.upload.reading.column_map
        fields = [given.get(header, "") or _suggested_field(header) for header in seen.headers]
    return [
        ColumnLine(
            index,
            column_label(seen.headers, index).strip('"'),
            fields[index],
            tuple(row[index] for row in seen.sample if index < len(row) and row[index]),
        )
        for index in range(min(len(seen.headers), SHOWN_COLUMNS))
    ]


def _suggested_field(header: str) -> str:
    """The field of a header taken by itself, where it has one of the known names."""
    with suppress(SheetError):
        return fields_for_headers(["id" if header.casefold() != "id" else "name", header])[1]
    return ""


@access_rule(Role.OPERATOR, action="reading of a sheet")
async def change_read_options(request: web.Request) -> web.StreamResponse:
    """Take a person's word on how to read a sheet."""
    console, principal = console_of(request), principal_of(request)
    upload_preview = await console.upload_preview(request.match_info["upload"])
    require_sheet(upload_preview)
    form = await form_of(request)
    seen = upload_preview.parsed.sheet_preview
    column_map: dict[str, str] = {}
    ignored: list[str] = []
    if seen is not None:
        for index, header in enumerate(seen.headers[:SHOWN_COLUMNS]):
            chosen = str(form.get(f"field-{index}", ""))
            if chosen in current().columns:
                column_map[header] = chosen
            elif header and header not in column_map:
                ignored.append(header)
    reading = ReadOptions(
        sheet=str(form.get("worksheet", ""))[:200],
        encoding=str(form.get("encoding", ""))[:40],
        delimiter=str(form.get("delimiter", ""))[:10],
        column_map=column_map,
        ignore_columns=tuple(dict.fromkeys(name for name in ignored if name not in column_map)),
        skip_invalid=bool(form.get("skip_invalid")),
    )
    if reading.sheet != upload_preview.upload.reading.sheet and seen is not None and reading.sheet != seen.sheet:
        # another worksheet has columns of its own: what was said of these does not hold there
        reading = replace(reading, column_map={}, ignore_columns=())
    changed = replace(
        upload_preview.upload, reading=reading, by=with_authors(upload_preview.upload.by, principal.person)
    )
    await anyio.to_thread.run_sync(console.uploads.keep, changed)
    await note(request, "sheet read otherwise", changed.upload_id, changed.name)
    raise HTTPSeeOther(f"/sheets/{changed.upload_id}")


@access_rule(Role.VIEWER, RouteKind.DATA, action="download")
async def invalid_rows(request: web.Request) -> web.StreamResponse:
    """The bad rows as a sheet to mend."""
    console = console_of(request)
    upload = (await console.upload_preview(request.match_info["upload"])).upload
    with tempfile.TemporaryDirectory(prefix="bulkid-") as folder:
        options = upload.reading.options(console.options).sheet
        write = partial(write_invalid_rows, upload.path, options, Path(folder), name=upload.name)
        written = await console.upload_previews.read(lambda token: write(token=token))
        if written is None:
            raise UsageError("Every row is good: there is nothing to mend.")
        content = await anyio.to_thread.run_sync(written[0].read_bytes)
    await note(request, "invalid rows downloaded", upload.upload_id, upload.name)
    return web.Response(
        body=content,
        content_type="text/csv",
        headers={"Content-Disposition": 'attachment; filename="retry.csv"'},
    )


@access_rule(Role.OPERATOR, action="removal of a sheet")
async def remove(request: web.Request) -> web.StreamResponse:
    """Remove a sheet, or a plan that is derived from a run."""
    console, principal = console_of(request), principal_of(request)
    upload = await anyio.to_thread.run_sync(console.uploads.get, request.match_info["upload"])
    if not may_remove(principal, upload):
        raise RefusedError(403, "Only its authors and admins may remove a sheet.", "Ask one of them.")
    await anyio.to_thread.run_sync(console.uploads.drop, upload)
    console.upload_previews.forget(upload)
    await note(request, "sheet removed", upload.upload_id, upload.name)
    raise HTTPSeeOther("/")


def may_remove(principal: Principal, upload: Upload) -> bool:
    """Whether a user may remove a sheet."""
    mine = any(same_user(principal.person, each) for each in (upload.owner, *upload.by))
    return principal.may(Role.ADMIN) or (principal.may(Role.OPERATOR) and mine)


# --- what it would do


@access_rule(Role.OPERATOR, action="preview")
async def make_preview(request: web.Request) -> web.StreamResponse:
    """Begin to make a preview, and go to its page."""
    console = console_of(request)
    upload_preview = await console.upload_preview(request.match_info["upload"])
    if upload_preview.parsed.check is None and not upload_preview.upload.derived_from:
        raise UsageError("The sheet cannot be read yet.", hint="Say first what its columns are.")
    shown_at = await preview_made(console, upload_preview, principal_of(request))
    await note(request, "preview made", upload_preview.upload.upload_id, upload_preview.upload.name)
    raise HTTPSeeOther(shown_at)


@access_rule(Role.VIEWER)
async def preview(request: web.Request) -> web.StreamResponse:
    """Show what a sheet would do, or that this is being found out."""
    console = console_of(request)
    upload_preview = await console.upload_preview(request.match_info["upload"])
    job = upload_preview.preview
    if job is None or not job.done.is_set():
        phase = "" if job is None else STAGES.get(job.phase, job.phase)
        return page(
            request, "preview_wait.html", upload=upload_preview.upload, making=job is not None, phase=phase, error=None
        )
    if job.result is None:
        return page(request, "preview_wait.html", upload=upload_preview.upload, making=False, phase="", error=job.error)
    kind = request.query.get("show", "changes")
    if kind not in _KINDS:
        kind = "changes"
    number = page_number(request)
    search = request.query.get("search", "")[:200]
    find = partial(preview_page, job, kind, search, (number - 1) * PAGE_SIZE, PAGE_SIZE)
    found = await anyio.to_thread.run_sync(find)
    return page(
        request,
        "preview.html",
        labels=[field.label for field in current().fields],
        upload=upload_preview.upload,
        job=job,
        preview=job.result,
        found=found,
        kind=kind,
        search=search,
        pager=Pager(request, found.total, number),
        warnings=warnings_of(job.result),
        needs_other_user=console.needs_other_user(upload_preview, principal_of(request)),
        may_remove=may_remove(principal_of(request), upload_preview.upload),
        approval=console.policy.required,
        put_rules=[rule for rule in job.result.rules if rule.method == "PUT"],
    )


def warnings_of(preview: Preview) -> list[str]:
    """What to know before starting; that a plan is large is said beside the button, in the console's own words."""
    too_much = preview.excess.sentence if preview.excess is not None else None
    return [warning for warning in preview.warnings if too_much is None or not warning.startswith(too_much)]


@access_rule(Role.OPERATOR, action="start")
async def start(request: web.Request) -> web.StreamResponse:
    """Begin the run that a preview showed."""
    console, principal = console_of(request), principal_of(request)
    upload_preview = await console.upload_preview(request.match_info["upload"])
    form = await form_of(request)
    first = first_of(str(form.get("first", "")))
    chosen, really = str(form.get("preview", "")), bool(form.get("really"))
    job = await console.start(
        upload_preview, chosen, principal, first=first, really=really, note=partial(note, request)
    )
    await note(request, "run started", job.run_id, upload_preview.upload.name)
    raise HTTPSeeOther(f"/runs/{job.run_id}")


def require_sheet(upload_preview: UploadPreview) -> None:
    """Refuse to say how a sheet is read where there is none.

    Raises:
        UsageError: It is the undo or the rest of a run.
    """
    if upload_preview.upload.derived_from:
        raise UsageError("This is no sheet: the journal of a run says what it holds.", hint="Look at its preview.")


def first_of(text: str) -> int | None:
    """How many accounts a trial is to have.

    Raises:
        UsageError: It is no whole number from 1 on.
    """
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:12]) > 0):
        raise UsageError(
            f"{text[:40]!r} is no number of accounts.", hint="Enter a whole number, 1 or more, or nothing."
        )
    return int(text[:12])
