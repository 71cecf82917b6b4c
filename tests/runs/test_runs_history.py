"""Earlier runs as they are shown: one that a kill ended is interrupted, and no other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkid.journal.store import Journal, open_journal
from bulkid.model import RunStatus
from bulkid.runs.history import with_actual_status
from tests.support.journal_data import record


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
