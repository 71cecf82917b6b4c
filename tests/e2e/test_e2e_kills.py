"""SIGKILL at any moment: no row is lost, no status is false, no settled account is sent again."""

import json
import random
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bulkid.journal.store import open_journal
from bulkid.model import DesiredState, Outcome, QuotaRule, RunItem, Status
from tests.support.bulkid_command import ORGANIZATION, Bulkid
from tests.support.processes import Life, World, bulkid_for, check_report, journal_of, most_in_any_window, no_traceback
from tests.support.sandbox_host import Hosted, hosted

SEED = 20251
ROWS = 150
LATENCY_S = 0.06
START_S = 0.7
"""About how long an interpreter takes to import what a command needs."""
TOKEN = "kills-1234"
CONNECTED = Callable[..., Bulkid]

STAGES = ("start", "sheet", "connect", "directory", "send", "report")
KILLS = {"start": 1, "directory": 1, "send": 2, "report": 1}
SOAK_KILLS = {"start": 15, "sheet": 10, "connect": 10, "directory": 15, "send": 40, "report": 10}
"""How many kills hit each stage, in every run of the tests and with ``-m soak``; where in it is left to chance."""

_CHANCE = random.Random(SEED)


def moments(kills: Mapping[str, int], *marks: pytest.MarkDecorator) -> list[Any]:
    chosen = [(stage, round(_CHANCE.random(), 3)) for stage, count in kills.items() for _ in range(count)]
    return [pytest.param(stage, part, marks=marks) for stage, part in chosen]


@pytest.fixture(scope="module")
def server() -> Iterator[Hosted]:
    with hosted(accounts=ROWS, latency_s=LATENCY_S, static_tokens=(TOKEN,)) as started:
        yield started


@pytest.fixture(scope="module")
def lengths(server: Hosted, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """How long each stage takes of a run that lives to its end, and has an interpreter of its own."""
    world = World(server, bulkid_for(server, tmp_path_factory.mktemp("whole")), ROWS)
    wanted = world.sheet("whole")
    with Life(world.bulkid, "run", "whole.csv", "--yes") as life:
        assert life.end() == 0, life.said
    (summary,) = (world.bulkid.folder / "reports").rglob("summary.json")
    ended = summary.stat().st_mtime - time.time() + time.monotonic()
    assert wanted.items() <= world.names().items()
    began = {"start": life.started, **life.began}
    assert tuple(began) == STAGES
    ends = [*list(began.values())[1:], ended]
    took = {stage: end - start for (stage, start), end in zip(began.items(), ends, strict=True)}
    return {**took, "start": START_S}


def kill_at(life: Life, stage: str, after_s: float) -> None:
    """Kill a process some time after the beginning of a stage."""
    if stage == "start" or life.wait_for(stage):
        time.sleep(after_s)
    life.kill()


def finish(world: World, tag: str, *options: str) -> str:
    """Do what a user does after a kill: resume, or start again when there is nothing to resume; gives the run's id."""
    resumed = world.bulkid("resume", "--yes", "--json")
    no_traceback(resumed)
    if resumed.returncode == 2:
        assert "There is nothing to resume" in resumed.stderr
        resumed = world.bulkid("run", f"{tag}.csv", "--yes", "--json", *options)
    assert resumed.returncode == 0, resumed.stderr
    run_id: str = json.loads(resumed.stdout)["run_id"]
    return run_id


def check_life(world: World, tag: str, kill: Callable[[], object], *options: str) -> None:
    """Write a sheet, kill the run of it, finish it, and hold the promises."""
    wanted, before = world.sheet(tag), world.now()
    kill()
    world.settle(LATENCY_S)
    known, middle = journal_of(world.bulkid), world.now()
    sent = world.puts(before)
    run_id = finish(world, tag, *options)
    entries = known.get(run_id, {})
    again = world.puts(middle)

    assert wanted.items() <= world.names().items()
    # The kill may have come after the end; what a second run of the same sheet then finds is that nothing is to do.
    late = not entries and len(sent) == len(wanted)
    assert check_report(world.bulkid, run_id, len(wanted)) == {"unchanged" if late else "updated": len(wanted)}
    # Each account is sent at most once per attempt; one that was known as settled, not again.
    assert set(sent.values()) <= {1}
    assert set(again.values()) <= {1}
    assert not [account for account in again if account in entries and entries[account].status != "pending"]
    # Whatever left before was written down before: what is sent twice was in doubt.
    assert late or all(entries[account].intended for account in sent)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "part"), [*moments(KILLS), *moments(SOAK_KILLS, pytest.mark.soak)])
