"""An account is called deleted or unknown only after a look-up of its own, or a complete list without it."""

from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bulkid import runs
from bulkid.model import ChangeBound
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.server import Sandbox
from tests.support.identity_server import Answer, Identity, account, context, options, report, sheet

SHIFTING = SandboxOptions(accounts=230, page_cap=50, limits=())


def target_of(server: Sandbox) -> runs.Target:
    return runs.Target(url=server.url, client_id="sandbox", client_secret="sandbox-secret")


async def plan(path: Path, target: runs.Target, folder: Path, **more: Any) -> runs.PlanResult:
    return await runs.plan(path, target, options(folder, **more), context(folder))


@pytest.mark.parametrize("column", ["name", "robot_account_id"])
@pytest.mark.parametrize("deleted", [1, 3, 15])
async def test_accounts_that_deletions_shift_to_pages_already_read_are_found(
    tmp_path: Path, column: str, deleted: int
) -> None:
    async with Sandbox(SHIFTING) as server:
        server.state.vanished = SHIFTING.vanishing  # nothing vanishes until the sheet is written
        listed = server.state.listing(sort_by="name")
        given = [each.name if column == "name" else each.id for each in listed]
        # The first account of each page is deleted as soon as the page was sent: those that stay are in the sheet.
        doomed = {given[number] for number in range(0, 230, 2)}
        real, gone = server.state.listing, 0

        def listing(*args: Any, **more: Any) -> Any:
            nonlocal gone
            before = real(*args, **more)
            if gone < deleted:
                victim = next(each for each in before if each.id in doomed or each.name in doomed)
                server.state.delete(victim.id)
                gone += 1
            return before

        server.state.listing = listing  # type: ignore[method-assign]
        stay = [text for text in given if text not in doomed]
        path = sheet(tmp_path, (column, "display_name"), [(text, "New") for text in stay])
        found = await plan(path, target_of(server), tmp_path)
    assert found.error is None
    assert found.row_errors == ()
    assert found.preview is not None
    assert len(found.preview.plan.changes) == len(stay)
    assert found.summary["requests"]["GET"] < 40


async def test_the_sandbox_deletes_the_first_account_of_each_page_as_often_as_requested(tmp_path: Path) -> None:
    async with Sandbox(SandboxOptions(accounts=230, page_cap=50, limits=(), vanishing=2)) as server:
        names = [each.name for each in server.state.listing(sort_by="name")]
        path = sheet(tmp_path, ("name", "display_name"), [(name, "New") for name in names])
        found = await plan(path, target_of(server), tmp_path)
        assert len(server.state.accounts) == 228
        left = {each.name for each in server.state.accounts.values()}
    assert {row_error.value for row_error in found.row_errors} <= set(names) - left  # none of those that are there


async def test_a_single_page_holds_all_there_is(tmp_path: Path) -> None:
    server = Identity([account("a", "Anna"), account("b", "Bert")])
    async with server.served():
        found = await plan(sheet(tmp_path, ("name",), [("Anna",), ("Cleo",)]), server.target, tmp_path)
    assert [row_error.code for row_error in found.row_errors] == ["unknown_account"]
    assert server.count("GET RobotAccount") == 1


async def test_an_id_that_the_list_does_not_show_is_looked_up_by_itself(tmp_path: Path) -> None:
    server = Identity([account("a"), account("b"), account("hidden")])
    page = server.on_page
    server.on_page = lambda *asked: _without("hidden", page(*asked))  # type: ignore[method-assign]
    path = sheet(tmp_path, ("id", "display name"), [("a", "New"), ("hidden", "New"), ("nobody", "New")])
    async with server.served():
        found = await plan(path, server.target, tmp_path)
    assert [(row_error.value, row_error.code) for row_error in found.row_errors] == [("nobody", "unknown_account")]
    assert "No robot account has the id" in found.row_errors[0].message
    assert {line for line in server.asked if "/" in line} == {"GET RobotAccount/hidden", "GET RobotAccount/nobody"}


