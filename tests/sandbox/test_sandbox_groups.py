"""The calls on groups, over real sockets."""

import io
import json
from collections import Counter
from typing import Any

import pytest

from bulkid.model import QuotaRule
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.server import Sandbox
from tests.support.sandbox_talk import Talk, Talking

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


async def test_groups_come_as_a_plain_list_without_members(talk: Talk) -> None:
    got = (await talk.get(f"api/Group/{ORG}")).json
    assert len(got) == 24
    assert all(group["members"] is None for group in got)
    types = {group["name"]: group["type"] for group in got}
    assert {name for name, kind in types.items() if kind == "builtIn"} == {
        "Everyone",
        "Administrators",
        "Automation Users",
    }
    assert {"Finance", "Trainees", "HR", "Sales, EU", "gryff-01", "alumni-02"} <= set(types)


async def test_one_group_lists_its_members_as_robot_users(talk: Talk) -> None:
    got = (await talk.get(f"api/Group/{ORG}/GRYFF-01")).json
    assert (got["id"], got["name"]) == ("gryff-01", "gryff-01")
    assert [(one["identifier"], one["objectType"]) for one in got["members"]] == [("88-uv", "DirectoryRobotUser")]
    everyone = (await talk.get(f"api/Group/{ORG}/{talk.sandbox.state.everyone.id}")).json
    assert len(everyone["members"]) == 60


async def test_one_group_put_changes_many_accounts_and_does_not_list_them(talk: Talk) -> None:
    state = talk.sandbox.state
    joining = [state.account_named(f"robot-{number:04d}").id for number in range(1, 6)]
    got = await talk.put_group("alumni-02", name="alumni-02", directoryUserIDsToAdd=[joining[0].upper(), *joining[1:]])
    assert (got.status, got.json["id"], got.json["members"]) == (200, "alumni-02", None)
    assert {account.id for account in state.members(state.group("alumni-02"))} == set(joining)
    again = await talk.put_group(
        "alumni-02", name="alumni-02", directoryUserIDsToAdd=joining[:1], directoryUserIDsToRemove=[joining[4], "88-uv"]
    )
    assert again.status == 200
    assert {account.id for account in state.members(state.group("alumni-02"))} == set(joining[:4])
    assert talk.sandbox.log[-1].applied is True


async def test_one_bad_member_refuses_the_whole_group_put_and_is_blamed(talk: Talk) -> None:
    got = await talk.put_group("alumni-02", name="alumni-02", directoryUserIDsToAdd=["88-uv", "nobody"])
    assert got.status == 400
    assert [error["description"] for error in got.json["result"]["errors"]] == [
        "Directory user 'nobody' does not exist."
    ]
    assert talk.sandbox.state.account("88-uv").group_ids == {"gryff-01"}


async def test_a_bad_member_is_passed_over_when_told_so(talking: Talking) -> None:
    async with talking(bad_member="ignore") as talk:
        got = await talk.put_group("alumni-02", name="alumni-02", directoryUserIDsToAdd=["88-uv", "nobody"])
        assert got.status == 200
        assert talk.sandbox.state.account("88-uv").group_ids == {"gryff-01", "alumni-02"}


async def test_a_member_both_added_and_removed_is_refused(talk: Talk) -> None:
    got = await talk.put_group(
        "alumni-02", name="alumni-02", directoryUserIDsToAdd=["88-uv"], directoryUserIDsToRemove=["88-UV"]
    )
    assert got.status == 400
    assert talk.sandbox.state.account("88-uv").group_ids == {"gryff-01"}


async def test_too_many_members_in_one_put_are_too_large_when_told_so(talking: Talking) -> None:
    async with talking(max_members_per_put=2) as talk:
        ids = [account.id for account in talk.sandbox.state.listing()]
        got = await talk.put_group(
            "alumni-02", name="alumni-02", directoryUserIDsToAdd=ids[1:3], directoryUserIDsToRemove=ids[3:4]
        )
        assert (got.status, got.raw) == (413, b"")
        assert talk.sandbox.state.members(talk.sandbox.state.group("alumni-02")) == []
        assert (await talk.put_group("alumni-02", name="alumni-02", directoryUserIDsToAdd=ids[1:3])).status == 200


