"""``bulkid runs --prune``: its output, and the runs and files that remain."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.bulkid_command import Bulkid, connected_to, end_of
from tests.support.command_output import assert_clear, summary_of
from tests.support.sandbox_host import Hosted, hosted, wait_for_puts
from tests.support.sheets import renames

DAY = 86_400.0


@pytest.fixture(scope="module")
def server() -> Iterator[Hosted]:
    with hosted(accounts=60) as host:
        yield host


def age(bulkid: Bulkid, run_id: str, days: float) -> None:
    """Have a run be older, as far as the journal knows."""
    with closing(sqlite3.connect(bulkid.folder / "state" / "bulkid.db", isolation_level=None)) as database:
        database.execute(
            "UPDATE runs SET created_at = created_at - :s, finished_at = finished_at - :s WHERE run_id = :id",
            {"s": days * DAY, "id": run_id},
        )


def a_run(bulkid: Bulkid, prefix: str) -> str:
    done = bulkid("run", str(renames(bulkid.folder, 3, prefix)), "--yes", "--json")
    return str(summary_of(done)["run_id"])


def listed(bulkid: Bulkid) -> list[str]:
    return [run["run_id"] for run in json.loads(bulkid("runs", "--json").stdout)]


def test_old_runs_go_with_their_reports_and_it_is_said_which(tmp_path: Path, server: Hosted) -> None:
    bulkid = connected_to(tmp_path, server.url)
    old, new = a_run(bulkid, "Old"), a_run(bulkid, "New")
    age(bulkid, old, 91)
    looked = bulkid("runs", "--prune", "90d", "--dry-run")
    assert (looked.returncode, looked.stderr) == (0, "")
    assert looked.stdout.splitlines()[-1] == "1 run would be dropped."
    assert sorted(listed(bulkid)) == sorted([old, new])
    done = bulkid("runs", "--prune", "90d")
    assert done.returncode == 0
    assert done.stdout.startswith(f"{old}  completed  ")
    assert "1 run dropped, which freed " in done.stdout
    assert listed(bulkid) == [new]
    assert [path.name for path in (tmp_path / "reports").iterdir()] == [new]
    assert_clear(bulkid("report", old), 2, "There is no run", "pruned")
    again = bulkid("runs", "--prune", "90d", "--json")
    assert json.loads(again.stdout)["dropped"] == []


def test_a_run_with_pending_rows_is_kept_until_somebody_says_so_and_one_under_way_always(tmp_path: Path) -> None:
    with hosted(latency_s=0.5) as slow:
        bulkid = connected_to(tmp_path, slow.url)
        process = bulkid.start("run", str(renames(tmp_path, 40, "Late")), "--yes", "--concurrency", "1")
        wait_for_puts(slow, 2)
        (run_id,) = listed(bulkid)
        age(bulkid, run_id, 100)
        alive = json.loads(bulkid("runs", "--prune", "12w", "--prune-pending", "--json").stdout)
        assert (alive["dropped"], alive["kept_under_way"]) == ([], [run_id])
        process.kill()
        end_of(process)
    kept = bulkid("--state-dir", "state", "runs", "--prune", "12w")
    assert kept.returncode == 0
    assert "1 old run kept: rows are pending. To drop it too, add --prune-pending." in kept.stdout
    command = f"bulkid resume {run_id} --state-dir {tmp_path / 'state'}"
    assert kept.stdout.endswith(f"sheet.csv: Continue with: {command}\n")
    assert listed(bulkid) == [run_id]
    dropped = json.loads(bulkid("runs", "--prune", "12w", "--prune-pending", "--json").stdout)
    assert dropped["dropped"] == [run_id]
    assert dropped["freed_bytes"] >= 0
    assert listed(bulkid) == []


@pytest.mark.parametrize("arguments", [("--prune", "soon"), ("--prune", "90"), ("--dry-run",), ("--prune-pending",)])
def test_without_an_age_that_can_be_read_nothing_is_dropped(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert_clear(Bulkid(tmp_path)("runs", *arguments), 2, "prune")


def test_the_doctor_says_how_large_the_state_is(tmp_path: Path, server: Hosted) -> None:
    bulkid = connected_to(tmp_path, server.url)
    a_run(bulkid, "Size")
    (tmp_path / "state" / "locks" / "large").write_bytes(b"x" * 3_000_000)
    found = json.loads(bulkid("doctor", "--json").stdout)["findings"]
    (detail,) = [each["detail"] for each in found if each["subject"] == "state directory"]
    size = float(detail.rpartition(", ")[2].removesuffix(" MB)"))
    assert 3.0 < size < 4.0
