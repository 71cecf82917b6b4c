"""Spreadsheets made by openpyxl, or by hand, byte by byte, in the formats that no library here can write.

A cell is a text, a number, an ``Error``, or None for a blank one.
"""

import io
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import openpyxl
import pytest

from bulkid.errors import SheetError
from bulkid.model import SheetRow
from bulkid.sheet import Sheet, SheetOptions, open_sheet

ERROR_CODES = {
    "#NULL!": 0x00,
    "#DIV/0!": 0x07,
    "#VALUE!": 0x0F,
    "#REF!": 0x17,
    "#NAME?": 0x1D,
    "#NUM!": 0x24,
    "#N/A": 0x2A,
}


@dataclass(frozen=True)
class Error:
    text: str
    formula: bool = False


Cell = str | float | Error | None
Rows = Sequence[Sequence[Cell]]


def xlsx(sheets: dict[str, str]) -> bytes:
    """Return an archive with the given worksheet XML (``sheetData`` content) per sheet name."""
    names = list(sheets)
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    rel = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="rId1" Type="{rel}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {main} xmlns:r="{rel}"><sheets>'
        + "".join(f'<sheet name="{name}" sheetId="{at}" r:id="rId{at}"/>' for at, name in enumerate(names, 1))
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        + "".join(
            f'<Relationship Id="rId{at}" Type="{rel}/worksheet" Target="worksheets/sheet{at}.xml"/>'
            for at, _ in enumerate(names, 1)
        )
        + "</Relationships>",
    }
    for at, name in enumerate(names, 1):
        parts[f"xl/worksheets/sheet{at}.xml"] = f"<worksheet {main}><sheetData>{sheets[name]}</sheetData></worksheet>"
    return archive({name: text.encode() for name, text in parts.items()})


