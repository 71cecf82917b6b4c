"""The calls on robot accounts, over real sockets."""

from typing import Any

import pytest

from tests.support.sandbox_talk import Talk, Talking

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


async def test_the_vendors_example_is_answered_as_the_guide_prints_it(talk: Talk) -> None:
    got = await talk.put("88-uv", displayName="Roby", groupIDsToAdd=["alumni-02"], groupIDsToRemove=[])
    assert got.status == 200
    assert got.headers["Content-Type"] == "application/json; charset=utf-8"
    assert got.json == {
        "id": "88-uv",
        "name": "roby",
        "displayName": "Roby",
        "creationTime": "2021-05-04T09:30:00.1234567Z",
        "lastLoginTime": None,
        "groupIds": ["alumni-02", "gryff-01"],
    }
    assert talk.sandbox.state.account("88-uv").group_ids == {"alumni-02", "gryff-01"}


async def test_a_put_is_a_delta_that_can_be_repeated(talk: Talk) -> None:
    state = talk.sandbox.state
    finance, hr = state.group_named("Finance").id, state.group_named("HR").id
    change = {"displayName": "Robbie", "groupIDsToAdd": [finance, "gryff-01", finance], "groupIDsToRemove": [hr]}
    first = await talk.put("88-uv", **change)
    second = await talk.put("88-uv", **change)
    assert first.status == second.status == 200
    assert first.json == second.json
    assert second.json["groupIds"] == sorted([finance, "gryff-01"])
    left = await talk.put("88-uv", displayName="Robbie", groupIDsToRemove=[finance])
    assert left.json["groupIds"] == ["gryff-01"]


async def test_other_accounts_are_left_alone(talk: Talk) -> None:
    before = {account.id: talk.sandbox.state.account_dto(account) for account in talk.sandbox.state.listing()}
    await talk.put("88-uv", displayName="Robbie", groupIDsToAdd=["alumni-02"])
    after = {account.id: talk.sandbox.state.account_dto(account) for account in talk.sandbox.state.listing()}
    assert {key for key in before if before[key] != after[key]} == {"88-uv"}


async def test_ids_are_taken_in_any_case_and_answered_as_the_server_writes_them(talk: Talk) -> None:
    account = talk.sandbox.state.account_named("robot-0001")
    group = talk.sandbox.state.group_named("Legal")
    got = await talk.put(account.id.upper(), displayName="x", groupIDsToAdd=[group.id.upper()])
    assert got.json["id"] == account.id
    assert group.id in got.json["groupIds"]
    assert group.id.upper() not in got.json["groupIds"]
    body = {"partitionGlobalId": ORG.upper(), "displayName": "y"}
    assert (await talk.ask("PUT", f"api/RobotAccount/{account.id}", json=body)).status == 200
    assert (await talk.get(f"api/robotaccount/{ORG.upper()}/{account.id}/")).json["displayName"] == "y"


@pytest.mark.parametrize(("reading", "expected"), [("blank", None), ("keep", "Roby")])
@pytest.mark.parametrize("fields", [{}, {"displayName": None}])
async def test_a_put_without_display_name_blanks_it_unless_an_option_says_otherwise(
    talking: Talking, reading: str, expected: str | None, fields: dict[str, Any]
) -> None:
    async with talking(absent_display_name=reading) as talk:
        got = await talk.put("88-uv", groupIDsToAdd=["alumni-02"], **fields)
        assert got.json["displayName"] == expected
        assert talk.sandbox.state.account("88-uv").display_name == expected


async def test_an_empty_display_name_clears_under_both_readings(talking: Talking) -> None:
    for reading in ("blank", "keep"):
        async with talking(absent_display_name=reading) as talk:
            assert (await talk.put("88-uv", displayName="")).json["displayName"] == ""


async def test_everyone_can_be_added_without_effect_but_not_removed(talk: Talk) -> None:
    everyone = talk.sandbox.state.everyone.id
    added = await talk.put("88-uv", displayName="Roby", groupIDsToAdd=[everyone])
    assert (added.status, added.json["groupIds"]) == (200, ["gryff-01"])
    removed = await talk.put("88-uv", displayName="X", groupIDsToRemove=["gryff-01", everyone])
    assert removed.status == 400
    assert removed.json["StatusDescription"] == "BadRequest"
    assert "Everyone" in removed.json["Message"]
    account = talk.sandbox.state.account("88-uv")
    assert (account.display_name, account.group_ids) == ("Roby", {"gryff-01"})


async def test_everyone_is_named_in_group_ids_when_told_so(talking: Talking) -> None:
    async with talking(list_everyone=True) as talk:
        everyone = talk.sandbox.state.everyone.id
        got = await talk.put("88-uv", displayName="Roby", groupIDsToAdd=["alumni-02"])
        assert got.json["groupIds"] == sorted(["alumni-02", "gryff-01", everyone])


