"""The connection of a run: token, client, quota ledger and engine; and waiting for the locks that it needs."""

import os
import platform
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import anyio

from bulkid.clock import Clock, local_time
from bulkid.engine.auth_judge import AuthOptions
from bulkid.engine.engine import Engine
from bulkid.engine.retry import RetryPolicy
from bulkid.engine.stats import Stats
from bulkid.errors import (
    BulkidError,
    LockedError,
    PermissionDeniedError,
    UnexplainedRefusalError,
    UsageError,
)
from bulkid.identity.client import ClientSettings, IdentityClient, open_client
from bulkid.identity.endpoints import list_accounts
from bulkid.identity.tokens import (
    ApplicationTokens,
    Capabilities,
    ClientCredentials,
    FederatedCredentials,
    StaticToken,
    TokenClaims,
    TokenSource,
    capabilities,
    organization_of,
)
from bulkid.identity.urls import IdentityBase, complete_url, preset_quota
from bulkid.journal.locks import LockHandle
from bulkid.journal.quota.ledger import JournalLedger
from bulkid.journal.store import Journal
from bulkid.model import QuotaRule, Reply, ReplyKind, Request
from bulkid.report.summary import as_options
from bulkid.resources import GROUP_SCOPE, current
from bulkid.runs.concurrency import in_thread, uncancelled, until_stopped
from bulkid.runs.options import Context, RunOptions, Target
from bulkid.text import humanize_seconds, listing, short_duration

FIRST_CONTACT_LIMIT_S = 5.0
"""Seconds until a run gives up on a server that has never responded: its address may be wrong."""

LONG_WAIT_S = 5.0
"""Seconds for which nothing can be sent, from which on the user is told."""

NO_WAIT: Final = ("", 0.0)

_LOCK_POLL_S = 1.0

_TOKEN_REQUEST = Request("POST", "connect/token")


