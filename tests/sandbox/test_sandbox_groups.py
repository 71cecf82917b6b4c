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


# --- servers that differ


@pytest.mark.parametrize(("style", "types"), [("no", {"builtIn", "custom"}), ("number", {0, 1}), ("text", {"0", "1"})])
async def test_types_may_be_numbers(talking: Talking, style: str, types: set[object]) -> None:
    async with talking(numeric_types=style) as talk:
        got = (await talk.get(f"api/Group/{ORG}")).json
        assert {group["type"] for group in got} == types
        everyone = next(group for group in got if group["name"] == "Everyone")
        assert everyone["type"] in ("builtIn", 0, "0")
        assert (await talk.get(f"api/Group/{ORG}/{everyone['id']}")).json["type"] == everyone["type"]


async def test_members_may_always_be_empty_and_are_told_by_a_call_of_their_own(talking: Talking) -> None:
    async with talking(empty_members=True) as talk:
        everyone = talk.sandbox.state.everyone.id
        assert all(group["members"] == [] for group in (await talk.get(f"api/Group/{ORG}")).json)
        assert (await talk.get(f"api/Group/{ORG}/{everyone}")).json["members"] == []
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
