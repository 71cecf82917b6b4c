"""What calamine does not report of a binary workbook (see :mod:`bulkid.sheet.error_scan`).

``.xlsb`` is an archive of record streams ([MS-XLSB]); ``.xls`` is one record stream ([MS-XLS]) inside a compound file
([MS-CFB]). The scan reads the few records that matter here, and skips all others by their length.
"""

import io
import struct
import zipfile
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from bulkid.sheet.archive_parts import Archive, ScanError
from bulkid.sheet.cells import NOT_CALCULATED
from bulkid.sheet.error_scan import (
    MAX_COLUMNS,
    MAX_MERGED,
    MAX_ROWS,
    Errors,
    ErrorScan,
    Range,
    main_part,
    no_such_cell,
    part_of,
)

_ERROR_TEXTS = {
    0x00: "#NULL!",
    0x07: "#DIV/0!",
    0x0F: "#VALUE!",
    0x17: "#REF!",
    0x1D: "#NAME?",
    0x24: "#NUM!",
    0x2A: "#N/A",
    0x2B: "#GETTING_DATA",
}
"""[MS-XLS] 2.5.10 BErr; other codes exist in newer files and are shown as #N/A."""

# [MS-XLSB] 2.3.2 record types
_BRT_ROW = 0
_BRT_CELL_BLANK = 1
_BRT_CELL_ERROR = 3
_BRT_FORMULA_ERROR = 11
_BRT_CELL_RICH = 62  # cells have the types 1 to 11 and this one
_BRT_CELL_SHARED = 7
_BRT_SHORT_BLANK = 12
_BRT_SHORT_CELLS = range(13, 19)  # cells that do not say their column, but stand next to the one before
_SHORT_TO_WHOLE = 11  # from the type of a short cell to that of the same cell with its column
_BRT_SHARED_STRING = 19
_BRT_SHEET = 156
_BRT_MERGED = 176
_XLSB_STRINGS = "xl/sharedstrings.bin"
_XLSB_SHEETS = "xl/worksheets/"
_APPLICATION = "docprops/app.xml"  # names the program that wrote the file
_CELL_HEAD = 8  # bytes: column and style; a row's record is longer

_NO_STRING = 0xFFFFFFFF

# [MS-XLS] 2.3 record types
_BOF = 0x0809
_EOF = 0x000A
_BOUNDSHEET = 0x0085
_DIMENSIONS = 0x0200
_FORMULA = 0x0006
_BOOLERR = 0x0205
_MULRK = 0x00BD
_LABEL, _RICH_LABEL, _LABEL_SHARED, _SHARED_STRINGS = 0x0204, 0x00D6, 0x00FD, 0x00FC
_STRING = 0x0207  # the text of the formula before it
_CELL_RECORDS = frozenset(
    {_FORMULA, _BOOLERR, _MULRK, 0x0203, _LABEL, _RICH_LABEL, _LABEL_SHARED, 0x027E}
)  # all that hold a value
_BIFF8 = 0x0600  # the version; texts before it have no byte that says whether they are wide
_LAST_XLS_COLUMN = 255
_LIBRE_OFFICE = (0x0DBB, 0x07CC, 0)  # build, year and flags; Excel 97 has the first two, and sets a flag
_WRITER = 0x005C
_XLWT = b"None"  # writes that for the user, padded with blanks, and an empty text for the value of every formula
_XLS_CELL_HEAD = 6  # bytes: row, column and style
_ZERO = bytes(8)
_CALCULATE_ON_LOAD = 2  # of a formula that the program which wrote it did not calculate, such as Apache POI
_FILEPASS = 0x002F  # the workbook is encrypted from here on
_NO_NUMBER = 0xFFFF  # closes a formula's result that is no number; its first byte then says what it is
_RESULT_IS_TEXT, _RESULT_IS_ERROR, _RESULT_IS_BLANK = 0, 2, 3
_OLD_BOFS = frozenset({0x0009, 0x0209, 0x0409})  # before BIFF5, which no workbook of several sheets has

# [MS-CFB] 2.1 sector numbers
_LAST_SECTOR = 0xFFFFFFFA  # larger numbers are marks, not sectors
_SMALLER_SHIFT, _LARGER_SHIFT = 9, 12
_SMALL_SECTOR_SHIFT = 6
_ROOT = ""  # the first entry of the directory, whose stream holds the small sectors
_BOOKS = ("Workbook", "Book", "WORKBOOK", "BOOK")  # as calamine prefers them: some files hold two, for two programs
_SMALL_STREAM = 4096  # bytes; shorter streams live in the small sectors


