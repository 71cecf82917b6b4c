"""The text files of a report: their content, and that each is whole or missing."""

import csv
import gc
import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkid.clock import iso_utc
from bulkid.errors import UsageError
from bulkid.model import ReportRow, RunRecord, Status, Via
from bulkid.report import text_files
from bulkid.report.atomic import ReportError, prepare_folder
from bulkid.report.formats import ReportContent
from bulkid.report.summary import build_summary
from bulkid.report.text_files import COLUMNS
from bulkid.report.writer import OpenReport, write_report
from bulkid.sheet.formula_escape import FORMULA_STARTS, escape_formula, unescape_formula
from tests.support.examples import examples
from tests.support.report_data import HEADERS, a_row, a_run, nasty_text, report_rows, write


def content_of(run: RunRecord, folder: Path, summary: Mapping[str, Any] | None = None) -> ReportContent:
    return ReportContent(run, folder, HEADERS, build_summary(run, {}, 0, None) if summary is None else summary)


OPEN = {Status.FAILED, Status.INVALID, Status.PENDING}


def read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def as_text(row: ReportRow, run_id: str) -> list[str]:
    return [
        str(row.row),
        row.robot_account_id,
        row.name,
        row.status.value,
        row.changes,
        "" if row.http_status is None else str(row.http_status),
        row.error_code,
        row.error,
        str(row.attempts),
        row.via.value if row.via else "",
        "" if row.finished_at is None else iso_utc(int(row.finished_at)),
        run_id,
    ]


def test_columns_are_the_contracts() -> None:
    assert ",".join(COLUMNS) == (
        "row,robot_account_id,name,status,changes,http_status,error_code,error,attempts,via,finished_at,run_id"
    )


def test_the_report_of_the_vendors_example_reads_as_promised(tmp_path: Path) -> None:
    write(tmp_path, [a_row()])
    data = (tmp_path / "report.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbfrow,robot_account_id,"), "Excel reads it as UTF-8 by its first three bytes"
    assert data.decode("utf-8-sig").splitlines()[1] == (
        "2,88-uv,roby,updated,groups: + alumni-02,200,,,1,account,2026-01-31T08:00:01Z,20260131-081500-ab12"
    )


def _named_groups(row: ReportRow) -> ReportRow:
    """The row as report.csv has it: changes that begin with a sign are named, so that they need no apostrophe."""
    return row._replace(changes=f"groups: {row.changes}") if row.changes.startswith(("+ ", "- ")) else row


@pytest.mark.parametrize("changes", ["+ Finance", "- =cmd", "+ Finance; - Trainees"])
def test_changes_of_groups_need_no_apostrophe(tmp_path: Path, changes: str) -> None:
    write(tmp_path, [a_row(changes=changes)])
    assert read_csv(tmp_path / "report.csv")[1][4] == f"groups: {changes}"


@settings(max_examples=examples(25, soak=400), deadline=None)
@given(rows=report_rows())
def test_every_row_stands_in_each_file_once_and_as_it_was(rows: list[ReportRow]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = a_run()
        write(folder, rows, {"jsonl"}, run=run)
        header, *lines = read_csv(folder / "report.csv")
        assert tuple(header) == COLUMNS
        assert [[unescape_formula(cell) for cell in line] for line in lines] == [
            as_text(_named_groups(row), run.run_id) for row in rows
        ]
        assert not [cell for line in lines for cell in line if cell.lstrip().startswith(tuple(FORMULA_STARTS))]

        objects = [json.loads(line) for line in (folder / "report.jsonl").read_bytes().splitlines()]
        assert all(tuple(item) == COLUMNS for item in objects)
        texts = [["" if value is None else str(value) for value in item.values()] for item in objects]
        assert texts == [as_text(row, run.run_id) for row in rows]

        summary = json.loads((folder / "summary.json").read_bytes())
        counted = Counter(line[3] for line in lines)
        assert {status: summary[status] for status in Status} == {status: counted[status] for status in Status}
        assert summary["rows"] == len(rows) == sum(summary[status] for status in Status)


@settings(max_examples=examples(25, soak=400), deadline=None)
@given(rows=report_rows(), size=st.integers(1, 5))
def test_the_rows_are_counted_by_status(rows: list[ReportRow], size: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        report = OpenReport(content_of(a_run(), Path(name)), ())
        for start in range(0, len(rows), size):
            report.write(rows[start : start + size])
        report.discard()
    counted = Counter(row.status for row in rows)
    assert report.counts == {status: counted[status] for status in Status}


def as_csv(lines: Iterable[Iterable[str]]) -> str:
    file = io.StringIO(newline="")
    csv.writer(file).writerows(lines)
    return file.getvalue()


@settings(max_examples=examples(50, soak=1000), deadline=None)
@given(rows=report_rows() | st.lists(st.builds(a_row, changes=nasty_text | st.just("+ Finance")), max_size=3))
def test_the_report_is_what_the_standard_library_writes_of_its_cells(rows: list[ReportRow]) -> None:
    run = a_run()
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), rows, run=run)
        written = (Path(name) / "report.csv").read_bytes()
    cells = [[escape_formula(cell) for cell in as_text(_named_groups(row), run.run_id)] for row in rows]
    assert written == as_csv([COLUMNS, *cells]).encode("utf-8-sig", "backslashreplace")


