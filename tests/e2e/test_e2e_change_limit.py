"""The limits of changes and deletions over the command line: what is refused, the message, and how to override it."""

import json
from pathlib import Path

import pytest

from tests.support.bulkid_command import Bulkid, connected_to
from tests.support.command_output import assert_clear, summary_of
from tests.support.sandbox_host import Hosted, hosted
from tests.support.sheets import renames, sheet_of


@pytest.fixture
def host() -> Hosted:
    with hosted(accounts=40) as served:
        yield served


def connected(folder: Path, host: Hosted, **env: str) -> Bulkid:
    return connected_to(folder, host.url, **({"BULKID_MAX_CHANGE": ""} | env))


def by_id(folder: Path, host: Hosted, count: int) -> None:
    ids = [account.id for account in host.sandbox.state.accounts.values()][:count]
    sheet_of(folder, [("id", "display name"), *((each, "G") for each in ids)])


@pytest.mark.slow
def test_a_plan_that_changes_more_than_half_is_refused_until_somebody_says_yes_really(
    tmp_path: Path, host: Hosted
) -> None:
    renames(tmp_path, 21)
    bulkid = connected(tmp_path, host)
    words = ("21 of the organisation's 40 accounts (52.5 %)", "limit of 50 %", "Nothing was sent", "--yes-really")
    planned = bulkid("plan", "sheet.csv")
    assert planned.returncode == 0, "the sheet is good"
    assert "warning: The plan changes 21 of the organisation's 40 accounts (52.5 %)" in " ".join(planned.stdout.split())
    refused = bulkid("run", "sheet.csv", "--yes", "--json")
    assert_clear(refused, 2, *words, "--max-change")
    summary = summary_of(refused)
    assert (summary["status"], summary["pending"], summary["requests"]["PUT"]) == ("refused", 21, 0)
    assert len(bulkid.report(summary["run_id"])) == 21
    again = bulkid("resume", summary["run_id"], "--yes")
    assert_clear(again, 2, *words)
    assert host.puts() == []
    done = bulkid("resume", summary["run_id"], "--yes", "--yes-really", "--json")
    assert done.returncode == 0, done.stderr
    assert (summary_of(done)["updated"], len(host.puts())) == (21, 21)


@pytest.mark.slow
def test_a_bound_of_ones_own_takes_the_place_of_the_default(tmp_path: Path, host: Hosted) -> None:
    renames(tmp_path, 21)
    allowed = connected(tmp_path, host, BULKID_MAX_CHANGE="21")("run", "sheet.csv", "--yes", "--json")
    assert allowed.returncode == 0, allowed.stderr
    renames(tmp_path, 3, prefix="Newer")
    bulkid = connected(tmp_path, host)
    assert_clear(bulkid("run", "sheet.csv", "--yes", "--max-change", "2"), 2, "3 accounts, more than the limit of 2")
    assert_clear(bulkid("run", "sheet.csv", "--yes", "--max-change", "7%"), 2, "(7.5 %), more than the limit of 7 %")
    assert bulkid("run", "sheet.csv", "--yes", "--max-change", "7.5%").returncode == 0
    assert len(host.puts()) == 24


@pytest.mark.slow
def test_the_bound_of_a_run_holds_when_it_is_resumed_before_its_plan(tmp_path: Path, host: Hosted) -> None:
    renames(tmp_path, 3)
    wrong = connected(tmp_path, host, BULKID_CLIENT_SECRET="wrong")
    assert wrong("run", "sheet.csv", "--yes", "--max-change", "2", "--yes-really").returncode == 3
    bulkid = connected(tmp_path, host)
    assert_clear(bulkid("resume", "--yes"), 2, "3 accounts, more than the limit of 2", "--yes-really")
    assert host.puts() == [], "that it was really meant was said of another plan"


@pytest.mark.slow
def test_the_rest_of_a_trial_that_is_refused_for_its_size_does_not_say_that_nothing_was_sent(
    tmp_path: Path, host: Hosted
) -> None:
    renames(tmp_path, 5)
    bulkid = connected(tmp_path, host)
    trial = summary_of(bulkid("run", "sheet.csv", "--yes", "--first", "1", "--max-change", "3", "--json"))
    assert trial["updated"] == len(host.puts()) == 1
    refused = bulkid("resume", trial["run_id"], "--yes")
    assert_clear(refused, 2, "more than the limit of 3", "Nothing more was sent. Check that the sheet is right.")


@pytest.mark.slow
def test_a_blind_run_lets_through_what_any_number_of_accounts_would(tmp_path: Path, host: Hosted) -> None:
    bulkid = connected(tmp_path, host)
    by_id(tmp_path, host, 10)
    assert bulkid("run", "sheet.csv", "--yes", "--no-read").returncode == 0
    by_id(tmp_path, host, 11)
    refused = bulkid("run", "sheet.csv", "--yes", "--no-read")
    assert_clear(refused, 2, "11 accounts", "how many accounts the organisation has is not known", "--yes-really")
    by_id(tmp_path, host, 1)
    given = bulkid("run", "sheet.csv", "--yes", "--no-read", "--max-change", "90%")
    assert_clear(given, 2, "limit of 90 % cannot be kept", "--max-change N")
    assert not any(entry.method == "GET" for entry in host.sandbox.log), "it reads nothing to find out"
    by_id(tmp_path, host, 11)
    assert bulkid("run", "sheet.csv", "--yes", "--no-read", "--max-change", "11").returncode == 0
    assert bulkid("run", "sheet.csv", "--yes", "--no-read", "--yes-really").returncode == 0
    assert len(host.puts()) == 10 + 11 + 11


@pytest.mark.slow
def test_the_number_of_accounts_is_asked_for_only_where_the_verdict_depends_on_it(tmp_path: Path, host: Hosted) -> None:
    bulkid = connected(tmp_path, host)
    by_id(tmp_path, host, 1)
    plain = json.loads(bulkid("plan", "sheet.csv", "--json").stdout)
    assert plain["requests"]["GET"] == 1, "one account is read by itself"
    counted = bulkid("plan", "sheet.csv", "--max-change", "2%")
    assert "1 of the organisation's 40 accounts (2.5 %)" in " ".join(counted.stdout.split())
    assert [entry.path.count("top=1&") for entry in host.sandbox.log].count(1) == 1


@pytest.mark.slow
def test_an_undo_and_a_plan_file_pass_the_guard_like_a_sheet(tmp_path: Path, host: Hosted) -> None:
    renames(tmp_path, 21)
    bulkid = connected(tmp_path, host)
    words = ("21 of the organisation's 40 accounts", "--yes-really")
    assert bulkid("plan", "sheet.csv", "--out", "plan.json", "--quiet").returncode == 0
    assert_clear(bulkid("run", "--plan", "plan.json", "--yes"), 2, *words)
    assert host.puts() == []
    done = bulkid("run", "--plan", "plan.json", "--yes", "--yes-really", "--json")
    assert done.returncode == 0, done.stderr
    run_id = summary_of(done)["run_id"]
    assert_clear(bulkid("undo", run_id, "--yes"), 2, *words)
    assert len(host.puts()) == 21
    undone = bulkid("undo", run_id, "--yes", "--yes-really", "--json")
    assert undone.returncode == 0, undone.stderr
    assert len(host.puts()) == 42
