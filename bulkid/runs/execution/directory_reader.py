"""Reading the directory with the fewest GETs: groups in one, accounts by pages or one by one, whichever is less.

An account that the list does not show is not called gone for that: it is looked up by itself, or, where many are
missing, a reading of the list that cannot have missed any decides (:mod:`bulkid.runs.execution.account_list`).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus

from bulkid.engine import Engine
from bulkid.errors import ConnectionFailedError, PermissionDeniedError
from bulkid.identity import (
    Capabilities,
    Page,
    account_page,
    get_account,
    list_accounts,
    list_groups,
    parse_account,
    parse_groups,
)
from bulkid.model import Account, Group, Reply, ReplyKind, Request
from bulkid.planning import Directory, first_read, is_everyone, next_read
from bulkid.resources import current
from bulkid.runs.concurrency import task_group
from bulkid.runs.execution.account_list import OVERLAP, Listing, read_list
from bulkid.runs.inputs.run_input import AccountLookup
from bulkid.text import count_of, fold

PAGE_SIZE = 1000
"""Accounts per page: the most that the API gives (``top`` 0-1000)."""

PAGES_AHEAD = 16
"""Pages that are asked for side by side; the engine bounds how many are under way."""

MAX_LOOK_UPS = 20
"""Missing accounts that are looked up by themselves in any case; more only where that takes fewer GETs than to read the
list again."""

MAX_READINGS = 3
"""How often the list is read at most, where it changes while it is read."""

_SAMPLE_SIZE = 3
"""How many of the names that cannot be looked up a message tells."""

_GUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)


_REFUSALS = frozenset({ReplyKind.REFUSED, ReplyKind.NOT_JSON, ReplyKind.UNAUTHORIZED})
"""Replies that, with a status from 400 to 499, refuse this one look-up."""


class ForbiddenError(ConnectionFailedError):
    """The token may not read this; whether that matters is the caller's to decide."""


@dataclass(slots=True)
class _ReadAccounts:
    """Accounts as they come in, and what is known of those that do not; ids are folded."""

    by_name: bool  # whether any account is wanted by its name
    consume: Callable[[Account], str] | None = None  # see read_accounts_again
    accounts: dict[str, Account] = field(default_factory=dict)
    consumed: set[str] = field(default_factory=set)  # ids of accounts that are not kept, as they showed enough
    names: set[str] = field(default_factory=set)  # as the server writes them
    searched: set[str] = field(default_factory=set)  # names whose own search showed how the server writes them
    absent: set[str] = field(default_factory=set)
    unknown: dict[str, str] = field(default_factory=dict)
    uncertain: str = ""
    total: int = 0
    listed: bool = False  # whether the server was asked for its list, which says how many there are
    complete: bool = False

    @property
    def known_total(self) -> int | None:
        """How many accounts the organisation has, if anything has told."""
        return max(self.total, self.count) if self.listed else None

    @property
    def count(self) -> int:
        """How many accounts were read."""
        return len(self.accounts) + len(self.consumed)

    def add(self, accounts: Iterable[Account]) -> None:
        for account in accounts:
            key = fold(account.id)
            if self.consume is not None:
                if key in self.consumed:
                    continue
                if shown := self.consume(account):
                    self.consumed.add(shown)
                    self.accounts.pop(key, None)
                    continue
            self.accounts[key] = account
            if self.by_name:
                self.names.add(account.name)

    def take(self, page: Page) -> None:
        self.add(page.accounts)
        self.total, self.listed = page.total, True

    def missing_ids(self, lookup: AccountLookup) -> list[str]:
        """The ids of which nothing is known yet."""
        return [
            account_id
            for account_id in lookup.ids
            if (key := fold(account_id)) not in self.accounts
            and key not in self.consumed
            and key not in self.absent
            and key not in self.unknown
        ]

    def missing_names(self, lookup: AccountLookup) -> list[str]:
        """The names that no account has to the letter, unless a search showed who has them apart from case."""
        return [name for name in lookup.names if name not in self.names and name not in self.searched]

    def directory(self, organization_id: str, groups: Sequence[Group] | None) -> Directory:
        return Directory(
            organization_id,
            list(self.accounts.values()),
            groups,
            complete=self.complete,
            total=self.known_total,
            absent=self.absent,
            unknown=self.unknown,
            uncertain=self.uncertain,
        )


