"""Notifications: their recipients, and that a failed notification does not change the result of the run."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bulkid_command import Bulkid, connected_to, end_of
from tests.support.command_output import assert_no_secret, summary_of
from tests.support.processes import Life
from tests.support.receiver import Receiver, closed_port, receiver
from tests.support.sandbox_host import Hosted, hosted, wait_for_puts
from tests.support.sheets import renames, sheet_of

TOKEN = "a-token-in-the-path"


@pytest.fixture(scope="module")
def server() -> Iterator[Hosted]:
    with hosted(accounts=60) as host:
        yield host


def telling(folder: Path, server: Hosted, **who: str) -> Bulkid:
    return connected_to(folder, server.url, **{f"BULKID_NOTIFY_{name.upper()}": text for name, text in who.items()})


def titles(service: Receiver) -> list[str]:
    return [message["title"] for message in service.messages]


def test_a_run_is_told_with_its_report_to_those_who_want_to_hear_of_it(tmp_path: Path, server: Hosted) -> None:
    sheet = renames(tmp_path, 3, "Told")
    with receiver() as good, receiver() as bad, receiver() as every:
        bulkid = telling(tmp_path, server, success=good.address(TOKEN), failure=bad.address(), always=every.address())
        done = bulkid("run", str(sheet), "--yes", "--json")
        summary = summary_of(done)
        assert (done.returncode, bad.messages) == (0, [])
        (message,) = good.messages
        assert every.messages == [message]
    assert message["title"] == f"bulkid: {sheet}: completed, 3 updated"
    assert f"Run: {summary['run_id']}" in message["message"]
    assert f"Report: {summary['report']}" in message["message"]
    assert [file["filename"] for file in message["attachments"]] == ["report.csv"]
    assert_no_secret(tmp_path, [done], TOKEN)


@pytest.mark.parametrize("trouble", ["refuses", "away", "nonsense"])
def test_whoever_cannot_be_told_is_named_and_changes_nothing(tmp_path: Path, server: Hosted, trouble: str) -> None:
    with receiver(status=500) as service:
        addresses = {
            "refuses": service.address(TOKEN),
            "away": f"json://127.0.0.1:{closed_port()}/{TOKEN}",
            "nonsense": f"nonsense://{TOKEN}",
        }
        bulkid = telling(tmp_path, server, always=addresses[trouble])
        done = bulkid("run", str(renames(tmp_path, 2, trouble)), "--yes", "--quiet", "-vv", "--log-format", "json")
    assert done.returncode == 0, done.stderr
    assert "notify: always, address 1 (" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert_no_secret(tmp_path, [done], TOKEN)


def test_an_invalid_sheet_is_a_failure_that_is_told(tmp_path: Path, server: Hosted) -> None:
    sheet = sheet_of(tmp_path, [("name", "display_name"), ("robot-0001", "x"), ("robot-9999", "y")])
    with receiver() as bad, receiver() as good:
        done = telling(tmp_path, server, failure=bad.address(), success=good.address())("run", str(sheet), "--yes")
        assert (done.returncode, good.messages) == (2, [])
    (message,) = bad.messages
    assert message["type"] == "failure"
    assert "1 of 2 rows is invalid. Nothing was sent. Fix the sheet and run it again." in message["message"]
    assert {file["filename"] for file in message["attachments"]} == {"report.csv", "retry.csv"}


def test_a_sheet_that_is_not_there_is_told_too(tmp_path: Path, server: Hosted) -> None:
    with receiver() as bad:
        done = telling(tmp_path, server, failure=bad.address())("run", "missing.csv", "--yes")
        assert done.returncode == 2
    assert titles(bad) == ["bulkid: missing.csv: nothing was begun"]


def test_a_run_that_is_stopped_and_its_resume_are_each_told(tmp_path: Path) -> None:
    with hosted(accounts=60, latency_s=0.05) as slow, receiver() as service:
        bulkid = telling(tmp_path, slow, always=service.address())
        process = bulkid.start("run", str(renames(tmp_path, 20, "Late")), "--yes", "--concurrency", "1")
        wait_for_puts(slow, 3)
        process.send_signal(signal.SIGTERM if sys.platform != "win32" else signal.CTRL_BREAK_EVENT)
        assert end_of(process).returncode == 5
        assert bulkid("resume").returncode == 0
    first, second = service.messages
    assert "Stopped by SIGTERM." in first["message"]
    assert "Continue with: bulkid resume" in first["message"]
    assert "20 rows: 20 updated." in second["message"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_service_that_hangs_is_not_waited_for_when_somebody_asks_twice_to_stop(
    tmp_path: Path, server: Hosted
) -> None:
    with receiver(hang=True) as service:
        # Apprise itself would give up after four seconds; here it is told to wait for as long as it takes.
        bulkid = telling(tmp_path, server, always=f"{service.address()}?rto=600")
        with Life(bulkid, "run", str(renames(tmp_path, 2, "Hang")), "--yes", "--json") as life:
            assert service.came.wait(60)
            life.signal(signal.SIGINT)
            assert life.wait_to_say("Stopping: ")  # two signals at once may arrive as one
            life.signal(signal.SIGINT)
            assert life.process.stdout is not None
            summary = json.loads(life.process.stdout.read())
            assert life.end() == 0, life.said
        assert not service.over.is_set()
    assert summary["status"] == "completed"
    assert "always, address 1 (json://...) was not notified: no answer in time" in life.said


def test_addresses_may_stand_in_a_file(tmp_path: Path, server: Hosted) -> None:
    with receiver() as service:
        (tmp_path / "who").write_text(f"# the night shift\n{service.address('a')}\n{service.address('b')}\n")
        bulkid = connected_to(tmp_path, server.url, BULKID_NOTIFY_ALWAYS_FILE=str(tmp_path / "who"))
        assert bulkid("run", str(renames(tmp_path, 1, "File")), "--yes").returncode == 0
    assert sorted(service.paths) == ["/a", "/b"]


def test_the_doctor_says_which_addresses_no_service_takes(tmp_path: Path, server: Hosted) -> None:
    with receiver() as service:
        bulkid = telling(tmp_path, server, success=service.address(TOKEN), failure=f"nonsense://{TOKEN}")
        done = bulkid("doctor", "--json")
        assert service.messages == []
    found = [each for each in json.loads(done.stdout)["findings"] if each["subject"] == "notify"]
    assert [each["ok"] for each in found] == [True, False]
    assert found[1]["detail"].startswith("failure, address 1 (nonsense://...): no service takes this address")
    assert done.returncode == 2
    assert_no_secret(tmp_path, [done], TOKEN)


def test_an_undo_is_told_like_any_other_run(tmp_path: Path, server: Hosted) -> None:
    bulkid = connected_to(tmp_path, server.url)
    run_id = summary_of(bulkid("run", str(renames(tmp_path, 2, "Undone")), "--yes", "--json"))["run_id"]
    with receiver() as service:
        assert telling(tmp_path, server, always=service.address())("undo", run_id, "--yes").returncode == 0
    assert titles(service) == [f"bulkid: undo of {run_id}: completed, 2 updated"]


def test_a_plan_file_that_cannot_be_applied_is_told(tmp_path: Path, server: Hosted) -> None:
    with receiver() as service:
        done = telling(tmp_path, server, failure=service.address())("run", "--plan", "missing.json", "--yes")
        assert done.returncode == 2
    assert titles(service) == ["bulkid: missing.json: nothing was begun"]
    assert "Command: bulkid run --plan missing.json" in service.messages[0]["message"]


def test_a_job_tells_whom_its_file_names_and_leaves_its_figures_beside_it(tmp_path: Path, server: Hosted) -> None:
    renames(tmp_path, 2, "Job")
    with receiver() as service:
        (tmp_path / "hook").write_text(service.address(TOKEN))
        (tmp_path / "job.toml").write_text(
            'name = "nightly"\nsource = "sheet.csv"\nyes = true\nmetrics_file = "job.prom"\n'
            '[notify]\nsuccess = "file:hook"\nfailure = "env:NOT_HERE_BUT_OVERRULED"\n'
        )
        bulkid = telling(tmp_path, server, failure=service.address("bad"))
        done = bulkid("run", "job.toml")
        assert done.returncode == 0, done.stderr
    assert titles(service) == ["bulkid: nightly: completed, 2 updated"]
    assert "Job: nightly" in service.messages[0]["message"]
    assert 'bulkid_run_status{job="nightly",status="completed"} 1.0' in (tmp_path / "job.prom").read_text()
    (tmp_path / "hook").unlink()
    assert_no_secret(tmp_path, [done], TOKEN)
    missing = bulkid("run", "job.toml")
    assert missing.returncode == 2
    assert "job.toml, key notify.success: the file it names cannot be read" in missing.stderr
