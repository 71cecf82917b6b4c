"""Reading the directory with the fewest GETs: groups in one, accounts by pages or one by one, whichever is less."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from bulkid.engine import Engine
from bulkid.errors import ConnectionFailedError
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
from bulkid.planning import Directory, Read, first_read, remaining_reads, wanted_accounts
from bulkid.runs.tasks import task_group

PAGE_SIZE = 1000
"""Accounts per page: the most that the API gives (``top`` 0-1000)."""


class _ForbiddenError(ConnectionFailedError):
    """The token may not read this; whether that matters is the caller's to decide."""


@dataclass(slots=True)
class _Found:
    """Accounts as they come in, by id; pages may overlap while the directory changes."""

    accounts: dict[str, Account] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    total: int = 0

    def add(self, accounts: Iterable[Account]) -> None:
        for account in accounts:
            self.accounts[account.id.casefold()] = account
            self.names.add(account.name.casefold())


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which accounts a sheet is about."""

    ids: tuple[str, ...]
    names: tuple[str, ...]  # of rows that give no id
    groups: bool  # whether any row mentions a group


def wanted(wishes: Sequence[RowWish]) -> Wanted:
    """Collect what must be looked up, each account once."""
    ids, names = wanted_accounts(wishes)
    return Wanted(ids, names, any(wish.add or wish.remove or wish.exact is not None for wish in wishes))


async def read_directory(
    engine: Engine, organization_id: str, want: Wanted, known: Capabilities
) -> tuple[Directory, tuple[str, ...]]:
    """Read what the plan needs; what the token may not read is left out and said in a warning.

    Args:
        engine: Sends the requests.
        organization_id: Whose directory.
        want: What must be looked up.
        known: What the token says it may do: what it may not is not asked for.

    Raises:
        ConnectionFailedError: The server cannot be reached or gives no directory.
    """
    warnings: list[str] = []
    groups: Sequence[Group] | None = None
    accounts: Sequence[Account] | None = None
    complete = True
    if want.groups:
        try:
            _require(known.read_groups, "PM.Group.Read")
            groups = parse_groups(await _get(engine, list_groups(organization_id), "the list of groups"))
        except _ForbiddenError as error:
            warnings.append(
                f"The groups cannot be read ({error.message}): groups are taken by id. "
                "Grant PM.Group.Read to use group names."
            )
    try:
        _require(known.read_accounts, "PM.RobotAccount.Read")
        accounts, complete = await _read_accounts(engine, organization_id, want)
    except _ForbiddenError as error:
        warnings.append(
            f"The accounts cannot be read ({error.message}): running blind, nothing is compared. "
            "Grant PM.RobotAccount.Read to send only what differs."
        )
    return Directory(organization_id, accounts, groups, complete=complete), tuple(warnings)


def _require(allowed: bool | None, scope: str) -> None:
    """Save the request whose refusal the token itself foretells."""
    if allowed is False:
        raise _ForbiddenError(f"the token lacks {scope}")


async def read_accounts_again(engine: Engine, organization_id: str, ids: Sequence[str]) -> dict[str, Account]:
    """Read these accounts as they are now; an id that is missing from the answer does not exist any more.

    Raises:
        ConnectionFailedError: The server cannot be reached, or the token may not read accounts.
    """
    accounts, _ = await _read_accounts(engine, organization_id, Wanted(tuple(ids), (), groups=False))
    return {account.id.casefold(): account for account in accounts}


async def _read_accounts(engine: Engine, organization_id: str, want: Wanted) -> tuple[list[Account], bool]:
    """All accounts by pages, or the wanted ones one by one; and whether the list is complete."""
    found = _Found()
    if first_read(len(want.ids), len(want.names)) == "single":
        await _all(engine, organization_id, [Read("account", term=account_id) for account_id in want.ids], found)
        return list(found.accounts.values()), False
    await _page(engine, organization_id, 0, found)
    page_size = len(found.accounts)
    reads = remaining_reads(found.total, page_size, *_missing(want, found))
    await _all(engine, organization_id, reads, found)
    if any(read.kind != "page" for read in reads):
        if not _missing(want, found)[1]:
            return list(found.accounts.values()), False
        # A search that misses a name proves nothing (how it matches is not documented): only the whole list does.
        pages = [Read("page", skip=skip, top=page_size) for skip in range(page_size, found.total, page_size)]
        await _all(engine, organization_id, pages, found)
    elif len(found.accounts) < found.total and (reads or page_size == 0):
        # The list holds fewer than it says: it changed meanwhile, or hides some. An id's own 404 decides.
        await _one_by_one(engine, organization_id, want.ids, found)
        return list(found.accounts.values()), False
    return list(found.accounts.values()), len(found.accounts) >= found.total


async def _one_by_one(engine: Engine, organization_id: str, ids: Sequence[str], found: _Found) -> None:
    """Ask for each id that the list left out: only its own 404 says that it does not exist."""
    missing = [account_id for account_id in ids if account_id.casefold() not in found.accounts]
    await _all(engine, organization_id, [Read("account", term=account_id) for account_id in missing], found)


def _missing(want: Wanted, found: _Found) -> tuple[list[str], list[str]]:
    ids = [account_id for account_id in want.ids if account_id.casefold() not in found.accounts]
    names = [name for name in want.names if name.casefold() not in found.names]
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
        payload = await _get(engine, list_accounts(organization_id, 0, PAGE_SIZE, read.term), f"account {read.term}")
        found.add(account_page(payload).accounts)
    else:
        payload = await _get(engine, get_account(organization_id, read.term), f"account {read.term}", absent_ok=True)
        if payload is not None:
            found.add([parse_account(payload)])


async def _page(engine: Engine, organization_id: str, skip: int, found: _Found) -> None:
    request = list_accounts(organization_id, skip, PAGE_SIZE)
    page = account_page(await _get(engine, request, "the list of robot accounts"))
    found.add(page.accounts)
    found.total = page.total


async def _get(engine: Engine, request: Request, what: str, *, absent_ok: bool = False) -> object:
    settled = await engine.call(request)
    reply = settled.reply
    if reply.kind is ReplyKind.OK:
        payload: object = reply.payload
        return payload
    if reply.kind is ReplyKind.FORBIDDEN:
        raise _ForbiddenError(reply.error)
    if absent_ok and reply.status == 404:  # noqa: PLR2004 - HTTP's own word for "no such account"
        return None
    status = f" (HTTP {reply.status})" if reply.status else ""
    raise ConnectionFailedError(
        f"The server would not give {what}: {reply.error or reply.kind.value}{status}.",
        hint="Check the organisation id and the address with `bulkid doctor`.",
    )
