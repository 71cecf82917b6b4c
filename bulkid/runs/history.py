"""Earlier runs: find, list and browse them, and write their reports again.

All of it raises ``StateError`` where the state directory or the database cannot be used.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from bulkid.errors import UsageError
from bulkid.journal.queries import ChangeKind, latest_failures, pending_deletions, row_page, run_page
from bulkid.journal.store import RESUMABLE, Journal, open_journal
from bulkid.model import Phase, ReportRow, RunRecord, RunStatus, Status
from bulkid.paths import default_state_dir
from bulkid.report.atomic import prepare_folder
from bulkid.report.rate import Rate
from bulkid.report.summary import build_summary, next_steps, trial_outcome
from bulkid.runs.execution import finish
from bulkid.runs.execution.reconcile import items_to_resume
from bulkid.runs.options import RunOptions, RunResult, Target
from bulkid.runs.rates import recent_rates, run_rates
from bulkid.runs.run_locks import lock_name
from bulkid.runs.run_records import UNDO
from bulkid.text import as_argument


def list_runs(
    state_dir: Path | None = None, limit: int | None = None, *, database_url: str = ""
) -> list[tuple[RunRecord, Mapping[Status, int]]]:
    """Earlier runs, newest first, each with its rows by status. A run that a kill ended shows as interrupted."""
    with open_journal(state_dir or default_state_dir(), database_url) as journal:
        return [
            (with_actual_status(journal, record), journal.counts(record.run_id)) for record in journal.list_runs(limit)
        ]


def with_actual_status(journal: Journal, record: RunRecord) -> RunRecord:
    """The record, corrected where it says ``running`` although no process holds the run any more."""
    if record.status is not RunStatus.RUNNING or journal.is_locked(lock_name(record)):
        return record
    # A run keeps its end before it gives its lock up: one that ended since the record was read says so now.
    latest = journal.get_run(record.run_id) or record
    return replace(latest, status=RunStatus.INTERRUPTED) if latest.status is RunStatus.RUNNING else latest


def report(
    text: str,
    *,
    state_dir: Path | None = None,
    database_url: str = "",
    report_dir: Path | None = None,
    formats: Collection[str] = (),
) -> RunResult:
    """Write a run's report again, from the journal, also while the run is still going.

    ``text`` is the run's id, the beginning of it, or empty for the newest. ``report_dir`` gets a folder for the
    run; None: where the run wrote it.

    Raises:
        UsageError: There is no such run, or the folder cannot be written.
        ReportError: Writing failed; the outcomes are safe in the journal.
    """
    with open_journal(state_dir or default_state_dir(), database_url) as journal:
        found = finish.find(journal, text)
        parent = report_dir.absolute() if report_dir is not None else Path(found.report_dir).parent
        folder = prepare_folder(parent, found.run_id)
        while True:
            record = with_actual_status(journal, found)
            summary = finish.summarise(journal, record, folder)
            files = finish.write(journal, record, folder, formats, summary)
            latest = journal.get_run(record.run_id) or found
            is_ending = record.status is latest.status is RunStatus.RUNNING and latest.finished_at is not None
            if not is_ending and _end_of(latest) in (_end_of(found), _end_of(record)):
                return RunResult(record, record.status, files.summary, files, notes=files.notes)
            found = latest  # it ends: its own report, which has every outcome, may be replaced by now


def _end_of(record: RunRecord) -> tuple[RunStatus, float | None]:
    return record.status, record.finished_at


def summary_of(record: RunRecord, counts: Mapping[Status, int]) -> dict[str, Any]:
    """A run's summary from what :func:`list_runs` gave."""
    report_path = str(Path(record.report_dir) / "report.csv") if record.report_dir else None
    return build_summary(record, counts, int(record.counters.get("accounts", 0)), report_path)


