"""Pages beside those of sheets and runs: sign-in, the account, API tokens, the audit log, the connection, metrics."""

import csv
import io
import math
from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.web import HTTPSeeOther

from bulkid import runs
from bulkid.clock import iso_utc
from bulkid.errors import BulkidError, UsageError
from bulkid.journal.console_store import UserRecord
from bulkid.journal.names import LONGEST_NAME
from bulkid.runs.concurrency import in_thread
from bulkid.sheet.formula_escape import escape_formula
from bulkid.text import count_of
from bulkid.web.audit import do_recorded, last_password_change, record_action, record_refusal, security_events
from bulkid.web.auth import passwords
from bulkid.web.auth.access import RefusedError, Role
from bulkid.web.auth.passwords import require_good_password
from bulkid.web.auth.throttle import new_device_cookie
from bulkid.web.auth.users import (
    DEFAULT_TOKEN_DAYS,
    LINKS_DISABLED,
    TOKEN_DAYS,
    LocalAuthenticator,
    SignIn,
    SignInError,
    UserAuthenticator,
    issue_token,
    require_issuable,
    role_of_token,
)
from bulkid.web.console import SUMMARY_MAX_AGE_S, console_of
from bulkid.web.middleware import REFUSAL, client_address, local_path, principal_of
from bulkid.web.pages import SESSION, Pager, attachment, page, redirect
from bulkid.web.request_bodies import form_of

DEVICE_S: Final = 90 * 86_400.0
"""How long a browser is known as one in which a user has signed in."""


# --- signing in and out


async def enter(request: web.Request) -> web.StreamResponse:
    """Sign in the browser that opens a sign-in link which has not been used yet."""
    console = console_of(request)
    authenticator = console.authenticator
    if not isinstance(authenticator, LocalAuthenticator) or not authenticator.use_link(request.query.get("key", "")):
        await record_refusal(request, "link refused")
        failed = "This link has been used already, or is of an earlier start of the console."
        return page(request, "signin.html", status=401, next="/", failed=failed)
    response = redirect("/")
    key, epoch, address = authenticator.user_key, authenticator.epoch, client_address(request)
    begin = partial(console.sessions.begin, request, response, key, epoch, address)
    if not await do_recorded(request, begin, "signed in", principal=authenticator.name):
        await record_refusal(request, "link refused", detail=LINKS_DISABLED)
        return page(request, "signin.html", status=401, next="/", failed=LINKS_DISABLED)
    return response


async def sign_in(request: web.Request) -> web.StreamResponse:
    """Sign in a user by name and password."""
    console = console_of(request)
    sessions, authenticator = console.sessions, console.authenticator
    if not isinstance(authenticator, UserAuthenticator):
        raise RefusedError(404, "There are no users here: sign in by the link in the terminal.")
    form = await form_of(request)
    name, onward = form.get("name", "")[:LONGEST_NAME], local_path(form.get("next"))
    response = redirect(onward)
    try:
        done = await _check_password(request, authenticator, name, form.get("password", ""))
        user = done.user
        begin = partial(sessions.begin, request, response, user.key, user.epoch, client_address(request))
        if not await do_recorded(request, begin, "signed in", principal=user.name):
            raise SignInError("The user was changed or removed at this moment.")  # noqa: TRY301 - as any other refusal
    except SignInError as error:
        known = await in_thread(console.store.user, name)  # whose name may be typed in another spelling
        principal = name if known is None else known.name
        await record_refusal(request, "sign-in refused", name, error.message, principal=principal)
        status = 429 if error.wait_s else 401
        return _with_wait(page(request, "signin.html", status=status, next=onward, failed=str(error)), error.wait_s)
    sessions.set_cookie(response, sessions.device_cookie_name, done.device_cookie, DEVICE_S)
    return response


async def _check_password(request: web.Request, authenticator: UserAuthenticator, name: str, password: str) -> SignIn:
    device_cookie = request.cookies.get(console_of(request).sessions.device_cookie_name, "")
    return await authenticator.sign_in(name, password, client_address(request), device_cookie)


async def _check_current(request: web.Request, authenticator: UserAuthenticator, user: UserRecord) -> SignIn:
    """Check the current password that a form sends, with the limits on guessing; raises SignInError."""
    current = (await form_of(request)).get("current", "")
    try:
        return await _check_password(request, authenticator, user.name, current)
    except SignInError as error:
        raise error if error.wait_s else SignInError("The current password is wrong.") from None


async def _confirm_user(request: web.Request) -> None:
    """Raise SignInError without the user's current password; a console without users has no passwords."""
    authenticator, user = console_of(request).authenticator, request[SESSION].record.user
    if isinstance(authenticator, UserAuthenticator) and user is not None:
        await _check_current(request, authenticator, user)


def _with_wait(response: web.Response, wait_s: float) -> web.Response:
    if wait_s:
        response.headers["Retry-After"] = str(math.ceil(wait_s))
    return response


