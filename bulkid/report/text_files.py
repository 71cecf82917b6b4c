"""CSV and JSON lines files of a report or an export, and the columns of a report. No row is held in memory."""

import contextlib
import csv
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Final, Generic, TypeVar

import orjson

from bulkid.clock import iso_utc
from bulkid.model import ReportRow, Status
from bulkid.planning.export_rows import ExportedAccount
from bulkid.redaction import encodable
from bulkid.report.atomic import AtomicFile
from bulkid.resources import current
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

RETRY_STATUSES: Final = frozenset({Status.FAILED, Status.INVALID, Status.PENDING})
ERROR_HEADER: Final = "error"

Row = TypeVar("Row")


@lru_cache(maxsize=4096)
def _iso_second(epoch_s: int) -> str:
    """Write a whole second; thousands of rows share one, and formatting it costs more than the rest of the row."""
    return iso_utc(epoch_s)


def report_cells(row: ReportRow, run_id: str, text: Callable[[str], str] = str) -> tuple[Any, ...]:
    """The row's values under :data:`COLUMNS`; an absent value is None, ``finished_at`` is UTC in ISO 8601.

    ``text`` is applied to each text that comes from the sheet or from the server.
    """
    return (
        row.row,
        text(row.robot_account_id),
        text(row.name),
        row.status,
        text(row.changes),
        row.http_status,
        text(row.error_code),
        text(row.error),
        row.attempts,
        row.via,
        None if row.finished_at is None else _iso_second(int(row.finished_at)),
        run_id,
    )


def report_object(row: ReportRow, run_id: str) -> dict[str, Any]:
    """The row for ``report.jsonl``."""
    return dict(zip(COLUMNS, report_cells(row, run_id), strict=True))


class _TextFile(ABC, Generic[Row]):
    """A text file that takes rows."""

    def __init__(self, target: AtomicFile) -> None:
        self.target = target
        self._file: IO[Any] | None = None

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""

    def finish(self) -> bool:
        """Flush the file to the disk and close it; say whether there is one. An OSError means that it is not whole."""
        if self._file is None:
            return False
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return True

    def discard(self) -> None:
        """Remove the file, unless it is in place already. Never raises."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # closing flushes, and the disk may be full
                self._file.close()
        self.target.discard()


class CsvFile(_TextFile[Row]):
    """Rows as CSV. The byte order mark makes Excel read it as UTF-8.

    Args:
        target: The file.
        header: Its first line.
        cells: Gives a row's cells; None leaves the row out.
        may_be_empty: Whether a file without rows is made too.
    """

    def __init__(
        self,
        target: AtomicFile,
        header: Iterable[str],
        cells: Callable[[Row], Iterable[Any] | None],
        *,
        may_be_empty: bool = True,
    ) -> None:
        super().__init__(target)
        self._header = header
        self._cells = cells
        if may_be_empty:
            self._begin()

    def _begin(self) -> None:
        path = self.target.begin()
        self._file = path.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(self._header)

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        written = [cells for row in rows if (cells := self._cells(row)) is not None]
        if written and self._file is None:
            self._begin()
        if written:
            self._writer.writerows(written)


class JsonLinesFile(_TextFile[Row]):
    """One JSON object per row. Half a surrogate pair, which no UTF-8 file can hold, is shown as its escape."""

    def __init__(self, target: AtomicFile, to_object: Callable[[Row], dict[str, Any]]) -> None:
        super().__init__(target)
        self._file: IO[bytes] = target.begin().open("wb")
        self._to_object = to_object

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        self._file.writelines([_json_line(self._to_object(row)) for row in rows])


def _json_line(value: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        whole = {key: encodable(item) if isinstance(item, str) else item for key, item in value.items()}
        return orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE)


# --- the files of a report


def csv_report(folder: Path, run_id: str) -> CsvFile[ReportRow]:
    """Begin ``report.csv``. A cell that a spreadsheet would run as a formula is escaped.

    Changes of groups alone begin with ``+`` or ``-``; ``groups:`` in front reads better than the escape.
    """
    shown = escape_formula(run_id)

    def cells_of(row: ReportRow) -> tuple[Any, ...]:
        if row.changes.startswith(("+ ", "- ")):
            row = row._replace(changes=f"groups: {row.changes}")
        return report_cells(row, shown, escape_formula)

    return CsvFile(AtomicFile(folder, "report.csv"), COLUMNS, cells_of)


def json_report(folder: Path, run_id: str) -> JsonLinesFile[ReportRow]:
    """Begin ``report.jsonl``, whose keys are the report's columns."""
    return JsonLinesFile(AtomicFile(folder, "report.jsonl"), lambda row: report_object(row, run_id))


def retry_sheet(folder: Path, headers: Sequence[str]) -> CsvFile[ReportRow]:
    """Begin ``retry.csv``: the rows that are not done, as they came in, with an ``error`` column at the end.

    It replaces an ``error`` column of the source (a ``retry.csv`` that was run again). A formula cell is escaped so
    that reading the sheet gives it back unchanged. The first row creates the file.
    """
    width = len(headers)
    kept = [index for index, header in enumerate(headers) if header.strip().casefold() != ERROR_HEADER]

    def cells_of(row: ReportRow) -> list[str] | None:
        """The row's own cells in the order of the headers, then its error; surplus cells stay surplus."""
        if row.status not in RETRY_STATUSES:
            return None
        cells = row.cells + ("",) * (width - len(row.cells))
        error = row.error or row.error_code or row.status.value
        return [escape_formula(cell) for cell in (*[cells[index] for index in kept], error, *cells[width:])]

    header = [*(escape_formula(headers[index]) for index in kept), ERROR_HEADER]
    return CsvFile(AtomicFile(folder, "retry.csv"), header, cells_of, may_be_empty=False)


# --- the files of an export


def csv_export(target: AtomicFile, columns: Sequence[str]) -> CsvFile[ExportedAccount]:
    """Begin a CSV file of accounts, with formula cells escaped."""

    def cells_of(account: ExportedAccount) -> Iterable[str] | None:
        return None if account.cells is None else map(escape_formula, account.cells)

    return CsvFile(target, columns, cells_of)


def json_export(target: AtomicFile, columns: Sequence[str]) -> JsonLinesFile[ExportedAccount]:
    """Begin a file of one object per account: ``groups`` is a list, texts are as the server has them."""
    resource = current()

    def to_object(exported: ExportedAccount) -> dict[str, Any]:
        account = exported.account
        values = {
            resource.id_column: account.id,
            "name": account.name,
            **{key: value or None for key, value in zip(resource.keys, account.values, strict=True)},
            "groups": exported.groups,
            "partition_global_id": exported.organization_id,
            "action": exported.action,
            "created": account.created or None,
            "last_login": account.last_login or None,
        }
        return {column: values[column] for column in columns}

    return JsonLinesFile(target, to_object)