def archive(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return out.getvalue()


# --- xlsb


def _record(kind: int, content: bytes = b"") -> bytes:
    head = bytes([kind]) if kind < 0x80 else bytes([kind & 0x7F | 0x80, kind >> 7])
    size = len(content)
    length = b""
    while True:
        length += bytes([size & 0x7F | (0x80 if size >> 7 else 0)])
        size >>= 7
        if not size:
            return head + length + content


def _wide(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")


def xlsb(rows: Rows, name: str = "Sheet1") -> bytes:
    book = (
        _record(131)
        + _record(143)
        + _record(156, struct.pack("<II", 0, 1) + _wide("rId1") + _wide(name))
        + _record(144)
        + _record(132)
    )
    width = max(map(len, rows), default=1)
    sheet = _record(129) + _record(148, struct.pack("<IIII", 0, len(rows), 0, width)) + _record(145)
    for number, cells in enumerate(rows):
        sheet += _record(0, struct.pack("<IIHBBI", number, 0, 300, 0, 0, 0))
        for column, cell in enumerate(cells):
            place = struct.pack("<II", column, 0)
            if isinstance(cell, Error):
                sheet += _record(
                    11 if cell.formula else 3, place + bytes([ERROR_CODES[cell.text]]) + bytes(8 * cell.formula)
                )
            elif isinstance(cell, str):
                sheet += _record(6, place + _wide(cell))
            elif cell is not None:
                sheet += _record(5, place + struct.pack("<d", cell))
            else:
                sheet += _record(1, place)
    sheet += _record(146) + _record(130)
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" '
        'Target="worksheets/sheet1.bin"/></Relationships>'
    )
    return archive(
        {
            "[Content_Types].xml": b"<Types/>",
            "xl/workbook.bin": book,
            "xl/_rels/workbook.bin.rels": relations.encode(),
            "xl/worksheets/sheet1.bin": sheet,
        }
    )


# --- xls


def _biff(kind: int, content: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def _bof(substream: int) -> bytes:
    return _biff(0x0809, struct.pack("<HHHHII", 0x0600, substream, 0x0DBB, 0x07CC, 0, 6))


def _xls_cell(row: int, column: int, cell: Cell) -> bytes:
    place = struct.pack("<HHH", row, column, 0)
    if isinstance(cell, Error) and cell.formula:
        result = bytes([2, 0, ERROR_CODES[cell.text], 0, 0, 0, 0xFF, 0xFF])
        return _biff(0x0006, place + result + struct.pack("<HIH", 0, 0, 2) + b"\x1c\x2a")
    if isinstance(cell, Error):
        return _biff(0x0205, place + bytes([ERROR_CODES[cell.text], 1]))
    if isinstance(cell, str):
        return _biff(0x0204, place + struct.pack("<HB", len(cell), 1) + cell.encode("utf-16-le"))
    return b"" if cell is None else _biff(0x0203, place + struct.pack("<d", cell))


def xls(
    sheets: dict[str, Rows], *, pad: bool = True, locked: bool = False, inside: bytes = b"", user: bytes = b""
) -> bytes:
    """Return a BIFF8 workbook; without ``pad`` it is short enough to live in the small sectors."""
    bodies = [
        _bof(0x0010)
        + inside
        + b"".join(_xls_cell(row, column, cell) for row, cells in enumerate(rows) for column, cell in enumerate(cells))
        + _biff(0x000A)
        for rows in sheets.values()
    ]
    head = _bof(0x0005) + _biff(0x0042, struct.pack("<H", 1200)) + (_biff(0x002F, bytes(54)) if locked else b"")
    head += _biff(0x005C, user.ljust(112)) if user else b""
    entries = [struct.pack("<BBBB", 0, 0, len(name), 1) + name.encode("utf-16-le") for name in sheets]
    offset = len(head) + sum(4 + 4 + len(entry) for entry in entries) + 4
    for entry, body in zip(entries, bodies, strict=True):
        head += _biff(0x0085, struct.pack("<I", offset) + entry)
        offset += len(body)
    book = head + _biff(0x000A) + b"".join(bodies)
    return compound(book + bytes(max(0, 4096 - len(book)) if pad else 0))


CHART = _bof(0x0020) + _xls_cell(1, 0, Error("#N/A")) + _biff(0x000A)
"""A chart inside a worksheet, with a cell of its own that shows an error."""


def many_numbers(row: int, first: int, count: int) -> bytes:
    """Return the record for several numbers side by side (MULRK)."""
    numbers = b"".join(struct.pack("<HI", 0, (number << 2) | 2) for number in range(count))
    return _biff(0x00BD, struct.pack("<HH", row, first) + numbers + struct.pack("<H", first + count - 1))


def _entry(name: str, kind: int, start: int, size: int, child: int = 0xFFFFFFFF) -> bytes:
    raw = name.encode("utf-16-le") + b"\0\0"
    head = raw.ljust(64, b"\0") + struct.pack("<HBBIII", len(raw), kind, 1, 0xFFFFFFFF, 0xFFFFFFFF, child)
    return head + bytes(16 + 4 + 16) + struct.pack("<III", start, size, 0)


def compound(book: bytes) -> bytes:
    """Wrap a workbook stream in a compound file with sectors of 512 bytes."""
    small = len(book) < 4096
    end, free = 0xFFFFFFFE, 0xFFFFFFFF
    unit = 64 if small else 512
    data = book.ljust(-(-len(book) // unit) * unit, b"\0")
    body = data.ljust(-(-len(data) // 512) * 512, b"\0")
    count = len(body) // 512
    # sectors: 0 table, 1 directory, 2 small table, 3... data
    table = [0xFFFFFFFD, end, end, *range(4, 3 + count), end]
    assert len(table) <= 128
    small_table = [*range(1, len(data) // 64), end] if small else []
    directory = (
        _entry("Root Entry", 5, 3 if small else end, len(data) if small else 0, child=1)
        + _entry("Workbook", 2, 0 if small else 3, len(book))
        + bytes(256)
    )
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, 2 if small else end, int(small), end, 0)
    header += struct.pack("<109I", 0, *[free] * 108)

    def sector(numbers: list[int]) -> bytes:
        return struct.pack(f"<{len(numbers)}I", *numbers).ljust(512, b"\xff")

    return header + sector(table) + directory + sector(small_table) + body


def read(content: bytes, name: str, size: int = 1000, **options: object) -> tuple[Sheet, list[SheetRow]]:
    with open_sheet(io.BytesIO(content), SheetOptions(**options), name=name, isolated=False) as sheet:  # type: ignore[arg-type]
        return sheet, [row for chunk in sheet.chunks(size) for row in chunk]


def refused(content: bytes, name: str = "s.xlsx", **options: object) -> str:
    with pytest.raises(SheetError) as caught:
        read(content, name, **options)
    return str(caught.value)


def saved(book: openpyxl.Workbook) -> bytes:
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def written(*rows: list[object], start: int = 1) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for number, values in enumerate(rows, start):
        for column, value in enumerate(values, 1):
            if isinstance(value, Error):
                sheet.cell(number, column, value.text).data_type = "e"
            else:
                sheet.cell(number, column, value)  # type: ignore[arg-type]
    return saved(book)


def ods(rows: str, table: str = "S") -> bytes:
    spaces = " ".join(
        f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{prefix}:1.0"' for prefix in ("office", "table", "text")
    )
    calc = 'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'
    content = (
        f"<office:document-content {spaces} {calc}><office:body><office:spreadsheet>"
        f'<table:table table:name="Other"><table:table-row><table:table-cell office:value-type="string">'
        "<text:p>#N/A</text:p></table:table-cell></table:table-row></table:table>"
        f'<table:table table:name="{table}">{rows}</table:table>'
        "</office:spreadsheet></office:body></office:document-content>"
    )
    manifest = '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
    return archive(
        {
            "mimetype": b"application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": content.encode(),
            "META-INF/manifest.xml": manifest.encode(),
        }
    )


def ods_row(*texts: str, repeated: int = 1) -> str:
    cells = "".join(
        f'<table:table-cell office:value-type="string"><text:p>{text}</text:p></table:table-cell>'
        if text
        else "<table:table-cell/>"
        for text in texts
    )
    return f'<table:table-row table:number-rows-repeated="{repeated}">{cells}</table:table-row>'


ROWS_WITH_ERRORS = [
    ["id", "name", "groups"],
    [None, "r2", Error("#N/A")],
    [None, "r3", Error("#REF!", formula=True)],
    [Error("#DIV/0!"), None, None],
    [None, "r5", None],
]


def every_format(rows: list[list[Cell]]) -> dict[str, bytes]:
    def plain(cell: Cell) -> str:
        return cell.text if isinstance(cell, Error) else f"{cell:g}" if isinstance(cell, float) else cell or ""

    return {
        "s.xlsx": written(*rows),
        "s.XLSM": written(*rows),
        "s.xlsb": xlsb(rows),
        "s.xls": xls({"S": rows}),
        "small.xls": xls({"S": rows}, pad=False),
        "s.ods": ods("".join(ods_row(*map(plain, row)) for row in rows)),
    }
