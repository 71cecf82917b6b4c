"""Malicious spreadsheets: none exhausts the memory or hides an error cell."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkid.sheet.error_scan import ErrorScan, scan_xlsx
from bulkid.sheet.error_scan_ods import scan_ods
from tests.support import sheet_books
from tests.support.sheet_books import ods, ods_row, read, refused

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
HEAD = '<row r="1"><c r="A1" t="str"><v>name</v></c><c r="B1" t="str"><v>groups</v></c></row>'
FAR = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'


def changed(content: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    return sheet_books.archive(parts)


def with_sheet(xml: bytes) -> bytes:
    return changed(sheet_books.xlsx({"S": ""}), lambda parts: parts.update({"xl/worksheets/sheet1.xml": xml}))


def with_strings(rows: str, strings: str) -> bytes:
    return changed(
        sheet_books.xlsx({"S": rows}), lambda parts: parts.update({"xl/sharedStrings.xml": strings.encode()})
    )


def scanned(content: bytes) -> ErrorScan:
    return scan_xlsx(io.BytesIO(content), "S")


# --- xlsx: where cells are, whatever the spelling


@pytest.mark.parametrize(
    "cell",
    [
        '<c r = "XFD1048576"><v>1</v></c>',
        "<c r='XFD1048576'><v>1</v></c>",
        '<c\nr="XFD1048576"><v>1</v></c>',
        '<c\tr="XFD1048576"\t><v>1</v></c>',
        '<c s="0" r="XFD1048576"><v>1</v></c>',
        '<c r="xfd1048576"><v>1</v></c>',
        '<x:c r="XFD1048576"><x:v>1</x:v></x:c>',
        '<c r="XFD1048576" t="str"><v></v></c>',
        '<c r="XFD1048576" t="inlineStr"><is><t/></is></c>',
        '<c r="XFD1048575"/><c><v>1</v></c><c r="XFD1048576" t="b"><v>1</v></c>',
    ],
)
def test_a_stray_cell_is_refused_in_any_spelling(cell: str) -> None:
    namespace = MAIN.replace("xmlns", "xmlns:x")
    xml = f"<worksheet {MAIN} {namespace}><sheetData>{HEAD}<row r='1048576'>{cell}</row></sheetData></worksheet>"
    message = refused(with_sheet(xml.encode()))
    assert "stray cell" in message or "where no spreadsheet has one" in message


@pytest.mark.parametrize("place", ["XFE1", "A1048577", "AAAA1", "A0", "A", "1", "A-1", "&#88;FD1048576", "A4294967297"])
def test_a_place_that_no_spreadsheet_has_is_refused(place: str) -> None:
    message = refused(sheet_books.xlsx({"S": f'{HEAD}<row r="2"><c r="{place}"><v>1</v></c></row>'}))
    assert "no spreadsheet has one" in message or "stray cell" in message


def test_more_cells_than_a_row_has_are_refused_without_positions_too() -> None:
    assert "no spreadsheet has one" in refused(sheet_books.xlsx({"S": f"{HEAD}<row>{'<c/>' * 16_385}</row>"}))


@pytest.mark.parametrize(
    "cell",
    [
        '<c r="B2" t = "e"><v>#N/A</v></c>',
        "<c r='B2' t='e'><v>#N/A</v></c>",
        '<c t="e" r="B2"><v>#N/A</v></c>',
        '<c r="B2"\nt="e"><v>#N/A</v></c>',
        '<c r="B2" t="e"\n><v\n>#N/A</v ></c >',
        '<x:c r="B2" t="e"><x:v>#N/A</x:v></x:c>',
        '<c r="B2" t="e"/>',
        '<c r="B2"><f\n>NA()</f></c>',
        '<c r="B2"><f\tca="1">NA()</f><v/></c>',
        '<c r="B2"><f/></c>',
        '<x:c r="B2"><x:f\r\n>NA()</x:f></x:c>',
    ],
)
def test_errors_and_uncalculated_formulas_are_found_in_any_spelling(cell: str) -> None:
    namespace = MAIN.replace("xmlns", "xmlns:x")
    row = f'<row r="2"><c r="A2" t="str"><v>r</v></c>{cell}</row>'
    _, rows = read(
        with_sheet(f"<worksheet {MAIN} {namespace}><sheetData>{HEAD}{row}</sheetData></worksheet>".encode()), "s.xlsx"
    )
    assert [(row.row, [row_error.code for row_error in row.row_errors]) for row in rows] in (
        [(2, ["error_cell"])],
        [(2, ["not_calculated"])],
    )


@pytest.mark.parametrize(
    "cell",
    [
        '<c r="B2"><v><![CDATA[5]]></v></c>',
        '<c r="B2" t="str"><v>a<![CDATA[5]]></v></c>',
        '<c r="B2"><v><!-- -->5</v></c>',
        '<c r="B2"><v><?x?>5</v></c>',
        '<c r="B2"><v>1&#50;</v></c>',
        '<c r="B2" t="s"><v>&#49;</v></c>',
        '<c r="B2"><v>5</v><v/></c>',
        '<c r="B2"><v>5</v></c></row></sheetData><sheetData><row r="3"><c r="A3"><v>9</v></c>',
    ],
)
def test_a_value_that_calamine_would_read_wrong_is_refused(cell: str) -> None:
    assert "is damaged" in refused(sheet_books.xlsx({"S": f'{HEAD}<row r="2">{cell}</row>'}))


def test_references_in_texts_are_no_harm() -> None:
    cells = '<c r="A2" t="str"><v>a &amp; b&#33;</v></c><c r="B2" t="inlineStr"><is><t>R&amp;D</t></is></c>'
    _, rows = read(sheet_books.xlsx({"S": f'{HEAD}<row r="2">{cells}</row>'}), "s.xlsx")
    assert rows[0].cells == ("a & b!", "R&D")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_part_in_utf_16_is_refused_since_calamine_would_see_nothing_in_it(encoding: str) -> None:
    xml = f"<worksheet {MAIN}><sheetData>{HEAD}{FAR}</sheetData></worksheet>"
    assert "UTF-8" in refused(with_sheet(xml.encode(encoding)))


@pytest.mark.parametrize("encoding", ["cp037", "iso-8859-1", "utf-7"])
def test_another_declared_encoding_is_refused_where_the_worksheet_must_be_parsed(encoding: str) -> None:
    xml = f"<?xml version='1.0' encoding='{encoding}'?><worksheet {MAIN}><sheetData>{HEAD.replace('=', ' =')}"
    assert "UTF-8" in refused(with_sheet(f"{xml}</sheetData></worksheet>".encode()))


def test_a_tag_without_an_end_is_refused_and_not_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkid.sheet.archive_parts._MAX_TAG", 1 << 20)
    for filler in ("x" * (3 << 20), "<" * (3 << 20)):
        xml = f"<worksheet {MAIN}><sheetData>{HEAD}<!--{filler}"
        assert "more than 1 MB" in refused(with_sheet(xml.encode()))


# --- the law: one result for all spellings

SPACE = st.sampled_from([" ", "  ", "\n", "\t", "\r\n"])
NO_SPACE = st.sampled_from(["", "", " ", "\n"])
VALUES = st.sampled_from(["", "5", "text", "#N/A", "0"])


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str]:
    """Some rows as spreadsheet programs spell them, and the same in another spelling."""
    usual = unusual = ""
    prefix = draw(st.sampled_from(["", "x:"]))
    for row in range(1, draw(st.integers(1, 4)) + 1):
        cells = other = ""
        for column in draw(st.lists(st.sampled_from("ABCDE"), unique=True, max_size=4).map(sorted)):
            kind = draw(st.sampled_from(["n", "str", "e", "b"]))
            formula, value = draw(st.booleans()), draw(VALUES)
            attributes = [("r", f"{column}{row}"), ("s", "0"), ("t", kind)]
            cells += "<c " + " ".join(f'{key}="{text}"' for key, text in attributes) + ">"
            cells += ("<f>A1</f>" if formula else "") + (f"<v>{value}</v>" if value else "") + "</c>"
            other += f"<{prefix}c"
            for key, text in draw(st.permutations(attributes)):
                quote = draw(st.sampled_from("\"'"))
                shown = (
                    "".join(f"&#{ord(each)};" if draw(st.booleans()) else each for each in text) if key == "t" else text
                )
                other += draw(SPACE) + key + draw(NO_SPACE) + "=" + draw(NO_SPACE) + quote + shown + quote
            other += draw(NO_SPACE) + ">" + draw(st.sampled_from(["", "<!-- - -->", "\n"]))
            if formula:
                other += f"<{prefix}f{draw(NO_SPACE)}>A1</{prefix}f{draw(NO_SPACE)}>"
            if value:
                other += f"<{prefix}v{draw(NO_SPACE)}>{value}</{prefix}v>"
            other += f"</{prefix}c{draw(NO_SPACE)}>"
        usual += f'<row r="{row}">{cells}</row>'
        unusual += f"<{prefix}row{draw(SPACE)}r{draw(NO_SPACE)}='{row}'>{other}</{prefix}row>"
    namespace = MAIN.replace("xmlns", f"xmlns:{prefix[:-1]}") if prefix else MAIN
    whole = f"<{prefix}worksheet {namespace}><{prefix}sheetData>{unusual}</{prefix}sheetData></{prefix}worksheet>"
    return f"<worksheet {MAIN}><sheetData>{usual}</sheetData></worksheet>", whole


@settings(max_examples=200)
@given(spellings())
def test_the_scan_finds_the_same_in_every_spelling(pair: tuple[str, str]) -> None:
    usual, unusual = (scanned(with_sheet(xml.encode())) for xml in pair)
    assert usual.errors == unusual.errors
    assert usual.area >= unusual.area  # the quick search counts cells that only have a format, too


@settings(max_examples=100)
@given(spellings())
def test_what_the_quick_search_calls_harmless_is_what_the_parser_finds(pair: tuple[str, str]) -> None:
    quick = scanned(with_sheet(pair[0].encode()))
    parsed = scanned(with_sheet(pair[0].replace("<sheetData>", "<sheetData><!-- parsed -->").encode()))
    assert quick.errors == parsed.errors
    assert quick.area >= parsed.area


def test_a_few_cells_may_not_spread_as_far_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkid.sheet.error_scan._ROOM_TO_SPREAD", 100)
    for column, is_good in (("Q", True), ("R", False)):  # 4 * 5 places for the cells, 17 or 18 columns and 7 rows
        row = f'<row r="7"><c r="A7"><v>1</v></c><c r="{column}7"><v>1</v></c></row>'
        for spaces in "", " ":  # is searched, is parsed
            rows = f'{HEAD}<row r="2"><c r="A2"{spaces}><v>1</v></c></row>{row}'
            if is_good:
                assert scanned(sheet_books.xlsx({"S": rows})).cells == 5
                continue
            message = refused(sheet_books.xlsx({"S": rows}))
            assert message.startswith("s.xlsx: the 5 cells of the worksheet spread over 126 places, more than 120.")
            assert "stray cell" in message


def test_cells_with_a_format_alone_may_lie_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkid.sheet.error_scan._ROOM_TO_SPREAD", 100)
    row = '<row r="2"><c r="A2" t="str"><v>r</v></c></row><row r="7"><c r="Z7" s="0"/></row>'
    assert len(read(sheet_books.xlsx({"S": f"{HEAD}{row}"}), "s.xlsx")[1]) == 1


@pytest.mark.parametrize("name", ["s.xlsx", "s.xlsb", "s.xls", "s.ods"])
def test_so_it_is_in_every_format(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[list[sheet_books.Cell]] = [["name", "groups"], *[["r", None]] * 3, [None] * 9 + ["x"]]
    content = sheet_books.every_format(rows)[name]
    sheet = "S" if name.endswith(".ods") else None
    monkeypatch.setattr("bulkid.sheet.error_scan._ROOM_TO_SPREAD", 50 - 4 * 6)
    assert len(read(content, name, sheet=sheet)[1]) == 4
    monkeypatch.setattr("bulkid.sheet.error_scan._ROOM_TO_SPREAD", 50 - 4 * 6 - 1)
    assert "the 6 cells of the worksheet spread over 50 places" in refused(content, name, sheet=sheet)


# --- xlsx: what is declared, shared or merged


@pytest.mark.parametrize("count", ["100000000000", "10000000000000000000", "-1", "1e9", "x"])
def test_more_shared_strings_than_the_file_can_hold_are_not_made_room_for(count: str) -> None:
    strings = f'<sst {MAIN} uniqueCount = "{count}"><si><t>name</t></si></sst>'
    assert "shared strings" in refused(with_strings('<row r="1"><c r="A1" t="s"><v>0</v></c></row>', strings))


def test_one_long_text_that_a_thousand_cells_share_is_counted_a_thousand_times() -> None:
    strings = f"<sst {MAIN}><si><t>name</t></si><si><t>{'x' * 1_000_000}</t></si></sst>"
    cells = "".join(f'<row r="{row}"><c r="A{row}" t="s"><v>1</v></c></row>' for row in range(2, 1002))
    header = '<row r="1"><c r="A1" t="s"><v>0</v></c></row>'
    assert "953 million characters" in refused(with_strings(header + cells, strings))
    _, rows = read(with_strings(header + cells.replace("<v>1</v>", "<v>0</v>"), strings), "s.xlsx")
    assert len(rows) == 1000


def test_a_shared_string_in_pieces_is_measured_whole() -> None:
    piece = f"<x:r><x:t>{'x' * 100_000}</x:t></x:r>"
    strings = f"<x:sst {MAIN.replace('xmlns', 'xmlns:x')}><x:si>{piece * 10}</x:si></x:sst>"
    cells = "".join(f'<row r="{row}"><c r="A{row}" t="s"><v>0</v></c></row>' for row in range(1, 1001))
    assert "million characters" in refused(with_strings(cells, strings))


def test_too_many_merged_cells_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkid.sheet.error_scan.MAX_MERGED", 10)
    merged = "<mergeCells>" + '<mergeCell ref="A1:B1"/>' * 11 + "</mergeCells>"
    xml = f"<worksheet {MAIN}><sheetData>{HEAD}</sheetData>{merged}</worksheet>"
    assert "merged" in refused(with_sheet(xml.encode()))


@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/_rels/workbook.xml.rels"])
def test_what_is_said_twice_is_refused(part: str) -> None:
    def twice(parts: dict[str, bytes]) -> None:
        tag = b"<sheet " if part == "xl/workbook.xml" else b"<Relationship "
        start = parts[part].index(tag)
        entry = parts[part][start : parts[part].index(b"/>", start) + 2]
        parts[part] = parts[part].replace(entry, entry * 2)

    assert "same" in refused(changed(sheet_books.xlsx({"S": HEAD}), twice))


def test_a_worksheet_that_lies_elsewhere_is_missing() -> None:
    def away(parts: dict[str, bytes]) -> None:
        part = "xl/_rels/workbook.xml.rels"
        parts[part] = parts[part].replace(b"worksheets/sheet1.xml", b"http://127.0.0.1/x.xml")

    assert "worksheet is missing" in refused(changed(sheet_books.xlsx({"S": HEAD}), away))


# --- archives


def _entry_of(content: bytearray, name: bytes) -> int:
    """Where the central directory's entry of a part begins."""
    at = content.index(b"PK\x01\x02")
    while content[at + 46 : at + 46 + len(name)] != name:
        at = content.index(b"PK\x01\x02", at + 4)
    return at


