"""Choosing which group requests leave next, and splitting those that the server refuses. No I/O.

A refused group PUT is split in halves until the culprit is alone (adaptive group testing by binary splitting: when one
half passes, the other one has the culprit, and is split without being sent). One culprit in n members costs at most
2 * ceil(log2(n)) + 2 more requests than none.

A server may also refuse every PUT of a group. So the first batch of each group is sent alone. If it is refused, a check
is sent before the batch is split: a PUT of the group that changes nothing. No member can have caused a refusal of that.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from math import ceil, log2

from bulkid.runs.execution.progress import Tally

_MIN_SPLIT = 2
"""A refused batch of this size is sent by account: splitting it further would cost as many requests."""

_MAX_UNCLEAR = 3
"""After this many batches without a clear response, and none that passed, the run sends no more group requests."""

_EXTRA_REFUSALS = 3
"""Refusals beyond the logarithm of a batch's size, before any batch of its group passed. One culprit cannot cause so
many: after them the run sends the group's members by account."""


@dataclass(slots=True, eq=False)
class _Root:
    """The planned batch that refused parts come from, and the state of its parts."""

    size: int
    refusals: int = 1
    parts: int = 1  # parts that are not done


@dataclass(slots=True, eq=False)
class Batch:
    """Members of one group that one PUT adds and removes.

    A member is the number of its run item: an object for each of 200,000 membership changes would take 18 MB.
    """

    group_id: str
    members: tuple[int, ...]  # first the members to add, then those to remove
    joining: int = 0  # number of members to add
    root: _Root | None = None
    deferred_half: "Batch | None" = None  # the other half, not sent yet: if this one passes, it has the culprit
    check: bool = False  # has no members and changes nothing: shows whether the group refuses every PUT

    def __len__(self) -> int:
        return len(self.members)

    def leave_out(self, numbers: Collection[int]) -> None:
        """Remove run items from the members."""
        self.joining = sum(number not in numbers for number in self.members[: self.joining])
        self.members = tuple([number for number in self.members if number not in numbers])

    def part(self, start: int, end: int) -> "Batch":
        """Return a batch of the members from ``start`` to ``end``, as a part of the same planned batch."""
        joining = min(max(self.joining - start, 0), end - start)
        return Batch(self.group_id, self.members[start:end], joining, self.root)


@dataclass(slots=True, eq=False)
class _GroupState:
    """What the queue knows of one group."""

    in_flight: int = 0  # its requests in flight, a check included
    accepts: bool = False  # a PUT of it has passed: its batches need not wait for one another any more
    accepts_members: bool = False  # a PUT of its members has passed, not only a check
    was_checked: bool = False  # a check was queued: a group gets one at most
    on_hold: Batch | None = None  # the refused batch, until the check is settled
    refusals: int = 0  # refused batches before any batch of members passed
    first_refused_size: int = 0  # members of the first of them

    @property
    def holds_batches(self) -> bool:
        """Whether a batch must wait for the response to another request of this group."""
        return not self.accepts and (self.on_hold is not None or self.in_flight > 0)

    def count_refusal(self, size: int) -> bool:
        """Count a refused batch of ``size`` members. Return whether there are more than one culprit can cause."""
        if self.accepts_members:
            return False
        self.refusals += 1
        self.first_refused_size = self.first_refused_size or size
        return self.refusals >= ceil(log2(self.first_refused_size)) + _EXTRA_REFUSALS

    def take_on_hold(self) -> Batch:
        """Return the batch on hold, and hold it no longer."""
        batch, self.on_hold = self.on_hold, None
        assert batch is not None  # noqa: S101 - a batch is on hold as long as its check is queued or in flight
        return batch


