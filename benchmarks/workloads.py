"""Plans to count: what the benchmarks of requests ask for, as changes of a made-up organisation; always the same."""

import random

from bulkid.model import Account, Change


def group_id(number: int) -> str:
    """The id of a group."""
    return f"00000000-0000-4000-9000-{number:012d}"


def change(number: int, groups: list[int], *, renames: bool = False, removes: bool = False) -> Change:
    """An account that is renamed, and added to groups that it is not in, or taken out of those that it is in."""
    ids = tuple(map(group_id, groups))
    account_id, name = f"{number:08x}-0000-4000-8000-{number:012d}", f"robot-{number:06d}"
    before = Account(account_id, name, "Robot", ids if removes else ())
    add, remove = ((), ids) if removes else (ids, ())
    return Change(account_id, name, "Renamed" if renames else "Robot", renames, add, remove, before)


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
