"""The workbook, read back with another library."""

import datetime as dt
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings

from bulkid.model import ReportRow, RunStatus, Status
from bulkid.report import xlsx_files as workbook_module
from bulkid.report.rate import Intervals, Rate, Settled
from bulkid.report.text_files import COLUMNS
from bulkid.report.xlsx_files import MAX_CELL_UNITS, day_number, displayable
from bulkid.sheet.formula_escape import guard_apostrophe
from tests.support.examples import examples
from tests.support.report_data import a_row, a_run, report_rows, write


def load(folder: Path) -> Any:
    return openpyxl.load_workbook(folder / "report.xlsx")


def unescaped(value: Any) -> Any:
    """Read the file format's own escape as Excel does; openpyxl leaves it."""
    if isinstance(value, str):
        return re.sub("_x([0-9A-Fa-f]{4})_", lambda match: chr(int(match[1], 16)), value)
    return value


def expected(row: ReportRow, run_id: str) -> list[Any]:
    account = map(guard_apostrophe, (row.robot_account_id, row.name))  # what a run would read as the account
    texts = [displayable(text) or None for text in (*account, row.changes, row.error_code, row.error)]
    at = (
        None
        if row.finished_at is None
        else dt.datetime.fromtimestamp(int(row.finished_at), dt.UTC).replace(tzinfo=None)
    )
    via = row.via.value if row.via else None
    return [row.row, *texts[:2], row.status.value, texts[2], row.http_status, *texts[3:], row.attempts, via, at, run_id]


@settings(max_examples=examples(8, soak=300), deadline=None)
@given(rows=report_rows())
def test_the_rows_read_back_are_the_rows_written(rows: list[ReportRow]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, run = Path(name), a_run()
        write(folder, rows, {"xlsx"}, run=run)
        header, *lines = load(folder)["Report"].iter_rows()
        assert tuple(cell.value for cell in header) == COLUMNS
        assert [[unescaped(cell.value) for cell in line] for line in lines] == [
            expected(row, run.run_id) for row in rows
        ]
        assert not [cell for line in lines for cell in line if cell.data_type == "f" or cell.hyperlink]


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+ Finance",
        "@SUM(A1)",
        "https://example.com",
        "88",
        "1e5",
        "{=1}",
        "<r>&amp;</r>",
        "#N/A",
        "TRUE",
        " x ",
    ],
)
def test_a_text_stays_a_text_whatever_it_looks_like(tmp_path: Path, text: str) -> None:
    write(
        tmp_path,
        [a_row(name=text, changes=text, robot_account_id=text)],
        {"xlsx"},
        run=a_run(source=text, message=text),
    )
    book = load(tmp_path)
    for column in ("B2", "C2", "E2"):
        cell = book["Report"][column]
        assert (cell.value, cell.data_type, cell.number_format) == (text, "s", "@")
    values = [cell for line in book["Summary"].iter_rows() for cell in line if cell.value == text]
    assert len(values) == 2
    assert {cell.data_type for cell in values} == {"s"}


def test_the_report_sheet_is_ready_to_work_with(tmp_path: Path) -> None:
    rows = [
        a_row(number, status, changes="x" * 300 if number == 3 else "+ a") for number, status in enumerate(Status, 2)
    ]
    write(tmp_path, rows, {"xlsx"})
    sheet = load(tmp_path)["Report"]
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == "A1:L8"
    assert sheet.print_title_rows == "$1:$1"
    assert sheet.page_setup.orientation == "landscape"
    assert sheet.sheet_properties.pageSetUpPr.fitToPage
    fills = [sheet.cell(line, 4).fill.start_color.rgb for line in range(2, 9)]
    assert len(set(fills)) == len(Status), "each status has a colour of its own"
    assert sheet["E2"].alignment.wrap_text
    assert [sheet.row_dimensions[line].height for line in (2, 3, 4)] == [None, 90, None], "six lines of text"
    assert sheet["K2"].number_format.startswith("yyyy-mm-dd hh:mm:ss")
    assert sheet["A2"].data_type == sheet["F2"].data_type == sheet["I2"].data_type == "n"


