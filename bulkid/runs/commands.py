"""The functions that the command line, the console or a program calls: each is one command of bulkid."""

import os
import platform
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from bulkid.errors import EXIT_OK, EXIT_USAGE, BulkidError, UsageError
from bulkid.journal import Journal, open_journal
from bulkid.model import RunRecord, RunStatus
from bulkid.report.atomic import prepare_folder, remove_leftovers
from bulkid.runs.check import offline_summary
from bulkid.runs.concurrency import in_thread, until_stopped
from bulkid.runs.execution import finish
from bulkid.runs.execution.connection import base_of, connect
from bulkid.runs.execution.planner import prepare
from bulkid.runs.execution.run import Execution
from bulkid.runs.history import find_resumable, lock_run
from bulkid.runs.inputs.plan_file import journaled_plan_input, read_plan_input, read_plan_input_again
from bulkid.runs.inputs.run_input import Rows, RunInput
from bulkid.runs.inputs.sheet import JournaledSheet, Source, open_sheet_input, stored_path
from bulkid.runs.inputs.undo import undo_input
from bulkid.runs.notifications import notifies
from bulkid.runs.options import Context, PlanResult, Preview, RunOptions, RunResult, Target
from bulkid.runs.run_records import PLAN, UNDO, dump_options, load_options, new_record, same_target
from bulkid.sheet import SheetInfo

# --- plans


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
        journal = await _open_journal(stack, context)
        sheet = await open_sheet_input(stack, source, options.sheet, name=name, stop=context.stop)
        base_of(target)  # an error of the sheet comes first
        return await _plan(sheet, target, options, context, journal=journal, started_at=started_at)


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
        journal = await _open_journal(stack, context)
        undone = await in_thread(finish.find, journal, text)
        target = same_target(undone, target)
        await lock_run(stack, journal, undone, context, then="undone")
        run_input = await in_thread(undo_input, journal, undone)
        options = replace(options, skip_invalid=True, read=True)
        return await _plan(run_input, target, options, context, journal=journal, started_at=started_at)


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
        journal = await _open_journal(stack, context)
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
            return _no_plan(rows, error, context.clock.monotonic() - started_at)
        return _plan_result(rows, preview, context.clock.monotonic() - started_at)


async def _plan(
    run_input: RunInput, target: Target, options: RunOptions, context: Context, *, journal: Journal, started_at: float
) -> PlanResult:
    """Plan what a run would be made from; what ends that early is in the result."""
    rows = Rows(run_input.info)
    try:
        async with until_stopped(context.stop):
            rows = await run_input.read()
        context.hooks.stage("connect")
        owner = f"plan-{platform.node()[:32]}-{os.getpid()}"
        async with connect(target, options, journal, context, owner=owner) as connection, until_stopped(context.stop):
            await connection.identify()
            context.hooks.stage("directory")
            preview = await prepare(connection, rows, options)
    except BulkidError as error:
        return _no_plan(rows, error, context.clock.monotonic() - started_at)
    return _plan_result(rows, preview, context.clock.monotonic() - started_at)


def _no_plan(rows: Rows, error: BulkidError, elapsed_s: float) -> PlanResult:
    row_errors = tuple(rows.row_errors)
    status, exit_code = finish.final_status({}, error)
    summary = offline_summary(rows, row_errors, status, command="plan", counters={"elapsed_s": elapsed_s})
    return PlanResult(None, summary, row_errors, error, exit_code)


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


# --- runs


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
        sheet = await open_sheet_input(stack, source, options.sheet, name=name, stop=context.stop)
        base_of(target)  # an error of the sheet comes first
        journal = await _open_journal(stack, context)
        return await _begin(sheet, target, options, context, journal=journal, stack=stack, run_id=run_id)


@notifies
async def run_plan(
    path: Path, target: Target, options: RunOptions | None = None, context: Context | None = None
) -> RunResult:
    """Apply a plan file: just its changes, and only where an account still is as it was when the plan was made.

    An account that has changed since, or is gone, makes its rows invalid, and nothing is sent then unless
    ``options.skip_invalid``. One that is already as wanted is unchanged.

    Args:
        path: The plan file.
        target: Which server, as whom: those of the plan.
        options: How to send and report. ``read`` may be off for a blind plan only.
        context: What surrounds the work; None for the defaults.

    Raises:
        UsageError: The file cannot be used, or is for another server or organisation.
        StateError: The state directory cannot be used.
    """
    options, context = options or RunOptions(), context or Context()
    async with AsyncExitStack() as stack:
        run_input = await in_thread(read_plan_input, path)
        run_input.require_usable(target, options)
        journal = await _open_journal(stack, context)
        return await _begin(run_input, target, options, context, journal=journal, stack=stack)


