"""How long the choice between account PUTs and group PUTs takes, how much memory, and what it saves."""

import argparse
import time
import tracemalloc

from workloads import into_groups, mixed

from bulkid.model import Change
from bulkid.planning.cover import cover


def workloads(scale: float) -> dict[str, list[Change]]:
    """The plans of the table; at scale 1 the largest has 100,000 accounts."""
    many = int(100_000 * scale)
    few, pairs = many // 10, many // 5
    third = (0, 1, 2)
    return {
        f"{few:,} accounts into 3 groups": into_groups(few, 3),
        f"{few:,} mixed, 40 groups, 20 % renames": mixed(few, 40, renames=0.2, memberships=third),
        f"{many:,} mixed, 200 groups, 20 % renames": mixed(many, 200, renames=0.2, memberships=(1, 1, 1, 2, 2)),
        f"{many:,} into 1 to 6 of 200 groups": mixed(many, 200, renames=0, memberships=(1, 2, 3, 4, 5, 6)),
        f"{pairs:,} into 2 of {few:,} groups": mixed(pairs, max(few, 2), renames=0, memberships=(2,)),
        f"{many:,} into 2 of {many // 3:,} groups": mixed(many, max(many // 3, 2), renames=0, memberships=(2,)),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=200, help="most accounts in one group PUT")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the accounts")
    arguments = parser.parse_args()
    cover(into_groups(3, 3), None)  # what is imported on first use is not what is measured
    print("| plan | membership changes | accounts that change | PUTs | CPU | memory |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, changes in workloads(arguments.scale).items():
        started = time.process_time()
        found = cover(changes, arguments.batch)
        took = time.process_time() - started
        tracemalloc.start()
        cover(changes, arguments.batch)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        edges = sum(len(change.add) + len(change.remove) for change in changes)
        print(f"| {name} | {edges:,} | {len(changes):,} | {found.puts:,} | {took:.2f} s | {peak:.0f} MiB |")
