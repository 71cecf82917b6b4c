"""How many PUTs a sheet takes, and how long Automation Cloud's quota makes them last, beside one PUT per row.

Nothing is sent: the rows are resolved and compared with a made-up directory as `bulkid plan` does it.
"""

import argparse
from collections.abc import Sequence

from workloads import into_groups, mixed, renamed

from bulkid.model import Account, Change, Group, QuotaRule, RowRequest
from bulkid.planning.cover import accounts_only, cover
from bulkid.planning.directory import Directory
from bulkid.planning.plan import diff
from bulkid.planning.resolve import resolve
from bulkid.planning.strategy import minimum_seconds

CLOUD = (QuotaRule("PUT", 160, 300.0),)  # Automation Cloud: PUTs per five minutes
ORGANIZATION = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


def row_of(number: int, change: Change) -> RowRequest:
    """The row of a sheet that asks for a change."""
    display_name = change.values[0] if change.sets_fields else None
    return RowRequest(number, change.account_id, "", (display_name,), change.add, change.remove, None, "")


def state_after(change: Change) -> Account:
    """The account as the change leaves it."""
    before = change.before
    assert before is not None
    kept = tuple(group for group in before.group_ids or () if group not in change.remove)
    return before._replace(values=(change.values[0] or "",), group_ids=(*kept, *change.add))


def changes_of(wanted: Sequence[Change], *, done: float = 0.0) -> list[Change]:
    """What is left to be sent of a sheet with one row per account, when a share of the accounts is as wanted."""
    settled = round(len(wanted) * done)
    accounts = [
        state_after(change) if place < settled else change.before
        for place, change in enumerate(wanted)
        if change.before
    ]
    groups = sorted({group for change in wanted for group in change.add + change.remove})
    directory = Directory(ORGANIZATION, accounts, [Group(group, f"Group {group[-4:]}") for group in groups])
    found = resolve([row_of(number, change) for number, change in enumerate(wanted, 2)], directory, {})
    assert not found.row_errors
    compared = (diff(desired, directory.account(desired.account_id), directory) for desired in found.desired_states)
    return [change for change in compared if not change.empty]


def duration(puts: int) -> str:
    """The least time that so many PUTs take under the quota."""
    return f"{minimum_seconds(puts, CLOUD, 'PUT') / 60:,.0f} min"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=200, help="most accounts in one group PUT")
    arguments = parser.parse_args()
    rows = arguments.rows
    changing = mixed(rows, 40, renames=0.2, memberships=(1, 1, 2))
    plans = {
        f"{rows:,} accounts into 3 groups": changes_of(into_groups(rows, 3)),
        f"{rows:,} mixed changes over 40 groups, 20 % renames": changes_of(changing),
        f"{rows:,} renames": changes_of(renamed(rows)),
        f"the mixed changes, 70 % of the {rows:,} rows already as wanted": changes_of(changing, done=0.7),
    }
    print("| sheet | one PUT per row | one PUT per account that differs | bulkid |")
    print("| --- | --- | --- | --- |")
    for name, changes in plans.items():
        counts = (rows, accounts_only(changes).puts, cover(changes, arguments.batch).puts)
        print(f"| {name} | {' | '.join(f'{puts:,} ({duration(puts)})' for puts in counts)} |")
