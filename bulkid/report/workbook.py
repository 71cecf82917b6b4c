"""``report.xlsx``: the report to look at, with a summary in front; written row by row in constant memory."""

import contextlib
import re
import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from bulkid.model import ReportRow, Status
from bulkid.report.atomic import AtomicFile, sync
from bulkid.report.columns import COLUMNS

Sheet: TypeAlias = Any  # xlsxwriter has no type information
Format: TypeAlias = Any

MAX_SHEET_ROWS = 1_048_576
"""Rows of one sheet, the header among them: the file format's own limit."""

MAX_CELL_UNITS = 32_767
"""UTF-16 units in one cell: the file format's own limit."""

COLOURS: Final[Mapping[Status, tuple[str, str]]] = {  # background, text
    Status.UPDATED: ("#C6EFCE", "#005A00"),
    Status.UNCHANGED: ("#E7E6E6", "#3B3B3B"),
    Status.FAILED: ("#FFC7CE", "#8A0010"),
    Status.INVALID: ("#FFE2B8", "#7A3E00"),
    Status.PENDING: ("#D6E4F5", "#123A6B"),
}
HEADER_COLOURS: Final = ("#1F3864", "#FFFFFF")

_SAMPLED_ROWS: Final = 1000  # the column widths come from the first rows: the rest has not been seen when they matter
_EPOCH_DAY: Final = 25_569  # 1970-01-01 counted in a workbook's days
_DAY_S: Final = 86_400


class _Column(NamedTuple):
    least: int  # width in characters
    most: int
    wrap: bool = False


_WIDTHS: Final[Mapping[str, _Column]] = {
    "row": _Column(7, 9),
    "robot_account_id": _Column(18, 38),
    "name": _Column(12, 36),
    "status": _Column(12, 12),
    "changes": _Column(14, 56, wrap=True),
    "http_status": _Column(13, 13),
    "error_code": _Column(12, 32),
    "error": _Column(12, 64, wrap=True),
    "attempts": _Column(11, 11),
    "via": _Column(9, 9),
    "finished_at": _Column(24, 24),
    "run_id": _Column(10, 40),
}

# What XML 1.0 cannot hold, and the carriage return, which it would turn into a line feed.
_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\r\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def visible(text: str) -> str:
    """Make a text fit for a cell: control characters shown (``␀``, ``�``), cut when too long."""
    if not text.isprintable() and _NOT_XML.search(text):
        text = _NOT_XML.sub(_picture, text.replace("\r\n", "\n"))
    # A character beyond the basic plane takes two units, so only a text over half the limit needs counting
    if len(text) > MAX_CELL_UNITS // 2:
        units = text.encode("utf-16-le")
        if len(units) > 2 * MAX_CELL_UNITS:
            text = units[: 2 * (MAX_CELL_UNITS - 1)].decode("utf-16-le", "ignore") + "…"
    return text


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"  # noqa: PLR2004 - the control characters end there


def _display_width(text: str) -> int:
    """How wide the longest line is; ideographs and their like take two places."""
    lines = text.splitlines() or [""]
    return max(len(line) + sum(unicodedata.east_asian_width(char) in "WF" for char in line) for line in lines)


