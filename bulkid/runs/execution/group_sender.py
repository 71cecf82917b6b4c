"""Sending what goes by group: one PUT changes many accounts, and each account gets its own true outcome.

The answer to a group PUT confirms nothing about one account, so the accounts are read back. Whom no group request
could carry, or who does not show the change when read back, goes by the PUT of its own account, whose answer is about
it alone.
"""

from array import array
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio

from bulkid.engine import Engine, OnForbidden, Settled, Task
from bulkid.errors import ConnectionFailedError
from bulkid.identity import list_groups, parse_groups, put_group
from bulkid.journal import GroupRefusal, GroupRefusals
from bulkid.logs import log
from bulkid.model import Account, AccountUpdate, Group, Outcome, Reply, ReplyKind, Request, Status, Via
from bulkid.planning.directory import Directory
from bulkid.planning.plan import confirms
from bulkid.runs.concurrency import in_thread, task_group, until_stopped
from bulkid.runs.execution.account_sender import AccountSender
from bulkid.runs.execution.bisection import Batch, BatchQueue
from bulkid.runs.execution.directory_reader import read_accounts_again
from bulkid.runs.execution.progress import Tally
from bulkid.text import fold

NAMES_AGE_S = 10.0
"""How old the names of groups may be when a group PUT leaves: it carries the name, and an old one would rename the
group back."""

_REFRESH_LEAD_S = 1.0
"""How long before requests may leave again, after a wait for the quota or the server, the names are read anew."""

_DELETION_CHECK_AGE_S = 5.0
"""How old they may be when it is to be told whether a refusal means that the group is gone."""

_SETTLING_S = 2.0
"""How long an account that does not show the change yet is given before it is read once more."""

_BATCHES_AT_ONCE = 256
"""Group requests that are made ready, and whose intents are journaled, at a time: a sheet may need 33,000."""

_TOO_LARGE = 413

_REFUSALS = frozenset({ReplyKind.REFUSED, ReplyKind.UNAUTHORIZED, ReplyKind.FORBIDDEN})
"""Replies that refuse one batch for good: the group, or one of its members, is to blame."""


@dataclass(slots=True)
class CurrentGroups:
    """The groups as they are now: what a group PUT must carry, and whether the group is still there."""

    engine: Engine
    organization_id: str
    planned: Directory  # the groups as they were when the plan was made
    known: dict[str, Group] = field(default_factory=dict)
    read_at: float = float("-inf")  # monotonic, when the reading began

    async def read(self, now: float) -> None:
        """Read the list of groups.

        Raises:
            ConnectionFailedError: The server gives no list.
        """
        reply: Reply = (await self.engine.call(list_groups(self.organization_id))).reply
        if reply.kind is not ReplyKind.OK:
            raise ConnectionFailedError(
                f"The server would not give the list of groups: {reply.error or reply.kind.value}.",
                hint="Group requests need it (scope PM.Group.Read); `bulkid doctor` examines the connection.",
            )
        groups: dict[str, Group] = {}
        for group in parse_groups(reply.payload):
            key = fold(group.id)
            before = self.known.get(key) or self.planned.group_with_id(key)
            if before is not None and before.name != group.name:
                log.info("group.renamed", group=group.id, old=before.name, new=group.name)
            groups[key] = before if before == group else group  # one object, however often the list is read
        self.known, self.read_at = groups, now

    def group(self, group_id: str) -> Group | None:
        """The group as it is now; None when it is gone."""
        return self.known.get(fold(group_id))


