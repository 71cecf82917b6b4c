"""New groups: one POST each, which carries the existing accounts that join."""

from pathlib import Path
from typing import Any

import pytest

from bulkid import runs
from bulkid.identity.tokens import TokenClaims
from bulkid.journal.store import open_journal
from bulkid.model import Action, DesiredState, FailureBound, Reply, Request
from bulkid.runs.execution import new_group_sender
from tests.support.life_server import (
    FAULTS,
    LifeServer,
    counts,
    go_on,
    journal_run,
    killed_at,
    refusal,
    rows_of,
    statuses,
    waits,
    wanted,
)

OURS, SALES = "0c7f0a4e-5d5e-4a8e-9d43-000000000001", "0c7f0a4e-5d5e-4a8e-9d43-000000000002"
NEW = {OURS: "Finance", SALES: "Sales"}


def joining(count: int, group: str = OURS, **settings: Any) -> tuple[LifeServer, list[DesiredState]]:
    """A server with so many accounts, each of which is to join a group."""
    server = LifeServer(groups={"g-old": "Old"}, **settings)
    names = [f"robot-{number:03}" for number in range(count)]
    return server, [wanted(name, account_id=server.add(name), add=(group,)) for name in names]


def members(server: LifeServer, group: str) -> list[str]:
    return sorted(each["name"] for each in server.accounts.values() if group in each["groupIds"])


def new_groups_kept(folder: Path) -> dict[str, str]:
    with open_journal(folder / "state") as journal:
        (record,) = journal.list_runs()
    kept: dict[str, str] = dict(record.options.get("new_groups", {}))
    return kept


def once(fault: str) -> Any:
    struck: list[str] = []

    def strike(request: Request) -> str:
        if request.method != "POST" or struck:
            return ""
        struck.append(fault)
        return fault

    return strike


def test_a_new_group_is_created_with_all_its_members_and_creations_join_it_by_their_own_posts(tmp_path: Path) -> None:
    server, states = joining(250)
    states += [wanted(name, Action.CREATE, add=(OURS, SALES)) for name in ("new-1", "new-2")]
    run_id = journal_run(tmp_path, states, NEW)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"updated": 250, "created": 2})
    assert (server.count("POST", "Group"), server.count("POST"), server.count("PUT")) == (2, 4, 0)
    assert server.groups == {"g-old": "Old", **NEW}
    assert (len(members(server, OURS)), members(server, SALES)) == (252, ["new-1", "new-2"])
    row = rows_of(tmp_path, run_id)["robot-007"]
    assert (row.http_status, row.attempts, row.via) == (201, 1, "group")
    methods = [request.path.split("/")[1] for request in server.sent if request.method == "POST"]
    assert methods == ["Group", "Group", "RobotAccount", "RobotAccount"]


@pytest.mark.parametrize("via", ["accounts", "groups"])
def test_changes_besides_the_new_group_go_their_own_way(via: str, tmp_path: Path) -> None:
    server, states = joining(6)
    states = [state._replace(add=(OURS, "g-old")) for state in states]
    states[0] = states[0]._replace(values=("Renamed",))
    run_id = journal_run(tmp_path, states, NEW, via=via)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"updated": 6})
    assert (len(members(server, OURS)), len(members(server, "g-old"))) == (6, 6)
    assert (server.count("POST"), server.count("PUT", "Group")) == (1, 1 if via == "groups" else 0)
    assert server.count("PUT", "RobotAccount") == (1 if via == "groups" else 6)


def test_a_post_that_is_too_large_is_halved_and_the_others_join_by_group_requests(tmp_path: Path) -> None:
    server, states = joining(100, most_members=30)
    run_id = journal_run(tmp_path, states, NEW)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"updated": 100})
    assert [len(body["directoryUserMemberIDs"]) for body in server.bodies("POST", "Group")] == [100, 50, 25]
    assert [len(body["directoryUserIDsToAdd"]) for body in server.bodies("PUT", "Group")] == [25, 25, 25]
    assert server.count("PUT", "RobotAccount") == 0


def test_where_group_requests_are_refused_the_others_join_by_their_own_requests(tmp_path: Path) -> None:
    class Refusing(LifeServer):
        def _put_group(self, _ids: list[str], _body: Any, _query: Any) -> Reply:
            return refusal(400, "Groups cannot be changed.")

    server, states = joining(20)
    refusing = Refusing(server.accounts, server.groups, most_members=10)
    run_id = journal_run(tmp_path, states, NEW)
    result = go_on(tmp_path, refusing)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"updated": 20})
    assert len(members(refusing, OURS)) == 20