def test_columns_are_as_wide_as_their_texts_within_bounds(tmp_path: Path) -> None:
    def width(name: str, letter: str) -> float:
        write(tmp_path, [a_row(name=name)], {"xlsx"})
        return float(load(tmp_path)["Report"].column_dimensions[letter].width)

    assert width("r", "C") == pytest.approx(12, abs=1)
    assert width("a-name-of-twenty-chrs", "C") == pytest.approx(23, abs=1)
    assert width("語" * 10, "C") == pytest.approx(22, abs=1), "an ideograph takes two places"
    assert width("n" * 500, "C") == pytest.approx(32, abs=1)
    assert width("r", "L") == pytest.approx(22, abs=1), "the run's id fits"


def test_a_full_sheet_goes_on_in_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook_module, "MAX_SHEET_ROWS", 5)
    write(tmp_path, [a_row(number) for number in range(2, 12)], {"xlsx"})
    book = load(tmp_path)
    assert book.sheetnames == ["Summary", "Report", "Report 2", "Report 3"]
    rows = [
        [cell.value for cell in line]
        for name in book.sheetnames[1:]
        for line in book[name].iter_rows(min_row=2, max_col=1)
    ]
    assert rows == [[number] for number in range(2, 12)]
    assert [book[name].max_row for name in book.sheetnames[1:]] == [5, 5, 3]
    assert all(book[name]["A1"].value == "row" and book[name].freeze_panes == "A2" for name in book.sheetnames[1:])


def test_the_limit_of_a_sheet_is_the_file_formats() -> None:
    assert workbook_module.MAX_SHEET_ROWS == 2**20


def test_no_rows_make_a_workbook_that_opens(tmp_path: Path) -> None:
    write(tmp_path, [], {"xlsx"})
    assert [cell.value for cell in load(tmp_path)["Report"][1]] == list(COLUMNS)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\x1b[31m", "a␀b␛[31m"),
        ("one\r\ntwo\rthree", "one\ntwo␍three"),
        ("x\ud800y\uffff", "x�y�"),
        ("tab\tand line\n stay", "tab\tand line\n stay"),
    ],
)
def test_what_a_cell_cannot_hold_is_shown_in_its_place(text: str, shown: str) -> None:
    assert displayable(text) == shown


def test_a_text_too_long_for_a_cell_is_cut_with_an_ellipsis(tmp_path: Path) -> None:
    assert displayable("x" * MAX_CELL_UNITS) == "x" * MAX_CELL_UNITS
    assert displayable("x" * (MAX_CELL_UNITS + 1)) == "x" * (MAX_CELL_UNITS - 1) + "…"
    wide = displayable("😀" * 20_000)
    assert len(wide.encode("utf-16-le")) // 2 <= MAX_CELL_UNITS
    assert wide.endswith("😀…")
    write(tmp_path, [a_row(error="x" * 40_000)], {"xlsx"})
    assert load(tmp_path)["Report"]["H2"].value == "x" * (MAX_CELL_UNITS - 1) + "…"


@pytest.mark.parametrize("text", ["_x0041_", "_x0041_x0042_", "__x0041_", "_x005F_x0041_", "_x00"])
def test_the_formats_own_escape_is_not_read_into_a_text(tmp_path: Path, text: str) -> None:
    write(tmp_path, [a_row(name=text)], {"xlsx"})
    assert unescaped(load(tmp_path)["Report"]["C2"].value) == text


def summary_cells(folder: Path) -> dict[str, Any]:
    return {line[0].value: line[1].value for line in load(folder)["Summary"].iter_rows() if line[0].value}


def test_the_summary_in_front_says_what_run_this_was_and_what_came_of_it(tmp_path: Path) -> None:
    rows = [a_row(2), a_row(3, Status.FAILED), a_row(4, Status.PENDING)]
    run = a_run(status=RunStatus.INTERRUPTED, message="Stopped by a signal.", options={"note": "CHG-4711"})
    write(tmp_path, rows, {"xlsx"}, run=run, sheet_name="Robots")
    cells = summary_cells(tmp_path)
    assert cells["Run"] == run.run_id
    assert cells["Result"] == "interrupted"
    assert cells["Why"] == "Stopped by a signal."
    assert cells["Note"] == "CHG-4711"
    assert (cells["created"], cells["deleted"], cells["POST requests"], cells["DELETE requests"]) == (0, 0, 0, 0)
    assert cells["Source"] == "robots.xlsx (sheet Robots)"
    assert cells["Organisation"] == run.organization_id
    assert (cells["updated"], cells["unchanged"], cells["failed"], cells["pending"], cells["All rows"]) == (
        1,
        0,
        1,
        1,
        3,
    )
    assert (cells["GET requests"], cells["PUT requests"], cells["PUTs planned"], cells["PUTs, at one per row"]) == (
        2,
        3,
        3,
        5,
    )
    assert cells["Took"] == "1 minute"
    assert f"Continue with: bulkid resume {run.run_id}" in cells
    assert any("bulkid run retry.csv" in str(key) for key in cells)
    book = load(tmp_path)
    by_status = {line[0].value: line[0].fill.start_color.rgb for line in book["Summary"].iter_rows() if line[0].value}
    assert by_status["failed"] == book["Report"]["D3"].fill.start_color.rgb, "the same colours on both sheets"


