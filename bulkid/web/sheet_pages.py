"""Sheets: uploaded, mapped, previewed, started, removed."""

import tempfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.multipart import BodyPartReader
from aiohttp.web import HTTPSeeOther

from bulkid.errors import BulkidError, SheetError, UsageError
from bulkid.resources import current
from bulkid.runs import STAGES, Preview, write_invalid_rows
from bulkid.runs.concurrency import in_thread
from bulkid.sheet import UncertainEncodingError, column_label, fields_for_headers
from bulkid.web.audit import REFUSAL, note
from bulkid.web.auth.access import Principal, RefusedError, Role, same_user
from bulkid.web.console import console_of
from bulkid.web.middleware import CSRF_FIELD, CSRF_HEADER, check_token, principal_of, require_access, status_for
from bulkid.web.pages import Pager, attachment, page
from bulkid.web.previews import UploadPreview, preview_page, row_errors_with
from bulkid.web.request_bodies import UploadReader, form_of
from bulkid.web.run_pages import preview_made
from bulkid.web.uploads import MAX_BYTES, ReadOptions, StorageFullError, Upload

SHOWN_COLUMNS: Final = 40
"""Columns that the page of a sheet shows; a sheet may have thousands, by accident or by malice."""

_MALFORMED: Final = (ValueError, LookupError, HttpProcessingError)
"""What aiohttp's reader raises for a multipart body that is malformed or not complete."""