async def sign_out(request: web.Request) -> web.StreamResponse:
    """End this session."""
    response, sessions = redirect("/"), console_of(request).sessions
    await do_recorded(request, partial(sessions.end, (request[SESSION].record.session_hash,)), "signed out")
    sessions.forget_cookie(response)
    return response


async def sign_out_everywhere(request: web.Request) -> web.StreamResponse:
    """End all sessions of the user, who enters the password for it."""
    try:
        await _confirm_user(request)
    except SignInError as error:
        return await _sessions_left(request, error)
    response, sessions, record = redirect("/"), console_of(request).sessions, request[SESSION].record
    await do_recorded(request, partial(sessions.end_all, record.user_key, record.epoch), "signed out everywhere")
    sessions.forget_cookie(response)
    return response


# --- the account


async def account(
    request: web.Request, *, link: str = "", failed: str = "", left: BulkidError | None = None, status: int = 200
) -> web.Response:
    """The user's account; shows a new sign-in link, or why the password was not changed or no session was ended."""
    console, record = console_of(request), request[SESSION].record
    return page(
        request,
        "account.html",
        status=status,
        link=link,
        failed=failed,
        sessions_failed="" if left is None else str(left),
        wrong_password=isinstance(left, SignInError),
        idle_s=console.authenticator.idle_s,
        sessions=await console.sessions.of_user(record.user_key, record.epoch),
        present=record.session_hash,
        events=await security_events(request),
        password_change=await last_password_change(request),
        password_rules={
            "min": passwords.MIN_LENGTH,
            "max": passwords.MAX_LENGTH,
            "read": passwords.MAX_ESTIMATED,
            "unrelated": passwords.MIN_UNRELATED,
            "words": passwords.related_words(principal_of(request).user),
        },
    )


async def new_link(request: web.Request) -> web.StreamResponse:
    """Create a link that signs in another browser of this machine, once."""
    authenticator = console_of(request).authenticator
    if not isinstance(authenticator, LocalAuthenticator):
        raise RefusedError(404, "This console has users, who sign in by name and password: it has no sign-in links.")
    link = f"{request.url.origin()}/enter?key={authenticator.new_link()}"
    await record_action(request, "sign-in link made")
    return await account(request, link=link)


async def end_sessions(request: web.Request) -> web.StreamResponse:
    """End some of the user's sessions; the user enters the password for it."""
    sessions, record = console_of(request).sessions, request[SESSION].record
    wanted = (await form_of(request)).getall("session", [])
    try:
        if not wanted:
            raise UsageError("Choose the sessions to end.")  # noqa: TRY301 - as any other refusal
        await _confirm_user(request)
    except (SignInError, UsageError) as error:
        return await _sessions_left(request, error)
    own = {session.session_hash for session in await sessions.of_user(record.user_key, record.epoch)}
    chosen = own.intersection(wanted)
    detail = count_of(len(chosen), "session")
    if not await do_recorded(request, partial(sessions.end, chosen), "session ended", detail=detail):
        raise RefusedError(404, "You have no such session, or it has ended.", "Reload the account page.")
    if record.session_hash not in chosen:
        raise HTTPSeeOther("/account")
    response = redirect("/")
    sessions.forget_cookie(response)
    return response


async def _sessions_left(request: web.Request, error: BulkidError) -> web.Response:
    """Say why no session has ended."""
    request[REFUSAL] = str(error)
    wait_s = error.wait_s if isinstance(error, SignInError) else 0.0
    response = await account(request, left=error, status=429 if wait_s else 400)
    return _with_wait(response, wait_s)


async def change_password(request: web.Request) -> web.StreamResponse:
    """Change the user's own password: all sessions of the user end, and this browser gets a new one."""
    console, user = console_of(request), request[SESSION].record.user
    authenticator, sessions = console.authenticator, console.sessions
    if not isinstance(authenticator, UserAuthenticator) or user is None:
        raise RefusedError(404, "There are no users here, and no passwords.")
    form = await form_of(request)
    new, wait_s = form.get("new", ""), 0.0
    try:
        done = await _check_current(request, authenticator, user)
        if new != form.get("again", ""):
            raise UsageError("The two new passwords differ: nothing was changed.")  # noqa: TRY301 - as any other refusal
        await in_thread(require_good_password, new, user.name)
        hashed = await authenticator.hash(new)
        change = partial(console.store.change_user, user.name, password_hash=hashed, epoch=done.user.epoch)
        if not await do_recorded(request, partial(in_thread, change), "password changed", user.name):
            raise UsageError("The user was changed or removed at this moment: sign in again.")  # noqa: TRY301
    except (SignInError, UsageError) as error:
        wait_s = error.wait_s if isinstance(error, SignInError) else 0.0
        await record_action(request, "password change refused", user.name, str(error))
        return _with_wait(await account(request, failed=str(error), status=429 if wait_s else 400), wait_s)
    sessions.announce_end()
    response = redirect("/account")
    if await sessions.begin(request, response, user.key, done.user.epoch + 1, client_address(request)):
        sessions.set_cookie(response, sessions.device_cookie_name, new_device_cookie(user.key, hashed), DEVICE_S)
    else:
        sessions.forget_cookie(response)
    return response


