"""Approval: only a user who is not one of its authors starts a plan, and the approved plan is what is sent."""

import re
from pathlib import Path

import anyio

from bulkid import runs
from bulkid.model import Status
from tests.support.web_console import Browser, Page, World, first_put, run_id_of, sheet, small_organization, world
from tests.support.web_programs import program_of
from tests.support.web_users import three


def names(console: World, *numbers: int) -> list[str]:
    """The display names of some robots at present."""
    return [console.sandbox.state.account_named(f"robot-{number:04}").display_name for number in numbers]


def path_of(page: Page, browser: Browser) -> str:
    """The address of the sheet whose preview a page is."""
    return page.url.removeprefix(browser.base).removesuffix("/preview")


async def preview_token(browser: Browser, path: str) -> str:
    """The id of the preview, as the page shows it to a user who may start it."""
    return (await browser.preview_page(path)).text.split('name="preview" value="')[1].split('"')[0]


async def test_the_rest_of_a_trial_is_a_plan_of_its_own_that_its_author_cannot_start(tmp_path: Path) -> None:
    async with three(tmp_path) as (console, olaf, otto, _):
        path = await olaf.preview("accounts.csv", sheet(10))
        run_id = run_id_of(await otto.start(path, first="4"))
        assert "6 pending" in (await otto.run_ended(run_id)).text
        page = await olaf.post(f"/runs/{run_id}/resume")
        assert "/preview" in page.url
        rest = path_of(page, olaf)
        assert "Someone other than the uploader must approve this" in (await olaf.preview_page(rest)).text
        token = await preview_token(otto, rest)
        refused = await olaf.post(f"{rest}/start", {"preview": token})
        assert refused.status == 403
        assert "olaf is an author of this plan" in refused.text
        assert "New name 5" not in names(console, *range(5, 11))
        seen = await otto.preview_page(rest)
        assert "<ins>New name 10</ins>" in seen.text
        assert "<ins>New name 4</ins>" not in seen.text
        page = await otto.start(rest)
        assert run_id_of(page) == run_id
        assert "10 updated" in (await otto.run_ended(run_id)).text


async def test_who_presses_retry_is_an_author_and_so_are_those_of_the_run(tmp_path: Path) -> None:
    async with three(tmp_path, sandbox=small_organization(poisoned=("robot-0002",))) as (
        _,
        olaf,
        otto,
        ada,
    ):
        path = await olaf.preview("accounts.csv", sheet(3))
        run_id = run_id_of(await otto.start(path))
        assert "1 failed" in (await otto.run_ended(run_id)).text
        page = await otto.post(f"/runs/{run_id}/retry")
        again = page.url.removeprefix(otto.base)
        await otto.post(f"{again}/preview")
        token = await preview_token(ada, again)
        for author in (olaf, otto):
            assert (await author.post(f"{again}/start", {"preview": token})).status == 403
        assert (await ada.start(again)).status == 200


async def test_who_presses_undo_is_an_author_and_so_are_those_of_the_run(tmp_path: Path) -> None:
    async with three(tmp_path) as (_, olaf, otto, ada):
        path = await olaf.preview("accounts.csv", sheet(3))
        run_id = run_id_of(await otto.start(path))
        await otto.run_ended(run_id)
        undo = path_of(await otto.post(f"/runs/{run_id}/undo"), otto)
        token = await preview_token(ada, undo)
        for author in (olaf, otto):
            assert (await author.post(f"{undo}/start", {"preview": token})).status == 403
        undone = run_id_of(await ada.start(undo))
        assert "3 updated" in (await ada.run_ended(undone)).text


async def test_a_retry_keeps_its_authors_when_the_upload_is_long_gone(tmp_path: Path) -> None:
    async with three(tmp_path, sandbox=small_organization(poisoned=("robot-0002",))) as (
        console,
        olaf,
        otto,
        _,
    ):
        path = await olaf.preview("accounts.csv", sheet(3))
        run_id = run_id_of(await otto.start(path))
        await otto.run_ended(run_id)
        console.console.uploads.drop_old(console.console.clock.now() + 30 * 86_400)
        page = await otto.post(f"/runs/{run_id}/retry")
        assert console.console.uploads.get(page.url.rsplit("/", 1)[1]).by == ("olaf", "otto")


