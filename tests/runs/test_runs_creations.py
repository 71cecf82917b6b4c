"""Creations: one POST each, and a look-up by name where no response confirms it."""

from pathlib import Path
from typing import Any

import pytest

from bulkid import runs
from bulkid.journal import writer
from bulkid.journal.store import open_journal
from bulkid.model import Account, Action, FailureBound, Reply, ReplyKind, Request, RunItem
from bulkid.planning.undo import inverse
from bulkid.runs.execution import creation_sender
from tests.support.life_server import (
    FAULTS,
    LifeServer,
    counts,
    go_on,
    journal_run,
    killed_at,
    rows_of,
    statuses,
    waits,
    wanted,
)

NAMES = [f"robot-{number:02}" for number in range(12)]
GROUPS = {"g-1": "Finance", "g-2": "Sales"}


def creations(names: list[str] = NAMES, **more: Any) -> list[Any]:
    given = {"display_name": "Robot", "add": ("g-1", "g-2"), **more}
    return [wanted(name, Action.CREATE, **given) for name in names]


def once(fault: str, method: str = "POST") -> Any:
    """Let a fault strike the first request of each body."""
    seen: set[bytes | None] = set()

    def strike(request: Request) -> str:
        if request.method != method or request.body in seen:
            return ""
        seen.add(request.body)
        return fault

    return strike


def item_of(folder: Path, run_id: str) -> RunItem:
    with open_journal(folder / "state") as journal:
        (item,) = journal.iter_items(run_id)
    return item


def always(fault: str, method: str = "POST") -> Any:
    return lambda request: fault if request.method == method else ""


def test_each_account_is_created_with_its_display_name_and_groups_in_one_post(tmp_path: Path) -> None:
    server = LifeServer(groups=dict(GROUPS))
    run_id = journal_run(tmp_path, creations())
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"created": 12})
    assert (server.count("POST"), server.count("PUT")) == (12, 0)
    for name in NAMES:
        account = server.named(name)
        assert account is not None
        assert (account["displayName"], account["groupIds"]) == ("Robot", ["g-1", "g-2"])
    row = rows_of(tmp_path, run_id)["robot-03"]
    account = server.named("robot-03")
    assert account is not None
    assert (row.robot_account_id, row.http_status, row.attempts, row.via) == (account["id"], 201, 1, "account")


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "429"])
def test_after_an_unclear_answer_the_names_are_looked_up_before_anything_is_sent_again(
    fault: str, tmp_path: Path
) -> None:
    server = LifeServer(groups=dict(GROUPS), fault=once(fault))
    run_id = journal_run(tmp_path, creations())
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"created": 12})
    assert sorted(server.created) == NAMES
    applied = FAULTS[fault][0]
    assert server.count("POST") == (12 if applied else 24)
    first_again = [request.body for request in server.sent if request.method == "POST"][12:]
    assert len(set(first_again)) == len(first_again)
    if not applied:
        methods = [request.method for request in server.sent]
        last_post = len(methods) - 1 - methods[::-1].index("POST")
        assert "GET" in methods[13:last_post], "no POST was repeated without a look-up"


def test_a_creation_whose_answers_stay_unclear_fails_after_the_attempts_with_the_last_words(tmp_path: Path) -> None:
    server = LifeServer(groups=dict(GROUPS), fault=always("500"))
    run_id = journal_run(tmp_path, creations(["a", "b"]), max_attempts=3)
    result = go_on(tmp_path, server)
    assert (result.exit_code, statuses(tmp_path, run_id)) == (1, {"a": "failed", "b": "failed"})
    row = rows_of(tmp_path, run_id)["a"]
    assert (row.http_status, row.error, row.attempts) == (500, "An internal error occurred.", 3)
    assert server.count("POST") == 6


