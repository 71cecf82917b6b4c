"""The report's columns, and the report as text: ``report.csv``, ``report.jsonl`` and ``retry.csv``. No row is held."""

import contextlib
import csv
import os
from collections.abc import Sequence
from functools import lru_cache
from io import BufferedWriter
from pathlib import Path
from typing import IO, Any, Final

import orjson

from bulkid.clock import iso_utc
from bulkid.model import ReportRow, Status
from bulkid.redaction import encodable
from bulkid.report.atomic import AtomicFile
from bulkid.sheet.formula_escape import escape_formula

COLUMNS: Final = (
    "row",
    "robot_account_id",
    "name",
    "status",
    "changes",
    "http_status",
    "error_code",
    "error",
    "attempts",
    "via",
    "finished_at",
    "run_id",
)
"""The columns of every report, in order."""


@lru_cache(maxsize=4096)
def _iso_second(epoch_s: int) -> str:
    """Write a whole second; thousands of rows share one, and formatting it is dearer than the rest of the row."""
    return iso_utc(epoch_s)


def finished_at(row: ReportRow) -> str | None:
    """When the row was settled (UTC, ISO 8601, to the second), or ``None`` when it never was."""
    return None if row.finished_at is None else _iso_second(int(row.finished_at))


def csv_cells(row: ReportRow, run_id: str) -> tuple[Any, ...]:
    """The row for ``report.csv``: formula cells defused, ``None`` (written as nothing) for what is absent."""
    return (
        row.row,
        escape_formula(row.robot_account_id),
        escape_formula(row.name),
        row.status,
        escape_formula(row.changes),
        row.http_status,
        escape_formula(row.error_code),
        escape_formula(row.error),
        row.attempts,
        row.via,
        finished_at(row),
        run_id,
    )


def json_object(row: ReportRow, run_id: str) -> dict[str, Any]:
    """The row for ``report.jsonl``: ``null`` for an absent http_status, via or finished_at; texts as they are."""
    return {
        "row": row.row,
        "robot_account_id": row.robot_account_id,
        "name": row.name,
        "status": row.status,
        "changes": row.changes,
        "http_status": row.http_status,
        "error_code": row.error_code,
        "error": row.error,
        "attempts": row.attempts,
        "via": row.via,
        "finished_at": finished_at(row),
        "run_id": run_id,
    }


RETRY_STATUSES: Final = frozenset({Status.FAILED, Status.INVALID, Status.PENDING})
ERROR_HEADER: Final = "error"


def close_text(file: IO[Any]) -> None:
    """Flush to the disk, then close: an error of either must be seen before the file takes its place."""
    file.flush()
    os.fsync(file.fileno())
    file.close()


class CsvReport:
    """``report.csv``. The byte order mark is what makes Excel read it as UTF-8.

    A cell that would run as a formula is defused, for a spreadsheet that takes the comma as separator.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self.target = AtomicFile(folder, "report.csv")
        self._run_id = escape_formula(run_id)
        self._file = open_csv(self.target.begin())
        self._writer = csv.writer(self._file)
        self._writer.writerow(COLUMNS)

    def write(self, rows: Sequence[ReportRow]) -> None:
        """Append rows."""
        run_id = self._run_id
        self._writer.writerows([csv_cells(row, run_id) for row in rows])

    def finish(self) -> bool:
        """Bring the file to the disk. Always worth keeping."""
        close_text(self._file)
        return True

    def discard(self) -> None:
        """Give up the file, unless it is in place already."""
        discard_text(self._file, self.target)


class RetrySheet:
    """``retry.csv``: the rows that are not done, as they came in, with an ``error`` column at the end.

    An ``error`` column that the source has already (a ``retry.csv`` that was run again) is replaced. A formula cell is
    guarded so that reading the sheet gives it back unchanged (:mod:`bulkid.sheet.formula_escape`).
    """

    def __init__(self, folder: Path, headers: Sequence[str]) -> None:
        self.target = AtomicFile(folder, "retry.csv")
        self._width = len(headers)
        self._kept = [index for index, header in enumerate(headers) if header.strip().casefold() != ERROR_HEADER]
        self._all_kept = len(self._kept) == self._width
        self._headers = [escape_formula(headers[index]) for index in self._kept]
        self._file: IO[str] | None = None
        self._writer: Any = None

    def write(self, rows: Sequence[ReportRow]) -> None:
        """Append those rows that are not done; the first of them creates the file."""
        open_rows = [self._cells(row) for row in rows if row.status in RETRY_STATUSES]
        if not open_rows:
            return
        if self._file is None:
            self._file = open_csv(self.target.begin())
            self._writer = csv.writer(self._file)
            self._writer.writerow([*self._headers, ERROR_HEADER])
        self._writer.writerows(open_rows)

    def _cells(self, row: ReportRow) -> list[str]:
        """The row's own cells in the order of the headers, then why it is here; surplus cells stay surplus."""
        cells = row.cells
        error = escape_formula(row.error or row.error_code or row.status.value)
        if len(cells) < self._width:
            cells += ("",) * (self._width - len(cells))
        kept = cells[: self._width] if self._all_kept else [cells[index] for index in self._kept]
        return [*map(escape_formula, kept), error, *map(escape_formula, cells[self._width :])]

    def finish(self) -> bool:
        """Bring the file to the disk; say whether there is one."""
        if self._file is None:
            return False
        close_text(self._file)
        return True

    def discard(self) -> None:
        """Give up the file, unless it is in place already."""
        discard_text(self._file, self.target)


class JsonLines:
    """``report.jsonl``: one object per row, with the report's columns as keys."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self.target = AtomicFile(folder, "report.jsonl")
        self._run_id = run_id
        self._file: BufferedWriter = self.target.begin().open("wb")

    def write(self, rows: Sequence[ReportRow]) -> None:
        """Append rows."""
        run_id = self._run_id
        self._file.writelines([json_line(json_object(row, run_id)) for row in rows])

    def finish(self) -> bool:
        """Bring the file to the disk. Always worth keeping."""
        close_text(self._file)
        return True

    def discard(self) -> None:
        """Give up the file, unless it is in place already."""
        discard_text(self._file, self.target)


def json_line(value: dict[str, Any]) -> bytes:
    """One line of JSON. Half a surrogate pair, which no UTF-8 file can hold, is shown as its escape."""
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        whole = {key: encodable(item) if isinstance(item, str) else item for key, item in value.items()}
        return orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE)


def open_csv(path: Path) -> IO[str]:
    """Begin a CSV file that Excel, too, reads as UTF-8."""
    return path.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="")


def discard_text(file: IO[Any] | None, target: AtomicFile) -> None:
    """Close a file and give it up, unless it is in place already; never raises."""
    if file is not None:
        with contextlib.suppress(OSError):  # closing flushes, and the disk may be full
            file.close()
    target.discard()