async def test_a_retry_of_a_run_without_recorded_authors_takes_them_from_its_sheet_and_its_user(tmp_path: Path) -> None:
    async with three(tmp_path, sandbox=small_organization(poisoned=("robot-0002",))) as (console, olaf, otto, ada):
        path = await olaf.preview("accounts.csv", sheet(3))
        run_id = run_id_of(await otto.start(path))
        await otto.run_ended(run_id)
        ((record, _),) = runs.list_runs(console.console.state_dir)
        assert record.options["authors"] == ["olaf"]
        console.console.run_browser.journal.update_run(run_id, options={**record.options, "authors": []})
        again = (await ada.post(f"/runs/{run_id}/retry")).url.removeprefix(ada.base)
        assert console.console.uploads.get(again.rsplit("/", 1)[1]).by == ("olaf", "otto", "ada")
        preview = (await program_of(console, "olaf").previewed(again.rsplit("/", 1)[1]))["preview"]
        for author in (olaf, otto, ada):
            assert (await author.post(f"{again}/start", {"preview": preview})).status == 403


async def test_a_token_cannot_do_what_its_owner_may_not(tmp_path: Path) -> None:
    async with three(tmp_path) as (console, olaf, otto, ada):
        path = await olaf.preview("accounts.csv", sheet(10))
        run_id = run_id_of(await ada.start(path, first="4"))
        await ada.run_ended(run_id)
        program = program_of(console, "olaf")
        status, answer = await program.ask("POST", f"/runs/{run_id}/resume")
        assert (status, answer["error"]["code"]) == (409, "conflict")
        assert f"POST /api/v1/runs/{run_id}/rest" in answer["error"]["hint"]
        status, rest = await program.ask("POST", f"/runs/{run_id}/rest")
        assert (status, rest["authors"], rest["rest_of"]) == (201, ["olaf"], run_id)
        preview = await program.previewed(rest["sheet"])
        assert preview["changes"] == 6
        start = {"json": {"preview": preview["preview"]}}
        assert (await program.ask("POST", f"/sheets/{rest['sheet']}/start", **start))[0] == 403
        assert (await program_of(console, "otto").ask("POST", f"/sheets/{rest['sheet']}/start", **start))[0] == 201
        assert "10 updated" in (await otto.run_ended(run_id)).text


async def test_an_interrupted_run_goes_on_and_sends_only_what_was_approved(tmp_path: Path) -> None:
    slow = small_organization(latency_s=0.05)
    async with three(tmp_path, sandbox=slow, concurrency=1) as (console, olaf, otto, _):
        path = await olaf.preview("accounts.csv", sheet(30))
        run_id = run_id_of(await otto.start(path))
        await first_put(console)
        await olaf.post(f"/runs/{run_id}/pause")
        await olaf.run_ended(run_id)
        console.sandbox.state.account_named("robot-0030").display_name = "Changed meanwhile"
        page = await olaf.post(f"/runs/{run_id}/resume")
        assert run_id_of(page) == run_id
        ended = await olaf.run_ended(run_id)
        assert "29 updated" in ended.text
        assert names(console, 30) == ["Changed meanwhile"]
        failed = await olaf.get(f"/runs/{run_id}?status=failed")
        assert "not as it was when the changes were planned" in failed.text


async def test_resuming_an_approved_exact_list_of_groups_removes_nothing_that_was_not_shown(tmp_path: Path) -> None:
    slow = small_organization(latency_s=0.05)
    async with three(tmp_path, sandbox=slow, concurrency=1, via="accounts") as (console, olaf, otto, _):
        state = console.sandbox.state
        wanted, other = [group for group in state.groups.values() if group.name != "Everyone"][:2]
        for account in state.accounts.values():
            account.group_ids.clear()
        rows = "\n".join(f"robot-{number:04},{wanted.name}" for number in range(1, 21))
        path = await olaf.preview("accounts.csv", f"name,groups\n{rows}\n".encode())
        run_id = run_id_of(await otto.start(path))
        await first_put(console)
        await olaf.post(f"/runs/{run_id}/pause")
        await olaf.run_ended(run_id)
        last = state.account_named("robot-0020")
        assert last.group_ids == set()
        last.group_ids.add(other.id)
        await olaf.post(f"/runs/{run_id}/resume")
        assert "20 updated" in (await olaf.run_ended(run_id)).text
        assert last.group_ids == {wanted.id, other.id}


