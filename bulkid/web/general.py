"""Signing in and out, the state of the connection, and the files that pages refer to."""

import math
from functools import partial

import anyio.to_thread
from aiohttp import web
from aiohttp.web import HTTPSeeOther

from bulkid import runs
from bulkid.planning import humanize_seconds
from bulkid.web.actors import Role
from bulkid.web.bodies import form_of
from bulkid.web.book import note, note_refusal
from bulkid.web.console import console_of
from bulkid.web.doors import Kind, door
from bulkid.web.entrance import LocalEntrance
from bulkid.web.errors import RefusedError
from bulkid.web.pages import STATIC, page
from bulkid.web.people import SignInError, TeamEntrance
from bulkid.web.security import actor_of, client_address, local_path
from bulkid.web.sessions import begin_session, session_of

_A_YEAR_S = 31_536_000

LONGEST_NAME = 128
"""Characters of a user's name."""


@door(None, Kind.DATA)
async def static(request: web.Request) -> web.Response:
    """A style sheet, script or picture. Its address changes with its content, so that browsers may keep it."""
    name = request.match_info["name"]
    if name not in STATIC:
        raise RefusedError(404, "There is no such file.")
    content, kind = STATIC[name]
    kept = f"public, max-age={_A_YEAR_S}, immutable" if "v" in request.query else "no-cache"
    return web.Response(body=content, content_type=kind, charset="utf-8", headers={"Cache-Control": kept})


@door(None)
async def enter(request: web.Request) -> web.StreamResponse:
    """Let in whoever opens a link that has not been used yet."""
    console = console_of(request)
    entrance = console.entrance
    opened = None
    if isinstance(entrance, LocalEntrance):
        opened = entrance.enter(request.query.get("key", ""), console.clock.now())
    if opened is None:
        await note_refusal(request, "link refused")
        failed = "This link has been used already, or is of an earlier start of the console."
        return page(request, "signin.html", status=401, next="/", failed=failed)
    begin_session(request, opened)
    await note(request, "signed in", actor=str(opened["user"]))
    return _onward("/")


@door(None)
async def sign_in(request: web.Request) -> web.StreamResponse:
    """Let a user in by name and password."""
    entrance = console_of(request).entrance
    if not isinstance(entrance, TeamEntrance):
        raise RefusedError(404, "There are no users here: the link in the terminal lets in.")
    form = await form_of(request)
    name, onward = str(form.get("name", ""))[:LONGEST_NAME], local_path(form.get("next"))
    try:
        opened = await entrance.sign_in(name, str(form.get("password", "")), client_address(request))
    except SignInError as error:
        await note_refusal(request, "sign-in refused", name, error.message)
        failed = error.message
        if error.wait_s:
            failed += f" Try again in {humanize_seconds(error.wait_s)}."
        answer = page(request, "signin.html", status=429 if error.wait_s else 401, next=onward, failed=failed)
        if error.wait_s:
            answer.headers["Retry-After"] = str(math.ceil(error.wait_s))
        return answer
    begin_session(request, opened)
    await note(request, "signed in", actor=str(opened["user"]))
    return _onward(onward)


def _onward(path: str) -> web.Response:
    """Go on to a page. Not raised: the session's cookie is set on answers that a handler returns."""
    return web.Response(status=303, headers={"Location": path})


@door(Role.VIEWER)
async def sign_out(request: web.Request) -> web.StreamResponse:
    """End this session."""
    session_of(request).invalidate()
    return _onward("/")


@door(Role.VIEWER)
async def sign_out_everywhere(request: web.Request) -> web.StreamResponse:
    """End all sessions of whoever asks."""
    entrance = console_of(request).entrance
    if isinstance(entrance, LocalEntrance):
        entrance.sign_out_everywhere()
    elif isinstance(entrance, TeamEntrance):
        await entrance.sign_out_everywhere(actor_of(request).name)
    await note(request, "signed out everywhere")
    session_of(request).invalidate()
    return _onward("/")


@door(Role.VIEWER)
async def account(request: web.Request) -> web.StreamResponse:
    """Who one is, and the way out."""
    return page(request, "account.html", link="")


@door(Role.ADMIN)
async def new_link(request: web.Request) -> web.StreamResponse:
    """A link that lets another browser of this machine in, once."""
    entrance = console_of(request).entrance
    if not isinstance(entrance, LocalEntrance):
        raise RefusedError(404, "With users there are no links: everybody signs in.")
    link = f"{request.url.origin()}/enter?key={entrance.new_link()}"
    return page(request, "account.html", link=link)


@door(Role.VIEWER)
async def status(request: web.Request) -> web.StreamResponse:
    """What ``doctor`` says of the connection."""
    at, findings = await console_of(request).findings()
    return page(request, "status.html", at=at, findings=findings)


@door(Role.OPERATOR)
async def examine(request: web.Request) -> web.StreamResponse:
    """Have the connection examined again."""
    await console_of(request).findings(again=True)
    raise HTTPSeeOther("/status")


@door(Role.VIEWER, Kind.API)
async def metrics(request: web.Request) -> web.Response:
    """The figures of every job's newest run as Prometheus text, for a scraper with a bearer token."""
    context = console_of(request).context
    find = partial(runs.metrics, context.state_dir, database_url=context.database_url)
    return web.Response(body=await anyio.to_thread.run_sync(find), headers={"Content-Type": runs.METRICS_TYPE})
