"""``undo`` puts back what a run changed, also after kills; accounts that others changed since are left alone."""

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bulkid import runs
from bulkid.journal.store import open_journal
from bulkid.model import Status
from tests.support.bulkid_command import SECRET, Bulkid, connected_to, crash
from tests.support.command_output import all_text, assert_clear, errors_of, statuses, summary_of
from tests.support.processes import Life
from tests.support.sandbox_host import Hosted, hosted, wait_for_puts
from tests.support.server_state import HEADERS, MIXED, id_of, settle, slowly, state_of
from tests.support.sheets import renames, sheet_of


@pytest.fixture
def host() -> Iterator[Hosted]:
    with hosted(accounts=60, list_everyone=True) as started:
        yield started


def run_id_of(bulkid: Bulkid, *arguments: str, code: int = 0) -> str:
    """Do it, and give the run's id."""
    done = bulkid(*arguments, "--yes", "--json")
    assert done.returncode == code, all_text(done)
    return str(summary_of(done)["run_id"])


def test_an_undo_puts_everything_back_and_its_own_undo_does_it_again(tmp_path: Path, host: Hosted) -> None:
    sheet_of(tmp_path, MIXED)
    bulkid, before = connected_to(tmp_path, host.url), state_of(host)
    first = run_id_of(bulkid, "run", "sheet.csv")
    after = state_of(host)
    assert after != before

    undone = bulkid("undo", "last", "--yes", "--format", "jsonl")
    assert (undone.returncode, errors_of(undone)) == (0, [])
    assert "robot-0001  ~ display name: Alpha -> Robot 1  - Finance  - Trainees" in undone.stderr
    assert ": 6 updated." in undone.stdout
    assert state_of(host) == before
    (folder,) = (each for each in (tmp_path / "reports").iterdir() if each.name != first)
    report = bulkid.report(folder.name)
    assert [row["row"] for row in report] == ["2", "3", "4", "5", "6", "7"]
    assert (folder / "report.jsonl").exists()

    listed = bulkid("runs")
    assert f"undo of {first}" in listed.stdout
    assert run_id_of(bulkid, "undo", folder.name)
    assert state_of(host) == after
    sent = len(host.puts())
    third = bulkid("undo", first, "--yes", "--json", "--quiet")
    assert (third.returncode, summary_of(third)["updated"], state_of(host)) == (0, 6, before)
    again = bulkid("undo", first, "--yes", "--json")
    assert (again.returncode, summary_of(again)["unchanged"]) == (0, 6)
    assert len(host.puts()) == sent + 5


def test_what_somebody_changed_since_is_left_and_named_and_the_rest_is_put_back(tmp_path: Path, host: Hosted) -> None:
    sheet_of(tmp_path, MIXED)
    bulkid, before = connected_to(tmp_path, host.url), state_of(host)
    first = run_id_of(bulkid, "run", "sheet.csv")
    directory = host.sandbox.state
    directory.rename(directory.account_named("robot-0001"), "Somebody's")
    directory.leave(directory.account_named("robot-0002"), [directory.group_named("Finance")])
    directory.join(directory.account_named("robot-0005"), [directory.group_named("Legal")])  # not what the run touched
    directory.delete(id_of(host, "robot-0003"))
    meddled = state_of(host)

    undone = bulkid("undo", first, "--yes", "--json")
    assert undone.returncode == 1
    summary = summary_of(undone)
    assert (summary["status"], summary["updated"], summary["invalid"]) == ("completed_with_failures", 2, 4)
    report = bulkid.report(summary["run_id"])
    assert [row["error_code"] for row in report] == ["changed_since"] * 3 + ["account_gone", "", ""]
    assert [row["name"] for row in report[:4]] == ["robot-0001", "robot-0001", "robot-0002", "robot-0003"]
    assert f'not as run {first} left it: display name: expected "Alpha", found "Somebody\'s"' in report[0]["error"]
    assert "in Finance: expected yes, found no" in report[2]["error"]
    assert "robot-0003" in report[3]["error"]
    assert "changed_since" not in undone.stderr
    assert "row 2: The account is not as run" in undone.stderr
    now = state_of(host)
    for name in ("robot-0001", "robot-0002"):
        assert now[id_of(host, name)] == meddled[id_of(host, name)]
    assert now[id_of(host, "robot-0004")] == before[id_of(host, "robot-0004")]
    _, display_name, groups = now[id_of(host, "robot-0005")]
    assert display_name == before[id_of(host, "robot-0005")][1]
    assert directory.group_named("Legal").id in groups
    retry = (bulkid.run_folder(summary["run_id"]) / "retry.csv").read_text(encoding="utf-8-sig").splitlines()
    assert retry[0] == "robot_account_id,name,display_name,groups_to_add,groups_to_remove,error"
    assert len(retry) == 5


