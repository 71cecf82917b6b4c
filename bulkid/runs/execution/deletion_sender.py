"""Sending deletions: one DELETE names many accounts, and each account is confirmed by reading back.

A refused DELETE is sent again in halves, down to the account that the server refuses. A DELETE is safe to repeat, but a
server may refuse it for accounts that are gone already: after an unclear response, and after the first 404, the
accounts are read back, and only those that still exist are sent again, in smaller requests: one of them, or the size,
may be to blame. If no DELETE passes at all, this ends after a few rounds.
"""

from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple

import anyio

from bulkid.engine.task import Settled, Task
from bulkid.identity.endpoints import delete_accounts
from bulkid.logs import log
from bulkid.model import Account, Change, Outcome, ReplyKind, Status, Via
from bulkid.planning.directory import Absent, Directory, Unknown
from bulkid.planning.plan import DELETE_BATCH
from bulkid.planning.preconditions import CHANGED_SINCE, deletion_conflict, left_alone
from bulkid.runs.concurrency import in_thread, until_stopped
from bulkid.runs.execution.account_sender import CLEAR_REFUSALS, SETTLING_S, AccountSender, failed_outcome
from bulkid.runs.execution.directory_reader import read_accounts_again
from bulkid.runs.execution.reconcile import settled_by_reading
from bulkid.text import fold

_MAX_UNCLEAR = 4
"""Requests for one account that may get no clear response while no deletion of the run has passed. By then no eighth of
a batch has passed: the server fails on all deletions, not on some accounts."""

_BATCHES_AT_ONCE = 16
"""Requests whose intents are journaled at a time."""

_Deletion = tuple[int, Change]
"""The change of an account to delete, with the number of its run item."""


class _Answered(NamedTuple):
    """A deletion whose request was settled, or cancelled on its way."""

    number: int
    change: Change
    settled: Settled | None  # None: cancelled
    size: int = 0  # accounts that the request named


async def untouched(
    sender: AccountSender, deletions: Sequence[_Deletion]
) -> tuple[Sequence[_Deletion], Mapping[int, str]]:
    """Read the accounts to delete again, and leave those alone that are not as they were when they were planned.

    Those that are gone by now are settled.

    Returns:
        The deletions to send; and the run items of accounts that the server does not show any more, with the reason.

    Raises:
        ConnectionFailedError: The server does not respond.
    """
    items = await in_thread(sender.journal.items, sender.run_id, [number for number, _ in deletions])
    present = await _read(sender, [change.account_id for _, change in deletions])
    kept: list[_Deletion] = []
    unknown: dict[int, str] = {}
    for number, change in deletions:
        found, before = present.find(change.account_id), items[number].before
        if isinstance(found, Unknown):
            unknown[number] = found.reason
            continue
        if isinstance(found, Absent):
            outcome = settled_by_reading(items[number], Status.DELETED, sender.clock.now())
            if outcome.status is Status.DELETED:
                sender.record(number, outcome)
            else:
                sender.record_unchanged(number, outcome)
            continue
        conflict = ""
        if before is not None:
            conflict = deletion_conflict(before, found, sender.directory)
        if conflict:
            outcome = Outcome(Status.FAILED, None, CHANGED_SINCE, left_alone(conflict), finished_at=sender.clock.now())
            sender.fail(number, outcome)
        else:
            kept.append((number, change))
    return kept, unknown


async def _read(sender: AccountSender, ids: Sequence[str]) -> Directory:
    """Read some accounts again, and keep no others in memory."""
    wanted = frozenset(map(fold, ids))

    def leave_out(account: Account) -> str:
        key = fold(account.id)
        return "" if key in wanted else key

    connection = sender.connection
    return await read_accounts_again(connection.engine, connection.organization_id, ids, leave_out)


