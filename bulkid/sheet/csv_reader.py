"""Records of a delimited text, by pandas' C tokeniser, in chunks of bounded memory.

Always as text: pandas would otherwise empty ``NA``, turn ``00123`` into 123, and shift the columns of a sheet whose
first record has a cell too many. ``dtype=object`` gives plain strings, without the array wrapper that ``dtype=str``
became in pandas 3. Before 3.1, cells of a record that is longer than the columns could be dropped without an error.
"""

import io
import re
from collections.abc import Generator
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
_TOO_MANY = re.compile(r"Expected \d+ fields in line (\d+), saw (\d+)")
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

    A chunk has at most ``size`` records. They are padded to one width; a record with more cells than all before makes
    the width grow for the rest. From the second time on it doubles at least, since each time the text is read from its
    start. Nothing else may read the stream until the iterator is closed.

    Raises:
        SheetError: A quote is never closed, or a record has more cells than any spreadsheet.
    """
    width = form.fields
    least = 0  # the width to grow to at least
    done = 0
    while True:
        try:
            with closing(_read(stream, source, form, width=width, skip=done, size=size)) as chunks:
                for chunk in chunks:
                    done += len(chunk)
                    yield chunk
        except _TooNarrowError as error:
            record, cells = error.args
            width = max(cells, least)
            least = min(2 * width, MAX_COLUMNS)
            if cells > MAX_COLUMNS:
                raise SheetError(
                    f"{source}: line {record} has {cells} cells.",
                    hint="Look for a missing double quote there, or give the right --delimiter.",
                ) from None
        else:
            return


class _TooNarrowError(Exception):
    """A record has more cells than all before; its arguments are the record's number and how many."""


def _read(
    stream: BinaryIO, source: str, form: TextForm, *, width: int, skip: int, size: int
) -> Generator[list[Record], None, None]:
    """Read with a fixed width, from the start; yield the records behind the first ``skip`` ones."""
    import pandas as pd

    rows = max(1, min(size, _CELLS_PER_CHUNK // width))
    text = open_text(stream, form)
    position = -1  # the line of our own
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
            chunksize=rows,
            engine="c",
        )
        with reader:
            for frame in reader:
                chunk = list(zip(*[_unescaped(frame[column].tolist()) for column in frame.columns], strict=True))
                drop = max(0, min(len(chunk), skip - position))
                position += len(chunk)
                if drop < len(chunk):
                    yield chunk[drop:]
    except pd.errors.ParserError as error:
        raise _translated(error, source) from None
    except (OSError, UnicodeError) as error:
        raise SheetError(
            f"{source} could be read at first, and now no more: {error}.", hint="Was it changed meanwhile? Try again."
        ) from None
    finally:
        with suppress(ValueError):  # the sheet was closed before its reading came to an end
            text.detach()


def _unescaped(cells: list[str]) -> list[str]:
    """Unescape the cells that bulkid's own files escape as formulas; most columns have none."""
    return list(map(unescape_formula, cells)) if any(cell[:1] == "'" for cell in cells) else cells


def _translated(error: Exception, source: str) -> Exception:
    message = str(error)
    if found := _TOO_MANY.search(message):
        return _TooNarrowError(int(found[1]) - 1, int(found[2]))
    if found := _OPEN_QUOTE.search(message):
        return SheetError(
            f"{source}: row {int(found[1])} opens a double quote that is never closed.",
            hint='Close it, or double it ("") where it is part of the text.',
        )
    return SheetError(
        f"{source} cannot be split into cells: {message.strip()}.", hint="Give the right --delimiter or --encoding."
    )
