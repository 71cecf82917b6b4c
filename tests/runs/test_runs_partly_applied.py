"""Accounts that fail after the run has made a part of their change: the report says so, and an undo puts that back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkid.errors import UsageError
from bulkid.identity.endpoints import parse_account
from bulkid.model import Reply, Request, Status
from tests.support.life_server import (
    BROKEN,
    LifeServer,
    go_on,
    journal_run,
    killed_when,
    refusal,
    rows_of,
    undone,
    wanted,
)

GROUPS = {"g-1": "Open", "g-2": "Closed"}
NAMES = ("a", "b", "c")


@dataclass
class ClosedGroup(LifeServer):
    """No account may join the group g-2, neither by a request for the group nor by one for the account."""

    def _unknown_groups(self, group_ids: Any) -> Reply | None:
        return refusal(400, "It takes no robots.") if "g-2" in group_ids else super()._unknown_groups(group_ids)

    def _put_group(self, ids: list[str], body: Any, query: Any) -> Reply:
        return refusal(400, "It takes no robots.") if ids[0] == "g-2" else super()._put_group(ids, body, query)


def begun(folder: Path, server: LifeServer, display_name: str | None = None, **options: Any) -> str:
    """Journal a run that adds each account to both groups, and renames it if a display name is given."""
    ids = [server.add(name, "Old") for name in NAMES]
    states = [
        wanted(name, account_id=account_id, add=("g-1", "g-2"), display_name=display_name)
        for name, account_id in zip(NAMES, ids, strict=True)
    ]
    befores = {number: parse_account(server.accounts[account_id]) for number, account_id in enumerate(ids)}
    return journal_run(folder, states, None, befores, max_attempts=1, **options)


def check_undone(folder: Path, server: LifeServer, run_id: str) -> None:
    for row in rows_of(folder, run_id).values():
        assert (row.status, row.error_code) == (Status.FAILED, "partly_applied")
        assert row.error.endswith(" Part of the change was made.")
    assert {account["groupIds"] == ["g-1"] for account in server.accounts.values()} == {True}
    assert undone(folder, server) == dict.fromkeys(NAMES, Status.UPDATED)
    assert not any(account["groupIds"] for account in server.accounts.values())


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_group_that_took_accounts_in_is_undone_where_another_one_refused_them(
    concurrency: int, tmp_path: Path
) -> None:
    server = ClosedGroup(groups=GROUPS)
    run_id = begun(tmp_path, server, via="groups", concurrency=concurrency)
    assert go_on(tmp_path, server).exit_code == 1
    check_undone(tmp_path, server, run_id)


def test_what_a_killed_attempt_has_done_is_undone_where_the_resume_fails(tmp_path: Path) -> None:
    server = ClosedGroup(groups=GROUPS)
    run_id = begun(tmp_path, server, via="groups", concurrency=1)

    def has_passed(request: Request, moment: str) -> bool:
        return moment == "after" and request.path == "api/Group/g-1"

    assert killed_when(server, has_passed, lambda stop: go_on(tmp_path, server, stop=stop))
    assert go_on(tmp_path, server).exit_code == 1
    check_undone(tmp_path, server, run_id)


def test_accounts_of_which_all_requests_were_refused_are_left_alone_by_an_undo(tmp_path: Path) -> None:
    server = ClosedGroup(groups=GROUPS)
    begun(tmp_path, server, via="accounts")
    assert go_on(tmp_path, server).exit_code == 1
    # Another client does by hand what the run could not.
    for account in server.accounts.values():
        account["groupIds"].append("g-1")
    with pytest.raises(Exception, match="changed nothing"):
        undone(tmp_path, server)


def test_a_part_that_is_read_back_after_an_error_is_undone(tmp_path: Path) -> None:
    server = LifeServer(groups=GROUPS)
    put = server._put_robotaccount

    def half(ids: list[str], body: Any, query: Any) -> Reply:
        put(ids, {**body, "groupIDsToAdd": body["groupIDsToAdd"][:1]}, query)
        return BROKEN

    server._put_robotaccount = half  # type: ignore[method-assign]
    run_id = begun(tmp_path, server, via="accounts")
    assert go_on(tmp_path, server).exit_code == 1
    server._put_robotaccount = put  # type: ignore[method-assign]
    check_undone(tmp_path, server, run_id)


def test_an_account_that_another_client_changed_after_a_kill_is_named_by_the_undo(tmp_path: Path) -> None:
    """The resume of an approved plan leaves it alone, although the killed attempt has changed it."""
    server = LifeServer(groups=GROUPS)
    run_id = begun(tmp_path, server, via="accounts", concurrency=1, approved="hash", display_name="New")

    def has_passed(request: Request, moment: str) -> bool:
        return moment == "after" and request.method == "PUT"

    assert killed_when(server, has_passed, lambda stop: go_on(tmp_path, server, stop=stop))
    touched = server.named("a")
    assert touched is not None
    touched["displayName"] = "Theirs"
    assert go_on(tmp_path, server).exit_code == 1
    assert rows_of(tmp_path, run_id)["a"].error_code == "partly_applied"
    assert undone(tmp_path, server) == {"a": Status.INVALID, "b": Status.UPDATED, "c": Status.UPDATED}
    assert (touched["displayName"], touched["groupIds"]) == ("Theirs", ["g-1", "g-2"])


@dataclass
class OwnIds(LifeServer):
    """Gives a new group an id of its own."""

    def _post_group(self, ids: list[str], body: Any, query: Any) -> Reply:
        return super()._post_group(ids, {**body, "id": "g-own"}, query)


@pytest.mark.parametrize("via", ["accounts", "groups"])
def test_a_new_group_that_took_accounts_in_is_undone_where_the_server_gave_it_another_id(
    via: str, tmp_path: Path
) -> None:
    """The run knows that group by the id that it asked for no more."""
    server = OwnIds()
    put = server._put_robotaccount
    server._put_robotaccount = lambda *_: refusal(400, "It is read-only.")  # type: ignore[method-assign]
    ids = [server.add(name, "Old") for name in NAMES]
    states = [
        wanted(name, account_id=account_id, add=("g-new",), display_name="New")
        for name, account_id in zip(NAMES, ids, strict=True)
    ]
    befores = {number: parse_account(server.accounts[account_id]) for number, account_id in enumerate(ids)}
    run_id = journal_run(tmp_path, states, {"g-new": "Fresh"}, befores, max_attempts=1, via=via)
    assert go_on(tmp_path, server).exit_code == 1
    assert {account["groupIds"] == ["g-own"] for account in server.accounts.values()} == {True}
    server._put_robotaccount = put  # type: ignore[method-assign]
    assert {row.error_code for row in rows_of(tmp_path, run_id).values()} == {"partly_applied"}
    assert undone(tmp_path, server) == dict.fromkeys(NAMES, Status.UPDATED)
    assert not any(account["groupIds"] for account in server.accounts.values())


@pytest.mark.parametrize("code", ["1100", "not_found"])
def test_an_account_that_is_deleted_after_a_group_took_it_in_is_gone_whatever_the_server_calls_that(
    code: str, tmp_path: Path
) -> None:
    server = ClosedGroup(groups=GROUPS)
    run_id = begun(tmp_path, server, via="groups", concurrency=1)
    put_group = server._put_group

    def deleted_then(ids: list[str], body: Any, query: Any) -> Reply:
        reply = put_group(ids, body, query)
        if ids[0] == "g-2":
            server.accounts.clear()
        return reply

    server._put_group = deleted_then  # type: ignore[method-assign]
    server._put_robotaccount = lambda *_: refusal(404, "There is none.")._replace(error_code=code)  # type: ignore[method-assign]
    assert go_on(tmp_path, server).exit_code == 1
    assert {row.error_code for row in rows_of(tmp_path, run_id).values()} == {"account_gone"}
    with pytest.raises(UsageError, match="changed nothing"):
        undone(tmp_path, server)


@pytest.mark.parametrize("code", ["1100", "not_found"])
def test_what_the_server_does_not_find_may_be_a_group_and_not_the_account(code: str, tmp_path: Path) -> None:
    server = ClosedGroup(groups=GROUPS)
    run_id = begun(tmp_path, server, via="groups", concurrency=1)
    put = server._put_robotaccount
    server._put_robotaccount = lambda *_: refusal(404, "There is no such group.")._replace(error_code=code)  # type: ignore[method-assign]
    assert go_on(tmp_path, server).exit_code == 1
    server._put_robotaccount = put  # type: ignore[method-assign]
    check_undone(tmp_path, server, run_id)


def test_a_group_request_without_a_clear_answer_is_undone_where_the_account_refuses_its_own(tmp_path: Path) -> None:
    server = LifeServer(groups=GROUPS, fault=lambda request: "500 after" if "api/Group/" in request.path else "")
    put = server._put_robotaccount
    server._put_robotaccount = lambda *_: refusal(400, "It is read-only.")  # type: ignore[method-assign]
    run_id = begun(tmp_path, server, via="groups", concurrency=1)
    assert go_on(tmp_path, server).exit_code == 1
    server.fault, server._put_robotaccount = lambda _: "", put  # type: ignore[method-assign]
    for row in rows_of(tmp_path, run_id).values():
        assert (row.status, row.error_code) == (Status.FAILED, "partly_applied")
    assert undone(tmp_path, server) == dict.fromkeys(NAMES, Status.UPDATED)
    assert not any(account["groupIds"] for account in server.accounts.values())


def test_a_display_name_of_a_killed_attempt_is_undone_where_the_resume_fails(tmp_path: Path) -> None:
    """Another client has taken the account out of the groups meanwhile, so that it must be sent again."""
    server = LifeServer(groups=GROUPS)
    begun(tmp_path, server, via="accounts", concurrency=1, display_name="New")

    def has_passed(request: Request, moment: str) -> bool:
        return moment == "after" and request.method == "PUT"

    assert killed_when(server, has_passed, lambda stop: go_on(tmp_path, server, stop=stop))
    account = server.named("a")
    assert account is not None
    account["groupIds"].clear()
    server.locked.add("a")
    assert go_on(tmp_path, server).exit_code == 1
    server.locked.clear()
    assert undone(tmp_path, server) == dict.fromkeys(NAMES, Status.UPDATED)
    assert account["displayName"] == "Old"


def test_what_another_client_did_before_any_request_left_is_no_part_of_the_change(tmp_path: Path) -> None:
    server = ClosedGroup(groups=GROUPS)
    run_id = begun(tmp_path, server, via="accounts")
    for account in server.accounts.values():
        account["groupIds"].append("g-1")
    assert go_on(tmp_path, server).exit_code == 1
    assert {row.error_code for row in rows_of(tmp_path, run_id).values()} == {"400"}
    with pytest.raises(UsageError, match="changed nothing"):
        undone(tmp_path, server)