@dataclass(slots=True)
class BatchQueue:
    """The batches of a run that have neither passed nor been split.

    A batch that is larger than any that has passed is sent alone, as a size probe: so a server refuses a size once, not
    for every batch of the run.
    """

    individual: set[int] = field(default_factory=set)  # run items to send by account
    # By group whose check was refused: the members of the batch that was refused before.
    refusing: dict[str, tuple[int, ...]] = field(default_factory=dict)
    limit: int | None = None  # members that one request may have; None: the server has refused no size
    _waiting: deque[Batch] = field(default_factory=deque)
    _in_flight: set[Batch] = field(default_factory=set)
    _groups: defaultdict[str, _GroupState] = field(default_factory=lambda: defaultdict(_GroupState))  # by group id
    _open_batches: Tally = field(default_factory=Tally)  # by run item: batches that have not passed yet
    _largest_accepted: int = 0
    _unclear_count: int = 0

    def add(self, batches: Iterable[Batch]) -> None:
        """Add planned batches, the largest first, to find out which size the server accepts."""
        for batch in sorted(batches, key=len, reverse=True):
            self._waiting.append(batch)
            for number in batch.members:
                self._open_batches[number] += 1

    @property
    def done(self) -> bool:
        """Whether no batch is waiting or in flight."""
        return not self._waiting and not self._in_flight

    def is_open(self, number: int) -> bool:
        """Whether a batch of a run item has not passed yet."""
        return self._open_batches[number] > 0

    def next(self, most: int) -> list[Batch]:
        """Return at most ``most`` batches that may leave now; none if all are done or must wait for a response."""
        ready: list[Batch] = []
        held: list[Batch] = []
        while self._waiting and len(ready) < most:
            batch = self._waiting.popleft()
            if self.individual:
                batch.leave_out(self.individual)
            if not batch.check and self._groups[batch.group_id].holds_batches:
                held.append(batch)
                continue
            if not batch.members and not batch.check:
                self._release_deferred_half(batch)
                self._close(batch)
                continue
            if self.limit is not None and len(batch) > self.limit:
                self._waiting.extendleft(reversed(self._even_parts(batch, -(-len(batch) // self.limit))))
                continue
            is_size_probe = len(batch) > self._largest_accepted
            if is_size_probe and self._in_flight:
                self._waiting.appendleft(batch)
                break
            ready.append(batch)
            self._in_flight.add(batch)
            self._groups[batch.group_id].in_flight += 1
            if is_size_probe:
                break
        self._waiting.extendleft(reversed(held))
        return ready

    def _answered(self, batch: Batch) -> _GroupState:
        """Record that a batch is no longer in flight. Return the state of its group."""
        self._in_flight.discard(batch)
        group = self._groups[batch.group_id]
        group.in_flight -= 1
        return group

    def accepted(self, batch: Batch) -> list[int]:
        """Record that a batch has passed. Return the run items whose batches have now all passed."""
        group = self._answered(batch)
        group.accepts = True
        if batch.check:
            self._split_refused(group.take_on_hold())
            return []
        group.accepts_members = True
        self._largest_accepted = max(self._largest_accepted, len(batch))
        complete = [number for number in batch.members if self.record_passed(number)]
        deferred_half, batch.deferred_half = batch.deferred_half, None
        if deferred_half is not None:
            self._split_refused(deferred_half)
        self._close(batch)
        return complete

    def record_passed(self, number: int) -> bool:
        """Record that one batch of a run item has passed. Return whether they have now all passed."""
        self._open_batches[number] -= 1
        return not self._open_batches[number] and number not in self.individual

    def refused(self, batch: Batch) -> None:
        """Record that the server refused a batch, because of one of its members or of the group."""
        group = self._answered(batch)
        if batch.check:
            refused_first = group.take_on_hold()
            self.refusing[batch.group_id] = refused_first.members
            self._give_up(refused_first)
            return
        self._release_deferred_half(batch)
        if batch.root is None:
            batch.root = _Root(len(batch))
        else:
            batch.root.refusals += 1
        if group.count_refusal(len(batch)):
            self._give_up(batch)
        elif not group.accepts and not group.was_checked and self._needs_check(batch):
            group.was_checked = True
            group.on_hold = batch
            self._waiting.appendleft(Batch(batch.group_id, (), check=True))
        else:
            self._split_refused(batch)

    def _needs_check(self, batch: Batch) -> bool:
        return len(batch) > _MIN_SPLIT or any(other.group_id == batch.group_id for other in self._waiting)

    def _give_up(self, refused: Batch) -> None:
        """Send the members of a refused batch, and of all waiting batches of its group, by account."""
        for batch in (refused, *self._take_waiting(refused.group_id)):
            self._send_individually(batch)

    def _take_waiting(self, group_id: str) -> list[Batch]:
        """Remove the batches of a group that are waiting or on hold, and return them."""
        group = self._groups[group_id]
        on_hold, group.on_hold = group.on_hold, None
        taken = [batch for batch in self._waiting if batch.group_id == group_id]
        self._waiting = deque([batch for batch in self._waiting if batch.group_id != group_id])
        return taken if on_hold is None else [on_hold, *taken]

    def too_large(self, batch: Batch) -> None:
        """Record that the server refused a batch for its size: batches of this run are at most half as large now."""
        group = self._answered(batch)
        if batch.check:  # that did not show that the group refuses every PUT
            self._split_refused(group.take_on_hold())
            return
        self._release_deferred_half(batch)
        self._lower_limit(-(-len(batch) // 2))
        self._halve(batch)

    def unclear(self, batch: Batch) -> None:
        """Record that a batch got no clear response after all attempts."""
        group = self._answered(batch)
        self._release_deferred_half(batch)
        self._unclear_count += 1
        if not self._largest_accepted and self._unclear_count >= _MAX_UNCLEAR:
            self._give_up_all(batch)
            return
        if batch.check:
            self._split_refused(group.take_on_hold())
            return
        self._halve(batch)

    def _give_up_all(self, unclear: Batch) -> None:
        """Send the members of an unclear batch, and of all that wait or are on hold, by account."""
        for batch in (unclear, *self._waiting):
            self._send_individually(batch)
        self._waiting.clear()
        for group in self._groups.values():
            if group.on_hold is not None:
                self._send_individually(group.take_on_hold())

    def drop_group(self, group_id: str) -> list[int]:
        """Remove the waiting batches of a group that was deleted. Return their run items."""
        return [number for batch in self._take_waiting(group_id) for number in self._items_of(batch)]

    def drop(self, batch: Batch) -> list[int]:
        """Remove a batch in flight whose group was deleted. Return its run items and those of its deferred half."""
        self._answered(batch)
        return self._items_of(batch)

    def _items_of(self, batch: Batch) -> list[int]:
        deferred = () if batch.deferred_half is None else batch.deferred_half.members
        return [*batch.members, *deferred]

    # --- splitting

    def _split_refused(self, batch: Batch) -> None:
        """Split a batch that has a culprit; its second half waits for the response to the first."""
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
            parts.append(batch.part(start, end))
            start = end
        if batch.root is not None:
            batch.root.parts += count - 1
        parts[-1].deferred_half = batch.deferred_half  # it waits for the last part
        return parts

    def _release_deferred_half(self, batch: Batch) -> None:
        """Send the deferred half of a refused batch, too: it may have no culprit, now that its other half has one."""
        deferred_half, batch.deferred_half = batch.deferred_half, None
        if deferred_half is not None:
            self._waiting.appendleft(deferred_half)

    def _send_individually(self, batch: Batch) -> None:
        self.individual.update(self._items_of(batch))

    def _close(self, batch: Batch) -> None:
        """Record that one part is done. After the last one, decide whether the whole was refused for its size."""
        root = batch.root
        if root is None:
            return
        root.parts -= 1
        # No part was refused, and no batch as large as the whole has passed: it was refused for its size.
        if not root.parts and root.refusals == 1 and self._largest_accepted < root.size:
            self._lower_limit(max(self._largest_accepted, 1))

    def _lower_limit(self, limit: int) -> None:
        self.limit = limit if self.limit is None else min(self.limit, limit)
