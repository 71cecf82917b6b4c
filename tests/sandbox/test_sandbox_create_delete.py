"""Creating and deleting robot accounts, over real sockets; the faults of all creations and deletions."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from bulkid.sandbox.options import FAULT_KINDS, Faults
from tests.support.sandbox_host import set_faults
from tests.support.sandbox_talk import Got, Talk, Talking

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
ACCOUNTS = f"api/RobotAccount/{ORG}"

GROUP_ID = "5c1a7f0e-2f6b-4c3d-9a53-0d3a6f1f7b21"

APPLIED = {"reset_after", "error_500_after", "slow", "truncated"}
"""The faults under which a change is made all the same."""


def names(talk: Talk) -> set[str]:
    return {account.name for account in talk.sandbox.state.accounts.values()}


def all_names(talk: Talk) -> set[str]:
    return names(talk) | {group.name for group in talk.sandbox.state.groups.values()}


# --- creating


async def test_a_created_account_is_answered_as_it_is_read_from_then_on(talk: Talk) -> None:
    got = await talk.create("fresh", displayName="Fresh", groupIDsToAdd=["ALUMNI-02"])
    assert got.status == 201
    assert got.json == {
        "id": got.json["id"],
        "name": "fresh",
        "displayName": "Fresh",
        "creationTime": "2023-11-14T22:13:20.0000000Z",  # the sandbox's clock stands still
        "lastLoginTime": None,
        "groupIds": ["alumni-02"],
    }
    assert uuid.UUID(got.json["id"]).version == 4
    assert (await talk.get(f"{ACCOUNTS}/{got.json['id']}")).json == got.json
    listed = (await talk.get(f"{ACCOUNTS}?top=100")).json
    assert (listed["totalCount"], listed["results"][-1]) == (61, got.json)
    assert (await talk.get(f"{ACCOUNTS}?searchTerm=FRESH")).json["results"] == [got.json]
    members = (await talk.get(f"api/Group/{ORG}/alumni-02")).json["members"]
    assert [one["identifier"] for one in members] == [got.json["id"]]
    everyone = (await talk.get(f"api/Group/{ORG}/{talk.sandbox.state.everyone.id}/Members?top=100")).json["results"]
    assert everyone[-1]["identifier"] == got.json["id"]
    entry = next(entry for entry in talk.sandbox.log if entry.method == "POST")
    assert (entry.applied, entry.account, entry.named) == (True, "", ("fresh",))


async def test_a_created_account_can_be_changed_like_any_other(talk: Talk) -> None:
    created = (await talk.create("fresh")).json
    assert (created["displayName"], created["groupIds"]) == (None, [])
    changed = await talk.put(created["id"], displayName="New", groupIDsToAdd=["gryff-01"])
    assert (changed.json["displayName"], changed.json["groupIds"]) == ("New", ["gryff-01"])


async def test_ids_follow_from_the_seed_and_the_number_of_creations_and_none_comes_again(talking: Talking) -> None:
    async def ids(seed: int) -> list[str]:
        async with talking(accounts=1, seed=seed) as talk:
            made = [(await talk.create(name)).json["id"] for name in ("one", "two")]
            await talk.delete(made[1])
            return [*made, (await talk.create("two")).json["id"]]

    first = await ids(1)
    assert first == await ids(1)
    assert len({*first, *await ids(2)}) == 6


async def test_a_name_is_taken_in_any_case_until_its_account_is_deleted(talk: Talk) -> None:
    created = (await talk.create("Straße")).json
    for name in ("Straße", "STRASSE", "ROBY"):
        got = await talk.create(name, displayName="Another")
        assert got.status == 409
        assert got.json == {
            "message": f"A robot account '{name}' already exists.",
            "errorCode": 1001,
            "traceId": got.json["traceId"],
        }
        assert talk.sandbox.log[-1].applied is False
    assert (await talk.delete(created["id"])).status == 204
    assert (await talk.create("STRASSE")).status == 201


async def test_a_name_that_is_taken_is_answered_400_when_told_so(talking: Talking) -> None:
    async with talking(taken_name="400") as talk:
        got = await talk.create("ROBY")
        (reason,) = got.json["result"]["errors"]
        assert (got.status, reason["description"]) == (400, "A robot account 'ROBY' already exists.")


async def test_an_unknown_group_refuses_a_creation_as_a_whole(talk: Talk) -> None:
    got = await talk.create("fresh", groupIDsToAdd=["alumni-02", "nope"])
    (reason,) = got.json["result"]["errors"]
    assert (got.status, reason["description"]) == (400, "Group 'nope' does not exist.")
    assert "fresh" not in names(talk)


async def test_every_account_is_in_everyone_whether_a_creation_says_so_or_not(talking: Talking) -> None:
    async with talking(list_everyone=True) as talk:
        everyone = talk.sandbox.state.everyone.id
        assert (await talk.create("one")).json["groupIds"] == [everyone]
        assert (await talk.create("two", groupIDsToAdd=[everyone])).json["groupIds"] == [everyone]


@pytest.mark.parametrize("told", ["told", "null_in_list", "null"])
async def test_a_creation_tells_groups_as_a_look_up_does(talking: Talking, told: str) -> None:
    async with talking(group_ids=told) as talk:
        got = await talk.create("fresh", groupIDsToAdd=["alumni-02"])
        assert got.json["groupIds"] == (None if told == "null" else ["alumni-02"])


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"name": None}, "Name"),
        ({"name": " \t"}, "Name"),
        ({"name": "x" * 257}, "Name"),
        ({"name": 7}, "$.name"),
        ({"displayName": "x" * 257}, "DisplayName"),
        ({"displayName": ["x"]}, "$.displayName"),
        ({"groupIDsToAdd": "alumni-02"}, "$.groupIDsToAdd"),
        ({"partitionGlobalId": None}, "PartitionGlobalId"),
    ],
)
async def test_a_creation_of_the_wrong_form_names_the_field(talk: Talk, fields: dict[str, Any], at: str) -> None:
    before = names(talk)
    got = await talk.create(**({"name": "fresh"} | fields))
    assert (got.status, list(got.json["errors"])) == (400, [at])
    assert names(talk) == before


async def test_the_longest_name_is_taken(talk: Talk) -> None:
    assert (await talk.create("x" * 256)).status == 201


# --- deleting


async def test_a_bulk_delete_removes_accounts_from_lists_groups_and_members(talk: Talk) -> None:
    state = talk.sandbox.state
    users = state.group_named("Automation Users")
    one, other = state.members(users)[:2]
    got = await talk.delete(one.id.upper(), "88-uv", one.id)
    assert (got.status, got.raw, got.headers.get("Content-Type")) == (204, b"", None)
    for account_id in (one.id, "88-uv"):
        assert (await talk.get(f"{ACCOUNTS}/{account_id}")).status == 404
        assert (await talk.put(account_id, displayName="x")).status == 404
    listed = (await talk.get(f"{ACCOUNTS}?top=100&sortBy=name")).json
    assert listed["totalCount"] == len(listed["results"]) == 58
    assert (await talk.get(f"{ACCOUNTS}?searchTerm={one.name}")).json["totalCount"] == 0
    for group in (users, state.everyone):
        members = (await talk.get(f"api/Group/{ORG}/{group.id}/Members?top=100")).json["results"]
        assert one.id not in {member["identifier"] for member in members}
        assert other.id in {member["identifier"] for member in members}
    assert (await talk.get(f"api/Group/{ORG}/gryff-01")).json["members"] == []


async def test_one_account_can_be_deleted_once_by_its_address(talk: Talk) -> None:
    got = await talk.ask("DELETE", f"{ACCOUNTS}/88-UV")
    assert (got.status, got.raw) == (204, b"")
    entry = talk.sandbox.log[-1]
    assert (entry.account, entry.applied, entry.named) == ("88-UV", True, ())
    again = await talk.ask("DELETE", f"{ACCOUNTS}/88-uv")
    assert (again.status, again.json["message"]) == (404, "Robot account '88-uv' was not found.")


async def test_one_unknown_id_refuses_a_bulk_delete_and_is_not_named(talk: Talk) -> None:
    got = await talk.delete("88-uv", "nobody")
    assert (got.status, got.json["errorCode"]) == (404, 1002)
    assert b"nobody" not in got.raw
    assert b"88-uv" not in got.raw
    assert "roby" in names(talk)
    assert (talk.sandbox.log[-1].applied, talk.sandbox.log[-1].named) == (False, ("88-uv", "nobody"))


async def test_an_unknown_id_is_passed_over_when_told_so(talking: Talking) -> None:
    async with talking(unknown_deletion="ignore") as talk:
        assert (await talk.delete("88-uv", "nobody")).status == 204
        assert "roby" not in names(talk)
        assert (await talk.delete("nobody")).status == 204


async def test_a_bulk_delete_has_a_largest_size(talking: Talking) -> None:
    async with talking(accounts=250) as talk:
        ids = [account.id for account in talk.sandbox.state.listing()]
        got = await talk.delete(*ids[:101])
        assert (got.status, list(got.json["errors"])) == (400, ["RobotAccountIDs"])
        assert "'100'" in got.json["errors"]["RobotAccountIDs"][0]
        assert len(names(talk)) == 250
        assert (await talk.delete(*ids[:100])).status == 204
        assert len(names(talk)) == 150
    async with talking(accounts=250, max_deletions=0) as talk:
        assert (await talk.delete(*ids)).status == 204
        assert (await talk.get(ACCOUNTS)).json == {"totalCount": 0, "results": []}


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, "RobotAccountIDs"),
        ({"robotAccountIDs": None}, "RobotAccountIDs"),
        ({"robotAccountIDs": []}, "RobotAccountIDs"),
        ({"robotAccountIDs": "88-uv"}, "$.robotAccountIDs"),
        ({"robotAccountIDs": ["88-uv", 7]}, "$.robotAccountIDs[1]"),
        (["88-uv"], "$"),
    ],
)
async def test_a_bulk_delete_of_the_wrong_form_deletes_nothing(talk: Talk, body: Any, at: str) -> None:
    got = await talk.ask("DELETE", ACCOUNTS, json=body)
    assert (got.status, list(got.json["errors"])) == (400, [at])
    assert "roby" in names(talk)


async def test_a_bulk_delete_without_a_body_deletes_nothing(talk: Talk) -> None:
    assert (await talk.ask("DELETE", ACCOUNTS)).status == 415
    headers = {"Content-Type": "application/json"}
    assert (await talk.ask("DELETE", ACCOUNTS, headers=headers)).status == 400
    assert len(names(talk)) == 60


async def test_accounts_of_another_organisation_are_not_deleted(talk: Talk) -> None:
    other = "api/RobotAccount/11111111-2222-4333-8444-555555555555"
    for path, body in ((other, {"robotAccountIDs": ["88-uv"]}), (f"{other}/88-uv", None)):
        assert (await talk.ask("DELETE", path, json=body)).status == 403
    assert "roby" in names(talk)


@pytest.mark.parametrize(("option", "status"), [("poisoned", 400), ("unauthorized", 401), ("forbidden", 403)])
async def test_a_poisoned_account_refuses_its_deletion_and_every_bulk_delete_that_names_it(
    talking: Talking, option: str, status: int
) -> None:
    async with talking(**{option: ("roby",)}) as talk:
        other = talk.sandbox.state.account_named("robot-0001").id
        got = await talk.delete(other, "88-uv")
        assert (got.status, b"roby" in got.raw, b"88-uv" in got.raw) == (status, False, False)
        own = await talk.ask("DELETE", f"{ACCOUNTS}/88-uv")
        assert (own.status, own.json["error"]["details"]) == (status, "Robot account 'roby' is locked.")
        assert {"roby", "robot-0001"} <= names(talk)
        assert (await talk.delete(other)).status == 204


async def test_pages_shift_when_accounts_come_and_go_between_them(talk: Talk) -> None:
    async def page(skip: int) -> list[str]:
        got = (await talk.get(f"{ACCOUNTS}?top=20&skip={skip}&sortBy=name")).json
        assert got["totalCount"] == len(names(talk))
        return [one["name"] for one in got["results"]]

    before = sorted(names(talk), key=str.casefold)
    assert await page(0) == before[:20]
    await talk.delete(talk.sandbox.state.account_named(before[3]).id)
    assert await page(20) == before[21:41], "one account is on no page"
    await talk.create("  first of all")
    await talk.create("\N{HAIR SPACE}last of all")
    assert await page(40) == before[40:60]


# --- faults


CALLS: dict[str, tuple[str, Callable[[Talk], Awaitable[Got]], str]] = {
    "create": ("fresh", lambda talk: talk.create("fresh"), ""),
    "delete": ("", lambda talk: talk.delete("88-uv"), "roby"),
    "delete one": ("", lambda talk: talk.ask("DELETE", f"{ACCOUNTS}/88-uv"), "roby"),
    "create group": ("Night", lambda talk: talk.create_group(GROUP_ID, "Night"), ""),
    "delete groups": ("", lambda talk: talk.delete_groups("gryff-01"), "gryff-01"),
    "delete one group": ("", lambda talk: talk.ask("DELETE", f"api/Group/{ORG}/gryff-01"), "gryff-01"),
}
"""Each call: the name that it makes, the call itself, the name that it takes away."""

STATUSES = {
    "throttle": 429,
    "throttle_silent": 429,
    "error_500": 500,
    "error_500_after": 500,
    "unavailable_503": 503,
    "html": 200,
    "expired": 401,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", FAULT_KINDS)
async def test_every_fault_strikes_creations_and_deletions(talking: Talking, fault: str, call: str) -> None:
    made, asking, gone = CALLS[call]
    async with talking(accounts=1, faults=Faults(**{fault: 1.0})) as talk:  # type: ignore[arg-type]  # kinds are numbers
        talk.token = (await talk.fetch_token()).json["access_token"]
        before = all_names(talk)
        if fault in ("reset_before", "reset_after"):
            with pytest.raises(aiohttp.ClientConnectionError):
                await asking(talk)
        elif fault == "truncated":
            with pytest.raises(aiohttp.ClientPayloadError):
                await asking(talk)
        else:
            assert (await asking(talk)).status == STATUSES.get(fault, 201 if made else 204)
        assert talk.sandbox.log[-1].applied is (fault in APPLIED)
        assert all_names(talk) == ((before | {made}) - {gone} - {""} if fault in APPLIED else before)
        assert talk.sandbox.injected == {fault: 1}


async def test_the_fault_that_a_creation_or_a_bulk_delete_meets_does_not_depend_on_the_others(
    talking: Talking,
) -> None:
    async def fates(order: list[int]) -> dict[tuple[str, ...], str]:
        async with talking(accounts=60, faults=Faults(html=0.25, error_500=0.25)) as talk:
            ids = [account.id for account in talk.sandbox.state.listing()]
            for number in order:
                await talk.create(f"fresh-{number}")
                await talk.delete(*ids[number : number + 2])
            return {entry.named: entry.fault for entry in talk.sandbox.log}

    first = await fates([*range(0, 20, 2)])
    assert await fates([*range(18, -1, -2)]) == first
    assert set(first.values()) == {"", "html", "error_500"}


async def test_a_creation_whose_answer_was_lost_is_refused_when_it_comes_again(talking: Talking) -> None:
    async with talking(faults=Faults(reset_after=1.0)) as talk:
        with pytest.raises(aiohttp.ClientConnectionError):
            await talk.create("fresh")
        set_faults(talk.sandbox, Faults())
        assert (await talk.create("fresh")).status == 409
        assert (await talk.get(f"{ACCOUNTS}?searchTerm=fresh")).json["totalCount"] == 1


# --- speed


async def test_a_creation_looks_at_no_other_account(talk: Talk) -> None:
    class Counting(dict[str, Any]):
        looks = 0

        def __iter__(self) -> Any:
            Counting.looks += 1
            return super().__iter__()

        def values(self) -> Any:
            Counting.looks += 1
            return super().values()

    talk.sandbox.state.accounts = Counting(talk.sandbox.state.accounts)
    Counting.looks = 0
    for number in range(3):
        assert (await talk.create(f"fresh-{number}", groupIDsToAdd=["alumni-02"])).status == 201
        assert (await talk.create(f"FRESH-{number}")).status == 409
    assert Counting.looks == 0
    assert (await talk.get(ACCOUNTS)).json["totalCount"] == 63
    assert Counting.looks == 1
