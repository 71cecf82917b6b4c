"""Which group requests leave next, and what a refused one is split into. No I/O: answers come in, batches come out.

A group PUT that is refused as a whole is split in halves until the culprit stands alone (adaptive group testing by
binary splitting: where one half passes, the other is known to hold the culprit, and is split without being sent). One
culprit in n members costs at most 2 * ceil(log2(n)) + 2 requests more than none.

A server may also refuse every PUT of a group. So the first batch of each group goes alone, and when it is refused, a
check follows before it is split: a PUT of the group that changes nothing. No member can be to blame for a refusal of
that.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil, log2
from typing import NamedTuple

from bulkid.runs.execution.progress import Tally

_MIN_SPLIT = 2
"""Members of a refused batch that go by their own PUTs: to split them further would cost as much."""

_MAX_UNCLEAR = 3
"""Batches without a clear answer, before any ever passed, after which group requests are given up for the run."""

_EXTRA_REFUSALS = 3
"""Refusals above the logarithm of a batch's size, before any of its group passed, that no single culprit can cause:
after them the group's members go by their own PUTs in this run."""


class Member(NamedTuple):
    """One membership change of a batch."""

    number: int  # of the journal
    account_id: str
    adds: bool  # False: leaves


@dataclass(slots=True, eq=False)
class _Root:
    """A batch as it was planned, once it was refused: what has come of its parts."""

    size: int
    refusals: int = 1
    parts: int = 1  # those whose fate is open


@dataclass(slots=True, eq=False)
class Batch:
    """Members of one group that one PUT adds and removes."""

    group_id: str
    members: tuple[Member, ...]
    root: _Root | None = None
    deferred_half: "Batch | None" = None  # its other half, not sent yet: it holds the culprit if this one passes
    check: bool = False  # changes nothing, and has no members: finds out whether the group refuses every PUT

    def __len__(self) -> int:
        return len(self.members)


