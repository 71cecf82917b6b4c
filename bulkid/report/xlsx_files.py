"""Workbooks of a report or an export, written row by row in constant memory."""

import contextlib
import itertools
import re
import tempfile
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

from bulkid.clock import utc_time
from bulkid.model import RETRY_STATUSES, ReportRow, Status
from bulkid.planning.export_rows import ExportedAccount
from bulkid.report.atomic import AtomicFile, sync
from bulkid.report.rate import Rate
from bulkid.report.rate_chart import add_rate_sheet
from bulkid.resources import INFORMATION_COLUMNS, current
from bulkid.sheet import column_letters
from bulkid.sheet.formula_escape import guard_apostrophe

Sheet: TypeAlias = Any  # xlsxwriter has no type information
Format: TypeAlias = Any
Book: TypeAlias = Any

MAX_SHEET_ROWS = 1_048_576
"""Rows of one sheet, the header among them: the file format's own limit."""

MAX_CELL_UNITS = 32_767
"""UTF-16 units in one cell: the file format's own limit."""

COLOURS: Final[Mapping[Status, tuple[str, str]]] = {  # background, text
    Status.UPDATED: ("#C6EFCE", "#005A00"),
    Status.CREATED: ("#D5F5D0", "#0B4F00"),
    Status.DELETED: ("#E4DFEC", "#3F2A5C"),
    Status.UNCHANGED: ("#E7E6E6", "#3B3B3B"),
    Status.FAILED: ("#FFC7CE", "#8A0010"),
    Status.INVALID: ("#FFE2B8", "#7A3E00"),
    Status.PENDING: ("#D6E4F5", "#123A6B"),
}
HEADER_COLOURS: Final = ("#1F3864", "#FFFFFF")

_SAMPLED_ROWS: Final = 1000  # the column widths come from the first rows: the rest has not been seen when they matter
_EPOCH_DAY: Final = 25_569  # 1970-01-01 counted in a workbook's days
_DAY_S: Final = 86_400
_FIRST_DAY: Final = 61  # 1900-03-01: programs disagree on the days before

Widths: TypeAlias = tuple[int, int]
"""The least and the largest width of a column, in characters; between them, what the first rows need."""

_TEXT_LINES: Final = 54  # width of the columns whose texts wrap
_REPORT_WIDTHS: Final[Mapping[str, Widths]] = {
    "row": (8, 8),
    "robot_account_id": (20, 38),
    "name": (12, 32),
    "status": (12, 12),
    "changes": (_TEXT_LINES, _TEXT_LINES),
    "http_status": (14, 14),
    "error_code": (14, 28),
    "error": (_TEXT_LINES, _TEXT_LINES),
    "attempts": (12, 12),
    "via": (9, 9),
    "finished_at": (24, 24),
    "run_id": (12, 40),
}
PROBLEMS: Final = "Problems"
"""The name of the worksheet of the rows that are not done."""

_PROBLEM_COLUMNS: Final[Mapping[str, tuple[str, Widths]]] = {  # header: field of a row, widths
    "Row": ("row", (8, 8)),
    "Account": ("name", (12, 32)),
    "Status": ("status", (12, 12)),
    "Problem": ("error", (_TEXT_LINES, _TEXT_LINES)),
    "Requested changes": ("changes", (_TEXT_LINES, _TEXT_LINES)),
    "HTTP status": ("http_status", (14, 14)),
    "Error code": ("error_code", (14, 28)),
    "Account id": ("robot_account_id", (20, 38)),
}
_EXPORT_WIDTHS: Final = {
    "name": (14, 40),
    "groups": (20, 70),
    "partition_global_id": (20, 38),
    "action": (10, 12),
    "created": (22, 30),
    "last_login": (22, 30),
}
_LINE_POINTS: Final = 15
_MOST_LINES: Final = 8  # of one row; the rest of a longer text is seen by clicking on it
_ONE_LINE: Final = _TEXT_LINES // 2  # a text so short fits on one line even if every character is a wide one
_ESCAPE_LIKE: Final = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
# What XML 1.0 cannot hold, and the carriage return, which it would turn into a line feed.
_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\r\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def displayable(text: str) -> str:
    """Make a text fit for a cell: control characters shown (``␀``, ``�``), cut when too long."""
    if not text.isprintable() and _NOT_XML.search(text):
        text = _NOT_XML.sub(_picture, text.replace("\r\n", "\n"))
    # A character beyond the basic plane takes two units, so only a text over half the limit needs counting
    if len(text) > MAX_CELL_UNITS // 2:
        units = text.encode("utf-16-le")
        if len(units) > 2 * MAX_CELL_UNITS:
            text = units[: 2 * (MAX_CELL_UNITS - 1)].decode("utf-16-le", "ignore") + "…"
    return text


