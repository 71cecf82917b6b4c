"""A better cover where groups take several PUTs each: search from a start, swap by swap.

With batches, a group's price is ``ceil(carried / batch)``, and what it carries is what the accounts leave to it. No
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

from bulkid.planning.membership_classes import Kinds

WORK = 400_000
"""How many kinds the larger steps may look at in all: half a second's worth. Small plans stay far below it; large ones
(100,000 accounts) had less than 0.4 % of their PUTs still to gain when the steps were given twenty times as much."""

_HOPE = 4  # PUTs that the single swaps after a larger step may win back; steps that are further off are not tried


class Search:
    """A cover that is being improved: how many accounts of each kind go by their own PUT.

    Args:
        kinds: The accounts by the groups that they change.
        batch: The most accounts in one group PUT.
        own: The start.
        work: How many kinds the larger steps may look at; what is left of it stays in ``work``.
    """

    __slots__ = ("_batch", "_counts", "_groups", "_kinds_of", "_load", "_log", "group_puts", "own", "puts", "work")

    def __init__(self, kinds: Kinds, batch: int, own: Sequence[int], work: int = WORK) -> None:
        self._groups = kinds.groups
        self._counts = kinds.counts
        self._kinds_of = kinds.by_group()
        self._batch = batch
        self.own = list(own)
        self._load = kinds.loads()  # of each group: the accounts that its PUTs carry
        for groups, by_account in zip(kinds.groups, own, strict=True):
            for group in groups:
                self._load[group] -= by_account
        self.group_puts = sum(self._batches(load) for load in self._load)
        self.puts = self.group_puts + sum(own)
        self._log: list[tuple[int, int]] = []  # what was done since the last step began: kind, accounts to own PUTs
        self.work = work

    @property
    def cost(self) -> tuple[int, int]:
        """PUTs in all, and those of groups: what the search makes small, in this order."""
        return self.puts, self.group_puts

    def improve(self) -> None:
        """Swap until nothing that is tried makes the cover cheaper; the larger steps only while there is work left."""
        everything = range(len(self._groups))
        self._singles(everything)
        better = True
        while better and self.work > 0:
            better = False
            for group in range(len(self._load)):
                for step in (self._round_down, self._drain, self._fill, self._open):
                    if self.work > 0 and self._pays(step, group):
                        better = True
            self._singles(everything)

    # --- the state

    def _batches(self, load: int) -> int:
        return -(-load // self._batch)

    def _last(self, group: int) -> int:
        """How many accounts the last batch of a group carries; 0 when it carries none at all."""
        load = self._load[group]
        return load % self._batch or min(load, self._batch)

    def _room(self, group: int) -> int:
        """How many accounts more a group could carry without one more PUT."""
        return -self._load[group] % self._batch

    def _move(self, kind: int, count: int) -> None:
        """Send ``count`` accounts of a kind by their own PUT; below zero: by group."""
        change = 0
        for group in self._groups[kind]:
            load = self._load[group]
            change += self._batches(load - count) - self._batches(load)
            self._load[group] = load - count
        self.own[kind] += count
        self.group_puts += change
        self.puts += change + count
        self._log.append((kind, count))

    def _carried(self, group: int) -> list[int]:
        """The kinds of which a group carries accounts."""
        self.work -= len(self._kinds_of[group])
        return [kind for kind in self._kinds_of[group] if self.own[kind] < self._counts[kind]]

    def _left(self, group: int) -> list[int]:
        """The kinds that change a group and have accounts that go by their own PUT."""
        self.work -= len(self._kinds_of[group])
        return [kind for kind in self._kinds_of[group] if self.own[kind]]

    # --- single swaps

    def _singles(self, kinds: Iterable[int]) -> None:
        """Swap accounts of these kinds, one at a time, until no such swap pays; what saves a PUT before mere ties."""
        kinds = list(kinds)
        while self._sweep(kinds, spared=2) or self._sweep(kinds, spared=1):
            pass

    def _sweep(self, kinds: Sequence[int], spared: int) -> bool:
        moved = False
        for kind in kinds:
            while count := self._swap(kind, spared):
                self._move(kind, count)
                moved = True
        return moved

    def _swap(self, kind: int, spared: int) -> int:
        """How many accounts of a kind to send by their own PUT (below zero: by group); 0 when no swap pays.

        Args:
            kind: The kind.
            spared: How many group PUTs an account's own PUT must spare.
        """
        load, batch, groups = self._load, self._batch, self._groups[kind]
        own = self.own[kind]
        if own < self._counts[kind] and sum([load[group] % batch == 1 for group in groups]) >= spared:
            return 1
        return -min(own, *(-load[group] % batch for group in groups)) if own else 0

    # --- larger steps

    def _pays(self, step: Callable[[int], bool], group: int) -> bool:
        """Take a step and the single swaps that it makes worth while; undo all of it unless the cover got cheaper."""
        self._log.clear()
        before = self.cost
        if not step(group):
            return False
        if self._log:
            self._settle()
        if self.cost < before:
            return True
        for kind, count in reversed(self._log.copy()):
            self._move(kind, -count)
        return False

    def _settle(self) -> None:
        """Do the single swaps among the accounts that share a group with those that were moved."""
        touched = dict.fromkeys(group for kind, _ in self._log for group in self._groups[kind])
        near: dict[int, None] = {}
        for group in touched:
            self.work -= len(self._kinds_of[group])
            near.update(dict.fromkeys(self._kinds_of[group]))
        self._singles(near)

    def _drain(self, group: int) -> bool:
        """Send all accounts of a group by their own PUT."""
        carried = self._carried(group)
        freed: dict[int, int] = {}
        for kind in carried:
            for other in self._groups[kind]:
                freed[other] = freed.get(other, 0) + self._counts[kind] - self.own[kind]
        if self._load[group] - sum(map(self._batches, freed.values())) > _HOPE:
            return False
        for kind in carried:
            self._move(kind, self._counts[kind] - self.own[kind])
        return bool(carried)

    def _fill(self, group: int) -> bool:
        """Send all accounts of a group by group."""
        left = self._left(group)
        for kind in left:
            self._move(kind, -self.own[kind])
        return bool(left)

    def _round_down(self, group: int) -> bool:
        """Send a group's last batch, or as many of its accounts that relieve others more, by their own PUT."""
        carried = self._carried(group)
        if not carried:
            return False
        count = self._last(group)
        most = max(self._relief(kind, group) for kind in carried)
        if count - 1 - count * most > _HOPE:
            return False
        for _ in range(count):
            self.work -= len(carried)
            best = max(carried, key=lambda kind: self._relief(kind, group))
            self._move(best, 1)
            if self.own[best] == self._counts[best]:
                carried.remove(best)
        return True

    def _relief(self, kind: int, group: int) -> float:
        """What an account's own PUT spares the other groups: its share of each one's last batch."""
        return sum(1 / self._last(other) for other in self._groups[kind] if other != group)

    def _open(self, group: int) -> bool:
        """Make one batch more for a group, for accounts that cost the other groups the least."""
        left = self._left(group)
        room = self._room(group) + self._batch
        if self._room(group) or sum(self.own[kind] for kind in left) < 2:  # noqa: PLR2004 - one PUT for one PUT is nothing
            return False
        left.sort(key=lambda kind: sum(not self._room(other) for other in self._groups[kind]))
        for kind in left:
            count = min(self.own[kind], room)
            if count:
                self._move(kind, -count)
                room -= count
        return True
