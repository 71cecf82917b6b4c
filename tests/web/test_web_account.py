"""The account page: a user's own password, and the user's own sessions."""

import re
from pathlib import Path
from typing import Any

import pytest

from bulkid.web.auth import sessions
from bulkid.web.auth.users import token_hash
from tests.support.web_console import Browser, World, run_id_of, sheet
from tests.support.web_users import PASSWORD, session_cookie, sign_in, signed_in, slow_team, status_with, team, watching

NEW = "seventeen quiet atlases"


async def change(browser: Browser, current: str = PASSWORD, new: str = NEW, again: str | None = None) -> Any:
    await browser.get("/account")
    form = {"current": current, "new": new, "again": new if again is None else again}
    return await browser.post("/account/password", form)


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
        found = set(re.findall(r'name="session" value="(\w+)"', page.text))
        assert len(found) == 2
        assert page.text.count("this browser") == 1
        async with watching(there, run_id) as rest:
            assert (await here.post("/account/sessions/end", {"session": (found - {own}).pop()})).status == 200
            assert "event: ended" in await rest()
        assert (await there.get("/runs")).status == 401
        assert (await here.get("/runs")).status == 200
        assert ("olaf", "session ended") in actions(console)
        await here.post("/account/sessions/end", {"session": own})
        assert (await here.get("/runs")).status == 401


async def test_a_user_neither_sees_nor_ends_another_s_session(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "olaf") as olaf, signed_in(console, "ada") as ada:
        other = token_hash(next(iter(session_cookie(console, olaf).values())).partition("=")[2])
        assert other not in (await ada.get("/account")).text
        assert (await ada.post("/account/sessions/end", {"session": other})).status == 404
        assert (await olaf.get("/runs")).status == 200
        assert ("ada", "end of a session refused") in actions(console)


async def test_a_console_without_users_has_sessions_and_no_passwords(console: World) -> None:
    page = await console.browser.get("/account")
    assert "this browser" in page.text
    assert "Change password" not in page.text
    assert (await console.browser.post("/account/password", {"current": "x"})).status == 404
