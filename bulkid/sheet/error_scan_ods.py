"""What calamine does not tell of an ``.ods``: error cells, and how often it repeats its rows and cells.

A row or a cell stands for as many as it says. calamine writes them all out, of every table, as soon as it opens the
file; so their number is counted here before anything is written out.
"""

from typing import BinaryIO

from bulkid.sheet.cells import is_error
from bulkid.sheet.error_scan import MAX_AREA, MAX_COLUMNS, MAX_ROWS, Errors, ErrorScan
from bulkid.sheet.xml_parts import QuietHandler, local, parse
from bulkid.sheet.zip_archive import Archive, ScanError

_ROOM_TO_REPEAT, _REPEATS_PER_CELL = 100_000, 16  # cells that a table may show beyond those that it writes out
_CELLS = frozenset({"table-cell", "covered-table-cell"})
_MAX_SHOWN = 100  # characters kept of a cell: enough to tell an error
_MAX_DIGITS = 9  # of a number of repeats


def scan_ods(stream: BinaryIO) -> dict[str, ErrorScan]:
    """Look through all tables of an ``.ods``.

    Raises:
        ScanError, zipfile.BadZipFile, zlib.error, expat.ExpatError, OSError, ValueError: The file is not as it should
            be.
    """
    with Archive(stream) as archive:
        tables = _Tables()
        parse(archive.blocks("content.xml"), tables)
        return tables.found


class _Tables(QuietHandler):
    """Follows the cells of all tables."""

    def __init__(self) -> None:
        self.found: dict[str, ErrorScan] = {}
        self._table: str | None = None
        self._errors: Errors = {}
        self._row = self._rows = self._width = self._area = self._held = self._written = self._shown = 0
        self._cells: list[tuple[int, bool, str]] = []  # of the row: how many, whether they hold something, and what
        self._columns = self._texts = self._annotations = 0
        self._filled = False
        self._value = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = local(name)
        if name == "table":
            self._start_table(attributes.get("table:name", ""))
        elif self._table is None:
            return
        elif name == "table-row":
            self._rows = _times(attributes.get("table:number-rows-repeated", "1"))
            self._cells = []
        elif name in _CELLS:
            self._columns = _times(attributes.get("table:number-columns-repeated", "1"))
            self._filled = any(key.startswith("office:") or key == "table:formula" for key in attributes)
            self._value = ""
        elif name == "p":
            self._texts += 1
        elif name == "annotation":
            self._annotations += 1

    def _start_table(self, name: str) -> None:
        if self._table is not None or name in self.found:
            raise ScanError("a table of it lies within another, or has the same name")
        self._table = name
        self._errors = {}
        self._row = self._width = self._area = self._held = self._written = self._shown = 0

    def text(self, data: str) -> None:
        if self._texts and not self._annotations and self._table is not None:
            self._filled = True
            if len(self._value) < _MAX_SHOWN:
                self._value += data[:_MAX_SHOWN]

    def unusual(self, *_: object) -> None:
        if self._texts and self._table is not None:  # calamine leaves out what stands there
            raise ScanError("the value of a cell is written with a comment or a CDATA section")

    def end(self, name: str) -> None:
        name = local(name)
        if self._table is None:
            return
        if name == "table":
            self.found[self._table] = ErrorScan(self._errors, self._area)
            self._table = None
        elif name == "table-row":
            self._end_row()
        elif name in _CELLS:
            self._cells.append((self._columns, self._filled, self._value.strip()))
        elif name == "p":
            self._texts -= 1
        elif name == "annotation":
            self._annotations -= 1

    def _end_row(self) -> None:
        while self._cells and not self._cells[-1][1]:
            self._cells.pop()  # blank cells at a row's end stand for nothing
        if self._cells:
            self._count()
            column = 0
            for columns, _, shown in self._cells:
                if is_error(shown) and self._area <= MAX_AREA:
                    for row in range(self._row + 1, self._row + self._rows + 1):
                        self._errors.setdefault(row, {}).update(dict.fromkeys(range(column, column + columns), shown))
                column += columns
        self._row += self._rows

    def _count(self) -> None:
        """Count what calamine makes of the row, before it is written out."""
        width = sum(columns for columns, _, _ in self._cells)
        shown = sum(columns for columns, filled, _ in self._cells if filled)
        self._written += sum(filled for _, filled, _ in self._cells)
        self._shown += shown * self._rows
        self._held += width
        self._width = max(self._width, width)
        self._area = max((self._row + self._rows) * self._width, self._held)
        if width > MAX_COLUMNS or self._row + self._rows > MAX_ROWS:
            raise ScanError(
                f"it has a cell in row {self._row + self._rows}, column {width}, where no spreadsheet has one"
            )
        if self._shown - self._written > _ROOM_TO_REPEAT + _REPEATS_PER_CELL * self._written:
            raise ScanError(
                f"it has {self._written:,} cells that stand for {self._shown:,}, more than any honest sheet repeats"
            )


def _times(text: str) -> int:
    """Read how often a row or a cell is repeated."""
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_DIGITS:
        raise ScanError(f"it repeats a row or a cell {text[:20]!r} times")
    return int(text)
