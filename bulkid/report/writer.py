"""Writing a report, one pass over the rows of a run into every file; and removing it, its own files and no others."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from bulkid.consume import batched
from bulkid.model import ReportRow, Status
from bulkid.report.atomic import AtomicFile, make_private, os_errors_as_report_error, reason, sync
from bulkid.report.formats import ReportContent, RowFile, is_report_file, wanted
from bulkid.report.summary import how_to_report

_BATCH: Final = 512  # rows held at a time: enough to make the calls cheap, too few to count


class ReportFiles(NamedTuple):
    """The files that were written."""

    folder: Path  # the run's own
    files: tuple[Path, ...]  # ``report.csv`` first, under the names that they really have
    notes: tuple[str, ...]  # sentences for the user on what is not as usual, such as a file held open
    summary: Mapping[str, Any]  # what ``summary.json`` holds


class OpenReport:
    """The files of a report that is being written. Each is put in place whole by :meth:`finish`, or not at all.

    Args:
        content: What the report is about.
        formats: Names of formats to write beside those that are always written.

    Raises:
        ReportError: A file cannot be made.
    """

    def __init__(self, content: ReportContent, formats: Collection[str]) -> None:
        self.last_row = -1  # the number of the last row that was written
        self.counts = dict.fromkeys(Status, 0)  # rows that were written, by status
        self._content = content
        self._files: list[tuple[str, RowFile[ReportRow]]] = []
        try:
            for entry in wanted(formats):
                with _report_errors(entry.file_name, content):
                    make_private(content.folder)
                    self._files.append((entry.file_name, entry.begin(content)))
        except BaseException:  # a cancellation too: no unfinished file stays behind
            self.discard()
            raise

    def write(self, rows: Sequence[ReportRow]) -> None:
        """Append rows, in the order of the sheet; a ReportError says which file cannot be written."""
        for name, file in self._files:
            with _report_errors(name, self._content):
                file.write(rows)
        if rows:
            self.last_row = rows[-1].row
        self._count([row.status for row in rows])

    def write_all(self, rows: Iterable[ReportRow]) -> None:
        """Append any number of rows, of which few are held at a time; see :meth:`write`."""
        for batch in batched(rows, _BATCH):
            self.write(batch)

    def _count(self, statuses: Sequence[Status]) -> None:
        """Count rows by status. Nearly all have the first one, and a `Counter` takes ten times as long."""
        left = len(statuses)
        for status in Status:
            if not left:
                return
            count = statuses.count(status)
            self.counts[status] += count
            left -= count

    def finish(self, notes: list[str]) -> list[Path]:
        """Put the files in place; give their paths, and note what is not as usual.

        Raises:
            ReportError: A file cannot be written. Files that were finished before stay.
        """
        paths = []
        for name, file in self._files:
            with _report_errors(name, self._content):
                if file.finish():
                    paths.append(_put_in_place(file.target, notes))
                else:
                    _remove_old(file.target, notes)
        return paths

    def discard(self) -> None:
        """Remove the files that are not in place. Never raises; harmless when repeated."""
        for _, file in self._files:
            file.discard()


def write_report(
    rows: Callable[[], Iterable[ReportRow]],
    content: ReportContent,
    formats: Collection[str],
    begun: OpenReport | None = None,
) -> ReportFiles:
    """Write the files of a run's report: always ``report.csv`` and ``summary.json``, the others as due.

    The rows are read once and never held. Each file is put in place whole, or not at all. The summary's ``report`` is
    corrected where ``report.csv`` had to take another name.

    Args:
        rows: Gives the rows of the sheet in order, each with its outcome; of a report that was begun, those that follow
            its ``last_row``.
        content: What the report is about.
        formats: Names of formats to write beside those that are always written.
        begun: The same report, begun while the run went on. It is finished or discarded.

    Raises:
        ReportError: A file cannot be written. Files that were finished before stay.
    """
    notes: list[str] = []
    report = begun or OpenReport(content, formats)
    try:
        report.write_all(rows())
        files = report.finish(notes)
    finally:
        report.discard()
    folder, summary = content.folder, dict(content.summary)
    if files[0].name != "report.csv" and summary.get("report") == str(folder / "report.csv"):
        summary["report"] = str(files[0])
    target = AtomicFile(folder, "summary.json")
    with _report_errors(target.name, content):
        try:
            target.begin().write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            sync(target.temp)
            files.append(_put_in_place(target, notes))
        finally:
            target.discard()
    return ReportFiles(folder, tuple(files), tuple(notes), summary)


def _report_errors(name: str, content: ReportContent) -> AbstractContextManager[None]:
    """Turn an ``OSError`` into a :class:`ReportError` that says how to write the report again."""
    return os_errors_as_report_error(
        f"{name} in {content.folder}",
        "What the run did is safe in the journal. "
        f"Write the report again with: {how_to_report(content.run)} --report-dir DIR",
    )


def _put_in_place(target: AtomicFile, notes: list[str]) -> Path:
    """Put a finished file in place; note it when it had to take another name."""
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


class Removed(NamedTuple):
    """What came of removing a report."""

    bytes: int = 0  # room that it took
    kept: str = ""  # why the folder is still there, as a sentence; empty when it is gone


def remove_report(folder: Path, run_id: str) -> Removed:
    """Remove the report files of a run, and its folder if nothing else is in it; never raises.

    A folder that is not named after the run, or that is a link, is not bulkid's own and is left alone.
    """
    freed, problem = 0, ""
    try:
        if folder.name != run_id or folder.is_symlink() or not folder.is_dir():
            return Removed()
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
