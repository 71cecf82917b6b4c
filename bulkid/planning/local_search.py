"""A better cover where groups take several PUTs each: search from a start, swap by swap.

With batches, a group costs ``ceil(carried / batch_size)``, and what it carries is what the accounts leave to it. No
fixed price says that, so the cover is improved step by step until nothing that is tried makes it cheaper:

- one account to its own PUT, which pays where it was alone in the last batch of a group; or back to its groups, which
  pays where all of them have room left;
- a whole group's accounts to their own PUTs, or back;
- a group's last batch, of r accounts, to their own PUTs (those of its accounts that spare other groups a batch too);
- a new batch for a group, for accounts whose other groups have room left.

The larger steps are each followed by the single swaps that they make worth while, and undone if all that does not pay.
"Cheaper" is fewer PUTs, and with as many PUTs fewer of groups (the accounts' own outcomes are the finer ones), so the
search cannot go round in circles.
"""

from collections.abc import Callable, Iterable, Sequence

from bulkid.planning.membership_classes import MembershipClasses

WORK = 400_000
"""How many classes the larger steps may look at in all: half a second's worth. Small plans stay far below; large ones
(100,000 accounts) had less than 0.4 % of their PUTs still to gain when the steps were given twenty times as much."""

_MAX_DEFICIT = 4  # PUTs that the single swaps after a larger step may win back; what is further off is not tried


