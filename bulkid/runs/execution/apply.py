"""Applying a plan: send group requests, then one PUT per account, then read back what no response confirmed."""

from collections.abc import Callable, Coroutine, Mapping
from operator import itemgetter
from typing import Any

from bulkid.errors import ConnectionFailedError, InterruptedRunError
from bulkid.journal.writer import OutcomeWriter
from bulkid.logs import log
from bulkid.model import FailureBound, RunRecord, Status
from bulkid.runs.concurrency import task_group
from bulkid.runs.execution.account_sender import AccountSender, too_many_failures
from bulkid.runs.execution.connection import Connection
from bulkid.runs.execution.group_sender import CurrentGroups, GroupSender
from bulkid.runs.execution.progress import Progress
from bulkid.runs.execution.reconcile import SendPlan
from bulkid.text import count_of


async def apply(
    plan: SendPlan,
    connection: Connection,
    record: RunRecord,
    bound: FailureBound | None,
    background: Callable[[], Coroutine[Any, Any, None]],
    *,
    settled: Mapping[Status, int],
) -> None:
    """Send the changes, group requests first, and read back what no response confirmed.

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
    """
    accounts, failed, context = plan.accounts, plan.failed, connection.context
    bound = bound or FailureBound()
    if bound.exceeded(failed, accounts + failed):
        raise too_many_failures(failed, bound)
    if accounts:
        by_account, batches = plan.by_account, plan.batches
        if by_account:
            connection.require_write()
        puts = len(by_account) + len(batches)
        progress = Progress(
            connection.engine,
            accounts,
            puts,
            connection.rules,
            context.clock.monotonic,
            updated_before=settled.get(Status.UPDATED, 0),
            failed_before=settled.get(Status.FAILED, 0),
        )
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
                )
                tasks.start_soon(background)
                context.hooks.stage("send")
                context.hooks.progress(progress)
                group_sender: GroupSender | None = None
                try:
                    if batches:
                        names = CurrentGroups(
                            connection.engine, connection.organization_id, plan.directory, context.clock
                        )
                        group_sender = GroupSender(sender, plan.by_group, names)
                        carried = await group_sender.send(batches)
                        by_account = sorted([*by_account, *carried], key=itemgetter(0))
                        progress.puts += len(carried)
                    await sender.send(by_account)
                    await sender.finish(context.hooks)
                except (ConnectionFailedError, InterruptedRunError) as error:
                    if not sender.too_many:
                        raise
                    log.info("run.ended_early", reason=error.message)  # too many accounts failed before
                finally:
                    if group_sender is not None:
                        await group_sender.remember_refusals()
            tasks.cancel_scope.cancel()
        if sender.too_many:
            raise too_many_failures(sender.failures, bound)
    if plan.unknown:
        count, reason = len(plan.unknown), next(iter(plan.unknown.values()))
        exist = "it still exists" if count == 1 else "they still exist"
        raise ConnectionFailedError(
            f"Nothing was sent for {count_of(count, 'account')}, because it is not known whether {exist}: {reason}.",
            hint="They are pending.",
        )
