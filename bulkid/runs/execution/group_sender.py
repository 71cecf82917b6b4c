"""Sending group requests: one PUT changes many accounts, and each account gets an outcome of its own.

The response to a group PUT confirms nothing about one account, so the accounts are read back. An account that does not
show its change then, or that no group request could carry, is sent by its own PUT.
"""

from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType

import anyio

from bulkid.clock import Clock
from bulkid.engine.engine import Engine
from bulkid.engine.signals import Stop
from bulkid.engine.task import Settled, Task
from bulkid.errors import UnexplainedRefusalError
from bulkid.identity.endpoints import list_groups, parse_groups, put_group
from bulkid.journal.group_refusals import GroupRefusal, GroupRefusals
from bulkid.logs import log
from bulkid.model import Account, Change, Group, Outcome, Reply, ReplyKind, Request, Status, Via
from bulkid.planning.directory import Directory
from bulkid.planning.plan import confirms
from bulkid.runs.concurrency import in_thread, task_group, until_stopped
from bulkid.runs.execution.account_sender import CLEAR_REFUSALS, SETTLING_S, AccountSender
from bulkid.runs.execution.bisection import Batch, BatchQueue
from bulkid.runs.execution.directory_reader import read_accounts_again
from bulkid.runs.execution.progress import Tally
from bulkid.text import fold

NAMES_AGE_S = 10.0
"""Age of group names, in seconds, at which they are read again. A group PUT with an old name would undo a rename."""

_REFRESH_LEAD_S = 1.0
"""Seconds before the end of a wait for the quota or the server at which the names are read again."""

_DELETION_CHECK_AGE_S = 5.0
"""Age of the list of groups, in seconds, up to which it can show whether a refused group was deleted."""

_BATCHES_AT_ONCE = 256
"""Group requests whose intents are journaled at a time: a sheet may need 33,000 of them."""

_NONE: Mapping[int, int] = MappingProxyType({})


