"""A plan that deletes accounts in the console: all of them are seen, their number is entered, and who may start it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulkid import runs
from bulkid.runs.descriptions import ActionCounts
from bulkid.web.auth.access import ApprovalPolicy, Principal, Role
from bulkid.web.console import ServeOptions
from bulkid.web.preview_pages import effect_of
from bulkid.web.uploads import Upload
from tests.support.planning_world import account
from tests.support.previews import creation, deletion, with_changes
from tests.support.web_console import Browser, World, run_id_of, sheet
from tests.support.web_programs import Program, program_of
from tests.support.web_users import signed_in, team

GONE = [account(f"old-{number}", f"PROD-{number} <b>") for number in range(120)]
GONE[0] = GONE[0]._replace(last_login="2024-03-01T10:11:12Z", created="2023-11-30T00:00:00Z")
GONE[1] = GONE[1]._replace(created="2023-11-30T00:00:00Z")


@pytest.fixture(autouse=True)
def _with_deletions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Previews of sheets show one creation, a new group and 120 deletions beside the changes of the sheet."""
    plan = runs.plan

    async def more(*args: Any, **kwargs: Any) -> runs.PlanResult:
        result = await plan(*args, **kwargs)
        assert result.preview is not None
        new = creation("bot-1", "Bot One", ("night",))
        preview = with_changes(result.preview, new, *map(deletion, GONE), new_groups=["Night"])
        return replace(result, preview=preview)

    monkeypatch.setattr(runs, "plan", more)


@asynccontextmanager
async def no_approval_needed(folder: Path, **more: Any) -> AsyncIterator[tuple[World, Browser, Browser, Browser]]:
    """A console that requires no approval, two operators and an admin."""
    async with (
        team(folder, serve=ServeOptions(port=0, **more)) as console,
        signed_in(console, "olaf") as olaf,
        signed_in(console, "otto") as otto,
        signed_in(console, "ada") as ada,
    ):
        yield console, olaf, otto, ada


def refusals(console: World) -> list[str]:
    return [each.detail for each in console.console.store.audit_entries() if each.action == "start refused"]


def began(page: Any) -> bool:
    """Whether a run was begun; it sends nothing, for the plan that it computes has no deletions."""
    return bool(re.search(r"/runs/[0-9a-z-]+$", page.url))


async def test_all_deletions_are_seen_and_what_is_new(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2))
    seen = (await console.browser.preview_page(path)).text
    for words in (
        "<b>1</b> to create",
        "<b>2</b> to change",
        "<b>120</b> to delete",
        "120 accounts will be deleted. Deletions cannot be undone.",
        "1 new group: Night",
        "<li>Create 1 group and 1 account: 2 POSTs, no waiting</li>",
        "<li>Delete 120 accounts: 2 DELETEs, no waiting</li>",
        '<span class="for-all">Create 1, update 2 and delete 120 accounts</span>',
        'data-verb="Change"',
        "</span> new account</span>",
        "<ins>Bot One</ins>",
        '<td data-label="Last login">2024-03-01</td><td data-label="Created">2023-11-30</td>',
        '<td data-label="Last login">never</td><td data-label="Created">2023-11-30</td>',
        'Changes <span class="dim">123</span>',
        '<td data-label="Last login">not known</td>',
    ):
        assert words in seen
    assert "PROD-0 <b>" not in seen
    listed = seen[seen.index('id="to-delete"') : seen.index('<form class="start"')]
    assert set(re.findall(r"old-\d+", listed)) == {each.id for each in GONE}, "not only the first page of changes"
    only = (await console.browser.preview_page(path, "?kind=created")).text
    assert "bot-1" in only
    assert "old-1" not in only[only.index('id="lines"') :]
    deleted = (await console.browser.preview_page(path, "?kind=deleted&page=2")).text
    assert "101 to 120 of 120" in deleted


