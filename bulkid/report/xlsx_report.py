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
from bulkid.report.text_report import COLUMNS

Sheet: TypeAlias = Any  # xlsxwriter has no type information
Format: TypeAlias = Any
Book: TypeAlias = Any

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
    most: int  # beyond the least, as the rows need it


_WIDTHS: Final[Mapping[str, _Column]] = {
    "row": _Column(8, 8),
    "robot_account_id": _Column(20, 38),
    "name": _Column(12, 32),
    "status": _Column(12, 12),
    "changes": _Column(54, 54),
    "http_status": _Column(14, 14),
    "error_code": _Column(14, 28),
    "error": _Column(54, 54),
    "attempts": _Column(12, 12),
    "via": _Column(9, 9),
    "finished_at": _Column(24, 24),
    "run_id": _Column(12, 40),
}
_LINE_POINTS: Final = 15
_MOST_LINES: Final = 8  # of one row; the rest of a longer text is seen by clicking on it

_SURE_CHANGES: Final = _WIDTHS["changes"].most // 2  # fits on one line even if every character is a wide one
_SURE_ERROR: Final = _WIDTHS["error"].most // 2
_LETTERS: Final = "ABCDEFGHIJKL"
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
    if len(changes) < _SURE_CHANGES and len(error) < _SURE_ERROR and "\n" not in changes and "\n" not in error:
        return ""
    points = max(height(changes, _WIDTHS["changes"].most), height(error, _WIDTHS["error"].most))
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


def open_workbook(path: Path, scratch: str) -> Book:
    """Begin a workbook that takes its rows in order, in constant memory, and makes nothing of texts but texts.

    Args:
        path: Where it is put together at the end.
        scratch: Folder that holds the rows until then.
    """
    import xlsxwriter  # type: ignore[import-untyped] # the package has no type information

    book = xlsxwriter.Workbook(
        str(path),
        {
            "constant_memory": True,
            "tmpdir": scratch,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        },
    )
    book.use_zip64()
    return book


def close_workbook(book: Book) -> None:
    """Put the file together.

    Raises:
        OSError: It cannot be written.
    """
    from xlsxwriter.exceptions import FileCreateError  # type: ignore[import-untyped] # as above

    try:
        book.close()
    except FileCreateError as error:  # wraps the operating system's own error
        cause = error.args[0] if error.args else None
        raise (cause if isinstance(cause, OSError) else OSError(str(error))) from error


def discard_workbook(book: Book) -> None:
    """Give up a workbook, unless it is closed already, and what is open for it."""
    book.fileclosed = True  # else its destructor would try to write what is given up
    for sheet in book.worksheets():
        with contextlib.suppress(OSError):  # closing flushes, and the disk may be full
            sheet.row_data_fh.close()


