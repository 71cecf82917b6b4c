"""Pruning drops exactly the runs that are old and not needed."""

import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkid import runs
from bulkid.errors import UsageError
from bulkid.journal.backends import sqlite as sqlite_module
from bulkid.journal.claimed_files import ClaimedFiles, FileState
from bulkid.journal.names import new_run_id
from bulkid.journal.quota.ledger import JournalLedger
from bulkid.journal.store import Journal, open_journal
from bulkid.model import DesiredState, Outcome, QuotaRule, RunItem, RunRecord, RunStatus, SheetRow, Status
from bulkid.runs import pruning
from bulkid.runs.run_locks import lock_name, run_lock
from tests.support.examples import examples
from tests.support.fake_clock import WALL_START, FakeClock
from tests.support.journal_data import TEMPORARY

DAY = 86_400.0
MONTH = 30 * DAY


@dataclass(frozen=True)
class Case:
    """A run as it may stand in the journal."""

    age: float  # seconds since it ended, or since it began when it never did
    status: RunStatus = RunStatus.COMPLETED
    phase: str = "planned"
    pending: bool = False
    active: bool = False
    ended: bool = True
    began_before: float = 0.0  # seconds before its end
    undoes: str = ""  # the run that it undid

    def record(self) -> RunRecord:
        ended = WALL_START - self.age
        return RunRecord(
            run_id=new_run_id(ended),
            created_at=ended - self.began_before,
            status=self.status,
            command="run",
            source="robots.csv",
            base_url="https://identity.example.com/identity",
            organization_id="org-1",
            host="host-1",
            pid=1,
            phase=self.phase,
            finished_at=ended if self.ended else None,
            options={"undo": self.undoes} if self.undoes else {},
            counters={"accounts": 2},
        )

    @property
    def wanted(self) -> bool:
        return self.pending and self.phase == "planned" and self.status is not RunStatus.REFUSED


def add(journal: Journal, case: Case, rows: int = 2, cell: str = "x") -> RunRecord:
    record = case.record()
    journal.create_run(record)
    journal.add_rows(record.run_id, [SheetRow(row, (cell,), None, ()) for row in range(2, rows + 2)])
    status = Status.PENDING if case.pending else Status.UPDATED
    items = [
        RunItem(
            number, DesiredState(f"a-{number}", "", (None,), (), (), None, (number + 2,)), None, "", Outcome(status)
        )
        for number in range(rows)
    ]
    journal.add_items(record.run_id, items)
    return record


def kept_in(state_dir: Path) -> dict[str, int]:
    """The runs that are there, each with its number of rows."""
    return {record.run_id: sum(counts.values()) for record, counts in runs.list_runs(state_dir)}


def prune(state_dir: Path, **more: Any) -> runs.Pruned:
    return runs.prune(MONTH, state_dir=state_dir, clock=FakeClock(), **more)


cases = st.builds(
    Case,
    age=st.sampled_from([0.0, MONTH - 1, MONTH, MONTH + 1, 400 * DAY]),
    status=st.sampled_from(RunStatus),
    phase=st.sampled_from(["reading", "read", "planned"]),
    pending=st.booleans(),
    active=st.booleans(),
    ended=st.booleans(),
    began_before=st.sampled_from([0.0, 2 * MONTH]),
)


@settings(max_examples=examples(20, soak=200))
@given(st.lists(cases, max_size=6), st.booleans(), st.booleans())
def test_what_is_old_and_unwanted_and_not_under_way_goes_and_all_else_stays(
    all_cases: list[Case], with_pending: bool, dry: bool
) -> None:
    all_cases = [case if case.ended else replace(case, began_before=0.0) for case in all_cases]
    with tempfile.TemporaryDirectory(dir=TEMPORARY) as folder, ExitStack() as held:
        state_dir = Path(folder)
        with open_journal(state_dir) as journal:
            made = {add(journal, case).run_id: case for case in all_cases}
            for record in journal.list_runs():
                if made[record.run_id].active:
                    held.enter_context(run_lock(journal, record))
        result = prune(state_dir, with_pending=with_pending, dry=dry)
        old = {run_id: case for run_id, case in made.items() if case.age > MONTH}
        active = {run_id for run_id, case in old.items() if case.active}
        pending = {run_id for run_id in old.keys() - active if old[run_id].wanted and not with_pending}
        dropped = old.keys() - active - pending
        assert {record.run_id for record in result.active} == active
        assert {record.run_id for record in result.pending} == pending
        assert {record.run_id for record in result.dropped} == dropped
        assert kept_in(state_dir) == {run_id: 2 for run_id in made if dry or run_id not in dropped}


