"""Spreadsheets: worksheets to rows of texts, as people see them, by calamine.

calamine is called directly: ``pandas.read_excel`` takes 198 MB for 100,000 rows instead of 48. The rows come in chunks
of the same form as those of a text, so that the rest of the package treats all formats alike.
"""

import datetime as dt
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from xml.parsers.expat import ExpatError

from bulkid.errors import SheetError
from bulkid.sheet.archive_parts import Archive, ScanError
from bulkid.sheet.cells import MAX_EXACT_NUMBER, trim
from bulkid.sheet.error_scan import (
    MAX_AREA,
    MAX_TEXT,
    ErrorScan,
    Range,
    check_shared_strings,
    largest_area,
    main_part,
    scan_xlsx,
)
from bulkid.sheet.error_scan_binary import PasswordError, scan_xls, scan_xlsb, with_whole_cells
from bulkid.sheet.error_scan_ods import scan_ods, without_indents
from bulkid.sheet.formula_escape import unescape_formula
from bulkid.sheet.merged_cells import overlapping, without_covered
from bulkid.sheet.table import ZIP_KINDS, Table
from bulkid.text import first_of, fold, printable_line

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

_ZIP_MAGIC = b"PK\x03\x04"
_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")

_MAX_UNPACKED = 1 << 30  # bytes; a million rows of ten columns are about 400 MB
_SUSPECT_UNPACKED = 100 << 20  # bytes; from here on the ratio counts too
# What zipfile raises for an archive that is damaged, or made by a method that it does not have.
_ARCHIVE_ERRORS = (OSError, ValueError, LookupError, NotImplementedError, RuntimeError, EOFError, OverflowError)
_MAX_LISTED, _MAX_SHEET_NAME = 20, 31  # worksheets that a message names; characters of a name in Excel
_MAX_RATIO = 200  # spreadsheets compress 5 to 30 times; repetitive ones up to 100

CellValue = str | int | float | bool | dt.date | dt.time | dt.datetime | dt.timedelta
"""What calamine gives for a cell; a blank one is ``""``."""

_T = TypeVar("_T")


def open_worksheet(stream: BinaryIO, source: str, kind: str, wanted: str | None) -> Table:
    """Open one worksheet of a workbook.

    Args:
        stream: Seekable bytes; calamine reads them into memory, and they may be closed afterwards.
        source: The sheet's name for messages.
        kind: The extension without its dot.
        wanted: The worksheet's name; None takes the first visible one.

    Raises:
        SheetError: The content is not what the extension says, is protected by a password, would unpack to an absurd
            size, cannot be read, or has no such worksheet.
    """
    from python_calamine import CalamineWorkbook

    _check_content(stream, source, kind)
    scan, stream = _scan_ahead(stream, source, kind)
    stream.seek(0)
    book = sheet_errors(source, lambda: CalamineWorkbook.from_filelike(io.BytesIO(stream.read())))
    name, guessed = _choose(book, source, wanted)
    found = _scanned(source, lambda: scan(name, book.sheet_names.index(name)))
    _check_size(source, (found,))
    sheet = sheet_errors(source, lambda: book.get_sheet_by_name(name))

    ranges = sheet.merged_cell_ranges or found.ranges
    _refuse_overlap(ranges, source, name)
    first = _first_column(sheet, found.errors)

    def rows(size: int) -> Generator[list[tuple[str, ...]], None, None]:
        shown = without_covered(_rows(sheet, source, size, found.errors, first), first, ranges)
        chunks = (_unescaped(chunk) for chunk in shown)
        return _with_whole_texts(chunks, source) if kind == "xls" else chunks

    merged = "The worksheet has merged cells: only the first cell of each holds its value, the others count as blank."
    notes = tuple(filter(None, (guessed, merged if ranges or found.merged else "")))
    names = tuple(book.sheet_names)
    return Table(rows, notes, name, names, guessed, first_column=first, close=book.close)


