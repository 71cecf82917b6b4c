"""An undo as the input of a run: the changes that put back what an earlier run changed, from its journal."""

from bulkid.errors import UsageError
from bulkid.journal.store import Journal
from bulkid.model import RunRecord
from bulkid.planning.preconditions import Precondition, inverse, may_have_changed, undo_obstacle
from bulkid.runs.inputs.precomputed import Origin, PrecomputedInput, Unplannable
from bulkid.runs.run_records import UNDO


def undo_input(journal: Journal, undone: RunRecord) -> PrecomputedInput:
    """Compute the changes that put a run's accounts back.

    Raises:
        UsageError: The run changed nothing, or nothing that it changed can be put back.
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
    return PrecomputedInput(
        f"undo of {undone.run_id}",
        origin,
        expected,
        command="undo",
        stored_options={"path": "", UNDO: undone.run_id},
        unplannable=unplannable,
    )