@pytest.mark.parametrize("hidden", [21, 40, 60])
async def test_many_that_a_list_does_not_show_are_looked_up_if_one_of_a_few_exists(tmp_path: Path, hidden: int) -> None:
    """A list may be consistent and leave accounts out: to delete them must not end as if they were deleted already."""
    async with Sandbox(SandboxOptions(accounts=70, limits=())) as server:
        ids = list(server.state.accounts)[:60]
        for each in ids[hidden:]:
            server.state.delete(each)
        real = server.state.listing
        server.state.listing = lambda *args, **more: [  # type: ignore[method-assign]
            each for each in real(*args, **more) if each.id not in ids
        ]
        path = sheet(tmp_path, ("id", "action"), [(each, "delete") for each in ids])
        result = await runs.run(path, target_of(server), options(tmp_path, allow_delete=True), context(tmp_path))
        assert not server.state.accounts.keys() & set(ids)
    found = Counter(row["status"] for row in report(result))
    assert found == Counter(deleted=hidden, unchanged=60 - hidden)


@pytest.mark.parametrize(
    ("ids", "tried"),
    [
        pytest.param([str(UUID(int=number)) for number in range(62)], [0, 20, 40], id="GUIDs"),
        pytest.param([f"none-{number:02}" for number in range(62)], [], id="none that a server must take"),
    ],
)
async def test_many_that_do_not_exist_cost_at_most_three_look_ups(
    ids: list[str], tried: list[int], tmp_path: Path
) -> None:
    server = Identity([account("a")])
    async with server.served():
        found = await plan(sheet(tmp_path, ("id",), [(each,) for each in ids]), server.target, tmp_path)
    assert [row_error.code for row_error in found.row_errors] == ["unknown_account"] * 62
    looked_up = [line.rpartition("/")[2] for line in server.asked if "GET RobotAccount/" in line]
    assert sorted(looked_up) == [ids[number] for number in tried]


async def test_of_many_ids_that_are_no_guids_none_is_looked_up(tmp_path: Path) -> None:
    """A server may refuse such an id, which does not show whether the account exists; the whole list does."""
    server = Identity([account("a")])
    async with server.served():
        found = await plan(sheet(tmp_path, ("id",), [(f"nobody-{n}",) for n in range(60)]), server.target, tmp_path)
    assert [row_error.code for row_error in found.row_errors] == ["unknown_account"] * 60
    assert not [line for line in server.asked if "GET RobotAccount/" in line]


async def test_many_that_the_list_leaves_out_after_group_requests_are_read_and_not_sent_again(tmp_path: Path) -> None:
    ids = [str(UUID(int=number)) for number in range(60)]
    server = Identity([account("a"), *map(account, ids)])
    page = server.on_page

    def hiding(*asked: Any) -> Answer:
        status, body = page(*asked)
        if not server.count("PUT Group"):
            return status, body
        return status, {"totalCount": 1, "results": [each for each in body["results"] if each["id"] == "a"]}

    server.on_page = hiding  # type: ignore[method-assign]
    path = sheet(tmp_path, ("id", "groups_to_add"), [(each, "Fin") for each in ids])
    async with server.served():
        result = await runs.run(path, server.target, options(tmp_path, via="groups"), context(tmp_path))
    assert Counter(row["status"] for row in report(result)) == Counter(updated=60)
    assert server.count("PUT RobotAccount") == 0


def _without(account_id: str, answer: tuple[int, Any]) -> tuple[int, Any]:
    status, body = answer
    kept = [each for each in body["results"] if each["id"] != account_id]
    return status, {"totalCount": body["totalCount"] - 1, "results": kept}


@pytest.mark.parametrize("rows", [["not a guid"], ["a", "not a guid"]])
async def test_an_id_that_the_server_refuses_to_look_up_is_not_reported_as_missing(
    tmp_path: Path, rows: list[str]
) -> None:
    server = Identity([account("a"), account("b")])
    get = server.on_get
    server.on_get = lambda one: (400, {"message": "Not valid."}) if " " in one else get(one)  # type: ignore[method-assign]
    async with server.served():
        path = sheet(tmp_path, ("id", "display name"), [(row, "New") for row in rows])
        found = await plan(path, server.target, tmp_path)
    (row_error,) = found.row_errors
    assert row_error.message.startswith(
        'Whether a robot account has the id "not a guid" is not known: the server refused to look it up'
    )
    assert "HTTP 400: Not valid" in row_error.message
    assert (found.exit_code, found.error) == (2, None)


async def test_the_sandbox_can_refuse_ids_that_are_no_guids(tmp_path: Path) -> None:
    async with Sandbox(SandboxOptions(accounts=20, guids_only=True, limits=())) as server:
        path = sheet(tmp_path, ("id", "display name"), [("nobody", "New"), ("x", "New")])
        found = await plan(path, target_of(server), tmp_path)
    assert ["is not known" in row_error.message for row_error in found.row_errors] == [True, True]


