"""Small words that the planning room shares: how text compares, how it is quoted, how rows are listed."""

from collections.abc import Iterable

from bulkid.folding import fold, looks

__all__ = ["DELIMITER_NAMES", "count_of", "fold", "listing", "looks", "quote", "row_listing"]

DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "bar": "|", "space": " "}
"""Names of the characters that separate the cells of a text sheet, as a user may give them."""

_QUOTED_LENGTH = 80
_ROWS_NAMED = 5


def quote(text: str) -> str:
    """Quote a text for a message: on one line, and shortened when a whole paragraph strayed into a cell."""
    shown = " ".join(text[: 4 * _QUOTED_LENGTH].split())
    if len(shown) > _QUOTED_LENGTH:
        shown = shown[: _QUOTED_LENGTH - 3] + "..."
    return f'"{shown}"'


def count_of(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun: ``1 group``, ``3 groups``, ``1,200 groups``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listing(items: Iterable[str], last: str = "and") -> str:
    """Join items as people do: ``a``, ``a and b``, ``a, b and c``."""
    *head, tail = items
    return f"{', '.join(head)} {last} {tail}" if head else tail


def row_listing(rows: Iterable[int], count: int) -> str:
    """Name rows: ``row 3``, ``rows 3 and 7``; only the first few of many, so that messages stay readable.

    Args:
        rows: The first rows to name; no more than a few are looked at.
        count: How many there are in all.
    """
    named = [str(row) for _, row in zip(range(_ROWS_NAMED), rows, strict=False)]
    if count > len(named):
        named.append(f"{count - len(named):,} more")
    return f"{'row' if count == 1 else 'rows'} {listing(named)}"