@pytest.mark.parametrize(
    ("case", "kept"),
    [
        (Case(2 * MONTH, RunStatus.INTERRUPTED, pending=True), True),
        (Case(2 * MONTH, RunStatus.RUNNING, pending=True, ended=False), True),  # killed
        (Case(2 * MONTH, RunStatus.COMPLETED, pending=True), True),  # a trial
        (Case(2 * MONTH, RunStatus.REFUSED, pending=True), False),  # nothing was sent
        (Case(2 * MONTH, RunStatus.INTERRUPTED, phase="read", pending=True), False),  # nothing was sent
        (Case(2 * MONTH, RunStatus.INTERRUPTED), False),  # all is settled
        (Case(0.0, began_before=2 * MONTH), True),  # gone on with today
    ],
)
def test_an_old_run_is_kept_where_resume_has_something_to_do(tmp_path: Path, case: Case, kept: bool) -> None:
    with open_journal(tmp_path) as journal:
        record = add(journal, case)
    result = prune(tmp_path)
    assert (record.run_id in kept_in(tmp_path)) is kept
    assert [run.run_id for run in result.dropped] == ([] if kept else [record.run_id])


def test_an_interrupted_run_that_was_undone_goes_with_its_undo(tmp_path: Path) -> None:
    """``resume`` passes over it only as long as the undo is known."""
    with open_journal(tmp_path) as journal:
        undone = add(journal, Case(3 * MONTH, RunStatus.INTERRUPTED, pending=True))
        undo = add(journal, Case(2 * MONTH, undoes=undone.run_id))
    result = prune(tmp_path, dry=True)
    assert [run.run_id for run in result.dropped] == [undo.run_id, undone.run_id]
    assert prune(tmp_path).dropped == result.dropped
    assert kept_in(tmp_path) == {}