class Workbook:
    """The xlsx report as a sink of rows, like the text files.

    Args:
        folder: Where ``report.xlsx`` belongs.
        run_id: The run, for the last column.
        lead: Writes the sheet in front (the summary); called once with this workbook.
    """

    def __init__(self, folder: Path, run_id: str, lead: Callable[["Workbook"], None]) -> None:
        import xlsxwriter  # type: ignore[import-untyped] # the package has no type information

        self.target = AtomicFile(folder, "report.xlsx")
        self._run_id = run_id
        # The row data waits here until the file is put together; removed with all that is in it, whatever happens
        self._scratch = tempfile.TemporaryDirectory(prefix="bulkid-", ignore_cleanup_errors=True)
        self.book = xlsxwriter.Workbook(
            str(self.target.temp),
            {
                "constant_memory": True,
                "tmpdir": self._scratch.name,
                "strings_to_formulas": False,
                "strings_to_urls": False,
                "strings_to_numbers": False,
            },
        )
        self.book.use_zip64()
        self.book.set_properties({"title": f"bulkid run {visible(run_id)}"})
        self._sheet: Sheet = None
        self._line = 0
        self._sheets = 0
        self._seen = 0
        self._widths = {name: max(column.least, len(name) + 3) for name, column in _WIDTHS.items()}
        self._text = self.book.add_format({"num_format": "@", "valign": "top"})
        self._wrapped = self.book.add_format({"num_format": "@", "valign": "top", "text_wrap": True})
        self._number = self.book.add_format({"num_format": "0", "valign": "top"})
        self._time = self.book.add_format({"num_format": 'yyyy-mm-dd hh:mm:ss "UTC"', "valign": "top", "align": "left"})
        self._head = self.style(HEADER_COLOURS, bold=True)
        self.status_formats = {status: self.style(pair) for status, pair in COLOURS.items()}
        try:
            lead(self)
            self._next_sheet()
        except BaseException:
            self.discard()
            raise

    def style(self, colours: tuple[str, str], **more: object) -> Format:
        """A text format with a background and a text colour."""
        background, text = colours
        settings = {"bg_color": background, "font_color": text, "num_format": "@", "valign": "top", "border": 1}
        return self.book.add_format({**settings, "border_color": "#D0D0D0", **more})

    def put(self, sheet: Sheet, line: int, column: int, text: str, form: Format) -> None:
        """Write a text as a text, whatever it looks like. The one way by which texts get into the workbook."""
        text = visible(text)
        if text.startswith("<r>") and text.endswith("</r>"):
            # xlsxwriter would take this for its own markup of rich text and write it unescaped
            text = f'<r><t xml:space="preserve">{escape(text, quote=False)}</t></r>'
        sheet.write_string(line, column, text, form)

    def _next_sheet(self) -> None:
        self._end_sheet()
        self._sheets += 1
        name = "Report" if self._sheets == 1 else f"Report {self._sheets}"
        self._sheet = sheet = self.book.add_worksheet(name)
        sheet.freeze_panes(1, 0)
        sheet.repeat_rows(0)
        print_settings(sheet, name)
        for index, header in enumerate(COLUMNS):
            sheet.write_string(0, index, header, self._head)
        self._line = 1

    def _end_sheet(self) -> None:
        """Set what can only be known when the sheet's rows are written."""
        if self._sheet is None:
            return
        self._sheet.autofilter(0, 0, max(self._line - 1, 1), len(COLUMNS) - 1)
        for index, name in enumerate(COLUMNS):
            self._sheet.set_column(index, index, self._widths[name])

    def write(self, rows: Sequence[ReportRow]) -> None:
        """Append rows, on a further sheet when one is full."""
        for row in rows:
            if self._line >= MAX_SHEET_ROWS:
                self._next_sheet()
            self._write_row(row)
            self._line += 1

    def _write_row(self, row: ReportRow) -> None:
        sheet, line, put = self._sheet, self._line, self.put
        texts = (
            (1, row.robot_account_id, self._text),
            (2, row.name, self._text),
            (3, row.status.value, self.status_formats[row.status]),
            (4, row.changes, self._wrapped),
            (6, row.error_code, self._text),
            (7, row.error, self._wrapped),
            (9, row.via.value if row.via else "", self._text),
            (11, self._run_id, self._text),
        )
        if self._seen < _SAMPLED_ROWS:
            self._seen += 1
            self._widen(texts)
        sheet.write_number(line, 0, row.row, self._number)
        for column, text, form in texts:
            if text:
                put(sheet, line, column, text, form)
        if row.http_status is not None:
            sheet.write_number(line, 5, row.http_status, self._number)
        sheet.write_number(line, 8, row.attempts, self._number)
        if row.finished_at is not None:
            sheet.write_number(line, 10, _EPOCH_DAY + int(row.finished_at) / _DAY_S, self._time)

    def _widen(self, texts: Sequence[tuple[int, str, Format]]) -> None:
        for index, text, _ in texts:
            name = COLUMNS[index]
            self._widths[name] = min(max(self._widths[name], _display_width(text[:200]) + 2), _WIDTHS[name].most)

    def finish(self) -> bool:
        """Put the file together and bring it to the disk. Always worth keeping.

        Raises:
            OSError: When it cannot be written.
        """
        from xlsxwriter.exceptions import FileCreateError  # type: ignore[import-untyped] # as above

        self._end_sheet()
        try:
            self.book.close()
        except FileCreateError as error:  # wraps the operating system's own error
            cause = error.args[0] if error.args else None
            raise (cause if isinstance(cause, OSError) else OSError(str(error))) from error
        sync(self.target.temp)
        return True

    def discard(self) -> None:
        """Give up the file, unless it is in place already, and all that was kept for it."""
        self.book.fileclosed = True  # else its destructor would try to write what is given up
        for sheet in self.book.worksheets():
            with contextlib.suppress(OSError):  # closing flushes, and the disk may be full
                sheet.row_data_fh.close()
        self._scratch.cleanup()
        self.target.discard()


def print_settings(sheet: Sheet, name: str) -> None:
    """Lay a sheet out for paper: landscape A4, as wide as the page, the page's number below."""
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.set_margins(left=0.4, right=0.4, top=0.5, bottom=0.6)
    sheet.set_footer(f"&L{name}&RPage &P of &N")
