"""Sheets: uploaded, mapped, previewed, started, removed."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import anyio
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.multipart import BodyPartReader
from aiohttp.web import HTTPSeeOther

from bulkid.errors import BulkidError, SheetError, UsageError
from bulkid.model import MAX_NOTE
from bulkid.planning.creation import DELETION_NOT_ALLOWED
from bulkid.report.summary import ERROR_HEADER, OTHER_ERROR_HEADER
from bulkid.resources import current
from bulkid.runs import Preview, write_invalid_rows
from bulkid.runs.concurrency import in_thread
from bulkid.runs.descriptions import (
    ActionCounts,
    actions_sentence,
    advice,
    count_actions,
    deleted_accounts,
    deletion_warning,
    destination,
    estimate,
    forecast,
    new_groups_line,
    sending_details,
)
from bulkid.sheet.headers import header_key
from bulkid.text import count_of
from bulkid.web.audit import REFUSAL, record_action
from bulkid.web.auth.access import Principal, RefusedError, Role, is_another_user, same_user, with_authors
from bulkid.web.change_index import ChangeFilter
from bulkid.web.console import (
    Console,
    DeletionsNotConfirmedError,
    NotConfirmedError,
    TrialTooLargeError,
    console_of,
)
from bulkid.web.middleware import CSRF_FIELD, CSRF_HEADER, check_token, principal_of, require_access, status_for
from bulkid.web.pages import Pager, attachment, page, redirect
from bulkid.web.preview_lines import preview_page, problems_of
from bulkid.web.request_bodies import UploadReader, form_of, is_text
from bulkid.web.run_pages import preview_made
from bulkid.web.sheet_mapping import (
    SHOWN_COLUMNS,
    ColumnLine,
    chosen_fields,
    columns_of,
    encodings_of,
    mapping_errors,
    of_present_columns,
    reading_of,
    readings_of,
)
from bulkid.web.uploaded_sheets import UploadedSheet
from bulkid.web.uploads import MAX_BYTES, ReadOptions, StorageFullError, Upload
from bulkid.web.wording import ALLOW_DELETIONS, console_words

_MALFORMED: Final = (ValueError, LookupError, HttpProcessingError)
"""What aiohttp's reader raises for a multipart body that is malformed or not complete."""

_BROKEN_OFF: Final = (400, 408)  # refusals of an upload that the user can send again
_CHUNK: Final = 1 << 18
_DRAINED: Final = 4 * MAX_BYTES  # read and dropped: a browser shows a refusal only once it has sent the whole body
_KINDS: Final = ("changes", "unchanged", "invalid")


async def uploaded_sheet_of(request: web.Request) -> UploadedSheet:
    """The sheet that the address of a request names; raises UnknownUploadError."""
    return await console_of(request).uploaded_sheet(request.match_info["upload"])


# --- uploading


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


def form_again(request: web.Request, error: BulkidError, template: str, /, **context: Any) -> web.Response:  # noqa: ANN401
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


# --- mapping


async def sheet(request: web.Request) -> web.StreamResponse:
    """Show a sheet as bulkid reads it."""
    uploaded_sheet = await uploaded_sheet_of(request)
    if uploaded_sheet.upload.derived_from:
        raise HTTPSeeOther(f"{_path(uploaded_sheet)}/preview")
    shown = await _sheet_page_of(request, uploaded_sheet, uploaded_sheet.upload.reading, columns_of(uploaded_sheet))
    return page(request, "sheet.html", **shown)


async def _sheet_page_of(
    request: web.Request, uploaded_sheet: UploadedSheet, reading: ReadOptions, columns: Sequence[ColumnLine]
) -> dict[str, Any]:
    """What the page of a sheet shows: the columns and options as they are, or as a form that is refused has them."""
    parsed, pager = uploaded_sheet.parsed, Pager(request, path=_path(uploaded_sheet))
    search, column = request.query.get("search", "")[:200], request.query.get("column", "")
    all_errors = () if parsed.check is None else parsed.check.row_errors
    problems = await in_thread(problems_of, all_errors, search, column)
    readings, seen = readings_of(parsed.error), parsed.sheet_preview
    return {
        "upload": uploaded_sheet.upload,
        "parsed": parsed,
        "reading": reading,
        "columns": columns,
        "mapping_errors": mapping_errors(columns, seen) if seen is not None and parsed.check is None else [],
        "hidden": max(0, len(seen.headers) - SHOWN_COLUMNS) if seen is not None else 0,
        "titles": current().titles,
        "readings": readings,
        "encodings": encodings_of(uploaded_sheet, readings),
        "problems": problems.groups[pager.offset : pager.offset + pager.size],
        "hidden_errors": problems.hidden,
        "row_error_columns": list(dict.fromkeys(each.column for each in all_errors if each.column)),
        "pager": pager.of(len(problems.groups)),
        "search": search,
        "column": column,
        "may_remove": may_remove(principal_of(request), uploaded_sheet.upload),
        "columns_changed": "columns" in request.query,
    }