@notifies
async def undo(
    text: str, target: Target, options: RunOptions | None = None, context: Context | None = None
) -> RunResult:
    """Put back what a run changed, where nobody has changed it since. This is a run like any other: it can be undone.

    The undo leaves and names accounts that have changed since, or that are gone, and puts the others back.

    Args:
        text: The run's id, the beginning of it, or ``last`` for the newest.
        target: As whom; its address and organisation may be left empty, and must otherwise be the run's own.
        options: How to send and report.
        context: What surrounds the work; None for the defaults.

    Raises:
        UsageError: There is no such run, it changed nothing, it was blind, or it belongs to another server or
            organisation.
        LockedError: The run is still going.
        StateError: The state directory cannot be used.
    """
    options, context = options or RunOptions(), context or Context()
    async with AsyncExitStack() as stack:
        journal = await _open_journal(stack, context)
        undone = await in_thread(finish.find, journal, text)
        target = same_target(undone, target)
        base_of(target)
        # The run must be over, and no other process may resume it meanwhile.
        await lock_run(stack, journal, undone, context, then="undone")
        run_input = await in_thread(undo_input, journal, undone)
        # One account that has changed since is no reason to leave the others as they are.
        options = replace(options, skip_invalid=True, read=True)
        return await _begin(run_input, target, options, context, journal=journal, stack=stack)


async def _begin(
    run_input: RunInput,
    target: Target,
    options: RunOptions,
    context: Context,
    *,
    journal: Journal,
    stack: AsyncExitStack,
    run_id: str = "",
) -> RunResult:
    """Make the record and the folder of a new run, lock it, and perform it."""
    info = run_input.info
    if info.spreadsheet and "xlsx" not in options.formats:
        options = replace(options, formats=(*options.formats, "xlsx"))
    stored = {**dump_options(options), **run_input.stored_options}
    record = new_record(context, info, base_of(target).url, stored, command=run_input.command, run_id=run_id)
    folder = prepare_folder(options.report_dir.absolute(), record.run_id)
    record = replace(record, report_dir=str(folder))
    await lock_run(stack, journal, record, context)
    await in_thread(journal.create_run, record)
    return await Execution(journal, record, target, options, context, folder).perform(run_input)


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
        journal = await _open_journal(stack, context)
        record = await in_thread(find_resumable, journal, text)
        target = same_target(record, target)
        options = replace(load_options(record.options), yes_really=yes_really, approved=approved)
        if skip_invalid is not None:
            options = replace(options, skip_invalid=skip_invalid)
        folder = prepare_folder(Path(record.report_dir).parent, record.run_id)
        await lock_run(stack, journal, record, context)
        # From here on no other process works on the run; one may have, until a moment ago.
        remove_leftovers(folder)
        record = await in_thread(find_resumable, journal, record.run_id)
        record = replace(record, host=platform.node(), pid=os.getpid())
        run_input = None if record.phase == "planned" else await _reopen(stack, journal, record, options, context)
        execution = Execution(journal, record, target, options, context, folder, resumed=True, reconfirm=reconfirm)
        return await execution.perform(run_input)


async def _reopen(
    stack: AsyncExitStack, journal: Journal, record: RunRecord, options: RunOptions, context: Context
) -> RunInput:
    """Take up the input of a run that ended before its plan was journaled, from where its rows are.

    What the run has journaled and is not used again is dropped: a kill may have left rows or a plan half written, and
    what an earlier look at the directory found may have been fixed since.

    Raises:
        UsageError: The rows are not whole in the journal, and what they came from is gone or another one by now.
    """
    run_input: RunInput
    if UNDO in record.options:
        undone = await in_thread(finish.find, journal, str(record.options[UNDO]))
        run_input = await in_thread(undo_input, journal, undone)
    elif record.phase == "read":
        await in_thread(journal.forget_plan, record.run_id)
        if PLAN in record.options:
            return await in_thread(journaled_plan_input, journal, record)
        return JournaledSheet(journal, record)
    elif PLAN in record.options:
        run_input = await in_thread(read_plan_input_again, record)
    else:
        run_input = await open_sheet_input(
            stack, stored_path(record), options.sheet, name=record.source, stop=context.stop
        )
    await in_thread(journal.forget_rows, record.run_id)
    return run_input


async def _open_journal(stack: AsyncExitStack, context: Context) -> Journal:
    return stack.enter_context(await in_thread(open_journal, context.state_dir, context.database_url))
