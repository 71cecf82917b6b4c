"""The console in a real browser: the whole way with 300 rows, by keyboard and without the script, and axe-core's rules.

``BULKID_SHOTS`` names a folder that gets a picture of every page, light, dark and narrow.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, cycle
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import pytest

from bulkid import runs, web
from bulkid.errors import ConnectionFailedError
from bulkid.journal.names import LONGEST_NAME
from bulkid.model import QuotaRule
from bulkid.sandbox.options import SandboxOptions, parse_limits
from bulkid.web.auth.access import Role
from bulkid.web.auth.users import LocalAuthenticator, issue_token
from bulkid.web.console import ServeOptions
from tests.support.chromium import LONGEST_MS, WIDE, tab_to, violations
from tests.support.identity_wire import TLS
from tests.support.sandbox_host import serving_portal
from tests.support.web_console import SAMPLES, World, hosted_world, run_id_of, sheet, small_organization
from tests.support.web_programs import ADA
from tests.support.web_users import PASSWORD, add_users, sign_in

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

STATIC = Path(web.__file__).parent / "static"

SMALL = small_organization()

SLOW = small_organization(accounts=600, latency_s=0.2)
"""An organisation that answers slowly, until a test has seen what it wants to see of the run."""


ONE_AN_HOUR = (QuotaRule("PUT", 1, 3600.0),)
"""A quota that lets a run of two accounts be under way for as long as a test needs it."""


@contextmanager
def _opened(
    chromium: Any, folder: Path, sandbox: SandboxOptions = SMALL, *, context: dict[str, Any] | None = None, **more: Any
) -> Iterator[tuple[Any, str, World]]:
    """A page of a console, opened by its sign-in link or at a team's sign-in form; its address; and the console."""
    with hosted_world(folder, sandbox=sandbox, **more) as console:
        made = chromium.new_context(**{"viewport": WIDE, **(context or {})})
        made.set_default_timeout(LONGEST_MS)
        page, address = made.new_page(), console.browser.base
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        local = isinstance(console.console.authenticator, LocalAuthenticator)
        page.goto(f"{address}/enter?key={console.authenticator.new_link()}" if local else address)
        yield page, address, console
        made.close()
        # A browser tells of every answer of 400 and more as an error; ours are meant.
        assert [text for text in complaints if not text.startswith("Failed to load resource")] == []


def _until_done(page: Any, *, more_than: int) -> None:
    """Wait until so many accounts show as done (by a selector: the policy of the pages forbids ``eval``)."""
    fewer = "".join(f':not([value="{count}"])' for count in range(more_than + 1))
    page.wait_for_selector(f"[data-live-bar]{fewer}")


def _upload(page: Any, address: str, name: str, content: bytes) -> None:
    page.goto(address)
    page.set_input_files("#sheet", {"name": name, "mimeType": "text/csv", "buffer": content})
    page.click("button:has-text('Upload')")
    page.wait_for_url(re.compile("/sheets/"))


def _start(console: World, content: bytes, *, ends: bool = False) -> str:
    """Send a sheet without the browser; gives the path of its run. ``ends``: the run has ended."""

    async def start() -> str:
        browser = await console.browser.enter(console.authenticator)
        run = run_id_of(await browser.start(await browser.preview("accounts.csv", content)))
        if ends:
            await browser.run_ended(run)
        return f"/runs/{run}"

    return serving_portal().call(start)


def _run_ended(page: Any) -> None:
    page.wait_for_url(re.compile("/runs/"))
    page.wait_for_selector("[data-live]", state="detached")


def test_the_whole_way_of_300_rows(chromium: Any, tmp_path: Path) -> None:
    with _opened(chromium, tmp_path, SLOW, concurrency=2) as (page, address, console):
        _upload(page, address, "accounts.csv", sheet(300))
        assert "300" in page.inner_text(".figures")
        page.click("button:has-text('Continue to preview')")
        page.wait_for_selector("#lines")
        assert page.locator("tbody tr").count() == 100
        page.fill("input[name=search]", "robot-0299")
        page.click("button:has-text('Filter')")
        page.wait_for_url(re.compile("search=robot-0299"))
        assert page.locator("tbody tr").count() == 1
        page.click("form.start button")
        page.wait_for_url(re.compile("/runs/"))
        _until_done(page, more_than=0)
        page.reload()  # what is shown comes back, and goes on
        _until_done(page, more_than=0)
        console.sandbox._delayed = False
        _run_ended(page)
        assert "300 updated" in page.inner_text(".facts")
        with page.expect_download() as download:
            page.click(".downloads a:has-text('csv')")
        assert Path(download.value.path()).read_text(encoding="utf-8-sig").count(",updated,") == 300
        (report,) = (tmp_path / "reports").glob("*/report.csv")
        assert report.read_text(encoding="utf-8-sig").count(",updated,") == 300


