"""Job files from end to end: the three examples, precedence of settings, hours, and resumed runs."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.bulkid_command import ROOT, SECRET, Bulkid, connected_to
from tests.support.command_output import assert_clear, assert_no_secret, errors_of, summary_of
from tests.support.processes import ON_WINDOWS, Life, no_traceback
from tests.support.sandbox_host import Hosted, hosted, set_limits, wait_for_puts
from tests.support.sheets import renames, sheet_of

PROMPT_S = 12.0


@pytest.fixture
def examples(tmp_path: Path) -> Bulkid:
    """The job files and samples of the repository, in a folder of their own."""
    for name in ("jobs", "sample_data"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return Bulkid(tmp_path)


@pytest.fixture(scope="module")
def host() -> Iterator[Hosted]:
    with hosted(accounts=60) as started:
        yield started


def job(folder: Path, text: str, name: str = "job.toml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def real(host: Hosted, sheet: str, *more: str) -> str:
    """A job on a server, as an admin would write it."""
    lines = (f'source = "{sheet}"', f'url = "{host.url}"', 'client_id = "sandbox"', 'client_secret_env = "HUSH"')
    return "\n".join([*lines, "yes = true", *more]) + "\n"


def with_secret(folder: Path) -> Bulkid:
    return Bulkid(folder, {"HUSH": SECRET})


def only_summary(done: subprocess.CompletedProcess[str], **expected: Any) -> dict[str, Any]:
    summary = dict(summary_of(done))
    assert {name: summary[name] for name in expected} == expected, done.stderr
    return summary


# --- the three that come with bulkid


def test_the_nightly_example_works_as_it_is(examples: Bulkid) -> None:
    checked = examples("check", "jobs/nightly_group_sync.toml")
    assert checked.returncode == 0
    assert "nightly_groups.csv: 10 rows, 10 accounts\n" in checked.stdout
    assert checked.stdout.endswith("Every row is valid.\n")
    done = examples("run", "jobs/nightly_group_sync.toml", "--json")
    assert done.returncode == 0, done.stderr
    only_summary(done, status="completed", rows=10)
    folder = examples.run_folder()
    assert {file.name for file in folder.iterdir()} == {"report.csv", "report.xlsx", "summary.json"}


@pytest.mark.slow
def test_the_drop_folder_example_works_as_it_is(examples: Bulkid) -> None:
    empty = examples("run", "jobs/drop_folder.toml", "--json")
    assert empty.returncode == 0, empty.stderr
    only_summary(empty, status="completed", rows=0, run_id=None)
    inbox = examples.folder / "jobs" / "inbox"
    renames(inbox, 3, name="three.csv")
    (inbox / "notes.txt").write_text("not a sheet of this job", encoding="utf-8")
    planned = examples("plan", "jobs/drop_folder.toml", "--json")
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["planned_puts"] == 3
    done = examples("run", "jobs/drop_folder.toml", "--json")
    assert done.returncode == 0, done.stderr
    only_summary(done, rows=3, updated=3)
    archived = sorted(path.name for path in (inbox / "archive").iterdir())
    assert [name[10:] for name in archived] == ["_three.csv", "_three.report.csv"]
    assert (inbox / "notes.txt").exists()


@pytest.mark.slow
def test_the_migration_example_goes_on_where_its_time_ended(examples: Bulkid) -> None:
    first = examples("run", "jobs/migration.toml", "--json", "--max-duration", "3s")
    assert first.returncode == 5, first.stderr
    summary = only_summary(first, status="interrupted", rows=5000)
    assert summary["pending"] > 0
    assert "Stopped: the run may last 3 seconds." in first.stderr
    again = examples("run", "jobs/migration.toml", "--json", "--max-duration", "3s")
    assert again.returncode == 5, again.stderr
    assert only_summary(again, rows=5000)["run_id"] == summary["run_id"]
    assert f"Resuming {summary['run_id']}: " in again.stderr


def test_the_onboarding_example_creates_accounts_and_groups(examples: Bulkid) -> None:
    done = examples("run", "jobs/onboarding.toml", "--json")
    assert done.returncode == 0, done.stderr
    summary = only_summary(done, rows=500, created=500)
    # Three groups, five hundred accounts, and a token.
    assert (summary["requests"]["POST"], summary["requests"]["PUT"]) == (504, 0)


# --- what wins, and what is refused


def test_a_job_connects_as_it_says_and_its_secret_is_nowhere(host: Hosted, tmp_path: Path) -> None:
    renames(tmp_path, 2, "Connected")
    bulkid = with_secret(tmp_path)
    done = bulkid("run", job(tmp_path, real(host, "sheet.csv", 'report_dir = "out"')), "-vv", "--log-format", "json")
    assert done.returncode == 0, done.stderr
    assert host.display_name("robot-0001") == "Connected 1"
    assert len(list((tmp_path / "out").glob("*/report.csv"))) == 1
    assert_no_secret(tmp_path, [done], SECRET)


def test_an_option_and_the_environment_win_over_the_file(host: Hosted, tmp_path: Path) -> None:
    renames(tmp_path, 3, "Wins")
    path = job(tmp_path, real(host, "sheet.csv", 'report_dir = "out"', "first = 3"))
    bulkid = Bulkid(tmp_path, {"HUSH": SECRET, "BULKID_REPORT_DIR": "from_environment"})
    done = bulkid("run", path, "--first", "1", "--json")
    assert done.returncode == 0, done.stderr
    only_summary(done, updated=1, pending=2)
    assert (tmp_path / "from_environment").exists()
    assert not (tmp_path / "out").exists()


def test_every_fault_of_a_file_is_told_and_nothing_is_begun(tmp_path: Path) -> None:
    path = job(tmp_path, 'source = "sheet.csv"\nrate = "fast"\nconcurency = 4\n')
    done = Bulkid(tmp_path)("run", path)
    assert_clear(done, 2, f"job file {path}: 2 things cannot be used:")
    assert "key rate: 'fast' is not a number. Give a number from 0.001 to 100000" in done.stderr
    assert "unknown key 'concurency'. Did you mean concurrency?" in done.stderr
    assert not (tmp_path / "state").exists()


def test_the_secret_that_is_missing_is_told_before_anything_is_begun(host: Hosted, tmp_path: Path) -> None:
    renames(tmp_path, 1)
    path = job(tmp_path, real(host, "sheet.csv"))
    done = Bulkid(tmp_path)("run", path)
    assert_clear(done, 2, "key client_secret_env: the variable that it names is not set.")


def test_nobody_there_and_no_consent_in_the_file(tmp_path: Path) -> None:
    renames(tmp_path, 1)
    done = Bulkid(tmp_path)("run", job(tmp_path, 'source = "sheet.csv"\nsandbox = true\n'))
    assert_clear(done, 2, "Job job: bulkid cannot ask for confirmation here", "set yes = true in the job file")


def test_several_sources_must_all_be_jobs(tmp_path: Path) -> None:
    assert_clear(Bulkid(tmp_path)("run", "a.toml", "b.csv"), 2, "must all be job files (.toml), and b.csv is none")


def test_the_schema_is_printed(tmp_path: Path) -> None:
    done = Bulkid(tmp_path)("job-schema")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads((ROOT / "docs" / "job.schema.json").read_text(encoding="utf-8"))


def test_a_check_of_a_drop_folder_looks_at_each_file_and_moves_none(tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    renames(inbox, 2, name="good.csv")
    sheet_of(inbox, [("id", "name"), ("", "")], "empty.csv")
    sheet_of(inbox, [("id", "groups_to_add", "groups_to_remove"), ("1", "Finance", "Finance")], "bad.csv")
    path = job(tmp_path, '[source]\nfolder = "in"\n')
    before = sorted(file.name for file in inbox.iterdir())
    done = Bulkid(tmp_path)("check", path, "--json")
    assert done.returncode == 2
    total = json.loads(done.stdout)
    assert (total["rows"], total["invalid"], len(total["runs"])) == (3, 1, 3)
    assert sorted(file.name for file in inbox.iterdir()) == before


def test_a_dropped_file_that_cannot_be_read_is_said_to_a_quiet_job_too(tmp_path: Path) -> None:
    """Cron mails what a quiet job prints: an exit code alone would tell no one."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "bad.csv").write_text("nothing,known\n1,2\n", encoding="utf-8")
    job_file = tmp_path / "job.toml"
    job_file.write_text('sandbox = true\nyes = true\nsource = {folder = "inbox", settle = 0}\n', encoding="utf-8")
    done = Bulkid(tmp_path)("run", "job.toml", "--quiet")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path / 'inbox' / 'bad.csv'}: No column names the robot account." in done.stderr


