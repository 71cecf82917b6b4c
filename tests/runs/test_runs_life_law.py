"""Creations, deletions and new groups under any fault: each row's status agrees with the server."""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bulkid.model import Action, DesiredState, Request
from tests.support.examples import examples
from tests.support.life_server import FAULTS, LifeServer, go_on, journal_run, killed_at, statuses, wanted

NEW_ID = "0c7f0a4e-5d5e-4a8e-9d43-000000000001"
GROUPS = ("g-1", NEW_ID)
CREATE, UPDATE, DELETE = Action.CREATE, Action.UPDATE, Action.DELETE

ROWS = st.lists(
    st.tuples(st.sampled_from([CREATE, CREATE, UPDATE, DELETE]), st.sets(st.sampled_from(GROUPS)), st.booleans()),
    min_size=1,
    max_size=6,
)
"""Of each row: its action, the groups that it adds, and whether it sets the display name."""

STRIKES = st.lists(st.sampled_from(["", "", *FAULTS]), max_size=24)
"""What strikes the requests that are no GETs, in their order; afterwards nothing does."""


class World:
    """A server, and what the rows want of it."""

    def __init__(self, rows: Sequence[tuple[Action, set[str], bool]], strikes: Sequence[str]) -> None:
        left = iter(strikes)
        self.server = LifeServer(groups={"g-1": "Finance"}, fault=lambda _request: next(left, ""))
        self.bystander = dict(self.server.accounts[self.server.add("bystander", "Stays", ["g-1"])])
        self.states: list[DesiredState] = []
        for number, (action, groups, sets_name) in enumerate(rows):
            name = f"{action.value}-{number}"
            account_id = "" if action is CREATE else self.server.add(name, "Old")
            asks: dict[str, Any] = {"add": sorted(groups), "display_name": "New" if sets_name else None}
            if action is UPDATE and not groups:
                asks["display_name"] = "New"
            self.states.append(wanted(name, action, account_id=account_id, **({} if action is DELETE else asks)))

    def is_as_wanted(self, state: DesiredState) -> bool:
        account = self.server.named(state.name)
        if state.action is DELETE:
            return account is None
        if account is None or not set(state.add) <= set(account["groupIds"]):
            return False
        return state.values[0] is None or account["displayName"] == state.values[0]

    def check(self, found: dict[str, str]) -> None:
        """Compare the statuses of the rows with what the server has."""
        server = self.server
        for state in self.states:
            status, truth = found[state.name], self.is_as_wanted(state)
            assert status != "pending", state.name
            assert truth == (status != "failed"), (state.name, status)
            allowed = {CREATE: {"created", "updated"}, UPDATE: {"updated"}, DELETE: {"deleted"}}
            assert status in {"failed", *allowed[state.action]}, (state.name, status)
            if state.action is CREATE and status == "failed":
                assert server.named(state.name) is None
        assert max(Counter(server.created).values(), default=0) <= 1
        assert max(Counter(server.deleted).values(), default=0) <= 1
        assert set(server.deleted) <= {state.name for state in self.states if state.action is DELETE}
        assert server.named("bystander") == self.bystander
        assert list(server.groups.values()).count("Sales") <= 1


@settings(max_examples=examples(12, soak=400))
@given(ROWS, STRIKES, st.lists(st.integers(0, 20), max_size=3), st.sampled_from([1, 8]))
def test_each_status_is_the_servers_truth_whatever_strikes_and_wherever_the_run_is_killed(
    rows: Any, strikes: list[str], kills: list[int], concurrency: int
) -> None:
    world = World(rows, strikes)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run_id = journal_run(
            folder, world.states, {NEW_ID: "Sales"}, max_attempts=3, concurrency=concurrency, via="groups"
        )
        ended = not all(killed_at(folder, world.server, moment) for moment in kills)
        for _ in itertools.repeat(None, 4):
            if ended or go_on(folder, world.server).exit_code in (0, 1):
                break
        world.check(statuses(folder, run_id))


def test_the_world_notices_a_client_that_repeats_its_posts() -> None:
    """A server that does not insist on names would have two accounts of one name."""
    world = World([(CREATE, set(), False)], [])
    world.server.created += ["create-0", "create-0"]
    world.server.add("create-0")
    try:
        world.check({"create-0": "created"})
    except AssertionError:
        return
    raise AssertionError("two creations of one name went unnoticed")


def test_the_faults_strike_every_kind_of_request(tmp_path: Path) -> None:
    """Otherwise the law is about less than it says."""
    struck: Counter[str] = Counter()
    world = World([(CREATE, {NEW_ID}, True), (UPDATE, {"g-1"}, False), (DELETE, set(), False)], [])

    def fault(request: Request) -> str:
        struck[f"{request.method} {request.path.split('/')[1]}"] += 1
        return ""

    world.server.fault = fault
    run_id = journal_run(tmp_path, world.states, {NEW_ID: "Sales"})
    assert go_on(tmp_path, world.server).exit_code == 0
    world.check(statuses(tmp_path, run_id))
    assert struck == {"POST Group": 1, "POST RobotAccount": 1, "PUT RobotAccount": 1, "DELETE RobotAccount": 1}
