"""What calamine does not report of a workbook of XML: error cells, formulas without a value, and how far it spreads.

calamine returns an empty text for ``#N/A`` (python-calamine issue 105), and for a formula that was never calculated. A
blank cell means "leave as it is", so the scan must find both, or a broken lookup would pass for a requested change.
calamine also lays a worksheet out as one rectangle, copies a shared string for each cell that shows it, and repeats the
cells of an ODS as often as the file says: 1 KB can ask for 550 GB. The scan refuses such files before calamine reads
them.

A quick search through the bytes of a worksheet can only prove that it is harmless: every cell is spelled as spreadsheet
programs spell it. Any other worksheet is parsed. :mod:`bulkid.sheet.error_scan_binary` scans the binary formats.
"""

import posixpath
import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from bulkid.sheet.archive_parts import Archive, Handler, ScanError, first_element, local, parse, without_declaration
from bulkid.sheet.cells import NOT_CALCULATED

Errors = dict[int, dict[int, str]]
"""Row (from 1) and column (from 0, A) to the text that the cell shows."""

Range = tuple[tuple[int, int], tuple[int, int]]
"""The first and the last cell of an area, each as row and column, from 0."""

MAX_AREA = 20_000_000
"""Places that the cells of a worksheet may spread over; calamine takes about 30 bytes for each, empty or not."""

_ROOM_TO_SPREAD, _PLACES_PER_CELL = 4_000_000, 4  # places that any cells may spread over, and more for each cell
MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384
"""The size of a worksheet in Excel and LibreOffice."""

MAX_TEXT = 512 << 20
"""Characters that all cells of a worksheet may hold together; cells share texts in the file, but not in memory."""

_BINARY_BOOK = "xl/workbook.bin"
MAX_MERGED = 1_000_000  # merged ranges; calamine gives each as four numbers of Python
_MAX_SHOWN = 100  # characters kept of a cell: enough to recognise an error
_USUAL_BOOKS = ("xl/workbook.xml", _BINARY_BOOK)
_LEAST_CELL, _LEAST_STRING = 20, 5  # bytes: <c t="s"><v>0</v></c> and <si/>

_CELL = re.compile(
    rb'<c r="([A-Z]{1,3}[1-9][0-9]{0,6})"(?: s="[0-9]{1,9}")?'
    rb'(?:(?: t="(?:n|str|b|inlineStr)")?(?: s="[0-9]{1,9}")?/?>'
    rb'| t="s"(?: s="[0-9]{1,9}")?(?:/>|>(?:<v>[0-9]{1,9})?</))'
)
"""A cell as spreadsheet programs begin it; one with an error is not among these.

calamine takes the first shared string where the number of one is not plain digits.
"""
_TRUE = frozenset({"1", "true"})
_SHARED = re.compile(r"[0-9]{1,9}")
_OTHER_SPELLING = re.compile(rb"<(?:c[\t\r\n/>]|v[ \t\r\n/]|f[ \t\r\n/>])|:[cfv][ \t\r\n/>]")
"""Cells and values in another spelling, and formulas in any."""
_REFERENCE_IN_VALUE = re.compile(rb"<v>[^<&]*&")
_DIGITS, _LETTERS = b"0123456789", bytes(range(ord("A"), ord("Z") + 1))
_PLACE = re.compile(r"([A-Za-z]{1,3})([0-9]{1,7})")


@dataclass(frozen=True, slots=True)
class ErrorScan:
    """The findings in one worksheet."""

    errors: Mapping[int, Mapping[int, str]] = field(default_factory=dict)  # formulas without a value among them
    area: int = 0  # cells in the rectangle from A1 that holds all cells, or more
    text: int = 0  # characters that the cells hold together, as far as they share them in the file
    merged: bool = False  # whether it has merged cells, where calamine does not say so
    ranges: Sequence[Range] = ()  # the merged cells, where calamine does not give them
    cells: int = 0  # that hold something, or more
    declared: int = 0  # places that an .xls declares: calamine makes room for them, and does not fill it
    is_indented: bool = False  # of an .ods: white space stands between the tags of its table


def largest_area(cells: int) -> int:
    """How many places so many cells may spread over: a few cells far from the others take as much memory as many."""
    return min(MAX_AREA, _ROOM_TO_SPREAD + _PLACES_PER_CELL * cells)


# --- xlsx


def check_shared_strings(archive: Archive) -> int:
    """Check the number of shared strings that an ``.xlsx`` declares: calamine allocates memory for them.

    Returns:
        The length of the longest, or more.
    """
    longest = 0
    for part in _shared_strings(archive):
        name, attributes = first_element(archive.blocks(part))
        declared = attributes.get("uniqueCount", "0").strip()
        most = archive.size(part) // _LEAST_STRING
        if local(name) != "sst":
            raise ScanError("its table of shared strings is none")
        if not declared.isdecimal() or len(declared) > len(str(most)) or int(declared) > most:
            raise ScanError("it declares more shared strings than it can hold")
        bound = _bound_of_strings(archive, part)
        longest = max(longest, max(_lengths(archive, [part]), default=0) if bound is None else bound)
    return longest