def test_a_part_that_unpacks_to_more_than_it_declares_is_refused() -> None:
    visible = f"<worksheet {MAIN}><sheetData>{HEAD}</sheetData></worksheet>".encode()
    content = bytearray(with_sheet(visible + b" " * 5_000_000))
    at = _entry_of(content, b"xl/worksheets/sheet1.xml")
    struct.pack_into("<I", content, at + 16, zlib.crc32(visible))
    struct.pack_into("<I", content, at + 24, len(visible))  # what zipfile reads, and holds for whole
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("xl/worksheets/sheet1.xml") == visible
    assert "does not unpack to what" in refused(bytes(content))


def test_parts_that_share_their_bytes_are_refused() -> None:
    content = bytearray(changed(sheet_books.xlsx({"S": HEAD}), lambda parts: parts.update({"xl/a.xml": b"a" * 99})))
    first, second = (_entry_of(content, name) for name in (b"xl/workbook.xml", b"xl/a.xml"))
    content[second + 42 : second + 46] = content[first + 42 : first + 46]
    assert "share the same bytes" in refused(bytes(content))


def test_two_parts_of_one_name_are_refused() -> None:
    content = changed(sheet_books.xlsx({"S": HEAD}), lambda parts: parts.update({"XL/Worksheets/sheet1.xml": b"<x/>"}))
    assert "same name" in refused(content)


