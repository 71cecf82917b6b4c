"""The account page: a user's own password, and the user's own sessions."""

import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData

from bulkid.web.auth import sessions
from bulkid.web.auth.users import token_hash
from tests.support.web_console import Browser, World, run_id_of, sheet
from tests.support.web_users import PASSWORD, session_cookie, sign_in, signed_in, slow_team, status_with, team, watching

NEW = "seventeen quiet atlases"


async def change(browser: Browser, current: str = PASSWORD, new: str = NEW, again: str | None = None) -> Any:
    await browser.get("/account")
    form = {"current": current, "new": new, "again": new if again is None else again}
    return await browser.post("/account/password", form)


async def end(browser: Browser, *sessions: str, current: str = PASSWORD) -> Any:
    form = FormData([("csrf", browser.csrf), ("current", current), *(("session", each) for each in sessions)])
    headers = {"Origin": browser.base}
    async with browser.session.post(f"{browser.base}/account/sessions/end", data=form, headers=headers) as answer:
        return await browser._read(answer)


def actions(console: World) -> list[tuple[str, str]]:
    entries, _ = console.console.store.audit_page(0, 100)
    return [(entry.actor, entry.action) for entry in entries]


async def test_a_user_changes_the_password_which_ends_the_other_sessions(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "vera") as here, signed_in(console, "vera") as there:
        before = session_cookie(console, here)
        assert (await change(here)).status == 200
        assert session_cookie(console, here) != before
        assert await status_with(console, before) == 401
        assert (await there.get("/runs")).status == 401
        assert (await here.get("/runs")).status == 200
        assert ("vera", "password changed") in actions(console)
        assert (await sign_in(there, "vera")).status == 401
        assert (await sign_in(there, "vera", NEW)).status == 200


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"current": "wrong"}, "The current password is wrong."),
        ({"again": NEW + "x"}, "The two new passwords differ"),
        ({"new": "short"}, "12 to 200 characters"),
        ({"new": "password1234"}, "common, or easy to guess"),
    ],
)
async def test_a_refused_change_leaves_password_and_sessions(tmp_path: Path, form: dict[str, str], says: str) -> None:
    async with team(tmp_path) as console, signed_in(console, "olaf") as here, signed_in(console, "olaf") as there:
        page = await change(here, **form)
        assert page.status == 400
        assert says in page.text
        assert ("olaf", "password change refused") in actions(console)
        assert (await there.get("/runs")).status == 200
        assert (await sign_in(there, "olaf")).status == 200


async def test_wrong_current_passwords_count_in_the_throttle(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "olaf") as olaf:
        assert [(await change(olaf, "wrong")).status for _ in range(5)] == [400] * 5
        page = await change(olaf)
        assert page.status == 429
        assert int(page.headers["Retry-After"]) > 0


async def test_a_user_ends_one_session_and_its_event_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "END_CHECK_INTERVAL_S", 3600.0)
    async with slow_team(tmp_path) as console, signed_in(console, "olaf") as here, signed_in(console, "olaf") as there:
        run_id = run_id_of(await there.start(await there.preview("accounts.csv", sheet(5))))
        page = await here.get("/account")
        own = token_hash(next(iter(session_cookie(console, here).values())).partition("=")[2])
        (other,) = re.findall(r'name="session" value="(\w+)"', page.text)
        assert other != own
        assert page.text.count("this browser") == 1
        async with watching(there, run_id) as rest:
            assert (await end(here, other)).status == 200
            assert "event: ended" in await rest()
        assert (await there.get("/runs")).status == 401
        assert (await here.get("/runs")).status == 200
        assert ("olaf", "session ended") in actions(console)
        await end(here, own)
        assert (await here.get("/runs")).status == 401


async def test_a_user_neither_sees_nor_ends_another_s_session(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "olaf") as olaf, signed_in(console, "ada") as ada:
        other = token_hash(next(iter(session_cookie(console, olaf).values())).partition("=")[2])
        assert other not in (await ada.get("/account")).text
        assert (await end(ada, other)).status == 404
        assert (await olaf.get("/runs")).status == 200
        assert ("ada", "end of a session refused") in actions(console)


