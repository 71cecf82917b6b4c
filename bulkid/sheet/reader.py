"""Opening a sheet, whatever it is stored in, and reading it row by row in chunks."""

import _thread
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import BinaryIO, Final, NamedTuple, Self, cast

from bulkid.errors import InterruptedRunError, SheetError
from bulkid.file_kind import kind_of_mode, open_regular, special_kind
from bulkid.model import SheetRow
from bulkid.sheet.cells import trim
from bulkid.sheet.child_process import Process, spare_child
from bulkid.sheet.csv_reader import open_text_table
from bulkid.sheet.headers import SheetOptions, empty_sheet, fields_for_headers, is_type_line, unused_note
from bulkid.sheet.isolation import CancelToken, open_isolated
from bulkid.sheet.row_parser import NULL, RowParser, SheetInfo, blank, change_columns, null_note
from bulkid.sheet.table import WORKBOOK_KINDS, RawChunks, Table
from bulkid.text import printable_line

EXTENSIONS = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
"""What can be read, in the contract's order."""

CHUNK_ROWS: Final = 10_240
"""Rows of a chunk, unless the caller asks for another size: a compromise between overhead and memory. It is a little
more than a round number, so that a sheet of 20,000 rows with its header has no third chunk of one row."""

MAX_TEXT_SENT = 32 << 20
"""Bytes of the longest text that a child holds as a whole: some 300,000 rows. A longer one is read in this process."""

MAX_MISSING = 10_000_000
"""Cells that all rows together may have fewer than the header: each row gets blank cells for them."""

_SPOOL_IN_MEMORY = 8 << 20  # bytes of standard input kept in memory; more goes to a temporary file
_SIGNALS_S = 0.5  # seconds; Windows hands out Ctrl+C between two waits only
_FIRST_RECORDS = 100  # records read to find the header
_SAMPLE_ROWS = 5  # rows below the header that a preview shows
_MAX_NAMES = 5  # similar file names offered


@dataclass(eq=False)
class Sheet(AbstractContextManager["Sheet"]):
    """An opened sheet. Use it as a context manager, or ``close`` it.

    Row numbers are those that a spreadsheet shows: the header is row 1 unless blank rows stand above it; blank rows
    are passed over but counted; a record of a CSV counts as one row, however many lines it takes; Excel's ``sep=;``
    line counts as none, since Excel does not show it.
    """

    info: SheetInfo
    token: CancelToken  # ends the reading, from any thread
    _raw: RawChunks
    _header_row: int
    first_column: int = 0  # the number of the first header's column
    _resources: ExitStack = field(default_factory=ExitStack)

    def chunks(self, size: int = CHUNK_ROWS) -> Generator[list[SheetRow], None, None]:
        """Read all rows, from the first; call it again to read them again (one reading at a time).

        At its end, ``info`` has a note of each column in which cells hold the word NULL.

        Args:
            size: Rows per chunk at most. For text, no more than a chunk is in memory.

        Raises:
            SheetError: The text cannot be split into cells from some record on (a quote that is never closed).
        """
        parser = RowParser(self.info)
        nulls = dict.fromkeys(change_columns(self.info), 0)
        count = missing = 0
        with closing(self._raw(max(1, size))) as chunks:
            for chunk in chunks:
                above = max(0, self._header_row - count)  # records of this chunk down to the header
                below = chunk[above:]
                missing += self._missing_cells(below)
                if missing > MAX_MISSING:
                    raise self._too_few_cells(count + len(chunk), missing)
                rows = parser.parse_all(count + above + 1, below)
                count += len(chunk)
                for column in nulls:
                    nulls[column] += [row.cells[column] for row in rows].count(NULL)
                if rows:
                    yield rows
        found = [null_note(self.info.headers, column, cells) for column, cells in nulls.items() if cells > 1]
        self.info = replace(self.info, notes=tuple(dict.fromkeys((*self.info.notes, *found))))

    def _missing_cells(self, rows: list[tuple[str, ...]]) -> int:
        """Count the cells that rows have fewer than the header."""
        width = len(self.info.headers)
        return sum(width - each for each in map(len, rows) if each < width)

    def _too_few_cells(self, row: int, missing: int) -> SheetError:
        info = self.info
        return SheetError(
            f"{info.source}: the header has {len(info.headers):,} cells, but most rows have far fewer: down to row "
            f"{row:,} they lack {missing:,}.",
            hint="Remove the columns without cells from the header, or give the right --delimiter.",
        )

    def own(self, resources: ExitStack) -> Self:
        """Free these when the sheet is closed."""
        self._resources = resources.pop_all()
        return self

    def close(self) -> None:
        """Free files and memory; the sheet cannot be read any more."""
        self._resources.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class SheetPreview(NamedTuple):
    """A look at a sheet before it is known what its columns mean; for the other members see :class:`Table`."""

    headers: tuple[str, ...]  # the header cells, trimmed
    worksheets: tuple[str, ...]
    sheet: str  # the worksheet that is read
    encoding: str
    delimiter: str
    sample: tuple[tuple[str, ...], ...]  # the first rows below the header, as they came in
    first_column: int = 0