async def test_a_look_up_that_is_answered_with_another_account_tells_nothing(tmp_path: Path) -> None:
    server = Identity([account("a"), account("b")])
    server.on_get = lambda _: (200, account("b"))  # type: ignore[method-assign]
    async with server.served():
        found = await plan(sheet(tmp_path, ("id", "display name"), [("a", "New")]), server.target, tmp_path)
    (row_error,) = found.row_errors
    assert "is not known: the server returned another account (b) for this id" in row_error.message


async def test_only_the_accounts_that_the_list_does_not_show_are_looked_up_after_group_requests(tmp_path: Path) -> None:
    """Those that the list shows as requested are settled, and not read again."""

    class Deleting(Identity):
        def on_group_put(self, group_id: str, body: dict[str, Any]) -> Answer:
            answer = super().on_group_put(group_id, body)
            del self.accounts["a07"]
            return answer

    ids = [f"a{number:02}" for number in range(20)]
    path = sheet(tmp_path, ("id", "groups_to_add"), [(each, "Fin") for each in ids])
    async with Deleting(map(account, ids)).served() as server:
        result = await runs.run(path, server.target, options(tmp_path, via="groups"), context(tmp_path))
    assert (result.exit_code, result.summary["updated"]) == (1, 19)
    assert [row["error_code"] for row in report(result) if row["status"] == "failed"] == ["account_gone"]
    assert {line for line in server.asked if "GET RobotAccount/" in line} == {"GET RobotAccount/a07"}


@pytest.mark.parametrize("column", ["name", "id"])
async def test_a_list_that_never_holds_still_leaves_the_rows_pending(tmp_path: Path, column: str) -> None:
    """Of many that are missing, none is said not to exist; nothing is sent, and the run can be resumed."""
    server = Identity([account(f"{n:04}") for n in range(400)], page_size=50)
    page = server.on_page

    def shifting(skip: int, top: int, term: str) -> tuple[int, Any]:
        answer = page(skip, top, term)
        for each in sorted(server.accounts)[:12]:  # more than the pages share
            del server.accounts[each]
        for _ in range(12):
            server.accounts |= {each["id"]: each for each in [account(f"z{len(server.asked)}-{_}")]}
        return answer

    server.on_page = shifting  # type: ignore[method-assign]
    async with server.served():
        path = sheet(tmp_path, (column, "display_name"), [(f"nobody-{n}", "New") for n in range(60)])
        result = await runs.run(path, server.target, options(tmp_path), context(tmp_path))
    assert result.exit_code == 3
    assert {row["status"] for row in report(result)} == {"pending"}
    assert result.error is not None
    assert (
        "exist: the list of robot accounts changed during each of 3 readings, so each may have missed some"
        in result.error.message
    )
    assert server.count("PUT") == 0


@pytest.mark.parametrize(
    ("accounts", "page_size", "total", "reason"),
    [
        (0, 1000, 500, "the server counts 500 robot accounts and lists none"),
        (1, 1000, 500, "the server counts 500 robot accounts and lists 1"),
        (3, 1, 4, "the server counts 4 robot accounts and lists 3"),
        (3, 1, 3, "the server lists one robot account per page, which does not show whether it left any out"),
    ],
)
async def test_a_list_that_does_not_change_is_not_said_to_change(
    tmp_path: Path, accounts: int, page_size: int, total: int, reason: str
) -> None:
    server = Identity([account(f"{n:04}") for n in range(accounts)], page_size)
    page = server.on_page

    def miscounted(skip: int, top: int, term: str) -> tuple[int, Any]:
        status, body = page(skip, top, term)
        return status, {**body, "totalCount": body["totalCount"] if term else total}

    server.on_page = miscounted  # type: ignore[method-assign]
    async with server.served():
        path = sheet(tmp_path, ("name", "display_name"), [(f"new-{n}", "New") for n in range(60)])
        result = await runs.run(path, server.target, options(tmp_path, create_missing=True), context(tmp_path))
    assert result.exit_code == 3
    assert result.error is not None
    assert result.error.message.endswith(f"exist: {reason}.")


