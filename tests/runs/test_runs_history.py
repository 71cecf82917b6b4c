"""The list of earlier runs: a run whose process was killed shows as interrupted, and no other run does."""

import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulkid.errors import LockedError, UsageError
from bulkid.journal.store import Journal, open_journal
from bulkid.model import Outcome, RunStatus
from bulkid.report.writer import OpenReport
from bulkid.runs import Context
from bulkid.runs.concurrency import in_thread
from bulkid.runs.execution import finish
from bulkid.runs.history import find_resumable, report, with_actual_status
from bulkid.runs.run_locks import lock_run, run_lock
from tests.support.journal_data import FAILED, RUN, UPDATED, begin, record


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with open_journal(tmp_path) as opened:
        yield opened


def test_a_run_that_no_process_holds_is_interrupted(journal: Journal) -> None:
    running = record(status=RunStatus.RUNNING)
    journal.create_run(running)
    assert with_actual_status(journal, running).status is RunStatus.INTERRUPTED


def test_a_run_that_ends_after_its_record_was_read_is_not_interrupted(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = record(status=RunStatus.RUNNING)
    journal.create_run(running)

    def ends(_name: str) -> bool:
        journal.update_run(running.run_id, status=RunStatus.COMPLETED, finished_at=1_770_000_009.0)
        return False

    monkeypatch.setattr(journal, "is_locked", ends)
    shown = with_actual_status(journal, running)
    assert (shown.status, shown.finished_at) == (RunStatus.COMPLETED, 1_770_000_009.0)


@pytest.mark.parametrize(
    ("outcome", "options", "advice"),
    [
        (UPDATED, {}, ""),
        (FAILED, {}, "Fix its rows, then run: bulkid run "),
        (FAILED, {"undo": "20260131-080000-abcd"}, "To try them again: bulkid undo 20260131-080000-abcd"),
    ],
)
def test_a_run_that_is_complete_has_advice_only_where_rows_failed(
    journal: Journal, outcome: Outcome, options: dict[str, str], advice: str
) -> None:
    status = RunStatus.COMPLETED if outcome is UPDATED else RunStatus.COMPLETED_WITH_FAILURES
    begin(journal, 1)
    journal.settle(RUN, [(0, outcome)])
    command = "undo" if options else "run"
    journal.update_run(RUN, status=status, finished_at=1_770_000_009.0, options=options, command=command)
    with pytest.raises(UsageError, match="nothing is pending") as refused:
        find_resumable(journal, RUN)
    told = refused.value.hint + refused.value.cli_hint
    assert advice in told if advice else told == ""


@pytest.mark.parametrize(("killed", "said"), [(False, "still under way: process 7 on host-a"), (True, "is in use")])
async def test_a_run_that_was_killed_is_not_said_to_be_under_way_where_another_process_has_it(
    journal: Journal, *, killed: bool, said: str
) -> None:
    """As while the preview of its undo, or of its rest, is made: the process that its record names is gone."""
    running = record(status=RunStatus.RUNNING, pid=7, host="host-a")
    journal.create_run(running)
    with run_lock(journal, replace(running, pid=8) if killed else running):
        async with AsyncExitStack() as stack:
            with pytest.raises(LockedError, match=said):
                await lock_run(stack, journal, running, Context())


def test_a_report_that_is_written_while_its_run_ends_has_the_end(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(journal, 3)
    journal.update_run(RUN, status=RunStatus.RUNNING)
    write = finish.write

    def slowly(*arguments: Any, **more: Any) -> Any:
        files = write(*arguments, **more)
        journal.settle(RUN, [(number, UPDATED) for number in range(3)])
        journal.update_run(RUN, status=RunStatus.COMPLETED, finished_at=1_770_000_009.0)
        return files

    monkeypatch.setattr(finish, "write", slowly)
    result = report(RUN, state_dir=tmp_path, report_dir=tmp_path / "reports")
    assert (result.status, result.summary["updated"], result.summary["pending"]) == (RunStatus.COMPLETED, 3, 0)
    assert result.report is not None
    assert not (result.report.folder / "retry.csv").exists()


def test_a_report_that_is_written_again_leaves_no_format_with_an_older_state(journal: Journal, tmp_path: Path) -> None:
    begin(journal, 3)
    first = report(RUN, state_dir=tmp_path, report_dir=tmp_path / "reports", formats=("jsonl", "xlsx"))
    assert first.report is not None
    lines = first.report.folder / "report.jsonl"
    workbook = (first.report.folder / "report.xlsx").read_bytes()
    assert lines.read_text(encoding="utf-8").count('"pending"') == 3
    journal.settle(RUN, [(number, UPDATED) for number in range(3)])
    report(RUN, state_dir=tmp_path, report_dir=tmp_path / "reports")
    assert lines.read_text(encoding="utf-8").count('"updated"') == 3
    assert (first.report.folder / "report.xlsx").read_bytes() != workbook


def test_a_report_that_is_put_in_place_while_the_run_writes_its_own_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process has read rows that were not settled yet, and puts its files in place after the run's."""
    read, written, replaced = threading.Event(), threading.Event(), threading.Event()
    open_report, write = OpenReport.finish, finish.write
    main = threading.current_thread()
    reports = 0

    def put_in_place(self: OpenReport, notes: list[str]) -> list[Path]:
        if threading.current_thread() is main and not read.is_set():
            read.set()
            assert written.wait(60)
        return open_report(self, notes)

    def own_report(*arguments: Any, **more: Any) -> Any:
        nonlocal reports
        files = write(*arguments, **more)
        if threading.current_thread() is not main:
            written.set()
            assert replaced.wait(60)
        else:
            reports += 1
            if reports > 1:
                replaced.set()
        return files

    monkeypatch.setattr(OpenReport, "finish", put_in_place)
    monkeypatch.setattr(finish, "write", own_report)
    folder = tmp_path / "reports" / RUN

    def end() -> None:
        assert read.wait(60)
        with open_journal(tmp_path) as own:
            own.settle(RUN, [(number, UPDATED) for number in range(3)])
            finish.conclude(
                own, RUN, folder=folder, formats=(), counters={}, error=None, row_errors=(), now=1_770_000_009.0
            )

    with open_journal(tmp_path) as journal:
        begin(journal, 3)
        journal.update_run(RUN, status=RunStatus.RUNNING)
        running = record(status=RunStatus.RUNNING)
        with run_lock(journal, running):
            run = threading.Thread(target=end)
            run.start()
            result = report(RUN, state_dir=tmp_path, report_dir=tmp_path / "reports")
            replaced.set()
            run.join()
    assert not (folder / "retry.csv").exists()
    assert (result.status, result.summary["updated"], result.summary["pending"]) == (RunStatus.COMPLETED, 3, 0)


async def test_a_report_does_not_wait_for_the_end_of_a_run_that_was_killed_while_it_wrote_its_own(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process undoes or resumes that run, which may take hours."""
    begin(journal, 3)
    journal.update_run(RUN, status=RunStatus.RUNNING, finished_at=1_770_000_009.0)
    killed = journal.get_run(RUN)
    assert killed is not None
    write, reports = finish.write, 0

    def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal reports
        reports += 1
        assert reports < 5, "the report is written again and again"
        return write(*arguments, **more)

    monkeypatch.setattr(finish, "write", counted)
    async with AsyncExitStack() as stack:
        await lock_run(stack, journal, killed, Context())
        result = await in_thread(lambda: report(RUN, state_dir=tmp_path, report_dir=tmp_path / "reports"))
    assert (result.status, result.summary["pending"], reports) == (RunStatus.RUNNING, 3, 1)
