"""What waits for an approval: who sees it on the home page, and a plan that is rejected."""

import re
from pathlib import Path

import pytest

from bulkid import runs
from bulkid.web.auth.access import ApprovalPolicy
from bulkid.web.console import ServeOptions
from bulkid.web.uploads import Upload
from tests.support.web_console import Browser, World, run_id_of, sheet, world
from tests.support.web_programs import program_of
from tests.support.web_users import signed_in, three


async def preview_id(browser: Browser, path: str) -> str:
    """The id of a preview, as the page shows it to a user who may start or reject it."""
    found = re.search(r'name="preview" value="([0-9a-f]+)"', (await browser.preview_page(path)).text)
    assert found
    return found[1]


async def reject(browser: Browser, path: str, comment: str = "Wrong names <b>") -> int:
    """Reject the plan of a sheet; gives the status."""
    return (
        await browser.post(f"{path}/reject", {"preview": await preview_id(browser, path), "comment": comment})
    ).status


async def test_a_plan_waits_on_the_home_page_of_those_who_may_approve_it(tmp_path: Path) -> None:
    async with three(tmp_path) as (console, olaf, otto, ada), signed_in(console, "vera") as vera:
        path = await olaf.preview("robot_accounts.csv", sheet(7))
        await olaf.preview_page(path)
        for approver in (otto, ada):
            home = (await approver.get("/")).text
            assert "Waiting for your approval (1)" in home
            assert re.search(rf'href="{path}/preview">robot_accounts.csv</a>, olaf, 7 changes', home)
        home = (await olaf.get("/")).text
        assert "Waiting for another operator (1)" in home
        assert "your approval" not in home
        assert "pproval" not in (await vera.get("/")).text
        preview = (await otto.preview_page(path)).text
        assert re.search(r"<dt>Uploaded</dt><dd class=\"any\">by olaf,", preview)
        await otto.run_ended(run_id_of(await otto.start(path)))
        assert "pproval" not in (await otto.get("/")).text
        assert "Waiting" not in (await olaf.get("/")).text


async def test_a_sheet_that_is_previewed_again_after_its_run_waits_again_and_can_be_rejected(tmp_path: Path) -> None:
    async with three(tmp_path) as (_, olaf, otto, _):
        path = await olaf.preview("accounts.csv", sheet(6))
        await otto.run_ended(run_id_of(await otto.start(path, first="2")))
        assert "pproval" not in (await otto.get("/")).text
        await olaf.post(f"{path}/preview")
        await olaf.preview_page(path)
        assert re.search(rf'href="{path}/preview">accounts.csv</a>, olaf, 4 changes', (await otto.get("/")).text)
        assert "Waiting for another operator (1)" in (await olaf.get("/")).text
        assert await reject(otto, path) == 200
        assert "Rejected (1)" in (await olaf.get("/")).text
        assert "pproval" not in (await otto.get("/")).text


async def test_a_plan_still_waits_when_the_console_starts_again(tmp_path: Path) -> None:
    async with three(tmp_path) as (_, olaf, _, _):
        await olaf.preview_page(await olaf.preview("accounts.csv", sheet(2)))
    serve = ServeOptions(port=0, require_approval=True)
    async with world(tmp_path, serve=serve) as console, signed_in(console, "otto") as otto:
        assert "Waiting for your approval (1)" in (await otto.get("/")).text


@pytest.mark.parametrize(
    "content",
    [sheet(2) + b"\nnobody-has-this-name,x", b"name,groups_to_remove\nrobot-0001,\n"],
    ids=["an invalid row", "no change"],
)
async def test_what_cannot_be_started_does_not_wait(tmp_path: Path, content: bytes) -> None:
    async with three(tmp_path) as (_, olaf, otto, _):
        await olaf.preview_page(await olaf.preview("accounts.csv", content))
        assert "Waiting" not in (await otto.get("/")).text
        assert "Waiting" not in (await olaf.get("/")).text


async def test_without_approval_nothing_waits_and_nothing_is_rejected(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2))
    page = await console.browser.preview_page(path)
    assert "/reject" not in page.text
    assert "Waiting" not in (await console.browser.get("/")).text
    assert await reject(console.browser, path) == 400
    assert (await console.browser.start(path)).status == 200


