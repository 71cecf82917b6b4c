"""Trials (``--first``): which accounts they leave for later, and what must be asked before those are sent.

The user sees a trial's plan without the accounts that it leaves out. So bulkid asks again when a user resumes the run
for them, and the change limit applies as to a plan of its own. Resuming an interrupted trial finishes the trial.
"""

from collections.abc import Sequence

from bulkid.model import AccountUpdate, Outcome, RunItem, RunRecord, Status
from bulkid.planning import Directory, Plan, Strategy
from bulkid.runs.execution.change_limit import excess_warning, find_excess
from bulkid.runs.execution.connection import Connection
from bulkid.runs.execution.planner import estimate
from bulkid.runs.options import Preview, RunOptions
from bulkid.sheet import SheetInfo

DEFERRED = Outcome(Status.PENDING, error_code="left_for_later", error="Left for later by --first.")
"""What is known of an account that a trial leaves out."""

RESUMED = Outcome(Status.PENDING)
"""What is known of it once a user agreed to send it: it is pending like any other."""


def items_to_resume(unsettled: Sequence[RunItem]) -> tuple[list[RunItem], bool]:
    """Choose what resuming takes up: what the run itself left open, else what it left for later as a trial.

    Returns:
        The entries, and whether they are the rest of a trial.
    """
    interrupted = [item for item in unsettled if not is_deferred(item)]
    return (interrupted, False) if interrupted else (list(unsettled), bool(unsettled))


def is_deferred(item: RunItem) -> bool:
    """Whether an entry was left for later by a trial, and was not taken up since."""
    return item.outcome.error_code == DEFERRED.error_code and not item.intended


def remaining_plan(
    items: Sequence[RunItem], changes: Sequence[tuple[int, AccountUpdate]], strategy: Strategy | None
) -> Plan:
    """The rest of a trial as a plan.

    Args:
        items: The rest, without what can no longer be sent.
        changes: Those of them that still differ, each with its entry's number.
        strategy: Which requests carry the changes.
    """
    desired_states = {item.number: item.desired for item in items}
    changing = tuple([desired_states.pop(number) for number, _ in changes])
    return Plan(tuple([change for _, change in changes]), changing, tuple(desired_states.values()), strategy=strategy)


async def preview_remaining(
    connection: Connection, record: RunRecord, options: RunOptions, directory: Directory, plan: Plan
) -> Preview:
    """The rest of a trial for a person to judge.

    Args:
        connection: Says to whom it is sent, and counts the accounts for the guard where need be.
        record: The run.
        options: Hold the guard's bound.
        directory: What was read.
        plan: The rest.

    Raises:
        ConnectionFailedError: The server cannot be reached.
    """
    excess = await find_excess(connection, directory, len(plan.changes), options)
    return Preview(
        info=SheetInfo.from_json(record.sheet),
        plan=plan,
        directory=directory,
        base_url=connection.base.url,
        organization_id=connection.organization_id,
        rows=sum(len(desired.rows) for desired in (*plan.changing, *plan.unchanged)),
        row_errors=(),
        rules=connection.rules,
        rate=options.rate,
        eta_s=estimate(plan, connection.rules, options.rate),
        requests=connection.sent(),
        skipped=0,
        warnings=(*plan.warnings, *excess_warning(excess, options)),
        excess=excess,
    )