class PasswordError(Exception):
    """The workbook is encrypted."""


def scan_xlsb(stream: BinaryIO, sheet: str) -> ErrorScan:
    """Scan one worksheet of an ``.xlsb``; raises as :func:`bulkid.sheet.error_scan.scan_xlsx`, or a struct.error."""
    with Archive(stream) as archive:
        book = main_part(archive)
        entries = list(_xlsb_sheets(archive.read(book)))
        sheets = dict(entries)
        if len(sheets) < len(entries):
            raise ScanError("two of its worksheets have the same name")
        content = archive.read(part_of(archive, book, sheets.get(sheet, "")))
        lengths = list(_xlsb_lengths(archive.read(_XLSB_STRINGS))) if _XLSB_STRINGS in archive.parts else []
    return _scan_xlsb_sheet(content, lengths)


def _scan_xlsb_sheet(content: bytes, lengths: Sequence[int]) -> ErrorScan:
    """Scan the records of a worksheet; ``lengths`` are those of the shared strings."""
    errors: Errors = {}
    ranges: list[Range] = []
    row = last_row = last_column = text = cells = 0
    for kind, start, size in _xlsb_records(content):
        if kind == _BRT_ROW:
            row = _number(content, start, size, MAX_ROWS) + 1
        elif kind in _BRT_SHORT_CELLS:
            raise ScanError("its cells are stored in a short form that bulkid cannot read")  # calamine leaves them out
        elif _BRT_CELL_BLANK < kind <= _BRT_FORMULA_ERROR or kind == _BRT_CELL_RICH:
            column = _number(content, start, size, MAX_COLUMNS)
            cells += 1
            last_row, last_column = max(last_row, row), max(last_column, column)
            if kind in {_BRT_CELL_ERROR, _BRT_FORMULA_ERROR}:
                errors.setdefault(row, {})[column] = _ERROR_TEXTS.get(content[start + 8], "#N/A")
            elif kind == _BRT_CELL_RICH:
                errors.setdefault(row, {})[column] = _wide_string(content, start + 9)[0]  # calamine passes over it
            elif kind == _BRT_CELL_SHARED:
                at = struct.unpack_from("<I", content, start + 8)[0]
                text += lengths[at] if at < len(lengths) else 0
        elif kind == _BRT_MERGED:
            top, bottom, left, right = struct.unpack_from("<4I", content, start)
            ranges.append(((top, left), (bottom, right)))
            if len(ranges) > MAX_MERGED:
                raise ScanError("it has too many merged cells")
    return ErrorScan(errors, last_row * (last_column + 1), text, ranges=ranges, cells=cells)


def with_whole_cells(stream: BinaryIO) -> BinaryIO:
    """Copy an ``.xlsb`` of SheetJS, and say the column of every cell; any other is returned as it is.

    SheetJS leaves it out where a cell stands next to the one before. calamine passes over such cells.
    """
    copy = io.BytesIO()
    with Archive(stream) as archive:
        written_by = next(archive.blocks(_APPLICATION), b"") if _APPLICATION in archive.parts else b""
        if b"<Application>SheetJS<" not in written_by:
            return stream
        with zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as parts:
            for name in archive.names:
                part = name.replace("\\", "/").lower()
                content = archive.read(part)
                is_sheet = part.startswith(_XLSB_SHEETS) and part.endswith(".bin")
                parts.writestr(name, b"".join(_whole_cells(content)) if is_sheet else content)
    return copy


def _whole_cells(content: bytes) -> Iterator[bytes]:
    """Yield the records of a worksheet, with short cells as whole ones."""
    end, column = 0, -1  # of the record before, and of the cell before in this row
    for kind, start, size in _xlsb_records(content):
        record = content[end : start + size]
        end = start + size
        if kind == _BRT_ROW:
            column = -1
        elif _BRT_CELL_BLANK <= kind <= _BRT_FORMULA_ERROR or kind == _BRT_CELL_RICH:
            column = _number(content, start, size, MAX_COLUMNS)
        elif kind in _BRT_SHORT_CELLS or kind == _BRT_SHORT_BLANK:
            if column < 0:
                raise ScanError("a cell of it stands next to no other one")
            column += 1
            whole = struct.pack("<I", column) + content[start:end]
            record = bytes([kind - _SHORT_TO_WHOLE]) + _size_of_record(len(whole)) + whole
        yield record


