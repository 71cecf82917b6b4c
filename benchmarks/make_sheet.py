"""Write a CSV in which each row renames one account of the benchmark's organisation and puts it into one group."""

import argparse
import csv
from pathlib import Path

from directory import GROUPS, account_id, group_id


def write_sheet(path: Path, rows: int) -> None:
    """Write ``rows`` rows; every one of them changes something on a server that was just started or reset."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["robot_account_id", "display_name", "groups_to_add", "groups_to_remove"])
        for number in range(rows):
            writer.writerow([account_id(number), f"Renamed {number}", group_id(1 + number % (GROUPS - 1)), ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("rows", type=int)
    arguments = parser.parse_args()
    write_sheet(arguments.path, arguments.rows)
