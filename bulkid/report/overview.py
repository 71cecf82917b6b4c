"""The sheet in front of ``report.xlsx``: which run this was, what came of it, and what to do next."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

from bulkid.clock import iso_utc
from bulkid.model import RunRecord, RunStatus, Status
from bulkid.report.summary import METHODS
from bulkid.report.workbook import Format, Sheet, Workbook, print_settings

MEANINGS: Final[Mapping[Status, str]] = {
    Status.UPDATED: "changed, and confirmed by the server",
    Status.UNCHANGED: "already as wanted: nothing was sent",
    Status.FAILED: "refused by the server, or attempts ran out",
    Status.INVALID: "wrong in the sheet: never sent",
    Status.PENDING: "not settled: the run ended before",
}
_WHOLE: Final[Mapping[RunStatus, str]] = {
    RunStatus.RUNNING: "still under way when this was written",
    RunStatus.COMPLETED: "completed",
    RunStatus.COMPLETED_WITH_FAILURES: "completed, but not every row",
    RunStatus.STOPPED: "stopped before its end",
    RunStatus.INTERRUPTED: "interrupted",
    RunStatus.REFUSED: "refused: nothing was sent",
}


def next_steps(run: RunRecord, summary: Mapping[str, Any]) -> list[str]:
    """What to do now, as sentences with the command to type; never empty."""
    steps: list[str] = []
    if run.status is RunStatus.REFUSED:
        return [
            "Nothing was sent. Mend the invalid rows in your sheet, or in retry.csv, and run it again: bulkid run retry.csv"
        ]
    if summary.get(Status.PENDING, 0):
        steps.append(f"Finish the pending rows: bulkid resume {run.run_id}")
    if summary.get(Status.FAILED, 0) or summary.get(Status.INVALID, 0):
        steps.append("Mend the rows in retry.csv (its last column says what is wrong) and run it: bulkid run retry.csv")
    if run.status is RunStatus.RUNNING:
        steps.append(f"Write this report again later: bulkid report {run.run_id} --format xlsx")
    return steps or ["Nothing: every row is as the sheet wants it."]


def duration(seconds: float) -> str:
    """Say a length of time as a person would: ``42.5 s``, ``3 min 20 s``, ``5 h 10 min``."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def facts(run: RunRecord, summary: Mapping[str, Any], sheet_name: str) -> list[tuple[str, str]]:
    """Label and value of what a reader wants to know of the run."""
    source = run.source if not sheet_name else f"{run.source} (sheet {sheet_name})"
    lines = [
        ("Run", run.run_id),
        ("Result", _WHOLE[run.status]),
        ("Why", run.message),
        ("Source", source),
        ("Organisation", run.organization_id),
        ("Server", run.base_url),
        ("By", "@".join(filter(None, (run.user, run.host)))),
        ("Started", _when(run.created_at)),
        ("Finished", _when(run.finished_at)),
        ("Took", duration(float(summary.get("elapsed_s", 0)))),
        ("Files", run.report_dir and str(PurePath(run.report_dir))),
    ]
    return [(label, value) for label, value in lines if value]


def _when(epoch_s: float | None) -> str:
    return "" if epoch_s is None else iso_utc(epoch_s).replace("T", " ").replace("Z", " UTC")


def effort(summary: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Label and figure of what the run cost."""
    requests = summary.get("requests") or {}
    return [
        *((f"{method} requests", int(requests.get(method, 0))) for method in METHODS),
        ("PUTs planned", int(summary.get("planned_puts", 0))),
        ("PUTs, at one per row", int(summary.get("naive_puts", 0))),
        ("Sent again", int(summary.get("retries", 0))),
        ("Throttled (429)", int(summary.get("throttled", 0))),
    ]


def write_overview(workbook: Workbook, run: RunRecord, summary: Mapping[str, Any], sheet_name: str) -> None:
    """Write the sheet ``Summary``."""
    book = workbook.book
    sheet = book.add_worksheet("Summary")
    sheet.hide_gridlines(2)
    sheet.set_column(0, 0, 22)
    sheet.set_column(1, 1, 14)
    sheet.set_column(2, 2, 76)
    print_settings(sheet, "Summary")
    title = book.add_format({"bold": True, "font_size": 16, "font_color": "#1F3864"})
    head = book.add_format({"bold": True, "font_color": "#1F3864", "bottom": 1, "bottom_color": "#1F3864"})
    label = book.add_format({"font_color": "#595959", "valign": "top"})
    value = book.add_format({"num_format": "@", "valign": "top", "text_wrap": True, "align": "left"})
    figure = book.add_format({"num_format": "#,##0", "align": "right", "valign": "top"})

    line = 0
    workbook.put(sheet, line, 0, "Robot accounts: what became of the sheet", title)
    line += 2
    for name, text in facts(run, summary, sheet_name):
        workbook.put(sheet, line, 0, name, label)
        sheet.merge_range(line, 1, line, 2, "", value)
        workbook.put(sheet, line, 1, text, value)
        line += 1

    line = _heading(workbook, sheet, line + 1, ("Status", "Rows", "Meaning"), head)
    for status in Status:
        workbook.put(sheet, line, 0, status.value, workbook.status_formats[status])
        sheet.write_number(line, 1, int(summary.get(status.value, 0)), figure)
        workbook.put(sheet, line, 2, MEANINGS[status], value)
        line += 1
    for name, key in (("rows", "rows"), ("accounts", "accounts")):
        workbook.put(sheet, line, 0, name, label)
        sheet.write_number(line, 1, int(summary.get(key, 0)), figure)
        line += 1

    line = _heading(workbook, sheet, line + 1, ("Requests", "", ""), head)
    for name, number in effort(summary):
        workbook.put(sheet, line, 0, name, label)
        sheet.write_number(line, 1, number, figure)
        line += 1

    line = _heading(workbook, sheet, line + 1, ("What to do next", "", ""), head)
    for step in next_steps(run, summary):
        sheet.merge_range(line, 0, line, 2, "", value)
        workbook.put(sheet, line, 0, step, value)
        sheet.set_row(line, 15 * (1 + len(step) // 110))  # a merged cell does not grow by itself
        line += 1


def _heading(workbook: Workbook, sheet: Sheet, line: int, texts: Sequence[str], form: Format) -> int:
    for column, text in enumerate(texts):
        workbook.put(sheet, line, column, text, form)
    return line + 1
