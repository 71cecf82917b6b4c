"""A sheet in the console: uploaded, mapped, previewed, started, watched, reported and undone."""

import csv
import io
import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import aiohttp
import anyio
import pytest

from bulkid import runs
from bulkid.model import ChangeBound, QuotaRule, Status
from bulkid.runs.concurrency import in_thread
from bulkid.runs.run_locks import run_lock
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.server import Sandbox
from tests.support.postgres_server import shared_server
from tests.support.web_console import (
    SAMPLES,
    Browser,
    Page,
    World,
    first_put,
    run_id_of,
    sheet,
    small_organization,
    world,
)
from tests.support.web_programs import Program
from tests.support.web_users import signed_in, slow_team, team


def _report(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


async def test_a_sheet_goes_from_upload_to_report(console: World) -> None:
    browser = console.browser
    path = await browser.preview("accounts.csv", sheet(30))
    preview = await browser.preview_page(path)
    assert "30</b> to change" in preview.text
    assert "<ins>New name 1</ins>" in preview.text
    page = await browser.start(path)
    ended = await browser.run_ended(run_id_of(page))
    assert "30 updated" in ended.text
    rows = _report((await browser.get(f"/runs/{run_id_of(page)}/download/csv")).body)
    assert [row["status"] for row in rows] == ["updated"] * 30
    assert console.sandbox.state.account_named("robot-0007").display_name == "New name 7"


async def test_every_form_of_the_report_can_be_downloaded(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(3))
    run_id = run_id_of(await console.browser.start(path))
    await console.browser.run_ended(run_id)
    lines = (await console.browser.get(f"/runs/{run_id}/download/jsonl")).body.splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["updated"] * 3
    assert (await console.browser.get(f"/runs/{run_id}/download/xlsx")).body.startswith(b"PK")
    assert (await console.browser.get(f"/runs/{run_id}/download/retry")).status == 404  # nothing is left to retry
    assert (await console.browser.get(f"/runs/{run_id}/download/exe")).status == 404


async def test_invalid_rows_are_named_filtered_and_given_back_to_fix(console: World) -> None:
    page = await console.browser.upload("with_errors.csv", (SAMPLES / "with_errors.csv").read_bytes())
    offline = runs.check(SAMPLES / "with_errors.csv")
    assert f"<b>{offline.invalid_rows}</b> invalid rows" in page.text
    for fault in offline.row_errors[:5]:
        assert str(fault.row) in page.text
    path = page.url.removeprefix(console.browser.base)
    found = await console.browser.get(f"{path}?search={offline.row_errors[0].row}")
    assert found.text.count('<th scope="row"><span') < page.text.count('<th scope="row"><span')
    rows = list(csv.DictReader(io.StringIO((await console.browser.get(f"{path}/retry.csv")).body.decode("utf-8-sig"))))
    assert len(rows) == offline.invalid_rows
    assert all(row["error"] for row in rows)


async def test_a_sheet_with_a_invalid_row_cannot_be_started_unless_its_good_rows_may_go_alone(console: World) -> None:
    content = sheet(3) + b"\n,nobody"
    path = await console.browser.preview("accounts.csv", content)
    seen = await console.browser.preview_page(path)
    assert 'name="preview"' not in seen.text
    fields = {"field-0": "name", "field-1": "display_name", "skip_invalid": "1"}
    await console.browser.post(path, fields)
    await console.browser.post(f"{path}/preview")
    run_id = run_id_of(await console.browser.start(path))
    assert "3 updated" in (await console.browser.run_ended(run_id)).text


async def test_columns_that_bulkid_does_not_know_are_mapped_by_hand(console: World) -> None:
    content = b"Who,What\nrobot-0001,Mapped\n"
    page = await console.browser.upload("accounts.csv", content)
    assert "No column names the robot account" in page.text
    path = page.url.removeprefix(console.browser.base)
    mapped = await console.browser.post(path, {"field-0": "name", "field-1": "display_name"})
    assert "<b>1</b> account" in mapped.text
    await console.browser.post(f"{path}/preview")
    run_id = run_id_of(await console.browser.start(path))
    await console.browser.run_ended(run_id)
    assert console.sandbox.state.account_named("robot-0001").display_name == "Mapped"


async def test_a_trial_changes_only_the_first_accounts_and_the_rest_can_be_resumed(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(10))
    run_id = run_id_of(await console.browser.start(path, first="4"))
    ended = await console.browser.run_ended(run_id)
    assert "4 updated" in ended.text
    assert "6 pending" in ended.text
    rest = (await console.browser.post(f"/runs/{run_id}/resume")).url.removeprefix(console.browser.base)
    await console.browser.start(rest.removesuffix("/preview"))
    assert "10 updated" in (await console.browser.run_ended(run_id)).text


@pytest.mark.parametrize("first", ["0", "-1", "x", "1e3"])
async def test_a_trial_of_no_number_of_accounts_is_refused(console: World, first: str) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2))
    assert (await console.browser.start(path, first=first)).status == 400
    assert console.sandbox.state.account_named("robot-0001").display_name != "New name 1"


