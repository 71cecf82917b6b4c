"""Changes that were worked out for a known state: whether an account still is as it was then, and what differs if not.

An undo and a plan file both hold such changes. A sheet says what an account shall become whatever it is now; these say
what shall become of an account *that is as expected*, and leave one alone that somebody has changed since.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bulkid.errors import PermissionDeniedError
from bulkid.model import Account, AccountWish, Entry, Fault
from bulkid.planning.diff import diff
from bulkid.planning.directory import Absent, Directory, Unknown
from bulkid.planning.resolve import Resolution
from bulkid.text import count_of, fold, quote


class Expected(NamedTuple):
    """What is wanted of one account, and the state that this was worked out for."""

    wish: AccountWish  # in ids, without an exact list
    before: Account | None  # the state expected; None: not known (blind), so that nothing is compared
    partial: bool = False  # whether each attribute by itself may be as expected or as wanted already
    words: str = ""  # the change in readable words, for the message where something of it is gone


class _Point(NamedTuple):
    """One attribute that a wish touches, as it is now."""

    as_before: bool
    as_wanted: bool
    words: str


def departure(wish: AccountWish, before: Account, present: Account, directory: Directory, *, partial: bool) -> str:
    """Say in readable words how an account differs from the state that a wish was worked out for.

    Only what the wish touches is looked at. An account that is already as wanted has nothing left to be done, and so
    has not departed either.

    Args:
        wish: What is wanted, in ids, without an exact list.
        before: The state expected.
        present: The state found.
        directory: Names groups.
        partial: Whether a mixture of the two is expected, as where a request may have done part of the work; else
            all must be as before, or all as wanted.

    Returns:
        ``display name: expected "Robbie", found "Rob"; in Finance: expected yes, found no``; "" when the change may be
        made.
    """
    points = list(_points(wish, before, present, directory))
    if all(point.as_wanted for point in points):
        return ""
    odd = [point for point in points if not (point.as_before or (partial and point.as_wanted))]
    return "; ".join(point.words for point in odd)


def departed(entry: Entry, present: Account | None, directory: Directory) -> str:
    """Say how an account differs both from what a run found it to be and from what the run wants it to be.

    Args:
        entry: The account in the run's journal. Where a request for it may have left, part of it may be done.
        present: The state now.
        directory: Names groups.

    Returns:
        As :func:`departure`; "" also where the run was blind, and expects nothing.

    Raises:
        PermissionDeniedError: The accounts were not read, and something is expected of them.
    """
    if entry.before is None:
        return ""
    require_sight(directory)
    if present is None:
        return "it does not exist any more"
    return departure(entry.wish, entry.before, present, directory, partial=entry.intended)


def pinned(entry: Entry, directory: Directory) -> AccountWish:
    """Give what a run wants of an account as the change that was planned and shown.

    An exact list of groups asks for whatever leads to it; this is what it added and removed at the time of the plan.

    Args:
        entry: The account in the run's journal.
        directory: Tells which group is Everyone, and which groups there are.

    Raises:
        PermissionDeniedError: The wish is an exact list, and the groups cannot be read.
    """
    wish = entry.wish
    if wish.exact is None or entry.before is None:
        return wish
    planned = diff(wish, entry.before, directory)
    return wish._replace(exact=None, add=planned.add, remove=planned.remove)


def require_sight(directory: Directory) -> None:
    """Stop where accounts cannot be compared with what is expected of them.

    Raises:
        PermissionDeniedError: The accounts were not read.
    """
    if directory.accounts is None:
        raise PermissionDeniedError(
            "These changes are made only where an account still is as expected, and the accounts cannot be read.",
            hint="Grant PM.RobotAccount.Read to the external application, and leave --no-read out.",
        )


def resolve_expected(items: Iterable[Expected], directory: Directory, as_what: str) -> Resolution:
    """Compare every account with what is expected of it, and let those through that are as expected.

    Args:
        items: The changes, each account once.
        directory: The present state.
        as_what: What the expected state is, to end a sentence: ``as run 20260131-081500-x7k2 left it``.

    Returns:
        The wishes of the accounts that may be changed; and a fault for every row of the others.

    Raises:
        PermissionDeniedError: The accounts were not read, and something is expected of them.
    """
    wishes: list[AccountWish] = []
    faults: list[Fault] = []
    count = 0
    for item in items:
        count += 1
        if item.before is not None:
            require_sight(directory)
        found = _resolve(item, directory, as_what)
        if isinstance(found, AccountWish):
            wishes.append(found)
        else:
            code, message = found
            faults.extend(Fault(row, "", "", code, message) for row in item.wish.rows)
    faults.sort(key=lambda fault: fault.row)
    warnings: tuple[str, ...] = ()
    if directory.accounts is None and count:
        warnings = (f"Nothing is compared with the present state: {count_of(count, 'account')} taken by id.",)
    return Resolution(tuple(wishes), tuple(faults), warnings)


def _resolve(item: Expected, directory: Directory, as_what: str) -> AccountWish | tuple[str, str]:
    """Give the wish in the server's ids; or a code, and a sentence that says why the account is left alone."""
    wish = item.wish
    found = directory.find(wish.account_id)
    if isinstance(found, Absent):
        return "account_gone", f"The account {quote(wish.name or wish.account_id)} does not exist any more."
    if isinstance(found, Unknown) and directory.accounts is not None:
        named = quote(wish.name or wish.account_id)
        return (
            "unknown_account",
            f"Whether the account {named} still exists is not known: {found.reason}. It is left alone.",
        )
    account = found if isinstance(found, Account) else None
    if refused := _group_refusal(item, directory):
        return refused
    everyone = fold(directory.everyone_id)
    add = tuple(_as_the_server_writes(group, directory) for group in wish.add if fold(group) != everyone)
    remove = tuple(_as_the_server_writes(group, directory) for group in wish.remove)
    wish = wish._replace(add=add, remove=remove)
    if account is None:
        return wish
    wish = wish._replace(account_id=account.id, name=account.name)
    if item.before is not None:
        differs = departure(wish, item.before, account, directory, partial=item.partial)
        if differs:
            return "changed_since", f"The account is not {as_what}: {differs}. It is left alone."
    return wish


