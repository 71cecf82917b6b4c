"""A state of version 5 of the schema, whose journal kept values by position: its runs go on as if this version had."""

from pathlib import Path

from bulkid.journal.store import open_journal
from tests.support.bulkid_command import connected_to
from tests.support.command_output import errors_of, summary_of
from tests.support.journal_data import schema_of
from tests.support.older_states import OLD_URL, restore
from tests.support.sandbox_host import hosted

FIRST, PART, PLANNED, UNDO, KILLED = (
    f"20261128-{name}" for name in ("203035-egds", "203035-uwfc", "203035-my5h", "203035-p8ad", "203036-px2x")
)
COUNTS = {
    FIRST: {"updated": 8, "invalid": 1},
    PART: {"updated": 2, "pending": 2},
    PLANNED: {"updated": 3},
    UNDO: {"updated": 8},
    KILLED: {"updated": 12, "pending": 8},
}


def test_its_schema_and_rows_are_kept(tmp_path: Path) -> None:
    restore(5, tmp_path)
    with open_journal(tmp_path / "state") as journal:
        counts = {record.run_id: journal.counts(record.run_id) for record in journal.list_runs()}
    open_journal(tmp_path / "new").close()
    assert {run: {status.value: n for status, n in found.items() if n} for run, found in counts.items()} == COUNTS
    assert schema_of(tmp_path / "state" / "bulkid.db") == schema_of(tmp_path / "new" / "bulkid.db")


def test_desired_and_former_states_are_read_from_it_by_name(tmp_path: Path) -> None:
    restore(5, tmp_path)
    with open_journal(tmp_path / "state") as journal:
        items = {item.desired.name: item for item in journal.iter_items(FIRST)}
    roby, cleared, exact, out = (items[name] for name in ("roby", "robot-0002", "robot-0003", "robot-0004"))
    assert (roby.desired.values, roby.desired.add, roby.desired.rows) == (("Robbie",), ("gryff-01",), (2,))
    assert roby.before is not None
    assert (roby.before.id, roby.before.values, roby.before.group_ids) == ("88-uv", ("Roby",), ("gryff-01",))
    assert (cleared.desired.values, exact.desired.values) == (("",), (None,))
    assert exact.desired.exact is not None
    assert len(exact.desired.exact) == 2
    assert out.desired.exact == ()


def test_a_report_is_written_again_with_what_was_journaled(tmp_path: Path) -> None:
    restore(5, tmp_path)
    bulkid = connected_to(tmp_path, OLD_URL)
    done = bulkid("report", FIRST)
    assert (done.returncode, errors_of(done)) == (0, [])
    rows = {row["name"]: row for row in bulkid.report(FIRST)}
    assert rows["roby"]["changes"] == "display name: Roby -> Robbie"
    assert "No robot account is named" in rows["nobody-here"]["error"]


def test_a_killed_run_is_resumed_and_ends_with_every_row_updated(tmp_path: Path) -> None:
    with hosted(accounts=40) as host:
        restore(5, tmp_path, host.url)
        done = connected_to(tmp_path, host.url)("resume", KILLED, "--yes", "--json")
        assert errors_of(done) == []
        assert (done.returncode, summary_of(done)["updated"], summary_of(done)["pending"]) == (0, 20, 0)
        assert host.display_name("robot-0036") == "N36"


def test_the_rest_of_a_trial_is_resumed(tmp_path: Path) -> None:
    with hosted(accounts=40) as host:
        restore(5, tmp_path, host.url)
        done = connected_to(tmp_path, host.url)("resume", PART, "--yes", "--json")
        assert (done.returncode, summary_of(done)["updated"], summary_of(done)["pending"]) == (0, 4, 0)
        assert host.display_name("robot-0012") == "T12"


def test_an_old_run_is_undone(tmp_path: Path) -> None:
    with hosted(accounts=40) as host:
        restore(5, tmp_path, host.url)
        bulkid = connected_to(tmp_path, host.url)
        names = {account.name: account for account in host.sandbox.state.accounts.values()}
        names["robot-0015"].display_name = "P15"  # as the run of the plan file left it
        done = bulkid("undo", PLANNED, "--yes", "--json")
        report = {row["name"]: row["status"] for row in bulkid.report(str(summary_of(done)["run_id"]))}
        assert done.returncode == 0, done.stderr
        assert report == {"robot-0014": "unchanged", "robot-0015": "updated", "robot-0016": "unchanged"}
        assert host.display_name("robot-0015") == "Claims Reader"
