"""Outcomes: confirmed by a response about the account itself, else pending; only failures count as failures."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkid import runs
from bulkid.model import FailureBound, Reply
from bulkid.runs.execution import group_sender
from tests.support.examples import examples
from tests.support.identity_server import Answer, Identity, account, context, options, report, sheet
from tests.support.life_server import LifeServer, counts, go_on, journal_run, waits, wanted

HEADERS = ("id", "display_name")


def renames(folder: Path, ids: list[str]) -> Path:
    return sheet(folder, HEADERS, [(each, "New") for each in ids])


def ids(count: int) -> list[str]:
    return [f"a{number:03}" for number in range(count)]


def statuses(result: runs.RunResult) -> dict[str, str]:
    return {row["robot_account_id"]: row["status"] for row in report(result)}


# --- an account that exists is never called gone


async def test_verification_looks_an_account_up_that_the_list_misses(tmp_path: Path) -> None:
    """Each PUT is applied and answered 500; of the list that is read back then, one live account is missing."""
    server = Identity([account(each) for each in ids(60)], page_size=20)
    hidden = "a030"

    def unclear(account_id: str, body: dict[str, Any]) -> Answer:
        server.apply(account_id, body)
        return 500, {"message": "An internal error occurred."}

    page = server.on_page

    def without(skip: int, top: int, term: str) -> Answer:
        status, body = page(skip, top, term)
        if server.count("PUT"):
            kept = [each for each in body["results"] if each["id"] != hidden]
            body = {"totalCount": body["totalCount"] - 1, "results": kept}
        return status, body

    server.on_put, server.on_page = unclear, without  # type: ignore[method-assign]
    async with server.served():
        result = await runs.run(renames(tmp_path, ids(60)), server.target, options(tmp_path), context(tmp_path))
    assert (result.exit_code, result.summary["updated"]) == (0, 60)


class LateMembers(LifeServer):
    """Lists the accounts once more without their groups after a PUT."""

    lists = 1

    def _get_robotaccount(self, ids: list[str], body: Any, query: Any) -> Reply:
        reply = super()._get_robotaccount(ids, body, query)
        if len(ids) > 1 or not self.count("PUT") or not self.lists:
            return reply
        self.lists -= 1
        shown = [{**each, "groupIds": []} for each in reply.payload["results"]]
        return reply._replace(payload={**reply.payload, "results": shown})


def test_a_server_that_shows_new_members_a_moment_late_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_sender, "SETTLING_S", 2.125)  # as long as no other wait
    server = LateMembers(groups={"g-1": "Finance"})
    run_id = journal_run(
        tmp_path, [wanted(name, account_id=server.add(name), add=("g-1",)) for name in ids(20)], via="groups"
    )
    with waits() as waited:
        result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"updated": 20})
    assert (server.count("PUT"), server.lists) == (1, 0)
    assert 2.125 in waited


async def test_an_account_of_which_a_look_up_says_nothing_stays_pending_and_is_resumed(tmp_path: Path) -> None:
    server = Identity([account(each) for each in ids(3)])
    away = True

    def unclear(account_id: str, body: dict[str, Any]) -> Answer:
        server.apply(account_id, body)
        return 500, {"message": "An internal error occurred."}

    page, get = server.on_page, server.on_get

    def emptied(skip: int, top: int, term: str) -> Answer:
        if away and server.count("PUT"):
            return 200, {"totalCount": 2, "results": page(skip, top, term)[1]["results"][1:]}
        return page(skip, top, term)

    server.on_put, server.on_page = unclear, emptied  # type: ignore[method-assign]
    server.on_get = lambda one: (400, {"message": "Not now."}) if away else get(one)  # type: ignore[method-assign]
    async with server.served():
        first = await runs.run(renames(tmp_path, ids(3)), server.target, options(tmp_path), context(tmp_path))
        assert statuses(first) == {"a000": "pending", "a001": "updated", "a002": "updated"}
        assert first.exit_code == 3
        again = await runs.resume("", server.target, context(tmp_path))
        assert statuses(again)["a000"] == "pending"  # it is still not known
        assert again.exit_code == 3
        assert "it is not known whether it still exists" in str(again.error)
        away = False
        last = await runs.resume("", server.target, context(tmp_path))
    assert (last.exit_code, statuses(last)["a000"]) == (0, "updated")
    assert server.count("PUT") == 3


async def test_an_account_is_reported_as_deleted_only_after_its_own_look_up(tmp_path: Path) -> None:
    server = Identity([account(each) for each in ids(3)])

    def deleted(account_id: str, body: dict[str, Any]) -> Answer:
        if account_id == "a001":
            server.accounts.pop(account_id)
            return 500, {"message": "An internal error occurred."}
        server.apply(account_id, body)
        return 200, server.accounts[account_id]

    server.on_put = deleted  # type: ignore[method-assign]
    async with server.served():
        result = await runs.run(renames(tmp_path, ids(3)), server.target, options(tmp_path), context(tmp_path))
    row = next(row for row in report(result) if row["robot_account_id"] == "a001")
    assert (row["status"], row["error_code"]) == ("failed", "account_gone")
    assert "GET RobotAccount/a001" in server.asked


# --- an answer about another account is no evidence


@pytest.mark.parametrize(
    ("answered", "status"),
    [({"id": "other"}, "pending"), ({"id": "A000"}, "updated"), ({"id": "a000"}, "updated")],
)
async def test_a_blind_run_takes_an_answer_about_this_account_alone(
    tmp_path: Path, answered: dict[str, str], status: str
) -> None:
    server = Identity([account("a000")])
    shown = {"name": "x", "displayName": "New", "groupIds": None} | answered
    server.on_put = lambda *_: (200, shown)  # type: ignore[method-assign]
    async with server.served():
        result = await runs.run(
            renames(tmp_path, ["a000"]), server.target, options(tmp_path, read=False), context(tmp_path)
        )
    assert statuses(result) == {"a000": status}
    assert result.exit_code == (0 if status == "updated" else 3)


async def test_reading_back_takes_a_look_up_about_this_account_alone(tmp_path: Path) -> None:
    server = Identity([account("a000"), account("other", display_name="New")])
    server.on_put = lambda *_: (500, {"message": "An internal error occurred."})  # type: ignore[method-assign]
    get = server.on_get
    server.on_get = lambda one: get("other") if server.count("PUT") else get(one)  # type: ignore[method-assign]
    async with server.served():
        result = await runs.run(renames(tmp_path, ["a000"]), server.target, options(tmp_path), context(tmp_path))
    assert statuses(result) == {"a000": "pending"}


# --- --max-failures counts failures


async def test_accounts_that_reading_back_confirms_are_no_failures(tmp_path: Path) -> None:
    server = Identity([account(each) for each in ids(40)])

    def unclear(account_id: str, body: dict[str, Any]) -> Answer:
        server.apply(account_id, body)
        return 500, {"message": "An internal error occurred."}

    server.on_put = unclear  # type: ignore[method-assign]
    async with server.served():
        result = await runs.run(
            renames(tmp_path, ids(40)),
            server.target,
            options(tmp_path, max_failures=FailureBound(5), concurrency=4),
            context(tmp_path),
        )
    assert (result.exit_code, result.error, result.summary["updated"]) == (0, None, 40)
    assert server.count("PUT") == 40


@pytest.mark.parametrize("status", [200, 500])
async def test_a_server_that_changes_nothing_is_stopped_in_time(tmp_path: Path, status: int) -> None:
    server = Identity([account(each) for each in ids(200)])
    server.on_put = lambda one, _: (status, server.accounts[one])  # type: ignore[method-assign]
    async with server.served():
        result = await runs.run(
            renames(tmp_path, ids(200)),
            server.target,
            options(tmp_path, max_failures=FailureBound(5), concurrency=4),
            context(tmp_path),
        )
    assert result.exit_code == 4
    assert server.count("PUT") <= 5 + 1 + 4
    assert f"{result.summary['failed']} accounts failed" in str(result.error)
    assert result.summary["failed"] > 5


async def test_a_blind_run_is_stopped_in_time_too_and_what_is_not_known_is_pending(tmp_path: Path) -> None:
    server = Identity([account(each) for each in ids(200)])
    server.on_put = lambda *_: (500, {"message": "An internal error occurred."})  # type: ignore[method-assign]
    async with server.served():
        result = await runs.run(
            renames(tmp_path, ids(200)),
            server.target,
            options(tmp_path, max_failures=FailureBound(5), concurrency=4, read=False),
            context(tmp_path),
        )
    assert (result.exit_code, result.summary["pending"], result.summary["failed"]) == (3, 200, 0)
    assert server.count("PUT") <= 5 + 1 + 4
    assert "more than the limit of" in str(result.error)


async def test_a_server_that_never_says_the_groups_costs_few_readings(tmp_path: Path) -> None:
    server = Identity([account(each) for each in ids(200)])

    def silent(account_id: str, body: dict[str, Any]) -> Answer:
        server.apply(account_id, body)
        return 200, {**server.accounts[account_id], "groupIds": None}

    server.on_put = silent  # type: ignore[method-assign]
    path = sheet(tmp_path, ("id", "groups_to_add"), [(each, "g-fin") for each in ids(200)])
    async with server.served():
        result = await runs.run(
            path,
            server.target,
            options(tmp_path, max_failures=FailureBound(2), concurrency=2, via="accounts"),
            context(tmp_path),
        )
    assert (result.exit_code, result.summary["updated"]) == (0, 200)
    assert server.count("PUT") == 200
    assert server.count("GET") < 40


BEHAVIOURS = {
    "good": (True, 200),
    "refused": (False, 400),
    "lost": (False, 500),
    "applied": (True, 500),
    "ignored": (False, 200),
    "silent": (True, 204),
}


@settings(max_examples=examples(12, soak=200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(sorted(BEHAVIOURS)), min_size=1, max_size=14),
    st.integers(0, 6),
    st.integers(1, 5),
    st.booleans(),
)
async def test_the_exit_code_is_4_exactly_where_the_report_shows_more_failures_than_allowed(
    tmp_path_factory: pytest.TempPathFactory, behaviours: list[str], allowed: int, concurrency: int, percent: bool
) -> None:
    tmp_path = tmp_path_factory.mktemp("law")
    given_ids = ids(len(behaviours))
    server = Identity([account(each) for each in given_ids])
    plan = dict(zip(given_ids, behaviours, strict=True))

    def behave(account_id: str, body: dict[str, Any]) -> Answer:
        applied, status = BEHAVIOURS[plan[account_id]]
        if applied:
            server.apply(account_id, body)
        return status, {**server.accounts[account_id]} if status != 204 else None

    server.on_put = behave  # type: ignore[method-assign]
    bound = FailureBound(percent=100 * allowed / len(given_ids)) if percent and allowed < len(given_ids) else None
    bound = bound or FailureBound(allowed)
    async with server.served():
        result = await runs.run(
            renames(tmp_path, given_ids),
            server.target,
            options(tmp_path, max_failures=bound, concurrency=concurrency),
            context(tmp_path),
        )
    became = statuses(result)
    failed = sum(status == "failed" for status in became.values())
    assert (result.exit_code == 4) == (failed > allowed)
    assert failed == result.summary["failed"]
    for account_id, status in became.items():
        applied = BEHAVIOURS[plan[account_id]][0]
        assert status in ({"updated", "pending"} if applied else {"failed", "pending"})
        assert status != "updated" or server.accounts[account_id]["displayName"] == "New"
    if result.exit_code == 4:
        assert f"{failed} account{'s' if failed != 1 else ''} failed" in str(result.error)
    else:
        assert set(became.values()) <= {"updated", "failed"}


async def test_what_waits_to_be_sent_again_when_others_are_read_back_is_not_forgotten(tmp_path: Path) -> None:
    """The first PUT of one account is applied and answered 500, and the next one 400, after a pause for another.

    The list, which is read in the pause, does not show the first one yet.
    """

    class Server(Identity):
        async def serve(self, request: web.Request) -> web.Response:
            if request.method == "PUT" and request.path.endswith("/a000"):
                again = "PUT RobotAccount/a000" in self.asked
                response = await super().serve(request)
                if again:
                    return web.json_response({"message": "It is so already."}, status=400)
                response.headers["Retry-After"] = "30"  # it waits until the pause
                response.set_status(500)
                return response
            return await super().serve(request)

        def on_put(self, account_id: str, body: dict[str, Any]) -> Answer:
            self.apply(account_id, body)
            shown = self.accounts[account_id]
            return 200, ({**shown, "displayName": "Old"} if account_id == "a001" else shown)

        def on_page(self, skip: int, top: int, term: str) -> Answer:
            status, page = super().on_page(skip, top, term)
            if self.asked.count("PUT RobotAccount/a000") == 1:
                page["results"] = [
                    {**one, "displayName": "Old"} if one["id"] == "a000" else one for one in page["results"]
                ]
            return status, page

    async with Server(account(each) for each in ids(3)).served() as server:
        result = await runs.run(
            renames(tmp_path, ids(3)),
            server.target,
            options(tmp_path, max_failures=FailureBound(0), concurrency=1, max_attempts=2),
            context(tmp_path),
        )
        assert (result.exit_code, result.summary["updated"]) == (0, 3)
        assert server.count("PUT") == 4


async def test_what_a_pause_finds_applied_is_not_sent_again(tmp_path: Path) -> None:
    """Every PUT is applied and answered 500: the pauses after the first ones read back what waits for its next try."""
    server = Identity(account(each) for each in ids(60))

    def behave(account_id: str, body: dict[str, Any]) -> Answer:
        server.apply(account_id, body)
        return 500, {"message": "Out of order."}

    server.on_put = behave  # type: ignore[method-assign]
    async with server.served():
        result = await runs.run(
            renames(tmp_path, ids(60)),
            server.target,
            options(tmp_path, max_failures=FailureBound(0), concurrency=16, max_attempts=2, retry_base_s=0.01),
            context(tmp_path),
        )
    assert (result.exit_code, result.summary["updated"], result.summary["pending"]) == (0, 60, 0)
    assert server.count("PUT") <= 2 * 60  # as often as --max-attempts allows; it was 14 times for each account


# --- a name is the exact one, or the only one that differs by case alone


@pytest.mark.parametrize("page_size", [1000, 20])
@pytest.mark.parametrize(("text", "status"), [("robbie", "exact"), ("Robbie", "exact"), ("ROBBIE", "invalid")])
async def test_a_name_on_the_first_page_that_differs_by_case_does_not_hide_the_exact_one(
    tmp_path: Path, page_size: int, text: str, status: str
) -> None:
    """Sorted as ASCII the two are pages apart; the account that the sheet means is the one that is changed."""
    names = ["Robbie", *(f"a{number:03}" for number in range(90)), "robbie"]
    server = Identity([account(f"id{number}", name) for number, name in enumerate(names)], page_size)

    def as_ascii(skip: int, top: int, term: str) -> Answer:
        listed = sorted(server.accounts.values(), key=lambda each: each["name"])
        found = [each for each in listed if term.lower() in each["name"].lower()]
        return 200, {"totalCount": len(found), "results": found[skip : skip + min(top, page_size)]}

    server.on_page = as_ascii  # type: ignore[method-assign]
    async with server.served():
        path = sheet(tmp_path, ("name", "display_name"), [(text, "New")])
        result = await runs.run(path, server.target, options(tmp_path), context(tmp_path))
    changed = [each["name"] for each in server.accounts.values() if each["displayName"] == "New"]
    assert changed == ([text] if status == "exact" else [])
    assert result.exit_code == (0 if status == "exact" else 2)


@pytest.mark.parametrize(("text", "name"), [("strasse", "straße"), ("kelvin", "\u212aelvin"), ("cafe\u0301", "café")])
async def test_a_name_that_looks_alike_sends_nothing(tmp_path: Path, text: str, name: str) -> None:
    server = Identity([account("a", name)])
    async with server.served():
        path = sheet(tmp_path, ("name", "display_name"), [(text, "New")])
        result = await runs.run(path, server.target, options(tmp_path), context(tmp_path))
    assert (result.exit_code, server.count("PUT")) == (2, 0)
    assert f'Did you mean "{name}"?' in report(result)[0]["error"]


async def test_an_export_of_names_that_look_alike_comes_back_unchanged(tmp_path: Path) -> None:
    names = [
        "straße",
        "strasse",
        "\u212aelvin",
        "kelvin",
        "KELVIN",
        "café",
        "cafe\u0301",
        " blank ",
        "\u0131sparta",
        "İsparta",
    ]
    server = Identity([account(f"id{number}", name) for number, name in enumerate(names)])
    async with server.served():
        exported = await runs.export(tmp_path / "all.csv", server.target, context=context(tmp_path))
        found = await runs.plan(exported.path, server.target, options(tmp_path), context(tmp_path))
    assert found.preview is not None
    assert (found.row_errors, len(found.preview.plan.unchanged)) == ((), len(names))
