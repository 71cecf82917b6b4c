"""20,000 rows, no limits, concurrency 16: the whole of ``bulkid run`` beside the script that an admin would write.

Once against a server that is faster than either, and once against one that answers 5,000 PUTs a second (``--cost``):
there the client waits for the server, and what it does before the first PUT and after the last makes the difference.

The clients may use every core, as they do where they are installed: bulkid reads the sheet on another one while it
imports its modules. ``--one-core`` keeps them on one.
"""

import argparse
import tempfile
from pathlib import Path

from commands import baseline, bulkid
from harness import alternate, ratios, server, table
from make_sheet import write_sheet


def compare(rows: int, runs: int, *options: str, alone: bool, warm_up: int, one_core: bool) -> None:
    """Print the table of one server."""
    with tempfile.TemporaryDirectory() as folder, server(rows, *options) as url:
        scratch = Path(folder)
        sheet = scratch / "sheet.csv"
        write_sheet(sheet, rows)
        variants = [baseline(sheet, url, rows, scratch)]
        if not alone:
            variants.append(bulkid(sheet, url, rows, scratch))
        found = alternate(variants, runs, warm_up=warm_up, one_core=one_core)
    print(table(found, requests=rows))
    if not alone:
        print(f"\n{ratios(found, 'bulkid', 'baseline')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1, help="runs before those that are counted")
    parser.add_argument("--cost", type=float, default=200.0, help="microseconds per PUT of the slower server")
    parser.add_argument("--server", choices=("fast", "slow"), help="only against this one")
    parser.add_argument("--baseline-only", action="store_true")
    parser.add_argument("--one-core", action="store_true", help="keep the clients on the core that the server leaves")
    arguments = parser.parse_args()
    how = {"alone": arguments.baseline_only, "warm_up": arguments.warm_up, "one_core": arguments.one_core}
    if arguments.server != "slow":
        print("A server that is faster than the client:\n")
        compare(arguments.rows, arguments.runs, **how)
    if arguments.server != "fast":
        print(f"\nA server that takes {arguments.cost:g} us for each PUT:\n")
        compare(arguments.rows, arguments.runs, "--cost", f"{arguments.cost:g}", **how)