async def read_directory(
    engine: Engine, organization_id: str, lookup: AccountLookup, known: Capabilities
) -> tuple[Directory, tuple[str, ...]]:
    """Read what the plan needs; what the token may not read is left out and said in a warning, if ids can do.

    What only a directory could tell (names, exact lists) ends the work then: the scope is what must be mended, not
    every row of the sheet.

    Args:
        engine: Sends the requests.
        organization_id: Whose directory.
        lookup: What must be looked up.
        known: What the token says it may do: what it may not is not asked for.

    Raises:
        ConnectionFailedError: The server cannot be reached or gives no directory.
        PermissionDeniedError: The sheet needs what the token may not read.
    """
    warnings: list[str] = []
    groups: Sequence[Group] | None = None
    found: _ReadAccounts | None = None
    no_groups = ""
    if lookup.groups:
        try:
            _require(known.read_groups, "PM.Group.Read")
            groups = parse_groups(await fetch(engine, list_groups(organization_id), "the list of groups"))
        except ForbiddenError as error:
            _require_own_organization(known.read_groups, organization_id, error)
            no_groups = f"The groups cannot be read ({error.message})"
            warnings.append(f"{no_groups}: groups are taken by id. Grant PM.Group.Read to use group names.")
    try:
        _require(known.read_accounts, current().read_scope)
        found = await _read_accounts(engine, organization_id, lookup)
    except ForbiddenError as error:
        _require_own_organization(known.read_accounts, organization_id, error)
        no_accounts = f"The accounts cannot be read ({error.message})"
        _require_ids_alone(lookup, no_accounts)
        warnings.append(f"{no_accounts}: running blind. Grant {current().read_scope} to send only what differs.")
    if no_groups:
        _require_group_ids(lookup, found.accounts.values() if found is not None else (), no_groups)
    if found is None:
        return Directory(organization_id, None, groups), tuple(warnings)
    return found.directory(organization_id, groups), tuple(warnings)


async def count_accounts(engine: Engine, organization_id: str) -> int:
    """How many accounts the organisation has, for one GET.

    Raises:
        ConnectionFailedError: The server cannot be reached, or the token may not read accounts.
    """
    request = list_accounts(organization_id, 0, 1)
    return account_page(await fetch(engine, request, f"the list of {current().plural}")).total


def _require(allowed: bool | None, scope: str) -> None:
    """Save the request whose refusal the token itself foretells."""
    if allowed is False:
        raise ForbiddenError(f"the token lacks {scope}")


def _require_own_organization(allowed: bool | None, organization_id: str, refusal: ForbiddenError) -> None:
    """Tell a refusal that no scope explains from a missing scope.

    Raises:
        PermissionDeniedError: The token has the scope, and is refused all the same.
    """
    if allowed:
        raise PermissionDeniedError(
            f"The server does not let this token read the organisation {organization_id} (403): {refusal.message}",
            hint="Check BULKID_ORGANIZATION_ID (or --organization-id): left out, it is the token's own.",
        )


def _require_ids_alone(lookup: AccountLookup, refusal: str) -> None:
    """Stop where rows cannot do without the accounts.

    Raises:
        PermissionDeniedError: A row gives an account by name only, or an exact list of groups.
    """
    if lookup.names:
        what = f"the sheet gives accounts by name ({_sample(lookup.names)})"
    elif lookup.exact:
        what = "the sheet gives exact lists of groups, which need the present ones to compare with"
    else:
        return
    raise PermissionDeniedError(
        f"{refusal}, and {what}.",
        hint=f"Grant {current().read_scope} to the application, and check the organisation id where one is set. "
        "Without the scope, rows need ids, and groups to add and remove.",
    )


