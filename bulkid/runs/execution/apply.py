"""Applying a plan: new groups, creations, updates (group requests, then account PUTs), and deletions last.

Most plans have account PUTs alone. The modules that send other changes are imported only for a plan that has them.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from bulkid.errors import ConnectionFailedError, InterruptedRunError
from bulkid.journal.writer import OutcomeWriter
from bulkid.logs import log
from bulkid.model import CHANGED, Change, FailureBound, Group, RunRecord, Status
from bulkid.planning.plan import DELETE_BATCH
from bulkid.runs.concurrency import in_thread, task_group, until_stopped
from bulkid.runs.execution.account_sender import AccountSender, too_many_failures
from bulkid.runs.execution.connection import Connection
from bulkid.runs.execution.progress import Progress
from bulkid.runs.execution.reconcile import SendPlan, needs_any
from bulkid.runs.options import Hooks
from bulkid.runs.run_records import NEW_GROUPS, has_preconditions
from bulkid.text import count_of, fold

if TYPE_CHECKING:
    from bulkid.runs.execution.new_group_sender import NewGroupsResult


async def apply(
    plan: SendPlan,
    connection: Connection,
    record: RunRecord,
    bound: FailureBound | None,
    background: Callable[[], Coroutine[Any, Any, None]],
    *,
    settled: Mapping[Status, int],
) -> None:
    """Send the changes, and read back what no response confirmed.

    Args:
        plan: What to send. Its list of batches is empty afterwards.
        connection: Sends the requests; it has the journal and the context of the run.
        record: The run.
        bound: How many accounts may fail; None for any number.
        background: Runs while requests are sent, and is cancelled afterwards.
        settled: Accounts that earlier attempts settled, by status.

    Raises:
        TooManyFailuresError: More accounts failed than allowed.
        ConnectionFailedError: Accounts are left that cannot be confirmed.
        InterruptedRunError: A stop was requested.
        PermissionDeniedError: The token itself shows that the server will refuse the changes.
    """
    accounts, failed, context = plan.accounts, plan.failed, connection.context
    bound = bound or FailureBound()
    if bound.exceeded(failed, accounts + failed):
        raise too_many_failures(failed, bound)
    if accounts:
        if plan.by_account or plan.creations or plan.deletions:
            connection.require_write()
        if plan.new_groups:
            connection.require_write_groups()
        progress = _progress_of(plan, connection, settled)
        async with task_group() as tasks:
            async with OutcomeWriter(connection.journal, record.run_id, clock=context.clock) as writer:
                sender = AccountSender(
                    connection=connection,
                    run_id=record.run_id,
                    directory=plan.directory,
                    writer=writer,
                    progress=progress,
                    bound=bound,
                    bounded_accounts=accounts + failed,
                    failures=failed,
                    partly=set(plan.partly),
                )
                tasks.start_soon(background)
                context.hooks.stage("send")
                context.hooks.progress(progress)
                connection.shows_progress = True
                try:
                    await _send(plan, sender, record, context.hooks)
                except (ConnectionFailedError, InterruptedRunError) as error:
                    if not sender.too_many:
                        raise
                    log.info("run.ended_early", reason=error.message)  # too many accounts failed before
            tasks.cancel_scope.cancel()
        if sender.too_many:
            raise too_many_failures(sender.failures, bound)
    if plan.unknown:
        raise _unknown_accounts(plan.unknown)


def _progress_of(plan: SendPlan, connection: Connection, settled: Mapping[Status, int]) -> Progress:
    """Make the progress of a plan of which nothing was sent yet; ``settled`` are the accounts of earlier attempts."""
    return Progress(
        connection.engine,
        plan.accounts,
        {
            "POST": len(plan.new_groups) + len(plan.creations),
            "PUT": len(plan.by_account) + len(plan.batches),
            "DELETE": -(-len(plan.deletions) // DELETE_BATCH),
        },
        connection.rules,
        connection.context.clock.monotonic,
        updated_before=sum(settled.get(status, 0) for status in CHANGED),
        failed_before=settled.get(Status.FAILED, 0),
    )


def _unknown_accounts(unknown: Mapping[int, str]) -> ConnectionFailedError:
    """Make the error for accounts of which it is not known whether they exist; with the reason, by run item."""
    count, reason = len(unknown), next(iter(unknown.values()))
    exist = "it still exists" if count == 1 else "they still exist"
    return ConnectionFailedError(
        f"Nothing was sent for {count_of(count, 'account')}, because it is not known whether {exist}: {reason}.",
        hint="They are pending.",
    )


def _import_senders(plan: SendPlan) -> None:
    """Import the modules that send the plan, before its first request.

    An administrator may update bulkid during a run of many hours: what is imported later could be of another version.
    """
    if plan.creations:
        import bulkid.runs.execution.creation_sender
    if plan.batches or plan.new_groups:
        import bulkid.runs.execution.group_sender
        import bulkid.runs.execution.new_group_sender
    if plan.deletions:
        import bulkid.runs.execution.deletion_sender  # noqa: F401 - names are imported from it where they are used


async def _send(plan: SendPlan, sender: AccountSender, record: RunRecord, hooks: Hooks) -> None:
    """Send each kind of change after the other. A stop, or too many failures, leaves the kinds that follow unsent."""
    _import_senders(plan)
    connection, options = sender.connection, sender.connection.options
    carried: Mapping[int, int] = {}
    if plan.new_groups:
        created = await _create_groups(plan, sender)
        carried = created.carried
        plan = await _with_created_groups(plan, created, sender, record)
    by_account = plan.by_account
    if plan.creations:
        from bulkid.runs.execution.creation_sender import CreationSender

        creation_sender = CreationSender(
            sender, options.max_attempts, plan.sent_before, only_new=has_preconditions(record, reconfirmed=False)
        )
        updates = await creation_sender.send(plan.creations)
        by_account = sorted([*by_account, *updates], key=itemgetter(0))
        if sender.too_many_unconfirmed:
            await sender.finish(hooks)
            return
    if plan.batches or carried:
        from bulkid.runs.execution.group_sender import CurrentGroups, GroupSender

        names = CurrentGroups(connection.engine, connection.organization_id, plan.directory, connection.context.clock)
        group_sender = GroupSender(sender, plan.by_group, names)
        try:
            left = await group_sender.send(plan.batches, carried)
            sender.progress.requests["PUT"] += len(left)
            await sender.send(sorted([*by_account, *left], key=itemgetter(0)))
        finally:
            await group_sender.remember_refusals()
    else:
        await sender.send(by_account)
    unknown: Mapping[int, str] = {}
    if plan.deletions and not sender.stop.requested:
        unknown = await _send_deletions(plan, sender, record)
    await sender.finish(hooks)
    if unknown and not sender.too_many:
        raise _unknown_accounts(unknown)


async def _send_deletions(plan: SendPlan, sender: AccountSender, record: RunRecord) -> Mapping[int, str]:
    """Delete accounts, unless too many updates failed; with preconditions only those that are as they were.

    Return the run items of which that is not known any more, with the reason: nothing was sent for them.
    """
    from bulkid.runs.execution.deletion_sender import DeletionSender, untouched

    deletions: Sequence[tuple[int, Change]] = plan.deletions
    unknown: Mapping[int, str] = {}
    async with until_stopped(sender.stop):
        await sender.verify()
        if sender.too_many or sender.too_many_unconfirmed:
            return unknown
        # Hours may have passed since the accounts were compared, if other changes were sent.
        if plan.accounts > len(deletions) and has_preconditions(record, reconfirmed=False):
            deletions, unknown = await untouched(sender, deletions)
    await DeletionSender(sender).send(deletions)
    return unknown


async def _create_groups(plan: SendPlan, sender: AccountSender) -> "NewGroupsResult":
    from bulkid.runs.execution.group_sender import CurrentGroups
    from bulkid.runs.execution.new_group_sender import NewGroupSender

    connection = sender.connection
    names = CurrentGroups(connection.engine, connection.organization_id, plan.directory, connection.context.clock)
    changes = dict(plan.by_account) | plan.by_group
    options = connection.options
    new_groups = NewGroupSender(sender, names, changes, plan.by_group, options.group_batch, options.max_attempts)
    return await new_groups.send(plan.new_groups)


async def _with_created_groups(
    plan: SendPlan, created: "NewGroupsResult", sender: AccountSender, record: RunRecord
) -> SendPlan:
    """Fail the accounts whose group could not be created, and use the ids that groups have where they differ."""
    if created.replaced:
        plan = plan.with_groups(created.replaced)
        sender.directory = plan.directory
        await _journal_replaced(created.replaced, sender, record)
    plan.batches.extend(created.batches)
    if created.failed:
        plan = _without_failed(plan, created, sender)
    return plan


async def _journal_replaced(replaced: Mapping[str, Group], sender: AccountSender, record: RunRecord) -> None:
    """Journal that the items of the run ask for other groups than those that the run was to create."""
    journal, known = sender.journal, dict(record.options.get(NEW_GROUPS, {}))

    def write() -> None:
        for group_id in list(known):
            if (group := replaced.get(fold(group_id))) is not None:
                journal.replace_group(record.run_id, group_id, group.id)
                del known[group_id]
        journal.update_run(record.run_id, options={**record.options, NEW_GROUPS: known})

    await in_thread(write)


def _without_failed(plan: SendPlan, created: "NewGroupsResult", sender: AccountSender) -> SendPlan:
    """Settle the accounts that need a group which could not be created; return the plan of the others.

    The POST of another group may have carried such an account.
    """
    failed, numbers = created.failed, set[int]()
    for number, change in (*plan.by_account, *plan.by_group.items(), *plan.creations):
        if (group_id := needs_any(change, failed)) is not None:
            numbers.add(number)
            sender.fail(number, failed[group_id])
            created.carried.pop(number, None)
    for batch in plan.batches:
        batch.leave_out(numbers)
    by_group: dict[int, Change] = {number: change for number, change in plan.by_group.items() if number not in numbers}
    return plan._replace(
        by_account=[each for each in plan.by_account if each[0] not in numbers],
        by_group=by_group,
        creations=tuple([each for each in plan.creations if each[0] not in numbers]),
    )
