"""Report rows are written while requests are sent: only settled rows, and no partial file is left behind."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web

from bulkid import runs
from bulkid.errors import StateError
from bulkid.journal.store import Journal, open_journal
from bulkid.model import Status
from bulkid.report.text_files import JsonLinesFile
from bulkid.runs.execution import finish, run
from bulkid.runs.execution.finish import EarlyReport
from tests.support.identity_server import Answer, Identity, account, context, options, report, sheet

COUNT = 40


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> anyio.Event:
    """An event: rows were written early. Four rows are enough for that."""
    for module in (run, finish):
        monkeypatch.setattr(module, "EARLY_ROWS", 4)
    monkeypatch.setattr(run, "EARLY_EVERY_S", 0.01)
    event, write_some = anyio.Event(), EarlyReport.write_some

    def watched(self: EarlyReport) -> int:
        count = write_some(self)
        if count:
            anyio.from_thread.run_sync(event.set)
        return count

    monkeypatch.setattr(EarlyReport, "write_some", watched)
    return event


class Holding(Identity):
    """Answers the PUT of one account only after rows were written early."""

    def __init__(self, written: anyio.Event, then: Callable[[], object], held: int = COUNT - 1) -> None:
        super().__init__([account(f"a{number:03}") for number in range(COUNT)])
        self._held = f"a{held:03}"
        self._written = written
        self._then = then

    async def serve(self, request: web.Request) -> web.Response:
        if request.method == "PUT" and request.path.endswith(self._held):
            await self._written.wait()
            self._then()
        return await super().serve(request)


def renames(folder: Path) -> Path:
    return sheet(folder, ("id", "display_name"), [(f"a{number:03}", "New") for number in range(COUNT)])


def unfinished(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("reports/*/.*.tmp")]


def report_again(tmp_path: Path, result: runs.RunResult) -> Path:
    again = runs.report(result.run.run_id, state_dir=tmp_path / "state", report_dir=tmp_path / "again")
    assert again.report is not None
    return again.report.folder


async def test_the_report_that_was_begun_early_is_the_one_that_is_written_at_the_end(
    tmp_path: Path, written: anyio.Event
) -> None:
    seen: list[str] = []

    def look() -> None:
        (begun,) = tmp_path.glob("reports/*/.report.csv.*.tmp")
        seen.append(begun.name)
        assert not list(tmp_path.glob("reports/*/report.csv"))  # a report is in place whole, or not at all

    server = Holding(written, look)

    def refusing_one(account_id: str, body: dict[str, Any]) -> Answer:
        return (400, {"message": "No."}) if account_id == "a003" else Identity.on_put(server, account_id, body)

    server.on_put = refusing_one  # type: ignore[method-assign]
    async with server.served():
        result = await runs.run(renames(tmp_path), server.target, options(tmp_path), context(tmp_path))
    assert seen
    assert [row["status"] for row in report(result)].count("updated") == COUNT - 1
    assert result.report is not None
    again = report_again(tmp_path, result)
    for name in ("report.csv", "retry.csv"):
        assert (result.report.folder / name).read_bytes() == (again / name).read_bytes()
    assert not unfinished(tmp_path)


async def test_the_rows_are_counted_as_they_are_written(
    tmp_path: Path, written: anyio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries: list[str] = []
    counts = Journal.counts
    monkeypatch.setattr(Journal, "counts", lambda journal, run_id: (queries.append(run_id), counts(journal, run_id))[1])
    server = Holding(written, lambda: None)

    def refusing_one(account_id: str, body: dict[str, Any]) -> Answer:
        return (400, {"message": "No."}) if account_id == "a038" else Identity.on_put(server, account_id, body)

    server.on_put = refusing_one  # type: ignore[method-assign]
    async with server.served():
        result = await runs.run(renames(tmp_path), server.target, options(tmp_path), context(tmp_path))
    assert not queries
    assert {status: result.summary[status] for status in Status if result.summary[status]} == {
        Status.UPDATED: COUNT - 1,
        Status.FAILED: 1,
    }
    again = runs.report(result.run.run_id, state_dir=tmp_path / "state", report_dir=tmp_path / "again")
    assert {**again.summary, "report": ""} == {**result.summary, "report": ""}


async def test_the_whole_report_is_written_again_if_its_folder_was_removed(
    tmp_path: Path, written: anyio.Event
) -> None:
    server = Holding(written, lambda: shutil.rmtree(tmp_path / "reports"))
    async with server.served():
        result = await runs.run(renames(tmp_path), server.target, options(tmp_path), context(tmp_path))
    assert (result.exit_code, len(report(result))) == (0, COUNT)


async def test_the_whole_report_is_written_again_if_one_of_its_files_cannot_take_the_last_rows(
    tmp_path: Path, written: anyio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, write_rest, is_full = JsonLinesFile.write, EarlyReport.write_rest, [False]

    def refuse_if_full(file: "JsonLinesFile[Any]", rows: Sequence[Any]) -> None:
        if is_full[0]:
            raise OSError(28, "No space left on device")
        write(file, rows)

    def write_rest_to_a_full_disk(early: EarlyReport) -> Any:
        is_full[0] = True
        counts = write_rest(early)
        is_full[0] = False
        assert counts is None
        return counts

    monkeypatch.setattr(JsonLinesFile, "write", refuse_if_full)
    monkeypatch.setattr(EarlyReport, "write_rest", write_rest_to_a_full_disk)
    server = Holding(written, lambda: None)
    async with server.served():
        result = await runs.run(
            renames(tmp_path), server.target, options(tmp_path, formats=("jsonl",)), context(tmp_path)
        )
    assert (result.exit_code, [row["row"] for row in report(result)]) == (0, [str(row) for row in range(2, COUNT + 2)])
    assert result.report is not None
    assert len((result.report.folder / "report.jsonl").read_text(encoding="utf-8").splitlines()) == COUNT
    assert not unfinished(tmp_path)


async def test_an_interrupted_run_leaves_no_unfinished_file_and_a_whole_report(
    tmp_path: Path, written: anyio.Event
) -> None:
    around = context(tmp_path)
    server = Holding(written, lambda: around.stop.request("SIGINT"), held=20)
    async with server.served():
        result = await runs.run(renames(tmp_path), server.target, options(tmp_path, concurrency=1), around)
        statuses = [row["status"] for row in report(result)]
        assert (result.exit_code, statuses) == (5, ["updated"] * 21 + ["pending"] * 19)
        assert result.error is not None
        assert {row["error"] for row in report(result)[21:]} == {result.error.message}
        assert not unfinished(tmp_path)
        resumed = await runs.resume("", server.target, context(tmp_path))
    assert {row["status"] for row in report(resumed)} == {"updated"}
    assert server.count("PUT") == COUNT


async def test_a_journal_that_cannot_be_read_at_the_end_leaves_no_unfinished_file(
    tmp_path: Path, written: anyio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise StateError("The database is gone.")

    def lose_it() -> None:
        for read in ("counts", "report_rows"):
            monkeypatch.setattr(Journal, read, gone)

    server = Holding(written, lose_it)
    async with server.served():
        result = await runs.run(renames(tmp_path), server.target, options(tmp_path), context(tmp_path))
    assert (result.report, result.exit_code) == (None, 5)
    assert not unfinished(tmp_path)


async def test_a_report_with_a_workbook_is_not_begun_early(tmp_path: Path) -> None:
    server = Identity([account(f"a{number:03}") for number in range(COUNT)])
    async with server.served():
        result = await runs.run(renames(tmp_path), server.target, options(tmp_path), context(tmp_path))
    folder = tmp_path / "early"
    folder.mkdir()
    with open_journal(tmp_path / "state") as journal:
        early = EarlyReport(journal, result.run.run_id, folder, ("xlsx",))
        assert (early.write_some(), early.ended, list(folder.iterdir())) == (0, True, [])
        text = EarlyReport(journal, result.run.run_id, folder, ())
        assert (text.write_some(), text.ended) == (COUNT, False)
        text.discard()
    assert not list(folder.iterdir())


async def test_a_report_that_is_asked_for_while_the_run_goes_on_has_its_end_in_each_format(
    tmp_path: Path, written: anyio.Event
) -> None:
    def ask() -> None:
        asked = runs.report("", state_dir=tmp_path / "state", formats=("jsonl",))
        assert asked.report is not None
        assert '"pending"' in (asked.report.folder / "report.jsonl").read_text(encoding="utf-8")

    async with Holding(written, ask).served() as server:
        result = await runs.run(renames(tmp_path), server.target, options(tmp_path), context(tmp_path))
    assert result.exit_code == 0
    assert result.report is not None
    lines = (result.report.folder / "report.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == COUNT
    assert all('"updated"' in line for line in lines)
    assert unfinished(tmp_path) == []


def test_the_modules_are_imported_too_that_write_again_what_an_earlier_report_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.jsonl").touch()
    imported: list[set[str]] = []
    monkeypatch.setattr(finish, "import_writers", lambda names: imported.append({*names}))
    finish.import_for_conclude(tmp_path, ("xlsx",), None)
    assert imported == [{"jsonl", "xlsx"}]