def _require_group_ids(lookup: AccountLookup, accounts: Iterable[Account], refusal: str) -> None:
    """Stop where groups are given by what is no id, as far as can be told: each would fail its row.

    Raises:
        PermissionDeniedError: A row gives a group by name, or an exact list of groups.
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
        what = "the sheet gives exact lists of groups, which need to know the group Everyone"
    else:
        return
    raise PermissionDeniedError(
        f"{refusal}, and {what}.",
        hint="Grant PM.Group.Read to the application (and name it in BULKID_SCOPE where that is set), or give the "
        "groups by id. If these are ids, --no-read sends them as they are.",
    )


def _sample(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:_SAMPLE_SIZE])
    return f"{shown} and {len(names) - _SAMPLE_SIZE} more" if len(names) > _SAMPLE_SIZE else shown


async def read_accounts_again(
    engine: Engine,
    organization_id: str,
    ids: Sequence[str],
    consume: Callable[[Account], str] | None = None,
) -> Directory:
    """Read these accounts as they are now; :meth:`Directory.find` tells which of them do not exist any more.

    Args:
        engine: Sends the requests.
        organization_id: Whose accounts.
        ids: Which accounts.
        consume: Is shown each account as its page comes in, and gives its folded id where it shows enough: such an
            account is not kept, and the directory that is returned knows nothing of it. "" keeps it.

    Raises:
        ConnectionFailedError: The server cannot be reached, or the token may not read accounts.
    """
    found = await _read_accounts(engine, organization_id, AccountLookup(tuple(ids), (), groups=False), consume)
    return found.directory(organization_id, None)


async def _read_accounts(
    engine: Engine, organization_id: str, lookup: AccountLookup, consume: Callable[[Account], str] | None = None
) -> _ReadAccounts:
    """Find the wanted accounts by pages, or one by one, and learn for certain which of them do not exist."""
    found = _ReadAccounts(bool(lookup.names), consume)
    if first_read(len(lookup.ids), len(lookup.names)) == "single":
        await _look_up(engine, organization_id, lookup.ids, found)
        return found

    async def page(skip: int) -> Page:
        request = list_accounts(organization_id, skip, PAGE_SIZE)
        return account_page(await fetch(engine, request, f"the list of {current().plural}"))

    async def take(page: Page) -> None:
        found.take(page)

    first = await page(0)
    found.take(first)
    ids, names = found.missing_ids(lookup), found.missing_names(lookup)
    if next_read(first.total, len(first.accounts), len(ids) + len(names), OVERLAP) == "singles":
        await _look_up(engine, organization_id, ids, found)
        await _search(engine, organization_id, names, found)
    if found.missing_ids(lookup) or found.missing_names(lookup):
        listing, shown = await read_list(page, take, ahead=PAGES_AHEAD, first=first), -1
        for reading in range(MAX_READINGS):
            if reading:
                listing = await read_list(page, take, ahead=PAGES_AHEAD)
            if listing.received not in (
                listing.total,
                shown,
            ):  # it shows more or fewer than it counts: once proves nothing
                listing = replace(listing, complete=False)
            shown = listing.received
            if await _settle_missing(engine, organization_id, lookup, found, listing):
                break
        else:
            _mark_uncertain(lookup, found)
        found.complete = listing.complete
    else:
        found.complete = found.count >= found.total
    return found


async def _settle_missing(
    engine: Engine, organization_id: str, lookup: AccountLookup, found: _ReadAccounts, listing: Listing
) -> bool:
    """Learn of the accounts that the list did not show whether they exist, as far as this reading lets one know.

    Returns:
        Whether nothing more is to be learnt.
    """
    ids, look_up_limit = found.missing_ids(lookup), max(MAX_LOOK_UPS, listing.pages)
    if len(ids) <= look_up_limit:
        await _look_up(engine, organization_id, ids, found)
    elif listing.complete:
        found.absent.update(map(fold, ids))
    if listing.complete:  # whatever name it does not show, no account has
        return True
    names = found.missing_names(lookup)
    if len(names) <= look_up_limit:
        await _search(engine, organization_id, names, found)
    return not (found.missing_ids(lookup) or found.missing_names(lookup))


def _mark_uncertain(lookup: AccountLookup, found: _ReadAccounts) -> None:
    """Say why it is not known whether the accounts that are missing exist."""
    if found.count:
        reason = (
            f"each of {MAX_READINGS} readings of the list of {current().plural} may have missed some, as it kept "
            "changing"
        )
    else:
        reason = f"the server counts {count_of(found.total, current().singular)} and lists none"
    missing = [*found.missing_ids(lookup), *found.missing_names(lookup)]
    found.uncertain = f"Whether there are the accounts {_sample(missing)} is not known: {reason}."
    found.unknown.update(dict.fromkeys(map(fold, found.missing_ids(lookup)), reason))


async def _look_up(engine: Engine, organization_id: str, ids: Iterable[str], found: _ReadAccounts) -> None:
    """Ask for each of these ids by itself."""
    async with task_group() as tasks:
        for account_id in ids:
            tasks.start_soon(partial(_look_up_one, engine, organization_id, account_id, found))


async def _look_up_one(engine: Engine, organization_id: str, account_id: str, found: _ReadAccounts) -> None:
    key = fold(account_id)
    reply = (await engine.call(get_account(organization_id, account_id))).reply
    if reply.kind is ReplyKind.OK:
        account = parse_account(reply.payload)
        if fold(account.id) == key:
            found.add([account])
        else:
            found.unknown[key] = f"asked for it, the server answered with another account ({account.id})"
    elif reply.kind is ReplyKind.REFUSED and reply.status == HTTPStatus.NOT_FOUND:
        found.absent.add(key)
    elif reply.kind in _REFUSALS and (reply.status or 0) // 100 == 4:  # noqa: PLR2004 - the class of a status
        # An id that is no id to this server, say: that is no word on the account.
        said = reply.error or reply.error_code or "refused"
        found.unknown[key] = f"the server does not look it up (HTTP {reply.status}: {said.rstrip('.')})"
    else:
        raise _fetch_error(reply, f"account {account_id}")


async def _search(engine: Engine, organization_id: str, names: Iterable[str], found: _ReadAccounts) -> None:
    """Search for each of these names by itself. A miss proves nothing: how a search matches is not documented."""
    async with task_group() as tasks:
        for name in names:
            tasks.start_soon(partial(_search_one, engine, organization_id, name, found))


async def _search_one(engine: Engine, organization_id: str, name: str, found: _ReadAccounts) -> None:
    request = list_accounts(organization_id, 0, PAGE_SIZE, name)
    page = account_page(await fetch(engine, request, f"account {name}"))
    found.add(page.accounts)
    key = fold(name)
    if page.total <= len(page.accounts) and any(fold(account.name) == key for account in page.accounts):
        found.searched.add(name)  # it does not mind case, then, and shows all who have the name apart from case


async def fetch(engine: Engine, request: Request, what: str) -> object:
    """Ask for something, and give the answer's JSON.

    Raises:
        ForbiddenError: The token may not read it.
        ConnectionFailedError: The server cannot be reached, or does not give it.
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
    return ConnectionFailedError(
        f"The server would not give {what}: {reply.error or reply.kind.value}{status}.",
        hint="Check the organisation id and the address with `bulkid doctor`.",
    )