def test_a_group_that_is_gone_is_named(tmp_path: Path, host: Hosted) -> None:
    sheet_of(tmp_path, MIXED)
    bulkid = connected_to(tmp_path, host.url)
    run_id_of(bulkid, "run", "sheet.csv")
    trainees = host.sandbox.state.group_named("Trainees")
    gone = trainees.id
    host.sandbox.state.delete_groups([trainees])
    undo = run_id_of(bulkid, "undo", "last", code=1)
    report = bulkid.report(undo)
    assert [row["error_code"] for row in report] == ["group_gone"] * 3 + [""] * 3
    assert f'The group "Trainees" ({gone}) does not exist any more' in report[0]["error"]
    assert "+ Trainees" in report[0]["error"]


def test_what_cannot_be_undone_is_refused_and_nothing_is_sent(tmp_path: Path, host: Hosted) -> None:
    bulkid = connected_to(tmp_path, host.url)
    assert_clear(bulkid("undo", "last", "--yes"), 2, "There is no run", "bulkid runs")
    sheet_of(tmp_path, [("name", "display name"), ("robot-0001", "Robot 1")])
    nothing = run_id_of(bulkid, "run", "sheet.csv")
    assert_clear(bulkid("undo", nothing, "--yes"), 2, nothing, "nothing to undo")
    sheet_of(tmp_path, [("id", "display name"), (id_of(host, "robot-0001"), "Blind")])
    blind = run_id_of(bulkid, "run", "sheet.csv", "--no-read")
    assert_clear(bulkid("undo", blind, "--yes"), 2, blind, "blind", "--no-read")
    renames(tmp_path, 2)
    good = run_id_of(bulkid, "run", "sheet.csv")
    sent, known = len(host.puts()), len(json.loads(bulkid("runs", "--json").stdout))
    assert_clear(bulkid("undo", good), 2, "bulkid cannot ask for confirmation", "--yes")
    assert_clear(bulkid("undo", good, "--yes", "--organization-id", "another"), 2, good, "another")
    assert_clear(bulkid("undo", good, "--yes", "--url", "http://127.0.0.1:9/identity"), 2, good, "127.0.0.1:9")
    assert len(json.loads(bulkid("runs", "--json").stdout)) == known
    assert len(host.puts()) == sent
    aloof = connected_to(tmp_path, host.url, BULKID_SCOPE="PM.RobotAccount.Write PM.Group.Read")
    assert_clear(aloof("undo", good, "--yes"), 3, "cannot be read", "PM.RobotAccount.Read")
    assert len(host.puts()) == sent
    assert bulkid("undo", good, "--yes", "--quiet").returncode == 0


