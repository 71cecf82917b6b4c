"""Which runs count as undone: those whose changes an undo has put back, at least in part."""

from typing import Any

from bulkid.runs.history import undone_by
from tests.support.journal_data import record


def undo_of(run_id: str, own_id: str, *, phase: str = "planned", **counters: Any) -> Any:
    return record(own_id, options={"undo": run_id}, phase=phase, counters=counters)


def test_the_newest_undo_that_planned_an_account_counts() -> None:
    records = [
        undo_of("run-1", "nothing-left", accounts=0),
        undo_of("run-1", "newest", accounts=3),
        undo_of("run-1", "older", accounts=5),
        undo_of("run-2", "before-its-plan", phase="read", accounts=4),
        undo_of("run-3", "left-all-alone", accounts=0),
        record("run-1"),
    ]
    assert undone_by(records) == {"run-1": "newest"}
