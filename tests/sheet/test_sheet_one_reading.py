"""A spreadsheet that two programs read differently is refused or read as it is shown."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import pytest
import xlsxwriter

from tests.support import sheet_books
from tests.support.sheet_books import Error, ods, ods_row, read, refused

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
HEAD = '<row r="1"><c r="A1" t="str"><v>name</v></c><c r="B1" t="str"><v>groups</v></c></row>'
GOOD = sheet_books.xlsx({"S": f'{HEAD}<row r="2"><c r="A2" t="str"><v>good</v></c></row>'})
HIDDEN = (
    f'<worksheet {MAIN}><sheetData>{HEAD}<row r="2"><c r="A2" t="str"><v>other</v></c><c r="B2" t="e"><v>#N/A</v></c>'
    "</row></sheetData></worksheet>"
).encode()
SHEET, RELATIONS, BOOK = "xl/worksheets/sheet1.xml", "xl/_rels/workbook.xml.rels", "xl/workbook.xml"


def changed(content: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    return sheet_books.archive(parts)


def cells(content: bytes, name: str = "s.xlsx", **options: object) -> list[tuple[tuple[str, ...], list[str]]]:
    """Return the cells and the codes of the errors of each row."""
    return [(row.cells, [each.code for each in row.row_errors]) for row in read(content, name, **options)[1]]


# --- xlsx


def with_shared(number: str) -> bytes:
    strings = f"<sst {MAIN}><si><t>name</t></si><si><t>groups</t></si><si><t>Finance</t></si></sst>"
    row = f'<row r="2"><c r="A2" t="str"><v>r</v></c><c r="B2" s="0" t="s"><v>{number}</v></c></row>'
    return changed(
        sheet_books.xlsx({"S": HEAD + row}), lambda parts: parts.update({"xl/sharedStrings.xml": strings.encode()})
    )


def test_the_number_of_a_shared_text_is_plain_digits_or_the_file_is_refused() -> None:
    assert cells(with_shared("2")) == [(("r", "Finance"), [])]
    for number in (" 2", "2\n", "2.0", "-1", "+2", "x", "9" * 30, "\uff12"):
        assert "shared text" in refused(with_shared(number)), number


def test_a_shared_text_within_another_is_refused_since_it_shifts_the_numbers_of_all_that_follow() -> None:
    strings = f"<sst {MAIN}><si><t>name</t></si><si><t>gro<si></si>ups</t></si><si><t>Finance</t></si></sst>"
    content = changed(with_shared("2"), lambda parts: parts.update({"xl/sharedStrings.xml": strings.encode()}))
    assert "within another" in refused(content)


def test_a_cell_without_a_place_is_where_calamine_takes_it_to_be() -> None:
    row = '<row r="2"><c r="A2" t="str"><v>x</v></c><c r="A5" t="str"><v>far</v></c><c t="e"><v>#N/A</v></c></row>'
    assert cells(sheet_books.xlsx({"S": HEAD + row})) == [(("x", "#N/A"), ["error_cell"]), (("far", ""), [])]
    row = '<row r="2"><c r="A5" t="str"><v>far</v></c></row><row><c t="str"><v>y</v></c><c t="e"><v>#N/A</v></c></row>'
    assert cells(sheet_books.xlsx({"S": HEAD + row})) == [(("y", "#N/A"), ["error_cell"]), (("far", ""), [])]


@pytest.mark.parametrize(
    "rows",
    [
        '<row r="2"><c r="A2" t="str"><v>x</v></c></row><c t="e"><v>#N/A</v></c>',
        '<row r="2"><row r="9"/><c t="str"><v>x</v></c><c t="e"><v>#N/A</v></c></row>',
    ],
)
def test_a_cell_in_no_row_and_a_row_in_a_row_are_refused(rows: str) -> None:
    assert "row" in refused(sheet_books.xlsx({"S": HEAD + rows}))


def test_a_formula_of_a_text_that_has_no_value_was_never_calculated() -> None:
    row = '<row r="2"><c r="A2" t="str"><v>r</v></c><c r="B2" t="str"><f>A1</f>{}</c></row>'
    assert cells(sheet_books.xlsx({"S": HEAD + row.format("")}))[0][1] == ["error_cell"]
    assert cells(sheet_books.xlsx({"S": HEAD + row.format("<v></v>")})) == [(("r", ""), [])]


@pytest.mark.parametrize("declaration", ['encoding="ISO-8859-1"', "encoding = 'windows-1252'"])
def test_a_worksheet_that_declares_another_encoding_is_refused_also_where_it_need_not_be_parsed(
    declaration: str,
) -> None:
    xml = f'<?xml version="1.0" {declaration}?><worksheet {MAIN}><sheetData>{HEAD}</sheetData></worksheet>'
    assert "UTF-8 only" in refused(changed(GOOD, lambda parts: parts.update({SHEET: xml.encode()})))


# --- which part holds the worksheet


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("worksheets/../worksheets/sheet1.xml", "xl/worksheets/../worksheets/sheet1.xml"),
        ("./worksheets/sheet1.xml", "xl/./worksheets/sheet1.xml"),
        ("worksheets//sheet1.xml", "xl/worksheets//sheet1.xml"),
        ("worksheets/sheet&#49;.xml", "xl/worksheets/sheet&#49;.xml"),
        ("//xl/worksheets/sheet1.xml", "/xl/worksheets/sheet1.xml"),
    ],
)
def test_a_second_worksheet_under_an_odd_name_does_not_pass_for_the_first(target: str, part: str) -> None:
    def hide(parts: dict[str, bytes]) -> None:
        parts[RELATIONS] = parts[RELATIONS].replace(b"worksheets/sheet1.xml", target.encode())
        parts[part] = HIDDEN

    assert "read in two ways" in refused(changed(GOOD, hide))


def test_a_worksheet_that_is_said_twice_to_lie_somewhere_is_refused() -> None:
    def hide(parts: dict[str, bytes]) -> None:
        parts[BOOK] = parts[BOOK].replace(b'r:id="rId1"', b'r:id="rId1" x:id="rId2" xmlns:x="x"')
        parts[RELATIONS] = parts[RELATIONS].replace(
            b"</Relationships>", b'<Relationship Id="rId2" Type="/worksheet" Target="other.xml"/></Relationships>'
        )
        parts["xl/other.xml"] = HIDDEN

    assert "says twice" in refused(changed(GOOD, hide))


def test_a_workbook_of_another_name_is_refused_since_calamine_does_not_ask_for_the_name() -> None:
    def hide(parts: dict[str, bytes]) -> None:
        parts["xl/other.xml"], parts["xl/_rels/other.xml.rels"] = parts[BOOK], parts[RELATIONS]
        parts["_rels/.rels"] = parts["_rels/.rels"].replace(b"xl/workbook.xml", b"xl/other.xml")
        parts[RELATIONS] = parts[RELATIONS].replace(b"worksheets/sheet1.xml", b"hidden.xml")
        parts["xl/hidden.xml"] = HIDDEN

    assert "workbook.xml" in refused(changed(GOOD, hide))


# --- archives


def test_a_part_with_a_second_name_is_refused() -> None:
    def renamed(name: str, to: str) -> zipfile.ZipInfo:
        field = struct.pack("<BI", 1, zlib.crc32(name.encode())) + to.encode()
        entry = zipfile.ZipInfo(name)
        entry.extra = struct.pack("<HHI", 0x0001, 4, 0) + struct.pack("<HH", 0x7075, len(field)) + field
        return entry

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as archive, zipfile.ZipFile(out, "w") as file:
        for name in archive.namelist():
            file.writestr(renamed(name, "junk.xml") if name == SHEET else name, archive.read(name))
        file.writestr(renamed("trash.xml", SHEET), HIDDEN)
    assert "read in two ways" in refused(out.getvalue())


def _end_of(content: bytes) -> int:
    return content.rindex(b"PK\x05\x06")


def _patched(content: bytes, offset: int, *numbers: int) -> bytes:
    """Write numbers of two bytes into the record that ends an archive."""
    patched = bytearray(content)
    struct.pack_into(f"<{len(numbers)}H", patched, _end_of(content) + offset, *numbers)
    return bytes(patched)


def test_an_archive_with_two_directories_is_refused() -> None:
    hidden = changed(GOOD, lambda parts: parts.update({SHEET: HIDDEN}))
    (count,) = struct.unpack_from("<H", GOOD, _end_of(GOOD) + 8)
    for content in (
        hidden + GOOD,
        hidden + _patched(GOOD, 4, 1),  # on another disk
        _patched(hidden, 20, len(GOOD)) + GOOD,  # as the comment
        _patched(GOOD, 8, count - 1, count - 1),
        GOOD + b"x" * 30,
        b"PK\x03\x04" + GOOD,
    ):
        assert "directory of its parts" in refused(content)
    assert cells(_patched(GOOD, 20, 2) + b"hi") == [(("good", ""), [])]


def test_the_0_of_a_formula_that_its_program_did_not_calculate_is_no_value() -> None:
    content = io.BytesIO()
    with xlsxwriter.Workbook(content) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["name", "groups"])
        sheet.write_row(1, 0, ["r", '="Fin"&"ance"'])
        sheet.write_row(2, 0, ["s", 0])
        sheet.write_row(3, 0, ["t"])
        sheet.write_formula(3, 1, '="O"&"ps"', value="Ops")
    others = [(("s", "0"), []), (("t", "Ops"), [])]
    assert cells(content.getvalue()) == [(("r", "#NOT_CALCULATED!"), ["error_cell"]), *others]

    def calculated(parts: dict[str, bytes]) -> None:
        parts["xl/workbook.xml"] = parts["xl/workbook.xml"].replace(b' fullCalcOnLoad="1"', b"")

    assert cells(changed(content.getvalue(), calculated)) == [(("r", "0"), []), *others]


# --- ods

TEXT = '<table:table-cell office:value-type="string"'
TIME = '<table:table-cell office:value-type="time" office:time-value'


def with_cell(cell: str) -> bytes:
    name = f"{TEXT}><text:p>r</text:p></table:table-cell>"
    return ods(f"{ods_row('name', 'groups')}<table:table-row>{name}{cell}</table:table-row>")


@pytest.mark.parametrize(
    "cell",
    [
        f'{TEXT} office:string-value="" calcext:value-type="error"><text:p>#MISSING</text:p></table:table-cell>',
        f'{TEXT} office:string-value="" calcext:value-type="error"/>',
        f'{TEXT} office:string-value=""><text:p>#\u041d/\u0414</text:p></table:table-cell>',
        '<table:table-cell table:formula="of:=A1"/>',
        '<table:table-cell table:formula="of:=A1" office:value-type="float"/>',
        '<table:table-cell table:formula="of:=A1" office:value-type="float"><text:p/></table:table-cell>',
        '<table:table-cell table:formula="of:=A1"><office:annotation><text:p/></office:annotation></table:table-cell>',
    ],
)
def test_errors_and_uncalculated_formulas_of_ods_are_found_in_any_language(cell: str) -> None:
    assert cells(with_cell(cell), "s.ods", sheet="S")[0][1] == ["error_cell"]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("<table:table-cell><text:p>Finance</text:p></table:table-cell>", "Finance"),
        ('<table:table-cell office:value-type="float"><text:p>5</text:p></table:table-cell>', "5"),
        (f'{TIME}="PT07H05M00S"><text:p>7:05</text:p></table:table-cell>', "07:05:00"),
        (f'{TIME}="PT30H05M00S"><text:p>30:05:00</text:p></table:table-cell>', "30:05:00"),
        (f"{TEXT}><text:p>Fin<text:line-break/>HR</text:p></table:table-cell>", "Fin\nHR"),
        (f"{TEXT}><text:p>Fin</text:p><text:p>HR</text:p></table:table-cell>", "Fin\nHR"),
        (f'{TEXT}><text:p>R<text:s text:c="2"/>D</text:p></table:table-cell>', "R  D"),
        (
            f'{TEXT}><text:p>Finance</text:p><draw:g xmlns:draw="d"><text:p>HR</text:p></draw:g></table:table-cell>',
            "Finance",
        ),
        (f'{TEXT} office:string-value=""/>', ""),
        (f'{TEXT} office:string-value="" table:formula="of:=A1"/>', ""),
        ('<table:table-cell table:formula="of:=A1"><text:p/></table:table-cell>', ""),  # of LibreOffice
        (f'{TEXT} office:string-value="raw"><text:p>shown</text:p></table:table-cell>', "raw"),
    ],
)
def test_a_cell_of_ods_is_read_as_it_is_shown(cell: str, text: str) -> None:
    assert cells(with_cell(cell), "s.ods", sheet="S") == [(("r", text), [])]


def test_a_tab_in_a_cell_of_ods_is_not_left_out() -> None:
    cell = f"{TEXT}><text:p>Fin<text:tab/>ance</text:p></table:table-cell>"
    assert cells(with_cell(cell), "s.ods", sheet="S") == [(("r", "Fin\tance"), ["control_character"])]


def test_the_texts_of_ods_are_bounded_as_often_as_they_are_repeated() -> None:
    long = f'{TEXT} table:number-columns-repeated="5000"><text:p>{"y" * 200_000}</text:p></table:table-cell>'
    assert "953 million characters" in refused(with_cell(long), "s.ods", sheet="S")
    for count in ("3000000000", "999999999", "-1"):
        cell = f'{TEXT}><text:p>a<text:s text:c="{count}"/></text:p></table:table-cell>'
        assert "repeats" in refused(with_cell(cell), "s.ods", sheet="S")


@pytest.mark.parametrize(("prefix", "kind"), [("t", "table"), ("office", "text"), ("", "text")])
def test_an_ods_with_unusual_prefixes_is_refused_since_calamine_would_pass_over_its_cells(
    prefix: str, kind: str
) -> None:
    space = f'{"xmlns:" + prefix if prefix else "xmlns"}="urn:oasis:names:tc:opendocument:xmlns:{kind}:1.0"'
    assert "prefix" in refused(with_cell(f"{TEXT} {space}/>"), "s.ods", sheet="S")


# --- binary formats


def with_records(records: bytes) -> bytes:
    def add(parts: dict[str, bytes]) -> None:
        body = parts["xl/worksheets/sheet1.bin"]
        end = body.rindex(b"\x92\x01\x00")
        row = sheet_books._record(0, struct.pack("<IIHBBI", 1, 0, 300, 0, 0, 0))
        name = sheet_books._record(6, struct.pack("<II", 0, 0) + sheet_books._wide("r"))
        parts["xl/worksheets/sheet1.bin"] = body[:end] + row + name + records + body[end:]

    return changed(sheet_books.xlsb([["name", "groups"]]), add)


def test_a_rich_text_of_xlsb_is_not_blank() -> None:
    rich = sheet_books._record(62, struct.pack("<IIB", 1, 0, 0) + sheet_books._wide("Finance"))
    assert cells(with_records(rich), "s.xlsb") == [(("r", "Finance"), [])]


def test_what_a_merged_cell_of_xlsb_covers_counts_as_blank() -> None:
    hidden = sheet_books._record(6, struct.pack("<II", 1, 0) + sheet_books._wide("hidden"))
    merged = sheet_books._record(176, struct.pack("<4I", 1, 1, 0, 1))
    for records, text in ((hidden, "hidden"), (hidden + merged, "")):
        sheet, rows = read(with_records(records), "s.xlsb")
        assert rows[0].cells == ("r", text)
        assert [("merged" in note) for note in sheet.info.notes] == [True] * (not text)


def test_a_formula_without_a_value_below_all_values_counts_as_blank_where_a_merged_cell_covers_it() -> None:
    row = '<row r="2"><c r="A2" t="str"><v>r</v></c><c r="B2" t="str"><v>Finance</v></c></row>'
    hidden = '<row r="3"><c r="B3"><f>1+1</f></c></row>'
    for merged, expected in (("", [[], ["error_cell", "missing_account"]]), ('<mergeCell ref="B2:B3"/>', [[]])):
        sheet = f"<sheetData>{HEAD}{row}{hidden}</sheetData><mergeCells>{merged}</mergeCells>"
        xml = f"<worksheet {MAIN}>{sheet}</worksheet>".encode()
        found = cells(changed(GOOD, lambda parts, xml=xml: parts.update({SHEET: xml})))
        assert [errors for _, errors in found] == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (13, struct.pack("<I", 7 << 2 | 2)),
        (14, b"\x2a"),
        (15, b"\1"),
        (16, struct.pack("<d", 7.5)),
        (17, sheet_books._wide("Finance")),
        (18, struct.pack("<I", 0)),
    ],
)
def test_a_cell_of_xlsb_in_the_short_form_is_not_left_out(kind: int, value: bytes) -> None:
    """SheetJS writes them: each stands in the column after the cell before, and calamine passes over them."""
    short = sheet_books._record(kind, struct.pack("<I", 0) + value)
    assert "short form" in refused(with_records(short), "s.xlsb")
    assert cells(with_records(sheet_books._record(12, struct.pack("<I", 0))), "s.xlsb") == [(("r", ""), [])]


def of_sheetjs(content: bytes) -> bytes:
    about = b"<Properties><Application>SheetJS</Application></Properties>"
    return changed(content, lambda parts: parts.update({"docProps/app.xml": about}))


@pytest.mark.parametrize("blanks", [0, 1])
@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (13, struct.pack("<I", 7 << 2 | 2), "7"),
        (14, b"\x2a", "#N/A"),
        (15, b"\1", "TRUE"),
        (16, struct.pack("<d", 7.5), "7.5"),
        (17, sheet_books._wide("Finance" * 30), "Finance" * 30),
    ],
)
def test_the_short_cells_of_sheetjs_stand_next_to_the_cells_before_them(
    kind: int, value: bytes, text: str, blanks: int
) -> None:
    short = sheet_books._record(kind, struct.pack("<I", 0) + value)
    gap = sheet_books._record(12, struct.pack("<I", 0)) * blanks
    whole = sheet_books._record(6, struct.pack("<II", 1, 0) + sheet_books._wide("x"))
    (found,) = cells(of_sheetjs(with_records(gap + short)), "s.xlsb")
    assert found[0] == ("r", *[""] * blanks, text)
    (found,) = cells(of_sheetjs(with_records(whole + gap + short)), "s.xlsb")
    assert found[0] == ("r", "x", *[""] * blanks, text)


def test_a_short_cell_of_sheetjs_at_the_begin_of_a_row_is_refused() -> None:
    row = sheet_books._record(0, struct.pack("<IIHBBI", 2, 0, 300, 0, 0, 0))
    short = sheet_books._record(15, struct.pack("<I", 0) + b"\1")
    assert "stands next to no other one" in refused(of_sheetjs(with_records(row + short)), "s.xlsb")


def test_a_worksheet_of_xlsb_that_is_listed_twice_is_refused() -> None:
    def twice(parts: dict[str, bytes]) -> None:
        entry = sheet_books._record(
            156, struct.pack("<II", 0, 1) + sheet_books._wide("rId1") + sheet_books._wide("Sheet1")
        )
        parts["xl/workbook.bin"] = parts["xl/workbook.bin"].replace(
            sheet_books._record(132), entry + sheet_books._record(132)
        )

    assert "same name" in refused(changed(sheet_books.xlsb([["name"]]), twice), "s.xlsb")


def xls_with(*records: bytes) -> bytes:
    return sheet_books.xls({"S": [["name", "groups"], ["r", None]]}, inside=b"".join(records))


BIFF = sheet_books._biff


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([BIFF(0x0200, struct.pack("<IIHHH", 0, rows, 0, 255, 0)) for rows in (1 << 31, 2)], "spread"),
        (
            [BIFF(0x0009, bytes(4)), sheet_books._xls_cell(2, 1, Error("#N/A")), BIFF(0x000A)],
            "do not begin as those of a workbook",
        ),
        ([BIFF(0x00FD, struct.pack("<HHHI", 1, 1, 0, 7))], "shared text"),
        ([BIFF(0x0204, struct.pack("<HHHHB", 1, 1, 0, 3, 1) + b"F\0i\0")], "cut off"),
        ([BIFF(0x0207, struct.pack("<HB", 1, 0) + b"Z")], "without the formula"),
        (
            [BIFF(0x0006, struct.pack("<HHH", 1, 1, 0) + bytes([0, 0, 0, 0, 0, 0, 255, 255]) + bytes(8))],
            "without the text",
        ),
        ([BIFF(0x0203, bytes(3))], "too short"),
    ],
)  # fmt: skip
def test_a_cell_of_xls_that_calamine_would_leave_out_or_cut_is_refused(records: list[bytes], words: str) -> None:
    assert words in refused(xls_with(*records), "s.xls")


def test_a_formula_of_xls_with_a_text_is_read() -> None:
    formula = BIFF(0x0006, struct.pack("<HHH", 1, 1, 0) + bytes([0, 0, 0, 0, 0, 0, 255, 255]) + bytes(8))
    text = BIFF(0x0207, struct.pack("<HB", 7, 0) + b"Finance")
    assert cells(xls_with(formula, text), "s.xls") == [(("r", "Finance"), [])]


@pytest.mark.parametrize(
    ("flags", "value", "options", "row"),
    [
        (0, 0.0, 0, ("#NOT_CALCULATED!", ["error_cell"])),
        (0, 7.0, 0, ("7", [])),
        (1, 0.0, 0, ("0", [])),  # Excel sets a flag
        (1, 0.0, 2, ("#NOT_CALCULATED!", ["error_cell"])),  # of another program, which leaves the value to Excel
        (1, 7.0, 2, ("7", [])),
    ],
)
def test_a_formula_whose_value_a_program_wrote_as_zero_is_not_taken_for_0(
    flags: int, value: float, options: int, row: tuple[str, list[str]]
) -> None:
    formula = BIFF(0x0006, struct.pack("<HHHdH", 1, 1, 0, value, options) + bytes(6))
    content = bytearray(xls_with(formula))
    struct.pack_into("<I", content, content.index(sheet_books._bof(0x0005)) + 12, flags)
    assert cells(bytes(content), "s.xls") == [(("r", row[0]), row[1])]


def test_a_character_of_xls_that_calamine_cannot_decode_is_not_replaced() -> None:
    """LibreOffice cuts an emoji in two where a record of the shared texts ends."""
    half = BIFF(0x0204, struct.pack("<HHHHB", 1, 1, 0, 1, 1) + "\U0001f44d".encode("utf-16-le")[:2])
    assert "a character in row 2 cannot be read" in refused(xls_with(half), "s.xls")
    whole = BIFF(0x0204, struct.pack("<HHHHB", 1, 1, 0, 2, 1) + "\U0001f44d".encode("utf-16-le"))
    assert cells(xls_with(whole), "s.xls") == [(("r", "\U0001f44d"), [])]


@pytest.mark.parametrize(("user", "row"), [(b"None", ("#NOT_CALCULATED!", ["error_cell"])), (b"\4\0\0jane", ("", []))])
def test_a_formula_that_xlwt_wrote_is_not_taken_for_a_blank_cell(user: bytes, row: tuple[str, list[str]]) -> None:
    """The library xlwt writes an empty text for the value of every formula. Excel writes one where it is the value."""
    formula = BIFF(0x0006, struct.pack("<HHH", 1, 1, 0) + bytes([3, 0, 0, 0, 0, 0, 255, 255]) + bytes(8))
    content = sheet_books.xls({"S": [["name", "groups"], ["r", None]]}, inside=formula, user=user)
    assert cells(content, "s.xls") == [(("r", row[0]), row[1])]


def test_of_two_workbooks_in_one_xls_the_newer_one_is_scanned_as_it_is_read() -> None:
    """Excel 97 could save both; the older one came first in the directory here, and had no error."""
    content = bytearray(sheet_books.xls({"S": [["name", "groups"], ["r", Error("#N/A")]]}))
    directory = 512 * 2
    book = content[directory + 128 : directory + 256]
    older = bytearray(book)
    older[:64] = "Book".encode("utf-16-le").ljust(64, b"\0")
    struct.pack_into("<H", older, 64, 10)
    struct.pack_into("<II", older, 116, 0xFFFFFFFE, 4096)
    content[directory + 128 : directory + 384] = bytes(older) + book
    assert cells(bytes(content), "s.xls") == [(("r", "#N/A"), ["error_cell"])]
