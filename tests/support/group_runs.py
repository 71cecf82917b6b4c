"""Runs that change memberships by requests to groups, and what the server has afterwards."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio

from bulkid import runs
from bulkid.report.writer import ReportFiles
from tests.support.bulkid_command import ANY_CHANGE, SECRET, Bulkid
from tests.support.hurried_clock import Hurried
from tests.support.sandbox_host import Hosted
from tests.support.sheets import sheet_of

GROUPS = ("Finance", "Automation Users", "Trainees")


def emptied(host: Hosted, accounts: int) -> list[str]:
    """Take the first accounts out of every group; gives their names."""
    state = host.sandbox.state
    named = sorted(state.accounts.values(), key=lambda account: account.name)[:accounts]
    for account in named:
        state.leave(account, [group for group in state.groups.values() if group is not state.everyone])
    return [account.name for account in named]


def connected(host: Hosted) -> dict[str, str]:
    return {"BULKID_URL": host.url, "BULKID_CLIENT_ID": "sandbox", "BULKID_CLIENT_SECRET": SECRET, **ANY_CHANGE}


def memberships(host: Hosted, group: str) -> set[str]:
    state = host.sandbox.state
    return {account.name for account in state.members(state.group_named(group))}


def into_groups(folder: Path, names: Sequence[str], groups: Sequence[str] = GROUPS) -> Path:
    rows = [("name", "groups_to_add"), *((name, groups[n % len(groups)]) for n, name in enumerate(names))]
    return sheet_of(folder, rows)


def run(
    host: Hosted, folder: Path, sheet: Path, hooks: runs.Hooks | None = None, **options: Any
) -> tuple[runs.RunResult, list[dict[str, str]]]:
    """Run a sheet as a library caller does; gives the report's rows too."""
    given = runs.RunOptions(**{"yes_really": True, "report_dir": folder / "reports", "retry_base_s": 0.05, **options})
    context = runs.Context(state_dir=folder / "state", hooks=hooks or runs.Hooks(), clock=Hurried())
    target = runs.Target(url=host.url, client_id="sandbox", client_secret=SECRET)
    result = anyio.run(runs.run, sheet, target, given, context)
    assert isinstance(result.report, ReportFiles)
    return result, Bulkid(folder).report(result.run.run_id)


def puts(host: Hosted) -> tuple[list[str], list[str]]:
    """The paths of the PUTs that came in: to groups, to accounts."""
    paths = [entry.path for entry in host.puts()]
    return [path for path in paths if "/Group/" in path], [path for path in paths if "/RobotAccount/" in path]


def by_name(rows: Sequence[Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    return {row["name"]: row for row in rows}
