"""Which requests read the accounts that a sheet names: whole pages, or one by one where that takes fewer."""

from collections.abc import Iterable
from typing import Literal

from bulkid.model import RowRequest
from bulkid.text import fold


def wanted_accounts(requests: Iterable[RowRequest]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List the accounts that rows name, each once: the ids; and the names of rows that give no id.

    Names that differ by case alone are listed each: they may be those of two accounts.
    """
    ids: dict[str, str] = {}
    names: dict[str, None] = {}
    for request in requests:
        if request.account_id:
            ids.setdefault(fold(request.account_id), request.account_id)
        elif request.name:
            names[request.name] = None
    return tuple(ids.values()), tuple(names)


def first_read(wanted_ids: int, wanted_names: int) -> Literal["single", "page"]:
    """Decide how to begin: a single id is read by itself; for anything else the first page tells how many there are.

    Args:
        wanted_ids: How many distinct ids the sheet names.
        wanted_names: How many accounts it names by name only.
    """
    return "single" if (wanted_ids, wanted_names) == (1, 0) else "page"


def next_read(total: int, page_size: int, missing: int, overlap: int = 0) -> Literal["nothing", "pages", "singles"]:
    """Choose what follows the first page: the remaining pages, or one GET per missing account if those are fewer.

    At the same count pages win: they also hold the names that a mistyped one may have meant.

    Args:
        total: How many accounts the organisation has (``totalCount``).
        page_size: How many the first page held: what was asked for, or what the server gave if that was less.
        missing: Accounts of the sheet that the first page does not hold; each takes one GET.
        overlap: Accounts that a page shares with the page before it.
    """
    if not missing or total <= page_size:
        return "nothing"
    stride = page_size - min(overlap, page_size // 2)
    return "pages" if stride > 0 and -(-(total - page_size) // stride) <= missing else "singles"