def test_a_member_that_the_server_refuses_does_not_keep_the_group_from_the_others(tmp_path: Path) -> None:
    server, states = joining(20, locked={"robot-004"})
    run_id = journal_run(tmp_path, states, NEW)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (1, {"updated": 19, "failed": 1})
    assert rows_of(tmp_path, run_id)["robot-004"].status == "failed"
    assert len(members(server, OURS)) == 19


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "429"])
def test_after_an_unclear_answer_the_list_of_groups_shows_whether_it_was_created(fault: str, tmp_path: Path) -> None:
    server, states = joining(5, fault=once(fault))
    run_id = journal_run(tmp_path, states, NEW)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"updated": 5})
    assert (server.count("POST"), server.count("PUT")) == (1 if FAULTS[fault][0] else 2, 0)


def test_a_group_of_the_name_that_another_client_created_meanwhile_is_used_instead(tmp_path: Path) -> None:
    server, states = joining(5)
    states += [wanted("new-1", Action.CREATE, add=(OURS,)), wanted("exact", Action.CREATE, exact=(OURS,))]

    def other(request: Request, when: str) -> None:
        if request.method == "POST" and when == "before":
            server.groups.setdefault("theirs", "FINANCE")

    server.act = other
    run_id = journal_run(tmp_path, states, NEW)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"updated": 5, "created": 2})
    assert (len(members(server, "theirs")), OURS in server.groups) == (7, False)
    assert new_groups_kept(tmp_path) == {SALES: "Sales"}
    with open_journal(tmp_path / "state") as journal:
        assert {item.desired.exact or item.desired.add for item in journal.iter_items(run_id)} == {("theirs",)}


def test_a_server_that_gives_the_group_an_id_of_its_own_is_followed(tmp_path: Path) -> None:
    class Own(LifeServer):
        def _post_group(self, ids: list[str], body: Any, query: Any) -> Reply:
            return super()._post_group(ids, {**body, "id": "its-own"}, query)

    server, states = joining(3)
    own = Own(server.accounts, server.groups)
    states.append(wanted("new-1", Action.CREATE, add=(OURS,)))
    run_id = journal_run(tmp_path, states, NEW)
    result = go_on(tmp_path, own)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"updated": 3, "created": 1})
    assert len(members(own, "its-own")) == 4


def test_an_answer_about_another_group_does_not_lead_members_into_that_group(tmp_path: Path) -> None:
    class Other(LifeServer):
        def _post_group(self, ids: list[str], body: Any, query: Any) -> Reply:
            return super()._post_group(ids, body, query)._replace(payload={"id": "g-old", "name": "Old"})

    first, states = joining(3)
    server = Other(first.accounts, first.groups)
    states.append(wanted("new-1", Action.CREATE, add=(OURS,)))
    run_id = journal_run(tmp_path, states, NEW)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"updated": 3, "created": 1})
    assert (members(server, "g-old"), len(members(server, OURS))) == ([], 4)
    assert new_groups_kept(tmp_path) == NEW


def test_the_rows_that_need_a_group_which_is_refused_fail_and_the_others_do_not(tmp_path: Path) -> None:
    server, states = joining(5, locked={"Finance"})
    other = wanted("other", account_id=server.add("other"), display_name="New")
    states += [other, wanted("new-1", Action.CREATE, add=(OURS,)), wanted("new-2", Action.CREATE, add=(SALES,))]
    run_id = journal_run(tmp_path, states, NEW)
    result = go_on(tmp_path, server)
    found = statuses(tmp_path, run_id)
    assert (result.exit_code, found["other"], found["new-1"], found["new-2"]) == (1, "updated", "failed", "created")
    assert counts(tmp_path, run_id) == {"failed": 6, "updated": 1, "created": 1}
    row = rows_of(tmp_path, run_id)["robot-000"]
    assert (row.http_status, row.error_code) == (400, "group_not_created")
    assert row.error == "The group Finance could not be created: A group may not be called that."
    assert (server.created, server.count("PUT")) == (["new-2"], 1)


def test_a_group_whose_answers_stay_unclear_fails_its_rows_after_the_attempts(tmp_path: Path) -> None:
    server, states = joining(2, fault=lambda request: "500" if request.method == "POST" else "")
    run_id = journal_run(tmp_path, states, NEW, max_attempts=3)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id), server.count("POST")) == (1, {"failed": 2}, 3)


def test_too_many_rows_without_their_group_stop_the_run(tmp_path: Path) -> None:
    server, states = joining(5, locked={"Finance"})
    states.append(wanted("new", Action.CREATE))
    run_id = journal_run(tmp_path, states, NEW, max_failures=FailureBound(4))
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (4, {"failed": 5, "pending": 1})
    assert server.created == []


