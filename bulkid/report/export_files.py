"""The files of an export: csv, xlsx and jsonl, written page by page and put in place whole."""

import contextlib
import csv
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from bulkid.errors import UsageError
from bulkid.planning import ExportedAccount
from bulkid.report.atomic import AtomicFile, ReportError, next_free, reason, sync
from bulkid.report.formats import exporters
from bulkid.report.text_report import close_text, discard_text, json_line, open_csv
from bulkid.report.xlsx_report import (
    HEADER_COLOURS,
    MAX_SHEET_ROWS,
    close_workbook,
    discard_workbook,
    display_width,
    displayable,
    open_workbook,
    print_settings,
    style_number,
    text_cell,
)
from bulkid.resources import current
from bulkid.sheet import column_letters
from bulkid.sheet.formula_escape import escape_formula
from bulkid.text import listing

MAX_EXPORT_ROWS: Final = MAX_SHEET_ROWS - 1
"""Accounts that one worksheet holds below its header; a run reads one worksheet."""

_WIDTHS: Final = {"name": (14, 40), "groups": (20, 70), "created": (22, 30), "last_login": (22, 30)}
"""The least and the largest width of a column, in characters."""


class ExportFile(Protocol):
    """A file that takes accounts. It has its name only once :func:`put_in_place` has renamed it."""

    target: AtomicFile

    def write(self, accounts: Sequence[ExportedAccount]) -> None:
        """Append accounts."""

    def finish(self) -> None:
        """Bring the file to the disk."""

    def discard(self) -> None:
        """Give up the file, unless it is in place already."""


def fits(cell: str) -> bool:
    """Whether a cell comes back from a spreadsheet as it was put in: no control character, not too long."""
    return displayable(cell) == cell


def open_export(path: Path, *, replace: bool) -> ExportFile:
    """Begin an export, so that what stands in its way is known before anything is asked of a server.

    Args:
        path: Where it is to be; the ending says as what.
        replace: Whether a file that is there already may be replaced.

    Raises:
        UsageError: The ending is unknown, there is such a file, or none can be written there.
    """
    files = exporters()
    kind = path.suffix.lower().removeprefix(".")
    if kind not in files:
        raise UsageError(
            f"{path}: an export ends in {listing((f'.{name}' for name in files), 'or')}.",
            hint="Name the file so that its ending says the format.",
        )
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder.", hint="Name a file in it.")
        if not replace and os.path.lexists(path):
            raise UsageError(f"{path} exists already.", hint="Name another file, or replace it with --force.")
        return files[kind](AtomicFile(path.absolute().parent, path.name))
    except FileNotFoundError:
        raise UsageError(f"There is no folder {path.absolute().parent}.", hint="Check the path.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"{path} cannot be written: {why}.", hint="Name a file in a folder that you may write to."
        ) from None


@contextlib.contextmanager
def os_errors_as_usage_error(path: Path) -> Iterator[None]:
    """Turn an operating system's error while writing into a sentence.

    Raises:
        ReportError: For any ``OSError`` inside.
    """
    try:
        yield
    except OSError as error:
        raise ReportError(
            f"Could not write {path}: {reason(error)}.", hint="Make room or name another folder, and export again."
        ) from error


def put_in_place(file: ExportFile, *, replace: bool) -> Path:
    """Put a finished export in place; beside it where another program holds it open or has made it meanwhile.

    Raises:
        OSError: When neither place takes it.
    """
    target = file.target.folder / file.target.name
    if replace or not os.path.lexists(target):
        return file.target.commit()
    target = next_free(target)
    file.target.temp.replace(target)
    return target


class CsvExport:
    """CSV for spreadsheets: UTF-8 with byte order mark, formula cells guarded (:mod:`bulkid.sheet.formula_escape`)."""

    def __init__(self, target: AtomicFile) -> None:
        self.target = target
        self._file = open_csv(target.begin())
        self._writer = csv.writer(self._file)
        self._writer.writerow(current().export_columns)

    def write(self, accounts: Sequence[ExportedAccount]) -> None:
        """Append accounts."""
        self._writer.writerows([map(escape_formula, each.cells) for each in accounts if each.cells is not None])

    def finish(self) -> None:
        """Bring the file to the disk."""
        close_text(self._file)

    def discard(self) -> None:
        """Remove the file, unless it is in place already."""
        discard_text(self._file, self.target)