@pytest.mark.parametrize(
    ("entered", "says"),
    [
        ("", "120 accounts will be deleted, and you have not entered their number: nothing was sent."),
        ("3", "You entered 3, but 120 accounts will be deleted: nothing was sent."),
        ("y", "&#39;y&#39; is not a number of accounts: nothing was sent."),
        ("-120", "is not a number of accounts"),
        ("0120x", "is not a number of accounts"),
    ],
)
async def test_another_number_is_refused_at_its_field(console: World, entered: str, says: str) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2))
    refused = await console.browser.start(path, scope="all", really="1", deletions=entered)
    assert refused.status == 400
    assert says in refused.text
    field = re.search(r'<input id="deletions"[^>]*>', refused.text)
    assert field
    assert f'value="{entered}"' in field[0]
    assert 'aria-describedby="deletions-help deletions-error" aria-invalid="true" autofocus' in field[0]
    assert len(refusals(console)) == 1
    assert not any(method in {"PUT", "DELETE"} for method, _ in console.sandbox.served)


@pytest.mark.parametrize("entered", ["120", " 120 "])
async def test_the_right_number_begins_the_run(console: World, entered: str) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2))
    started = await console.browser.start(path, scope="all", really="1", deletions=entered)
    assert began(started), started.text
    ended = await console.browser.run_ended(run_id_of(started))
    assert "The directory has changed since the preview" in ended.text, "what was seen is what is sent"


@pytest.mark.parametrize(
    ("counts", "confirmed"),
    [
        (ActionCounts(update=4_722), "change all 4,722 accounts"),
        (ActionCounts(delete=20), "delete 20 accounts"),
        (ActionCounts(1, 2, 120), "create 1, update 2 and delete 120 accounts"),
    ],
)
@pytest.mark.parametrize("approval", [False, True])
def test_the_tick_beside_a_plan_beyond_the_limit_says_what_is_done(
    counts: ActionCounts, confirmed: str, *, approval: bool
) -> None:
    upload = Upload("1", Path("sheet.csv"), "sheet.csv", 0.0, "olaf", ("olaf",))
    assert effect_of(upload, counts, approval=approval).confirmed == confirmed


async def test_a_trial_wants_the_number_of_its_own_deletions(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2))
    refused = await console.browser.start(path, first="5", scope="first", deletions="120")
    assert "You entered 120, but 2 accounts will be deleted" in refused.text
    assert began(await console.browser.start(path, first="5", scope="first", deletions="2"))


async def test_a_trial_without_deletions_wants_no_number(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2))
    refused = await console.browser.start(path, first="3", scope="first", deletions="1")
    assert "You entered 1, but 0 accounts will be deleted" in refused.text
    assert began(await console.browser.start(path, first="3", scope="first"))


async def test_an_operator_cannot_start_a_plan_of_its_own_that_deletes(tmp_path: Path) -> None:
    async with no_approval_needed(tmp_path) as (console, olaf, otto, ada):
        path = await olaf.preview("accounts.csv", sheet(2))
        seen = (await olaf.preview_page(path)).text
        assert "This plan deletes accounts: an admin, or an operator who is no author of it, must start it." in seen
        assert 'id="to-delete"' in seen, "the list"
        assert '<form class="start"' not in seen
        token = re.search(r'name="preview" value="([0-9a-f]+)"', (await otto.preview_page(path)).text)
        assert token
        form = {"preview": token[1], "scope": "all", "really": "1", "deletions": "120"}
        refused = await olaf.post(f"{path}/start", form)
        assert refused.status == 403
        assert "This plan deletes accounts, and olaf is an author of it: nothing was sent." in refused.text
        status, _ = await program_of(console, "olaf").ask(
            "POST",
            f"{path}/start",
            json={"preview": token[1], "really": True, "deletions": 120},
        )
        assert status == 403, "a program neither"
        home = (await olaf.get("/")).text
        assert "Waiting for another operator (1)" in home
        assert "123 changes, of these 120 deletions" in home
        for other in (otto, ada):
            assert "Waiting for your approval (1)" in (await other.get("/")).text
        assert "Approve and create 1, update 2 and delete 120 accounts" in (await otto.preview_page(path)).text
        started = await otto.start(path, scope="all", really="1", deletions="120")
        assert began(started)
        await otto.run_ended(run_id_of(started))


