"""The organisation's accounts as a file, and the templates of a sheet to fill in."""

import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio
from aiohttp import web

from bulkid import runs
from bulkid.config.resolve import parse_age
from bulkid.errors import BulkidError, UsageError
from bulkid.model import Action
from bulkid.report.formats import FORMATS
from bulkid.report.template_workbook import template_workbook
from bulkid.resources import current
from bulkid.runs.concurrency import in_thread
from bulkid.text import count_of, humanize_seconds, listing, quote
from bulkid.web.activity import ActivityHooks
from bulkid.web.audit import record_action
from bulkid.web.auth.access import RefusedError
from bulkid.web.console import console_of
from bulkid.web.home_pages import home_page
from bulkid.web.middleware import REFUSAL, status_for
from bulkid.web.pages import attachment
from bulkid.web.request_bodies import form_of

NOTES_HEADER: Final = "Bulkid-Notes"
"""The header with what a user should know of an export, as a JSON array of sentences."""

MAX_OUTAGE_S: Final = 60.0  # seconds for which an export waits for a server that is unavailable
MAX_EXPORT_S: Final = 240.0
"""Seconds that an export takes at most. Firefox gives a request up after 300, and would say nothing of the reason."""

LOOK_INTERVAL_S: Final = 0.5  # seconds between two looks at whether the client of an export is still there
EXPORT_FIELDS: Final = ("inactive_for", "in_group", "name", "action")
"""The fields of a form, or the parameters of a query, that choose accounts and the action of the sheet."""

_MAX_NOTES: Final = 10  # sentences in the header
_MAX_NOTE: Final = 300  # characters of each


async def template_csv(_request: web.Request) -> web.Response:
    """An empty sheet to fill in."""
    return attachment((",".join(current().template_headers) + "\r\n").encode("utf-8-sig"), "bulkid-template.csv")


async def template_xlsx(_request: web.Request) -> web.Response:
    """A sheet to fill in, with example rows and notes."""
    return attachment(await in_thread(template_workbook), "bulkid-template.xlsx", FORMATS["xlsx"].media_type)


async def export(request: web.Request) -> web.Response:
    """Download the organisation's accounts as they are now; an error shows on the home page, beside the button."""
    form = await form_of(request)
    given = {name: text for name in EXPORT_FIELDS if (text := form.get(name, "")).strip()}
    try:
        return await export_file(request, "xlsx", given)
    except BulkidError as error:
        request[REFUSAL] = error.message
        return await home_page(request, export_error=error, export_form=given, status=status_for(error))


async def export_file(request: web.Request, ending: str, given: Mapping[str, str]) -> web.Response:
    """Read the accounts with the console's credentials, and answer with a file of the format that the ending names.

    Args:
        request: The request.
        ending: The format's name.
        given: What selects accounts, and the action of the sheet: the values of those of ``EXPORT_FIELDS`` that a user
            filled in.

    Raises:
        UsageError: One of the values cannot be used.
        RefusedError: Another export is being made (409).
        InterruptedRunError: The client has closed its connection meanwhile, or the export took too long.
        BulkidError: The accounts cannot be read, or the file cannot be written.
    """
    console = console_of(request)
    wanted, action = _choices(given)
    result, content = await _exported(request, ending, wanted, action)
    day = datetime.fromtimestamp(console.clock.now(), UTC).strftime("%Y-%m-%d")
    name = f"{current().plural.replace(' ', '-')}-{day}.{ending}"
    response = attachment(content, name, FORMATS[ending].media_type)
    matching = _matching(result)
    if matching or result.notes:
        notes = [each[:_MAX_NOTE] for each in (*matching, *result.notes)[:_MAX_NOTES]]
        response.headers[NOTES_HEADER] = json.dumps(notes)  # in ASCII, as a header has to be
    chosen = [f"{name}: {text}." for name, text in (("Accounts", str(wanted)), ("Action", action)) if text]
    counted = f"{count_of(result.accounts, 'account')}."
    await record_action(request, "accounts exported", name, " ".join((counted, *chosen, *matching, *result.notes)))
    return response


def _choices(given: Mapping[str, str]) -> tuple[runs.ExportFilter, Action | None]:
    """The filter and the action; raises UsageError."""
    length, action = given.get("inactive_for"), given.get("action")
    if action is not None and action not in list(Action):
        raise UsageError(f"There is no action {quote(action)}.", hint=f"Choose {listing(Action, 'or')}.")
    wanted = runs.ExportFilter(
        inactive_for_s=None if length is None else parse_age(length, "Inactive for"),
        in_group=given.get("in_group"),
        name=given.get("name"),
    )
    return wanted, None if action is None else Action(action)


def _matching(result: runs.ExportResult) -> tuple[str, ...]:
    """A sentence on how many accounts of how many match; none where the export holds all."""
    if result.matching is None:
        return ()
    of_all = count_of(result.listed, current().singular, current().plural)
    if not result.matching:
        return (f"No account of {of_all} matches: the file holds no account.",)
    return (f"{result.matching:,} of {of_all} {'matches' if result.matching == 1 else 'match'}.",)


async def _exported(
    request: web.Request, ending: str, wanted: runs.ExportFilter, action: Action | None
) -> tuple[runs.ExportResult, bytes]:
    console = console_of(request)
    try:
        console.export_lock.acquire_nowait()
    except anyio.WouldBlock:
        raise RefusedError(409, "Another export is being made.", "Try again when it is finished.") from None
    try:
        with tempfile.TemporaryDirectory(prefix="bulkid-") as folder:
            path, hooks = Path(folder) / f"accounts.{ending}", ActivityHooks()
            context = replace(console.context, stop=runs.Stop(), hooks=hooks)
            options = replace(console.options, outage_limit_s=min(console.options.outage_limit_s, MAX_OUTAGE_S))
            try:
                async with _stopped_without_client(request, context.stop), _stopped_in_time(context, hooks):
                    result = await runs.export(path, console.target, options, context, wanted=wanted, action=action)
            except BulkidError as error:  # the user knows nothing of the temporary folder
                error.message = error.message.replace(str(path), path.name)
                if context.stop.requested:
                    error.hint = "The command bulkid export may take any time."
                raise
            return result, await in_thread(result.path.read_bytes)
    finally:
        console.export_lock.release()


@asynccontextmanager
async def _stopped_without_client(request: web.Request, stop: runs.Stop) -> AsyncIterator[None]:
    """Request a stop when the client closes its connection while the block runs, as with a closed tab of a browser."""

    async def watch() -> None:
        while request.transport is not None:  # noqa: ASYNC110 - aiohttp tells of it by nothing else
            await anyio.sleep(LOOK_INTERVAL_S)
        stop.request("The client closed its connection")

    async with runs.task_group() as tasks:
        tasks.start_soon(watch)
        yield
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def _stopped_in_time(context: runs.Context, hooks: ActivityHooks) -> AsyncIterator[None]:
    """Request a stop when the block takes longer than an export may; the reason says what it waited for."""

    async def watch() -> None:
        await context.clock.sleep(MAX_EXPORT_S)
        reason = hooks.wait_text or "The server responds too slowly for its number of accounts"
        limit = humanize_seconds(MAX_EXPORT_S)
        context.stop.request(f"The export was ended after {limit}. {reason}")

    async with runs.task_group() as tasks:
        tasks.start_soon(watch)
        yield
        tasks.cancel_scope.cancel()
