"""Texts read in a child process that was started ahead: the same rows and errors as in this process."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bulkid import cli
from bulkid.errors import SheetError
from bulkid.runs import check
from bulkid.sheet import SheetOptions, child_process, open_sheet, open_sheet_file, reader
from bulkid.sheet.child_process import Limits, SpareChild, spare_child
from bulkid.sheet.isolation import open_isolated
from bulkid.sheet.text_format import UncertainEncodingError
from tests.support.forked_command import ForkedCommand

ROWS = b'name,display_name,groups_to_add\nroby,NA,00123\n,,\nzo,"two\nlines, quoted",Ops\n'
LAST_ROWS = "".join(f"r{number},Robot {number}\n" for number in range(250))
LATIN = SheetOptions(encoding="cp1252")
TEXTS = {
    "plain": ("s.csv", ROWS, SheetOptions()),
    "old line ends": ("s.txt", ROWS.replace(b"\n", b"\r"), SheetOptions()),
    "tabs by name": ("s.tsv", b"name\tdisplay_name\nroby\ta,b\n", SheetOptions()),
    "Excel's first line": ("s.csv", b"sep=;\nname;display_name\nroby;Roby\n", SheetOptions()),
    "UTF-16": ("s.csv", ROWS.decode().encode("utf-16"), SheetOptions()),
    "an encoding that is given": ("s.csv", "name,display_name\nroby,Zoë\n".encode("cp1252"), LATIN),
    "mapped columns": (
        "s.csv",
        b"who|shown\nroby|Roby\n",
        SheetOptions(column_map={"who": "name", "shown": "display_name"}),
    ),
    "an ignored column": ("s.csv", b"name,dispaly_name\nroby,R\n", SheetOptions(ignore_columns=("dispaly_name",))),
    "escaped formulas": ("s.csv", b"name,display_name\nroby,'=1+1\n", SheetOptions()),
    "rows that grow wider": ("s.csv", f"name,display_name\n{LAST_ROWS}roby,a,b,c,d\n".encode(), SheetOptions()),
    "no header for a field": ("s.csv", b"name,dispaly_name\nroby,R\n", SheetOptions()),
    "an open quote": ("s.csv", f'name,display_name\n{LAST_ROWS}roby,"R\n'.encode(), SheetOptions()),
    "an uncertain encoding": ("s.csv", "name,display_name\nroby,Ayşe\n".encode("cp1254"), SheetOptions()),
    "a byte that is no text": ("s.csv", b"name\nro\xff\xfeby\n", SheetOptions(encoding="utf-8")),
    "an unknown encoding": ("s.csv", ROWS, SheetOptions(encoding="\udcff")),
    "a worksheet of a text": ("s.csv", ROWS, SheetOptions(sheet="S")),
    "a spreadsheet": ("s.csv", b"PK\x03\x04", SheetOptions()),
    "nothing but blanks": ("s.csv", b" \n \n", SheetOptions()),
    "a header alone": ("s.csv", b"\n\nname\n", SheetOptions()),
}


def reading(path: Path, options: SheetOptions) -> list[Any]:
    """Everything that a reading of a sheet brings, or the error that ends it."""
    found: list[Any] = []
    try:
        with open_sheet(path, options) as sheet:
            found.append(sheet.info)
            for size in (7, 10_000):
                found.extend(sheet.chunks(size))
    except SheetError as error:
        found += [type(error), error.message, error.hint, getattr(error, "readings", None)]
    return found


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "s.csv"
    path.write_bytes(ROWS)
    return path


class ForkedChild:
    """A child as a copy of a process that has imported pandas, which takes a child most of its time."""

    def __init__(self, limits: Limits, *arguments: str) -> None:
        reading, writing = os.pipe()
        *_, program = limits.program
        env = child_process.child_environment()
        self._copy = ForkedCommand(arguments, folder=Path.cwd(), env=env, stdin=reading, program=program)
        os.close(reading)
        self._copy.stderr.close()
        self.stdin, self.stdout = os.fdopen(writing, "wb"), self._copy.stdout.buffer
        self.kill, self.wait = self._copy.kill, self._copy.wait


@pytest.mark.parametrize("case", TEXTS)
def test_a_text_reads_the_same_as_in_this_process(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "linux":
        monkeypatch.setattr(child_process, "start_child", ForkedChild)
    name, content, options = TEXTS[case]
    path = tmp_path / name
    path.write_bytes(content)
    with spare_child.started(for_text=False):  # pandas is imported by those that come to rows
        there = reading(path, options)
        assert spare_child.take() is None
    assert there == reading(path, options)
    assert there


def test_what_is_not_certain_says_so_as_itself(text: Path) -> None:
    text.write_bytes("name,display_name\nroby,Ayşe\n".encode("cp1254"))
    with spare_child.started(for_text=False), pytest.raises(UncertainEncodingError) as caught:
        open_sheet(text)
    assert any("Ayşe" in line for _, line in caught.value.readings["cp1254"])


def test_a_preview_is_the_same_too(text: Path) -> None:
    with spare_child.started(for_text=True), open_sheet_file(text) as there, open_sheet_file(text) as here:
        assert there.sheet_preview() == here.sheet_preview()


def test_a_reading_that_was_left_in_the_middle_is_begun_anew(text: Path) -> None:
    with spare_child.started(for_text=True), open_sheet(text) as sheet:
        for _ in range(3):
            rows = sheet.chunks(1)
            assert next(rows)[0].cells[0] == "roby"
            rows.close()
        assert [row.row for chunk in sheet.chunks() for row in chunk] == [2, 4]


def test_a_text_that_is_too_long_for_a_child_is_read_here(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_TEXT_SENT", len(ROWS) - 1)
    with spare_child.started(for_text=False):
        assert check(text).rows == 2
        unused = spare_child.take()
        assert unused is not None
        unused.communicate()
    monkeypatch.setattr(reader, "MAX_TEXT_SENT", len(ROWS))
    with spare_child.started(for_text=False):
        assert check(text).rows == 2
        assert spare_child.take() is None


def test_a_text_that_is_written_while_it_is_opened_is_refused(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = reader.open_isolated

    def later(*arguments: Any, **options: Any) -> Any:
        table = opened(*arguments, **options)
        os.utime(text, ns=(0, 1_000_000_000))
        return table

    monkeypatch.setattr(reader, "open_isolated", later)
    with spare_child.started(for_text=False), pytest.raises(SheetError, match="was changed while it was read"):
        open_sheet(text)


@pytest.mark.parametrize("end", ["os.abort()", "1 / 0", "sys.stdin.buffer.read(20), os._exit(0)"])
def test_a_child_that_ends_early_means_that_the_text_is_refused(
    end: str, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "Limits", lambda: Limits(program=("-c", f"import os, sys; {end}")))
    with spare_child.started(for_text=True), pytest.raises(SheetError, match="ended early") as caught:
        open_sheet(text)
    assert caught.value.hint == "Check that the file is the right one, and is CSV."


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its address space")
def test_a_text_that_takes_more_memory_than_the_child_may_have_is_refused() -> None:
    limits = Limits(memory=120 << 20)  # less than Python and pandas take together
    with (
        pytest.raises(SheetError, match=r"ended early|fit into memory|split into cells"),
        closing(open_isolated(io.BytesIO(ROWS * 500_000), "s.csv", "csv", None, limits)) as table,
    ):
        list(table.rows(10_000))


# --- the child that is started ahead


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list["subprocess.Popen[bytes]"]]:
    found: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def kept(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        found.append(start(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(subprocess, "Popen", kept)
    yield found
    assert all(process.wait(60) is not None for process in found)


def test_a_child_without_a_sheet_ends_with_the_command(started: "list[subprocess.Popen[bytes]]") -> None:
    with spare_child.started(for_text=False):
        assert started[0].poll() is None
    assert len(started) == 1


def test_a_child_without_a_parent_ends_by_itself(started: "list[subprocess.Popen[bytes]]") -> None:
    spare = SpareChild()
    with spare.started(for_text=False):
        process = spare.take()
        assert process is not None
        process.communicate()  # closes its input
        assert process.returncode == 0
    assert started == [process]


def test_a_child_that_has_imported_what_reads_texts_collects_garbage_again() -> None:
    program = """
