"""Sending a plan and finding out what came of it: intents before, outcomes after, reading back where in doubt."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import anyio.to_thread

from bulkid.clock import Clock
from bulkid.engine import FailureLimit, OnForbidden, Settled, Stop, Task
from bulkid.events import log
from bulkid.identity import UnexpectedAnswerError, parse_account, put_account
from bulkid.journal import Journal, OutcomeWriter
from bulkid.model import Account, Change, Outcome, ReplyKind, Status, Via
from bulkid.planning import Directory, confirms, fold, shortfall
from bulkid.runs.directory import read_accounts_again
from bulkid.runs.progress import Progress
from bulkid.runs.session import Session

INTENT_CHUNK = 1024
"""Accounts whose intent is journaled in one transaction, ahead of sending: what a crash leaves unknown is at most
two such chunks, and those are read back. The next is written while half of one is left: to send that takes 20 ms at
the best, which a disk in demand needs for the writing."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """An account whose request may have been applied, although no answer confirms it."""

    entry: int
    change: Change
    settled: Settled


@dataclass(slots=True)
class Sending:
    """One pass over the changes of a run."""

    session: Session
    journal: Journal
    run_id: str
    directory: Directory
    writer: OutcomeWriter
    clock: Clock
    stop: Stop
    progress: Progress
    limit: FailureLimit
    doubts: list[Doubt] = field(default_factory=list)
    failures: int = 0
    _changes: dict[int, Change] = field(default_factory=dict)

    @property
    def blind(self) -> bool:
        """Whether accounts cannot be read back."""
        return self.directory.blind

    @property
    def too_many(self) -> bool:
        """Whether more accounts failed than allowed."""
        return self.limit.exceeded(self.failures)

    @property
    def unfinished(self) -> bool:
        """Whether an account is left that was not sent, or of which nothing certain is known."""
        return bool(self.doubts) or self.progress.done < self.progress.total

    async def send(self, changes: Sequence[tuple[int, Change]]) -> None:
        """Send one PUT per account.

        Raises:
            BulkidError: Something that would fail every further request the same way.
        """
        await self.session.engine.run(self._chunks(changes), self._settled, self.stop)

    async def _chunks(self, changes: Sequence[tuple[int, Change]]) -> AsyncIterator[Sequence[Task]]:
        organization_id = self.session.organization_id
        granted = self.session.known.write_accounts is True
        on_forbidden = OnForbidden.SCOPE_GRANTED if granted else OnForbidden.SCOPE_MAY_BE_MISSING
        for start in range(0, len(changes), INTENT_CHUNK):
            await self.writer.room()
            chunk = changes[start : start + INTENT_CHUNK]
            numbers = [entry for entry, _ in chunk]
            await anyio.to_thread.run_sync(self.journal.intend, self.run_id, numbers, self.clock.now(), Via.ACCOUNT)
            self._changes.update(chunk)
            yield [Task(entry, put_account(organization_id, change), None, on_forbidden) for entry, change in chunk]

    def _settled(self, settled: Settled) -> None:
        change = self._changes.pop(settled.key)
        reply = settled.reply
        if reply.kind is ReplyKind.OK and self._confirmed(change, settled):
            self.progress.updated += 1
            self.writer.add(settled.key, _updated(settled, Via.ACCOUNT))
            return
        if reply.kind is ReplyKind.OK or settled.maybe_applied:
            self.failures += reply.kind is not ReplyKind.OK
            self.progress.unverified += 1
            self.doubts.append(Doubt(settled.key, change, settled))
        else:
            self.fail(settled.key, _failed(settled, reply.error_code, reply.error))
        self._mind_failures()

    def _confirmed(self, change: Change, settled: Settled) -> bool:
        if shows_plainly(change, settled.reply.payload):
            return True
        try:
            after = parse_account(settled.reply.payload)
        except UnexpectedAnswerError:
            return False
        if self.blind and after.group_ids is None:
            # Nothing can be read back: the server's own 200 for this very PUT counts unless it contradicts itself.
            return change.display_name is None or change.display_name == after.display_name
        return confirms(change, after)

    def fail(self, entry: int, outcome: Outcome) -> None:
        """Settle an account that failed, and ask for a stop where those are too many."""
        self.failures += 1
        self._tell_failure(entry, outcome)
        self._mind_failures()

    def _mind_failures(self) -> None:
        if self.too_many:
            self.stop.request("--max-failures")

    def _tell_failure(self, entry: int, outcome: Outcome) -> None:
        self.progress.failed += 1
        self.writer.add(entry, outcome)
        log.info(
            "account.failed",
            entry=entry,
            http_status=outcome.http_status,
            code=outcome.error_code,
            error=outcome.error,
        )

    async def verify(self) -> None:
        """Read back every account in doubt and settle it by what the server shows; blind, it stays pending.

        Raises:
            ConnectionFailedError: The server gives no answer; what is still in doubt stays pending.
        """
        if not self.doubts or self.blind:
            return
        ids = [doubt.change.account_id for doubt in self.doubts]
        after = await read_accounts_again(self.session.engine, self.session.organization_id, ids)
        for doubt in self.doubts:
            self._judge(doubt, after.get(fold(doubt.change.account_id)))
        self.progress.unverified -= len(self.doubts)
        self.doubts.clear()

    def _judge(self, doubt: Doubt, after: Account | None) -> None:
        """Settle an account by its present state: as wanted is updated, whatever the answers were."""
        settled, reply = doubt.settled, doubt.settled.reply
        finished_at = self.clock.now()
        if after is not None and confirms(doubt.change, after):
            self.progress.updated += 1
            self.writer.add(doubt.entry, _updated(settled, Via.ACCOUNT)._replace(finished_at=finished_at))
            return
        if after is None:
            code, error = "account_gone", "The account does not exist any more."
        elif reply.kind is ReplyKind.OK:
            missing = shortfall(doubt.change, after, self.directory)
            code, error = "not_applied", f"The server answered {reply.status}, but the account reads: {missing}"
        else:
            code, error = reply.error_code, reply.error
        self._tell_failure(doubt.entry, _failed(settled, code, error)._replace(finished_at=finished_at))


def shows_plainly(change: Change, payload: object) -> bool:
    """Whether an answer is an account that shows the change letter by letter, as nearly every one does.

    If not, to read the account and compare it without regard to case may still show it: that is 5 us, this 1.5.
    """
    if type(payload) is not dict or change.remove:
        return False
    groups = payload.get("groupIds")
    return (
        type(groups) is list
        and payload.get("displayName") == change.display_name
        and all(group in groups for group in change.add)
        and payload.get("id") == change.account_id
        and type(payload.get("name")) is str
    )


def _updated(settled: Settled, via: Via) -> Outcome:
    return Outcome(Status.UPDATED, settled.reply.status, "", "", settled.attempts, via, settled.finished_at)


_ONE_REQUEST = {
    ReplyKind.UNAUTHORIZED: "The server refuses this request alone, and takes others with the same access token",
    ReplyKind.FORBIDDEN: "The server forbids the change of this account alone",
}
"""What it means that a reply of this kind came, and the run went on."""


def _failed(settled: Settled, code: str, error: str) -> Outcome:
    code = code or settled.reply.kind.value
    meaning = _ONE_REQUEST.get(settled.reply.kind)
    if meaning is not None:
        error = f"{meaning} ({settled.reply.status}): {error or code}"
    return Outcome(
        Status.FAILED, settled.reply.status, code, error or code, settled.attempts, Via.ACCOUNT, settled.finished_at
    )
