"""The page of a run: how it ended comes first, then what to do; the report opens on the rows that need a user."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import RunStatus, Status
from bulkid.planning.plan import join_description
from bulkid.runs import RunListItem
from bulkid.web.run_pages import actions_of, change_parts
from tests.support.journal_data import record
from tests.support.web_console import World, first_put, run_id_of, sheet, small_organization, world

names = st.one_of(st.text(min_size=1, max_size=8), st.text(";+- \\\\", min_size=1, max_size=8))
"""Names of any characters, and those that look like the separators of a description."""


def _visible(page: str, action: str) -> bool:
    """Whether the page has the form of an action, and shows it."""
    form = re.search(rf'<form method="post" action="/runs/[^"]+/{action}"([^>]*)>', page)
    return form is not None and " hidden" not in form[1]


async def test_the_sheet_is_the_title_and_the_outcome_comes_first(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(3))
    page = await console.browser.run_ended(run_id_of(await console.browser.start(path)))
    assert "<title>accounts.csv · completed · bulkid</title>" in page.text
    assert re.search(r'<h1>accounts.csv</h1>\s*<p class="outcome">Done in (under 1|\d+) s: 3 updated\.</p>', page.text)


async def test_a_run_and_its_undo_link_to_one_another(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(3))
    run_id = run_id_of(await console.browser.start(path))
    await console.browser.run_ended(run_id)
    page = await console.browser.post(f"/runs/{run_id}/undo")
    undo = page.url.removeprefix(console.browser.base).removesuffix("/preview")
    undo_id = run_id_of(await console.browser.start(undo))
    undone_page = await console.browser.run_ended(undo_id)
    assert f'undo of <a class="code" href="/runs/{run_id}">{run_id}</a>' in undone_page.text
    rate = await console.browser.get(f"/runs/{run_id}/rate")
    assert '<rect class="own"' in rate.text
    assert "<html" not in rate.text
    first = await console.browser.get(f"/runs/{run_id}")
    assert f'Undone by <a href="/runs/{undo_id}">{undo_id}</a>' in first.text
    assert not _visible(first.text, "undo")


async def test_the_report_opens_on_failed_and_invalid_rows(tmp_path: Path) -> None:
    options = small_organization(poisoned=("robot-0002",))
    async with world(tmp_path, sandbox=options, skip_invalid=True) as console:
        path = await console.browser.preview("accounts.csv", sheet(3) + b"\nno-such-robot,x")
        await console.browser.post(path, {"field-0": "name", "field-1": "display_name", "skip_invalid": "1"})
        await console.browser.post(f"{path}/preview")
        run_id = run_id_of(await console.browser.start(path))
        opened = await console.browser.run_ended(run_id)
        shown = set(re.findall(r'<th scope="row" class="any">([^<]+)</th>', opened.text))
        assert shown == {"robot-0002", "no-such-robot"}
        assert 'aria-current="true">failed and invalid <span class="dim">2</span>' in opened.text
        every = await console.browser.get(f"/runs/{run_id}?status=all")
        assert every.text.count('<th scope="row" class="any">') == 4
        one = await console.browser.get(f"/runs/{run_id}?status=invalid")
        assert one.text.count('<th scope="row" class="any">') == 1
        nothing = await console.browser.get(f"/runs/{run_id}?status=all&search=nobody-at-all")
        assert "No row matches." in nothing.text


async def test_rows_are_filtered_by_kind_of_change(console: World) -> None:
    content = b"name,display_name,groups_to_add\nrobot-0001,New,\nrobot-0002,,Finance\nrobot-0003,,Finance\n"
    path = await console.browser.preview("accounts.csv", content)
    run_id = run_id_of(await console.browser.start(path))
    await console.browser.run_ended(run_id)
    renamed = await console.browser.get(f"/runs/{run_id}?kind=fields")
    assert re.findall(r'<th scope="row" class="any">([^<]+)</th>', renamed.text) == ["robot-0001"]
    joined = await console.browser.get(f"/runs/{run_id}?kind=joins")
    assert "robot-0001" not in joined.text
    assert (
        '<span class="chip add"><span aria-hidden="true">+</span><span class="unseen">added:</span> Finance'
        in joined.text
    )
    hostile = await console.browser.get(f'/runs/{run_id}?status=all&kind=joins&search="><script>')
    assert "<script>" not in hostile.text.replace('<script src="', "")


async def test_a_trial_leads_to_a_review_of_the_rest_and_sends_nothing_by_itself(console: World) -> None:
    path = await console.browser.preview("accounts.csv", sheet(6))
    run_id = run_id_of(await console.browser.start(path, first="2"))
    page = await console.browser.run_ended(run_id)
    assert "Trial finished: 2 accounts. Next: review the remaining 4." in page.text
    assert "Review the remaining 4</button>" in page.text
    puts = console.sandbox.served.copy()
    rest = await console.browser.post(f"/runs/{run_id}/resume")
    assert rest.url.endswith("/preview")
    preview = await console.browser.preview_page(rest.url.removeprefix(console.browser.base).removesuffix("/preview"))
    assert 'name="preview"' in preview.text
    assert [(what, count) for what, count in console.sandbox.served.items() if what[0] == "PUT"] == [
        (what, count) for what, count in puts.items() if what[0] == "PUT"
    ]


async def test_a_run_is_paused_and_only_then_stopped_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")  # who the system says has started the console, on any system
    async with world(tmp_path, sandbox=small_organization(), concurrency=1) as console:
        injector = console.sandbox.fault_injector
        injector.faults = replace(injector.faults, slow_s=3600.0)
        injector.draw = lambda method, _: "slow" if method == "PUT" else ""  # type: ignore[method-assign]  # the fault is the test's
        path = await console.browser.preview("accounts.csv", sheet(40))
        run_id = run_id_of(await console.browser.start(path))
        await first_put(console)  # which is not answered any more
        going = (await console.browser.get(f"/runs/{run_id}")).text
        assert (_visible(going, "pause"), _visible(going, "stop")) == (True, False)
        assert re.search(r"<title>\d+ % · accounts.csv · bulkid</title>", going)
        assert "<dt>Ended</dt>" not in going
        assert f'data-live-plot="/runs/{run_id}/rate"' in going  # asked for again while the run is under way
        pausing = (await console.browser.post(f"/runs/{run_id}/pause")).text
        assert (_visible(pausing, "pause"), _visible(pausing, "stop")) == (False, True)
        assert "Pausing: requests in flight may finish" in pausing
        again = (await console.browser.post(f"/runs/{run_id}/pause")).text  # a double click, or another user
        assert "Pausing: requests in flight may finish" in again
        await console.browser.post(f"/runs/{run_id}/stop")
        ended = await console.browser.run_ended(run_id)
        assert "Paused by ada" in ended.text
        late = await console.browser.post(f"/runs/{run_id}/stop")
        assert (late.status, late.url) == (200, f"{console.browser.base}/runs/{run_id}")


@given(names, st.lists(st.tuples(st.sampled_from("+-"), names), max_size=4), st.booleans())
def test_the_parts_of_a_description_are_all_of_it(field: str, groups: list[tuple[str, str]], renames: bool) -> None:
    fields = f"display name: {field} -> {field}; more" if renames else ""
    parts = change_parts(join_description(filter(None, [fields, *(f"{sign} {name}" for sign, name in groups)])))
    assert parts == (fields, tuple(groups))


@pytest.mark.parametrize("text", ["", "display name: + a -> - b", "display name: (none) -> x"])
def test_a_description_without_groups_is_left_as_it_is(text: str) -> None:
    assert change_parts(text) == (text, ())


@pytest.mark.parametrize(
    ("text", "fields", "groups"),
    [
        ("created", "created", ()),
        ("created: + Finance; + HR", "created", (("+", "Finance"), ("+", "HR"))),
        ('created: display name "A"; + Finance', 'created: display name "A"', (("+", "Finance"),)),
        ("deleted", "deleted", ()),
    ],
)
def test_creations_and_deletions_are_taken_apart(text: str, fields: str, groups: tuple[tuple[str, str], ...]) -> None:
    assert change_parts(text) == (fields, groups)


@pytest.mark.parametrize(
    ("changed", "offered"),
    [({Status.DELETED: 3}, False), ({Status.CREATED: 1}, True), ({Status.UPDATED: 1, Status.DELETED: 3}, True)],
)
async def test_an_undo_is_offered_where_one_can_bring_anything_back(
    console: World, changed: dict[Status, int], offered: bool
) -> None:
    run = record("20260131-081500-aaaa", status=RunStatus.COMPLETED, finished_at=1_770_000_000.0)
    line = RunListItem(run, {status: changed.get(status, 0) for status in Status})
    assert actions_of(console.console, line, None, ())["undo"] is offered
