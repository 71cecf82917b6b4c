"""A file that changes while it is read is refused, so that no row is wrong."""

import os
from pathlib import Path

import pytest

from bulkid.errors import SheetError
from bulkid.sheet import open_sheet, workbook
from tests.support.sheet_books import written

ROWS = 40_000  # more than what is read ahead


def lines(prefix: str) -> str:
    return "name,display name\n" + "".join(f"{prefix}{number},Name {number}\n" for number in range(ROWS))


def later(path: Path) -> None:
    """Give a file the time of a later change, however coarse the file system's clock is."""
    facts = path.stat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1_000_000_000))


@pytest.mark.parametrize("prefix", ["r", "robot-"], ids=["same size", "other size"])
def test_a_text_that_is_rewritten_in_place_is_refused(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "s.csv"
    path.write_text(lines("n"))
    with open_sheet(path) as sheet:
        chunks = sheet.chunks(1_000)
        next(chunks)
        path.write_text(lines(prefix))
        later(path)
        with pytest.raises(SheetError, match=r"s\.csv was changed while it was read"):
            list(chunks)


def test_a_text_that_stays_is_read_twice(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text(lines("n"))
    with open_sheet(path) as sheet:
        for _ in range(2):
            assert sum(map(len, sheet.chunks())) == ROWS


def test_a_spreadsheet_that_is_written_while_it_is_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.xlsx"
    path.write_bytes(written(["name"], ["roby"]))
    real = workbook.open_worksheet

    def opened(*arguments: object) -> object:
        found = real(*arguments)  # type: ignore[arg-type]
        later(path)
        return found

    monkeypatch.setattr(workbook, "open_worksheet", opened)
    with pytest.raises(SheetError, match="was changed while it was read"):
        open_sheet(path, isolated=False)
