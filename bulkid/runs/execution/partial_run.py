"""Trials (``--first``): which accounts they leave for later, and what must be asked before those are sent.

A trial's plan is put before a person without the accounts that it leaves out. So whoever resumes the run for them is
asked, and the guard asks too, as for a plan of their own; resuming a trial that was interrupted finishes the trial.
"""

from collections.abc import Sequence

from bulkid.model import Change, Entry, Outcome, RunRecord, Status
from bulkid.planning import Directory, Plan, Route
from bulkid.runs.execution.change_limit import excess_warning, find_excess
from bulkid.runs.execution.connection import Session
from bulkid.runs.execution.planner import estimate
from bulkid.runs.options import Preview, RunOptions
from bulkid.sheet import SheetInfo

LEFT = Outcome(Status.PENDING, error_code="left_for_later", error="Left for later by --first.")
"""What is known of an account that a trial leaves out."""

TAKEN_UP = Outcome(Status.PENDING)
"""What is known of it once somebody agreed to send it: it is pending like any other."""


def due(unsettled: Sequence[Entry]) -> tuple[list[Entry], bool]:
    """Choose what resuming takes up: what the run itself left open, else what it left for later as a trial.

    Returns:
        The entries, and whether they are the rest of a trial.
    """
    own = [entry for entry in unsettled if not is_left(entry)]
    return (own, False) if own else (list(unsettled), bool(unsettled))


def is_left(entry: Entry) -> bool:
    """Whether an entry was left for later by a trial, and was not taken up since."""
    return entry.outcome.error_code == LEFT.error_code and not entry.intended


def rest_as_plan(entries: Sequence[Entry], changes: Sequence[tuple[int, Change]], route: Route | None) -> Plan:
    """The rest of a trial as a plan.

    Args:
        entries: The rest, without what can no longer be sent.
        changes: Those of them that still differ, each with its entry's number.
        route: Which requests carry the changes.
    """
    wishes = {entry.entry: entry.wish for entry in entries}
    changing = tuple([wishes.pop(number) for number, _ in changes])
    return Plan(tuple([change for _, change in changes]), changing, tuple(wishes.values()), route=route)


async def preview_rest(
    session: Session, record: RunRecord, options: RunOptions, directory: Directory, plan: Plan
) -> Preview:
    """The rest of a trial for a person to judge.

    Args:
        session: Says to whom it is sent, and counts the accounts for the guard where need be.
        record: The run.
        options: Hold the guard's bound.
        directory: What was read.
        plan: The rest.

    Raises:
        ConnectionFailedError: The server cannot be reached.
    """
    too_much = await find_excess(session, directory, len(plan.changes), options)
    return Preview(
        info=SheetInfo.from_json(record.sheet),
        plan=plan,
        directory=directory,
        base_url=session.base.url,
        organization_id=session.organization_id,
        rows=sum(len(wish.rows) for wish in (*plan.changing, *plan.unchanged)),
        faults=(),
        rules=session.rules,
        rate=options.rate,
        eta_s=estimate(plan, session.rules, options.rate),
        requests=session.sent(),
        left_out=0,
        warnings=(*plan.warnings, *excess_warning(too_much, options)),
        excess=too_much,
    )
