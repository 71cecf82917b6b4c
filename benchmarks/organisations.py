"""200 organisations at Automation Cloud's count of PUTs in one process: what that takes of processor, memory and time.

    python benchmarks/organisations.py --organisations 200 --rows 320 --window 60

A window of 60 s instead of 300 makes it five times as hard as real life, and short enough to wait for.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import HERE, SERVER_CORE, Variant, measure

COUNT = 160  # PUTs per window, as on Automation Cloud


def write_jobs(folder: Path, urls: list[str], rows: int, quota: str) -> list[str]:
    """A sheet and a job file for each organisation."""
    lines = "".join(f"robot-{number:04d},Renamed {number}\n" for number in range(1, rows + 1))
    (folder / "sheet.csv").write_text("name,display_name\n" + lines, encoding="utf-8")
    jobs = []
    for number, url in enumerate(urls):
        path = folder / f"org{number:03d}.toml"
        path.write_text(
            f'source = "sheet.csv"\nurl = "{url}"\nclient_id = "sandbox"\nclient_secret_env = "BENCH_SECRET"\n'
            "yes = true\nyes_really = true\nquiet = true\n"
            f'quota = ["{quota}"]\nreport_dir = "reports/{number}"\nstate_dir = "state"\n',
            encoding="utf-8",
        )
        jobs.append(str(path))
    return jobs


def main() -> None:
    """Run it once and print a row of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--organisations", type=int, default=200)
    parser.add_argument("--rows", type=int, default=320)
    parser.add_argument("--window", type=float, default=60.0)
    arguments = parser.parse_args()
    quota = f"PUT={COUNT}/{arguments.window:g}"
    command = [sys.executable, str(HERE / "sandboxes.py"), "--core", str(SERVER_CORE), "--limits", quota]
    # 40 accounts of the sandbox have names that are no robot-0001
    command += ["--organisations", str(arguments.organisations), "--accounts", str(arguments.rows + 40)]
    with (
        tempfile.TemporaryDirectory() as scratch,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdout is not None
        urls = []
        while (line := server.stdout.readline().strip()) != "ready":
            if not line:
                sys.exit("The sandboxes did not start.")
            urls.append(line)
        folder = Path(scratch)
        jobs = write_jobs(folder, urls, arguments.rows, quota)
        run = [sys.executable, "-m", "bulkid", "run", *jobs]
        measured = measure(Variant("organisations", run, {"BENCH_SECRET": "sandbox-secret"}))
        server.terminate()
        puts, refused, renamed = map(int, server.stdout.read().split())
    wanted = arguments.organisations * arguments.rows
    if renamed != wanted or puts < wanted:
        sys.exit(f"{wanted} accounts should have been renamed, but {renamed} were, by {puts} PUTs")
    least = (math.ceil(arguments.rows / COUNT) - 1) * arguments.window
    print("| organisations | PUTs | answered 429 | wall | least possible | CPU | CPU per PUT | peak memory |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    taken = f"{measured.wall_s:.1f} s | {least:g} s | {measured.cpu_s:.1f} s | {measured.cpu_s / puts * 1e6:.0f} us"
    print(f"| {arguments.organisations} | {puts} | {refused} | {taken} | {measured.peak_mib:.0f} MiB |")


if __name__ == "__main__":
    main()
