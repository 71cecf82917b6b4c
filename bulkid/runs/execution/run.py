"""One run from its rows to its report: the order of the stages, and what an early end means for each."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import structlog

from bulkid.consume import consume
from bulkid.errors import (
    EXIT_INTERRUPTED,
    BulkidError,
    InterruptedRunError,
    LockedError,
    StateError,
    UsageError,
)
from bulkid.events import log
from bulkid.journal import Journal
from bulkid.model import Change, Entry, Fault, RunRecord, RunStatus
from bulkid.planning import Directory, Plan
from bulkid.report import how_to_resume
from bulkid.runs.concurrency import task_group, until_stopped
from bulkid.runs.execution.apply import apply
from bulkid.runs.execution.change_limit import require_within_bound
from bulkid.runs.execution.connection import Session, connect
from bulkid.runs.execution.directory_reader import Wanted, read_directory
from bulkid.runs.execution.finish import EARLY_ROWS, EarlyReport, conclude
from bulkid.runs.execution.locks import holding
from bulkid.runs.execution.partial_run import TAKEN_UP, due, is_left, preview_rest, rest_as_plan
from bulkid.runs.execution.planner import prepare, route_for
from bulkid.runs.execution.reconcile import Comparison, PlannedAgain, PlannedEntries, ToSend, compare, to_send
from bulkid.runs.inputs.origin import APPROVED, is_guarded
from bulkid.runs.inputs.sheet import Rows, nothing_summary, read_rows
from bulkid.runs.options import Context, Preview, RunOptions, RunResult, Target
from bulkid.runs.run_metrics import COUNTERS_EVERY_S, LiveFigures, added, with_figures
from bulkid.runs.run_records import owner_of
from bulkid.sheet import Sheet

EARLY_EVERY_S = 0.25
"""How often to see, in seconds, whether rows of the report can be written while requests are sent."""

EARLY_AT_LEAST_EVERY_S = 16.0
"""The same, where accounts are settled and yet no row can be written."""


@dataclass(slots=True)
class Execution:
    """The work on one run, fresh or resumed. Everything that must survive is in the journal, nothing here is."""

    journal: Journal
    record: RunRecord
    target: Target
    options: RunOptions
    context: Context
    folder: Path
    session: Session | None = None
    resumed: bool = False
    asks: bool = False  # have what is pending confirmed again, although it was confirmed before
    faults: tuple[Fault, ...] = ()
    started: float = 0.0
    counters: dict[str, Any] = field(default_factory=dict)
    early: EarlyReport | None = None  # once requests are sent

    async def perform(self, work: Callable[[], Awaitable[None]]) -> RunResult:
        """Do the work and conclude the run, whatever ends it: status, report, exit code."""
        with structlog.contextvars.bound_contextvars(run_id=self.record.run_id):
            return await self._perform(work)

    async def _perform(self, work: Callable[[], Awaitable[None]]) -> RunResult:
        self.started = self.context.clock.monotonic()
        self.counters = dict(self.record.counters)
        error: BulkidError | None = None
        log.info("run.started", source=self.record.source, resumed=self.resumed)
        self.context.hooks.began(self.record)
        try:
            await work()
        except BulkidError as caught:
            if self.resumed and isinstance(caught, LockedError):
                raise  # nothing was touched: the run stays as it was
            error = self._with_advice(caught)
            log.info("run.ended_early", reason=caught.message)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._conclude(InterruptedRunError("The run was cancelled."))
            raise
        with anyio.CancelScope(shield=True):
            result = await self._conclude(error)
        return result  # noqa: RET504 - a return inside the scope hides from the type checker that there is one

    def _with_advice(self, error: BulkidError) -> BulkidError:
        """Say how to go on where the run can be resumed.

        A state database that fails in the middle is such a case: by itself a ``StateError`` means that nothing was
        sent, which is true only before there is a run.
        """
        if not isinstance(error, InterruptedRunError | StateError):
            return error
        advice = "" if "resume" in error.hint else f"Go on with: {how_to_resume(self.record)}"
        return InterruptedRunError(error.message, hint=f"{error.hint} {advice}".strip())

    async def _conclude(self, error: BulkidError | None) -> RunResult:
        self.context.hooks.stage("report")
        try:
            return await self._concluded(error)
        except StateError as gone:
            # What is settled is in the journal; that alone cannot be reached to tell of it.
            error = self._with_advice(gone if error is None else error)
            summary = {**nothing_summary(self.record.command), "run_id": self.record.run_id, "status": "interrupted"}
            return RunResult(self.record, RunStatus.INTERRUPTED, summary, None, error, EXIT_INTERRUPTED)

    async def _concluded(self, error: BulkidError | None) -> RunResult:
        end = partial(
            conclude,
            self.journal,
            self.record.run_id,
            folder=self.folder,
            formats=self.options.formats,
            counters=self.figures(),
            error=error,
            faults=self.faults,
            now=self.context.clock.now(),
            early=self.early,
        )
        path = self.context.after.metrics_file
        try:
            return await anyio.to_thread.run_sync(lambda: with_figures(path, self.journal, end()))
        finally:
            if self.early is not None:
                self.early.discard()

    def figures(self) -> dict[str, Any]:
        """The run's counters as of now: those of earlier sittings plus this one's."""
        before, session = self.record.counters, self.session
        sent = dict(before.get("requests", {}))
        for method, count in (session.sent() if session else {}).items():
            sent[method] = sent.get(method, 0) + count
        return {
            **self.counters,
            "requests": sent,
            "answers": added(before.get("answers", {}), session.stats.answers() if session else {}),
            "retries": before.get("retries", 0) + (session.stats.retries if session else 0),
            "throttled": before.get("throttled", 0) + (session.stats.throttled if session else 0),
            "elapsed_s": round(before.get("elapsed_s", 0.0) + self.context.clock.monotonic() - self.started, 3),
        }

    # --- the stages

    async def fresh(self, sheet: Sheet) -> None:
        """Read the sheet into the journal, then plan and apply it."""
        self.context.hooks.stage("sheet")
        store = partial(self.journal.add_rows, self.record.run_id)
        async with until_stopped(self.context.stop):
            rows = await read_rows(sheet, store)
        await self._update(phase="read", sheet=rows.info.to_json())
        await self.from_rows(rows)

    async def from_rows(self, rows: Rows) -> None:
        """Plan what the rows ask for, have it confirmed, and apply it.

        Raises:
            UsageError: A row is invalid and that is not allowed, or the plan changes too much: nothing was sent.
            InterruptedRunError: The user declined, or a signal came.
        """
        self.faults = tuple(rows.faults)
        self.counters["accounts"] = rows.accounts

        async def work(session: Session) -> None:
            await self._apply(session, await self._planned(session, rows))

        await self._connected(work)

    async def _planned(self, session: Session, rows: Rows) -> ToSend:
        """Plan what the rows ask for, have it confirmed, and journal it; give what sending needs of it."""
        self.context.hooks.stage("directory")
        async with until_stopped(self.context.stop):
            preview = await prepare(session, rows, self.options)
        directory, plan = preview.directory, preview.plan
        log.info("directory.read", accounts=_size(directory.accounts), groups=_size(directory.groups))
        await self._take_faults(rows, preview)
        await self._agree(session, preview)
        await self._journal_plan(preview)
        directory, changes, route = directory.without_accounts(), list(plan.changes), plan.route
        del preview, plan  # and the accounts with them, as each change is taken
        return to_send(directory, enumerate(consume(changes)), route)

    async def _agree(self, session: Session, preview: Preview) -> None:
        """Have a plan confirmed that may be sent.

        Raises:
            PermissionDeniedError: The token may not change accounts.
            UsageError: The plan changes more than it may.
            InterruptedRunError: The user declined, or a signal came.
        """
        if preview.plan.by_account:
            session.require_write()  # before anybody is asked about what cannot be
        require_within_bound(preview.excess, self.options)
        asked_at = self.context.clock.monotonic()
        async with until_stopped(self.context.stop):
            agreed = await self.context.hooks.confirm(preview)
        self.started += self.context.clock.monotonic() - asked_at  # a person's time is not the run's
        if not agreed:
            raise InterruptedRunError("Not confirmed: nothing was sent.")

    async def from_entries(self) -> None:
        """Take up what an earlier sitting left unsettled: compare again with the directory, send what still differs."""
        entries, rest_of_trial = await self._due()
        if not entries:
            return  # only the report was missing: nobody needs to be asked for that

        async def work(session: Session) -> None:
            await self._apply(
                session, await self._taken_up(session, entries, confirmed_anew=rest_of_trial or self.asks)
            )

        await self._connected(work)

    async def _taken_up(self, session: Session, entries: list[Entry], *, confirmed_anew: bool) -> ToSend:
        """Settle what needs no request; give what is still to be sent, once that is confirmed where it must be.

        The list of entries is empty afterwards: the journal has them.
        """
        directory, plan, found = await self._compared(session, entries, confirmed_anew=confirmed_anew)
        if confirmed_anew:
            await self._take_up(session, directory, plan, entries, found.changes)
        await anyio.to_thread.run_sync(self.journal.settle, self.record.run_id, found.settled)
        failed, unknown, changes, route = len(found.failed), found.unknown, found.changes, plan.route
        directory = directory.without_accounts()
        entries.clear()
        del plan, found  # and the accounts with them, as each change is taken
        return to_send(directory, consume(changes), route)._replace(failed=failed, unknown=unknown)

    async def rest(self) -> Preview:
        """Compute what :meth:`from_entries` would send now. Changes nothing, also not in the journal."""
        entries, _ = await self._due()
        if not entries:
            raise UsageError(f"Run {self.record.run_id} is complete: nothing is pending.")
        self.context.hooks.stage("connect")
        owner = f"plan-{self.record.run_id}"
        async with connect(self.target, self.options, self.journal, self.context, owner=owner) as session:
            async with until_stopped(self.context.stop):
                await session.identify()
            directory, plan, _ = await self._compared(session, entries, confirmed_anew=True)
            preview = await self._preview_rest(session, directory, plan)
        return preview  # noqa: RET504 - a return inside the scope hides from the type checker that there is one

    async def _preview_rest(self, session: Session, directory: Directory, plan: Plan) -> Preview:
        async with until_stopped(self.context.stop):
            preview = await preview_rest(session, self.record, self.options, directory, plan)
        return preview  # noqa: RET504 - a return inside the block hides from the type checker that there is one

    async def _due(self) -> tuple[list[Entry], bool]:
        return due(await anyio.to_thread.run_sync(lambda: list(self.journal.iter_unsettled(self.record.run_id))))

    async def _compared(
        self, session: Session, entries: Sequence[Entry], *, confirmed_anew: bool
    ) -> tuple[Directory, Plan, Comparison]:
        """Compare entries with the directory; what is still to be sent is a plan, too."""
        self.context.hooks.stage("directory")
        async with until_stopped(self.context.stop):
            directory = await self._directory_for(session, entries)
        guarded = is_guarded(self.record, confirmed_anew=confirmed_anew)
        found = compare(entries, directory, self.context.clock.now(), guarded=guarded)
        route = await route_for([change for _, change in found.changes], directory, session, self.options)
        out = found.failed | found.unknown.keys()
        plan = rest_as_plan([entry for entry in entries if entry.entry not in out], found.changes, route)
        return directory, plan, found

    async def _take_up(
        self,
        session: Session,
        directory: Directory,
        plan: Plan,
        entries: Sequence[Entry],
        changes: Sequence[tuple[int, Change]],
    ) -> None:
        """Have the rest of a run confirmed, which was not shown yet; from then on it is pending like any other."""
        await self._agree(session, await self._preview_rest(session, directory, plan))
        # Undo, and a resume of what was approved, go by the state that the confirmed changes start from.
        planned, left = PlannedAgain(entries, changes, directory), [each.entry for each in entries if is_left(each)]

        def write() -> None:
            self.journal.plan_again(self.record.run_id, planned)
            self._keep_approval()
            self.journal.settle(self.record.run_id, [(number, TAKEN_UP) for number in left])

        await anyio.to_thread.run_sync(write)
        self.counters |= {"left_accounts": 0, "left_rows": 0}
        await self._update(counters=self.figures())

    def _keep_approval(self) -> None:
        """Keep the hash of the plan that was just confirmed, where it was approved by another user."""
        if self.options.approved:
            options = {**self.record.options, APPROVED: self.options.approved}
            self.record = replace(self.record, options=options)
            self.journal.update_run(self.record.run_id, options=options)

    async def _connected(self, work: Callable[[Session], Awaitable[None]]) -> None:
        self.context.hooks.stage("connect")
        async with connect(self.target, self.options, self.journal, self.context, owner=self.record.run_id) as session:
            self.session = session
            async with until_stopped(self.context.stop):
                await session.identify()
            await self._update(organization_id=session.organization_id, base_url=session.base.url)
            around = self.context
            owner = owner_of(self.record)
            async with (
                around.turns.taken(session.organization_id, around.stop, around.hooks.note),
                holding(self.journal, session.organization_id, owner, around) as hold,
            ):
                session.hold = hold
                await self._update(status=RunStatus.RUNNING, pid=self.record.pid, host=self.record.host)
                await session.recover()
                await work(session)

    async def _take_faults(self, rows: Rows, preview: Preview) -> None:
        """Journal the faults that only the directory could show, and refuse to go on where any row is invalid."""
        self.faults = preview.faults
        plan = preview.plan
        self.counters |= {
            "accounts": plan.wishes,
            "planned_puts": plan.planned_puts,
            "naive_puts": plan.naive_puts,
            "left_accounts": len(plan.left_out),
            "left_rows": sum(len(wish.rows) for wish in plan.left_out),
        }
        known = {fault.row for fault in rows.faults}
        found = [fault for fault in preview.faults if fault.row not in known]
        if found:
            await anyio.to_thread.run_sync(self.journal.set_invalid, self.record.run_id, found)
        count = preview.invalid_rows
        if count and not self.options.skip_invalid:
            for note in (*preview.info.notes, *preview.warnings):  # nobody will be shown the plan that says them
                self.context.hooks.note(note)
            raise UsageError(
                f"{count} of {preview.rows} rows are invalid: nothing was sent.",
                hint="Mend them (the report and retry.csv name each), or send the good rows alone with --skip-invalid.",
            )

    async def _journal_plan(self, preview: Preview) -> None:
        """Write every account of the plan to the journal before anything is sent."""
        entries, plan = PlannedEntries(preview, self.context.clock.now()), preview.plan

        def write() -> None:
            self.journal.add_entries(self.record.run_id, entries)
            self._keep_approval()
            self.journal.update_run(self.record.run_id, phase="planned", counters=self.figures())

        await anyio.to_thread.run_sync(write)
        log.info("run.planned", changes=len(plan.changes), accounts=plan.wishes, planned_puts=plan.planned_puts)

    async def _directory_for(self, session: Session, entries: Sequence[Entry]) -> Directory:
        if not self.options.read:
            return Directory(session.organization_id, None, None)
        ids = tuple(entry.wish.account_id for entry in entries)
        # Only an exact list of groups needs to know which of them is Everyone.
        groups = any(entry.wish.exact is not None for entry in entries)
        directory, warnings = await read_directory(
            session.engine, session.organization_id, Wanted(ids, (), groups=groups), session.known
        )
        for warning in warnings:
            self.context.hooks.note(warning)
        return directory

    async def _apply(self, session: Session, work: ToSend) -> None:
        await apply(
            work,
            session,
            journal=self.journal,
            record=self.record,
            bound=self.options.max_failures,
            context=self.context,
            keep_figures=self._accompany,
        )

    async def _accompany(self) -> None:
        """Keep the figures, and write of the report what is settled, as long as requests are sent."""
        async with task_group() as tasks:
            tasks.start_soon(self._keep_figures)
            tasks.start_soon(self._write_early)

    async def _write_early(self) -> None:
        """Write the report's rows as they are settled, so that little is left to write after the last answer."""
        self.early = early = EarlyReport(self.journal, self.record.run_id, self.folder, self.options.formats)
        assert self.session is not None  # noqa: S101 - requests are sent over it
        stats, seen, wait_s = self.session.stats, 0, EARLY_EVERY_S
        while not early.ended:
            await self.context.clock.sleep(wait_s)
            settled, written = stats.settled, 0
            if settled - seen < EARLY_ROWS:
                continue
            while count := await anyio.to_thread.run_sync(early.write_some):
                written += count
            if written:
                seen, wait_s = settled, EARLY_EVERY_S
            else:  # the first row that is not written waits, for its next attempt say
                wait_s = min(2 * wait_s, EARLY_AT_LEAST_EVERY_S)

    async def _keep_figures(self) -> None:
        live = LiveFigures(self.context.after.metrics_file, self.journal, self.record.run_id, self.context.clock)
        while True:
            await self.context.clock.sleep(COUNTERS_EVERY_S)
            await self._update(counters=self.figures())
            await live.show()

    async def _update(self, **fields: object) -> None:
        await anyio.to_thread.run_sync(partial(self.journal.update_run, self.record.run_id, **fields))


def _size(read: Collection[object] | None) -> int | None:
    return None if read is None else len(read)
