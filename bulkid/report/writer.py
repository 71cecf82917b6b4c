"""Writing a report, one pass over the rows of a run into every file; and removing it, its own files and no others."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson

from bulkid.model import ReportRow, RunRecord
from bulkid.report.atomic import AtomicFile, make_private, os_errors_as_report_error, reason, sync
from bulkid.report.formats import ReportContent, ReportFile, is_report_file, wanted

_BATCH: Final = 512  # rows held at a time: enough to make the calls cheap, too few to count


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """What was written.

    Attributes:
        folder: The run's own folder.
        files: The files, ``report.csv`` first, under the names that they really have.
        notes: Sentences for the user on what is not as usual (a file held open, so that another name was taken).
        summary: What ``summary.json`` holds.
    """

    folder: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...]
    summary: Mapping[str, Any]


class OpenReport:
    """The files of a report that is being written. Each is put in place whole by :meth:`finish`, or not at all.

    Args:
        run: The run.
        folder: The run's own folder (see :func:`~bulkid.report.prepare_folder`).
        formats: Names of formats to write beside those that are always written.
        headers: The sheet's own headers, for ``retry.csv``.
        summary: What the first sheet of ``report.xlsx`` shows.
        sheet_name: The sheet of the source, when it has several.

    Raises:
        ReportError: When a file cannot be made.
    """

    def __init__(
        self,
        run: RunRecord,
        folder: Path,
        formats: Collection[str],
        *,
        headers: Sequence[str],
        summary: Mapping[str, Any],
        sheet_name: str = "",
    ) -> None:
        self.last_row = -1  # the number of the last row that was written
        self._folder = folder
        self._run_id = run.run_id
        self._sinks: list[tuple[str, ReportFile]] = []
        content = ReportContent(run, folder, headers, summary, sheet_name)
        try:
            for entry in wanted(formats):
                with os_errors_as_report_error(entry.file_name, folder, run.run_id):
                    make_private(folder)
                    self._sinks.append((entry.file_name, entry.begin(content)))
        except BaseException:  # a cancellation too: no unfinished file stays behind
            self.discard()
            raise

    def write(self, rows: Sequence[ReportRow]) -> None:
        """Append rows, in the order of the sheet.

        Raises:
            ReportError: When a file cannot be written.
        """
        for name, sink in self._sinks:
            with os_errors_as_report_error(name, self._folder, self._run_id):
                sink.write(rows)
        if rows:
            self.last_row = rows[-1].row

    def finish(self, notes: list[str]) -> list[Path]:
        """Put the files in place; give their paths, and note what is not as usual.

        Raises:
            ReportError: When a file cannot be written. Files that were finished before stay.
        """
        files = []
        for name, sink in self._sinks:
            with os_errors_as_report_error(name, self._folder, self._run_id):
                if sink.finish():
                    files.append(_put_in_place(sink.target, notes))
                else:
                    _remove_old(sink.target, notes)
        return files

    def discard(self) -> None:
        """Remove the files that are not in place. Never raises; harmless when repeated."""
        for _, sink in self._sinks:
            sink.discard()


def begin_report(
    run: RunRecord, folder: Path, formats: Collection[str], *, headers: Sequence[str]
) -> OpenReport | None:
    """Open the files of a report whose run still goes on; None where they need the run's end first, as a workbook does.

    Raises:
        ReportError: When a file cannot be made.
    """
    if any(entry.needs_end for entry in wanted(formats)):
        return None
    return OpenReport(run, folder, formats, headers=headers, summary={})


def write_report(
    rows: Callable[[], Iterable[ReportRow]],
    run: RunRecord,
    folder: Path,
    formats: Collection[str],
    *,
    headers: Sequence[str],
    summary: Mapping[str, Any],
    sheet_name: str = "",
    begun: OpenReport | None = None,
) -> ReportFiles:
    """Write the files of a run's report: always ``report.csv`` and ``summary.json``, the others as due.

    The rows are gone through once and never held. Each file is put in place whole, or not at all.

    Args:
        rows: Gives the rows of the sheet in order, each with its outcome; of a report that was begun, those that follow
            its ``last_row``.
        run: The run.
        folder: The run's own folder (see :func:`~bulkid.report.prepare_folder`).
        formats: Names of formats to write beside those that are always written.
        headers: The sheet's own headers, for ``retry.csv``.
        summary: What ``summary.json`` holds, in its order (see :func:`~bulkid.report.build_summary`). Its ``report`` is
            corrected where ``report.csv`` had to take another name.
        sheet_name: The sheet of the source, when it has several.
        begun: The same report, begun by :func:`begin_report`. It is finished or discarded.

    Raises:
        ReportError: When a file cannot be written. Files that were finished before stay.
    """
    notes: list[str] = []
    report = begun or OpenReport(run, folder, formats, headers=headers, summary=summary, sheet_name=sheet_name)
    try:
        for batch in _batches(rows()):
            report.write(batch)
        files = report.finish(notes)
    finally:
        report.discard()
    summary = _report_path(summary, folder, files[0])
    files.append(_write_summary(summary, run, folder, notes))
    return ReportFiles(folder, tuple(files), tuple(notes), summary)


def _batches(rows: Iterable[ReportRow]) -> Iterator[list[ReportRow]]:
    source = iter(rows)
    while batch := list(islice(source, _BATCH)):
        yield batch


def _put_in_place(target: AtomicFile, notes: list[str]) -> Path:
    """Put a finished file in place; note it when the place was another than usual."""
    path = target.commit()
    if path.name != target.name:
        notes.append(f"{target.name} is held open by another program, so {path.name} was written beside it.")
    return path


def _remove_old(target: AtomicFile, notes: list[str]) -> None:
    """Remove what an earlier report left under this name, since there is nothing of the kind now."""
    old = target.folder / target.name
    try:
        old.unlink(missing_ok=True)
    except OSError as error:
        notes.append(f"{target.name} is from an earlier report and could not be removed: {reason(error)}.")


def _report_path(summary: Mapping[str, Any], folder: Path, report: Path) -> dict[str, Any]:
    """The summary, with the name that the report has if it could not have its own."""
    os_errors_for = dict(summary)
    if report.name != "report.csv" and os_errors_for.get("report") == str(folder / "report.csv"):
        os_errors_for["report"] = str(report)
    return os_errors_for


def _write_summary(summary: Mapping[str, Any], run: RunRecord, folder: Path, notes: list[str]) -> Path:
    target = AtomicFile(folder, "summary.json")
    with os_errors_as_report_error(target.name, folder, run.run_id), contextlib.ExitStack() as stack:
        stack.callback(target.discard)
        target.begin().write_bytes(orjson.dumps(dict(summary), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        sync(target.temp)
        return _put_in_place(target, notes)


@dataclass(frozen=True, slots=True)
class Removed:
    """What came of removing a report."""

    bytes: int = 0  # room that it took
    kept: str = ""  # why the folder is still there, as a sentence; empty when it is gone


def remove_report(folder: Path, run_id: str) -> Removed:
    """Remove the report files of a run, and its folder if nothing else is in it; never raises.

    A folder that is not named after the run, or that is a link to another place, is none of bulkid's making and is
    left alone.

    Args:
        folder: Where the journal says that the report is.
        run_id: The run.
    """
    if folder.name != run_id or folder.is_symlink() or not folder.is_dir():
        return Removed()
    freed, problem = 0, ""
    try:
        for path in sorted(folder.iterdir()):
            if not is_report_file(path.name) or path.is_symlink() or not path.is_file():
                problem = f"{folder} is left: {path.name} in it is not bulkid's."
                continue
            size = path.stat().st_size
            path.unlink()
            freed += size
        if not problem:
            folder.rmdir()
    except OSError as error:
        problem = f"{folder} could not be removed: {reason(error)}."
    return Removed(freed, problem)
