"""The functions that a face or a program calls: each is one command of bulkid, without printing or prompting."""

import os
import platform
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from bulkid.errors import EXIT_OK, EXIT_USAGE, BulkidError, UsageError
from bulkid.journal import Journal, open_journal
from bulkid.model import RunRecord, RunStatus
from bulkid.report.atomic import prepare_folder, remove_leftovers
from bulkid.runs.concurrency import in_thread, until_stopped
from bulkid.runs.execution import finish
from bulkid.runs.execution.connection import base_of, connect
from bulkid.runs.execution.planner import prepare
from bulkid.runs.execution.run import Execution
from bulkid.runs.history import find_resumable, lock_run
from bulkid.runs.inputs.origin import PLAN, UNDO
from bulkid.runs.inputs.plan_file import begin_plan_again
from bulkid.runs.inputs.sheet import Rows, Source, offline_summary, open_within, read_again, read_rows
from bulkid.runs.inputs.undo import begin_undo_again, undo_changes
from bulkid.runs.notifications import notifies
from bulkid.runs.options import (
    Context,
    PlanResult,
    Preview,
    RunOptions,
    RunResult,
    Target,
)
from bulkid.runs.options_codec import dump_options, load_options
from bulkid.runs.run_records import new_record, same_target
from bulkid.sheet import SheetInfo


async def plan(
    source: Source,
    target: Target,
    options: RunOptions | None = None,
    context: Context | None = None,
    *,
    name: str | None = None,
) -> PlanResult:
    """Compute what ``run`` would send, reading the directory and changing nothing.

    Args:
        source: A sheet's path, or a binary file of CSV.
        target: Which server, as whom.
        options: How to read and plan.
        context: What surrounds the work; None for the defaults.
        name: What to call the source in messages.

    Raises:
        UsageError: The settings or the sheet as a whole cannot be used.
        StateError: The state directory cannot be used.
    """
    options, context = options or RunOptions(), context or Context()
    context.hooks.stage("sheet")
    started_at = context.clock.monotonic()
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(await in_thread(open_journal, context.state_dir, context.database_url))
        sheet = await open_within(stack, source, options.sheet, name=name, stop=context.stop)
        base_of(target)  # a fault of the sheet comes first
        rows = Rows(sheet.info)
        try:
            async with until_stopped(context.stop):
                rows = await read_rows(sheet)
            preview = await _preview(rows, target, options, journal, context)
        except BulkidError as error:
            row_errors = tuple(rows.row_errors)
            status, exit_code = finish.final_status({}, error)
            elapsed_s = context.clock.monotonic() - started_at
            summary = offline_summary(rows, row_errors, status, command="plan", counters={"elapsed_s": elapsed_s})
            return PlanResult(None, summary, row_errors, error, exit_code)
    return _plan_result(rows, preview, context.clock.monotonic() - started_at)


async def plan_undo(
    text: str, target: Target, options: RunOptions | None = None, context: Context | None = None
) -> PlanResult:
    """Compute what ``undo`` of a run would send, reading the directory and changing nothing.

    Args:
        text: The run's id, the beginning of it, or ``last`` for the newest.
        target: As whom; its address and organisation may be left empty, and must otherwise be the run's own.
        options: How to plan.
        context: What surrounds the work; None for the defaults.

    Raises:
        UsageError: There is no such run, or it cannot be undone with this target.
        LockedError: The run is still going.
        StateError: The state directory cannot be used.
    """
    options, context = options or RunOptions(), context or Context()
    started_at = context.clock.monotonic()
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(await in_thread(open_journal, context.state_dir, context.database_url))
        undone = await in_thread(finish.find, journal, text)
        target = same_target(undone, target)
        await lock_run(stack, journal, undone, context, then="undone")
        changes = await in_thread(undo_changes, journal, undone)
        options = replace(options, skip_invalid=True, read=True)
        rows = changes.rows
        try:
            preview = await _preview(rows, target, options, journal, context)
        except BulkidError as error:
            status, exit_code = finish.final_status({}, error)
            summary = offline_summary(rows, (), status, command="plan")
            return PlanResult(None, summary, (), error, exit_code)
    return _plan_result(rows, preview, context.clock.monotonic() - started_at)


async def plan_rest(text: str, target: Target, context: Context | None = None) -> PlanResult:
    """Compute what ``resume`` of a run would send now, reading the directory and changing nothing.

    Args:
        text: The run's id, the beginning of it, or empty for the newest run that can be resumed.
        target: As whom; its address may be left empty, and must otherwise be the run's own.
        context: What surrounds the work; None for the defaults.

    Raises:
        UsageError: There is no such run, it has no plan, or it cannot be resumed with this target.
        LockedError: The run is still going.
        StateError: The state directory cannot be used.
    """
    context = context or Context()
    started_at = context.clock.monotonic()
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(await in_thread(open_journal, context.state_dir, context.database_url))
        record = await in_thread(find_resumable, journal, text)
        if record.phase != "planned":
            raise UsageError(f"Run {record.run_id} ended before its plan was confirmed; nothing was sent.")
        target = same_target(record, target)
        await lock_run(stack, journal, record, context)
        record = await in_thread(find_resumable, journal, record.run_id)
        rows = Rows(SheetInfo.from_json(record.sheet))
        try:
            execution = Execution(journal, record, target, load_options(record.options), context, Path(), resumed=True)
            preview = await execution.preview_pending()
        except BulkidError as error:
            status, exit_code = finish.final_status({}, error)
            return PlanResult(None, offline_summary(rows, (), status, command="plan"), (), error, exit_code)
    return _plan_result(rows, preview, context.clock.monotonic() - started_at)


