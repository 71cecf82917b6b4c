"""Reading the directory with the fewest GETs: all groups in one request, accounts by pages or one by one.

An account may be missing from the list although it exists. bulkid looks it up by its id. If many are missing, it reads
the list until one reading is complete (:mod:`bulkid.runs.execution.account_list`).
"""

import re
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Self

from bulkid.engine.engine import Engine
from bulkid.errors import ConnectionFailedError, PermissionDeniedError, UnexplainedRefusalError
from bulkid.identity.endpoints import (
    Page,
    account_page,
    get_account,
    list_accounts,
    list_groups,
    parse_account,
    parse_groups,
)
from bulkid.identity.tokens import Capabilities
from bulkid.model import Account, Group, Reply, ReplyKind, Request
from bulkid.planning.directory import Directory, by_id, is_everyone
from bulkid.planning.strategy import singles_are_fewer
from bulkid.resources import current
from bulkid.runs.concurrency import task_group
from bulkid.runs.execution.account_list import OVERLAP, Listing, read_list
from bulkid.runs.inputs.run_input import AccountLookup
from bulkid.text import count_of, first_of, fold, fold_all

PAGE_SIZE = 1000
"""Accounts per page: the maximum of the API (``top`` 0-1000)."""

PAGES_AHEAD = 16
"""Pages that are requested in parallel; the engine limits the requests in flight."""

MAX_LOOK_UPS = 20
"""Missing accounts that are always looked up by id; more are only if reading the list again takes more GETs."""

TRIED_IDS = 3
"""Ids that are looked up first where a complete list lacks more: if one of them exists, all are looked up."""

MAX_READINGS = 3
"""How often the list is read if it changes during each reading."""

_SAMPLE_SIZE = 3
"""Number of names that a message lists."""

_GUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)

_REFUSALS = frozenset({ReplyKind.REFUSED, ReplyKind.NOT_JSON, ReplyKind.UNAUTHORIZED})
"""Replies that, with a status from 400 to 499, refuse only this look-up."""


class ForbiddenError(ConnectionFailedError):
    """The token may not read this."""


async def read_directory(
    engine: Engine, organization_id: str, lookup: AccountLookup, known: Capabilities
) -> tuple[Directory, tuple[str, ...]]:
    """Read what the plan needs, and return it with warnings about what the token may not read.

    Accounts or groups that the token may not read are left out if the rows need only ids. If they need names or exact
    lists of groups, the missing scope is an error of the run, not of every row.

    Args:
        engine: Sends the requests.
        organization_id: The organisation.
        lookup: What to look up.
        known: The permissions of the token; what it may not read is not requested.

    Raises:
        ConnectionFailedError: The server cannot be reached, or refuses to return the directory.
        PermissionDeniedError: The sheet needs what the token may not read.
    """
    warnings: list[str] = []
    groups: Sequence[Group] | None = None
    names = (*lookup.ids, *lookup.names)
    texts = dict(zip(names, names, strict=True))  # accounts share the strings of the rows
    reader = _AccountReader(engine, organization_id, lookup, texts=texts)
    no_groups, blind = "", False
    if lookup.groups:
        async with task_group() as tasks:  # both at once: each takes a server a while
            if known.read_accounts is not False:
                tasks.start_soon(reader.read_first_page)
            try:
                _require(known.read_groups, "PM.Group.Read")
                groups = parse_groups(await fetch(engine, list_groups(organization_id), "the list of groups"))
            except ForbiddenError as error:
                _require_own_organization(known.read_groups, organization_id, error)
                no_groups = f"The groups cannot be read ({error.message})"
                warnings.append(f"{no_groups}: groups are taken by id. Grant PM.Group.Read to use group names.")
    try:
        _require(known.read_accounts, current().read_scope)
        await reader.read()
    except ForbiddenError as error:
        blind = True
        _require_own_organization(known.read_accounts, organization_id, error)
        no_accounts = f"The accounts cannot be read ({error.message})"
        _require_ids_alone(lookup, no_accounts)
        warnings.append(f"{no_accounts}: running blind. Grant {current().read_scope} to send only what differs.")
    if no_groups:
        _require_group_ids(lookup, () if blind else reader.accounts.values(), no_groups)
    directory = Directory(organization_id, None, groups) if blind else reader.directory(groups)
    return directory, tuple(warnings)


