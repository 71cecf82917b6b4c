"""Creations, updates and deletions under faults and SIGKILL: every name exists once, no other account is deleted."""

import csv
import json
import random
import time
from pathlib import Path

import pytest

from bulkid.sandbox.options import FAULT_KINDS
from tests.support.bulkid_command import LONGEST_S, Bulkid
from tests.support.processes import Life, bulkid_for, check_report, no_traceback
from tests.support.sandbox_host import Hosted, hosted

SEED = 20261
NEW_GROUP = "Claims Desk"
GUARDS = ("--yes", "--yes-really", "--allow-delete", "--create-groups")
SHARE = 0.2  # of the POSTs and of the DELETEs that a fault strikes
LATENCY_S = 0.01


def strike_posts_and_deletes(server: Hosted) -> None:
    """Let every kind of fault strike POSTs and DELETEs, a fifth of them in all, and no other request."""
    server.set_faults(**dict.fromkeys(FAULT_KINDS, SHARE / len(FAULT_KINDS)), slow_s=0.02, retry_after_s=0)
    injector = server.sandbox.fault_injector
    draw = injector.draw
    injector.draw = lambda method, target: draw(method, target) if method in {"POST", "DELETE"} else ""  # type: ignore[method-assign]


def write_sheet(path: Path, server: Hosted, rows: int) -> dict[str, list[str]]:
    """Write a sheet of creations, half as many deletions, and some new names; give the names of each by action."""
    existing = [account["name"] for account in server.accounts() if account["name"].startswith("robot-")]
    names = {
        "create": [f"NEW-{number:03d}" for number in range(rows)],
        "delete": existing[: rows // 2],
        "update": existing[rows // 2 : rows // 2 + 10],
    }
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("action", "name", "display_name", "groups_to_add"))
        for number in range(rows):  # in turn, so that the order of sending is bulkid's own
            for action, of_action in names.items():
                if number < len(of_action):
                    new = ("", "") if action == "delete" else (f"Robot {of_action[number]}", f"Finance; {NEW_GROUP}")
                    writer.writerow((action, of_action[number], *new))
    return names


def kill_after_requests(life: Life, server: Hosted, count: int) -> None:
    """Kill a process once the server was sent so many requests more; it may end before."""
    target, deadline = server.served() + count, time.monotonic() + LONGEST_S
    while server.served() < target and life.process.poll() is None:
        assert time.monotonic() < deadline, life.said
        time.sleep(0.002)
    life.kill()


def go_on(bulkid: Bulkid) -> tuple[str, ...]:
    """The command that a user starts after a kill: ``resume``, or the run again where there is nothing to resume."""
    listed = json.loads(bulkid("runs", "--json").stdout)
    going = any(run["status"] in {"running", "interrupted", "stopped"} for run in listed)
    return ("resume", "--yes") if going else ("run", "life.csv", *GUARDS)


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "rows"), [(3, 60), pytest.param(20, 240, marks=pytest.mark.soak)])
def test_faults_and_kills_create_no_account_twice_and_delete_none_unasked(
    kills: int, rows: int, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    with hosted(accounts=rows + 60, latency_s=LATENCY_S) as server:
        bulkid = bulkid_for(server, tmp_path)
        names = write_sheet(tmp_path / "life.csv", server, rows)
        before = {account["id"]: account["name"] for account in server.accounts()}
        strike_posts_and_deletes(server)
        command: tuple[str, ...] = ("run", "life.csv", *GUARDS)
        for _ in range(kills):
            with Life(bulkid, *command) as life:
                kill_after_requests(life, server, chance.randint(2, 90 // kills + 8))
            no_traceback(life.said)
            command = go_on(bulkid)
        ended = bulkid(*command, "--json")
        no_traceback(ended)
        assert ended.returncode == 0, ended.stderr
        summary = json.loads(ended.stdout)
        check_truth(server, bulkid, summary["run_id"], names, before)


def check_truth(
    server: Hosted, bulkid: Bulkid, run_id: str, names: dict[str, list[str]], before: dict[str, str]
) -> None:
    """Hold the report against what the server has."""
    groups = {group["name"]: group["id"] for group in server.groups()}
    wanted = {groups["Finance"], groups[NEW_GROUP]}
    accounts = {account["name"]: account for account in server.accounts()}
    folded = [account["name"].casefold() for account in server.accounts()]
    counts = check_report(bulkid, run_id, sum(map(len, names.values())))
    # An unclear POST whose account is found counts as created; one that still had to be changed, as updated.
    assert counts["created"] + counts["updated"] == len(names["create"]) + len(names["update"])
    assert counts["deleted"] == len(names["delete"])
    assert len(folded) == len(set(folded)), "every name exists once"
    assert server.sandbox.state.created == len(names["create"]), "no account was created twice"
    assert [group["name"] for group in server.groups()].count(NEW_GROUP) == 1
    for name in (*names["create"], *names["update"]):
        account = accounts[name]
        assert account["displayName"] == f"Robot {name}"
        assert wanted <= set(account["groupIds"])
    kept = {name for name in before.values() if name not in names["delete"]}
    assert kept <= accounts.keys(), "nothing was deleted unasked"
    assert accounts.keys().isdisjoint(names["delete"])
    for line in bulkid.report(run_id):
        if line["name"] in accounts:
            assert line["robot_account_id"] == accounts[line["name"]]["id"]
        else:
            assert line["status"] == "deleted"
