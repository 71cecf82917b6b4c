"""What calamine does not report of a binary workbook (see :mod:`bulkid.sheet.error_scan`).

``.xlsb`` is an archive of record streams ([MS-XLSB]); ``.xls`` is one record stream ([MS-XLS]) inside a compound file
([MS-CFB]). The scan reads the few records that matter here, and skips all others by their length.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from bulkid.sheet.archive_parts import Archive, ScanError
from bulkid.sheet.error_scan import MAX_COLUMNS, MAX_ROWS, Errors, ErrorScan, main_part, no_such_cell, part_of

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
_BRT_LAST_CELL = 62  # cells have the types 1 to 11 and 62 (rich text)
_BRT_CELL_SHARED = 7
_BRT_SHARED_STRING = 19
_BRT_SHEET = 156
_XLSB_STRINGS = "xl/sharedstrings.bin"
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
_CELL_RECORDS = frozenset({_FORMULA, _BOOLERR, _MULRK, 0x0203, 0x0204, 0x00D6, 0x00FD, 0x027E})  # all that hold a value
_LAST_XLS_COLUMN = 255
_FILEPASS = 0x002F  # the workbook is encrypted from here on
_NO_NUMBER = 0xFFFF  # closes a formula's result that is no number; its first byte then says what it is
_RESULT_IS_ERROR = 2
_BIFF_SUBSTREAM_START = frozenset({0x0009, 0x0209, 0x0409, _BOF})

# [MS-CFB] 2.1 sector numbers
_LAST_SECTOR = 0xFFFFFFFA  # larger numbers are marks, not sectors
_SECTOR_SHIFTS = frozenset({9, 12})
_SMALL_SECTOR_SHIFT = 6
_STREAM, _ROOT = 2, 5  # kinds of directory entries; the root's stream holds the small sectors
_SMALL_STREAM = 4096  # bytes; shorter streams live in the small sectors


class PasswordError(Exception):
    """The workbook is encrypted."""


def scan_xlsb(stream: BinaryIO, sheet: str) -> ErrorScan:
    """Scan one worksheet of an ``.xlsb``; raises as :func:`bulkid.sheet.error_scan.scan_xlsx`, or a struct.error."""
    with Archive(stream) as archive:
        book = main_part(archive)
        sheets = dict(_xlsb_sheets(archive.read(book)))
        content = archive.read(part_of(archive, book, sheets.get(sheet, "")))
        lengths = list(_xlsb_lengths(archive.read(_XLSB_STRINGS))) if _XLSB_STRINGS in archive.parts else []
    errors: Errors = {}
    row = last_row = last_column = text = 0
    for kind, start, size in _xlsb_records(content):
        if kind == _BRT_ROW:
            row = _number(content, start, size, MAX_ROWS) + 1
        elif _BRT_CELL_BLANK < kind <= _BRT_FORMULA_ERROR or kind == _BRT_LAST_CELL:
            column = _number(content, start, size, MAX_COLUMNS)
            last_row, last_column = max(last_row, row), max(last_column, column)
            if kind in {_BRT_CELL_ERROR, _BRT_FORMULA_ERROR}:
                errors.setdefault(row, {})[column] = _ERROR_TEXTS.get(content[start + 8], "#N/A")
            elif kind == _BRT_CELL_SHARED:
                at = struct.unpack_from("<I", content, start + 8)[0]
                text += lengths[at] if at < len(lengths) else 0
    return ErrorScan(errors, last_row * (last_column + 1), text)


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
    for kind, start, _ in _biff_records(book, 0):
        if kind == _FILEPASS:
            raise PasswordError
        if kind == _BOUNDSHEET:
            starts.append(struct.unpack_from("<I", book, start)[0])
    return [_scan_xls_sheet(book, start) for start in starts]


def _scan_xls_sheet(book: bytes, position: int) -> ErrorScan:
    errors: Errors = {}
    last_row = last_column = declared = 0
    for kind, start, size in _biff_records(book, position):
        if kind == _DIMENSIONS:
            declared = _declared_area(book[start : start + size])
        if kind not in _CELL_RECORDS:
            continue
        record = book[start : start + size]
        row, column = struct.unpack_from("<HH", record)
        end = struct.unpack_from("<H", record, size - 2)[0] if kind == _MULRK else column
        if max(column, end) > _LAST_XLS_COLUMN:
            raise ScanError(f"it has a cell in column {max(column, end) + 1}, where no .xls has one")
        last_row, last_column = max(last_row, row), max(last_column, end)
        code = _biff_error(kind, record)
        if code is not None:
            errors.setdefault(row + 1, {})[column] = _ERROR_TEXTS.get(code, "#N/A")
    return ErrorScan(errors, max((last_row + 1) * (last_column + 1), declared))


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
        _, _, _, result, _, code, _, mark = struct.unpack_from("<HHHBBB3sH", record)
        return int(code) if mark == _NO_NUMBER and result == _RESULT_IS_ERROR else None
    return None


def _biff_records(book: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Yield type, start and size of the records of one substream; charts inside a sheet are substreams of their own."""
    depth = 0
    while position + 4 <= len(book):
        kind, size = struct.unpack_from("<HH", book, position)
        start = position + 4
        if start + size > len(book):
            raise ScanError("it ends in the middle")
        if kind in _BIFF_SUBSTREAM_START:
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
    if shift not in _SECTOR_SHIFTS or small_shift != _SMALL_SECTOR_SHIFT:
        raise ScanError("its sectors have an impossible size")
    size_of_sector = 1 << shift
    table = _sector_table(content, size_of_sector)

    def chain(first: int) -> bytes:
        return _follow(content, size_of_sector, size_of_sector, table, first)

    directory = chain(struct.unpack_from("<I", content, 48)[0])
    root_start = root_size = 0
    for position in range(0, len(directory) - 127, 128):
        name_size, kind = struct.unpack_from("<HB", directory, position + 64)
        name = directory[position : position + max(0, name_size - 2)].decode("utf-16-le", "replace")
        start, size = struct.unpack_from("<II", directory, position + 116)
        if kind == _ROOT:
            root_start, root_size = start, size
        elif kind == _STREAM and name.lower() in {"workbook", "book"}:
            if size >= _SMALL_STREAM:
                return chain(start)[:size]
            small = chain(root_start)[:root_size]
            small_table = chain(struct.unpack_from("<I", content, 60)[0])
            numbers = struct.unpack(f"<{len(small_table) // 4}I", small_table)
            return _follow(small, 1 << small_shift, 0, numbers, start)[:size]
    raise ScanError("it holds no workbook")


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
