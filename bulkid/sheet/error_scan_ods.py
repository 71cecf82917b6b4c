"""What calamine does not report of an ``.ods`` (see :mod:`bulkid.sheet.error_scan`).

A row or a cell is repeated as often as it says. calamine writes all of them out, of every table, as soon as it opens
the file; so the scan counts them first. It also corrects cells whose text calamine does not give as it is shown.

Gnumeric and SheetJS indent their XML. calamine refuses white space between two cells, and takes that between a cell and
its paragraph for a part of the text; so it gets such a file without it.
"""

import io
import re
import zipfile
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

from bulkid.sheet.archive_parts import Archive, Handler, ScanError, parse, without_declaration
from bulkid.sheet.cells import NOT_CALCULATED, is_error
from bulkid.sheet.error_scan import MAX_AREA, MAX_COLUMNS, MAX_ROWS, Errors, ErrorScan, no_such_cell

_ROOM_TO_REPEAT, _REPEATS_PER_CELL = 100_000, 16  # cells that a table may show beyond those that it writes out
_COVERED = "table:covered-table-cell"  # by a merged cell: what it holds is not shown
_CELLS = frozenset({"table:table-cell", _COVERED})
_MAX_DIGITS = 9  # of a number of repeats
_MAX_SPACES = 10_000  # that one element stands for
_SPACES = {f"urn:oasis:names:tc:opendocument:xmlns:{prefix}:1.0": prefix for prefix in ("office", "table", "text")}
"""The prefixes that every program gives to these namespaces; calamine knows no others."""
_VALUES = frozenset(f"office:{kind}" for kind in ("value", "date-value", "time-value", "boolean-value", "string-value"))
_TIME_OF_DAY = re.compile(r"PT(?:[01]\d|2[0-3])H\d\dM\d\d(?:\.\d+)?S")
"""The values of the type ``time`` that calamine reads as a time. It gives others as they are: ``PT30H05M00S``."""
_BREAKS = {"text:tab": "\t", "text:line-break": "\n"}
_CONTENT = "content.xml"
_OTHER_PARTS = ("mimetype", "META-INF/manifest.xml")  # that calamine reads
_WHITE = " \t\r\n"  # of XML
_INDENT = re.compile(rb"<(/?)text:[ph](?=[ \t\r\n/>])[^<>]*>|(?<=>)[ \t\r\n]+(?=<|\Z)")
"""White space between two tags; and the tags of paragraphs, where it belongs to the text."""


def scan_ods(stream: BinaryIO) -> dict[str, ErrorScan]:
    """Scan all tables of an ``.ods``; raises as :func:`scan_xlsx`."""
    with Archive(stream) as archive:
        tables = _Tables()
        parse(archive.blocks(_CONTENT), tables)
        return tables.found


def without_indents(stream: BinaryIO) -> BinaryIO:
    """Copy what calamine reads of an ``.ods``, without the white space that stands outside of texts.

    One that has a comment, in which anything may stand, is returned as it is.
    """
    copy = io.BytesIO()
    with Archive(stream) as archive, zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as parts:
        for part in _OTHER_PARTS:
            parts.writestr(part, archive.read(part.lower()))
        depth = 0  # of paragraphs

        def kept(found: "re.Match[bytes]") -> bytes:
            nonlocal depth
            piece = found[0]
            if found[1] is None:
                return piece if depth else b""
            depth += -1 if found[1] else not piece.endswith(b"/>")
            return piece

        with parts.open(_CONTENT, "w") as content:
            for block in without_declaration(archive.blocks(_CONTENT), b"<"):
                if b"<!" in block or b"<?" in block:
                    return stream
                content.write(_INDENT.sub(kept, block))
    return copy


class _OdsCell(NamedTuple):
    """What a cell stands for."""

    columns: int
    filled: bool  # it holds something, be it a formula alone
    text: str | None  # what it shows, where calamine gives something else
    characters: int