@pytest.mark.parametrize("name", ["88-UV", "roby"])
async def test_a_poisoned_account_refuses_its_own_put_and_every_group_put_that_names_it(
    talking: Talking, name: str
) -> None:
    async with talking(poisoned=(name,)) as talk:
        state = talk.sandbox.state
        others = [state.account_named(f"robot-{number:04d}").id for number in range(1, 4)]
        fields: dict[str, Any]
        for fields in (
            {"directoryUserIDsToAdd": [*others, "88-uv"]},
            {"directoryUserIDsToAdd": others, "directoryUserIDsToRemove": ["88-UV"]},
        ):
            got = await talk.put_group("alumni-02", name="Renamed", **fields)
            assert got.status == 400
            (reason,) = got.json["result"]["errors"]
            assert "cannot be changed" in reason["description"]
            assert "88-uv" not in reason["description"]
        assert (state.members(state.group("alumni-02")), state.group("alumni-02").name) == ([], "alumni-02")
        own = await talk.put("88-uv", displayName="New", groupIDsToAdd=["alumni-02"])
        assert (own.status, own.json["error"]["details"]) == (400, "Robot account 'roby' is locked.")
        assert (state.account("88-uv").display_name, state.account("88-uv").group_ids) == ("Roby", {"gryff-01"})
        assert (await talk.put_group("alumni-02", name="alumni-02", directoryUserIDsToAdd=others)).status == 200
        assert (await talk.put(others[0], displayName="New")).status == 200


def test_an_account_that_is_not_there_cannot_be_poisoned() -> None:
    with pytest.raises(ValueError, match="no robot account 'nobody'"):
        Sandbox(SandboxOptions(accounts=5, poisoned=("nobody",)))


async def test_the_log_tells_the_puts_of_groups_and_those_of_accounts_apart_by_their_paths(talk: Talk) -> None:
    await talk.put_group("alumni-02", name="alumni-02", directoryUserIDsToAdd=["88-uv"])
    await talk.put_group("alumni-02", name="", directoryUserIDsToAdd=["88-uv"])
    await talk.put("88-uv", displayName="New")
    by_path = Counter((entry.path, entry.status) for entry in talk.sandbox.log if entry.method == "PUT")
    assert by_path == {
        ("/identity/api/Group/alumni-02", 200): 1,
        ("/identity/api/Group/alumni-02", 400): 1,
        ("/identity/api/RobotAccount/88-uv", 200): 1,
    }


async def test_the_name_in_a_group_put_becomes_the_groups_name(talk: Talk) -> None:
    state = talk.sandbox.state
    finance = state.group_named("Finance")
    assert (await talk.put_group(finance.id, name="Finance & Tax")).json["name"] == "Finance & Tax"
    assert finance.name == "Finance & Tax"
    assert (await talk.put_group(finance.id, name="FINANCE & TAX")).json["name"] == "FINANCE & TAX"
    assert state.group_named("finance & tax") is finance


@pytest.mark.parametrize("fields", [{}, {"name": None}, {"name": " "}])
async def test_a_group_put_without_a_name_is_refused(talk: Talk, fields: dict[str, Any]) -> None:
    got = await talk.put_group("alumni-02", directoryUserIDsToAdd=["88-uv"], **fields)
    assert (got.status, list(got.json["errors"])) == (400, ["Name"])
    assert talk.sandbox.state.account("88-uv").group_ids == {"gryff-01"}


async def test_a_name_that_is_taken_and_a_built_in_name_are_refused(talk: Talk) -> None:
    state = talk.sandbox.state
    taken = await talk.put_group("alumni-02", name="FINANCE", directoryUserIDsToAdd=["88-uv"])
    assert (taken.status, "FINANCE" in taken.json["error"]["message"]) == (409, True)
    users = state.group_named("Automation Users")
    built_in = await talk.put_group(users.id, name="Users", directoryUserIDsToAdd=["88-uv"])
    assert (built_in.status, "Automation Users" in built_in.json["Message"]) == (400, True)
    assert state.account("88-uv").group_ids == {"gryff-01"}
    own = await talk.put_group(users.id, name="Automation Users", directoryUserIDsToAdd=["88-uv"])
    assert own.status == 200


async def test_everyone_keeps_its_members(talk: Talk) -> None:
    everyone = talk.sandbox.state.everyone
    assert (await talk.put_group(everyone.id, name="Everyone", directoryUserIDsToAdd=["88-uv"])).status == 200
    got = await talk.put_group(everyone.id, name="Everyone", directoryUserIDsToRemove=["88-uv"])
    assert (got.status, "Everyone" in got.json["Message"]) == (400, True)
    assert talk.sandbox.state.account("88-uv").group_ids == {"gryff-01"}


