"""A field and a kind of account that the package does not have, added from outside: from the sheet to the undo.

Nothing here touches the package. What a test adds is one ``Field``, or one ``Resource``.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bulkid import runs
from bulkid.resources import DISPLAY_NAME, ROBOT_ACCOUNTS, Field, Resource, current, using
from tests.support.identity_server import Answer, Identity, account, context, options, report, sheet


@dataclass(frozen=True, slots=True)
class _Department(Field):
    """A number on the server, in an object; a text in a sheet. Upper and lower case do not differ."""

    def check(self, text: str) -> str:
        return "" if text[1:].isdecimal() else f"{text} is no department: enter a letter and a number, such as D12."

    def normalize(self, value: str) -> str:
        return value.upper()

    def encode(self, value: str) -> object:
        return {"letter": value[:1].upper(), "number": int(value[1:] or 0)} if value else None

    def decode(self, value: object) -> str:
        if value is None:
            return ""
        if not isinstance(value, dict):
            raise TypeError("a department is an object")
        return f"{value['letter']}{value['number']}"


DESCRIPTION = Field("description", "description", "description", ("description", "remark"))
DEPARTMENT = _Department("department", "department", "department", ("department", "cost unit"))
EXTENDED = replace(ROBOT_ACCOUNTS, fields=(DISPLAY_NAME, DESCRIPTION, DEPARTMENT))
USERS = Resource(
    singular="user",
    plural="users",
    endpoint="api/User",
    scope="PM.User",
    id_column="user_id",
    id_aliases=("id", "user id"),
    name_aliases=("name", "login"),
    fields=(Field("email", "emailAddress", "e-mail address", ("email", "e mail")),),
)


class Server(Identity):
    """Takes the properties of a resource; like the real one it clears those that a PUT leaves out."""

    def __init__(self, resource: Resource, accounts: Sequence[dict[str, Any]]) -> None:
        super().__init__(accounts)
        self.resource = resource
        self.bodies: list[dict[str, Any]] = []

    def apply(self, account_id: str, body: dict[str, Any]) -> None:
        self.bodies.append(body)
        super().apply(account_id, body)
        for field in self.resource.fields:
            self.accounts[account_id][field.property] = body.get(field.property)


@pytest.fixture
def extended() -> Iterator[Server]:
    """Robot accounts with two fields more; a01 has values already."""
    accounts = [account(f"a{number:02}") for number in range(1, 5)]
    accounts[0] |= {"description": "Pays bills", "department": {"letter": "D", "number": 7}}
    with using(EXTENDED):
        yield Server(EXTENDED, accounts)


async def test_a_field_goes_from_the_sheet_to_the_server_and_back(extended: Server, tmp_path: Path) -> None:
    path = sheet(
        tmp_path,
        ["Robot", "Remark", "Cost Unit", "groups to add"],
        [
            ["robot-a01", "!clear", "d7", ""],  # the department is as it is, but for its case
            ["robot-a02", "Reads mail", "e12", "Fin"],
            ["robot-a03", "", "", "Fin"],
        ],
    )
    before = json.dumps(extended.accounts, sort_keys=True)
    async with extended.served():
        plan = await runs.plan(path, extended.target, options(tmp_path), context(tmp_path))
        assert plan.summary["planned_puts"] == 3
        result = await runs.run(path, extended.target, options(tmp_path, via="accounts"), context(tmp_path))
        assert result.exit_code == 0, report(result)
        assert [row["changes"] for row in report(result)] == [
            "description: Pays bills -> (none)",
            "description: (none) -> Reads mail; department: (none) -> e12; + Fin",
            "groups: + Fin",  # a spreadsheet would run a cell that begins with a plus
        ]
        first, second = extended.accounts["a01"], extended.accounts["a02"]
        assert (first["description"], first["department"]) == ("", {"letter": "D", "number": 7})
        assert (second["description"], second["department"]) == ("Reads mail", {"letter": "E", "number": 12})
        assert second["displayName"] == "Old"  # a PUT carries what it does not change
        again = await runs.run(path, extended.target, options(tmp_path), context(tmp_path))
        assert again.summary["unchanged"] == 3
        undone = await runs.undo(result.summary["run_id"], extended.target, options(tmp_path), context(tmp_path))
        assert (undone.exit_code, undone.summary["updated"]) == (0, 3)
    now = {key: {**each, "description": each.get("description") or None} for key, each in extended.accounts.items()}
    then = {key: {"description": None, "department": None, **each} for key, each in json.loads(before).items()}
    assert {key: {"department": None, **each} for key, each in now.items()} == then


async def test_a_value_that_the_field_refuses_is_told_with_its_place(extended: Server, tmp_path: Path) -> None:
    path = sheet(tmp_path, ["name", "department"], [["robot-a01", "Sales"]])
    async with extended.served():
        result = await runs.run(path, extended.target, options(tmp_path), context(tmp_path))
    (row,) = report(result)
    assert (row["status"], row["error_code"]) == ("invalid", "bad_department")
    assert "Sales is no department" in row["error"]
    assert extended.bodies == []


async def test_rows_that_contradict_each_other_over_a_field_are_refused(extended: Server, tmp_path: Path) -> None:
    rows = [["robot-a01", "d1"], ["robot-a01", "D1"], ["robot-a02", "d1"], ["robot-a02", "d2"]]
    path = sheet(tmp_path, ["name", "department"], rows)
    async with extended.served():
        result = await runs.run(path, extended.target, options(tmp_path, skip_invalid=True), context(tmp_path))
    assert [row["status"] for row in report(result)] == ["updated", "updated", "invalid", "invalid"]
    assert 'asks for the department "d2", but row 4 for another one' in report(result)[3]["error"]


async def test_a_value_that_the_server_does_not_take_over_fails_its_account(extended: Server, tmp_path: Path) -> None:
    def forget(account_id: str, body: dict[str, Any]) -> Answer:
        extended.apply(account_id, {**body, "description": "as it was"})
        return 200, extended.accounts[account_id]

    extended.on_put = forget  # type: ignore[method-assign]
    path = sheet(tmp_path, ["name", "description"], [["robot-a01", "New"]])
    async with extended.served():
        result = await runs.run(path, extended.target, options(tmp_path), context(tmp_path))
    (row,) = report(result)
    assert (row["status"], row["error_code"]) == ("failed", "not_applied")
    assert 'description is "as it was", not "New"' in row["error"]


async def test_an_account_whose_field_another_user_changed_is_not_undone(extended: Server, tmp_path: Path) -> None:
    path = sheet(tmp_path, ["name", "description"], [["robot-a01", "New"]])
    async with extended.served():
        result = await runs.run(path, extended.target, options(tmp_path), context(tmp_path))
        extended.accounts["a01"]["description"] = "Another's"
        undone = await runs.undo(result.summary["run_id"], extended.target, options(tmp_path), context(tmp_path))
    assert 'description: expected "New", found "Another\'s"' in report(undone)[0]["error"]
    assert extended.accounts["a01"]["description"] == "Another's"


async def test_a_plan_file_holds_the_field(extended: Server, tmp_path: Path) -> None:
    path = sheet(tmp_path, ["name", "description"], [["robot-a01", "New"], ["robot-a02", "Other"]])
    async with extended.served():
        plan = await runs.plan(path, extended.target, options(tmp_path), context(tmp_path))
        assert plan.preview is not None
        runs.save_plan(plan.preview, tmp_path / "plan.json")
        first = json.loads((tmp_path / "plan.json").read_bytes())["accounts"][0]
        assert (first["description"], first["before"]["description"]) == ("New", "Pays bills")
        assert (first["display_name"], first["department"]) == (None, None)
        result = await runs.run_plan(tmp_path / "plan.json", extended.target, options(tmp_path), context(tmp_path))
        assert (result.exit_code, result.summary["updated"]) == (0, 2), result
    assert [extended.accounts[key]["description"] for key in ("a01", "a02")] == ["New", "Other"]


@pytest.mark.parametrize("ending", ["csv", "xlsx", "jsonl"])
async def test_an_export_holds_the_field_and_runs_without_a_change(
    extended: Server, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"accounts.{ending}"
    async with extended.served():
        await runs.export(path, extended.target, context=context(tmp_path))
        if ending == "jsonl":
            first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
            assert (first["description"], first["department"]) == ("Pays bills", "D7")
            return
        result = await runs.run(path, extended.target, options(tmp_path), context(tmp_path))
    assert (result.summary["unchanged"], extended.bodies) == (4, [])
    if ending == "csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            assert tuple(csv.DictReader(file).fieldnames or ()) == EXTENDED.export_columns


async def test_a_run_from_before_the_field_is_undone_and_leaves_the_field(tmp_path: Path) -> None:
    server = Server(EXTENDED, [account("a01")])
    path = sheet(tmp_path, ["name", "display_name"], [["robot-a01", "New"]])
    async with server.served():
        result = await runs.run(path, server.target, options(tmp_path), context(tmp_path))
        server.accounts["a01"]["description"] = "Written since"
        with using(EXTENDED):
            undone = await runs.undo(result.summary["run_id"], server.target, options(tmp_path), context(tmp_path))
    assert undone.exit_code == 0, report(undone)
    assert (server.accounts["a01"]["displayName"], server.accounts["a01"]["description"]) == ("Old", "Written since")


async def test_another_kind_of_account_has_its_own_endpoint_columns_and_words(tmp_path: Path) -> None:
    with using(USERS):
        server = Server(USERS, [{**account("u1", "anna"), "emailAddress": "anna@example.org"}])
        path = sheet(tmp_path, ["Login", "E-mail", "add groups"], [["anna", "a@example.org", "Fin"], ["ben", "b", ""]])
        async with server.served():
            result = await runs.run(path, server.target, options(tmp_path, skip_invalid=True), context(tmp_path))
            rows = report(result)
            assert rows[0]["changes"] == "e-mail address: anna@example.org -> a@example.org; + Fin"
            assert "No user is named" in rows[1]["error"]
            await runs.export(tmp_path / "users.csv", server.target, context=context(tmp_path))
    assert {line.split(" ")[1].partition("/")[0].partition("?")[0] for line in server.asked} == {"User", "Group"}
    assert server.bodies[0]["emailAddress"] == "a@example.org"
    assert "displayName" not in server.bodies[0]
    assert (tmp_path / "users.csv").read_text(encoding="utf-8-sig").startswith("user_id,name,email,groups,")
    assert USERS.requested_scopes == ("PM.User PM.Group", "PM.User PM.Group.Read", "PM.User")
    assert current() is ROBOT_ACCOUNTS


def test_the_resource_that_was_current_is_so_again_after_an_error() -> None:
    with pytest.raises(RuntimeError), using(USERS):
        raise RuntimeError
    assert current() is ROBOT_ACCOUNTS
