"""Exports of accounts from the console, and the templates of a sheet."""

import html
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pandas as pd
import pytest

from bulkid.clock import iso_utc
from bulkid.report.template_workbook import meanings, template_workbook
from bulkid.resources import current
from bulkid.runs import account_export, check
from bulkid.sandbox.options import Faults
from bulkid.web import export_pages
from bulkid.web.auth.access import Role
from bulkid.web.console import SUMMARY_MAX_AGE_S
from tests.support.hurried_clock import Hurried
from tests.support.web_console import LONGEST_S, World, small_organization, world
from tests.support.web_programs import Program
from tests.support.web_users import signed_in, team


async def test_an_export_of_the_console_comes_back_as_a_sheet_that_changes_nothing(console: World) -> None:
    await console.browser.get("/")
    answer = await console.browser.post("/export")
    assert answer.status == 200, answer.text
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="robot-accounts-20')
    table = pd.read_excel(io.BytesIO(answer.body), dtype=str, engine="calamine")
    assert len(table) == 200
    path = await console.browser.preview("export.xlsx", answer.body)
    preview = await console.browser.preview_page(path)
    assert 'name="preview"' not in preview.text  # there is nothing to start
    assert not any(method == "PUT" for method, _ in console.sandbox.served)
    audit = (await console.browser.get("/audit")).text
    assert "accounts exported" in audit
    assert "200 accounts." in audit


async def test_a_viewer_may_export_and_a_program_too(tmp_path: Path) -> None:
    async with team(tmp_path) as console, signed_in(console, "vera") as vera:
        await vera.get("/")
        assert (await vera.post("/export")).status == 200
        program = Program(console, Role.VIEWER)
        headers = {"Authorization": f"Bearer {program.token}"}
        for ending in ("csv", "xlsx", "jsonl"):
            url = f"{console.browser.base}/api/v1/export/{ending}"
            async with console.browser.session.get(url, headers=headers) as answer:
                assert answer.status == 200
                assert answer.headers["Content-Disposition"].endswith(f'.{ending}"')
        assert (await program.ask("GET", "/export/pdf"))[0] == 404