@dataclass(slots=True)
class DeletionSender:
    """Sends the deletions of a run. Numbers are those of the run items."""

    sender: AccountSender
    _waiting: deque[Sequence[_Deletion]] = field(default_factory=deque)
    _in_flight: dict[int, Sequence[_Deletion]] = field(default_factory=dict)
    _last_key: int = 0
    _to_read: list[_Answered] = field(default_factory=list)  # to be read back
    _has_passed: bool = False  # whether the server has taken any request
    _suspects: int = 0  # of them, those that the server did not call deleted
    _unclear: Counter[int] = field(default_factory=Counter)  # by run item: requests without a clear response
    _read_after_404: set[int] = field(default_factory=set)
    _attempts: Counter[int] = field(default_factory=Counter)
    _settled_event: anyio.Event = field(default_factory=anyio.Event)

    async def send(self, deletions: Sequence[_Deletion]) -> None:
        """Send the deletions, and settle each account by its state when read back.

        When too many accounts would have failed if the suspected ones had failed, sending pauses until they have been
        read back. After a stop is requested no account is read back.

        Raises:
            BulkidError: An error that would fail every further request, too.
            InterruptedRunError: A stop was requested while accounts were read back.
        """
        sender = self.sender
        self._add(deletions, DELETE_BATCH)
        while self._waiting and not sender.stop.requested:
            await sender.run(self._tasks(), self._settled)
            if sender.stop.requested:
                return
            for batch in self._in_flight.values():
                self._to_read += [_Answered(number, change, None, len(batch)) for number, change in batch]
            self._in_flight.clear()
            async with until_stopped(sender.stop):
                await self._read_back()
            if sender.too_many or sender.too_many_unconfirmed:
                return

    def _add(self, deletions: Sequence[_Deletion], size: int) -> None:
        for start in range(0, len(deletions), size):
            self._waiting.append(deletions[start : start + size])

    # --- requests

    async def _tasks(self) -> AsyncIterator[Sequence[Task]]:
        """Yield the batches, and the halves of those that the server refuses."""
        while True:
            if self._waiting:
                ready = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCHES_AT_ONCE))]
                await self.sender.writer.wait_for_capacity()
                await self.sender.intend(sorted(number for batch in ready for number, _ in batch), Via.ACCOUNT)
                yield [self._task(batch) for batch in ready]
            elif not self._in_flight:
                return
            else:
                self._settled_event = anyio.Event()  # no await since the check: no response is missed
                await self._settled_event.wait()

    def _task(self, batch: Sequence[_Deletion]) -> Task:
        self._last_key += 1
        self._in_flight[self._last_key] = batch
        ids = [change.account_id for _, change in batch]
        request = delete_accounts(self.sender.connection.organization_id, ids)
        return Task(self._last_key, request, None, self.sender.on_forbidden)

    def _settled(self, settled: Settled) -> None:
        """Take in the reply to a DELETE: halve its batch, or note its accounts to be read back."""
        batch = self._in_flight.pop(settled.key)
        reply = settled.reply
        for number, _ in batch:
            self._attempts[number] += settled.attempts
        if reply.kind is not ReplyKind.OK:
            log.info("deletion.refused", accounts=len(batch), http_status=reply.status, error=reply.error)
        if self._may_be_halved(batch, settled):
            self.sender.progress.requests["DELETE"] += 2
            middle = len(batch) // 2
            self._waiting.extendleft((batch[middle:], batch[:middle]))
        else:
            self._to_read += [_Answered(number, change, settled, len(batch)) for number, change in batch]
            if reply.kind is ReplyKind.OK:
                self._has_passed = True
            else:
                self._suspects += len(batch)
                if self.sender.too_many_with(self._suspects):
                    self.sender.pause("deletions without a clear response")
        self._settled_event.set()

    def _may_be_halved(self, batch: Sequence[_Deletion], settled: Settled) -> bool:
        """Whether a batch was refused, so that a half of it may pass; else its accounts are read back first."""
        if len(batch) == 1 or settled.reply.kind not in CLEAR_REFUSALS or settled.maybe_applied:
            return False
        if settled.reply.status != HTTPStatus.NOT_FOUND:
            return True
        fresh = [number for number, _ in batch if number not in self._read_after_404]
        self._read_after_404.update(fresh)
        return not fresh

    # --- reading back

    async def _read_back(self) -> None:
        """Settle the accounts by their present state; those that must be sent again are waiting afterwards."""
        if not self._to_read:
            return
        answered, self._to_read, self._suspects = self._to_read, [], 0
        directory = await self._read_again(answered)
        later, late = directory, frozenset[int]()
        kept = [each for each in answered if _is_accepted(each) and isinstance(_state(each, directory), Account)]
        if kept:  # a server may respond from a cache
            await self.sender.clock.sleep(SETTLING_S)
            later, late = await self._read_again(kept), frozenset(each.number for each in kept)
        again: dict[int, list[_Deletion]] = {}  # by the size of the requests
        for each in answered:
            if self._settle(each, _state(each, later if each.number in late else directory)):
                again.setdefault(_next_size(each), []).append((each.number, each.change))
        for size, deletions in again.items():
            self.sender.progress.requests["DELETE"] += -(-len(deletions) // size)
            self._add(deletions, size)

    async def _read_again(self, answered: Sequence[_Answered]) -> Directory:
        return await _read(self.sender, [each.change.account_id for each in answered])

    def _settle(self, answered: _Answered, found: Account | Absent | Unknown) -> bool:
        """Settle an account by its present state; return True if it must be sent again."""
        number, settled = answered.number, answered.settled
        if isinstance(found, Absent):
            status = None if settled is None else settled.reply.status
            attempts, now = self._attempts[number], self.sender.clock.now()
            self.sender.record(number, Outcome(Status.DELETED, status, "", "", attempts, Via.ACCOUNT, now))
            return False
        if isinstance(found, Unknown):
            log.info("account.unconfirmed", entry=number, reason=found.reason)
            self.sender.progress.unverified += 1
            self.sender.unknown[number] = found.reason
            return False
        if settled is None or self._may_be_sent_again(answered, settled):
            return True
        reply = settled.reply
        code, error = reply.error_code, reply.error
        if reply.kind is ReplyKind.OK:
            code, error = "not_applied", f"The server answered {reply.status}, but the account still exists."
        outcome = failed_outcome(settled, code, error)
        self.sender.fail(number, outcome._replace(attempts=self._attempts[number]))
        return False

    def _may_be_sent_again(self, answered: _Answered, settled: Settled) -> bool:
        """Whether the response says nothing clear about an account that still exists."""
        if settled.reply.kind is ReplyKind.OK:
            return False
        if answered.size == 1:
            return False
        if _is_unclear(settled):
            self._unclear[answered.number] += 1
        return self._has_passed or self._unclear[answered.number] < _MAX_UNCLEAR


def _is_accepted(answered: _Answered) -> bool:
    return answered.settled is not None and answered.settled.reply.kind is ReplyKind.OK


def _is_unclear(settled: Settled) -> bool:
    return settled.maybe_applied or settled.reply.kind not in CLEAR_REFUSALS


def _next_size(answered: _Answered) -> int:
    """Return how many accounts the next request may name: half as many after an unclear response."""
    if answered.settled is None or not _is_unclear(answered.settled):
        return answered.size
    return -(-answered.size // 2)


def _state(answered: _Answered, directory: Directory) -> Account | Absent | Unknown:
    return directory.find(answered.change.account_id)
