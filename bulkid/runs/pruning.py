"""Removes old runs from the journal, with their reports, and frees the space."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bulkid.clock import Clock, SystemClock
from bulkid.errors import LockedError
from bulkid.journal.locks.file import forget_lock
from bulkid.journal.queries import claimed_runs, drop_run, forget_claims, keep_destination, newest_runs
from bulkid.journal.store import RESUMABLE, Journal, open_journal
from bulkid.logs import log
from bulkid.model import Phase, RunRecord, RunStatus, Status
from bulkid.paths import default_state_dir
from bulkid.report.writer import remove_report
from bulkid.runs.history import undone_by, with_actual_status
from bulkid.runs.run_locks import lock_name, run_lock
from bulkid.runs.run_records import UNDO


@dataclass(frozen=True, slots=True)
class Pruned:
    """The result of pruning."""

    dropped: tuple[RunRecord, ...] = ()  # runs that are gone (or would be)
    pending: tuple[RunRecord, ...] = ()  # old runs that were kept since rows of theirs are pending
    active: tuple[RunRecord, ...] = ()  # kept: a process works on them, or on their dropped file
    freed: int = 0  # bytes of the disk, reports included
    notes: tuple[str, ...] = ()  # sentences on what is not as usual


@dataclass(slots=True)
class _Pruner:
    """One pass over the runs that are old enough."""

    journal: Journal
    state_dir: Path
    with_pending: bool
    dry: bool
    claimed: frozenset[str]  # runs whose files wait in a drop folder to be put away
    undone: Mapping[str, str]  # see `undone_by`
    gone: set[str] = field(default_factory=set)
    result: Pruned = Pruned()

    def prune_run(self, record: RunRecord, before: float) -> None:
        """Drop a run, unless a process works on it or its rows are pending. A lock keeps other processes from it.

        Call it for a run before the undo of that run.
        """
        if record.run_id in self.claimed:
            self.result = replace(self.result, active=(record, *self.result.active))
            return
        try:
            with run_lock(self.journal, record):
                # Another process may have gone on with it until a moment ago.
                current = self.journal.get_run(record.run_id)
                if current is None or not is_old(current, before):
                    return
                if self._is_wanted(current):
                    self.result = replace(self.result, pending=(current, *self.result.pending))
                    return
                if kept := self._undone_by(current):
                    self._note(
                        f"Run {current.run_id} is kept: without it, run {kept}, which it undid, could be resumed."
                    )
                    return
                if not self.dry:
                    self._drop(current)
                self.gone.add(current.run_id)
                self.result = replace(self.result, dropped=(current, *self.result.dropped))
        except LockedError:
            self.result = replace(self.result, active=(record, *self.result.active))
            return
        if not self.dry:
            forget_lock(self.state_dir, lock_name(record))

    def _is_wanted(self, record: RunRecord) -> bool:
        if self.with_pending or record.run_id in self.undone:
            return False
        return has_pending_work(record, self.journal.counts(record.run_id))

    def _undone_by(self, record: RunRecord) -> str:
        """The run that stays, and that ``resume`` would continue if this undo of it were not known; else empty."""
        undone = self.journal.get_run(str(record.options.get(UNDO, "")))
        if undone is None or undone.run_id in self.gone or self.undone.get(undone.run_id) != record.run_id:
            return ""
        return undone.run_id if undone.status in RESUMABLE else ""

    def _note(self, text: str) -> None:
        self.result = replace(self.result, notes=(*self.result.notes, text))

    def _drop(self, record: RunRecord) -> None:
        if record.options.get("sandbox"):  # the run alone says that its file was only tried
            forget_claims(self.journal, record.run_id)
        else:
            keep_destination(self.journal, record)
        # First the journal: a report without its run can be removed by hand, a run whose report is gone looks whole.
        drop_run(self.journal, record.run_id)
        if not record.report_dir:
            return
        removed = remove_report(Path(record.report_dir), record.run_id)
        kept = (removed.kept,) if removed.kept and removed.kept not in self.result.notes else ()
        result = self.result
        self.result = replace(result, freed=result.freed + removed.bytes, notes=(*result.notes, *kept))


def prune(
    age_s: float,
    *,
    state_dir: Path | None = None,
    database_url: str = "",
    with_pending: bool = False,
    dry: bool = False,
    clock: Clock | None = None,
) -> Pruned:
    """Drop the runs that ended longer ago than ``age_s``: from the journal, and the files of their reports.

    Kept are runs that a process works on, and (unless ``with_pending``) those that have sent something, or may have,
    and have rows pending, which ``resume`` would go on with (not those undone since). An undo is kept as long as the
    run that it undid could be resumed without it. With a run goes what ``undo`` needs. The quota is not touched: what
    was sent counts until its window is over.

    Paths and the address of the database are those of :class:`bulkid.runs.Context`. With ``dry`` nothing is
    dropped.

    Raises:
        StateError: The state directory cannot be used.
    """
    state_dir = state_dir or default_state_dir()
    before = (clock or SystemClock()).now() - age_s
    with open_journal(state_dir, database_url) as journal:
        records = list(newest_runs(journal, with_asking=True))
        pruner = _Pruner(journal, state_dir, with_pending, dry, claimed_runs(journal), undone_by(records))
        for record in [each for each in reversed(records) if is_old(each, before)]:
            pruner.prune_run(record, before)
        result = pruner.result
        if result.dropped and not dry:
            size = journal.size()
            if _in_use(journal) or not journal.database.dialect.shrink():
                in_use = "The state database is in use, so its file stays as large: later runs fill it."
                result = replace(result, notes=(*result.notes, in_use))
            result = replace(result, freed=result.freed + max(0, size - journal.size()))
            log.info("runs.pruned", runs=len(result.dropped), freed=result.freed)
    return result


def _in_use(journal: Journal) -> bool:
    """Whether a run is under way, which would have to wait until the file is written anew."""
    running = newest_runs(journal, (RunStatus.RUNNING,))
    return any(with_actual_status(journal, record).status is RunStatus.RUNNING for record in running)


def is_old(record: RunRecord, before: float) -> bool:
    """Whether a run ended (or, if it never did, began) before a moment."""
    return (record.finished_at or record.created_at) < before


def has_pending_work(record: RunRecord, counts: Mapping[Status, int]) -> bool:
    """Whether ``resume`` has something to do that a new run of the sheet would not do as well.

    A run that was refused, or that never came to its plan, has sent nothing.
    """
    return bool(counts.get(Status.PENDING)) and record.status is not RunStatus.REFUSED and record.phase == Phase.PLANNED
