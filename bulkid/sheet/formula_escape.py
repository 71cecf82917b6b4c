"""The apostrophe that keeps a spreadsheet from running a cell as a formula, and its way back.

A cell that begins with ``=`` (or ``+``, ``-``, ``@``, a tab, a carriage return, or the same in another width) runs as a
formula when a spreadsheet opens a CSV file. bulkid writes such a cell with an apostrophe in front. When it reads a
sheet it takes one such apostrophe away again, so that ``retry.csv`` comes back as it was. It does so for workbooks too:
a spreadsheet program keeps the apostrophes of a CSV that it opens and saves as a workbook.

For any text, ``unescape_formula(escape_formula(text)) == text``, because an apostrophe that is already there is
guarded by one more. The same holds for ``guard_apostrophe``, which a workbook needs: no text in it runs as a formula.
"""

import re
from typing import Final

FORMULA_STARTS: Final = (
    "=+-@\t\r\n" + "\uff1d\uff0b\uff0d\uff20" + "\ufe66\ufe62\ufe63\ufe6b" + "\u207c\u207a\u208c\u208a\ufb29"
)
"""Characters that make a cell a formula: the plain ones, then full-width, small, and raised or lowered forms."""

_IGNORED: Final = (
    "".join(map(chr, range(0x21)))  # control characters and the space
    + "\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
    + "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"  # drawn as nothing at all
)
_RUNS: Final = re.compile(f"'*[{re.escape(_IGNORED)}]*[{re.escape(FORMULA_STARTS)}]")
_FIRST: Final = frozenset("'" + _IGNORED + FORMULA_STARTS)  # most cells are settled by one look at the first character


def escape_formula(text: str) -> str:
    """Put an apostrophe before a cell that a spreadsheet would run as a formula; leave every other as it is."""
    if text[:1] in _FIRST and _RUNS.match(text):
        return "'" + text
    return text


def guard_apostrophe(text: str) -> str:
    """Put one more apostrophe before a text whose first one :func:`unescape_formula` would take away."""
    return escape_formula(text) if text[:1] == "'" else text


def unescape_formula(text: str) -> str:
    """Take away the one apostrophe that the functions above put there; leave every other text as it is."""
    if text[:1] == "'" and _RUNS.match(text):
        return text[1:]
    return text