def test_killed_at_a_moment(
    stage: str, part: float, server: Hosted, lengths: dict[str, float], connected: CONNECTED
) -> None:
    world = World(server, connected(server), ROWS)

    def kill() -> None:
        with Life(world.bulkid, "run", f"{stage}-{part}.csv", "--yes", new=stage == "start") as life:
            kill_at(life, stage, part * lengths[stage])

    check_life(world, f"{stage}-{part}", kill)


@pytest.mark.slow
def test_killed_while_it_resumes_again_and_again(server: Hosted, connected: CONNECTED) -> None:
    world = World(server, connected(server), ROWS)
    chance = random.Random(SEED + 1)
    wanted, begun = world.sheet("often"), world.now()
    with Life(world.bulkid, "run", "often.csv", "--yes") as life:
        kill_at(life, "send", 0.1)
    for _ in range(2):
        world.settle(LATENCY_S)
        (entries,) = journal_of(world.bulkid).values()
        since = world.now()
        with Life(world.bulkid, "resume", "--yes") as life:
            kill_at(life, "send", chance.random() * 0.2)
        world.settle(LATENCY_S)
        again = world.puts(since)
        assert not [account for account in again if account in entries and entries[account].status != "pending"]
        assert set(again.values()) <= {1}
    run_id = finish(world, "often")
    assert wanted.items() <= world.names().items()
    assert check_report(world.bulkid, run_id, ROWS) == {"updated": ROWS}
    # A kill leaves sixteen requests in doubt at most; read back, those that were carried out are not sent again.
    assert sum(world.puts(begun).values()) == ROWS


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", [0.4, pytest.param(0.05, marks=pytest.mark.soak), pytest.param(0.8, marks=pytest.mark.soak)]
)
def test_killed_while_blind(part: float, server: Hosted, connected: CONNECTED) -> None:
    """Nothing can be read back: what is in doubt is sent again, which is safe, and what is settled is not."""
    world = World(server, connected(server), ROWS)
    groups = [group["id"] for group in server.groups() if group["type"] == "custom"]
    # Each part of the test wants what no other one leaves behind.
    add, remove = groups[int(part * 10)], groups[int(part * 10) + 1]
    lines = [f"{account['id']},{add},{remove},Blind {part} {row}\n" for row, account in enumerate(world.accounts)]
    (world.bulkid.folder / "blind.csv").write_text(
        "id,groups_to_add,groups_to_remove,display_name\n" + "".join(lines), encoding="utf-8"
    )
    before = world.now()
    with Life(world.bulkid, "run", "blind.csv", "--yes", "--no-read") as life:
        kill_at(life, "send", part * ROWS / 16 * LATENCY_S)
    world.settle(LATENCY_S)
    ((run_id, entries),) = journal_of(world.bulkid).items()
    sent, middle = world.puts(before), world.now()
    assert finish(world, "blind", "--no-read") == run_id
    again = world.puts(middle)

    assert check_report(world.bulkid, run_id, ROWS) == {"updated": ROWS}
    settled = {account for account, known in entries.items() if known.status != "pending"}
    assert set(again) == set(entries) - settled  # what was in doubt too, since nobody could read it back
    assert set(again.values()) <= {1}
    assert set(sent.values()) <= {1}
    assert settled <= set(sent) <= {account for account, known in entries.items() if known.intended}
    for row, account in enumerate(server.accounts()[:ROWS]):
        assert account["displayName"] == f"Blind {part} {row}"
        assert add in account["groupIds"]
        assert remove not in account["groupIds"]
    assert not world.log("GET", before)


@pytest.mark.slow
def test_killed_within_a_quota(connected: CONNECTED) -> None:
    """The quota is kept over kills and restarts: the server's own log says so, and it never had to refuse."""
    rows, per_window, window_s = 100, 20, 0.5
    chance = random.Random(SEED + 2)
    with hosted(accounts=rows, limits=[QuotaRule("PUT", per_window, window_s)], latency_s=0.01) as strict:
        world = World(strict, connected(strict), rows)
        wanted = world.sheet("quota")
        arguments = ("run", "quota.csv", "--yes", "--quota", f"PUT={per_window}/{window_s:g}")
        for _ in range(3):
            with Life(world.bulkid, *arguments) as life:
                kill_at(life, "send", chance.random() * 0.6)
            arguments = ("resume", "--yes")
        run_id = finish(world, "quota")
        assert wanted.items() <= world.names().items()
        assert check_report(world.bulkid, run_id, rows) == {"updated": rows}
        puts = world.log("PUT")
        assert {entry["status"] for entry in puts} == {200}
        assert most_in_any_window((entry["arrived"] for entry in puts), window_s) <= per_window