def _scan_ahead(stream: BinaryIO, source: str, kind: str) -> tuple[Callable[[str, int], ErrorScan], BinaryIO]:
    """Scan everything that calamine reads as soon as it opens a file.

    Returns:
        The scan of one worksheet, and the file as calamine can read it.
    """
    if kind == "xls":
        sheets = _scanned(source, lambda: scan_xls(stream))
        _check_size(source, sheets)
        return (lambda _, position: sheets[position]), stream
    if kind == "ods":
        tables = _scanned(source, lambda: scan_ods(stream))
        _check_size(source, tables.values())
        if any(each.is_indented for each in tables.values()):
            stream = _scanned(source, lambda: without_indents(stream))
        return (lambda name, _: tables[name]), stream
    if kind == "xlsb":
        whole = _scanned(source, lambda: with_whole_cells(stream))
        return (lambda name, _: scan_xlsb(whole, name)), whole

    def strings() -> int:
        with Archive(stream) as archive:
            return check_shared_strings(archive)

    longest = _scanned(source, strings)
    return (lambda name, _: scan_xlsx(stream, name, longest)), stream


def cell_text(value: CellValue) -> str:
    """Write a value as a spreadsheet shows it: 88 for 88.0, TRUE, 2026-01-31 (number formats are not known).

    A number of more than 15 digits has lost some in the spreadsheet already. It is written as Excel shows it,
    ``1.2345678901234568E+16``, which no field takes, so that its row is called invalid and no wrong id is sent.
    """
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return _number_text(value)
    if isinstance(value, dt.datetime):
        day, time = value.date().isoformat(), value.time()
        return day if time == dt.time() else f"{day} {time.isoformat()}"
    if isinstance(value, dt.timedelta):
        seconds = int(value.total_seconds())
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return str(value)  # texts, and dates and times in ISO form


def _number_text(value: float) -> str:
    if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124 - a number unlike itself is NaN
        return "#NUM!"
    if abs(value) >= MAX_EXACT_NUMBER:
        digits, exponent = f"{float(value):.16E}".split("E")
        return f"{digits.rstrip('0').rstrip('.')}E{exponent}"
    return str(int(value)) if value == int(value) else f"{value:.15G}"


def _check_content(stream: BinaryIO, source: str, kind: str) -> None:
    """Check that a file is a spreadsheet of its kind, by its first bytes and the parts of its archive.

    Raises:
        SheetError: It is empty, has a password, is of another kind, or would unpack to an absurd size.
    """
    stream.seek(0)
    head = stream.read(512)
    if not head.strip(b"\0"):
        raise SheetError(f"{source} is empty.", hint="Save the spreadsheet again.")
    if head.startswith(_OLE_MAGIC):
        if _ENCRYPTED_PACKAGE in head + stream.read():
            raise password_error(source)
        if kind in ZIP_KINDS:
            raise SheetError(f"{source} is not .{kind}, but of the old Excel format.", hint="Rename it to .xls.")
    if head.startswith(_ZIP_MAGIC) and kind == "xls":
        raise SheetError(f"{source} is not .xls, but of a newer format.", hint="Rename it to .xlsx.")
    if not head.startswith((_OLE_MAGIC, _ZIP_MAGIC)):
        raise _no_spreadsheet(source, head)
    if kind in ZIP_KINDS:
        _check_archive(stream, source, kind)


def _no_spreadsheet(source: str, head: bytes) -> SheetError:
    """The error for a file that begins like no spreadsheet; it says what the file seems to be."""
    is_web_page = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html", b"<table"))
    is_text = head.isascii() and b"\0" not in head
    actual = " (it is a web page)" if is_web_page else " (it is text)" if is_text else ""
    return SheetError(
        f"{source} is not a spreadsheet, whatever its name says{actual}.",
        hint="Open it in a spreadsheet program and save it as .xlsx, or rename it to .csv if it is one.",
    )