_CELLS = st.text("ab,\"\r\n' \0\ud800", max_size=3)


@settings(max_examples=examples(300, soak=5000), deadline=None)
@given(lines=st.lists(st.lists(_CELLS | st.just("plain"), max_size=3), max_size=3))
def test_lines_that_need_no_quotes_are_those_of_the_standard_library(lines: list[list[str]]) -> None:
    assert text_files._join(lines) in {as_csv(lines), ""}


def test_only_lines_that_need_quotes_are_written_by_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[str] = []

    def recorded(lines: Sequence[Sequence[str]]) -> str:
        joined.append(join(lines))
        return joined[-1]

    join = text_files._join
    monkeypatch.setattr(text_files, "_join", recorded)
    report = OpenReport(content_of(a_run(), tmp_path), ())
    for row in (a_row(2), a_row(3, name="A, B"), a_row(4, Status.FAILED)):
        report.write([row])
    report.discard()
    assert [bool(text) for text in joined] == [True, False, True, True]  # the last one is of retry.csv


@settings(max_examples=examples(25, soak=400), deadline=None)
@given(
    rows=report_rows(),
    headers=st.lists(nasty_text.filter(lambda text: text.strip().casefold() != "error"), min_size=3, max_size=3),
)
def test_retry_sheet_gives_the_open_rows_back_as_they_came_in(rows: list[ReportRow], headers: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, rows, headers=headers)
        wanted = [row for row in rows if row.status in OPEN]
        assert (folder / "retry.csv").exists() == bool(wanted)
        if wanted:
            raw = [cell for line in read_csv(folder / "retry.csv") for cell in line]
            assert not [cell for cell in raw if cell.lstrip().startswith(tuple(FORMULA_STARTS))]
            read = [[unescape_formula(cell) for cell in line] for line in read_csv(folder / "retry.csv")]
            assert read[0] == [*headers, "error"]
            assert [tuple(line[:3]) for line in read[1:]] == [row.cells for row in wanted]
            assert all(line[3] for line in read[1:]), "each says why it is here"


def test_retry_sheet_says_why_by_the_best_words_there_are(tmp_path: Path) -> None:
    rows = [
        a_row(2, Status.FAILED, error="no such group", error_code="1100"),
        a_row(3, Status.INVALID, error="", error_code="unknown_group"),
        a_row(4, Status.PENDING),
        a_row(5, Status.UPDATED),
        a_row(6, Status.UNCHANGED),
    ]
    write(tmp_path, rows)
    assert [line[-1] for line in read_csv(tmp_path / "retry.csv")] == [
        "error",
        "no such group",
        "unknown_group",
        "pending",
    ]


@pytest.mark.parametrize("header", ["error", "Error", " ERROR "])
def test_a_retry_sheet_run_again_has_one_error_column(tmp_path: Path, header: str) -> None:
    row = a_row(2, Status.FAILED, error="still wrong", cells=("roby", "old error", "note"))
    write(tmp_path, [row], headers=("Robot", header, "Notes"))
    assert read_csv(tmp_path / "retry.csv") == [["Robot", "Notes", "error"], ["roby", "note", "still wrong"]]