def test_too_many_parts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkid.sheet.archive_parts._MAX_PARTS", 3)
    assert "parts, more than 3" in refused(sheet_books.xlsx({"S": HEAD}))


# --- ods


def test_repeated_error_cells_are_bounded_before_they_are_written_out() -> None:
    row = '<table:table-row table:number-rows-repeated="1000000">'
    cell = '<table:table-cell table:number-columns-repeated="16000" office:value-type="string"><text:p>#N/A</text:p>'
    assert "stand for" in refused(ods(f"{ods_row('name')}{row}{cell}</table:table-cell></table:table-row>"), "s.ods")
    one = cell.replace("16000", "1")
    assert "stand for" in refused(ods(f"{ods_row('name')}{row}{one}</table:table-cell></table:table-row>"), "s.ods")


def test_many_wide_rows_are_bounded_though_none_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkid.sheet.error_scan_ods._ROOM_TO_REPEAT", 10**9)
    cell = '<table:table-cell table:number-columns-repeated="16000" table:formula="of:=1"/>'
    rows = f"<table:table-row>{cell}</table:table-row>" * 1300
    assert "spread over 20,816,001 places" in refused(ods(ods_row("name") + rows), "s.ods", sheet="S")


def test_the_other_tables_of_an_ods_count_as_well_since_all_are_laid_out() -> None:
    far = (
        '<table:table-row table:number-rows-repeated="1000000"><table:table-cell/></table:table-row><table:table-row>'
        '<table:table-cell table:number-columns-repeated="16000"/><table:table-cell office:value="1" '
        'office:value-type="float"/></table:table-row>'
    )
    other = f'<table:table table:name="Far">{far}</table:table>'
    content = changed(
        ods(ods_row("name")),
        lambda parts: parts.update(
            {
                "content.xml": parts["content.xml"].replace(
                    b"</office:spreadsheet>", other.encode() + b"</office:spreadsheet>"
                )
            }
        ),
    )
    assert "stray cell" in refused(content, "s.ods", sheet="S")


