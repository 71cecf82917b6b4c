"""Reading the directory with the fewest GETs: groups in one, accounts by pages or one by one, whichever is less."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from bulkid.engine import Engine
from bulkid.errors import ConnectionFailedError, PermissionDeniedError
from bulkid.identity import (
    Capabilities,
    account_page,
    get_account,
    list_accounts,
    list_groups,
    parse_account,
    parse_groups,
)
from bulkid.model import Account, Group, ReplyKind, Request, RowWish
from bulkid.planning import Directory, Read, first_read, fold, is_everyone, remaining_reads, wanted_accounts
from bulkid.runs.tasks import task_group

PAGE_SIZE = 1000
"""Accounts per page: the most that the API gives (``top`` 0-1000)."""

_NAMED = 3
"""How many of the names that cannot be looked up a message tells."""

_GUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)


class ForbiddenError(ConnectionFailedError):
    """The token may not read this; whether that matters is the caller's to decide."""


@dataclass(slots=True)
class _Found:
    """Accounts as they come in, by folded id; pages may overlap while the directory changes."""

    accounts: dict[str, Account] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    total: int = 0
    listed: bool = False  # whether the server was asked for its list, which says how many there are

    @property
    def known_total(self) -> int | None:
        """How many accounts the organisation has, if anything has told."""
        return max(self.total, len(self.accounts)) if self.listed else None

    def add(self, accounts: Iterable[Account]) -> None:
        for account in accounts:
            self.accounts[fold(account.id)] = account
            self.names.add(fold(account.name))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which accounts a sheet is about."""

    ids: tuple[str, ...]
    names: tuple[str, ...]  # of rows that give no id
    groups: bool  # whether any row mentions a group
    group_texts: frozenset[str] = frozenset()  # how they mention them: by id or by name
    exact: bool = False  # whether any row gives an exact list of groups


def wanted(wishes: Sequence[RowWish]) -> Wanted:
    """Collect what must be looked up, each account once."""
    ids, names = wanted_accounts(wishes)
    lists = {wish_list for wish in wishes for wish_list in (wish.add, wish.remove, wish.exact or ())}
    texts = frozenset(text for texts in lists for text in texts)
    exact = any(wish.exact is not None for wish in wishes)
    return Wanted(ids, names, bool(texts) or exact, texts, exact)


async def read_directory(
    engine: Engine, organization_id: str, want: Wanted, known: Capabilities
) -> tuple[Directory, tuple[str, ...]]:
    """Read what the plan needs; what the token may not read is left out and said in a warning, if ids can do.

    What only a directory could tell (names, exact lists) ends the work then: the scope is what must be mended, not
    every row of the sheet.

    Args:
        engine: Sends the requests.
        organization_id: Whose directory.
        want: What must be looked up.
        known: What the token says it may do: what it may not is not asked for.

    Raises:
        ConnectionFailedError: The server cannot be reached or gives no directory.
        PermissionDeniedError: The sheet needs what the token may not read.
    """
    warnings: list[str] = []
    groups: Sequence[Group] | None = None
    accounts: Sequence[Account] | None = None
    complete, total = True, None
    no_groups = ""
    if want.groups:
        try:
            _require(known.read_groups, "PM.Group.Read")
            groups = parse_groups(await fetch(engine, list_groups(organization_id), "the list of groups"))
        except ForbiddenError as error:
            _require_own_organization(known.read_groups, organization_id, error)
            no_groups = f"The groups cannot be read ({error.message})"
            warnings.append(f"{no_groups}: groups are taken by id. Grant PM.Group.Read to use group names.")
    try:
        _require(known.read_accounts, "PM.RobotAccount.Read")
        found = _Found()
        complete = await _read_accounts(engine, organization_id, want, found)
        accounts, total = list(found.accounts.values()), found.known_total
    except ForbiddenError as error:
        _require_own_organization(known.read_accounts, organization_id, error)
        no_accounts = f"The accounts cannot be read ({error.message})"
        _require_ids_alone(want, no_accounts)
        warnings.append(f"{no_accounts}: running blind. Grant PM.RobotAccount.Read to send only what differs.")
    if no_groups:
        _require_group_ids(want, accounts or (), no_groups)
    return Directory(organization_id, accounts, groups, complete=complete, total=total), tuple(warnings)


async def count_accounts(engine: Engine, organization_id: str) -> int:
    """How many accounts the organisation has, for one GET.

    Raises:
        ConnectionFailedError: The server cannot be reached, or the token may not read accounts.
    """
    request = list_accounts(organization_id, 0, 1)
    return account_page(await fetch(engine, request, "the list of robot accounts")).total


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


def _require_ids_alone(want: Wanted, refusal: str) -> None:
    """Stop where rows cannot do without the accounts.

    Raises:
        PermissionDeniedError: A row gives an account by name only, or an exact list of groups.
    """
    if want.names:
        what = f"the sheet gives accounts by name ({_some(want.names)})"
    elif want.exact:
        what = "the sheet gives exact lists of groups, which need the present ones to compare with"
    else:
        return
    raise PermissionDeniedError(
        f"{refusal}, and {what}.",
        hint="Grant PM.RobotAccount.Read to the application, and check the organisation id where one is set. Without "
        "the scope, rows need ids, and groups to add and remove.",
    )


def _require_group_ids(want: Wanted, accounts: Iterable[Account], refusal: str) -> None:
    """Stop where groups are given by what is no id, as far as can be told: each would fail its row.

    Raises:
        PermissionDeniedError: A row gives a group by name, or an exact list of groups.
    """
    known = {group_id.casefold() for account in accounts for group_id in account.group_ids or ()}
    names = [
        text
        for text in sorted(want.group_texts)
        if not (_GUID.fullmatch(text) or text.casefold() in known or is_everyone(text))
    ]
    if names:
        what = f"the sheet gives groups by name ({_some(names)})"
    elif want.exact:
        what = "the sheet gives exact lists of groups, which need to know the group Everyone"
    else:
        return
    raise PermissionDeniedError(
        f"{refusal}, and {what}.",
        hint="Grant PM.Group.Read to the application (and name it in BULKID_SCOPE where that is set), or give the "
        "groups by id. If these are ids, --no-read sends them as they are.",
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


async def read_accounts_again(engine: Engine, organization_id: str, ids: Sequence[str]) -> dict[str, Account]:
    """Read these accounts as they are now; an id that is missing from the answer does not exist any more.

    Returns:
        The accounts by folded id.

    Raises:
        ConnectionFailedError: The server cannot be reached, or the token may not read accounts.
    """
    found = _Found()
    await _read_accounts(engine, organization_id, Wanted(tuple(ids), (), groups=False), found)
    return dict(found.accounts)


async def _read_accounts(engine: Engine, organization_id: str, want: Wanted, found: _Found) -> bool:
    """Find all accounts by pages, or the wanted ones one by one; say whether the list is complete."""
    if first_read(len(want.ids), len(want.names)) == "single":
        await _all(engine, organization_id, [Read("account", term=account_id) for account_id in want.ids], found)
        return False
    await _page(engine, organization_id, 0, found)
    page_size = len(found.accounts)
    reads = remaining_reads(found.total, page_size, *_missing(want, found))
    await _all(engine, organization_id, reads, found)
    if any(read.kind != "page" for read in reads):
        if not _missing(want, found)[1]:
            return False
        # A search that misses a name proves nothing (how it matches is not documented): only the whole list does.
        pages = [Read("page", skip=skip, top=page_size) for skip in range(page_size, found.total, page_size)]
        await _all(engine, organization_id, pages, found)
    elif len(found.accounts) < found.total and (reads or page_size == 0):
        # The list holds fewer than it says: it changed meanwhile, or hides some. An id's own 404 decides.
        await _one_by_one(engine, organization_id, want.ids, found)
        return False
    return len(found.accounts) >= found.total


async def _one_by_one(engine: Engine, organization_id: str, ids: Sequence[str], found: _Found) -> None:
    """Ask for each id that the list left out: only its own 404 says that it does not exist."""
    missing = [account_id for account_id in ids if fold(account_id) not in found.accounts]
    await _all(engine, organization_id, [Read("account", term=account_id) for account_id in missing], found)


def _missing(want: Wanted, found: _Found) -> tuple[list[str], list[str]]:
    ids = [account_id for account_id in want.ids if fold(account_id) not in found.accounts]
    names = [name for name in want.names if fold(name) not in found.names]
    return ids, names


async def _all(engine: Engine, organization_id: str, reads: Sequence[Read], found: _Found) -> None:
    """Do all reads side by side; the engine bounds how many are under way."""
    async with task_group() as tasks:
        for read in reads:
            tasks.start_soon(partial(_one, engine, organization_id, read, found))


async def _one(engine: Engine, organization_id: str, read: Read, found: _Found) -> None:
    if read.kind == "page":
        await _page(engine, organization_id, read.skip, found)
    elif read.kind == "search":
        payload = await fetch(engine, list_accounts(organization_id, 0, PAGE_SIZE, read.term), f"account {read.term}")
        found.add(account_page(payload).accounts)
    else:
        payload = await fetch(engine, get_account(organization_id, read.term), f"account {read.term}", absent_ok=True)
        if payload is not None:
            found.add([parse_account(payload)])


async def _page(engine: Engine, organization_id: str, skip: int, found: _Found) -> None:
    request = list_accounts(organization_id, skip, PAGE_SIZE)
    page = account_page(await fetch(engine, request, "the list of robot accounts"))
    found.add(page.accounts)
    found.total, found.listed = page.total, True


async def fetch(engine: Engine, request: Request, what: str, *, absent_ok: bool = False) -> object:
    """Ask for something, and give the answer's JSON; None for what does not exist, where that is an answer.

    Raises:
        ForbiddenError: The token may not read it.
        ConnectionFailedError: The server cannot be reached, or does not give it.
    """
    settled = await engine.call(request)
    reply = settled.reply
    if reply.kind is ReplyKind.OK:
        payload: object = reply.payload
        return payload
    if reply.kind is ReplyKind.FORBIDDEN:
        raise ForbiddenError(reply.error)
    if absent_ok and reply.status == 404:  # noqa: PLR2004 - HTTP's own word for "no such account"
        return None
    status = f" (HTTP {reply.status})" if reply.status else ""
    raise ConnectionFailedError(
        f"The server would not give {what}: {reply.error or reply.kind.value}{status}.",
        hint="Check the organisation id and the address with `bulkid doctor`.",
    )