@pytest.mark.parametrize("total", [40, 48, 39])
async def test_a_limit_in_percent_is_of_the_accounts_that_were_listed(tmp_path: Path, total: int) -> None:
    server = Identity([account(f"{n:04}") for n in range(40)], 30)
    page = server.on_page

    def miscounted(skip: int, top: int, term: str) -> tuple[int, Any]:
        status, body = page(skip, top, term)
        return status, {**body, "totalCount": body["totalCount"] if term else total}

    server.on_page = miscounted  # type: ignore[method-assign]
    known, new = ([f"robot-{n:04}" for n in range(35)], [f"new-{n}" for n in range(60)])
    async with server.served():
        path = sheet(tmp_path, ("name", "display_name"), [(name, "New") for name in (*known, *new)])
        bound = ChangeBound(percent=80.0)
        own = options(tmp_path, create_missing=True, yes_really=False, max_change=bound)
        result = await runs.run(path, server.target, own, context(tmp_path))
    assert result.exit_code == 2
    assert result.error is not None
    assert "The plan changes 35 of the organisation's 40 accounts (87.5 %)" in result.error.message


# --- organisations and servers of every kind


async def test_an_organisation_without_robot_accounts(tmp_path: Path) -> None:
    async with Sandbox(SandboxOptions(accounts=0, limits=())) as server:
        by_name = sheet(tmp_path, ("name", "display_name"), [("Anna", "New"), ("Bert", "New")])
        by_id = sheet(tmp_path, ("id", "display_name"), [("a", "New"), ("b", "New")], "ids.csv")
        for path in (by_name, by_id):
            found = await plan(path, target_of(server), tmp_path)
            assert [row_error.code for row_error in found.row_errors] == ["unknown_account", "unknown_account"]
            assert found.exit_code == 2
        exported = await runs.export(tmp_path / "all.csv", target_of(server), context=context(tmp_path))
        assert (exported.complete, exported.accounts) == (True, 0)


@pytest.mark.parametrize("column", ["name", "id"])
@pytest.mark.parametrize("total", [0, 2, 3, 4, 10**12])
@pytest.mark.parametrize("page_size", [0, 1, 2, 1000])
async def test_whatever_a_server_counts_and_shows_nothing_wrong_is_said(
    tmp_path: Path, total: int, page_size: int, column: str
) -> None:
    server = Identity([account(each, each) for each in ("anna", "bert", "cleo")], page_size)
    page = server.on_page

    def miscounted(skip: int, top: int, term: str) -> tuple[int, Any]:
        status, body = page(skip, top, term)
        return status, {**body, "totalCount": total if not term else body["totalCount"]}

    server.on_page = miscounted  # type: ignore[method-assign]
    async with server.served():
        path = sheet(tmp_path, (column, "display_name"), [("anna", "New"), ("cleo", "New"), ("dora", "New")])
        found = await plan(path, server.target, tmp_path)
        exported = await runs.export(tmp_path / "all.csv", server.target, context=context(tmp_path))
    believed = total == min(page_size, 3)  # one page that holds all that is counted
    wrong = {row_error.value for row_error in found.row_errors}
    assert wrong == {"dora"} or found.exit_code == 3 or believed
    assert not exported.complete or believed or (total == 3 and page_size >= 2)
    assert len(server.asked) < 120


async def test_a_list_that_shows_fewer_than_it_counts_is_read_again_before_many_are_called_gone(tmp_path: Path) -> None:
    """30 of 60 accounts are on no page at first, although the server counts them: too many to look up one by one."""
    ids = [f"a{number:03}" for number in range(60)]
    server = Identity(account(each) for each in ids)
    page = server.on_page

    def hiding(skip: int, top: int, term: str) -> Answer:
        status, body = page(skip, top, term)
        if server.count("GET RobotAccount") <= 2:  # the first page, and one that shows that there is no more
            body = {**body, "results": [each for each in body["results"] if each["id"] < "a030"]}
        return status, body

    server.on_page = hiding  # type: ignore[method-assign]
    path = sheet(tmp_path, ("id", "display_name"), [(each, "New") for each in ids])
    async with server.served():
        result = await runs.run(path, server.target, options(tmp_path), context(tmp_path))
    assert (result.exit_code, result.summary["updated"]) == (0, 60)