@pytest.mark.parametrize("slow", [{"latency_s": 3600.0}, {"faults": Faults(unavailable_503=1.0)}])
@pytest.mark.parametrize("by_program", [False, True])
async def test_an_export_ends_when_its_client_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, by_program: bool, slow: dict[str, Any]
) -> None:
    monkeypatch.setattr(export_pages, "LOOK_INTERVAL_S", 0.01)
    async with world(tmp_path, sandbox=small_organization(**slow)) as console:
        lock, asked = console.console.export_lock, anyio.CancelScope()

        async def ask() -> None:
            with asked:
                program = Program(console, Role.VIEWER)
                await (program.ask("GET", "/export/csv") if by_program else console.browser.post("/export"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            with anyio.fail_after(LONGEST_S):
                while not lock.locked():  # noqa: ASYNC110 - another's lock
                    await anyio.sleep(0.01)
                asked.cancel()  # closes the connection
                await lock.acquire()
        lock.release()


def hurry(console: World, times: float) -> None:
    """Let time pass so many times as fast for what the console asks the server."""
    console.console.context = replace(console.console.context, clock=Hurried(times))


async def test_an_export_waits_a_minute_for_a_server_that_is_unavailable(tmp_path: Path) -> None:
    unavailable = small_organization(faults=Faults(unavailable_503=1.0))
    async with world(tmp_path, sandbox=unavailable) as console:
        hurry(console, 60)
        await console.browser.get("/")
        answer = await console.browser.post("/export")
        assert answer.status == 502
        error = answer.text.split('role="alert" data-export-error>')[1].split("</div>")[0]
        assert "<p>The server has taken no requests for 60 seconds: " in error
        assert "resume" not in error


@pytest.mark.parametrize(
    ("slow", "reason"),
    [
        ({"latency_s": 3600.0}, "The server responds too slowly for its number of accounts."),
        ({"faults": Faults(throttle=1.0, retry_after_s=1000)}, "The server limits the rate: the next request leaves"),
    ],
)
async def test_an_export_ends_after_four_minutes_and_says_what_it_waited_for(
    tmp_path: Path, slow: dict[str, Any], reason: str
) -> None:
    async with world(tmp_path, sandbox=small_organization(**slow), timeout_s=1e6) as console:
        hurry(console, 240)
        await console.browser.get("/")
        answer = await console.browser.post("/export")
        assert answer.status == 503
        assert f"<p>The export was ended after 4 minutes. {reason}" in answer.text
        assert "The command bulkid export may take any time." in answer.text
        assert "export refused" in (await console.browser.get("/audit")).text


async def test_an_error_of_an_export_shows_beside_its_button(tmp_path: Path) -> None:
    async with world(tmp_path, sandbox=small_organization(granted_scopes=("PM.RobotAccount",))) as console:
        await console.browser.get("/")
        answer = await console.browser.post("/export")
        assert answer.status in {400, 403, 502}
        assert 'role="alert" data-export-error>' in answer.text
        assert "cannot be read" in answer.text
        assert "Download current accounts" in answer.text
        assert "export refused" in (await console.browser.get("/audit")).text


async def test_an_error_names_the_file_without_the_temporary_folder(
    console: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_export, "MAX_EXPORT_ROWS", 1)
    await console.browser.get("/")
    answer = await console.browser.post("/export")
    assert answer.status == 400
    assert "<p>accounts.xlsx: a worksheet holds 1 accounts, and there are 200.</p>" in answer.text


def members(console: World, group: str) -> list[str]:
    state = console.sandbox.state
    return sorted(account.name for account in state.members(state.group_named(group)))


async def test_the_form_chooses_accounts_and_an_action(console: World) -> None:
    expected = [name for name in members(console, "Finance") if name.startswith("robot-00")]
    await console.browser.get("/")
    form = {"in_group": "finance", "name": "ROBOT-00*", "inactive_for": " ", "action": "delete"}
    answer = await console.browser.post("/export", form)
    assert answer.status == 200, answer.text
    table = pd.read_excel(io.BytesIO(answer.body), dtype=str, engine="calamine")
    assert list(table.columns) == list(current().action_columns)
    assert sorted(table["name"]) == expected
    assert set(table["action"]) == {"delete"}
    sentence = f"{len(expected)} of 200 robot accounts match."
    assert json.loads(answer.headers["Bulkid-Notes"]) == [sentence]
    audit = html.unescape((await console.browser.get("/audit")).text)
    chosen = 'Accounts: in the group "finance", named "ROBOT-00*". Action: delete.'
    assert f"{len(expected)} accounts. {chosen} {sentence}" in audit


async def test_the_form_chooses_accounts_without_a_recent_login(console: World) -> None:
    """The clock of the console says since when."""
    for account in console.sandbox.state.accounts.values():
        account.last_login = iso_utc(console.console.clock.now())
    console.sandbox.state.account_named("robot-0001").last_login = "2020-01-31T08:15:00Z"
    await console.browser.get("/")
    answer = await console.browser.post("/export", {"inactive_for": "180d"})
    table = pd.read_excel(io.BytesIO(answer.body), dtype=str, engine="calamine")
    assert list(table["name"]) == ["robot-0001"]
    assert list(table.columns) == list(current().export_columns)
    assert json.loads(answer.headers["Bulkid-Notes"]) == ["1 of 200 robot accounts matches."]


async def test_an_export_without_a_match_is_an_empty_sheet_and_a_sentence(console: World) -> None:
    await console.browser.get("/")
    answer = await console.browser.post("/export", {"name": "PROD*"})
    assert answer.status == 200
    assert len(pd.read_excel(io.BytesIO(answer.body), dtype=str, engine="calamine")) == 0
    (sentence,) = json.loads(answer.headers["Bulkid-Notes"])
    assert sentence == "No account of 200 robot accounts matches: the file holds no account."


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"inactive_for": "180"}, "Inactive for: '180' is not an age."),
        ({"in_group": "Finanse"}, 'Did you mean "Finance"?'),
        ({"action": '<b>"x"'}, 'There is no action "<b>"x"".'),
    ],
)
async def test_a_choice_that_cannot_be_used_shows_beside_the_form_which_keeps_it(
    console: World, form: dict[str, str], words: str
) -> None:
    await console.browser.get("/")
    answer = await console.browser.post("/export", {**form, "name": '"PROD*"'})
    assert answer.status == 400
    assert words in html.unescape(answer.text)
    assert "<b>" not in answer.text
    assert "<details open>" in answer.text
    assert '<input name="name" value="&#34;PROD*&#34;"' in answer.text
    assert "--" not in answer.text.partition("data-export-error")[2].partition("</div>")[0]
    assert "export refused" in (await console.browser.get("/audit")).text


