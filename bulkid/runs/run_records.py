"""Records of runs: making a new one, and holding a target against an earlier one."""

import getpass
import os
import platform
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bulkid.errors import UsageError
from bulkid.journal import new_run_id
from bulkid.model import RunRecord, RunStatus
from bulkid.runs.execution.connection import base_of
from bulkid.runs.options import Context, Target
from bulkid.sheet import SheetInfo
from bulkid.text import fold


def new_record(
    context: Context,
    info: SheetInfo,
    url: str,
    options: Mapping[str, Any],
    *,
    command: str = "run",
    run_id: str = "",
) -> RunRecord:
    """The record of a run that begins now.

    Args:
        context: Tells the time, and who begins it.
        info: What the rows are of.
        url: The identity base.
        options: As :func:`~bulkid.runs.options_codec.dump_options` makes them.
        command: The command that began it.
        run_id: Its id, where the caller had to know it before; empty for a new one.
    """
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
    """Return the user of the operating system; the default where there is no such user, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return default


def same_target(record: RunRecord, target: Target) -> Target:
    """The target, completed by what the run knows, and refused where it is another one.

    A run that never came to its plan has sent nothing: its address or organisation may be the mistake that is mended.
    """
    if record.phase != "planned":
        return replace(target, url=target.url or record.base_url)
    # The embedded sandbox ended with the run, and another one has taken its place, at another address.
    in_sandbox = bool(record.options.get("sandbox")) and bool(target.url)
    if target.url and base_of(target).url != record.base_url and not in_sandbox:
        raise UsageError(
            f"Run {record.run_id} belongs to {record.base_url}, but the settings name {base_of(target).url}.",
            hint="Set BULKID_URL (or the profile) to the run's own address.",
        )
    organization_id = target.organization_id or record.organization_id
    if record.organization_id and fold(organization_id) != fold(record.organization_id):
        raise UsageError(
            f"Run {record.run_id} belongs to organisation {record.organization_id}, but the settings name "
            f"{organization_id}.",
            hint="Set BULKID_ORGANIZATION_ID (or the profile) to the run's own, or leave it empty.",
        )
    return replace(target, url=target.url if in_sandbox else record.base_url, organization_id=organization_id)


def owner_of(record: RunRecord) -> dict[str, Any]:
    """Who holds a lock, for the message to others."""
    return {
        "run_id": record.run_id,
        "host": record.host,
        "pid": record.pid,
        "since": record.created_at,
        "source": record.source,
    }
