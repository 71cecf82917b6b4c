"""The plan of a sheet that creates and deletes: requests to the server, limits, forecast and scopes."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bulkid import runs
from bulkid.errors import PermissionDeniedError
from bulkid.model import NEW_GROUP, Action, ChangeBound, QuotaRule
from bulkid.runs.execution.planner import resolve_options
from bulkid.runs.run_records import dump_options, load_options
from tests.support.identity_server import ORG, Identity, account, context, options, report, sheet
from tests.support.identity_wire import jwt

HEADERS = ("name", "add groups", "action")


def robots(count: int) -> Identity:
    return Identity(account(f"id-{number}", f"robot {number}", groups=["g-all"]) for number in range(count))


async def planned(server: Identity, folder: Path, rows: list[tuple[str, str, str]], **more: Any) -> runs.PlanResult:
    return await runs.plan(sheet(folder, HEADERS, rows), server.target, options(folder, **more), context(folder))


def preview_of(result: runs.PlanResult) -> runs.Preview:
    assert result.error is None
    assert result.preview is not None
    return result.preview


async def test_a_plan_creates_updates_and_deletes_and_asks_for_no_more_than_the_lists(tmp_path: Path) -> None:
    rows = [("New", "Marketing", "create"), ("robot 1", "Fin; marketing", ""), ("robot 2", "", "Delete")]
    async with robots(5).served() as server:
        preview = preview_of(await planned(server, tmp_path, rows, create_groups=True, allow_delete=True))
        assert server.count("GET") == len(server.asked) == 2
    (group,) = preview.plan.new_groups
    assert (group.name, group.type, UUID(group.id).version) == ("Marketing", NEW_GROUP, 4)
    assert [(change.action, change.account_id, change.add) for change in preview.plan.changes] == [
        (Action.CREATE, "", (group.id,)),
        (Action.UPDATE, "id-1", ("g-fin", group.id)),
        (Action.DELETE, "id-2", ()),
    ]
    assert preview.directory.group_with_id(group.id) == group
    assert preview.plan.requests == {"PUT": 1, "POST": 2, "DELETE": 1}


async def test_a_new_group_of_existing_accounts_takes_one_post_and_no_put(tmp_path: Path) -> None:
    rows = [(f"robot {number}", "Marketing", "") for number in range(5)]
    async with robots(5).served() as server:
        preview = preview_of(await planned(server, tmp_path, rows, create_groups=True))
    assert preview.plan.requests == {"PUT": 0, "POST": 1, "DELETE": 0}


async def test_a_name_is_called_gone_or_new_only_where_the_list_misses_no_account(tmp_path: Path) -> None:
    class Skipping(Identity):
        """Lists pages that do not share an account: some account may be on none of them."""

        def on_page(self, skip: int, top: int, term: str) -> tuple[int, Any]:
            return super().on_page(skip + 15 if skip else 0, top, term)

    for action in ("create", "delete"):
        many = (account(f"id-{number}", f"robot {number:02}") for number in range(90))
        async with Skipping(many, page_size=25).served() as server:
            result = await planned(server, tmp_path, [("missing", "", action)], allow_delete=True)
        assert result.error is not None
        assert 'It is not known whether the accounts "missing" exist' in str(result.error)


@pytest.mark.parametrize(
    ("count", "more", "sentence"),
    [
        (10, {}, ""),
        (11, {}, "The plan deletes 11 accounts, more than the limit of 10"),
        (11, {"max_delete": ChangeBound(count=11)}, ""),
        (4, {"max_delete": ChangeBound(percent=10)}, ""),
        (
            5,
            {"max_delete": ChangeBound(percent=10)},
            "The plan deletes 5 of the organisation's 40 accounts (12.5 %), more than the limit of 10 %",
        ),
        (1, {"max_delete": ChangeBound(count=0)}, "The plan deletes 1 account, more than the limit of 0"),
    ],
)
async def test_a_plan_that_deletes_more_than_the_limit_is_refused_as_a_whole(
    count: int, more: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    rows = [(f"robot {number}", "", "delete") for number in range(count)]
    async with robots(40).served() as server:
        preview = preview_of(await planned(server, tmp_path, rows, allow_delete=True, yes_really=False, **more))
        found = preview.excess_deletions
        assert ("" if found is None else found.sentence) == sentence
        assert [warning for warning in preview.warnings if sentence and warning.startswith(sentence)] == (
            [f"{sentence}: it will not be sent without --yes-really."] if sentence else []
        )
        if not sentence:
            return
        given = options(tmp_path, allow_delete=True, yes_really=False, **more)
        result = await runs.run(tmp_path / "sheet.csv", server.target, given, context(tmp_path))
        assert (result.exit_code, result.status, result.summary["pending"]) == (2, "refused", count)
        assert {row["status"] for row in report(result)} == {"pending"}
        assert sentence in str(result.error)
        assert result.error is not None
        assert "--yes-really; --max-delete allows more" in result.error.cli_hint
        assert server.count("DELETE") == 0


async def test_both_limits_are_named_where_both_are_exceeded(tmp_path: Path) -> None:
    rows = [(f"robot {number}", "", "delete") for number in range(21)]
    async with robots(40).served() as server:
        given = options(tmp_path, allow_delete=True, yes_really=False)
        result = await runs.run(sheet(tmp_path, HEADERS, rows), server.target, given, context(tmp_path))
    assert "The plan changes 21 of" in str(result.error)
    assert "The plan deletes 21 accounts" in str(result.error)


async def test_the_change_limit_counts_updates_and_deletions_and_no_creation(tmp_path: Path) -> None:
    rows = [(f"new {number}", "", "create") for number in range(9)]
    rows += [("robot 1", "Fin", ""), ("robot 2", "", "delete")]
    async with robots(40).served() as server:
        for limit, exceeds in ((2, False), (1, True)):
            bound = ChangeBound(count=limit)
            preview = preview_of(await planned(server, tmp_path, rows, allow_delete=True, max_change=bound))
            assert (preview.excess is not None) == exceeds


async def test_a_percentage_of_deletions_takes_the_number_of_accounts_where_one_was_looked_up_by_its_id(
    tmp_path: Path,
) -> None:
    path = sheet(tmp_path, ("id", "action"), [("id-1", "delete")])
    async with robots(40).served() as server:
        for percent, sentence in ((2.5, ""), (2.4, "1 of the organisation's 40 accounts")):
            given = options(tmp_path, allow_delete=True, max_delete=ChangeBound(percent=percent))
            found = preview_of(await runs.plan(path, server.target, given, context(tmp_path))).excess_deletions
            assert sentence in ("" if found is None else found.sentence)
            assert (found is None) == (not sentence)


async def test_the_forecast_is_the_time_of_all_methods_one_after_the_other(tmp_path: Path) -> None:
    rows = [(f"new {number}", "", "create") for number in range(5)]
    rows += [(f"robot {number}", "Fin", "") for number in range(3)] + [("robot 3", "", "delete")]
    slow = {"POST": (5, 300.0), "PUT": (3, 300.0), "DELETE": (1, 300.0)}

    def rules(**changed: tuple[int, float]) -> tuple[QuotaRule, ...]:
        return tuple(QuotaRule(method, *limit) for method, limit in {**slow, **changed}.items())

    more = {"allow_delete": True, "via": "accounts"}
    async with robots(5).served() as server:
        for quota, seconds in (
            (rules(), 0.0),
            (rules(POST=(4, 300.0)), 300.0),
            (rules(PUT=(1, 100.0)), 200.0),
            (rules(PUT=(1, 100.0), POST=(1, 60.0)), 440.0),
        ):
            assert preview_of(await planned(server, tmp_path, rows, quota=quota, **more)).eta_s == seconds
        assert preview_of(await planned(server, tmp_path, rows, quota=(), rate=4, **more)).eta_s == 2.0


async def test_groups_are_created_only_with_a_token_that_may_or_does_not_say(tmp_path: Path) -> None:
    rows = [("robot 1", "Marketing", "")]
    async with robots(5).served() as server:
        for scope, may in (("PM.RobotAccount PM.Group.Read", False), ("PM.RobotAccount PM.Group", True)):
            target = runs.Target(url=server.url, access_token=jwt({"prt_id": ORG, "scope": scope}))
            given = options(tmp_path, create_groups=True)
            result = await runs.plan(sheet(tmp_path, HEADERS, rows), target, given, context(tmp_path))
            assert isinstance(result.error, PermissionDeniedError) is not may
            if result.error is not None:
                assert "PM.Group.Write" in result.error.message
                assert '"Marketing"' in result.error.message
                assert result.exit_code == 3
        assert preview_of(await planned(server, tmp_path, rows, create_groups=True)).plan.new_groups


async def test_the_groups_of_a_trial_have_names_also_where_only_skipped_accounts_need_them(tmp_path: Path) -> None:
    rows = [("robot 1", "Marketing", ""), ("robot 2", "Research", "")]
    async with robots(5).served() as server:
        preview = preview_of(await planned(server, tmp_path, rows, create_groups=True, first=1))
    assert [group.name for group in preview.plan.new_groups] == ["Marketing"]
    (skipped,) = preview.plan.skipped_changes
    assert preview.directory.group_name(skipped.add[0]) == "Research"


async def test_a_plan_that_is_computed_again_has_the_same_hash_though_its_groups_have_other_ids(tmp_path: Path) -> None:
    rows = [("robot 1", "Marketing", ""), ("robot 2", "Research", ""), ("New", "Research", "create")]
    async with robots(5).served() as server:
        for first in (None, 1, 2):
            given = options(tmp_path, create_groups=True, first=first)
            whole, *cut = [
                preview_of(await planned(server, tmp_path, rows, create_groups=True, first=limit))
                for limit in (None, first, first)
            ]
            hashes = {runs.plan_hash(each, given) for each in (whole, *cut)}
            assert len(hashes) == 1
            assert len({each.plan.new_groups[0].id for each in (whole, *cut)}) == 3


def test_ids_of_groups_come_from_the_random_source() -> None:
    halves = iter([0.5, 0.25, 0.125, 0.999999])
    made = resolve_options(runs.RunOptions(), lambda: next(halves)).new_id()
    assert made.startswith("80000000-4000-4000-")
    assert resolve_options(runs.RunOptions(), lambda: 0.0).new_id() == "00000000-0000-4000-8000-000000000000"


def test_a_resume_takes_what_the_run_was_allowed() -> None:
    given = runs.RunOptions(
        create_missing=True,
        create_groups=True,
        new_groups=("A", "B"),
        allow_delete=True,
        max_delete=ChangeBound(percent=1.5),
    )
    assert load_options(dump_options(given)) == given
    older = {name: value for name, value in dump_options(runs.RunOptions()).items() if "delet" not in name}
    assert load_options(older) == runs.RunOptions()
