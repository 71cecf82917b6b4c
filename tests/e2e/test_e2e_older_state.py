"""A state that an older version wrote: its runs are listed, reported, resumed and undone as if this version had."""

from pathlib import Path

from bulkid.journal.store import open_journal
from tests.support.bulkid_command import connected_to
from tests.support.command_output import errors_of, summary_of
from tests.support.journal_data import schema_of
from tests.support.older_states import OLD_URL, restore
from tests.support.sandbox_host import hosted

COUNTS = {
    "20261128-150847-azxd": {"updated": 6, "unchanged": 2, "failed": 1, "invalid": 1},
    "20261128-150852-55bw": {"updated": 2, "pending": 2},
    "20261128-150854-6p9b": {"updated": 2},
    "20261128-150857-x25v": {"updated": 6},
    "20261128-150900-bv9b": {"invalid": 3, "pending": 23},
    "20261128-150930-d8b4": {"updated": 12, "pending": 11},
}


def test_its_schema_becomes_that_of_a_new_database(tmp_path: Path) -> None:
    restore(4, tmp_path)
    open_journal(tmp_path / "state").close()
    open_journal(tmp_path / "new").close()
    assert schema_of(tmp_path / "state" / "bulkid.db") == schema_of(tmp_path / "new" / "bulkid.db")


def test_every_run_keeps_its_rows(tmp_path: Path) -> None:
    restore(4, tmp_path)
    with open_journal(tmp_path / "state") as journal:
        counts = {record.run_id: journal.counts(record.run_id) for record in journal.list_runs()}
    assert {run: {status.value: n for status, n in found.items() if n} for run, found in counts.items()} == COUNTS


def test_a_report_is_written_again_with_what_was_journaled(tmp_path: Path) -> None:
    restore(4, tmp_path)
    bulkid = connected_to(tmp_path, OLD_URL)
    done = bulkid("report", "20261128-150847-azxd")
    assert (done.returncode, errors_of(done)) == (0, [])
    rows = {row["name"]: row for row in bulkid.report("20261128-150847-azxd")}
    assert rows["roby"]["changes"] == "display name: Roby -> Robbie; + alumni-02"
    assert rows["robot-0006"]["status"] == "failed"
    assert "No robot account is named" in rows["nobody-here"]["error"]


def test_a_killed_run_is_resumed_and_ends_with_every_row_updated(tmp_path: Path) -> None:
    with hosted(accounts=40) as host:
        restore(4, tmp_path, host.url)
        done = connected_to(tmp_path, host.url)("resume", "20261128-150930-d8b4", "--yes", "--json")
        assert errors_of(done) == []
        assert (done.returncode, summary_of(done)["updated"], summary_of(done)["pending"]) == (0, 23, 0)
        assert host.display_name("robot-0035") == "N35"


def test_the_rest_of_a_trial_is_resumed(tmp_path: Path) -> None:
    with hosted(accounts=40) as host:
        restore(4, tmp_path, host.url)
        done = connected_to(tmp_path, host.url)("resume", "20261128-150852-55bw", "--yes", "--json")
        assert (done.returncode, summary_of(done)["updated"], summary_of(done)["pending"]) == (0, 4, 0)
        assert host.display_name("robot-0012") == "T12"


def test_an_old_run_is_undone_where_nothing_has_changed_since(tmp_path: Path) -> None:
    with hosted(accounts=40) as host:
        restore(4, tmp_path, host.url)
        bulkid = connected_to(tmp_path, host.url)
        names = {account.name: account for account in host.sandbox.state.accounts.values()}
        names["robot-0012"].display_name = "T12"  # as the run of the plan file left it
        done = bulkid("undo", "20261128-150854-6p9b", "--yes", "--json")
        report = {row["name"]: row["status"] for row in bulkid.report(str(summary_of(done)["run_id"]))}
        assert (done.returncode, report) == (0, {"robot-0012": "updated", "robot-0013": "unchanged"})
        assert host.display_name("robot-0012") == "Robot 12"
