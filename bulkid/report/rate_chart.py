"""The rate of a run against its quota in a workbook: a worksheet with the numbers, and a native chart of them."""

from typing import Any, Final, TypeAlias

from bulkid.report.rate import Rate

Format: TypeAlias = Any  # xlsxwriter has no type information
Book: TypeAlias = Any
Chart: TypeAlias = Any

RATE_SHEET: Final = "Rate"
CHART_ROWS: Final = 19
"""Lines of usual height that a chart takes: it covers 16, or more where a program draws lower lines; then a gap."""

_COLOURS: Final = ("#1F5FA8", "#1A6B34", "#B3261E")
_WHOLE_SECONDS: Final = "[h]:mm:ss"
_TENTHS: Final = "[h]:mm:ss.0"  # where the points do not stand at whole seconds
_DAY_S: Final = 86_400
_LABELS: Final = 8  # about so many below the axis
_PIXELS: Final = (780, 320)


def add_rate_sheet(book: Book, rate: Rate, header: Format) -> None:
    """Add the worksheet that the chart takes its numbers from."""
    headers = ("Time since the start", "By a request for the account", f"By {rate.group_request}", "Quota (requests)")
    sheet = book.add_worksheet(_sheet_of(rate))
    sheet.set_column(0, len(headers) - 1, 28)
    sheet.freeze_panes(1, 0)
    time = book.add_format({"num_format": _time_format(rate), "align": "left"})
    count = book.add_format({"num_format": "#,##0"})
    for column, text in enumerate(headers[: 3 if rate.intervals.quota is None else 4]):
        sheet.write_string(0, column, text, header)
    for line, point in enumerate(rate.points, 1):
        sheet.write_number(line, 0, rate.seconds(line - 1) / _DAY_S, time)
        sheet.write_number(line, 1, point.by_account, count)
        sheet.write_number(line, 2, point.by_group, count)
        if rate.intervals.quota is not None:
            sheet.write_number(line, 3, rate.intervals.quota, count)


def rate_chart(book: Book, rate: Rate) -> Chart:
    """The chart, to be inserted into a worksheet of a workbook that gets the worksheet of the numbers too."""
    last = len(rate.points)
    shown = [column for column, any_of in ((1, rate.has_own or not rate.has_groups), (2, rate.has_groups)) if any_of]
    chart = book.add_chart({"type": "column", "subtype": "stacked"})
    for column in shown:
        chart.add_series({**_series(rate, column), "fill": {"color": _COLOURS[column - 1]}, "gap": 0})
    if rate.intervals.quota is not None:
        line = book.add_chart({"type": "line"})
        dashed = {"color": _COLOURS[2], "width": 2, "dash_type": "dash"}
        marker = {"type": "none"} if last > 1 else {"type": "long_dash", "size": 20, "border": dashed, "fill": dashed}
        line.add_series({**_series(rate, 3), "line": dashed, "marker": marker})
        chart.combine(line)
    chart.set_title({"name": rate.caption, "name_font": {"size": 12, "color": "#1F3864"}, "overlay": False})
    every = max(1, last // _LABELS)
    chart.set_x_axis(
        {
            "name": "Time since the start",
            "num_format": _time_format(rate),
            "interval_unit": every,
            "interval_tick": every,
        }
    )
    chart.set_y_axis(
        {"min": 0, "num_format": "#,##0", "major_gridlines": {"visible": True, "line": {"color": "#D0D0D0"}}}
    )
    chart.set_legend({"position": "bottom"})
    chart.set_size({"width": _PIXELS[0], "height": _PIXELS[1]})
    return chart


def _time_format(rate: Rate) -> str:
    return _TENTHS if rate.intervals.step_ms % 1000 else _WHOLE_SECONDS


def _sheet_of(rate: Rate) -> str:
    return RATE_SHEET if rate.method == "PUT" else f"{RATE_SHEET} {rate.method}"


def _series(rate: Rate, column: int) -> dict[str, Any]:
    name, last = _sheet_of(rate), len(rate.points)
    return {
        "name": [name, 0, column],
        "categories": [name, 1, 0, last, 0],
        "values": [name, 1, column, last, column],
    }