async def test_an_unknown_group_refuses_the_whole_put_and_is_named(talk: Talk) -> None:
    got = await talk.put("88-uv", displayName="X", groupIDsToAdd=["alumni-02", "nope-1"], groupIDsToRemove=["nope-2"])
    assert got.status == 400
    result = got.json["result"]
    assert result["succeeded"] is False
    assert [error["description"] for error in result["errors"]] == [
        "Group 'nope-1' does not exist.",
        "Group 'nope-2' does not exist.",
    ]
    account = talk.sandbox.state.account("88-uv")
    assert (account.display_name, account.group_ids) == ("Roby", {"gryff-01"})
    assert talk.sandbox.log[-1].applied is False


async def test_a_group_both_added_and_removed_is_refused(talk: Talk) -> None:
    got = await talk.put("88-uv", groupIDsToAdd=["alumni-02"], groupIDsToRemove=["ALUMNI-02"])
    assert got.status == 400
    assert "alumni-02" in got.json["error"]["details"]
    assert talk.sandbox.state.account("88-uv").group_ids == {"gryff-01"}


async def test_an_unknown_account_is_not_found(talk: Talk) -> None:
    for got in (await talk.put("nobody", displayName="x"), await talk.get(f"api/RobotAccount/{ORG}/nobody")):
        assert got.status == 404
        assert "'nobody'" in got.json["message"]
        assert got.json["errorCode"] == 1002
        assert got.json["traceId"].startswith("00-")


async def test_another_organisation_is_refused(talk: Talk) -> None:
    other = "11111111-2222-4333-8444-555555555555"
    for got in (
        await talk.get(f"api/RobotAccount/{other}"),
        await talk.get(f"api/RobotAccount/{other}/88-uv"),
        await talk.get(f"api/Group/{other}"),
        await talk.put("88-uv", partitionGlobalId=other, displayName="X"),
    ):
        assert got.status == 403
        assert got.json["StatusCode"] == 403
        assert other in got.json["Message"]
    assert talk.sandbox.state.account("88-uv").display_name == "Roby"


LONG = "x" * 256


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"displayName": 7}, "$.displayName"),
        ({"displayName": LONG + "x"}, "DisplayName"),
        ({"displayName": "\N{ROBOT FACE}" * 129}, "DisplayName"),  # two UTF-16 units each
        ({"groupIDsToAdd": "alumni-02"}, "$.groupIDsToAdd"),
        ({"groupIDsToRemove": {}}, "$.groupIDsToRemove"),
        ({"groupIDsToAdd": ["alumni-02", 2]}, "$.groupIDsToAdd[1]"),
        ({"groupIDsToAdd": [None]}, "$.groupIDsToAdd[0]"),
        ({"partitionGlobalId": None}, "PartitionGlobalId"),
        ({"partitionGlobalId": " "}, "PartitionGlobalId"),
        ({"partitionGlobalId": 3}, "$.partitionGlobalId"),
    ],
)
async def test_a_field_of_the_wrong_form_is_named_in_problem_details(
    talk: Talk, fields: dict[str, Any], at: str
) -> None:
    got = await talk.put("88-uv", **{"displayName": "X", **fields})
    assert got.status == 400
    assert got.headers["Content-Type"].startswith("application/problem+json")
    assert list(got.json["errors"]) == [at]
    assert got.json["errors"][at][0]
    assert (got.json["status"], bool(got.json["title"])) == (400, True)
    assert talk.sandbox.state.account("88-uv").display_name == "Roby"