import gc, sys
from bulkid.sheet.isolated_child import main
main()
print("pandas" in sys.modules, gc.isenabled(), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "text"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert done.stderr.split() == ["True", "True"]


def test_one_child_reads_one_sheet(text: Path, started: "list[subprocess.Popen[bytes]]") -> None:
    with spare_child.started(for_text=True), open_sheet(text) as there, open_sheet(text) as here:
        assert list(there.chunks()) == list(here.chunks())
    assert len(started) == 1


def test_a_machine_that_can_start_no_process_reads_the_text_here(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(Path("nowhere", "python").absolute()))
    with spare_child.started(for_text=True):
        assert check(text).rows == 2


@pytest.mark.parametrize(
    ("module", "needless"),
    [
        ("child_process", {"bulkid.sheet.isolation", "bulkid.sheet.cells", "bulkid.model", "orjson", "dataclasses"}),
        ("isolated_child", {"bulkid.sheet.reader", "bulkid.sheet.row_parser", "pandas", "python_calamine"}),
    ],
)
def test_what_starts_the_child_and_the_child_import_no_more_than_they_need(module: str, needless: set[str]) -> None:
    program = f"import sys, bulkid.sheet.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert needless.isdisjoint(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [
        ("check s.csv", "csv"),
        ("--state-dir s.csv check S.XLSX", "csv"),
        ("plan S.XLSX --json", "xlsx"),
        ("run --yes s.csv", "csv"),
        ("run -", ""),
        ("run none.csv", ""),
        ("run folder.csv", ""),
        ("run job.toml", ""),
        ("export s.csv", ""),
        ("", ""),
    ],
)
def test_the_sheet_of_a_command_line_is_known_by_its_name(
    arguments: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("s.csv", "S.XLSX", "job.toml"):
        Path(name).write_bytes(ROWS)
    Path("folder.csv").mkdir()
    assert cli.ending_of_sheet(arguments.split()) == ending


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_no_child_is_started_for_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.csv")
    assert cli.ending_of_sheet(["check", str(tmp_path / "p.csv")]) == ""


@pytest.mark.parametrize("cores", [1, 2])
def test_a_command_reads_its_sheet_without_pandas_where_there_are_two_cores(text: Path, cores: int) -> None:
    text.write_bytes(b"name,display_name\nroby,R\n,\nzo,Z\n")
    program = f"""
import sys
from bulkid import cli
cli.usable_cores = lambda: {cores}
try:
    cli.main()
finally:
    print("pandas" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "check", str(text)], capture_output=True, text=True, check=True
    )
    assert "2 rows, 2 accounts" in done.stdout
    assert done.stdout.splitlines()[-1] == str(cores == 1)


def test_the_cores_that_may_be_used_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert cli.usable_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cli.usable_cores() == 1
