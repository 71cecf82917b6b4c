"""20,000 rows, no limits, concurrency 16: the whole of ``bulkid run`` beside the script that an admin would write."""

import argparse
import tempfile
from pathlib import Path

from commands import baseline, bulkid
from harness import alternate, ratios, server, table
from make_sheet import write_sheet

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--baseline-only", action="store_true")
    arguments = parser.parse_args()
    rows = arguments.rows
    with tempfile.TemporaryDirectory() as folder, server(rows) as url:
        scratch = Path(folder)
        sheet = scratch / "sheet.csv"
        write_sheet(sheet, rows)
        variants = [baseline(sheet, url, rows, scratch)]
        if not arguments.baseline_only:
            variants.append(bulkid(sheet, url, rows, scratch))
        found = alternate(variants, arguments.runs, warm_up=1)
    print(table(found, requests=rows))
    if not arguments.baseline_only:
        print(f"\n{ratios(found, 'bulkid', 'baseline')}")
