"""Plan files with creations, deletions and new groups; and those of version 1, which have none."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import SheetError
from bulkid.model import Account, Action, DesiredState, Group
from bulkid.planning.directory import Directory
from bulkid.planning.plan import Plan, build_plan
from bulkid.planning.preconditions import PreconditionRules, resolve_preconditions
from bulkid.planning.resolve import Resolution
from bulkid.runs.inputs.plan_file import read_plan_input
from bulkid.runs.inputs.plan_format import PlanFile, plan_head, plan_parts, planned_accounts
from bulkid.runs.inputs.plan_parser import load_plan, precondition_of, read_plan
from bulkid.runs.options import Preview
from bulkid.sheet import SheetInfo
from tests.support.lifecycle_world import NEW, applied, by_name, desired_states, known, planned, states, wanted
from tests.support.planning_world import EVERYONE_ID, LAW, ORG, State, account

FIXTURE = Path(__file__).parent / "fixtures" / "plan_v1.json"
"""As ``bulkid plan --sandbox --out`` wrote it before there were creations and deletions. Do not change it."""

INFO = SheetInfo("accounts.csv", "csv", "", "utf-8", ",", ("name",), ("name",))
RULES = PreconditionRules("as it was when the plan was made", allow_delete=True, creates_groups=True)


def plan_file(plan: Plan, there: Directory) -> PlanFile:
    url = "https://cloud.uipath.com/acme/identity_"
    directory = there.with_groups(plan.new_groups)
    preview = Preview(INFO, plan, directory, url, ORG, 9, (), (), None, 0.0, {}, 0, (), None)
    return replace(plan_head(preview, 1_769_847_300.0), accounts=tuple(planned_accounts(preview)))


def written(plan: Plan, there: Directory) -> bytes:
    head = plan_file(plan, there)
    return b"".join(plan_parts(head, head.accounts))


def resolved(data: bytes, there: Directory, rules: PreconditionRules = RULES) -> tuple[Resolution, Plan]:
    """What a plan file asks of a directory."""
    file = load_plan(data, "plan.json")
    new_groups = tuple(Group(group.id, group.name) for group in file.new_groups)
    rules = rules._replace(new_groups=new_groups)
    resolution = resolve_preconditions([precondition_of(each) for each in file.accounts], there, rules)
    return resolution, build_plan(resolution, there)


@LAW
@given(desired_states(), states())
def test_what_is_written_is_read_back_as_the_same_plan(desired_states: tuple[DesiredState, ...], before: State) -> None:
    there = known(before)
    plan = planned(desired_states, before)
    data = written(plan, there)
    counts = json.loads(data)["counts"]
    actions = [change.action for change in plan.changes]
    assert (counts["creating"], counts["deleting"]) == (actions.count(Action.CREATE), actions.count(Action.DELETE))
    resolution, again = resolved(data, there)
    assert resolution.row_errors == ()
    by_row = sorted(zip(plan.changes, plan.changing, strict=True), key=lambda pair: pair[1].rows)
    assert list(again.changes) == [change for change, _ in by_row]
    assert again.new_groups == plan.new_groups
    after, _ = applied(before, plan.changes)
    assert by_name(applied(before, again.changes)[0]) == by_name(after)
    _, done = resolved(data, known(after, *plan.new_groups))
    assert done.changes == ()
    assert done.new_groups == ()


def state_of(name: str, state: Sequence[Account]) -> Account | None:
    return next((each for each in state if each.name == name), None)


@LAW
@given(desired_states(), states(), states(), st.sets(st.integers(0, 5)))
def test_only_accounts_that_are_as_planned_from_are_created_or_deleted(
    desired_states: tuple[DesiredState, ...], before: State, others: State, meddled: set[int]
) -> None:
    plan = planned(desired_states, before)
    present = [others[number] if number in meddled else each for number, each in enumerate(before)]
    present += [account(f"new-{number}", f"BOT {number}", "X") for number in range(3) if number + 3 in meddled]
    there = known(tuple(present))
    resolution, now = resolved(written(plan, known(before)), there)
    invalid = {row_error.row: row_error.code for row_error in resolution.row_errors}
    for change, desired in zip(plan.changes, plan.changing, strict=True):
        (row,) = desired.rows
        if change.action is Action.DELETE:
            was, found = change.before, there.account(change.account_id)
            assert was is not None
            assert found is not None
            same = by_name((was,)) == by_name((found,)) and found.last_login <= was.last_login
            assert invalid.get(row) == (None if same else "changed_since")
        elif change.action is Action.CREATE:
            taken = any(each.name.casefold() == change.name.casefold() for each in present)
            differs = change.sets_fields or change.add  # else the account has all that the creation gives it
            assert invalid.get(row) == ("account_exists" if taken and differs else None)
    assert {change.name for change in now.changes if change.action is Action.CREATE} <= {
        change.name for change in plan.changes if change.action is Action.CREATE
    }


def test_deletions_of_a_plan_need_leave() -> None:
    before = (account(),)
    data = written(planned([wanted(2, "Roby01", Action.DELETE)], before), known(before))
    resolution, plan = resolved(data, known(before), PreconditionRules("as it was", creates_groups=True))
    assert [(each.row, each.code) for each in resolution.row_errors] == [(2, "deletion_not_allowed")]
    assert "--allow-delete" in resolution.row_errors[0].message
    assert plan.changes == ()


def test_a_new_group_that_exists_by_then_is_used_and_one_that_no_account_joins_is_not_created() -> None:
    creation = wanted(2, "bot 0", Action.CREATE, add=(NEW.id,))
    data = written(planned([creation], ()), known(()))
    assert resolved(data, known(()))[0].new_groups == (NEW,)
    resolution, plan = resolved(data, known((), Group("other", "NEWCOMERS")))
    assert (resolution.new_groups, plan.changes[0].add) == ((), ("other",))
    assert resolved(data, known((), NEW))[1].changes[0].add == (NEW.id,)
    taken = known((account("x", "bot 0", "Taken"),))
    assert resolved(data, taken)[0].new_groups == ()


# --- nonsense


def a_plan(**change: Any) -> dict[str, Any]:
    """A plan with an update, a creation and a deletion, changed at some places (``accounts__0__id=...``)."""
    before = (account(), account("a-3", "ÜBER-bot", "Uber")._replace(last_login="2026-01-31T08:15:00Z"))
    desired_states = [
        wanted(2, "Roby01", Action.UPDATE, values=("Robbie",)),
        wanted(3, "bot 0", Action.CREATE, values=("Bot",), add=("g-fin", NEW.id)),
        wanted(4, "ÜBER-bot", Action.DELETE),
    ]
    plan: dict[str, Any] = json.loads(written(planned(desired_states, before), known(before)))
    for place, value in change.items():
        *path, last = [int(part) if part.isdecimal() else part for part in place.split("__")]
        target: Any = plan
        for part in path:
            target = target[part]
        target[last] = value
    return plan


def test_a_creation_and_a_deletion_are_written_whole() -> None:
    plan = a_plan()
    assert plan["version"] == 3
    assert plan["new_groups"] == [{"id": NEW.id, "name": "Newcomers"}]
    update, creation, deletion = plan["accounts"]
    assert (update["action"], update["before"]["last_login"]) == ("update", None)
    assert (creation["action"], creation["id"], creation["name"], creation["before"]) == ("create", "", "bot 0", None)
    assert [group["name"] for group in creation["groups_to_add"]] == ["Finance", "Newcomers"]
    assert creation["changes"] == 'created: display name "Bot"; + Finance; + Newcomers'
    assert (deletion["action"], deletion["id"], deletion["changes"]) == ("delete", "a-3", "deleted")
    assert deletion["before"] == {
        "display_name": "Uber",
        "group_ids": [EVERYONE_ID],
        "last_login": "2026-01-31T08:15:00Z",
    }


GROUP = {"id": "g-fin", "name": ""}
NONSENSE = {
    "another action": ({"accounts__0__action": "drop"}, "accounts[0].action"),
    "an update without an id": ({"accounts__0__id": ""}, "accounts[0].id", "is not an id"),
    "an update with a login": ({"accounts__0__before__last_login": ""}, "accounts[0].before.last_login"),
    "a creation with an id": ({"accounts__1__id": "x"}, "accounts[1].id", "empty"),
    "a creation without a name": ({"accounts__1__name": " "}, "accounts[1].name", "is not a name"),
    "a creation with a line break": ({"accounts__1__name": "a\nb"}, "accounts[1].name", "control"),
    "a creation that leaves a group": ({"accounts__1__groups_to_remove": [GROUP]}, "accounts[1].groups_to_remove"),
    "a creation with a group twice": ({"accounts__1__groups_to_add": [GROUP, GROUP]}, "accounts[1]", "twice"),
    "a creation of what was there": (
        {"accounts__1__before": {"display_name": "", "group_ids": [], "last_login": ""}},
        "accounts[1].before",
    ),
    "a deletion without an id": ({"accounts__2__id": ""}, "accounts[2].id", "is not an id"),
    "a deletion with a name": ({"accounts__2__display_name": "X"}, "accounts[2]", "no fields"),
    "a deletion with a group": ({"accounts__2__groups_to_add": [GROUP]}, "accounts[2]", "no groups"),
    "a deletion of the unknown": ({"accounts__2__before": None}, "accounts[2].before"),
    "a deletion without a login": ({"accounts__2__before__last_login": None}, "accounts[2].before.last_login"),
    "a deletion of what is updated": ({"accounts__2__id": "88-UV"}, "accounts[2].id", "twice"),
    "a blind creation": ({"blind": True, "accounts__0__before": None}, "accounts[1].action", "blind"),
    "a group without a name": ({"new_groups__0__name": ""}, "new_groups[0].name"),
    "the group Everyone": ({"new_groups__0__name": "everyone"}, "new_groups[0].name", "Everyone"),
    "a group whose id is a path": ({"new_groups__0__id": "../x"}, "new_groups[0].id"),
    "a group with a line break": ({"new_groups__0__name": "a\nb"}, "new_groups[0].name", "control"),
    "no groups": ({"new_groups": None}, "new_groups"),
    "a new group twice": (
        {"new_groups": [{"id": NEW.id, "name": "A"}, {"id": NEW.id.upper(), "name": "B"}]},
        "new_groups[1].id",
        "twice",
    ),
    "a new name twice": (
        {"new_groups": [{"id": NEW.id, "name": "A"}, {"id": NEW.id.replace("0", "1"), "name": "a"}]},
        "new_groups[1].name",
        "twice",
    ),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_a_file_that_was_edited_to_nonsense_is_refused_by_name_and_place(what: str, tmp_path: Path) -> None:
    change, *words = NONSENSE[what]
    path = tmp_path / "plan.json"
    path.write_bytes(orjson.dumps(a_plan(**change)))
    with pytest.raises(SheetError) as caught:
        read_plan(path)
    assert str(caught.value).startswith(str(path))
    for word in words:
        assert word in caught.value.message


def test_two_creations_of_one_name_are_refused() -> None:
    plan = a_plan()
    plan["accounts"].append({**plan["accounts"][1], "name": "BOT 0", "rows": [9]})
    with pytest.raises(SheetError, match=r"accounts\[3\]\.name: the account BOT 0 appears twice"):
        load_plan(orjson.dumps(plan), "plan.json")


# --- older versions


@pytest.mark.parametrize("as_written", [True, False])
def test_a_plan_file_of_version_2_is_read(as_written: bool, tmp_path: Path) -> None:
    """It has all but the note."""
    path, older = tmp_path / "plan.json", tmp_path / "older.json"
    desired_states = [wanted(2, "Roby01", Action.UPDATE, values=("Robbie",)), wanted(3, "bot 0", Action.CREATE)]
    path.write_bytes(written(planned(desired_states, (account(),)), known((account(),))))
    text = path.read_text(encoding="utf-8").replace('"version": 3', '"version": 2').replace('  "note": "",\n', "")
    older.write_text(text if as_written else json.dumps(json.loads(text), indent=1), encoding="utf-8")
    assert "note" not in json.loads(older.read_bytes())
    loaded = read_plan(path)
    assert (read_plan(older).head, read_plan(older).expected) == (loaded.head, loaded.expected)


def test_a_plan_file_of_version_1_is_read(tmp_path: Path) -> None:
    loaded = read_plan(FIXTURE)
    found = json.loads(FIXTURE.read_bytes())
    assert (found["version"], loaded.head.version, loaded.new_groups) == (1, 3, ())
    assert [each.desired.account_id for each in loaded.expected] == [each["id"] for each in found["accounts"]]
    assert {each.desired.action for each in loaded.expected} == {Action.UPDATE}
    first = loaded.expected[0]
    assert (first.desired.rows, first.desired.values) == ((2, 3), ("Alpha",))
    assert first.before == Account(
        found["accounts"][0]["id"], "robot-0001", ("Robot 1",), tuple(found["accounts"][0]["before"]["group_ids"])
    )
    edited = tmp_path / "edited.json"  # laid out in another way, so that it is read as a whole
    edited.write_text(json.dumps(found, indent=4), encoding="utf-8")
    assert (read_plan(edited).head, read_plan(edited).expected) == (loaded.head, loaded.expected)
    assert read_plan_input(FIXTURE).expected == loaded.expected


@pytest.mark.parametrize("as_written", [True, False])
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"rows":[2,3],', '"rows":[2,3],"action":"delete",', "accounts[0]"),
        ('"rows":[2,3],', '"rows":[2,4],', "accounts[1].rows"),
        ('"before":{', '"before":{"last_login":"",', "accounts[0]"),
        ('"counts": {', '"new_groups":[],"counts": {', "new_groups"),
        ('"counts": {', '"note":"","counts": {', "note"),
        ('"changing":5', '"changing":"5"', "counts.changing"),
        ('"counts": {', '"counts": {"created":5,', "counts.created"),
        ('"counts": {', '"counts": {"deleting":5,', "counts"),
        ('"version": 1', '"version": 2', "counts.creating"),
        ('"version": 1', '"version": true', "version"),
    ],
)
def test_a_file_of_version_1_has_nothing_of_newer_versions(
    tmp_path: Path, as_written: bool, old: str, new: str, words: str
) -> None:
    text = FIXTURE.read_text(encoding="utf-8").replace(old, new, 1)
    assert new in text
    path = tmp_path / "plan.json"
    path.write_text(text if as_written else json.dumps(json.loads(text), indent=1), encoding="utf-8")
    with pytest.raises(SheetError) as caught:
        read_plan(path)
    assert words in caught.value.message