def _path(uploaded_sheet: UploadedSheet) -> str:
    return f"/sheets/{uploaded_sheet.upload.upload_id}"


async def change_read_options(request: web.Request) -> web.StreamResponse:
    """Save how a sheet is read, and continue to its preview where nothing is left to look at on its page."""
    uploaded_sheet, form = await uploaded_sheet_of(request), await form_of(request)
    reading = reading_of(form, uploaded_sheet)
    seen, before = uploaded_sheet.parsed.sheet_preview, uploaded_sheet.upload.reading
    if seen is not None and reading.sheet == before.sheet:
        columns = columns_of(uploaded_sheet, chosen_fields(form, seen))
        errors = mapping_errors(columns, seen)
        if errors:
            shown = await _sheet_page_of(request, uploaded_sheet, reading, columns)
            return form_again(request, UsageError(errors[0]), "sheet.html", **{**shown, "mapping_errors": errors})
    now, continues = uploaded_sheet, bool(form.get("continue"))
    if reading != before or not continues:  # who only continues is no author of the plan
        now = await _save_reading(request, uploaded_sheet, reading)
    if not continues:
        raise HTTPSeeOther(_path(now))
    if _columns(now) != _columns(uploaded_sheet):
        raise HTTPSeeOther(f"{_path(now)}?columns=changed")
    if now.parsed.check is None or not now.parsed.check.rows or _shows_other_errors(now, uploaded_sheet):
        raise HTTPSeeOther(_path(now))
    if seen is not None and chosen_fields(form, seen) != tuple(column.field for column in columns_of(now)):
        raise HTTPSeeOther(f"{_path(now)}?columns=changed")  # another worksheet with the same headers
    return await _to_preview(request, now)


async def _save_reading(request: web.Request, uploaded_sheet: UploadedSheet, reading: ReadOptions) -> UploadedSheet:
    """Save how a sheet is read, without the columns that it does not have when it is read so."""
    console, principal = console_of(request), principal_of(request)
    changed = await console.change_read_options(uploaded_sheet, reading, principal)
    await record_action(request, "sheet read otherwise", changed.upload_id, changed.name)
    now = await console.uploaded_sheets.get(changed)
    if now.parsed.sheet_preview is None:
        return now
    fitting = of_present_columns(reading, now.parsed.sheet_preview)
    if fitting == reading:
        return now
    return await console.uploaded_sheets.get(await console.change_read_options(now, fitting, principal))


def _columns(uploaded_sheet: UploadedSheet) -> Sequence[str]:
    seen = uploaded_sheet.parsed.sheet_preview
    return () if seen is None else seen.headers


def _shows_other_errors(now: UploadedSheet, before: UploadedSheet) -> bool:
    """Whether rows are invalid that the page has not shown, and that the user has not chosen to skip."""
    errors = [() if each.parsed.check is None else each.parsed.check.row_errors for each in (before, now)]
    return bool(errors[1]) and errors[0] != errors[1] and not now.upload.reading.skip_invalid


async def invalid_rows(request: web.Request) -> web.StreamResponse:
    """The invalid rows as a sheet to correct."""
    console = console_of(request)
    upload = (await uploaded_sheet_of(request)).upload
    if upload.derived_from:
        raise UsageError("This is not a sheet: the journal of a run holds its contents.", hint="Check its preview.")
    with tempfile.TemporaryDirectory(prefix="bulkid-") as folder:
        options = upload.reading.options(console.options).sheet
        write = partial(write_invalid_rows, upload.path, options, Path(folder), name=upload.name)
        written = await console.uploaded_sheets.read(lambda token: write(token=token))
        if written is None:
            raise UsageError("No row is invalid: there is nothing to correct.")
        content = await in_thread(written[0].read_bytes)
    await record_action(request, "invalid rows downloaded", upload.upload_id, upload.name)
    return attachment(content, "retry.csv")


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


# --- previewing and starting


async def make_preview(request: web.Request) -> web.StreamResponse:
    """Begin to make a preview, and go to its page."""
    return await _to_preview(request, await uploaded_sheet_of(request))


async def _to_preview(request: web.Request, uploaded_sheet: UploadedSheet) -> web.Response:
    """Begin to make a preview and send the browser there, or show the sheet with the reason why there is none."""
    upload = uploaded_sheet.upload
    try:
        shown_at = await preview_made(console_of(request), uploaded_sheet)
    except BulkidError as error:
        if upload.derived_from:
            return await preview_again(request, uploaded_sheet, StartForm(error=error))
        shown = await _sheet_page_of(request, uploaded_sheet, upload.reading, columns_of(uploaded_sheet))
        return form_again(request, error, "sheet.html", **shown, form_error=error)
    await record_action(request, "preview made", upload.upload_id, upload.name)
    return redirect(shown_at)


