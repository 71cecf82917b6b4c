"""Who could go by group: the membership changes of a plan, gathered so that what is alike is counted, not repeated."""

from array import array
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from bulkid.model import Change
from bulkid.text import fold

_REMEMBERED: Final = 4096  # distinct changes of groups; more than that and they hardly repeat

OWN_PUT = -1
"""In place of a class: the account's own PUT is needed whatever the groups do."""


class MembershipClasses(NamedTuple):
    """The accounts of a plan by the groups that they change. All accounts of one class cost the same."""

    group_ids: tuple[str, ...]  # as first written
    groups: tuple[tuple[int, ...], ...]  # of each class: the groups (places in group_ids) that its accounts change
    counts: tuple[int, ...]  # of each class: how many accounts
    class_of: Sequence[int]  # of each change: its class, or OWN_PUT

    def loads(self) -> list[int]:
        """Give, of each group, how many accounts its PUTs would carry if every account went by group."""
        loads = [0] * len(self.group_ids)
        for groups, count in zip(self.groups, self.counts, strict=True):
            for group in groups:
                loads[group] += count
        return loads

    def by_group(self) -> list[list[int]]:
        """Give, of each group, the classes that change it."""
        classes: list[list[int]] = [[] for _ in self.group_ids]
        for class_index, groups in enumerate(self.groups):
            for group in groups:
                classes[group].append(class_index)
        return classes


class GroupNumbers(dict[str, int]):
    """Numbers groups in the order of their first use: ``numbers[id]``. Ids compare by :func:`fold`."""

    def __init__(self, group_ids: Iterable[str] = ()) -> None:
        super().__init__()
        self.ids: list[str] = []
        self._folded: dict[str, int] = {}
        for group_id in group_ids:
            self.__missing__(group_id)

    def __missing__(self, group_id: str) -> int:
        number = self._folded.setdefault(fold(group_id), len(self.ids))
        if number == len(self.ids):
            self.ids.append(group_id)
        self[group_id] = number
        return number


def classify(changes: Sequence[Change], refusing: Collection[str] = ()) -> MembershipClasses:
    """Gather the accounts that change the same groups.

    Not by group go: an account that is renamed (its own PUT is sent anyway), one whose state is not known (blind:
    nothing says what a group PUT would have to do), one that is to be both in and out of one group (no plan has
    such a change; the server decides), and one whose groups refuse group requests.
    """
    number = GroupNumbers()
    classes: dict[tuple[int, ...], int] = {}
    counts: list[int] = []
    class_of = array("i")
    known: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[tuple[int, ...], bool]] = {}
    for change in changes:
        add, remove = change.add, change.remove
        found = known.get((add, remove))
        if found is None:
            found = _groups_of(add, remove, number, refusing)
            if len(known) < _REMEMBERED:
                known[add, remove] = found
        groups, by_account = found
        if change.sets_fields or by_account or (change.before is None and groups):
            class_of.append(OWN_PUT)
            continue
        class_index = classes.setdefault(groups, len(counts))
        if class_index == len(counts):
            counts.append(0)
        counts[class_index] += 1
        class_of.append(class_index)
    return MembershipClasses(tuple(number.ids), tuple(classes), tuple(counts), class_of)


def _groups_of(
    add: tuple[str, ...], remove: tuple[str, ...], number: GroupNumbers, refusing: Collection[str]
) -> tuple[tuple[int, ...], bool]:
    """Give the groups that a change adds or removes, and whether they keep it from going by group."""
    if len(add) + len(remove) == 1:
        groups: tuple[int, ...] = (number[(add or remove)[0]],)
        conflicting = False
    elif add and remove:
        added, removed = {number[group] for group in add}, {number[group] for group in remove}
        groups = tuple(sorted(added | removed))
        conflicting = not added.isdisjoint(removed)
    else:
        groups = tuple(sorted({number[group] for group in add or remove}))
        conflicting = False
    return groups, conflicting or (bool(refusing) and any(fold(number.ids[group]) in refusing for group in groups))