def test_an_error_column_that_the_run_read_stays_and_the_errors_get_a_column_of_another_name(tmp_path: Path) -> None:
    row = a_row(2, Status.FAILED, error="refused", cells=("roby", "x", "Robbie"))
    write(tmp_path, [row], headers=("Robot", "error", "Error"), fields=("name", "", "display_name"))
    first = read_csv(tmp_path / "retry.csv")
    assert first == [["Robot", "Error", "bulkid_error"], ["roby", "Robbie", "refused"]]
    again = a_row(2, Status.FAILED, error="refused again", cells=tuple(first[1]))
    write(tmp_path, [again], headers=first[0], fields=("name", "display_name", ""))
    assert read_csv(tmp_path / "retry.csv") == [first[0], ["roby", "Robbie", "refused again"]]


def test_rows_with_too_few_or_too_many_cells_keep_their_columns(tmp_path: Path) -> None:
    rows = [
        a_row(2, Status.INVALID, error="short", cells=("a",)),
        a_row(3, Status.INVALID, error="long", cells=tuple("abcd")),
    ]
    write(tmp_path, rows)
    assert read_csv(tmp_path / "retry.csv")[1:] == [["a", "", "", "short"], ["a", "b", "c", "long", "d"]]


def test_an_old_retry_sheet_goes_when_all_is_done(tmp_path: Path) -> None:
    assert (tmp_path / "retry.csv") in write(tmp_path, [a_row(2, Status.PENDING)]).files
    files = write(tmp_path, [a_row(2, Status.UPDATED)])
    assert not (tmp_path / "retry.csv").exists()
    assert [path.name for path in files.files] == ["report.csv", "summary.json"]


def test_an_old_retry_sheet_that_cannot_go_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "retry.csv").mkdir()
    assert "retry.csv is from an earlier report" in write(tmp_path, [a_row()]).notes[0]


def test_only_what_was_asked_for_is_written_and_nothing_is_left_over(tmp_path: Path) -> None:
    names = ["report.csv", "retry.csv", "report.jsonl", "report.xlsx", "summary.json"]
    files = write(tmp_path, [a_row(2, Status.FAILED)], {"csv", "jsonl", "xlsx"})
    assert [path.name for path in files.files] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert files.notes == ()


def test_rows_are_gone_through_once_and_not_held(tmp_path: Path) -> None:
    starts = 0
    most = 0

    def rows() -> Iterator[ReportRow]:
        nonlocal starts, most
        starts += 1
        for number in range(20_000):
            yield a_row(number + 2, Status.FAILED)
            if number % 5_000 == 4_999:
                most = max(most, sum(type(item) is ReportRow for item in gc.get_objects()))

    run = a_run()
    gc.collect()  # rows of earlier tests
    write_report(rows, content_of(run, tmp_path), {"xlsx", "jsonl"})
    assert starts == 1
    assert most < 2_000
    assert len(read_csv(tmp_path / "report.csv")) == len(read_csv(tmp_path / "retry.csv")) == 20_001


def test_half_a_surrogate_pair_stops_no_report(tmp_path: Path) -> None:
    write(
        tmp_path, [a_row(2, Status.FAILED, name="x\ud800", error="\udfff", cells=("\ud800", "", ""))], {"jsonl", "xlsx"}
    )
    assert read_csv(tmp_path / "report.csv")[1][2] == "x\\ud800"
    assert read_csv(tmp_path / "retry.csv")[1][0] == "\\ud800"
    assert json.loads((tmp_path / "report.jsonl").read_bytes())["name"] == "x\\ud800"


# --- files held open, full disks, folders that are none


