"""A trial over the command line: what it sends, what it leaves, and how the rest is run."""

import re
from pathlib import Path

import pytest

from tests.support.bulkid_command import Bulkid, connected_to
from tests.support.command_output import assert_clear, statuses, summary_of
from tests.support.sandbox_host import Hosted, hosted
from tests.support.sheets import sheet_of

ROWS = [("name", "display name"), ("robot-0003", "Robot 3"), *((f"robot-{n:04d}", f"T {n}") for n in range(4, 9))]
"""One row that is as it is already, and five that change."""


@pytest.fixture
def trial(tmp_path: Path) -> Bulkid:
    sheet_of(tmp_path, ROWS)
    return Bulkid(tmp_path)


def connected(bulkid: Bulkid, host: Hosted, **env: str) -> Bulkid:
    return connected_to(bulkid.folder, host.url, **({"BULKID_MAX_CHANGE": ""} | env))


@pytest.mark.slow
def test_a_trial_sends_the_first_accounts_that_change_and_says_both_ways_to_run_the_rest(trial: Bulkid) -> None:
    with hosted(accounts=60) as host:
        bulkid = connected(trial, host)
        done = bulkid("run", "sheet.csv", "--yes", "--first", "2")
        assert done.returncode == 0, done.stderr
        assert [entry.path.rsplit("/", 1)[1] for entry in host.puts()] == [
            account.id
            for account in host.sandbox.state.accounts.values()
            if account.name in {"robot-0004", "robot-0005"}
        ]
        outcome, *details, trial = done.stdout.splitlines()
        assert re.fullmatch(r"Done in .+: 2 updated, 1 already correct, 3 pending\.", outcome)
        run_id = bulkid.run_folder().name
        assert details[0] == f"  Run {run_id}"
        assert trial == f"  Trial finished: 2 accounts. Next: review the remaining 3 with: bulkid resume {run_id}"
        assert statuses(bulkid.report()) == ["unchanged", "updated", "updated", *["pending"] * 3]
        left = bulkid.report()[3]
        assert (left["error_code"], left["changes"]) == ("left_for_later", "display name: Robot 6 -> T 6")
        rest = summary_of(bulkid("run", "sheet.csv", "--yes", "--json"))
        assert (rest["unchanged"], rest["updated"], rest["pending"]) == (3, 3, 0)
        assert len(host.puts()) == 5


@pytest.mark.slow
def test_resume_takes_up_the_rest_of_a_trial_once_somebody_agrees(trial: Bulkid) -> None:
    with hosted(accounts=60) as host:
        bulkid = connected(trial, host)
        summary = summary_of(bulkid("run", "sheet.csv", "--yes", "--json", "--first", "2"))
        assert (summary["unchanged"], summary["updated"], summary["pending"]) == (1, 2, 3)
        assert (summary["status"], len(host.puts())) == ("completed", 2)
        assert_clear(bulkid("resume"), 2, "There is nothing to resume")
        assert_clear(bulkid("resume", summary["run_id"]), 2, "trial whose rest was not confirmed", "--yes")
        assert len(host.puts()) == 2
        rest = bulkid("resume", summary["run_id"], "--json", "--yes")
        assert rest.returncode == 0, rest.stderr
        assert "Plan: 3 to change" in " ".join(rest.stderr.split()), "the rest is shown as a plan"
        assert (summary_of(rest)["updated"], summary_of(rest)["pending"], len(host.puts())) == (5, 0, 5)
        shown = bulkid("report", summary["run_id"]).stdout
        assert "left for later" not in shown
        assert "pending" not in shown


def test_the_rest_of_a_trial_names_its_groups(trial: Bulkid) -> None:
    rows = [("robot-0001", "Trainees", ""), ("robot-0002", "Trainees", ""), ("robot-0003", "", "HR")]
    with hosted(accounts=60) as host:
        state = host.sandbox.state
        for name, *_ in rows:
            state.account_named(name).group_ids = {state.group_named("HR").id}
        sheet_of(trial.folder, [("name", "groups to add", "groups to remove"), *rows])
        bulkid = connected(trial, host)
        run_id = summary_of(bulkid("run", "sheet.csv", "--yes", "--json", "--first", "1"))["run_id"]
        rest = bulkid("resume", run_id, "--yes")
        assert rest.returncode == 0, rest.stderr
        assert "Trainees +1" in " ".join(rest.stderr.split())
        assert [row["changes"] for row in bulkid.report()] == [
            "groups: + Trainees",
            "groups: + Trainees",
            "groups: - HR",
        ]


