"""A look at all runs of a state directory for a face that stays: one open journal, pages instead of whole reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bulkid.errors import UsageError
from bulkid.journal import Journal, open_journal
from bulkid.model import ReportRow, RunRecord, RunStatus, Status
from bulkid.runs.history import with_actual_status
from bulkid.runs.run_records import UNDO


@dataclass(frozen=True, slots=True)
class RunListItem:
    """A run in a list: its record as it is, and its rows by status."""

    run: RunRecord
    counts: Mapping[Status, int]

    @property
    def rows(self) -> int:
        """How many rows its sheet has, as far as they have been read."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class RowPage:
    """Some rows of a run, and how many there are of the kind."""

    rows: Sequence[ReportRow]
    total: int


class RunBrowser:
    """Reads runs; safe to use from worker threads. Methods raise ``StateError`` when the database cannot be used."""

    def __init__(self, state_dir: Path, database_url: str = "") -> None:
        self.journal: Journal = open_journal(state_dir, database_url)
        self._counted: dict[tuple[str, float | None], Mapping[Status, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal; harmless when repeated."""
        self.journal.close()

    def runs(
        self, *, statuses: Sequence[RunStatus] = (), offset: int = 0, limit: int = 25
    ) -> tuple[list[RunListItem], int]:
        """Some runs, newest first, and how many there are of the kind."""
        from bulkid.journal.queries import run_page

        found, total = run_page(self.journal, statuses=statuses, offset=offset, limit=limit)
        return [self._line(record) for record in found], total

    def run(self, run_id: str) -> RunListItem:
        """One run by its whole id.

        Raises:
            UsageError: There is none.
        """
        record = self.journal.get_run(run_id)
        if record is None:
            raise UsageError(f"There is no run {run_id!r}.", hint="The history lists them.")
        return self._line(record)

    def rows(
        self, run_id: str, *, status: Status | None = None, search: str = "", offset: int = 0, limit: int = 100
    ) -> RowPage:
        """Some rows of a run, in the sheet's order, with what became of each."""
        from bulkid.journal.queries import row_page

        return RowPage(*row_page(self.journal, run_id, status=status, search=search, offset=offset, limit=limit))

    def failures(self, run_id: str, limit: int = 20) -> Sequence[ReportRow]:
        """The rows that failed last, the newest first."""
        from bulkid.journal.queries import latest_failures

        return latest_failures(self.journal, run_id, limit)

    def undone(self) -> frozenset[str]:
        """The runs that a later one has put back: to go on with them would do again what was undone."""
        return frozenset(
            str(record.options[UNDO])
            for record in self.journal.list_runs()
            if UNDO in record.options and record.phase == "planned"
        )

    def _line(self, record: RunRecord) -> RunListItem:
        record = with_actual_status(self.journal, record)
        key = (record.run_id, record.finished_at)
        if record.status is RunStatus.RUNNING or record.finished_at is None:
            return RunListItem(record, self.journal.counts(record.run_id))
        if key not in self._counted:
            self._counted[key] = self.journal.counts(record.run_id)
        return RunListItem(record, self._counted[key])
