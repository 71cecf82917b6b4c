"""The console in a real browser: the whole way with 300 rows, by keyboard and without the script, and axe-core's rules.

Chromium comes from the system (``BULKID_CHROMIUM`` names another); axe-core's ``axe.min.js`` is where
``BULKID_AXE`` says. Where either is missing the tests are skipped, and fail instead where ``BULKID_REQUIRE_ALL=1``.
``BULKID_SHOTS`` names a folder that gets a picture of every page, light, dark and narrow.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from test_web_cli import served
from web_kit import sheet

from bulkid.sandbox.options import parse_limits
from tests.support.bulkid_command import SAMPLES, Bulkid
from tests.support.sandbox_host import Hosted, hosted

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
]
WIDTHS = (1440, 360)
SCHEMES = ("light", "dark")
LONGEST_MS = 60_000


def _missing(what: str) -> Any:
    if os.environ.get("BULKID_REQUIRE_ALL") == "1":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


@pytest.fixture
def chromium() -> Iterator[Any]:
    path = os.environ.get("BULKID_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        _missing("Chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def axe() -> str:
    path = Path(os.environ.get("BULKID_AXE", ""))
    if not path.is_file():
        _missing("axe-core (BULKID_AXE)")
    return path.read_text(encoding="utf-8")


@contextmanager
def _opened(chromium: Any, bulkid: Bulkid, server: Hosted, **context: Any) -> Iterator[tuple[Any, str]]:
    """A page of a console that is connected to a server, let in by the link."""
    bulkid.env.update(BULKID_URL=server.url, BULKID_CLIENT_ID="sandbox", BULKID_CLIENT_SECRET="sandbox-secret")
    with served(bulkid) as (_, address, key):
        made = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **context})
        made.set_default_timeout(LONGEST_MS)
        page = made.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"{address}/enter?key={key}")
        yield page, address
        made.close()
        # A browser tells of every answer of 400 and more as an error; ours are meant.
        assert [text for text in complaints if not text.startswith("Failed to load resource")] == []


def page_error() -> type[Exception]:
    """What Playwright raises when a page goes away; imported late, since Playwright may be missing."""
    from playwright.sync_api import Error

    return Error


def _until_done(page: Any, *, more_than: int) -> None:
    """Wait until so many accounts show as done: Playwright's own waiting needs ``eval``, which the policy forbids."""
    for _ in range(LONGEST_MS // 50):
        with suppress(page_error()):  # the page is being loaded anew at this moment
            if page.evaluate("Number(document.querySelector('[data-live-bar]')?.value)") > more_than:
                return
        page.wait_for_timeout(50)
    raise AssertionError("the run does not get on")


def _upload(page: Any, address: str, name: str, content: bytes) -> None:
    page.goto(address)
    page.set_input_files("#sheet", {"name": name, "mimeType": "text/csv", "buffer": content})
    page.click("button:has-text('Upload')")
    page.wait_for_url(re.compile("/sheets/"))


def _run_ended(page: Any) -> None:
    page.wait_for_url(re.compile("/runs/"))
    page.wait_for_selector("[data-live]", state="detached")


def test_the_whole_way_of_300_rows(chromium: Any, tmp_path: Path) -> None:
    with (
        hosted(accounts=6000, latency_s=0.04) as server,
        # Six seconds of sending: it must still go on when a slow machine has shown its page.
        _opened(chromium, Bulkid(tmp_path, {"BULKID_CONCURRENCY": "2"}), server) as (page, address),
    ):
        _upload(page, address, "accounts.csv", sheet(300))
        assert "300" in page.inner_text(".figures")
        page.click("button:has-text('Preview')")
        page.wait_for_selector("#lines")
        assert page.locator("tbody tr").count() == 100
        page.fill("input[name=search]", "robot-0299")
        page.click("button:has-text('Search')")
        page.wait_for_url(re.compile("search=robot-0299"))
        assert page.locator("tbody tr").count() == 1
        page.click("button:has-text('Apply changes')")
        page.wait_for_url(re.compile("/runs/"))
        _until_done(page, more_than=0)
        page.reload()  # what is shown comes back, and goes on
        _run_ended(page)
        assert "300 updated" in page.inner_text(".facts")
        with page.expect_download() as download:
            page.click(".downloads a:has-text('csv')")
        assert Path(download.value.path()).read_text(encoding="utf-8-sig").count(",updated,") == 300
        assert "updated" in {row["status"] for row in Bulkid(tmp_path).report()}


def test_the_documented_pages_show_a_preview_and_a_run(chromium: Any, tmp_path: Path) -> None:
    """With ``BULKID_SHOTS=docs`` this test makes the two pictures of docs/console.md."""
    size = {"width": 1100, "height": 720}
    with (
        hosted(accounts=6000, latency_s=0.1, limits=parse_limits("PUT=60/10")) as server,
        _opened(chromium, Bulkid(tmp_path, {"BULKID_QUOTA": "PUT=60/10"}), server, viewport=size) as (page, address),
    ):
        page.goto(address)
        page.set_input_files("#sheet", SAMPLES / "robot_accounts.xlsx")
        page.click("button:has-text('Upload')")
        page.click("button:has-text('Preview changes')")
        page.wait_for_selector("button:has-text('Apply changes')")
        _picture(page, "console_preview")
        page.click("button:has-text('Apply changes')")
        _until_done(page, more_than=30)
        page.wait_for_selector("button:has-text('Pause')")
        _picture(page, "console_run")


def _picture(page: Any, name: str) -> None:
    folder = os.environ.get("BULKID_SHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_a_run_is_paused_and_resumed_while_it_is_watched(chromium: Any, tmp_path: Path) -> None:
    with (
        hosted(accounts=6000, latency_s=0.1) as server,
        _opened(chromium, Bulkid(tmp_path, {"BULKID_CONCURRENCY": "1"}), server) as (page, address),
    ):
        _upload(page, address, "accounts.csv", sheet(60))
        page.click("button:has-text('Preview')")
        page.click("button:has-text('Apply changes')")
        _until_done(page, more_than=2)
        page.click("button:has-text('Pause')")
        page.wait_for_selector("button:has-text('Resume')")
        page.click("button:has-text('Resume')")
        _run_ended(page)
        assert "60 updated" in page.inner_text(".facts")


def test_a_sheet_is_dropped_on_the_page(chromium: Any, tmp_path: Path) -> None:
    with (
        hosted(accounts=6000) as server,
        _opened(chromium, Bulkid(tmp_path), server) as (page, _),
    ):
        data = page.evaluate_handle(
            """() => {
                const data = new DataTransfer();
                data.items.add(new File(["name,display_name\\nrobot-0001,x\\n"], "dropped.csv"));
                return data;
            }"""
        )
        page.dispatch_event("form.drop", "drop", {"dataTransfer": data})
        page.wait_for_url(re.compile("/sheets/"))
        assert "dropped.csv" in page.inner_text("h1")


def test_a_file_that_is_too_large_is_reported_of_before_it_is_sent(chromium: Any, tmp_path: Path) -> None:
    large = tmp_path / "large.csv"
    with large.open("wb") as file:
        file.truncate(65 << 20)
    with (
        hosted(accounts=6000) as server,
        _opened(chromium, Bulkid(tmp_path), server) as (page, address),
    ):
        page.set_input_files("#sheet", large)
        page.click("button:has-text('Upload')")
        assert "the most that is taken is 64 MB" in page.inner_text("[data-drop-error]")
        assert page.url.rstrip("/") == address


def test_the_keyboard_alone_suffices(chromium: Any, tmp_path: Path) -> None:
    with hosted(accounts=6000) as server, _opened(chromium, Bulkid(tmp_path), server) as (page, _):
        page.set_input_files("#sheet", {"name": "a.csv", "mimeType": "text/csv", "buffer": sheet(3)})

        def press_on(words: str) -> None:
            page.keyboard.press("Home")
            for _ in range(60):
                focused = page.evaluate(
                    "[document.activeElement.textContent, getComputedStyle(document.activeElement).outlineStyle]"
                )
                if words in focused[0] and len(focused[0]) < 200:
                    assert focused[1] != "none"  # one sees where one is
                    page.keyboard.press("Enter")
                    return
                page.keyboard.press("Tab")
            raise AssertionError(words)

        press_on("Upload and read") if page.query_selector("text=Upload and read") else page.focus("#sheet")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("/sheets/"))
        press_on("Preview changes")
        page.wait_for_selector("#lines")
        press_on("Apply changes")
        _run_ended(page)
        assert "3 updated" in page.inner_text(".facts")


def test_the_way_works_without_the_script(chromium: Any, tmp_path: Path) -> None:
    with (
        hosted(accounts=6000) as server,
        _opened(chromium, Bulkid(tmp_path), server, java_script_enabled=False) as (page, address),
    ):
        _upload(page, address, "accounts.csv", sheet(5))
        page.click("button:has-text('Preview')")
        page.wait_for_selector("#lines")
        page.click("button:has-text('Apply changes')")
        page.wait_for_url(re.compile("/runs/"))
        page.wait_for_selector("text=5 updated")


def test_markup_in_names_runs_nowhere(chromium: Any, tmp_path: Path) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\">"
    quoted = evil.replace('"', '""')
    with hosted(accounts=6000) as server, _opened(chromium, Bulkid(tmp_path), server) as (page, address):
        content = f'name,display_name,"{quoted}"\nrobot-0001,"{quoted}",x\n"{quoted}",x,x\n'.encode()
        _upload(page, address, f"{evil}.csv".replace("/", ""), content)
        for button in ("Apply mapping", "Preview"):
            if button == "Apply mapping":
                page.check("input[name=skip_invalid]")
            page.click(f"button:has-text('{button}')")
            page.wait_for_load_state()
            assert page.title() != "owned"
        page.wait_for_selector("#lines")
        page.click("button:has-text('Apply changes')")
        _run_ended(page)
        assert page.title() != "owned"
        assert page.locator("img").count() == 0
        assert evil in page.inner_text("table")


def _pages(page: Any, address: str) -> Iterator[str]:
    """Go through every page; gives the name of each when it is open."""
    page.goto(address)
    yield "home"
    page.set_input_files("#sheet", SAMPLES / "with_errors.csv")
    page.click("button:has-text('Upload')")
    page.wait_for_url(re.compile("/sheets/"))
    yield "sheet-with-errors"
    page.goto(address)
    page.set_input_files("#sheet", {"name": "who.csv", "mimeType": "text/csv", "buffer": b"Who,What\nrobot-0001,x\n"})
    page.click("button:has-text('Upload')")
    yield "sheet-to-map"
    page.goto(address)
    page.set_input_files("#sheet", SAMPLES / "robot_accounts.xlsx")
    page.click("button:has-text('Upload')")
    page.wait_for_url(re.compile("/sheets/"))
    yield "sheet"
    page.click("button:has-text('Preview')")
    page.wait_for_selector("#lines")
    yield "preview"
    page.click("a:has-text('Invalid rows')")
    yield "preview-bad-rows"
    page.click("a:has-text('Changes')")
    page.click("button:has-text('Apply changes')")
    page.wait_for_selector("[data-live-failures] li")
    yield "run-live"
    page.click("button:has-text('Pause')")
    _run_ended(page)
    yield "run-paused"
    page.goto(address)
    yield "home-with-runs"
    for name in ("runs", "status", "account", "tokens", "audit"):
        page.goto(f"{address}/{name}")
        yield name
    page.fill("input[name=name]", "nightly job") if name == "tokens" else None
    page.goto(f"{address}/runs/nope")
    yield "error"
    page.goto(address)
    page.click("button:has-text('Sign out')")
    yield "signed-out"


def _held_against_axe(page: Any, axe: str, pages: Iterator[str]) -> list[str]:
    """Hold every page against axe-core in light and dark, wide and narrow; gives what is wrong."""
    shots = os.environ.get("BULKID_SHOTS")
    found: list[str] = []
    for name in pages:
        for scheme in SCHEMES:
            for width in WIDTHS:
                page.emulate_media(color_scheme=scheme)
                page.set_viewport_size({"width": width, "height": 900})
                wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
                if wider > 0:
                    found.append(f"{name}, {scheme}, {width} px: {wider} px too wide")
                page.evaluate(axe)
                result = page.evaluate("axe.run()")
                found += [
                    f"{name}, {scheme}, {width} px: {fault['id']}: {fault['nodes'][0]['target']}"
                    for fault in result["violations"]
                ]
                if shots:
                    page.screenshot(path=Path(shots) / f"{name}-{scheme}-{width}.png")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 1440, "height": 900})
    return found


