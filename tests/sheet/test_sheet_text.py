"""Text sheets: encodings, delimiters, records, row numbers."""

import csv
import io
from typing import BinaryIO

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkid.errors import SheetError
from bulkid.model import SheetRow
from bulkid.sheet import Sheet, SheetOptions, csv_reader, open_sheet, reader
from bulkid.sheet.csv_reader import records
from bulkid.sheet.formula_escape import escape_formula
from bulkid.sheet.text_format import TextForm, examine, open_text


def read(
    content: bytes | str, name: str = "s.csv", size: int = 10_000, **options: object
) -> tuple[Sheet, list[SheetRow]]:
    data = content if isinstance(content, bytes) else content.encode()
    with open_sheet(io.BytesIO(data), SheetOptions(**options), name=name) as sheet:  # type: ignore[arg-type]
        return sheet, [row for chunk in sheet.chunks(size) for row in chunk]


def refused(content: bytes | str, name: str = "s.csv", **options: object) -> str:
    with pytest.raises(SheetError) as caught:
        read(content, name, **options)
    return str(caught.value)


# --- records


def bare(cells: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Drop the blank cells at the end: the width is the reader's affair."""
    return tuple(cells)[: max((at for at, cell in enumerate(cells, 1) if cell), default=0)]


PIECES = st.lists(
    st.sampled_from(["a", ",", ",", ",", '"', '""', "\n", "\r\n", "\r", " ", '"a,b"', "é", "\0", "NA", "00"])
)


@settings(max_examples=400)
@given(text=PIECES.map("".join), width=st.integers(1, 3), is_even=st.booleans(), size=st.sampled_from([1, 2, 3, 100]))
@example(text="a,b\n1,2\n1,2,3,4\n1,2\n", width=2, is_even=True, size=1)
@example(text="a,b,c\n1\n", width=1, is_even=True, size=1)
@example(text="\r,,", width=2, is_even=True, size=3)
def test_records_are_those_of_the_csv_module_whatever_the_chunks_and_the_width(
    text: str, width: int, is_even: bool, size: int
) -> None:
    form = TextForm("utf-8-sig", ",", sep_line=False, fields=width, is_even=is_even, notes=())
    *expected, last = csv.reader(io.StringIO(f"{text}\nend", newline=""))
    chunks = records(io.BytesIO(text.encode()), "s", form, size)
    if last != ["end"]:  # a quote that is never closed takes it in
        with pytest.raises(SheetError, match=f"row {len(expected) + 1} opens a double quote that is never closed"):
            list(chunks)
        return
    found = list(chunks)
    assert all(len(chunk) <= size for chunk in found)
    expected = list(csv.reader(io.StringIO(text, newline="")))
    assert [bare(cells) for chunk in found for cells in chunk] == list(map(bare, expected))


def test_a_text_whose_records_grow_longer_and_longer_is_read_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    readings: list[TextForm] = []

    def opened(stream: BinaryIO, form: TextForm) -> io.TextIOWrapper:
        readings.append(form)
        return open_text(stream, form)

    monkeypatch.setattr(csv_reader, "open_text", opened)
    expected = [tuple("x" * length) for length in range(1, 201)]
    text = "".join(",".join(cells) + "\n" for cells in expected)
    form = TextForm("utf-8-sig", ",", sep_line=False, fields=1, is_even=True, notes=())
    found = [cells for chunk in records(io.BytesIO(text.encode()), "s", form, 7) for cells in chunk]
    assert found == expected
    assert len(readings) == 2


@pytest.mark.parametrize(
    ("header", "row", "is_even"),
    [(2, 2, True), (1000, 1000, True), (10, 6, True), (10, 1, False), (1001, 1001, False)],
)
def test_pandas_reads_a_text_whose_rows_are_about_as_long_as_its_header(header: int, row: int, is_even: bool) -> None:
    text = "," * (header - 1) + "a\n" + ("," * (row - 1) + "b\n") * 50
    assert examine(io.BytesIO(text.encode()), "s", SheetOptions(), tabs=False).is_even == is_even


@pytest.mark.parametrize("at", [0, 1, 2500], ids=["header", "second", "later"])
def test_one_long_record_makes_no_cells_in_the_others(at: int) -> None:
    lines = ["name,display_name", *(f"r{number},d" for number in range(5000))]
    lines[at] += "," * 4000
    content = io.BytesIO("\n".join(lines).encode())
    table = csv_reader.open_text_table(content, "s.csv", "csv", SheetOptions())
    chunks = list(table.rows(10_000))
    assert [bare(cells) for chunk in chunks for cells in chunk] == [bare(line.split(",")) for line in lines]
    assert sum(len(cells) for chunk in chunks for cells in chunk) == 2 * len(lines) + 4000
    assert max(len(chunk) for chunk in chunks[-2:]) * 4002 <= csv_reader._CELLS_PER_CHUNK + 4002


@pytest.mark.parametrize("is_even", [True, False])
def test_a_chunk_has_a_bounded_number_of_cells(is_even: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reader, "_CELLS_PER_CHUNK", 12)
    form = TextForm("utf-8-sig", ",", sep_line=False, fields=4, is_even=is_even, notes=())
    sizes = [len(chunk) for chunk in records(io.BytesIO(b"a,b,c,d\n" * 8), "s", form, 100)]
    assert (sum(sizes), max(sizes)) == (8, 3)


def test_a_text_that_the_csv_module_reads_stays_open_where_a_reading_ends_early() -> None:
    """The search for the header ends before the last row."""
    assert len(read("name" + ",x" * 1000 + "\n" + "r\n" * 150)[1]) == 150


def test_a_record_longer_than_any_spreadsheet_is_refused_with_its_cells() -> None:
    text = "name\n" + "r\n" * 40 + "r,,\nr,,,,,\nr" + "," * csv_reader.MAX_COLUMNS
    assert "row 44 has 16,385 cells" in refused(text)
    assert read(text[:-1])[1][-1].cells == ("r",)


def test_rows_that_leave_out_nearly_all_cells_of_a_wide_header_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "name" + ",x" * 999 + "\n" + "r\n" * 20
    monkeypatch.setattr(reader, "MAX_MISSING", 20 * 999)
    assert len(read("\n" * 30 + text)[1]) == 20, "the rows above the header get no cells"
    monkeypatch.setattr(reader, "MAX_MISSING", 20 * 999 - 1)
    message = refused(text + "r" + "," * 1500)  # what one row has more makes up for nothing
    assert message.startswith("s.csv: the header has 1,000 cells, but most rows have far fewer: down to row 22 they")


def test_a_cell_too_long_for_the_csv_module_is_refused_with_its_row() -> None:
    text = "name\n" + "r\n" * 40 + "r,x\nr," + "x" * (csv.field_size_limit() + 1)
    assert "row 43 has a cell of more than 131,072 characters" in refused(text)
    assert len(read(text[:-1])[1]) == 42


@pytest.mark.parametrize("size", [1, 2, 3, 10])
@pytest.mark.parametrize("at", range(2, 7))
def test_a_surplus_cell_shifts_nothing_wherever_it_stands(at: int, size: int) -> None:
    lines = ["name,display_name", *(f"r{row},d{row}" for row in range(2, 7))]
    lines[at - 1] += ",x,y,z"
    _, rows = read("\n".join(lines) + "\n", size=size)
    assert [(row.row, row.cells[:2]) for row in rows] == [(row, (f"r{row}", f"d{row}")) for row in range(2, 7)]
    assert [row.row for row in rows if row.row_errors] == [at]
    assert rows[at - 2].cells == (f"r{at}", f"d{at}", "x", "y", "z")


def test_chunks_are_no_larger_than_asked_and_reading_again_gives_the_same() -> None:
    text = "name\n" + "".join(f"r{number}\n" for number in range(25))
    with open_sheet(io.BytesIO(text.encode())) as sheet:
        first = list(sheet.chunks(10))
        again = list(sheet.chunks(10))
    assert max(map(len, first)) <= 10
    assert first == again
    assert [row.row for chunk in first for row in chunk] == list(range(2, 27))


def test_cells_stay_as_they_came_in_and_no_type_is_guessed() -> None:
    _, rows = read("id,name,comment\n00123, NA ,null\n1e5,TRUE,\n")
    assert [row.cells for row in rows] == [("00123", " NA ", "null"), ("1e5", "TRUE", "")]
    assert rows[0].request is not None
    assert (rows[0].request.account_id, rows[0].request.name) == ("00123", "NA")


def test_rows_are_counted_as_a_spreadsheet_shows_them() -> None:
    _, rows = read('\n\nname,display_name\n\na,"two\nlines"\n , \n\nb,x\n')
    assert [(row.row, bool(row.row_errors)) for row in rows] == [(5, True), (8, False)]


def test_excels_sep_line_sets_the_delimiter_and_counts_no_row() -> None:
    sheet, rows = read("sep=|\r\nname|groups\r\nr|a;b\r\n")
    assert sheet.info.delimiter == "|"
    assert [(row.row, row.cells) for row in rows] == [(2, ("r", "a;b"))]
    sheet, rows = read(b"\xef\xbb\xbfSEP=;\nname;groups\nr;a\n")
    assert (sheet.info.delimiter, rows[0].row) == (";", 2)


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("first", ["sep=;", '"sep=;"'])
def test_the_sep_line_is_found_before_any_line_end(line_end: str, encoding: str, first: str) -> None:
    sheet, rows = read(line_end.join([first, "name;groups", 'r;"a,b"', ""]).encode(encoding))
    assert (sheet.info.delimiter, [(row.row, row.cells) for row in rows]) == (";", [(2, ("r", "a,b"))])


@pytest.mark.parametrize("encoding", ["ascii", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "above", ["#TYPE System.Management.Automation.PSCustomObject", "#TYPE Selected.System.Object{0}{0}"]
)
def test_the_line_that_powershell_writes_above_the_headers_is_passed_over(
    encoding: str, delimiter: str, above: str
) -> None:
    text = f'{above}\r\n"name","display_name"\r\n"r","Ro, by; x"\r\n'.replace('","', f'"{delimiter}"')
    sheet, rows = read(text.format(delimiter).encode(encoding))
    assert (sheet.info.delimiter, sheet.info.headers) == (delimiter, ("name", "display_name"))
    assert [(row.row, row.cells, row.row_errors) for row in rows] == [(3, ("r", "Ro, by; x"), ())]


@pytest.mark.parametrize("header", ["#TYPE System.Object,name", "#TYPE of account", "#TYPE"])
def test_other_headers_that_look_like_it_are_headers(header: str) -> None:
    assert read(f"{header},robot_account_id\na,b,c")[0].info.headers[0] == header.partition(",")[0]


def test_the_last_line_needs_no_end_and_a_header_alone_is_a_sheet_without_rows() -> None:
    assert read("name\nr")[1][0].cells == ("r",)
    assert read("name")[1] == []
    assert read("name\n\n\n")[1] == []


def test_a_trailing_delimiter_makes_no_column() -> None:
    sheet, rows = read("name,groups,\nr,a,\n")
    assert sheet.info.headers == ("name", "groups")
    assert [row.row_errors for row in rows] == [()]


def test_a_column_without_a_header_is_named_by_its_letter() -> None:
    sheet, _ = read("name,,groups\nr,x,a\n")
    assert sheet.info.notes == ("Ignored column: column B.",)


@pytest.mark.parametrize("size", [1, 100])
def test_a_quote_that_is_never_closed_is_reported_with_its_row(size: int) -> None:
    assert "row 3 opens a double quote" in refused('name\na\n"b\nc\n', size=size)


def test_a_record_wider_than_any_spreadsheet_is_refused() -> None:
    assert "row 52 has 16,500 cells" in refused("name\n" + "a\n" * 50 + "," * 16_499 + "x\n")


@given(
    st.lists(st.text(st.sampled_from("'=+-@ a\t\u200b,\n"), max_size=5).filter(bool), min_size=1, max_size=4),
    st.sampled_from([0, 1000]),
)
def test_cells_that_a_report_has_defused_come_back_as_they_were(cells: list[str], blank_headers: int) -> None:
    """So many blank headers that the csv module reads the text, or none."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerows(
        [["name", "display_name"] + [""] * blank_headers, *(["r", escape_formula(cell)] for cell in cells)]
    )
    _, rows = read(out.getvalue(), size=2)
    assert [row.cells[1] for row in rows] == cells


# --- delimiters


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "line", ["name{d}groups", "Robot{d}Display Name{d}Comment", '"name"{d}"groups"', "id{d}x{d}y{d}z"]
)
def test_delimiters_are_detected(delimiter: str, line: str) -> None:
    header = line.format(d=delimiter)
    row = delimiter.join(["r1", '"a, b; c|d"'] + ["x"] * (header.count(delimiter) - 1))
    sheet, rows = read(f"{header}\n{row}\n")
    assert sheet.info.delimiter == delimiter
    assert rows[0].cells[1] == "a, b; c|d"


def test_one_column_of_lists_is_not_taken_apart() -> None:
    sheet, rows = read("name\nr;1\nr|2\n")
    assert sheet.info.headers == ("name",)
    assert [row.cells for row in rows] == [("r;1",), ("r|2",)]


def test_a_mapped_header_tells_the_delimiter_too() -> None:
    sheet, _ = read("Bot, old;Login\nx, y;z\n", column_map={"Login": "name"})
    assert sheet.info.headers == ("Bot, old", "Login")


def test_tsv_means_tabs_whatever_it_looks_like() -> None:
    assert read("name,x\tgroups\nr\ta\n", "s.tsv", column_map={"name,x": "name"})[0].info.delimiter == "\t"


@pytest.mark.parametrize(
    ("given_as", "delimiter"), [("tab", "\t"), ("\\t", "\t"), ("Semicolon", ";"), ("^", "^"), (" ", " ")]
)
def test_a_given_delimiter_is_obeyed(given_as: str, delimiter: str) -> None:
    sheet, rows = read(f"name{delimiter}groups\nr{delimiter}a,b\n", delimiter=given_as)
    assert sheet.info.delimiter == delimiter
    assert rows[0].cells == ("r", "a,b")


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "§", "\0"])
def test_an_impossible_delimiter_is_refused(delimiter: str) -> None:
    assert "cannot be a delimiter" in refused("name\nr\n", delimiter=delimiter)


# --- encodings

NAMES = "Jörg Müller, Zoë, 経理ロボット, Łódź"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", [NAMES, "plain"])
def test_unicode_is_read_with_and_without_a_mark_and_without_a_note(encoding: str, name: str) -> None:
    text = f'name\tdisplay_name\r\nrobot-1\t"{name}"\r\n'
    sheet, rows = read(text.encode(encoding))
    assert rows[0].cells == ("robot-1", name)
    assert bool(sheet.info.notes) == (encoding in {"utf-16-le", "utf-16-be"})


@pytest.mark.parametrize(
    ("encoding", "codec", "name"),
    [
        ("cp1252", "cp1252", "Jörg Müller, Größe €5"),
        ("shift_jis", "cp932", "経理ロボット"),
        ("gb18030", "gb18030", "财务部机器人,请求书处理账户"),
    ],
)
def test_other_encodings_are_detected_and_said_with_an_example(encoding: str, codec: str, name: str) -> None:
    text = "name,display_name\n" + f'robot-1,"{name}"\n' * 20
    sheet, rows = read(text.encode(encoding))
    assert rows[0].cells[1] == name
    assert sheet.info.encoding == codec
    assert codec in sheet.info.notes[0]
    assert name[:4] in sheet.info.notes[0]
    assert "--encoding" in sheet.info.notes[0]


def test_a_byte_that_is_not_utf8_far_behind_is_still_found() -> None:
    text = b"name,display_name\n" + b"r,x\n" * 400_000 + "r,Müller\n".encode("cp1252")
    with open_sheet(io.BytesIO(text)) as sheet:
        assert sheet.info.encoding == "cp1252"


@pytest.mark.parametrize(("given_as", "codec"), [("UTF8", "utf-8-sig"), ("latin-1", "iso8859-1"), (" cp850 ", "cp850")])
def test_a_given_encoding_is_obeyed_without_a_note(given_as: str, codec: str) -> None:
    sheet, rows = read("name,display_name\nr,Größe\n".encode(codec), encoding=given_as)
    assert rows[0].cells[1] == "Größe"
    assert sheet.info.encoding == codec
    assert sheet.info.notes == ()


def test_a_given_encoding_that_does_not_fit_is_reported_with_line_and_offset() -> None:
    for end in ("\n", "\r"):
        message = refused(f"name{end}r1{end}Müller{end}".encode("cp1252"), encoding="utf-8")
        assert "is not utf-8, as --encoding says: byte 0xFC in line 3 (offset 9)" in message
    assert "byte 0xFC in line 3 (offset 11)" in refused("name\r\nr1\r\nMüller".encode("cp1252"), encoding="utf-8")


@given(st.integers(0, 3_000_000).filter(lambda at: at % 7 != 0))
@settings(max_examples=10)
def test_the_place_of_an_undecodable_byte_is_right_across_blocks(at: int) -> None:
    text = bytearray(b"name,x\n" * 430_000)
    text[at] = 0xFF
    message = refused(bytes(text), encoding="utf-8")
    assert f"(offset {at})" in message
    assert f"line {bytes(text[:at]).count(10) + 1} " in message


def test_the_place_is_right_where_a_character_is_cut_by_the_end_of_a_block() -> None:
    text = bytearray(b"name,x\n" * 200_000)
    text[(1 << 20) - 1] = 0xC3
    assert f"byte 0xC3 in line 149797 (offset {(1 << 20) - 1})" in refused(bytes(text), encoding="utf-8")


def test_a_text_cut_within_a_character_is_reported() -> None:
    assert "the end of the file" in refused("name\nré".encode()[:-1], encoding="utf-8") or "0xC3" in refused(
        "name\nré".encode()[:-1], encoding="utf-8"
    )


def test_bytes_of_every_kind_are_refused() -> None:
    everything = b"name\n" + bytes(range(0x80, 0x100)) * 40 + b"\x81\x8d\x8f\x90\x9d"
    assert "is not certain" in refused(everything)


@pytest.mark.parametrize(
    "encoding", ["nonsense", "hex", "rot13", "", "zip", "undefined", "utf-8\0", "unicode-escape", "idna"]
)
def test_an_encoding_that_is_none_is_refused(encoding: str) -> None:
    message = refused("name\nr\n", encoding=encoding)
    assert "encoding" in message


def test_a_file_of_zeros_or_machine_code_is_no_text() -> None:
    assert "not a text file" in refused(b"name\n\x7fELF\0\0\0\1\2\3" + bytes(range(256)))


@pytest.mark.parametrize("content", [b"", b"\n\n  \r\n", b"\xef\xbb\xbf", b"sep=;\n", "\ufeff".encode("utf-16")])
def test_an_empty_text_is_said_to_be(content: bytes) -> None:
    assert "is empty" in refused(content)


def test_a_text_that_begins_with_very_many_blank_lines_is_not_said_to_be_empty() -> None:
    assert read("\n" * 60_000 + "name\nr\n")[1][0].row == 60_002
    assert "is empty" in refused("\n" * 60_000)
    message = refused("\n" * 70_000 + "name\nr\n")
    assert message.startswith("s.csv begins with more than 65,536 blank characters. Remove the blank lines above")