def hold_open(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Have these names refuse to be replaced, as Windows does for a file that Excel has open."""
    replace = Path.replace

    def refusing(self: Path, target: Any) -> Path:
        if Path(target).name in names:
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refusing)


def test_a_report_that_is_held_open_gets_the_next_free_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.csv").write_text("old", encoding="utf-8")
    (tmp_path / "report-2.csv").write_text("older", encoding="utf-8")
    hold_open(monkeypatch, "report.csv")
    files = write(tmp_path, [a_row()])
    assert files.files[0] == tmp_path / "report-3.csv"
    assert files.summary == json.loads((tmp_path / "summary.json").read_bytes())
    assert (tmp_path / "report.csv").read_text(encoding="utf-8") == "old"
    assert (tmp_path / "report-2.csv").read_text(encoding="utf-8") == "older"
    assert "report-3.csv" in files.notes[0]
    assert "held open" in files.notes[0]
    assert json.loads((tmp_path / "summary.json").read_bytes())["report"] == str(tmp_path / "report-3.csv")


def test_a_folder_in_a_reports_place_is_left_alone(tmp_path: Path) -> None:
    for name in ("report.csv", "report.xlsx", "summary.json"):
        (tmp_path / name).mkdir()
    files = write(tmp_path, [a_row()], {"xlsx"})
    assert [path.name for path in files.files] == ["report-2.csv", "report-2.xlsx", "summary-2.json"]
    assert len(files.notes) == 3
    assert all(path.stat().st_size for path in files.files)


def test_a_name_that_no_place_takes_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_open(monkeypatch, "report.csv", "report-2.csv")
    with pytest.raises(ReportError, match=r"report\.csv"):
        write(tmp_path, [a_row()])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("formats", "culprit"), [((), "report.csv"), (("jsonl",), "report"), (("xlsx",), "report")])
def test_a_full_disk_is_told_with_the_way_out_and_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, formats: tuple[str, ...], culprit: str
) -> None:
    resource = pytest.importorskip("resource", reason="only POSIX can limit the size of a file")
    folder, scratch = tmp_path / "out", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    (folder / "report.csv").write_text("old", encoding="utf-8")
    rows = [a_row(number) for number in range(2, 4_000)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(ReportError) as caught:
            write(folder, rows, formats)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = str(caught.value)
    assert caught.value.exit_code == 1
    assert culprit in told
    assert str(folder) in told
    assert "File too large" in told
    assert "safe in the journal" in told
    assert "bulkid report 20260131-081500-ab12 --report-dir DIR" in told
    assert [path.name for path in folder.iterdir()] == ["report.csv"]
    assert (folder / "report.csv").read_text(encoding="utf-8") == "old"
    assert list(scratch.iterdir()) == []


def test_a_disk_that_fills_only_when_the_workbook_is_put_together_keeps_the_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    xlsxwriter = pytest.importorskip("xlsxwriter")

    def full(_self: object) -> None:
        raise xlsxwriter.exceptions.FileCreateError(OSError(28, "No space left on device"))

    monkeypatch.setattr(xlsxwriter.Workbook, "close", full)
    with pytest.raises(ReportError, match=r"report\.xlsx .*No space left on device"):
        write(tmp_path, [a_row()], {"xlsx"})
    assert [path.name for path in tmp_path.iterdir()] == ["report.csv"]


def test_an_error_of_the_rows_is_not_taken_for_one_of_the_files(tmp_path: Path) -> None:
    def rows() -> Iterator[ReportRow]:
        yield a_row()
        raise OSError(5, "the journal is gone")

    run = a_run()
    with pytest.raises(OSError, match="the journal is gone"):
        write_report(rows, content_of(run, tmp_path), {"xlsx"})
    assert list(tmp_path.iterdir()) == []


def test_the_folder_comes_back_when_it_was_removed_during_the_run(tmp_path: Path) -> None:
    write(tmp_path / "gone" / "run", [a_row()])
    assert (tmp_path / "gone" / "run" / "report.csv").exists()


def test_a_file_in_the_folders_place_is_a_report_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    with pytest.raises(ReportError, match="Could not write"):
        write(tmp_path / "out" / "run", [a_row()])


def test_prepared_folder_is_there_absolute_and_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = prepare_folder(Path("reports"), "run-1")
    assert folder == tmp_path / "reports" / "run-1"
    assert folder.is_dir()
    assert list(folder.iterdir()) == []
    assert prepare_folder(Path("reports"), "run-1") == folder, "a resumed run finds its folder there already"


@pytest.mark.parametrize("name", ["file", "nul\0", "x" * 300])
def test_a_folder_that_cannot_be_is_bad_usage_before_anything_is_sent(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(UsageError, match="--report-dir") as caught:
        prepare_folder(tmp_path / name, "run-1")
    assert caught.value.exit_code == 2
    assert "Nothing was sent" in caught.value.message


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is a folder where not even root can write")
def test_a_folder_that_cannot_be_written_is_bad_usage() -> None:
    with pytest.raises(UsageError):
        prepare_folder(Path("/proc/self/fdinfo"), "run-1")


# --- the summary


def test_summary_has_the_contracts_keys_in_their_order(tmp_path: Path) -> None:
    run = a_run(counters={"requests": {"PUT": 7}, "throttled": 2, "retries": 4, "elapsed_s": 1.23456})
    summary = build_summary(run, {Status.UPDATED: 3, Status.PENDING: 2}, 4, "reports/x/report.csv")
    assert ",".join(summary) == (
        "run_id,status,rows,accounts,updated,created,deleted,unchanged,failed,invalid,pending,requests,planned_puts,naive_puts,retries,"
        "throttled,elapsed_s,note,report"
    )
    assert summary["requests"] == {"GET": 0, "PUT": 7, "POST": 0, "DELETE": 0}
    assert (summary["rows"], summary["updated"], summary["pending"], summary["failed"]) == (5, 3, 2, 0)
    assert (summary["retries"], summary["throttled"], summary["elapsed_s"]) == (4, 2, 1.235)
    assert (summary["planned_puts"], summary["naive_puts"]) == (0, 0)
    write_report(list, content_of(run, tmp_path, summary), ())
    assert list(orjson.loads((tmp_path / "summary.json").read_bytes()).items()) == list(summary.items())


def test_only_a_plan_says_how_long_it_would_take() -> None:
    plan = build_summary(a_run(command="plan"), {}, 0, None, eta_s=45.00049)
    assert list(plan)[-3:] == ["eta_s", "note", "report"]
    assert plan["eta_s"] == 45.0
    assert build_summary(a_run(command="plan"), {}, 0, None)["eta_s"] is None
    assert "eta_s" not in build_summary(a_run(), {}, 0, None)


@given(st.dictionaries(st.sampled_from(Status), st.integers(0, 10**6)))
def test_statuses_add_up_to_the_rows(counts: dict[Status, int]) -> None:
    summary = build_summary(a_run(), counts, 1, None)
    assert sum(summary[status] for status in Status) == summary["rows"] == sum(counts.values())


def test_via_and_absent_values_in_json_lines(tmp_path: Path) -> None:
    write(
        tmp_path,
        [a_row(2, Status.PENDING, http_status=None, via=None, finished_at=None), a_row(3, via=Via.GROUP)],
        {"jsonl"},
    )
    first, second = map(json.loads, io.StringIO((tmp_path / "report.jsonl").read_text(encoding="utf-8")))
    assert (first["http_status"], first["via"], first["finished_at"]) == (None, None, None)
    assert (first["row"], first["attempts"]) == (2, 1)
    assert (second["http_status"], second["via"], second["finished_at"]) == (200, "group", "2026-01-31T08:00:01Z")
    assert second["changes"] == "+ alumni-02" != escape_formula(second["changes"]), "JSON needs no guard"


@given(data=st.data())
@settings(max_examples=examples(30, soak=500), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_report_that_was_begun_early_is_the_same(tmp_path: Path, data: st.DataObject) -> None:
    """Wherever its rows are cut in two."""
    rows = data.draw(report_rows())
    cut = data.draw(st.integers(0, len(rows)))
    begun_in, whole_in = (Path(tempfile.mkdtemp(dir=tmp_path)) for _ in range(2))
    begun = OpenReport(content_of(a_run(), begun_in), {"jsonl"})
    begun.write(rows[:cut])
    assert begun.last_row == (rows[cut - 1].row if cut else -1)
    assert not any(path.suffix != ".tmp" for path in begun_in.iterdir())
    write(begun_in, rows[cut:], {"jsonl"}, begun=begun)
    write(whole_in, rows, {"jsonl"})
    for name in ("report.csv", "retry.csv", "report.jsonl"):
        early, whole = begun_in / name, whole_in / name
        assert early.exists() == whole.exists()
        assert not whole.exists() or early.read_bytes() == whole.read_bytes()
    assert not list(begun_in.glob(".*"))
