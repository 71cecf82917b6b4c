"""What a worksheet and a text have in common once they are open, and which kinds of file hold worksheets."""

from collections.abc import Callable, Generator
from typing import NamedTuple

ZIP_KINDS = frozenset({"xlsx", "xlsm", "xlsb", "ods"})
WORKBOOK_KINDS = ZIP_KINDS | {"xls"}

RawChunks = Callable[[int], Generator[list[tuple[str, ...]], None, None]]
"""Starts reading: takes the number of rows per chunk; yields chunks of rows, from row 1 on, blank ones too."""


class Table(NamedTuple):
    """One worksheet or one text, opened."""

    rows: RawChunks  # starts reading
    notes: tuple[str, ...]  # sentences for the user
    name: str = ""  # the worksheet's; "" for text
    names: tuple[str, ...] = ()  # every worksheet of the workbook, in its order; none for text
    guessed: str = ""  # why this worksheet of several is read, as a sentence; "" when it was named, or is the only one
    encoding: str = ""  # the text's; "" for spreadsheets
    delimiter: str = ""  # one character; "" for spreadsheets
    first_column: int = 0  # the number of the column in which the rows begin: the first one in use
    close: Callable[[], None] = lambda: None  # frees what is held
    prepare: Callable[[int], None] = lambda _size: None  # says that rows will be read, in chunks of so many
