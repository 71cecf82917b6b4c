"""The upload of a sheet, and its removal."""

from dataclasses import replace
from typing import Final

import anyio
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.multipart import BodyPartReader
from aiohttp.web import HTTPSeeOther

from bulkid.errors import BulkidError, SheetError
from bulkid.model import MAX_NOTE
from bulkid.report.summary import ERROR_HEADER, OTHER_ERROR_HEADER
from bulkid.runs.concurrency import in_thread
from bulkid.sheet.headers import header_key
from bulkid.web.audit import record_action
from bulkid.web.auth.access import Principal, RefusedError, Role, same_user, with_authors
from bulkid.web.console import Console, console_of
from bulkid.web.middleware import CSRF_FIELD, CSRF_HEADER, check_token, form_again, principal_of, require_access
from bulkid.web.request_bodies import UploadReader, is_text
from bulkid.web.uploads import MAX_BYTES, ReadOptions, StorageFullError, Upload

_MALFORMED: Final = (ValueError, LookupError, HttpProcessingError)
"""What aiohttp's reader raises for a multipart body that is malformed or not complete."""

_BROKEN_OFF: Final = (400, 408)  # refusals of an upload that the user can send again
_CHUNK: Final = 1 << 18
_DRAINED: Final = 4 * MAX_BYTES  # read and dropped: a browser shows a refusal only once it has sent the whole body


class NoteError(SheetError):
    """The note of an upload cannot be kept; ``text`` is what the form shows again, on one line."""

    def __init__(self, problem: str, note_text: str) -> None:
        super().__init__(f"{problem}: the sheet was not kept.", hint="Correct the note and choose the sheet again.")
        self.text = "".join(letter if letter.isprintable() else " " for letter in note_text)


async def upload(request: web.Request) -> web.StreamResponse:
    """Receive a sheet."""
    header = request.headers.get(CSRF_HEADER)
    if header is not None:
        check_token(request, header)
    try:
        taken = await receive_sheet(request, trusted=header is not None)
    except NoteError as error:
        return form_again(request, error, "upload.html", note_error=error)
    except (SheetError, StorageFullError, RefusedError) as error:
        if isinstance(error, RefusedError) and error.status not in _BROKEN_OFF:
            raise
        return form_again(request, error, "upload.html", upload_error=error)
    await _read_as_its_sheet(console_of(request), taken)
    raise HTTPSeeOther(f"/sheets/{taken.upload_id}")


_ERROR_COLUMNS: Final = frozenset(map(header_key, (ERROR_HEADER, OTHER_ERROR_HEADER)))


async def _read_as_its_sheet(console: Console, taken: Upload) -> None:
    """Read corrected rows as their user had the sheet read of which they were downloaded as invalid.

    They have its headers and a column of errors. The authors of that mapping are authors of this plan too.
    """
    seen = (await console.uploaded_sheets.get(taken)).parsed.sheet_preview
    keys = [] if seen is None else [key for header in seen.headers if (key := header_key(header))]
    if not keys or keys[-1] not in _ERROR_COLUMNS:
        return
    for each in await in_thread(console.uploads.all):
        mapped = {*each.reading.column_map, *each.reading.ignore_columns}
        if mapped and same_user(each.owner, taken.owner) and {*map(header_key, mapped), keys[-1]} == set(keys):
            fields, ignored = each.reading.column_map, each.reading.ignore_columns
            reading = ReadOptions(column_map=fields, ignore_columns=ignored)
            await in_thread(console.uploads.keep, replace(taken, reading=reading, by=with_authors(taken.by, *each.by)))
            return


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
    try:
        await record_action(request, "sheet uploaded", taken.upload_id, taken.name)
    except BulkidError:  # the client is told that the upload failed, and sends it again
        await in_thread(console_of(request).uploads.drop, taken)
        raise
    return taken


async def _read_form(request: web.Request, *, trusted: bool) -> Upload:
    """Read the parts of an upload in their order, and keep its sheet with its note; see :func:`receive_sheet`."""
    reader = UploadReader(await request.multipart(), console_of(request).clock.monotonic)
    note_text, taken = "", None
    try:
        while (part := await reader.next_part()) is not None:
            if part.name == CSRF_FIELD and not trusted:
                check_token(request, (await reader.chunk(part, 1024)).decode("utf-8", "replace"))
                trusted = True
            elif part.name == "note":
                note_text = await _read_note(reader, part)
            elif part.name == "sheet" and taken is None:
                if not (trusted and part.filename):
                    break
                taken = await _receive_part(request, reader, part)
        if taken is not None:
            return await in_thread(console_of(request).uploads.keep, replace(taken, note=note_text))
    except BaseException:  # a cancellation too: no file of an upload that is not kept may stay
        if taken is not None:
            with anyio.CancelScope(shield=True):
                await in_thread(console_of(request).uploads.drop, taken)
        raise
    if not trusted:
        check_token(request, "")
    raise SheetError("No file was chosen.", hint="Choose a sheet. A program sends it in a part named sheet.")


async def _read_note(reader: UploadReader, part: BodyPartReader) -> str:
    """The user's note about the run that the sheet begins.

    Raises:
        NoteError: It is too long, or contains control characters.
    """
    most, content = 4 * MAX_NOTE + 1, b""  # bytes of UTF-8, and one that is too much
    while len(content) < most and (chunk := await reader.chunk(part, most)):
        content += chunk
    text = content.decode("utf-8", "replace").strip()
    if len(content) >= most or len(text) > MAX_NOTE:
        raise NoteError(f"The note is longer than {MAX_NOTE} characters", text)
    if not is_text(text) or "\t" in text:
        raise NoteError("The note contains control characters", text)
    return text


async def _receive_part(request: web.Request, reader: UploadReader, part: BodyPartReader) -> Upload:
    """Write one part of a multipart body to the disk as a sheet, never more of it in memory than a chunk."""
    console, by = console_of(request), principal_of(request).user
    made = await in_thread(console.uploads.reserve, part.filename or "", console.clock.now(), by)
    try:
        written = 0
        with console.uploads.opened(made) as file:
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
    except BaseException:  # a cancellation too must not leave half an upload behind; it is raised again
        with anyio.CancelScope(shield=True):
            await in_thread(console.uploads.drop, made)
        raise


async def _drain(reader: UploadReader, part: BodyPartReader) -> None:
    left = _DRAINED
    while left > 0 and (chunk := await reader.chunk(part, _CHUNK)):
        left -= len(chunk)


async def remove(request: web.Request) -> web.StreamResponse:
    """Remove a sheet, or a plan that is derived from a run."""
    console = console_of(request)
    upload = await in_thread(console.uploads.get, request.match_info["upload"])
    if not may_remove(principal_of(request), upload):
        raise RefusedError(403, "Only its authors and admins may remove a sheet.", "Ask one of them.")
    await record_action(request, "sheet removed", upload.upload_id, upload.name)
    await in_thread(console.uploads.drop, upload)
    console.uploaded_sheets.forget(upload)
    raise HTTPSeeOther("/")


def may_remove(principal: Principal, upload: Upload) -> bool:
    """Whether a user may remove a sheet."""
    mine = any(same_user(principal.user, each) for each in (upload.owner, *upload.by))
    return principal.may(Role.ADMIN) or (principal.may(Role.OPERATOR) and mine)