async def preview(request: web.Request) -> web.StreamResponse:
    """Show what a sheet would change, or that the preview is being made."""
    template, shown = await _preview_page_of(request, await uploaded_sheet_of(request))
    return page(request, template, **shown)


@dataclass(frozen=True, slots=True)
class StartForm:
    """The form that starts a run, as a user has sent it: with an error it is shown as it was."""

    first: str = ""  # how many accounts a trial changes, as entered
    trial: bool = False  # whether the user chose a trial
    really: bool = False  # whether the user confirmed a plan that exceeds the limit
    deletions: str = ""  # how many accounts are to be deleted, as entered
    error: BulkidError | None = None
    field: str = ""  # the name of the field that the error is about; "" where it is about none


async def _preview_page_of(
    request: web.Request, uploaded_sheet: UploadedSheet, form: StartForm | None = None
) -> tuple[str, dict[str, Any]]:
    """The template of a preview, and what it shows; a form that was refused is shown with its error."""
    console, principal = console_of(request), principal_of(request)
    upload, job, address = uploaded_sheet.upload, uploaded_sheet.preview, f"{_path(uploaded_sheet)}/preview"
    subject = {
        "upload": upload,
        "source": await _source_of(console, upload),
        "address": address,
        "start": form or StartForm(),
        "may_remove": may_remove(principal, upload),
    }
    if job is None or job.result is None or job.index is None or not job.done.is_set():
        making = job is not None and not job.done.is_set()
        activity, error = ("", None) if job is None else (job.activity, job.error)
        return "preview_wait.html", {**subject, "making": making, "activity": activity, "error": error}
    kind, search = request.query.get("show", ""), request.query.get("search", "")[:200]
    if kind not in _KINDS:
        kind = "changes"
    only = ChangeFilter(request.query.get("kind", "")[:100], request.query.get("group", "")[:200])
    pager = Pager(request, path=address)
    found = await in_thread(partial(preview_page, job, kind, search, pager.offset, pager.size, only=only))
    counts = count_actions(job.result.plan.changes)
    changes, policy = counts.total, console.policy
    approval = policy.approves(principal, deletes=counts.delete > 0)
    return "preview.html", {
        **subject,
        "labels": [field.label for field in current().fields],
        "job": job,
        "preview": job.result,
        "place": destination(job.result.base_url, job.result.organization_id, sandbox=console.options.sandbox),
        "actions": counts,
        "deleted": list(deleted_accounts(job.result)),
        "deletion_warning": deletion_warning(job.result),
        "deletions_refused": any(each.code == DELETION_NOT_ALLOWED for each in job.result.row_errors),
        "allow_deletions": ALLOW_DELETIONS,
        "new_groups": new_groups_line(job.result),
        "forecast": forecast(job.result),
        "estimate": f"{estimate(job.result)} {console_words(advice(job.result))}".strip(),
        "details": sending_details(job.result),
        "found": found,
        "kind": kind,
        "search": search,
        "only": only,
        "filtered": partial(_filtered, address, {"kind": only.kind, "group": only.group, "search": search}),
        "pager": pager.of(found.total),
        "warnings": warnings_of(job.result),
        "needs_other_user": not policy.may_start(principal.user, upload.by)
        or (counts.delete > 0 and not policy.may_delete(principal, upload.by)),
        "approval": approval,
        "may_reject": (policy.required or counts.delete > 0) and is_another_user(principal.user, upload.by),
        "effect": effect_of(upload, counts, approval=approval),
        "trial_size": trial_size(upload, changes),
    }


def _filtered(address: str, filters: Mapping[str, str], **changed: str) -> str:
    """The address of the changes of a preview with some filters changed."""
    query = {name: value for name, value in {**filters, **changed}.items() if value}
    return f"{address}?{urlencode(query)}#lines" if query else f"{address}#lines"


async def _source_of(console: Console, upload: Upload) -> str:
    """The name of the sheet that a plan is about: for a plan that derives from a run, that of the run."""
    if not upload.derived_from:
        return upload.name
    with suppress(UsageError):  # the run was pruned
        return (await in_thread(console.run_browser.run, upload.derived_from)).run.source
    return upload.name


@dataclass(frozen=True, slots=True)
class Effect:
    """What the button of a preview does, in words."""

    verb: str
    noun: str
    all: str  # "Update 176 accounts"
    confirmed: str  # what the user ticks for a plan beyond the limit: "change all 176 accounts"
    trial: str  # where no script of the page fills in the number


