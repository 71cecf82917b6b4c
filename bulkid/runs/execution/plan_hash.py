"""The hash of a plan, over its changes, server, organisation and options.

A user approves this hash. A plan that is computed again and has the same hash sends the same changes.
"""

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final, TypeAlias

from bulkid.model import NEW_GROUP, Account, Action, Change, ChangeBound, DesiredState, Group
from bulkid.planning.plan import Plan, changed_fields, limit_changes
from bulkid.resources import current
from bulkid.runs.options import Preview, RunOptions
from bulkid.text import fold

FORMAT: Final = "bulkid plan hash 3"
"""Part of the hashed text. Change it with the serialisation."""

_Names: TypeAlias = Mapping[str, tuple[str, str]]
"""What stands for the ids of new groups: each computation of a plan makes other ids."""

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode  # ASCII: lone surrogates, too


def plan_hash(preview: Preview, options: RunOptions) -> str:
    """Compute the hash of a plan as 64 hexadecimal digits.

    It covers the server, the organisation, the options that decide what is sent, the desired states of all valid rows,
    the changes, and the groups that are created. It does not cover the requests that carry the changes, or what a
    change leaves as it is, such as other groups of the account; a deletion leaves nothing. New groups count by their
    names: each computation gives them other ids. ``preview`` may be limited to ``options.first`` already.
    """
    plan = limit_changes(preview.plan, options.first)
    digest = sha256()
    for part in _parts(preview, plan, options):
        digest.update(_encode(part).encode("ascii"))
        digest.update(b"\n")
    return digest.hexdigest()


def sent_of(change: Change, plan: Plan) -> tuple[object, ...]:
    """Return the parts of a change of a plan that are shown and sent, without what the change leaves as it is."""
    return _sent(change, _names_of(plan.new_groups))


def _sent(change: Change, names: _Names) -> tuple[object, ...]:
    changed = {field.key: (before, after) for field, before, after in changed_fields(change)}
    add = _with_names(change.add, names)
    remove = tuple(sorted(map(fold, change.remove)))  # those of an exact list are in the order of the server's answer
    sent = (change.account_id, *map(changed.get, current().keys), add, remove)
    if change.action is Action.UPDATE:
        return sent
    return (change.action.value, change.name, _whole(change.before), *sent)


def _whole(before: Account | None) -> tuple[object, ...] | None:
    """Return all that a deletion ends."""
    if before is None:
        return None
    groups = None if before.group_ids is None else tuple(sorted(map(fold, before.group_ids)))
    return (before.values, groups, before.last_login)


def _names_of(groups: Iterable[Group]) -> _Names:
    return {group.id: ("new group", group.name) for group in groups if group.type == NEW_GROUP}


def _with_names(group_ids: tuple[str, ...], names: _Names) -> tuple[object, ...]:
    return tuple([names.get(group, group) for group in group_ids]) if names else group_ids


def _parts(preview: Preview, plan: Plan, options: RunOptions) -> Iterable[Any]:
    """Yield what makes a plan what it is: target and options, new groups, desired states, and what is sent."""
    yield {
        "format": FORMAT,
        "base_url": preview.base_url,
        "organization_id": preview.organization_id,
        "first": options.first,
        "skip_invalid": options.skip_invalid,
        "read": options.read,
        "via": options.via,
        "group_batch": options.group_batch,
        "max_change": _bound(options.max_change),
        "yes_really": options.yes_really,
        "create_missing": options.create_missing,
        "create_groups": options.create_groups,
        "new_groups": options.new_groups,
        "allow_delete": options.allow_delete,
        "max_delete": _bound(options.max_delete),
    }
    yield ["new groups", *sorted(group.name for group in plan.new_groups)]
    # The plan of a trial does not create the groups that only skipped accounts need; the directory has these, too.
    names = _names_of((*(preview.directory.groups or ()), *plan.new_groups))
    yield ["requested"]
    requested = [*plan.changing, *plan.unchanged, *plan.skipped]
    yield from (_requested(each, names) for each in sorted(requested, key=lambda each: each.rows))
    yield ["sent"]
    yield from (_sent(change, names) for change in plan.changes)


def _bound(bound: ChangeBound | None) -> list[Any] | None:
    return None if bound is None else [bound.count, bound.percent]


def _requested(desired: DesiredState, names: _Names) -> list[Any]:
    exact = None if desired.exact is None else _with_names(desired.exact, names)
    add = _with_names(desired.add, names)
    parts = [desired.rows, desired.account_id, *desired.values, add, desired.remove, exact]
    return parts if desired.action is Action.UPDATE else [*parts, desired.action.value, desired.name]
