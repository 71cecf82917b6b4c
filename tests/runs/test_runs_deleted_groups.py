"""Accounts that need a group which was deleted after the plan was made fail once; those that were to leave it have."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiohttp import web

from bulkid import runs
from tests.support.identity_server import Answer, Identity, account, context, options, report, sheet

IDS = [f"a{number:02}" for number in range(12)]
BOTH = IDS[:6]
POISONED = BOTH[3]


class WithoutFinance(Identity):
    """Lists the group Fin for the plan alone, and refuses group requests that name the poisoned account."""

    async def serve(self, request: web.Request) -> web.Response:
        response = await super().serve(request)
        if self.asked[-1] != "GET Group":
            return response
        if self.count("GET Group") > 1:
            for found in self.accounts.values():
                found["groupIds"] = [group for group in found["groupIds"] if group != "g-fin"]
        groups = {"g-all": "Everyone", "g-ops": "Ops"} | ({"g-fin": "Fin"} if self.count("GET Group") == 1 else {})
        return web.json_response([{"id": group, "name": name} for group, name in groups.items()])

    def on_group_put(self, group_id: str, body: dict[str, Any]) -> Answer:
        refused = POISONED in body["directoryUserIDsToAdd"]
        return (400, {"message": "No."}) if refused else super().on_group_put(group_id, body)

    def on_put(self, account_id: str, body: dict[str, Any]) -> Answer:
        return (400, {"message": "No."}) if "g-fin" in body["groupIDsToAdd"] else super().on_put(account_id, body)


async def test_an_account_that_fails_for_a_deleted_group_is_not_sent_by_itself_and_counts_once(tmp_path: Path) -> None:
    rows = [(each, "Fin; Ops" if each in BOTH else "Ops") for each in IDS]
    path = sheet(tmp_path, ("id", "groups_to_add"), rows)
    bound = runs.FailureBound(len(BOTH))
    async with WithoutFinance(account(each) for each in IDS).served() as server:
        result = await runs.run(
            path, server.target, options(tmp_path, via="groups", max_failures=bound), context(tmp_path)
        )
    assert (result.exit_code, result.summary["failed"], result.summary["updated"]) == (1, 6, 6), result.error
    assert {row["error_code"] for row in report(result) if row["status"] == "failed"} == {"group_gone"}
    assert server.count("PUT RobotAccount") == 0


async def test_an_account_that_was_to_leave_a_deleted_group_has_left_it(tmp_path: Path) -> None:
    rows = [(each, "Ops" if each in BOTH and each != POISONED else "", "Fin") for each in IDS]
    path = sheet(tmp_path, ("id", "groups_to_add", "groups_to_remove"), rows)
    async with WithoutFinance(account(each, groups=["g-fin"]) for each in IDS).served() as server:
        result = await runs.run(path, server.target, options(tmp_path, via="groups"), context(tmp_path))
    assert (result.exit_code, result.summary["updated"], result.summary["unchanged"]) == (0, 5, 7), result.error
    assert server.count("PUT") == 1
    assert {row["attempts"] for row in report(result) if row["status"] == "unchanged"} == {"0"}


class WithoutGroups(Identity):
    """Lists no groups when it is asked for them for the n-th time."""

    def __init__(self, nth: int, groups: Iterable[str] = ()) -> None:
        super().__init__(account(each, groups=groups) for each in IDS)
        self.nth = nth

    async def serve(self, request: web.Request) -> web.Response:
        response = await super().serve(request)
        asked = self.asked[-1] == "GET Group" and self.count("GET Group") == self.nth
        return web.json_response([]) if asked else response


async def test_an_empty_list_of_groups_does_not_mean_that_all_were_deleted(tmp_path: Path) -> None:
    path = sheet(tmp_path, ("id", "groups_to_add"), [(each, "Fin") for each in IDS])
    async with WithoutGroups(2).served() as server:
        stopped = await runs.run(path, server.target, options(tmp_path, via="groups"), context(tmp_path))
        assert (stopped.exit_code, stopped.summary["pending"], server.count("PUT")) == (3, 12, 0), stopped.error
        resumed = await runs.resume("", server.target, context(tmp_path))
    assert (resumed.exit_code, resumed.summary["updated"]) == (0, 12)


async def test_an_empty_list_of_groups_is_planned_with_no_more(tmp_path: Path) -> None:
    """An account that was to be in Everyone alone was said to be so, although it was in another group."""
    path = sheet(tmp_path, ("id", "groups"), [(each, "Everyone") for each in IDS])
    async with WithoutGroups(1, ["g-all", "g-fin"]).served() as server:
        stopped = await runs.run(path, server.target, options(tmp_path), context(tmp_path))
        assert (stopped.exit_code, stopped.summary["pending"]) == (3, 12), stopped.error
        resumed = await runs.resume("", server.target, context(tmp_path))
    assert (resumed.exit_code, resumed.summary["updated"]) == (0, 12)
    assert {tuple(each["groupIds"]) for each in server.accounts.values()} == {("g-all",)}