async def count_accounts(engine: Engine, organization_id: str) -> int:
    """Return how many accounts the organisation has; this takes one GET.

    Raises:
        ConnectionFailedError: The server cannot be reached, or the token may not read accounts.
    """
    request = list_accounts(organization_id, 0, 1)
    return account_page(await fetch(engine, request, f"the list of {current().plural}")).total


def _require(allowed: bool | None, scope: str) -> None:
    """Raise if the token itself shows that the server will refuse the request."""
    if allowed is False:
        raise ForbiddenError(f"the token lacks {scope}")


def _require_own_organization(allowed: bool | None, organization_id: str, refusal: ForbiddenError) -> None:
    """Raise a :class:`PermissionDeniedError` if the server refused a token that has the scope."""
    if allowed:
        raise PermissionDeniedError(
            f"The server does not let this token read the organisation {organization_id} (403): {refusal.message}",
            hint="Check BULKID_ORGANIZATION_ID (or --organization-id); if it is not set, bulkid uses the token's own.",
        )


def _require_ids_alone(lookup: AccountLookup, refusal: str) -> None:
    """Raise a :class:`PermissionDeniedError` if rows need the accounts, which cannot be read."""
    if lookup.names:
        what = f"accounts are given by name ({_sample(lookup.names)})"
    elif lookup.exact:
        what = "the sheet gives exact lists of groups, which bulkid must compare with the present groups"
    else:
        return
    raise PermissionDeniedError(
        f"{refusal}, and {what}.",
        hint=f"Grant {current().read_scope} to the application, and check the organisation id if one is set. "
        "Without the scope, rows need ids, and groups to add and remove.",
    )


def _require_group_ids(lookup: AccountLookup, accounts: Iterable[Account], refusal: str) -> None:
    """Raise a :class:`PermissionDeniedError` if rows need the groups, which cannot be read.

    A text that does not look like an id is taken for a name.
    """
    known = {fold(group_id) for account in accounts for group_id in account.group_ids or ()}
    names = [
        text
        for text in sorted(lookup.group_texts)
        if not (_GUID.fullmatch(text) or fold(text) in known or is_everyone(text))
    ]
    if names:
        what = f"the sheet gives groups by name ({_sample(names)})"
    elif lookup.exact:
        what = "the sheet gives exact lists of groups, for which bulkid must know the group Everyone"
    else:
        return
    raise PermissionDeniedError(
        f"{refusal}, and {what}.",
        hint="Grant PM.Group.Read to the application (and name it in BULKID_SCOPE if that is set), or give the "
        "groups by id. If these are ids, use --no-read to send them unchanged.",
    )


def _sample(names: Sequence[str]) -> str:
    return first_of([f'"{name}"' for name in names], _SAMPLE_SIZE)


async def read_accounts_again(
    engine: Engine,
    organization_id: str,
    ids: Sequence[str],
    consume: Callable[[Account], str] | None = None,
) -> Directory:
    """Read the present state of some accounts. :meth:`Directory.find` tells which of them do not exist any more.

    Args:
        engine: Sends the requests.
        organization_id: The organisation.
        ids: The ids of the accounts.
        consume: Called with each account as its page comes in. It returns the account's folded id if the account is
            not needed any more: it is then missing from the directory. It returns "" to keep the account.

    Raises:
        ConnectionFailedError: The server cannot be reached, or the token may not read accounts.
    """
    return await _read_again(
        _AccountReader(engine, organization_id, AccountLookup(tuple(ids), (), groups=False), consume)
    )