async def test_nothing_is_sent_when_the_directory_has_changed_since_the_preview(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(5))
    await console.browser.preview_page(path)
    console.sandbox.state.account_named("robot-0003").display_name = "Somebody else"
    page = await console.browser.start(path)
    ended = await console.browser.run_ended(run_id_of(page))
    assert "The directory has changed since the preview: 1 account would change differently" in ended.text
    assert re.findall(r"\d (?:pending|not sent)", ended.text) == ["5 not sent"] * 2, "in the outcome and the status"
    assert '<span class="badge pending">not sent</span>' in ended.text
    assert "robot-0003" in ended.text
    assert console.sandbox.state.account_named("robot-0001").display_name != "New name 1"
    again = await console.browser.post(f"/runs/{run_id_of(page)}/again")
    assert "<del>Somebody else</del>" in (await console.browser.preview_page(path)).text
    assert again.url.endswith(f"{path}/preview")


async def test_a_sheet_that_was_for_another_server_is_not_previewed_again(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2))
    await console.browser.preview_page(path)
    console.sandbox.state.account_named("robot-0001").display_name = "Somebody else"
    run_id = run_id_of(await console.browser.start(path))
    await console.browser.run_ended(run_id)
    console.console.options = replace(console.console.options, sandbox=True)
    page = await console.browser.post(f"/runs/{run_id}/again")
    assert page.status == 400
    assert f"Run {run_id} was begun on a real server, but this console uses another server." in page.text


async def test_a_preview_that_is_not_the_present_one_is_not_started(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2))
    await console.browser.preview_page(path)
    page = await console.browser.post(f"{path}/start", {"preview": "0" * 16})
    assert page.status == 400
    assert "out of date" in page.text


async def test_a_preview_is_started_once(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2))
    seen = await console.browser.preview_page(path)
    started = await console.browser.start(path)
    await console.browser.run_ended(run_id_of(started))
    token = seen.text.split('name="preview" value="')[1].split('"')[0]
    again = await console.browser.post(f"{path}/start", {"preview": token})
    assert again.status == 400
    assert f"{console.authenticator.name} has started this preview already." in again.text
    assert "nothing was sent" not in again.text


async def test_of_two_starts_at_once_one_begins_a_run_and_the_other_is_told_of_it(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "olaf") as olaf, signed_in(console, "otto") as otto:
        path = await olaf.preview("accounts.csv", sheet(2))
        found = re.search(r'name="preview" value="([0-9a-f]+)"', (await olaf.preview_page(path)).text)
        assert found
        await otto.get(path)
        pages: dict[str, Page] = {}

        async def start(name: str, browser: Browser) -> None:
            pages[name] = await browser.post(f"{path}/start", {"preview": found[1]})

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(start, "olaf", olaf)
            tasks.start_soon(start, "otto", otto)
        (first, run), (_, refused) = sorted(pages.items(), key=lambda each: each[1].status)
        assert (run.status, refused.status) == (200, 400)
        assert f"{first} has started this preview already." in refused.text
        await olaf.run_ended(run_id_of(run))


async def test_what_a_run_changed_is_taken_back_after_a_preview(console: World) -> None:
    before = console.sandbox.state.account_named("robot-0001").display_name
    path = await console.browser.preview("accounts.csv", sheet(3))
    run_id = run_id_of(await console.browser.start(path))
    await console.browser.run_ended(run_id)
    page = await console.browser.post(f"/runs/{run_id}/undo")
    undo = page.url.removeprefix(console.browser.base).removesuffix("/preview")
    seen = await console.browser.preview_page(undo)
    assert f"<ins>{before}</ins>" in seen.text
    assert (
        console.sandbox.state.account_named("robot-0001").display_name == "New name 1"
    )  # so far it was only looked at
    undone = run_id_of(await console.browser.start(undo))
    assert "3 updated" in (await console.browser.run_ended(undone)).text
    assert console.sandbox.state.account_named("robot-0001").display_name == before


async def test_an_undo_has_no_invalid_rows_to_download_and_no_path_of_the_server_is_shown(console: World) -> None:
    run_id = run_id_of(await console.browser.start(await console.browser.preview("accounts.csv", sheet(2))))
    await console.browser.run_ended(run_id)
    undo = (await console.browser.post(f"/runs/{run_id}/undo")).url.removeprefix(console.browser.base)
    page = await console.browser.get(f"{undo.removesuffix('/preview')}/retry.csv")
    assert page.status == 400
    assert "the journal of a run holds its contents" in page.text
    assert str(console.folder) not in page.text


