"""What calamine does not tell of a spreadsheet: error cells, formulas without a value, and how far the cells spread.

calamine hands out ``#N/A`` as an empty text (python-calamine issue 105), and so it does a formula that has never been
calculated. To bulkid a blank cell means "leave as it is", so both must be found, or a broken lookup would pass for a
wish. calamine also lays a worksheet out as one rectangle: a stray cell in XFD1048576 would ask for 550 GB and end the
process. Both are looked up in the file itself before calamine reads it: first by a quick search through the bytes, and
only where that finds something, by reading the XML.

The binary formats have a module of their own (``prescan_binary``).
"""

import posixpath
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, BinaryIO, Protocol
from xml.parsers import expat

from bulkid.sheet.cells import NOT_CALCULATED, is_error

Errors = dict[int, dict[int, str]]
"""Row (from 1) and column (from 0, A) to the text that the cell shows."""

MAX_AREA = 20_000_000
"""Cells that a worksheet may spread over; calamine takes about 30 bytes for each, empty or not."""

_BLOCK = 1 << 20
_OVERLAP = 256  # bytes carried over to the next block, so that no pattern is cut in two
_USUAL_BOOKS = ("xl/workbook.xml", "xl/workbook.bin")
_MAX_REPEATS = 100_000  # an ODS cell may claim to stand for any number of cells

# Patterns that begin with a plain text are found five times as fast as those that do not.
_COLUMNS = re.compile(rb"""r=["']([A-Za-z]{1,3})[0-9]""")
_ROWS = re.compile(rb"""row [^>]*?r=["']([0-9]{1,7})""")
_CELL_ROWS = re.compile(rb"""r=["'][A-Za-z]{1,3}([0-9]{1,7})""")
_XLSX_TELLTALES = (b't="e"', b"t='e'", b"<f>", b"<f ", b"<f/", b":f>", b":f ", b":f/")
_ODS_TELLTALE = re.compile(rb'"error"|>\s*#|>\s*Err:5')


class ScanError(Exception):
    """The file does not have the parts that its format asks for."""


@dataclass(frozen=True, slots=True)
class Prescan:
    """What was found in one worksheet.

    Args:
        errors: Error cells, and formulas without a value.
        area: Cells in the rectangle from A1 that holds all cells, as far as the format lets it be seen early.
    """

    errors: Mapping[int, Mapping[int, str]] = field(default_factory=dict)
    area: int = 0


def scan_xlsx(stream: BinaryIO, sheet: str) -> Prescan:
    """Look through one worksheet of an ``.xlsx`` or ``.xlsm``.

    Raises:
        ScanError, zipfile.BadZipFile, expat.ExpatError, OSError, ValueError: The file is not as it should be.
    """
    with zipfile.ZipFile(stream) as archive:
        parts = part_names(archive)
        book = main_part(archive, parts)
        collected = _Sheets()
        _parse(archive, parts.get(book, ""), collected)
        target = part_of(archive, parts, book, collected.ids.get(sheet, ""))
        columns: set[bytes] = set()
        rows = 0
        telling = False
        for block in _blocks(archive, target):
            columns.update(_COLUMNS.findall(block))
            rows = max(rows, 0, *map(int, _ROWS.findall(block)), *map(int, _CELL_ROWS.findall(block)))
            telling = telling or any(each in block for each in _XLSX_TELLTALES)
        # Cells that have a format but no value are counted here, though calamine passes over them.
        area = rows * max((column_index(column.decode("ascii")) + 1 for column in columns), default=0)
        if rows and area <= MAX_AREA and not telling:
            return Prescan(area=area)
        cells = _XlsxCells()
        _parse(archive, target, cells)
        return Prescan(cells.errors, cells.last_row * (cells.last_column + 1))