def test_rows_that_failed_are_said_to_a_quiet_job_too(tmp_path: Path) -> None:
    """Exit code 1 asks for somebody who looks at the rows, and cron mails nothing where nothing is printed."""
    (tmp_path / "sheet.csv").write_text("name,display_name\nrobot-0001,A\nnobody-here,B\n", encoding="utf-8")
    job_file = tmp_path / "job.toml"
    job_file.write_text('sandbox = true\nyes = true\nskip_invalid = true\nsource = "sheet.csv"\n', encoding="utf-8")
    bulkid = Bulkid(tmp_path)
    done = bulkid("run", "job.toml", "--quiet")
    assert (done.returncode, done.stdout) == (1, "")
    retry = bulkid.run_folder() / "retry.csv"
    assert done.stderr == (
        f"bulkid: {tmp_path / 'sheet.csv'}: 1 row of 2 failed or invalid.\n  The last column of {retry} says why.\n"
    )


def test_the_rest_of_a_trial_of_a_dropped_file_is_run_as_its_message_says(tmp_path: Path) -> None:
    """The file is in the archive by then: another start of the job does not take it again."""
    (tmp_path / "inbox").mkdir()
    renames(tmp_path / "inbox", 3, name="three.csv")
    job_file = tmp_path / "job.toml"
    job_file.write_text('sandbox = true\nyes = true\nsource = {folder = "inbox", settle = 0}\n', encoding="utf-8")
    bulkid = Bulkid(tmp_path)
    trial = bulkid("run", "job.toml", "--first", "1")
    advice = f"review the remaining 2 with: bulkid resume {bulkid.run_folder().name}\n"
    assert (trial.returncode, trial.stdout.endswith(advice)) == (0, True), trial.stdout
    assert bulkid("resume").stderr.endswith(advice)
    _, *command = advice.partition(": ")[2].split()
    rest = bulkid(*command, "--yes", "--json")
    only_summary(rest, updated=3, pending=0)


