"""Spreadsheets: every format, numbers as a program shows them, and what calamine does not report."""

import datetime as dt
import io
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import openpyxl
import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.styles import Font
from openpyxl.worksheet.cell_range import CellRange

from bulkid.errors import SheetError
from bulkid.sheet import archive_parts as archive_module
from bulkid.sheet import open_sheet, open_sheet_file
from bulkid.sheet import workbook as workbook_module
from bulkid.sheet.archive_parts import ScanError
from bulkid.sheet.error_scan import column_index, scan_xlsx
from bulkid.sheet.error_scan_binary import scan_xls, workbook_stream
from bulkid.sheet.formula_escape import escape_formula
from bulkid.sheet.workbook import cell_text
from tests.support import sheet_books
from tests.support.sheet_books import ROWS_WITH_ERRORS, Error, every_format, ods, ods_row, read, refused, saved, written

ROWS = [["id", "name", "groups"], ["88-uv", "Roby", "alumni-02"], [88.0, "Zoë", None]]


@pytest.mark.parametrize("name", ["s.xlsx", "s.XLSM", "s.xlsb", "s.xls", "small.xls", "s.ods"])
def test_every_format_reads_the_same(name: str) -> None:
    options = {"sheet": "S"} if name == "s.ods" else {}
    sheet, rows = read(every_format(ROWS)[name], name, **options)
    assert sheet.info.kind == name[name.index(".") + 1 :].lower()
    assert sheet.info.columns() == {"robot_account_id": "id", "name": "name", "groups": "groups"}
    assert [(row.row, row.cells) for row in rows] == [(2, ("88-uv", "Roby", "alumni-02")), (3, ("88", "Zoë", ""))]


@pytest.mark.parametrize("name", ["s.xlsx", "s.XLSM", "s.xlsb", "s.xls", "small.xls", "s.ods"])
def test_a_csv_of_bulkid_that_was_saved_as_a_workbook_reads_as_it_was(name: str) -> None:
    """A spreadsheet program keeps the apostrophes that escape formulas."""
    texts = ["=1+1", "-x", "'=1", "'plain'", "O'Neil", "@me; +49"]
    rows = [["name", "groups"], *([f"r{at}", escape_formula(text)] for at, text in enumerate(texts))]
    _, found = read(every_format(rows)[name], name, 4, **({"sheet": "S"} if name == "s.ods" else {}))
    assert [row.cells[1] for row in found] == texts


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("name", ["s.xlsx", "s.XLSM", "s.xlsb", "s.xls", "small.xls", "s.ods"])
def test_error_cells_make_their_rows_invalid_in_every_format(name: str, size: int) -> None:
    options = {"sheet": "S"} if name == "s.ods" else {}
    _, rows = read(every_format(ROWS_WITH_ERRORS)[name], name, size, **options)
    assert [
        (row.row, [(row_error.code, row_error.column, row_error.value) for row_error in row.row_errors]) for row in rows
    ] == [
        (2, [("error_cell", "groups", "#N/A")]),
        (3, [("error_cell", "groups", "#REF!")]),
        (4, [("error_cell", "id", "#DIV/0!")]),
        (5, []),
    ]


def test_the_error_cells_of_another_sheet_do_not_matter() -> None:
    good, invalid = ROWS[:2], ROWS_WITH_ERRORS[:2]
    content = sheet_books.xls({"A": invalid, "B": good, "C": invalid})
    assert not read(content, "s.xls", sheet="B")[1][0].row_errors
    assert read(content, "s.xls", sheet="C")[1][0].row_errors
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(["name"])
    book.active.append(["r"])
    book.create_sheet("B").append(["#N/A"])
    book["B"]["A1"].data_type = "e"
    assert not read(saved(book), "s.xlsx")[1][0].row_errors
    assert not read(ods(ods_row("name") + ods_row("r")), "s.ods", sheet="S")[1][0].row_errors


def test_the_cells_of_a_chart_inside_a_worksheet_are_not_its_own() -> None:
    _, rows = read(sheet_books.xls({"S": [["name"], ["r"], ["s"]]}, inside=sheet_books.CHART), "s.xls")
    assert [(row.cells, row.row_errors) for row in rows] == [(("r",), ()), (("s",), ())]