async def test_a_sheet_that_is_gone_from_the_disk_is_refused_without_a_path_of_the_server(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2))
    await console.browser.preview_page(path)
    for file in (console.folder / "state" / "uploads").rglob("sheet.csv"):
        file.unlink()
    page = await console.browser.start(path)
    assert page.status == 400
    assert "accounts.csv does not exist." in page.text
    assert str(console.folder) not in page.text


async def test_a_run_that_another_user_undoes_at_the_moment_is_not_said_to_be_under_way(console: World) -> None:
    run_id = run_id_of(await console.browser.start(await console.browser.preview("accounts.csv", sheet(2))))
    await console.browser.run_ended(run_id)
    browser = console.console.run_browser
    with run_lock(browser.journal, browser.run(run_id).run):  # as while the preview of another user's undo is made
        page = await console.browser.post(f"/runs/{run_id}/undo")
    assert "still under way" not in page.text
    assert f"Run {run_id} (accounts.csv) is in use: it is being undone or resumed" in page.text
    assert "Try again when that has ended." in page.text


async def test_a_run_that_waits_for_another_one_is_not_said_to_have_ended(tmp_path: Path) -> None:
    async with slow_team(tmp_path) as console, signed_in(console, "olaf") as olaf:
        for start in (1, 51):
            run_id = run_id_of(await olaf.start(await olaf.preview("accounts.csv", sheet(2, start=start))))
        page = await olaf.post(f"/runs/{run_id}/resume")
        assert page.status == 409
        assert f"Run {run_id} is still under way." in page.text
        assert console.console.job_runner.running == 2


async def test_rows_that_failed_are_retried_after_a_preview(tmp_path: Path) -> None:
    options = small_organization(poisoned=("robot-0002",))
    async with world(tmp_path, sandbox=options) as console:
        path = await console.browser.preview("accounts.csv", sheet(3))
        run_id = run_id_of(await console.browser.start(path))
        ended = await console.browser.run_ended(run_id)
        assert "1 failed" in ended.text
        failed = await console.browser.get(f"/runs/{run_id}?status=failed")
        assert "robot-0002" in failed.text
        assert "robot-0003" not in failed.text
        page = await console.browser.post(f"/runs/{run_id}/retry")
        again = page.url.removeprefix(console.browser.base)
        assert "<b>1</b> row" in page.text
        await console.browser.post(f"{again}/preview")
        assert "1</b> to change" in (await console.browser.preview_page(again)).text


async def test_a_retry_reads_the_columns_as_the_run_did(console: World) -> None:
    content = b"Login,=Shown,groups,Error\nrobot-0001,One,Finance,x\nnobody,Two,Finance,y\n"
    path = (await console.browser.upload("accounts.csv", content)).url.removeprefix(console.browser.base)
    chosen = {"field-0": "name", "field-1": "display_name", "field-2": "", "skip_invalid": "1", "continue": "1"}
    await console.browser.post(path, chosen)
    run_id = run_id_of(await console.browser.start(path))
    await console.browser.run_ended(run_id)
    retry = await console.browser.post(f"/runs/{run_id}/retry")
    assert "No column names the robot account" not in retry.text
    assert re.findall(r'<option value="(\w+)" selected', retry.text) == ["name", "display_name"], "groups is ignored"


async def test_what_an_undo_left_is_undone_again_and_never_retried_as_a_sheet(console: World) -> None:
    browser, accounts = console.browser, console.sandbox.state
    run_id = run_id_of(await browser.start(await browser.preview("accounts.csv", sheet(2))))
    await browser.run_ended(run_id)
    accounts.account_named("robot-0002").display_name = "Changed since"
    undo = (await browser.post(f"/runs/{run_id}/undo")).url.removeprefix(browser.base).removesuffix("/preview")
    undone = run_id_of(await browser.start(undo))
    page = await browser.run_ended(undone)
    assert f'action="/runs/{undone}/retry"' not in page.text
    assert "Undo again: 1 row left (preview first)" in page.text
    refused = await browser.post(f"/runs/{undone}/retry")
    assert (refused.status, f"Undo run {run_id} again." in refused.text) == (400, True)
    accounts.account_named("robot-0002").display_name = "New name 2"
    (action,) = re.findall(r'action="([^"]+)"[^>]*>(?:<input[^>]*>)*<button[^>]*>Undo again', page.text)
    again = (await browser.post(action)).url.removeprefix(browser.base).removesuffix("/preview")
    ended = await browser.run_ended(run_id_of(await browser.start(again)))
    assert "1 updated" in ended.text
    assert "Undo again" not in ended.text


async def test_no_retry_takes_the_rows_of_a_run_that_can_be_resumed(tmp_path: Path) -> None:
    async with world(tmp_path, quota=(QuotaRule("PUT", 1, 3600.0),)) as console:
        run_id = run_id_of(await console.browser.start(await console.browser.preview("accounts.csv", sheet(3))))
        await first_put(console)
        await console.browser.post(f"/runs/{run_id}/pause")
        page = await console.browser.run_ended(run_id)
        assert f'action="/runs/{run_id}/retry"' not in page.text
        page = await console.browser.post(f"/runs/{run_id}/retry")
        assert page.status == 400
        assert f"Run {run_id} can be resumed, which sends its pending rows." in page.text
        assert "Resume it first." in page.text


