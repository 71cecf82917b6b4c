"""Spreadsheets: worksheets to rows of texts, as people see them, by calamine.

calamine is asked directly, not through ``pandas.read_excel``: that builds lists of the whole sheet and a frame on top
of them (198 MB for 100,000 rows against 48 MB), and nothing here needs a frame. Rows are handed out in chunks of the
same form as those of a text, so that everything after is one way for all formats.
"""

import datetime as dt
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from bulkid.errors import SheetError
from bulkid.sheet.cells import MAX_EXACT_NUMBER, trim

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

ZIP_KINDS = frozenset({"xlsx", "xlsm", "xlsb", "ods"})
WORKBOOK_KINDS = ZIP_KINDS | {"xls"}

_ZIP_MAGIC = b"PK\x03\x04"
_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")

_MAX_UNPACKED = 1 << 30  # bytes; a million rows of ten columns are about 400 MB
_SUSPECT_UNPACKED = 100 << 20  # bytes; from here on the ratio counts too
_MAX_RATIO = 200  # spreadsheets compress 5 to 30 times; repetitive ones up to 100

CellValue = str | int | float | bool | dt.date | dt.time | dt.datetime | dt.timedelta
"""What calamine gives for a cell; a blank one is ``""``."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Worksheet:
    """One worksheet, opened.

    Args:
        name: Its name.
        rows: Starts reading: takes rows per chunk, yields chunks of rows, from row 1 on, blank ones too.
        notes: Sentences for the user.
        close: Gives back what is held.
    """

    name: str
    rows: Callable[[int], Iterator[list[tuple[str, ...]]]]
    notes: tuple[str, ...]
    close: Callable[[], None]


def open_worksheet(stream: BinaryIO, source: str, kind: str, wanted: str | None) -> Worksheet:
    """Open one worksheet of a workbook.

    Args:
        stream: Seekable bytes; read to memory by calamine, may be closed afterwards.
        source: The sheet's name for messages.
        kind: The extension without its dot.
        wanted: The worksheet's name; None takes the first visible one.

    Raises:
        SheetError: The content is not what the extension says, is protected by a password, would unpack to an absurd
            size, cannot be read, or has no such worksheet.
    """
    _check_content(stream, source, kind)
    book = _load(stream, source)
    name, notes = _choose(book, source, wanted)
    sheet = guarded(source, lambda: book.get_sheet_by_name(name))

    def rows(size: int) -> Iterator[list[tuple[str, ...]]]:
        return _rows(sheet, source, size)

    return Worksheet(name, rows, notes + _merged_note(sheet), book.close)


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
    return str(int(value)) if value == int(value) else f"{value:.15g}"


def guarded(source: str, call: Callable[[], _T]) -> _T:
    """Call into calamine; whatever goes wrong there becomes a SheetError.

    Its panics (on bytes that its authors did not foresee) are no ``Exception``, only a ``BaseException``.
    """
    try:
        return call()
    except MemoryError:
        raise SheetError(f"{source} does not fit into memory.", hint="Save the sheet as CSV.") from None
    except BaseException as error:
        kind = type(error).__name__
        if kind == "PasswordError":
            raise _protected(source) from None
        if isinstance(error, Exception) or kind == "PanicException":
            raise SheetError(
                f"{source} cannot be read: {error}.",
                hint="Open it in a spreadsheet program and save it again as .xlsx or as CSV.",
            ) from None
        raise


def _check_content(stream: BinaryIO, source: str, kind: str) -> None:
    stream.seek(0)
    head = stream.read(512)
    if not head.strip(b"\0"):
        raise SheetError(f"{source} is empty.", hint="Save the spreadsheet again.")
    if head.startswith(_OLE_MAGIC) and kind in ZIP_KINDS:
        stream.seek(0)
        if _ENCRYPTED_PACKAGE in stream.read(8 << 20):
            raise _protected(source)
        raise SheetError(f"{source} is not .{kind}, but of the old Excel format.", hint="Rename it to .xls.")
    if head.startswith(_ZIP_MAGIC) and kind == "xls":
        raise SheetError(f"{source} is not .xls, but of a newer format.", hint="Rename it to .xlsx.")
    if not head.startswith((_OLE_MAGIC, _ZIP_MAGIC)) and (kind in ZIP_KINDS or not head.startswith(b"\x09")):
        raise SheetError(
            f"{source} is not a spreadsheet, whatever its name says{_what_instead(head)}.",
            hint="Open it in a spreadsheet program and save it as .xlsx, or rename it to .csv if it is one.",
        )
    if kind in ZIP_KINDS:
        _check_archive(stream, source)


def _what_instead(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<table")):
        return " (it is a web page)"
    return " (it is text)" if head.isascii() and b"\0" not in head else ""


def _check_archive(stream: BinaryIO, source: str) -> None:
    """Refuse archives that would unpack to an absurd size, by what they declare, before anything is unpacked."""
    try:
        stream.seek(0)
        with zipfile.ZipFile(stream) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
        raise SheetError(
            f"{source} is damaged: its end is missing or its parts do not fit together.",
            hint="Copy or save the file again.",
        ) from None
    unpacked = sum(part.file_size for part in parts)
    packed = max(1, sum(part.compress_size for part in parts))
    if unpacked > _MAX_UNPACKED or (unpacked > _SUSPECT_UNPACKED and unpacked / packed > _MAX_RATIO):
        raise SheetError(
            f"{source} would unpack to {unpacked >> 20} MB from {packed >> 10} KB; no honest sheet does.",
            hint="Save the rows that you need as CSV.",
        )


def _protected(source: str) -> SheetError:
    return SheetError(
        f"{source} is protected by a password.", hint="Save a copy without the password, or save it as CSV."
    )


def _load(stream: BinaryIO, source: str) -> "CalamineWorkbook":
    from python_calamine import CalamineWorkbook

    stream.seek(0)
    content = io.BytesIO(stream.read())
    return guarded(source, lambda: CalamineWorkbook.from_filelike(content))


def _choose(book: "CalamineWorkbook", source: str, wanted: str | None) -> tuple[str, tuple[str, ...]]:
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    sheets = [each for each in guarded(source, lambda: book.sheets_metadata) if each.typ == SheetTypeEnum.WorkSheet]
    names = [each.name for each in sheets]
    if not names:
        raise SheetError(f"{source} has no worksheet.", hint="Put the rows on a worksheet.")
    listed = ", ".join(f'"{name}"' for name in names)
    if wanted is None:
        visible = [each.name for each in sheets if each.visible == SheetVisibleEnum.Visible] or names
        if len(visible) == 1:
            return visible[0], ()
        return visible[0], (f'Of the worksheets {listed} the first is read, "{visible[0]}"; --sheet chooses another.',)
    for same in (lambda name: name == wanted, lambda name: trim(name).casefold() == trim(wanted).casefold()):
        if found := [name for name in names if same(name)]:
            return found[0], ()
    raise SheetError(f'{source} has no worksheet "{wanted}".', hint=f"It has {listed}: give one of them to --sheet.")


def _merged_note(sheet: "CalamineSheet") -> tuple[str, ...]:
    merged = sheet.merged_cell_ranges or []
    if not merged:
        return ()
    return ("The worksheet has merged cells: only the first cell of each holds its value, the others count as blank.",)


def _rows(sheet: "CalamineSheet", source: str, size: int) -> Iterator[list[tuple[str, ...]]]:
    rows = guarded(source, lambda: iter(sheet.iter_rows()))
    while chunk := guarded(source, lambda: list(islice(rows, size))):
        yield [tuple(value if type(value) is str else cell_text(value) for value in row) for row in chunk]