class Search:
    """A cover that is being improved: how many accounts of each class go by their own PUT.

    Args:
        own: The start.
        work: How many classes the larger steps may look at; what is left of it stays in ``work``.
    """

    def __init__(self, classes: MembershipClasses, batch_size: int, own: Sequence[int], work: int = WORK) -> None:
        self._groups = classes.groups
        self._counts = classes.counts
        self._classes_of = classes.by_group()
        self._batch_size = batch_size
        self.own = list(own)
        self._load = classes.loads()  # of each group: the accounts that its PUTs carry
        for groups, by_account in zip(classes.groups, own, strict=True):
            for group in groups:
                self._load[group] -= by_account
        self.group_puts = sum(self._batches(load) for load in self._load)
        self.puts = self.group_puts + sum(own)
        self._log: list[tuple[int, int]] = []  # what was done since the last step began: class, accounts to own PUTs
        self.work = work

    @property
    def cost(self) -> tuple[int, int]:
        """PUTs in all, and those of groups: what the search makes small, in this order."""
        return self.puts, self.group_puts

    def improve(self) -> None:
        """Swap until nothing that is tried makes the cover cheaper; the larger steps only while there is work left."""
        everything = range(len(self._groups))
        self._single_swaps(everything)
        better = True
        while better and self.work > 0:
            better = False
            for group in range(len(self._load)):
                for step in (
                    self._drop_last_batch,
                    self._send_all_by_account,
                    self._send_all_by_group,
                    self._add_batch,
                ):
                    if self.work > 0 and self._try_step(step, group):
                        better = True
            self._single_swaps(everything)

    # --- the state

    def _batches(self, load: int) -> int:
        return -(-load // self._batch_size)

    def _last_batch(self, group: int) -> int:
        """How many accounts the last batch of a group carries; 0 when it carries none at all."""
        load = self._load[group]
        return load % self._batch_size or min(load, self._batch_size)

    def _free_places(self, group: int) -> int:
        """How many accounts more a group could carry without one more PUT."""
        return -self._load[group] % self._batch_size

    def _move(self, class_index: int, count: int) -> None:
        """Send ``count`` accounts of a class by their own PUT; below zero: by group."""
        change = 0
        for group in self._groups[class_index]:
            load = self._load[group]
            change += self._batches(load - count) - self._batches(load)
            self._load[group] = load - count
        self.own[class_index] += count
        self.group_puts += change
        self.puts += change + count
        self._log.append((class_index, count))

    def _by_group(self, group: int) -> list[int]:
        """The classes of which a group carries accounts."""
        self.work -= len(self._classes_of[group])
        return [
            class_index for class_index in self._classes_of[group] if self.own[class_index] < self._counts[class_index]
        ]

    def _by_account(self, group: int) -> list[int]:
        """The classes that change a group and have accounts that go by their own PUT."""
        self.work -= len(self._classes_of[group])
        return [class_index for class_index in self._classes_of[group] if self.own[class_index]]

    # --- single swaps

    def _single_swaps(self, classes: Iterable[int]) -> None:
        """Swap accounts of these classes, one at a time, until no such swap pays; what saves a PUT before mere ties."""
        classes = list(classes)
        while self._sweep(classes, spared=2) or self._sweep(classes, spared=1):
            pass

    def _sweep(self, classes: Sequence[int], spared: int) -> bool:
        moved = False
        for class_index in classes:
            while count := self._swap(class_index, spared):
                self._move(class_index, count)
                moved = True
        return moved

    def _swap(self, class_index: int, spared: int) -> int:
        """How many accounts of a class to send by their own PUT (below zero: by group); 0 when no swap pays."""
        load, batch_size, groups = self._load, self._batch_size, self._groups[class_index]
        own = self.own[class_index]
        if own < self._counts[class_index] and sum([load[group] % batch_size == 1 for group in groups]) >= spared:
            return 1
        return -min(own, *(-load[group] % batch_size for group in groups)) if own else 0

    # --- larger steps

    def _try_step(self, step: Callable[[int], bool], group: int) -> bool:
        """Take a step and the single swaps that it makes worth while; undo all of it unless the cover got cheaper."""
        self._log.clear()
        before = self.cost
        if not step(group):
            return False
        if self._log:
            self._swap_neighbours()
        if self.cost < before:
            return True
        for class_index, count in reversed(self._log.copy()):
            self._move(class_index, -count)
        return False

    def _swap_neighbours(self) -> None:
        """Do the single swaps among the accounts that share a group with those that were moved."""
        touched = dict.fromkeys(group for class_index, _ in self._log for group in self._groups[class_index])
        neighbours: dict[int, None] = {}
        for group in touched:
            self.work -= len(self._classes_of[group])
            neighbours.update(dict.fromkeys(self._classes_of[group]))
        self._single_swaps(neighbours)

    def _send_all_by_account(self, group: int) -> bool:
        """Send all accounts of a group by their own PUT."""
        carried = self._by_group(group)
        freed: dict[int, int] = {}
        for class_index in carried:
            for other in self._groups[class_index]:
                freed[other] = freed.get(other, 0) + self._counts[class_index] - self.own[class_index]
        if self._load[group] - sum(map(self._batches, freed.values())) > _MAX_DEFICIT:
            return False
        for class_index in carried:
            self._move(class_index, self._counts[class_index] - self.own[class_index])
        return bool(carried)

    def _send_all_by_group(self, group: int) -> bool:
        """Send all accounts of a group by group."""
        by_account = self._by_account(group)
        for class_index in by_account:
            self._move(class_index, -self.own[class_index])
        return bool(by_account)

    def _drop_last_batch(self, group: int) -> bool:
        """Send a group's last batch, or as many of its accounts that relieve others more, by their own PUT."""
        carried = self._by_group(group)
        if not carried:
            return False
        count = self._last_batch(group)
        most = max(self._savings_elsewhere(class_index, group) for class_index in carried)
        if count - 1 - count * most > _MAX_DEFICIT:
            return False
        for _ in range(count):
            self.work -= len(carried)
            best = max(carried, key=lambda class_index: self._savings_elsewhere(class_index, group))
            self._move(best, 1)
            if self.own[best] == self._counts[best]:
                carried.remove(best)
        return True

    def _savings_elsewhere(self, class_index: int, group: int) -> float:
        """What an account's own PUT spares the other groups: its share of each one's last batch."""
        return sum(1 / self._last_batch(other) for other in self._groups[class_index] if other != group)

    def _add_batch(self, group: int) -> bool:
        """Make one batch more for a group, for accounts that cost the other groups the least."""
        by_account = self._by_account(group)
        free_places = self._free_places(group) + self._batch_size
        if self._free_places(group) or sum(self.own[class_index] for class_index in by_account) < 2:  # noqa: PLR2004 - one PUT for one PUT is nothing
            return False
        by_account.sort(
            key=lambda class_index: sum(not self._free_places(other) for other in self._groups[class_index])
        )
        for class_index in by_account:
            count = min(self.own[class_index], free_places)
            if count:
                self._move(class_index, -count)
                free_places -= count
        return True