@dataclass(frozen=True, slots=True)
class SheetFile:
    """An opened file whose columns need not be known yet. Its rows can be read while it is open."""

    label: str  # the sheet's name for people
    _kind: str  # "csv" for any text
    _options: SheetOptions
    _token: CancelToken
    _table: Table

    def sheet_preview(self) -> SheetPreview:
        """Look at a sheet whose columns may still have to be mapped by hand: no header is an error.

        Raises:
            SheetError: The sheet as a whole cannot be read.
        """
        table = self._table
        header_row, headers = _find_header(table.rows, self.label)
        with closing(table.rows(_FIRST_RECORDS)) as chunks:
            below = islice(chain.from_iterable(chunks), header_row, header_row + _FIRST_RECORDS)
            rows = tuple(islice((tuple(cells) for cells in below if not blank(cells)), _SAMPLE_ROWS))
        return SheetPreview(headers, table.names, table.name, table.encoding, table.delimiter, rows, table.first_column)

    def sheet(self) -> Sheet:
        """Find out what the columns mean.

        Raises:
            SheetError: The headers do not say it, or the sheet as a whole cannot be read.
        """
        table, is_text = self._table, self._kind == "csv"
        if is_text and self._options.sheet is not None and "sheet" not in self._options.standing:
            raise SheetError(f"{self.label} is text and has no worksheets.", hint="Leave out --sheet.")
        where = self.label if is_text else f'{self.label}, worksheet "{printable_line(table.name)}",'
        try:
            header_row, headers = _find_header(table.rows, where)
            fields = fields_for_headers(headers, self._options, table.first_column)
        except OSError as error:
            raise _unreadable(self.label, error) from None
        except SheetError as error:
            if not table.guessed:
                raise
            # The likeliest mistake of all: the rows are on another worksheet than the first.
            raise SheetError(error.message, hint=f"{error.hint} {table.guessed}".strip()) from None
        unused = unused_note(headers, fields, self._options, table.first_column)
        info = SheetInfo(
            source=self.label,
            kind=self._kind,
            sheet=table.name,
            encoding=table.encoding,
            delimiter=table.delimiter,
            headers=headers,
            fields=fields,
            notes=(*table.notes, unused) if unused else table.notes,
        )
        table.prepare(CHUNK_ROWS)
        return Sheet(info, self._token, table.rows, header_row, table.first_column)


def open_sheet(
    source: str | Path | BinaryIO,
    options: SheetOptions | None = None,
    *,
    name: str | None = None,
    isolated: bool = True,
    token: CancelToken | None = None,
) -> Sheet:
    """Open a sheet and find out all that must be known before its rows can be read.

    Args: as for :func:`open_sheet_file`.

    Raises:
        SheetError: The sheet as a whole cannot be read; the message says why and what to do.
        InterruptedRunError: The token was cancelled.
    """
    with ExitStack() as resources:
        file = resources.enter_context(open_sheet_file(source, options, name=name, isolated=isolated, token=token))
        return file.sheet().own(resources)