def _check_archive(stream: BinaryIO, source: str, kind: str) -> None:
    """Refuse archives of another format, and those that declare an absurd size, before anything is unpacked."""
    with _scanned(source, lambda: Archive(stream)) as archive:
        unpacked, packed = archive.unpacked, max(1, archive.packed)
        if unpacked > _MAX_UNPACKED or (unpacked > _SUSPECT_UNPACKED and unpacked / packed > _MAX_RATIO):
            raise SheetError(
                f"{source} would unpack to {unpacked >> 20} MB from {packed >> 10} KB; no honest sheet does.",
                hint="Save the rows that you need as CSV.",
            )
        parts, manifest = archive.parts, "meta-inf/manifest.xml"  # an ODS encrypts its parts one by one, or all in one
        encrypted = manifest in parts and b"encryption-data" in _scanned(source, lambda: archive.read(manifest))
        if encrypted or "encrypted-package" in parts:
            raise password_error(source)
        actual = _scanned(source, lambda: _actual_kind(archive))
    if actual not in {kind, kind.replace("xlsm", "xlsx")}:
        raise SheetError(
            f"{source} is not .{kind}, {f'but .{actual}' if actual else 'nor any other kind of spreadsheet'}.",
            hint=f"Rename it to .{actual}." if actual else "Save the sheet as .xlsx or as CSV.",
        )


def _actual_kind(archive: Archive) -> str:
    """Tell a format by its parts; ``xlsx`` stands for ``xlsm`` too, ``""`` for what is no spreadsheet."""
    if any(part.startswith("xl/") for part in archive.parts):
        return "xlsb" if main_part(archive).endswith(".bin") else "xlsx"
    return "ods" if "content.xml" in archive.parts else ""


def _choose(book: "CalamineWorkbook", source: str, wanted: str | None) -> tuple[str, str]:
    """The worksheet's name, and how it was chosen where the user did not choose."""
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    sheets = [
        each for each in sheet_errors(source, lambda: book.sheets_metadata) if each.typ == SheetTypeEnum.WorkSheet
    ]
    names = [each.name for each in sheets]
    if len(set(names)) < len(names):
        raise _damaged(source, "two of its worksheets have the same name")
    if not names:
        raise SheetError(f"{source} has no worksheet.", hint="Put the rows on a worksheet.")
    if wanted is None:
        visible = [each.name for each in sheets if each.visible == SheetVisibleEnum.Visible] or names
        if len(visible) == 1:
            return visible[0], ""
        first = _listed(visible[:1])
        return visible[0], f"Of the worksheets {_listed(visible)} the first is read, {first}; --sheet chooses another."
    for same in (lambda name: name == wanted, lambda name: fold(trim(name)) == fold(trim(wanted))):
        if found := [name for name in names if same(name)]:
            return found[0], ""
    raise SheetError(f'{source} has no worksheet "{wanted}".', hint=f"It has {_listed(names)}: give one to --sheet.")


def _listed(names: list[str]) -> str:
    """Name worksheets on one line: the first of them, each cut to what Excel allows."""
    return first_of([f'"{printable_line(name[:_MAX_SHEET_NAME])}"' for name in names], _MAX_LISTED)


def _scanned(source: str, scan: Callable[[], _T]) -> _T:
    """Scan a file. One that the scan cannot read is refused, even where calamine reads it.

    Its error cells would pass for blank ones, and blank means to leave something as it is.
    """
    try:
        return scan()
    except PasswordError:
        raise password_error(source) from None
    except (struct.error, IndexError):
        raise _damaged(source, "one of its records is too short") from None
    except (ScanError, ExpatError, zipfile.BadZipFile, zlib.error, *_ARCHIVE_ERRORS) as error:
        raise _damaged(source, str(error)) from None


def _check_size(source: str, sheets: Collection[ErrorScan]) -> None:
    """Refuse worksheets that take too much memory together."""
    area, declared = sum(each.area for each in sheets), sum(each.declared for each in sheets)
    cells, characters = sum(each.cells for each in sheets), sum(each.text for each in sheets)
    for places, most in ((area, largest_area(cells)), (declared, MAX_AREA)):
        if places > most:
            raise SheetError(
                f"{source}: the {cells:,} cells of the worksheet spread over {places:,} places, more than {most:,}.",
                hint="A stray cell far out does that: delete the rows and columns after the last one in use, and save.",
            )
    if characters > MAX_TEXT:
        raise SheetError(
            f"{source}: the cells of the worksheet hold {characters >> 20:,} million characters, more than "
            f"{MAX_TEXT >> 20:,}.",
            hint="Save the rows and columns that you need as CSV.",
        )