async def test_no_retry_takes_the_rows_of_a_run_to_another_server(tmp_path: Path) -> None:
    async with world(tmp_path, sandbox=small_organization(poisoned=("robot-0002",))) as console:
        run_id = run_id_of(await console.browser.start(await console.browser.preview("accounts.csv", sheet(3))))
        await console.browser.run_ended(run_id)
        console.console.options = replace(console.console.options, sandbox=True)
        page = await console.browser.post(f"/runs/{run_id}/retry")
        assert page.status == 400
        assert f"Run {run_id} was begun on a real server, but this console uses another server." in page.text


@pytest.mark.parametrize("action", ["undo", "resume", "retry"])
async def test_a_plan_of_a_run_of_the_sandbox_is_never_sent_to_a_server(action: str, tmp_path: Path) -> None:
    """A console of the sandbox made it; the console that shows it now, on the same state, is one of a server."""
    failing = small_organization(poisoned=("robot-0001",) if action == "retry" else ())
    first = {"first": "1", "scope": "first"} if action == "resume" else {}
    async with world(tmp_path, sandbox=failing, in_sandbox=True, max_attempts=1) as tried:
        path = await tried.browser.preview("accounts.csv", sheet(3))
        run_id = run_id_of(await tried.browser.start(path, **first))
        await tried.browser.run_ended(run_id)
        page = await tried.browser.post(f"/runs/{run_id}/{action}")
        path = page.url.removeprefix(tried.browser.base).removesuffix("/preview")
    async with world(tmp_path) as real:  # its organisation has the same id
        await real.browser.post(f"{path}/preview")
        page = await real.browser.preview_page(path)
        assert f"Run {run_id} was begun on the sandbox, but this console uses another server." in page.text
        assert 'name="preview"' not in page.text
        assert not real.sandbox.served


async def test_no_retry_takes_the_rows_of_a_run_from_one_server_to_another(tmp_path: Path) -> None:
    async with world(tmp_path, sandbox=small_organization(poisoned=("robot-0002",)), max_attempts=1) as one:
        run_id = run_id_of(await one.browser.start(await one.browser.preview("accounts.csv", sheet(3))))
        await one.browser.run_ended(run_id)
        page = await one.browser.post(f"/runs/{run_id}/retry")
        path = page.url.removeprefix(one.browser.base)
    async with world(tmp_path) as other:
        page = await other.browser.post(f"/runs/{run_id}/retry")
        assert page.status == 400
        assert f"Run {run_id} belongs to {one.sandbox.url}, but the settings name {other.sandbox.url}." in page.text
        await other.browser.post(f"{path}/preview")
        assert f"Run {run_id} belongs to {one.sandbox.url}" in (await other.browser.preview_page(path)).text
        assert not other.sandbox.served


async def test_a_resume_of_a_complete_run_is_refused_and_never_recorded_as_done(console: World) -> None:
    run_id = run_id_of(await console.browser.start(await console.browser.preview("accounts.csv", sheet(2))))
    await console.browser.run_ended(run_id)
    page = await console.browser.post(f"/runs/{run_id}/resume")
    assert (page.status, f"Run {run_id} is complete: nothing is pending." in page.text) == (400, True)
    entries = [entry.action for entry in console.console.store.audit_entries() if "resume" in entry.action]
    assert entries == ["resume refused"]


async def test_what_the_console_advises_to_do_in_a_terminal_has_the_options_of_the_run(tmp_path: Path) -> None:
    async with world(tmp_path, quota=(QuotaRule("PUT", 1, 3600.0),)) as console:
        named_by = (("--profile", "eu"), ("--state-dir", "/state"))
        console.console.target = replace(console.console.target, named_by=named_by)
        run_id = run_id_of(await console.browser.start(await console.browser.preview("accounts.csv", sheet(3))))
        await first_put(console)
        await console.browser.post(f"/runs/{run_id}/pause")
        await console.browser.run_ended(run_id)
        console.console.options = replace(console.console.options, sandbox=True)
        for action in ("resume", "undo"):
            page = await console.browser.post(f"/runs/{run_id}/{action}")
            assert f"in a terminal: bulkid {action} {run_id} --profile eu --state-dir /state<" in page.text, action


