"""Tables for a terminal of any width, and for pipes: no line is too wide, and no character of a cell is lost.

Widths are worked out here, since rich crops a table whose least widths do not fit. Where a table is too wide even with
its narrowest columns, the columns that may stand ``below`` take lines of their own under the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich.console import Console
from rich.text import Text

GAP: Final = 2  # blanks between columns
_INDENT: Final = 4  # of what stands below
_LEAST: Final = 4  # columns that any cell gets


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    heading: str
    least: int = 0  # narrowest width before the table is stacked; 0: the cells are never broken
    most: int = 1_000  # widest width where the table has to be narrowed
    below: bool = False  # whether it may stand on lines of its own, under the others


def print_table(out: Console, columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> None:
    """Print a table as wide as the terminal; into a pipe, a line for each row, as wide as it is."""
    lines = table_lines(out, columns, rows, out.width if out.is_terminal else None)
    out.print(Text("\n").join(lines), soft_wrap=True)


def table_lines(
    console: Console, columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int | None
) -> list[Text]:
    """Lay a table out in lines of at most ``width`` columns; None: as wide as it is."""
    natural = [
        max([len(column.heading), *(_widest(row[index]) for row in rows)]) for index, column in enumerate(columns)
    ]
    if width is None:
        return _aligned(console, columns, rows, natural)
    widths = _fitted(columns, natural, width)
    if widths is not None:
        return _aligned(console, columns, rows, widths)
    return _stacked(console, columns, rows, natural, width)


def _widest(cell: Text) -> int:
    return max(line.cell_len for line in cell.split("\n", allow_blank=True))


def _fitted(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int] | None:
    """Widths that fit together: the narrow columns have what they need, the wide ones share the rest alike."""
    available = width - GAP * (len(columns) - 1)
    if sum(natural) <= available:
        return list(natural)
    least = [min(need, column.least or need) for column, need in zip(columns, natural, strict=True)]
    most = [min(need, column.most) if column.least else need for column, need in zip(columns, natural, strict=True)]
    if sum(least) > available:
        return None
    level = 0
    widths = least
    while True:
        level += 1
        grown = [min(max(low, level), high) for low, high in zip(least, most, strict=True)]
        if sum(grown) > available:
            break
        widths = grown
        if grown == most:
            break
    widest = max(range(len(columns)), key=lambda index: natural[index] - widths[index])
    widths[widest] = min(natural[widest], widths[widest] + available - sum(widths))
    return widths


def _stacked(
    console: Console, columns: Sequence[Column], rows: Sequence[Sequence[Text]], natural: Sequence[int], width: int
) -> list[Text]:
    """Lay out the columns that stand beside one another, and under each row the cells of the others."""
    beside = [index for index, column in enumerate(columns) if not column.below]
    widths = _widths_beside([columns[index] for index in beside], [natural[index] for index in beside], width)
    if widths is None:  # no column has room beside another
        beside, widths = [], []
    upper = [columns[index] for index in beside]
    below = [index for index in range(len(columns)) if index not in beside]
    lines = _aligned(console, upper, [], widths) if upper else []
    for row in rows:
        if upper:
            lines += _aligned(console, upper, [[row[index] for index in beside]], widths, headings=False)
        for index in below:
            lines += _indented(console, row[index], max(width - _INDENT, 2))
    return lines


def _widths_beside(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int] | None:
    """Widths of columns beside one another; None where they do not fit even with their cells broken, ids among them."""
    widths = _fitted(columns, natural, width)
    if widths is None:  # a very narrow terminal
        widths = _fitted([replace(column, least=_LEAST) for column in columns], natural, width)
    return widths


def _indented(console: Console, cell: Text, width: int) -> list[Text]:
    """The lines of a cell that stands below its row, without its blank lines."""
    return [Text(" " * _INDENT).append_text(line) for line in _wrapped(console, cell, width) if line]


def _aligned(
    console: Console,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Text]],
    widths: Sequence[int],
    *,
    headings: bool = True,
) -> list[Text]:
    """Put the cells of each row beside one another; the lines of a cell stand under its first one."""
    titles = [Text(column.heading, style="bold") for column in columns]
    lines = []
    for row in [titles, *rows] if headings else rows:
        cells = [_wrapped(console, cell, width) for cell, width in zip(row, widths, strict=True)]
        for number in range(max(map(len, cells))):
            line = Text()
            column = 0
            for cell, width in zip(cells, widths, strict=True):
                if number < len(cell) and cell[number]:
                    line.append(" " * (column - line.cell_len)).append_text(cell[number])
                column += width + GAP
            lines.append(line)
    return lines


def _wrapped(console: Console, cell: Text, width: int) -> list[Text]:
    """The lines of a cell, broken between words, and within a word that is wider than the column."""
    if "\n" not in cell.plain and cell.cell_len <= width:
        whole = cell.copy()
        whole.rstrip()
        return [whole]
    lines = list(cell.wrap(console, max(width, 2), overflow="fold"))
    for line in lines:
        line.rstrip()
    return lines
