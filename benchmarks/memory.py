"""Peak memory and CPU of every command that takes 100,000 rows, over every workload, as CSV and as xlsx.

    python benchmarks/memory.py                                   # everything
    python benchmarks/memory.py --workload mixed --kind csv       # one of them
    python benchmarks/memory.py --command undo --command resume   # these commands alone

``plan (quota)`` is a plan under Automation Cloud's quota, so that the search for the fewest requests counts in; ``run
(groups)`` sends group requests wherever they can carry a change, and reads the accounts back. So do the commands that
go on from another one: ``resume`` of all that a trial of one account left, ``undo``, and ``run --plan``. The commands
may use every core: on one alone bulkid starts no child process for a text.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from commands import baseline, bulkid, command_of, second_command
from harness import HERE, Measurement, Variant, alternate, measure, server, table
from make_sheet import write_sheet

LIMIT_MB = 300
WORKLOADS = ("renames", "groups", "mixed", "names", "exact", "lists", "wide", "unknown", "invalid")
"""Those of workloads.py, by name: to import it here would make this process large, and every figure with it."""


def commands(sheet: Path, url: str, scratch: Path, workload: str) -> list[Variant]:
    """Every command, over one sheet."""
    refused = frozenset({2}) if workload in {"unknown", "invalid"} else frozenset({0})
    made = [
        command_of("check", "check", sheet, exits=refused if workload == "invalid" else frozenset({0})),
        command_of("plan", "plan", sheet, url=url, scratch=scratch, exits=refused),
        command_of("plan (quota)", "plan", sheet, "--quota", "PUT=160/300", url=url, scratch=scratch, exits=refused),
        command_of("run", "run", sheet, "--via", "accounts", url=url, scratch=scratch, exits=refused),
    ]
    if workload not in {"renames", "unknown", "invalid"}:  # these have nothing that a group request could carry
        made.append(command_of("run (groups)", "run", sheet, "--via", "groups", url=url, scratch=scratch))
    if workload not in {"unknown", "invalid"}:  # of these nothing is sent
        made += [
            second_command(name, sheet, "--via", via, url=url, scratch=scratch)
            for name in ("resume", "undo", "run --plan")
            for via in (("accounts", "groups") if workload != "renames" else ("accounts",))
        ]
    return made


def line(workload: str, kind: str, command: str, found: list[Measurement]) -> str:
    """One line of the table."""
    peak = statistics.median(each.peak_mib for each in found) * 2**20 / 1e6
    cpu = statistics.median(each.cpu_s for each in found)
    wall = statistics.median(each.wall_s for each in found)
    together = statistics.median(each.together_mib for each in found) * 2**20 / 1e6
    over = " (over)" if max(peak, together) > LIMIT_MB else ""
    return f"| {workload} | {kind} | {command} | {peak:.0f} MB | {together:.0f} MB{over} | {cpu:.2f} s | {wall:.2f} s |"


def every_workload(rows: int, runs: int, workloads: list[str], kinds: list[str], only: list[str]) -> None:
    """Print a line for each command (``only``: for those that begin so) over each sheet, as it comes."""
    print("| workload | sheet | command | peak memory | of all processes | CPU | wall |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for workload in workloads:
        with (
            tempfile.TemporaryDirectory() as folder,
            server(rows, "--workload", workload) as url,
        ):
            scratch = Path(folder)
            for kind in kinds:
                sheet = scratch / f"sheet.{kind}"
                make = [sys.executable, str(HERE / "make_sheet.py"), str(sheet), str(rows), "--workload", workload]
                subprocess.run(make, check=True)
                for variant in commands(sheet, url, scratch, workload):
                    if only and not variant.name.startswith(tuple(only)):
                        continue
                    print(
                        line(workload, kind, variant.name, [measure(variant, together=True) for _ in range(runs)]),
                        flush=True,
                    )


def beside_the_script(rows: int, runs: int) -> None:
    """Print a run beside that of the admin's script."""
    with tempfile.TemporaryDirectory() as folder, server(rows) as url:
        scratch = Path(folder)
        sheet = scratch / "sheet.csv"
        write_sheet(sheet, rows)
        variants = [baseline(sheet, url, rows, scratch), bulkid(sheet, url, rows, scratch)]
        print(table(alternate(variants, runs), requests=rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--workload", choices=WORKLOADS, action="append", help="only this one (repeatable)")
    parser.add_argument("--kind", choices=("csv", "xlsx"), action="append", help="only this kind of sheet")
    parser.add_argument("--command", action="append", help="only commands whose name begins so (repeatable)")
    parser.add_argument("--script", action="store_true", help="only a run beside the admin's script")
    arguments = parser.parse_args()
    if arguments.script:
        beside_the_script(arguments.rows, arguments.runs)
    else:
        every_workload(
            arguments.rows,
            arguments.runs,
            arguments.workload or list(WORKLOADS),
            arguments.kind or ["csv", "xlsx"],
            arguments.command or [],
        )
