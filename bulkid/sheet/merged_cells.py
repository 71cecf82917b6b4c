"""Merged cells of a worksheet: only the first cell of each is shown, so the others count as blank."""

from bisect import bisect_left
from collections.abc import Generator, Iterable, Sequence

from bulkid.sheet.error_scan import Range
from bulkid.sheet.headers import column_letters

Rows = list[tuple[str, ...]]


def overlapping(merged: Iterable[Range]) -> tuple[str, str] | None:
    """Find two merged cells that share a cell, and return their places, such as ``B2:C5``; None where none do.

    Excel calls such a file damaged and drops the merged cells, so that another text shows than in other programs. Those
    that overlap would also take time for each pair, not for each cell.
    """
    rights: list[int] = []
    latest: list[Range] = []  # the last one above in its columns, from left to right: no two share a column
    for each in sorted(merged):
        (top, left), (bottom, right) = each
        if bottom < top or right < left:  # covers nothing
            continue
        at = bisect_left(rights, left)
        while at < len(latest) and latest[at][0][1] <= right:
            if latest[at][1][0] >= top:
                return _place(latest[at]), _place(each)
            del rights[at], latest[at]
        rights.insert(at, right)
        latest.insert(at, each)
    return None


def without_covered(chunks: Iterable[Rows], first: int, merged: Sequence[Range]) -> Generator[Rows, None, None]:
    """Blank the cells that merged cells cover: a spreadsheet program does not show what they hold.

    Args:
        chunks: The texts of all rows, from row 1 on.
        first: The first column of their texts, from 0.
        merged: The merged cells, of which no two overlap.
    """
    below = sorted(merged, reverse=True)  # those that begin below the rows that were read
    begun: list[Range] = []
    above = 0
    for rows in chunks:
        end = above + len(rows)
        while below and below[-1][0][0] < end:
            begun.append(below.pop())
        yield _blanked(rows, above, first, begun) if begun else rows
        begun = [each for each in begun if each[1][0] >= end]
        above = end


def _blanked(rows: Rows, above: int, first: int, merged: Sequence[Range]) -> Rows:
    """Blank the covered cells of rows; ``above`` is how many rows stand above them."""
    width = max(map(len, rows), default=0)
    changed: dict[int, list[str]] = {}
    for (top, left), (bottom, right) in merged:
        if left - first >= width:
            continue
        for at in range(max(top - above, 0), min(bottom - above + 1, len(rows))):
            if at not in changed:
                changed[at] = list(rows[at])
            cells = changed[at]
            begin = max(left - first + (at + above == top), 0)  # the first cell of all keeps its text
            end = max(min(right - first + 1, len(cells)), begin)
            cells[begin:end] = [""] * (end - begin)
    return [tuple(changed[at]) if at in changed else cells for at, cells in enumerate(rows)]


def _place(cells: Range) -> str:
    return ":".join(f"{column_letters(column)}{row + 1}" for row, column in cells)
