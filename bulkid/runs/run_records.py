"""Records of runs: making a new one, storing its options, and comparing a target with an earlier run."""

import getpass
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from bulkid.errors import UsageError
from bulkid.identity.urls import is_loopback, is_same_base
from bulkid.journal.names import new_run_id
from bulkid.model import ChangeBound, FailureBound, Group, Phase, QuotaRule, RunRecord, RunStatus
from bulkid.runs.options import Context, RunOptions, Target
from bulkid.sheet import SheetInfo, SheetOptions
from bulkid.text import dashed_guid, fold

UNDO, PLAN = "undo", "plan"
"""Keys of a run's stored options: the run that it undoes, and the plan file that it applies."""

NEW_GROUPS = "new_groups"
"""Key of a run's stored options: the names of the groups that it creates, by their ids; written with the plan."""

GROUP_NAMES = "group_names"
"""Key of a run's stored options: the names of the groups that its plan changes, by their folded ids; for messages."""

_MOST_GROUP_NAMES = 100
"""Names of groups that a run keeps: every list of runs reads all that a run keeps."""

RECREATE = "recreate"
"""Key of an undo's stored options: whether it makes accounts again that the run deleted."""

APPROVED = "approved"
"""Key of a run's stored options: the hash of the plan that was approved for it."""

_PLAIN = (
    *("skip_invalid", "read", "rate", "concurrency", "max_attempts", "timeout_s", "sandbox"),
    *("retry_base_s", "outage_limit_s", "via", "group_batch", "first", "job", "note"),
    *("create_missing", "create_groups", "allow_delete"),
)


def dump_options(options: RunOptions) -> dict[str, Any]:
    """Return the options that ``resume`` needs, as JSON. Options contain no secret.

    ``yes_really`` is not stored: if a run ended before its plan was confirmed, the user must give it again.
    """
    quota = None if options.quota is None else [[rule.method, rule.count, rule.seconds] for rule in options.quota]
    return {
        **{name: getattr(options, name) for name in _PLAIN},
        "sheet": {**asdict(options.sheet), "column_map": dict(options.sheet.column_map)},
        "quota": quota,
        "max_failures": asdict(options.max_failures) if options.max_failures else None,
        "max_change": asdict(options.max_change) if options.max_change else None,
        "max_delete": asdict(options.max_delete) if options.max_delete else None,
        "new_group_names": list(options.new_groups),
        "formats": list(options.formats),
        "authors": list(options.authors),
    }


def load_options(stored: Mapping[str, Any]) -> RunOptions:
    """Return the options that :func:`dump_options` stored."""
    sheet = {**stored.get("sheet", {})}
    for name in ("ignore_columns", "standing"):
        sheet[name] = tuple(sheet.get(name, ()))
    quota = stored.get("quota")
    bound, change, delete = (stored.get(name) for name in ("max_failures", "max_change", "max_delete"))
    return RunOptions(
        **{name: stored[name] for name in _PLAIN if name in stored},
        sheet=SheetOptions(**sheet),
        quota=None if quota is None else tuple(QuotaRule(method, count, seconds) for method, count, seconds in quota),
        max_failures=FailureBound(**bound) if bound else None,
        max_change=ChangeBound(**change) if change else None,
        max_delete=ChangeBound(**delete) if delete else None,
        new_groups=tuple(stored.get("new_group_names", ())),
        formats=tuple(stored.get("formats", ())),
        authors=tuple(stored.get("authors", ())),
    )


def has_preconditions(record: RunRecord, *, reconfirmed: bool) -> bool:
    """Return whether a resume must not change accounts that have changed since they were planned.

    That is so if the changes are precomputed, or were approved. ``reconfirmed`` says whether the resume makes a new
    plan, which the user confirms first.
    """
    precomputed = UNDO in record.options or PLAN in record.options
    return precomputed or (bool(record.options.get(APPROVED)) and not reconfirmed)


def created_groups(options: Mapping[str, Any]) -> tuple[Group, ...]:
    """Return the groups that a run created, or is to create, from its stored options."""
    return tuple([Group(group_id, name) for group_id, name in (options.get(NEW_GROUPS) or {}).items()])


def dump_group_names(names: Mapping[str, str]) -> dict[str, Any]:
    """Return the options that keep the names of groups, by their folded ids; none if there are many."""
    return {GROUP_NAMES: names} if 0 < len(names) <= _MOST_GROUP_NAMES else {}


def new_record(
    context: Context, info: SheetInfo, url: str, options: Mapping[str, Any], *, command: str, run_id: str = ""
) -> RunRecord:
    """Make the record of a run that begins now; ``options`` are those to store, ``run_id`` is empty for a new id."""
    now = context.clock.now()
    return RunRecord(
        run_id=run_id or new_run_id(now),
        created_at=now,
        status=RunStatus.RUNNING,
        command=command,
        source=info.source,
        base_url=url,
        organization_id="",
        host=platform.node(),
        pid=os.getpid(),
        user=context.user or system_user(),
        sheet=info.to_json(),
        options=options,
    )


def system_user(default: str = "") -> str:
    """Return the user of the operating system, or the default if there is none, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return default


def same_target(record: RunRecord, target: Target) -> Target:
    """Complete the target with the address and organisation of a run.

    A run without a plan has sent nothing, so the target may differ from it: that may fix the error that ended the run.

    Raises:
        UsageError: The run has a plan, and the target is another server or organisation; or the run is one of the
            sandbox, and the target is not on this machine.
    """
    from bulkid.runs.execution.connection import base_of

    # The embedded sandbox ended with the run, and a new one has another address, of this machine, too.
    in_sandbox = bool(record.options.get("sandbox")) and bool(target.url)
    if in_sandbox and not is_loopback(base_of(target).host):
        raise UsageError(
            f"Run {record.run_id} was begun on the sandbox, but the settings name {base_of(target).url}.",
            hint="It has changed no real account. To change real ones, run its sheet.",
        )
    if record.phase != Phase.PLANNED:
        return replace(target, url=target.url or record.base_url)
    if target.url and not (in_sandbox or is_same_base(base_of(target).url, record.base_url)):
        raise UsageError(
            f"Run {record.run_id} belongs to {record.base_url}, but the settings name {base_of(target).url}.",
            hint="Set BULKID_URL (or the profile) to the run's own address.",
        )
    organization_id = dashed_guid(target.organization_id) or record.organization_id
    if record.organization_id and fold(organization_id) != fold(dashed_guid(record.organization_id)):
        raise UsageError(
            f"Run {record.run_id} belongs to organisation {record.organization_id}, but the settings name "
            f"{organization_id}.",
            hint="Set BULKID_ORGANIZATION_ID (or the profile) to the run's own, or leave it empty.",
        )
    return replace(target, url=target.url if in_sandbox else record.base_url, organization_id=organization_id)


def owner_of(record: RunRecord) -> dict[str, Any]:
    """Describe the holder of a lock, for the message to other processes."""
    return {
        "run_id": record.run_id,
        "host": record.host,
        "pid": record.pid,
        "since": record.created_at,
        "source": record.source,
    }