def _size_of_record(size: int) -> bytes:
    """The size of a record as the format writes it, in groups of seven bits."""
    groups = [size >> shift & 0x7F for shift in range(0, max(size.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def _xlsb_lengths(strings: bytes) -> Iterator[int]:
    for kind, start, _ in _xlsb_records(strings):
        if kind == _BRT_SHARED_STRING:
            yield struct.unpack_from("<I", strings, start + 1)[0]


def _number(content: bytes, start: int, size: int, limit: int) -> int:
    """Read the row or the column that a record begins with; calamine reads on where a record is too short for it."""
    if size < _CELL_HEAD:
        raise ScanError("one of its records is too short")
    number = int(struct.unpack_from("<I", content, start)[0])
    if number >= limit:
        raise no_such_cell(f"in row or column {number + 1}")
    return number


def _xlsb_records(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield type, start and size of each record; both numbers are written in groups of seven bits."""
    position = 0
    while position < len(content):
        kind = content[position]
        position += 1
        if kind & 0x80 and position < len(content):
            kind = (kind & 0x7F) | (content[position] & 0x7F) << 7
            position += 1
        size = 0
        for group in range(4):
            if position >= len(content):
                raise ScanError("it ends in the middle")
            byte = content[position]
            position += 1
            size |= (byte & 0x7F) << 7 * group
            if not byte & 0x80:
                break
        if position + size > len(content):
            raise ScanError("it ends in the middle")
        yield kind, position, size
        position += size


def _xlsb_sheets(book: bytes) -> Iterator[tuple[str, str]]:
    for kind, start, _ in _xlsb_records(book):
        if kind == _BRT_SHEET:
            relation, position = _wide_string(book, start + 8)
            name, _ = _wide_string(book, position)
            yield name, relation


def _wide_string(content: bytes, position: int) -> tuple[str, int]:
    length = struct.unpack_from("<I", content, position)[0]
    if length == _NO_STRING:
        return "", position + 4
    end = position + 4 + 2 * length
    return content[position + 4 : end].decode("utf-16-le"), end


# --- xls


def scan_xls(stream: BinaryIO) -> list[ErrorScan]:
    """Scan all sheets of an ``.xls``, in their order; calamine lays them all out as soon as it opens the file.

    Raises:
        PasswordError: The workbook is encrypted.
        ScanError, struct.error, OSError, ValueError: The file is not as it should be.
    """
    stream.seek(0)
    book = workbook_stream(stream.read())
    starts = []
    strings = 0
    is_xlwt = False
    for kind, start, size in _biff_records(book, 0, may_nest=False):
        if kind == _FILEPASS:
            raise PasswordError
        if kind == _BOUNDSHEET:
            starts.append(struct.unpack_from("<I", book, start)[0])
        elif kind == _SHARED_STRINGS:
            strings = struct.unpack_from("<I", book, start + 4)[0]
        elif kind == _WRITER:
            is_xlwt = book[start : start + size].rstrip(b" ") == _XLWT
    version, _, *writer = struct.unpack_from("<HHHHI", book, 4)
    is_biff8, loses_texts = version == _BIFF8, tuple(writer) == _LIBRE_OFFICE

    def cells() -> _XlsCells:
        return _XlsCells(strings, is_biff8=is_biff8, loses_texts=loses_texts, never_calculates=is_xlwt)

    return [_scan_xls_sheet(book, start, cells()) for start in starts]


def _scan_xls_sheet(book: bytes, position: int, cells: "_XlsCells") -> ErrorScan:
    declared = 0
    for kind, start, size in _biff_records(book, position):
        record = book[start : start + size]
        if kind == _DIMENSIONS:
            declared = max(declared, _declared_area(record))
        elif kind == _STRING:
            cells.add_text(record)
        elif kind in _CELL_RECORDS:
            cells.add(kind, record)
    if cells.awaits_text:
        raise _no_text()
    area = (cells.last_row + 1) * (cells.last_column + 1)
    return ErrorScan(cells.errors, area, cells=cells.count, declared=declared)


class _XlsCells:
    """Follows the cells of a sheet, in a workbook with so many shared strings.

    ``loses_texts``: LibreOffice wrote it, which writes 0 for the text of a formula that it has not calculated anew. A 0
    of a formula then says nothing.

    ``never_calculates``: xlwt wrote it. An empty text of a formula then says nothing.
    """

    def __init__(self, strings: int, *, is_biff8: bool, loses_texts: bool, never_calculates: bool) -> None:
        self.errors: Errors = {}
        self.last_row = self.last_column = self.count = 0
        self.awaits_text = False  # of a formula, in a record to come
        self._strings = strings
        self._is_biff8 = is_biff8
        self._loses_texts = loses_texts
        self._never_calculates = never_calculates

    def add(self, kind: int, record: bytes) -> None:
        """Take the record of a cell, or of several side by side."""
        if self.awaits_text:
            raise _no_text()
        row, column = struct.unpack_from("<HH", record)
        end = struct.unpack_from("<H", record, len(record) - 2)[0] if kind == _MULRK else column
        if max(column, end) > _LAST_XLS_COLUMN:
            raise ScanError(f"it has a cell in column {max(column, end) + 1}, where no .xls has one")
        self.count += 1 + max(end - column, 0)
        self.last_row, self.last_column = max(self.last_row, row), max(self.last_column, end)
        if kind in {_LABEL, _RICH_LABEL}:
            self._require_whole_text(record[_XLS_CELL_HEAD:])
        elif kind == _LABEL_SHARED and struct.unpack_from("<I", record, _XLS_CELL_HEAD)[0] >= self._strings:
            raise ScanError("a cell of it names a shared text that it does not have")
        elif kind == _FORMULA:
            result = _formula_result(record)[0]
            self.awaits_text = result == _RESULT_IS_TEXT
            value, options = struct.unpack_from("<8sH", record, _XLS_CELL_HEAD)
            is_lost = value == _ZERO and (self._loses_texts or options & _CALCULATE_ON_LOAD)
            if is_lost or (self._never_calculates and result == _RESULT_IS_BLANK):
                self.errors.setdefault(row + 1, {})[column] = NOT_CALCULATED
        code = _biff_error(kind, record)
        if code is not None:
            self.errors.setdefault(row + 1, {})[column] = _ERROR_TEXTS.get(code, "#N/A")

    def add_text(self, record: bytes) -> None:
        """Take the text that is the value of the formula before it."""
        if not self.awaits_text:
            raise ScanError("it has the text of a formula without the formula")
        self.awaits_text = False
        self._require_whole_text(record)

    def _require_whole_text(self, text: bytes) -> None:
        """Refuse a text that goes on in another record, or ends early: calamine takes what this record has of it."""
        size = struct.unpack_from("<H", text)[0]
        is_wide = self._is_biff8 and bool(size) and struct.unpack_from("<HB", text)[1] & 1
        if size and 2 + self._is_biff8 + size * (2 if is_wide else 1) > len(text):
            raise ScanError("a text of it is cut off, or longer than this format can keep in one place")


def _no_text() -> ScanError:
    return ScanError("it has a formula without the text that is its value")


def _declared_area(record: bytes) -> int:
    """How many cells a sheet declares: calamine makes room for them ([MS-XLS] 2.4.90 Dimensions, and before BIFF8)."""
    layout = "<IIHH" if len(record) >= struct.calcsize("<IIHH") else "<HHHH"
    first_row, end_row, first_column, end_column = struct.unpack_from(layout, record)
    if end_row < first_row or end_column < first_column:
        raise ScanError("it declares an area that ends before it begins")
    return int((end_row - first_row) * (end_column - first_column))


def _biff_error(kind: int, record: bytes) -> int | None:
    """Return the error code of a cell record, None when it is no error ([MS-XLS] 2.4.24 BoolErr, 2.4.127 Formula)."""
    if kind == _BOOLERR:
        _, _, _, code, is_error = struct.unpack_from("<HHHBB", record)
        return int(code) if is_error else None
    if kind == _FORMULA:
        result, code = _formula_result(record)
        return code if result == _RESULT_IS_ERROR else None
    return None


def _formula_result(record: bytes) -> tuple[int | None, int]:
    """Return what kind of value a formula has, None where it is a number; and the code of an error."""
    _, _, _, result, _, code, _, mark = struct.unpack_from("<HHHBBB3sH", record)
    return (int(result) if mark == _NO_NUMBER else None), int(code)


def _biff_records(book: bytes, position: int, *, may_nest: bool = True) -> Iterator[tuple[int, int, int]]:
    """Yield type, start and size of the records of one substream; charts inside a sheet are substreams of their own.

    calamine reads the records before a substream's start as well, and follows no other start than this one.
    """
    depth = 0
    while position + 4 <= len(book):
        kind, size = struct.unpack_from("<HH", book, position)
        start = position + 4
        if start + size > len(book):
            raise ScanError("it ends in the middle")
        if kind in _OLD_BOFS or (not depth and kind != _BOF) or (depth and kind == _BOF and not may_nest):
            raise ScanError("its records do not begin as those of a workbook")
        if kind == _BOF:
            depth += 1
        elif kind == _EOF:
            depth -= 1
            if depth <= 0:
                return
        elif depth == 1:
            yield kind, start, size
        position = start + size


def workbook_stream(content: bytes) -> bytes:
    """Take the stream ``Workbook`` (``Book`` in older files) out of a compound file."""
    shift, small_shift = struct.unpack_from("<HH", content, 30)
    if shift not in {_SMALLER_SHIFT, _LARGER_SHIFT} or small_shift != _SMALL_SECTOR_SHIFT:
        raise ScanError("its sectors have an impossible size")
    size_of_sector = 1 << shift
    table = _sector_table(content, size_of_sector)

    def chain(first: int) -> bytes:
        return _follow(content, size_of_sector, size_of_sector, table, first)

    directory = chain(struct.unpack_from("<I", content, 48)[0])
    # By name: the first sector and the size. Of two of one name calamine takes the first.
    entries: dict[str, tuple[int, int]] = {}
    for position in range(0, len(directory) - 127, 128):
        name_size = struct.unpack_from("<H", directory, position + 64)[0]
        name = directory[position : position + max(0, name_size - 2)].decode("utf-16-le", "replace")
        start, size, beyond = struct.unpack_from("<III", directory, position + 116)
        if beyond and shift != _SMALLER_SHIFT:
            raise ScanError("a part of it has an impossible size")
        entries.setdefault(name if position else _ROOT, (start, size))
    found = next((entries[name] for name in _BOOKS if name in entries), None)
    if found is None:
        raise ScanError("it holds no workbook")
    start, size = found
    if size >= _SMALL_STREAM:
        return chain(start)[:size]
    root_start, root_size = entries[_ROOT]
    small = chain(root_start)[:root_size]
    small_table = chain(struct.unpack_from("<I", content, 60)[0])
    numbers = struct.unpack(f"<{len(small_table) // 4}I", small_table)
    return _follow(small, 1 << small_shift, 0, numbers, start)[:size]


def _sector_table(content: bytes, size: int) -> tuple[int, ...]:
    """Read the table that chains the sectors of a compound file, each of so many bytes."""
    holders = list(struct.unpack_from("<109I", content, 76))
    following = struct.unpack_from("<I", content, 68)[0]
    seen: set[int] = set()
    while following < _LAST_SECTOR:
        if following in seen:
            raise ScanError("its sectors are chained in a circle")
        seen.add(following)
        *more, following = struct.unpack_from(f"<{size // 4}I", content, size + following * size)
        holders.extend(more)
    table: list[int] = []
    for holder in holders:
        if holder < _LAST_SECTOR:
            sector = content[size + holder * size : 2 * size + holder * size]
            table.extend(struct.unpack(f"<{len(sector) // 4}I", sector[: len(sector) // 4 * 4]))
    return tuple(table)


def _follow(content: bytes, size: int, offset: int, table: tuple[int, ...], first: int) -> bytes:
    """Join the sectors of a chain. One that leads back to a sector of its own would keep calamine for ever."""
    pieces = []
    seen: set[int] = set()
    sector = first
    while sector < _LAST_SECTOR:
        if sector in seen:
            raise ScanError("its sectors are chained in a circle")
        seen.add(sector)
        pieces.append(content[offset + sector * size : offset + (sector + 1) * size])
        sector = table[sector] if sector < len(table) else _LAST_SECTOR
    return b"".join(pieces)