def test_a_dropped_file_that_cannot_be_read_is_refused_in_the_json_of_its_job(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "bad.csv").write_text("nothing,known\n1,2\n", encoding="utf-8")
    job_file = tmp_path / "job.toml"
    job_file.write_text('sandbox = true\nyes = true\nsource = {folder = "inbox", settle = 0}\n', encoding="utf-8")
    bulkid = Bulkid(tmp_path)
    alone = bulkid("run", "job.toml", "--json")
    assert alone.returncode == 2
    only_summary(alone, status="refused", rows=0, run_id=None)
    (inbox / "bad.csv").write_text("known,nothing\n1,2\n", encoding="utf-8")
    renames(inbox, 2, name="good.csv")
    both = bulkid("run", "job.toml", "--json")
    assert both.returncode == 2
    total = json.loads(both.stdout)
    assert (total["status"], total["rows"], total["updated"]) == ("refused", 2, 2)
    assert sorted(each["status"] for each in total["runs"]) == ["completed", "refused"]


# --- hours


def hours_from_now(start: timedelta, end: timedelta) -> str:
    now = datetime.now(UTC)
    return f'window = "{now + start:%H:%M}-{now + end:%H:%M} UTC"'


def test_outside_of_its_window_a_job_begins_nothing_and_ends_well(host: Hosted, tmp_path: Path) -> None:
    renames(tmp_path, 1, "Outside")
    window = hours_from_now(timedelta(hours=3), timedelta(hours=5))
    done = with_secret(tmp_path)("run", job(tmp_path, real(host, "sheet.csv", window)), "--json")
    assert done.returncode == 0, done.stderr
    only_summary(done, rows=0, run_id=None, status="completed")
    assert "Outside of the window: nothing is begun. It opens at" in done.stderr
    assert host.display_name("robot-0001") != "Outside 1"


def test_a_resume_outside_of_the_window_is_not_called_completed(tmp_path: Path) -> None:
    renames(tmp_path, 2)
    assert Bulkid(tmp_path)("run", "sheet.csv", "--sandbox", "--yes", "--first", "1").returncode == 0
    run_id = Bulkid(tmp_path).run_folder().name
    window = hours_from_now(timedelta(hours=3), timedelta(hours=5)).split('"')[1]
    done = Bulkid(tmp_path, {"BULKID_WINDOW": window})("resume", run_id, "--yes", "--json")
    assert done.returncode == 5
    only_summary(done, rows=0, run_id=None, status="interrupted")


def test_until_holds_for_a_sheet_that_is_no_job_too(host: Hosted, tmp_path: Path) -> None:
    renames(tmp_path, 2, "Until")
    later = f"{datetime.now(UTC) + timedelta(hours=2):%H:%M} UTC"
    done = connected_to(tmp_path, host.url)("run", "sheet.csv", "--yes", "--until", later, "--max-duration", "1h")
    assert done.returncode == 0, done.stderr
    assert host.display_name("robot-0002") == "Until 2"


