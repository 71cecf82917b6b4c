"""Spreadsheets are read in a child process: the rows are the same, and its crash harms no other process."""

import io
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from bulkid.errors import SheetError
from bulkid.runs import check
from bulkid.sheet import SheetOptions, child_process, open_sheet, open_sheet_file
from bulkid.sheet.child_process import Limits
from bulkid.sheet.isolation import open_isolated
from tests.support import sheet_books
from tests.support.sheet_books import ROWS_WITH_ERRORS, every_format, ods, ods_row, written

SAMPLES = Path(__file__).parents[2] / "sample_data"
BOOK = written(["name", "groups"], *([f"r{number}", "Ops"] for number in range(1, 51)))
SEND = "import struct, sys, orjson\ndef send(answer):\n    out = orjson.dumps(answer)\n    sys.stdout.buffer.write("
SEND += "struct.pack('<Q', len(out)) + out)\n    sys.stdout.flush()\n"


def python(program: str, **limits: float) -> Limits:
    return Limits(program=("-c", program), **limits)  # type: ignore[arg-type]


def refused(limits: Limits, content: bytes = BOOK) -> str:
    with pytest.raises(SheetError) as caught:
        open_isolated(io.BytesIO(content), "s.xlsx", "xlsx", None, limits)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(every_format(ROWS_WITH_ERRORS)))
def test_every_format_reads_the_same_as_in_this_process(name: str) -> None:
    content = every_format(ROWS_WITH_ERRORS)[name]
    options = SheetOptions(sheet="S" if name == "s.ods" else None)
    found = []
    for isolated in (False, True):
        with open_sheet(io.BytesIO(content), options, name=name, isolated=isolated) as sheet:
            found.append((sheet.info, [chunk for size in (1, 100) for chunk in sheet.chunks(size)]))
    assert found[0] == found[1]


def test_a_preview_is_the_same_too() -> None:
    path = SAMPLES / "robot_accounts.xlsx"
    with open_sheet_file(path, isolated=False) as here, open_sheet_file(path) as there:
        assert here.sheet_preview() == there.sheet_preview()


def test_a_reading_that_was_left_in_the_middle_is_begun_anew() -> None:
    book = open_isolated(io.BytesIO(BOOK), "s.xlsx", "xlsx", None)
    try:
        for _ in range(3):
            rows = book.rows(7)
            assert next(rows)[0] == ("name", "groups")
            rows.close()
        whole = [row for chunk in book.rows(7) for row in chunk]
        assert whole == [("name", "groups"), *((f"r{number}", "Ops") for number in range(1, 51))]
    finally:
        book.close()
        book.close()


def test_long_rows_come_in_answers_of_bounded_size() -> None:
    rows = [["name"], *([f"{number:05}" + "x" * 30_000] for number in range(600))]  # 18 MB, more than two answers
    book = open_isolated(io.BytesIO(written(*rows)), "s.xlsx", "xlsx", None)
    try:
        chunks = list(book.rows(10_000))
        assert len(chunks) > 2
        assert [cells[0][:5] for chunk in chunks for cells in chunk[:]][1:] == [f"{number:05}" for number in range(600)]
    finally:
        book.close()


def test_what_is_wrong_with_a_file_is_said_as_in_this_process() -> None:
    with pytest.raises(SheetError, match="is damaged") as isolated:
        open_isolated(io.BytesIO(b"PK\x03\x04 cut off"), "s.xlsx", "xlsx", None)
    with pytest.raises(SheetError) as here:
        open_sheet(io.BytesIO(b"PK\x03\x04 cut off"), name="s.xlsx", isolated=False)
    assert (isolated.value.message, isolated.value.hint) == (here.value.message, here.value.hint)


@pytest.mark.parametrize("end", ["os.abort()", "os._exit(0)", "os.kill(os.getpid(), 9)", "1 / 0"])
def test_a_child_that_ends_early_means_that_the_file_is_refused(end: str) -> None:
    if sys.platform == "win32" and "kill" in end:
        pytest.skip("Windows has no such signal")
    message = refused(python(f"import os; {end}"))
    assert message.startswith("s.xlsx cannot be read: the process that reads it ended early.")


def test_a_child_that_does_not_even_take_the_file_is_no_trouble() -> None:
    assert "ended early" in refused(python("import os; os.close(0)"), b"PK\x03\x04" + bytes(5_000_000))


