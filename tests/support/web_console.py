"""A console in this process, over a real socket, with a sandbox behind it, and a client that behaves as a browser."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import anyio
from argon2 import PasswordHasher

from bulkid import runs
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.server import Sandbox
from bulkid.web.auth.users import LocalAuthenticator
from bulkid.web.console import Console, ServeOptions
from bulkid.web.server import serving
from tests.support.sandbox_host import serving_portal

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "sample_data"
LONGEST_S = 60
QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Hashes passwords in a moment; what the product's own hasher costs is tested once."""


@dataclass
class Page:
    """An answer that has been read."""

    status: int
    text: str
    url: str
    headers: Any
    body: bytes = field(repr=False, default=b"")


@dataclass
class Browser:
    """Keeps cookies, sends the CSRF token of the page that it is on, and its own origin."""

    session: aiohttp.ClientSession
    base: str
    csrf: str = ""

    async def get(self, path: str, **more: Any) -> Page:
        """Open a page."""
        async with self.session.get(self.base + path, **more) as answer:
            return await self._read(answer)

    async def post(
        self, path: str, data: dict[str, str] | None = None, *, headers: dict[str, str] | None = None, **more: Any
    ) -> Page:
        """Send a form of the page that is open."""
        form = {"csrf": self.csrf, **(data or {})}
        sent = {"Origin": self.base, **(headers or {})}
        async with self.session.post(self.base + path, data=form, headers=sent, **more) as answer:
            return await self._read(answer)

    async def upload(self, name: str, content: Any, **more: Any) -> Page:
        """Send a sheet."""
        form = aiohttp.FormData(quote_fields=False)  # as browsers do
        form.add_field("csrf", self.csrf)
        form.add_field("sheet", content, filename=name, content_type="application/octet-stream")
        async with self.session.post(f"{self.base}/sheets", data=form, headers={"Origin": self.base}, **more) as answer:
            return await self._read(answer)

    async def _read(self, answer: aiohttp.ClientResponse) -> Page:
        body = await answer.read()
        text = body.decode("utf-8", "replace")
        token = re.search(r'data-csrf="([^"]+)"', text)
        if token:
            self.csrf = token[1]
        return Page(answer.status, text, str(answer.url), answer.headers, body)

    async def enter(self, authenticator: LocalAuthenticator) -> "Browser":
        """Open the link of the terminal."""
        page = await self.get(f"/enter?key={authenticator.new_link()}")
        assert page.status == 200
        assert self.csrf
        return self

    async def preview(self, name: str, content: bytes) -> str:
        """Upload a sheet and go on to its preview; gives the upload's path."""
        page = await self.upload(name, content)
        assert page.status == 200, page.text
        path = page.url.removeprefix(self.base)
        await self.post(f"{path}/preview")
        return path

    async def preview_page(self, path: str, query: str = "") -> Page:
        """The preview of an upload, once it is there."""
        with anyio.fail_after(LONGEST_S):
            while True:
                page = await self.get(f"{path}/preview{query}")
                if 'http-equiv="refresh"' not in page.text:
                    return page
                await anyio.sleep(0.05)

    async def start(self, path: str, first: str = "", **more: str) -> Page:
        """Start what the preview of an upload shows."""
        seen = await self.preview_page(path)
        wanted = re.search(r'name="preview" value="([0-9a-f]+)"', seen.text)
        assert wanted, seen.text
        return await self.post(f"{path}/start", {"preview": wanted[1], "first": first, **more})

    async def run_ended(self, run_id: str) -> Page:
        """The page of a run, once it has ended."""
        with anyio.fail_after(LONGEST_S):
            while True:
                page = await self.get(f"/runs/{run_id}")
                if "data-live=" not in page.text:
                    return page
                await anyio.sleep(0.05)


@dataclass
class World:
    """A console, its sandbox, and a browser that is in."""

    console: Console
    sandbox: Sandbox
    browser: Browser
    folder: Path

    @property
    def authenticator(self) -> LocalAuthenticator:
        """The link maker of local mode."""
        assert isinstance(self.console.authenticator, LocalAuthenticator)
        return self.console.authenticator

    @asynccontextmanager
    async def another_browser(self) -> AsyncIterator[Browser]:
        """A browser with cookies of its own, that is not in yet."""
        async with browser_at(self.browser.base) as made:
            yield made


@asynccontextmanager
async def browser_at(address: str) -> AsyncIterator[Browser]:
    """A browser that is not in yet."""
    timeout = aiohttp.ClientTimeout(total=LONGEST_S)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=timeout) as session:
        yield Browser(session, address)


def small_organization(**options: Any) -> SandboxOptions:
    """A sandbox with accounts for most sheets here, made and listed thirty times sooner than the usual one."""
    return SandboxOptions(**{"accounts": 200, "limits": (), **options})


@asynccontextmanager
async def world(
    folder: Path,
    *,
    sandbox: SandboxOptions | None = None,
    server: Sandbox | None = None,
    in_sandbox: bool = False,
    serve: ServeOptions | None = None,
    database_url: str = "",
    hasher: PasswordHasher = QUICK_HASHER,
    **options: Any,
) -> AsyncIterator[World]:
    """Serve a console on a new sandbox, or ``server``, which it takes for a real server, unless ``in_sandbox``."""
    async with nullcontext(server) if server else Sandbox(sandbox or small_organization()) as used:
        target = runs.Target(url=used.url, client_id="sandbox", client_secret="sandbox-secret")
        given = runs.RunOptions(report_dir=folder / "reports", sandbox=in_sandbox, **options)
        served = replace(serve or ServeOptions(port=0), hasher=hasher)
        context = runs.Context(state_dir=folder / "state", database_url=database_url)
        async with (
            serving(served, target, given, context) as (console, address),
            browser_at(address) as browser,
        ):
            if isinstance(console.authenticator, LocalAuthenticator):
                await browser.enter(console.authenticator)
            yield World(console, used, browser, folder)


def sheet(count: int, *, start: int = 1, prefix: str = "New name") -> bytes:
    """A CSV that gives so many of the sandbox's accounts new display names."""
    rows = [f"robot-{number:04},{prefix} {number}" for number in range(start, start + count)]
    return "\n".join(["name,display_name", *rows]).encode()


def run_id_of(page: Page) -> str:
    """The run whose page this is."""
    return page.url.rsplit("/", 1)[-1]


async def raw(console: World, head: Sequence[bytes], body: bytes = b"") -> tuple[int, bytes]:
    """Send bytes as they are; gives the status and the whole answer."""
    port = console.console.serve.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [head[0], b"Host: 127.0.0.1:%d" % port, *head[1:], b"Content-Length: %d" % len(body), b"Connection: close"]
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await writer.wait_closed()
    return int(answer.split(b" ", 2)[1]), answer


def cookie_of(browser: Browser) -> bytes:
    """The header with the cookies of a browser."""
    return b"Cookie: " + "; ".join(f"{each.key}={each.value}" for each in browser.session.cookie_jar).encode()


async def first_put(console: World) -> None:
    """Wait until the sending has begun."""
    with anyio.fail_after(LONGEST_S):
        while not any(method == "PUT" for method, _ in console.sandbox.served):  # noqa: ASYNC110 - another's counter
            await anyio.sleep(0.02)


@contextmanager
def hosted_world(folder: Path, **options: Any) -> Iterator[World]:
    """A console that is served by a thread of this process while the block runs; see :func:`world`."""
    with serving_portal().wrap_async_context_manager(world(folder, **options)) as made:
        yield made
