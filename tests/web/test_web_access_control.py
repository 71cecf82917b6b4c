"""Access control and the headers that restrict browsers, over every route."""

import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bulkid.errors import UsageError
from bulkid.journal.console_store import SessionRecord
from bulkid.web import middleware
from bulkid.web.auth.access import Role, Route, RouteKind
from bulkid.web.auth.sessions import SESSION_S, is_session_valid
from bulkid.web.auth.users import IDLE_S, LocalAuthenticator, issue_token
from bulkid.web.console import CONSOLE, ServeOptions
from bulkid.web.middleware import local_path
from bulkid.web.server import ROUTES, make_app, require_safe
from tests.support.web_console import Browser, World, browser_at, run_id_of, sheet, world
from tests.support.web_programs import ADA
from tests.support.web_users import PASSWORD, session_cookie, signed_in, team

OPEN = {("GET", "/static/{name}"), ("GET", "/health"), ("GET", "/enter"), ("POST", "/signin")}
"""The routes that need no session."""


def _path(pattern: str) -> str:
    return re.sub(r"{(\w+)}", "abcdefgh23456789", pattern)


def _routes(console: World) -> list[Route]:
    """The routes of the application, each with the role that its handler requires."""
    app = make_app(console.console)
    assert app[CONSOLE] is console.console
    found = []
    for served in app.router.routes():
        route = app[middleware.ROUTES][served.handler]
        assert served.resource is not None
        assert (route.path, route.handler) == (served.resource.canonical, served.handler)
        if served.method != "HEAD":
            assert route.method == served.method
            found.append(route)
    assert found == list(ROUTES)
    return found


async def test_a_look_at_a_sign_in_link_without_opening_it_does_not_use_it_up(console: World) -> None:
    path = f"/enter?key={console.authenticator.new_link()}"
    async with console.another_browser() as browser:
        async with browser.session.head(browser.base + path, allow_redirects=False) as answer:
            assert answer.status == 405
        assert (await browser.get(path)).status == 200


async def test_without_a_session_only_the_open_routes_answer(
    console: World,
) -> None:
    async with console.another_browser() as stranger:
        for route in _routes(console):
            method, pattern = route.method, route.path
            if (method, pattern) in OPEN:
                assert route.role is None
                continue
            assert route.role is not None, f"{method} {pattern} requires no role"
            async with stranger.session.request(
                method, stranger.base + _path(pattern), headers={"Origin": stranger.base}, allow_redirects=False
            ) as answer:
                text = await answer.text()
            assert answer.status == 401, f"{method} {pattern} answers {answer.status}"
            if route.kind is RouteKind.PAGE:
                assert "<h1>Sign in</h1>" in text
            else:
                assert '"unauthorized"' in text


OWN = {"/signin", "/signout", "/signout-everywhere", "/account/password", "/account/sessions/end"}
"""The routes by which users change what is theirs alone."""

READING = {"/export"}
"""The routes that read alone, and are no GET because they take long and are recorded."""

ADMIN_ONLY = {"/account/link", "/tokens", "/tokens/{token}/revoke", "/audit", "/audit.csv"}


def test_a_change_requires_an_operator_and_the_pages_of_admins_an_admin() -> None:
    for route in ROUTES:
        if route.path in ADMIN_ONLY:
            assert route.role is Role.ADMIN, route
        elif route.method != "GET" and route.path not in OWN | READING:
            assert route.role is Role.OPERATOR, route
    assert {route.path for route in ROUTES} >= ADMIN_ONLY | OWN | READING


async def test_every_route_answers_its_role_and_higher_ones_alone(tmp_path: Path) -> None:
    async with team(tmp_path) as console, AsyncExitStack() as stack:
        routes, store = [route for route in _routes(console) if route.role is not None], console.console.store
        tokens = {role: issue_token(store, role.word, role, ADA, 0.0) for role in Role}
        revoked = issue_token(store, "revoked", Role.ADMIN, ADA, 0.0)
        (token_id,) = (each.token_id for each in store.tokens() if each.name == "revoked")
        store.revoke_token(token_id, 0.0)
        ended = await stack.enter_async_context(signed_in(console, "ada"))
        cookie = session_cookie(console, ended)
        await ended.post("/signout")
        browsers = {
            role: await stack.enter_async_context(signed_in(console, name))
            for role, name in ((Role.VIEWER, "vera"), (Role.OPERATOR, "olaf"), (Role.ADMIN, "ada"))
        }

        async def status_and_text(browser: Browser, route: Route, **headers: str) -> tuple[int, str]:
            async with browser.session.request(
                route.method,
                browser.base + _path(route.path),
                headers={"Origin": browser.base, **headers},
                allow_redirects=False,
            ) as answer:
                return answer.status, (await answer.read()).decode("utf-8", "replace")

        for route in routes:
            is_api, where = route.kind is RouteKind.API, f"{route.method} {route.path}"
            for role in Role:
                bearer = {"Authorization": f"Bearer {tokens[role]}"}
                by_token = await status_and_text(console.browser, route, **bearer)
                by_session = await status_and_text(browsers[role], route)
                status, text = by_token if is_api else by_session
                assert (by_session if is_api else by_token)[0] == 401, where
                if role < route.role:
                    assert status == 403, where
                    assert f"You need the {route.role.word} role" in text, where
                elif is_api or route.method == "GET":
                    assert status not in {401, 403}, where
                    assert status < 500, where
                else:  # without a CSRF token
                    assert status == (415 if route.token_in_body else 403), where
            assert (await status_and_text(console.browser, route, Authorization=f"Bearer {revoked}"))[0] == 401, where
            assert (await status_and_text(console.browser, route, **cookie))[0] == 401, where