@pytest.mark.parametrize(
    ("status", "rows", "step"),
    [
        (RunStatus.COMPLETED, [a_row()], "Nothing: every row is as the sheet says."),
        (RunStatus.REFUSED, [a_row(2, Status.INVALID), a_row(3, Status.PENDING)], "Nothing was sent. Fix the sheet"),
        (RunStatus.REFUSED, [a_row(2, Status.PENDING)], "Nothing was sent. Fix the cause and run it again."),
        (RunStatus.RUNNING, [a_row(2, Status.PENDING)], "Write this report again later"),
        (RunStatus.STOPPED, [a_row(2, Status.PENDING)], "Continue with: bulkid resume"),
        (
            RunStatus.COMPLETED_WITH_FAILURES,
            [a_row(2, Status.INVALID)],
            "The last column of retry.csv says what is wrong.",
        ),
    ],
)
def test_the_summary_says_what_to_do_next(tmp_path: Path, status: RunStatus, rows: list[ReportRow], step: str) -> None:
    write(tmp_path, rows, {"xlsx"}, run=a_run(status=status))
    steps = list(summary_cells(tmp_path))
    assert any(str(line).startswith(step) for line in steps[steps.index("What to do next") + 1 :])
    assert status is not RunStatus.REFUSED or not any("resume" in str(line) for line in steps)


def test_the_workbook_holds_no_link_and_no_formula(tmp_path: Path) -> None:
    write(
        tmp_path,
        [a_row(name=" https://x", changes="=1")],
        {"xlsx"},
        run=a_run(message="=HYPERLINK(1)", source="https://y"),
    )
    with zipfile.ZipFile(tmp_path / "report.xlsx") as archive:
        xml = "".join(archive.read(name).decode() for name in archive.namelist() if name.startswith("xl/worksheets/"))
    assert "<f>" not in xml
    assert '<t xml:space="preserve"> https://x</t>' in xml, "or else Excel drops the space"
    assert "hyperlink" not in xml.replace("HYPERLINK", "")


def test_the_rows_that_are_not_done_stand_in_a_sheet_of_their_own_that_the_summary_links_to(tmp_path: Path) -> None:
    rows = [
        a_row(2),
        a_row(3, Status.INVALID, error="=Unknown group", error_code="unknown_group", changes="", http_status=None),
        a_row(4, Status.UNCHANGED),
        a_row(5, Status.FAILED, error="Refused", http_status=400),
        a_row(6, Status.PENDING, changes="+ Finance", robot_account_id="", error="Stopped"),
    ]
    write(tmp_path, rows, {"xlsx"})
    book = load(tmp_path)
    assert book.sheetnames == ["Summary", "Problems", "Report"]
    sheet = book["Problems"]
    header, *lines = [[cell.value for cell in line] for line in sheet.iter_rows()]
    assert header == [
        *("Row", "Account", "Status", "Problem", "Requested changes", "HTTP status", "Error code", "Account id"),
    ]
    assert lines == [
        [3, "roby", "invalid", "=Unknown group", None, None, "unknown_group", "88-uv"],
        [5, "roby", "failed", "Refused", "+ alumni-02", 400, None, "88-uv"],
        [6, "roby", "pending", "Stopped", "+ Finance", 200, None, None],
    ]
    assert sheet.auto_filter.ref == "A1:H4"
    assert not [cell for line in sheet.iter_rows() for cell in line if cell.data_type == "f"]
    links = [cell for line in book["Summary"].iter_rows() for cell in line if cell.hyperlink]
    assert [(cell.value, cell.hyperlink.location) for cell in links] == [
        ("See the sheet Problems: 3 rows", "'Problems'!A1")
    ]