async def test_an_unknown_group_is_not_found(talk: Talk) -> None:
    for got in (await talk.get(f"api/Group/{ORG}/nope"), await talk.put_group("nope", name="nope")):
        assert (got.status, got.json["message"]) == (404, "Group 'nope' was not found.")


async def test_a_group_put_of_a_megabyte_and_more_is_taken(talk: Talk) -> None:
    body = {"partitionGlobalId": ORG, "name": "alumni-02", "directoryUserIDsToAdd": ["88-uv"] * 150_000}
    stream = io.BytesIO(json.dumps(body).encode())
    headers = {"Content-Type": "application/json"}
    got = await talk.ask("PUT", "api/Group/alumni-02", data=stream, headers=headers)
    assert got.status == 200
    assert talk.sandbox.state.account("88-uv").group_ids == {"gryff-01", "alumni-02"}


# --- creating and deleting

NEW = "5c1a7f0e-2f6b-4c3d-9a53-0d3a6f1f7b21"


async def test_a_created_group_is_answered_with_its_members_as_it_is_read_from_then_on(talk: Talk) -> None:
    robot = talk.sandbox.state.account_named("robot-0001")
    got = await talk.create_group(NEW.upper(), "Night", directoryUserMemberIDs=["88-UV", robot.id, "88-uv"])
    now = "2023-11-14T22:13:20.0000000Z"  # the sandbox's clock stands still
    assert got.status == 201
    assert {key: got.json[key] for key in ("id", "name", "type", "creationTime", "lastModificationTime")} == {
        "id": NEW,
        "name": "Night",
        "type": "custom",
        "creationTime": now,
        "lastModificationTime": now,
    }
    assert [(one["identifier"], one["objectType"]) for one in got.json["members"]] == [
        ("88-uv", "DirectoryRobotUser"),
        (robot.id, "DirectoryRobotUser"),
    ]
    assert (await talk.get(f"api/Group/{ORG}/{NEW}")).json == got.json
    assert (await talk.get(f"api/Group/{ORG}")).json[-1] == {**got.json, "members": None}
    assert (await talk.get(f"api/Group/{ORG}/{NEW}/Members")).json["totalCount"] == 2
    assert NEW in (await talk.get(f"api/RobotAccount/{ORG}/88-uv")).json["groupIds"]
    assert (await talk.put(robot.id, displayName="x", groupIDsToRemove=[NEW])).status == 200
    entry = next(entry for entry in talk.sandbox.log if entry.method == "POST")
    assert (entry.applied, entry.named) == (True, ("Night",))


async def test_a_group_may_be_created_without_members(talk: Talk) -> None:
    for number, fields in enumerate(({}, {"directoryUserMemberIDs": None}, {"directoryUserMemberIDs": []})):
        got = await talk.create_group(f"{number}{NEW[1:]}", f"Night {number}", **fields)
        assert (got.status, got.json["members"]) == (201, [])


async def test_ids_and_names_of_groups_are_taken_in_any_case_until_their_group_is_deleted(talk: Talk) -> None:
    assert (await talk.create_group(NEW, "Night")).status == 201
    other = f"6{NEW[1:]}"
    for group_id, name, said in (
        (NEW.upper(), "Day", NEW.upper()),
        (other, "NIGHT", "NIGHT"),
        (other, "finance", "finance"),
    ):
        got = await talk.create_group(group_id, name)
        assert (got.status, got.json["message"]) == (409, f"A group '{said}' already exists.")
        assert (got.json["errorCode"], talk.sandbox.log[-1].applied) == (1001, False)
    renamed = await talk.put_group(NEW, name="Dawn")
    assert renamed.status == 200
    assert (await talk.create_group(other, "night")).status == 201, "a rename frees the old name"
    assert (await talk.create_group(f"7{NEW[1:]}", "DAWN")).status == 409
    assert (await talk.delete_groups(NEW)).status == 204
    assert (await talk.create_group(NEW, "Dawn")).status == 201