async def test_every_route_that_changes_something_refuses_a_request_without_the_right_token(console: World) -> None:
    browser = console.browser
    changing = [
        (route.method, route.path)
        for route in _routes(console)
        if route.method != "GET" and route.kind is not RouteKind.API and (route.method, route.path) not in OPEN
    ]
    assert len(changing) > 10
    for method, pattern in changing:
        for token in ("", "x" * 32, "é"):
            form: Any = {"csrf": token}
            if pattern == "/sheets":
                form = aiohttp.FormData()
                form.add_field("csrf", token)
                form.add_field("sheet", sheet(1), filename="a.csv")
            async with browser.session.request(
                method, browser.base + _path(pattern), data=form, headers={"Origin": browser.base}
            ) as answer:
                assert answer.status == 403, f"{method} {pattern} answers {answer.status} to the token {token!r}"
    assert not (console.console.state_dir / "uploads").exists()


async def test_an_upload_without_a_token_before_the_file_is_refused(console: World) -> None:
    form = aiohttp.FormData()
    form.add_field("sheet", sheet(1), filename="a.csv")
    form.add_field("csrf", console.browser.csrf)
    async with console.browser.session.post(
        f"{console.browser.base}/sheets", data=form, headers={"Origin": console.browser.base}
    ) as answer:
        assert answer.status == 403


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "http://evil.example",
        "http://127.0.0.1:1",
        "http://127.0.0.1",  # port 80: the page of another program
        "https://127.0.0.1:%PORT%",
        "http://localhost:%PORT%",
        "127.0.0.1:%PORT%",
        "https://127.0.0.1.evil.example",
    ],
)
async def test_what_another_origin_sends_is_refused_though_its_token_is_right(
    console: World, origin: str | None
) -> None:
    headers = {} if origin is None else {"Origin": origin.replace("%PORT%", str(console.console.serve.port))}
    async with console.browser.session.post(
        f"{console.browser.base}/account/link", data={"csrf": console.browser.csrf}, headers=headers
    ) as answer:
        assert answer.status == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://bulkid.example.com", 303),
        ("https://BULKID.example.com:8443", 303),  # nginx leaves the port out of $host
        ("http://bulkid.example.com", 403),
        ("https://bulkid.example.com.evil.example", 403),
    ],
)
async def test_behind_a_proxy_an_origin_has_tls_and_a_public_name(tmp_path: Path, origin: str, status: int) -> None:
    serve = ServeOptions(port=0, behind_proxy=True, public_names=("bulkid.example.com",))
    async with team(tmp_path, serve=serve) as console:
        page = await console.browser.post(
            "/signin",
            {"name": "olaf", "password": PASSWORD},
            headers={"Host": "bulkid.example.com", "Origin": origin},
            allow_redirects=False,
        )
        assert page.status == status
        assert page.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_browsers_are_told_to_use_tls_alone_where_no_other_service_shares_the_host_name() -> None:
    certfile = Path("console.pem")
    assert ServeOptions(port=443, certfile=certfile).is_tls_alone
    assert not ServeOptions(port=8766, certfile=certfile).is_tls_alone
    assert not ServeOptions(port=443).is_tls_alone


async def test_what_a_browser_says_to_come_from_another_site_is_refused(console: World) -> None:
    page = await console.browser.post("/account/link", headers={"Sec-Fetch-Site": "cross-site"})
    assert page.status == 403
    assert (await console.browser.post("/account/link", headers={"Sec-Fetch-Site": "same-origin"})).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:1", "user@127.0.0.1", "", "[::1"]
)
async def test_a_host_that_is_not_the_console_s_own_is_refused(console: World, host: str) -> None:
    page = await console.browser.get("/runs", headers={"Host": host})
    assert page.status in {400, 421}
    assert "Runs" not in page.text


async def test_its_own_names_lead_to_the_console(console: World) -> None:
    port = console.console.serve.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"):
        assert (await console.browser.get("/runs", headers={"Host": host})).status == 200


async def test_every_answer_confines_what_a_browser_does_with_it(console: World) -> None:
    for path in ("/", "/runs", "/nowhere", "/runs/nope", "/static/console.js", "/static/nope", "/status"):
        page = await console.browser.get(path)
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Referrer-Policy"] == "same-origin"
        assert "Server" not in page.headers


