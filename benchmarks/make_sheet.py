"""Write a sheet for the benchmark's organisation: ``python make_sheet.py sheet.csv 100000 --workload mixed``.

Without a workload each row renames one account and puts it into one group.
"""

import argparse
import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from directory import GROUPS, account_id, group_id, group_name

Row = list[str]


def write_sheet(path: Path, rows: int) -> None:
    """Write ``rows`` rows; every one of them changes something on a server that was just started or reset."""
    header = ["robot_account_id", "display_name", "groups_to_add", "groups_to_remove"]
    _write(
        path,
        header,
        ([account_id(each), f"Renamed {each}", group_id(1 + each % (GROUPS - 1)), ""] for each in range(rows)),
    )


def write_workload(path: Path, rows: int, name: str) -> None:
    """Write a workload of ``workloads.py``. Where it has fewer accounts than rows, the first of them take two rows."""
    from workloads import WORKLOADS

    workload = WORKLOADS[name]
    changes = workload.changes(rows)
    header = ["name" if workload.by_name else "robot_account_id", "display_name"]
    header += ["groups"] if workload.exact else ["groups_to_add", "groups_to_remove"]
    names = {group_id(number): group_name(number) for number in range(1 + workload.groups(rows))}

    def lists(ids: Iterable[str], what: str = "") -> str:
        said = [names[each] for each in ids] if workload.by_name else list(ids)
        return "; ".join([*said, "Nowhere"] if what and what in workload.invalid else said)

    def made() -> Iterator[Row]:
        more = rows - len(changes)
        for place, change in enumerate(changes):
            account = [change.name if workload.by_name else change.account_id]
            renamed = [change.values[0] or ""] if change.sets_fields else [""]
            if workload.exact:
                kept = change.before.group_ids or () if change.before is not None else ()
                wanted = [each for each in kept if each not in change.remove] + list(change.add)
                groups = [lists(wanted) or "!clear"]
            else:
                groups = [lists(change.add, "add"), lists(change.remove, "remove")]
            if place < more:  # one row for the name, one for the groups
                yield [*account, *renamed, *groups]
                yield [*account, "", *groups]
            else:
                yield [*account, *renamed, *groups]

    _write(path, header, made())


def _write(path: Path, header: Row, rows: Iterable[Row]) -> None:
    if path.suffix == ".xlsx":
        import xlsxwriter

        with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
            sheet = book.add_worksheet()
            for number, row in enumerate([header, *rows]):
                for column, cell in enumerate(row):
                    if cell:
                        sheet.write_string(number, column, cell)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("rows", type=int)
    parser.add_argument("--workload", help="one of workloads.py")
    arguments = parser.parse_args()
    if arguments.workload:
        write_workload(arguments.path, arguments.rows, arguments.workload)
    else:
        write_sheet(arguments.path, arguments.rows)
