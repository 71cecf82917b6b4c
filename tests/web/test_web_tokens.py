"""The end of API tokens: chosen when one is issued, shown, and kept to the second."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bulkid.clock import SystemClock
from bulkid.journal.console_store import AuditRecord
from bulkid.web.auth.access import Role
from bulkid.web.auth.users import issue_token
from tests.support.web_console import Browser, Page, World, browser_at
from tests.support.web_programs import ADA
from tests.support.web_users import PASSWORD, signed_in, team

DAY_S = 86_400.0


class Calendar(SystemClock):
    """A clock of which a test sets the time of day."""

    def __init__(self, at: float) -> None:
        self.at = at

    def now(self) -> float:
        return self.at


async def issued(browser: Browser, **more: str) -> Page:
    await browser.get("/tokens")
    return await browser.post("/tokens", {"name": "nightly", "role": "operator", "current": PASSWORD, **more})


def token_of(page: Page) -> str:
    found = re.search(r"<code>(bulkid_[^<]+)</code>", page.text)
    assert found, page.text
    return found[1]


async def ask(console: World, token: str, path: str = "/api/v1/runs", method: str = "GET") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        browser_at(console.browser.base) as program,
        program.session.request(method, f"{program.base}{path}", headers=headers) as answer,
    ):
        return answer.status, await answer.text()


def newest(console: World) -> AuditRecord:
    return console.console.store.audit_page(0, 1)[0][0]


def when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@pytest.mark.parametrize(
    ("form", "days"), [({}, 90), ({"days": "30"}, 30), ({"days": "90"}, 90), ({"days": "365"}, 365)]
)
async def test_a_token_is_issued_with_an_end_that_the_page_and_the_audit_log_show(
    tmp_path: Path, form: dict[str, str], days: int
) -> None:
    async with team(tmp_path) as console, signed_in(console, "ada") as ada:
        assert '<option value="90" selected>90 days</option>' in (await ada.get("/tokens")).text
        clock = console.console.clock = Calendar(1.8e9)
        page = await issued(ada, **form)
        end = clock.at + days * DAY_S
        assert [token.expires_at for token in console.console.store.tokens()] == [end]
        assert page.text.count(when(end)) == 2, "beside the new token, and in the list"
        entry = newest(console)
        stamp = when(end).replace(" UTC", "Z").replace(" ", "T")
        assert (entry.action, entry.detail) == ("token issued", f"operator, expires at {stamp}")


@pytest.mark.parametrize("days", ["", "0", "-1", "31", "3650", "90.0", "0x5a", "\u0669\u0660", "never"])
async def test_a_token_has_no_other_end_than_those_of_the_list(tmp_path: Path, days: str) -> None:
    async with team(tmp_path) as console, signed_in(console, "ada") as ada:
        page = await issued(ada, days=days)
        assert page.status == 400
        assert "Choose one of the listed numbers of days" in page.text
        assert '<select name="days" aria-invalid="true" aria-describedby="token-error" autofocus>' in page.text
        assert console.console.store.tokens() == []
        assert newest(console).action == "token refused"


async def test_the_chosen_end_stays_where_the_password_is_wrong(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "ada") as ada:
        page = await issued(ada, days="365", current="wrong")
        assert page.status == 400
        assert '<option value="365" selected>' in page.text
        assert page.text.count(" selected>") == 2, "the role, and the days"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1/runs"), ("POST", "/api/v1/runs/nope/resume"), ("GET", "/metrics")]
)
async def test_an_expired_token_is_refused_with_what_to_do_and_noted(tmp_path: Path, method: str, path: str) -> None:
    async with team(tmp_path) as console, signed_in(console, "ada") as ada:
        clock = console.console.clock = Calendar(1.8e9)
        token = token_of(await issued(ada, days="30"))
        expected = 404 if method == "POST" else 200
        clock.at += 30 * DAY_S - 0.5
        assert (await ask(console, token, path, method))[0] == expected
        assert "expired</span>" not in (await ada.get("/tokens")).text
        clock.at += 0.5
        status, text = await ask(console, token, path, method)
        assert status == 401
        assert "The token nightly expired at 2027-02-14T08:00:00Z." in text
        assert "An admin of the console issues a new one on the page API tokens." in text
        assert token not in text
        entry = newest(console)
        assert (entry.actor, entry.action, entry.address) == ("token nightly", "expired token refused", "127.0.0.1")
        assert entry.detail == "The token nightly expired at 2027-02-14T08:00:00Z."
        page = (await ada.get("/tokens")).text
        assert '<span class="badge failed">expired</span>' in page
        (address,) = re.findall(r'action="(/tokens/[^"]+/revoke)"', page)
        page = (await ada.post(address)).text
        assert "expired</span>" not in page
        assert "/revoke" not in page, "there is nothing to revoke any more"
        assert newest(console).action == "token revoked"


async def test_a_program_that_goes_on_with_an_expired_token_does_not_fill_the_audit_log(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        token = issue_token(console.console.store, "job", Role.VIEWER, ADA, 0.0, expires_at=1.0)
        before = console.console.store.audit_page(0, 1)[1]
        assert [(await ask(console, token))[0] for _ in range(30)] == [401] * 30
        assert console.console.store.audit_page(0, 1)[1] - before == 10


async def test_a_token_that_is_revoked_and_expired_is_an_unknown_one(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "ada") as ada:
        token = issue_token(console.console.store, "job", Role.VIEWER, ADA, 0.0, expires_at=1.0)
        console.console.store.revoke_token(console.console.store.tokens()[0].token_id, 2.0)
        status, text = await ask(console, token)
        assert (status, "unknown or revoked" in text) == (401, True)
        page = (await ada.get("/tokens")).text
        assert "revoked" in page
        assert "expired</span>" not in page


async def test_a_token_of_an_older_version_has_no_end_and_is_valid(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "ada") as ada:
        token = issue_token(console.console.store, "job", Role.VIEWER, ADA, 0.0)
        console.console.clock = Calendar(9e9)
        assert (await ask(console, token))[0] == 200
        assert '<td data-label="Expires">no end</td>' in (await ada.get("/tokens")).text
