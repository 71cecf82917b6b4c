"""Peak memory of one run over 100,000 rows: ``bulkid run``, and the admin's script beside it."""

import argparse
import tempfile
from pathlib import Path

from commands import baseline, bulkid
from harness import alternate, server, table
from make_sheet import write_sheet

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=1)
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
        print(table(alternate(variants, arguments.runs), requests=rows))