_CHUNK: Final = 1 << 18
_DRAINED: Final = 4 * MAX_BYTES  # read and dropped: a browser shows a refusal only once it has sent the whole body
_ENCODINGS: Final = (
    *("utf-8", "utf-16", "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("mac_roman", "cp850", "cp852", "cp932", "gb18030", "cp950", "cp949"),
)
"""The encodings that a user can choose."""

_KINDS: Final = ("changes", "unchanged", "invalid")


async def upload_preview_of(request: web.Request) -> UploadPreview:
    """The sheet that the address of a request names; raises UnknownUploadError."""
    return await console_of(request).upload_preview(request.match_info["upload"])


# --- uploading


async def upload(request: web.Request) -> web.StreamResponse:
    """Receive a sheet."""
    header = request.headers.get(CSRF_HEADER)
    if header is not None:
        check_token(request, header)
    try:
        taken = await receive_sheet(request, trusted=header is not None)
    except (SheetError, StorageFullError) as error:
        return form_again(request, error, "upload.html", upload_error=error)
    raise HTTPSeeOther(f"/sheets/{taken.upload_id}")


def form_again(request: web.Request, error: BulkidError, template: str, **context: Any) -> web.Response:  # noqa: ANN401
    """Answer a form that was refused with its page, so that the user sees the error where it can be corrected."""
    request[REFUSAL] = error.message
    return page(request, template, status=status_for(error), **context)


async def receive_sheet(request: web.Request, *, trusted: bool) -> Upload:
    """Receive the sheet of a form. Its CSRF token must come before the sheet, unless the request is ``trusted``.

    Raises:
        SheetError: There is no sheet, or it is not one by its name, empty, or too large.
        StorageFullError: There is no room for it.
        RefusedError: The form is malformed or comes too slowly, or the access of the client ended meanwhile.
    """
    if request.content_type != "multipart/form-data":
        raise RefusedError(415, "A sheet is uploaded as multipart/form-data, in a part named sheet.")
    try:
        taken = await _read_form(request, trusted=trusted)
    except _MALFORMED:
        raise RefusedError(400, "The upload broke off, or is not a form.", "Try it again.") from None
    await note(request, "sheet uploaded", taken.upload_id, taken.name)
    return taken


async def _read_form(request: web.Request, *, trusted: bool) -> Upload:
    reader = UploadReader(await request.multipart(), console_of(request).clock.monotonic)
    while (part := await reader.next_part()) is not None:
        if part.name == CSRF_FIELD and not trusted:
            check_token(request, (await reader.chunk(part, 1024)).decode("utf-8", "replace"))
            trusted = True
        elif part.name == "sheet":
            if trusted and part.filename:
                return await _receive_part(request, reader, part)
            break
    if not trusted:
        check_token(request, "")
    raise SheetError("No file was chosen.", hint="Choose a sheet. A program sends it in a part named sheet.")


async def _receive_part(request: web.Request, reader: UploadReader, part: BodyPartReader) -> Upload:
    """Write one part of a multipart body to the disk as a sheet, never more of it in memory than a chunk."""
    console, by = console_of(request), principal_of(request).person
    made = await in_thread(console.uploads.reserve, part.filename or "", console.clock.now(), by)
    try:
        written = 0
        with made.path.open("xb") as file:
            while chunk := await reader.chunk(part, _CHUNK):
                try:
                    written = await in_thread(console.uploads.write, made, file, chunk, written)
                except (SheetError, StorageFullError):
                    await _drain(reader, part)
                    raise
        if not written:
            raise SheetError(f"{made.name} is empty.", hint="The first row must hold the headers.")  # noqa: TRY301
        await require_access(request)  # the body may have taken long
        return await in_thread(console.uploads.keep, made)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await in_thread(console.uploads.drop, made)
        raise


async def _drain(reader: UploadReader, part: BodyPartReader) -> None:
    left = _DRAINED
    while left > 0 and (chunk := await reader.chunk(part, _CHUNK)):
        left -= len(chunk)


# --- mapping


@dataclass(frozen=True, slots=True)
class ColumnLine:
    """One column of a sheet as its page shows it."""

    index: int
    label: str
    field: str  # "" for one that is not used
    sample: tuple[str, ...]


async def sheet(request: web.Request) -> web.StreamResponse:
    """Show a sheet as bulkid reads it."""
    upload_preview = await upload_preview_of(request)
    if upload_preview.upload.derived_from:
        raise HTTPSeeOther(f"/sheets/{upload_preview.upload.upload_id}/preview")
    parsed, pager = upload_preview.parsed, Pager(request)
    search, column = request.query.get("search", ""), request.query.get("column", "")
    all_errors = [] if parsed.check is None else parsed.check.row_errors
    found = row_errors_with(all_errors, search, column)
    # lines in each encoding that the sheet may have, where it is not certain
    readings = parsed.error.readings if isinstance(parsed.error, UncertainEncodingError) else {}
    return page(
        request,
        "sheet.html",
        upload=upload_preview.upload,
        parsed=parsed,
        columns=columns_of(upload_preview),
        hidden=max(0, len(parsed.sheet_preview.headers) - SHOWN_COLUMNS) if parsed.sheet_preview else 0,
        fields=current().columns,
        readings=readings,
        encodings=encodings_of(upload_preview, readings),
        row_errors=found[pager.offset : pager.offset + pager.size],
        row_error_columns=list(dict.fromkeys(each.column for each in all_errors if each.column)),
        pager=pager.of(len(found)),
        search=search,
        column=column,
        may_remove=may_remove(principal_of(request), upload_preview.upload),
    )


def encodings_of(upload_preview: UploadPreview, likely: Collection[str]) -> tuple[str, ...]:
    """The encodings to choose from, the likely ones first; none for a sheet that has no text encoding."""
    seen, chosen = upload_preview.parsed.sheet_preview, upload_preview.upload.reading.encoding
    if not (likely or chosen or (seen is not None and seen.encoding)):
        return ()
    return tuple(dict.fromkeys((*likely, *filter(None, [chosen]), *_ENCODINGS)))


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


async def change_read_options(request: web.Request) -> web.StreamResponse:
    """Change how a sheet is read."""
    upload_preview, form = await upload_preview_of(request), await form_of(request)
    seen = upload_preview.parsed.sheet_preview
    column_map: dict[str, str] = {}
    ignored: list[str] = []
    if seen is not None:
        for index, header in enumerate(seen.headers[:SHOWN_COLUMNS]):
            chosen = form.get(f"field-{index}", "")
            if chosen in current().columns:
                column_map[header] = chosen
            elif header and header not in column_map:
                ignored.append(header)
    reading = ReadOptions(
        sheet=form.get("worksheet", "")[:200],
        encoding=form.get("encoding", "")[:40],
        delimiter=form.get("delimiter", "")[:10],
        column_map=column_map,
        ignore_columns=tuple(dict.fromkeys(name for name in ignored if name not in column_map)),
        skip_invalid=bool(form.get("skip_invalid")),
    )
    if reading.sheet != upload_preview.upload.reading.sheet and seen is not None and reading.sheet != seen.sheet:
        # another worksheet has other columns: the mapping of these is not for them
        reading = replace(reading, column_map={}, ignore_columns=())
    changed = await console_of(request).read_otherwise(upload_preview, reading, principal_of(request))
    await note(request, "sheet read otherwise", changed.upload_id, changed.name)
    raise HTTPSeeOther(f"/sheets/{changed.upload_id}")


async def invalid_rows(request: web.Request) -> web.StreamResponse:
    """The invalid rows as a sheet to correct."""
    console = console_of(request)
    upload = (await upload_preview_of(request)).upload
    with tempfile.TemporaryDirectory(prefix="bulkid-") as folder:
        options = upload.reading.options(console.options).sheet
        write = partial(write_invalid_rows, upload.path, options, Path(folder), name=upload.name)
        written = await console.upload_previews.read(lambda token: write(token=token))
        if written is None:
            raise UsageError("No row is invalid: there is nothing to correct.")
        content = await in_thread(written[0].read_bytes)
    await note(request, "invalid rows downloaded", upload.upload_id, upload.name)
    return attachment(content, "retry.csv")


async def remove(request: web.Request) -> web.StreamResponse:
    """Remove a sheet, or a plan that is derived from a run."""
    console = console_of(request)
    upload = await in_thread(console.uploads.get, request.match_info["upload"])
    if not may_remove(principal_of(request), upload):
        raise RefusedError(403, "Only its authors and admins may remove a sheet.", "Ask one of them.")
    await in_thread(console.uploads.drop, upload)
    console.upload_previews.forget(upload)
    await note(request, "sheet removed", upload.upload_id, upload.name)
    raise HTTPSeeOther("/")


def may_remove(principal: Principal, upload: Upload) -> bool:
    """Whether a user may remove a sheet."""
    mine = any(same_user(principal.person, each) for each in (upload.owner, *upload.by))
    return principal.may(Role.ADMIN) or (principal.may(Role.OPERATOR) and mine)


# --- previewing and starting


async def make_preview(request: web.Request) -> web.StreamResponse:
    """Begin to make a preview, and go to its page."""
    upload_preview = await upload_preview_of(request)
    shown_at = await preview_made(console_of(request), upload_preview)
    await note(request, "preview made", upload_preview.upload.upload_id, upload_preview.upload.name)
    raise HTTPSeeOther(shown_at)


async def preview(request: web.Request) -> web.StreamResponse:
    """Show what a sheet would change, or that the preview is being made."""
    console, principal = console_of(request), principal_of(request)
    upload_preview = await upload_preview_of(request)
    upload, job = upload_preview.upload, upload_preview.preview
    if job is None or job.result is None or not job.done.is_set():
        making = job is not None and not job.done.is_set()
        phase, error = ("", None) if job is None else (STAGES.get(job.phase, job.phase), job.error)
        return page(request, "preview_wait.html", upload=upload, making=making, phase=phase, error=error)
    kind, search = request.query.get("show", ""), request.query.get("search", "")[:200]
    if kind not in _KINDS:
        kind = "changes"
    pager = Pager(request)
    found = await in_thread(preview_page, job, kind, search, pager.offset, pager.size)
    return page(
        request,
        "preview.html",
        labels=[field.label for field in current().fields],
        upload=upload,
        job=job,
        preview=job.result,
        found=found,
        kind=kind,
        search=search,
        pager=pager.of(found.total),
        warnings=warnings_of(job.result),
        needs_other_user=not console.policy.may_start(principal.person, upload.by),
        may_remove=may_remove(principal, upload),
        approval=console.policy.required,
        put_rules=[rule for rule in job.result.rules if rule.method == "PUT"],
    )


def warnings_of(preview: Preview) -> list[str]:
    """What to know before starting, except that the plan is large: the page says that beside the button."""
    too_much = preview.excess.sentence if preview.excess is not None else None
    return [warning for warning in preview.warnings if too_much is None or not warning.startswith(too_much)]


async def start(request: web.Request) -> web.StreamResponse:
    """Begin the run that a preview showed."""
    upload_preview, form = await upload_preview_of(request), await form_of(request)
    job = await console_of(request).start(
        upload_preview,
        form.get("preview", ""),
        principal_of(request),
        partial(note, request),
        first=first_of(form.get("first", "")),
        really=bool(form.get("really")),
    )
    raise HTTPSeeOther(f"/runs/{job.run_id}")


def first_of(text: str) -> int | None:
    """How many accounts a trial changes, None for all; raises UsageError for what is not a whole number from 1 on."""
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:12]) > 0):
        raise UsageError(
            f"{text[:40]!r} is not a number of accounts.", hint="Enter a whole number from 1 on, or nothing."
        )
    return int(text[:12])