async def test_no_retry_takes_the_rows_of_a_run_that_is_still_under_way(tmp_path: Path) -> None:
    async with world(tmp_path, quota=(QuotaRule("PUT", 1, 3600.0),)) as console:
        path = await console.browser.preview("accounts.csv", sheet(3))
        run_id = run_id_of(await console.browser.start(path))
        await first_put(console)
        page = await console.browser.post(f"/runs/{run_id}/retry")
        assert page.status == 409
        assert f"Run {run_id} is still under way." in page.text
        assert len(await in_thread(console.console.uploads.all)) == 1
        await console.browser.post(f"/runs/{run_id}/pause")
        await console.browser.run_ended(run_id)


async def test_a_trial_beyond_the_limit_is_refused_before_it_is_a_run(tmp_path: Path) -> None:
    async with world(tmp_path, max_change=ChangeBound(count=5)) as console:
        path = await console.browser.preview("accounts.csv", sheet(20))
        refused = await console.browser.start(path, first="6", scope="first")
        assert refused.status == 400
        assert "The trial is too large. The plan changes 6 accounts, more than the limit of 5: nothing" in refused.text
        assert 'value="6" data-suggested="10"' in refused.text, "the user corrects the number at its field"
        assert "There are no runs" in (await console.browser.get("/runs")).text
        run_id = run_id_of(await console.browser.start(path, first="5", scope="first"))
        assert "Trial finished: 5 accounts." in (await console.browser.run_ended(run_id)).text


async def test_a_paused_run_goes_on_where_it_was(tmp_path: Path) -> None:
    async with world(tmp_path, sandbox=small_organization(latency_s=0.05), concurrency=1) as console:
        path = await console.browser.preview("accounts.csv", sheet(40))
        run_id = run_id_of(await console.browser.start(path))
        await first_put(console)
        await console.browser.post(f"/runs/{run_id}/pause")
        ended = await console.browser.run_ended(run_id)
        assert "interrupted" in ended.text
        await console.browser.post(f"/runs/{run_id}/resume")
        assert "40 updated" in (await console.browser.run_ended(run_id)).text
        puts = sum(count for (method, _), count in console.sandbox.served.items() if method == "PUT")
        assert puts == 40  # none was sent twice


async def test_a_run_of_a_terminal_shows_up_and_the_other_way_round(console: World, tmp_path: Path) -> None:
    source = tmp_path / "terminal.csv"
    source.write_bytes(sheet(2))
    context = runs.Context(state_dir=console.console.state_dir)
    result = await runs.run(source, console.console.target, console.console.options, context)
    listed = await console.browser.get("/runs")
    assert result.run.run_id in listed.text
    assert "terminal.csv" in listed.text
    path = await console.browser.preview("console.csv", sheet(2, start=5))
    run_id = run_id_of(await console.browser.start(path))
    await console.browser.run_ended(run_id)
    assert run_id in {record.run_id for record, _ in runs.list_runs(console.console.state_dir)}


async def test_the_events_of_a_run_hold_its_whole_state_and_end_with_it(tmp_path: Path) -> None:
    async with world(tmp_path, sandbox=small_organization(latency_s=0.05), concurrency=2) as console:
        path = await console.browser.preview("accounts.csv", sheet(40))
        run_id = run_id_of(await console.browser.start(path))
        states, ended = [], False
        async with console.browser.session.get(f"{console.browser.base}/runs/{run_id}/events") as answer:
            assert answer.content_type == "text/event-stream"
            event = ""
            async for line in answer.content:
                text = line.decode().strip()
                if text.startswith("event: "):
                    event = text.removeprefix("event: ")
                elif text.startswith("data: "):
                    ended = event == "ended"
                    if not ended:
                        states.append(json.loads(text.removeprefix("data: ")))
        assert ended
        done = [state["done"] for state in states]
        assert done == sorted(done)
        assert states[-1]["running"] is False
        assert states[-1]["changed"] == 40


async def test_a_browser_may_not_keep_the_events_of_a_run(console: World) -> None:
    run_id = run_id_of(await console.browser.start(await console.browser.preview("accounts.csv", sheet(2))))
    await console.browser.run_ended(run_id)
    page = await console.browser.get(f"/runs/{run_id}/events")
    assert "event: ended" in page.text
    assert page.headers.getall("Cache-Control") == ["no-store"]


async def test_a_failure_is_reported_of_while_the_run_goes_on(tmp_path: Path) -> None:
    options = small_organization(latency_s=0.05, poisoned=("robot-0001",))
    async with world(tmp_path, sandbox=options, concurrency=1) as console:
        path = await console.browser.preview("accounts.csv", sheet(40))
        run_id = run_id_of(await console.browser.start(path))
        reported = []
        async for text in console.console.run_feeds.watch(run_id):
            state = json.loads(text)
            if state["running"] and state["failures"]:
                reported += state["failures"]
        assert {failure["name"] for failure in reported} == {"robot-0001"}
        assert all("locked" in failure["error"] for failure in reported)


