"""The home page and the lists: what a returning user sees first."""

import re
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from bulkid.clock import SystemClock
from bulkid.journal.names import is_run_id, new_run_id
from tests.support.web_console import LONGEST_S, World, first_put, run_id_of, sheet, small_organization, world
from tests.support.web_users import signed_in, team


async def test_a_console_without_runs_says_what_to_do_first(console: World) -> None:
    home = await console.browser.get("/")
    assert '<a href="#sheet">Choose a sheet</a>' in home.text
    assert "unfinished" not in home.text
    assert '<a href="/#sheet">Upload a sheet</a>' in (await console.browser.get("/runs")).text
    refused = await console.browser.get("/runs?show=refused")
    assert '<a href="/runs">Show all runs</a>' in refused.text


async def test_the_rest_of_a_trial_waits_on_the_home_page(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(6))
    run_id = run_id_of(await console.browser.start(path, first="2"))
    await console.browser.run_ended(run_id)
    home = (await console.browser.get("/")).text
    assert "1 unfinished run" in home
    assert re.search(rf'href="/runs/{run_id}">accounts.csv</a>:\s+4 of 6 rows pending\s+after a trial', home)


async def test_a_run_under_way_shows_its_progress_on_the_home_page(tmp_path: Path) -> None:
    slow = small_organization(latency_s=0.05)
    async with world(tmp_path, sandbox=slow, concurrency=1) as console:
        path = await console.browser.preview("accounts.csv", sheet(60))
        run_id = run_id_of(await console.browser.start(path))
        await first_put(console)
        home = (await console.browser.get("/")).text
        assert f'data-progress="/runs/{run_id}/events"' in home
        assert 'aria-label="Accounts of accounts.csv done"' in home
        await console.browser.post(f"/runs/{run_id}/pause")
        await console.browser.run_ended(run_id)
        assert "data-progress" not in (await console.browser.get("/")).text


async def test_a_page_of_a_list_beyond_the_last_says_so_and_leads_to_the_first(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(1))
    await console.browser.run_ended(run_id_of(await console.browser.start(path)))
    for path in ("/runs?page=9", "/audit?page=9"):
        page = await console.browser.get(path)
        assert "Page 9 does not exist" in page.text
        assert 'page=1">Go to the first page</a>' in page.text
        assert "There are no runs yet" not in page.text
        assert "none" not in page.text


async def test_the_audit_log_links_runs(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(1))
    run_id = run_id_of(await console.browser.start(path))
    await console.browser.run_ended(run_id)
    assert f'<a href="/runs/{run_id}">{run_id}</a>' in (await console.browser.get("/audit")).text


@pytest.mark.parametrize("text", ["", "../accounts", "20260131-081500-x7k", "20260131-081500-x7k2\n", "nope"])
def test_only_run_ids_have_the_form_of_one(text: str) -> None:
    assert is_run_id(new_run_id(0.0))
    assert not is_run_id(text)


async def test_the_navigation_marks_where_a_page_belongs(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(1))
    for address, word, kind in (
        ("/", "Home", "page"),
        (path, "Home", "true"),
        (f"{path}/preview", "Home", "true"),
        ("/runs", "Runs", "page"),
        ("/tokens", "Account", "true"),
        ("/audit", "Account", "true"),
    ):
        page = await console.browser.get(address)
        nav = page.text.split('<nav aria-label="Main">')[1].split("</nav>")[0]
        assert re.findall(r'<a href="[^"]+" aria-current="(\w+)">(\w+)</a>', nav) == [(kind, word)]
    with anyio.fail_after(LONGEST_S):
        await console.browser.preview_page(path)
        run_id = run_id_of(await console.browser.start(path))
    page = await console.browser.get(f"/runs/{run_id}")
    assert '<a href="/runs" aria-current="true">Runs</a>' in page.text


async def test_times_are_given_to_the_script_in_a_form_that_it_reads(console: World) -> None:
    page = await console.browser.get("/audit")
    assert re.search(
        r'<time datetime="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ">\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC</time>', page.text
    )


async def test_a_page_for_another_role_names_the_role_that_it_needs(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "olaf") as olaf:
        page = await olaf.get("/audit")
        assert page.status == 403
        assert "You need the admin role for this." in page.text
        assert "Your role is operator." in page.text
        assert '<a href="/">Go to the home page</a>' in page.text


async def test_the_bar_and_the_lists_name_the_organisation_and_its_server(tmp_path: Path) -> None:
    async with world(tmp_path) as console:
        path = await console.browser.preview("accounts.csv", sheet(1))
        await console.browser.run_ended(run_id_of(await console.browser.start(path)))
        host = console.sandbox.url.split("/")[2]
        page = (await console.browser.get("/runs")).text
        assert f'<p class="target"><span class="unseen">Connected to</span> {host}</p>' in page
        assert '<td class="any" data-label="Target"><span class="badge sandbox">sandbox</span></td>' in page
        acme = replace(console.console.target, url="https://cloud.uipath.com/acme")
        console.console.target = acme
        assert "</span> acme · cloud.uipath.com</p>" in (await console.browser.get("/runs")).text


async def test_rows_that_were_right_before_are_called_already_correct(console: World) -> None:
    console.sandbox.state.account_named("robot-0002").display_name = "New name 2"
    path = await console.browser.preview("accounts.csv", sheet(2))
    await console.browser.run_ended(run_id_of(await console.browser.start(path)))
    lines = (await console.browser.get("/runs")).text
    assert "1 updated" in lines
    assert "1 already correct" in lines
    assert "1 unchanged" not in lines


async def test_a_token_that_is_not_issued_leaves_the_form_with_the_reason(console: World) -> None:
    await console.browser.get("/tokens")
    for name, role, reason in (
        ("  ", "viewer", "A token needs a name."),
        ("job", "king", "There is no role &#39;king"),
    ):
        page = await console.browser.post("/tokens", {"name": name, "role": role})
        assert page.status == 400
        assert reason in page.text
        assert 'aria-invalid="true" aria-describedby="token-error"' in page.text
    assert "token refused" in (await console.browser.get("/audit")).text


class _SetBack(SystemClock):
    """A clock of which a test sets the time of day."""

    by_s = 0.0

    def now(self) -> float:
        return super().now() - self.by_s


async def test_the_connection_is_checked_again_also_when_the_clock_was_set_back(console: World) -> None:
    clock = console.console.clock = _SetBack()
    await console.browser.get("/status")
    assert "data-load" not in (await console.browser.get("/")).text
    before, clock.by_s = console.console.last_findings, 3600.0
    assert "data-load" in (await console.browser.get("/")).text, "the check has a time to come"
    await console.browser.post("/status")
    assert console.console.last_findings != before
    assert "data-load" not in (await console.browser.get("/")).text
