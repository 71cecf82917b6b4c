"""Creating groups, before anything else is sent: one POST per group, which carries the existing accounts that join it.

A POST that is refused for its size is sent with half of the members, and one that is refused for another reason without
any: the members that it does not carry are left to group requests, or to their own PUTs. What became of a POST without
a clear response, or with a refusal, shows the list of groups. If another group has the name, it takes the place of the
one that was to be created.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple

from bulkid.engine.task import Settled, Task
from bulkid.identity.endpoints import UnexpectedResponseError, create_group, parse_group
from bulkid.logs import log
from bulkid.model import Change, Group, Outcome, ReplyKind, Status, Via
from bulkid.runs.concurrency import until_stopped
from bulkid.runs.execution.account_sender import CLEAR_REFUSALS, SETTLING_S, AccountSender
from bulkid.runs.execution.bisection import Batch
from bulkid.runs.execution.group_sender import CurrentGroups
from bulkid.runs.execution.reconcile import NewGroup
from bulkid.text import fold

NOT_CREATED = "group_not_created"
"""The error code of an account that needs a group which could not be created."""


@dataclass(slots=True, eq=False)
class _Creation:
    """A group under way."""

    group: Group
    members: Sequence[int]  # run items of the accounts that the next POST carries
    rest: list[int] = field(default_factory=list)  # run items of the accounts that it does not carry
    unclear: int = 0  # POSTs without a clear response

    def carry(self, count: int) -> None:
        """Let the next POST carry only so many members."""
        self.rest = [*self.members[count:], *self.rest]
        self.members = self.members[:count]


class NewGroupsResult(NamedTuple):
    """What became of the groups to create."""

    carried: dict[int, int]  # run items of the accounts that POSTs carried, with the HTTP status (0: none)
    batches: list[Batch]  # the members that POSTs did not carry
    replaced: dict[str, Group]  # by folded id of the group to create: the group that takes its place
    failed: dict[str, Outcome]  # by folded id of the group to create: the outcome of the accounts that need it


@dataclass(slots=True)
class NewGroupSender:
    """Creates the groups of a run. Numbers are those of the run items."""

    sender: AccountSender
    names: CurrentGroups
    changes: Mapping[int, Change]  # of the existing accounts that join the groups
    by_group: Mapping[int, Change]  # of those without a PUT of their own
    batch_size: int  # members of one group request at most
    max_posts: int  # POSTs of one group that may get no clear response
    _under_way: dict[int, _Creation] = field(default_factory=dict)
    _last_key: int = 0
    _refused: list[tuple[_Creation, Settled]] = field(default_factory=list)
    _result: NewGroupsResult = field(default_factory=lambda: NewGroupsResult({}, [], {}, {}))

    async def send(self, new_groups: Sequence[NewGroup]) -> NewGroupsResult:
        """Create the groups. After a stop is requested, the result is without those that no response shows.

        Raises:
            BulkidError: An error that would fail every further request, too.
            InterruptedRunError: A stop was requested while the list of groups was read.
        """
        waiting = [_Creation(group, members) for group, members in new_groups]
        stop = self.sender.stop
        while waiting and not stop.requested:
            await self.sender.connection.engine.run(self._tasks(waiting), self._settled, stop)
            if stop.requested:
                break
            async with until_stopped(stop):
                waiting = await self._decide()
            self.sender.progress.requests["POST"] += len(waiting)
        return self._result

    async def _tasks(self, creations: Sequence[_Creation]) -> AsyncIterator[Sequence[Task]]:
        numbers = {number for creation in creations for number in creation.members}
        await self.sender.intend(sorted(numbers), Via.GROUP)
        yield [self._task(creation) for creation in creations]

    def _task(self, creation: _Creation) -> Task:
        self._last_key += 1
        self._under_way[self._last_key] = creation
        members = [self.changes[number].account_id for number in creation.members]
        request = create_group(self.names.organization_id, creation.group, members)
        return Task(self._last_key, request, None, self.sender.on_group_forbidden)

    def _settled(self, settled: Settled) -> None:
        creation = self._under_way.pop(settled.key)
        if settled.reply.kind is not ReplyKind.OK:
            self._refused.append((creation, settled))
            return
        try:
            created = parse_group(settled.reply.payload)
        except UnexpectedResponseError:
            self._refused.append((creation, settled))  # the list of groups shows it
            return
        if fold(created.id) != fold(creation.group.id) and fold(created.name) != fold(creation.group.name):
            self._refused.append((creation, settled))  # an answer about another group shows nothing
            return
        self._created(creation, created, settled.reply.status or 0)

    def _created(self, creation: _Creation, group: Group, status: int) -> None:
        """Note that a group exists with the members that its POST carried; a server may give it an id of its own."""
        if fold(group.id) != fold(creation.group.id):
            self._result.replaced[fold(creation.group.id)] = group
        self.sender.partly.update(creation.members)
        for number in creation.members:
            if number in self.by_group:
                self._result.carried[number] = status
        self._leave_to_batches(group, creation.rest, min(self.batch_size, len(creation.members) or self.batch_size))

    def _leave_to_batches(self, group: Group, numbers: Sequence[int], size: int) -> None:
        left = [number for number in numbers if number in self.by_group]
        parts = [tuple(left[start : start + size]) for start in range(0, len(left), size)]
        self._result.batches.extend(Batch(group.id, part, len(part)) for part in parts)

    async def _decide(self) -> list[_Creation]:
        """Decide what follows for the POSTs that did not pass; return the groups whose POST must be sent again."""
        refused, self._refused = self._refused, []
        again: list[_Creation] = []
        unconfirmed: list[tuple[_Creation, Settled]] = []
        for creation, settled in refused:
            log.info(
                "group.creation_refused",
                group=creation.group.id,
                members=len(creation.members),
                http_status=settled.reply.status,
                error=settled.reply.error,
            )
            if settled.reply.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and creation.members:
                creation.carry(len(creation.members) // 2)
                again.append(creation)
            else:
                unconfirmed.append((creation, settled))
        if unconfirmed:
            await self._read_groups(unconfirmed)
            by_name = {fold(group.name): group for group in self.names.known.values()}
            for creation, settled in unconfirmed:
                if self._must_be_sent_again(creation, settled, by_name):
                    again.append(creation)
        return again

    async def _read_groups(self, unconfirmed: Sequence[tuple[_Creation, Settled]]) -> None:
        """Read the list of groups; once more if it lacks one whose POST was refused after an unclear response."""
        await self.names.read()
        if any(
            creation.unclear and settled.reply.kind in CLEAR_REFUSALS and self.names.group(creation.group.id) is None
            for creation, settled in unconfirmed
        ):
            await self.sender.clock.sleep(SETTLING_S)  # a server may respond from a cache
            await self.names.read()

    def _must_be_sent_again(self, creation: _Creation, settled: Settled, by_name: Mapping[str, Group]) -> bool:
        """Whether a group without a clear response is not in the list of groups, and its POST may pass yet."""
        group, reply = creation.group, settled.reply
        if self.names.group(group.id) is not None:
            self._created(creation, group, 0)
            return False
        if (other := by_name.get(fold(group.name))) is not None:
            log.info("group.name_taken", group=group.id, other=other.id)
            self._result.replaced[fold(group.id)] = other
            self._leave_to_batches(other, [*creation.members, *creation.rest], self.batch_size)
            return False
        if reply.kind in CLEAR_REFUSALS:
            if creation.members:  # one of them may be to blame
                creation.carry(0)
                return True
        else:
            creation.unclear += 1
            if creation.unclear < self.max_posts:
                return True
        reason = reply.error or reply.error_code or reply.kind.value
        self._result.failed[fold(group.id)] = Outcome(
            Status.FAILED,
            reply.status,
            NOT_CREATED,
            f"The group {group.name} could not be created: {reason}",
            settled.attempts,
            None,
            self.sender.clock.now(),
        )
        return False
