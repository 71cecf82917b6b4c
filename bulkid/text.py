r"""Texts: which are the same name, how messages quote and count, and how foreign text is shown safely.

Two names are the same where they differ by case alone, letter by letter (``fold``): each letter is the other's only
counterpart, and both are single characters. So ``A`` is ``a`` and ``Ü`` is ``ü``; but ``ß`` is not ``ss``, the
Kelvin sign is not ``k``, the Turkish dotless and dotted i are neither ``i`` nor ``I``, a final sigma is not a sigma,
full-width letters are not ASCII, and an accent in a character of its own is not the letter with the accent. Servers
compare such texts in different ways, and a wrong match would change the wrong account.

A terminal obeys control characters, and bidirectional controls reorder what a person reads, so that a plan could show
other changes than bulkid sends. ``printable`` shows such characters as escapes (``\x1b``, ``\u202e``). Data files keep
them.
"""

import math
import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "bar": "|", "space": " "}
"""Names of the characters that separate the cells of a text sheet, as a user may give them."""

_HEX: Final = "[0-9A-Fa-f]"
_GUID: Final = re.compile(rf"\{{?({_HEX}{{8}})-?({_HEX}{{4}})-?({_HEX}{{4}})-?({_HEX}{{4}})-?({_HEX}{{12}})\}}?")
_QUOTED_LENGTH = 80
_MAX_LISTED_ROWS = 5
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
INVISIBLE: Final = (
    r"\xad\u061c\u180e\u200b-\u200f\u2060-\u2065\ufeff\ufff0-\ufffb"  # zero width, marks of direction
    r"\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # joiners and fillers of scripts
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # controls of notations, tags
    r"\u202a-\u202e\u2066-\u206f"  # bidirectional controls
)
"""Characters that no reader sees, to put between the brackets of a regular expression."""

_NOT_PRINTABLE: Final = (
    rf"{INVISIBLE}\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1
    r"\u2028\u2029"  # line and paragraph separators
    r"\ud800-\udfff"  # half a pair: a byte of a file name that is no text
)
_ANY: Final = re.compile(f"[{_NOT_PRINTABLE}]")
_ANY_OR_BREAK: Final = re.compile(rf"[\t\n{_NOT_PRINTABLE}]")
_NAMED: Final = {"\t": "\\t", "\n": "\\n"}
_TWO_DIGITS: Final = 0x100  # from here on more than two
_FOUR_DIGITS: Final = 0xFFFF  # beyond here more than four


# --- comparing


class _LowerCase(dict[int, int]):
    """Code points by code point, worked out when first asked for: a table for ``str.translate``."""

    def __missing__(self, point: int) -> int:
        letter = chr(point)
        lower = letter.lower()
        folded = ord(lower) if len(lower) == 1 and lower.upper() == letter else point
        self[point] = folded
        return folded


_LOWER = _LowerCase()


def fold(text: str) -> str:
    """Give the form in which ids and names compare: equal for texts that differ by case alone."""
    folded = text.lower() if text.isascii() else text.translate(_LOWER)
    return text if folded == text else folded  # the same object where possible: 100,000 keys share their text


def dashed_guid(text: str) -> str:
    """Give a GUID that has braces or no dashes in its usual form, in the case that it has; other texts as they are."""
    found = _GUID.fullmatch(text)
    return "-".join(found.groups()) if found else text


def fold_all(texts: Sequence[str]) -> Sequence[str]:
    """Fold each of many texts. Where each is as it folds, which one look at all of them shows, it gives them back."""
    whole = "".join(texts)
    return texts if whole.isascii() and whole.lower() == whole else [fold(text) for text in texts]


def skeleton(text: str) -> str:
    """Give the form in which texts are similar: equal for texts that people may take for one another.

    For suggestions and for refusals only. Texts that look the same are not the same name.
    """
    if text.isascii():
        return " ".join(text.lower().split())
    compatible = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(compatible.split())


# --- messages


def quote(text: str) -> str:
    """Quote a text for a message: on one line, and shortened when a whole paragraph strayed into a cell."""
    shown = " ".join(text[: 4 * _QUOTED_LENGTH].split())
    if len(shown) > _QUOTED_LENGTH:
        shown = shown[: _QUOTED_LENGTH - 3] + "..."
    return f'"{shown}"'


