"""Records of a delimited text, in chunks of bounded memory.

pandas' C tokeniser reads a text whose records are about as long as the first ones, as those of a sheet are. It gives
each record the same number of cells, so a few long ones among many would make it fill millions of cells: the csv module
reads such a text, and the rest of one from the first record on that is longer than those before.

To pandas all is text: it would otherwise empty ``NA``, turn ``00123`` into 123, and shift the columns of a sheet whose
first record has a cell too many. ``dtype=object`` gives plain strings, without the array wrapper that ``dtype=str``
became in pandas 3. Before 3.1, cells of a record that is longer than the columns could be dropped without an error.
"""

import csv
import io
import re
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from typing import BinaryIO

from bulkid.errors import SheetError
from bulkid.sheet.formula_escape import unescape_formula
from bulkid.sheet.headers import SheetOptions
from bulkid.sheet.table import Table
from bulkid.sheet.text_format import TextForm, examine, open_text

MAX_COLUMNS = 16_384
"""What a spreadsheet can hold. A longer record means that quotes or the delimiter are not what they seem."""

_CELLS_PER_CHUNK = 1 << 20  # bounds the memory of very wide sheets, whatever number of rows is asked for
_TOO_MANY = re.compile(r"Expected \d+ fields in line")
_OPEN_QUOTE = re.compile(r"EOF inside string starting at row (\d+)")

Record = tuple[str, ...]


class _Framed(io.TextIOBase):
    """A text with one more line in front, and a line end behind where that is missing.

    The tokeniser takes its columns from the first record alone, and does not check that one (it shifts or cuts it);
    with a first record of our own, every record of the sheet is checked. It also gives up ("Buffer overflow caught") on
    some texts of old Mac line ends that do not end in one.
    """

    def __init__(self, prefix: str, text: io.TextIOWrapper) -> None:
        self._prefix = prefix
        self._text = text
        self._ended = True

    def read(self, size: int | None = -1, /) -> str:
        if self._prefix:
            prefix, self._prefix = self._prefix, ""
            return prefix
        text = self._text.read(size)
        if not text and not self._ended:
            text = "\n"
        if text:
            self._ended = text.endswith("\n")
        return text


def open_text_table(stream: BinaryIO, source: str, kind: str, options: SheetOptions) -> Table:
    """Open a text, and find out how to read it.

    Args:
        stream: Seekable bytes. Nothing else may read them while rows are read.
        source: The sheet's name for messages.
        kind: The extension without its dot; "tsv" says that tabs delimit.
        options: What the user says about the sheet.

    Raises:
        SheetError: The content is a spreadsheet, empty or undecodable, or an option does not fit.
    """
    stream.seek(0)
    if stream.read(8).startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise SheetError(
            f"{source} is a spreadsheet, not text.",
            hint="Give it its own extension (.xlsx, .ods, .xls), or save it as CSV.",
        )
    form = examine(stream, source, options, tabs=kind == "tsv")

    def rows(size: int) -> Generator[list[Record], None, None]:
        return records(stream, source, form, size)

    return Table(rows, form.notes, encoding=form.encoding, delimiter=form.delimiter)


def records(stream: BinaryIO, source: str, form: TextForm, size: int) -> Generator[list[Record], None, None]:
    """Read all records in their order, blank ones too, so that counting them gives row numbers.

    A chunk has at most ``size`` records, which may differ in their numbers of cells. Nothing else may read the stream
    until the iterator is closed.

    Raises:
        SheetError: A quote is never closed, or a record has more cells than any spreadsheet.
    """
    done = 0
    if form.is_even:
        with suppress(_TooLongError), closing(_read(stream, source, form, size)) as chunks:
            for chunk in chunks:
                done += len(chunk)
                yield chunk
            return
    with closing(_read_uneven(stream, source, form, skip=done, size=size)) as chunks:
        yield from chunks


class _TooLongError(Exception):
    """A record has more cells than the first ones."""