@pytest.mark.slow
def test_a_trial_that_was_stopped_is_finished_as_a_trial_before_the_rest_is_taken_up(trial: Bulkid) -> None:
    with hosted(accounts=60) as host:
        ids = [account.id for account in host.sandbox.state.accounts.values()][10:14]
        rows = [ids[0], "no-such-id", *ids[1:]]
        sheet_of(trial.folder, [("id", "display name"), *((each, "T") for each in rows)])
        bulkid = connected(trial, host)
        options = ("--first", "3", "--no-read", "--max-failures", "0", "--concurrency", "1")
        stopped = bulkid("run", "sheet.csv", "--yes", *options)
        assert_clear(stopped, 4, "more than the limit of 0 (max_failures)", "bulkid resume")
        words = " ".join(stopped.stdout.split())
        assert "1 updated, 1 failed, 3 pending" in words
        assert "Trial finished" not in words
        finished = bulkid("resume")
        assert finished.returncode == 1, finished.stderr
        words = " ".join(finished.stdout.split())
        assert "2 updated, 1 failed, 2 pending" in words
        assert re.search(r"Trial finished: 3 accounts. Next: review the remaining 2 with: bulkid resume \S+", words)
        rest = summary_of(bulkid("resume", bulkid.run_folder().name, "--yes", "--json"))
        assert (rest["updated"], rest["failed"], rest["pending"]) == (4, 1, 0)


@pytest.mark.slow
def test_a_trial_that_was_not_confirmed_is_resumed_as_a_trial(trial: Bulkid) -> None:
    with hosted(accounts=60) as host:
        wrong = connected(trial, host, BULKID_CLIENT_SECRET="wrong")
        refused = wrong("run", "sheet.csv", "--yes", "--json", "--first", "2")
        assert refused.returncode == 3
        right = connected(trial, host)
        first = summary_of(right("resume", summary_of(refused)["run_id"], "--yes", "--json"))
        assert (first["updated"], first["pending"], len(host.puts())) == (2, 3, 2)


@pytest.mark.slow
def test_the_rest_of_a_trial_is_guarded_like_a_plan_of_its_own(trial: Bulkid) -> None:
    sheet_of(trial.folder, [("name", "display name"), *((f"robot-{n:04d}", f"T {n}") for n in range(1, 21))])
    with hosted(accounts=30) as host:
        bulkid = connected(trial, host)
        assert_clear(bulkid("run", "sheet.csv", "--yes"), 2, "20 of the organisation's 30 accounts", "--yes-really")
        tried = summary_of(bulkid("run", "sheet.csv", "--yes", "--json", "--first", "1"))
        refused = bulkid("resume", tried["run_id"], "--yes", "--json")
        assert_clear(refused, 2, "19 of the organisation's 30 accounts", "--yes-really")
        assert len(host.puts()) == 1
        assert (summary_of(refused)["updated"], summary_of(refused)["pending"]) == (1, 19)
        rest = summary_of(bulkid("resume", tried["run_id"], "--yes", "--yes-really", "--json"))
        assert (rest["updated"], rest["pending"], len(host.puts())) == (20, 0, 20)


@pytest.mark.slow
def test_an_account_of_the_rest_that_is_gone_is_not_shown_as_one_that_is_as_wanted(trial: Bulkid) -> None:
    with hosted(accounts=60) as host:
        bulkid = connected(trial, host)
        tried = summary_of(bulkid("run", "sheet.csv", "--yes", "--json", "--first", "2"))
        host.sandbox.state.delete(host.sandbox.state.account_named("robot-0008").id)
        rest = bulkid("resume", tried["run_id"], "--yes", "--json")
        assert rest.returncode == 1, rest.stderr
        assert "Plan: 2 to change, 0 already correct" in " ".join(rest.stderr.split())
        assert (summary_of(rest)["updated"], summary_of(rest)["failed"], summary_of(rest)["pending"]) == (4, 1, 0)


def test_resuming_a_trial_does_not_repeat_the_errors_that_the_user_has_seen(trial: Bulkid) -> None:
    sheet_of(trial.folder, [*ROWS, ("", "a row without an account")])
    with hosted(accounts=60) as host:
        bulkid = connected(trial, host)
        tried = bulkid("run", "sheet.csv", "--yes", "--first", "2", "--skip-invalid")
        assert re.findall(r"^row (\d+)", tried.stderr, re.MULTILINE) == ["8"]
        resumed = bulkid("resume", re.search(r"\d{8}-\d{6}-\w{4}", tried.stdout)[0], "--yes")  # type: ignore[index]
        assert "Resuming" in resumed.stderr
        assert "row 8" not in resumed.stderr
