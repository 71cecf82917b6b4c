"""The hash of a plan, over its changes, server, organisation and options.

A user approves this hash. A plan that is computed again and has the same hash sends the same changes.
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final

from bulkid.model import Change, DesiredState
from bulkid.planning.plan import Plan, changed_fields, limit_changes
from bulkid.resources import current
from bulkid.runs.options import Preview, RunOptions

FORMAT: Final = "bulkid plan hash 1"
"""Part of the hashed text. Change it with the serialisation."""

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode  # ASCII: lone surrogates, too


def plan_hash(preview: Preview, options: RunOptions) -> str:
    """Compute the hash of a plan as 64 hexadecimal digits.

    It covers the server, the organisation, the options that decide what is sent, the desired states of all valid rows,
    and the changes. It does not cover the requests that carry the changes, or what a change leaves as it is, such as
    other groups of the account. ``preview`` may be limited to ``options.first`` already.
    """
    plan = limit_changes(preview.plan, options.first)
    digest = sha256()
    for part in _parts(preview, plan, options):
        digest.update(_encode(part).encode("ascii"))
        digest.update(b"\n")
    return digest.hexdigest()


def sent_of(change: Change) -> tuple[object, ...]:
    """Return the parts of a change that are shown and sent, without what the change leaves as it is."""
    changed = {field.key: (before, after) for field, before, after in changed_fields(change)}
    return (change.account_id, *map(changed.get, current().keys), change.add, change.remove)


def _parts(preview: Preview, plan: Plan, options: RunOptions) -> Iterable[Any]:
    bound = options.max_change
    yield {
        "format": FORMAT,
        "base_url": preview.base_url,
        "organization_id": preview.organization_id,
        "first": options.first,
        "skip_invalid": options.skip_invalid,
        "read": options.read,
        "via": options.via,
        "group_batch": options.group_batch,
        "max_change": None if bound is None else [bound.count, bound.percent],
        "yes_really": options.yes_really,
    }
    yield ["requested"]
    requested = [*plan.changing, *plan.unchanged, *plan.skipped]
    yield from (_requested(each) for each in sorted(requested, key=lambda each: each.rows))
    yield ["sent"]
    yield from map(sent_of, plan.changes)


def _requested(desired: DesiredState) -> list[Any]:
    return [desired.rows, desired.account_id, *desired.values, desired.add, desired.remove, desired.exact]