def test_errors_stand_where_they_are_when_rows_and_columns_before_them_are_blank() -> None:
    content = written([None, None, "name", "groups"], [], [None, None, "r", Error("#N/A")], start=3)
    _, rows = read(content, "s.xlsx")
    assert [(row.row, row.cells, len(row.row_errors)) for row in rows] == [(5, ("r", "#N/A"), 1)]
    repeated = (
        ods_row("", repeated=3) + ods_row("name", "groups") + ods_row("r", "#N/A", repeated=2) + ods_row("s", "x")
    )
    _, rows = read(ods(repeated), "s.ods", sheet="S")
    assert [(row.row, row.cells, len(row.row_errors)) for row in rows] == [
        (5, ("r", "#N/A"), 1),
        (6, ("r", "#N/A"), 1),
        (7, ("s", "x"), 0),
    ]


def test_messages_name_columns_as_the_spreadsheet_does_where_the_table_begins_further_right() -> None:
    assert '"name" (C), "robot" (E)' in refused(written([None, None, "name", "x", "robot"], start=3))
    assert 'are: "x", column D, "y"' in refused(written([None, None, "x", None, "y"]))
    content = written([None, None, "name", None, "groups"], [None, Error("#N/A"), "r", "y", "z"])
    sheet, _ = read(content, "s.xlsx")
    assert (sheet.first_column, sheet.info.notes) == (1, ("Ignored columns: column B, column D.",))
    with open_sheet_file(io.BytesIO(content), name="s.xlsx") as file:  # in a process of its own
        assert file.sheet_preview().first_column == 1


def test_a_formula_that_was_never_calculated_is_not_taken_for_a_blank_cell() -> None:
    _, rows = read(written(["name", "groups"], ["r", '="Fin"&"ance"'], ["s", "Ops"]), "s.xlsx")
    assert [[row_error.code for row_error in row.row_errors] for row in rows] == [["error_cell"], []]
    assert "save it there" in rows[0].row_errors[0].message


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_rows_and_columns_of_nothing_but_uncalculated_formulas_are_not_lost(size: int) -> None:
    _, rows = read(written(["name", "groups"], ["r", "Ops"], [], ["=A2", "=B2"], ["=A2", None]), "s.xlsx", size)
    assert [(row.row, bool(row.row_errors)) for row in rows] == [(2, False), (4, True), (5, True)]
    second = '<row r="2"><c r="A2"><f>B1</f></c><c r="B2" t="str"><v>r</v></c></row>'
    content = sheet_books.xlsx({"S": '<row r="1"><c r="B1" t="str"><v>name</v></c></row>' + second})
    _, rows = read(content, "s.xlsx")
    assert rows[0].cells == ("#NOT_CALCULATED!", "r")


def test_a_formula_with_an_empty_text_as_its_value_is_a_blank_cell() -> None:
    cells = '<c r="A1" t="str"><v>name</v></c><c r="B1" t="str"><v>groups</v></c>'
    more = '<c r="A2" t="str"><f>"r"</f><v>r</v></c><c r="B2" t="str"><f>""</f><v></v></c>'
    _, rows = read(sheet_books.xlsx({"S": f'<row r="1">{cells}</row><row r="2">{more}</row>'}), "s.xlsx")
    assert rows[0].cells == ("r", "")
    assert rows[0].request is not None


def test_cells_without_positions_count_on() -> None:
    row = '<row><c t="str"><v>{}</v></c><c t="{}"><v>{}</v></c></row>'
    content = sheet_books.xlsx({"S": row.format("name", "str", "groups") + row.format("r", "e", "#N/A")})
    _, rows = read(content, "s.xlsx")
    assert [(each.row, [row_error.column for row_error in each.row_errors]) for each in rows] == [(2, ["groups"])]


def test_a_telltale_is_seen_where_two_blocks_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "_BLOCK", 300)
    cells = '<row r="1"><c r="A1" t="str"><v>name</v></c></row><row r="2"><c r="A2" t="e"><v>#N/A</v></c></row>'
    for padding in range(0, 300, 4):  # the telltale has five characters
        content = sheet_books.xlsx({"S": f"<!--{'x' * padding}-->{cells}"})
        assert scan_xlsx(io.BytesIO(content), "S").errors == {2: {0: "#N/A"}}, padding


