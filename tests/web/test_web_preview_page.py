"""The page of a preview: what the button does, errors in their place, and filters by kind of change and by group."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import Account, Change
from bulkid.planning.directory import Directory
from bulkid.runs.descriptions import count_changes
from bulkid.sandbox.options import SandboxOptions
from bulkid.web.change_index import ChangeFilter, index_changes
from tests.support.web_console import World, run_id_of, sheet, world
from tests.support.web_users import three

MIXED = b"""name,display_name,groups_to_add,groups_to_remove
robot-0001,New name 1,,
robot-0002,!clear,,
robot-0003,,Finance,
robot-0004,New name 4,Finance,
"""


def _names(text: str) -> list[str]:
    return re.findall(r'<th scope="row" class="any">(robot-\d+)</th>', text)


async def test_heading_and_button_name_the_sheet_and_the_effect(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(12))
    seen = (await console.browser.preview_page(path)).text
    assert "<h1>Review changes: accounts.csv</h1>" in seen
    assert '<span class="for-all">Update 12 accounts</span>' in seen
    assert 'value="all" checked> All 12 accounts' in seen
    assert re.search(r'<input name="first"[^>]* value="6"', seen), "a trial is of fewer accounts than all"
    assert "<b>12</b> to change" in seen
    assert "<b>0</b> already correct" in seen
    assert "Estimated time: under 10 seconds (12 requests)." in seen
    assert "<summary>How it is sent</summary>" in seen
    assert "Sandbox: a simulated organisation; no real account changes" in seen


async def test_what_a_token_lacks_for_fewer_requests_stands_beside_the_estimate(tmp_path: Path) -> None:
    scopes = ("PM.RobotAccount", "PM.Group.Read")
    async with world(tmp_path, sandbox=SandboxOptions(limits=(), accounts=300, granted_scopes=scopes)) as console:
        rows = "".join(f"robot-{number:04d},Zürich\n" for number in range(1, 101))
        path = await console.browser.preview("joins.csv", f"name,groups_to_add\n{rows}".encode())
        seen = (await console.browser.preview_page(path)).text
        assert "Grant PM.Group (or PM.Group.Write) to the application for that." in seen


async def test_an_undo_is_reviewed_under_the_name_of_its_sheet(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(3))
    run_id = run_id_of(await console.browser.start(path))
    await console.browser.run_ended(run_id)
    undo = await console.browser.post(f"/runs/{run_id}/undo")
    address = undo.url.removeprefix(console.browser.base).removesuffix("/preview")
    seen = (await console.browser.preview_page(address)).text
    assert "<h1>Review undo: accounts.csv</h1>" in seen
    assert "Undo 3 changes</span>" in seen
    assert f'href="/runs/{run_id}"' in seen


async def test_a_start_without_the_tick_comes_back_with_the_error_at_the_tick(tmp_path: Path) -> None:
    async with world(tmp_path, sandbox=SandboxOptions(limits=(), accounts=60)) as console:
        path = await console.browser.preview("accounts.csv", sheet(50))
        refused = await console.browser.start(path, scope="all")
        assert refused.status == 400
        assert "Nothing was sent. Tick this to change all 50 accounts." in refused.text
        assert 'name="really" value="1" aria-invalid="true" aria-describedby="really-error" autofocus' in refused.text
        assert f'action="{path}/start"' in refused.text, "the user goes on from here"
        assert f'href="{path}/start' not in refused.text, "no link leads to the address that takes forms alone"
        (entry,) = [each for each in console.console.store.audit_entries() if each.action == "start refused"]
        assert "more than the limit" in entry.detail
        run_id = run_id_of(await console.browser.start(path, scope="all", really="1"))
        assert "50 updated" in (await console.browser.run_ended(run_id)).text


async def test_a_number_that_is_none_is_refused_at_its_field(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(12))
    for entered, says in (("many", "is not a number of accounts"), ("0", "is not a number"), ("", "is missing")):
        refused = await console.browser.start(path, first=entered, scope="first")
        assert refused.status == 400
        assert says in refused.text
        assert 'aria-describedby="trial-help first-error" aria-invalid="true" autofocus' in refused.text
        assert 'value="first" checked' in refused.text, "the trial is still chosen"
    assert not any(method == "PUT" for method, _ in console.sandbox.served)


async def test_all_accounts_are_changed_only_where_no_other_number_was_entered(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(12))
    refused = await console.browser.start(path, first="2", scope="all")
    assert refused.status == 400
    assert "You entered a number, but chose all accounts: nothing was sent." in refused.text
    run_id = run_id_of(await console.browser.start(path, first="6", scope="all"))
    assert "12 updated" in (await console.browser.run_ended(run_id)).text


async def test_a_trial_changes_the_number_entered(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(12))
    run_id = run_id_of(await console.browser.start(path, first="2", scope="first"))
    assert "2 updated" in (await console.browser.run_ended(run_id)).text


async def test_a_preview_that_is_out_of_date_is_answered_with_the_present_one(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(2))
    await console.browser.preview_page(path)
    refused = await console.browser.post(f"{path}/start", {"preview": "0" * 16})
    assert refused.status == 400
    assert "This preview is out of date: nothing was sent." in refused.text
    assert 'name="preview"' in refused.text


async def test_the_new_preview_says_why_the_one_before_was_not_sent(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(3))
    await console.browser.preview_page(path)
    console.sandbox.state.account_named("robot-0002").display_name = "Meanwhile"
    await console.browser.run_ended(run_id_of(await console.browser.start(path)))
    seen = await console.browser.preview_page(path)
    assert "The directory has changed since the preview: 1 account would change differently" in seen.text
    assert "This is a new preview." in seen.text


async def test_a_wait_for_a_preview_leads_to_its_own_address(console: World) -> None:
    """A form that was refused is answered at another address, which takes no GET."""
    path = await console.browser.preview("accounts.csv", sheet(2))
    await console.browser.preview_page(path)
    (made,) = console.console.uploaded_sheets._uploaded_sheets.values()
    made.preview = None
    refused = await console.browser.post(f"{path}/start", {"preview": "0" * 16})
    assert "There is no preview at present." in refused.text
    assert f'<form class="actions" method="post" action="{path}/preview"' in refused.text


async def test_changes_are_filtered_by_kind_by_group_and_by_search(console: World) -> None:
    path = await console.browser.preview("accounts.csv", MIXED)
    seen = (await console.browser.preview_page(path)).text
    assert len(_names(seen)) == 4
    assert '<strong class="removed">name removed</strong>' in seen
    assert "(none)" not in seen
    (group,) = re.findall(r'<option value="([^"]+)">Finance \(\+2\)', seen)
    for query, names in (
        ("kind=display_name-changed", [1, 4]),
        ("kind=display_name-removed", [2]),
        ("kind=joins", [3, 4]),
        ("kind=leaves", []),
        (f"group={group}", [3, 4]),
        (f"group={group}&kind=display_name-changed", [4]),
        (f"group={group}&kind=joins&search=robot-0003", [3]),
        ("kind=nonsense", []),
        ("group=nonsense", []),
    ):
        found = await console.browser.preview_page(path, f"?{query}")
        assert _names(found.text) == [f"robot-{number:04}" for number in names], query
    kept = await console.browser.preview_page(path, f"?group={group}&search=robot")
    assert re.search(rf'href="{path}/preview\?kind=joins&amp;group={group}&amp;search=robot#lines"', kept.text)


async def test_an_operator_who_is_an_author_reads_who_must_approve(tmp_path: Path) -> None:
    async with three(tmp_path) as (_, olaf, otto, _):
        path = await olaf.preview("accounts.csv", sheet(3))
        assert "Someone other than the uploader must approve this." in (await olaf.preview_page(path)).text
        assert "Approve and update 3 accounts" in (await otto.preview_page(path)).text


# --- the index

_GROUPS = st.lists(st.sampled_from(["a", "B", "c"]), max_size=2, unique=True).map(tuple)


@st.composite
def _changes(draw: st.DrawFn) -> list[Change]:
    changes = []
    for number in range(draw(st.integers(0, 12))):
        before, after = draw(st.sampled_from(["", "x", None])), draw(st.sampled_from(["", "y"]))
        sets, add, remove = draw(st.booleans()), draw(_GROUPS), draw(_GROUPS)
        present = None if before is None else Account(str(number), "n", (before,), ("c",))
        changes.append(Change(str(number), "n", (after,), sets, add, remove, present))
    return changes


@given(_changes(), st.sampled_from(["", "joins", "leaves", "display_name-changed", "display_name-removed"]))
def test_a_filter_finds_exactly_the_accounts_with_such_a_change(changes: list[Change], kind: str) -> None:
    directory = Directory("", None, None)
    index = index_changes(changes, directory)

    def fits(change: Change, group: str) -> bool:
        joins = change.add if not group else [each for each in change.add if each.casefold() == group]
        leaves = change.remove if not group else [each for each in change.remove if each.casefold() == group]
        counts = count_changes([change], directory)
        renamed = any("rename" in words for words in counts.fields)
        cleared = any("removed" in words for words in counts.fields)
        of_kind = {
            "joins": bool(joins),
            "leaves": bool(leaves),
            "display_name-changed": renamed,
            "display_name-removed": cleared,
        }
        return of_kind.get(kind, True) and (not group or bool(joins or leaves))

    for group in ("", "a", "b"):
        found = list(index.select(ChangeFilter(kind, group)))
        assert found == [number for number, change in enumerate(changes) if fits(change, group)]
    assert {each.key: each.accounts for each in index.kinds} == {
        each.key: len(index.select(ChangeFilter(each.key))) for each in index.kinds
    }
