"""The sheet in front of ``report.xlsx``: which run this was, what came of it, and what to do next."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from bulkid.clock import iso_utc
from bulkid.model import RETRY_STATUSES, RunRecord, RunStatus, Status
from bulkid.report.rate import Rate
from bulkid.report.rate_chart import CHART_ROWS, Chart, rate_chart
from bulkid.report.summary import METHODS, ending, how_to_report, next_steps, note_of
from bulkid.report.xlsx_files import PROBLEMS, Format, ReportWorkbook, height, print_settings
from bulkid.resources import current
from bulkid.text import count_of, humanize_seconds

MEANINGS: Final[Mapping[Status, str]] = {
    Status.UPDATED: "changed, and confirmed by the server",
    Status.CREATED: "created, and confirmed by the server",
    Status.DELETED: "deleted, and confirmed by the server",
    Status.UNCHANGED: "already correct: nothing was sent",
    Status.FAILED: "refused by the server, or attempts ran out",
    Status.INVALID: "wrong in the sheet: never sent",
    Status.PENDING: "not settled: the run ended before",
}
_WIDTHS: Final = (22, 14, 76)


def _steps(run: RunRecord, summary: Mapping[str, Any]) -> list[str]:
    """What the user can do now; never empty."""
    steps = next_steps(run, summary)
    if run.status is RunStatus.RUNNING:
        steps.append(f"Write this report again later: {how_to_report(run)} --format xlsx")
    return steps or ["Nothing: every row is as the sheet says."]


def _when(epoch_s: float | None) -> str:
    return "" if epoch_s is None else iso_utc(epoch_s).replace("T", " ").replace("Z", " UTC")


def workbook_report(
    folder: Path, run: RunRecord, summary: Mapping[str, Any], sheet_name: str, rates: Sequence[Rate]
) -> ReportWorkbook:
    """Begin ``report.xlsx`` and write its sheet ``Summary``."""
    workbook = ReportWorkbook(folder, run.run_id, rates)
    problems = sum(summary.get(status.value, 0) for status in RETRY_STATUSES)
    try:
        page = _Page(workbook)
        page.title(f"{current().plural.capitalize()}: report of a run")
        _write_run(page, run, summary, sheet_name)
        _write_counts(page, summary, workbook.status_formats)
        page.heading("What to do next")
        for step in _steps(run, summary):
            page.sentence(step)
        if problems:
            page.link(f"See the sheet {PROBLEMS}: {count_of(problems, 'row')}", PROBLEMS)
        _write_requests(page, summary)
        if rates:
            page.heading("Rate")
        for rate in rates:
            page.sentence(rate.sentence)
            page.chart(rate_chart(workbook.book, rate))
        if problems:
            workbook.begin_problems()
    except BaseException:  # a cancellation too: no unfinished file stays behind
        workbook.discard()
        raise
    return workbook


def _write_run(page: "_Page", run: RunRecord, summary: Mapping[str, Any], sheet_name: str) -> None:
    """Write which run this was, and how it ended."""
    for label, value in (
        ("Run", run.run_id),
        ("Result", ending(run.status, summary)),
        ("Why", run.message),
        ("Note", note_of(run)),
        ("Source", f"{run.source} (sheet {sheet_name})" if sheet_name else run.source),
        ("Organisation", run.organization_id),
        ("Server", run.base_url),
        ("By", "@".join(filter(None, (run.user, run.host)))),
        ("Started", _when(run.created_at)),
        ("Finished", _when(run.finished_at)),
        ("Took", humanize_seconds(float(summary.get("elapsed_s", 0)))),
        ("Files", run.report_dir and str(PurePath(run.report_dir))),
    ):
        if value:
            page.fact(label, value)


def _write_counts(page: "_Page", summary: Mapping[str, Any], formats: Mapping[Status, Format]) -> None:
    """Write how many rows have each status."""
    page.heading("Status", "Rows", "Meaning")
    for status in Status:
        page.metric(status.value, summary.get(status.value, 0), MEANINGS[status], formats[status])
    page.metric("All rows", summary.get("rows", 0))
    page.metric("Accounts", summary.get("accounts", 0))


def _write_requests(page: "_Page", summary: Mapping[str, Any]) -> None:
    """Write how many requests the run has sent."""
    page.heading("Requests")
    requests = summary.get("requests") or {}
    for method in METHODS:
        page.metric(f"{method} requests", requests.get(method, 0))
    page.metric("PUTs planned", summary.get("planned_puts", 0))
    page.metric("PUTs, at one per row", summary.get("naive_puts", 0))
    page.metric("Sent again", summary.get("retries", 0))
    page.metric("Throttled (429)", summary.get("throttled", 0))


class _Page:
    """The sheet ``Summary``, written from the top down, as constant memory requires."""

    def __init__(self, workbook: ReportWorkbook) -> None:
        book = workbook.book
        self._put = workbook.put
        self._sheet = sheet = book.add_worksheet("Summary")
        self._line = 0
        sheet.hide_gridlines(2)
        for column, width in enumerate(_WIDTHS):
            sheet.set_column(column, column, width)
        print_settings(sheet, "Summary")
        dark, top = {"font_color": "#1F3864", "bold": True}, {"num_format": "@", "valign": "top"}
        ruled = {**dark, "bottom": 1, "bottom_color": "#1F3864"}
        self._title = book.add_format({**dark, "font_size": 16})
        self._heads = [book.add_format({**ruled, **more}) for more in ({}, {"align": "right"}, {"indent": 2})]
        self._label = book.add_format({**top, "font_color": "#595959"})
        self._text = book.add_format({**top, "text_wrap": True, "align": "left"})
        self._link = book.add_format({"font_color": "#1F5FA8", "underline": 1})
        self._meaning = book.add_format({**top, "align": "left", "indent": 2})
        self._figure = book.add_format({"num_format": "#,##0", "align": "right", "valign": "top"})

    def title(self, text: str) -> None:
        self._put(self._sheet, self._line, 0, text, self._title)
        self._line += 2

    def heading(self, *texts: str) -> None:
        self._line += 1
        for column, form in enumerate(self._heads):
            self._put(self._sheet, self._line, column, texts[column] if column < len(texts) else "", form)
        self._line += 1

    def fact(self, label: str, text: str) -> None:
        self._put(self._sheet, self._line, 0, label, self._label)
        self._merge_across(1, text)

    def sentence(self, text: str) -> None:
        self._merge_across(0, text)

    def link(self, text: str, sheet_name: str) -> None:
        """A link to another sheet of the workbook."""
        self._sheet.write_url(self._line, 0, f"internal:'{sheet_name}'!A1", self._link, text)
        self._line += 1

    def chart(self, chart: Chart) -> None:
        """A chart below what is written."""
        self._sheet.insert_chart(self._line, 0, chart, {"x_offset": 4, "y_offset": 6, "object_position": 3})
        self._line += CHART_ROWS

    def metric(self, label: str, number: int, meaning: str = "", form: Format = None) -> None:
        self._put(self._sheet, self._line, 0, label, form or self._label)
        self._sheet.write_number(self._line, 1, number, self._figure)
        self._put(self._sheet, self._line, 2, meaning, self._meaning)
        self._line += 1

    def _merge_across(self, first: int, text: str) -> None:
        """A text over all columns from this one on; such a cell does not grow by itself."""
        last = len(_WIDTHS) - 1
        self._sheet.set_row(self._line, height(text, sum(_WIDTHS[first:])))
        self._sheet.merge_range(self._line, first, self._line, last, "", self._text)
        self._put(self._sheet, self._line, first, text, self._text)
        self._line += 1