@dataclass(slots=True)
class BatchQueue:
    """All batches of a run, until each has passed or was taken apart.

    A batch that is larger than any that has passed goes alone, as a size probe: a server that refuses the size does so
    once, not for every batch of the run.
    """

    individual: list[int] = field(default_factory=list)  # entries that are to go by their own PUT
    refusing: dict[str, tuple[Member, ...]] = field(default_factory=dict)  # groups whose check was refused, each with
    # the members of the batch that was refused before
    _waiting: deque[Batch] = field(default_factory=deque)
    _in_flight: set[Batch] = field(default_factory=set)
    _individual_set: set[int] = field(default_factory=set)
    _largest_accepted: int = 0
    _limit: int | None = None  # members that the server takes in one request, as far as it has shown
    _unclear_count: int = 0
    _open_batches: Tally = field(default_factory=Tally)  # by entry: batches that have not passed yet
    _in_flight_by_group: Counter[str] = field(default_factory=Counter)  # by group: batches under way
    _accepting: set[str] = field(default_factory=set)  # groups of which a PUT has passed
    _members_accepted: set[str] = field(default_factory=set)  # groups of which a PUT with members has passed
    _checked: set[str] = field(default_factory=set)  # groups that a check was made for
    _on_hold: dict[str, Batch] = field(default_factory=dict)  # by group: refused, until the check is answered
    _refused_first: Counter[str] = field(default_factory=Counter)  # by group: refusals before any batch passed
    _first_size: dict[str, int] = field(default_factory=dict)  # by group: members of the first batch that was refused

    def add(self, batches: Iterable[Batch]) -> None:
        """Take in planned batches; the largest goes first, to find out what the server takes."""
        for batch in sorted(batches, key=len, reverse=True):
            self._waiting.append(batch)
            for member in batch.members:
                self._open_batches[member.number] += 1

    @property
    def done(self) -> bool:
        """Whether nothing is left to send or to wait for."""
        return not self._waiting and not self._in_flight

    @property
    def limit(self) -> int | None:
        """Members that one request may have, where the server has refused more."""
        return self._limit

    def is_individual(self, number: int) -> bool:
        """Whether an account goes by its own PUT after all."""
        return number in self._individual_set

    def next(self, most: int) -> list[Batch]:
        """The batches that may leave now, ``most`` at most; none when answers must come in first, or all is done."""
        ready: list[Batch] = []
        held: list[Batch] = []
        while self._waiting and len(ready) < most:
            batch = self._waiting[0]
            batch.members = tuple([member for member in batch.members if member.number not in self._individual_set])
            if self._is_held(batch):
                held.append(self._waiting.popleft())
                continue
            if not batch.members and not batch.check:
                self._waiting.popleft()
                self._release_deferred_half(batch)
                self._close(batch)
                continue
            if self._limit is not None and len(batch) > self._limit:
                self._waiting.popleft()
                self._waiting.extendleft(reversed(self._even_parts(batch, -(-len(batch) // self._limit))))
                continue
            size_probe = len(batch) > self._largest_accepted
            if size_probe and self._in_flight:
                break
            ready.append(self._waiting.popleft())
            self._in_flight.add(batch)
            self._in_flight_by_group[batch.group_id] += 1
            if size_probe:
                break
        self._waiting.extendleft(reversed(held))
        return ready

    def _is_held(self, batch: Batch) -> bool:
        """Whether a batch must wait for what another one of its group shows."""
        group = batch.group_id
        return (
            group not in self._accepting
            and not batch.check
            and (group in self._on_hold or self._in_flight_by_group[group] > 0)
        )

    def _answered(self, batch: Batch) -> None:
        self._in_flight.discard(batch)
        self._in_flight_by_group[batch.group_id] -= 1

    def accepted(self, batch: Batch) -> list[int]:
        """A batch was taken.

        Returns:
            The entries all of whose batches have passed by now.
        """
        self._answered(batch)
        self._accepting.add(batch.group_id)
        if batch.check:
            self._split_refused(self._on_hold.pop(batch.group_id))
            return []
        self._members_accepted.add(batch.group_id)
        self._largest_accepted = max(self._largest_accepted, len(batch))
        complete = []
        for member in batch.members:
            self._open_batches[member.number] -= 1
            if not self._open_batches[member.number] and member.number not in self._individual_set:
                complete.append(member.number)
        deferred_half, batch.deferred_half = batch.deferred_half, None
        if deferred_half is not None:
            self._split_refused(deferred_half)
        self._close(batch)
        return complete

    def refused(self, batch: Batch) -> None:
        """A batch was refused as a whole, for what may be one member's fault, or the group's."""
        self._answered(batch)
        group = batch.group_id
        if batch.check:
            self.refusing[group] = self._on_hold[group].members
            self._give_up(group)
            return
        self._release_deferred_half(batch)
        if batch.root is None:
            batch.root = _Root(len(batch))
        else:
            batch.root.refusals += 1
        if group not in self._members_accepted:
            self._refused_first[group] += 1
            size = self._first_size.setdefault(group, len(batch))
            if self._refused_first[group] >= ceil(log2(size)) + _EXTRA_REFUSALS:
                self._on_hold[group] = batch
                self._give_up(group)
                return
        if group not in self._accepting and group not in self._checked and self._needs_check(batch):
            self._checked.add(group)
            self._on_hold[group] = batch
            self._waiting.appendleft(Batch(group, (), check=True))
        else:
            self._split_refused(batch)

    def _needs_check(self, batch: Batch) -> bool:
        return len(batch) > _MIN_SPLIT or any(other.group_id == batch.group_id for other in self._waiting)

    def _give_up(self, group_id: str) -> None:
        """Let all that waits for a group go by the PUTs of its accounts."""
        for batch in (self._on_hold.pop(group_id), *self._waiting):
            if batch.group_id == group_id:
                self._send_individually(batch)
        self._waiting = deque([batch for batch in self._waiting if batch.group_id != group_id])

    def _end_check(self, batch: Batch) -> None:
        """A check got no answer that tells anything: the batch on hold is split all the same."""
        self._split_refused(self._on_hold.pop(batch.group_id))

    def too_large(self, batch: Batch) -> None:
        """A batch was refused for its size: no larger one is sent from now on."""
        self._answered(batch)
        if batch.check:
            self._end_check(batch)
            return
        self._release_deferred_half(batch)
        self._lower_limit(-(-len(batch) // 2))
        self._halve(batch)

    def unclear(self, batch: Batch) -> None:
        """A batch got no clear answer, however often it was sent."""
        self._answered(batch)
        self._release_deferred_half(batch)
        self._unclear_count += 1
        if not self._largest_accepted and self._unclear_count >= _MAX_UNCLEAR:
            for waiting in (batch, *self._waiting, *self._on_hold.values()):
                self._send_individually(waiting)
            self._waiting.clear()
            self._on_hold.clear()
            return
        if batch.check:
            self._end_check(batch)
            return
        self._halve(batch)

    def drop_group(self, group_id: str) -> list[int]:
        """A group is gone: nothing more is sent to it.

        Returns:
            The entries that were waiting for it (not those under way).
        """
        kept: deque[Batch] = deque()
        on_hold = self._on_hold.pop(group_id, None)
        dropped: list[int] = [] if on_hold is None else self._drop(on_hold)
        for batch in self._waiting:
            if batch.group_id == group_id:
                dropped += self._drop(batch)
            else:
                kept.append(batch)
        self._waiting = kept
        return dropped

    def drop(self, batch: Batch) -> list[int]:
        """A batch under way was for a group that is gone.

        Returns:
            Its entries, those of its held-back half included.
        """
        self._answered(batch)
        return self._drop(batch)

    def _drop(self, batch: Batch) -> list[int]:
        numbers = [member.number for member in batch.members]
        if batch.deferred_half is not None:
            numbers += [member.number for member in batch.deferred_half.members]
        return numbers

    # --- splitting

    def _split_refused(self, batch: Batch) -> None:
        """Split a batch that is known to hold a culprit; its second half waits for what the first one shows."""
        if len(batch) <= _MIN_SPLIT:
            self._send_individually(batch)
            self._close(batch)
            return
        first, second = self._even_parts(batch, 2)
        first.deferred_half = second
        self._waiting.appendleft(first)

    def _halve(self, batch: Batch) -> None:
        """Split a batch whose halves may both pass."""
        if len(batch) == 1:
            self._send_individually(batch)
            self._close(batch)
            return
        self._waiting.extendleft(reversed(self._even_parts(batch, 2)))

    def _even_parts(self, batch: Batch, count: int) -> list[Batch]:
        size, remainder = divmod(len(batch), count)
        parts: list[Batch] = []
        start = 0
        for number in range(count):
            end = start + size + (number < remainder)
            parts.append(Batch(batch.group_id, batch.members[start:end], batch.root))
            start = end
        if batch.root is not None:
            batch.root.parts += count - 1
        parts[-1].deferred_half = batch.deferred_half  # what is known of a held-back half waits for the last of these
        return parts

    def _release_deferred_half(self, batch: Batch) -> None:
        """The half held back may be free of culprits, now that the other one is not."""
        deferred_half, batch.deferred_half = batch.deferred_half, None
        if deferred_half is not None:
            self._waiting.appendleft(deferred_half)

    def _send_individually(self, batch: Batch) -> None:
        for each in (batch, batch.deferred_half):
            for member in each.members if each is not None else ():
                if member.number not in self._individual_set:
                    self._individual_set.add(member.number)
                    self.individual.append(member.number)

    def _close(self, batch: Batch) -> None:
        """The fate of one part is known; when that of the whole batch is, see what refused it."""
        root = batch.root
        if root is None:
            return
        root.parts -= 1
        # Nothing but the whole was ever refused, and nothing as large has passed: it was refused for its size.
        if not root.parts and root.refusals == 1 and self._largest_accepted < root.size:
            self._lower_limit(max(self._largest_accepted, 1))

    def _lower_limit(self, limit: int) -> None:
        self._limit = limit if self._limit is None else min(self._limit, limit)