async def test_the_end_of_the_console_interrupts_its_runs_and_the_next_start_offers_to_go_on(tmp_path: Path) -> None:
    async with Sandbox(small_organization(latency_s=0.05)) as server:
        async with world(tmp_path, server=server, concurrency=1) as console:
            path = await console.browser.preview("accounts.csv", sheet(60))
            run_id = run_id_of(await console.browser.start(path))
            await first_put(console)
        ((record, counts),) = runs.list_runs(tmp_path / "state")
        assert record.status == "interrupted"
        assert sum(counts.values()) == 60
        assert counts[Status.PENDING] > 0
        async with world(tmp_path, server=server) as console:
            home = await console.browser.get("/")
            assert "1 unfinished run" in home.text
            assert run_id in home.text
    async with world(tmp_path) as console:  # on another server, where it cannot be resumed
        assert "1 unfinished run" not in (await console.browser.get("/")).text


async def test_a_search_looks_through_the_whole_preview_and_pages_have_a_hundred_lines(tmp_path: Path) -> None:
    async with world(tmp_path, sandbox=small_organization(accounts=600)) as console:
        path = await console.browser.preview("accounts.csv", sheet(250))
        seen = await console.browser.preview_page(path)
        assert seen.text.count("<ins>") == 100
        assert "page 1 of 3" in seen.text
        last = await console.browser.preview_page(path, "?page=3")
        assert last.text.count("<ins>") == 50
        found = await console.browser.preview_page(path, "?search=NEW+name+237")
        assert found.text.count("<ins>") == 1
        assert "robot-0237" in found.text


async def test_the_status_page_says_what_doctor_says(console: World) -> None:
    page = await console.browser.get("/status")
    assert "read accounts" in page.text
    assert "sandbox-secret" not in page.text


async def test_a_plan_that_changes_most_of_the_organisation_needs_a_word_more(tmp_path: Path) -> None:
    async with world(tmp_path, sandbox=SandboxOptions(limits=(), accounts=60)) as console:
        path = await console.browser.preview("accounts.csv", sheet(50))
        seen = await console.browser.preview_page(path)
        assert "Yes, change all 50 accounts" in seen.text
        assert "--yes-really" not in seen.text
        refused = await console.browser.start(path)
        assert refused.status == 400
        assert "more than the limit of 50 %" in refused.text
        run_id = run_id_of(await console.browser.start(path, really="1"))
        assert "50 updated" in (await console.browser.run_ended(run_id)).text


async def test_two_consoles_on_one_postgresql_show_the_same_runs(tmp_path: Path) -> None:
    slow = small_organization(latency_s=0.05)
    with shared_server().database() as url:
        async with (
            world(tmp_path / "one", sandbox=slow, database_url=url, concurrency=1) as one,
            world(tmp_path / "two", sandbox=slow, database_url=url) as two,
        ):
            path = await one.browser.preview("accounts.csv", sheet(40))
            run_id = run_id_of(await one.browser.start(path))
            await first_put(one)
            seen = await two.browser.get(f"/runs/{run_id}")
            assert "Under way in another process" in seen.text
            assert "/pause" not in seen.text
            refused = await two.browser.post(f"/runs/{run_id}/pause")
            assert "stop it there" in refused.text
            assert "40 updated" in (await two.browser.run_ended(run_id)).text
            assert "40 updated" in (await one.browser.run_ended(run_id)).text


async def test_a_defect_in_a_preview_or_a_run_ends_neither_the_console_nor_other_runs(
    console: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2))
    await console.browser.preview_page(path)

    async def broken(*_arguments: object, **_more: object) -> runs.PlanResult:
        msg = "xyzzy"
        raise RuntimeError(msg)

    with monkeypatch.context() as defect:
        defect.setattr(runs, "run", broken)
        page = await console.browser.start(path)
        assert page.status == 503
        assert "xyzzy" not in page.text
        defect.setattr(runs, "plan", broken)
        await console.browser.post(f"{path}/preview")
        assert (
            "bulkid failed to make the preview with an internal error"
            in (await console.browser.preview_page(path)).text
        )
    await console.browser.post(f"{path}/preview")
    run_id = run_id_of(await console.browser.start(path))
    assert "2 updated" in (await console.browser.run_ended(run_id)).text


LIFE = b"""name,display_name,groups_to_add,action
bot-0001,Bot One,Finance,create
robot-0001,New name 1,,
robot-0007,,,delete
"""