# --- API tokens


async def tokens(
    request: web.Request,
    *,
    issued: str = "",
    expires_at: float | None = None,
    failed: str = "",
    wrong_field: str = "",
    status: int = 200,
) -> web.Response:
    """The page of API tokens; shows a new one this once, or why none was issued and which field is wrong."""
    console = console_of(request)
    found = await in_thread(console.store.tokens)
    form = await form_of(request) if failed else {}
    return page(
        request,
        "tokens.html",
        status=status,
        tokens=found,
        issued=issued,
        expires_at=expires_at,
        failed=failed,
        wrong_field=wrong_field,
        entered={field: form.get(field, "") for field in ("name", "role", "days")},
        roles=list(Role),
        all_days=TOKEN_DAYS,
        default_days=DEFAULT_TOKEN_DAYS,
        now=console.clock.now(),
        role_of_token=role_of_token,
    )


async def issue(request: web.Request) -> web.StreamResponse:
    """Issue a token, and show it once; the user enters the password for it."""
    console, form = console_of(request), await form_of(request)
    name, word, days = form.get("name", ""), form.get("role", ""), form.get("days", str(DEFAULT_TOKEN_DAYS))
    if days not in map(str, TOKEN_DAYS):
        return await _no_token(request, "Choose one of the listed numbers of days after which it expires.", "days")
    now, owner = console.clock.now(), principal_of(request)
    expires_at = now + int(days) * 86_400.0
    try:
        await _confirm_user(request)
        role = Role.of(word)
        require_issuable(name, role, owner)
        make = partial(issue_token, console.store, name, role, owner, now, expires_at=expires_at)
        detail = f"{role.word}, expires at {iso_utc(expires_at)}"
        token = await do_recorded(request, partial(in_thread, make), "token issued", name, detail)
    except SignInError as error:
        return _with_wait(await _no_token(request, str(error), "current", 429 if error.wait_s else 400), error.wait_s)
    except KeyError:
        return await _no_token(request, f"There is no role {word[:40]!r}.", "role")
    except UsageError as error:
        return await _no_token(request, str(error), "name")
    return await tokens(request, issued=token, expires_at=expires_at)


async def _no_token(request: web.Request, reason: str, wrong_field: str, status: int = 400) -> web.Response:
    request[REFUSAL] = reason
    return await tokens(request, failed=reason, wrong_field=wrong_field, status=status)


async def revoke(request: web.Request) -> web.StreamResponse:
    """Revoke a token for good."""
    console, token_id = console_of(request), request.match_info["token"]
    change = partial(console.store.revoke_token, token_id, console.clock.now())
    if not await do_recorded(request, partial(in_thread, change), "token revoked", token_id):
        raise UsageError("There is no such token, or it has been revoked already.")
    raise HTTPSeeOther("/tokens")


# --- the audit log


async def audit(request: web.Request) -> web.StreamResponse:
    """The page of the audit log, the newest entries first."""
    pager = Pager(request)
    entries, total = await in_thread(console_of(request).store.audit_page, pager.offset, pager.size)
    return page(request, "audit.html", entries=entries, pager=pager.of(total))


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

    await record_action(request, "audit log downloaded")
    return attachment(await in_thread(write), "bulkid-audit.csv")


# --- the connection, and metrics


async def status(request: web.Request) -> web.StreamResponse:
    """The state of the connection, as ``doctor`` reports it."""
    at, findings = await console_of(request).findings()
    return page(request, "status.html", at=at, findings=findings)


async def examine(request: web.Request) -> web.StreamResponse:
    """Check the connection again."""
    await console_of(request).findings(max_age_s=-1)
    raise HTTPSeeOther("/status")


async def connection(request: web.Request) -> web.StreamResponse:
    """The verdict on the connection, for the home page; a check that is not old is not repeated."""
    at, findings = await console_of(request).findings(max_age_s=SUMMARY_MAX_AGE_S)
    return page(request, "connection.html", at=at, findings=findings)


async def health(_request: web.Request) -> web.Response:
    """Say that the console answers; to probes, which have no session and may know no name of the console.

    It does not look at the database: a console that waits for its database must not be started again for that.
    """
    return web.Response(text="ok\n")


async def metrics(request: web.Request) -> web.Response:
    """The figures of every job's newest run as Prometheus text, for a scraper with a bearer token."""
    context = console_of(request).context
    body = await in_thread(runs.metrics, context.state_dir, database_url=context.database_url)
    return web.Response(body=body, headers={"Content-Type": runs.METRICS_TYPE})