@pytest.mark.parametrize("times", ["-1", "1e9", "9" * 5000, "", "1_0", "x"])
def test_a_number_of_repeats_that_is_none_is_refused(times: str) -> None:
    row = f'<table:table-row table:number-rows-repeated="{times}"/>'
    assert "is damaged" in refused(ods(ods_row("name") + row), "s.ods", sheet="S")


def test_the_blank_rest_of_a_table_that_every_program_writes_is_no_harm() -> None:
    rest = '<table:table-cell table:number-columns-repeated="16383"/>'
    row = (
        f'<table:table-row><table:table-cell office:value-type="string"><text:p>{{}}</text:p></table:table-cell>{rest}'
    )
    blank = '<table:table-cell table:number-columns-repeated="16384"/>'
    below = f'<table:table-row table:number-rows-repeated="1048573">{blank}'
    rows = "".join(
        f"{text}</table:table-row>" for text in (row.format("name"), row.format("r"), row.format("#N/A"), below)
    )
    content = ods(rows)
    assert scan_ods(io.BytesIO(content))["S"] == ErrorScan({3: {0: "#N/A"}}, 3, 9, cells=3)
    _, found = read(content, "s.ods", sheet="S")
    assert [(each.row, bool(each.row_errors)) for each in found] == [(2, False), (3, True)]