def height(text: str, width: int) -> int:
    """The height in points of a wrapped text in a cell so many characters wide: roughly, and bounded."""
    lines = text[: width * _MOST_LINES].split("\n")
    return _LINE_POINTS * min(sum(-(-display_width(line) // width) or 1 for line in lines), _MOST_LINES)


def _height_attribute(row: ReportRow) -> str:
    """The height of a row whose texts need several lines; only Excel would find it by itself."""
    changes, error = row.changes, row.error
    if len(changes) < _ONE_LINE and len(error) < _ONE_LINE and "\n" not in changes and "\n" not in error:
        return ""
    points = max(height(changes, _TEXT_LINES), height(error, _TEXT_LINES))
    return f' ht="{points}"' if points > _LINE_POINTS else ""


def text_cell(letter: str, line: int, text: str, style: int) -> str:
    """A cell that holds a text and nothing else, whatever the text looks like; no cell when there is none."""
    if not text:
        return ""
    text = displayable(text)
    if "_x" in text:  # the format's own escape: without this, a literal _x0041_ would be read as A
        text = _ESCAPE_LIKE.sub("_x005F_", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<c r="{letter}{line}" s="{style}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def number_cell(letter: str, line: int, number: float, style: int) -> str:
    """A cell that holds a number."""
    return f'<c r="{letter}{line}" s="{style}"><v>{number!r}</v></c>'


def style_number(form: Format) -> int:
    """The number that a cell's XML names a style by."""
    return int(form._get_xf_index())  # noqa: SLF001 - rows are written as finished XML: the library has no other way to it


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"  # noqa: PLR2004 - the control characters end there


def display_width(text: str) -> int:
    """How wide the longest line is; ideographs and their like take two places."""
    lines = text.splitlines() or [""]
    return max(len(line) + sum(unicodedata.east_asian_width(char) in "WF" for char in line) for line in lines)


Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Generic[Row]):
    """What worksheets of one kind hold.

    Args:
        name: The name of the worksheets; the second one has a number.
        columns: The headers in their order, with their widths.
        row_xml: The finished XML of a row, at a line of the sheet.
        text_of: The text of a row in a column whose width depends on its texts.
        not_printed: How many columns at the end are not for paper.
    """

    name: str
    columns: Mapping[str, Widths]
    row_xml: Callable[[Row, int], str]
    text_of: Callable[[Row, str], str]
    not_printed: int = 0


class Worksheets(Generic[Row]):
    """Takes the rows of one table in order and holds none; a further worksheet follows where one is full.

    The rows go to the sheet's row data as finished XML: 100,000 take 2 s so, and 10 s by a library call per cell.
    """

    def __init__(self, book: Book, table: Table[Row], text: Format, header_style: int) -> None:
        self._book = book
        self._table = table
        self._text = text
        self._header_style = header_style
        self._widths = {name: least for name, (least, _) in table.columns.items()}
        self._letters = [column_letters(index) for index in range(len(table.columns))]
        self._sheet: Sheet = None
        self._sheet_count = 0
        self._line = 0  # lines of the present sheet that are written
        self._sampled = 0  # rows that the widths have been taken from

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        if self._sampled < _SAMPLED_ROWS:
            self._sampled += len(rows)
            self._widen(rows)
        start = 0
        while start < len(rows):
            if self._sheet is None or self._line >= MAX_SHEET_ROWS:
                self.next_sheet()
            part = rows[start : start + MAX_SHEET_ROWS - self._line]
            self._sheet.row_data_fh.write("".join(map(self._table.row_xml, part, itertools.count(self._line + 1))))
            self._line += len(part)
            start += len(part)

    def next_sheet(self) -> None:
        """Begin a worksheet with the headers alone."""
        self._end_sheet()
        self._sheet_count += 1
        name = self._table.name if self._sheet_count == 1 else f"{self._table.name} {self._sheet_count}"
        self._sheet = sheet = self._book.add_worksheet(name)
        sheet.freeze_panes(1, 0)
        sheet.repeat_rows(0)
        print_settings(sheet, name)
        sheet.row_data_fh.write(row_xml(1, self._letters, self._table.columns, self._header_style))
        self._line = 1

    def finish(self) -> None:
        """End the last worksheet; begin one where there is none."""
        if self._sheet is None:
            self.next_sheet()
        self._end_sheet()

    def _end_sheet(self) -> None:
        """Set what depends on all of the sheet's rows."""
        if self._sheet is None:
            return
        sheet, last = self._sheet, len(self._letters) - 1
        sheet.autofilter(0, 0, max(self._line - 1, 1), last)
        sheet.dim_rowmin, sheet.dim_rowmax, sheet.dim_colmin, sheet.dim_colmax = 0, self._line - 1, 0, last
        for index, width in enumerate(self._widths.values()):
            sheet.set_column(index, index, width, self._text)
        if self._table.not_printed:
            sheet.print_area(0, 0, self._line - 1, last - self._table.not_printed)

    def _widen(self, rows: Sequence[Row]) -> None:
        """Make the columns as wide as these rows need, within the bounds of each."""
        for name, (least, most) in self._table.columns.items():
            if most > least:
                widest = max((display_width(self._table.text_of(row, name)[:200]) for row in rows), default=0)
                self._widths[name] = min(max(self._widths[name], widest + 2), most)


class WorkbookFile(ABC, Generic[Row]):
    """A workbook that takes rows.

    Args:
        target: The file.

    Raises:
        OSError: The folder does not take the file.
    """

    def __init__(self, target: AtomicFile) -> None:
        import xlsxwriter  # type: ignore[import-untyped] # the package has no type information

        self.target = target
        path = target.begin()  # the library finds out only at the end whether it can write there
        self._scratch = tempfile.TemporaryDirectory(prefix="bulkid-", ignore_cleanup_errors=True)
        options = {
            "constant_memory": True,
            "tmpdir": self._scratch.name,  # holds the rows until the end
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        }
        self.book: Book = xlsxwriter.Workbook(str(path), options)
        self.book.use_zip64()
        self._text = self.book.add_format({"num_format": "@", "valign": "top"})
        self._text_style = style_number(self._text)
        self._header_style = style_number(self.add_style(HEADER_COLOURS, bold=True))

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""

    @abstractmethod
    def _finish_sheets(self) -> None:
        """End the worksheets, the last one too."""

    def add_style(self, colours: tuple[str, str], **more: object) -> Format:
        """A text format with a background and a text colour."""
        background, text = colours
        settings = {"bg_color": background, "font_color": text, "num_format": "@", "valign": "top", "border": 1}
        return self.book.add_format({**settings, "border_color": "#D0D0D0", **more})

    def put(self, sheet: Sheet, line: int, column: int, text: str, form: Format) -> None:
        """Write a text as a text, whatever it looks like; for the few cells of the sheet in front."""
        text = displayable(text)
        if text.startswith("<r>") and text.endswith("</r>"):
            # xlsxwriter would take this for its own markup of rich text and write it unescaped
            text = f'<r><t xml:space="preserve">{escape(text, quote=False)}</t></r>'
        sheet.write_string(line, column, text, form)

    def _cell_style(self, **settings: object) -> int:
        return style_number(self.book.add_format({"valign": "top", **settings}))

    def _worksheets(self, table: Table[Row]) -> Worksheets[Row]:
        return Worksheets(self.book, table, self._text, self._header_style)

    def finish(self) -> bool:
        """Put the file together and flush it to the disk; an OSError says that it cannot be written."""
        from xlsxwriter.exceptions import FileCreateError  # type: ignore[import-untyped] # as above

        self._finish_sheets()
        try:
            self.book.close()
        except FileCreateError as error:  # wraps the operating system's own error
            cause = error.args[0] if error.args else None
            raise (cause if isinstance(cause, OSError) else OSError(str(error))) from error
        sync(self.target.temp)
        return True

    def discard(self) -> None:
        """Remove the file, unless it is in place already, and all that was kept for it. Never raises."""
        self.release()
        self.target.discard()

    def release(self) -> None:
        """Remove all that was kept for the file. Never raises."""
        self.book.fileclosed = True  # else its destructor would try to write what is given up
        for sheet in self.book.worksheets():
            with contextlib.suppress(OSError):  # closing flushes, and the disk may be full
                sheet.row_data_fh.close()
        self._scratch.cleanup()


class ReportWorkbook(WorkbookFile[ReportRow]):
    """``report.xlsx``, without the sheet in front.

    Args:
        folder: Where to write it.
        run_id: The run.
        rates: The rates of the run, for a worksheet each.
    """

    def __init__(self, folder: Path, run_id: str, rates: Sequence[Rate] = ()) -> None:
        super().__init__(AtomicFile(folder, "report.xlsx"))
        self._run_id = run_id
        self._rates = rates
        self.book.set_properties({"title": f"bulkid run {displayable(run_id)}"})
        self._wrapped = self._cell_style(num_format="@", text_wrap=True)
        self._number = self._cell_style(num_format="0", align="center")
        self._time = self._cell_style(num_format='yyyy-mm-dd hh:mm:ss "UTC"', align="left")
        self.status_formats = {status: self.add_style(pair) for status, pair in COLOURS.items()}
        self._status_styles = {status: style_number(form) for status, form in self.status_formats.items()}
        least, most = _REPORT_WIDTHS["run_id"]
        run_id_width = max(least, min(len(run_id) + 2, most))
        self._report = self._worksheets(
            Table(
                name="Report",
                columns={**_REPORT_WIDTHS, "run_id": (run_id_width, run_id_width)},
                row_xml=self._row_xml,
                text_of=lambda row, column: str(getattr(row, column)),
                not_printed=1,  # the run_id, the same in every row
            )
        )
        self._problems: Worksheets[ReportRow] | None = None

    def begin_problems(self) -> None:
        """Begin the worksheet of the rows that are not done, in front of the report's."""
        self._problems = self._worksheets(
            Table(
                name=PROBLEMS,
                columns={header: widths for header, (_, widths) in _PROBLEM_COLUMNS.items()},
                row_xml=self._problem_xml,
                text_of=lambda row, header: str(getattr(row, _PROBLEM_COLUMNS[header][0])),
            )
        )
        self._problems.next_sheet()

    def write(self, rows: Sequence[ReportRow]) -> None:
        """Append rows; those that are not done stand among the problems too."""
        self._report.write(rows)
        if self._problems is not None:
            self._problems.write([row for row in rows if row.status in RETRY_STATUSES])

    def _finish_sheets(self) -> None:
        self._report.finish()
        if self._problems is not None:
            self._problems.finish()
        for rate in self._rates:
            add_rate_sheet(self.book, rate, self.add_style(HEADER_COLOURS, bold=True))

    def _row_xml(self, row: ReportRow, line: int) -> str:
        text, wrapped, number = self._text_style, self._wrapped, self._number
        code, at = row.http_status, row.finished_at
        time = "" if at is None else number_cell("K", line, _EPOCH_DAY + int(at) / _DAY_S, self._time)
        return "".join(
            (
                f'<row r="{line}"{_height_attribute(row)}>{number_cell("A", line, row.row, number)}',
                text_cell("B", line, guard_apostrophe(row.robot_account_id), text),
                text_cell("C", line, guard_apostrophe(row.name), text),
                text_cell("D", line, row.status.value, self._status_styles[row.status]),
                text_cell("E", line, row.changes, wrapped),
                "" if code is None else number_cell("F", line, code, number),
                text_cell("G", line, row.error_code, text),
                text_cell("H", line, row.error, wrapped),
                number_cell("I", line, row.attempts, number),
                text_cell("J", line, row.via.value if row.via else "", text),
                time,
                text_cell("L", line, self._run_id, text),
                "</row>",
            )
        )

    def _problem_xml(self, row: ReportRow, line: int) -> str:
        text, wrapped, number, code = self._text_style, self._wrapped, self._number, row.http_status
        return "".join(
            (
                f'<row r="{line}"{_height_attribute(row)}>{number_cell("A", line, row.row, number)}',
                text_cell("B", line, guard_apostrophe(row.name), text),
                text_cell("C", line, row.status.value, self._status_styles[row.status]),
                text_cell("D", line, row.error, wrapped),
                text_cell("E", line, row.changes, wrapped),
                "" if code is None else number_cell("F", line, code, number),
                text_cell("G", line, row.error_code, text),
                text_cell("H", line, guard_apostrophe(row.robot_account_id), text),
                "</row>",
            )
        )


class WorkbookExport(WorkbookFile[ExportedAccount]):
    """An export of accounts: texts, and the two times, which no run reads.

    The text format also holds below the last row, for what a user adds there.
    """

    def __init__(self, target: AtomicFile, columns: Sequence[str]) -> None:
        super().__init__(target)
        resource = current()
        widths = {**_EXPORT_WIDTHS, resource.id_column: (20, 38), **{each.key: each.widths for each in resource.fields}}
        position = {name: at for at, name in enumerate(columns)}
        self.book.set_properties({"title": resource.plural.capitalize()})
        letters = [column_letters(at) for at in range(len(columns))]
        times = len(columns) - len(INFORMATION_COLUMNS)  # where they begin
        self._text_letters, self._time_letters = letters[:times], letters[times:]
        self._time = self._cell_style(num_format='yyyy-mm-dd hh:mm "UTC"', align="left")
        self._accounts = self._worksheets(
            Table(
                name=resource.plural.capitalize(),
                columns={name: widths[name] for name in columns},
                row_xml=self._row_xml,
                text_of=lambda row, column: (row.cells or ())[position[column]],
            )
        )

    def write(self, rows: Sequence[ExportedAccount]) -> None:
        """Append those accounts that a row can hold."""
        self._accounts.write([each for each in rows if each.cells is not None])

    def _finish_sheets(self) -> None:
        self._accounts.finish()

    def _row_xml(self, row: ExportedAccount, line: int) -> str:
        cells = row.cells or ()
        texts = "".join(
            text_cell(letter, line, guard_apostrophe(text), self._text_style)
            for letter, text in zip(self._text_letters, cells, strict=False)
        )
        times = "".join(
            self._time_cell(letter, line, text)
            for letter, text in zip(self._time_letters, cells[len(self._text_letters) :], strict=True)
        )
        return f'<row r="{line}">{texts}{times}</row>'

    def _time_cell(self, letter: str, line: int, text: str) -> str:
        day = day_number(text)
        if day is None:
            return text_cell(letter, line, text, self._text_style)
        return number_cell(letter, line, day, self._time)


def day_number(text: str) -> float | None:
    """A time in ISO 8601 as a workbook counts it, in days; None for a text that is no such time, or one too early."""
    moment = utc_time(text)
    if moment is None:
        return None
    day = _EPOCH_DAY + moment.timestamp() / _DAY_S
    return day if day >= _FIRST_DAY else None


def row_xml(line: int, letters: Iterable[str], texts: Iterable[str], style: int) -> str:
    """A row of texts in one style, as XML."""
    cells = "".join(text_cell(letter, line, text, style) for letter, text in zip(letters, texts, strict=True))
    return f'<row r="{line}">{cells}</row>'


def print_settings(sheet: Sheet, name: str) -> None:
    """Lay a sheet out for paper: landscape A4, as wide as the page, the page's number below."""
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.set_margins(left=0.4, right=0.4, top=0.5, bottom=0.6)
    sheet.set_footer(f"&L{name}&RPage &P of &N")
