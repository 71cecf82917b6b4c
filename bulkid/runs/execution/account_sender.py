"""Sending one PUT per account: journal intents, send, journal outcomes, and read back what no response confirmed.

The senders of creations, deletions and group requests settle accounts by the `AccountSender`, too, so that one count of
failures holds for all of them.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple

from anyio.lowlevel import checkpoint

from bulkid.clock import Clock
from bulkid.engine.auth_failures import OnForbidden
from bulkid.engine.signals import Stop
from bulkid.engine.task import Settled, Task
from bulkid.errors import ConnectionFailedError, InterruptedRunError, TooManyFailuresError
from bulkid.identity.endpoints import UnexpectedResponseError, parse_account, put_account
from bulkid.journal.store import Journal
from bulkid.journal.writer import OutcomeWriter
from bulkid.logs import log
from bulkid.model import Account, Change, FailureBound, Outcome, ReplyKind, Status, Via
from bulkid.planning.directory import Absent, Directory, Unknown
from bulkid.planning.partial_changes import partly_applied, shows_part
from bulkid.planning.plan import confirms, shortfall, values_confirmed
from bulkid.resources import current
from bulkid.runs.concurrency import in_thread, task_group, until_stopped
from bulkid.runs.execution.connection import Connection
from bulkid.runs.execution.directory_reader import read_accounts_again
from bulkid.runs.execution.progress import Progress
from bulkid.runs.options import Hooks
from bulkid.text import count_of, fold

INTENT_CHUNK = 1024
"""Accounts whose intent is journaled in one transaction, ahead of sending. A crash leaves at most two chunks unknown,
and a resume reads those back. The next chunk is journaled while three quarters of one are left: a server that takes
5,000 requests per second has work for 150 ms, and now and then a disk needs that to write."""

FIRST_INTENT_CHUNK = 256
"""Accounts of the first chunk: the first request waits until their intents are journaled."""

_TASKS_AT_ONCE = 64
"""Tasks of a chunk that are made before responses get their turn, which takes 0.3 ms. A whole chunk takes 4 ms: that is
longer than 16 requests in flight keep a server busy which takes 0.2 ms for each."""

SETTLING_S = 2.0
"""Seconds until a second reading of what a server does not show, but should: it may have responded from a cache."""

CLEAR_REFUSALS = frozenset({ReplyKind.REFUSED, ReplyKind.UNAUTHORIZED, ReplyKind.FORBIDDEN})
"""Replies that refuse one request for good, because of what it asks for."""


class UnconfirmedAccount(NamedTuple):
    """An account whose request may have been applied, although no response confirms it."""

    number: int
    change: Change
    settled: Settled


@dataclass(slots=True, kw_only=True)
class AccountSender:
    """Sends the changes of a run, and settles its accounts. Numbers are those of the run items."""

    connection: Connection
    run_id: str
    directory: Directory
    writer: OutcomeWriter
    progress: Progress
    bound: FailureBound
    bounded_accounts: int  # of which the bound allows a share to fail
    journal: Journal = field(init=False)
    clock: Clock = field(init=False)
    stop: Stop = field(init=False)
    unconfirmed: list[UnconfirmedAccount] = field(default_factory=list)
    unknown: dict[int, str] = field(default_factory=dict)  # creations and deletions that nothing shows, with the reason
    failures: int = 0  # accounts settled as failed
    suspects: set[int] = field(default_factory=set)  # members of refused batches, until they are updated
    partly: set[int] = field(default_factory=set)  # accounts that may have part of their change: an undo must know
    _changes: dict[int, Change] = field(default_factory=dict)  # given to the engine and not settled
    _sent_again: set[int] = field(default_factory=set)  # given to the engine before: a request may have left already
    _not_submitted: int = 0  # number of changes of the last `send_each` that were not given to the engine
    _pause: Stop = field(default_factory=Stop)
    _without_answer: int = 0  # unconfirmed accounts whose last response was not a success
    _read_back: int = 0  # unconfirmed accounts that reading back has confirmed

    def __post_init__(self) -> None:
        context = self.connection.context
        self.journal, self.clock, self.stop = self.connection.journal, context.clock, context.stop

    @property
    def too_many(self) -> bool:
        """Whether more accounts failed than allowed."""
        return self.bound.exceeded(self.failures, self.bounded_accounts)

    @property
    def unfinished(self) -> bool:
        """Whether an account is not settled."""
        return self.progress.settled < self.progress.total

    @property
    def too_many_unconfirmed(self) -> bool:
        """Whether too many accounts would have failed if the unconfirmed ones had failed, too.

        Some servers never return enough to confirm a change. So an account with a successful response counts only if
        there are more of them than reading back has confirmed so far.
        """
        suspects = self._without_answer + max(0, len(self.unconfirmed) - self._without_answer - self._read_back)
        return self.too_many_with(suspects)

    def too_many_with(self, suspects: int) -> bool:
        """Whether too many accounts would have failed if so many more had failed, and those that nothing shows."""
        suspects += len(self.unknown)
        return suspects > 0 and self.bound.exceeded(self.failures + suspects, self.bounded_accounts)

    @property
    def on_forbidden(self) -> OnForbidden:
        """What a 403 on a request for one account can mean."""
        granted = self.connection.known.write_accounts is True
        return OnForbidden.SCOPE_GRANTED if granted else OnForbidden.SCOPE_MAY_BE_MISSING

    @property
    def on_group_forbidden(self) -> OnForbidden:
        """What a 403 on a group request can mean.

        With the scope it is about this group or a member, which is sent by account: the run goes on.
        """
        granted = self.connection.known.write_groups is True
        return OnForbidden.ABOUT_THE_REQUEST if granted else OnForbidden.SCOPE_MAY_BE_MISSING

    async def send(self, changes: Sequence[tuple[int, Change]]) -> None:
        """Send one PUT per account.

        Only settled failures count against the limit. When the unconfirmed accounts could exceed it, sending pauses
        until they have been read back; if they cannot be, sending ends.

        Raises:
            BulkidError: An error that would fail every further request, too.
            InterruptedRunError: A stop was requested while accounts were read back.
        """
        organization_id, on_forbidden = self.connection.organization_id, self.on_forbidden

        def task(number: int, change: Change) -> Task:
            return Task(number, put_account(organization_id, change), None, on_forbidden)

        while changes and not self.stop.requested:
            left = await self.send_each(changes, task, self._settled)
            if self.stop.requested or not self.paused:
                return
            log.info("accounts.unconfirmed", accounts=len(self.unconfirmed), failed=self.failures)
            submitted, others = left[: len(left) - self._not_submitted], left[len(left) - self._not_submitted :]
            async with until_stopped(self.stop):
                submitted = await self.verify(submitted)
            if self.too_many or self.too_many_unconfirmed:
                return
            self._sent_again.update(number for number, _ in submitted)
            changes = [*submitted, *others]

    async def send_each(
        self,
        changes: Sequence[tuple[int, Change]],
        task: Callable[[int, Change], Task],
        on_settled: Callable[[Settled], None],
    ) -> Sequence[tuple[int, Change]]:
        """Send one request for each change, until all are settled, a stop was requested, or `pause` was called.

        Args:
            changes: In the order of their numbers.
            task: Makes the task of a change; its key is the number.
            on_settled: Takes the result; it must take the change, too, by `take`.

        Returns:
            The changes that are not settled. First those that were given to the engine: a request may have left.

        Raises:
            BulkidError: An error that would fail every further request, too.
        """
        self._not_submitted = len(changes)
        await self.run(self._chunks(changes, task), on_settled)
        left = [*self._changes.items(), *changes[len(changes) - self._not_submitted :]]
        self._changes.clear()
        return left

    async def run(self, source: AsyncIterator[Sequence[Task]], on_settled: Callable[[Settled], None]) -> None:
        """Settle the tasks of a source, until a stop was requested, or `pause` was called.

        Raises:
            BulkidError: An error that would fail every further request, too.
        """
        self._pause = Stop()
        async with task_group() as tasks:
            tasks.start_soon(self._forward_stop, self._pause)
            await self.connection.engine.run(source, on_settled, self._pause)
            tasks.cancel_scope.cancel()

    def take(self, number: int) -> Change:
        """Return the change that was settled by `send_each`, once."""
        return self._changes.pop(number)

    def pause(self, reason: str) -> None:
        """Let `run` and `send_each` end once the requests in flight have settled."""
        self._pause.request(reason)

    @property
    def paused(self) -> bool:
        """Whether `pause` ended the last `run` or `send_each`, or a stop."""
        return self._pause.requested

    async def _forward_stop(self, pause: Stop) -> None:
        await self.stop.wait()
        pause.request(self.stop.reason)
        await self.stop.wait_aborted()
        pause.abort()

    async def _chunks(
        self, changes: Sequence[tuple[int, Change]], task: Callable[[int, Change], Task]
    ) -> AsyncIterator[Sequence[Task]]:
        start, size = 0, FIRST_INTENT_CHUNK
        while start < len(changes):
            await self.writer.wait_for_capacity()
            chunk = changes[start : start + size]
            await self.intend([number for number, _ in chunk], Via.ACCOUNT)
            tasks: list[Task] = []
            for begin in range(0, len(chunk), _TASKS_AT_ONCE):
                tasks += [task(number, change) for number, change in chunk[begin : begin + _TASKS_AT_ONCE]]
                await checkpoint()
            self._changes.update(chunk)
            start, size = start + len(chunk), INTENT_CHUNK
            self._not_submitted = len(changes) - start
            yield tasks

    async def intend(self, numbers: Sequence[int], via: Via) -> None:
        """Journal that requests for some run items may leave from now on."""
        await in_thread(self.journal.intend, self.run_id, numbers, self.clock.now(), via)

    def _settled(self, settled: Settled) -> None:
        change = self._changes.pop(settled.key)
        reply = settled.reply
        if reply.kind is ReplyKind.OK and self._confirmed(change, settled):
            self.record(settled.key, _updated(settled))
            return
        unclear = settled.maybe_applied or settled.key in self._sent_again or self._may_be_gone(settled)
        if reply.kind is ReplyKind.OK or unclear:
            self._without_answer += reply.kind is not ReplyKind.OK
            self.progress.unverified += 1
            self.unconfirmed.append(UnconfirmedAccount(settled.key, change, settled))
            if self.too_many_unconfirmed:
                self.pause("unconfirmed accounts")
        else:
            self.fail(settled.key, failed_outcome(settled, reply.error_code, reply.error))

    def _may_be_gone(self, settled: Settled) -> bool:
        """Whether an account that has part of its change seems to be deleted: it, or a group, was not found."""
        is_partly = settled.key in self.partly and not self.directory.blind
        return is_partly and settled.reply.status == HTTPStatus.NOT_FOUND

    def _confirmed(self, change: Change, settled: Settled) -> bool:
        if matches_exactly(change, settled.reply.payload):
            return True
        try:
            after = parse_account(settled.reply.payload)
        except UnexpectedResponseError:
            return False
        if self.directory.blind and after.group_ids is None and fold(after.id) == fold(change.account_id):
            # The account cannot be read back: the server's 200 for this PUT counts unless it shows other values.
            return values_confirmed(change, after)
        return confirms(change, after)

    def fail(self, number: int, outcome: Outcome) -> None:
        """Settle an account that failed, and request a stop if too many have failed."""
        self._record_failure(number, outcome)
        if self.too_many:
            self.stop.request("Stopped: too many accounts failed")
            self.pause(self.stop.reason)

    def _record_failure(self, number: int, outcome: Outcome) -> None:
        if number in self.partly:
            outcome = partly_applied(outcome)
        self.failures += 1
        self.progress.failed += 1
        self.writer.add(number, outcome)
        log.info(
            "account.failed",
            entry=number,
            http_status=outcome.http_status,
            code=outcome.error_code,
            error=outcome.error,
        )

    def record(self, number: int, outcome: Outcome) -> None:
        """Settle an account that the run changed."""
        self.progress.updated += 1
        if self.suspects:
            self.suspects.discard(number)
        self.writer.add(number, outcome)

    def record_unchanged(self, number: int, outcome: Outcome) -> None:
        """Settle an account that was correct before anything was sent for it."""
        self.progress.unchanged += 1
        self.writer.add(number, outcome)

    async def verify(self, submitted: Sequence[tuple[int, Change]] = ()) -> Sequence[tuple[int, Change]]:
        """Read back every unconfirmed account and settle it by its present state.

        An account stays unconfirmed in a blind run, and if the server does not tell whether it still exists.

        Args:
            submitted: Changes whose requests may have left, and that the engine has not settled.

        Returns:
            Those of them that their accounts do not show; the others are settled.

        Raises:
            ConnectionFailedError: The server does not respond; unconfirmed accounts stay pending.
        """
        if not self.unconfirmed or self.directory.blind:
            return submitted
        ids = [account.change.account_id for account in self.unconfirmed]
        ids += [change.account_id for _, change in submitted]
        after = await read_accounts_again(self.connection.engine, self.connection.organization_id, ids)
        unconfirmed, self.unconfirmed, self._without_answer = self.unconfirmed, [], 0
        for account in unconfirmed:
            found = after.find(account.change.account_id)
            if isinstance(found, Unknown):
                log.info("account.unconfirmed", entry=account.number, reason=found.reason)
                self.unconfirmed.append(account)
                self._without_answer += account.settled.reply.kind is not ReplyKind.OK
            else:
                self._settle_by_state(account, found)
        self.progress.unverified -= len(unconfirmed) - len(self.unconfirmed)
        return [each for each in submitted if not self._settle_shown(*each, after)]

    def _settle_shown(self, number: int, change: Change, after: Directory) -> bool:
        """Settle an account as updated if it shows its change."""
        found = after.account(change.account_id)
        if found is None or not confirms(change, found):
            return False
        self.record(number, Outcome(Status.UPDATED, via=Via.ACCOUNT, finished_at=self.clock.now()))
        return True

    async def finish(self, hooks: Hooks) -> None:
        """Read back the unconfirmed accounts after the last request.

        Raises:
            ConnectionFailedError: The server does not respond, or accounts cannot be confirmed: they stay pending.
            InterruptedRunError: A stop was requested.
        """
        if self.unconfirmed:
            hooks.stage("verify")
            self.connection.shows_progress = False
        if self.too_many:
            async with until_stopped(self.stop, aborted=True):  # a stop was requested already
                await self.verify()
            return
        if not self.unfinished:  # also when a signal came with the last response: there is nothing left to stop
            return
        if self.stop.requested:
            raise InterruptedRunError(f"{self.stop.reason}.")
        async with until_stopped(self.stop):
            await self.verify()
        unclear = len(self.unconfirmed) + len(self.unknown)
        if unclear and not self.too_many:
            sent_all = self.progress.done >= self.progress.total
            stopped = "" if sent_all else f"Stopped, as they are more than the limit of {self.bound} (max_failures): "
            blind = self.directory.blind
            why = "cannot be read back (blind)" if blind else "reading back does not show whether they exist"
            raise ConnectionFailedError(
                f"{stopped}{count_of(unclear, 'account')} got no clear response, and {why}: pending.",
                hint="Sending them again is safe.",
            )

    def _settle_by_state(self, account: UnconfirmedAccount, after: Account | Absent) -> None:
        """Settle an account by its present state: if that is correct, it is updated, whatever the responses were."""
        settled, reply = account.settled, account.settled.reply
        finished_at = self.clock.now()
        if isinstance(after, Account) and confirms(account.change, after):
            self._read_back += 1
            self.record(account.number, _updated(settled)._replace(finished_at=finished_at))
            return
        if isinstance(after, Absent):
            code, error = "account_gone", "The account does not exist any more."
        elif reply.kind is ReplyKind.OK:
            missing = shortfall(account.change, after, self.directory)
            code, error = "not_applied", f"The server answered {reply.status}, but the account reads: {missing}"
        else:
            code, error = reply.error_code, reply.error
        outcome = failed_outcome(settled, code, error)._replace(finished_at=finished_at)
        if isinstance(after, Account) and shows_part(account.change, after):
            outcome = partly_applied(outcome)
        self._record_failure(account.number, outcome)


def too_many_failures(failures: int, bound: FailureBound) -> TooManyFailuresError:
    """Make the error that ends a run."""
    return TooManyFailuresError(
        f"Stopped: {count_of(failures, 'account')} failed, more than the limit of {bound} (max_failures).",
        hint="See the report.",
    )


def matches_exactly(change: Change, payload: object) -> bool:
    """Whether a response is an account that shows the change letter by letter, as nearly every response does.

    This takes 1 us. If it is false, parsing the account and comparing it without regard to case takes 5 us.
    """
    if type(payload) is not dict or change.remove:
        return False
    groups = payload.get("groupIds")
    if type(groups) is not list or payload.get("id") != change.account_id or type(payload.get("name")) is not str:
        return False
    for group in change.add:
        if group not in groups:
            return False
    for each, value in zip(current().fields, change.values, strict=True):
        if payload.get(each.property) != (None if value is None else each.encode(value)):
            return False
    return True


def _updated(settled: Settled) -> Outcome:
    return Outcome(Status.UPDATED, settled.reply.status, "", "", settled.attempts, Via.ACCOUNT, settled.finished_at)


_SINGLE_REFUSALS = {
    ReplyKind.UNAUTHORIZED: "The server refuses only this request, and accepts others with the same access token",
    ReplyKind.FORBIDDEN: "The server forbids only the change of this account",
}
"""What a reply of this kind means for its account when the run went on after it."""


def failed_outcome(settled: Settled, code: str, error: str) -> Outcome:
    """Make the outcome of an account whose own request failed; without words, of those of its last reply."""
    code = code or settled.reply.kind.value
    meaning = _SINGLE_REFUSALS.get(settled.reply.kind)
    if meaning is not None:
        error = f"{meaning} ({settled.reply.status}): {error or code}"
    return Outcome(
        Status.FAILED, settled.reply.status, code, error or code, settled.attempts, Via.ACCOUNT, settled.finished_at
    )