async def test_a_run_that_no_user_approved_is_resumed_only_after_a_preview_and_an_approval(tmp_path: Path) -> None:
    source = tmp_path / "terminal.csv"
    source.write_bytes(sheet(20))
    slow = small_organization(latency_s=0.05)
    async with three(tmp_path, sandbox=slow, concurrency=1) as (console, olaf, otto, _):
        stop = runs.Stop()
        context = runs.Context(state_dir=console.console.state_dir, stop=stop, user="Olaf ")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runs.run, source, console.console.target, console.console.options, context)
            await first_put(console)
            stop.request("a test")
        ((record, counts),) = runs.list_runs(console.console.state_dir)
        assert counts[Status.PENDING]
        page = await olaf.post(f"/runs/{record.run_id}/resume")
        rest = path_of(page, olaf)
        token = await preview_token(otto, rest)
        assert (await olaf.post(f"{rest}/start", {"preview": token})).status == 403
        await otto.start(rest)
        assert "20 updated" in (await otto.run_ended(record.run_id)).text
        ((record, _),) = runs.list_runs(console.console.state_dir)
        assert record.options["approved"]


async def test_a_plan_that_changed_since_its_approval_is_not_sent_and_is_shown_anew(tmp_path: Path) -> None:
    async with three(tmp_path) as (console, olaf, otto, _):
        path = await olaf.preview("accounts.csv", sheet(3))
        await otto.preview_page(path)
        console.sandbox.state.account_named("robot-0002").display_name = "Meanwhile"
        run_id = run_id_of(await otto.start(path))
        assert "has changed since the preview: 1 account" in (await otto.run_ended(run_id)).text
        assert "New name 1" not in names(console, 1, 2, 3)
        seen = await otto.preview_page(path)  # the new preview, without asking for it
        assert "<del>Meanwhile</del>" in seen.text
        run_id = run_id_of(await otto.start(path))
        assert "3 updated" in (await otto.run_ended(run_id)).text


async def test_the_rest_of_a_trial_that_changed_since_its_approval_is_not_sent_and_the_run_can_go_on(
    tmp_path: Path,
) -> None:
    async with three(tmp_path) as (console, olaf, otto, _):
        path = await olaf.preview("accounts.csv", sheet(6))
        run_id = run_id_of(await otto.start(path, first="2"))
        await otto.run_ended(run_id)
        rest = path_of(await otto.post(f"/runs/{run_id}/resume"), otto)
        await otto.preview_page(rest)
        console.sandbox.state.account_named("robot-0005").display_name = "Meanwhile"
        await otto.start(rest)
        ended = await otto.run_ended(run_id)
        assert "has changed since the preview" in ended.text
        assert "Nothing more was sent." in ended.text
        assert "New name 3" not in names(console, 3, 4, 5, 6)
        rest = path_of(await otto.post(f"/runs/{run_id}/resume"), otto)
        assert "<del>Meanwhile</del>" in (await otto.preview_page(rest)).text
        await otto.start(rest)
        assert "6 updated" in (await otto.run_ended(run_id)).text


async def test_without_approval_the_rest_of_a_trial_is_previewed_and_started_by_one_user(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(6))
    run_id = run_id_of(await console.browser.start(path, first="2"))
    assert "Review the remaining 4" in (await console.browser.run_ended(run_id)).text
    rest = path_of(await console.browser.post(f"/runs/{run_id}/resume"), console.browser)
    assert "New name 3" not in names(console, 3, 4, 5, 6)
    assert 'name="first"' not in (await console.browser.preview_page(rest)).text
    assert (await console.browser.start(rest, first="1")).status == 400
    await console.browser.start(rest)
    assert "6 updated" in (await console.browser.run_ended(run_id)).text


