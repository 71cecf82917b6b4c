"""Sending what a plan asks for: group requests first, then one PUT per account, then what no answer confirmed."""

from collections.abc import Callable, Coroutine
from operator import itemgetter
from typing import Any

from bulkid.engine import FailureLimit
from bulkid.errors import ConnectionFailedError, InterruptedRunError
from bulkid.events import log
from bulkid.journal import Journal, OutcomeWriter
from bulkid.model import FailureBound, RunRecord
from bulkid.planning import count_of
from bulkid.report import how_to_resume
from bulkid.runs.concurrency import task_group
from bulkid.runs.execution.account_sender import Sending, too_many_failures
from bulkid.runs.execution.connection import Session
from bulkid.runs.execution.group_sender import GroupNames, GroupSending
from bulkid.runs.execution.progress import Progress
from bulkid.runs.execution.reconcile import ToSend
from bulkid.runs.options import Context


async def apply(
    work: ToSend,
    session: Session,
    *,
    journal: Journal,
    record: RunRecord,
    bound: FailureBound | None,
    context: Context,
    keep_figures: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Send the changes, those that go by group first, and verify what no answer confirmed.

    Args:
        work: What to send. It is let go of as it is sent.
        session: Sends.
        journal: Keeps intents and outcomes.
        record: The run.
        bound: How many accounts may fail; None for any number.
        context: Runtime dependencies of the run.
        keep_figures: Journals the run's figures as long as requests are sent; it is cancelled then.

    Raises:
        TooManyFailuresError: More accounts failed than allowed.
        ConnectionFailedError: Accounts are left that cannot be confirmed.
        InterruptedRunError: A stop was requested.
    """
    accounts, failed = work.accounts, work.failed
    bound = bound or FailureBound()
    limit = FailureLimit(bound.count, bound.percent, accounts + failed)
    advice = how_to_resume(record)
    if limit.exceeded(failed):
        raise too_many_failures(failed, advice if accounts or work.unknown else "")
    if accounts:
        by_account, batches = work.by_account, work.batches
        if by_account:
            session.require_write()
        puts = len(by_account) + len(batches)
        progress = Progress(session.engine, accounts, puts, session.rules, context.clock.monotonic)
        async with task_group() as tasks:
            async with OutcomeWriter(journal, record.run_id, clock=context.clock) as writer:
                sending = Sending(
                    session,
                    journal,
                    record.run_id,
                    work.directory,
                    writer,
                    context.clock,
                    context.stop,
                    progress,
                    limit,
                    failures=failed,
                )
                tasks.start_soon(keep_figures)
                context.hooks.stage("send")
                context.hooks.progress(progress)
                groups: GroupSending | None = None
                try:
                    if batches:
                        names = GroupNames(session.engine, session.organization_id)
                        groups = GroupSending(sending, work.by_group, names)
                        carried = await groups.send(batches)
                        by_account = sorted([*by_account, *carried], key=itemgetter(0))
                        progress.puts += len(carried)
                    await sending.send(by_account)
                    await sending.finish(context.hooks, advice)
                except (ConnectionFailedError, InterruptedRunError) as error:
                    if not sending.too_many:
                        raise
                    log.info("run.ended_early", reason=error.message)  # that too many failed came first
                finally:
                    if groups is not None:
                        await groups.remember_refusals()
            tasks.cancel_scope.cancel()
        if sending.too_many:
            raise too_many_failures(sending.failures, advice if sending.unfinished or work.unknown else "")
    if work.unknown:
        raise ConnectionFailedError(
            f"Whether {count_of(len(work.unknown), 'account')} still exist is not known, so nothing was sent for them: "
            f"{next(iter(work.unknown.values()))}.",
            hint=f"They are pending: {advice}",
        )