def test_a_note_on_an_error_cell_does_not_hide_it() -> None:
    note = "<office:annotation><text:p>ask Ann</text:p></office:annotation>"
    cell = f'<table:table-cell office:value-type="string">{note}<text:p>#N/A</text:p></table:table-cell>'
    content = ods(ods_row("name") + f"<table:table-row>{cell}</table:table-row>")
    assert scan_ods(io.BytesIO(content))["S"].errors == {2: {0: "#N/A"}}


# --- binary formats


def test_an_xls_that_declares_a_whole_sheet_is_read() -> None:
    """As some programs write it, whatever the sheet holds."""
    declared = struct.pack("<HH", 0x0200, 14) + struct.pack("<IIHHH", 0, 65536, 0, 256, 0)
    book = sheet_books.xls({"S": [["name"], ["r"]]}, inside=declared)
    assert [row.cells for row in read(book, "s.xls")[1]] == [("r",)]


def test_a_declared_area_in_xls_is_not_made_room_for() -> None:
    declared = struct.pack("<HH", 0x0200, 14) + struct.pack("<IIHHH", 0, 0xFFFFFFF0, 0, 256, 0)
    assert "stray cell" in refused(sheet_books.xls({"S": [["name"], ["r"]]}, inside=declared), "s.xls")