async def find_accounts_named(engine: Engine, organization_id: str, names: Collection[str]) -> Directory:
    """Find out which accounts have some names now, by pages or by searches, whichever takes fewer requests.

    Returns:
        A directory of these accounts alone. No account has another of the names, unless its ``uncertain`` says that
        this is not known.

    Raises:
        ConnectionFailedError: The server cannot be reached, or the token may not read accounts.
    """
    return await _read_again(_reader_of_names(engine, organization_id, names))


def _reader_of_names(engine: Engine, organization_id: str, names: Collection[str]) -> "_AccountReader":
    wanted = frozenset(map(fold, names))

    def leave_out(account: Account) -> str:
        return "" if fold(account.name) in wanted else fold(account.id)

    return _AccountReader(engine, organization_id, AccountLookup((), tuple(names), groups=False), leave_out)


async def _read_again(reader: "_AccountReader") -> Directory:
    try:
        return (await reader.read()).directory(None)
    except ForbiddenError as error:
        plural = current().plural
        raise ConnectionFailedError(
            f"The server does not let this token read the {plural} any more (403): {error.message.rstrip('.')}.",
            hint=f"Check that the application still has {current().read_scope}.",
        ) from error


@dataclass(slots=True)
class _AccountReader:
    """Reads the accounts of a look-up, and finds out which of them do not exist. Ids are folded."""

    engine: Engine
    organization_id: str
    lookup: AccountLookup
    consume: Callable[[Account], str] | None = None  # see read_accounts_again
    texts: Mapping[str, str] = field(default_factory=dict)  # ids and names: see parse_account
    accounts: dict[str, Account] = field(default_factory=dict)
    consumed: set[str] = field(default_factory=set)  # ids of accounts that are not needed any more
    names: set[str] = field(default_factory=set)  # as the server writes them
    searched: set[str] = field(default_factory=set)  # names whose own search showed how the server writes them
    absent: set[str] = field(default_factory=set)
    unknown: dict[str, str] = field(default_factory=dict)  # with the reason
    uncertain: str = ""
    total: int = 0
    listed: bool = False  # whether the server was asked for its list, and so for the total
    complete: bool = False
    whole: bool = False  # whether the list was read to its end, whatever the server counts
    first_page: Page | ConnectionFailedError | None = None  # what came of it, where it was read ahead
    missing: Sequence[str] | None = None  # ids of the look-up of which nothing was known when it was last asked

    def directory(self, groups: Sequence[Group] | None) -> Directory:
        """Return the accounts that were read, as a directory with these groups."""
        return Directory(
            self.organization_id,
            self.accounts.values(),
            groups,
            total=self._organization_size(),
            absent=self.absent,
            unknown=self.unknown,
            uncertain=self.uncertain,
        )

    def _organization_size(self) -> int | None:
        """Return the number of accounts: those of the whole list, else what the server counts; None: not known."""
        if self.whole:
            return self._count
        return max(self.total, self._count) if self.listed else None

    async def read(self) -> Self:
        """Read the accounts by pages or one by one, whichever takes fewer requests."""
        await self._read()
        names = () if self.complete else self.lookup.deletion_names(self.absent)
        if names:
            found = await _reader_of_names(self.engine, self.organization_id, names).read()
            self._add(found.accounts.values())
            self.uncertain = self.uncertain or found.uncertain
        return self

    @property
    def _is_one_id(self) -> bool:
        return len(self.lookup.ids) == 1 and not self.lookup.names

    async def read_first_page(self) -> None:
        """Read the first page ahead, if :meth:`read` will need it. An error is kept for that method to raise."""
        if not self._is_one_id:
            try:
                self.first_page = await self._page(0)
            except ConnectionFailedError as error:
                self.first_page = error

    async def _read(self) -> None:
        lookup = self.lookup
        if self._is_one_id:  # else the first page says how many accounts there are
            with suppress(ForbiddenError):  # the list shows whether the server forbids this account alone
                await self._each(self._look_up, lookup.ids)
                return
        first, self.first_page = self.first_page, None
        if isinstance(first, ConnectionFailedError):
            raise first
        if first is None:
            first = await self._page(0)
        await self._take(first)
        ids, names = self._missing_ids(), self._missing_names()
        if singles_are_fewer(first.total, len(first.accounts), len(ids) + len(names), OVERLAP):
            await self._each(self._look_up, ids)
            await self._each(self._search, names)
        if self._missing_ids() or self._missing_names():
            await self._read_list(first)
        else:
            self.complete = self._count >= self.total

    async def _read_list(self, first: Page) -> None:
        """Read the list until it is known of each missing account whether it exists."""
        listing, shown = await read_list(self._page, self._take, ahead=PAGES_AHEAD, first=first), -1
        readings = set()  # what each came to: more than one where the list changed
        for reading in range(MAX_READINGS):
            if reading:
                listing = await read_list(self._page, self._take, ahead=PAGES_AHEAD)
            self.whole = listing.complete
            if listing.received not in (listing.total, shown):
                listing = replace(listing, complete=False)  # a count that differs from the list once proves nothing
            shown = listing.received
            readings.add((listing.total, listing.received))
            if await self._settle_missing(listing):
                break
        else:
            self._mark_uncertain(listing, changed=len(readings) > 1)
        self.complete = listing.complete

    async def _settle_missing(self, listing: Listing) -> bool:
        """Find out whether the accounts exist that the list did not show. Return False to read the list again."""
        ids, look_up_limit = self._missing_ids(), max(MAX_LOOK_UPS, listing.pages)
        if len(ids) <= look_up_limit or (listing.complete and await self._leaves_out_some(ids)):
            await self._each(self._look_up, self._missing_ids())
        elif listing.complete:
            self.absent.update(map(fold, self._missing_ids()))
        if listing.complete:  # no account has a name that is not in the list
            return True
        names = self._missing_names()
        if len(names) <= look_up_limit:
            await self._each(self._search, names)
        return not (self._missing_ids() or self._missing_names())

    async def _leaves_out_some(self, ids: Sequence[str]) -> bool:
        """Look up a few missing accounts, and return whether one exists. A server may refuse ids that are no GUIDs."""
        guids = [each for each in ids if _GUID.fullmatch(each)]
        tried = guids[:: max(1, len(guids) // TRIED_IDS)][:TRIED_IDS]
        await self._each(self._look_up, tried)
        return any(key in self.accounts or key in self.consumed for key in map(fold, tried))

    def _mark_uncertain(self, listing: Listing, *, changed: bool) -> None:
        """Record why it is not known whether the missing accounts exist."""
        if not changed and listing.total != listing.received:
            shown = f"{listing.received:,}" if listing.received else "none"
            reason = f"the server counts {count_of(listing.total, current().singular)} and lists {shown}"
        elif not changed and listing.pages == listing.received:
            reason = f"the server lists one {current().singular} per page, which does not show whether it left any out"
        else:
            reason = (
                f"the list of {current().plural} changed during each of {MAX_READINGS} readings, so each may have "
                "missed some"
            )
        missing = self._missing_ids()
        sample = _sample([*missing, *self._missing_names()])
        self.uncertain = f"It is not known whether the accounts {sample} exist: {reason}."
        self.unknown.update(dict.fromkeys(map(fold, missing), reason))

    # --- what was read

    @property
    def _count(self) -> int:
        return len(self.accounts) + len(self.consumed)

    def _missing_ids(self) -> list[str]:
        """Return the ids of which nothing is known yet. What is known stays so: it is not looked at again."""
        ids = self.lookup.ids if self.missing is None else self.missing
        self.missing = [
            account_id
            for key, account_id in zip(fold_all(ids), ids, strict=True)
            if key not in self.accounts
            and key not in self.consumed
            and key not in self.absent
            and key not in self.unknown
        ]
        return self.missing

    def _missing_names(self) -> list[str]:
        """Return the names that no account has letter by letter, without those that a search found in another case."""
        return [name for name in self.lookup.names if name not in self.names and name not in self.searched]

    def _add(self, accounts: Collection[Account]) -> None:
        if self.consume is not None:
            for account in accounts:
                self._add_unless_consumed(account, self.consume)
            return
        self.accounts.update(by_id(accounts))
        if self.lookup.names:
            self.names.update([account.name for account in accounts])

    def _add_unless_consumed(self, account: Account, consume: Callable[[Account], str]) -> None:
        key = fold(account.id)
        if key in self.consumed:
            return
        if shown := consume(account):
            self.consumed.add(shown)
            self.accounts.pop(key, None)
            return
        self.accounts[key] = account
        if self.lookup.names:
            self.names.add(account.name)

    # --- requests

    async def _page(self, skip: int, name: str = "") -> Page:
        what = f"account {name}" if name else f"the list of {current().plural}"
        request = list_accounts(self.organization_id, skip, PAGE_SIZE, name)
        return account_page(await fetch(self.engine, request, what), self.texts)

    async def _take(self, page: Page) -> None:
        self._add(page.accounts)
        self.total, self.listed = page.total, True

    async def _each(self, read: Callable[[str], Coroutine[Any, Any, None]], texts: Iterable[str]) -> None:
        async with task_group() as tasks:
            for text in texts:
                tasks.start_soon(read, text)

    async def _look_up(self, account_id: str) -> None:
        key = fold(account_id)
        reply = (await self.engine.call(get_account(self.organization_id, account_id))).reply
        if reply.kind is ReplyKind.OK:
            account = parse_account(reply.payload)
            if fold(account.id) == key:
                self._add([account])
            else:
                self.unknown[key] = f"the server returned another account ({account.id}) for this id"
        elif reply.kind is ReplyKind.REFUSED and reply.status == HTTPStatus.NOT_FOUND:
            self.absent.add(key)
        elif self._refuses_this_alone(reply):
            # The server may refuse the form of the id: that does not show whether the account exists.
            reason = reply.error or reply.error_code or "refused"
            self.unknown[key] = f"the server refused to look it up (HTTP {reply.status}: {reason.rstrip('.')})"
        else:
            raise _fetch_error(reply, f"account {account_id}")

    def _refuses_this_alone(self, reply: Reply) -> bool:
        """Whether the server refuses one look-up. It forbids one alone if it has returned the list to this token."""
        if reply.kind is ReplyKind.FORBIDDEN:
            return self.listed
        return reply.kind in _REFUSALS and (reply.status or 0) // 100 == 4  # noqa: PLR2004 - the class of a status

    async def _search(self, name: str) -> None:
        """Search for a name. A miss proves nothing: the API does not document how a search matches."""
        page = await self._page(0, name)
        self._add(page.accounts)
        key = fold(name)
        if page.total <= len(page.accounts) and any(fold(account.name) == key for account in page.accounts):
            self.searched.add(name)  # the search ignores case, so it has shown every account with this name


async def fetch(engine: Engine, request: Request, what: str) -> object:
    """Send a GET and return the JSON of its response; ``what`` names the resource in messages.

    Raises:
        ForbiddenError: The token may not read it.
        ConnectionFailedError: The server cannot be reached, or refuses the request.
    """
    reply = (await engine.call(request)).reply
    if reply.kind is not ReplyKind.OK:
        raise _fetch_error(reply, what)
    payload: object = reply.payload
    return payload


def _fetch_error(reply: Reply, what: str) -> ConnectionFailedError:
    if reply.kind is ReplyKind.FORBIDDEN:
        return ForbiddenError(reply.error)
    status = f" (HTTP {reply.status})" if reply.status else ""
    return UnexplainedRefusalError(
        f"The server refused to return {what}: {reply.reason}{status}.",
        hint="Check the organisation id and the address.",
    )