async def test_undo_puts_the_rest_of_a_trial_back_to_what_it_was_before_the_rest(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(4))
    run_id = run_id_of(await console.browser.start(path, first="2"))
    await console.browser.run_ended(run_id)
    console.sandbox.state.account_named("robot-0004").display_name = "Between the two"
    rest = path_of(await console.browser.post(f"/runs/{run_id}/resume"), console.browser)
    await console.browser.start(rest)
    await console.browser.run_ended(run_id)
    undo = path_of(await console.browser.post(f"/runs/{run_id}/undo"), console.browser)
    await console.browser.run_ended(run_id_of(await console.browser.start(undo)))
    assert names(console, 4) == ["Between the two"]


async def test_two_operators_who_start_the_same_preview_at_once_begin_one_run(tmp_path: Path) -> None:
    async with three(tmp_path) as (console, olaf, otto, ada):
        path = await olaf.preview("accounts.csv", sheet(3))
        token, found = await preview_token(otto, path), list[Page]()
        await preview_token(ada, path)

        async def start(browser: Browser) -> None:
            found.append(await browser.post(f"{path}/start", {"preview": token}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(start, otto)
            tasks.start_soon(start, ada)
        assert sorted(page.status for page in found) == [200, 400]
        assert len(runs.list_runs(console.console.state_dir)) == 1


async def test_a_token_of_the_link_mode_ends_with_the_first_user(tmp_path: Path) -> None:
    async with world(tmp_path) as console:
        local = program_of(console, "olaf")
        assert (await local.ask("GET", "/runs"))[0] == 200
    async with three(tmp_path) as (console, olaf, _, _):
        path = await olaf.preview("accounts.csv", sheet(2))
        local.browser = console.browser
        assert (await local.ask("POST", f"{path}/preview"))[0] == 401
        assert (await local.ask("POST", "/sheets", json={}))[0] == 401


async def fields_of_corrected(user: Browser, invalid: bytes) -> list[str]:
    """Upload the invalid rows with the name that they lack; return the fields as which their columns are read."""
    corrected = await user.upload("retry.csv", invalid.replace(b"\r\n,Two", b"\r\nrobot-0002,Two"))
    return re.findall(r'<option value="(\w+)" selected', corrected.text)


async def test_corrected_rows_are_read_as_their_sheet_was_and_have_the_authors_of_that_mapping(tmp_path: Path) -> None:
    async with three(tmp_path) as (console, olaf, otto, _):
        page = await olaf.upload("accounts.csv", b"Login,Shown,groups\nrobot-0001,One,Finance\n,Two,Finance\n")
        path = path_of(page, olaf)
        await otto.get(path)
        await otto.post(path, {"field-0": "name", "field-1": "display_name", "field-2": "", "continue": "1"})
        invalid = (await olaf.get(f"{path}/retry.csv")).body
        assert b"\r\n,Two,Finance," in invalid
        assert await fields_of_corrected(olaf, invalid) == ["name", "display_name"], "groups is ignored"
        assert console.console.uploads.all()[0].by == ("olaf", "otto")
        other = await otto.upload("retry.csv", invalid)
        assert re.findall(r'<option value="(\w+)" selected', other.text) == ["groups"], "it is not a sheet of otto"


async def test_corrected_rows_are_read_as_their_sheet_was_also_where_that_has_a_column_error(tmp_path: Path) -> None:
    """The errors have another header then. And a column without a header is not read in either."""
    async with three(tmp_path) as (_, olaf, _, _):
        page = await olaf.upload("accounts.csv", b"Login,Error,,groups\nrobot-0001,One,,Finance\n,Two,x,Finance\n")
        path = path_of(page, olaf)
        await olaf.post(path, {"field-0": "name", "field-1": "display_name", "field-3": "", "continue": "1"})
        invalid = (await olaf.get(f"{path}/retry.csv")).body
        assert b"Login,Error,,groups,bulkid_error\r\n" in invalid
        assert await fields_of_corrected(olaf, invalid) == ["name", "display_name"], "groups is ignored"