def _group_refusal(item: Expected, directory: Directory) -> tuple[str, str] | None:
    """Say why the groups of a change cannot be changed, with a code; None when they can."""
    wish = item.wish
    everyone = fold(directory.everyone_id)
    if everyone and any(fold(group) == everyone for group in wish.remove):
        return "everyone_cannot_be_removed", "Every account belongs to the group Everyone; it cannot be removed."
    if directory.groups is not None:
        for group in (*wish.add, *wish.remove):
            if directory.group_with_id(group) is None:
                change = f" ({item.words})" if item.words else ""
                return "group_gone", f"The group {quote(group)} does not exist any more{change}."
    return None


def _as_the_server_writes(group_id: str, directory: Directory) -> str:
    group = directory.group_with_id(group_id)
    return group_id if group is None else group.id


def _points(wish: AccountWish, before: Account, present: Account, directory: Directory) -> Iterator[_Point]:
    if wish.display_name is not None:
        yield _Point(
            present.display_name == before.display_name,
            present.display_name == wish.display_name,
            f"display name: expected {_shown(before.display_name)}, found {_shown(present.display_name)}",
        )
    if before.group_ids is None or not (wish.add or wish.remove):
        return  # nothing is expected where the server did not say
    if present.group_ids is None:
        yield _Point(as_before=False, as_wanted=False, words="the server does not say which groups it is in")
        return
    were, are = (frozenset(map(fold, account.group_ids or ())) for account in (before, present))
    for groups, wanted in ((wish.add, True), (wish.remove, False)):
        for group in groups:
            was, now = fold(group) in were, fold(group) in are
            words = f"in {directory.group_name(group)}: expected {_yes(was)}, found {_yes(now)}"
            yield _Point(was == now, now == wanted, words)


def _shown(display_name: str) -> str:
    return quote(display_name) if display_name else "none"


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
