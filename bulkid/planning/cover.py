"""Which request carries which change: the fewest PUTs that a plan takes.

A change of membership goes out with its account's PUT, which carries everything of that account, or with its group's,
which carries up to a batch of accounts. Accounts that are renamed have a PUT of their own anyway, and it carries their
memberships for nothing. Every other account goes wholly one way or the other.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bulkid.model import Change
from bulkid.planning.local_search import WORK, Search
from bulkid.planning.membership_classes import OWN_PUT, GroupNumbers, MembershipClasses, classify
from bulkid.planning.min_cut import cheapest_cut


class GroupBatch(NamedTuple):
    """One PUT of a group. Its members are given by their places in the changes that the cover was made of."""

    group_id: str  # as the changes write it, where it is first met
    add: tuple[int, ...]  # accounts to add to the group
    remove: tuple[int, ...]  # accounts to remove from it


@dataclass(frozen=True, slots=True)
class Cover:
    """Every change of a plan, by the request that carries it."""

    by_account: tuple[int, ...] = field(repr=False)  # places of the changes that go by account PUT, ascending
    batches: tuple[GroupBatch, ...] = field(repr=False)  # group PUTs

    @property
    def puts(self) -> int:
        """How many PUTs it takes, when none has to be repeated."""
        return len(self.by_account) + len(self.batches)


def cover(changes: Sequence[Change], batch_size: int | None, refusing: Collection[str] = ()) -> Cover:
    """Carry the changes with as few PUTs as accounts and groups allow; where both take as many, by account.

    With one PUT per group (``batch_size`` is None, or no group is larger) the result is the least number of PUTs
    and, of all such covers, the one with the most accounts by their own PUT. With batches it is one that no swap
    of :mod:`bulkid.planning.local_search` makes cheaper, and never dearer than a PUT per account.

    A batch is the most accounts in one group PUT, adds and removes together; None for any number. Accounts that
    change a group whose folded id is in ``refusing`` go by account.

    Raises:
        ValueError: A batch of less than one account.
    """
    classes = classify(changes, refusing)
    size = _batch_size_of(classes, batch_size)
    return _carry(changes, classes, size, _cheapest(classes, size))


def accounts_only(changes: Sequence[Change]) -> Cover:
    """Carry every change with its account's own PUT."""
    return Cover(tuple([place for place, change in enumerate(changes) if not change.empty]), ())


def groups_where_possible(changes: Sequence[Change], batch_size: int | None, refusing: Collection[str] = ()) -> Cover:
    """Carry by group whatever a group PUT can carry.

    By account go the accounts that are renamed, memberships and all, and those whose state is not known.

    Raises:
        ValueError: A batch of less than one account.
    """
    classes = classify(changes, refusing)
    return _carry(changes, classes, _batch_size_of(classes, batch_size), [0] * len(classes.groups))


def _batch_size_of(classes: MembershipClasses, batch_size: int | None) -> int:
    """The batch size as a number that no group exceeds when there is no limit."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"A group PUT needs room for at least one account, not {batch_size}.")
    return max(classes.loads(), default=0) + 1 if batch_size is None else batch_size


def _cheapest(classes: MembershipClasses, batch_size: int) -> Sequence[int]:
    """For each class, how many of its accounts go by their own PUT."""
    accounts = [count if groups else 0 for groups, count in zip(classes.groups, classes.counts, strict=True)]
    if batch_size == 1:
        return accounts  # a group PUT for one account never pays
    loads = classes.loads()
    cut = cheapest_cut(classes, [-(-load // batch_size) for load in loads])
    if max(loads, default=0) <= batch_size:
        return cut
    found: list[Search] = []
    work = WORK
    for start in (cut, [0] * len(accounts), accounts):  # a search ends at what is near its start: small plans get three
        if work > 0:
            search = Search(classes, batch_size, start, work)
            search.improve()
            found.append(search)
            work = search.work
    return min(found, key=lambda search: search.cost).own


def _carry(changes: Sequence[Change], classes: MembershipClasses, batch_size: int, own: Sequence[int]) -> Cover:
    """Write out a choice: of each class, the first accounts go by their own PUT, the others by group."""
    left = list(own)
    by_account: list[int] = []
    number = GroupNumbers(classes.group_ids)
    members: list[list[int]] = [[] for _ in classes.group_ids]  # a place where it joins, its complement where it leaves
    for place, (class_index, change) in enumerate(zip(classes.class_of, changes, strict=True)):
        if class_index == OWN_PUT or left[class_index]:
            by_account.append(place)
            if class_index != OWN_PUT:
                left[class_index] -= 1
            continue
        for ids, adds in ((change.add, True), (change.remove, False)):
            for group in dict.fromkeys([number[group] for group in ids]):
                members[group].append(place if adds else ~place)
    batches = [
        _batch(group_id, group_members[start : start + batch_size])
        for group_id, group_members in zip(classes.group_ids, members, strict=True)
        for start in range(0, len(group_members), batch_size)
    ]
    return Cover(tuple(by_account), tuple(batches))


def _batch(group_id: str, members: Sequence[int]) -> GroupBatch:
    """Make one PUT of a group. A member is a place where it joins the group, its complement where it leaves."""
    add = tuple([place for place in members if place >= 0])
    remove = tuple([~place for place in members if place < 0])
    return GroupBatch(group_id, add, remove)