@pytest.mark.slow
def test_a_run_that_still_goes_is_not_undone_and_one_that_was_killed_is(tmp_path: Path) -> None:
    renames(tmp_path, 40)
    with hosted(accounts=60, latency_s=0.3) as host:
        bulkid, before = connected_to(tmp_path, host.url), state_of(host)
        with Life(bulkid, "run", "sheet.csv", "--yes", "--concurrency", "2") as life:
            wait_for_puts(host, 6)
            going = bulkid("undo", "last", "--yes", "--json")
            assert_clear(going, 6, "still under way", "undone")
            life.kill()
        settle(host)
        host.portal.call(lambda: slowly(host, delayed=False))
        some = state_of(host)
        assert before != some
        host.sandbox.state.rename(host.sandbox.state.account_named("robot-0001"), "Somebody's")
        undo = run_id_of(bulkid, "undo", "last", code=1)
        counts = [row["status"] for row in bulkid.report(undo)]
        assert counts[0] == "invalid"
        assert set(counts[1:]) == {"updated", "unchanged"}
        host.sandbox.state.rename(host.sandbox.state.account_named("robot-0001"), before[id_of(host, "robot-0001")][1])
        assert state_of(host) == before
        # To go on with the run would do again what was undone: that takes its name.
        assert_clear(bulkid("resume"), 2, "There is nothing to resume")
        (killed,) = (run for run in json.loads(bulkid("runs", "--json").stdout) if run["status"] == "interrupted")
        assert bulkid("resume", killed["run_id"], "--quiet").returncode == 0
        assert host.display_name("robot-0040") == "New 40"
        assert run_id_of(bulkid, "undo", killed["run_id"])
        assert state_of(host) == before


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["connect", "directory", "send", "report"])
def test_an_undo_that_is_killed_goes_on_when_it_is_resumed(stage: str, tmp_path: Path) -> None:
    rows = [(f"robot-{number:04d}", f"New {number}", "Finance", "", "") for number in range(1, 41)]
    sheet_of(tmp_path, [HEADERS, *rows])
    with hosted(accounts=60, latency_s=0.05) as host:
        host.portal.call(lambda: slowly(host, delayed=False))
        bulkid, before = connected_to(tmp_path, host.url), state_of(host)
        run_id_of(bulkid, "run", "sheet.csv")
        host.portal.call(lambda: slowly(host, delayed=True))
        already = len(host.puts())
        if stage == "send":
            with Life(bulkid, "undo", "last", "--yes", "--concurrency", "2") as life:
                wait_for_puts(host, already + 5)
                life.kill()
            settle(host)
        else:
            crash(bulkid, stage, "undo", "last", "--yes")
        host.portal.call(lambda: slowly(host, delayed=False))
        resumed = bulkid("resume", "--yes", "--json")
        assert resumed.returncode == 0, all_text(resumed)
        assert statuses(bulkid.report(summary_of(resumed)["run_id"])) == ["updated"] * 40
        assert state_of(host) == before
        assert len(host.puts()) == already + 40, "what was done before the kill was not sent again"
        run_id_of(bulkid, "undo", summary_of(resumed)["run_id"])
        assert {host.display_name(row[0]) for row in rows} == {row[1] for row in rows}


@pytest.mark.slow
def test_a_resumed_undo_overwrites_nobody_who_changed_an_account_meanwhile(tmp_path: Path) -> None:
    renames(tmp_path, 30)
    with hosted(accounts=60, latency_s=0.1) as host:
        host.portal.call(lambda: slowly(host, delayed=False))
        bulkid = connected_to(tmp_path, host.url)
        run_id_of(bulkid, "run", "sheet.csv")
        host.portal.call(lambda: slowly(host, delayed=True))
        with Life(bulkid, "undo", "last", "--yes", "--concurrency", "2") as life:
            wait_for_puts(host, 34)
            life.kill()
        settle(host)
        host.portal.call(lambda: slowly(host, delayed=False))
        host.sandbox.state.rename(host.sandbox.state.account_named("robot-0030"), "Somebody's")
        host.sandbox.state.delete(id_of(host, "robot-0029"))
        resumed = bulkid("resume", "--yes", "--json")
        assert resumed.returncode == 1
        report = bulkid.report(summary_of(resumed)["run_id"])
        assert statuses(report) == ["updated"] * 28 + ["failed"] * 2
        assert [row["error_code"] for row in report[28:]] == ["account_gone", "changed_since"]
        assert 'expected "New 30", found "Somebody\'s"' in report[29]["error"]
        assert host.display_name("robot-0030") == "Somebody's"


def joiners(folder: Path, count: int) -> None:
    """A sheet that group requests are made for."""
    rows = [(f"robot-{number:04d}", "Logistics; Payroll", "Automation Users") for number in range(1, count + 1)]
    sheet_of(folder, [("name", "groups to add", "groups to remove"), *rows])


def test_what_went_by_group_is_put_back_by_group(tmp_path: Path, host: Hosted) -> None:
    joiners(tmp_path, 40)
    bulkid, before = connected_to(tmp_path, host.url), state_of(host)
    run = run_id_of(bulkid, "run", "sheet.csv", "--via", "groups")
    assert {row["via"] for row in bulkid.report(run)} <= {"group", ""}
    after = state_of(host)
    undo = run_id_of(bulkid, "undo", run, "--via", "groups")
    assert {row["via"] for row in bulkid.report(undo)} <= {"group", ""}
    assert state_of(host) == before
    run_id_of(bulkid, "undo", undo, "--via", "accounts")
    assert state_of(host) == after


