"""Sessions: what ends them, for every holder of the cookie, in every console, and with their event streams."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bulkid import runs
from bulkid.errors import StateError
from bulkid.journal.console_store import ConsoleStore, SessionStore
from bulkid.web.auth import sessions, users
from bulkid.web.auth.sessions import SESSION_S
from bulkid.web.auth.users import IDLE_S
from bulkid.web.console import ServeOptions
from tests.support.identity_wire import TLS
from tests.support.postgres_server import shared_server
from tests.support.web_console import Browser, World, browser_at, run_id_of, sheet, world
from tests.support.web_users import (
    HASH,
    PASSWORD,
    cookies_of,
    session_cookie,
    sign_in,
    signed_in,
    slow_team,
    status_with,
    team,
    watching,
)

# --- what ends a session


async def test_a_copied_cookie_is_worth_nothing_after_signing_out(console: World) -> None:
    async with console.another_browser() as browser:
        await browser.enter(console.authenticator)
        cookie = session_cookie(console, browser)
        assert await status_with(console, cookie) == 200
        await browser.post("/signout")
        assert await status_with(console, cookie) == 401
        assert console.console.sessions.cookie_name not in cookies_of(browser)


def _password(store: ConsoleStore) -> None:
    store.change_user("OLAF", password_hash=HASH)


def _role(store: ConsoleStore) -> None:
    store.change_user(" olaf ", role="viewer")


def _removed(store: ConsoleStore) -> None:
    store.remove_user("olaf", 1.0)


def _added_again(store: ConsoleStore) -> None:
    store.remove_user("olaf", 1.0)
    store.add_user("olaf", "operator", HASH, 2.0)


@pytest.mark.parametrize("change", [_password, _role, _removed, _added_again])
async def test_a_changed_user_s_sessions_and_their_event_streams_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[ConsoleStore], None]
) -> None:
    monkeypatch.setattr(sessions, "END_CHECK_INTERVAL_S", 0.01)
    async with slow_team(tmp_path) as console, signed_in(console, "olaf") as olaf:
        run_id = run_id_of(await olaf.start(await olaf.preview("accounts.csv", sheet(5))))
        cookie = session_cookie(console, olaf)
        async with watching(olaf, run_id) as rest:
            with runs.RunBrowser(
                tmp_path / "state"
            ) as run_browser:  # as the command line does it, from another process
                change(ConsoleStore(run_browser.journal))
            assert "event: ended" in await rest()
        assert (await olaf.get("/runs")).status == 401
        assert await status_with(console, cookie) == 401
        assert console.console.job_runner.job(run_id) is not None  # the run goes on


@pytest.mark.parametrize("path", ["/signout", "/signout-everywhere"])
async def test_signing_out_ends_the_session_s_event_streams_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(sessions, "END_CHECK_INTERVAL_S", 3600.0)
    async with slow_team(tmp_path) as console, signed_in(console, "olaf") as olaf, signed_in(console, "otto") as otto:
        run_id = run_id_of(await olaf.start(await olaf.preview("accounts.csv", sheet(5))))
        async with watching(olaf, run_id) as rest, watching(otto, run_id):
            await olaf.post(path, {"current": PASSWORD})
            assert "event: ended" in await rest()
            assert (await otto.get("/runs")).status == 200


@pytest.mark.parametrize("what", ["the session", "the run"])
async def test_an_event_stream_that_ends_because_the_database_is_away_tells_of_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(sessions, "END_CHECK_INTERVAL_S", 0.01)

    def away(*_: object) -> None:
        raise StateError("The database cannot be reached.")

    async with slow_team(tmp_path) as console, signed_in(console, "olaf") as olaf:
        run_id = run_id_of(await olaf.start(await olaf.preview("accounts.csv", sheet(5))))
        async with watching(olaf, run_id) as rest:
            if what == "the session":
                monkeypatch.setattr(console.console.sessions._store, "find", away)
            else:
                monkeypatch.setattr(console.console.run_browser, "run", away)
                monkeypatch.setattr(console.console.job_runner, "job", lambda _run_id: None)
            assert "event: ended" not in await rest()  # the browser connects again


async def test_a_password_that_is_changed_while_it_is_checked_lets_no_user_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with team(tmp_path) as console:
        right = users.is_right

        def change_meanwhile(expected: str, password: str) -> bool:
            found = right(expected, password)
            console.console.store.change_user("olaf", password_hash=HASH)
            return found

        monkeypatch.setattr(users, "is_right", change_meanwhile)
        page = await sign_in(console.browser, "olaf")
        assert page.status == 401
        assert (await console.browser.get("/runs")).status == 401


async def test_signing_in_again_ends_the_session_before(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "olaf") as olaf:
        first = session_cookie(console, olaf)
        await sign_in(olaf, "olaf")
        assert session_cookie(console, olaf) != first
        assert await status_with(console, first) == 401
        assert (await olaf.get("/runs")).status == 200


class Clock:
    """Wall-clock time that a test sets."""

    def __init__(self, now: float) -> None:
        self.at = now

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


@pytest.mark.parametrize(("step_s", "lasts_s"), [(300.0, SESSION_S), (IDLE_S - 1.0, SESSION_S), (IDLE_S, 0.0)])
async def test_a_session_ends_when_it_is_idle_and_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float, lasts_s: float
) -> None:
    async with team(tmp_path) as console, signed_in(console, "olaf") as olaf:
        begun = console.console.clock.now()
        clock = Clock(begun)
        monkeypatch.setattr(console.console.sessions, "_clock", clock)
        monkeypatch.setattr(sessions, "LAST_SEEN_INTERVAL_S", 0.0)
        lasted = 0.0
        while True:
            clock.at += step_s if step_s * 20 < lasts_s else max(step_s, min(IDLE_S - 1.0, lasts_s))
            if (await olaf.get("/runs")).status != 200:
                break
            lasted = clock.at - begun
        assert lasted <= lasts_s
        assert clock.at - begun >= min(lasts_s, SESSION_S) - IDLE_S


@pytest.mark.parametrize("path", ["/runs/{run}/rate", "/runs/{run}/events", "/status/summary"])
async def test_what_a_page_requests_without_its_user_keeps_no_session_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async with team(tmp_path) as console, signed_in(console, "olaf") as olaf:
        run = run_id_of(await olaf.start(await olaf.preview("accounts.csv", sheet(1))))
        await olaf.run_ended(run)
        clock = Clock(console.console.clock.now() + sessions.LAST_SEEN_INTERVAL_S + 1.0)
        monkeypatch.setattr(console.console.sessions, "_clock", clock)
        assert (await olaf.get("/runs")).status == 200  # the session's last request, until the user comes back
        clock.at += IDLE_S - 1.0
        assert (await olaf.get(path.format(run=run))).status == 200
        clock.at += 1.0
        assert (await olaf.get("/runs")).status == 401


async def test_a_page_is_shown_where_the_time_of_its_request_cannot_be_written(
    console: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StateError("The disk is full.")

    monkeypatch.setattr(sessions, "LAST_SEEN_INTERVAL_S", -1.0)
    monkeypatch.setattr(SessionStore, "touch", full)
    assert (await console.browser.get("/runs")).status == 200


async def test_two_consoles_on_one_database_know_and_end_the_same_sessions(tmp_path: Path) -> None:
    with shared_server().database() as url:
        with runs.RunBrowser(tmp_path / "one" / "state", url) as run_browser:
            ConsoleStore(run_browser.journal).add_user("ada", "admin", HASH, 0.0)
        async with (
            world(tmp_path / "one", database_url=url) as one,
            world(tmp_path / "two", database_url=url) as two,
            signed_in(one, "ada") as ada,
        ):
            value = cookies_of(ada)[one.console.sessions.cookie_name]
            there = {"Cookie": f"{two.console.sessions.cookie_name}={value}"}
            async with browser_at(two.browser.base) as browser:
                page = await browser.get("/account", headers=there)
                assert page.status == 200
                await browser.post("/signout", headers=there)
            assert (await ada.get("/runs")).status == 401


async def test_the_state_holds_the_hash_of_a_session_s_id_alone(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "olaf") as olaf:
        value = cookies_of(olaf)[console.console.sessions.cookie_name]
        content = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir() if path.is_file())
        assert sessions.token_hash(value).encode() in content
        assert value.encode() not in content
        assert value not in (await olaf.get("/account")).text


async def test_a_session_of_a_console_without_users_ends_with_it_and_with_the_first_user(tmp_path: Path) -> None:
    async with world(tmp_path) as before:
        value = cookies_of(before.browser)[before.console.sessions.cookie_name]
    async with world(tmp_path) as console:
        cookie = {"Cookie": f"{console.console.sessions.cookie_name}={value}"}
        assert await status_with(console, cookie) == 401
        assert (await console.browser.get("/runs")).status == 200
        console.console.store.add_user("ada", "admin", HASH, 0.0)
        assert (await console.browser.get("/runs")).status == 401
        page = await console.browser.get(f"/enter?key={console.authenticator.new_link()}")
        assert page.status == 401
        assert "There are users now" in page.text


# --- tokens


async def test_a_token_may_do_no_more_than_its_owner_and_ends_with_the_owner(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "ada") as ada:
        await ada.get("/tokens")
        issued = await ada.post("/tokens", {"name": "nightly", "role": "operator", "current": PASSWORD})
        token = "bulkid_" + issued.text.split("<code>bulkid_")[1].split("<")[0]

        async def call(method: str, path: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            async with ada.session.request(method, f"{ada.base}/api/v1{path}", headers=headers) as answer:
                return answer.status

        assert await call("POST", "/runs/nope/resume") == 404
        console.console.store.change_user("ada", role="viewer")
        assert await call("POST", "/runs/nope/resume") == 403
        assert await call("GET", "/runs") == 200
        console.console.store.add_user("eve", "admin", HASH, 0.0)
        async with signed_in(console, "eve") as eve:
            assert "(as viewer: its owner's role)" in (await eve.get("/tokens")).text
        console.console.store.remove_user("ADA ", 1.0)
        assert await call("GET", "/runs") == 401
        console.console.store.add_user("ada", "admin", HASH, 2.0)
        assert await call("GET", "/runs") == 401


# --- over TLS


@asynccontextmanager
async def tls_team(folder: Path) -> AsyncIterator[World]:
    serve = ServeOptions(port=0, certfile=TLS / "server.pem", keyfile=TLS / "server.key", public_names=("localhost",))
    async with team(folder, serve=serve) as console:
        yield console


async def test_signing_out_over_tls_deletes_the_cookie_with_its_attributes(tmp_path: Path) -> None:
    trusted = ssl.create_default_context(cafile=str(TLS / "server.pem"))
    async with tls_team(tmp_path) as console:
        base = f"https://localhost:{console.console.serve.port}"
        connector = aiohttp.TCPConnector(ssl=trusted)
        async with aiohttp.ClientSession(connector=connector) as session:
            browser = Browser(session, base)
            page: Any = await sign_in(browser, "olaf")
            assert page.status == 200
            page = await browser.post("/signout", allow_redirects=False)
            (deleted,) = page.headers.getall("Set-Cookie")
            assert deleted.startswith("__Host-bulkid=")
            for attribute in ("Max-Age=0", "Secure", "HttpOnly", "Path=/", "SameSite=Strict"):
                assert attribute in deleted
            assert "Domain" not in deleted
            assert (await browser.get("/runs")).status == 401


async def test_signing_out_behind_a_proxy_deletes_the_cookie_with_its_attributes(tmp_path: Path) -> None:
    serve = ServeOptions(port=0, behind_proxy=True, public_names=("bulkid.example.com",))
    headers = {"Host": "bulkid.example.com", "Origin": "https://bulkid.example.com"}
    async with team(tmp_path, serve=serve) as console:
        page = await console.browser.post(
            "/signin", {"name": "olaf", "password": PASSWORD}, headers=headers, allow_redirects=False
        )
        cookie = page.headers["Set-Cookie"].partition(";")[0]  # the client of this test drops it: it is for TLS alone
        page = await console.browser.get("/account", headers={**headers, "Cookie": cookie})
        assert page.status == 200
        page = await console.browser.post("/signout", headers={**headers, "Cookie": cookie}, allow_redirects=False)
        assert page.status == 303
        (deleted,) = page.headers.getall("Set-Cookie")
        assert "Secure" in deleted
        assert "Max-Age=0" in deleted
        assert (await console.browser.get("/runs", headers={**headers, "Cookie": cookie})).status == 401