@contextmanager
def open_sheet_file(
    source: str | Path | BinaryIO,
    options: SheetOptions | None = None,
    *,
    name: str | None = None,
    isolated: bool = True,
    token: CancelToken | None = None,
) -> Generator[SheetFile, None, None]:
    """Open a sheet for its preview and, where its columns are clear, for its rows too: one child process serves both.

    Args:
        source: A path, or bytes. Bytes need not be seekable: they are spooled first. They are CSV unless ``name``
            has the extension of another kind.
        options: What the user says about the sheet.
        name: The sheet's name for people; the path by default.
        isolated: Read a spreadsheet in a process of its own, with limits of memory and time (``isolation``), and a text
            too where one was started ahead. Only a spreadsheet that can be trusted may be read in this process.
        token: Lets another thread end the opening and the reading.

    Raises:
        SheetError: The sheet as a whole cannot be read.
        InterruptedRunError: The token was cancelled.
    """
    options, token = options or SheetOptions(), token or CancelToken()
    seen: os.stat_result | None = None
    with ExitStack() as resources:
        if isinstance(source, str | Path):
            label = printable_line(name or str(source))
            kind, file = _open_path(Path(source), label, follow_links=options.follow_links)
            stream = resources.enter_context(file)
            seen = os.fstat(stream.fileno())
        else:
            label = printable_line(name or "standard input")
            kind = Path(label).suffix.lower().removeprefix(".")
            stream = resources.enter_context(_spool(source, label, token))
        try:
            is_text = kind not in WORKBOOK_KINDS
            process = _child_for(stream, is_text=is_text, isolated=isolated)
            if process is not None or (isolated and not is_text):
                table = open_isolated(stream, label, kind, options, token=token, process=process)
            elif is_text:
                table = _open_here(stream, seen, label, kind, options)
            else:
                from bulkid.sheet.workbook import open_worksheet

                table = open_worksheet(stream, label, kind, options.sheet)
            resources.callback(table.close)
            if process is not None or not is_text:  # the whole content was read
                _require_unchanged(stream, seen, label)
            kind = "csv" if is_text else kind
        except OSError as error:
            raise _unreadable(label, error) from None
        yield SheetFile(label, kind, options, token, table)


def _open_here(stream: BinaryIO, seen: os.stat_result | None, label: str, kind: str, options: SheetOptions) -> Table:
    """Open a text in this process, from its file, chunk by chunk."""
    table = open_text_table(stream, label, kind, options)

    def rows(size: int) -> Generator[list[tuple[str, ...]], None, None]:
        yield from table.rows(size)
        _require_unchanged(stream, seen, label)

    return table._replace(rows=rows)


def _child_for(stream: BinaryIO, *, is_text: bool, isolated: bool) -> Process | None:
    """Take the child process that was started ahead, if it is one for this sheet."""
    if not isolated or (is_text and stream.seek(0, os.SEEK_END) > MAX_TEXT_SENT):
        return None
    return spare_child.take()


def _find_header(raw: RawChunks, label: str) -> tuple[int, tuple[str, ...]]:
    """Take the first row that is not blank, nor PowerShell's ``#TYPE`` line; blank cells at its end are no columns."""
    row = 0
    with closing(raw(_FIRST_RECORDS)) as chunks:
        for cells in chain.from_iterable(chunks):
            row += 1
            if not (blank(cells) or (is_type_line(trim(cells[0])) and blank(cells[1:]))):
                headers = [trim(cell) for cell in cells]
                while not headers[-1]:
                    headers.pop()
                return row, tuple(headers)
    raise empty_sheet(label)


# --- files


def _kind_of(file_name: str, label: str) -> str:
    if file_name.startswith("~$"):
        raise SheetError(
            f"{label} is only the lock that Excel keeps beside an open file.", hint="Give the file itself."
        )
    suffix = Path(file_name).suffix.lower()
    if suffix not in EXTENSIONS:
        shown = f'The extension "{suffix}"' if suffix else "A name without an extension"
        raise SheetError(
            f"{label}: {shown} does not say what the file is.",
            hint=f"A sheet ends in one of {', '.join(EXTENSIONS)}; - reads CSV from standard input.",
        )
    return suffix.removeprefix(".")


def require_file(source: str | Path) -> None:
    """Check that a sheet is there and can be opened, before the user has to answer anything else.

    Raises:
        SheetError: There is no such file, it is no regular file, its name does not say what it is, it is empty, or it
            cannot be opened.
    """
    _open_path(Path(source), printable_line(str(source)), follow_links=True)[1].close()