async def test_a_program_chooses_by_parameters_and_a_misspelt_one_is_refused(console: World) -> None:
    program = Program(console, Role.VIEWER)
    headers = {"Authorization": f"Bearer {program.token}"}
    url = f"{console.browser.base}/api/v1/export/csv?in_group=Finance&name=robot-00*&action=delete"
    async with console.browser.session.get(url, headers=headers) as answer:
        lines = (await answer.text(encoding="utf-8-sig")).splitlines()
    assert len(lines) == 1 + sum(name.startswith("robot-00") for name in members(console, "Finance"))
    for query, words in (
        ("inactive-for=180d", 'An export has no parameter "inactive-for".'),
        ("name=", "name"),
        ("name=%20", "is blank"),
        ("inactive_for=6x", "is not an age"),
        ("action=remove", "action"),
        ("in_group=Finanse", "No group"),
    ):
        status, error = await program.ask("GET", f"/export/csv?{query}")
        assert status == 400, query
        assert words in error["error"]["message"], query


async def test_exports_are_made_one_at_a_time(console: World) -> None:
    await console.browser.get("/")
    async with console.console.export_lock:
        answer = await console.browser.post("/export")
        assert answer.status == 409
        assert "Another export is being made." in answer.text
        status, error = await Program(console, Role.VIEWER).ask("GET", "/export/csv")
        assert (status, error["error"]["code"]) == (409, "conflict")
    assert (await console.browser.post("/export")).status == 200


async def test_what_an_export_cannot_hold_is_said_in_a_header_of_its_answer(console: World) -> None:
    account = console.sandbox.state.account_named("robot-0001")
    account.display_name = "two\x07bells é"
    await console.browser.get("/")
    answer = await console.browser.post("/export")
    notes = json.loads(answer.headers["Bulkid-Notes"])
    assert notes
    assert all(isinstance(each, str) for each in notes)


async def test_the_template_is_a_workbook_with_examples_that_names_no_account(console: World) -> None:
    answer = await console.browser.get("/template.xlsx")
    assert answer.status == 200
    path = await console.browser.preview("template.xlsx", answer.body)
    preview = await console.browser.preview_page(path)
    assert "example-robot-1" in (await console.browser.get(f"{path}/preview?show=invalid")).text
    assert 'name="preview"' not in preview.text


def test_the_first_worksheet_of_the_template_is_read_without_an_error(tmp_path: Path) -> None:
    path = tmp_path / "template.xlsx"
    path.write_bytes(template_workbook())
    found = check(path)
    assert (found.rows, found.invalid_rows) == (2, 0)
    notes = pd.read_excel(path, sheet_name="Notes", dtype=str, engine="calamine")
    assert list(notes["Column"].dropna()) == list(current().template_headers)


@pytest.mark.parametrize("header", current().template_headers)
def test_each_column_of_the_template_has_a_note(header: str) -> None:
    assert meanings(current())[header].endswith(".")


async def test_the_home_page_shows_the_connection_once_it_was_checked(console: World) -> None:
    home = (await console.browser.get("/")).text
    assert 'data-load="/status/summary"' in home
    summary = await console.browser.get("/status/summary")
    assert '<span class="badge completed">ok</span> Ready: you can read and change 200 accounts.' in summary.text
    home = (await console.browser.get("/")).text
    assert "data-load" not in home
    assert '<span class="badge completed">ok</span> Ready: you can read and change 200 accounts.' in home
    before = len(console.sandbox.served)
    await console.browser.get("/status/summary")
    assert len(console.sandbox.served) == before


async def test_the_home_page_has_a_connection_checked_again_that_was_checked_long_ago(
    console: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await console.browser.get("/status")
    assert "data-load" not in (await console.browser.get("/")).text
    later = console.console.clock.now() + SUMMARY_MAX_AGE_S + 1.0
    monkeypatch.setattr(console.console.clock, "now", lambda: later)
    home = (await console.browser.get("/")).text
    assert 'data-load="/status/summary"' in home
    assert "Ready: you can read and change 200 accounts." in home  # until the answer is there
    await console.browser.get("/status/summary")
    assert "data-load" not in (await console.browser.get("/")).text