def test_accounts_are_deleted_once_their_number_is_typed(chromium: Any, tmp_path: Path) -> None:
    names = [f"robot-{number:04}" for number in range(1, 10)]
    content = "\n".join(["name,display_name,action", "bot-0001,Bot One,create", *(f"{name},,delete" for name in names)])
    with _opened(chromium, tmp_path, allow_delete=True) as (page, address, console):
        ids = [console.sandbox.state.account_named(name).id for name in names]
        _upload(page, address, "leavers.csv", content.encode())
        page.click("button:has-text('Continue to preview')")
        page.wait_for_selector("#lines")
        listed = page.locator("[aria-label='Accounts to delete'] tbody tr").all_inner_texts()
        assert [text.split()[1:3] for text in listed] == [list(each) for each in zip(names, ids, strict=True)]
        tab_to(page, "#deletions")
        page.keyboard.type("8")
        page.keyboard.press("Enter")
        page.wait_for_selector("#deletions-error:has-text('You entered 8, but 9 accounts will be deleted')")
        number = page.get_by_role("textbox", name="Number of accounts that will be deleted")
        assert number.evaluate("each => document.activeElement === each && each.value") == "8"
        spoken = " ".join(page.inner_text(f"#{each}") for each in number.get_attribute("aria-describedby").split())
        assert spoken.startswith("Enter 9 to confirm the deletions")
        assert "You entered 8" in spoken
        assert "DELETE" not in {method for method, _ in console.sandbox.served}
        page.keyboard.press("Control+A")
        page.keyboard.type("9")
        page.keyboard.press("Enter")
        _run_ended(page)
        assert page.inner_text(".outcome").endswith("1 created, 9 deleted.")
        assert page.locator("tbody .badge.deleted").count() == 9
        with page.expect_download() as download:
            page.click(".downloads a:has-text('csv')")
        report = Path(download.value.path()).read_text(encoding="utf-8-sig")
        assert (report.count(",deleted,deleted,"), report.count(",created,")) == (9, 1)
        assert not any(map(console.sandbox.state.has_account_named, names))


def test_the_documented_pages_show_a_preview_and_a_run(chromium: Any, tmp_path: Path) -> None:
    """With ``BULKID_SHOTS=docs`` this test makes the two pictures of docs/console.md."""
    size = {"width": 1100, "height": 720}
    sandbox = SandboxOptions(latency_s=0.02, limits=parse_limits("PUT=60/10"))
    more = {"quota": (QuotaRule("PUT", 60, 10.0),), "context": {"viewport": size}}
    with _opened(chromium, tmp_path, sandbox, **more) as (page, address, _):
        page.goto(address)
        page.set_input_files("#sheet", SAMPLES / "robot_accounts.xlsx")
        page.click("button:has-text('Upload')")
        page.click("button:has-text('Continue to preview')")
        page.wait_for_selector("form.start button")
        _picture(page, "console_preview")
        page.click("form.start button")
        _until_done(page, more_than=30)
        page.wait_for_selector("button:has-text('Pause')")
        _picture(page, "console_run")


