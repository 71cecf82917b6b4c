"""How long a user waits for ``--help`` and ``--version``, beside the import of what any such program needs."""

import argparse
from sys import executable

from harness import Variant, alternate, ratios, table

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--warm-up", type=int, default=2, help="runs before those that are counted")
    arguments = parser.parse_args()
    floor = Variant("import typer, rich", [executable, "-c", "import typer, rich"])
    variants = [
        floor,
        Variant("bulkid --help", [executable, "-m", "bulkid", "--help"]),
        Variant("bulkid --version", [executable, "-m", "bulkid", "--version"]),
    ]
    found = alternate(variants, arguments.runs, warm_up=arguments.warm_up)
    print(table(found))
    for variant in variants[1:]:
        print(f"\n{ratios(found, variant.name, floor.name)}")