@dataclass(slots=True)
class CurrentGroups:
    """The present groups: their names, which a group PUT must carry, and whether they exist."""

    engine: Engine
    organization_id: str
    planned: Directory  # the groups as they were when the plan was made
    clock: Clock
    known: dict[str, Group] = field(default_factory=dict)
    read_at: float = float("-inf")  # start of the last reading, by the monotonic clock

    async def read(self) -> None:
        """Read the list of groups.

        Raises:
            ConnectionFailedError: The server cannot be reached, or refuses to return the list.
        """
        now = self.clock.monotonic()
        reply: Reply = (await self.engine.call(list_groups(self.organization_id))).reply
        if reply.kind is not ReplyKind.OK:
            raise UnexplainedRefusalError(
                f"The server refused to return the list of groups: {reply.reason}.",
                hint="Group requests need it (scope PM.Group.Read).",
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
        """Return a group as it was last read; None if it does not exist."""
        return self.known.get(fold(group_id))

    def last_known(self, group_id: str) -> Group:
        """Return a group as it was last read, or as the plan knows it if it was deleted since."""
        known = self.group(group_id) or self.planned.group_with_id(group_id)
        return known or Group(group_id, self.planned.group_name(group_id))


@dataclass(slots=True)
class GroupSender:
    """Sends the group requests of a run, before its account PUTs. Numbers are those of the run items."""

    sender: AccountSender
    changes: Mapping[int, Change]  # of every account in a batch
    names: CurrentGroups
    queue: BatchQueue = field(default_factory=BatchQueue)
    _in_flight: dict[int, Batch] = field(default_factory=dict)
    _last_key: int = 0
    _refusals: list[tuple[Batch, Settled]] = field(default_factory=list)
    _accepted: "array[int]" = field(default_factory=lambda: array("i"))  # accounts whose batches have all passed
    _status: Tally = field(default_factory=Tally)  # the HTTP status of the last response for each of them
    _attempts: Tally = field(default_factory=Tally)
    _intended: Tally = field(default_factory=Tally)  # 1 once the intent is journaled
    _maybe_changed: Tally = field(default_factory=Tally)  # 1 once a request for it passed, or may have
    _left_out: dict[Batch, frozenset[int]] = field(default_factory=dict)  # members that a first request did not name
    _failed: set[int] = field(default_factory=set)
    _deleted_groups: set[str] = field(default_factory=set)  # folded ids of groups that were deleted during the run
    _refused: list[GroupRefusal] = field(default_factory=list)  # of groups that refused their check
    _settled_event: anyio.Event = field(default_factory=anyio.Event)

    async def send(self, batches: list[Batch], carried: Mapping[int, int] = _NONE) -> list[tuple[int, Change]]:
        """Send the batches, split those that are refused, and settle each account by its state when read back.

        The list is empty afterwards, to free its memory. After a stop is requested no account is read back.

        Args:
            batches: Requests to groups that exist.
            carried: Accounts that the POSTs of new groups have carried, with the HTTP status: they are settled like
                those of a batch that has passed.

        Returns:
            The changes that must be sent by account, in the order of their numbers.

        Raises:
            BulkidError: An error that would fail every further request, too.
            InterruptedRunError: A stop was requested while groups or accounts were read.
        """
        self.queue.add(batches)
        stop = self.sender.stop
        for number, status in carried.items():
            self._attempts[number] += 1
            if not self.queue.is_open(number):
                self._accept(number, status)
        if batches:
            await self._send_batches(batches, stop)
        individual: list[int] = []
        if not stop.requested:
            async with until_stopped(stop):
                individual = await self._read_back()
        by_account = {*individual, *self.queue.individual} - self._failed  # another batch of theirs may be refused, too
        self.sender.partly.update(number for number in by_account if self._maybe_changed[number])
        return [(number, self.changes[number]) for number in sorted(by_account)]

    async def _send_batches(self, batches: list[Batch], stop: Stop) -> None:
        async with until_stopped(stop):
            await self.names.read()
        for group_id in dict.fromkeys(batch.group_id for batch in batches):
            if self.names.group(group_id) is None:
                self._fail_group(group_id, self.queue.drop_group(group_id), None)
        batches.clear()
        async with task_group() as tasks:
            tasks.start_soon(self._refresh_names)
            await self.sender.connection.engine.run(self._batches_to_send(), self._settled, stop)
            tasks.cancel_scope.cancel()

    # --- requests

    async def _batches_to_send(self) -> AsyncIterator[Sequence[Task]]:
        """Yield the batches that may leave, until each has passed or was split."""
        while True:
            await self._handle_refusals()
            ready = self.queue.next(_BATCHES_AT_ONCE)
            if ready:
                await self._intend(ready)
                yield [self._task(batch) for batch in ready]
            elif self.queue.done and not self._refusals:
                return
            else:
                self._settled_event = anyio.Event()  # no await since queue.next: no response is missed
                await self._settled_event.wait()

    async def _intend(self, batches: Iterable[Batch]) -> None:
        numbers = {number for batch in batches for number in batch.members if not self._intended[number]}
        for number in numbers:
            self._intended[number] = 1
        sender = self.sender
        await sender.writer.wait_for_capacity()
        await sender.intend(sorted(numbers), Via.GROUP)

    def _task(self, batch: Batch) -> Task:
        self._last_key += 1
        self._in_flight[self._last_key] = batch
        self.sender.progress.requests["PUT"] += batch.check or batch.root is not None  # the plan counted whole batches
        on_forbidden = self.sender.on_group_forbidden
        return Task(self._last_key, self._request(batch), lambda: self._request(batch), on_forbidden)

    def _request(self, batch: Batch) -> Request:
        """Make the request of a batch with the group's present name, without members that are sent by account."""
        self._left_out.setdefault(batch, frozenset(self.queue.individual.intersection(batch.members)))
        return put_group(
            self.names.organization_id,
            self.names.last_known(batch.group_id),  # the server refuses the request for a deleted group
            self._account_ids(batch.members[: batch.joining]),
            self._account_ids(batch.members[batch.joining :]),
        )

    def _account_ids(self, numbers: Iterable[int]) -> list[str]:
        """Return the account ids of run items, without those that are sent by account."""
        return [self.changes[number].account_id for number in numbers if number not in self.queue.individual]

    async def _refresh_names(self) -> None:
        """Keep the names fresh for the next requests; while no request may leave, do not read them."""
        engine = self.sender.connection.engine
        while True:
            quota_opens = engine.quota.seconds_until_free("PUT") if engine.quota.remaining("PUT") == 0 else None
            waits = (quota_opens, engine.breaker.seconds_until_free(), engine.pacing.seconds_until_free("PUT"))
            seconds_until_free = max(wait or 0.0 for wait in waits)
            await self.sender.clock.sleep(
                max(seconds_until_free - _REFRESH_LEAD_S, NAMES_AGE_S if not seconds_until_free else _REFRESH_LEAD_S)
            )
            await self.names.read()

    # --- responses

    def _settled(self, settled: Settled) -> None:
        """Take in the reply to a group PUT: accept its members, or keep the refusal for the sending loop."""
        batch = self._in_flight.pop(settled.key)
        kind = settled.reply.kind
        left_out = self._left_out.pop(batch, ())
        maybe_changed = kind is ReplyKind.OK or settled.maybe_applied
        for number in batch.members:
            self._attempts[number] += settled.attempts
            if maybe_changed and number not in left_out:
                self._maybe_changed[number] = 1
        if kind is ReplyKind.OK:
            for number in self.queue.accepted(batch):
                self._accept(number, settled.reply.status or 0)
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

    def _accept(self, number: int, status: int) -> None:
        """Note that all requests which carry an account's change have passed: it must be read back."""
        self._accepted.append(number)
        self._status[number] = status
        self.sender.progress.unverified += 1

    async def _handle_refusals(self) -> None:
        """Split the refused batches, except those of groups that were deleted."""
        while self._refusals:
            batch, settled = self._refusals.pop(0)
            reply = settled.reply
            if reply.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                self.queue.too_large(batch)
            elif reply.kind not in CLEAR_REFUSALS:
                self.queue.unclear(batch)
            elif await self._is_deleted(batch.group_id):
                numbers = [*self.queue.drop(batch), *self.queue.drop_group(batch.group_id)]
                self._fail_group(batch.group_id, numbers, reply.status)
            else:
                self.queue.refused(batch)
                if batch.check:
                    self._note_refusal(batch.group_id, reply)

    def _note_refusal(self, group_id: str, reply: Reply) -> None:
        """Record that a group refuses a PUT that changes nothing; members of its refused batch become suspects."""
        name = self.names.last_known(group_id).name
        log.info("group.refuses_requests", group=group_id, http_status=reply.status, error=reply.error)
        self._refused.append(GroupRefusal(group_id, name, reply.status, reply.error, self.sender.clock.now()))
        self.sender.suspects.update(self.queue.refusing[group_id])

    async def remember_refusals(self) -> None:
        """Journal which groups refuse every PUT, for later plans.

        A server may refuse every PUT that changes nothing, and may have refused the batch because of one member. So a
        group is journaled only if the own PUT of each of these members has passed.
        """
        refusals = GroupRefusals(self.sender.journal, self.names.organization_id)
        for refusal in self._refused:
            if self.sender.suspects.isdisjoint(self.queue.refusing[refusal.group_id]):
                await in_thread(refusals.remember, refusal)

    async def _is_deleted(self, group_id: str) -> bool:
        if self.sender.clock.monotonic() - self.names.read_at > _DELETION_CHECK_AGE_S:
            await self.names.read()
        return self.names.group(group_id) is None

    def _fail_group(self, group_id: str, numbers: Iterable[int], status: int | None) -> None:
        """Settle the accounts that need a deleted group: the server would refuse each of their own PUTs.

        Those that were to leave it have left it: they are read back.
        """
        self._deleted_groups.add(fold(group_id))
        name = self.sender.directory.group_name(group_id)
        error = f"The group {name} does not exist any more: it was deleted after the plan was made."
        for number in numbers:
            if number in self._failed or number in self.queue.individual:
                continue
            if not any(fold(group) == fold(group_id) for group in self.changes[number].add):
                if self.queue.record_passed(number):
                    self._accept(number, 0)
                continue
            self._failed.add(number)
            self.sender.fail(number, self._outcome(number, Status.FAILED, status, "group_gone", error))

    def _outcome(
        self, number: int, status: Status, http_status: int | None, code: str = "", error: str = ""
    ) -> Outcome:
        now = self.sender.clock.now()
        return Outcome(status, http_status, code, error, self._attempts[number], Via.GROUP, now)

    # --- reading back

    async def _read_back(self) -> list[int]:
        """Settle the accounts whose batches have all passed. Return those that do not show their change."""
        waiting = {
            fold(self.changes[number].account_id): number for number in self._accepted if number not in self._failed
        }

        def settle(account: Account) -> str:
            """Settle an account that shows its change; keep one that does not."""
            key = fold(account.id)
            number = waiting.get(key)
            if number is None:
                return key
            change = self.changes[number]
            if not confirms(change, account):
                return ""
            self._confirm(number)
            del waiting[key]
            return fold(change.account_id)  # equal to the key, and in memory already

        await self._read_accounts(waiting, settle)
        if waiting:  # a server may respond from a cache
            await self.sender.clock.sleep(SETTLING_S)
            await self._read_accounts(waiting, settle)
        self.sender.progress.unverified -= len(waiting)
        self._fail_members_of_deleted_groups(waiting.values())
        left = [number for number in waiting.values() if number not in self._failed]
        if left:
            log.info("group.not_applied", accounts=len(left))
        return left

    async def _read_accounts(self, waiting: Mapping[str, int], consume: Callable[[Account], str]) -> None:
        """Read the accounts of some run items. ``consume``: see :func:`read_accounts_again`."""
        if waiting:
            ids = [self.changes[number].account_id for number in waiting.values()]
            await read_accounts_again(self.sender.connection.engine, self.names.organization_id, ids, consume)

    def _fail_members_of_deleted_groups(self, numbers: Iterable[int]) -> None:
        """Settle the accounts whose group was deleted after its PUT had passed."""
        for number in numbers:
            deleted = next((group for group in self.changes[number].add if fold(group) in self._deleted_groups), None)
            if deleted is not None:
                self._fail_group(deleted, [number], self._status[number] or None)

    def _confirm(self, number: int) -> None:
        self.sender.progress.unverified -= 1
        if not self._attempts[number]:  # it left a group by the end of that
            self.sender.record_unchanged(number, Outcome(Status.UNCHANGED, finished_at=self.sender.clock.now()))
            return
        self.sender.progress.updated += 1
        self.sender.writer.add(number, self._outcome(number, Status.UPDATED, self._status[number] or None))