async def test_an_admin_starts_a_plan_of_its_own_that_deletes(tmp_path: Path) -> None:
    async with no_approval_needed(tmp_path) as (console, olaf, _, ada):
        path = await ada.preview("accounts.csv", sheet(2))
        seen = (await ada.preview_page(path)).text
        assert '<span class="for-all">Create 1, update 2 and delete 120 accounts</span>' in seen
        assert "Waiting" not in (await ada.get("/")).text
        assert "Waiting for your approval (1)" in (await olaf.get("/")).text
        assert began(await ada.start(path, scope="all", really="1", deletions="120"))
        assert not any(each.action == "plan approved" for each in console.console.store.audit_entries())


async def test_where_approval_is_required_an_admin_s_own_plan_needs_it_too(tmp_path: Path) -> None:
    async with no_approval_needed(tmp_path, require_approval=True) as (_, _, _, ada):
        path = await ada.preview("accounts.csv", sheet(2))
        assert '<form class="start"' not in (await ada.preview_page(path)).text


async def test_a_plan_that_deletes_can_be_rejected_by_another_user(tmp_path: Path) -> None:
    async with no_approval_needed(tmp_path) as (_, olaf, otto, _):
        path = await olaf.preview("accounts.csv", sheet(2))
        token = re.search(r'name="preview" value="([0-9a-f]+)"', (await otto.preview_page(path)).text)
        assert token
        own = await olaf.post(f"{path}/reject", {"preview": token[1], "comment": "no"})
        assert own.status == 403
        rejected = await otto.post(f"{path}/reject", {"preview": token[1], "comment": "PROD-1 is used"})
        assert "otto rejected this plan" in rejected.text
        assert "Rejected (1)" in (await olaf.get("/")).text


async def test_a_program_gets_every_deletion_and_sends_their_number(console: World) -> None:
    program = Program(console, Role.ADMIN)
    _, taken = await program.upload(sheet(2))
    preview = await program.previewed(taken["sheet"])
    assert (preview["changes"], preview["creations"], preview["deletions"]) == (123, 1, 120)
    assert preview["new_groups"] == ["Night"]
    assert preview["requests"] == {"PUT": 2, "POST": 2, "DELETE": 2}
    assert preview["deleted"][0] == {
        "account_id": "old-0",
        "name": "PROD-0 <b>",
        "last_login": "2024-03-01T10:11:12Z",
        "created": "2023-11-30T00:00:00Z",
    }
    assert len(preview["deleted"]) == 120
    assert [each["action"] for each in preview["accounts"][:4]] == ["update", "update", "create", "delete"]
    path, form = f"/sheets/{taken['sheet']}/start", {"preview": preview["preview"], "really": True}
    for wrong in ({}, {"deletions": 119}, {"deletions": 0}):
        status, refused = await program.ask("POST", path, json={**form, **wrong})
        assert status == 400
        assert "120 accounts will be deleted" in refused["error"]["message"]
    for invalid in ("120", -1, True, 1.5):
        assert (await program.ask("POST", path, json={**form, "deletions": invalid}))[0] == 400
    assert (await program.ask("POST", path, json={**form, "deletions": 120}))[0] == 201


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN])
@pytest.mark.parametrize("authors", [(), ("Ada",), ("olaf",), ("olaf", "ada")])
def test_who_may_delete(authors: tuple[str, ...], role: Role, *, required: bool) -> None:
    policy, ada = ApprovalPolicy(required), Principal("token x", role, "ada")
    other = bool(authors) and "ada" not in {each.lower() for each in authors}
    assert policy.may_delete(ada, authors) == (role is Role.ADMIN or other)
    assert policy.approves(ada, deletes=True) == (required or role is Role.OPERATOR)
    assert policy.approves(ada, deletes=False) == required