async def _preview(rows: Rows, target: Target, options: RunOptions, journal: Journal, context: Context) -> Preview:
    context.hooks.stage("connect")
    owner = f"plan-{platform.node()[:32]}-{os.getpid()}"
    async with connect(target, options, journal, context, owner=owner) as connection, until_stopped(context.stop):
        await connection.identify()
        context.hooks.stage("directory")
        preview = await prepare(connection, rows, options)
    return preview  # noqa: RET504 - a return inside the scope hides from the type checker that there is one


def _plan_result(rows: Rows, preview: Preview, elapsed_s: float) -> PlanResult:
    plan = preview.plan
    status = RunStatus.REFUSED if preview.row_errors else RunStatus.COMPLETED
    counters = {
        "requests": preview.requests,
        "planned_puts": plan.planned_puts,
        "naive_puts": plan.naive_puts,
        "elapsed_s": elapsed_s,
    }
    summary = offline_summary(
        rows,
        preview.row_errors,
        status,
        unchanged=sum(len(desired.rows) for desired in plan.unchanged),
        accounts=plan.accounts,
        eta_s=preview.eta_s,
        command="plan",
        counters=counters,
    )
    return PlanResult(preview, summary, preview.row_errors, None, EXIT_USAGE if preview.row_errors else EXIT_OK)


@notifies
async def run(
    source: Source,
    target: Target,
    options: RunOptions | None = None,
    context: Context | None = None,
    *,
    name: str | None = None,
    run_id: str = "",
) -> RunResult:
    """Plan, apply, verify and report a sheet. What ends it early is in the result, once the sheet could be read.

    Args: as :func:`plan`, and ``run_id``, of :func:`bulkid.journal.new_run_id`, where the caller must know it before.

    Raises:
        UsageError: The settings or the sheet as a whole cannot be used: nothing was sent, there is no run.
        StateError: The state directory cannot be used: nothing was sent, there is no run.
    """
    options, context = options or RunOptions(), context or Context()
    async with AsyncExitStack() as stack:
        sheet = await open_within(stack, source, options.sheet, name=name, stop=context.stop)
        base = base_of(target)  # a fault of the sheet comes first
        if sheet.info.spreadsheet and "xlsx" not in options.formats:
            options = replace(options, formats=(*options.formats, "xlsx"))
        record = new_record(context, sheet.info, base.url, dump_options(options, source), run_id=run_id)
        journal = stack.enter_context(await in_thread(open_journal, context.state_dir, context.database_url))
        folder = prepare_folder(options.report_dir.absolute(), record.run_id)
        record = replace(record, report_dir=str(folder))
        await lock_run(stack, journal, record, context)
        await in_thread(journal.create_run, record)
        execution = Execution(journal, record, target, options, context, folder)
        return await execution.perform(partial(execution.run_sheet, sheet))


@notifies
async def resume(
    text: str,
    target: Target,
    context: Context | None = None,
    *,
    skip_invalid: bool | None = None,
    yes_really: bool = False,
    approved: str = "",
    reconfirm: bool = False,
) -> RunResult:
    """Finish an interrupted run as it was begun: settled accounts are left alone, the others are compared again.

    Args:
        text: The run's id, the beginning of it, or empty for the newest run that can be resumed.
        target: As whom; its address may be left empty, and must otherwise be the run's own once that has a plan.
        context: What surrounds the work; None for the defaults.
        skip_invalid: Overrides what the run was begun with; None keeps it.
        yes_really: Send also a plan that changes more accounts than the run's ``max_change``; only asked for where the
            plan was not confirmed before.
        approved: The hash of the plan that was approved for what is pending; kept once that plan is confirmed.
        reconfirm: Have what is pending confirmed again, although it was confirmed before.

    Raises:
        UsageError: There is no such run, or it cannot be resumed with this target.
        LockedError: The run is still alive, or another one holds the organisation's lock.
        StateError: The state directory cannot be used.
    """
    context = context or Context()
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(await in_thread(open_journal, context.state_dir, context.database_url))
        record = await in_thread(find_resumable, journal, text)
        target = same_target(record, target)
        options = replace(load_options(record.options), yes_really=yes_really, approved=approved)
        if skip_invalid is not None:
            options = replace(options, skip_invalid=skip_invalid)
        folder = prepare_folder(Path(record.report_dir).parent, record.run_id)
        await lock_run(stack, journal, record, context)
        # Now nobody else works on it; but somebody may have, until a moment ago.
        remove_leftovers(folder)
        record = await in_thread(find_resumable, journal, record.run_id)
        record = replace(record, host=platform.node(), pid=os.getpid())
        execution = Execution(journal, record, target, options, context, folder, resumed=True, reconfirm=reconfirm)
        if record.phase == "planned":
            return await execution.perform(execution.from_items)
        if UNDO in record.options:
            return await execution.perform(await begin_undo_again(execution))
        if PLAN in record.options:
            return await execution.perform(await begin_plan_again(execution))
        if record.phase == "reading":
            sheet = await open_within(stack, _path_again(record), options.sheet, name=record.source, stop=context.stop)
            await in_thread(journal.forget_rows, record.run_id)
            return await execution.perform(partial(execution.run_sheet, sheet))
        # A kill may have left a plan half written; and what an earlier look at the directory found may be mended.
        await in_thread(journal.forget_plan, record.run_id)
        rows = await read_again(journal, record)
        return await execution.perform(partial(execution.from_rows, rows))


def _path_again(record: RunRecord) -> str:
    """The path of the sheet of a run that ended before its rows were whole."""
    path = str(record.options.get("path", ""))
    if not path:
        raise UsageError(
            f"Run {record.run_id} ended while standard input was still being read; nothing was sent.",
            hint="Start it again with the same input.",
        )
    return path
