"""The commands of bulkid as functions, for the command line, the web console and programs.

So that a run of a sheet sends its first request early, each function imports the modules that such a run does not need.
"""

import os
import platform
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from bulkid.errors import EXIT_OK, EXIT_USAGE, BulkidError, DeclinedError, UsageError
from bulkid.journal import codec
from bulkid.journal.store import Journal, open_journal
from bulkid.model import FailureBound, Phase, RunRecord, RunStatus
from bulkid.report.atomic import prepare_folder, remove_leftovers
from bulkid.report.summary import NAMED_BY
from bulkid.report.writer import remove_report
from bulkid.runs.concurrency import in_thread, uncancelled, until_stopped
from bulkid.runs.execution import finish
from bulkid.runs.execution.connection import base_of, connect, ledger_owner
from bulkid.runs.execution.planner import prepare
from bulkid.runs.execution.run import Execution
from bulkid.runs.inputs.run_input import Rows, RunInput
from bulkid.runs.inputs.sheet import JournaledSheet, Source, open_sheet_input, stored_path
from bulkid.runs.notifications import notifies
from bulkid.runs.options import Context, PlanResult, Preview, RunOptions, RunResult, Target
from bulkid.runs.run_locks import lock_run
from bulkid.runs.run_records import PLAN, RECREATE, UNDO, dump_options, load_options, new_record, same_target
from bulkid.secret_file import path_exists
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
    """Compute what ``run`` would send. This reads the directory and changes nothing.

    An error after the sheet is open is in the result.

    Args:
        source: A sheet's path, or a binary file of CSV.
        target: The server and the credentials.
        options: How to read and plan; None for the defaults.
        context: The runtime dependencies; None for the defaults.
        name: The name of the source in messages.

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
    text: str,
    target: Target,
    options: RunOptions | None = None,
    context: Context | None = None,
    *,
    recreate: bool = False,
) -> PlanResult:
    """Compute what :func:`undo` would send. This reads the directory and changes nothing.

    The arguments and errors are those of :func:`undo`.
    """
    context = context or Context()
    started_at = context.clock.monotonic()
    async with AsyncExitStack() as stack:
        journal = await _open_journal(stack, context)
        options = replace(options or RunOptions(), skip_invalid=True, read=True)
        run_input, target = await _open_undo(stack, journal, text, target, context, recreate=recreate)
        return await _plan(run_input, target, options, context, journal=journal, started_at=started_at)


async def plan_rest(text: str, target: Target, context: Context | None = None) -> PlanResult:
    """Compute what :func:`resume` would send now. This reads the directory and changes nothing.

    The arguments and errors are those of :func:`resume`. A run that ended before its plan was confirmed is an error.
    """
    from bulkid.runs.history import find_resumable

    context = context or Context()
    started_at = context.clock.monotonic()
    async with AsyncExitStack() as stack:
        journal = await _open_journal(stack, context)
        record = await in_thread(find_resumable, journal, text)
        if record.phase != Phase.PLANNED:
            raise UsageError(f"Run {record.run_id} ended before its plan was confirmed; nothing was sent.")
        target = same_target(record, target)
        await lock_run(stack, journal, record, context)
        record = await in_thread(find_resumable, journal, record.run_id)
        rows = Rows(SheetInfo.from_json(record.sheet))
        execution = Execution(journal, record, target, load_options(record.options), context, Path(), resumed=True)
        try:
            preview = await execution.preview_pending()
        except BulkidError as error:
            requests = {} if execution.connection is None else execution.connection.sent()
            return _no_plan(rows, error, context.clock.monotonic() - started_at, requests)
        return _plan_result(rows, preview, context.clock.monotonic() - started_at)


async def _plan(
    run_input: RunInput, target: Target, options: RunOptions, context: Context, *, journal: Journal, started_at: float
) -> PlanResult:
    """Plan the input of a run; an error is in the result."""
    rows = Rows(run_input.info)
    requests: Mapping[str, int] = {}
    try:
        async with until_stopped(context.stop):
            rows = await run_input.read()
        context.hooks.stage("connect")
        opened = connect(target, options, journal, context, owner=ledger_owner("plan"))
        async with opened as connection, until_stopped(context.stop):
            try:
                await connection.identify()
                context.hooks.stage("directory")
                preview = await prepare(connection, rows, options)
            finally:
                requests = connection.sent()
    except BulkidError as error:
        result = _no_plan(rows, error, context.clock.monotonic() - started_at, requests)
    else:
        result = _plan_result(rows, preview, context.clock.monotonic() - started_at)
    return replace(result, summary={**result.summary, "note": options.note or None})


def _no_plan(rows: Rows, error: BulkidError, elapsed_s: float, requests: Mapping[str, int]) -> PlanResult:
    from bulkid.runs.sheet_check import offline_summary

    row_errors = tuple(rows.row_errors)
    status, exit_code = finish.final_status({}, error)
    summary = offline_summary(
        rows, row_errors, status, command="plan", counters={"elapsed_s": elapsed_s, "requests": requests}
    )
    return PlanResult(None, summary, row_errors, error, exit_code)


def _plan_result(rows: Rows, preview: Preview, elapsed_s: float) -> PlanResult:
    from bulkid.runs.sheet_check import offline_summary

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
    """Plan, send, verify and report a sheet. An error after the sheet is open is in the result.

    The arguments are those of :func:`plan`. ``run_id`` is the id of the new run, from
    :func:`bulkid.journal.names.new_run_id`; empty to make one.

    Raises:
        UsageError: The settings or the sheet as a whole cannot be used: nothing was sent, there is no run.
        StateError: The state directory cannot be used: nothing was sent, there is no run.
        DeclinedError: The user did not agree to the plan: nothing was sent, there is no run.
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
    """Apply exactly the changes of a plan file, each only if its account is as it was when the plan was made.

    An account in another state, or that does not exist any more, makes its rows invalid. Then nothing is sent without
    ``options.skip_invalid``. An account that is already correct is unchanged.

    Args:
        path: The plan file.
        target: The server and organisation of the plan, and the credentials.
        options: How to send and report; None for the defaults. ``read`` may be False only for a blind plan. Without a
            ``note``, that of the file is kept with the run.
        context: The runtime dependencies; None for the defaults.

    Raises:
        UsageError: The file cannot be used, or is for another server or organisation.
        StateError: The state directory cannot be used.
        DeclinedError: The user did not agree: nothing was sent, there is no run.
    """
    from bulkid.runs.inputs.plan_file import read_plan_input

    options, context = options or RunOptions(), context or Context()
    async with AsyncExitStack() as stack:
        run_input = await in_thread(read_plan_input, path)
        run_input.require_usable(target, options)
        options = replace(options, note=options.note or run_input.note)
        journal = await _open_journal(stack, context)
        return await _begin(run_input, target, options, context, journal=journal, stack=stack)