async def test_pages_hold_no_script_and_no_style_of_their_own(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(3))
    run_id = run_id_of(await console.browser.start(path))
    await console.browser.run_ended(run_id)
    for each in ("/", path, f"/runs/{run_id}", "/runs", "/status", "/account"):
        text = (await console.browser.get(each)).text
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", text, re.IGNORECASE)


async def test_a_link_lets_in_once(console: World) -> None:
    token = console.authenticator.new_link()
    async with console.another_browser() as first, console.another_browser() as second:
        assert (await first.get(f"/enter?key={token}")).status == 200
        assert (await first.get("/runs")).status == 200
        assert (await second.get(f"/enter?key={token}")).status == 401
        assert (await second.get("/runs")).status == 401


async def test_signing_out_ends_this_session_and_signing_out_everywhere_all_of_them(console: World) -> None:
    async with console.another_browser() as other, console.another_browser() as third:
        await other.enter(console.authenticator)
        await third.enter(console.authenticator)
        await third.post("/signout")
        assert (await third.get("/runs")).status == 401
        assert (await other.get("/runs")).status == 200
        await other.post("/signout-everywhere")
        assert (await other.get("/runs")).status == 401
        assert (await console.browser.get("/runs")).status == 401


async def test_a_cookie_of_another_start_or_a_forged_one_opens_nothing(console: World, tmp_path: Path) -> None:
    name = f"bulkid-{console.console.serve.port}"
    async with world(tmp_path / "other") as other:
        (theirs,) = [cookie.value for cookie in other.browser.session.cookie_jar]
    for value in (theirs, "gAAAAA", "", "x" * 5000):
        async with browser_at(console.browser.base) as stranger:
            assert (await stranger.get("/runs", headers={"Cookie": f"{name}={value}"})).status == 401


async def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(console: World) -> None:
    async with console.another_browser() as other:
        page = await other.get(f"/enter?key={console.authenticator.new_link()}", allow_redirects=False)
        cookie = page.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie


def test_a_session_ends_after_its_time_and_when_it_is_left_alone() -> None:
    def lives(seen: float, now: float) -> bool:
        return is_session_valid(SessionRecord("hash", "ada", 1, "", 0.0, seen), now, IDLE_S)

    assert lives(IDLE_S - 1.0, IDLE_S + 1.0)
    assert not lives(0.0, IDLE_S)
    assert lives(SESSION_S - 2.0, SESSION_S - 1.0)
    assert not lives(SESSION_S - 1.0, SESSION_S)
    assert lives(60.0, 0.0)  # the clock was set back
    assert not lives(IDLE_S, 0.0)
    assert (IDLE_S, SESSION_S) == (30 * 60, 12 * 3600)  # ASVS 4.0, 3.3.2, level 2


@pytest.mark.parametrize(
    "serve",
    [
        ServeOptions(host="::"),
        ServeOptions(host="192.0.2.1"),
        ServeOptions(host="::", behind_proxy=True, public_names=("bulkid.example.com",)),
        ServeOptions(host="127.0.0.1", behind_proxy=True, public_names=("bulkid.example.com",)),
        ServeOptions(host="::", certfile=Path("cert.pem")),
    ],
)
def test_without_users_the_console_is_served_to_this_machine_alone(serve: ServeOptions) -> None:
    with pytest.raises(UsageError, match="no users"):
        require_safe(serve, has_users=LocalAuthenticator.has_users)


def test_with_users_other_addresses_need_tls_or_a_proxy_that_is_named() -> None:
    with pytest.raises(UsageError, match="without encryption"):
        require_safe(ServeOptions(host="192.0.2.1"), has_users=True)
    with pytest.raises(UsageError, match="name that browsers use"):
        require_safe(ServeOptions(behind_proxy=True), has_users=True)
    require_safe(ServeOptions(host="192.0.2.1", certfile=Path("cert.pem")), has_users=True)
    require_safe(ServeOptions(behind_proxy=True, public_names=("bulkid.example.com",)), has_users=True)


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "", "/\r\nX: y", "/\x7f", "/\u2028x", None]
)
def test_after_signing_in_no_user_is_sent_to_another_site(wanted: object) -> None:
    assert local_path(wanted) == "/"


async def test_a_defect_shows_no_traceback(console: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_more: object) -> None:
        msg = "secret detail"
        raise RuntimeError(msg)

    monkeypatch.setattr(console.console.run_browser, "runs", broken)
    page = await console.browser.get("/runs")
    assert page.status == 500
    assert "secret detail" not in page.text
    assert "bulkid failed with an internal error" in page.text


async def test_a_handler_that_is_not_in_the_table_of_routes_is_refused_even_with_a_session(
    console: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgotten(_request: web.Request) -> web.Response:
        return web.Response(text="reached")

    app = make_app(console.console)
    app.router.add_get("/forgotten", forgotten)
    async with TestServer(app) as server:
        monkeypatch.setattr(console.browser, "base", str(server.make_url("")).rstrip("/"))
        own = {"Host": f"127.0.0.1:{console.console.serve.port}"}
        assert (await console.browser.get("/runs", headers=own)).status == 200
        page = await console.browser.get("/forgotten", headers=own)
    assert page.status == 403
    assert "reached" not in page.text