async def test_a_group_that_is_taken_is_answered_400_when_told_so(talking: Talking) -> None:
    async with talking(taken_name="400") as talk:
        got = await talk.create_group(NEW, "Finance")
        (reason,) = got.json["result"]["errors"]
        assert (got.status, reason["description"]) == (400, "A group 'Finance' already exists.")


async def test_one_bad_member_refuses_the_creation_of_a_group(talking: Talking) -> None:
    async with talking(poisoned=("robot-0001",)) as talk:
        poisoned = talk.sandbox.state.account_named("robot-0001").id
        for member, said in (("nobody", "Directory user 'nobody' does not exist."), (poisoned, "cannot be changed")):
            got = await talk.create_group(NEW, "Night", directoryUserMemberIDs=["88-uv", member])
            (reason,) = got.json["result"]["errors"]
            assert (got.status, said in reason["description"]) == (400, True)
            assert (await talk.get(f"api/Group/{ORG}/{NEW}")).status == 404
        assert talk.sandbox.state.account("88-uv").group_ids == {"gryff-01"}


async def test_too_many_members_of_a_new_group_are_too_large_when_told_so(talking: Talking) -> None:
    async with talking(max_members_per_put=2) as talk:
        ids = [account.id for account in talk.sandbox.state.listing()]
        got = await talk.create_group(NEW, "Night", directoryUserMemberIDs=ids[:3])
        assert (got.status, got.raw, talk.sandbox.state.has_group_named("Night")) == (413, b"", False)
        assert (await talk.create_group(NEW, "Night", directoryUserMemberIDs=ids[:2])).status == 201


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"id": None}, "Id"),
        ({"id": " "}, "Id"),
        ({"id": "night-01"}, "$.id"),
        ({"id": 7}, "$.id"),
        ({"name": None}, "Name"),
        ({"name": " "}, "Name"),
        ({"name": "x" * 257}, "Name"),
        ({"directoryUserMemberIDs": "88-uv"}, "$.directoryUserMemberIDs"),
        ({"directoryUserMemberIDs": [7]}, "$.directoryUserMemberIDs[0]"),
        ({"partitionGlobalId": None}, "PartitionGlobalId"),
    ],
)
async def test_a_group_of_the_wrong_form_names_the_field(talk: Talk, fields: dict[str, Any], at: str) -> None:
    body = {"partitionGlobalId": ORG, "id": NEW, "name": "Night"} | fields
    got = await talk.ask("POST", "api/Group", json=body)
    assert (got.status, list(got.json["errors"])) == (400, [at])
    assert len(talk.sandbox.state.groups) == 24


async def test_deleted_groups_are_in_no_list_and_their_members_stay(talk: Talk) -> None:
    state = talk.sandbox.state
    finance, trainees = state.group_named("Finance"), state.group_named("Trainees")
    members = state.members(finance)
    assert members
    got = await talk.delete_groups(finance.id.upper(), trainees.id, finance.id)
    assert (got.status, got.raw, talk.sandbox.log[-1].applied) == (204, b"", True)
    listed = (await talk.get(f"api/Group/{ORG}")).json
    assert len(listed) == 22
    assert not {finance.id, trainees.id} & {group["id"] for group in listed}
    for path in (finance.id, f"{finance.id}/Members"):
        assert (await talk.get(f"api/Group/{ORG}/{path}")).status == 404
    page = (await talk.get(f"api/RobotAccount/{ORG}?top=100")).json
    assert page["totalCount"] == 60
    assert not {finance.id, trainees.id} & {each for account in page["results"] for each in account["groupIds"]}
    assert (await talk.put(members[0].id, displayName="x", groupIDsToAdd=[finance.id])).status == 400


async def test_one_group_can_be_deleted_once_by_its_address(talk: Talk) -> None:
    assert (await talk.ask("DELETE", f"api/Group/{ORG}/GRYFF-01")).status == 204
    assert talk.sandbox.state.account("88-uv").group_ids == set()
    again = await talk.ask("DELETE", f"api/Group/{ORG}/gryff-01")
    assert (again.status, again.json["message"]) == (404, "Group 'gryff-01' was not found.")