def _refuse_overlap(merged: Sequence[Range], source: str, name: str) -> None:
    if found := overlapping(merged):
        raise SheetError(
            f'{source}, worksheet "{printable_line(name)}": the merged cells {found[0]} and {found[1]} overlap: '
            "programs differ in what they show.",
            hint="Open it in a spreadsheet program, unmerge these cells, and save it again.",
        )


def _first_column(sheet: "CalamineSheet", errors: Mapping[int, Mapping[int, str]]) -> int:
    """The number of the first column in use, from 0. calamine does not count error cells."""
    start = sheet.start[1] if sheet.start else 0
    return min([start, *(column for cells in errors.values() for column in cells)])


def _rows(
    sheet: "CalamineSheet",
    source: str,
    size: int,
    errors: Mapping[int, Mapping[int, str]],
    first: int,
) -> Generator[list[tuple[str, ...]], None, None]:
    """Read rows from row 1 on, from the first column in use, with the error cells put back in their places."""
    start = sheet.start[1] if sheet.start else 0
    margin = ("",) * (start - first)
    rows = sheet_errors(source, lambda: iter(sheet.iter_rows()))
    row = 0
    while chunk := sheet_errors(source, lambda: list(islice(rows, size))):
        texts = [tuple(value if type(value) is str else cell_text(value) for value in values) for values in chunk]
        if errors:
            texts = [_with_errors(margin + cells, errors.get(row + at), first) for at, cells in enumerate(texts, 1)]
        yield texts
        row += len(chunk)
    last = max(errors, default=0)
    while row < last:  # rows of nothing but formulas without a value, which calamine does not count
        end = min(last, row + size)
        texts = [_with_errors((), errors.get(at), first) for at in range(row + 1, end + 1)]
        yield texts
        row = end


def _unescaped(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Unescape the cells that bulkid's CSV files escape as formulas: one may have been saved as a workbook."""
    return [tuple(map(unescape_formula, cells)) if "'" in "".join(cells) else cells for cells in rows]


def _with_whole_texts(
    chunks: Iterable[list[tuple[str, ...]]], source: str
) -> Generator[list[tuple[str, ...]], None, None]:
    """Refuse an .xls of which calamine cannot decode a text.

    A long table of texts lies in several records. A character of two units, such as an emoji, may begin in one and end
    in the next; calamine decodes each record by itself.
    """
    row = 0
    for chunk in chunks:
        for number, cells in enumerate(chunk, row + 1):
            if any("\ufffd" in cell for cell in cells):
                raise SheetError(f"{source}: a character in row {number:,} cannot be read.", hint=_SAVE_AGAIN)
        row += len(chunk)
        yield chunk


def _with_errors(cells: tuple[str, ...], errors: Mapping[int, str] | None, first: int) -> tuple[str, ...]:
    if not errors:
        return cells
    corrected = list(cells) + [""] * (max(errors) - first + 1 - len(cells))
    for column, text in errors.items():
        corrected[column - first] = text
    return tuple(corrected)


_SAVE_AGAIN = "Open it in a spreadsheet program and save it again as .xlsx or as CSV."


def _damaged(source: str, why: str) -> SheetError:
    return SheetError(f"{source} is damaged: {why}.", hint=_SAVE_AGAIN)


def sheet_errors(source: str, call: Callable[[], _T]) -> _T:
    """Call into calamine; what it raises becomes a SheetError.

    Its panics (on bytes that its authors did not foresee) are no ``Exception``, only a ``BaseException``, and print
    themselves to standard error, which the child process of :mod:`bulkid.sheet.isolation` does not have.
    """
    try:
        return call()
    except MemoryError:
        raise SheetError(f"{source} does not fit into memory.", hint="Save the sheet as CSV.") from None
    except BaseException as error:
        kind = type(error).__name__
        if kind == "PasswordError":
            raise password_error(source) from None
        if isinstance(error, Exception) or kind == "PanicException":
            raise SheetError(f"{source} cannot be read: {error}.", hint=_SAVE_AGAIN) from None
        raise


def password_error(source: str) -> SheetError:
    """The error for a spreadsheet that requires a password."""
    return SheetError(
        f"{source} is protected by a password.", hint="Save a copy without the password, or save it as CSV."
    )
