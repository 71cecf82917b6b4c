"""The page of a sheet: the mapping of its columns, its invalid rows, and the step to its preview."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.web import HTTPSeeOther

from bulkid.errors import BulkidError, UsageError
from bulkid.resources import current
from bulkid.runs import write_invalid_rows
from bulkid.runs.concurrency import in_thread
from bulkid.web.audit import record_action
from bulkid.web.console import console_of, uploaded_sheet_of
from bulkid.web.middleware import form_again, principal_of
from bulkid.web.pages import Pager, attachment, page, redirect
from bulkid.web.preview_lines import problems_of
from bulkid.web.preview_pages import StartForm, address_of, preview_again, preview_made
from bulkid.web.request_bodies import form_of
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
from bulkid.web.upload_pages import may_remove
from bulkid.web.uploaded_sheets import UploadedSheet
from bulkid.web.uploads import ReadOptions


async def sheet(request: web.Request) -> web.StreamResponse:
    """Show a sheet as bulkid reads it."""
    uploaded_sheet = await uploaded_sheet_of(request)
    if uploaded_sheet.upload.derived_from:
        raise HTTPSeeOther(address_of(uploaded_sheet))
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
    upload = uploaded_sheet.upload
    if not upload.derived_from:  # else the change is refused
        await record_action(request, "sheet read otherwise", upload.upload_id, upload.name)
    changed = await console.change_read_options(uploaded_sheet, reading, principal)
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