def _bound_of_strings(archive: Archive, part: str) -> int | None:
    """An upper bound for the longest shared string, in bytes; None where the table has an unusual spelling."""
    longest = length = 0
    for inside in without_declaration(archive.blocks(part), b"<si>"):
        if (
            b"<!" in inside
            or b"<?" in inside
            or b":si" in inside
            or inside.count(b"<si") != inside.count(b"<si>") + inside.count(b"<si/>")
        ):
            return None
        first, *others = pieces = inside.split(b"</si>")
        if b"<si>" in pieces[-1] or any(each.count(b"<si>") > 1 for each in pieces):
            return None  # one within another
        longest = max(longest, length + len(first), *map(len, others), 0)
        length = len(others[-1]) if others else length + len(first)
    return longest


def scan_xlsx(stream: BinaryIO, sheet: str, longest: int | None = None) -> ErrorScan:
    """Scan one worksheet of an ``.xlsx`` or ``.xlsm``.

    ``longest`` is the result of :func:`check_shared_strings`, where it is known.

    Raises:
        ScanError, zipfile.BadZipFile, zlib.error, expat.ExpatError, OSError, ValueError: The file is damaged.
    """
    with Archive(stream) as archive:
        book = main_part(archive)
        sheets = [each for each in _elements(archive, book, "sheet") if "name" in each]
        found = _unique(sheets, "name", "two of its worksheets have the same name").get(sheet, {})
        relations = [value for key, value in found.items() if local(key) == "id"]
        if len(relations) > 1:
            raise ScanError("it says twice which part holds the worksheet")
        relation = "".join(relations)
        target = part_of(archive, book, relation)
        longest = check_shared_strings(archive) if longest is None else longest
        harmless = _search_quickly(archive, target, longest)
        if harmless is not None:
            return harmless
        counts_later = any(each.get("fullCalcOnLoad") in _TRUE for each in _elements(archive, book, "calcPr"))
        few = archive.size(target) // _LEAST_CELL * longest <= MAX_TEXT
        lengths = array("I") if few else _lengths(archive, _shared_strings(archive))
        cells = _XlsxCells(lengths, counts_later=counts_later)
        parse(archive.blocks(target), cells)
        area = cells.last_row * (cells.last_column + 1)
        return ErrorScan(cells.errors, area, cells.characters, cells=cells.filled)


_LARGEST_BOOK = 1 << 20  # bytes of a workbook's list of worksheets


def worksheet_names(stream: BinaryIO) -> list[str]:
    """Return the names of the worksheets of an ``.xlsx`` or ``.xlsm``; none where their list is unusually long.

    Raises:
        ScanError, zipfile.BadZipFile, zlib.error, expat.ExpatError, OSError, ValueError: The file is damaged.
    """
    with Archive(stream) as archive:
        book = main_part(archive)
        if not book or archive.size(book) > _LARGEST_BOOK:
            return []
        return [each["name"] for each in _elements(archive, book, "sheet") if "name" in each]


def _search_quickly(archive: Archive, target: str, longest: int) -> ErrorScan | None:
    """Search the bytes of a worksheet for anything unusual; None where there may be something: then it is parsed."""
    columns: set[bytes] = set()
    rows = cells = shared = merged = tables = 0
    for inside in without_declaration(archive.blocks(target), b"<c "):
        found = _CELL.findall(inside)
        if len(found) != inside.count(b"<c ") or _is_unusual(inside):
            return None
        if found:
            places = b" ".join(found)
            columns.update(places.translate(None, _DIGITS).split())
            rows = max(rows, *map(int, places.translate(None, _LETTERS).split()))
        cells += len(found)
        shared += inside.count(b' t="s"')
        merged += inside.count(b"mergeCell")
        tables += inside.count(b"sheetData")
    # Cells that have a format but no value are counted here, though calamine passes over them.
    width = max((column_index(column.decode("ascii")) + 1 for column in columns), default=0)
    if rows > MAX_ROWS or width > MAX_COLUMNS or tables > 2:  # noqa: PLR2004 - its start and its end
        return None
    if max(rows * width, cells) > largest_area(cells) or shared * longest > MAX_TEXT or merged > MAX_MERGED:
        return None
    return ErrorScan(area=rows * width, cells=cells)


