"""A plan as a document for people, to be read and approved: Markdown, a web page or a workbook. No run reads it."""

import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from bulkid.clock import iso_utc
from bulkid.consume import batched
from bulkid.model import Action
from bulkid.report.atomic import AtomicFile
from bulkid.report.xlsx_files import HEADER_COLOURS, Table, WorkbookFile, height, print_settings, text_cell
from bulkid.resources.field import Mark
from bulkid.runs import descriptions
from bulkid.runs.options import Preview
from bulkid.sheet import column_letters
from bulkid.text import printable_line

_MARK: Final = "bulkid plan document"
"""What every document says of itself, so that a later plan may replace it."""

_CHANGES: Final = ("Account", "Changes", "Account id")
_DELETIONS: Final = ("Account", "Account id", "Last login", "Created")
_INVALID: Final = ("Row", "Column", "Value", "Problem")
_WIDTHS: Final = {"Account": (12, 40), "Changes": (30, 90), "Account id": (20, 38), "Row": (8, 8), "Column": (10, 30)}
_ANY_WIDTH: Final = (12, 80)
_FRONT_WIDTH: Final = 100  # of the column of the summary, in characters
_LONGEST_VALUE: Final = 80  # characters of a cell that is invalid; the sheet has it whole
_BATCH: Final = 500  # rows of a workbook that are handed on together

Cells = tuple[str, ...]


def is_own_document(path: Path) -> bool:
    """Whether an existing file is such a document; an OSError says that it cannot be read."""
    if path.suffix.lower() != ".xlsx":
        with path.open("rb") as file:
            return _MARK.encode() in file.read(200)
    try:
        with zipfile.ZipFile(path) as book, book.open("docProps/core.xml") as properties:
            return _MARK.encode() in properties.read(10_000)
    except (zipfile.BadZipFile, KeyError):
        return False


def write_document(preview: Preview, target: AtomicFile, now: float) -> None:
    """Write a plan into the temporary file of ``target``, in the format that its name says.

    Raises:
        OSError: The file cannot be written.
    """
    _WRITERS[Path(target.name).suffix.lower()](preview, target, now)


# --- what every format says


def _title(preview: Preview) -> str:
    return f"Plan of {preview.info.source}"


def _summary(preview: Preview, now: float) -> Iterator[str]:
    """Yield the lines above the tables."""
    counts = descriptions.count_changes(preview.plan.changes, preview.directory)
    lines = (
        f"Made on {iso_utc(now)}",
        descriptions.destination(preview.base_url, preview.organization_id).long,
        descriptions.plan_summary(preview),
        counts.kinds_line,
        counts.groups_line(None),
        descriptions.new_groups_line(preview),
        descriptions.deletion_warning(preview),
        descriptions.trial_note(preview),
        descriptions.estimate(preview),
        *descriptions.forecast(preview),
        descriptions.advice(preview),
        *(f"Warning: {warning}" for warning in preview.warnings),
    )
    yield from (printable_line(line) for line in lines if line)


def _marked(preview: Preview) -> Iterator[tuple[str, list[tuple[Mark, str]], str]]:
    """Yield each account that is created or changes: its name, its changes, its id."""
    for change in preview.plan.changes:
        if change.action is Action.DELETE:
            continue
        marked = [
            (mark, printable_line(words)) for mark, words in descriptions.marked_changes(change, preview.directory)
        ]
        yield printable_line(change.name), marked, printable_line(change.account_id)


def _changes(preview: Preview) -> Iterator[Cells]:
    for name, marked, account_id in _marked(preview):
        yield name, "; ".join(f"{mark} {words}" for mark, words in marked), account_id


def _deletions(preview: Preview) -> Iterator[Cells]:
    """Yield every account that would be deleted."""
    for account in descriptions.deleted_accounts(preview):
        yield tuple(map(printable_line, account))


def _invalid_rows(preview: Preview) -> Iterator[Cells]:
    for each in preview.row_errors:
        value = each.value if len(each.value) <= _LONGEST_VALUE else f"{each.value[:_LONGEST_VALUE]}..."
        yield str(each.row), printable_line(each.column), printable_line(value), printable_line(each.message)


# --- Markdown


def _write_markdown(preview: Preview, target: AtomicFile, now: float) -> None:
    with target.begin().open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in _markdown(preview, now))


def _markdown(preview: Preview, now: float) -> Iterator[str]:
    yield f"<!-- {_MARK} -->"
    yield f"# {_plain_markdown(printable_line(_title(preview)))}"
    yield ""
    yield from (f"- {_plain_markdown(line)}" for line in _summary(preview, now))
    if any(_deletions(preview)):
        yield from _markdown_table("Deletions", _DELETIONS, _deletions(preview))
    yield from _markdown_table("Changes", _CHANGES, _changes(preview))
    if preview.row_errors:
        yield from _markdown_table("Invalid rows", _INVALID, _invalid_rows(preview))


def _markdown_table(title: str, headers: Sequence[str], rows: Iterable[Cells]) -> Iterator[str]:
    yield from ("", f"## {title}", "", f"| {' | '.join(headers)} |", f"|{' --- |' * len(headers)}")
    yield from (f"| {' | '.join(map(_plain_markdown, row))} |" for row in rows)


def _plain_markdown(text: str) -> str:
    """Show a text as it is: no markup, no HTML, no cell that ends early, and no mention of a user."""
    return re.sub(r"([\\`*_\[\]<>|&#~])", r"\\\1", text).replace("@", "&#64;")


# --- a web page

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; overflow-wrap: anywhere;
  padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8886; padding: .3rem .6rem; text-align: left; vertical-align: top; }