async def test_a_search_that_shows_only_some_of_what_it_finds_does_not_settle_who_has_a_name(tmp_path: Path) -> None:
    names = [*(f"a{number:03}" for number in range(90)), "Robbie", "robbie"]
    server = Identity([account(f"id{number}", name) for number, name in enumerate(names)], page_size=20)
    page = server.on_page

    def short(skip: int, top: int, term: str) -> Answer:
        status, body = page(skip, top, term)
        return status, ({**body, "results": body["results"][:1]} if term else body)

    server.on_page = short  # type: ignore[method-assign]
    path = sheet(tmp_path, ("name", "display_name"), [("ROBBIE", "New")])
    async with server.served():
        result = await runs.run(path, server.target, options(tmp_path), context(tmp_path))
    assert (result.exit_code, server.count("PUT")) == (2, 0)
    assert "Several robot accounts" in report(result)[0]["error"]


@pytest.mark.parametrize(
    ("account_id", "name", "message"),
    [
        ("00000000-0000-4000-8000-000000000000", "robot-0100", 'The account "robot-0100" has the id'),
        ("robot-0100", "", "It is the name of an account: put it in the column name."),
        ("ROBOT-0100", "nobody", "It is the name of an account: put it in the column name."),
    ],
)
@pytest.mark.parametrize("others", [0, 3])
async def test_a_deletion_whose_id_no_account_has_is_not_called_done_while_an_account_has_its_name(
    tmp_path: Path, account_id: str, name: str, message: str, others: int
) -> None:
    """Whether the account was looked up by itself or with others, and whatever the pages show."""
    async with Sandbox(SandboxOptions(accounts=230, page_cap=50, limits=())) as server:
        rest = [("", f"robot-{number:04}", "delete") for number in range(200, 200 + others)]
        rows = [(account_id, name, "delete"), *rest]
        path = sheet(tmp_path, ("robot_account_id", "name", "action"), rows)
        found = await plan(path, target_of(server), tmp_path, allow_delete=True)
    (row_error,) = found.row_errors
    assert (row_error.row, row_error.code) == (2, "unknown_account")
    assert message in row_error.message


@pytest.mark.parametrize(("name", "most"), [("", 1), ("nobody", 9)])
async def test_a_deletion_whose_id_and_name_no_account_has_is_done_already(
    tmp_path: Path, name: str, most: int
) -> None:
    async with Sandbox(SandboxOptions(accounts=230, page_cap=50, limits=())) as server:
        rows = [("00000000-0000-4000-8000-000000000000", name, "delete")]
        path = sheet(tmp_path, ("robot_account_id", "name", "action"), rows)
        found = await plan(path, target_of(server), tmp_path, allow_delete=True)
    assert found.error is None
    assert found.row_errors == ()
    assert (found.summary["unchanged"], found.summary["deleted"]) == (1, 0)
    assert found.summary["requests"]["GET"] <= most


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("others", [0, 2])
async def test_a_look_up_that_is_refused_alone_says_nothing_about_the_token(
    tmp_path: Path, status: int, others: int
) -> None:
    """Also where it is the first request of all: the list shows that the server takes the token."""
    server = Identity([account(str(number)) for number in range(40)])
    server.on_get = lambda _account_id: (status, {"message": "Not this one."})  # type: ignore[method-assign]
    path = sheet(tmp_path, ("id", "display name"), [("hidden", "New"), *((str(n), "New") for n in range(others))])
    async with server.served():
        found = await plan(path, server.target, tmp_path)
    assert found.error is None
    assert [(error.value, error.code) for error in found.row_errors] == [("hidden", "unknown_account")]
    assert f"the server refused to look it up (HTTP {status}: Not this one)" in found.row_errors[0].message


async def test_a_list_that_is_forbidden_while_accounts_are_read_back_is_said_in_a_sentence(tmp_path: Path) -> None:
    server = Identity([account("a"), account("b"), account("c")])
    put, page = server.on_put, server.on_page
    server.on_put = lambda *asked: (put(*asked)[0], {})  # type: ignore[method-assign]

    def on_page(*asked: Any) -> Answer:
        return (403, {"message": "Not any more."}) if server.count("PUT RobotAccount") else page(*asked)

    server.on_page = on_page  # type: ignore[method-assign]
    path = sheet(tmp_path, ("id", "display name"), [("a", "New"), ("b", "New"), ("c", "New")])
    async with server.served():
        result = await runs.run(path, server.target, options(tmp_path), context(tmp_path))
    assert result.exit_code == 3
    assert result.error is not None
    assert (
        result.error.message
        == "The server does not let this token read the robot accounts any more (403): Not any more."
    )
    assert [row["status"] for row in report(result)] == ["pending"] * 3