@pytest.mark.slow
def test_the_end_comes_in_a_throttle_wait_and_the_next_start_goes_on_first(tmp_path: Path) -> None:
    with hosted(accounts=120, limits=_parse("PUT=10/600")) as strict:
        renames(tmp_path, 30, "Later")
        path = job(tmp_path, real(strict, "sheet.csv", 'quota = "none"', "concurrency = 4", 'max_duration = "3s"'))
        bulkid = with_secret(tmp_path)
        first = bulkid("run", path, "--json")
        assert first.returncode == 5, first.stderr
        summary = only_summary(first, updated=10, pending=20)
        assert summary["elapsed_s"] < PROMPT_S  # the server said to come again in ten minutes
        set_limits(strict.sandbox, ())
        sheet_of(tmp_path, [("name", "display_name"), ("robot-0100", "The next night")])
        before = len(strict.puts())
        second = bulkid("run", path, "--json", "--max-duration", "1h")
        assert second.returncode == 0, second.stderr
        total = json.loads(second.stdout)
        assert [run["rows"] for run in total["runs"]] == [30, 1]
        assert total["runs"][0]["run_id"] == summary["run_id"]
        assert (total["rows"], total["updated"], total["run_id"]) == (31, 31, None)
        assert len(strict.puts()) - before == 21
        assert strict.display_name("robot-0030") == "Later 30"
        assert strict.display_name("robot-0100") == "The next night"


def _parse(text: str) -> Any:
    from bulkid.sandbox.options import parse_limits

    return parse_limits(text)


def test_what_is_pending_outside_of_the_window_is_told_by_the_exit_code(host: Hosted, tmp_path: Path) -> None:
    renames(tmp_path, 2, "Pending")
    wrong = job(tmp_path, real(host, "sheet.csv"))
    bulkid = Bulkid(tmp_path, {"HUSH": "wrong"})
    assert bulkid("run", wrong).returncode == 3
    window = hours_from_now(timedelta(hours=3), timedelta(hours=5))
    job(tmp_path, real(host, "sheet.csv", window))
    done = with_secret(tmp_path)("run", wrong)
    assert done.returncode == 5, done.stderr
    assert "nothing is begun" in done.stderr


def test_another_job_or_another_organisation_is_not_gone_on_with(host: Hosted, tmp_path: Path) -> None:
    renames(tmp_path, 2, "Another")
    bulkid = Bulkid(tmp_path, {"HUSH": "wrong"})
    assert bulkid("run", job(tmp_path, real(host, "sheet.csv", 'name = "one"'))).returncode == 3
    done = with_secret(tmp_path)("run", job(tmp_path, real(host, "sheet.csv", 'name = "two"')), "--json")
    assert done.returncode == 0, done.stderr
    only_summary(done, updated=2)
    assert "Going on" not in done.stderr
    with hosted(accounts=60, organization_id="11111111-2222-3333-4444-555555555555") as elsewhere:
        moved = with_secret(tmp_path)("run", job(tmp_path, real(elsewhere, "sheet.csv", 'name = "one"')), "--json")
        assert moved.returncode == 0, moved.stderr
        only_summary(moved, updated=2)


@pytest.mark.slow
def test_what_was_undone_since_is_not_gone_on_with(tmp_path: Path) -> None:
    with hosted(accounts=120, limits=_parse("PUT=10/600")) as strict:
        before = {n: strict.display_name(f"robot-{n:04d}") or "" for n in range(1, 21)}
        renames(tmp_path, 20, "Undone")
        path = job(tmp_path, real(strict, "sheet.csv", 'quota = "none"', 'via = "accounts"', 'max_duration = "3s"'))
        bulkid = with_secret(tmp_path)
        run_id = only_summary(bulkid("run", path, "--json"), updated=10, pending=10)["run_id"]
        set_limits(strict.sandbox, ())
        undone = connected_to(tmp_path, strict.url)("undo", run_id, "--yes")
        assert undone.returncode == 0, undone.stderr
        assert {n: strict.display_name(f"robot-{n:04d}") or "" for n in range(1, 21)} == before
        sheet_of(tmp_path, [("name", "display_name"), ("robot-0100", "After all")])
        done = bulkid("run", path, "--json", "--max-duration", "1h")
        assert done.returncode == 0, done.stderr
        only_summary(done, rows=1, updated=1)
        assert "Going on" not in done.stderr


# --- several at once