class _Tables(Handler):
    """Follows the cells of all tables."""

    def __init__(self) -> None:
        self.found: dict[str, ErrorScan] = {}
        self._table: str | None = None
        self._errors: Errors = {}
        self._row = self._rows = self._width = self._area = self._held = self._written = self._shown = 0
        self._characters = 0
        self._is_merged = False
        self._cells: list[_OdsCell] = []  # of the row
        self._columns = self._paragraphs = self._texts = self._annotations = self._shapes = 0
        self._filled = self._is_read_wrong = self._is_shown = self._is_indented = False
        self._attributes: dict[str, str] = {}
        self._value: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        _require_usual_prefixes(attributes)
        if name == "table:table":
            self._start_table(attributes.get("table:name"))
        elif self._table is None:
            return
        elif name == "table:table-row":
            self._rows = _times(attributes, "table:number-rows-repeated")
            self._cells = []
        elif name in _CELLS:
            self._start_cell(attributes)
        elif name == "text:p":
            self._texts += 1
            self._paragraphs += 1
            self._is_shown = self._is_shown or not (self._annotations or self._shapes)
            self._add("\n" if self._paragraphs > 1 else "")
        elif name == "text:s":
            self._add(" " * _times(attributes, "text:c", _MAX_SPACES))
        elif name in _BREAKS:
            self._is_read_wrong = True  # calamine leaves them out
            self._add(_BREAKS[name])
        elif name == "office:annotation":
            self._annotations += 1
        elif name.startswith("draw:"):
            self._is_read_wrong = True  # calamine adds the text of a shape to that of its cell
            self._shapes += 1

    def _start_table(self, name: str | None) -> None:
        if self._table is not None or name in self.found:
            raise ScanError("a table of it lies within another, or has the same name")
        self._table = name  # calamine passes over a table without one
        self._errors = {}
        self._is_merged = self._is_indented = False
        self._row = self._width = self._area = self._held = self._written = self._shown = self._characters = 0

    def _start_cell(self, attributes: dict[str, str]) -> None:
        self._columns = _times(attributes, "table:number-columns-repeated")
        self._filled = any(key.startswith("office:") or key == "table:formula" for key in attributes)
        self._attributes = attributes
        self._value = []
        self._paragraphs = 0
        self._is_read_wrong = self._is_shown = False

    def text(self, data: str) -> None:
        if self._texts and self._table is not None:
            self._add(data)
        elif not data.strip(_WHITE):
            self._is_indented = True

    def _add(self, text: str) -> None:
        """Add to what the cell shows; texts in notes and shapes are not shown in it."""
        if text and not (self._annotations or self._shapes):
            self._filled = True
            self._value.append(text)

    def unusual(self, *_: object) -> None:
        if self._texts and self._table is not None:  # calamine leaves out what stands there
            raise ScanError("the value of a cell is written with a comment or a CDATA section")

    def end(self, name: str) -> None:
        if self._table is None:
            return
        if name == "table:table":
            self.found[self._table] = ErrorScan(
                self._errors,
                self._area,
                self._characters,
                self._is_merged,
                cells=self._shown,
                is_indented=self._is_indented,
            )
            self._table = None
        elif name == "table:table-row":
            self._end_row()
        elif name in _CELLS:
            shown = "".join(self._value).strip()
            text = _corrected(shown, self._attributes, is_shown=self._is_shown, is_read_wrong=self._is_read_wrong)
            if name == _COVERED:
                self._is_merged = True
                text = "" if self._filled else None
            self._cells.append(_OdsCell(self._columns, self._filled, text, len(shown)))
        elif name == "text:p":
            self._texts -= 1
        elif name == "office:annotation":
            self._annotations -= 1
        elif name.startswith("draw:"):
            self._shapes -= 1

    def _end_row(self) -> None:
        while self._cells and not self._cells[-1].filled:
            self._cells.pop()  # blank cells at a row's end stand for nothing
        if self._cells:
            self._count()
            column = 0
            for cell in self._cells:
                if cell.text is not None and self._area <= MAX_AREA:
                    for row in range(self._row + 1, self._row + self._rows + 1):
                        columns = range(column, column + cell.columns)
                        self._errors.setdefault(row, {}).update(dict.fromkeys(columns, cell.text))
                column += cell.columns
        self._row += self._rows

    def _count(self) -> None:
        """Count what calamine makes of the row, before it is written out."""
        width = sum(cell.columns for cell in self._cells)
        shown = sum(cell.columns for cell in self._cells if cell.filled)
        self._written += sum(cell.filled for cell in self._cells)
        self._shown += shown * self._rows
        self._characters += sum(cell.characters * cell.columns for cell in self._cells) * self._rows
        self._held += width
        self._width = max(self._width, width)
        self._area = max((self._row + self._rows) * self._width, self._held)
        if width > MAX_COLUMNS or self._row + self._rows > MAX_ROWS:
            raise no_such_cell(f"in row {self._row + self._rows}, column {width}")
        if self._shown - self._written > _ROOM_TO_REPEAT + _REPEATS_PER_CELL * self._written:
            raise ScanError(
                f"it has {self._written:,} cells that stand for {self._shown:,}, more than any honest sheet repeats"
            )


def _require_usual_prefixes(attributes: Mapping[str, str]) -> None:
    for key, space in attributes.items():
        if key.startswith("xmlns"):
            prefix = key.removeprefix("xmlns").removeprefix(":")
            if _SPACES.get(space, prefix) != prefix or (prefix in _SPACES.values() and space not in _SPACES):
                raise ScanError(f"its XML has another meaning for the prefix {prefix[:20]!r} than every other file")


def _corrected(shown: str, attributes: Mapping[str, str], *, is_shown: bool, is_read_wrong: bool) -> str | None:
    """Return what a cell shows, where calamine gives something else or it is an error; else None.

    calamine takes the value of a cell from its attributes, and its text only where the type is that of a text. A
    formula without a type whose paragraph is empty (``is_shown``) has an empty text as its value: LibreOffice writes it
    so.
    """
    if attributes.get("calcext:value-type") == "error":
        return shown if is_error(shown) else "#N/A"  # the word in the user's language may be one of many
    if is_error(shown):
        return shown
    is_valued = not _VALUES.isdisjoint(attributes)
    kind = attributes.get("office:value-type")
    is_calculated = is_valued or shown or kind == "string" or (kind is None and is_shown)
    if "table:formula" in attributes and not is_calculated:
        return NOT_CALCULATED
    if kind == "time" and shown and not _TIME_OF_DAY.fullmatch(attributes.get("office:time-value", "")):
        return shown
    if is_valued and attributes.get("office:string-value") != "":
        return None
    is_blank = is_valued or kind != "string"
    return shown if is_read_wrong or (is_blank and shown) else None


def _times(attributes: Mapping[str, str], key: str, most: int = 10**_MAX_DIGITS) -> int:
    """How often a row, a cell or a space is repeated."""
    text = attributes.get(key, "1")
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_DIGITS or int(text) > most:
        raise ScanError(f"it repeats a row, a cell or a space {text[:20]!r} times")
    return int(text)