TLS = Path(__file__).resolve().parents[1] / "identity" / "tls"
PASSWORD = "correct horse battery"


def _sign_in(page: Any, address: str) -> None:
    page.goto(f"{address}/account")
    page.fill("input[name=name]", "ada")
    page.fill("input[name=password]", PASSWORD)
    page.click("button:has-text('Sign in')")
    page.wait_for_selector("text=Role")


def test_signing_out_over_tls_takes_the_cookie_from_the_browser_and_a_copy_opens_nothing(
    chromium: Any, tmp_path: Path
) -> None:
    bulkid = Bulkid(tmp_path)
    bulkid.as_process("users", "add", "ada", "--role", "admin", stdin=f"{PASSWORD}\n")
    certificate = ("--certfile", str(TLS / "server.pem"), "--keyfile", str(TLS / "server.key"))
    with served(bulkid, "--sandbox", *certificate) as (_, address, _key):
        context, thief = (chromium.new_context(ignore_https_errors=True) for _ in range(2))
        context.set_default_timeout(LONGEST_MS)
        page = context.new_page()
        _sign_in(page, address)
        (copied,) = [cookie for cookie in context.cookies() if cookie["name"] == "__Host-bulkid"]
        assert copied["secure"]
        assert copied["httpOnly"]
        thief.add_cookies([copied])
        assert thief.request.get(f"{address}/account").status == 200
        page.click("button:has-text('Sign out') >> nth=0")
        page.wait_for_selector("h1:has-text('Sign in')")
        assert "__Host-bulkid" not in {cookie["name"] for cookie in context.cookies()}
        assert page.goto(f"{address}/account").status == 401
        assert thief.request.get(f"{address}/account").status == 401
        context.close()
        thief.close()