@dataclass(slots=True)
class Connection:
    """A connection to one organisation. Call ``identify`` first; it opens the engine."""

    target: Target
    options: RunOptions
    base: IdentityBase
    client: IdentityClient
    tokens: TokenSource
    journal: Journal
    rules: tuple[QuotaRule, ...]
    owner: str
    context: Context
    stack: AsyncExitStack
    organization_id: str = ""
    claims: TokenClaims | None = None
    stats: Stats = field(default_factory=Stats)
    hold: LockHandle | None = None  # the organisation's lock, while the run holds it
    shows_progress: bool = False  # which tells the user what is waited for
    announced: tuple[str, float] = NO_WAIT  # the wait that the user was told of, and its end (monotonic)
    engine: Engine = field(init=False)
    ledger: JournalLedger = field(init=False)

    @property
    def known(self) -> Capabilities:
        """The permissions that the token itself lists."""
        return capabilities(self.claims)

    def require_write(self) -> None:
        """Raise a :class:`PermissionDeniedError` if the token itself shows that the server will refuse changes."""
        if self.known.write_accounts is False:
            raise PermissionDeniedError(
                f"The token may not change {current().plural}: it lacks the scope {current().write_scope}.",
                hint=f"Grant {current().scope} (or {current().write_scope}) to the external application as an "
                "application scope, and name it in BULKID_SCOPE if that is set.",
            )

    def require_write_groups(self) -> None:
        """Raise a :class:`PermissionDeniedError` if the token itself shows that the server will create no group."""
        if self.known.write_groups is False:
            raise PermissionDeniedError(
                f"The token may not create groups: it lacks the scope {GROUP_SCOPE}.Write.",
                hint=f"Grant {GROUP_SCOPE} (or {GROUP_SCOPE}.Write) to the external application as an application "
                "scope, and name it in BULKID_SCOPE if that is set.",
            )

    def sent(self) -> dict[str, int]:
        """Return the number of requests sent so far by method; token requests are POSTs, too."""
        token_requests = self.tokens.fetches if isinstance(self.tokens, ApplicationTokens) else 0
        sent = {method: self.stats.sent[method] for method in ("GET", "PUT", "POST", "DELETE")}
        return {**sent, "POST": sent["POST"] + token_requests}

    async def identify(self) -> None:
        """Fetch a token, take the organisation from it unless the target names one, and open the engine.

        Raises:
            ConnectionFailedError: The server cannot be reached, or refuses the credentials.
            UsageError: Neither the settings nor the token name an organisation.
        """
        self.claims = await self._first_token()
        self.organization_id = organization_of(self.target.organization_id, self.claims)
        self.ledger = JournalLedger(
            self.journal, self.organization_id, self.owner, self.context.clock, hold_s=self.options.timeout_s + 90
        )
        self.engine = await self.stack.enter_async_context(
            Engine(
                self._send,
                clock=self.context.clock,
                random=self.context.random,
                policy=self._policy,
                rules=self.rules,
                ledger=self.ledger,
                rate=self.options.rate,
                concurrency=self.options.concurrency,
                outage_limit_s=self.options.outage_limit_s,
                first_contact_limit_s=FIRST_CONTACT_LIMIT_S,
                stats=self.stats,
                auth=AuthOptions(
                    credentials=self.client,
                    check=list_accounts(self.organization_id, 0, 1),
                    forbidden_hint="Grant the external application the scope that is missing "
                    f"({current().write_scope}; PM.Group.Write for group requests).",
                ),
                on_wait=lambda wait_s: self._announce(self.engine, wait_s),
            )
        )

    async def _send(self, request: Request) -> Reply:
        """Send a request. Raise a :class:`LockLostError` if it changes something and the run has lost its lock."""
        self._end_wait(self.engine)
        if request.method != "GET" and self.hold is not None and not self.hold.is_current:
            try:
                await in_thread(self.hold.confirm)
            except BulkidError as error:
                error.request_was_sent = False
                raise
        return await self.client.send(request)

    def _announce(self, engine: Engine, wait_s: float) -> None:
        """Tell the user of a long wait, once for each; while requests are sent the progress shows it."""
        clock, breaker, given_up_s = self.context.clock, engine.breaker, engine.breaker.seconds_until_given_up()
        if self.shows_progress or (given_up_s is not None and not breaker.answered):  # it ends in a moment
            return
        nothing_sent_s = wait_s
        if given_up_s is not None:
            nothing_sent_s, wait_s = max(wait_s, self.options.outage_limit_s - given_up_s), given_up_s
            why = "The server is unavailable"
            what = f"{why} ({breaker.last_error.removesuffix('.')}). Trying again for"
        else:
            why = "The quota is used" if breaker.closed else "The server limits the rate"
            what = f"{why}: the next request leaves in"
        until = clock.monotonic() + wait_s
        is_known = self.announced[0] == why and until < self.announced[1] + LONG_WAIT_S
        if is_known or min(nothing_sent_s, wait_s) < LONG_WAIT_S:
            return
        self.announced = why, until
        now, end = clock.now(), ""
        with suppress(ValueError, OverflowError, OSError):  # it is beyond the years that a date can have
            end = f", {'at' if given_up_s is None else 'until'} {local_time(now + wait_s, now)}"
        self.context.hooks.waiting(f"{what} {short_duration(wait_s)}{end}.")

    def _end_wait(self, engine: Engine) -> None:
        """Tell the user that a request leaves after a long wait; a probe of an unavailable server does not end one."""
        if self.announced != NO_WAIT and not engine.breaker.server_away:
            self.announced = NO_WAIT
            self.context.hooks.wait_ended()

    async def used(self, rule: QuotaRule) -> int:
        """Return how many requests of a rule's window all runs on this state directory have used."""
        return (await self.ledger.exchange([rule], 0, (), ())).used

    @property
    def _policy(self) -> RetryPolicy:
        return RetryPolicy(max_attempts=self.options.max_attempts, base_s=self.options.retry_base_s)

    async def _first_token(self) -> TokenClaims | None:
        """Fetch the first token with the retries of any other request."""
        answer: TokenClaims | None = None

        async def ask(_: Request) -> Reply:
            nonlocal answer
            self._end_wait(engine)
            got = await self.client.claims()
            if isinstance(got, Reply):
                return got
            answer = got
            return Reply(ReplyKind.OK)

        engine = Engine(
            ask,
            clock=self.context.clock,
            random=self.context.random,
            policy=self._policy,
            rules=(),
            ledger=JournalLedger(self.journal, "", self.owner, self.context.clock),  # without rules, never asked
            outage_limit_s=self.options.outage_limit_s,
            first_contact_limit_s=FIRST_CONTACT_LIMIT_S,
            on_wait=lambda wait_s: self._announce(engine, wait_s),
        )
        reply = (await engine.call(_TOKEN_REQUEST)).reply
        if reply.kind is not ReplyKind.OK:
            raise UnexplainedRefusalError(f"No token could be fetched from {self.base.url}: {reply.reason}.")
        return answer


def base_of(target: Target) -> IdentityBase:
    """Return the identity base for a target's address.

    Raises:
        UsageError: The address is empty or invalid.
    """
    if not target.url:
        raise UsageError(
            "No server is given.",
            hint="Set BULKID_URL (or --url) to https://cloud.uipath.com/ORGANISATION or your Orchestrator's address; "
            "--sandbox starts one to try bulkid with.",
        )
    return complete_url(target.url)