def find_run(text: str, state_dir: Path | None = None, database_url: str = "") -> RunRecord:
    """The run with this id, or whose id begins so, or (``last``) the newest.

    Raises:
        UsageError: There is none, or several.
    """
    with open_journal(state_dir or default_state_dir(), database_url) as journal:
        return finish.find(journal, text)


def find_resumable_run(
    text: str, state_dir: Path | None = None, database_url: str = "", *, skip_invalid: bool = False
) -> RunRecord:
    """The run that ``resume`` would continue.

    Raises:
        UsageError: There is none, it is complete, or it was refused for rows that no resume reads again: that needs
            ``skip_invalid``.
    """
    with open_journal(state_dir or default_state_dir(), database_url) as journal:
        record = find_resumable(journal, text)
        skips = skip_invalid or bool(record.options.get("skip_invalid"))
        if record.status is RunStatus.REFUSED and not skips and journal.has_sheet_errors(record.run_id):
            message = f"Run {record.run_id} ({record.source}) was refused, and would be refused again."
            raise UsageError(message, hint=record.message, cli_hint="To send only the valid rows, add --skip-invalid.")
        return record


def needs_confirmation(record: RunRecord, state_dir: Path | None = None, database_url: str = "") -> bool:
    """Whether resuming this run would send changes that no user has confirmed.

    That is so where it ended before its plan was confirmed, and where only what it left for later as a trial is open.
    """
    if record.phase != Phase.PLANNED or not record.counters.get("left_accounts"):
        return record.phase != Phase.PLANNED
    with open_journal(state_dir or default_state_dir(), database_url) as journal:
        return items_to_resume(list(journal.iter_items(record.run_id, unsettled=True)))[1]


def find_resumable(journal: Journal, text: str) -> RunRecord:
    """The run to resume.

    Raises:
        UsageError: There is none, or it is complete.
    """
    if not text:
        newest = next(resumable_runs(journal), None)
        if newest is None:
            raise _nothing_to_resume(journal)
        return newest
    record = finish.find(journal, text)
    ended = record.status not in RESUMABLE and record.status is not RunStatus.REFUSED
    if ended and not (counts := journal.counts(record.run_id)).get(Status.PENDING):
        retry = as_argument(str(Path(record.report_dir) / "retry.csv"))
        raise UsageError(
            f"Run {record.run_id} is complete: nothing is pending.",
            cli_hint=" ".join(next_steps(record, {status.value: count for status, count in counts.items()}, retry)),
        )
    return record


def _nothing_to_resume(journal: Journal) -> UsageError:
    """Say why there is nothing to resume, by the newest run, and what to do with that one."""
    newest = next(iter(journal.list_runs(1)), None)
    if newest is not None and newest.status is RunStatus.REFUSED:
        message = f"There is nothing to resume: the newest run, {newest.run_id} ({newest.source}), was refused."
        return UsageError(message, hint=newest.message)
    if newest is not None and (left := int(newest.counters.get("left_accounts") or 0)):
        return UsageError("There is nothing to resume: no run was interrupted.", cli_hint=trial_outcome(newest, left))
    return UsageError("There is nothing to resume: no run was interrupted.", cli_hint="`bulkid runs` lists all runs.")


def resumable_runs(journal: Journal) -> Iterator[RunRecord]:
    """The runs that can be resumed, newest first, but for those undone since: a resume would do them again."""
    records = journal.list_runs()
    undone = undone_by(records)
    return (record for record in records if record.status in RESUMABLE and record.run_id not in undone)


def undone_by(records: Iterable[RunRecord]) -> Mapping[str, str]:
    """The runs whose changes other runs have put back, each with the newest of these; ``records`` are newest first.

    To resume one of them would make the changes again. An undo that left every account alone has put nothing back.
    """
    newest: dict[str, str] = {}
    for record in records:
        if UNDO in record.options and record.phase == Phase.PLANNED and record.counters.get("accounts"):
            newest.setdefault(str(record.options[UNDO]), record.run_id)
    return newest


