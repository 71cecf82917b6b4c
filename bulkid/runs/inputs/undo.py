"""``undo``: from the journal of a run, the changes that put back what it changed, as a run of their own."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from bulkid.errors import UsageError
from bulkid.journal import Journal, open_journal
from bulkid.model import RunRecord
from bulkid.planning import Precondition, inverse, may_have_changed, undo_obstacle
from bulkid.report.atomic import prepare_folder
from bulkid.runs.concurrency import in_thread
from bulkid.runs.execution import finish
from bulkid.runs.execution.connection import base_of
from bulkid.runs.execution.run import Execution
from bulkid.runs.history import lock_run
from bulkid.runs.inputs.origin import UNDO, Origin
from bulkid.runs.inputs.precomputed import Changes, Unplannable, begin, changes_of
from bulkid.runs.notifications import notifies
from bulkid.runs.options import Context, RunOptions, RunResult, Target
from bulkid.runs.options_codec import dump_options
from bulkid.runs.run_records import new_record, same_target


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
        journal = stack.enter_context(await in_thread(open_journal, context.state_dir, context.database_url))
        undone = await in_thread(finish.find, journal, text)
        target = same_target(undone, target)
        url = base_of(target).url
        # It must be over, and nobody may resume it meanwhile.
        await lock_run(stack, journal, undone, context, then="undone")
        changes = await in_thread(undo_changes, journal, undone)
        # One account that has changed since is no reason to leave the others as they are.
        options = replace(options, skip_invalid=True, read=True)
        stored = {**dump_options(options, ""), "path": "", UNDO: undone.run_id}
        record = new_record(context, changes.rows.info, url, stored, command="undo")
        folder = prepare_folder(options.report_dir.absolute(), record.run_id)
        record = replace(record, report_dir=str(folder))
        await lock_run(stack, journal, record, context)
        await in_thread(journal.create_run, record)
        execution = Execution(journal, record, target, options, context, folder)
        return await execution.perform(partial(begin, execution, changes))


def undo_changes(journal: Journal, undone: RunRecord) -> Changes:
    """Work out from a run's journal what puts its accounts back.

    Raises:
        UsageError: The run changed nothing, or what it changed cannot be put back.
    """
    expected: list[Precondition] = []
    unplannable: list[Unplannable] = []
    for item in journal.iter_items(undone.run_id):
        if not may_have_changed(item):
            continue
        obstacle = undo_obstacle(item)
        if obstacle:
            unplannable.append(
                Unplannable(item.desired.account_id, item.desired.name, item.desired.rows, "no_state_before", obstacle)
            )
        else:
            expected.append(inverse(item))
    if not (expected or unplannable):
        raise UsageError(f"Run {undone.run_id} changed nothing: there is nothing to undo.")
    if not expected:
        raise UsageError(
            f"Run {undone.run_id} cannot be undone: {unplannable[0].message[:1].lower()}{unplannable[0].message[1:]}",
            hint="A run that reads the accounts first (without --no-read) can be.",
        )
    origin = Origin(
        what=f"Run {undone.run_id}",
        expected_state=f"as run {undone.run_id} left it",
        base_url=undone.base_url,
        organization_id=undone.organization_id,
        sandbox=bool(undone.options.get("sandbox")),
    )
    return changes_of(f"undo of {undone.run_id}", expected, origin, unplannable)


async def begin_undo_again(execution: Execution) -> Callable[[], Awaitable[None]]:
    """Work out the changes of an undo once more, which ended before its plan was journaled; give the work to do.

    Raises:
        UsageError: There is nothing to undo any more.
    """
    journal, record = execution.journal, execution.record
    undone = await in_thread(finish.find, journal, str(record.options[UNDO]))
    changes = await in_thread(undo_changes, journal, undone)
    await in_thread(journal.forget_rows, record.run_id)
    return partial(begin, execution, changes)