def scan_ods(stream: BinaryIO, sheet: str) -> Prescan:
    """Look through one table of an ``.ods``. Its area is left to calamine, which has a limit of its own for ODS.

    Raises:
        ScanError, zipfile.BadZipFile, expat.ExpatError, OSError, ValueError: The file is not as it should be.
    """
    with zipfile.ZipFile(stream) as archive:
        target = part_names(archive).get("content.xml", "")
        if not any(_ODS_TELLTALE.search(block) for block in _blocks(archive, target)):
            return Prescan()
        cells = _OdsCells(sheet)
        _parse(archive, target, cells)
        return Prescan(cells.errors)


def check_xml(archive: zipfile.ZipFile, part: str) -> None:
    """See that a part is whole XML, whatever it says: calamine reads a cut ``content.xml`` without ever ending.

    Raises:
        ScanError, zipfile.BadZipFile, expat.ExpatError, OSError, ValueError: It is not.
    """
    _parse(archive, part, None)


def column_index(letters: str) -> int:
    """Return a column's number from 0: A is 0, AA is 26."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def part_names(archive: zipfile.ZipFile) -> dict[str, str]:
    """Map the parts of an archive from their names as they should be to those that they have (case, backslashes)."""
    return {name.replace("\\", "/").lower(): name for name in archive.namelist()}


def main_part(archive: zipfile.ZipFile, parts: Mapping[str, str]) -> str:
    """Find the workbook in an archive, as a key of ``parts``; ``""`` when it is no Excel format."""
    if "_rels/.rels" in parts:
        relations = _Relations()
        _parse(archive, parts["_rels/.rels"], relations)
        for identity, kind in relations.kinds.items():
            if kind.endswith("/officeDocument"):
                return _resolved("", relations.targets[identity])
    return next((part for part in _USUAL_BOOKS if part in parts), "")


def part_of(archive: zipfile.ZipFile, parts: Mapping[str, str], book: str, relation_id: str) -> str:
    """Find the part that a relation of the workbook points to."""
    folder, name = posixpath.split(book)
    relations = _Relations()
    _parse(archive, parts.get(posixpath.join(folder, "_rels", f"{name}.rels"), ""), relations)
    target = relations.targets.get(relation_id, "")
    part = parts.get(_resolved(folder, target))
    if not target or part is None:
        raise ScanError("the part that holds the worksheet is missing")
    return part


def _resolved(folder: str, target: str) -> str:
    path = target.replace("\\", "/")
    absolute = path.lstrip("/") if path.startswith("/") else posixpath.normpath(posixpath.join(folder, path))
    return absolute.lower()


# --- XML


class _Handler(Protocol):
    def start(self, name: str, attributes: dict[str, str]) -> None: ...
    def end(self, name: str) -> None: ...
    def text(self, data: str) -> None: ...


class _Quiet:
    """A handler that only looks at the start of elements."""

    def end(self, name: str) -> None: ...

    def text(self, data: str) -> None: ...


class _Sheets(_Quiet):
    def __init__(self) -> None:
        self.ids: dict[str, str] = {}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if _local(name) == "sheet" and "name" in attributes:
            self.ids[attributes["name"]] = next(
                (value for key, value in attributes.items() if key.endswith(":id")), attributes.get("id", "")
            )


class _Relations(_Quiet):
    def __init__(self) -> None:
        self.targets: dict[str, str] = {}
        self.kinds: dict[str, str] = {}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if _local(name) == "Relationship":
            identity = attributes.get("Id", "")
            self.targets[identity] = attributes.get("Target", "")
            self.kinds[identity] = attributes.get("Type", "")


class _XlsxCells:
    """Follows the cells of a worksheet; positions may be left out, then they count on."""

    def __init__(self) -> None:
        self.errors: Errors = {}
        self.last_row = 0
        self.last_column = -1
        self._row = 0
        self._column = -1
        self._kind = ""
        self._formula = False
        self._in_value = False
        self._value = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = _local(name)
        if name == "c":
            self._start_cell(attributes)
        elif name == "row":
            self._row = int(attributes.get("r", self._row + 1))
            self._column = -1
        elif name == "f":
            self._formula = True
        elif name in {"v", "t"}:
            self._in_value = True

    def _start_cell(self, attributes: dict[str, str]) -> None:
        place = attributes.get("r", "")
        letters = place.rstrip("0123456789")
        self._column = column_index(letters) if letters else self._column + 1
        if letters and place != letters:
            self._row = int(place[len(letters) :])
        self._kind = attributes.get("t", "")
        self._formula = False
        self._value = ""

    def text(self, data: str) -> None:
        if self._in_value:
            self._value += data

    def end(self, name: str) -> None:
        name = _local(name)
        if name in {"v", "t"}:
            self._in_value = False
        elif name == "c":
            if self._value or self._kind == "e":
                self.last_row = max(self.last_row, self._row)
                self.last_column = max(self.last_column, self._column)
            if self._kind == "e":
                self.errors.setdefault(self._row, {})[self._column] = self._value.strip() or "#N/A"
            elif self._formula and self._kind != "str" and not self._value.strip():
                self.errors.setdefault(self._row, {})[self._column] = NOT_CALCULATED


class _OdsCells:
    """Follows the cells of one table; rows and cells may stand for several."""

    def __init__(self, table: str) -> None:
        self.errors: Errors = {}
        self._table = table
        self._inside = False
        self._row = 1
        self._rows = 1
        self._column = 0
        self._columns = 1
        self._texts = 0
        self._value = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = _local(name)
        if name == "table":
            self._inside = attributes.get("table:name", "") == self._table
        elif not self._inside:
            return
        elif name == "table-row":
            self._rows = int(attributes.get("table:number-rows-repeated", 1))
            self._column = 0
        elif name in {"table-cell", "covered-table-cell"}:
            self._columns = int(attributes.get("table:number-columns-repeated", 1))
            self._value = ""
        elif name == "p":
            self._texts += 1

    def text(self, data: str) -> None:
        if self._texts:
            self._value += data

    def end(self, name: str) -> None:
        name = _local(name)
        if name == "table":
            self._inside = False
        elif not self._inside:
            return
        elif name == "table-row":
            self._row += self._rows
        elif name in {"table-cell", "covered-table-cell"}:
            self._end_cell()
        elif name == "p":
            self._texts -= 1

    def _end_cell(self) -> None:
        shown = self._value.strip()
        if is_error(shown):
            for row in range(self._row, self._row + min(self._rows, _MAX_REPEATS)):
                cells = self.errors.setdefault(row, {})
                for column in range(self._column, self._column + min(self._columns, _MAX_REPEATS // self._rows + 1)):
                    cells[column] = shown
        self._column += self._columns


def _parse(archive: zipfile.ZipFile, part: str, handler: _Handler | None) -> None:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    if handler is not None:
        parser.StartElementHandler = handler.start
        parser.EndElementHandler = handler.end
        parser.CharacterDataHandler = handler.text
    with _opened(archive, part) as stream:
        while block := stream.read(_BLOCK):
            parser.Parse(block, False)  # noqa: FBT003 - the parser takes it by position only
        parser.Parse(b"", True)  # noqa: FBT003


def _refuse_doctype(*_: object) -> None:
    raise ScanError("it declares a document type, which no spreadsheet needs")


def _local(name: str) -> str:
    """Drop the prefix of an element's name; most files have none, and this is asked for every element."""
    return name.rpartition(":")[2] if ":" in name else name


def _blocks(archive: zipfile.ZipFile, part: str) -> Iterator[bytes]:
    with _opened(archive, part) as stream:
        tail = b""
        while block := stream.read(_BLOCK):
            yield tail + block
            tail = block[-_OVERLAP:]


def _opened(archive: zipfile.ZipFile, part: str) -> IO[bytes]:
    if not part:
        raise ScanError("a part of it is missing")
    return archive.open(part)
