"""The web console: how long a large sheet takes to its preview, and what 50 watchers cost the run that they watch.

The console runs in a process of its own against the benchmark's server; this process is the browser.
"""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from directory import ORGANIZATION, TOKEN
from harness import ROOT, reset, server
from make_sheet import write_sheet

WATCHERS = 50


class Browser:
    """Keeps the cookie and the token of the page that it is on."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self.session, self.address, self.csrf = session, address, ""

    async def get(self, path: str) -> str:
        """Open a page."""
        async with self.session.get(self.address + path) as answer:
            return await self._read(answer)

    async def post(self, path: str, **fields: str) -> tuple[str, str]:
        """Send a form; gives where it led, and what stands there."""
        data = {"csrf": self.csrf, **fields}
        headers = {"Origin": self.address}
        async with self.session.post(self.address + path, data=data, headers=headers) as answer:
            return answer.url.path, await self._read(answer)

    async def upload(self, sheet: Path) -> str:
        """Upload a sheet and wait for its page; gives the page's path."""
        form = aiohttp.FormData()
        form.add_field("csrf", self.csrf)
        with sheet.open("rb") as file:
            form.add_field("sheet", file, filename=sheet.name)
            headers = {"Origin": self.address}
            async with self.session.post(f"{self.address}/sheets", data=form, headers=headers) as answer:
                await self._read(answer)
                return answer.url.path

    async def preview(self, path: str) -> str:
        """Have a preview made, and wait for its first page."""
        _, text = await self.post(f"{path}/preview")
        while 'http-equiv="refresh"' in text:
            await asyncio.sleep(0.1)
            text = await self.get(f"{path}/preview")
        return text

    async def _read(self, answer: aiohttp.ClientResponse) -> str:
        text = await answer.text()
        if answer.status >= 400:
            sys.exit(f"{answer.url} answers {answer.status}: {text[:2000]}")
        token = re.search(r'data-csrf="([^"]+)"', text)
        self.csrf = token[1] if token else self.csrf
        return text


@asynccontextmanager
async def console(url: str, folder: Path) -> AsyncIterator[Browser]:
    """A console in a process of its own, and a browser that is in."""
    environment = {
        **os.environ,
        "BULKID_URL": url,
        "BULKID_ACCESS_TOKEN": TOKEN,
        "BULKID_ORGANIZATION_ID": ORGANIZATION,
        "BULKID_STATE_DIR": str(folder / "state"),
        "BULKID_REPORT_DIR": str(folder / "reports"),
        "BULKID_VIA": "accounts",
        "BULKID_MAX_CHANGE": "100%",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-m", "bulkid", "serve", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - nothing else waits yet
    try:
        assert process.stdout is not None
        link = next(line.strip() for line in process.stdout if "/enter?key=" in line)
        address, _, key = link.partition("/enter?key=")
        jar, timeout = aiohttp.CookieJar(unsafe=True), aiohttp.ClientTimeout(total=600)
        async with aiohttp.ClientSession(cookie_jar=jar, timeout=timeout) as session:
            browser = Browser(session, address)
            await browser.get(f"/enter?key={key}")
            yield browser
    finally:
        process.terminate()
        process.wait()


async def large_sheet(rows: int, folder: Path) -> None:
    """Take a large sheet to its preview, and look around in that."""
    sheet = folder / "large.csv"
    write_sheet(sheet, rows)
    with server(rows) as url:
        async with console(url, folder) as browser:
            steps = []

            async def timed(what: str, work: object) -> object:
                started = time.perf_counter()
                found = await work  # type: ignore[misc]
                steps.append((what, time.perf_counter() - started))
                return found

            path = await timed("upload to the page of the sheet", browser.upload(sheet))
            first = await timed("preview: directory read, plan made, first page shown", browser.preview(str(path)))
            if f"<b>{rows:,}</b>" not in str(first):
                sys.exit(f"The preview does not show {rows} changes: {first}")
            await timed("its first page again", browser.get(f"{path}/preview"))
            await timed("its last page", browser.get(f"{path}/preview?page={rows // 100}"))
            await timed("a search, the first", browser.get(f"{path}/preview?search=new+name+99"))
            await timed("a search, another", browser.get(f"{path}/preview?search=77"))
    print(f"{rows:,} rows:\n\n| step | seconds |\n| --- | --- |")
    for what, seconds in steps:
        print(f"| {what} | {seconds:.2f} |")


async def watched_run(browser: Browser, url: str, sheet: Path, watchers: int) -> float:
    """Run a sheet with so many watchers; gives the seconds that the run took."""
    reset(url)
    path = await browser.upload(sheet)
    text = await browser.preview(path)
    preview = re.search(r'name="preview" value="(\w+)"', text)
    if preview is None:
        sys.exit("There is no preview to start.")
    started = time.perf_counter()
    run, text = await browser.post(f"{path}/start", preview=preview[1])
    heard: list[int] = []

    async def watch() -> None:
        async with browser.session.get(f"{browser.address}{run}/events") as answer:
            heard.append(sum([1 async for line in answer.content if line.startswith(b"data:")]))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(watchers or 1):  # one tells when it ends
            tasks.create_task(watch())
    took = time.perf_counter() - started
    if "completed" not in await browser.get(run) or min(heard) < 2:
        sys.exit("The run did not end as it should, or was not watched.")
    return took


async def watchers(rows: int, pairs: int, folder: Path) -> None:
    """Run the same sheet with one watcher and with fifty, in turn."""
    sheet = folder / "watched.csv"
    write_sheet(sheet, rows)
    found: dict[int, list[float]] = {1: [], WATCHERS: []}
    with server(rows) as url:
        async with console(url, folder) as browser:
            await watched_run(browser, url, sheet, 1)  # does not count
            for number in range(pairs):
                for count in (1, WATCHERS) if number % 2 == 0 else (WATCHERS, 1):
                    found[count].append(await watched_run(browser, url, sheet, count))
                    print(f"  {count} watchers: {found[count][-1]:.2f} s", file=sys.stderr)
    ratio = sorted(many / one for many, one in zip(found[WATCHERS], found[1], strict=True))
    print(f"\n{rows:,} rows, {pairs} pairs: one watcher {statistics.median(found[1]):.2f} s, ", end="")
    print(f"{WATCHERS} watchers {statistics.median(found[WATCHERS]):.2f} s; ", end="")
    print(f"pair by pair {statistics.median(ratio):.3f} ({ratio[0]:.3f} - {ratio[-1]:.3f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--watched-rows", type=int, default=20_000)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(large_sheet(arguments.rows, Path(scratch)))
        asyncio.run(watchers(arguments.watched_rows, arguments.pairs, Path(tempfile.mkdtemp(dir=scratch))))