def test_a_text_that_many_cells_of_xlsb_share_is_counted_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkid.sheet.workbook.MAX_TEXT", 100)

    def shared(parts: dict[str, bytes]) -> None:
        strings = sheet_books._record(159, struct.pack("<II", 1, 1))
        strings += sheet_books._record(19, b"\0" + struct.pack("<I", 30) + ("x" * 30).encode("utf-16-le"))
        parts["xl/sharedStrings.bin"] = strings + sheet_books._record(160)
        body = parts["xl/worksheets/sheet1.bin"]
        end = body.rindex(b"\x92\x01\x00")
        cells = b"".join(
            sheet_books._record(0, struct.pack("<IIHBBI", row, 0, 300, 0, 0, 0))
            + sheet_books._record(7, struct.pack("<III", 0, 0, 0))
            for row in range(1, 5)
        )
        parts["xl/worksheets/sheet1.bin"] = body[:end] + cells + body[end:]

    assert "characters" in refused(changed(sheet_books.xlsb([["name"]]), shared), "s.xlsb")


def test_the_names_of_worksheets_stay_on_the_line_of_their_message() -> None:
    row = '<row r="1"><c r="A1" t="inlineStr"><is><t>name</t></is></c></row>'
    names = ["first&#10;bulkid: all is well", *(f"S{number}" for number in range(30))]
    content = sheet_books.xlsx(dict.fromkeys(names, row))
    (note,) = read(content, "s.xlsx")[0].info.notes
    assert note.startswith(r'Of the worksheets "first\nbulkid: all is well", "S0", ')
    assert r'"S18" and 11 more the first is read, "first\nbulkid: all is well";' in note
    assert '"S18" and 11 more: give one to --sheet' in refused(content, sheet="none")