def effect_of(upload: Upload, counts: ActionCounts, *, approval: bool) -> Effect:
    """The effect of starting a plan."""
    of_each = ((counts.create, "Create"), (counts.update, "Update"), (counts.delete, "Delete"))
    verbs = [verb for count, verb in of_each if count]
    if verbs == ["Update"] and upload.undo_of:
        verb, noun, everything = "Undo", "change", f"Undo {count_of(counts.update, 'change')}"
    else:
        verb, noun, everything = verbs[0] if len(verbs) == 1 else "Change", "account", actions_sentence(counts)
    confirmed = f"change all {count_of(counts.total, 'account')}"
    if verbs != ["Update"]:
        confirmed = f"{everything[:1].lower()}{everything[1:]}"
    if approval:
        verb, everything = f"Approve and {verb.lower()}", f"Approve and {everything[:1].lower()}{everything[1:]}"
    return Effect(verb, noun, everything, confirmed, "Approve and start the trial" if approval else "Start the trial")


def trial_size(upload: Upload, changes: int) -> int:
    """How many accounts a trial changes where the user enters nothing else; 0 where there can be no trial."""
    return 0 if upload.rest_of or changes < 2 else min(10, changes // 2)  # noqa: PLR2004 - one account is no trial


def warnings_of(preview: Preview) -> list[str]:
    """What to know before starting, except that the plan is large: the page says that beside the button."""
    too_much = tuple(each.sentence for each in preview.excesses)
    return [warning for warning in preview.warnings if not warning.startswith(too_much)]


_FIELDS: Final = (
    (NotConfirmedError, "really"),
    (TrialTooLargeError, "first"),
    (DeletionsNotConfirmedError, "deletions"),
)
"""The fields of the form that starts a run at which errors stand."""


def number_of_deletions(text: str) -> int | None:
    """How many accounts a user expects to be deleted, as entered: ``1234`` or ``1,234``; None for nothing.

    Raises:
        DeletionsNotConfirmedError: It is not a number.
    """
    digits = text.replace(",", "")
    if not digits:
        return None
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):  # noqa: PLR2004
        raise DeletionsNotConfirmedError(
            f"{text!r} is not a number of accounts: nothing was sent.", hint="Enter how many accounts will be deleted."
        )
    return int(digits)


async def start(request: web.Request) -> web.StreamResponse:
    """Begin the run that a preview showed, or show the preview with what is wrong with the form."""
    uploaded_sheet, sent = await uploaded_sheet_of(request), await form_of(request)
    console, job = console_of(request), uploaded_sheet.preview
    changes = 0 if job is None or job.result is None else len(job.result.plan.changes)
    form = StartForm(
        sent.get("first", "").strip()[:40],
        sent.get("scope") == "first",
        bool(sent.get("really")),
        sent.get("deletions", "").strip()[:40],
    )
    try:
        first = first_of(form, sent.get("scope", ""), trial_size(uploaded_sheet.upload, changes))
    except UsageError as error:
        return await preview_again(request, uploaded_sheet, replace(form, error=error, field="first"))
    try:
        deletions = number_of_deletions(form.deletions)
        started = await console.start(
            uploaded_sheet,
            sent.get("preview", ""),
            principal_of(request),
            partial(record_action, request),
            first=first,
            really=form.really,
            deletions=deletions,
        )
    except BulkidError as error:
        field = next((name for kind, name in _FIELDS if isinstance(error, kind)), "")
        return await preview_again(request, uploaded_sheet, replace(form, error=error, field=field))
    raise HTTPSeeOther(f"/runs/{started.run_id}")


async def preview_again(request: web.Request, uploaded_sheet: UploadedSheet, form: StartForm) -> web.Response:
    """Answer a form of a preview that was refused with the preview and the error of the form."""
    assert form.error is not None  # noqa: S101 - the caller has set it
    template, shown = await _preview_page_of(request, uploaded_sheet, form)
    return form_again(request, form.error, template, **shown)


def first_of(form: StartForm, scope: str, suggested: int) -> int | None:
    """How many accounts a trial changes, None for all.

    Raises:
        UsageError: The number is not a whole number from 1 on, or the user has changed it and yet chosen all accounts.
    """
    if scope == "all":
        if form.first not in {"", str(suggested)}:
            raise UsageError(
                "You entered a number, but chose all accounts: nothing was sent.", hint="Choose one of the two."
            )
        return None
    if not form.first and scope != "first":
        return None
    if not (form.first.isascii() and form.first.isdigit() and int(form.first[:12]) > 0):
        raise UsageError(
            f"{form.first[:40]!r} is not a number of accounts: nothing was sent."
            if form.first
            else "The number of accounts is missing: nothing was sent.",
            hint="Enter a whole number from 1 on.",
        )
    return int(form.first[:12])