@pytest.mark.parametrize("prefix", ["", "x:"])
def test_elements_may_have_a_prefix(prefix: str) -> None:
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    content = sheet_books.xlsx({"S": ""})
    cells = "<row r='1'><c r='A1' t='str'><v>name</v></c></row><row r='2'><c r='A2' t='e'><v>#N/A</v></c></row>"
    xml = f"<worksheet><sheetData>{cells}</sheetData></worksheet>".replace("</", "\0").replace("<", f"<{prefix}")
    xml = xml.replace("\0", f"</{prefix}").replace(
        "worksheet>", f'worksheet xmlns{":x" if prefix else ""}="{main}">', 1
    )
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()} | {"xl/worksheets/sheet1.xml": xml.encode()}
    _, rows = read(sheet_books.archive(parts), "s.xlsx")
    assert [row_error.code for row_error in rows[0].row_errors] == ["error_cell"]


# --- values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (88.0, "88"),
        (-0.0, "0"),
        (88.5, "88.5"),
        (0.1 + 0.2, "0.3"),
        (0.0000001, "1E-07"),
        (0.123456789012345, "0.123456789012345"),
        (999_999_999_999_999.0, "999999999999999"),
        (1e15, "1E+15"),
        (12345678901234568.0, "1.2345678901234568E+16"),
        (12345678901234568, "1.2345678901234568E+16"),
        (True, "TRUE"),
        (False, "FALSE"),
        (dt.date(2026, 1, 31), "2026-01-31"),
        (dt.datetime(2026, 1, 31), "2026-01-31"),  # noqa: DTZ001 - spreadsheets know no zones
        (dt.datetime(2026, 1, 31, 8, 15), "2026-01-31 08:15:00"),  # noqa: DTZ001
        (dt.time(8, 15), "08:15:00"),
        (dt.timedelta(hours=30, minutes=5), "30:05:00"),
        ("00123", "00123"),
        (float("nan"), "#NUM!"),
        (float("inf"), "#NUM!"),
    ],
)
def test_values_are_written_as_users_see_them(value: object, text: str) -> None:
    assert cell_text(value) == text  # type: ignore[arg-type]


def test_number_formats_do_not_count_as_the_docs_say() -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(["name", "display_name"])
    day = dt.datetime(2026, 1, 31)  # noqa: DTZ001 - spreadsheets know no zones
    for value, number_format in ((88.0, "0.00"), (123, "00000"), (0.5, "0%"), (5, '0 "EUR"'), (day, "dd.mm.yyyy")):
        book.active.append(["r", value])
        book.active.cell(book.active.max_row, 2).number_format = number_format
    _, rows = read(saved(book), "s.xlsx")
    assert [row.cells[1] for row in rows] == ["88", "123", "0.5", "5", "2026-01-31"]


@given(st.integers(-(10**15) + 1, 10**15 - 1))
def test_numbers_that_a_spreadsheet_keeps_exactly_are_written_exactly(number: int) -> None:
    assert cell_text(float(number)) == str(number) == cell_text(number)


def test_a_long_number_makes_its_row_invalid_and_says_how_to_store_it() -> None:
    _, rows = read(written(["id"], [12345678901234567], ["12345678901234567"]), "s.xlsx")
    assert [[row_error.code for row_error in row.row_errors] for row in rows] == [["number_rounded"], []]
    assert "as text" in rows[0].row_errors[0].message