def _read(stream: BinaryIO, source: str, form: TextForm, size: int) -> Generator[list[Record], None, None]:
    """Read records that are no longer than the first ones; the shorter ones get blank cells at their end.

    Raises:
        _TooLongError: A record is longer.
        SheetError: As for ``records``.
    """
    import pandas as pd

    width = form.fields
    text = open_text(stream, form)
    first = 1  # a line of our own is in front of the records
    try:
        reader = pd.read_csv(
            _Framed(form.delimiter * (width - 1) + "\n" if width > 1 else '""\n', text),
            sep=form.delimiter,
            header=None,
            names=range(width),
            index_col=False,
            dtype=object,
            keep_default_na=False,
            na_filter=False,
            skip_blank_lines=False,
            chunksize=max(1, min(size, _CELLS_PER_CHUNK // width)),
            engine="c",
        )
        with reader:
            for frame in reader:
                chunk = list(zip(*[_unescaped(frame[column].tolist()) for column in frame.columns], strict=True))
                if first < len(chunk):
                    yield chunk[first:]
                first = 0
    except pd.errors.ParserError as error:
        raise _translated(error, source) from None
    except (OSError, UnicodeError) as error:
        raise _no_longer_readable(source, error) from None
    finally:
        with suppress(ValueError):  # the sheet was closed before its reading came to an end
            text.detach()


def _read_uneven(
    stream: BinaryIO, source: str, form: TextForm, *, skip: int, size: int
) -> Generator[list[Record], None, None]:
    """Read records of any length, behind the first ``skip`` ones; raises as ``records``."""
    text = open_text(stream, form)
    number = widest = 0
    chunk: list[Record] = []
    try:
        for number, cells in enumerate(_closed_records(text, source, form.delimiter), 1):
            if number <= skip:
                continue
            widest = max(widest, len(cells))
            if widest > MAX_COLUMNS:
                raise SheetError(
                    f"{source}: row {number:,} has {widest:,} cells, more than any spreadsheet.",
                    hint="Look for a missing double quote there, or give the right --delimiter.",
                )
            chunk.append(tuple(_unescaped(cells)))
            if len(chunk) == size or len(chunk) * widest >= _CELLS_PER_CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk
    except csv.Error:
        raise SheetError(
            f"{source}: row {number + 1:,} has a cell of more than {csv.field_size_limit():,} characters.",
            hint="Look for a missing double quote there.",
        ) from None
    except (OSError, UnicodeError) as error:
        raise _no_longer_readable(source, error) from None
    finally:
        with suppress(ValueError):  # the sheet was closed before its reading came to an end
            text.detach()


def _closed_records(text: io.TextIOWrapper, source: str, delimiter: str) -> Generator[list[str], None, None]:
    """Split a text into records; refuse a last one that ends within double quotes, which the csv module does not."""
    ended = False

    def lines() -> Iterator[str]:
        nonlocal ended
        yield from iter(text.readline, "")  # the text itself would be closed with the generator, and the sheet with it
        ended = True

    for number, cells in enumerate(csv.reader(lines(), delimiter=delimiter), 1):
        if ended:  # the record went on behind the last line
            raise _open_quote(source, number)
        yield cells


def _unescaped(cells: list[str]) -> list[str]:
    """Unescape the cells that bulkid's own files escape as formulas; most columns and records have none."""
    return list(map(unescape_formula, cells)) if any(cell[:1] == "'" for cell in cells) else cells


def _translated(error: Exception, source: str) -> Exception:
    message = str(error)
    if _TOO_MANY.search(message):
        return _TooLongError()
    if found := _OPEN_QUOTE.search(message):
        return _open_quote(source, int(found[1]))
    return SheetError(
        f"{source} cannot be split into cells: {message.strip()}.", hint="Give the right --delimiter or --encoding."
    )


def _open_quote(source: str, row: int) -> SheetError:
    return SheetError(
        f"{source}: row {row:,} opens a double quote that is never closed.",
        hint='Close it, or double it ("") where it is part of the text.',
    )


def _no_longer_readable(source: str, error: Exception) -> SheetError:
    return SheetError(
        f"{source} could be read at first, and now no more: {error}.", hint="Was it changed meanwhile? Try again."
    )
