"""Thousands of accounts created and deleted on the sandbox under Automation Cloud's quotas: requests, time, memory.

    python benchmarks/lifecycle.py                       # 10,000 accounts
    python benchmarks/lifecycle.py --accounts 100000 --no-quota     # how much memory that takes, without the waiting

Each line is one run of bulkid: accounts created in three existing groups each, existing accounts into three new groups,
and accounts deleted. The sandbox counts the requests that it served; those for a token are not among them.
"""

import argparse
import csv
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from anyio.from_thread import start_blocking_portal
from harness import Variant, measure

from bulkid.sandbox.options import SandboxOptions, parse_limits
from bulkid.sandbox.server import Sandbox

CLOUD = "GET=300/300,PUT=160/300,DELETE=160/300,POST=24000/300"
EXISTING_GROUPS = "Finance; Legal; Payroll"
MANY = 1_000_000  # more requests than all runs send
NEW_GROUPS = ("Claims Desk", "Warehouse West", "Tax Returns")


@contextmanager
def serving(quota: str) -> Iterator[Sandbox]:
    """A sandbox in a thread of this process, with a few accounts that stay as they are."""
    sandbox = Sandbox(SandboxOptions(accounts=1000, limits=parse_limits(quota), log_size=MANY))
    with start_blocking_portal() as portal:
        portal.call(sandbox.start)
        yield sandbox
        portal.call(sandbox.stop)


def write_sheet(path: Path, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a sheet as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(headers)
        writer.writerows(rows)


def run(sandbox: Sandbox, name: str, sheet: Path, folder: Path, *options: str) -> str:
    """Run a sheet as a user does; give a line of the table."""
    served = len(sandbox.log)
    summary = folder / f"{name}.json"
    settings = {"BULKID_URL": sandbox.url, "BULKID_CLIENT_ID": "sandbox", "BULKID_CLIENT_SECRET": "sandbox-secret"}
    command = [sys.executable, "-m", "bulkid", "--state-dir", str(folder / "state"), "run", str(sheet)]
    common = ["--quiet", "--yes", "--yes-really", "--report-dir", str(summary)]
    found = measure(Variant(name, [*command, *common, *options], settings), together=True)
    (report,) = summary.glob("*/summary.json")
    counts = json.loads(report.read_bytes())
    done = {status: counts[status] for status in ("updated", "created", "deleted", "unchanged")}
    if sum(done.values()) != counts["rows"] or counts["throttled"]:
        sys.exit(f"not as it should be: {counts}")
    sent = Counter(entry.method for entry in list(sandbox.log)[served:])
    requests = ", ".join(f"{count:,} {method}" for method, count in sorted(sent.items()))
    # Not the peak of the largest process: that is never below what this process, with the sandbox in it, held before.
    memory_mb = found.together_mib * 2**20 / 1e6
    cells = [name, f"{counts['rows']:,}", requests, f"{found.wall_s:.1f} s", f"{found.cpu_s:.1f} s"]
    return f"| {' | '.join(cells)} | {memory_mb:.0f} MB |"


def main(accounts: int, quota: str) -> None:
    """Print the table."""
    limits = [part for rule in quota.split(",") for part in ("--quota", rule)]
    print("| run | rows | requests | wall | CPU | memory of all processes |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name, serving(quota) as sandbox:
        folder = Path(name)
        created = folder / "create.csv"
        names = [f"NEW-{number:06d}" for number in range(accounts)]
        headers = ("action", "name", "display_name", "groups_to_add")
        write_sheet(created, headers, (("create", each, f"Robot {each}", EXISTING_GROUPS) for each in names))
        print(run(sandbox, "create in three groups", created, folder, *limits), flush=True)
        joining = folder / "join.csv"
        groups = "; ".join(NEW_GROUPS)
        write_sheet(joining, ("name", "groups_to_add"), ((each, groups) for each in names))
        print(run(sandbox, "into three new groups", joining, folder, *limits, "--create-groups"), flush=True)
        deleted = folder / "delete.csv"
        some = names[: min(accounts, 10_000)]
        write_sheet(deleted, ("name", "action"), ((each, "delete") for each in some))
        print(run(sandbox, "delete", deleted, folder, *limits, "--allow-delete"), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=10_000)
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    parser.add_argument("--no-quota", action="store_true", help="neither the sandbox nor bulkid keeps a quota")
    arguments = parser.parse_args()
    main(arguments.accounts, "none" if arguments.no_quota else CLOUD)