async def test_a_rejected_plan_is_sent_by_no_user_and_its_author_reads_why(tmp_path: Path) -> None:
    async with three(tmp_path) as (console, olaf, otto, ada):
        path = await olaf.preview("accounts.csv", sheet(3))
        seen = await preview_id(ada, path)
        assert await reject(otto, path) == 200
        second = await ada.post(f"{path}/reject", {"preview": seen, "comment": "Too late"})
        assert second.status == 400
        assert "out of date" not in second.text, "the page says who has rejected it"
        home = (await olaf.get("/")).text
        assert "Rejected (1)" in home
        for page in (home, (await olaf.preview_page(path)).text, (await olaf.get(path)).text):
            assert "otto rejected this plan on" in page
            assert "Wrong names &lt;b&gt;" in page
        assert "Waiting" not in (await ada.get("/")).text
        assert 'name="preview"' not in (await ada.preview_page(path)).text
        program = program_of(console, "ada")
        later = (await program.previewed(path.rsplit("/", 1)[1]))["preview"]
        for user in (olaf, otto, ada):
            for each in (seen, later):
                refused = await user.post(f"{path}/start", {"preview": each})
                assert refused.status == 400
                assert "otto rejected this plan: nothing was sent." in refused.text
        await olaf.post(path, {"field-0": "name", "field-1": "display_name"})  # another reading does not revive it
        await olaf.post(f"{path}/preview")
        await olaf.preview_page(path)
        program = program_of(console, "otto")
        again = (await program.previewed(path.rsplit("/", 1)[1]))["preview"]
        status, error = await program.ask("POST", f"{path}/start", json={"preview": again})
        assert status == 400
        assert "otto rejected this plan: nothing was sent." in error["error"]["message"]
        assert runs.list_runs(console.console.state_dir) == []
        audit = (await ada.get("/audit")).text
        assert "plan rejected" in audit
        assert "accounts.csv: Wrong names &lt;b&gt;" in audit


async def test_an_author_rejects_nothing_and_a_rejection_needs_a_comment(tmp_path: Path) -> None:
    async with three(tmp_path) as (console, olaf, otto, _):
        path = await olaf.preview("accounts.csv", sheet(3))
        seen = await preview_id(otto, path)
        assert (await olaf.post(f"{path}/reject", {"preview": seen, "comment": "mine"})).status == 403
        for comment, reason in (("  ", "Enter a comment"), ("x" * 501, "The comment is too long")):
            page = await otto.post(f"{path}/reject", {"preview": seen, "comment": comment})
            assert page.status == 400
            assert reason in page.text
            assert 'name="comment"' in page.text  # the preview with its forms
        assert (await otto.post(f"{path}/reject", {"preview": "0" * 16, "comment": "another"})).status == 400
        program = program_of(console, "olaf")
        status, _ = await program.ask("POST", f"{path}/reject", json={"preview": seen, "comment": "mine"})
        assert status == 403
        assert (await otto.start(path)).status == 200


async def test_a_program_rejects_a_plan(tmp_path: Path) -> None:
    async with three(tmp_path) as (console, olaf, otto, _):
        path = await olaf.preview("accounts.csv", sheet(3))
        body = {"preview": await preview_id(otto, path), "comment": "Not this week"}
        status, answer = await program_of(console, "otto").ask("POST", f"{path}/reject", json=body)
        assert (status, answer["rejected_by"], answer["comment"]) == (200, "otto", "Not this week")
        assert "Not this week" in (await olaf.get("/")).text


async def test_a_plan_that_was_started_is_not_rejected_any_more(tmp_path: Path) -> None:
    async with three(tmp_path) as (_, olaf, otto, ada):
        path = await olaf.preview("accounts.csv", sheet(3))
        seen = await preview_id(ada, path)
        await otto.run_ended(run_id_of(await otto.start(path)))
        page = await ada.post(f"{path}/reject", {"preview": seen, "comment": "too late"})
        assert page.status == 400
        assert "otto has started this preview already." in page.text
        assert "nothing was sent" not in page.text


@pytest.mark.parametrize("is_required", [True, False])
async def test_a_late_rejection_says_nothing_of_what_was_sent_where_the_console_does_not_know_the_start(
    tmp_path: Path, *, is_required: bool
) -> None:
    async with three(tmp_path) as (console, olaf, otto, ada):
        path = await olaf.preview("accounts.csv", sheet(3))
        seen = await preview_id(ada, path)
        await otto.run_ended(run_id_of(await otto.start(path)))
        console.console.uploaded_sheets.forget(console.console.uploads.get(path.rsplit("/", 1)[1]))  # as by a restart
        console.console.policy = ApprovalPolicy(is_required)
        page = await ada.post(f"{path}/reject", {"preview": seen, "comment": "too late"})
        assert page.status == 400
        assert "This preview is out of date: the plan was not rejected." in page.text
        assert "nothing was sent" not in page.text


async def test_a_rejection_in_another_console_on_the_same_state_holds_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with three(tmp_path) as (console, olaf, otto, _):
        path = await olaf.preview("accounts.csv", sheet(3))
        seen = await preview_id(otto, path)
        upload_id = path.rsplit("/", 1)[1]
        uploads = console.console.uploads

        def rejected_meanwhile(_: Upload) -> Upload:
            return uploads.update(upload_id, rejected_by="ada", rejected_at=1.0, comment="no")

        monkeypatch.setattr(uploads, "refreshed", rejected_meanwhile)
        page = await otto.post(f"{path}/start", {"preview": seen})
        assert "ada rejected this plan" in (await otto.run_ended(run_id_of(page))).text
        assert console.sandbox.state.account_named("robot-0001").display_name != "New name 1"
