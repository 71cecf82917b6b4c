"""Consoles with users who sign in, their sessions, and passwords that are hashed cheaply."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from bulkid import runs
from bulkid.journal.console_store import ConsoleStore
from bulkid.model import QuotaRule
from bulkid.web.auth.passwords import hash_password
from bulkid.web.console import ServeOptions
from tests.support.web_console import LONGEST_S, QUICK_HASHER, Browser, Page, World, browser_at, world

PASSWORD = "correct horse battery"


HASH = hash_password(PASSWORD, QUICK_HASHER)


USERS = {"vera": "viewer", "olaf": "operator", "otto": "operator", "ada": "admin"}


def add_users(folder: Path, users: dict[str, str]) -> None:
    """Add users to the state of a console; they all have one password."""
    with runs.RunBrowser(folder / "state") as run_browser:
        store = ConsoleStore(run_browser.journal)
        for name, role in users.items():
            store.add_user(name, role, HASH, 0.0)


@asynccontextmanager
async def team(
    folder: Path, *, serve: ServeOptions | None = None, require_approval: bool = False, **options: Any
) -> AsyncIterator[World]:
    """A console with four users."""
    add_users(folder, USERS)
    async with world(folder, serve=serve or ServeOptions(port=0, require_approval=require_approval), **options) as made:
        yield made


@asynccontextmanager
async def signed_in(console: World, name: str) -> AsyncIterator[Browser]:
    """The browser of a user who has signed in."""
    async with browser_at(console.browser.base) as browser:
        page = await sign_in(browser, name)
        assert page.status == 200, page.text
        yield browser


async def sign_in(browser: Browser, name: str, password: str = PASSWORD, onward: str = "/") -> Page:
    """Send the form of the sign-in page."""
    return await browser.post("/signin", {"name": name, "password": password, "next": onward})


@asynccontextmanager
async def three(folder: Path, **more: Any) -> AsyncIterator[tuple[World, Browser, Browser, Browser]]:
    """A console that requires approval; two operators and an admin who have signed in."""
    async with (
        team(folder, require_approval=True, **more) as console,
        signed_in(console, "olaf") as olaf,
        signed_in(console, "otto") as otto,
        signed_in(console, "ada") as ada,
    ):
        yield console, olaf, otto, ada


def cookies_of(browser: Browser) -> dict[str, str]:
    """The cookies of a browser, by name."""
    return {cookie.key: cookie.value for cookie in browser.session.cookie_jar}


def session_cookie(console: World, browser: Browser) -> dict[str, str]:
    """The header of a thief who has copied the session's cookie."""
    name = console.console.sessions.cookie_name
    return {"Cookie": f"{name}={cookies_of(browser)[name]}"}


async def status_with(console: World, cookie: dict[str, str]) -> int:
    """The status of a page for a client that sends this header."""
    async with browser_at(console.browser.base) as thief:
        return (await thief.get("/runs", headers=cookie)).status


@asynccontextmanager
async def watching(browser: Browser, run_id: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """The event stream of a run, its first event read; gives a function that reads it to its end."""
    async with browser.session.get(f"{browser.base}/runs/{run_id}/events") as stream:
        assert stream.status == 200
        await stream.content.readline()

        async def rest() -> str:
            with anyio.fail_after(LONGEST_S):
                return (await stream.content.read()).decode()

        yield rest


@asynccontextmanager
async def slow_team(folder: Path) -> AsyncIterator[World]:
    """A console with four users, whose runs wait for the quota for an hour."""
    async with team(folder, quota=(QuotaRule("PUT", 1, 3600.0),)) as console:
        yield console
