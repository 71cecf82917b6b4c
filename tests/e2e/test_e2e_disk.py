"""State and report folders that are read-only, full or broken: a clear message, no lost row, no false status."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.bulkid_command import SECRET, Bulkid, connected_to, end_of
from tests.support.command_output import assert_clear, assert_no_secret, errors_of, statuses, summary_of
from tests.support.sandbox_host import Hosted, hosted, wait_for_puts
from tests.support.sheets import renames

LATER = 99
"""A version of the journal's tables that no bulkid has yet."""


@pytest.fixture(scope="module")
def server() -> Iterator[Hosted]:
    with hosted() as host:
        yield host


@contextmanager
def small_disk(folder: Path, size: str, *options: str) -> Iterator[Path]:
    """A file system of its own that is as small as told, mounted at the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not sys.platform.startswith("linux") or mount is None or umount is None:
        pytest.skip("a small file system is made by Linux's mount")
    given = ",".join((f"size={size}", *options))
    made = subprocess.run([mount, "-t", "tmpfs", "-o", given, "tmpfs", str(folder)], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("only root may mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run([umount, "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room that a file system has left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 1024)
    return filler


# --- before anything is sent


def _state_is_a_file(bulkid: Bulkid) -> str:
    (bulkid.folder / "state").write_text("", encoding="utf-8")
    return "state"


def _state_is_below_a_file(bulkid: Bulkid) -> str:
    (bulkid.folder / "file").write_text("", encoding="utf-8")
    bulkid.env["BULKID_STATE_DIR"] = str(bulkid.folder / "file" / "state")
    return "file"


def _reports_are_below_a_file(bulkid: Bulkid) -> str:
    (bulkid.folder / "reports").write_text("", encoding="utf-8")
    return "--report-dir"


def _database_is_something_else(bulkid: Bulkid) -> str:
    (bulkid.folder / "state").mkdir()
    (bulkid.folder / "state" / "bulkid.db").write_bytes(b"this is a shopping list\n" * 400)
    return "not a bulkid database"


def _database_of_a_newer_bulkid(bulkid: Bulkid) -> str:
    assert bulkid("runs").returncode == 0
    with sqlite3.connect(bulkid.folder / "state" / "bulkid.db") as database:
        database.execute("INSERT INTO schema_version (version, applied_at) VALUES (?, 0)", (LATER,))
    database.close()
    return "newer bulkid"


BROKEN: dict[str, Callable[[Bulkid], str]] = {
    "the state directory is a file": _state_is_a_file,
    "the state directory is below a file": _state_is_below_a_file,
    "the report directory is a file": _reports_are_below_a_file,
    "the database is something else": _database_is_something_else,
    "the database is of a newer bulkid": _database_of_a_newer_bulkid,
}


@pytest.mark.slow
@pytest.mark.parametrize("how", BROKEN)
def test_what_cannot_be_written_is_told_before_anything_is_sent(tmp_path: Path, server: Hosted, how: str) -> None:
    renames(tmp_path, 3, prefix=how)
    bulkid = connected_to(tmp_path, server.url)
    words = BROKEN[how](bulkid)
    before = len(server.sandbox.log)
    done = bulkid("run", "sheet.csv", "--yes")
    assert_clear(done, 2, words)
    assert len(server.sandbox.log) == before, "nothing was sent"
    assert done.stdout == ""


def test_a_damaged_database_is_told_by_every_command_that_reads_it(tmp_path: Path, server: Hosted) -> None:
    renames(tmp_path, 60, prefix="Damage")
    bulkid = connected_to(tmp_path, server.url)
    assert bulkid("run", "sheet.csv", "--yes").returncode == 0
    path = tmp_path / "state" / "bulkid.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    for command in (("runs",), ("report", "last"), ("resume",)):
        assert_clear(bulkid(*command), 2, "damaged", "bulkid.db")


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_state_disk_that_takes_nothing_is_told_before_anything_is_sent(
    tmp_path: Path, server: Hosted, how: str
) -> None:
    renames(tmp_path, 3, prefix=how)
    bulkid = connected_to(tmp_path, server.url)
    before = len(server.sandbox.log)
    with small_disk(tmp_path / "state", "16k", *(["ro"] if how == "read-only" else [])) as state:
        if how == "full":
            fill(state)
        done = bulkid("run", "sheet.csv", "--yes")
        doctor = bulkid("doctor")
    assert_clear(done, 2, "full" if how == "full" else "read-only")
    assert len(server.sandbox.log) == before, "nothing was sent"
    assert doctor.returncode != 0
    assert "problem" in doctor.stdout


# --- while the report is written


@pytest.mark.slow
def test_a_report_that_the_disk_does_not_take_can_be_written_elsewhere(tmp_path: Path, server: Hosted) -> None:
    renames(tmp_path, 250, prefix="A display name that takes some room in the report " * 3)
    bulkid = connected_to(tmp_path, server.url)
    with small_disk(tmp_path / "reports", "32k"):
        done = bulkid("run", "sheet.csv", "--yes", "--json")
        summary = summary_of(done)
        assert (summary["updated"], summary["report"]) == (250, None)
        assert done.returncode != 0, "not all is well"
        assert "Traceback" not in done.stderr
        assert "report.csv" in done.stderr
        assert "No space left" in done.stderr
        assert f"bulkid report {summary['run_id']} --report-dir" in done.stderr
        left = [path.name for path in (tmp_path / "reports").rglob("*") if path.is_file()]
        assert left == [], "half a report is none"
        again = bulkid("report", summary["run_id"])
        assert_clear(again, again.returncode, "No space left")
        assert again.returncode != 0
    elsewhere = bulkid("report", summary["run_id"], "--report-dir", "elsewhere", "--json", "--format", "xlsx")
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert summary_of(elsewhere)["updated"] == 250
    (folder,) = (tmp_path / "elsewhere").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["report.csv", "report.xlsx", "summary.json"]
    assert_no_secret(tmp_path, (done, elsewhere), SECRET)


# --- in the middle of sending


def assert_nothing_lost(bulkid: Bulkid, host: Hosted, done: subprocess.CompletedProcess[str], rows: int) -> None:
    """What is said of the stopped run is true, and what is left of it is finished by ``resume``."""
    assert_clear(done, 5, "full", "resume")
    summary = summary_of(done)
    assert (summary["status"], summary["rows"], summary["failed"]) == ("interrupted", rows, 0)
    assert 0 < summary["updated"] < rows
    applied = {entry.account for entry in host.puts() if entry.applied}
    assert summary["updated"] <= len(applied), "nothing is called updated that is not"
    sent_before = len(host.puts())
    resumed = bulkid("resume", "--json")
    assert resumed.returncode == 0, resumed.stderr
    after = summary_of(resumed)
    assert (after["status"], after["updated"]) == ("completed", rows)
    assert all(host.display_name(f"robot-{n:04d}") == f"New {n}" for n in range(1, rows + 1))
    assert statuses(bulkid.report(summary["run_id"])) == ["updated"] * rows
    again = [entry.account for entry in host.puts()[sent_before:]]
    assert len(again) == len(set(again)), "each at most once"
    assert not applied.intersection(again), "what had been applied was found out by reading"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits another process's files, as Linux can")
def test_a_state_file_that_may_not_grow_while_sending_interrupts_the_run(tmp_path: Path) -> None:
    import resource

    renames(tmp_path, 250)
    with hosted(latency_s=0.03) as host:
        bulkid = connected_to(tmp_path, host.url)
        process = bulkid.start("run", "sheet.csv", "--yes", "--json", "--concurrency", "4", "--report-dir", "reports")
        wait_for_puts(host, 40)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
        done = end_of(process)
        assert len(host.puts()) < 250, "a run that cannot remember does not go on sending"
        assert_nothing_lost(bulkid, host, done, 250)


@pytest.mark.slow
def test_a_state_disk_that_is_full_while_sending_interrupts_the_run(tmp_path: Path) -> None:
    renames(tmp_path, 600)  # more than the first intents: the others are packed still
    with hosted(accounts=700, latency_s=0.03) as host, small_disk(tmp_path / "state", "3m") as state:
        bulkid = connected_to(tmp_path, host.url)
        process = bulkid.start("run", "sheet.csv", "--yes", "--json", "--concurrency", "4")
        wait_for_puts(host, 40)
        filler = fill(state)
        done = end_of(process)
        listed = bulkid("report", "last", "--json", "--report-dir", str(tmp_path / "peek"))
        filler.unlink()
        assert listed.returncode == 0, listed.stderr
        assert summary_of(listed)["updated"] == summary_of(done)["updated"]
        assert [row["status"] for row in bulkid.report()].count("updated") == summary_of(done)["updated"]
        assert errors_of(done)
        assert json.loads((bulkid.run_folder() / "summary.json").read_bytes()) == summary_of(done)
        assert_nothing_lost(bulkid, host, done, 600)