def test_members_that_do_not_show_the_group_get_their_own_request(tmp_path: Path) -> None:
    class Forgetful(LifeServer):
        def _post_group(self, ids: list[str], body: Any, query: Any) -> Reply:
            return super()._post_group(ids, {**body, "directoryUserMemberIDs": []}, query)

    server, states = joining(3)
    forgetful = Forgetful(server.accounts, server.groups)
    run_id = journal_run(tmp_path, states, NEW)
    result = go_on(tmp_path, forgetful)
    assert (result.exit_code, counts(tmp_path, run_id), forgetful.count("PUT")) == (0, {"updated": 3}, 3)


def test_without_the_scope_for_groups_nothing_is_sent(tmp_path: Path) -> None:
    scopes = frozenset({"PM.RobotAccount", "PM.Group.Read"})
    server, states = joining(3, claims=TokenClaims("", scopes, None))
    run_id = journal_run(tmp_path, states, NEW)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (3, {"pending": 3})
    assert {request.method for request in server.sent} == {"GET"}
    assert result.error is not None
    assert "PM.Group.Write" in result.error.message


@pytest.mark.parametrize("existing", [OURS, "theirs"])
def test_a_resume_uses_a_group_that_exists_by_now_under_either_id(existing: str, tmp_path: Path) -> None:
    server, states = joining(3)
    server.groups[existing] = "finance"
    states.append(wanted("new-1", Action.CREATE, add=(OURS,)))
    run_id = journal_run(tmp_path, states, NEW)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"updated": 3, "created": 1})
    assert (server.count("POST", "Group"), len(members(server, existing))) == (0, 4)
    assert new_groups_kept(tmp_path) == (NEW if existing == OURS else {SALES: "Sales"})


@pytest.mark.parametrize("moment", range(14))
def test_a_run_that_is_killed_creates_each_group_once(moment: int, tmp_path: Path) -> None:
    server, states = joining(2)
    states.append(wanted("new-1", Action.CREATE, add=(OURS,)))
    run_id = journal_run(tmp_path, states, NEW, concurrency=1)
    if killed_at(tmp_path, server, moment):
        assert go_on(tmp_path, server).exit_code == 0
    assert counts(tmp_path, run_id) == {"updated": 2, "created": 1}
    assert (list(server.groups.values()), len(members(server, OURS))) == (["Old", "Finance"], 3)


def test_a_stop_before_the_groups_are_known_leaves_all_rows_pending(tmp_path: Path) -> None:
    server, states = joining(2)
    stop = runs.Stop()
    server.act = lambda request, _when: stop.request("Stopped") if request.method == "POST" else None
    states.append(wanted("new-1", Action.CREATE, add=(OURS,)))
    run_id = journal_run(tmp_path, states, NEW)
    assert go_on(tmp_path, server, stop=stop).exit_code == 5
    assert (counts(tmp_path, run_id), server.created) == ({"pending": 3}, [])
    server.act = lambda _request, _when: None
    assert go_on(tmp_path, server).exit_code == 0
    assert counts(tmp_path, run_id) == {"updated": 2, "created": 1}


@pytest.mark.parametrize("refused", ["Finance", "Sales"])
def test_an_account_that_joins_one_new_group_by_its_post_and_misses_another_fails_without_a_second_request(
    refused: str, tmp_path: Path
) -> None:
    server, states = joining(3, locked={refused})
    states = [state._replace(add=(OURS, SALES)) for state in states]
    states.append(wanted("other", account_id=server.add("other"), display_name="New"))
    run_id = journal_run(tmp_path, states, NEW)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (1, {"failed": 3, "updated": 1})
    assert server.count("PUT") == 1


class Late(LifeServer):
    """Lists the groups without those that were created, a number of times."""

    lists = 2

    def _get_group(self, ids: list[str], body: Any, query: Any) -> Reply:
        reply = super()._get_group(ids, body, query)
        if not self.count("POST") or not self.lists:
            return reply
        self.lists -= 1
        return reply._replace(payload=[group for group in reply.payload if group["name"] in {"Everyone", "Old"}])


def test_a_server_that_lists_a_new_group_a_moment_late_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_group_sender, "SETTLING_S", 2.125)  # as long as no other wait
    server, states = joining(3)
    late = Late(server.accounts, server.groups, fault=once("lost after"))
    run_id = journal_run(tmp_path, states, NEW)
    with waits() as waited:
        result = go_on(tmp_path, late)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"updated": 3})
    assert (late.count("POST"), late.count("PUT"), len(members(late, OURS))) == (2, 0, 3)
    assert 2.125 in waited