async def test_a_built_in_group_and_an_unknown_id_refuse_the_deletion_as_a_whole(talk: Talk) -> None:
    users = talk.sandbox.state.group_named("Automation Users").id
    for bad, status in ((users, 400), (talk.sandbox.state.everyone.id, 400), ("nope", 404)):
        assert (await talk.delete_groups("gryff-01", bad)).status == status
        assert (await talk.ask("DELETE", f"api/Group/{ORG}/{bad}")).status == status
        assert talk.sandbox.log[-1].applied is False
    for body in ({}, {"groupIDs": []}, {"groupIDs": "gryff-01"}, {"groupIDs": ["gryff-01"] * 101}):
        assert (await talk.ask("DELETE", f"api/Group/{ORG}", json=body)).status == 400
    assert len(talk.sandbox.state.groups) == 24
    assert talk.sandbox.state.account("88-uv").group_ids == {"gryff-01"}


# --- servers that differ


@pytest.mark.parametrize(("style", "types"), [("no", {"builtIn", "custom"}), ("number", {0, 1}), ("text", {"0", "1"})])
async def test_types_may_be_numbers(talking: Talking, style: str, types: set[object]) -> None:
    async with talking(numeric_types=style) as talk:
        got = (await talk.get(f"api/Group/{ORG}")).json
        assert {group["type"] for group in got} == types
        created = await talk.create_group(NEW, "Night")
        assert created.json["type"] in ("custom", 1, "1")
        assert created.json["type"] in types
        everyone = next(group for group in got if group["name"] == "Everyone")
        assert everyone["type"] in ("builtIn", 0, "0")
        assert (await talk.get(f"api/Group/{ORG}/{everyone['id']}")).json["type"] == everyone["type"]


async def test_members_may_always_be_empty_and_are_told_by_a_call_of_their_own(talking: Talking) -> None:
    async with talking(empty_members=True) as talk:
        everyone = talk.sandbox.state.everyone.id
        assert all(group["members"] == [] for group in (await talk.get(f"api/Group/{ORG}")).json)
        assert (await talk.get(f"api/Group/{ORG}/{everyone}")).json["members"] == []
        created = await talk.create_group(NEW, "Night", directoryUserMemberIDs=["88-uv"])
        assert (created.status, created.json["members"]) == (201, [])
        assert (await talk.get(f"api/Group/{ORG}/{NEW}/Members")).json["totalCount"] == 1
        first = (await talk.get(f"api/Group/{ORG}/{everyone}/Members")).json
        assert (first["totalCount"], len(first["results"])) == (60, 10)
        rest = (await talk.get(f"api/Group/{ORG}/{everyone}/members?top=1000&skip=10")).json["results"]
        assert len({one["identifier"] for one in (*first["results"], *rest)}) == 60
        assert (await talk.get(f"api/Group/{ORG}/{everyone}/Members?top=1001")).status == 400
        assert (await talk.get(f"api/Group/{ORG}/nobody/Members")).status == 404
        assert b"<html" in (await talk.get(f"api/Group/{ORG}/{everyone}/Others")).raw


async def test_built_in_groups_may_refuse_every_put(talking: Talking) -> None:
    async with talking(built_in_refuses=True) as talk:
        users = talk.sandbox.state.group_named("Automation Users")
        for fields in ({}, {"directoryUserIDsToAdd": ["88-uv"]}):
            got = await talk.put_group(users.id, name=users.name, **fields)
            assert (got.status, talk.sandbox.log[-1].applied) == (400, False)
        assert (await talk.put_group("alumni-02", name="alumni-02", directoryUserIDsToAdd=["88-uv"])).status == 200
        assert (await talk.put("88-uv", displayName="x", groupIDsToAdd=[users.id])).status == 200


@pytest.mark.parametrize("style", ["three", "one", "structured"])
async def test_headers_may_say_what_is_left_of_the_limits(talking: Talking, style: str) -> None:
    async with talking(rate_headers=style, limits=(QuotaRule("PUT", 3, 60.0),)) as talk:
        told = []
        for _ in range(4):
            headers = (await talk.put("88-uv", displayName="x")).headers
            told.append(headers.get("RateLimit-Remaining") or headers["RateLimit"])
            assert "3" in headers["RateLimit-Policy"]
        expected = {
            "three": ["2", "1", "0", "0"],
            "one": [f"limit=3, remaining={left}, reset=60" for left in (2, 1, 0, 0)],
            "structured": [f'"default";r={left};t=60' for left in (2, 1, 0, 0)],
        }
        assert told == expected[style]
        assert "RateLimit-Remaining" not in (await talk.get(f"api/Group/{ORG}")).headers, "no rule counts a GET"