@dataclass(slots=True)
class GroupSender:
    """The group requests of one run: what leaves before the PUTs of single accounts do."""

    sender: AccountSender
    changes: Mapping[int, AccountUpdate]  # by entry, of every account in a batch
    names: CurrentGroups
    queue: BatchQueue = field(default_factory=BatchQueue)
    _in_flight: dict[int, Batch] = field(default_factory=dict)
    _last_key: int = 0
    _refusals: list[tuple[Batch, Settled]] = field(default_factory=list)
    _accepted: "array[int]" = field(default_factory=lambda: array("i"))  # entries whose batches have all passed
    _status: Tally = field(default_factory=Tally)  # of each of them: the HTTP status of the last answer
    _attempts: Tally = field(default_factory=Tally)
    _intended: Tally = field(default_factory=Tally)  # 1 once the intent is journaled
    _failed: set[int] = field(default_factory=set)
    _deleted_groups: set[str] = field(default_factory=set)  # folded ids of groups that were deleted meanwhile
    _refused: list[GroupRefusal] = field(default_factory=list)  # by groups that refused their check
    _settled_event: anyio.Event = field(default_factory=anyio.Event)

    async def send(self, batches: list[Batch]) -> list[tuple[int, AccountUpdate]]:
        """Send the batches, split what is refused, and settle every account by what it shows when read back.

        Args:
            batches: What to send. The list is empty afterwards, so that what was sent takes no memory.

        Returns:
            The accounts that are to go by their own PUT after all, in the order of their entries; also those of a run
            that was asked to stop: nothing more is settled then.

        Raises:
            BulkidError: Something that would fail every further request the same way.
            InterruptedRunError: A stop was requested while something was read.
        """
        self.queue.add(batches)
        connection, stop = self.sender.connection, self.sender.stop
        async with until_stopped(stop):
            await self._read_names()
        for group_id in dict.fromkeys(batch.group_id for batch in batches):
            if self.names.group(group_id) is None:
                self._fail_group(group_id, self.queue.drop_group(group_id), None)
        batches.clear()
        async with task_group() as tasks:
            tasks.start_soon(self._refresh_names)
            await connection.engine.run(self._batches_to_send(), self._settled, stop)
            tasks.cancel_scope.cancel()
        individual: list[int] = []
        if not stop.requested:
            async with until_stopped(stop):
                individual = await self._read_back()
        return [(number, self.changes[number]) for number in sorted({*individual, *self.queue.individual})]

    # --- what leaves

    async def _batches_to_send(self) -> AsyncIterator[Sequence[Task]]:
        """Give out batches as they may leave; ends when each has passed or was taken apart."""
        while True:
            await self._handle_refusals()
            ready = self.queue.next(_BATCHES_AT_ONCE)
            if ready:
                await self._intend(ready)
                yield [self._task(batch) for batch in ready]
            elif self.queue.done and not self._refusals:
                return
            else:
                self._settled_event = anyio.Event()  # no await since the queue was asked: nothing is missed
                await self._settled_event.wait()

    async def _intend(self, batches: Iterable[Batch]) -> None:
        numbers = {number for batch in batches for number in batch.members if not self._intended[number]}
        for number in numbers:
            self._intended[number] = 1
        sender = self.sender
        await sender.writer.wait_for_capacity()
        await in_thread(sender.journal.intend, sender.run_id, sorted(numbers), sender.clock.now(), Via.GROUP)

    def _task(self, batch: Batch) -> Task:
        self._last_key += 1
        self._in_flight[self._last_key] = batch
        self.sender.progress.puts += batch.check or batch.root is not None  # the plan has counted whole batches only
        granted = self.sender.connection.known.write_groups is True
        # Then it is about this group or a member, which goes by account: no number of them is a reason to stop.
        on_forbidden = OnForbidden.ABOUT_THE_REQUEST if granted else OnForbidden.SCOPE_MAY_BE_MISSING
        return Task(self._last_key, self._request(batch), lambda: self._request(batch), on_forbidden)

    def _request(self, batch: Batch) -> Request:
        """The request as it must be at this moment: the group's name as it is, without whom is sent otherwise."""
        group = self.names.group(batch.group_id) or self._last_known(batch.group_id)
        return put_group(
            self.names.organization_id,
            group,
            self._account_ids(batch.members[: batch.joining]),
            self._account_ids(batch.members[batch.joining :]),
        )

    def _account_ids(self, numbers: Iterable[int]) -> list[str]:
        """The accounts of some items, without those that go by their own PUT after all."""
        return [self.changes[number].account_id for number in numbers if not self.queue.is_individual(number)]

    def _last_known(self, group_id: str) -> Group:
        """A group that went away after its batch had been given out: the server says so, and then it is looked at."""
        known = self.sender.directory.group_with_id(group_id)
        return known if known is not None else Group(group_id, self.sender.directory.group_name(group_id))

    async def _read_names(self) -> None:
        await self.names.read(self.sender.clock.monotonic())

    async def _refresh_names(self) -> None:
        """Keep the names fresh for whatever leaves next; while nothing may leave, nothing is read."""
        engine = self.sender.connection.engine
        while True:
            quota_opens = engine.quota.seconds_until_free("PUT") if engine.quota.left("PUT") == 0 else None
            waits = (quota_opens, engine.breaker.seconds_until_free(), engine.pacing.seconds_until_free("PUT"))
            seconds_until_free = max(wait or 0.0 for wait in waits)
            await self.sender.clock.sleep(
                max(seconds_until_free - _REFRESH_LEAD_S, NAMES_AGE_S if not seconds_until_free else _REFRESH_LEAD_S)
            )
            await self._read_names()

    # --- what comes back

    def _settled(self, settled: Settled) -> None:
        batch = self._in_flight.pop(settled.key)
        kind = settled.reply.kind
        for number in batch.members:
            self._attempts[number] += settled.attempts
        if kind is ReplyKind.OK:
            for number in self.queue.accepted(batch):
                self._accepted.append(number)
                self._status[number] = settled.reply.status or 0
                self.sender.progress.unverified += 1
        else:
            log.info(
                "group.refused",
                group=batch.group_id,
                members=len(batch),
                http_status=settled.reply.status,
                code=settled.reply.error_code,
                error=settled.reply.error,
            )
            self._refusals.append((batch, settled))
        self._settled_event.set()

    async def _handle_refusals(self) -> None:
        """Split what was refused, unless its group is gone."""
        while self._refusals:
            batch, settled = self._refusals.pop(0)
            reply = settled.reply
            if reply.status == _TOO_LARGE:
                self.queue.too_large(batch)
            elif reply.kind not in _REFUSALS:
                self.queue.unclear(batch)
            elif await self._is_deleted(batch.group_id):
                numbers = [*self.queue.drop(batch), *self.queue.drop_group(batch.group_id)]
                self._fail_group(batch.group_id, numbers, reply.status)
            else:
                self.queue.refused(batch)
                if batch.check:
                    self._note_refusal(batch.group_id, reply)

    def _note_refusal(self, group_id: str, reply: Reply) -> None:
        """A group refuses a PUT that changes nothing: its members go by account, and are suspects until they passed."""
        name = (self.names.group(group_id) or self._last_known(group_id)).name
        log.info("group.refuses_requests", group=group_id, http_status=reply.status, error=reply.error)
        self._refused.append(GroupRefusal(group_id, name, reply.status, reply.error, self.sender.clock.now()))
        self.sender.suspects.update(self.queue.refusing[group_id])

    async def remember_refusals(self) -> None:
        """Keep in the journal which groups refuse every PUT, for the plans to come.

        A server may refuse whatever changes nothing, and the batch for one of its members. So the group is to blame
        only where the own PUT of each of these members has passed.
        """
        refusals = GroupRefusals(self.sender.journal, self.names.organization_id)
        for refusal in self._refused:
            if self.sender.suspects.isdisjoint(self.queue.refusing[refusal.group_id]):
                await in_thread(refusals.remember, refusal)

    async def _is_deleted(self, group_id: str) -> bool:
        if self.sender.clock.monotonic() - self.names.read_at > _DELETION_CHECK_AGE_S:
            await self._read_names()
        return self.names.group(group_id) is None

    def _fail_group(self, group_id: str, numbers: Iterable[int], status: int | None) -> None:
        """Settle the accounts that wait for a group which is gone: their own PUTs would be refused one by one."""
        self._deleted_groups.add(fold(group_id))
        sender = self.sender
        name = sender.directory.group_name(group_id)
        error = f"The group {name} does not exist any more: it was deleted after the plan was made."
        for number in numbers:
            if number in self._failed or self.queue.is_individual(number):
                continue
            self._failed.add(number)
            outcome = Outcome(
                Status.FAILED,
                status,
                "group_gone",
                error,
                self._attempts[number],
                Via.GROUP,
                sender.clock.now(),
            )
            sender.fail(number, outcome)

    # --- what the accounts show

    async def _read_back(self) -> list[int]:
        """Settle each account that all its batches have passed for; gives those that do not show the change.

        Raises:
            ConnectionFailedError: The server gives no answer; what is still in doubt stays pending.
        """
        waiting = {
            fold(self.changes[number].account_id): number for number in self._accepted if number not in self._failed
        }

        def settle(account: Account) -> str:
            """Settle an account that shows its change; only one that does not is kept."""
            key = fold(account.id)
            number = waiting.get(key)
            if number is None:
                return key
            change = self.changes[number]
            if not confirms(change, account):
                return ""
            self._confirm(number)
            del waiting[key]
            return fold(change.account_id)  # the same text, which is held already

        for last in (False, True):
            if not waiting:
                return []
            if last:  # a server that answers from a cache may need a moment
                await self.sender.clock.sleep(_SETTLING_S)
            ids = [self.changes[number].account_id for number in waiting.values()]
            await read_accounts_again(self.sender.connection.engine, self.names.organization_id, ids, settle)
        self.sender.progress.unverified -= len(waiting)
        for number in waiting.values():  # what had passed, too, went with a group that was deleted
            deleted = next((group for group in self.changes[number].add if fold(group) in self._deleted_groups), None)
            if deleted is not None:
                self._fail_group(deleted, [number], self._status[number] or None)
        left = [number for number in waiting.values() if number not in self._failed]
        if left:
            log.info("group.not_applied", accounts=len(left))
        return left

    def _confirm(self, number: int) -> None:
        sender = self.sender
        sender.progress.unverified -= 1
        sender.progress.updated += 1
        outcome = Outcome(
            Status.UPDATED, self._status[number] or None, "", "", self._attempts[number], Via.GROUP, sender.clock.now()
        )
        sender.writer.add(number, outcome)