def test_an_undo_is_kept_while_a_process_works_on_the_run_that_it_undid(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        undone = add(journal, Case(3 * MONTH, RunStatus.INTERRUPTED, pending=True))
        older, undo = (add(journal, Case(age, undoes=undone.run_id)) for age in (2.5 * MONTH, 2 * MONTH))
        with run_lock(journal, undone):
            result = prune(tmp_path)
    assert [run.run_id for run in result.active] == [undone.run_id]
    assert [run.run_id for run in result.dropped] == [older.run_id]
    assert kept_in(tmp_path).keys() == {undone.run_id, undo.run_id}
    assert result.notes == (
        f"Run {undo.run_id} is kept: without it, run {undone.run_id}, which it undid, could be resumed.",
    )


def test_no_row_and_no_entry_is_left_of_a_run_that_is_gone(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        add(journal, Case(2 * MONTH))
        kept = add(journal, Case(0.0))
    prune(tmp_path)
    with closing(sqlite3.connect(tmp_path / "bulkid.db")) as database:
        for table, count in (("runs", 1), ("rows", 2), ("entries", 2)):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (count,)  # noqa: S608
    assert kept_in(tmp_path) == {kept.run_id: 2}
    with pytest.raises(UsageError, match="There is no run"):
        runs.report("20991231", state_dir=tmp_path)


async def test_what_was_sent_counts_against_the_quota_although_its_run_is_gone(tmp_path: Path) -> None:
    rule = QuotaRule("PUT", 5, 300.0)
    clock = FakeClock()
    with open_journal(tmp_path) as journal:
        record = add(journal, Case(2 * MONTH))
        ledger = JournalLedger(journal, "org-1", record.run_id, clock)
        lease = await ledger.exchange([rule], 3, (), ())
        await ledger.exchange([rule], 0, [(lease.slots[0], 0.0)], ())
        result = await anyio.to_thread.run_sync(lambda: prune(tmp_path))
        assert [run.run_id for run in result.dropped] == [record.run_id]
        after = await JournalLedger(journal, "org-1", "another", clock).exchange([rule], 5, (), ())
        assert (len(after.slots), after.used) == (2, 5)


def test_a_run_that_somebody_went_on_with_at_the_last_moment_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_journal(tmp_path) as journal:
        record = add(journal, Case(2 * MONTH))

    @contextmanager
    def after_somebody_else(journal: Journal, run: RunRecord) -> Iterator[None]:
        with run_lock(journal, run):
            journal.update_run(run.run_id, finished_at=WALL_START)
            yield

    monkeypatch.setattr(pruning, "run_lock", after_somebody_else)
    result = prune(tmp_path)
    assert result == runs.Pruned()
    assert kept_in(tmp_path) == {record.run_id: 2}


def test_a_run_whose_file_is_still_to_be_put_away_is_kept_or_the_file_would_be_run_again(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        record = add(journal, Case(2 * MONTH))
        taken = ClaimedFiles(journal, "/in")
        file = taken.claim("0" * 64, "a.csv", "working/a.csv", record.run_id, 0.0)
        assert [run.run_id for run in prune(tmp_path, with_pending=True).active] == [record.run_id]
        taken.close(file, FileState.ARCHIVED, 1.0)
    assert [run.run_id for run in prune(tmp_path).dropped] == [record.run_id]


def test_the_lock_of_a_run_that_is_gone_goes_too(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        gone, stays = add(journal, Case(2 * MONTH)), add(journal, Case(0.0))
        for record in (gone, stays):
            with run_lock(journal, record):
                pass
    prune(tmp_path)
    names = [path.name for path in (tmp_path / "locks").iterdir()]
    assert [name for name in names if gone.run_id in name] == []
    if sys.platform != "win32":  # Windows removes the file of a lock that is let go
        assert [name for name in names if lock_name(stays).replace(" ", "_") in name]


# --- reports


def with_reports(journal: Journal, folder: Path, cases: Sequence[Case]) -> list[Path]:
    found = []
    for case in cases:
        record = add(journal, case)
        reports = folder / record.run_id
        reports.mkdir(parents=True)
        (reports / "report.csv").write_bytes(b"x" * 1000)
        journal.update_run(record.run_id, report_dir=str(reports))
        found.append(reports)
    return found


def test_a_report_goes_with_its_run_and_only_with_it(tmp_path: Path) -> None:
    with open_journal(tmp_path / "state") as journal:
        old, with_notes, new = with_reports(
            journal, tmp_path / "reports", [Case(2 * MONTH), Case(2 * MONTH), Case(MONTH - 1)]
        )
    (with_notes / "notes.txt").write_text("mine")
    assert prune(tmp_path / "state", dry=True).freed == 0
    assert old.exists()
    result = prune(tmp_path / "state")
    assert not old.exists()
    assert [path.name for path in with_notes.iterdir()] == ["notes.txt"]
    assert [path.name for path in new.iterdir()] == ["report.csv"]
    assert result.notes == (f"{with_notes} is left: notes.txt in it is not bulkid's.",)
    assert result.freed >= 2000


# --- the room


def size_of(state_dir: Path) -> int:
    with open_journal(state_dir) as journal:
        return journal.size()


def test_the_room_is_given_back_to_the_disk(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        add(journal, Case(2 * MONTH), rows=2000, cell="x" * 1000)
        add(journal, Case(0.0))
        before = journal.size()
    result = prune(tmp_path)
    after = size_of(tmp_path)
    assert before > 2_000_000
    assert after < 500_000
    assert result.notes == ()
    assert result.freed > 1_500_000


def test_while_somebody_reads_the_file_stays_as_large_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "SHRINK_WAIT_S", 0.05)
    with open_journal(tmp_path) as journal:
        add(journal, Case(2 * MONTH), rows=100)
        kept = add(journal, Case(0.0))
        with journal.database.read() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM runs").all()
            (note,) = prune(tmp_path).notes
        assert "The state database is in use" in note
        assert kept_in(tmp_path) == {kept.run_id: 2}


def test_while_a_run_is_under_way_it_need_not_wait_for_the_file_to_be_written_anew(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        add(journal, Case(2 * MONTH), rows=2000, cell="x" * 1000)
        active = add(journal, Case(0.0, RunStatus.RUNNING, ended=False))
        with run_lock(journal, active):
            (note,) = prune(tmp_path).notes
    assert "The state database is in use" in note
    assert size_of(tmp_path) > 2_000_000
    assert kept_in(tmp_path) == {active.run_id: 2}


def test_the_size_of_the_state_counts_all_that_lies_there(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        before = journal.size()
        (tmp_path / "locks").mkdir(exist_ok=True)
        (tmp_path / "locks" / "a.lock").write_bytes(b"x" * 11)
        assert journal.size() == before + 11