_PLAIN_ARGUMENT = re.compile(rf"(?!=)[\w.:/=+%{re.escape(os.sep)}-]+")
_READ_IN_QUOTES = re.compile(r'["$`\\!]')
"""What a shell of Unix reads inside of double quotes."""


def as_argument(text: str) -> str:
    """Write a path or a name for a command line that a user copies: in quotes where a shell reads it otherwise."""
    if _PLAIN_ARGUMENT.fullmatch(text):
        return text
    if os.name != "nt" and _READ_IN_QUOTES.search(text):
        return shlex.quote(text)
    return f'"{text}"'


def count_of(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun: ``1 group``, ``3 groups``, ``1,200 groups``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def unnumbered(name: str) -> str:
    """The name that a file was to have: ``report.csv`` of ``report-2.csv``."""
    return re.sub(r"-\d+(?=\.\w+$)", "", name)


def listing(items: Iterable[str], last: str = "and") -> str:
    """Join items as people do: ``a``, ``a and b``, ``a, b and c``."""
    *head, tail = items
    return f"{', '.join(head)} {last} {tail}" if head else tail


def first_of(items: Sequence[str], most: int, between: str = ", ") -> str:
    """Join items; of more than ``most`` the first ones, and how many more there are."""
    more = len(items) - most
    return between.join(items[:most]) + (f" and {more:,} more" if more > 0 else "")


def row_listing(rows: Iterable[int], count: int) -> str:
    """Name ``count`` rows: ``row 3``, ``rows 3 and 7``; of many only the first few, so that messages stay readable."""
    named = [str(row) for _, row in zip(range(_MAX_LISTED_ROWS), rows, strict=False)]
    if count > len(named):
        named.append(f"{count - len(named):,} more")
    return f"{'row' if count == 1 else 'rows'} {listing(named)}"


def humanize_seconds(seconds: float) -> str:
    """Write a time in its two largest units: ``4 minutes 50 seconds``, ``5 hours 10 minutes``; a negative one is 0."""
    if math.isinf(seconds) or math.isnan(seconds):
        return "for ever"
    if 0 < seconds < 1:
        return "less than a second"
    # Rounded to the smaller unit shown, before it is taken apart: 59 minutes 59.7 seconds is an hour.
    rest = round(max(seconds, 0.0))
    for size, _ in _UNITS[:2]:
        if rest >= size:
            smaller = size // 24 if size == _UNITS[0][0] else 60
            rest = round(seconds / smaller) * smaller  # not of what is rounded already
            break
    parts = []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count:,} {unit if count == 1 else unit + 's'}")
    return " ".join(parts) or "0 seconds"


def short_duration(seconds: float) -> str:
    """Write a time that has passed in few characters: ``4 s``, ``4 min 50 s``, ``5 h 10 min``."""
    if seconds < 1:
        return "under 1 s"
    text = humanize_seconds(seconds)
    for unit, short in (("day", "d"), ("hour", "h"), ("minute", "min"), ("second", "s")):
        text = re.sub(rf"\b{unit}s?\b", short, text)
    return text


# --- text of others, made safe to show


def printable(text: str) -> str:
    """Show every character that a terminal would obey or hide as an escape; line feeds and tabs stay."""
    return _ANY.sub(_escape, text)


def printable_line(text: str) -> str:
    """Like :func:`printable`, with line feeds and tabs as escapes too."""
    return _ANY_OR_BREAK.sub(_escape, text)


def printable_json(text: str) -> str:
    """Escape the same characters in a JSON text, which then holds the same data."""
    return _ANY.sub(_json_escape, text)


def _json_escape(match: "re.Match[str]") -> str:
    code = match[0].encode("utf-16-be", "surrogatepass").hex()  # beyond four digits JSON takes two halves
    return "".join(f"\\u{code[at : at + 4]}" for at in range(0, len(code), 4))


def _escape(match: "re.Match[str]") -> str:
    character = match[0]
    code = ord(character)
    if code > _FOUR_DIGITS:
        return f"\\U{code:08x}"
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < _TWO_DIGITS else f"\\u{code:04x}")
