"""The report's formats: one entry for each file of rows that a report can hold.

The choices of ``--format``, the files that are written, the console's links and media types, the API's document, the
names that ``prune`` removes and the endings of an export all come from :data:`FORMATS`. A new format is a module that
writes it and one entry here (or one call of :func:`register`, from another package).
A function here imports a writer when it opens a file: every command reads this table at its start.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from bulkid.model import ReportRow, RunRecord
from bulkid.secret_file import path_exists

if TYPE_CHECKING:
    from bulkid.planning.export_rows import ExportedAccount
    from bulkid.report.atomic import AtomicFile
    from bulkid.report.rate import Rate

_Row_contra = TypeVar("_Row_contra", contravariant=True)


class RowFile(Protocol[_Row_contra]):
    """A file that takes rows. It is written at ``target.temp``; the caller puts it in place."""

    target: "AtomicFile"

    def write(self, rows: Sequence[_Row_contra]) -> None:
        """Append rows, in the order of the sheet."""

    def finish(self) -> bool:
        """Bring the file to the disk; say whether there is anything to put in place."""

    def discard(self) -> None:
        """Remove the file, unless it is in place already. Never raises."""


class ReportContent(NamedTuple):
    """What a report is about, beside its rows."""

    run: RunRecord
    folder: Path  # the run's own (see :func:`~bulkid.report.atomic.prepare_folder`)
    headers: Sequence[str]  # of the sheet, for retry.csv
    summary: Mapping[str, Any]  # what summary.json will hold; empty while the run goes on
    sheet_name: str = ""  # the sheet of the source, when it has several
    rates: "Callable[[], Sequence[Rate]]" = tuple  # reads the run's rates, for formats that show them
    fields: Sequence[str] = ()  # what each column of the sheet is read as; "" for a column that is not used


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFormat:
    """One kind of report file."""

    name: str  # in --format, in addresses of the console and of the API
    file_name: str
    media_type: str
    purpose: str  # what a user wants it for; a title of links
    begin: Callable[[ReportContent], RowFile[ReportRow]]
    export: "Callable[[AtomicFile, Sequence[str]], RowFile[ExportedAccount]] | None" = None  # with columns, for exports
    always: bool = False  # written whether it was asked for or not
    choice: bool = True  # --format takes it
    needs_end: bool = False  # it cannot be begun before the run has ended
    modules: tuple[str, ...] = ()  # imported by `begin` and by what it returns


def _open(place: str, *arguments: object) -> Any:  # noqa: ANN401 - a file of the format's own kind
    """Call what is at a place of this package, such as ``text_files:csv_report``, and import it only then."""
    return resolve_name(f"bulkid.report.{place}")(*arguments)


FORMATS: Final[dict[str, ReportFormat]] = {}
"""The formats by their names, in the order in which users see them. Filled by :func:`register`."""


def register(entry: ReportFormat) -> None:
    """Add a format. Formats of other packages are added before :mod:`bulkid.config` is imported, which lists them.

    Raises:
        ValueError: The name or the file name is taken already, or the file name is no plain name with an ending.
    """
    taken = {each.file_name for each in FORMATS.values()} | {"summary.json"}
    if entry.name in FORMATS or entry.file_name in taken:
        msg = f"there is a report format {entry.name} or a file {entry.file_name} already"
        raise ValueError(msg)
    if not re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9]+", entry.file_name):
        msg = f"{entry.file_name!r} is no plain file name with an ending"
        raise ValueError(msg)
    FORMATS[entry.name] = entry


def choices() -> tuple[str, ...]:
    """The names that ``--format`` takes."""
    return tuple(name for name, entry in FORMATS.items() if entry.choice)


def wanted(names: Collection[str]) -> list[ReportFormat]:
    """The formats to write when some are named: those that are always written come first, the slow ones last."""
    entries = [entry for name, entry in FORMATS.items() if entry.always or name in names]
    return sorted(entries, key=lambda entry: (not entry.always, entry.needs_end))


def import_writers(names: Collection[str]) -> None:
    """Import the modules that write the formats of these names, and those that are always written."""
    for entry in wanted(names):
        for module in entry.modules:
            import_module(module)


def written_before(folder: Path) -> frozenset[str]:
    """The names of the formats that are not always written, and whose file an earlier report has left in a folder."""
    optional = [entry for entry in FORMATS.values() if not entry.always]
    return frozenset(entry.name for entry in optional if path_exists(folder / entry.file_name))


def exporters() -> dict[str, "Callable[[AtomicFile, Sequence[str]], RowFile[ExportedAccount]]"]:
    """The formats of an export by the ending of its file name, without the dot."""
    return {name: entry.export for name, entry in FORMATS.items() if entry.export is not None}


def is_report_file(name: str) -> bool:
    """Whether bulkid gives this name to a report's file: as it is, numbered (``report-2.csv``), or unfinished."""
    files = [entry.file_name for entry in FORMATS.values()] + ["summary.json"]
    numbered = "|".join(
        rf"{re.escape(stem)}(?:-\d+)?\.{ending}" for stem, ending in (each.split(".") for each in files)
    )
    unfinished = "|".join(map(re.escape, [*files, "probe"]))
    return re.fullmatch(rf"(?:{numbered}|\.(?:{unfinished})\.[0-9a-f]{{8}}\.tmp)", name) is not None


for _entry in (
    ReportFormat(
        name="csv",
        file_name="report.csv",
        media_type="text/csv",
        purpose="every row with its outcome",
        begin=lambda content: _open("text_files:csv_report", content.folder, content.run.run_id),
        export=lambda target, columns: _open("text_files:csv_export", target, columns),
        always=True,
        modules=("bulkid.report.text_files",),
    ),
    ReportFormat(
        name="xlsx",
        file_name="report.xlsx",
        media_type="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        purpose="the same as a workbook, with a summary, the problems and a chart",
        begin=lambda content: _open(
            "summary_sheet:workbook_report",
            content.folder,
            content.run,
            content.summary,
            content.sheet_name,
            content.rates(),
        ),
        export=lambda target, columns: _open("xlsx_files:WorkbookExport", target, columns),
        needs_end=True,
        modules=("bulkid.report.summary_sheet", "xlsxwriter"),
    ),
    ReportFormat(
        name="jsonl",
        file_name="report.jsonl",
        media_type="application/jsonl",
        purpose="the same for programs, one JSON object per row",
        begin=lambda content: _open("text_files:json_report", content.folder, content.run.run_id),
        export=lambda target, columns: _open("text_files:json_export", target, columns),
        modules=("bulkid.report.text_files",),
    ),
    ReportFormat(
        name="retry",
        file_name="retry.csv",
        media_type="text/csv",
        purpose="the rows that are not done, as a sheet to run again",
        begin=lambda content: _open("text_files:retry_sheet", content.folder, content.headers, content.fields),
        always=True,
        choice=False,
        modules=("bulkid.report.text_files",),
    ),
):
    register(_entry)