@pytest.mark.slow
def test_killed_while_it_reads_back(server: Hosted, connected: CONNECTED) -> None:
    """What no answer confirmed is still in doubt after the kill, and is read back by ``resume``."""
    world = World(server, connected(server), ROWS)
    wanted = world.sheet("doubts")
    # Two in five answers are lost after the change was made, and there is but one attempt.
    trouble = {"send": lambda: server.set_faults(reset_after=0.4), "verify": server.set_faults}
    with Life(world.bulkid, "run", "doubts.csv", "--yes", "--max-attempts", "1", at=trouble) as life:
        kill_at(life, "verify", 0.02)
    assert server.sandbox.injected["reset_after"] > 25
    world.settle(LATENCY_S)
    (entries,) = journal_of(world.bulkid).values()
    doubtful = {account for account, known in entries.items() if known.status == "pending"}
    since = world.now()
    run_id = finish(world, "doubts")
    assert doubtful
    assert all(known.intended for known in entries.values())
    assert wanted.items() <= world.names().items()
    assert check_report(world.bulkid, run_id, ROWS) == {"updated": ROWS}
    assert not world.puts(since)


def test_killed_between_the_entries_and_the_word_that_they_are_whole(server: Hosted, connected: CONNECTED) -> None:
    """A plan that was written but not sealed is made anew."""
    world = World(server, connected(server), 5)
    wanted = world.sheet("half")
    wrong = connected(server, BULKID_CLIENT_SECRET="wrong")
    refused = wrong("run", "half.csv", "--yes", "--json")
    assert refused.returncode == 3
    run_id = json.loads(refused.stdout)["run_id"]
    with open_journal(world.bulkid.folder / "state") as journal:
        account = next(iter(wanted))
        desired = DesiredState(account, "", ("stale",), (), (), None, (2,))
        journal.add_items(run_id, [RunItem(0, desired, None, "", Outcome(Status.PENDING))])
    assert finish(world, "half") == run_id
    assert wanted.items() <= world.names().items()
    assert check_report(world.bulkid, run_id, 5) == {"updated": 5}


def test_what_was_wrong_with_a_row_may_be_mended_before_it_is_resumed(server: Hosted, connected: CONNECTED) -> None:
    world = World(server, connected(server), 2)
    (world.bulkid.folder / "new.csv").write_text("name,display_name\nroby,Roby the Second\nnewcomer,New\n", "utf-8")
    refused = world.bulkid("run", "new.csv", "--yes", "--json")
    assert refused.returncode == 2
    run_id = json.loads(refused.stdout)["run_id"]
    assert check_report(world.bulkid, run_id, 2) == {"pending": 1, "invalid": 1}

    body = {"partitionGlobalId": ORGANIZATION, "name": "newcomer", "displayName": "", "groupIDsToAdd": []}
    request = urllib.request.Request(  # noqa: S310 - this test's own server
        f"{server.url}/api/RobotAccount",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()  # noqa: S310 - as above
    resumed = world.bulkid("resume", run_id, "--yes")
    assert resumed.returncode == 0, resumed.stderr
    assert check_report(world.bulkid, run_id, 2) == {"updated": 2}


def test_what_a_kill_left_of_a_report_is_removed(server: Hosted, connected: CONNECTED) -> None:
    world = World(server, connected(server), 5)
    world.sheet("left")
    refused = connected(server, BULKID_CLIENT_SECRET="wrong")("run", "left.csv", "--yes", "--json")
    run_id = json.loads(refused.stdout)["run_id"]
    (world.bulkid.run_folder(run_id) / ".report.csv.0a1b2c3d.tmp").write_text("half a li", "utf-8")
    assert finish(world, "left") == run_id
    assert check_report(world.bulkid, run_id, 5) == {"updated": 5}


@pytest.mark.slow
def test_killed_in_its_own_sandbox(tmp_path: Path) -> None:
    """A newcomer's first kill: the sandbox died too, and the rest is done in a new one."""
    bulkid = Bulkid(tmp_path)
    lines = "".join(f"robot-{number:04d},New {number}\n" for number in range(1, 81))
    (tmp_path / "first.csv").write_text("name,display_name\n" + lines, "utf-8")
    with Life(bulkid, "run", "first.csv", "--sandbox", "--yes", "--rate", "100") as life:
        kill_at(life, "send", 0.2)
    resumed = bulkid("resume", "--yes", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert check_report(bulkid, json.loads(resumed.stdout)["run_id"], 80) == {"updated": 80}
