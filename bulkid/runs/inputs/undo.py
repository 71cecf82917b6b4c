"""An undo as the input of a run: the changes that put back what an earlier run changed, from its journal."""

from collections.abc import Sequence

from bulkid.errors import UsageError
from bulkid.journal.store import Journal
from bulkid.model import RunItem, RunRecord
from bulkid.planning.preconditions import DELETION_NOT_UNDONE, Precondition, PreconditionRules, deletion_not_undone
from bulkid.planning.undo import inverse, is_irreversible, may_have_changed, undo_obstacle
from bulkid.report.summary import server_options
from bulkid.runs.inputs.precomputed import Origin, PrecomputedInput, Unplannable
from bulkid.runs.run_records import GROUP_NAMES, RECREATE, UNDO, created_groups
from bulkid.text import count_of, fold, listing, quote

_NAMED = 20
"""Deleted accounts that a message names at most."""


def undo_input(journal: Journal, undone: RunRecord, *, recreate: bool = False) -> PrecomputedInput:
    """Compute the changes that put a run's accounts back.

    Args:
        journal: Contains the run.
        undone: The run.
        recreate: Make accounts again that the run deleted; else they are left out.

    Raises:
        UsageError: The run changed nothing, or nothing that it changed can be put back.
    """
    expected: list[Precondition] = []
    unplannable: list[Unplannable] = []
    deleted: list[str] = []
    created = created_groups(undone.options)
    new_groups = frozenset(fold(group.id) for group in created)
    for item in journal.iter_items(undone.run_id):
        if not may_have_changed(item, new_groups):
            continue
        if is_irreversible(item) and not recreate:
            deleted.append(item.desired.name)
            unplannable.append(_unplannable(item, DELETION_NOT_UNDONE, deletion_not_undone(item.desired.name)))
        elif obstacle := undo_obstacle(item):
            unplannable.append(_unplannable(item, "no_state_before", obstacle))
        else:
            expected.append(inverse(item, new_groups))
    if not (expected or unplannable):
        raise UsageError(f"Run {undone.run_id} changed nothing: there is nothing to undo.")
    if not expected:
        raise _cannot_be_undone(undone, unplannable, deleted)
    origin = Origin(
        what=f"Run {undone.run_id}",
        base_url=undone.base_url,
        organization_id=undone.organization_id,
        sandbox=bool(undone.options.get("sandbox")),
    )
    rules = PreconditionRules(
        f"as run {undone.run_id} left it",
        recreate=recreate,
        new_groups=created,
        group_names=undone.options.get(GROUP_NAMES, {}),
    )
    return PrecomputedInput(
        f"undo of {undone.run_id}",
        origin,
        rules,
        expected,
        command="undo",
        stored_options={"path": "", UNDO: undone.run_id, RECREATE: recreate},
        unplannable=unplannable,
    )


def _unplannable(item: RunItem, code: str, message: str) -> Unplannable:
    return Unplannable(item.desired.account_id, item.desired.name, item.desired.rows, code, message)


def _cannot_be_undone(undone: RunRecord, unplannable: Sequence[Unplannable], deleted: Sequence[str]) -> UsageError:
    if not deleted:
        reason = unplannable[0].message
        return UsageError(
            f"Run {undone.run_id} cannot be undone: {reason[:1].lower()}{reason[1:]}",
            hint="A run that reads the accounts first (without --no-read) can be.",
        )
    shown = [quote(name) for name in deleted[:_NAMED]]
    if len(deleted) > _NAMED:
        shown.append(count_of(len(deleted) - _NAMED, "other"))
    accounts = "account" if len(deleted) == 1 else "accounts"
    return UsageError(
        f"Run {undone.run_id} cannot be undone: it deleted the {accounts} {listing(shown)}, and a deletion cannot be "
        "undone.",
        hint="Nothing was sent.",
        cli_hint=f"To make accounts of the same name, display name and groups again, with new ids: "
        f"bulkid undo {undone.run_id} --recreate{server_options(undone)}",
    )