def test_more_problems_than_a_sheet_holds_go_on_in_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook_module, "MAX_SHEET_ROWS", 5)
    write(tmp_path, [a_row(number, Status.FAILED) for number in range(2, 8)], {"xlsx"})
    book = load(tmp_path)
    assert sorted(book.sheetnames) == ["Problems", "Problems 2", "Report", "Report 2", "Summary"]
    assert [book[name].max_row for name in ("Problems", "Problems 2")] == [5, 3]


@pytest.mark.parametrize("quota", [None, 160])
@pytest.mark.parametrize("points", [(Settled(3),), (Settled(100), Settled(140, 20)), (Settled(),) * 121])
def test_the_summary_shows_the_rate_as_a_chart_of_the_workbook(
    tmp_path: Path, points: tuple[Settled, ...], quota: int | None
) -> None:
    rate = Rate(Intervals(1_769_846_400.0, 12_500, 24, quota), points)
    write(tmp_path, [a_row()], {"xlsx"}, rates=[rate])
    book = load(tmp_path)
    assert book.sheetnames == ["Summary", "Report", "Rate"]
    assert len(book["Summary"]._charts) == 1
    assert rate.sentence in summary_cells(tmp_path)
    _, *lines = [[cell.value for cell in line] for line in book["Rate"].iter_rows()]
    assert {book["Rate"].cell(line, 1).number_format for line in range(2, len(points) + 2)} == {"[h]:mm:ss.0"}
    assert [line[1:] for line in lines] == [
        [point.by_account, point.by_group, *([quota] if quota else [])] for point in points
    ]
    with zipfile.ZipFile(tmp_path / "report.xlsx") as archive:
        chart = archive.read("xl/charts/chart1.xml").decode()
    plotted = re.findall(r"<c:val><c:numRef><c:f>Rate!\$(\w)\$2(?::\$\w\$(\d+))?</c:f>", chart)
    columns = ["B", *(["C"] if rate.has_groups else []), *(["D"] if quota else [])]
    assert plotted == [(column, "" if len(points) == 1 else str(len(points) + 1)) for column in columns]


def test_each_method_has_a_chart_and_a_worksheet_of_its_own(tmp_path: Path) -> None:
    cut = Intervals(1_769_846_400.0, 12_500, 24, 160)
    rates = [Rate(cut, (Settled(3),)), Rate(cut, (Settled(5),), "POST"), Rate(cut, (Settled(0, 7),), "DELETE")]
    write(tmp_path, [a_row()], {"xlsx"}, rates=rates)
    book = load(tmp_path)
    assert book.sheetnames == ["Summary", "Report", "Rate", "Rate POST", "Rate DELETE"]
    assert len(book["Summary"]._charts) == 3
    assert [book["Rate DELETE"].cell(1, column).value for column in (3, 4)] == ["By a bulk request", "Quota (requests)"]
    cells = summary_cells(tmp_path)
    assert "At most 5 creations were settled in 5 minutes. The quota allows 160 requests in that time." in cells
    assert "At most 7 deletions were settled in 5 minutes. The quota allows 160 requests in that time." in cells
    with zipfile.ZipFile(tmp_path / "report.xlsx") as archive:
        chart = archive.read("xl/charts/chart3.xml").decode()
    plotted = re.findall(r"<c:val><c:numRef><c:f>'Rate DELETE'!\$(\w)\$2</c:f>", chart)
    assert plotted == ["C", "D"], "no empty series"


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-01-31T12:00:00Z", 46053.5),
        ("2026-01-31T12:00:00.1234567+00:00", 46053.5000014),
        ("2026-01-31T14:00:00+02:00", 46053.5),
        ("2026-01-31T12:00:00", 46053.5),
        ("1900-03-01T00:00:00Z", 61),
        ("1900-02-28T00:00:00Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("never", None),
        ("", None),
    ],
)
def test_a_time_of_the_server_is_a_time_of_the_workbook(text: str, day: float | None) -> None:
    assert day_number(text) == (day if day is None else pytest.approx(day, abs=1e-6))