def _team_pages(page: Any, address: str) -> Iterator[str]:
    """Go through the pages that only a console with users has; gives the name of each when it is open."""
    page.goto(f"{address}/tokens")
    yield "signin-team"
    page.fill("input[name=name]", "ada")
    page.fill("input[name=password]", "wrong password")
    page.click("button:has-text('Sign in')")
    page.wait_for_selector("[role=alert]")
    yield "signin-team-refused"
    page.fill("input[name=name]", "ada")
    page.fill("input[name=password]", PASSWORD)
    page.click("button:has-text('Sign in')")
    page.wait_for_selector("h1:has-text('API tokens')")
    for number, name in enumerate(("nightly", "a job with a name that is as long as the form allows " + "x" * 27)):
        page.fill("input[name=name]", name)
        page.select_option("select[name=role]", "viewer" if number else "admin")
        page.click("button:has-text('Issue')")
        page.wait_for_selector("[role=alert] code")
    yield "tokens-issued"
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("tbody button >> nth=0")
    page.wait_for_selector("text=revoked 2")
    yield "tokens-revoked"
    page.goto(f"{address}/account")
    yield "account-team"
    for field in ("current", "new", "again"):
        page.fill(f"input[name={field}]", "not my password")
    page.click("button:has-text('Change password')")
    page.wait_for_selector("[role=alert]")
    yield "account-team-refused"
    page.goto(f"{address}/audit")
    yield "audit-team"


def test_sign_in_and_tokens_of_a_team_pass_axe_in_light_and_dark_and_fit_360_pixels(
    chromium: Any, axe: str, tmp_path: Path
) -> None:
    bulkid = Bulkid(tmp_path)
    bulkid.as_process("users", "add", "ada", "--role", "admin", stdin=f"{PASSWORD}\n")
    with served(bulkid, "--sandbox") as (_, address, _key):
        context = chromium.new_context(bypass_csp=True)
        context.set_default_timeout(LONGEST_MS)
        page = context.new_page()
        found = _held_against_axe(page, axe, _team_pages(page, address))
        context.close()
    assert found == []


def test_every_page_passes_axe_in_light_and_dark_and_fits_360_pixels(chromium: Any, axe: str, tmp_path: Path) -> None:
    with (
        hosted(accounts=6000, limits=parse_limits("PUT=60/10"), latency_s=0.1, poisoned=("robot-0001",)) as server,
        _opened(
            chromium,
            Bulkid(tmp_path, {"BULKID_CONCURRENCY": "2", "BULKID_QUOTA": "PUT=60/10"}),
            server,
            bypass_csp=True,
        ) as (page, address),
    ):
        found = _held_against_axe(page, axe, _pages(page, address))
    assert found == []
