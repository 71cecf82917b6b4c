"""A run that was refused says what to do, and does not advise a resume that would be refused again."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from bulkid import runs
from tests.support.bulkid_command import Bulkid, connected_to
from tests.support.command_output import all_text, assert_clear, summary_of
from tests.support.sandbox_host import hosted
from tests.support.sheets import renames, sheet_of


def test_a_run_without_credentials_names_the_setting_and_nothing_to_resume(tmp_path: Path) -> None:
    bulkid = Bulkid(tmp_path, {"BULKID_URL": "https://cloud.uipath.com/acme"})
    renames(tmp_path, 3)
    refused = bulkid("run", "sheet.csv", "--yes")
    assert_clear(refused, 2, "No credentials are given", "Nothing was sent. Set BULKID_CLIENT_ID")
    assert "resume" not in all_text(refused)
    assert refused.stdout.startswith("Refused: 3 not sent.\n")
    run_id = bulkid.run_folder().name
    nothing = bulkid("resume")
    assert_clear(
        nothing, 2, f"the newest run, {run_id} (sheet.csv), was refused", "Nothing was sent. Set BULKID_CLIENT_ID"
    )
    assert "bulkid resume" not in all_text(nothing)


def test_a_run_whose_sheet_is_invalid_is_not_resumed_but_run_again(tmp_path: Path) -> None:
    sheet_of(tmp_path, [("name", "display name"), ("robot-0001", "A"), ("", "B")])
    with hosted(accounts=20) as host:
        bulkid = connected_to(tmp_path, host.url)
        refused = bulkid("run", "sheet.csv", "--yes")
        assert_clear(refused, 2, "1 of 2 rows is invalid.", "Nothing was sent. Fix the sheet and run it again.")
        assert "resume" not in all_text(refused)
        run_id, requests = bulkid.run_folder().name, len(host.sandbox.log)
        again = bulkid("resume", run_id, "--yes")
        assert_clear(
            again, 2, f"Run {run_id} (sheet.csv) was refused", "Fix the sheet and run it again.", "--skip-invalid"
        )
        assert len(host.sandbox.log) == requests, "what the sheet says cannot have changed"
        done = summary_of(bulkid("resume", run_id, "--yes", "--json", "--skip-invalid"))
        assert (done["updated"], done["invalid"]) == (1, 1)


def test_resume_without_an_interrupted_run_leads_to_the_rest_of_a_trial(tmp_path: Path) -> None:
    renames(tmp_path, 3)
    with hosted(accounts=20) as host:
        bulkid = connected_to(tmp_path, host.url)
        assert_clear(bulkid("resume"), 2, "There is nothing to resume", "bulkid runs")
        run_id = summary_of(bulkid("run", "sheet.csv", "--yes", "--json", "--first", "1"))["run_id"]
        assert_clear(bulkid("resume"), 2, f"review the remaining 2 with: bulkid resume {run_id}")


def test_a_run_that_cannot_sign_in_says_how_to_continue(tmp_path: Path) -> None:
    renames(tmp_path, 3)
    with hosted(accounts=20) as host:
        wrong = connected_to(tmp_path, host.url, BULKID_CLIENT_SECRET="wrong")
        stopped = wrong("run", "sheet.csv", "--yes")
        run_id = wrong.run_folder().name
        assert_clear(stopped, 3, "refuses the credentials", f"Continue with: bulkid resume {run_id}")
        assert re.match(r"Stopped (in|after) .+: 3 pending\.\n", stopped.stdout)
        resumed = connected_to(tmp_path, host.url)("resume", "--yes")
        assert resumed.stderr.startswith(f"Resuming {run_id}: sheet.csv, 3 rows left\n")
        assert_clear(wrong("undo", run_id, "--yes"), 3, "refuses the credentials")
        undone = connected_to(tmp_path, host.url)("resume", "--yes")
        assert undone.returncode == 0
        assert undone.stderr.partition("\n")[0].endswith(f": undo of {run_id}")  # its rows are made again


def test_a_run_that_is_resumed_without_credentials_stays_the_one_to_resume(tmp_path: Path) -> None:
    renames(tmp_path, 5)
    with hosted(accounts=20, poisoned=("robot-0002",)) as host:
        bulkid = connected_to(tmp_path, host.url)
        stopped = summary_of(bulkid("run", "sheet.csv", "--yes", "--json", "--max-failures", "0", "--concurrency", "1"))
        assert (stopped["updated"], stopped["failed"], stopped["pending"]) == (1, 1, 3)
        without = connected_to(tmp_path, host.url, BULKID_CLIENT_SECRET="")("resume", "--yes", "--json")
        advice = f"Continue with: bulkid resume {stopped['run_id']}"
        assert_clear(without, 2, "No credentials are given", "Set BULKID_CLIENT_ID", advice)
        summary = summary_of(without)
        assert (summary["status"], summary["updated"], summary["pending"]) == ("interrupted", 1, 3)
        resumed = summary_of(bulkid("resume", "--yes", "--json"))
        assert (resumed["run_id"], resumed["updated"], resumed["pending"]) == (stopped["run_id"], 4, 0)


def test_a_run_whose_report_cannot_be_written_any_more_is_resumed_all_the_same(tmp_path: Path) -> None:
    renames(tmp_path, 5)
    with hosted(accounts=20, poisoned=("robot-0002",)) as host:
        bulkid = connected_to(tmp_path, host.url)
        bulkid("run", "sheet.csv", "--yes", "--max-failures", "0", "--concurrency", "1")
        run_id = bulkid.run_folder().name
        shutil.rmtree(tmp_path / "reports")
        (tmp_path / "reports").touch()
        resumed = bulkid("resume", "--yes", "--json")
        assert resumed.returncode == 1
        assert "note: Could not write report.csv" in resumed.stderr
        assert f"bulkid report {run_id} --report-dir DIR" in all_text(resumed)
        summary = summary_of(resumed)
        assert (summary["updated"], summary["failed"], summary["pending"], summary["report"]) == (4, 1, 0, None)
        again = bulkid("report", run_id, "--report-dir", "others")
        assert again.returncode == 0, again.stderr
        assert (tmp_path / "others" / run_id / "report.csv").is_file()


def test_a_trial_whose_rest_is_resumed_without_credentials_stays_as_it_was(tmp_path: Path) -> None:
    renames(tmp_path, 5)
    with hosted(accounts=20) as host:
        bulkid = connected_to(tmp_path, host.url)
        trial = summary_of(bulkid("run", "sheet.csv", "--yes", "--json", "--first", "2"))
        assert (trial["status"], trial["updated"], trial["pending"]) == ("completed", 2, 3)
        without = connected_to(tmp_path, host.url, BULKID_CLIENT_SECRET="")
        refused = without("resume", trial["run_id"], "--yes", "--json")
        assert_clear(refused, 2, "No credentials are given", "Nothing more was sent. Set BULKID_CLIENT_ID")
        assert summary_of(refused)["status"] == "completed"
        assert_clear(bulkid("resume", "--yes"), 2, "There is nothing to resume", f"bulkid resume {trial['run_id']}")
        assert summary_of(bulkid("resume", trial["run_id"], "--yes", "--json"))["updated"] == 5


def test_a_trial_whose_rest_is_resumed_while_the_server_is_away_stays_as_it_was(tmp_path: Path) -> None:
    renames(tmp_path, 5)
    with hosted(accounts=20) as host:
        bulkid = connected_to(tmp_path, host.url)
        trial = summary_of(bulkid("run", "sheet.csv", "--yes", "--json", "--first", "2"))
    failed = bulkid("resume", trial["run_id"], "--yes", "--json")
    assert (failed.returncode, summary_of(failed)["status"]) == (3, "completed")
    assert_clear(bulkid("resume", "--yes"), 2, "There is nothing to resume", f"bulkid resume {trial['run_id']}")


@pytest.mark.parametrize(("command", "done"), [("resume", "continued"), ("undo", "undone")])
def test_no_run_of_a_server_goes_on_or_back_where_the_user_asks_for_the_sandbox(
    command: str, done: str, tmp_path: Path
) -> None:
    renames(tmp_path, 5)
    with hosted(accounts=20) as host:
        bulkid = connected_to(tmp_path, host.url)
        run_id = summary_of(bulkid("run", "sheet.csv", "--yes", "--json", "--first", "2"))["run_id"]
        refused = bulkid(command, run_id, "--yes", "--sandbox")
        assert_clear(refused, 2, f"Run {run_id} is one of {host.url}", f"{done} in the sandbox", "Leave out --sandbox")
        assert len(host.puts()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_message_on_a_narrow_terminal_breaks_between_words(tmp_path: Path) -> None:
    bulkid = Bulkid(tmp_path, {"BULKID_URL": "https://cloud.uipath.com/acme", "COLUMNS": "60"})
    renames(tmp_path, 3)
    code, text = bulkid.on_terminal("run", "sheet.csv", "--yes")
    shown = text[text.index("bulkid: ") :]
    assert code == 2
    assert max(map(len, shown.splitlines())) <= 60
    for word in ("BULKID_CLIENT_SECRET", "BULKID_CLIENT_SECRET_FILE", "BULKID_ACCESS_TOKEN"):
        assert word in shown


@pytest.mark.parametrize(
    ("options", "code"),
    [(("--max-change", "1"), 2), (("--no-read", "--max-failures", "0"), 4), (("--first", "1"), 0)],
    ids=["change limit", "failure limit", "trial"],
)
def test_what_a_run_keeps_of_its_end_names_no_option(tmp_path: Path, options: tuple[str, ...], code: int) -> None:
    """The console shows the same sentences, and has no command line."""
    with hosted(accounts=20) as host:
        ids = [account.id for account in host.sandbox.state.accounts.values()]
        sheet_of(tmp_path, [("id", "display name"), ("no-such-id" if code == 4 else ids[2], "A"), (ids[3], "B")])
        bulkid = connected_to(tmp_path, host.url)
        done = bulkid("run", "sheet.csv", "--yes", "--concurrency", "1", *options)
        assert done.returncode == code, all_text(done)
        kept = [runs.find_run("last", tmp_path / "state").message, *(row["error"] for row in bulkid.report())]
    assert any(kept)
    for sentence in kept:
        assert "--" not in sentence
        assert "bulkid " not in sentence