async def test_accounts_are_created_and_deleted_and_the_report_says_so(tmp_path: Path) -> None:
    async with world(tmp_path, allow_delete=True) as console:
        path = await console.browser.preview("life.csv", LIFE)
        gone = console.sandbox.state.account_named("robot-0007").id
        seen = (await console.browser.preview_page(path)).text
        listed = seen[seen.index('id="to-delete"') : seen.index('<form class="start"')]
        assert "robot-0007" in listed
        assert gone in listed
        refused = await console.browser.start(path, scope="all", deletions="2")
        assert "You entered 2, but 1 account will be deleted: nothing was sent." in refused.text
        run_id = run_id_of(await console.browser.start(path, scope="all", deletions="1"))
        ended = (await console.browser.run_ended(run_id)).text
        assert "1 updated, 1 created, 1 deleted." in ended
        for status in ("updated", "created", "deleted"):
            assert f'<span class="badge {status}">{status}</span>' in ended
        assert all(f"{noun}s settled" in ended for noun in ("Account", "Creation", "Deletion")), (
            "a plot for each method"
        )
        assert f'action="/runs/{run_id}/undo"' in ended
        rows = _report((await console.browser.get(f"/runs/{run_id}/download/csv")).body)
        assert [(row["status"], row["changes"]) for row in rows] == [
            ("created", 'created: display name "Bot One"; + Finance'),
            ("updated", "display name: Robot 1 -> New name 1"),
            ("deleted", "deleted"),
        ]
        only = (await console.browser.get(f"/runs/{run_id}?status=deleted")).text
        assert "robot-0007</th>" in only
        assert "bot-0001</th>" not in only
        assert console.sandbox.state.account_named("bot-0001").display_name == "Bot One"
        assert not console.sandbox.state.has_account_named("robot-0007")


async def test_a_console_that_does_not_allow_deletions_says_what_to_do(console: World) -> None:
    advice = 'Ask the user who starts this console to start it with "--allow-delete" or BULKID_ALLOW_DELETE=1.'
    assert "This console does not allow deletions." in (await console.browser.get("/")).text
    path = await console.browser.preview("life.csv", LIFE)
    seen = unescape((await console.browser.preview_page(path, "?show=invalid")).text)
    assert f"This console does not allow deletions. {advice}" in seen
    assert (
        f"The row deletes an account, and deletions are not allowed. Remove the row, or allow deletions. {advice}"
        in seen
    )
    fields = {f"field-{index}": field for index, field in enumerate(LIFE.decode().splitlines()[0].split(","))}
    await console.browser.post(path, {**fields, "skip_invalid": "1", "continue": "1"})
    run_id = run_id_of(await console.browser.start(path, scope="all"))
    ended = unescape((await console.browser.run_ended(run_id)).text)
    assert "1 updated, 1 created, 1 invalid." in ended
    assert advice in ended
    assert "--allow-delete allows them" not in ended, "words of a terminal"

    seen = unescape((await console.browser.preview_page(await _undo(console.browser, run_id))).text)
    assert f"This console does not allow deletions. {advice}" in seen


class StopsOnceAgreed(runs.Hooks):
    """A user of a terminal who agrees to the plan, and then stops the run before it sends anything."""

    def __init__(self, stop: runs.Stop) -> None:
        self.stop = stop

    async def confirm(self, _preview: runs.Preview) -> bool:
        self.stop.request("a test")
        return True


@pytest.mark.parametrize("first", [None, 1])
async def test_a_console_that_does_not_allow_deletions_sends_none_of_a_run_that_did(
    tmp_path: Path, first: int | None
) -> None:
    source = tmp_path / "life.csv"
    source.write_bytes(LIFE)
    async with world(tmp_path, allow_delete=True) as console:
        allowed, stop = console.console.options, runs.Stop()
        context = runs.Context(state_dir=console.console.state_dir, stop=stop)
        if first is None:
            context = replace(context, hooks=StopsOnceAgreed(stop))
        await runs.run(source, console.console.target, replace(allowed, first=first), context)
        ((record, _),) = runs.list_runs(console.console.state_dir)
        resume = f"/runs/{record.run_id}/resume"
        rest = (await console.browser.post(resume)).url.removeprefix(console.browser.base) if first else ""

        console.console.options = replace(allowed, allow_delete=False)  # the console was started again without it
        program = Program(console)
        page = await console.browser.post(resume)
        assert page.status == 400
        assert "has 1 account left to delete, and this console does not allow deletions: nothing was sent." in page.text
        assert (await program.ask("POST", f"/runs/{record.run_id}/resume"))[0] == 400
        assert (await program.ask("POST", f"/runs/{record.run_id}/rest"))[0] == 400
        if rest:
            page = await console.browser.start(rest.removesuffix("/preview"), deletions="1")
            assert "does not allow deletions" in page.text
        assert console.sandbox.state.has_account_named("robot-0007")

        console.console.options = allowed
        if rest:
            await console.browser.start(rest.removesuffix("/preview"), deletions="1")
        else:
            await console.browser.post(resume)
        await console.browser.run_ended(record.run_id)
        assert not console.sandbox.state.has_account_named("robot-0007")