def test_jobs_of_several_organisations_run_side_by_side_with_the_worst_exit_code(tmp_path: Path) -> None:
    bulkid = with_secret(tmp_path)
    with (
        hosted(accounts=60, organization_id="11111111-0000-0000-0000-000000000001") as one,
        hosted(accounts=60, organization_id="11111111-0000-0000-0000-000000000002") as two,
    ):
        renames(tmp_path, 3, "One", "one.csv")
        renames(tmp_path, 4, "Two", "two.csv")
        sheet_of(tmp_path, [("id", "display_name"), ("nobody", "x"), ("", "y")], "bad.csv")
        jobs = [
            job(tmp_path, real(one, "one.csv"), "one.toml"),
            job(tmp_path, real(two, "two.csv"), "two.toml"),
            job(tmp_path, real(two, "bad.csv"), "bad.toml"),
        ]
        done = bulkid("run", *jobs, "--json")
        assert done.returncode == 2, done.stderr
        total = json.loads(done.stdout)
        assert sorted((run["rows"], run["updated"], run["status"]) for run in total["runs"]) == [
            (2, 0, "refused"),
            (3, 3, "completed"),
            (4, 4, "completed"),
        ]
        assert (total["rows"], total["updated"], total["status"]) == (9, 7, "refused")
        assert (len(one.puts()), len(two.puts())) == (3, 4)
        for words in ("one: ended with exit code 0.", "two: ended with exit code 0.", "bad: ended with exit code 2."):
            assert words in done.stderr


def test_two_jobs_of_one_organisation_take_turns(tmp_path: Path) -> None:
    renames(tmp_path, 30, "First", "first.csv")
    renames(tmp_path, 30, "Second", "second.csv")
    with hosted(accounts=60, latency_s=0.05) as host:
        jobs = [job(tmp_path, real(host, f"{name}.csv"), f"{name}.toml") for name in ("first", "second")]
        done = with_secret(tmp_path)("run", *jobs, "--json")
        assert done.returncode == 0, done.stderr
        assert [run["updated"] for run in json.loads(done.stdout)["runs"]] == [30, 30]
        # one after the other: the first thirty PUTs name each account once
        accounts = [entry.account for entry in host.puts()]
        assert len(set(accounts[:30])) == len(set(accounts[30:])) == 30
        assert len(re.findall(r"Waiting for run \S+ on this organisation to finish\.", done.stderr)) == 1


@pytest.mark.slow
@pytest.mark.skipif(ON_WINDOWS, reason="Windows has no signals to send to another process, only events and ends")
def test_one_ctrl_c_stops_all_jobs_cleanly_and_each_can_go_on(tmp_path: Path) -> None:
    limits = _parse("PUT=5/600")
    with (
        hosted(accounts=60, organization_id="22222222-0000-0000-0000-000000000001", limits=limits) as one,
        hosted(accounts=60, organization_id="22222222-0000-0000-0000-000000000002", limits=limits) as two,
    ):
        jobs = []
        for host, name in ((one, "one"), (two, "two")):
            renames(tmp_path, 20, "Stopped", f"{name}.csv")
            text = real(host, f"{name}.csv", 'quota = "none"', 'via = "accounts"')
            jobs.append(job(tmp_path, text, f"{name}.toml"))
        bulkid = with_secret(tmp_path)
        with Life(bulkid, "run", *jobs, "--json") as life:
            for host in (one, two):
                wait_for_puts(host, 6)
            life.signal(signal.SIGINT)
            assert life.end() == 5, life.said
        no_traceback(life.said)
        for words in ("one: ended with exit code 5.", "two: ended with exit code 5."):
            assert words in life.said
        for host in (one, two):
            set_limits(host.sandbox, ())
        done = bulkid("run", *jobs, "--json")
        assert done.returncode == 0, done.stderr
        assert sorted((run["rows"], run["pending"]) for run in json.loads(done.stdout)["runs"]) == [(20, 0)] * 4
        for host in (one, two):
            assert host.display_name("robot-0020") == "Stopped 20"
            assert sum(entry.status == 200 for entry in host.puts()) == 20


def test_a_fault_in_one_of_several_files_begins_none(host: Hosted, tmp_path: Path) -> None:
    renames(tmp_path, 1, "None")
    good = job(tmp_path, real(host, "sheet.csv"), "good.toml")
    bad, worse = job(tmp_path, "rate = 1\n", "bad.toml"), job(tmp_path, 'source = "x.csv"\nrat = 1\n', "worse.toml")
    done = with_secret(tmp_path)("run", good, bad, worse)
    assert done.returncode == 2
    assert len(errors_of(done)) == 2
    assert "bad.toml: key source is missing" in done.stderr
    assert "worse.toml: unknown key 'rat'" in done.stderr
    assert host.display_name("robot-0001") != "None 1"
    twice = with_secret(tmp_path)("run", good, good)
    assert_clear(twice, 2, "is given twice")
