"""The audit log: recording actions and refusals, its page, and the page of API tokens."""

import csv
import io
from functools import partial
from typing import Final

import anyio.to_thread
from aiohttp import web
from aiohttp.web import HTTPSeeOther

from bulkid.clock import iso_utc
from bulkid.errors import BulkidError, UsageError
from bulkid.journal.console_store import AuditRecord
from bulkid.journal.names import user_key
from bulkid.logs import log
from bulkid.sheet.formula_escape import escape_formula
from bulkid.web.auth.access import Handler, RefusedError, Role, RouteKind, access_rule, access_rule_of
from bulkid.web.auth.users import issue_token, role_of_token
from bulkid.web.console import console_of
from bulkid.web.middleware import SAFE_METHODS, client_address, principal_of
from bulkid.web.pages import PAGE_SIZE, PRINCIPAL, Pager, page, page_number
from bulkid.web.request_bodies import form_of

_MAX_TEXT = 500  # characters of a name or message that the table keeps

RECORDED: Final = web.RequestKey("noted", bool)
"""Set once a request has its entry in the audit log."""

_REFUSED: Final = 400  # the least status of an answer that refuses


async def note(request: web.Request, action: str, subject: str = "", detail: str = "", *, principal: str = "") -> None:
    """Record an action of a user, or its refusal.

    Args:
        request: Its principal and client address are recorded.
        action: One of a stable set of names, such as ``run started``.
        subject: The run, sheet or token.
        detail: Free text, such as the reason of a refusal.
        principal: The name of the user, where there is no session yet.
    """
    request[RECORDED] = True
    console = console_of(request)
    known = request.get(PRINCIPAL)
    record = AuditRecord(
        console.clock.now(),
        (principal or (known.name if known is not None else ""))[:_MAX_TEXT],
        client_address(request),
        action,
        subject[:_MAX_TEXT],
        detail[:_MAX_TEXT],
    )
    await anyio.to_thread.run_sync(console.store.note, record)


@web.middleware
async def record_action(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Write into the audit log what a user was refused, and every action that its handler did not write down itself.

    Requests of clients that are not signed in leave no entry here.
    """
    try:
        response = await handler(request)
    except (RefusedError, BulkidError) as error:
        await _record(request, error.message)
        raise
    except web.HTTPException as answer:
        await _record(request, "" if answer.status < _REFUSED else answer.reason)
        raise
    await _record(request, "" if response.status < _REFUSED else response.reason)
    return response


async def _record(request: web.Request, refused: str) -> None:
    rule = access_rule_of(request.match_info.handler)
    action = "" if rule is None else rule.action
    if not action and request.method not in SAFE_METHODS:
        action = "request"
    if not action or request.get(PRINCIPAL) is None or request.get(RECORDED):
        return
    about = request.match_info
    subject = next((about[name] for name in ("upload", "run", "token") if name in about), request.path)
    if not refused:
        await note(request, action, subject)
        return
    left_out = console_of(request).user_refusals.admit(user_key(principal_of(request).person))
    if left_out is None:
        log.info("console.refused", action=action, address=client_address(request))
        return
    await note(request, f"{action} refused", subject, _with_count(refused, left_out))


async def note_refusal(request: web.Request, action: str, subject: str = "", detail: str = "") -> None:
    """Record a refused request of a client that has not signed in; of many, only some are recorded."""
    left_out = console_of(request).refusals.admit(client_address(request))
    if left_out is None:
        log.info("console.refused", action=action, address=client_address(request))
        return
    await note(request, action, subject, _with_count(detail, left_out), principal=subject)


def _with_count(detail: str, left_out: int) -> str:
    return f"{detail} ({left_out:,} more were refused and are not listed)".strip() if left_out else detail


@access_rule(Role.ADMIN)
async def audit(request: web.Request) -> web.StreamResponse:
    """The page of the audit log, the newest entries first."""
    number = page_number(request)
    find = partial(console_of(request).store.audit_page, (number - 1) * PAGE_SIZE, PAGE_SIZE)
    entries, total = await anyio.to_thread.run_sync(find)
    return page(request, "audit.html", entries=entries, pager=Pager(request, total, number))


@access_rule(Role.ADMIN, RouteKind.DATA, action="audit download")
async def audit_csv(request: web.Request) -> web.StreamResponse:
    """The whole audit log as a CSV file."""

    def write() -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(("at", "actor", "address", "action", "subject", "detail"))
        for entry in console_of(request).store.audit_entries():
            values = (entry.actor, entry.address, entry.action, entry.subject, entry.detail)
            writer.writerow((iso_utc(entry.at), *map(escape_formula, values)))
        return text.getvalue().encode("utf-8-sig", "backslashreplace")

    await note(request, "audit log downloaded")
    return web.Response(
        body=await anyio.to_thread.run_sync(write),
        content_type="text/csv",
        headers={"Content-Disposition": 'attachment; filename="bulkid-audit.csv"'},
    )


@access_rule(Role.ADMIN)
async def tokens(request: web.Request) -> web.StreamResponse:
    """The page of API tokens."""
    return await _tokens_page(request)


async def _tokens_page(request: web.Request, issued: str = "") -> web.StreamResponse:
    found = await anyio.to_thread.run_sync(console_of(request).store.tokens)
    return page(request, "tokens.html", tokens=found, issued=issued, roles=list(Role), role_of_token=role_of_token)


@access_rule(Role.ADMIN, action="token")
async def issue(request: web.Request) -> web.StreamResponse:
    """Issue a token, and show it once."""
    console, principal = console_of(request), principal_of(request)
    form = await form_of(request)
    name, word = str(form.get("name", "")), str(form.get("role", ""))
    try:
        role = Role.of(word)
    except KeyError:
        raise UsageError(f"There is no role {word[:40]!r}.") from None
    make = partial(issue_token, console.store, name, role, principal, console.clock.now())
    token = await anyio.to_thread.run_sync(make)
    await note(request, "token issued", name, role.word)
    return await _tokens_page(request, token)


@access_rule(Role.ADMIN, action="revocation of a token")
async def revoke(request: web.Request) -> web.StreamResponse:
    """Revoke a token for good."""
    console, token_id = console_of(request), request.match_info["token"]
    revoke_it = partial(console.store.revoke_token, token_id, console.clock.now())
    if not await anyio.to_thread.run_sync(revoke_it):
        raise UsageError("There is no such token, or it has been revoked already.")
    await note(request, "token revoked", token_id)
    raise HTTPSeeOther("/tokens")
