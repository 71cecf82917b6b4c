"""The account page: the user's password and sessions, and sign-in links of a console without users."""

import math
from functools import partial

import anyio.to_thread
from aiohttp import web
from aiohttp.web import HTTPSeeOther

from bulkid.errors import UsageError
from bulkid.text import humanize_seconds
from bulkid.web.audit import note
from bulkid.web.auth.access import RefusedError, Role, access_rule
from bulkid.web.auth.local import LocalAuthenticator
from bulkid.web.auth.passwords import require_good_password
from bulkid.web.auth.throttle import new_device_cookie
from bulkid.web.auth.users import SignInError, UserAuthenticator
from bulkid.web.console import console_of
from bulkid.web.middleware import SESSION, client_address
from bulkid.web.pages import page
from bulkid.web.request_bodies import form_of
from bulkid.web.site_pages import DEVICE_S


@access_rule(Role.VIEWER)
async def account(request: web.Request) -> web.StreamResponse:
    """The user's account: role, password, sessions."""
    return await _account_page(request)


async def _account_page(request: web.Request, *, link: str = "", failed: str = "", status: int = 200) -> web.Response:
    console, record = console_of(request), request[SESSION].record
    return page(
        request,
        "account.html",
        status=status,
        link=link,
        failed=failed,
        idle_s=console.authenticator.idle_s,
        sessions=await console.sessions.of_user(record.user_key, record.epoch),
        present=record.session_hash,
    )


@access_rule(Role.ADMIN)
async def new_link(request: web.Request) -> web.StreamResponse:
    """A link that lets another browser of this machine in, once."""
    authenticator = console_of(request).authenticator
    if not isinstance(authenticator, LocalAuthenticator):
        raise RefusedError(404, "With users there are no links: everybody signs in.")
    link = f"{request.url.origin()}/enter?key={authenticator.new_link()}"
    await note(request, "sign-in link made")
    return await _account_page(request, link=link)


@access_rule(Role.VIEWER, action="end of a session")
async def end_session(request: web.Request) -> web.StreamResponse:
    """End one of the user's sessions."""
    sessions, record = console_of(request).sessions, request[SESSION].record
    wanted = (await form_of(request)).get("session", "")
    if not await sessions.end_one_of(record.user_key, record.epoch, wanted):
        raise RefusedError(404, "You have no such session, or it has ended.", "Reload the account page.")
    await note(request, "session ended")
    if wanted != record.session_hash:
        raise HTTPSeeOther("/account")
    answer = web.Response(status=303, headers={"Location": "/"})
    sessions.forget_cookie(answer)
    return answer


@access_rule(Role.VIEWER, action="change of a password")
async def change_password(request: web.Request) -> web.StreamResponse:
    """Change the user's own password: all sessions of the user end, and this browser gets a new one."""
    console, record, address = console_of(request), request[SESSION].record, client_address(request)
    authenticator, sessions, user = console.authenticator, console.sessions, record.user
    if not isinstance(authenticator, UserAuthenticator) or user is None:
        raise RefusedError(404, "There are no users here, and no passwords.")
    form = await form_of(request)
    new = form.get("new", "")
    device_cookie = request.cookies.get(sessions.device_cookie_name, "")
    answer = web.Response(status=303, headers={"Location": "/account"})
    try:
        done = await authenticator.sign_in(user.name, form.get("current", ""), address, device_cookie)
        if new != form.get("again", ""):
            raise UsageError("The two new passwords differ: nothing was changed.")  # noqa: TRY301 - as any other refusal
        await anyio.to_thread.run_sync(require_good_password, new, user.name)
        hashed = await authenticator.hash(new)
        change = partial(console.store.change_user, user.name, password_hash=hashed, epoch=done.user.epoch)
        changed = await anyio.to_thread.run_sync(change)
        if not changed:
            raise UsageError("The user was changed or removed at this moment: sign in again.")  # noqa: TRY301
    except SignInError as error:
        wait = f" Try again in {humanize_seconds(error.wait_s)}." if error.wait_s else ""
        failed = f"{error.message}{wait}" if error.wait_s else "The current password is wrong."
        await note(request, "password change refused", user.name, failed)
        refused = await _account_page(request, failed=failed, status=429 if error.wait_s else 400)
        if error.wait_s:
            refused.headers["Retry-After"] = str(math.ceil(error.wait_s))
        return refused
    except UsageError as error:
        await note(request, "password change refused", user.name, error.message)
        return await _account_page(request, failed=str(error), status=400)
    await note(request, "password changed", user.name)
    sessions.announce_end()
    if await sessions.begin(request, answer, user.key, done.user.epoch + 1, address):
        sessions.set_cookie(answer, sessions.device_cookie_name, new_device_cookie(user.key, hashed), DEVICE_S)
    else:
        sessions.forget_cookie(answer)
    return answer
