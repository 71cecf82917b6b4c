"""Thousands of accounts into three groups under a small quota, by group PUTs, on the sandbox: how long that takes."""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anyio.from_thread import start_blocking_portal

from bulkid.sandbox.options import SandboxOptions, parse_limits
from bulkid.sandbox.server import Sandbox

GROUPS = ("Finance", "Trainees", "Legal")


@contextmanager
def serving(accounts: int, rule: str) -> Iterator[Sandbox]:
    """A sandbox in a thread of this process."""
    sandbox = Sandbox(SandboxOptions(accounts=accounts, limits=parse_limits(f"PUT={rule}")))
    with start_blocking_portal() as portal:
        portal.call(sandbox.start)
        yield sandbox
        portal.call(sandbox.stop)


def run(url: str, scratch: Path) -> float:
    """Run the sheet as a user does; the whole command's time in seconds."""
    settings = {"BULKID_URL": url, "BULKID_CLIENT_ID": "sandbox", "BULKID_CLIENT_SECRET": "sandbox-secret"}
    command = [sys.executable, "-m", "bulkid", "--state-dir", str(scratch / "state"), "run", str(scratch / "sheet.csv")]
    options = ["--yes", "--yes-really", "--json", "--quota", f"PUT={arguments.count}/{arguments.seconds:g}"]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, *options, "--report-dir", str(scratch / "reports")],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        check=True,
    )
    took = time.perf_counter() - started
    summary = json.loads(done.stdout)
    if summary["updated"] + summary["unchanged"] != summary["rows"] or summary["throttled"]:
        sys.exit(f"not as it should be: {summary}")
    return took


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=2000)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    rule = f"{arguments.count}/{arguments.seconds:g}"
    with tempfile.TemporaryDirectory() as folder, serving(arguments.accounts, rule) as sandbox:
        scratch = Path(folder)
        ids = [account.id for account in sandbox.state.accounts.values()]
        rows = "".join(f'{each},"{"; ".join(GROUPS)}"\n' for each in ids)
        (scratch / "sheet.csv").write_text(f"id,groups_to_add\n{rows}", encoding="utf-8")
        whole = run(sandbox.url, scratch)
        puts = [entry for entry in sandbox.log if entry.method == "PUT"]
    span = max(put.arrived for put in puts) - min(put.arrived for put in puts)
    least = (math.ceil(len(puts) / arguments.count) - 1) * arguments.seconds
    by_account = (math.ceil(arguments.accounts / arguments.count) - 1) * arguments.seconds
    refused = sum(put.status == 429 for put in puts)
    print(
        "| accounts | PUTs | answered 429 | first to last PUT | least possible | one PUT per account | whole command |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    cells = f"{arguments.accounts:,} | {len(puts)} | {refused} | {span:.1f} s | {least:g} s | {by_account:g} s"
    print(f"| {cells} | {whole:.1f} s |")