class JsonLinesExport:
    """One object per account, with the names of the columns; ``groups`` is a list, texts are as the server has them."""

    def __init__(self, target: AtomicFile) -> None:
        self.target = target
        self._file = target.begin().open("wb")

    def write(self, accounts: Sequence[ExportedAccount]) -> None:
        """Append accounts."""
        self._file.writelines([json_line(_object(each)) for each in accounts])

    def finish(self) -> None:
        """Bring the file to the disk."""
        close_text(self._file)

    def discard(self) -> None:
        """Remove the file, unless it is in place already."""
        discard_text(self._file, self.target)


def _object(exported: ExportedAccount) -> dict[str, Any]:
    account, resource = exported.account, current()
    return {
        resource.id_column: account.id,
        "name": account.name,
        **{key: value or None for key, value in zip(resource.keys, account.values, strict=True)},
        "groups": exported.groups,
        "created": account.created or None,
        "last_login": account.last_login or None,
    }


class WorkbookExport:
    """One worksheet of texts: frozen header, filters, widths by the first page of accounts."""

    def __init__(self, target: AtomicFile) -> None:
        self.target = target
        path = target.begin()  # else a folder that cannot be written to would show only at the end
        self._scratch = tempfile.TemporaryDirectory(prefix="bulkid-", ignore_cleanup_errors=True)
        self._book = workbook = open_workbook(path, self._scratch.name)
        self._sheet = workbook.add_worksheet("Robot accounts")
        self._sheet.freeze_panes(1, 0)
        self._sheet.repeat_rows(0)
        print_settings(self._sheet, "Robot accounts")
        background, colour = HEADER_COLOURS
        head = workbook.add_format({"bg_color": background, "font_color": colour, "bold": True, "num_format": "@"})
        self._text = workbook.add_format(
            {"num_format": "@", "valign": "top"}
        )  # also below the last row: for what is added
        self._style = style_number(self._text)
        self._widths: list[int] = []
        self._letters = [column_letters(index) for index in range(len(current().export_columns))]
        self._line = 0
        self._append([current().export_columns], style_number(head))

    def write(self, accounts: Sequence[ExportedAccount]) -> None:
        """Append accounts."""
        rows = [each.cells for each in accounts if each.cells is not None]
        if not self._widths:
            self._widths = [
                _column_width(name, [row[at] for row in rows]) for at, name in enumerate(current().export_columns)
            ]
        self._append(rows, self._style)

    def _append(self, rows: Sequence[Sequence[str]], style: int) -> None:
        xml = []
        for cells in rows:
            self._line += 1
            line = self._line
            texts = [text_cell(letter, line, cell, style) for letter, cell in zip(self._letters, cells, strict=True)]
            xml.append(f'<row r="{line}">{"".join(texts)}</row>')
        self._sheet.row_data_fh.write("".join(xml))

    def finish(self) -> None:
        """Bring the file to the disk."""
        sheet, last = self._sheet, len(current().export_columns) - 1
        sheet.autofilter(0, 0, max(self._line - 1, 1), last)
        sheet.dim_rowmin, sheet.dim_rowmax, sheet.dim_colmin, sheet.dim_colmax = 0, self._line - 1, 0, last
        widths = self._widths or [least for least, _ in map(_width_limits, current().export_columns)]
        for column, width in enumerate(widths):
            sheet.set_column(column, column, width, self._text)
        close_workbook(self._book)
        sync(self.target.temp)

    def discard(self) -> None:
        """Remove the file, unless it is in place already."""
        discard_workbook(self._book)
        self._scratch.cleanup()
        self.target.discard()


def _width_limits(column: str) -> tuple[int, int]:
    resource = current()
    widths = {**_WIDTHS, resource.id_column: (20, 38), **{field.key: field.widths for field in resource.fields}}
    return widths[column]


def _column_width(name: str, cells: Sequence[str]) -> int:
    least, most = _width_limits(name)
    return min(max(least, *(display_width(cell[:200]) + 2 for cell in cells)), most) if cells else least
