"""Opening: paths, standard input, errors of files, and the sample sheets."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkid.errors import EXIT_USAGE, SheetError
from bulkid.sheet import EXTENSIONS, SheetOptions, open_sheet
from bulkid.sheet import reader as reader_module

SAMPLES = Path(__file__).parents[2] / "sample_data"


class Pipe(io.RawIOBase):
    """Bytes that come in small pieces and can be read once, as from a pipe."""

    def __init__(self, content: bytes) -> None:
        self._rest = content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        piece, self._rest = self._rest[: min(7, len(buffer))], self._rest[min(7, len(buffer)) :]
        buffer[: len(piece)] = piece
        return len(piece)


def refused(source: str | Path | BinaryIO, **options: object) -> str:
    with pytest.raises(SheetError) as caught:
        open_sheet(source, SheetOptions(**options))  # type: ignore[arg-type]
    assert caught.value.exit_code == EXIT_USAGE
    return str(caught.value)


def test_a_path_may_be_text_or_a_path_and_names_the_sheet(tmp_path: Path) -> None:
    path = tmp_path / "Roboter Übersicht.CSV"
    path.write_bytes(b"name\nr\n")
    for source in (path, str(path)):
        with open_sheet(source) as sheet:
            assert sheet.info.source == str(path)
            assert [row.cells for chunk in sheet.chunks() for row in chunk] == [("r",)]
    with open_sheet(path, name="the sheet") as sheet:
        assert sheet.info.source == "the sheet"


@pytest.mark.parametrize("spool", [8, 1 << 20])
def test_standard_input_is_read_once_and_need_not_seek(spool: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "_SPOOL_IN_MEMORY", spool)
    pipe = Pipe(b"name;groups\nr;a\n" * 3)
    with open_sheet(pipe) as sheet:  # type: ignore[arg-type]
        assert sheet.info.source == "standard input"
        assert sheet.info.kind == "csv"
        assert sheet.info.delimiter == ";"
        assert [row.row for chunk in sheet.chunks(1) for row in chunk] == [2, 3, 4, 5, 6]


def test_closed_standard_input_is_reported() -> None:
    stream = io.BytesIO(b"name\n")
    stream.close()
    assert "standard input cannot be read" in refused(stream)


def test_a_missing_file_is_answered_with_similar_names(tmp_path: Path) -> None:
    (tmp_path / "robots.xlsx").touch()
    (tmp_path / "robots.doc").touch()
    message = refused(tmp_path / "robtos.xlsx")
    assert "does not exist. Did you mean" in message
    assert str(tmp_path / "robots.xlsx") in message
    assert "robots.doc" not in message
    assert "the folder is" in refused(tmp_path / "zzz.csv")
    with pytest.raises(SheetError) as caught:
        open_sheet(tmp_path / "zzz.csv", name="of a user.csv")
    assert str(caught.value) == "of a user.csv does not exist.", "the user knows no folder"
    assert "no folder" in refused(tmp_path / "nowhere" / "robots.csv")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("robots.doc", [".doc", *EXTENSIONS]),
        ("robots", ["without an extension", ".csv"]),
        ("~$robots.xlsx", ["lock"]),
        ("a\0b.csv", ["cannot be read"]),
        ("x" * 5000 + ".csv", ["cannot be read"]),
    ],
)
def test_a_name_that_cannot_be_a_sheet_is_reported(tmp_path: Path, name: str, words: list[str]) -> None:
    with suppress(OSError, ValueError):  # two of the names can be no file's
        (tmp_path / name).write_text("name\nr\n", encoding="utf-8")
    message = refused(f"{tmp_path}/{name}")
    assert all(word in message for word in words), message


def test_a_folder_and_an_empty_file_are_reported(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refused(tmp_path / "folder.csv")
    for name in ("empty.csv", "empty.xlsx"):
        (tmp_path / name).touch()
        assert "is empty" in refused(tmp_path / name)


def test_a_file_that_may_not_be_read_is_reported_with_the_likely_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "locked.csv"
    path.write_bytes(b"name\n")
    if os.name == "posix" and os.geteuid() != 0:
        path.chmod(0)
    else:  # the superuser may read everything, and Windows has locks instead

        def locked(*_: object, **__: object) -> BinaryIO:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", locked)
    assert "permission denied. Close it in the spreadsheet program" in refused(path)


def test_worksheets_are_not_for_texts() -> None:
    assert "no worksheets" in refused(io.BytesIO(b"name\n"), sheet="Robots")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux shows them")
def test_opening_and_closing_leaves_no_file_open(tmp_path: Path) -> None:
    good, invalid = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_bytes(b"name\nr\n")
    invalid.write_bytes(b"colour\nr\n")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with open_sheet(good) as sheet:
            next(sheet.chunks(1))
        with open_sheet(SAMPLES / "robot_accounts.xlsx") as sheet:
            next(sheet.chunks(1))
        with suppress(SheetError):
            open_sheet(invalid)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_sheet_that_was_given_up_halfway_can_be_closed(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(b"name\n" + b"r\n" * 100)
    sheet = open_sheet(path)
    chunks = sheet.chunks(10)
    next(chunks)
    sheet.close()
    chunks.close()
    path.unlink()  # Windows refuses this while a file is open


def test_a_file_that_changes_while_it_is_read_ends_in_a_sheet_error(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(b"name\n" + b"r\n" * 10)
    with open_sheet(path) as sheet:
        path.write_bytes(b"name\n\xff\n" + b"r\n" * 10)
        with pytest.raises(SheetError):
            list(sheet.chunks())


def test_cells_that_hold_the_word_null_are_noted_for_each_column_that_changes_accounts() -> None:
    header = "name,display\u200b_name,groups_to_add,remark"
    lines = [header, "NULL,NULL,Null,NULL", "NULL2,NULL,,NULL", "r3,x,NULL,NULL"]
    with open_sheet(io.BytesIO("\n".join(lines).encode())) as sheet:
        (before,) = sheet.info.notes
        for _ in range(2):
            rows = [row for chunk in sheet.chunks(2) for row in chunk]
        assert sheet.info.notes[0] == before
        (note,) = sheet.info.notes[1:]
    assert note.startswith('2 cells of the column "display_name" hold the word NULL')
    assert [row.request.values for row in rows if row.request] == [("NULL",), ("NULL",), ("x",)], "a name may be NULL"


def test_the_sample_with_errors_shows_the_row_errors_that_it_says() -> None:
    with open_sheet(SAMPLES / "with_errors.csv") as sheet:
        rows = [row for chunk in sheet.chunks(7) for row in chunk]
        column = sheet.info.headers.index("expected_fault")
        assert sheet.info.notes == ('Ignored column: "expected_fault".',)
    good = [row for row in rows if not row.cells[column]]
    assert [row.request.name for row in good if row.request] == ["robot-0001", "robot-0002"]
    for row in rows:
        expected = row.cells[column]
        offline = [] if expected.startswith("online:") else [code for code in expected.split("; ") if code]
        assert sorted(row_error.code for row_error in row.row_errors) == offline, row.row
    reported = {code for row in rows for code in row.cells[column].split("; ")}
    assert reported >= {
        "missing_account",
        "error_cell",
        "number_rounded",
        "control_character",
        "too_long",
        "bad_id",
        "clear_not_allowed",
        "clear_not_alone",
        "bad_list",
        "everyone_cannot_be_removed",
        "add_and_remove",
        "exact_with_changes",
        "header_again",
        "surplus_cells",
        "online:unknown_account",
        "online:unknown_group",
        "online:account_mismatch",
        "online:contradiction",
        "online:wrong_organization",
    }


@pytest.mark.parametrize("name", ["robot_accounts.csv", "robot_accounts.xlsx", "migration.csv"])
def test_the_good_samples_have_no_row_error(name: str) -> None:
    with open_sheet(SAMPLES / name) as sheet:
        rows = [row for chunk in sheet.chunks() for row in chunk]
    assert len(rows) >= 100
    assert [row.row_errors for row in rows if row.row_errors] == []


def test_the_two_forms_of_the_sample_say_the_same() -> None:
    read = []
    for name in ("robot_accounts.csv", "robot_accounts.xlsx"):
        with open_sheet(SAMPLES / name) as sheet:
            read.append([row.request for chunk in sheet.chunks() for row in chunk])
    assert read[0] == read[1]


LIKELY = st.lists(
    st.sampled_from(
        [b"name", b"id", b"groups", b",", b";", b"\n", b'"', b"\0", b"\xff\xfe", b"\xe9", b"sep=;\n", b"\r", b"x"]
    )
).map(b"".join)


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=200), LIKELY, LIKELY.map(lambda tail: b"name,groups\n" + tail)))
@example(b"name\n\x81\x8d")
@example(b"\xff\xfe\x00")
@example(b"\xff\xfe\x00\xd8name")
def test_any_bytes_are_either_rows_or_a_sheet_error(content: bytes) -> None:
    with suppress(SheetError), open_sheet(io.BytesIO(content)) as sheet:
        rows = [row for chunk in sheet.chunks(3) for row in chunk]
        assert all((row.request is None) == bool(row.row_errors) for row in rows)
        assert [row.row for row in rows] == sorted({row.row for row in rows})


@settings(max_examples=100)
@given(
    st.binary(max_size=60),
    st.sampled_from(
        [
            "utf-8",
            "utf-16",
            "utf-7",
            "cp037",
            "shift_jis",
            "utf-32-be",
            "iso2022_jp",
        ]
    ),
)
def test_any_bytes_in_any_given_encoding_are_either_rows_or_a_sheet_error(content: bytes, encoding: str) -> None:
    with suppress(SheetError), open_sheet(io.BytesIO(b"name\nr\n" + content), SheetOptions(encoding=encoding)) as sheet:
        assert sum(map(len, sheet.chunks(2))) >= 0


def test_pandas_is_not_imported_before_a_sheet_is_read() -> None:
    import subprocess

    heavy = ("pandas", "rapidfuzz", "bulkid.sheet.legacy_encoding", "python_calamine")
    code = f"import sys, bulkid.sheet; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SAMPLES.parent)
    assert done.stdout.strip() == "[]"