def test_a_refused_creation_fails_with_the_servers_words(tmp_path: Path) -> None:
    server = LifeServer(groups=dict(GROUPS), locked={"b"})
    run_id = journal_run(tmp_path, creations(["a", "b"]))
    result = go_on(tmp_path, server)
    assert (result.exit_code, statuses(tmp_path, run_id)) == (1, {"a": "created", "b": "failed"})
    row = rows_of(tmp_path, run_id)["b"]
    assert (row.http_status, row.error, row.attempts, server.count("POST")) == (400, "The name is not valid.", 1, 2)


class Faster(LifeServer):
    """Somebody else creates each account just before its POST comes in."""

    display_name, in_groups = "Robot", ("g-1", "g-2")

    def _post_robotaccount(self, ids: list[str], body: Any, query: Any) -> Any:
        if self.named(body["name"]) is None:
            self.add(body["name"].upper(), self.display_name, self.in_groups)
        return super()._post_robotaccount(ids, body, query)


def test_an_account_that_another_client_created_meanwhile_as_wanted_is_unchanged(tmp_path: Path) -> None:
    server = Faster(groups=dict(GROUPS))
    run_id = journal_run(tmp_path, creations(["a", "b"]))
    result = go_on(tmp_path, server)
    assert (result.exit_code, statuses(tmp_path, run_id)) == (0, {"a": "unchanged", "b": "unchanged"})
    assert (server.count("PUT"), server.created) == (0, [])


def test_an_account_that_another_client_created_otherwise_is_updated_and_its_state_before_is_kept(
    tmp_path: Path,
) -> None:
    server = Faster(groups={**GROUPS, "g-3": "Trainees"})
    server.display_name, server.in_groups = "Other", ("g-1", "g-3")
    run_id = journal_run(tmp_path, creations(["a"], remove=("g-3",)))
    result = go_on(tmp_path, server)
    assert (result.exit_code, statuses(tmp_path, run_id)) == (0, {"a": "updated"})
    (account,) = server.accounts.values()
    assert (account["displayName"], account["groupIds"]) == ("Robot", ["g-1", "g-2"])
    row = rows_of(tmp_path, run_id)["a"]
    assert (row.robot_account_id, row.changes) == (
        account["id"],
        "display name: Other -> Robot; + Sales; - Trainees",
    )
    with open_journal(tmp_path / "state") as journal:
        (item,) = journal.iter_items(run_id)
    assert item.before is not None
    assert (item.before.values, item.before.group_ids, item.before.id) == (("Other",), ("g-1", "g-3"), account["id"])


