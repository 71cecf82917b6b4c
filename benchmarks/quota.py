"""200 changed accounts under PUT=20/5: nothing answered 429, and hardly longer than the quota demands."""

import argparse
import math
import tempfile
from pathlib import Path

from commands import bulkid
from harness import ask, measure, server
from make_sheet import write_sheet

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    rule = f"{arguments.count}/{arguments.seconds:g}"
    with tempfile.TemporaryDirectory() as folder, server(arguments.rows, "--limit", rule) as url:
        scratch = Path(folder)
        sheet = scratch / "sheet.csv"
        write_sheet(sheet, arguments.rows)
        measured = measure(bulkid(sheet, url, arguments.rows, scratch, "--quota", f"PUT={rule}"))
        stats = ask(url, "/_stats")
    least = (math.ceil(arguments.rows / arguments.count) - 1) * arguments.seconds
    span = stats["put_span_s"]
    print("| PUTs | answered 429 | first to last PUT | least possible | more than that | whole command |")
    print("| --- | --- | --- | --- | --- | --- |")
    more = f"{(span / least - 1) * 100:.2f} %"
    counts = f"{stats['served']['PUT']} | {stats['refused_429']}"
    print(f"| {counts} | {span:.3f} s | {least:g} s | {more} | {measured.wall_s:.3f} s |")
