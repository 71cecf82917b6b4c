"""One run from its input to its report: the order of the stages, and how each early end is concluded."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from bulkid.consume import consume
from bulkid.errors import (
    EXIT_INTERRUPTED,
    BulkidError,
    DeclinedError,
    InterruptedRunError,
    LockedError,
    PermissionDeniedError,
    StateError,
    StoppedAtPromptError,
    UsageError,
)
from bulkid.journal.store import Journal
from bulkid.logs import log, run_context
from bulkid.model import Action, Change, Phase, RowError, RunItem, RunRecord, RunStatus, Status
from bulkid.planning.directory import Directory
from bulkid.planning.plan import Plan
from bulkid.report.summary import how_to_resume
from bulkid.runs.concurrency import in_thread, task_group, uncancelled, until_stopped
from bulkid.runs.execution.apply import apply
from bulkid.runs.execution.connection import Connection, connect, hold_lock
from bulkid.runs.execution.directory_reader import read_directory
from bulkid.runs.execution.finish import EARLY_ROWS, EarlyReport, conclude, import_for_conclude, nothing_summary
from bulkid.runs.execution.planner import prepare, preview_of, require_within_limits, strategy_for
from bulkid.runs.execution.reconcile import (
    RESUMED,
    Comparison,
    PlannedAgain,
    PlannedItems,
    SendPlan,
    changed_groups,
    compare,
    is_deferred,
    items_to_resume,
    new_groups_in,
    new_groups_of,
    remaining_plan,
    send_plan_of,
    with_new_groups,
)
from bulkid.runs.inputs.run_input import AccountLookup, Rows, RunInput, RunJournal
from bulkid.runs.options import Context, Preview, RunOptions, RunResult, Target
from bulkid.runs.run_metrics import COUNTERS_INTERVAL_S, LiveMetrics, sum_responses, with_run_metrics
from bulkid.runs.run_records import APPROVED, NEW_GROUPS, dump_group_names, has_preconditions, owner_of
from bulkid.sheet import SheetInfo
from bulkid.text import count_of

EARLY_EVERY_S = 0.25
"""Seconds between two looks, while requests are sent, whether rows of the report can be written."""

EARLY_AT_LEAST_EVERY_S = 16.0
"""The same at most, while accounts are settled but no row can be written."""


@dataclass(slots=True)
class Execution:
    """One attempt at a run, new or resumed. The journal has everything that must survive the process."""

    journal: Journal
    record: RunRecord
    target: Target
    options: RunOptions
    context: Context
    folder: Path
    connection: Connection | None = None
    resumed: bool = False
    reconfirm: bool = False  # ask the user again to confirm pending changes
    row_errors: tuple[RowError, ...] = ()
    started: float = 0.0
    counters: dict[str, Any] = field(default_factory=dict)
    early: EarlyReport | None = None  # once requests are sent

    async def perform(self, run_input: RunInput | None) -> RunResult:
        """Read, plan, send, and conclude the run. An error that ends it early is in the result.

        Args:
            run_input: The input of the run; None to finish a run whose plan is in the journal.

        Raises:
            LockedError: Another run works on the organisation, and this one is resumed: it stays as it was.
            DeclinedError: The user did not agree to the plan. The caller removes a new run, and leaves a resumed
                one as it was.
        """
        with run_context(self.record.run_id):
            return await self._perform(run_input)

    async def _perform(self, run_input: RunInput | None) -> RunResult:
        """Send the input, or finish the journaled items (None); then conclude the run, also after an error."""
        self.started = self.context.clock.monotonic()
        self.counters = dict(self.record.counters)
        error: BulkidError | None = None
        log.info("run.started", source=self.record.source, resumed=self.resumed)
        self.context.hooks.began(self.record)
        try:
            if self.resumed:
                self.context.hooks.resumed(self.record, await in_thread(self._rows_left))
            await (self._finish_items() if run_input is None else self._send_input(run_input))
        except DeclinedError:
            raise
        except BulkidError as caught:
            if self.resumed and isinstance(caught, LockedError):
                raise
            error = _as_interruption(caught)
            log.info("run.ended_early", reason=caught.message)
        except anyio.get_cancelled_exc_class():
            await uncancelled(partial(self._conclude, InterruptedRunError("The run was cancelled.")))
            raise
        return await uncancelled(partial(self._conclude, error))

    async def _conclude(self, error: BulkidError | None) -> RunResult:
        """Write the report, the status and the metrics of the run, and give its result."""
        self.context.hooks.stage("report")
        end = partial(
            conclude,
            self.journal,
            self.record.run_id,
            folder=self.folder,
            formats=self.options.formats,
            counters=self.metrics(),
            error=error,
            row_errors=self.row_errors,
            now=self.context.clock.now(),
            early=self.early,
            never_connected=self.resumed and (self.connection is None or not self.connection.organization_id),
        )
        path = self.context.after.metrics_file
        try:
            return await in_thread(lambda: with_run_metrics(path, self.journal, end()))
        except StateError as failed:
            # The journal has the outcomes, but cannot be read for the report.
            error = _as_interruption(failed if error is None else error)
            error.cli_hint = how_to_resume(self.record)
            summary = {**nothing_summary(self.record.command), "run_id": self.record.run_id, "status": "interrupted"}
            return RunResult(self.record, RunStatus.INTERRUPTED, summary, None, error, EXIT_INTERRUPTED)
        finally:
            if self.early is not None:
                self.early.discard()

    def metrics(self) -> dict[str, Any]:
        """Return the run's counters: totals over all attempts."""
        before, connection = self.record.counters, self.connection
        sent = dict(before.get("requests", {}))
        for method, count in (connection.sent() if connection else {}).items():
            sent[method] = sent.get(method, 0) + count
        return {
            **self.counters,
            "requests": sent,
            "answers": sum_responses(before.get("answers", {}), connection.stats.responses() if connection else {}),
            "retries": before.get("retries", 0) + (connection.stats.retries if connection else 0),
            "throttled": before.get("throttled", 0) + (connection.stats.throttled if connection else 0),
            "elapsed_s": round(before.get("elapsed_s", 0.0) + self.context.clock.monotonic() - self.started, 3),
        }

    def _rows_left(self) -> int | None:
        """Return how many rows a resume works on; None if not all rows have been read, or if they are read again."""
        counts = self.journal.counts(self.record.run_id)
        if self.record.phase == Phase.READING or not any(counts.values()):
            return None
        pending = counts[Status.PENDING]
        deferred = int(self.counters.get("left_rows") or 0)
        return pending - deferred if pending > deferred else pending

    # --- the stages

    async def _send_input(self, run_input: RunInput) -> None:
        """Read the input, plan it, have the plan confirmed, and send it."""
        rows = await self._read(run_input)
        self.row_errors = tuple(rows.row_errors)
        self.counters["accounts"] = rows.accounts
        async with self._connected() as connection:
            await self._apply(connection, await self._planned(connection, rows))

    async def _read(self, run_input: RunInput) -> Rows:
        self.context.hooks.stage("sheet")
        async with until_stopped(self.context.stop):
            rows = await run_input.read(RunJournal(self.journal, self.record.run_id))
        if self.record.phase == Phase.READING:
            await self._update(phase=Phase.READ, sheet=rows.info.to_json())
        return rows

    async def _planned(self, connection: Connection, rows: Rows) -> SendPlan:
        """Plan the rows, have the plan confirmed, and journal it. Return what sending needs."""
        self.context.hooks.stage("directory")
        async with until_stopped(self.context.stop):
            preview = await prepare(connection, rows, self.options)
        directory, plan = preview.directory, preview.plan
        log.info("directory.read", accounts=_size(directory.accounts), groups=_size(directory.groups))
        await self._record_row_errors(rows, preview)
        await self._confirm(connection, preview)
        await self._journal_plan(preview)
        directory, changes, strategy = directory.without_accounts(), list(plan.changes), plan.strategy
        del preview, plan  # frees the accounts, as each change is read
        if changes and self._may_be_outdated:
            changes.clear()
            return await self._compared_again(connection)
        return send_plan_of(directory, enumerate(consume(changes)), strategy)

    @property
    def _may_be_outdated(self) -> bool:
        """Whether accounts that must be as planned may have changed while the user was asked to confirm the plan."""
        return self.context.hooks.asks and has_preconditions(self.record, reconfirmed=False)

    async def _compared_again(self, connection: Connection) -> SendPlan:
        """Compare the journaled plan with the directory once more, as a resume does. Return what sending needs."""
        items, _ = await self._items_to_resume()
        return await self._reconciled(connection, items, reconfirmed=False)

    async def _confirm(self, connection: Connection, preview: Preview) -> None:
        """Check the token's scope and the change limit, and ask the user to confirm the plan."""
        plan = preview.plan
        if plan.by_account or any(change.action is not Action.UPDATE for change in plan.changes):
            connection.require_write()  # do not ask the user to confirm what the server would refuse
        require_within_limits(preview.excesses, self.options, resumed=self.resumed)
        asked_at = self.context.clock.monotonic()
        async with self._unlisted_until_agreed():
            try:
                async with until_stopped(self.context.stop):
                    confirmed = await self.context.hooks.confirm(preview)
            except InterruptedRunError:
                if self.context.hooks.asks:
                    raise StoppedAtPromptError from None
                raise
            if not confirmed:
                raise DeclinedError
        self.started += self.context.clock.monotonic() - asked_at  # without the user's time

    @asynccontextmanager
    async def _unlisted_until_agreed(self) -> AsyncIterator[None]:
        """Take a new run out of all lists while its user is asked: a kill at the prompt leaves nothing to resume.

        A job's next start needs the run, to find its file again.
        """
        unlisted = self.context.hooks.asks and not self.resumed and not self.options.job
        if unlisted:
            await self._update(phase=Phase.ASKING)
        yield
        if unlisted:
            await self._update(phase=Phase.READ)

    async def _finish_items(self) -> None:
        """Compare the run items that earlier attempts left unsettled with the directory, and send what differs."""
        items, is_rest_of_trial = await self._items_to_resume()
        if not items:
            return  # only the report was missing
        reconfirmed = is_rest_of_trial or self.reconfirm
        async with self._connected() as connection:
            await self._apply(connection, await self._reconciled(connection, items, reconfirmed=reconfirmed))

    async def _reconciled(self, connection: Connection, items: list[RunItem], *, reconfirmed: bool) -> SendPlan:
        """Settle the items that need no request, and have the rest confirmed if necessary. Return what sending needs.

        The list of items is empty afterwards.
        """
        directory, plan, found = await self._compared(connection, items, reconfirmed=reconfirmed)
        if reconfirmed:
            await self._confirm_deferred(connection, directory, plan, items, found.changes)
            if self._may_be_outdated:
                items.clear()
                del directory, plan, found
                return await self._compared_again(connection)

        await in_thread(self._journal_comparison, found)
        failed, unknown, changes, strategy = len(found.failed), found.unknown, found.changes, plan.strategy
        partly = frozenset(found.partly)
        sent_before = frozenset(
            [item.number for item in items if item.intended and item.desired.action is Action.CREATE]
        )
        directory = directory.without_accounts()
        items.clear()
        del plan, found  # frees the accounts, as each change is read
        send_plan = send_plan_of(directory, consume(changes), strategy)
        return send_plan._replace(sent_before=sent_before, partly=partly, failed=failed, unknown=unknown)

    def _journal_comparison(self, found: Comparison) -> None:
        run_id = self.record.run_id
        if found.replaced:
            for group_id, existing in found.replaced.items():
                self.journal.replace_group(run_id, group_id, existing)
            new_groups = self.record.options.get(NEW_GROUPS, {})
            self._store_options(
                {NEW_GROUPS: {key: name for key, name in new_groups.items() if key not in found.replaced}}
            )
        self.journal.plan_again(run_id, found.existing)
        self.journal.settle(run_id, found.settled)

    async def preview_pending(self) -> Preview:
        """Compute what a resume would send now, without changing the journal."""
        items, _ = await self._items_to_resume()
        if not items:
            raise UsageError(f"Run {self.record.run_id} is complete: nothing is pending.")
        self.context.hooks.stage("connect")
        owner = f"plan-{self.record.run_id}"
        async with connect(self.target, self.options, self.journal, self.context, owner=owner) as connection:
            self.connection = connection
            async with until_stopped(self.context.stop):
                await connection.identify()
            directory, plan, _ = await self._compared(connection, items, reconfirmed=True)
            preview = await self._preview_remaining(connection, directory, plan)
        return preview  # noqa: RET504 - a return inside the scope hides from the type checker that there is one

    async def _preview_remaining(self, connection: Connection, directory: Directory, plan: Plan) -> Preview:
        info = SheetInfo.from_json(self.record.sheet)
        rows = sum(len(desired.rows) for desired in (*plan.changing, *plan.unchanged))
        async with until_stopped(self.context.stop):
            preview = await preview_of(connection, self.options, info, directory, plan, rows=rows)
        return preview  # noqa: RET504 - a return inside the block hides from the type checker that there is one

    async def _items_to_resume(self) -> tuple[list[RunItem], bool]:
        return items_to_resume(
            await in_thread(lambda: list(self.journal.iter_items(self.record.run_id, unsettled=True)))
        )

    async def _compared(
        self, connection: Connection, items: Sequence[RunItem], *, reconfirmed: bool
    ) -> tuple[Directory, Plan, Comparison]:
        """Compare run items with the directory. Return it, the plan of what still differs, and the comparison."""
        self.context.hooks.stage("directory")
        new_groups = new_groups_of(items, self.record.options.get(NEW_GROUPS, {}))
        async with until_stopped(self.context.stop):
            directory = await self._directory_for(connection, items, new_groups)
        items, directory, replaced = with_new_groups(items, directory, new_groups)
        with_preconditions = has_preconditions(self.record, reconfirmed=reconfirmed)
        found = compare(items, directory, self.context.clock.now(), with_preconditions=with_preconditions)
        strategy = await strategy_for([change for _, change in found.changes], directory, connection, self.options)
        excluded = found.failed | found.unknown.keys()
        plan = remaining_plan(
            [item for item in items if item.number not in excluded], found.changes, strategy, directory
        )
        return directory, plan, found._replace(replaced=replaced)

    async def _confirm_deferred(
        self,
        connection: Connection,
        directory: Directory,
        plan: Plan,
        items: Sequence[RunItem],
        changes: Sequence[tuple[int, Change]],
    ) -> None:
        """Have the rest of a trial confirmed. Afterwards its run items are pending like any other."""
        await self._confirm(connection, await self._preview_remaining(connection, directory, plan))
        # An undo, and a resume of an approved plan, need the states that the confirmed changes start from.
        planned = PlannedAgain(items, changes, directory)
        deferred = [each.number for each in items if is_deferred(each)]

        self.counters |= {"left_accounts": 0, "left_rows": 0}

        def write() -> None:
            self.journal.plan_again(self.record.run_id, planned)
            self._store_approval()
            # Before the items are pending: after a kill in between, pending rows would count as those of a trial.
            self.journal.update_run(self.record.run_id, counters=self.metrics())
            self.journal.settle(self.record.run_id, [(number, RESUMED) for number in deferred])

        await in_thread(write)

    def _store_approval(self) -> None:
        """Journal the hash of the plan that was just confirmed, if another user approved it."""
        if self.options.approved:
            self._store_options({APPROVED: self.options.approved})

    def _store_options(self, more: Mapping[str, Any], **fields: object) -> None:
        options = {**self.record.options, **more}
        self.record = replace(self.record, options=options)
        self.journal.update_run(self.record.run_id, options=options, **fields)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        """Connect, and hold the organisation's lock while the block runs."""
        context = self.context
        context.hooks.stage("connect")
        async with connect(self.target, self.options, self.journal, context, owner=self.record.run_id) as connection:
            self.connection = connection
            async with until_stopped(context.stop):
                await connection.identify()
            await self._update(organization_id=connection.organization_id, base_url=connection.base.url)
            async with (
                context.organization_mutex.taken(
                    connection.organization_id, self.record.run_id, context.stop, context.hooks.waiting
                ),
                hold_lock(self.journal, connection.organization_id, owner_of(self.record), context) as hold,
            ):
                connection.hold = hold
                await self._update(
                    status=RunStatus.RUNNING,
                    pid=self.record.pid,
                    host=self.record.host,
                    finished_at=None,
                    message="",
                )
                await connection.ledger.recover_runs()
                yield connection

    async def _record_row_errors(self, rows: Rows, preview: Preview) -> None:
        """Journal the row errors that planning found. Raise if a row is invalid, unless ``skip_invalid``."""
        self.row_errors = preview.row_errors
        plan = preview.plan
        self.counters |= {
            "accounts": plan.accounts,
            "planned_puts": plan.planned_puts,
            "naive_puts": plan.naive_puts,
            "left_accounts": len(plan.skipped),
            "left_rows": sum(len(desired.rows) for desired in plan.skipped),
        }
        known = {row_error.row for row_error in rows.row_errors}
        found = [row_error for row_error in preview.row_errors if row_error.row not in known]
        if found:
            await in_thread(self.journal.set_invalid, self.record.run_id, found)
        count = preview.invalid_rows
        if count and not self.options.skip_invalid:
            for note in (*preview.info.notes, *preview.warnings):  # no preview will show them
                self.context.hooks.note(note)
            raise UsageError(
                f"{count} of {count_of(preview.rows, 'row')} {'is' if count == 1 else 'are'} invalid.",
                hint="Nothing was sent. Fix the sheet and run it again.",
                cli_hint="To send only the valid rows, add --skip-invalid.",
            )

    async def _journal_plan(self, preview: Preview) -> None:
        """Write every account of the plan to the journal before anything is sent."""
        items, plan = PlannedItems(preview, self.context.clock.now()), preview.plan

        def write() -> None:
            self.journal.add_plan(self.record.run_id, items)
            self._store_approval()
            new_groups = {group.id: group.name for group in new_groups_in(preview.directory)}
            more = dump_group_names(changed_groups(plan, preview.directory))
            if new_groups:
                more[NEW_GROUPS] = new_groups
            self._store_options(more, phase=Phase.PLANNED, counters=self.metrics())

        await in_thread(write)
        log.info("run.planned", changes=len(plan.changes), accounts=plan.accounts, planned_puts=plan.planned_puts)

    async def _directory_for(
        self, connection: Connection, items: Sequence[RunItem], new_groups: Collection[str]
    ) -> Directory:
        """Read the present state of the accounts of run items, and the groups where a change needs them.

        ``new_groups`` are the ids of the groups that the run creates.

        Raises:
            PermissionDeniedError: The run creates groups, and they cannot be read.
        """
        if not self.options.read:
            return Directory(connection.organization_id, None, None)
        ids = tuple([item.desired.account_id for item in items if item.desired.action is not Action.CREATE])
        names = tuple([item.desired.name for item in items if item.desired.action is Action.CREATE])
        # Group names describe the changes, for the user and for the report; an exact list needs the group Everyone.
        groups = bool(new_groups) or any(
            desired.add or desired.remove or desired.exact is not None for desired in (item.desired for item in items)
        )
        lookup = AccountLookup(ids, names, groups=groups, group_texts=frozenset(new_groups))
        directory, warnings = await read_directory(
            connection.engine, connection.organization_id, lookup, connection.known
        )
        for warning in warnings:
            self.context.hooks.note(warning)
        if new_groups and directory.groups is None:
            raise PermissionDeniedError(
                "The run creates groups, and the groups cannot be read.",
                hint="Grant PM.Group (or PM.Group.Read and PM.Group.Write) to the external application, and name it in "
                "BULKID_SCOPE if that is set.",
            )
        return directory

    async def _apply(self, connection: Connection, plan: SendPlan) -> None:
        await in_thread(import_for_conclude, self.folder, self.options.formats, self.context.after.metrics_file)
        is_settled_in_part = self.resumed or plan.failed
        settled = await in_thread(self.journal.account_counts, self.record.run_id) if is_settled_in_part else {}
        await apply(
            plan, connection, self.record, self.options.max_failures, self._run_background_tasks, settled=settled
        )

    async def _run_background_tasks(self) -> None:
        """Update the metrics and write the settled rows of the report, while requests are sent."""
        async with task_group() as tasks:
            tasks.start_soon(self._update_metrics)
            tasks.start_soon(self._write_early)

    async def _write_early(self) -> None:
        """Write the report's rows as they are settled, so that few are left after the last response."""
        self.early = early = EarlyReport(self.journal, self.record.run_id, self.folder, self.options.formats)
        assert self.connection is not None  # noqa: S101 - requests are sent over it
        stats, reported, wait_s = self.connection.stats, 0, EARLY_EVERY_S
        while not early.ended:
            await self.context.clock.sleep(wait_s)
            settled, written = stats.settled, 0
            if settled - reported < EARLY_ROWS:
                continue
            while count := await in_thread(early.write_some):
                written += count
            if written:
                reported, wait_s = settled, EARLY_EVERY_S
            else:  # the next row is not settled, for example because it is tried again
                wait_s = min(2 * wait_s, EARLY_AT_LEAST_EVERY_S)

    async def _update_metrics(self) -> None:
        live = LiveMetrics(self.context.after.metrics_file, self.journal, self.record.run_id, self.context.clock)
        while True:
            await self.context.clock.sleep(COUNTERS_INTERVAL_S)
            await self._update(counters=self.metrics())
            await live.update()

    async def _update(self, **fields: object) -> None:
        await in_thread(self.journal.update_run, self.record.run_id, **fields)


def _size(read: Collection[object] | None) -> int | None:
    return None if read is None else len(read)


def _as_interruption(error: BulkidError) -> BulkidError:
    """Turn a ``StateError``, which means that nothing was sent, into an interruption: a run may have sent something."""
    return InterruptedRunError(error.message, hint=error.hint) if isinstance(error, StateError) else error