def test_the_id_of_an_account_that_another_client_created_is_journaled_before_its_put_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill, a resume must not take the account for one that the run has created."""
    monkeypatch.setattr(writer, "COMMIT_DELAY_S", 1e9)  # no outcome is written only because time has passed
    journaled: list[str] = []

    class Watched(Faster):
        display_name = "Other"

        def _put_robotaccount(self, ids: list[str], body: Any, query: Any) -> Any:
            journaled.append(item_of(tmp_path, run_id).desired.account_id)
            return super()._put_robotaccount(ids, body, query)

    server = Watched(groups=dict(GROUPS))
    run_id = journal_run(tmp_path, creations(["a"]))
    result = go_on(tmp_path, server)
    assert (result.exit_code, statuses(tmp_path, run_id)) == (0, {"a": "updated"})
    assert journaled == list(server.accounts)


def test_an_account_found_after_an_unclear_answer_that_differs_is_updated(tmp_path: Path) -> None:
    class Half(LifeServer):
        """Creates accounts without their groups, and does not answer."""

        def _post_robotaccount(self, ids: list[str], body: Any, query: Any) -> Any:
            return super()._post_robotaccount(ids, {**body, "groupIDsToAdd": []}, query)

    server = Half(groups=dict(GROUPS), fault=once("lost after"))
    run_id = journal_run(tmp_path, creations(["a"]))
    result = go_on(tmp_path, server)
    assert (result.exit_code, statuses(tmp_path, run_id)) == (0, {"a": "updated"})
    assert (server.count("POST"), server.count("PUT")) == (1, 1)
    account = server.named("a")
    assert account is not None
    assert account["groupIds"] == ["g-1", "g-2"]
    assert rows_of(tmp_path, run_id)["a"].robot_account_id == account["id"]
    assert item_of(tmp_path, run_id).before == Account(account["id"], "a", ("Robot",), ())


def test_an_undo_does_not_delete_an_account_that_differed_when_a_resume_found_its_name(tmp_path: Path) -> None:
    """Its POST may have left, or another client has created it."""
    server = LifeServer(groups=dict(GROUPS))
    run_id = journal_run(tmp_path, creations(["a"]))
    assert killed_at(tmp_path, server, 4)
    assert (server.count("POST"), server.created) == (0, [])
    account_id = server.add("A", "Other", ["g-1"])
    result = go_on(tmp_path, server)
    assert (result.exit_code, statuses(tmp_path, run_id)) == (0, {"a": "updated"})
    item = item_of(tmp_path, run_id)
    assert (item.desired.account_id, item.before) == (account_id, Account(account_id, "A", ("Other",), ("g-1",)))
    assert inverse(item).desired.action is Action.UPDATE


def test_an_answer_that_does_not_show_the_groups_is_read_back(tmp_path: Path) -> None:
    server = LifeServer(groups=dict(GROUPS), shows_groups=False)
    run_id = journal_run(tmp_path, creations())
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"created": 12})
    assert (server.count("POST"), server.count("PUT")) == (12, 0)


def test_too_many_failed_creations_stop_the_run_and_the_rest_is_pending(tmp_path: Path) -> None:
    server = LifeServer(groups=dict(GROUPS), locked=set(NAMES))
    keep = server.add("keep")
    states = [*creations(), wanted("keep", Action.DELETE, account_id=keep)]
    run_id = journal_run(tmp_path, states, max_failures=FailureBound(2), concurrency=1)
    result = go_on(tmp_path, server)
    assert result.exit_code == 4
    assert counts(tmp_path, run_id) == {"failed": 3, "pending": 10}
    assert (server.count("POST"), server.deleted) == (3, [])


def test_unclear_answers_pause_the_run_until_the_names_are_looked_up_and_are_no_failures(tmp_path: Path) -> None:
    server = LifeServer(groups=dict(GROUPS), fault=once("lost after"))
    run_id = journal_run(tmp_path, creations(), max_failures=FailureBound(2), concurrency=1)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"created": 12})
    assert server.count("POST") == 12


class Changing(LifeServer):
    """Lists other accounts each time, so that a list proves nothing."""

    def _get_robotaccount(self, ids: list[str], body: Any, query: Any) -> Any:
        reply = super()._get_robotaccount(ids, body, query)
        if self.count("POST") and len(ids) == 1:
            payload = {"totalCount": 5 + len(self.sent), "results": []}
            return reply._replace(payload=payload)
        return reply


def test_creations_of_which_no_list_shows_whether_they_exist_are_pending(tmp_path: Path) -> None:
    server = Changing(groups=dict(GROUPS), fault=once("lost after"))
    run_id = journal_run(tmp_path, creations(["a", "b"]))
    result = go_on(tmp_path, server)
    assert (result.exit_code, statuses(tmp_path, run_id)) == (3, {"a": "pending", "b": "pending"})
    assert result.error is not None
    assert "2 accounts got no clear response" in result.error.message
    server = LifeServer(server.accounts, dict(GROUPS))
    assert go_on(tmp_path, server).exit_code == 0
    assert (statuses(tmp_path, run_id), server.count("POST")) == ({"a": "created", "b": "created"}, 0)


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("differs", [True, False])
def test_a_creation_that_was_never_sent_is_compared_with_an_account_that_has_its_name_by_then(
    exists: bool, differs: bool, tmp_path: Path
) -> None:
    server = LifeServer(groups=dict(GROUPS))
    run_id = journal_run(tmp_path, creations(["a"]))
    if exists:
        server.add("A", "Other" if differs else "Robot", ["g-1", "g-2"])
    result = go_on(tmp_path, server)
    expected = ("updated" if differs else "unchanged") if exists else "created"
    assert (result.exit_code, statuses(tmp_path, run_id)) == (0, {"a": expected})
    with open_journal(tmp_path / "state") as journal:
        (item,) = journal.iter_items(run_id)
    assert item.desired.account_id == next(iter(server.accounts))
    assert (item.before is not None) == (exists and differs)


@pytest.mark.parametrize("moment", range(10))
def test_a_run_that_is_killed_creates_nothing_twice(moment: int, tmp_path: Path) -> None:
    server = LifeServer(groups=dict(GROUPS))
    run_id = journal_run(tmp_path, creations(["a", "b"]), concurrency=1)
    came = killed_at(tmp_path, server, moment)
    assert came == (moment < 8)
    if came:
        assert go_on(tmp_path, server).exit_code == 0
    assert (statuses(tmp_path, run_id), server.created) == ({"a": "created", "b": "created"}, ["a", "b"])


@pytest.mark.parametrize("existed", [True, False])
def test_a_resume_calls_created_only_what_did_not_exist_before(existed: bool, tmp_path: Path) -> None:
    """A PUT of an account that existed already may have left before the kill: the journal has its state before."""
    server = LifeServer(groups=dict(GROUPS))
    account_id = server.add("a", "Robot", ["g-1", "g-2"])
    before = {0: Account(account_id, "a", ("Other",), ())} if existed else None
    run_id = journal_run(tmp_path, creations(["a"]), befores=before)
    with open_journal(tmp_path / "state") as journal:
        journal.intend(run_id, [0], 0.0)
    assert go_on(tmp_path, server).exit_code == 0
    assert statuses(tmp_path, run_id) == {"a": "updated" if existed else "created"}


@pytest.mark.parametrize("moment", range(8, 16))
def test_a_kill_while_an_existing_account_is_updated_does_not_make_it_a_creation(moment: int, tmp_path: Path) -> None:
    server = Faster(groups=dict(GROUPS))
    server.display_name = "Other"
    run_id = journal_run(tmp_path, creations(["a"]))
    if killed_at(tmp_path, server, moment):
        assert go_on(tmp_path, server).exit_code == 0
    assert statuses(tmp_path, run_id) == {"a": "updated"}


def test_creations_and_updates_of_one_run_are_counted_together(tmp_path: Path) -> None:
    class Watching(runs.Hooks):
        def progress(self, progress: runs.Progress) -> None:
            self.seen = progress

    server = LifeServer(groups=dict(GROUPS))
    old = server.add("old", "Old")
    states = [wanted("old", account_id=old, display_name="New"), *creations(["a", "b"])]
    run_id = journal_run(tmp_path, states)
    hooks = Watching()
    result = go_on(tmp_path, server, hooks)
    assert (result.exit_code, counts(tmp_path, run_id)) == (0, {"updated": 1, "created": 2})
    assert [request.method for request in server.sent if request.method != "GET"] == ["POST", "POST", "PUT"]
    assert (hooks.seen.requests, hooks.seen.updated, hooks.seen.done) == ({"POST": 2, "PUT": 1, "DELETE": 0}, 3, 3)
    with open_journal(tmp_path / "state") as journal:
        (record,) = journal.list_runs()
    assert (record.counters["requests"]["POST"], record.counters["answers"]["POST"]) == (2, {"2xx": 2})


def test_few_names_are_searched_for_and_many_are_looked_up_by_pages(tmp_path: Path) -> None:
    """Of 3,000 accounts, one name takes a page and a search, where the list would take four pages."""
    server = LifeServer(groups=dict(GROUPS), fault=once("lost after"))
    for number in range(3000):
        server.add(f"other-{number:04}")
    run_id = journal_run(tmp_path, creations(["zz"]))
    assert go_on(tmp_path, server).exit_code == 0
    posted = next(place for place, request in enumerate(server.sent) if request.method == "POST")
    page, search = (request.path for request in server.sent[posted + 1 :])
    assert ("searchTerm" in page, "searchTerm=zz" in search) == (False, True)
    assert statuses(tmp_path, run_id) == {"zz": "created"}


def test_nothing_more_is_sent_while_creations_that_nothing_shows_may_be_too_many_failures(tmp_path: Path) -> None:
    server = Changing(groups=dict(GROUPS), fault=once("lost after"))
    states = [*creations(), wanted("old", account_id=server.add("old", "Old"), display_name="New")]
    keep = wanted("keep", Action.DELETE, account_id=server.add("keep"))
    run_id = journal_run(tmp_path, [*states, keep], max_failures=FailureBound(2), concurrency=1)
    result = go_on(tmp_path, server)
    assert (result.exit_code, counts(tmp_path, run_id)) == (3, {"pending": 14})
    assert (server.count("POST"), server.count("PUT"), server.count("DELETE")) == (3, 0, 0)
    assert result.error is not None
    assert "more than the limit of 2 (max_failures)" in result.error.message


@pytest.mark.parametrize("differs", [True, False])
def test_an_approved_creation_leaves_an_account_alone_that_has_its_name_by_then(differs: bool, tmp_path: Path) -> None:
    server = Faster(groups=dict(GROUPS))
    server.display_name = "Other" if differs else "Robot"
    run_id = journal_run(tmp_path, creations(["a"]), approved="0" * 64)
    result = go_on(tmp_path, server)
    assert (result.exit_code, statuses(tmp_path, run_id)) == (int(differs), {"a": "failed" if differs else "unchanged"})
    assert server.count("PUT") == 0
    if differs:
        row = rows_of(tmp_path, run_id)["a"]
        assert row.error_code == "changed_since"
        assert row.error == (
            "The account is not as it was when the changes were planned: an account of this name exists, with the id "
            '"id-0". It is left alone.'
        )


def test_a_creation_that_an_earlier_attempt_may_have_sent_is_created_whatever_the_answer_of_this_one(
    tmp_path: Path,
) -> None:
    """The first POST is carried out only after the resume has looked for the name."""
    server = LifeServer(groups=dict(GROUPS))
    run_id = journal_run(tmp_path, creations(["a"]))
    assert killed_at(tmp_path, server, 4)
    assert (server.count("POST"), server.created) == (0, [])
    result = go_on(tmp_path, Faster(server.accounts, server.groups))
    assert (result.exit_code, statuses(tmp_path, run_id)) == (0, {"a": "created"})


class Late(LifeServer):
    """Lists accounts without the new ones, for a number of lists after the first one is created."""

    lists = 0

    def _get_robotaccount(self, ids: list[str], body: Any, query: Any) -> Any:
        if len(ids) > 1 or not self.created or not self.lists:
            return super()._get_robotaccount(ids, body, query)
        self.lists -= 1
        return Reply(ReplyKind.OK, 200, {"totalCount": 0, "results": []})


@pytest.mark.parametrize(("fault", "lists", "posts"), [("", 1, 1), ("lost after", 1, 2), ("lost after", 2, 2)])
def test_a_server_that_lists_new_accounts_a_moment_late_is_asked_again(
    fault: str, lists: int, posts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creation_sender, "SETTLING_S", 2.125)  # as long as no other wait
    server = Late(groups=dict(GROUPS), shows_groups=False, fault=once(fault))
    server.lists = lists
    run_id = journal_run(tmp_path, creations(["a"]))
    with waits() as waited:
        result = go_on(tmp_path, server)
    assert (result.exit_code, statuses(tmp_path, run_id), server.count("POST")) == (0, {"a": "created"}, posts)
    # After a lost answer a missing account does not mean that it was created: the POST is sent again without a wait.
    assert (2.125 in waited) == (lists == posts)
