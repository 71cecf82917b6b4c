"""Signing in and out, the state of the connection, and the files that pages refer to."""

import math
from functools import partial
from typing import Final

import anyio.to_thread
from aiohttp import web
from aiohttp.web import HTTPSeeOther

from bulkid import runs
from bulkid.journal.names import LONGEST_NAME
from bulkid.text import humanize_seconds
from bulkid.web.audit import note, note_refusal
from bulkid.web.auth.access import RefusedError, Role, RouteKind, access_rule
from bulkid.web.auth.local import LINKS_DISABLED, LocalAuthenticator
from bulkid.web.auth.users import SignInError, UserAuthenticator
from bulkid.web.console import console_of
from bulkid.web.middleware import SESSION, client_address, local_path
from bulkid.web.pages import STATIC, page
from bulkid.web.request_bodies import form_of

_YEAR_S: Final = 31_536_000

DEVICE_S: Final = 90 * 86_400.0
"""How long a browser is known as one in which a user has signed in."""


@access_rule(None, RouteKind.DATA)
async def static(request: web.Request) -> web.Response:
    """A style sheet, script or picture. Its address changes with its content, so that browsers may keep it."""
    name = request.match_info["name"]
    if name not in STATIC:
        raise RefusedError(404, "There is no such file.")
    content, kind = STATIC[name]
    kept = f"public, max-age={_YEAR_S}, immutable" if "v" in request.query else "no-cache"
    return web.Response(body=content, content_type=kind, charset="utf-8", headers={"Cache-Control": kept})


@access_rule(None)
async def enter(request: web.Request) -> web.StreamResponse:
    """Let in the browser that opens a sign-in link which has not been used yet."""
    console = console_of(request)
    authenticator = console.authenticator
    if not isinstance(authenticator, LocalAuthenticator) or not authenticator.use_link(request.query.get("key", "")):
        await note_refusal(request, "link refused")
        failed = "This link has been used already, or is of an earlier start of the console."
        return page(request, "signin.html", status=401, next="/", failed=failed)
    answer = _onward("/")
    if not await console.sessions.begin(
        request, answer, authenticator.user_key, authenticator.epoch, client_address(request)
    ):
        return page(request, "signin.html", status=401, next="/", failed=LINKS_DISABLED)
    await note(request, "signed in", principal=authenticator.name)
    return answer


@access_rule(None)
async def sign_in(request: web.Request) -> web.StreamResponse:
    """Let a user in by name and password."""
    sessions, authenticator, address = (
        console_of(request).sessions,
        console_of(request).authenticator,
        client_address(request),
    )
    if not isinstance(authenticator, UserAuthenticator):
        raise RefusedError(404, "There are no users here: the link in the terminal lets in.")
    form = await form_of(request)
    name, onward = str(form.get("name", ""))[:LONGEST_NAME], local_path(form.get("next"))
    device_cookie = request.cookies.get(sessions.device_cookie_name, "")
    answer = _onward(onward)
    try:
        done = await authenticator.sign_in(name, str(form.get("password", "")), address, device_cookie)
        if not await sessions.begin(request, answer, done.user.key, done.user.epoch, address):
            raise SignInError("The user was changed or removed at this moment.")  # noqa: TRY301 - as any other refusal
    except SignInError as error:
        await note_refusal(request, "sign-in refused", name, error.message)
        return _refused(request, error, onward)
    if done.device_cookie:
        sessions.set_cookie(answer, sessions.device_cookie_name, done.device_cookie, DEVICE_S)
    await note(request, "signed in", principal=done.user.name)
    return answer


def _refused(request: web.Request, error: SignInError, onward: str) -> web.Response:
    failed = error.message
    if error.wait_s:
        failed += f" Try again in {humanize_seconds(error.wait_s)}."
    answer = page(request, "signin.html", status=429 if error.wait_s else 401, next=onward, failed=failed)
    if error.wait_s:
        answer.headers["Retry-After"] = str(math.ceil(error.wait_s))
    return answer


def _onward(path: str) -> web.Response:
    """Go on to a page. Not raised, so that cookies can be set on it."""
    return web.Response(status=303, headers={"Location": path})


@access_rule(Role.VIEWER)
async def sign_out(request: web.Request) -> web.StreamResponse:
    """End this session."""
    answer = _onward("/")
    await console_of(request).sessions.end(request[SESSION], answer)
    await note(request, "signed out")
    return answer


@access_rule(Role.VIEWER)
async def sign_out_everywhere(request: web.Request) -> web.StreamResponse:
    """End all sessions of the user."""
    answer, sessions, record = _onward("/"), console_of(request).sessions, request[SESSION].record
    await sessions.end_all(record.user_key, record.epoch)
    sessions.forget_cookie(answer)
    await note(request, "signed out everywhere")
    return answer


@access_rule(Role.VIEWER)
async def status(request: web.Request) -> web.StreamResponse:
    """What ``doctor`` says of the connection."""
    at, findings = await console_of(request).findings()
    return page(request, "status.html", at=at, findings=findings)


@access_rule(Role.OPERATOR, action="connection check")
async def examine(request: web.Request) -> web.StreamResponse:
    """Have the connection examined again."""
    await console_of(request).findings(again=True)
    raise HTTPSeeOther("/status")


@access_rule(Role.VIEWER, RouteKind.API)
async def metrics(request: web.Request) -> web.Response:
    """The figures of every job's newest run as Prometheus text, for a scraper with a bearer token."""
    context = console_of(request).context
    find = partial(runs.metrics, context.state_dir, database_url=context.database_url)
    return web.Response(body=await anyio.to_thread.run_sync(find), headers={"Content-Type": runs.METRICS_TYPE})
