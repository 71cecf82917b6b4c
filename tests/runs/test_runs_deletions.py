"""Deletions: many accounts in one request, confirmed one by one, and last of all."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from bulkid import runs
from bulkid.model import Account, Action, DesiredState, FailureBound, Reply, ReplyKind, Request
from bulkid.runs.execution import deletion_sender
from tests.support.life_server import (
    FAULTS,
    ORG,
    URL,
    LifeServer,
    counts,
    go_on,
    journal_run,
    killed_at,
    rows_of,
    serving,
    statuses,
    waits,
    wanted,
)


def populated(count: int, **settings: Any) -> tuple[LifeServer, list[DesiredState]]:
    """A server with so many accounts and one that stays, and the deletions of the others."""
    server = LifeServer(groups={"g-1": "Finance"}, **settings)
    server.add("stays")
    states = []
    for number in range(count):
        name = f"robot-{number:03}"
        states.append(wanted(name, Action.DELETE, account_id=server.add(name)))
    return server, states


def sizes(server: LifeServer) -> list[int]:
    return [len(body["robotAccountIDs"]) for body in server.bodies("DELETE")]


def once(fault: str) -> Any:
    seen: set[bytes | None] = set()

    def strike(request: Request) -> str:
        first = request.body not in seen
        seen.add(request.body)
        return fault if first else ""

    return strike


def test_accounts_are_deleted_in_requests_of_100_and_read_back(tmp_path: Path) -> None:
    server, states = populated(230)
    run_id = journal_run(tmp_path, states)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"deleted": 230})
    assert (sorted(sizes(server)), server.named("stays") is not None) == ([30, 100, 100], True)
    row = rows_of(tmp_path, run_id)["robot-007"]
    assert (row.http_status, row.attempts, row.via, row.robot_account_id) == (
        204,
        1,
        "account",
        states[7].account_id,
    )


def test_a_refused_request_is_halved_down_to_the_account_that_the_server_refuses(tmp_path: Path) -> None:
    server, states = populated(100, locked={"robot-042"})
    run_id = journal_run(tmp_path, states)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (1, {"deleted": 99, "failed": 1})
    row = rows_of(tmp_path, run_id)["robot-042"]
    assert (row.status, row.http_status, row.error) == ("failed", 400, "One of them is locked.")
    assert len(sizes(server)) <= 2 * 7 + 1
    assert server.named("robot-042") is not None


def test_accounts_that_are_gone_already_make_no_request_fail(tmp_path: Path) -> None:
    """They go after the comparison: the server then refuses each request that names them."""
    server, states = populated(100)

    def vanish(request: Request, when: str) -> None:
        if request.method == "DELETE" and when == "before" and not server.count("DELETE"):
            for number in (3, 50, 51, 99):
                del server.accounts[states[number].account_id]

    server.act = vanish
    run_id = journal_run(tmp_path, states)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"deleted": 100})
    assert sizes(server) == [100, 96]


@pytest.mark.parametrize("fault", list(FAULTS))
def test_whatever_the_answer_an_account_that_is_gone_was_deleted(fault: str, tmp_path: Path) -> None:
    server, states = populated(20, fault=once(fault))
    run_id = journal_run(tmp_path, states)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"deleted": 20})
    assert len(server.deleted) == 20


def test_deletions_whose_answers_stay_unclear_are_sent_in_halves_and_fail_in_the_end(tmp_path: Path) -> None:
    server, states = populated(4, fault=lambda request: "500" if request.method == "DELETE" else "")
    run_id = journal_run(tmp_path, states, max_attempts=2)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (1, {"failed": 4})
    row = rows_of(tmp_path, run_id)["robot-000"]
    assert (row.http_status, row.error, row.attempts) == (500, "An internal error occurred.", 6)


@pytest.mark.parametrize(("count", "poison"), [(2, 0), (7, 3), (100, 42), (230, 229)])
@pytest.mark.parametrize("fault", ["500", "lost before", "page"])
def test_one_account_whose_deletion_breaks_the_server_keeps_no_other_from_being_deleted(
    count: int, poison: int, fault: str, tmp_path: Path
) -> None:
    server, states = populated(count)
    bad = states[poison].account_id.encode()
    server.fault = lambda request: fault if b'"%s"' % bad in (request.body or b"") else ""
    run_id = journal_run(tmp_path, states, max_attempts=1)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (1, {"deleted": count - 1, "failed": 1})
    assert rows_of(tmp_path, run_id)[states[poison].name].status == "failed"
    assert len(sizes(server)) <= 3 + 3 * 8


def test_a_server_that_fails_on_every_deletion_is_given_up_before_each_account_is_alone(tmp_path: Path) -> None:
    server, states = populated(100, fault=lambda request: "500" if request.method == "DELETE" else "")
    run_id = journal_run(tmp_path, states, max_attempts=1)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (1, {"failed": 100})
    assert sorted(sizes(server), reverse=True) == [100, 50, 50, *[25] * 4, *[13] * 7, 9]


def test_a_deletion_alone_in_its_request_takes_the_attempts_of_one_account(tmp_path: Path) -> None:
    server, states = populated(1, fault=lambda request: "500" if request.method == "DELETE" else "")
    run_id = journal_run(tmp_path, states, max_attempts=3)
    assert go_on(tmp_path, server).exit_code == 1
    assert (rows_of(tmp_path, run_id)["robot-000"].attempts, server.count("DELETE")) == (3, 3)


def test_a_server_that_takes_only_small_requests_is_given_small_ones(tmp_path: Path) -> None:
    class Small(LifeServer):
        def _delete_robotaccount(self, ids: list[str], body: Any, query: Any) -> Reply:
            if len(body["robotAccountIDs"]) > 30:
                return Reply(ReplyKind.REFUSED, 413)
            return super()._delete_robotaccount(ids, body, query)

    server, states = populated(100)
    small = Small(server.accounts, server.groups)
    run_id = journal_run(tmp_path, states)
    result = go_on(tmp_path, small)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"deleted": 100})
    assert sorted(sizes(small)) == [25, 25, 25, 25, 50, 50, 100]


class Lying(LifeServer):
    """Answers 204 to a deletion and deletes nothing; or shows the accounts for a while longer."""

    late = 0  # lists that still show the accounts
    gone: frozenset[str] = frozenset()

    def _delete_robotaccount(self, _ids: list[str], body: Any, _query: Any) -> Reply:
        self.gone = frozenset(body["robotAccountIDs"])
        return Reply(ReplyKind.OK, 204)

    def _get_robotaccount(self, ids: list[str], body: Any, query: Any) -> Reply:
        if self.gone and self.late and len(ids) == 1:
            self.late -= 1
            if not self.late:
                self.accounts = {key: value for key, value in self.accounts.items() if key not in self.gone}
        return super()._get_robotaccount(ids, body, query)


def test_an_account_that_still_exists_after_a_204_has_failed(tmp_path: Path) -> None:
    server, states = populated(3)
    run_id = journal_run(tmp_path, states)
    result = go_on(tmp_path, Lying(server.accounts))
    assert (result.exit_code, counts(tmp_path, run_id)) == (1, {"failed": 3})
    row = rows_of(tmp_path, run_id)["robot-000"]
    assert (row.error_code, row.error) == ("not_applied", "The server answered 204, but the account still exists.")


def test_a_server_that_shows_deleted_accounts_a_moment_longer_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion_sender, "SETTLING_S", 2.125)  # as long as no other wait
    server, states = populated(3)
    lying = Lying(server.accounts)
    lying.late = 2
    run_id = journal_run(tmp_path, states)
    with waits() as waited:
        result = go_on(tmp_path, lying)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"deleted": 3})
    assert 2.125 in waited


def test_nothing_is_deleted_after_too_many_updates_have_failed(tmp_path: Path) -> None:
    server, states = populated(3, locked={"bad-0", "bad-1"})
    bad = [wanted(name, account_id=server.add(name), display_name="New") for name in ("bad-0", "bad-1")]
    run_id = journal_run(tmp_path, [*states, *bad], max_failures=FailureBound(1))
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (4, {"pending": 3, "failed": 2})
    assert server.count("DELETE") == 0


def test_nothing_is_deleted_while_unconfirmed_updates_may_be_too_many_failures(tmp_path: Path) -> None:
    """Their answers are lost, and reading back shows that they were not made."""
    server, states = populated(3, fault=lambda request: "lost before" if request.method == "PUT" else "")
    bad = [wanted(name, account_id=server.add(name), display_name="New") for name in ("bad-0", "bad-1")]
    run_id = journal_run(tmp_path, [*states, *bad], max_failures=FailureBound(1), max_attempts=1)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (4, {"pending": 3, "failed": 2})
    assert server.count("DELETE") == 0


def test_nothing_is_deleted_after_a_stop(tmp_path: Path) -> None:
    server, states = populated(3)
    change = wanted("other", account_id=server.add("other"), display_name="New")
    stop = runs.Stop()
    server.act = lambda request, _when: stop.request("Stopped") if request.method == "PUT" else None
    run_id = journal_run(tmp_path, [*states, change])
    result = go_on(tmp_path, server, stop=stop)
    assert (result.exit_code, counts(tmp_path, run_id)) == (5, {"pending": 3, "updated": 1})
    assert server.count("DELETE") == 0


def test_too_many_refused_deletions_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion_sender, "DELETE_BATCH", 1)
    server, states = populated(9)
    server.locked = {state.name for state in states}
    run_id = journal_run(tmp_path, states, max_failures=FailureBound(2), concurrency=1)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (4, {"failed": 3, "pending": 6})
    assert server.count("DELETE") == 3


def test_accounts_that_are_gone_before_anything_was_sent_are_unchanged(tmp_path: Path) -> None:
    server, states = populated(2)
    del server.accounts[states[0].account_id]
    run_id = journal_run(tmp_path, states)
    result = go_on(tmp_path, server)
    assert (result.exit_code, statuses(tmp_path, run_id)) == (0, {"robot-000": "unchanged", "robot-001": "deleted"})


@pytest.mark.parametrize("approved", ["0" * 64, ""])
def test_an_approved_deletion_leaves_an_account_alone_that_logged_in_while_the_run_sent_other_changes(
    approved: str, tmp_path: Path
) -> None:
    server, states = populated(2)
    change = wanted("other", account_id=server.add("other", "Old"), display_name="New")
    befores = {number: Account(state.account_id, state.name, ("",), ()) for number, state in enumerate(states)}
    befores[2] = Account(change.account_id, "other", ("Old",), ())

    def log_in(request: Request, when: str) -> None:
        if request.method == "PUT" and when == "after":
            server.accounts[states[0].account_id]["lastLoginTime"] = "2026-02-01T00:00:00Z"

    server.act = log_in
    run_id = journal_run(tmp_path, [*states, change], befores=befores, approved=approved)
    result = go_on(tmp_path, server)
    expected = {"robot-000": "failed" if approved else "deleted", "robot-001": "deleted", "other": "updated"}
    assert (result.exit_code, statuses(tmp_path, run_id)) == (int(bool(approved)), expected)
    if approved:
        row = rows_of(tmp_path, run_id)["robot-000"]
        assert (row.error_code, "last login: expected none" in row.error) == ("changed_since", True)


def test_an_undo_leaves_an_account_alone_that_logged_in_while_the_user_was_asked(tmp_path: Path) -> None:
    server, target = LifeServer(), runs.Target(url=URL, access_token="1234", organization_id=ORG)
    journal_run(tmp_path, [wanted(name, Action.CREATE) for name in ("new-0", "new-1")])
    assert go_on(tmp_path, server).summary["created"] == 2

    class LogsIn(runs.Hooks):
        asks = True

        async def confirm(self, preview: runs.Preview) -> bool:
            created = server.named("new-0")
            assert created is not None
            created["lastLoginTime"] = "2026-02-01T00:00:00Z"
            return await super().confirm(preview)

    how = runs.RunOptions(report_dir=tmp_path / "reports", allow_delete=True)
    context = runs.Context(state_dir=tmp_path / "state", hooks=LogsIn())
    with serving(server):
        result = anyio.run(lambda: runs.undo("last", target, how, context))
    assert (result.exit_code, result.summary["deleted"], result.summary["failed"]) == (1, 1, 1)
    assert server.deleted == ["new-1"]


def test_an_undo_deletes_no_account_that_the_server_does_not_show_again(tmp_path: Path) -> None:
    """It may have logged in while the user was asked."""
    server, target = LifeServer(), runs.Target(url=URL, access_token="1234", organization_id=ORG)
    journal_run(tmp_path, [wanted("new-0", Action.CREATE)])
    assert go_on(tmp_path, server).summary["created"] == 1

    class Hides(runs.Hooks):
        asks = True

        async def confirm(self, preview: runs.Preview) -> bool:
            server._get_robotaccount = lambda *_: Reply(ReplyKind.REFUSED, 400, error="Not now.")  # type: ignore[method-assign]
            return await super().confirm(preview)

    how = runs.RunOptions(report_dir=tmp_path / "reports", allow_delete=True)
    context = runs.Context(state_dir=tmp_path / "state", hooks=Hides())
    with serving(server):
        result = anyio.run(lambda: runs.undo("last", target, how, context))
    assert (result.exit_code, result.summary["pending"], server.deleted) == (3, 1, [])
    assert "pending" in str(result.error)


def test_an_approved_deletion_of_an_account_that_is_gone_once_the_other_changes_are_sent_is_not_sent(
    tmp_path: Path,
) -> None:
    server, states = populated(2)
    change = wanted("other", account_id=server.add("other", "Old"), display_name="New")
    befores = {number: Account(state.account_id, state.name, ("",), ()) for number, state in enumerate(states)}
    befores[2] = Account(change.account_id, "other", ("Old",), ())

    def delete(request: Request, when: str) -> None:
        if request.method == "PUT" and when == "after":
            del server.accounts[states[0].account_id]

    server.act = delete
    run_id = journal_run(tmp_path, [*states, change], befores=befores, approved="0" * 64)
    result = go_on(tmp_path, server)
    expected = {"robot-000": "unchanged", "robot-001": "deleted", "other": "updated"}
    assert (result.exit_code, statuses(tmp_path, run_id), sizes(server)) == (0, expected, [1])


def test_a_resume_does_not_delete_an_account_of_another_name(tmp_path: Path) -> None:
    server, states = populated(2)
    run_id = journal_run(tmp_path, states)
    server.accounts[states[0].account_id]["name"] = "payroll"
    server.accounts[states[1].account_id]["name"] = "ROBOT-001"
    result = go_on(tmp_path, server)
    assert (result.exit_code, statuses(tmp_path, run_id)) == (1, {"robot-000": "failed", "robot-001": "deleted"})
    row = rows_of(tmp_path, run_id)["robot-000"]
    assert (row.error_code, 'name: expected "robot-000", found "payroll"' in row.error) == ("changed_since", True)


@pytest.mark.parametrize("moment", range(6))
def test_a_run_that_is_killed_deletes_what_is_left(moment: int, tmp_path: Path) -> None:
    server, states = populated(2)
    run_id = journal_run(tmp_path, states)
    came = killed_at(tmp_path, server, moment)
    if came:
        assert go_on(tmp_path, server).exit_code == 0
    assert statuses(tmp_path, run_id) == {"robot-000": "deleted", "robot-001": "deleted"}
    assert len(server.deleted) == 2


class Silent(LifeServer):
    """Refuses to say whether single accounts exist, and shows a list that changes all the time."""

    def _get_robotaccount(self, ids: list[str], body: Any, query: Any) -> Reply:
        if not self.count("DELETE"):
            return super()._get_robotaccount(ids, body, query)
        if len(ids) > 1:
            return Reply(ReplyKind.REFUSED, 400, error="Not that id.")
        reply = super()._get_robotaccount(ids, body, query)
        return reply._replace(payload={"totalCount": 9 + len(self.sent), "results": []})


def test_deletions_of_which_nothing_shows_whether_they_were_made_are_pending(tmp_path: Path) -> None:
    server, states = populated(2)
    run_id = journal_run(tmp_path, states)
    result = go_on(tmp_path, Silent(server.accounts))
    assert (result.exit_code, counts(tmp_path, run_id)) == (3, {"pending": 2})
    assert go_on(tmp_path, LifeServer(server.accounts)).exit_code == 0
    assert counts(tmp_path, run_id) == {"deleted": 2}


def test_a_deletion_that_cannot_be_compared_is_not_sent(tmp_path: Path) -> None:
    """The token may not read accounts any more."""

    class Unreadable(LifeServer):
        def _get_robotaccount(self, _ids: list[str], _body: Any, _query: Any) -> Reply:
            return Reply(ReplyKind.FORBIDDEN, 403, error="No.")

    server, states = populated(2)
    run_id = journal_run(tmp_path, states, befores={0: Account(states[0].account_id, "robot-000", ("",), ())})
    result = go_on(tmp_path, Unreadable(server.accounts))
    assert (result.exit_code, counts(tmp_path, run_id)) == (3, {"pending": 2})