class Workbook:
    """The xlsx report as a sink of rows, like the text files.

    Args:
        folder: Where ``report.xlsx`` belongs.
        run_id: The run, for the last column.
        lead: Writes the sheet in front (the summary); called once with this workbook.
    """

    def __init__(self, folder: Path, run_id: str, lead: Callable[["Workbook"], None]) -> None:
        self.target = AtomicFile(folder, "report.xlsx")
        self._run_id = run_id
        path = self.target.begin()
        # The row data waits here until the file is put together; removed with all that is in it, whatever happens
        self._scratch = tempfile.TemporaryDirectory(prefix="bulkid-", ignore_cleanup_errors=True)
        self.book = open_workbook(path, self._scratch.name)
        self.book.set_properties({"title": f"bulkid run {displayable(run_id)}"})
        self._sheet: Sheet = None
        self._line = 0
        self._sheets = 0
        self._seen = 0
        self._widths = {name: column.least for name, column in _WIDTHS.items()}
        self._widths["run_id"] = max(self._widths["run_id"], min(len(run_id) + 2, _WIDTHS["run_id"].most))
        self._text = self.book.add_format({"num_format": "@", "valign": "top"})
        self._text_style = style_number(self._text)
        self._wrapped_style = style_number(
            self.book.add_format({"num_format": "@", "valign": "top", "text_wrap": True})
        )
        self._number_style = style_number(self.book.add_format({"num_format": "0", "valign": "top", "align": "center"}))
        self._time_style = style_number(
            self.book.add_format({"num_format": 'yyyy-mm-dd hh:mm:ss "UTC"', "valign": "top", "align": "left"})
        )
        self._head_style = style_number(self.style(HEADER_COLOURS, bold=True))
        self.status_formats = {status: self.style(pair) for status, pair in COLOURS.items()}
        self._status_styles = {status: style_number(form) for status, form in self.status_formats.items()}
        try:
            lead(self)
            self._next_sheet()
        except BaseException:  # a cancellation too: no unfinished file stays behind
            self.discard()
            raise

    def style(self, colours: tuple[str, str], **more: object) -> Format:
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

    def _next_sheet(self) -> None:
        self._end_sheet()
        self._sheets += 1
        name = "Report" if self._sheets == 1 else f"Report {self._sheets}"
        self._sheet = sheet = self.book.add_worksheet(name)
        sheet.freeze_panes(1, 0)
        sheet.repeat_rows(0)
        print_settings(sheet, name)
        cells = (
            text_cell(letter, 1, header, self._head_style) for letter, header in zip(_LETTERS, COLUMNS, strict=True)
        )
        sheet.row_data_fh.write(f'<row r="1">{"".join(cells)}</row>')
        self._line = 1

    def _end_sheet(self) -> None:
        """Set what can only be known when the sheet's rows are written."""
        sheet = self._sheet
        if sheet is None:
            return
        last = len(COLUMNS) - 1
        sheet.autofilter(0, 0, max(self._line - 1, 1), last)
        sheet.print_area(0, 0, self._line - 1, last - 1)  # the run_id, the same in every row, is not for paper
        sheet.dim_rowmin, sheet.dim_rowmax, sheet.dim_colmin, sheet.dim_colmax = 0, self._line - 1, 0, last
        for index, name in enumerate(COLUMNS):
            sheet.set_column(index, index, self._widths[name], self._text)

    def write(self, rows: Sequence[ReportRow]) -> None:
        """Append rows, on a further sheet when one is full.

        The rows go to the sheet's row data as finished XML: 100,000 take 2 s so, and 10 s by a library call per cell.
        """
        if self._seen < _SAMPLED_ROWS:
            self._seen += len(rows)
            self._widen(rows)
        start = 0
        while start < len(rows):
            if self._line >= MAX_SHEET_ROWS:
                self._next_sheet()
            part = rows[start : start + MAX_SHEET_ROWS - self._line]
            xml = [self._row_xml(row, line) for line, row in enumerate(part, self._line + 1)]
            self._sheet.row_data_fh.write("".join(xml))
            self._line += len(part)
            start += len(part)

    def _row_xml(self, row: ReportRow, line: int) -> str:
        text, wrapped, number = self._text_style, self._wrapped_style, self._number_style
        code, at = row.http_status, row.finished_at
        return "".join(
            (
                f'<row r="{line}"{_height_attribute(row)}><c r="A{line}" s="{number}"><v>{row.row}</v></c>',
                text_cell("B", line, row.robot_account_id, text),
                text_cell("C", line, row.name, text),
                text_cell("D", line, row.status.value, self._status_styles[row.status]),
                text_cell("E", line, row.changes, wrapped),
                "" if code is None else f'<c r="F{line}" s="{number}"><v>{code}</v></c>',
                text_cell("G", line, row.error_code, text),
                text_cell("H", line, row.error, wrapped),
                f'<c r="I{line}" s="{number}"><v>{row.attempts}</v></c>',
                text_cell("J", line, row.via.value if row.via else "", text),
                ""
                if at is None
                else f'<c r="K{line}" s="{self._time_style}"><v>{_EPOCH_DAY + int(at) / _DAY_S!r}</v></c>',
                text_cell("L", line, self._run_id, text),
                "</row>",
            )
        )

    def _widen(self, rows: Sequence[ReportRow]) -> None:
        for name, column in _WIDTHS.items():
            if column.most > column.least and name != "run_id":
                widest = max((display_width(getattr(row, name)[:200]) for row in rows), default=0)
                self._widths[name] = min(max(self._widths[name], widest + 2), column.most)

    def finish(self) -> bool:
        """Put the file together and bring it to the disk. Always worth keeping.

        Raises:
            OSError: When it cannot be written.
        """
        self._end_sheet()
        close_workbook(self.book)
        sync(self.target.temp)
        return True

    def discard(self) -> None:
        """Give up the file, unless it is in place already, and all that was kept for it."""
        discard_workbook(self.book)
        self._scratch.cleanup()
        self.target.discard()


def print_settings(sheet: Sheet, name: str) -> None:
    """Lay a sheet out for paper: landscape A4, as wide as the page, the page's number below."""
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.set_margins(left=0.4, right=0.4, top=0.5, bottom=0.6)
    sheet.set_footer(f"&L{name}&RPage &P of &N")
