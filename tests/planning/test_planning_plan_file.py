"""Plan files: what is written is read back the same, and other files are refused."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import SheetError
from bulkid.model import Account, Change, RowRequest
from bulkid.planning.directory import Directory
from bulkid.planning.plan import build_plan
from bulkid.planning.preconditions import PreconditionRules, resolve_preconditions
from bulkid.planning.resolve import resolve
from bulkid.runs.inputs.plan_file import read_plan_input
from bulkid.runs.inputs.plan_format import PlanFile, json_schema, plan_head, plan_parts, planned_accounts
from bulkid.runs.inputs.plan_parser import load_account, load_plan, precondition_of, read_plan
from bulkid.runs.options import Preview
from bulkid.sheet import SheetInfo
from tests.support.plan_files import in_version_1
from tests.support.planning_world import (
    COLUMNS,
    LAW,
    ORG,
    State,
    account,
    accounts,
    directory,
    put,
    request,
    rows,
    skeleton,
    touches,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"
INFO = SheetInfo("accounts.xlsx", "xlsx", "Täglich", "", "", ("Id",), ("robot_account_id",))


def preview_of(sheet: list[RowRequest], known: Directory) -> Preview:
    resolution = resolve(sheet, known, COLUMNS)
    plan = build_plan(resolution, known)
    url = "https://cloud.uipath.com/acme/identity_"
    return Preview(INFO, plan, known, url, ORG, len(sheet), resolution.row_errors, (), None, 0.0, {}, 0, (), None)


def plan_file(preview: Preview) -> PlanFile:
    return replace(plan_head(preview, 1_769_847_300.0), accounts=tuple(planned_accounts(preview)))


def dump_plan(plan: PlanFile) -> bytes:
    return b"".join(plan_parts(plan, plan.accounts))


def written(sheet: list[RowRequest], known: Directory) -> bytes:
    return dump_plan(plan_file(preview_of(sheet, known)))


def in_lower_case(change: Change) -> Change:
    """The same change, with the ids of groups spelled in one way: accounts and groups may spell them differently."""
    add, remove = (tuple(map(str.lower, groups)) for groups in (change.add, change.remove))
    return change._replace(add=add, remove=remove)


@LAW
@given(rows(), accounts(), st.booleans())
def test_what_is_written_is_read_back_as_the_same_changes(sheet: list[RowRequest], state: State, blind: bool) -> None:
    known = directory(None) if blind else directory(state)
    preview = preview_of(sheet, known)
    plan = plan_file(preview)
    data = dump_plan(plan)
    assert load_plan(data, "plan.json") == plan
    again = json.loads(data)
    assert again["created_at"] == "2026-01-31T08:15:00Z"
    assert again["counts"]["changing"] == len(again["accounts"]) == len(preview.plan.changes)
    assert [item["rows"] for item in again["accounts"]] == sorted(item["rows"] for item in again["accounts"])
    assert {row_error["row"] for row_error in again["faults"]} == {row_error.row for row_error in preview.row_errors}
    resolution = resolve_preconditions([precondition_of(each) for each in plan.accounts], known, PreconditionRules(""))
    assert resolution.row_errors == ()
    read = build_plan(resolution, known)
    assert set(map(in_lower_case, read.changes)) == set(map(in_lower_case, preview.plan.changes))
    assert {found.account_id: found.rows for found in read.changing} == {
        found.account_id: found.rows for found in preview.plan.changing
    }


@LAW
@given(rows(), accounts(), accounts(), st.sets(st.integers(0, 3)), st.sets(st.integers(0, 3)))
def test_an_account_is_changed_only_where_it_still_is_as_planned_from(
    sheet: list[RowRequest], before: State, others: State, meddled: set[int], done: set[int]
) -> None:
    preview = preview_of(sheet, directory(before))
    changes = {change.account_id: change for change in preview.plan.changes}

    def now(number: int, was: Account) -> Account:
        if number in meddled:
            return others[number]
        return put(was, changes[was.id]) if number in done and was.id in changes else was

    present = directory(tuple(now(number, was) for number, was in enumerate(before)))
    plan = load_plan(written(sheet, directory(before)), "plan.json")
    resolution = resolve_preconditions(
        [precondition_of(each) for each in plan.accounts], present, PreconditionRules("as it was")
    )
    applied = build_plan(resolution, present)
    assert all(row_error.code == "changed_since" for row_error in resolution.row_errors)
    for change in applied.changes:  # exactly what was planned, of exactly what it was planned from
        planned = changes[change.account_id]
        assert in_lower_case(change)[4:6] == in_lower_case(planned)[4:6]
        assert change.sets_fields == planned.sets_fields
        assert not change.sets_fields or change.values == planned.values
    invalid = {row_error.row for row_error in resolution.row_errors}
    for was, found in zip(before, present.accounts or (), strict=True):
        if was.id not in changes:
            continue
        will = put(was, changes[was.id])
        mine = touches(was, will)
        fits = skeleton(found, mine) in (skeleton(was, mine), skeleton(will, mine))
        (wanted,) = (each for each in preview.plan.changing if each.account_id == was.id)
        assert invalid.isdisjoint(wanted.rows) == fits
        assert fits or set(wanted.rows) <= invalid


def a_plan(**change: Any) -> dict[str, Any]:
    """A plan with two accounts, as JSON has it, changed at some places (``accounts__0__id=...``)."""
    sheet = [
        request(2, "88-uv", display_name="Robbie", add=("Trainees",), remove=("Finance",)),
        request(4, "a-4", display_name=""),
        request(5, "nobody"),
    ]
    plan: dict[str, Any] = json.loads(written(sheet, directory()))
    for place, value in change.items():
        *path, last = [int(part) if part.isdecimal() else part for part in place.split("__")]
        target: Any = plan
        for part in path:
            target = target[part]
        target[last] = value
    return plan


ROWS_TWICE = [{"id": "g-fin", "name": ""}, {"id": "G-FIN", "name": ""}]
NONSENSE = {
    "a newer version": ({"version": 4}, "newer bulkid", "version 4"),
    "another format": ({"format": "bulkid report"}, "not a plan file", "format"),
    "an unknown field": ({"accounts__1__colour": "red"}, "accounts[1].colour"),
    "a misspelt id": ({"accounts__0__id": "../RobotAccount "}, "accounts[0].id", "is not an id"),
    "an id that leads elsewhere": ({"accounts__0__id": ".."}, "accounts[0].id", "is not an id"),
    "a text for a list": ({"accounts__0__rows": "2"}, "accounts[0].rows"),
    "a row that is a text": ({"accounts__0__rows": ["2"]}, "accounts[0].rows[0]"),
    "no rows": ({"accounts__0__rows": []}, "accounts[0].rows"),
    "row 0": ({"accounts__0__rows": [0]}, "accounts[0].rows[0]"),
    "a row of two accounts": ({"accounts__1__rows": [2]}, "accounts[1].rows", "twice"),
    "a line break in a name": ({"accounts__0__display_name": "Rob\nbie"}, "accounts[0].display_name", "control"),
    "a group given as text": ({"accounts__0__groups_to_add__0": "Trainees"}, "accounts[0].groups_to_add[0]"),
    "a group twice": ({"accounts__0__groups_to_add": ROWS_TWICE}, "accounts[0]", "a group appears twice"),
    "an account twice": ({"accounts__1__id": "88-UV"}, "accounts[1].id", "twice"),
    "nothing to do": ({"accounts__1__display_name": None}, "accounts[1]", "the account has no changes"),
    "no state before": ({"accounts__0__before": None}, "accounts[0].before", "blind"),
    "a number for a name": ({"accounts__0__before__display_name": 7}, "accounts[0].before.display_name"),
    "no organisation": ({"organization_id": ""}, "organization_id"),
    "a line break in the note": ({"note": "TICKET\n7"}, "note", "control"),
    "a long note": ({"note": "x" * 201}, "note"),
    "a note in version 2": ({"version": 2}, "note: no plan of version 2 has such a field"),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_a_file_that_was_edited_to_nonsense_is_refused_by_name_and_place(what: str) -> None:
    change, *words = NONSENSE[what]
    with pytest.raises(SheetError) as caught:
        load_plan(json.dumps(a_plan(**change)).encode(), "team/plan.json")
    assert str(caught.value).startswith("team/plan.json")
    for word in words:
        assert word in caught.value.message
    assert "bulkid" in caught.value.hint or "JSON" in caught.value.message


def test_an_edit_that_makes_sense_is_taken() -> None:
    plan = load_plan(json.dumps(a_plan(accounts__0__display_name="Rob", accounts__0__rows=[7, 9])).encode(), "x")
    expected = precondition_of(plan.accounts[0])
    assert (expected.desired.values[0], expected.desired.rows) == ("Rob", (7, 9))
    assert expected.before == account(groups=("g-fin",))
    assert load_plan(b"\xef\xbb\xbf" + json.dumps(a_plan(), indent=4).encode(), "x") == load_plan(
        orjson.dumps(a_plan()), "x"
    )


@given(st.data())
def test_a_file_that_is_cut_off_is_never_taken(data: st.DataObject) -> None:
    whole = json.dumps(a_plan()).encode()
    with pytest.raises(SheetError, match=r"^plan\.json "):
        load_plan(whole[: data.draw(st.integers(0, len(whole) - 1))], "plan.json")


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values within a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [each for key, inner in items for each in places(inner, (*path, key))]


@LAW
@given(st.data())
def test_whatever_stands_anywhere_a_plan_is_read_or_refused_in_words(data: st.DataObject) -> None:
    plan = a_plan()
    *path, last = data.draw(st.sampled_from(places(plan)))
    target: Any = plan
    for part in path:
        target = target[part]
    target[last] = data.draw(ANY_JSON)
    try:
        text = json.dumps(plan).encode()
        read = load_plan(text, "plan.json")
    except SheetError as error:
        assert error.message.startswith("plan.json")  # noqa: PT017 - whether it is raised is for the data to say
        return
    resolve_preconditions(
        [precondition_of(each) for each in read.accounts], directory(), PreconditionRules("as it was")
    )


def taken(data: bytes) -> object:
    """What a plan file as a whole says, or that it is refused."""
    try:
        plan = load_plan(data, "plan.json")
    except SheetError:
        return "refused"
    return replace(plan, accounts=()), [precondition_of(each) for each in plan.accounts]


@LAW
@given(st.data())
def test_a_file_read_account_by_account_says_what_it_says_as_a_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    plan = load_plan(orjson.dumps(a_plan()), "plan.json")
    accounts = plan.accounts[: data.draw(st.integers(0, len(plan.accounts)))]
    written = bytearray(dump_plan(replace(plan, accounts=accounts)))
    start = data.draw(st.integers(0, len(written)))
    edit = data.draw(st.sampled_from([b"", b",", b"\n", b" ", b"{}", b"]", b',\n    {"rows": []}', b'"accounts": []']))
    written[start : start + data.draw(st.integers(0, 2))] = edit
    path = tmp_path_factory.getbasetemp() / "plan.json"
    path.write_bytes(written)
    try:
        loaded = read_plan(path)
    except SheetError:
        assert taken(bytes(written)) == "refused"
        return
    assert taken(bytes(written)) == (loaded.head, loaded.expected)
    found = json.loads(written.removeprefix(b"\xef\xbb\xbf"))["accounts"]
    texts = [json.dumps(in_version_1(account)) for account in found]
    assert [precondition_of(load_account(text)) for text in texts] == loaded.expected


@pytest.mark.parametrize("missing", [True, False])
def test_accounts_on_lines_of_their_own_need_exactly_one_comma_between_them(tmp_path: Path, missing: bool) -> None:
    path = tmp_path / "plan.json"
    written = dump_plan(load_plan(orjson.dumps(a_plan()), "plan.json")).decode()
    head, opening, rest = written.partition('"accounts": [\n')
    lines, closing, tail = rest.partition("\n  ]")
    lines = lines.replace(",\n", "\n") if missing else f"{lines},"
    path.write_text(head + opening + lines + closing + tail, encoding="utf-8")
    with pytest.raises(SheetError, match="not valid JSON"):
        read_plan(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "does not exist"),
        (lambda path: path.mkdir(), "folder"),
        (lambda path: path.write_bytes(b""), "not valid JSON"),
        (lambda path: path.write_bytes(b"[1]"), "not a plan file"),
        (lambda path: path.write_bytes(b"name,display_name\nroby,Robbie\n"), "not valid JSON"),
        (lambda path: path.write_bytes(b'{"format": "bulkid plan", "version": 1}'), "Field required".lower()),
        (lambda path: path.write_bytes(b"\xff\xfe{}"), "not valid JSON"),
        (lambda path: path.write_bytes(b'{"format": "bulkid plan", "version": "1"}'), "version"),
    ],
)
def test_a_file_that_is_not_a_plan_file_is_refused(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    path = tmp_path / "plan.json"
    make(path)
    with pytest.raises(SheetError) as caught:
        read_plan_input(path)
    assert str(path) in caught.value.message
    assert words in caught.value.message


def test_the_schema_in_the_docs_is_that_of_the_file_and_the_page_names_every_field() -> None:
    schema = json_schema()
    assert json.loads((DOCS / "plan_file.schema.json").read_text(encoding="utf-8")) == schema
    page = (DOCS / "plan_file.md").read_text(encoding="utf-8")
    documented = {name for part in (schema, *schema["$defs"].values()) for name in part["properties"]}
    assert len(documented) > 25
    assert [name for name in sorted(documented) if f"`{name}`" not in page] == []
    assert {field.name for field in fields(PlanFile)} == set(schema["properties"])