def _is_unusual(inside: bytes) -> bool:
    """Whether a part of a worksheet may hold a cell, a value or a formula that is not spelled as usual.

    What is searched for first is all but absent among the rows, and found much faster than a pattern.
    """
    if b"<!" in inside or b"<?" in inside or b"\0" in inside:
        return True
    if inside.count(b"<v>") != inside.count(b'"><v>'):  # a value that is not the first thing in its cell
        return True
    if b"&" in inside and _REFERENCE_IN_VALUE.search(inside):
        return True
    if (
        inside.count(b"<c") == inside.count(b"<c ")
        and inside.count(b"<v") == inside.count(b"<v>")
        and not any(each in inside for each in (b"<f", b":c", b":v", b":f"))
    ):
        return False
    return bool(_OTHER_SPELLING.search(inside))


def column_index(letters: str) -> int:
    """Return a column's number from 0: A is 0, AA is 26."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def main_part(archive: Archive) -> str:
    """Find the workbook in an archive; ``""`` when it is no Excel format."""
    if "_rels/.rels" in archive.parts:
        relations = _relations(archive, "_rels/.rels").values()
        found = [each for each in relations if each.get("Type", "").endswith("/officeDocument")]
        if len(found) > 1:
            raise ScanError("it says twice which part is the workbook")
        if found:
            book = _resolved("", found[0].get("Target", ""))
            # calamine reads these, whatever the archive says.
            if posixpath.basename(book) != "workbook.xml" and book != _BINARY_BOOK:
                raise ScanError("its workbook has another name than workbook.xml")
            return book
    return next((part for part in _USUAL_BOOKS if part in archive.parts), "")


def part_of(archive: Archive, book: str, relation_id: str) -> str:
    """Find the part that a relation of the workbook points to."""
    folder, name = posixpath.split(book)
    relations = _relations(archive, posixpath.join(folder, "_rels", f"{name}.rels"))
    target = relations.get(relation_id, {}).get("Target", "")
    part = _resolved(folder, target)
    if not target or part not in archive.parts:
        raise ScanError("the part that holds the worksheet is missing")
    return part


def _resolved(folder: str, target: str) -> str:
    path = target.replace("\\", "/")
    absolute = path.lstrip("/") if path.startswith("/") else posixpath.normpath(posixpath.join(folder, path))
    return absolute.lower()


def _shared_strings(archive: Archive) -> list[str]:
    """All parts of that name: which one calamine reads depends on the place of the workbook."""
    return sorted(part for part in archive.parts if posixpath.basename(part) == "sharedstrings.xml")


def _lengths(archive: Archive, parts: Sequence[str]) -> "array[int]":
    """The length of each shared string; of several tables the longer one at each place."""
    lengths = array("I")
    for part in parts:
        strings = _Strings()
        parse(archive.blocks(part), strings)
        lengths.extend([0] * (len(strings.lengths) - len(lengths)))
        for at, length in enumerate(strings.lengths):
            lengths[at] = max(lengths[at], length)
    return lengths


class _Elements(Handler):
    """Collects the attributes of all elements of one name."""

    def __init__(self, name: str) -> None:
        self.found: list[dict[str, str]] = []
        self._name = name

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if local(name) == self._name:
            self.found.append(attributes)


def _elements(archive: Archive, part: str, name: str) -> list[dict[str, str]]:
    elements = _Elements(name)
    parse(archive.blocks(part), elements)
    return elements.found


def _relations(archive: Archive, part: str) -> dict[str, dict[str, str]]:
    return _unique(_elements(archive, part, "Relationship"), "Id", "two of its relations have the same id")


def _unique(elements: list[dict[str, str]], key: str, refusal: str) -> dict[str, dict[str, str]]:
    """The elements by an attribute that no two of them may share."""
    found = {each.get(key, ""): each for each in elements}
    if len(found) < len(elements):
        raise ScanError(refusal)
    return found


class _Strings(Handler):
    """Measures the shared strings."""

    def __init__(self) -> None:
        self.lengths = array("I")
        self._length = 0
        self._in_text = self._in_string = False

    def start(self, name: str, _: dict[str, str]) -> None:
        name = local(name)
        if name == "si":
            if self._in_string:
                raise ScanError("a shared text of it lies within another")
            self._in_string = True
            self._length = 0
        elif name == "t":
            self._in_text = True

    def text(self, data: str) -> None:
        if self._in_text:
            self._length += len(data)

    def end(self, name: str) -> None:
        name = local(name)
        if name == "t":
            self._in_text = False
        elif name == "si":
            self._in_string = False
            self.lengths.append(self._length)

    def unusual(self, *_: object) -> None:
        if self._in_text:
            raise ScanError("a text of it is written with a comment or a CDATA section")


class _XlsxCells(Handler):
    """Follows the cells of a worksheet as calamine does: a cell without a position is the next one.

    Args:
        lengths: Those of the shared strings; empty where they need not be added up.
        counts_later: Whether the program that wrote the file left it to the next one to calculate the formulas. It may
            have written 0 for each, as XlsxWriter does (and so pandas).
    """

    def __init__(self, lengths: "array[int]", *, counts_later: bool) -> None:
        self.errors: Errors = {}
        self.last_row = 0
        self.last_column = -1
        self.filled = 0  # cells that hold something
        self.characters = 0
        self._lengths = lengths
        self._counts_later = counts_later
        self._tables = self._merged = 0
        self._inside = self._in_cell = False
        self._in_row = False
        self._next_row = 1  # of a cell that does not say it
        self._row = 0
        self._column = -1
        self._kind = ""
        self._formula = self._in_value = self._holds = False
        self._values = self._begin = self._size = 0
        self._value = ""
        self._position: Callable[[], int] = int

    def begin(self, position: Callable[[], int]) -> None:
        self._position = position

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = local(name)
        if not self._inside:
            self._start_outside(name)
        elif name == "c":
            self._start_cell(attributes)
        elif name == "row":
            self._start_row(attributes)
        elif name == "f":
            self._formula = True
        elif name in {"v", "t"}:
            self._in_value = True
            self._size = 0
            self._values += name == "v"
            self._holds = True
        elif name == "is":
            self._holds = True

    def _start_outside(self, name: str) -> None:
        if name == "sheetData":
            self._tables += 1
            self._inside = True
        elif name == "mergeCell":
            self._merged += 1
        if self._tables > 1 or self._merged > MAX_MERGED:
            raise ScanError("it has more than one table of cells, or too many merged cells")

    def _start_row(self, attributes: dict[str, str]) -> None:
        if self._in_row:
            raise ScanError("a row of it lies within another")
        self._in_row = True
        self._next_row = _number(attributes.get("r", str(self._next_row)), MAX_ROWS)
        self._column = -1

    def _start_cell(self, attributes: dict[str, str]) -> None:
        if self._in_cell or not self._in_row:
            raise ScanError("a cell of it lies within another, or in no row")
        self._in_cell = True
        place = attributes.get("r")
        if place is None:
            self._column += 1
            self._row = self._next_row
        elif found := _PLACE.fullmatch(place):
            self._column = column_index(found[1])
            self._row = _number(found[2], MAX_ROWS)
        else:
            raise no_such_cell(f"at {place[:20]!r}")
        if self._column >= MAX_COLUMNS or not self._row:
            raise no_such_cell(f"in row {self._row}, column {self._column + 1}")
        self._kind = attributes.get("t", "")
        self._formula = self._holds = False
        self._values = 0
        self._value = ""

    def text(self, data: str) -> None:
        if self._in_value:
            if not self._size:
                self._begin = self._position()
            self._size += len(data.encode())
            if len(self._value) < _MAX_SHOWN:
                self._value += data[:_MAX_SHOWN]

    def unusual(self, *_: object) -> None:
        if self._in_value:  # calamine leaves out what stands there, or after it
            raise ScanError("the value of a cell is written with a comment or a CDATA section")

    def end(self, name: str) -> None:
        name = local(name)
        if name in {"v", "t"}:
            self._in_value = False
            plain = not self._size or self._position() - self._begin == self._size
            if name == "v" and not plain and self._kind in {"", "s", "n", "b", "e"}:  # calamine takes the first piece
                raise ScanError("the value of a cell is written with character references")
        elif name == "sheetData":
            self._inside = False
        elif name == "row" and self._inside:
            self._in_row = False
            self._next_row += 1
        elif name == "c" and self._inside:
            self._end_cell()

    def _end_cell(self) -> None:
        self._in_cell = False
        if self._values > 1:
            raise ScanError("a cell of it has two values")
        if self._holds or self._kind == "e":
            self.filled += 1
            self.last_row = max(self.last_row, self._row)
            self.last_column = max(self.last_column, self._column)
        if self._kind == "e":
            self.errors.setdefault(self._row, {})[self._column] = self._value.strip() or "#N/A"
        elif self._formula and self._is_not_calculated():
            self.errors.setdefault(self._row, {})[self._column] = NOT_CALCULATED
        elif self._kind == "s" and self._values and self._value:
            if not _SHARED.fullmatch(self._value):
                raise ScanError("a cell of it names a shared text by something else than a number")
            at = int(self._value)
            self.characters += self._lengths[at] if at < len(self._lengths) else 0

    def _is_not_calculated(self) -> bool:
        value = self._value.strip()
        if not value:
            return self._kind != "str" or not self._values
        return self._counts_later and value == "0" and self._kind in {"", "n"}


def _number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(most)) or int(text) > most:
        raise no_such_cell(f"at {text[:20]!r}")
    return int(text)


def no_such_cell(place: str) -> ScanError:
    """The error for a cell beyond the limits of a worksheet."""
    return ScanError(f"it has a cell {place}, where no spreadsheet has one")
