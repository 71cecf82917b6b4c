"""Accounts that another client changes between a run and its resume: the report and an undo know of that change."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from bulkid import runs
from bulkid.identity.endpoints import parse_account
from bulkid.model import Action, Request, Status
from tests.support.hurried_clock import Hurried
from tests.support.life_server import (
    ORG,
    URL,
    LifeServer,
    go_on,
    journal_run,
    killed_when,
    rows_of,
    serving,
    undone,
    wanted,
)

GROUPS = {"g-1": "One", "g-2": "Two", "g-3": "Three"}
DELETE = Action.DELETE


def state(server: LifeServer) -> tuple[str, set[str]]:
    found = server.named("robot")
    assert found is not None
    return found["displayName"], set(found["groupIds"])


@pytest.mark.parametrize("killed", [None, "before", "after"])
@pytest.mark.parametrize(
    ("wish", "changes"),
    [
        ({"exact": ("g-2",)}, {None: "+ Two; - One; - Three", "after": "+ Two; - One; - Three"}),
        ({"display_name": "New"}, {None: "display name: Other -> New", "after": "display name: Other -> New"}),
        ({"add": ("g-2",), "display_name": "New"}, {None: "display name: Other -> New; + Two"}),
        ({"action": DELETE}, {None: "deleted", "after": "deleted"}),
    ],
    ids=["exact", "name", "name and group", "deletion"],
)
def test_the_report_shows_and_an_undo_puts_back_what_another_client_changed_before_a_resume(
    wish: dict[str, Any], changes: dict[str | None, str], killed: str | None, tmp_path: Path
) -> None:
    """The request of the first attempt left, or did not, or the run was stopped before any could leave."""
    server = LifeServer(groups=dict(GROUPS))
    account_id = server.add("robot", "Old", ["g-1"])
    before = parse_account(server.accounts[account_id])
    asked = wanted("robot", account_id=account_id, **wish)
    run_id = journal_run(tmp_path, [asked], befores={0: before}, allow_delete=True, via="accounts")
    if killed is not None:

        def is_last(request: Request, when: str) -> bool:
            return request.method in {"PUT", "DELETE"} and when == killed

        killed_when(server, is_last, lambda stop: go_on(tmp_path, server, stop=stop))
    found = server.named("robot")
    if found is None:
        return  # deleted already: there is nothing that another client could change
    found["displayName"] = "Other"
    found["groupIds"].append("g-3")
    there = state(server)
    assert go_on(tmp_path, server).exit_code == 0
    assert rows_of(tmp_path, run_id)["robot"].changes == changes.get(killed, changes[None])
    assert set(undone(tmp_path, server).values()) <= {Status.UPDATED, Status.CREATED}
    # What the first attempt has done is undone too.
    name, groups = there
    assert state(server) == (name, (groups - {"g-2"}) | ({"g-1"} if killed == "after" and "exact" in wish else set()))


def test_an_account_that_is_as_it_was_keeps_its_state_before(tmp_path: Path) -> None:
    server = LifeServer(groups=dict(GROUPS))
    account_id = server.add("robot", "Old", ["g-1", "g-3"])
    before = parse_account(server.accounts[account_id])
    server.accounts[account_id]["groupIds"].reverse()
    asked = wanted("robot", account_id=account_id, add=["g-2"])
    run_id = journal_run(tmp_path, [asked], befores={0: before})
    assert go_on(tmp_path, server).exit_code == 0
    assert rows_of(tmp_path, run_id)["robot"].changes == ""  # as it was journaled
    assert set(undone(tmp_path, server).values()) == {Status.UPDATED}
    assert state(server) == ("Old", {"g-1", "g-3"})


def test_a_plan_that_was_approved_again_starts_from_what_its_user_saw(tmp_path: Path) -> None:
    """Otherwise a resume of it would find the account changed since the plan, and leave it alone."""
    server = LifeServer(groups=dict(GROUPS))
    account_id = server.add("robot", "Old", ["g-1"])
    before = parse_account(server.accounts[account_id])
    asked = wanted("robot", account_id=account_id, display_name="New")
    run_id = journal_run(tmp_path, [asked], befores={0: before}, approved="first", via="accounts")
    server.accounts[account_id]["displayName"] = "Other"

    def approved_again(stop: runs.Stop) -> None:
        context = runs.Context(state_dir=tmp_path / "state", clock=Hurried(1000.0), stop=stop)
        target = runs.Target(url=URL, access_token="1234", organization_id=ORG)
        with serving(server):
            anyio.run(lambda: runs.resume(run_id, target, context, approved="second", reconfirm=True))

    assert killed_when(server, lambda request, when: (request.method, when) == ("PUT", "before"), approved_again)
    assert go_on(tmp_path, server).exit_code == 0
    row = rows_of(tmp_path, run_id)["robot"]
    assert (row.status, row.changes) == (Status.UPDATED, "display name: Other -> New")