@settings(max_examples=30)
@given(
    st.lists(
        st.lists(
            st.one_of(st.none(), st.sampled_from(["a", " b ", "ü;", "#N/A"]), st.integers(0, 99)),
            min_size=2,
            max_size=2,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_written_to_a_spreadsheet_is_read_from_it(values: list[list[object]]) -> None:
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["name", "display_name"])
        for number, row in enumerate(values, 1):
            for column, value in enumerate(row):
                if value is not None:
                    sheet.write(number, column, value)
    texts = [("" if value is None else str(value) for value in row) for row in values]
    expected = [(number, cells) for number, cells in enumerate(map(tuple, texts), 2) if any(map(str.strip, cells))]
    _, rows = read(out.getvalue(), "s.xlsx", 2)
    assert [(row.row, row.cells) for row in rows] == expected


# --- worksheets


def test_the_first_visible_worksheet_is_read_and_the_choice_is_said() -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "Notes"
    book.active.sheet_state = "hidden"
    for title in ("Robots", "More"):
        book.create_sheet(title).append(["name"])
    book.create_chartsheet("Chart")
    book.active = 1
    sheet, _ = read(saved(book), "s.xlsx")
    assert sheet.info.sheet == "Robots"
    assert sheet.info.notes == (
        'Of the worksheets "Robots", "More" the first is read, "Robots"; --sheet chooses another.',
    )
    assert read(saved(book), "s.xlsx", sheet=" more ")[0].info.sheet == "More"


def test_where_the_first_worksheet_is_not_the_one_meant_the_others_are_named() -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "Cover"
    book.create_sheet("Robots").append(["name"])
    others = 'Of the worksheets "Cover", "Robots" the first is read, "Cover"; --sheet chooses another.'
    assert refused(saved(book)).endswith(others)
    book["Cover"].append(["Version", "Author"])
    assert refused(saved(book)).endswith(others)
    assert "chooses another" not in refused(saved(book), sheet="Cover")


def test_an_unknown_worksheet_is_answered_with_those_that_there_are() -> None:
    assert 'no worksheet "Bots". It has "Sheet": give one to --sheet.' in refused(written(["name"]), sheet="Bots")


def test_an_empty_worksheet_is_said_to_be() -> None:
    assert 'worksheet "Sheet", is empty' in refused(written())


def test_merged_cells_are_warned_of() -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for values in (["name", "groups"], ["a", "Ops"], ["b", None]):
        book.active.append(values)
    book.active.merge_cells("B2:B3")
    sheet, rows = read(saved(book), "s.xlsx")
    assert "merged" in sheet.info.notes[0]
    assert rows[1].cells == ("b", "")


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("before", [0, 2])
def test_what_a_merged_cell_covers_counts_as_blank(before: int, size: int) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    rows = [["name", "groups", "note"], ["a", "Ops", "x"], ["b", "hidden", "y"], ["c", "d", "e"], ["f", "g", "h"]]
    for number, values in enumerate(rows, 1 + before):
        for column, value in enumerate(values, 1 + before):
            book.active.cell(number, column, value)
    for top, left, bottom, right in ((2, 2, 3, 2), (4, 1, 5, 2)):
        book.active.merged_cells.add(
            CellRange(min_row=top + before, min_col=left + before, max_row=bottom + before, max_col=right + before)
        )
    _, found = read(saved(book), "s.xlsx", size)
    assert [row.cells for row in found] == [("a", "Ops", "x"), ("b", "", "y"), ("c", "", "e"), ("", "", "h")]


def test_what_a_merged_cell_of_ods_covers_counts_as_blank_too() -> None:
    text = '<table:{0} office:value-type="string"><text:p>{1}</text:p></table:{0}>'
    good, covered = ("table-cell", "b"), ("covered-table-cell", "hidden")
    row = f"<table:table-row>{text.format(*good)}{text.format(*covered)}</table:table-row>"
    sheet, rows = read(ods(ods_row("name", "groups") + ods_row("a", "Ops") + row), "s.ods", sheet="S")
    assert "merged" in sheet.info.notes[0]
    assert [row.cells for row in rows] == [("a", "Ops"), ("b", "")]
    assert not read(ods(ods_row("name") + ods_row("a")), "s.ods", sheet="S")[0].info.notes


INDENT = "\n      "
PARAGRAPHS = st.lists(st.sampled_from(["a", " ", "  b ", "<text:s/>", "<text:span>x</text:span>", INDENT]), max_size=4)


@settings(max_examples=60)
@given(cells=st.lists(st.lists(PARAGRAPHS, max_size=3), min_size=1, max_size=3))
def test_an_ods_whose_xml_is_indented_reads_as_one_that_is_not(cells: list[list[list[str]]]) -> None:
    """Gnumeric and SheetJS indent it."""

    def table(indent: str) -> bytes:
        def element(name: str, attributes: str, *inside: str) -> str:
            return f"<{name}{attributes}>" + "".join(indent + each for each in inside) + f"{indent}</{name}>"

        def cell(*paragraphs: list[str]) -> str:
            note = f"<office:annotation>{indent}<text:p>hidden</text:p>{indent}</office:annotation>"
            texts = [f"<text:p>{''.join(each)}</text:p>" for each in paragraphs]
            return element("table:table-cell", ' office:value-type="string"', note, *texts, "<text:p/>")

        number = element("table:table-cell", ' office:value-type="float" office:value="88"', "<text:p>88</text:p>")
        rows = [(cell(["name"]), cell(["groups"]))]
        rows += [(cell([f"r{at}"]), cell(*texts)) for at, texts in enumerate(cells)]
        names = element("table:named-expressions", "", "<table:named-range/>")
        return ods(indent.join(element("table:table-row", "", *row, number) for row in rows) + names)

    plain, indented = (read(table(each), "s.ods", sheet="S")[1] for each in ("", INDENT))
    assert [row.cells for row in indented] == [row.cells for row in plain]
    assert len(plain) == len(cells)


def test_an_ods_with_a_comment_between_its_cells_is_refused() -> None:
    row = ods_row("r").replace("<table:table-cell", " <!-- </text:p> --><table:table-cell")
    assert "cannot be read" in refused(ods(ods_row("name") + row), "s.ods", sheet="S")


# --- files that are not what they seem


def test_a_stray_cell_far_out_is_refused_before_it_takes_the_memory() -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active["A1"] = "name"
    book.active["XFD1048576"] = "x"
    assert "stray cell" in refused(saved(book))


def test_a_formatted_cell_far_out_without_a_value_does_no_harm() -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(["name"])
    book.active.append(["r"])
    book.active["XFD1048576"].font = Font(bold=True)
    assert len(read(saved(book), "s.xlsx")[1]) == 1


def test_a_stray_cell_far_out_in_xlsb_is_refused_too() -> None:
    content = sheet_books.xlsb([["name"]])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    far = b"".join(
        struct.pack("<BBIIHBBI", 0, 16, row, 0, 300, 0, 0, 0) + struct.pack("<BBIId", 5, 16, column, 0, 1.0)
        for row, column in ((1_048_574, 16_383), (1_048_575, 0))
    )
    body = parts["xl/worksheets/sheet1.bin"]
    end = body.rindex(b"\x92\x01\x00")
    parts["xl/worksheets/sheet1.bin"] = body[:end] + far + body[end:]
    assert "stray cell" in refused(sheet_books.archive(parts), "s.xlsb")


@pytest.mark.parametrize("record", [b"\x00\x04\0\0\0\0", b"\x02\x00", b"\x05\x07" + bytes(7)])
def test_a_record_too_short_for_its_place_is_refused(record: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(sheet_books.xlsb([["name"], ["r"]]))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    body = parts["xl/worksheets/sheet1.bin"]
    end = body.rindex(b"\x92\x01\x00")
    parts["xl/worksheets/sheet1.bin"] = body[:end] + record + body[end:]
    assert "too short" in refused(sheet_books.archive(parts), "s.xlsb")


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"name\nr\n", "s.xlsx", "(it is text)"),
        (b"<html><table></table></html>", "s.xls", "(it is a web page)"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "s.ods", "is not a spreadsheet"),
        (bytes(600), "s.xlsx", "is empty"),
        (b"PK\x03\x04 cut off", "s.xlsx", "is damaged"),
        (b"PK\x03\x04", "s.xls", "Rename it to .xlsx"),
        (sheet_books.xls({"S": [["name"]]}), "s.xlsx", "Rename it to .xls."),
        (sheet_books.xlsb([["name"]]), "s.xlsx", "Rename it to .xlsb."),
        (ods(ods_row("name")), "s.xlsm", "Rename it to .ods."),
        (sheet_books.xlsx({"S": ""}), "s.ods", "Rename it to .xlsx."),
        (sheet_books.archive({"word/document.xml": b"<x/>"}), "s.xlsx", "nor any other kind of spreadsheet"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le"),
            "s.xlsx",
            "password",
        ),
        (sheet_books.archive({"encrypted-package": b"x"}), "s.ods", "password"),
        (
            sheet_books.archive({"content.xml": b"x", "META-INF/manifest.xml": b"<m:encryption-data/>"}),
            "s.ods",
            "password",
        ),
        (ods("<table:table-row>"), "s.ods", "is damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "s.xls", "is damaged"),
        (sheet_books.xls({"S": [["name"]]}, locked=True), "s.xls", "password"),
        (sheet_books.xls({"S": [["name"] * 257]}), "s.xls", "column 257"),
        (sheet_books.xlsx({"S": ""}), "s.csv", "is a spreadsheet, not text"),
        (sheet_books.xls({"S": [["name"]]}), "s.csv", "is a spreadsheet, not text"),
    ],
)
def test_content_that_is_not_what_the_name_says_is_reported(content: bytes, name: str, words: str) -> None:
    assert words in refused(content, name)


def test_an_archive_that_would_unpack_to_an_absurd_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.xlsx"
    with (
        zipfile.ZipFile(io.BytesIO(sheet_books.xlsx({"S": ""}))) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
        with target.open("xl/media/zeros.bin", "w") as part:
            for _ in range(110):
                part.write(bytes(1 << 20))
    with pytest.raises(SheetError, match="would unpack to 110 MB"):
        open_sheet(path)


def test_the_absolute_limit_holds_whatever_the_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook_module, "_MAX_UNPACKED", 1000)
    assert "would unpack" in refused(written(["name"]))


def test_a_document_type_in_a_worksheet_is_refused() -> None:
    with zipfile.ZipFile(
        io.BytesIO(sheet_books.xlsx({"S": '<row r="1"><c r="A1" t="e"><v>&a;</v></c></row>'}))
    ) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"]
    parts["xl/worksheets/sheet1.xml"] = b'<!DOCTYPE w [<!ENTITY a "aaaa">]>' + sheet
    message = refused(sheet_books.archive(parts))
    assert "document type" in message or "cannot be read" in message


def test_column_letters_are_read_back() -> None:
    assert [column_index(letters) for letters in ("A", "z", "AA", "XFD")] == [0, 25, 26, 16383]


@pytest.mark.parametrize("size", [10, 4095, 4096, 5000, 30_000])
def test_the_stream_of_a_compound_file_is_found_in_small_and_large_sectors(size: int) -> None:
    book = bytes(number * 7 % 251 for number in range(size))
    assert workbook_stream(sheet_books.compound(book)) == book


def test_a_panic_inside_calamine_is_neither_raised_nor_printed(capfd: pytest.CaptureFixture[str]) -> None:
    content = sheet_books.xlsb([["name"]])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    book = parts["xl/workbook.bin"]
    parts["xl/workbook.bin"] = book.replace(
        struct.pack("<I", 4) + "rId1".encode("utf-16-le"), struct.pack("<I", 5) + bytes(8)
    )
    with pytest.raises(SheetError, match="cannot be read"):
        open_sheet(io.BytesIO(sheet_books.archive(parts)), name="s.xlsb")
    assert capfd.readouterr().err == ""


def test_a_row_number_that_no_spreadsheet_has_is_refused() -> None:
    cells = (
        '<row r="1"><c r="A1" t="str"><v>name</v></c></row><row r="9999999"><c r="A9999999" t="e"><v>#N/A</v></c></row>'
    )
    assert "is damaged" in refused(sheet_books.xlsx({"S": cells}))


def test_numbers_side_by_side_in_one_record_count_as_the_columns_that_they_take() -> None:
    content = sheet_books.xls({"S": [["name"], ["r"]]}, inside=sheet_books.many_numbers(1, 1, 3))
    assert [each.area for each in scan_xls(io.BytesIO(content))] == [2 * 4]
    assert "column 257" in refused(
        sheet_books.xls({"S": [["name"]]}, inside=sheet_books.many_numbers(1, 250, 7)), "s.xls"
    )


@pytest.mark.timeout(30)
def test_a_chain_of_sectors_that_leads_back_to_itself_is_refused() -> None:
    content = bytearray(sheet_books.xls({"S": [["name"], ["r"]]}))
    content[512 + 4 * 4 : 512 + 5 * 4] = struct.pack("<I", 3)
    with pytest.raises(ScanError, match="in a circle"):
        workbook_stream(bytes(content))


# --- any bytes


@settings(max_examples=150)
@given(st.data())
def test_damaged_spreadsheets_end_in_a_sheet_error_or_are_read(data: st.DataObject) -> None:
    name, content = data.draw(st.sampled_from(sorted(DAMAGEABLE.items())))
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    with suppress(SheetError):
        read(bytes(damaged[:cut]), name)


DAMAGEABLE = every_format(ROWS_WITH_ERRORS)