def _open_path(path: Path, label: str, *, follow_links: bool) -> tuple[str, BinaryIO]:
    """Open a file, and say which kind of sheet its name says it is; the most fundamental error comes first."""
    if not label.strip():  # as from a variable of a shell that is not set
        raise SheetError("The name of the sheet is empty.", hint="Give a file, or - for CSV on standard input.")
    try:
        if follow_links or not os.path.lexists(path):  # otherwise opening looks for itself
            _refuse_special(special_kind(path), label)
        kind = _kind_of(path.name, label)
        stream = path.open("rb") if follow_links else open_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        is_named = label.endswith(printable_line(path.name))  # else the user does not know the file by its path
        raise SheetError(f"{label} does not exist.", hint=_similar_files(path) if is_named else "") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unreadable(label, error) from None
    with ExitStack() as opened:
        opened.callback(stream.close)
        facts = os.fstat(stream.fileno())
        _refuse_special(kind_of_mode(facts.st_mode), label)  # it may have been put there meanwhile
        if facts.st_size == 0:
            raise empty_sheet(label)
        opened.pop_all()
    return kind, stream


def _require_unchanged(stream: BinaryIO, seen: os.stat_result | None, label: str) -> None:
    """Refuse a file that a program changed since it was opened: rows may have been read that it never held.

    ``seen`` is its state when it was opened; None where it is no file (standard input).
    """
    if seen is None:
        return
    now = os.fstat(stream.fileno())
    if (now.st_size, now.st_mtime_ns) != (seen.st_size, seen.st_mtime_ns):
        raise SheetError(
            f"{label} was changed while it was read.", hint="Try again when the program that writes it is done."
        )


def _refuse_special(kind: str, label: str) -> None:
    if kind == "a folder":
        raise SheetError(f"{label} is a folder.", hint="Give one file in it.")
    if kind:
        raise SheetError(
            f"{label} is {kind}, not a file.",
            hint="Give - in place of the name to read CSV from standard input: PROGRAM | bulkid check -",
        )


def _unreadable(label: str, error: Exception) -> SheetError:
    if isinstance(error, PermissionError):
        return SheetError(
            f"{label} cannot be read: permission denied.",
            hint="Close it in the spreadsheet program if it is open there, or ask for the right to read it.",
        )
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return SheetError(f"{label} cannot be read: {reason}.", hint="Check the name, or copy the file to this machine.")


def _similar_files(path: Path) -> str:
    from difflib import get_close_matches

    folder = path.parent
    try:
        names = [each.name for each in folder.iterdir() if each.suffix.lower() in EXTENSIONS]
    except OSError:
        return printable_line(f"There is no folder {folder} either: check the path.")
    close = get_close_matches(path.name, names, n=_MAX_NAMES, cutoff=0.6)
    if close:
        return printable_line(f"Did you mean {' or '.join(str(folder / each) for each in close)}?")
    return printable_line(f"Check the name; the folder is {folder.resolve()}.")


def _spool(source: BinaryIO, label: str, token: CancelToken) -> BinaryIO:
    """Copy a stream to where it can be read twice.

    The copying has a thread of its own, which ends with the process: a pipe may bring nothing more and never end, and
    no system lets another thread end that wait. A signal may raise at any moment here. It would leave the locks of
    ``threading`` in disorder (``RuntimeError: release unlocked lock``), so that this starts the thread and waits for it
    by functions that are written in C.
    """
    spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_IN_MEMORY)  # noqa: SIM115 - the caller's stack closes it
    finished: SimpleQueue[None] = SimpleQueue()
    failures: list[OSError | ValueError] = []

    def copy() -> None:
        try:
            shutil.copyfileobj(source, spool)
        except (OSError, ValueError) as error:  # ValueError: standard input, or what it is copied to, is closed
            failures.append(error)
        finally:
            finished.put(None)

    token.on_cancel(lambda: finished.put(None))
    try:
        _thread.start_new_thread(copy, ())
        while not _came(finished, _SIGNALS_S):
            pass
    except BaseException:  # an interrupt too must not leave the spool open; it is raised again
        spool.close()
        raise
    if token.cancelled or failures:
        spool.close()
        if token.cancelled:
            raise InterruptedRunError(f"The reading of {label} was stopped.")
        raise _unreadable(label, failures[0])
    return cast("BinaryIO", spool)  # it has every method of one since Python 3.11, only not the type


def _came(queue: SimpleQueue[None], timeout_s: float) -> bool:
    try:
        queue.get(timeout=timeout_s)
    except Empty:
        return False
    return True