@dataclass(frozen=True, slots=True)
class RunListItem:
    """A run in a list: its record as it is, and its rows by status."""

    run: RunRecord
    counts: Mapping[Status, int]

    @property
    def rows(self) -> int:
        """How many rows its sheet has, as far as they have been read."""
        return sum(self.counts.values())


class RowPage(NamedTuple):
    """Some rows of a run, and how many there are of the kind."""

    rows: Sequence[ReportRow]
    total: int


class RunBrowser:
    """Reads runs with one open journal, in pages; worker threads may use it."""

    def __init__(self, state_dir: Path, database_url: str = "") -> None:
        self.journal: Journal = open_journal(state_dir, database_url)
        self._counted: dict[tuple[str, float | None], Mapping[Status, int]] = {}
        self._rates: dict[tuple[str, float], tuple[Rate, ...]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal; harmless when repeated."""
        self.journal.close()

    def runs(
        self, *, statuses: Sequence[RunStatus] = (), offset: int = 0, limit: int = 25
    ) -> tuple[list[RunListItem], int]:
        """Some runs, newest first, and how many there are of the kind."""
        found, total = run_page(self.journal, statuses=statuses, offset=offset, limit=limit)
        return [self._line(record) for record in found], total

    def run(self, run_id: str) -> RunListItem:
        """One run by its whole id, with its rows counted, which takes 20 ms for 20,000 rows.

        Raises:
            UsageError: There is none.
        """
        return self._line(self.record(run_id))

    def record(self, run_id: str) -> RunRecord:
        """The record of a run as the journal has it, by its whole id.

        Raises:
            UsageError: There is none.
        """
        record = self.journal.get_run(run_id)
        if record is None:
            raise UsageError(f"There is no run {run_id!r}.", hint="Look for its id in the list of runs.")
        return record

    def rows(
        self,
        run_id: str,
        *,
        statuses: Collection[Status] = (),
        kind: ChangeKind | None = None,
        search: str = "",
        offset: int = 0,
        limit: int = 100,
    ) -> RowPage:
        """Some rows of a run, in the sheet's order, with what became of each; empty ``statuses`` are all."""
        return RowPage(
            *row_page(self.journal, run_id, statuses=statuses, kind=kind, search=search, offset=offset, limit=limit)
        )

    def failures(self, run_id: str, limit: int = 20) -> Sequence[ReportRow]:
        """The rows that failed last, the newest first."""
        return latest_failures(self.journal, run_id, limit)

    def pending_deletions(self, run_id: str) -> int:
        """How many accounts a run still has to delete."""
        return pending_deletions(self.journal, run_id)

    def rates(self, record: RunRecord) -> tuple[Rate, ...]:
        """The rate of a run against its quota for each method whose requests have settled an account."""
        if record.status is RunStatus.RUNNING or record.finished_at is None:
            return run_rates(self.journal, record)
        key = (record.run_id, record.finished_at)
        if key not in self._rates:
            self._rates[key] = run_rates(self.journal, record)
        return self._rates[key]

    def recent_rates(self, target: Target, options: RunOptions, now: float) -> tuple[Rate, ...]:
        """The rates of all runs on the target's organisation over the last hour; see :func:`recent_rates`."""
        return recent_rates(self.journal, target, options, now)

    def undone(self) -> Mapping[str, str]:
        """The runs that a later one has undone, each with that run; see :func:`undone_by`."""
        return undone_by(self.journal.list_runs())

    def _line(self, record: RunRecord) -> RunListItem:
        record = with_actual_status(self.journal, record)
        key = (record.run_id, record.finished_at)
        if record.status is RunStatus.RUNNING or record.finished_at is None:
            return RunListItem(record, self.journal.counts(record.run_id))
        if key not in self._counted:
            self._counted[key] = self.journal.counts(record.run_id)
        return RunListItem(record, self._counted[key])
