"""CSV and JSON lines files of a report or an export, and the columns of a report. No row is held in memory."""

import contextlib
import csv
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import IO, Any, Final, Generic, TypeVar

import orjson

from bulkid.clock import iso_utc
from bulkid.model import RETRY_STATUSES, ReportRow
from bulkid.planning.export_rows import ExportedAccount
from bulkid.redaction import encodable
from bulkid.report.atomic import AtomicFile
from bulkid.report.summary import ERROR_HEADER, OTHER_ERROR_HEADER
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

_GROUP_SIGNS: Final = ("+ ", "- ")

Row = TypeVar("Row")


@lru_cache(maxsize=4096)
def _iso_second(epoch_s: int) -> str:
    """Write a whole second; thousands of rows share one, and formatting it costs more than the rest of the row."""
    return iso_utc(epoch_s)


def report_cells(row: ReportRow, run_id: str) -> tuple[Any, ...]:
    """The row's values under :data:`COLUMNS`; an absent value is None, ``finished_at`` is UTC in ISO 8601."""
    finished_at = row.finished_at
    return (*row[:-2], None if finished_at is None else _iso_second(int(finished_at)), run_id)


def _csv_lines(rows: Sequence[ReportRow], run_id: str) -> Iterator[tuple[str, ...]]:
    """:func:`report_cells` of rows as CSV has them: absent values are empty, formulas escaped.

    It goes column by column, since nearly all columns need nothing to be done for single cells.
    """
    numbers, ids, names, statuses, changes, http_statuses, codes, errors, attempts, vias, ends, _ = zip(
        *rows, strict=True
    )
    return zip(
        map(str, numbers),
        _escaped(ids),
        _escaped(names),
        statuses,
        _escaped(changes),
        ["" if each is None else str(each) for each in http_statuses],
        _escaped(codes),
        _escaped(errors),
        map(str, attempts),
        [via or "" for via in vias],
        ["" if at is None else _iso_second(int(at)) for at in ends],
        repeat(run_id),
        strict=False,
    )


def _escaped(texts: Sequence[str]) -> Sequence[str]:
    """Escape the texts that a spreadsheet would run as a formula: none that begins with a letter or a digit."""
    firsts = "".join([text[:1] for text in texts])
    return texts if not firsts or firsts.isalnum() else [escape_formula(text) for text in texts]


def _join(lines: Sequence[Sequence[str]]) -> str:
    """Write lines as CSV if no cell needs quotes; else give "".

    Then the text has no other separators than those that were put in. This takes a quarter of ``csv.writer``'s time.
    """
    text = "\r\n".join(map(",".join, lines))
    widths = list(map(len, lines))
    plain = (
        min(widths, default=0) > 1  # `csv.writer` puts quotes around a line's only cell where it is empty
        and text.count(",") == sum(widths) - len(widths)
        and text.count("\r") == text.count("\n") == len(lines) - 1
        and '"' not in text
    )
    return f"{text}\r\n" if plain else ""


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
        lines: Gives the cells of rows; may leave rows out.
        may_be_empty: Whether a file without rows is made too.
    """

    def __init__(
        self,
        target: AtomicFile,
        header: Iterable[str],
        lines: Callable[[Sequence[Row]], Iterable[Sequence[str]]],
        *,
        may_be_empty: bool = True,
    ) -> None:
        super().__init__(target)
        self._header = header
        self._lines = lines
        if may_be_empty:
            self._begin()

    def _begin(self) -> IO[Any]:
        path = self.target.begin()
        file = self._file = path.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="")
        self._writer = csv.writer(file)
        self._writer.writerow(self._header)
        return file

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        lines = list(self._lines(rows)) if rows else []
        if not lines:
            return
        file = self._begin() if self._file is None else self._file
        if text := _join(lines):
            file.write(text)
        else:
            self._writer.writerows(lines)


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

    def lines_of(rows: Sequence[ReportRow]) -> Iterator[tuple[str, ...]]:
        readable = [
            row._replace(changes=f"groups: {row.changes}") if row.changes.startswith(_GROUP_SIGNS) else row
            for row in rows
        ]
        return _csv_lines(readable, shown)

    return CsvFile(AtomicFile(folder, "report.csv"), COLUMNS, lines_of)


def json_report(folder: Path, run_id: str) -> JsonLinesFile[ReportRow]:
    """Begin ``report.jsonl``, whose keys are the report's columns."""
    return JsonLinesFile(AtomicFile(folder, "report.jsonl"), lambda row: report_object(row, run_id))


def retry_sheet(folder: Path, headers: Sequence[str], fields: Sequence[str]) -> CsvFile[ReportRow]:
    """Begin ``retry.csv``: the rows that are not done, as they came in, with an ``error`` column at the end.

    It replaces an ``error`` column of the source (a ``retry.csv`` that was run again), unless the run read a field from
    that, as ``fields`` say: then the new column has another name. A formula cell is escaped so that reading the sheet
    gives it back unchanged. The first row creates the file.
    """
    width = len(headers)
    used = {index for index, field in enumerate(fields) if field}
    names = [header.strip().casefold() for header in headers]
    added = OTHER_ERROR_HEADER if any(names[index] == ERROR_HEADER for index in used) else ERROR_HEADER
    kept = [index for index, name in enumerate(names) if index in used or name not in {ERROR_HEADER, added}]

    def cells_of(row: ReportRow) -> list[str]:
        """The row's own cells in the order of the headers, then its error; surplus cells stay surplus."""
        cells = row.cells + ("",) * (width - len(row.cells))
        error = row.error or row.error_code or row.status.value
        return [escape_formula(cell) for cell in (*[cells[index] for index in kept], error, *cells[width:])]

    def lines_of(rows: Sequence[ReportRow]) -> list[list[str]]:
        return [cells_of(row) for row in rows if row.status in RETRY_STATUSES]

    header = [*(escape_formula(headers[index]) for index in kept), added]
    return CsvFile(AtomicFile(folder, "retry.csv"), header, lines_of, may_be_empty=False)


# --- the files of an export


def csv_export(target: AtomicFile, columns: Sequence[str]) -> CsvFile[ExportedAccount]:
    """Begin a CSV file of accounts, with formula cells escaped."""

    def lines_of(accounts: Sequence[ExportedAccount]) -> list[list[str]]:
        return [[escape_formula(cell) for cell in each.cells] for each in accounts if each.cells is not None]

    return CsvFile(target, columns, lines_of)


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
