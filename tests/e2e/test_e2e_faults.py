"""Every fault of the sandbox together: each row ends with the status that the server's own state confirms."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from bulkid import runs
from bulkid.sandbox.options import FAULT_KINDS
from tests.support.hurried_clock import Hurried
from tests.support.processes import World, bulkid_for, check_report
from tests.support.sandbox_host import Hosted, hosted

NO_GROUP = "00000000-0000-4000-8000-000000000000"


class Intruder(runs.Hooks):
    """Somebody who interferes in the moment when the sending begins."""

    def __init__(self, interfere: Callable[[], object]) -> None:
        self._interfere = interfere

    def stage(self, name: str) -> None:
        """Interfere once the directory has been read."""
        if name == "send":
            self._interfere()


@dataclass(frozen=True)
class Wanted:
    """What a row of the test's sheet asks for."""

    name: str
    add: str
    remove: str

    def holds(self, account: Mapping[str, Any] | None) -> bool:
        """Whether the server's account is so."""
        if account is None:
            return False
        groups = account["groupIds"]
        return account["displayName"] == self.name and self.add in groups and self.remove not in groups


@pytest.fixture
def server() -> Iterator[Hosted]:
    with hosted(accounts=350) as started:
        yield started


def target_of(server: Hosted) -> runs.Target:
    return runs.Target(url=server.url, client_id="sandbox", client_secret="sandbox-secret")


def write_sheet(world: World) -> dict[str, Wanted]:
    """Every account gets another name, another group in, another group out."""
    groups = [group["id"] for group in world.server.groups() if group["type"] == "custom"]
    wanted = {
        account["id"]: Wanted(f"Fault {number}", groups[number % 7], groups[7 + number % 5])
        for number, account in enumerate(world.accounts)
    }
    lines = [f"{account_id},{it.name},{it.add},{it.remove}\n" for account_id, it in wanted.items()]
    header = "id,display_name,groups_to_add,groups_to_remove\n"
    (world.bulkid.folder / "faults.csv").write_text(header + "".join(lines), encoding="utf-8")
    return wanted


def compare(world: World, wanted: Mapping[str, Wanted], run_id: str) -> Counter[str]:
    """Hold every status against the server's own state; returns how many rows there are of each."""
    state = {account["id"]: account for account in world.server.accounts()}
    counts = check_report(world.bulkid, run_id, len(wanted))
    for line in world.bulkid.report(run_id):
        account_id = line["robot_account_id"]
        done = wanted[account_id].holds(state.get(account_id))
        if line["status"] != "pending":
            assert (line["status"] == "updated") == done, line
        if line["status"] == "failed":
            assert line["error"], line
    return counts


def apply(world: World, *, read: bool, seed: int) -> runs.RunResult:
    """Run the sheet as a library caller does who cannot wait."""
    context = runs.Context(
        state_dir=world.bulkid.folder / "state",
        clock=Hurried(50),
        hooks=Intruder(lambda: world.server.portal.call(world.server.sandbox.state.delete, world.accounts[seed]["id"])),
    )
    options = runs.RunOptions(
        yes_really=True, read=read, retry_base_s=0.1, report_dir=world.bulkid.folder / "reports", timeout_s=300
    )
    sheet = world.bulkid.folder / "faults.csv"
    return anyio.run(runs.run, sheet, target_of(world.server), options, context)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("total", "read", "rows"), [(0.2, True, 300), (0.2, False, 300), (0.88, True, 50), (0.88, False, 50)]
)
def test_every_fault_together(total: float, rows: int, server: Hosted, tmp_path: Path, *, read: bool) -> None:
    world = World(server, bulkid_for(server, tmp_path), rows)
    wanted = write_sheet(world)
    each = round(total / len(FAULT_KINDS), 4)
    server.set_faults(**dict.fromkeys(FAULT_KINDS, each), token_error=0.2, slow_s=0.02, retry_after_s=1)
    result = apply(world, read=read, seed=17)
    run_id = result.run.run_id
    counts = compare(world, wanted, run_id)
    injected = server.sandbox.injected
    assert set(injected) <= {*FAULT_KINDS, "token_error"}
    assert len(injected) > len(FAULT_KINDS) // 2  # each is drawn by chance: a run may miss some
    assert result.exit_code in ({1} if total < 0.5 and read else {1, 3}), result.error
    assert (result.exit_code == 3) == bool(counts["pending"])
    if read and total < 0.5:
        assert counts == {"updated": rows - 1, "failed": 1}  # the one that was taken away meanwhile

    server.set_faults()
    if counts["pending"]:
        since = server.served()
        settled = {line["robot_account_id"] for line in world.bulkid.report(run_id) if line["status"] != "pending"}
        context = runs.Context(state_dir=tmp_path / "state")
        resumed = anyio.run(runs.resume, run_id, target_of(server), context)
        assert resumed.exit_code == 1, resumed.error
        assert not settled & set(world.puts(since))
        counts = compare(world, wanted, run_id)
    assert not counts["pending"]
    gone = next(line for line in world.bulkid.report(run_id) if line["robot_account_id"] == world.accounts[17]["id"])
    assert gone["status"] == "failed"
    summary = json.loads((world.bulkid.run_folder(run_id) / "summary.json").read_text(encoding="utf-8"))
    # One row is one request that settles it; all others were tries again, each counted.
    assert summary["requests"]["PUT"] >= rows
    assert summary["throttled"] > 0
    assert summary["retries"] >= summary["throttled"]