def tokens_of(target: Target, clock: Clock) -> TokenSource:
    """Return the token source for a target's credentials.

    Raises:
        UsageError: The target has no credentials.
    """
    if target.access_token:
        return StaticToken(target.access_token)
    if target.client_secret and target.client_assertion_file:
        raise UsageError(
            "Both a client secret and a client assertion are given.",
            hint="Set only one of BULKID_CLIENT_SECRET and BULKID_CLIENT_ASSERTION_FILE.",
        )
    if target.client_id and target.client_assertion_file:
        return FederatedCredentials(target.client_id, target.client_assertion_file, target.scope, clock)
    if target.client_id and target.client_secret:
        return ClientCredentials(target.client_id, target.client_secret, target.scope, clock)
    given = {
        "BULKID_CLIENT_ID": target.client_id,
        "BULKID_CLIENT_SECRET": target.client_secret or target.client_assertion_file,
    }
    missing = [name for name, value in given.items() if not value]
    raise UsageError(
        f"No credentials are given: {listing(missing)} {'is' if len(missing) == 1 else 'are'} empty.",
        hint="Set BULKID_CLIENT_ID and BULKID_CLIENT_SECRET (or BULKID_CLIENT_SECRET_FILE, or, for federated "
        "credentials, BULKID_CLIENT_ASSERTION_FILE), or BULKID_ACCESS_TOKEN.",
    )


def ledger_owner(command: str) -> str:
    """The name in the quota ledger of a command that has no run: ``plan-host1-4711``."""
    return f"{command}-{platform.node()[:32]}-{os.getpid()}"


@asynccontextmanager
async def connect(
    target: Target, options: RunOptions, journal: Journal, context: Context, *, owner: str
) -> AsyncIterator[Connection]:
    """Open a connection; ``owner`` names it in the quota ledger. :meth:`Connection.identify` sends the first request.

    Raises:
        UsageError: The address, the credentials or the certificate bundle cannot be used.
    """
    base = base_of(target)
    tokens = tokens_of(target, context.clock)
    settings = ClientSettings(
        base,
        timeout_s=options.timeout_s,
        concurrency=options.concurrency,
        ca_bundle=target.ca_bundle,
        tenant=target.tenant,
    )
    rules = preset_quota(base) if options.quota is None else options.quota
    async with open_client(settings, tokens, context.clock) as client, AsyncExitStack() as stack:
        try:
            yield Connection(target, options, base, client, tokens, journal, rules, owner, context, stack)
        except UnexplainedRefusalError as error:
            error.cli_hint = f"Check the connection with: bulkid doctor{as_options(target.named_by)}"
            raise
        finally:
            # The engine reports pending updates to the ledger also when the run is cancelled.
            with anyio.CancelScope(shield=True):
                await stack.aclose()


@asynccontextmanager
async def hold_lock(
    journal: Journal, name: str, record: Mapping[str, Any], context: Context
) -> AsyncIterator[LockHandle]:
    """Hold a lock of the journal while the block runs; wait for it first, for ``context.wait_s`` at most.

    Args:
        journal: Its database keeps the lock.
        name: The name of the lock.
        record: The holder, as others see it; see :func:`~bulkid.runs.run_records.owner_of`.
        context: Gives the time to wait; its hooks show that the run waits, and its stop ends the wait.

    Raises:
        LockedError: Another run still holds it.
        InterruptedRunError: A stop was requested during the wait.
        StateError: The lock cannot be kept.
    """
    hold = await _acquire(journal, name, record, context)
    try:
        yield hold
    finally:
        await release_lock(hold)


async def take_lock(journal: Journal, name: str, record: Mapping[str, Any]) -> LockHandle:
    """Take a lock of the journal in a thread. A cancellation half-way leaves no lock behind.

    Raises:
        LockedError: Another process holds it.
    """
    taken: list[LockHandle] = []

    def acquire() -> None:
        taken.append(journal.acquire_lock(name, record))

    try:
        await uncancelled(partial(in_thread, acquire))
    except anyio.get_cancelled_exc_class():
        for hold in taken:
            await release_lock(hold)
        raise
    return taken[0]


async def release_lock(hold: LockHandle) -> None:
    """Release a lock in a thread; a cancellation waits for that."""
    await uncancelled(partial(in_thread, hold.release))


async def _acquire(journal: Journal, name: str, record: Mapping[str, Any], context: Context) -> LockHandle:
    deadline = context.clock.monotonic() + context.wait_s
    reported = False
    while True:
        try:
            return await take_lock(journal, name, record)
        except LockedError as locked:
            left_s = deadline - context.clock.monotonic()
            if left_s <= 0:
                raise
            if not reported:
                longest = humanize_seconds(context.wait_s)
                context.hooks.waiting(f"Waiting for {locked.holder} on this organisation to finish, at most {longest}.")
                reported = True
            async with until_stopped(context.stop):
                await context.clock.sleep(min(_LOCK_POLL_S, left_s))