async def test_an_operator_resumes_a_run_that_deletes_after_a_preview_and_an_admin_at_once(tmp_path: Path) -> None:
    source = tmp_path / "life.csv"
    source.write_bytes(LIFE)
    async with (
        team(tmp_path, allow_delete=True) as console,
        signed_in(console, "olaf") as olaf,
        signed_in(console, "ada") as ada,
    ):
        begun = list[str]()
        for _ in range(2):
            stop = runs.Stop()
            context = runs.Context(state_dir=console.console.state_dir, stop=stop, hooks=StopsOnceAgreed(stop))
            await runs.run(source, console.console.target, console.console.options, context)
            begun.append(runs.list_runs(console.console.state_dir)[0][0].run_id)

        page = await olaf.post(f"/runs/{begun[0]}/resume")
        assert page.url.endswith("/preview"), page.url
        assert console.sandbox.state.has_account_named("robot-0007"), "nothing was sent"
        rest = page.url.removeprefix(olaf.base).removesuffix("/preview")
        assert "You entered" in (await olaf.start(rest, deletions="2")).text
        await olaf.run_ended(run_id_of(await olaf.start(rest, deletions="1")))
        assert not console.sandbox.state.has_account_named("robot-0007")

        page = await ada.post(f"/runs/{begun[1]}/resume")
        await ada.run_ended(begun[1])
        assert page.url.endswith(f"/runs/{begun[1]}")


async def test_deleted_accounts_are_created_again_with_and_without_the_rest_of_the_undo(tmp_path: Path) -> None:
    async with world(tmp_path, allow_delete=True) as console:
        browser, state = console.browser, console.sandbox.state

        async def done(path: str, **form: str) -> tuple[str, str]:
            run_id = run_id_of(await browser.start(path, scope="all", **form))
            return run_id, (await browser.run_ended(run_id)).text

        before = state.account_named("robot-0007")
        run_id, ended = await done(await browser.preview("life.csv", LIFE), deletions="1")
        assert "Undo and recreate 1 account (preview first)" in ended
        plain = unescape((await browser.preview_page(await _undo(browser, run_id), "?show=invalid")).text)
        assert "The page of the run offers to create an account of the same name" in plain
        path = await _undo(browser, run_id, recreate="1")
        assert "they get new ids" in (await browser.preview_page(path)).text
        _, ended = await done(path, deletions="1")
        assert "1 updated, 1 created, 1 deleted." in ended
        after = state.account_named("robot-0007")
        assert (after.display_name, after.id == before.id) == (before.display_name, False)
        assert not state.has_account_named("bot-0001")

        run_id, ended = await done(
            await browser.preview("gone.csv", b"name,action\nrobot-0008,delete\n"), deletions="1"
        )
        assert ">Recreate 1 account (preview first)</button>" in ended
        assert "Undo (preview first)" not in ended
        path = await _undo(browser, run_id, recreate="1")
        assert '<span class="for-all">Create 1 account</span>' in (await browser.preview_page(path)).text
        assert "1 created." in (await done(path))[1]
        assert state.has_account_named("robot-0008")


async def test_a_retry_keeps_the_note_of_the_run_and_a_wrong_note_is_refused_at_its_field(tmp_path: Path) -> None:
    refused = (
        "The note is longer than 200 characters: the sheet was not kept. Correct the note and choose the sheet again."
    )
    async with world(tmp_path, sandbox=small_organization(poisoned=("robot-0002",)), max_attempts=1) as console:
        browser = console.browser
        answer = await _upload_with_note(browser, "<é>" * 70)
        assert (answer.status, answer.url) == (400, f"{browser.base}/sheets")
        assert f'<p id="note-error" class="field-error" role="alert">{refused}</p>' in answer.text
        (field,) = re.findall(r'<input id="note"[^>]*>', unescape(answer.text).replace("<é>", "é"))
        assert field.endswith(
            f'value="{"é" * 70}" aria-describedby="note-error note-help" aria-invalid="true" autofocus>'
        )
        assert 'id="sheet-error"' not in answer.text

        path = (await _upload_with_note(browser, "CHG-1")).url.removeprefix(browser.base)
        await browser.post(f"{path}/preview")
        run_id = run_id_of(await browser.start(path))
        assert "1 failed" in (await browser.run_ended(run_id)).text
        retry = await browser.post(f"/runs/{run_id}/retry")
        path = retry.url.removeprefix(browser.base)
        await browser.post(f"{path}/preview")
        again = (await browser.run_ended(run_id_of(await browser.start(path)))).text
        assert '<dt>Note</dt><dd class="any">CHG-1</dd>' in again


async def _undo(browser: Browser, run_id: str, **form: str) -> str:
    shown = await browser.post(f"/runs/{run_id}/undo", form)
    return shown.url.removeprefix(browser.base).removesuffix("/preview")


async def _upload_with_note(browser: Browser, note: str) -> Page:
    form = aiohttp.FormData()
    form.add_field("csrf", browser.csrf)
    form.add_field("sheet", sheet(2), filename="accounts.csv")
    form.add_field("note", note)
    origin = {"Origin": browser.base}
    async with browser.session.post(f"{browser.base}/sheets", data=form, headers=origin) as answer:
        return await browser._read(answer)
