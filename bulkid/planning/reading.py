"""Which requests read the accounts that a sheet names: whole pages, or one by one where that takes fewer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bulkid.model import RowWish
from bulkid.planning.words import fold


@dataclass(frozen=True, slots=True)
class Read:
    """One GET of accounts."""

    kind: Literal["page", "account", "search"]
    skip: int = 0  # accounts before the page
    top: int = 0  # accounts on the page, at most
    term: str = ""  # the account's id ("account"), or its name to search for ("search")


def wanted_accounts(wishes: Iterable[RowWish]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List the accounts that rows name, each once: the ids; and the names of rows that give no id."""
    ids: dict[str, str] = {}
    names: dict[str, str] = {}
    for wish in wishes:
        if wish.account_id:
            ids.setdefault(fold(wish.account_id), wish.account_id)
        elif wish.name:
            names.setdefault(fold(wish.name), wish.name)
    return tuple(ids.values()), tuple(names.values())


def first_read(wanted_ids: int, wanted_names: int) -> Literal["single", "page"]:
    """Decide how to begin: a single id is read by itself; for anything else the first page tells how many there are.

    Args:
        wanted_ids: How many distinct ids the sheet names.
        wanted_names: How many accounts it names by name only.
    """
    return "single" if (wanted_ids, wanted_names) == (1, 0) else "page"


def remaining_reads(total: int, page_size: int, missing_ids: Sequence[str], missing_names: Sequence[str]) -> list[Read]:
    """Choose the GETs that follow the first page: the remaining pages, or one per missing account if those are fewer.

    At the same count pages win: they also hold the names that a mistyped one may have meant.

    Args:
        total: How many accounts the organisation has (``totalCount``).
        page_size: How many the first page held: what was asked for, or what the server gave if that was less.
        missing_ids: Ids of the sheet that the first page does not hold; each takes one GET.
        missing_names: The names among those without id; each takes one search.

    Returns:
        The GETs, in order; none when nothing is missing.
    """
    singles = len(missing_ids) + len(missing_names)
    if not singles:
        return []
    if page_size > 0 and -(-total // page_size) - 1 <= singles:
        return [Read("page", skip=skip, top=page_size) for skip in range(page_size, total, page_size)]
    reads = [Read("account", term=account_id) for account_id in missing_ids]
    return reads + [Read("search", term=name) for name in missing_names]