async def test_the_longest_display_name_is_taken(talk: Talk) -> None:
    for name in (LONG, "\N{ROBOT FACE}" * 128):
        assert (await talk.put("88-uv", displayName=name)).json["displayName"] == name


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"displayName": NaN}'])
async def test_a_body_that_is_no_json_object_is_refused(talk: Talk, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    got = await talk.ask("PUT", "api/RobotAccount/88-uv", data=body, headers=headers)
    assert got.status == 400
    assert got.json["errors"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"])
async def test_json_must_be_called_json(talk: Talk, kind: str) -> None:
    body = f'{{"partitionGlobalId": "{ORG}", "displayName": "X"}}'
    got = await talk.ask("PUT", "api/RobotAccount/88-uv", data=body.encode(), headers={"Content-Type": kind})
    assert (got.status, got.json["title"]) == (415, "Unsupported Media Type")
    assert talk.sandbox.state.account("88-uv").display_name == "Roby"


async def test_field_names_in_another_case_do_nothing(talk: Talk) -> None:
    got = await talk.put("88-uv", displayName="Roby", groupIdsToAdd=["alumni-02"])
    assert got.json["groupIds"] == ["gryff-01"]


async def test_one_account_can_be_read(talk: Talk) -> None:
    got = await talk.get(f"api/RobotAccount/{ORG}/88-uv")
    assert (got.status, got.json) == (200, talk.sandbox.state.account_dto(talk.sandbox.state.account("88-uv")))


async def test_ids_in_the_path_are_decoded(talk: Talk) -> None:
    assert (await talk.get(f"api/RobotAccount/{ORG}/88%2Duv")).json["name"] == "roby"
    assert "'a/b'" in (await talk.get(f"api/RobotAccount/{ORG}/a%2Fb")).json["message"]


async def test_pages_hold_ten_unless_asked_and_tell_the_total(talk: Talk) -> None:
    got = (await talk.get(f"api/RobotAccount/{ORG}")).json
    assert (got["totalCount"], len(got["results"])) == (60, 10)
    assert got["results"][0]["id"] == "88-uv"
    assert (await talk.get(f"api/RobotAccount/{ORG}?top=0")).json == {"totalCount": 60, "results": []}


async def test_pages_together_are_the_whole_list(talk: Talk) -> None:
    listed = []
    for skip in range(0, 80, 25):
        listed += (await talk.get(f"api/RobotAccount/{ORG}?top=25&skip={skip}")).json["results"]
    assert [one["id"] for one in listed] == [account.id for account in talk.sandbox.state.listing()]
    assert len(listed) == 60


async def test_a_page_may_be_shorter_than_asked_for(talking: Talking) -> None:
    async with talking(page_cap=7) as talk:
        got = (await talk.get(f"api/RobotAccount/{ORG}?top=1000&skip=5")).json
        assert (got["totalCount"], len(got["results"])) == (60, 7)


@pytest.mark.parametrize(
    "query",
    ["top=1001", "top=-1", "top=ten", "top=1_0", "skip=-1", "skip=x", "top=1.5", "sortBy=shoeSize", "sortOrder=up"],
)
async def test_a_bad_query_is_named_in_problem_details(talk: Talk, query: str) -> None:
    got = await talk.get(f"api/RobotAccount/{ORG}?{query}")
    assert got.status == 400
    assert list(got.json["errors"]) == [query.partition("=")[0]]


async def test_a_page_of_a_thousand_is_the_largest(talking: Talking) -> None:
    async with talking(accounts=1200) as talk:
        got = (await talk.get(f"api/RobotAccount/{ORG}?top=1000")).json
        assert (got["totalCount"], len(got["results"])) == (1200, 1000)


async def test_the_search_term_looks_into_names_and_display_names(talk: Talk) -> None:
    await talk.put("88-uv", displayName="Überflieger")
    for term in ("ROBY", "%C3%BCberFLIEGER", "flieger"):
        got = (await talk.get(f"api/RobotAccount/{ORG}?searchTerm={term}")).json
        assert (got["totalCount"], [one["id"] for one in got["results"]]) == (1, ["88-uv"])
    nothing = (await talk.get(f"api/RobotAccount/{ORG}?searchTerm=no-such-robot")).json
    assert nothing == {"totalCount": 0, "results": []}


async def test_the_list_is_sorted_as_asked_even_after_a_rename(talk: Talk) -> None:
    async def names(query: str) -> list[str]:
        got = (await talk.get(f"api/RobotAccount/{ORG}?top=100&{query}")).json
        return [one["displayName"] or "" for one in got["results"]]

    await names("sortBy=displayName")
    await talk.put("88-uv", displayName="AAA first")
    ascending = await names("sortBy=displayName&sortOrder=asc")
    assert ascending == sorted(ascending, key=str.casefold)
    assert "AAA first" in ascending
    assert await names("sortBy=displayName&sortOrder=desc") == sorted(ascending, key=str.casefold, reverse=True)


@pytest.mark.parametrize(
    ("told", "listed", "single", "put"),
    [("told", True, True, True), ("null_in_list", False, True, True), ("null", False, False, False)],
)
async def test_group_ids_are_null_where_told_so(
    talking: Talking, told: str, listed: bool, single: bool, put: bool
) -> None:
    async with talking(group_ids=told) as talk:
        page = (await talk.get(f"api/RobotAccount/{ORG}?top=1")).json["results"][0]
        one = (await talk.get(f"api/RobotAccount/{ORG}/88-uv")).json
        changed = (await talk.put("88-uv", displayName="Roby")).json
        assert [item["groupIds"] is not None for item in (page, one, changed)] == [listed, single, put]


async def test_a_body_for_another_organisation_is_refused_by_every_write(talk: Talk) -> None:
    other = {"partitionGlobalId": "11111111-2222-4333-8444-555555555555"}
    created = await talk.ask("POST", "api/RobotAccount", json={**other, "name": "fresh"})
    grouped = await talk.put_group("alumni-02", name="alumni-02", directoryUserIDsToAdd=["88-uv"], **other)
    new = {"id": "5c1a7f0e-2f6b-4c3d-9a53-0d3a6f1f7b21", "name": "Night"}
    founded = await talk.ask("POST", "api/Group", json={**other, **new})
    assert (created.status, grouped.status, founded.status) == (403, 403, 403)
    for path, ids in (("RobotAccount", "robotAccountIDs"), ("Group", "groupIDs")):
        address = f"api/{path}/{other['partitionGlobalId']}"
        assert (await talk.ask("DELETE", address, json={ids: ["88-uv", "gryff-01"]})).status == 403
        assert (await talk.ask("DELETE", f"{address}/gryff-01")).status == 403
    assert len(talk.sandbox.state.groups) == 24
    assert len(talk.sandbox.state.accounts) == 60
    assert talk.sandbox.state.account("88-uv").group_ids == {"gryff-01"}