@notifies
async def undo(
    text: str,
    target: Target,
    options: RunOptions | None = None,
    context: Context | None = None,
    *,
    recreate: bool = False,
) -> RunResult:
    """Put back what a run changed. This is a run like any other: it can be undone.

    Accounts that were changed since, or that do not exist any more, are invalid rows of the undo; it puts the others
    back. Accounts that the run created are deleted if ``options.allow_delete`` says so, and if they are as the run left
    them and have never logged in; else their rows are invalid, too. Groups that the run created stay. A deletion cannot
    be undone: its rows are invalid, unless ``recreate``.

    Args:
        text: The run's id, the beginning of it, or ``last`` for the newest.
        target: The credentials; the address and organisation may be empty, and must otherwise be those of the run.
        options: How to send and report; None for the defaults.
        context: The runtime dependencies; None for the defaults.
        recreate: Make accounts of the same name, display name and groups again that the run deleted, with new ids.

    Raises:
        UsageError: There is no such run, it changed nothing, it was blind, it only deleted accounts, or it belongs to
            another server or organisation.
        LockedError: A process works on the run.
        StateError: The state directory cannot be used.
        DeclinedError: The user did not agree: nothing was sent, there is no run.
    """
    context = context or Context()
    async with AsyncExitStack() as stack:
        journal = await _open_journal(stack, context)
        options = replace(options or RunOptions(), skip_invalid=True, read=True)
        run_input, target = await _open_undo(stack, journal, text, target, context, recreate=recreate)
        return await _begin(run_input, target, options, context, journal=journal, stack=stack)


async def _open_undo(
    stack: AsyncExitStack,
    journal: Journal,
    text: str,
    target: Target,
    context: Context,
    *,
    recreate: bool,
) -> tuple[RunInput, Target]:
    """Lock the run to undo, so that no process works on it, and compute the changes that put it back."""
    from bulkid.runs.inputs.undo import undo_input

    undone = await in_thread(finish.find, journal, text)
    target = same_target(undone, target)
    base_of(target)
    await lock_run(stack, journal, undone, context, then="undone")
    return await in_thread(partial(undo_input, journal, undone, recreate=recreate)), target


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
    """Make the record and the report folder of a new run, lock it, and perform it."""
    info = run_input.info
    if info.spreadsheet and "xlsx" not in options.formats:
        options = replace(options, formats=(*options.formats, "xlsx"))
    stored = {**dump_options(options), NAMED_BY: target.named_by, **run_input.stored_options}
    record = new_record(context, info, base_of(target).url, stored, command=run_input.command, run_id=run_id)
    has_reports = path_exists(options.report_dir)
    folder = prepare_folder(options.report_dir.absolute(), record.run_id)
    record = replace(record, report_dir=str(folder))
    await lock_run(stack, journal, record, context)
    await in_thread(journal.create_run, record)
    try:
        return await Execution(journal, record, target, options, context, folder).perform(run_input)
    except DeclinedError:
        await uncancelled(partial(in_thread, _remove_run, journal, record, folder))
        if not has_reports:
            with suppress(OSError):  # another run has made its folder there
                folder.parent.rmdir()
        raise


def _remove_run(journal: Journal, record: RunRecord, folder: Path) -> None:
    """Remove a run that its user did not agree to."""
    from bulkid.journal.queries import drop_run

    drop_run(journal, record.run_id)
    remove_report(folder, record.run_id)


