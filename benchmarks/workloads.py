"""The plans that the benchmarks measure, as changes of a made-up organisation; always the same.

``WORKLOADS`` names those that are written as sheets (``make_sheet.py``) and served (``fast_server.py --workload``).
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from directory import account_id, account_name, group_id

from bulkid.model import Account, Change


def change(number: int, groups: list[int], *, renames: bool = False, removes: bool = False) -> Change:
    """An account that is renamed, and added to groups that it is not in, or taken out of those that it is in.

    Groups count from 0; number 0 is the directory's first group after Everyone.
    """
    ids = tuple(group_id(1 + group) for group in groups)
    before = Account(account_id(number), account_name(number), (f"Robot {number}",), ids if removes else ())
    add, remove = ((), ids) if removes else (ids, ())
    name = f"Renamed {number}" if renames else before.values[0]
    return Change(before.id, before.name, (name,), renames, add, remove, before)


def into_groups(accounts: int, groups: int) -> list[Change]:
    """Every account into the same groups."""
    return [change(number, list(range(groups))) for number in range(accounts)]


def renamed(accounts: int) -> list[Change]:
    """A new display name for every account, and nothing else."""
    return [change(number, [], renames=True) for number in range(accounts)]


def mixed(accounts: int, groups: int, *, renames: float, memberships: tuple[int, ...], seed: int = 1) -> list[Change]:
    """Some accounts renamed, and each into or out of some groups by chance.

    Args:
        accounts: How many rows the sheet has; those that change nothing are not among the changes.
        groups: How many groups to choose from.
        renames: The share of the accounts that are renamed, 0 to 1.
        memberships: How many groups an account changes: one of these, each as likely.
        seed: Of the chance.
    """
    chance = random.Random(seed)
    made = []
    for number in range(accounts):
        chosen = chance.sample(range(groups), chance.choice(memberships))
        one = change(number, chosen, renames=chance.random() < renames, removes=chance.random() < 0.3)
        if not one.empty:
            made.append(one)
    return made


@dataclass(frozen=True, slots=True)
class Workload:
    """A plan as a sheet.

    Args:
        description: What it is, for a table.
        groups: How many groups the organisation has beside Everyone, for a number of rows.
        changes: The changes, for a number of rows: one for each account, so as many as rows or fewer.
        by_name: Whether the sheet names accounts and groups by name, not by id.
        exact: Whether it gives the exact list of groups.
        invalid: Names a group in every row: one that does not exist, or one that is both added and removed.
    """

    description: str
    groups: Callable[[int], int]
    changes: Callable[[int], list[Change]]
    by_name: bool = False
    exact: bool = False
    invalid: str = ""


def _mixed(rows: int) -> list[Change]:
    return mixed(max(1, rows * 95 // 100), 40, renames=0.5, memberships=(1, 1, 2))


def _forty(_rows: int) -> int:
    return 40


WORKLOADS: Mapping[str, Workload] = {
    "renames": Workload("renames", _forty, renamed),
    "groups": Workload("every account into 3 groups", _forty, lambda rows: into_groups(rows, 3)),
    "mixed": Workload("renames and memberships, 5 % of the accounts in two rows, 40 groups", _forty, _mixed),
    "names": Workload("the same by names of accounts and groups", _forty, _mixed, by_name=True),
    "exact": Workload("the same as exact lists of groups", _forty, _mixed, exact=True),
    "lists": Workload(
        "1 to 6 of 200 groups",
        lambda _: 200,
        lambda rows: mixed(rows, 200, renames=0.2, memberships=(1, 2, 3, 4, 5, 6)),
    ),
    "wide": Workload(
        "2 of as many groups as a third of the rows",
        lambda rows: max(rows // 3, 2),
        lambda rows: mixed(rows, max(rows // 3, 2), renames=0, memberships=(2,)),
    ),
    "unknown": Workload("a group that does not exist in every row", _forty, _mixed, invalid="add"),
    "invalid": Workload("a group both added and removed in every row", _forty, _mixed, invalid="add and remove"),
}
