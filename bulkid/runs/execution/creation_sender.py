"""Sending creations: one POST per account, and a look-up by name of what became of those that no response shows.

A POST is not repeatable. So after an unclear response or a refusal all these names are looked up together, and only
then is anything sent again:

====================  ====================================  ==========================================
the last response     an account has the name               no account has the name
====================  ====================================  ==========================================
unclear               created; if it differs, a PUT follows  POST again, while attempts are left
a refusal             unchanged; if it differs, a PUT        failed, with the server's words
====================  ====================================  ==========================================

Where the changes are for a known state, an account that some other client has created is left alone if it differs.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from bulkid.engine.task import Settled, Task
from bulkid.identity.endpoints import UnexpectedResponseError, create_account, parse_account
from bulkid.logs import log
from bulkid.model import Account, Change, Outcome, ReplyKind, Request, RunItem, Status, Via
from bulkid.planning.directory import Directory, Unknown
from bulkid.planning.plan import confirms, describe, diff
from bulkid.planning.preconditions import CHANGED_SINCE, item_conflict, left_alone
from bulkid.runs.concurrency import in_thread, until_stopped
from bulkid.runs.execution.account_sender import SETTLING_S, AccountSender, failed_outcome
from bulkid.runs.execution.directory_reader import find_accounts_named
from bulkid.text import fold


class _Unconfirmed(NamedTuple):
    """A creation whose response does not show the account as desired."""

    number: int
    change: Change
    settled: Settled | None  # None: the POST was cancelled on its way

    @property
    def accepted(self) -> bool:
        return self.settled is not None and self.settled.reply.kind is ReplyKind.OK

    @property
    def unclear(self) -> bool:
        """Whether the account may have been created, although the server did not say so."""
        return self.settled is None or self.settled.maybe_applied


@dataclass(slots=True)
class CreationSender:
    """Sends the creations of a run. Numbers are those of the run items."""

    sender: AccountSender
    max_posts: int  # POSTs of one account that may get no clear response
    sent_before: Collection[int] = ()  # run items whose POST an earlier attempt may have sent
    only_new: bool = False  # whether an account that some other client has created stays as it is
    _unconfirmed: list[_Unconfirmed] = field(default_factory=list)
    _under_way: set[int] = field(default_factory=set)  # a POST may have left, and has not been settled
    _unclear_posts: Counter[int] = field(default_factory=Counter)  # by run item
    _accepted: set[int] = field(default_factory=set)  # the server has answered a POST that the account is created
    _attempts: Counter[int] = field(default_factory=Counter)  # of earlier POSTs

    async def send(self, creations: Sequence[tuple[int, Change]]) -> list[tuple[int, Change]]:
        """Send one POST per account, and settle each account that is correct.

        When too many accounts would have failed if the unconfirmed ones had failed, sending pauses until their names
        have been looked up. After a stop is requested no name is looked up.

        Returns:
            The changes of the accounts that exist and differ: they must be sent by PUT.

        Raises:
            BulkidError: An error that would fail every further request, too.
            InterruptedRunError: A stop was requested while names were looked up.
        """
        sender, updates = self.sender, list[tuple[int, Change]]()
        while creations and not sender.stop.requested:
            left = await sender.send_each(creations, self._task, self._settled)
            if sender.stop.requested:
                break
            for number, change in left:
                if number in self._under_way:
                    self._note_unconfirmed(_Unconfirmed(number, change, None))
            creations = [each for each in left if each[0] not in self._under_way]
            self._under_way.clear()
            async with until_stopped(sender.stop):
                again, differing = await self._look_up()
            sender.progress.requests["POST"] += len(again)
            sender.progress.requests["PUT"] += len(differing)
            updates += differing
            creations = [*again, *creations]
            if sender.too_many or sender.too_many_unconfirmed:
                break
        return updates

    def _task(self, number: int, change: Change) -> Task:
        request = create_account(self.sender.connection.organization_id, change)
        return Task(number, request, partial(self._leaving, number, request), self.sender.on_forbidden)

    def _leaving(self, number: int, request: Request) -> Request:
        """Note that a POST leaves: if a pause cancels it, its name must be looked up."""
        self._under_way.add(number)
        return request

    def _settled(self, settled: Settled) -> None:
        number = settled.key
        change = self.sender.take(number)
        self._under_way.discard(number)
        if settled.reply.kind is ReplyKind.OK:
            self._accepted.add(number)
            try:
                account = parse_account(settled.reply.payload)
            except UnexpectedResponseError:
                pass  # the look-up shows it
            else:
                if _shows(change, account):
                    self._accepted.discard(number)
                    self.sender.record(number, self._outcome(Status.CREATED, number, settled, account))
                    return
        self._note_unconfirmed(_Unconfirmed(number, change, settled))

    def _note_unconfirmed(self, unconfirmed: _Unconfirmed) -> None:
        self.sender.progress.unverified += 1
        self._unclear_posts[unconfirmed.number] += unconfirmed.unclear
        self._unconfirmed.append(unconfirmed)
        if self.sender.too_many_with(len(self._unconfirmed)):
            self.sender.pause("creations without a clear response")

    def _outcome(self, status: Status, number: int, settled: Settled | None, account: Account) -> Outcome:
        http_status = None if settled is None else settled.reply.status
        attempts = self._attempts[number] + (0 if settled is None else settled.attempts)
        now = self.sender.clock.now() if settled is None else settled.finished_at
        return Outcome(status, http_status, "", "", attempts, Via.ACCOUNT, now, account.id)

    # --- looking up

    async def _look_up(self) -> tuple[list[tuple[int, Change]], list[tuple[int, Change]]]:
        """Look up the names of the unconfirmed creations. Return those to send again, and the PUTs that are needed."""
        if not self._unconfirmed:
            return [], []
        sender, again, differing = self.sender, list[tuple[int, Change]](), list[tuple[int, Change]]()
        log.info("creations.unconfirmed", accounts=len(self._unconfirmed), failed=sender.failures)
        directory = await self._find()
        unconfirmed, self._unconfirmed = self._unconfirmed, []
        sender.progress.unverified -= len(unconfirmed)
        found = {each.number: directory.find_named(each.change.name) for each in unconfirmed}
        existing = [number for number, account in found.items() if isinstance(account, Account)]
        items = await in_thread(sender.journal.items, sender.run_id, existing)
        updates: list[RunItem] = []
        for each in unconfirmed:
            account = found[each.number]
            if isinstance(account, Account):
                change, item = self._compare(each, items[each.number], account)
                if change is not None:
                    differing.append((each.number, change))
                if item is not None:
                    updates.append(item)
            elif isinstance(account, Unknown):
                self._leave_unknown(each.number, account.reason)
            elif self._settle_missing(each):
                again.append((each.number, each.change))
        await self._journal_differing(updates, differing)
        return again, differing

    async def _journal_differing(self, updates: Sequence[RunItem], differing: Sequence[tuple[int, Change]]) -> None:
        """Journal the accounts that exist and differ: a resume must know their ids before a PUT leaves."""
        sender = self.sender
        if updates:  # before their ids: with an id and no state before, an account is one that the run has created
            await in_thread(sender.journal.plan_again, sender.run_id, updates)
        for number, change in differing:
            sender.writer.add(number, Outcome(Status.PENDING, account_id=change.account_id))
        if differing:
            await sender.writer.flush()

    async def _find(self) -> Directory:
        connection = self.sender.connection
        names = [each.change.name for each in self._unconfirmed]
        directory = await find_accounts_named(connection.engine, connection.organization_id, names)
        if not directory.uncertain and any(self._may_be_late(each, directory) for each in self._unconfirmed):
            await self.sender.clock.sleep(SETTLING_S)  # a server may list a new account late
            directory = await find_accounts_named(connection.engine, connection.organization_id, names)
        return directory

    def _may_be_late(self, unconfirmed: _Unconfirmed, directory: Directory) -> bool:
        """Whether a POST seems to have created an account, although no account has the name.

        The server has said so; or it refuses a POST after one that it may have carried out.
        """
        number = unconfirmed.number
        seems_created = number in self._accepted or (not unconfirmed.unclear and self._may_have_left(number))
        return seems_created and not directory.accounts_named(unconfirmed.change.name)

    def _may_have_left(self, number: int) -> bool:
        """Whether a POST of this run may have created the account, although the server did not say so."""
        return self._unclear_posts[number] > 0 or number in self.sent_before

    def _compare(
        self, unconfirmed: _Unconfirmed, item: RunItem, account: Account
    ) -> tuple[Change | None, RunItem | None]:
        """Settle a creation whose account exists. If it differs from what is wanted, return the change.

        An account that some other client may have created is returned as the item of an update: with its state before.
        """
        number, settled, sender = unconfirmed.number, unconfirmed.settled, self.sender
        accepted = number in self._accepted
        own = accepted or self._may_have_left(number)
        change = diff(item.desired, account, sender.directory)
        if change.empty and own:
            sender.record(number, self._outcome(Status.CREATED, number, settled, account))
        elif change.empty:
            sender.record_unchanged(number, self._outcome(Status.UNCHANGED, number, settled, account))
        elif self.only_new and settled is not None and not own:
            conflict = item_conflict(item._replace(intended=False), account, sender.directory)
            sender.fail(number, failed_outcome(settled, CHANGED_SINCE, left_alone(conflict)))
        else:
            before = item._replace(before=account, changes=describe(change, sender.directory))
            return change._replace(before=None), None if accepted else before
        return None, None

    def _settle_missing(self, unconfirmed: _Unconfirmed) -> bool:
        """Settle a creation of which a look-up shows no account; return True if it must be sent again."""
        number, settled = unconfirmed.number, unconfirmed.settled
        if unconfirmed.accepted:
            status = None if settled is None else settled.reply.status
            self._leave_unknown(number, f"the server answered {status}, and does not show it yet")
            return False
        if settled is None:
            return True
        if unconfirmed.unclear and self._unclear_posts[number] < self.max_posts:
            self._attempts[number] += settled.attempts
            return True
        reply = settled.reply
        outcome = failed_outcome(settled, reply.error_code, reply.error)
        self.sender.fail(number, outcome._replace(attempts=self._attempts[number] + settled.attempts))
        return False

    def _leave_unknown(self, number: int, reason: str) -> None:
        log.info("account.unconfirmed", entry=number, reason=reason)
        self.sender.progress.unverified += 1
        self.sender.unknown[number] = reason


def _shows(change: Change, account: Account) -> bool:
    """Whether a response shows the account that a creation asked for."""
    return fold(account.name) == fold(change.name) and confirms(change._replace(account_id=account.id), account)