@notifies
async def resume(
    text: str,
    target: Target,
    context: Context | None = None,
    *,
    skip_invalid: bool | None = None,
    max_failures: FailureBound | None = None,
    yes_really: bool = False,
    approved: str = "",
    reconfirm: bool = False,
) -> RunResult:
    """Finish an interrupted run with its own options: compare the unsettled accounts again, and send what differs.

    Args:
        text: The run's id, the beginning of it, or empty for the newest run that can be resumed.
        target: The credentials; the address may be empty. If the run has a plan, it must otherwise be that of the run.
        context: The runtime dependencies; None for the defaults.
        skip_invalid: Replaces this option of the run; None keeps it.
        max_failures: Replaces this option of the run, also for later resumes; None keeps it.
        yes_really: Send also a plan that exceeds the run's ``max_change``. A plan that was confirmed before needs it
            only with ``reconfirm``.
        approved: The hash of the plan that was approved for the pending rows; kept once that plan is confirmed.
        reconfirm: Ask the user again to confirm pending changes.

    Raises:
        UsageError: There is no such run, or it cannot be resumed with this target.
        LockedError: A process works on the run, or another run holds the organisation's lock.
        StateError: The state directory cannot be used.
        DeclinedError: The user did not agree: nothing was sent, and the run is as it was.
    """
    from bulkid.runs.history import find_resumable

    context = context or Context()
    async with AsyncExitStack() as stack:
        journal = await _open_journal(stack, context)
        record = await in_thread(find_resumable, journal, text)
        target = same_target(record, target)
        options = replace(load_options(record.options), yes_really=yes_really, approved=approved)
        if skip_invalid is not None:
            options = replace(options, skip_invalid=skip_invalid)
        folder = _folder_again(record)
        await lock_run(stack, journal, record, context)
        remove_leftovers(folder)
        before = await in_thread(find_resumable, journal, record.run_id)  # another process may have worked on it
        record = replace(before, host=platform.node(), pid=os.getpid())
        changed: dict[str, Any] = {}
        if target.named_by:  # a run that has a plan keeps its server, and so the options that named it before
            kept = record.options.get(NAMED_BY) or () if record.phase == Phase.PLANNED else ()
            changed[NAMED_BY] = list({**dict(kept), **dict(target.named_by)}.items())
        if max_failures is not None:
            options, changed["max_failures"] = replace(options, max_failures=max_failures), asdict(max_failures)
        if changed:
            record = replace(record, options={**record.options, **changed})
            await in_thread(partial(journal.update_run, record.run_id, options=record.options))
        run_input = None if record.phase == Phase.PLANNED else await _reopen(stack, journal, record, options, context)
        execution = Execution(journal, record, target, options, context, folder, resumed=True, reconfirm=reconfirm)
        try:
            return await execution.perform(run_input)
        except DeclinedError:
            await uncancelled(partial(in_thread, _restore_run, journal, before))
            raise


def _folder_again(record: RunRecord) -> Path:
    """Return the report folder of an earlier run.

    Another host may lack it. The run is finished all the same: it then says that its report could not be written.
    """
    folder = Path(record.report_dir)
    try:
        return prepare_folder(folder.parent, record.run_id)
    except UsageError:
        return folder


def _restore_run(journal: Journal, record: RunRecord) -> None:
    """Make the record of a run again what it was before a resume that the user did not agree to."""
    fields = {name: getattr(record, name) for name in codec.RUN_FIELDS if name != "run_id"}
    journal.update_run(record.run_id, **fields)


async def _reopen(
    stack: AsyncExitStack, journal: Journal, record: RunRecord, options: RunOptions, context: Context
) -> RunInput:
    """Open the input of a run that ended before its plan was journaled: from the journal if all rows are there.

    This deletes what the journal has of a later stage: a kill may have left rows or a plan incomplete, and row errors
    that planning found may have been fixed since.

    Raises:
        UsageError: The journal has not all rows, and their source does not exist any more or has changed.
    """
    if record.phase == Phase.READ and UNDO not in record.options:
        await in_thread(journal.forget_plan, record.run_id)
        if PLAN in record.options:
            from bulkid.runs.inputs.plan_file import journaled_plan_input

            return await in_thread(journaled_plan_input, journal, record)
        return JournaledSheet(journal, record)
    run_input: RunInput
    if UNDO in record.options:
        from bulkid.runs.inputs.undo import undo_input

        undone = await in_thread(finish.find, journal, str(record.options[UNDO]))
        recreate = bool(record.options.get(RECREATE))
        run_input = await in_thread(partial(undo_input, journal, undone, recreate=recreate))
    elif PLAN in record.options:
        from bulkid.runs.inputs.plan_file import read_plan_input_again

        run_input = await in_thread(read_plan_input_again, record)
    else:
        run_input = await open_sheet_input(
            stack, stored_path(record), options.sheet, name=record.source, stop=context.stop
        )
    await in_thread(journal.forget_rows, record.run_id)
    return run_input


async def _open_journal(stack: AsyncExitStack, context: Context) -> Journal:
    return stack.enter_context(await in_thread(open_journal, context.state_dir, context.database_url))