th[scope=col] { white-space: nowrap; }
th[scope=row], td { min-width: 7rem; }
.scroll { overflow-x: auto; }
.add { color: light-dark(#0a6b2d, #6fdc8c); }
.remove { color: light-dark(#a8071a, #ff9c9c); }
.change { color: light-dark(#7a5200, #f1c21b); }
td span { display: inline-block; margin-right: 1rem; }
"""
_CLASSES: Final[Mapping[Mark, tuple[str, str]]] = {
    "+": ("add", "added"),
    "-": ("remove", "removed"),
    "~": ("change", "new value"),
}


def _write_page(preview: Preview, target: AtomicFile, now: float) -> None:
    with target.begin().open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in _page(preview, now))


def _page(preview: Preview, now: float) -> Iterator[str]:
    title = escape(printable_line(_title(preview)))
    yield f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="generator" content="{_MARK}">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title><style>{_STYLE}</style></head><body><main><h1>{title}</h1><ul>"
    yield from (f"<li>{escape(line)}</li>" for line in _summary(preview, now))
    yield "</ul>"
    if any(_deletions(preview)):
        deletions = (tuple(map(escape, row)) for row in _deletions(preview))
        yield from _page_table("Deletions", _DELETIONS, deletions)
    rows = ((escape(name), _page_marks(marked), escape(account_id)) for name, marked, account_id in _marked(preview))
    yield from _page_table("Changes", _CHANGES, rows)
    if preview.row_errors:
        invalid = (tuple(map(escape, row)) for row in _invalid_rows(preview))
        yield from _page_table("Invalid rows", _INVALID, invalid)
    yield "</main></body></html>"


def _page_table(title: str, headers: Sequence[str], rows: Iterable[Cells]) -> Iterator[str]:
    """Yield a table; the cells are HTML."""
    head = "".join(f'<th scope="col">{header}</th>' for header in headers)
    yield f'<h2>{title}</h2><div class="scroll" role="region" aria-label="{title}" tabindex="0">'
    yield f"<table><thead><tr>{head}</tr></thead><tbody>"
    for first, *more in rows:
        cells = "".join(f"<td>{cell}</td>" for cell in more)
        yield f'<tr><th scope="row">{first}</th>{cells}</tr>'
    yield "</tbody></table></div>"


def _page_marks(marked: Iterable[tuple[Mark, str]]) -> str:
    parts = []
    for mark, words in marked:
        kind, title = _CLASSES[mark]
        parts.append(f'<span class="{kind}"><b title="{title}">{mark}</b> {escape(words)}</span>')
    return "".join(parts)


# --- a workbook


class _PlanWorkbook(WorkbookFile[Cells]):
    """Worksheets of the summary and of the changes, and where there are any, of deletions and of invalid rows."""

    def __init__(self, target: AtomicFile, preview: Preview, now: float) -> None:
        super().__init__(target)
        self.book.set_properties({"title": _title(preview), "comments": _MARK})
        front = self.book.add_worksheet("Plan")
        print_settings(front, "Plan")
        front.set_column(0, 0, _FRONT_WIDTH)
        heading, plain = self.add_style(HEADER_COLOURS, bold=True), self.book.add_format({"text_wrap": True})
        self.put(front, 0, 0, _title(preview), heading)
        for line, text in enumerate(_summary(preview, now), 1):
            front.set_row(line, height(text, _FRONT_WIDTH))  # LibreOffice does not find it by itself
            self.put(front, line, 0, text, plain)
        has_deletions = any(_deletions(preview))
        self._deletions = self._worksheets(self._table("Deletions", _DELETIONS)) if has_deletions else None
        self._changes = self._worksheets(self._table("Changes", _CHANGES))
        self._invalid = self._worksheets(self._table("Invalid rows", _INVALID)) if preview.row_errors else None

    def _table(self, name: str, headers: Sequence[str]) -> Table[Cells]:
        letters = [column_letters(index) for index in range(len(headers))]

        def row_xml(row: Cells, line: int) -> str:
            cells = (text_cell(letter, line, text, self._text_style) for letter, text in zip(letters, row, strict=True))
            return f'<row r="{line}">{"".join(cells)}</row>'

        return Table(
            name=name,
            columns={header: _WIDTHS.get(header, _ANY_WIDTH) for header in headers},
            row_xml=row_xml,
            text_of=lambda row, header: row[headers.index(header)],
        )

    def write_deletions(self, rows: Sequence[Cells]) -> None:
        """Append accounts that would be deleted, before all others."""
        if self._deletions is not None:
            self._deletions.write(rows)

    def write(self, rows: Sequence[Cells]) -> None:
        """Append accounts that change."""
        self._changes.write(rows)

    def write_invalid(self, rows: Sequence[Cells]) -> None:
        """Append invalid rows, after the accounts."""
        if self._invalid is not None:
            self._invalid.write(rows)

    def _finish_sheets(self) -> None:
        if self._deletions is not None:
            self._deletions.finish()
        self._changes.finish()
        if self._invalid is not None:
            self._invalid.finish()


def _write_workbook(preview: Preview, target: AtomicFile, now: float) -> None:
    book = _PlanWorkbook(target, preview, now)
    try:
        for write, rows in (
            (book.write_deletions, _deletions(preview)),
            (book.write, _changes(preview)),
            (book.write_invalid, _invalid_rows(preview)),
        ):
            for batch in batched(rows, _BATCH):
                write(batch)
        book.finish()
    finally:
        book.release()


_WRITERS: Final[Mapping[str, Callable[[Preview, AtomicFile, float], None]]] = {
    ".md": _write_markdown,
    ".html": _write_page,
    ".xlsx": _write_workbook,
}