async def test_several_sessions_are_ended_at_once_with_one_password(tmp_path: Path) -> None:
    async with (
        team(tmp_path) as console,
        signed_in(console, "olaf") as here,
        signed_in(console, "olaf") as second,
        signed_in(console, "olaf") as third,
    ):
        others = re.findall(r'name="session" value="(\w+)"', (await here.get("/account")).text)
        assert len(others) == 2
        assert (await end(here, *others)).status == 200
        assert [(await each.get("/runs")).status for each in (here, second, third)] == [200, 401, 401]
        entry = console.console.store.audit_page(0, 1)[0][0]
        assert (entry.action, entry.detail) == ("session ended", "2 sessions")
        page = await here.get("/account")
        assert 'name="session"' not in page.text
        assert "Sign out everywhere" not in page.text, "there is nothing but this session"


async def test_ending_no_session_says_to_choose_one(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "olaf") as here, signed_in(console, "olaf"):
        page = await end(here)
        assert page.status == 400
        assert "Choose the sessions to end." in page.text


CONFIRMED = {
    "/account/sessions/end": "end of a session refused",
    "/signout-everywhere": "sign-out everywhere refused",
    "/tokens": "token refused",
}
"""What a user enters the password for again, and what the audit log says where it is wrong."""


@pytest.mark.parametrize("path", CONFIRMED)
async def test_a_session_alone_neither_ends_other_sessions_nor_issues_a_token(tmp_path: Path, path: str) -> None:
    async with team(tmp_path) as console, signed_in(console, "ada") as here, signed_in(console, "ada") as there:
        store = console.console.store
        (other,) = re.findall(r'name="session" value="(\w+)"', (await here.get("/account")).text)
        form = {"session": other, "name": "nightly", "role": "viewer"}
        for current in ({}, {"current": ""}, {"current": "wrong"}, {"current": PASSWORD.upper()}):
            page = await here.post(path, {**form, **current})
            assert page.status == 400
            assert "The current password is wrong." in page.text
            assert PASSWORD.upper() not in page.text
            assert store.audit_page(0, 1)[0][0].action == CONFIRMED[path]
        assert (await here.post(path, {**form, "current": "wrong"})).status == 400
        page = await here.post(path, {**form, "current": PASSWORD})
        assert page.status == 429, "guesses are counted with those of the sign-in page"
        assert int(page.headers["Retry-After"]) > 0
        assert store.tokens() == []
        assert [(await each.get("/runs")).status for each in (here, there)] == [200, 200]


async def test_what_was_entered_for_a_token_stays_where_the_password_is_wrong(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "ada") as ada:
        await ada.get("/tokens")
        form = {"name": "<nightly>", "role": "operator", "current": "wrong"}
        page = await ada.post("/tokens", form)
        assert 'name="name" value="&lt;nightly&gt;"' in page.text
        assert "<option selected>operator</option>" in page.text
        assert re.search(r'name="current"[^>]* aria-invalid="true" aria-describedby="token-error"', page.text)
        page = await ada.post("/tokens", {**form, "current": PASSWORD})
        assert "The console shows it only now" in page.text


async def test_a_console_without_users_asks_for_no_password(console: World) -> None:
    async with console.another_browser() as other:
        await other.enter(console.authenticator)
        page = await console.browser.get("/account")
        assert 'type="password"' not in page.text
        (session,) = re.findall(r'name="session" value="(\w+)"', page.text)
        assert (await end(console.browser, session, current="")).status == 200
        assert (await other.get("/runs")).status == 401
    page = await console.browser.get("/tokens")
    assert 'type="password"' not in page.text
    assert "only now" in (await console.browser.post("/tokens", {"name": "nightly", "role": "viewer"})).text
    await console.browser.post("/signout-everywhere")
    assert (await console.browser.get("/runs")).status == 401


async def test_a_console_without_users_has_sessions_and_no_passwords(console: World) -> None:
    page = await console.browser.get("/account")
    assert "this browser" in page.text
    assert "Change password" not in page.text
    assert (await console.browser.post("/account/password", {"current": "x"})).status == 404
