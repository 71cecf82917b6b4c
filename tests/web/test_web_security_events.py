"""What the account page tells a user of the use of the account: the latest security events, out of the audit log."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from bulkid.errors import StateError
from bulkid.journal.console_store import AuditRecord, ConsoleStore
from tests.support.web_console import Browser, World, browser_at
from tests.support.web_users import HASH, PASSWORD, sign_in, signed_in, team

NEW = "seventeen quiet atlases"


async def events(browser: Browser) -> list[str]:
    """The lines of the table of events, without their times, the newest first."""
    page = (await browser.get("/account")).text
    table = page.split('<caption class="unseen">Latest security events</caption>')[1]
    lines = re.findall(r"<tr>\n(.*?)</tr>", table.split("<tbody>")[1], re.DOTALL)
    texts = [re.sub(r"<time.*?</time>|<[^>]+>", " ", line) for line in lines]
    return [" ".join(unescape(text).split()) for text in texts]


async def facts(browser: Browser) -> str:
    """What stands above the links of the account page, without its times."""
    text = (await browser.get("/account")).text.split("</dl>")[0].split("<dl")[1]
    return " ".join(re.sub(r"<time.*?</time>|<[^>]+>", " ", text).split())


def note(console: World, ago_s: float, *entry: str) -> None:
    """Add an entry of so many seconds ago: user, action, and where it has them subject and detail."""
    actor, action, subject, detail, *_ = (*entry, "", "")
    at = console.console.clock.now() - ago_s
    console.console.store.add_audit_entry(AuditRecord(at, actor, "192.0.2.9", action, subject, detail))


async def test_the_account_page_tells_what_was_done_with_the_account(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "ada") as ada, signed_in(console, "ada") as other:
        await sign_in(console.browser, "ADA", "wrong password")
        await ada.get("/tokens")
        await ada.post("/tokens", {"name": "nightly", "role": "viewer", "current": "wrong"})
        await ada.post("/tokens", {"name": "nightly", "role": "viewer", "current": PASSWORD})
        form = {"current": PASSWORD, "new": NEW, "again": NEW}
        await ada.get("/account")
        await ada.post("/account/password", {**form, "again": "x"})
        assert "Password" not in await facts(ada)
        await ada.post("/account/password", form)
        found = await events(ada)
        token = found.pop(2)
        assert found == [
            "password changed 127.0.0.1",
            "password change refused 127.0.0.1 The two new passwords differ: nothing was changed.",
            "token refused 127.0.0.1 The current password is wrong.",
            "sign-in refused 127.0.0.1 ADA Name or password are wrong.",
            "signed in 127.0.0.1",
            "signed in 127.0.0.1",
        ]
        assert re.fullmatch(r"token issued 127\.0\.0\.1 nightly viewer, expires at [0-9TZ:-]+", token)
        assert (await facts(ada)).endswith("Password changed from 127.0.0.1")
        assert (await other.get("/account")).status == 401


@pytest.mark.parametrize(
    ("method", "sent", "done", "refused"),
    [
        ("change_user", ("/account/password", {"new": NEW, "again": NEW}), "password changed", "change of a password"),
        ("add_token", ("/tokens", {"name": "nightly", "role": "viewer"}), "token issued", "token"),
    ],
)
async def test_what_fails_at_its_last_step_is_told_as_refused_and_not_as_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, method: str, sent: tuple[str, Any], done: str, refused: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StateError("The state database is full.")

    async with team(tmp_path) as console, signed_in(console, "ada") as ada:
        await ada.get("/account")
        monkeypatch.setattr(ConsoleStore, method, fail)
        address, form = sent
        assert (await ada.post(address, {"current": PASSWORD, **form})).status == 503
        found = await events(ada)
        assert done not in str(found)
        assert found[0] == f"{refused} refused 127.0.0.1 The state database is full."


async def test_a_user_reads_of_no_other_user_and_of_no_earlier_one_of_the_same_name(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        store = console.console.store
        note(console, 600.0, "eve", "signed in")
        note(console, 600.0, "root", "password changed", "eve")
        store.add_user("eve", "viewer", HASH, console.console.clock.now() - 300.0)
        for actor in ("root", "eve"):  # a user of the machine may have the name of one of the console
            note(console, 60.0, actor, "user added", "mallory")
            note(console, 60.0, actor, "password changed", "mallory")
        note(console, 60.0, "ada", "signed in")
        note(console, 60.0, "ada", "token issued", "eve")
        note(console, 60.0, "eve", "sheet uploaded", "accounts.csv")
        async with signed_in(console, "eve") as eve:
            assert await events(eve) == ["signed in 127.0.0.1"]
            assert "Password" not in await facts(eve)


async def test_what_an_admin_changes_in_a_terminal_is_named_with_the_admin(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        note(console, 120.0, "root", "password changed", "olaf")
        note(console, 60.0, "root", "role changed", "olaf", "viewer -> operator")
        async with signed_in(console, "olaf") as olaf:
            assert await events(olaf) == [
                "signed in 127.0.0.1",
                "role changed by root 192.0.2.9 viewer -> operator",
                "password changed by root 192.0.2.9",
            ]
            assert (await facts(olaf)).endswith("Password changed from 192.0.2.9 by root")


async def test_the_page_shows_ten_events_and_the_last_change_of_the_password_in_any_case(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        note(console, 120.0, "olaf", "password changed", "olaf")
        for number in range(20):
            note(console, 60.0, "olaf", "sign-in refused", "olaf", f"attempt {number}")
        async with signed_in(console, "olaf") as olaf:
            found = await events(olaf)
            assert found[0] == "signed in 127.0.0.1"
            assert found[1:] == [f"sign-in refused 192.0.2.9 attempt {number}" for number in range(19, 10, -1)]
            assert (await facts(olaf)).endswith("Password changed from 192.0.2.9")


async def test_attempts_in_another_spelling_of_the_name_are_the_user_s(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        for name in (" OLAF ", "\uff2flaf", "nobody"):
            await sign_in(console.browser, name, "wrong password")
        found, _ = console.console.store.audit_page(0, 10)
        assert [(entry.actor, entry.subject) for entry in found] == [
            ("nobody", "nobody"),
            ("olaf", "\uff2flaf"),
            ("olaf", " OLAF "),
        ]


async def test_markup_in_an_event_shows_as_text(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "ada") as ada:
        await ada.get("/tokens")
        await ada.post("/tokens", {"name": "<b>bold</b>", "role": "viewer", "current": PASSWORD})
        assert "<b>" not in (await ada.get("/account")).text
        assert "<b>bold</b> viewer" in (await events(ada))[0]


async def test_a_console_without_users_tells_of_its_links(console: World) -> None:
    async with browser_at(console.browser.base) as other:
        await console.browser.get("/account")
        await console.browser.post("/account/link")
        await other.enter(console.authenticator)
    assert await events(console.browser) == [
        "signed in 127.0.0.1",
        "sign-in link made 127.0.0.1",
        "signed in 127.0.0.1",
    ]
    assert "sign out everywhere" in (await console.browser.get("/account")).text