def _picture(page: Any, name: str) -> None:
    folder = os.environ.get("BULKID_SHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_a_run_is_paused_and_resumed_while_it_is_watched(chromium: Any, tmp_path: Path) -> None:
    with _opened(chromium, tmp_path, SLOW, concurrency=1) as (page, address, console):
        _upload(page, address, "accounts.csv", sheet(60))
        page.click("button:has-text('Continue to preview')")
        page.click("form.start button")
        _until_done(page, more_than=2)
        page.click("button:has-text('Pause')")
        page.wait_for_selector("button:has-text('Resume')")
        console.sandbox._delayed = False
        page.click("button:has-text('Resume')")
        _run_ended(page)
        assert "60 updated" in page.inner_text(".facts")


def test_a_sheet_is_dropped_on_the_page(chromium: Any, tmp_path: Path) -> None:
    with _opened(chromium, tmp_path) as (page, _, _):
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
    with _opened(chromium, tmp_path) as (page, address, _):
        page.set_input_files("#sheet", large)
        page.click("button:has-text('Upload')")
        assert "the limit is 64 MB" in page.inner_text("[data-drop-error]")
        assert page.url.rstrip("/") == address


def test_the_upload_works_again_when_the_user_comes_back_to_its_page(chromium: Any, tmp_path: Path) -> None:
    """Browsers may keep the page as it was left, with the button that is busy; Safari does over plain HTTP."""
    with _opened(chromium, tmp_path) as (page, _, _):
        button = page.locator("form.drop button")
        button.evaluate("each => { each.disabled = true; }")
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        page.wait_for_selector("form.drop button:not([disabled])")


def test_the_keyboard_alone_suffices_from_signing_in_to_signing_out(chromium: Any, tmp_path: Path) -> None:
    add_users(tmp_path, {"ada": "admin"})
    with _opened(chromium, tmp_path) as (page, _, _):

        def press_on(words: str) -> None:
            tab_to(page, "a, button, summary", words)
            page.keyboard.press("Enter")

        # From now on, not only from the moment before the key: Chromium may take the key first.
        page.on("filechooser", lambda _: None)
        tab_to(page, "[name=name]")
        page.keyboard.type("ada")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector("#sheet")
        tab_to(page, "#sheet")
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Space")
        chooser.value.set_files({"name": "a.csv", "mimeType": "text/csv", "buffer": sheet(3)})
        press_on("Upload")
        page.wait_for_url(re.compile("/sheets/"))
        press_on("Continue to preview")
        page.wait_for_selector("#lines")
        button = page.locator("form.start button")
        tab_to(page, "[name=scope]")
        page.keyboard.press("ArrowDown")
        assert button.inner_text() == "Update 1 account", "the button follows the choice"
        page.keyboard.press("Tab")
        page.keyboard.type("x")
        assert button.inner_text() == "Start the trial"
        page.keyboard.press("Enter")
        page.wait_for_selector("#first-error")
        assert page.evaluate("document.activeElement.name") == "first", "where it can be corrected"
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("ArrowUp")
        press_on("Update 3 accounts")
        _run_ended(page)
        assert "3 updated" in page.inner_text(".facts")
        press_on("Skip to the content")
        assert page.evaluate("document.activeElement.id") == "main"
        press_on("Undo (preview first)")
        page.wait_for_selector("#lines")
        press_on("How it is sent")
        assert page.locator("details[open]").count() == 1
        press_on("Undo 3 changes")
        _run_ended(page)
        assert "3 updated" in page.inner_text(".facts")
        press_on("Sign out")
        page.wait_for_selector("h1:has-text('Sign in')")


_RECORD_ANNOUNCEMENTS = """
    window.announced = [];
    let now = 0;
    performance.now = () => { now += STEP; return now; };
    new MutationObserver((changes) => changes.forEach(({ target }) => {
        const region = target.nodeType === 1 && target.closest(".live [role=status]");
        if (region) {
            window.announced.push(region.textContent);
        }
    })).observe(document, { subtree: true, childList: true, characterData: true });
"""
"""Keeps what a screen reader speaks of a run. The page's clock goes on by STEP milliseconds whenever it is read."""


_STAGES = (*[("Connecting", 0)] * 3, *(("Sending", done) for done in range(101)))
"""What a run of 100 accounts does, and how many are done, event by event."""


def _event_stream(
    stages: Iterable[tuple[str, int]] = _STAGES, *, stopping: bool = False, retry_ms: int = 3_600_000
) -> str:
    """The events of a run, all at once. ``retry_ms``: when the browser connects again."""
    state = {"total": 100, "updated": 0, "failed": 0, "failures": [], "stopping": stopping}
    events = [json.dumps({**state, "words": words, "done": done}) for words, done in stages]
    return f"retry: {retry_ms}\n\n" + "".join(f"event: state\ndata: {event}\n\n" for event in events)


@pytest.mark.parametrize(
    ("step_ms", "percents"), [(10_000, range(0, 101, 10)), (0, [0])], ids=["each tenth", "not too often"]
)
def test_progress_is_announced_at_each_stage_and_each_tenth_but_not_more_often_than_it_can_be_spoken(
    chromium: Any, tmp_path: Path, step_ms: int, percents: Iterable[int]
) -> None:
    expected = ["Connecting: 0 %, 0 failed", *(f"Sending: {percent} %, 0 failed" for percent in percents)]
    lost = "The connection to the console is lost. Reconnecting ..."
    bodies = cycle([_event_stream(retry_ms=1), _event_stream(_STAGES[-1:])])

    def answer(route: Any) -> None:
        route.fulfill(content_type="text/event-stream", body=next(bodies))

    more = {"quota": ONE_AN_HOUR, "context": {"bypass_csp": True}}
    with _opened(chromium, tmp_path, **more) as (page, address, console):
        path = _start(console, sheet(2))
        page.add_init_script(_RECORD_ANNOUNCEMENTS.replace("STEP", str(step_ms)))
        page.route("**/rate", lambda route: route.abort())  # it would be asked for at each of the events
        page.route("**/events", answer)
        page.goto(f"{address}{path}")
        page.wait_for_function(f"window.announced.filter(each => each === {json.dumps(lost)}).length === 2")
        again = [*expected, lost, "Sending: 100 %, 0 failed", lost]
        assert page.evaluate("window.announced") == again, "it is announced that the connection is back"
        page.goto(address)
        page.wait_for_function(f"window.announced.filter(each => each.endsWith({json.dumps(lost)})).length === 2")
        assert page.evaluate("window.announced") == [f"accounts.csv: {each}" for each in again]


@pytest.mark.parametrize("place", ["the run", "the home page"])
def test_a_page_connects_again_after_an_error_of_a_proxy_and_asks_to_sign_in_when_the_session_has_ended(
    chromium: Any, tmp_path: Path, place: str
) -> None:
    with _opened(chromium, tmp_path, quota=ONE_AN_HOUR) as (page, address, console):
        path = _start(console, sheet(2))
        error = lambda route: route.fulfill(status=502, content_type="text/html", body="Bad Gateway")  # noqa: E731
        page.route("**/events", error)
        page.goto(f"{address}{path if place == 'the run' else '/'}")
        lost = page.locator("text=The connection to the console is lost").locator("visible=true")
        lost.first.wait_for()
        with page.expect_response("**/events") as answer:  # the page asks again, and is refused again
            pass
        assert answer.value.status == 502
        page.unroute("**/events", error)
        lost.first.wait_for(state="hidden")
        page.route("**/events", error)
        page.reload()
        lost.first.wait_for()
        page.context.clear_cookies()
        page.unroute("**/events", error)
        page.wait_for_selector("h1:has-text('Sign in')")


@pytest.mark.parametrize("script", [True, False])
def test_the_accounts_are_downloaded_with_the_script_and_without(
    chromium: Any, tmp_path: Path, *, script: bool
) -> None:
    with _opened(chromium, tmp_path, context={"java_script_enabled": script}) as (page, _, _):
        with page.expect_download() as download:
            page.click("button:has-text('Download current accounts')")
        assert re.fullmatch(r"robot-accounts-[0-9-]+\.xlsx", download.value.suggested_filename)
        assert Path(download.value.path()).read_bytes().startswith(b"PK")
        if script:
            page.wait_for_selector("[data-export-status]:has-text('The file is downloaded.')")
            page.wait_for_selector("[data-load] .badge:has-text('ok')")
            assert page.get_attribute("[data-load] time", "title")
        page.click("summary:has-text('Choose accounts or an action')")
        page.fill("label:has-text('Account name') input", "PROD*")
        page.select_option("label:has-text('Action') select", "delete")
        with page.expect_download() as download:
            page.click("button:has-text('Download current accounts')")
        header, *rows = pd.read_excel(download.value.path(), header=None, dtype=str, engine="calamine").values.tolist()
        assert (header[3], rows) == ("action", [])
        if script:
            page.wait_for_selector("[data-export-status]:has-text('No account of 200 robot accounts matches')")


def test_the_way_works_without_the_script(chromium: Any, tmp_path: Path) -> None:
    with _opened(chromium, tmp_path, context={"java_script_enabled": False}) as (page, address, _):
        _upload(page, address, "accounts.csv", sheet(5))
        page.click("button:has-text('Continue to preview')")
        page.wait_for_selector("#lines")
        assert page.inner_text("form.start button") == "Update 5 accounts"
        page.check("[name=scope][value=first]")
        assert page.inner_text("form.start button") == "Start the trial"
        page.fill("input[name=first]", "3")
        page.click("form.start button")
        page.wait_for_url(re.compile("/runs/"))
        page.wait_for_selector("text=3 updated")


def test_markup_in_names_runs_nowhere(chromium: Any, tmp_path: Path) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\">"
    quoted = evil.replace('"', '""')
    with _opened(chromium, tmp_path) as (page, address, _):
        content = f'name,display_name,"{quoted}"\nrobot-0001,"{quoted}",x\n"{quoted}",x,x\n'.encode()
        _upload(page, address, f"{evil}.csv".replace("/", ""), content)
        page.check("input[name=skip_invalid]")
        page.click("button:has-text('Continue to preview')")
        page.wait_for_selector("#lines")
        page.click("form.start button")
        _run_ended(page)
        assert page.title() != "owned"
        assert page.locator("img").count() == 0
        assert evil in page.locator("table").last.inner_text()


def _pages(page: Any, address: str) -> Iterator[str]:
    """Go through every page; gives the name of each when it is open."""
    page.goto(address)
    page.click("summary:has-text('Choose accounts or an action')")
    yield "home"
    for name, content, error in (
        ("notes.pdf", b"%PDF-1.7", "#sheet-error"),
        ("turkish.csv", "name,display_name\r\nrobot-0001,Ayşe\r\n".encode("cp1254"), "#reading-error"),
    ):
        page.set_input_files("#sheet", {"name": name, "mimeType": "text/csv", "buffer": content})
        page.click("button:has-text('Upload')")
        page.wait_for_selector(error)
        yield f"upload{error.replace('#', '-')}"
        page.goto(address)
    page.set_input_files("#sheet", SAMPLES / "with_errors.csv")
    page.click("button:has-text('Upload')")
    page.wait_for_url(re.compile("/sheets/"))
    yield "sheet-with-errors"
    page.goto(address)
    page.set_input_files("#sheet", {"name": "who.csv", "mimeType": "text/csv", "buffer": b"Who,What\nrobot-0001,x\n"})
    page.click("button:has-text('Upload')")
    yield "sheet-to-map"
    page.select_option("select >> nth=0", label="Name")
    page.select_option("select >> nth=1", label="Name")
    page.click("button:has-text('Continue to preview')")
    page.wait_for_selector("select[aria-invalid]")
    yield "sheet-to-map-refused"
    page.goto(address)
    page.set_input_files("#sheet", SAMPLES / "robot_accounts.xlsx")
    page.click("button:has-text('Upload')")
    page.wait_for_url(re.compile("/sheets/"))
    yield "sheet"
    page.click("button:has-text('Continue to preview')")
    page.wait_for_selector("#lines")
    yield "preview"
    page.click("a:has-text('Invalid rows')")
    yield "preview-invalid-rows"
    page.fill("input[name=search]", "no such account")
    page.click("button:has-text('Filter')")
    page.wait_for_selector("text=No line matches the filter.")
    yield "preview-without-hits"


def _run_pages(page: Any, address: str) -> Iterator[str]:
    """Start what the preview shows; go through the pages of its run, and then the pages of no sheet."""
    page.click("form.start button")
    page.wait_for_selector("[data-live-failures] li")
    yield "run-live"
    page.click("button:has-text('Pause')")
    _run_ended(page)
    yield "run-paused"
    page.click("summary:has-text('Show the numbers')")
    yield "run-numbers"
    page.goto(address)
    yield "home-with-runs"
    page.goto(f"{address}/runs?show=refused")
    yield "runs-none"
    page.goto(f"{address}/runs?page=9")
    yield "runs-beyond-the-last"
    for name in ("runs", "status", "account", "tokens", "audit"):
        page.goto(f"{address}/{name}")
        yield name
    page.fill("input[name=name]", "nightly job") if name == "tokens" else None
    page.goto(f"{address}/runs/nope")
    yield "error"
    page.goto(f"{_foreign(address)}/runs")
    yield "error-421"
    page.goto(address)
    page.click("button:has-text('Sign out')")
    yield "signed-out"


def _foreign(address: str) -> str:
    """An address under a host name that browsers resolve to this machine, and that is not the console's own."""
    return address.replace("127.0.0.1", "foreign.localhost")


def test_a_page_under_a_foreign_host_name_is_styled_and_leads_to_the_console(chromium: Any, tmp_path: Path) -> None:
    with _opened(chromium, tmp_path) as (page, address, _):
        for link in ("main a", ".brand"):
            assert page.goto(f"{_foreign(address)}/runs").status == 421
            assert page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") != "none"
            page.click(link)
            page.wait_for_selector("h1:has-text('Sign in')")  # browsers send no cookie with a link of another site


def _violations(page: Any, axe: str, pages: Iterator[str]) -> list[str]:
    """What axe-core finds on each page as it is opened."""
    return [found for name in pages for found in violations(page, axe, name)]


def _sign_in(page: Any, address: str) -> None:
    page.goto(f"{address}/account")
    page.fill("input[name=name]", "ada")
    page.fill("input[name=password]", PASSWORD)
    page.click("button:has-text('Sign in')")
    page.wait_for_selector("text=Role")


def test_signing_out_over_tls_takes_the_cookie_from_the_browser_and_a_copy_opens_nothing(
    chromium: Any, tmp_path: Path
) -> None:
    add_users(tmp_path, {"ada": "admin"})
    serve = ServeOptions(port=0, certfile=TLS / "server.pem", keyfile=TLS / "server.key", public_names=("localhost",))
    with hosted_world(tmp_path, serve=serve) as console:
        address = console.browser.base
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


def _fail_to_sign_in(console: World, name: str) -> None:
    """Send wrong passwords without the browser, until the console refuses to check another."""

    async def fail() -> None:
        page = await console.browser.get("/")
        while "Too many attempts" not in page.text:
            page = await sign_in(console.browser, name, "wrong password")

    serving_portal().call(fail)


def _sign_in_elsewhere(console: World) -> None:
    """Begin another session of ada, without the browser."""

    async def enter() -> None:
        assert (await sign_in(console.browser, "ada")).status == 200

    serving_portal().call(enter)


def _team_pages(page: Any, address: str, console: World) -> Iterator[str]:
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
    issue_token(console.console.store, "without an end", Role.VIEWER, ADA, 0.0)
    issue_token(console.console.store, "expired", Role.VIEWER, ADA, 0.0, expires_at=1.0)
    yield from _token_pages(page)
    _sign_in_elsewhere(console)
    page.goto(f"{address}/account")
    yield "account-team"
    yield from _account_pages(page)
    page.goto(f"{address}/audit")
    yield "audit-team"
    page.context.clear_cookies()
    _fail_to_sign_in(console, "olaf")
    page.goto(address)
    page.fill("input[name=name]", "olaf")
    page.fill("input[name=password]", "wrong password")
    page.click("button:has-text('Sign in')")
    page.wait_for_selector("text=Too many attempts")
    yield "signin-team-throttled"


def _token_pages(page: Any) -> Iterator[str]:
    """Issue and revoke tokens, on the page of tokens that is open."""
    for number, name in enumerate(("nightly", "a job with a name that is as long as the form allows " + "x" * 27)):
        page.fill("input[name=name]", name)
        page.select_option("select[name=role]", "viewer" if number else "admin")
        page.select_option("select[name=days]", label="30 days" if number else "365 days")
        page.fill("input[name=current]", PASSWORD)
        page.click("button:has-text('Issue')")
        page.wait_for_selector("[role=alert] code")
    yield "tokens-issued"
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("tbody button >> nth=0")
    page.wait_for_selector("text=revoked 2")
    yield "tokens-revoked"
    for name, password in (("  ", PASSWORD), ("nightly", "wrong password")):
        page.fill("input[name=name]", name)
        page.fill("input[name=current]", password)
        page.click("button:has-text('Issue')")
        page.wait_for_selector(f"#token-error:has-text('{'password' if name.strip() else 'name'}')")
        yield f"tokens-refused-{'password' if name.strip() else 'name'}"


def _account_pages(page: Any) -> Iterator[str]:
    """End a session and fail to change the password, on the page of the account that is open."""
    page.check("[name=session] >> nth=0")
    page.fill("form:has-text('chosen sessions') input[name=current]", "wrong password")
    page.click("button:has-text('End the chosen sessions')")
    page.wait_for_selector("#sessions-error")
    assert page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "sessions-error"
    yield "account-sessions-refused"
    page.check("[name=session] >> nth=0")
    page.fill("form:has-text('chosen sessions') input[name=current]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("main:not(:has([name=session]))")
    yield "account-one-session"
    for field in ("current", "new", "again"):
        page.fill(f"form:has-text('Change password') input[name={field}]", "not my password")
    page.click("button:has-text('Change password')")
    page.wait_for_selector("[role=alert]")
    yield "account-team-refused"


def test_a_page_is_printed_whole_and_in_dark_letters(chromium: Any, tmp_path: Path) -> None:
    context = {"color_scheme": "dark", "bypass_csp": True}
    with _opened(chromium, tmp_path, context=context) as (page, address, console):
        page.goto(f"{address}{_start(console, sheet(2), ends=True)}")
        page.goto(f"{address}/runs")
        ink = "getComputedStyle(document.documentElement).getPropertyValue('--ink')"
        on_the_screen = page.evaluate(ink)
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflow") == "visible"
        in_print = page.evaluate(ink)
        page.emulate_media(media="screen", color_scheme="light")
        assert in_print == page.evaluate(ink) != on_the_screen


def test_no_colour_depends_on_the_width_so_that_axe_checks_them_at_one() -> None:
    sheets = [path.read_text(encoding="utf-8") for path in STATIC.glob("*.css")]
    blocks = [block for text in sheets for block in re.findall(r"@media [^{]*width[^{]*\{(.*?\n)\}", text, re.DOTALL)]
    assert len(blocks) == sum(len(re.findall(r"@media [^{]*width", text)) for text in sheets) > 2
    rules = [rule for block in blocks for rule in re.findall(r"([^{}]+)\{([^{}]*)\}", block)]
    coloured = [
        where.strip() for where, what in rules if re.search(r"color|background|fill|stroke|opacity|filter", what)
    ]
    assert [where for where in coloured if not where.endswith("::before")] == []  # axe-core reads no generated text


def test_sign_in_and_tokens_of_a_team_pass_axe_in_light_and_dark_and_fit_360_pixels(
    chromium: Any, axe: str, tmp_path: Path
) -> None:
    add_users(tmp_path, {"ada": "admin"})
    with hosted_world(tmp_path) as console:
        context = chromium.new_context(bypass_csp=True)
        context.set_default_timeout(LONGEST_MS)
        page = context.new_page()
        found = _violations(page, axe, _team_pages(page, console.browser.base, console))
        context.close()
    assert found == []


def test_the_longest_name_of_a_user_makes_no_page_wider_than_the_window(chromium: Any, tmp_path: Path) -> None:
    name = "W" * LONGEST_NAME
    add_users(tmp_path, {name: "admin"})
    with _opened(chromium, tmp_path) as (page, _, _):
        page.fill("input[name=name]", name)
        page.fill("input[name=password]", PASSWORD)
        page.click("button:has-text('Sign in')")
        page.wait_for_selector(".who")
        for width in (360, 700, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") == width


def _out_of_date(console: World) -> str:
    """Start a preview after the directory has changed; gives the path of its sheet."""

    async def start() -> str:
        path = await console.browser.preview("accounts.csv", sheet(3, prefix="Other"))
        await console.browser.preview_page(path)
        console.sandbox.state.account_named("robot-0002").display_name = "Meanwhile"
        await console.browser.run_ended(run_id_of(await console.browser.start(path)))
        return path

    return serving_portal().call(start)


async def _unreachable(*_arguments: object, **_more: object) -> NoReturn:
    address = f"https://cloud.uipath.com/{'acme' * 12}/identity_"
    raise ConnectionFailedError(f"The server does not answer: {address}.", hint="Check the address.")


def _outcome_pages(page: Any, address: str, console: World) -> Iterator[str]:
    """Go through previews that cannot be sent, and runs that have ended."""
    _upload(page, address, "accounts.csv", sheet(13))  # more than half of the accounts
    page.click("button:has-text('Continue to preview')")
    page.wait_for_selector("[name=really]")
    yield "preview-beyond-the-limit"
    page.click("form.start button")
    page.wait_for_selector("#really-error")
    yield "preview-beyond-the-limit-refused"
    page.fill("input[name=first]", "many")
    page.click("form.start button")
    page.wait_for_selector("#first-error")
    yield "preview-refused"
    page.goto(f"{address}{_start(console, sheet(2), ends=True)}")
    page.click("button:has-text('Undo')")
    page.wait_for_selector("#lines")
    yield "preview-of-undo"
    page.click("form.start button")
    _run_ended(page)
    yield "run-done"
    page.click("dl.facts a.code")
    page.wait_for_selector("text=Undone by")
    yield "run-undone"
    page.goto(f"{address}{_out_of_date(console)}/preview")
    page.wait_for_selector("text=This is a new preview.")
    yield "preview-changed-since"
    page.goto(f"{address}/runs?show=refused")
    page.click("tbody a >> nth=0")
    page.wait_for_selector(".outcome")
    yield "run-refused"
    _upload(page, address, "accounts.csv", sheet(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "plan", _unreachable)
        page.click("button:has-text('Continue to preview')")
        page.wait_for_selector("button:has-text('Try again')")
        yield "preview-failed"
        patch.setattr(runs, "export", _unreachable)
        page.goto(address)
        page.click("button:has-text('Download current accounts')")
        page.wait_for_selector("[data-export-error]")
        yield "home-export-refused"
        page.go_back()
    page.evaluate("document.querySelector('main [name=csrf]').value = 'old'")
    page.click("button:has-text('Try again')")
    page.wait_for_selector("text=The form has expired.")
    yield "error-403"
    page.go_back()
    page.reload()
    page.click("button:has-text('Try again')")  # as the page has told the user
    page.wait_for_selector("#lines")


def _pages_while_a_run_is_under_way(page: Any, address: str, console: World) -> Iterator[str]:
    """Go through the pages that show a run under way; the quota does not let it end."""
    path = _start(console, sheet(10, start=11))
    page.goto(address)
    page.wait_for_selector("[data-progress-said]:not(:empty)", state="attached")
    yield "home-under-way"
    page.route(
        "**/events", lambda route: route.fulfill(content_type="text/event-stream", body=_event_stream(stopping=True))
    )
    page.goto(f"{address}{path}")
    page.wait_for_selector("button:has-text('Stop now')")
    yield "run-pausing"


def test_every_outcome_passes_axe_in_light_and_dark_and_fits_360_pixels(
    chromium: Any, axe: str, tmp_path: Path
) -> None:
    more = {"quota": (QuotaRule("PUT", 8, 3600.0),), "context": {"bypass_csp": True}}
    with _opened(chromium, tmp_path, small_organization(accounts=24), **more) as (page, address, console):
        pages = chain(_outcome_pages(page, address, console), _pages_while_a_run_is_under_way(page, address, console))
        found = _violations(page, axe, pages)
    assert found == []


def test_every_page_passes_axe_in_light_and_dark_and_fits_360_pixels(chromium: Any, axe: str, tmp_path: Path) -> None:
    sandbox = SandboxOptions(limits=parse_limits("PUT=60/10"), latency_s=0.1, poisoned=("robot-0001",))
    more = {"concurrency": 2, "quota": (QuotaRule("PUT", 60, 10.0),), "context": {"bypass_csp": True}}
    with _opened(chromium, tmp_path, sandbox, **more) as (page, address, _):
        found = _violations(page, axe, chain(_pages(page, address), _run_pages(page, address)))
    assert found == []