def test_a_child_that_never_answers_is_ended() -> None:
    message = refused(python("import threading; threading.Event().wait()", time_s=0.2))
    assert message.startswith("s.xlsx cannot be read: it takes longer than 0.2 seconds.")


def test_a_child_that_stops_in_the_middle_of_the_rows_is_seen() -> None:
    program = SEND + "send({'name': 'S', 'notes': [], 'guessed': '', 'names': ['S']})\n"
    book = open_isolated(io.BytesIO(BOOK), "s.xlsx", "xlsx", None, python(program))
    with pytest.raises(SheetError, match="ended early"):
        list(book.rows(10))
    book.close()


def test_an_answer_of_absurd_length_is_not_waited_for() -> None:
    program = "import struct, sys, threading\nsys.stdout.buffer.write(struct.pack('<Q', 1 << 60))\nsys.stdout.flush()\n"
    assert "ended early" in refused(python(program + "threading.Event().wait()"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its address space")
def test_a_file_that_takes_more_memory_than_the_child_may_have_is_refused() -> None:
    wide = ods_row("name") + ods_row("")  # 3.9 million places: less than the scan refuses
    wide += '<table:table-row table:number-rows-repeated="240"><table:table-cell/></table:table-row><table:table-row>'
    wide += '<table:table-cell table:number-columns-repeated="16000"/><table:table-cell office:value="1"/>'
    limits = Limits(memory=300 << 20)
    with pytest.raises(SheetError, match=r"ended early|fit into memory"):
        open_isolated(io.BytesIO(ods(wide + "</table:table-row>")), "s.ods", "ods", SheetOptions(sheet="S"), limits)
    book = open_isolated(io.BytesIO(BOOK), "s.xlsx", "xlsx", None, limits)
    assert len(next(book.rows(100))) == 51
    book.close()


def test_the_child_gets_no_secrets_and_none_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BULKID_CLIENT_SECRET", "s3cret")
    monkeypatch.setenv("BULKID_DATABASE_URL", "postgresql://u:s3cret@db/x")
    session = "os.getsid(0) == os.getpid()" if sys.platform != "win32" else "True"
    program = SEND + f"import os\nsend({{'error': ' '.join(os.environ.values()) + str({session}), 'hint': ''}})\n"
    message = refused(python(program))
    assert "s3cret" not in message
    assert message.endswith("True")


def test_many_threads_may_read_at_once() -> None:
    def count(_: int) -> int:
        with open_sheet(io.BytesIO(BOOK), name="s.xlsx") as sheet:
            return sum(map(len, sheet.chunks()))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(count, range(6))) == [50] * 6


def test_a_child_ends_when_its_sheet_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def kept(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(start(*arguments, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", kept)
    with open_sheet(io.BytesIO(BOOK), name="s.xlsx"):
        assert started[0].poll() is None
    assert started[0].wait(60) is not None
    with pytest.raises(SheetError):
        open_sheet(io.BytesIO(b"PK\x03\x04"), name="s.xlsx")
    assert started[1].wait(60) is not None


@pytest.mark.parametrize("threads", [True, False])
def test_only_a_machine_that_can_start_no_thread_waits_for_the_end_of_a_child(
    threads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = MagicMock()
    starts: list[object] = []

    def started(thread: threading.Thread) -> None:
        starts.append(thread)
        if not threads:
            raise RuntimeError

    monkeypatch.setattr(threading.Thread, "start", started)
    child_process.end_child(process)
    assert len(starts) == 1
    process.kill.assert_called_once_with()
    assert process.wait.called != threads


def test_a_machine_that_can_start_no_process_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(Path("nowhere", "python").absolute()))
    with pytest.raises(SheetError, match="no process can be started"):
        open_sheet(io.BytesIO(BOOK), name="s.xlsx")


def test_checking_a_spreadsheet_reads_it_in_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.xlsx"
    path.write_bytes(BOOK)
    assert check(path).rows == 50
    monkeypatch.setattr("bulkid.sheet.isolation.Limits", lambda: python("import os; os.abort()"))
    with pytest.raises(SheetError, match="ended early"):
        check(path)


def test_the_bytes_of_a_workbook_need_no_file() -> None:
    with open_sheet(io.BytesIO(sheet_books.xls({"S": [["name"], ["r"]]})), name="s.xls") as sheet:
        assert [row.cells for chunk in sheet.chunks() for row in chunk] == [("r",)]