@pytest.mark.slow
def test_a_run_killed_between_its_group_requests_is_undone_and_so_is_a_killed_undo(tmp_path: Path) -> None:
    joiners(tmp_path, 40)
    by_group = ("--via", "groups", "--group-batch", "4", "--concurrency", "1")
    with hosted(accounts=60, latency_s=0.1) as host:
        bulkid, before = connected_to(tmp_path, host.url), state_of(host)
        for most, command in ((6, ("run", "sheet.csv")), (3, ("undo", "last"))):
            sent = len(host.puts())
            with Life(bulkid, *command, "--yes", *by_group) as life:
                wait_for_puts(host, sent + most)
                life.kill()
            time.sleep(0.2)  # more than an answer takes
            settle(host)
        host.portal.call(lambda: slowly(host, delayed=False))
        assert state_of(host) != before
        resumed = bulkid("resume", "--yes", "--json")
        assert resumed.returncode == 0, all_text(resumed)
        assert state_of(host) == before
        assert set(statuses(bulkid.report(str(summary_of(resumed)["run_id"])))) <= {"updated", "unchanged"}


def random_rows(chance: random.Random, host: Hosted, count: int) -> list[tuple[str, ...]]:
    """Rows of every kind for random accounts; those for one account never contradict one another."""
    groups = sorted(group.name for group in host.sandbox.state.groups.values() if group.type == "custom")
    quoted = ['"{}"'.format(name.replace('"', '""')) for name in groups]
    names = chance.sample([account.name for account in host.sandbox.state.accounts.values()], count)
    rows: list[tuple[str, ...]] = []
    for name in names:
        some = chance.sample(quoted, 4)
        display = chance.choice(["", "!clear", f" New {chance.random()}"])
        if chance.random() < 0.3:
            rows.append((name, display, "", "", "; ".join(some[: chance.randint(1, 4)])))
            continue
        cut = chance.randint(0, 4)
        rows.append((name, display, "; ".join(some[:cut]), "; ".join(some[cut:]), ""))
        if chance.random() < 0.3:
            rows.append((name, display, "; ".join(some[: cut // 2]), "", ""))
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(3, 20))])
async def test_for_any_sheet_the_undo_gives_the_state_before_and_its_undo_the_state_after(
    seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    with hosted(accounts=60, seed=seed + 1, list_everyone=chance.random() < 0.5) as host:
        path = sheet_of(tmp_path, [HEADERS, *random_rows(chance, host, 40)])
        target = runs.Target(url=host.url, client_id="sandbox", client_secret=SECRET)
        context = runs.Context(state_dir=tmp_path / "state")
        options = runs.RunOptions(report_dir=tmp_path / "reports", yes_really=True)

        async def step(work: Callable[..., Any], what: Any) -> str:
            result = await work(what, target, options, context)
            assert (result.exit_code, result.error) == (0, None)
            return str(result.run.run_id)

        before = state_of(host)
        first = await step(runs.run, path)
        after = state_of(host)
        second = await step(runs.undo, first)
        assert state_of(host) == before
        await step(runs.undo, second)
        assert state_of(host) == after
        await step(runs.undo, "last")
        assert state_of(host) == before


def entries_by_status(folder: Path, run_id: str) -> Sequence[Status]:
    with open_journal(folder / "state") as journal:
        return [entry.outcome.status for entry in journal.iter_items(run_id)]


def test_an_undo_sends_the_first_accounts_alone_when_it_is_a_trial(tmp_path: Path, host: Hosted) -> None:
    renames(tmp_path, 4)
    bulkid = connected_to(tmp_path, host.url)
    run_id_of(bulkid, "run", "sheet.csv", "--first", "3")
    undo = run_id_of(bulkid, "undo", "last", "--first", "2")
    assert entries_by_status(tmp_path, undo) == [Status.UPDATED, Status.UPDATED, Status.PENDING]
    assert [host.display_name(f"robot-000{number}") for number in (3, 4)] == ["New 3", "Invoice Bot"]
