"""Single cells: what a text in a cell means, and what is wrong with it. Pure functions over strings."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from bulkid.model import EVERYONE
from bulkid.text import fold

CLEAR = "!clear"
"""The cell that empties a field on purpose; a blank cell never does."""

MAX_TEXT = 1024
"""Characters. Names of the Identity Server are far shorter; a longer cell is a slip (a pasted page)."""

MAX_EXACT_NUMBER = 1e15
"""Spreadsheets keep 15 digits of a number; from here on the last ones may be lost."""

# Characters that no one sees and that come along when text is copied from web pages and chats; str.strip() takes the
# visible kinds of white space (no-break space among them), but not these.
_INVISIBLE = "\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_SPACE = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
_TRIMMED = _SPACE + _INVISIBLE

NOT_CALCULATED = "#NOT_CALCULATED!"
"""Stands for a formula that its file holds no value for (written by a program, never opened in a spreadsheet)."""

# What spreadsheets show for a failed formula: English, and the words that a localised Excel writes into a CSV.
_ERROR_WORDS = (
    "#N/A #REF! #VALUE! #NAME? #DIV/0! #NULL! #NUM! #GETTING_DATA #SPILL! #CALC! #FIELD! #BLOCKED! #CONNECT! #UNKNOWN! "
    "#BUSY! #EXTERNAL! #PYTHON! #TIMEOUT! #N/A! "
    "#NV #BEZUG! #WERT! #ZAHL! #\u00dcBERLAUF! "  # German
    "#VALEUR! #NOM? #NOMBRE! #NUL! "  # French
    "#\u00a1REF! #\u00a1VALOR! #\u00bfNOMBRE? #\u00a1DIV/0! #\u00a1NUM! #\u00a1NULO! #\u00a1DESBORDAMIENTO! "  # Spanish
    "#N/D #VALORE! #RIF! #NOME? #NULLO! #VALOR! #N\u00daM! #NULO! "  # Italian, Portuguese
    "#VERW! #WAARDE! #NAAM? #GETAL! #LEEG! #N/B "  # Dutch
    "#N/D! #ADR! #ARG! #NAZWA? #LICZBA! #DZIEL/0! #ZERO! "  # Polish
    "#\u041d/\u0414 #\u0421\u0421\u042b\u041b\u041a\u0410! #\u0417\u041d\u0410\u0427! #\u0418\u041c\u042f? "  # Russian
    "#\u0414\u0415\u041b/0! #\u041f\u0423\u0421\u0422\u041e! #\u0427\u0418\u0421\u041b\u041e! "
    "#NEN\u00cd_K_DISPOZICI #ODKAZ! #HODNOTA! #N\u00c1ZEV? #\u010c\u00cdSLO! #D\u011aLEN\u00cd_NULOU! "  # Czech
    "#HI\u00c1NYZIK #HIV! #\u00c9RT\u00c9K! #N\u00c9V? #SZ\u00c1M! #Z\u00c9R\u00d3OSZT\u00d3! "  # Hungarian
    "#YOK #BA\u015eV! #DE\u011eER! #AD? #SAYI! #SAYI/0! #BO\u015e! "  # Turkish
    "#SAKNAS! #REFERENS! #V\u00c4RDEFEL! #NAMN? #OGILTIGT! #DIVISION/0! #SK\u00c4RNING! "  # Swedish
    "#I/T #REFERENCE! #V\u00c6RDI! #VERDI! #NAVN? "  # Danish, Norwegian
    "#PUUTTUU! #VIITTAUS! #ARVO! #NIMI? #LUKU! #JAKO/0! #TYHJ\u00c4!"  # Finnish
)
_ERRORS = frozenset(word.casefold() for word in [*_ERROR_WORDS.split(), NOT_CALCULATED])
_ERROR_STARTS = frozenset("#Ee")
_LIBRE_OFFICE_ERROR = re.compile(r"err:5\d\d", re.IGNORECASE)
# What Excel makes of a long number, on screen and in a CSV: the digits are lost.
_SCIENTIFIC = re.compile(r"-?\d(?:[.,]\d+)?E\+\d{2,3}")
_BAR = "\xa6"  # a broken bar, which hardly any cell holds
_MARKS = (
    (" ", f"{_BAR} "),
    (" ", f" {_BAR}"),
    ("!", f"{_BAR}!"),
    ("#", f"{_BAR}#"),
    (":", "r:5"),
    (":", "R:5"),
    ("+", "E+"),
)
"""What cells between bars hold that have blanks at their ends, or are ``!clear``, an error or a rounded number; before
each a character of it that few cells hold, which is faster to look for."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SEPARATORS = re.compile(r"[;,|\r\n]")
_ITEM = re.compile(r'[ \t\xa0]*(?:"((?:[^"]|"")*)"([^;,|\r\n]*)|([^;,|\r\n]*))(?:[;,|\r\n]|\Z)')
"""An item of a list, in double quotes with what follows them, or plain; then a separator or the end."""
_QUOTE = '"'
_NEEDS_CARE = re.compile(r'[;,|\r\n"\[]')


class Problem(NamedTuple):
    """One thing wrong with a text: a stable word, and a sentence that says what to do."""

    code: str
    message: str


_EVERYONE = fold(EVERYONE)


class ListCell(NamedTuple):
    """A list cell as read."""

    items: tuple[str, ...] = ()  # names or ids, in the order of the cell, without doubles
    keys: frozenset[str] = frozenset()  # the same, case folded, to compare with
    clear: bool = False  # the cell is ``!clear``
    problems: tuple[Problem, ...] = ()  # where there are any, ``items`` holds what could be read

    @property
    def names_everyone(self) -> bool:
        """Whether the built-in group of all accounts is among the items, by its name."""
        return _EVERYONE in self.keys


EMPTY_LIST = ListCell()

KnownItems: TypeAlias = dict[str, tuple[str, str]]
"""Items of lists as they stand in a cell, each trimmed and case folded. Those with a problem are not among them."""

_MOST_KNOWN_ITEMS = 4096  # more than an organisation has groups; those of a hostile sheet must not pile up


def trim(text: str) -> str:
    """Cut white space and invisible characters off both ends (no-break and zero-width spaces, byte order marks)."""
    return text.strip() if text.isascii() else text.strip(_TRIMMED)


def is_clear(text: str) -> bool:
    """Whether a trimmed cell asks on purpose to empty the field."""
    return text[:1] == "!" and text.casefold() == CLEAR


def is_error(text: str) -> bool:
    """Whether a trimmed text is what a spreadsheet shows for a failed formula, in any of the usual languages."""
    return text[:1] in _ERROR_STARTS and (text.casefold() in _ERRORS or _LIBRE_OFFICE_ERROR.fullmatch(text) is not None)


def text_problem(text: str) -> Problem | None:
    """Say what is wrong with a trimmed text, whatever the field; None when nothing is.

    That is a spreadsheet's error, a number that a spreadsheet has rounded, a character that no name can hold, or an
    absurd length. The server decides about everything else.
    """
    if is_error(text):
        message = f"The cell holds the spreadsheet error {text}: fix its formula or type the value."
        if text == NOT_CALCULATED:
            message = (
                "The cell holds a formula without a value: open the file in a spreadsheet program, save it there as "
                ".xlsx, and try again."
            )
        return Problem("error_cell", message)
    if "E+" in text and _SCIENTIFIC.fullmatch(text):
        return Problem(
            "number_rounded",
            "The spreadsheet has rounded this long number, its digits are lost: format the column as text and enter "
            "the value again.",
        )
    if text.isprintable() and len(text) <= MAX_TEXT:
        return None
    control = _CONTROL.search(text)
    if control is not None:
        return Problem(
            "control_character",
            f"The text holds the character U+{ord(control.group()):04X} (a line break, a tab or another that no name "
            "can hold): remove it.",
        )
    if len(text) > MAX_TEXT:
        return Problem(
            "too_long",
            f"The text has {len(text)} characters, more than the {MAX_TEXT} that a name can have: shorten it.",
        )
    return None


def are_plain(cells: Sequence[str]) -> bool:
    """Whether each of these cells is blank, or trimmed and free of problems, and none is :data:`CLEAR`.

    It looks at all cells together, in a tenth of the time; so it may also say no where a closer look finds nothing.
    """
    joined = f"{_BAR}{_BAR.join(cells)}{_BAR}"
    if any(rare in joined and mark in joined for rare, mark in _MARKS):
        return False
    return joined.isprintable() and max(map(len, cells)) <= MAX_TEXT


def parse_list(cell: str, known: KnownItems | None = None) -> ListCell:
    """Read a list cell: separated by ``;``, ``,``, ``|`` or new lines, or a JSON array.

    A name that holds a separator is written in double quotes (a double quote inside is doubled). Blank items and
    doubles are left out; names that differ by case alone may be those of two groups.

    ``known`` has what was read of the items of earlier cells; those of this one are added to it.
    """
    text = trim(cell)
    if not text:
        return EMPTY_LIST
    if is_clear(text):
        return ListCell(clear=True)
    whole = text_problem(text) if "E+" in text else None  # "1,2E+16" is one rounded number, not two groups
    if whole is not None and whole.code == "number_rounded":
        return ListCell(problems=(whole,))
    try:
        parts = [text] if _NEEDS_CARE.search(text) is None else _split(text)
    except _ListError as error:
        return ListCell(problems=(Problem("bad_list", str(error)),))
    return _collect(parts, {} if known is None else known)


def list_cell(items: Iterable[str]) -> str:
    """Write a list cell that :func:`parse_list` reads as these items, as far as they can be in a list at all."""
    return "; ".join(f'"{item.replace(_QUOTE, 2 * _QUOTE)}"' if _NEEDS_CARE.search(item) else item for item in items)


class _ListError(ValueError):
    """The cell's list notation is broken; the message is for a person."""


def _collect(parts: list[str], known: KnownItems) -> ListCell:
    """Check the items of a list cell; ``known`` keeps those that are right for the cells to come."""
    items: list[str] = []
    keys: list[str] = []
    problems: list[Problem] = []
    for part in parts:
        found = known.get(part)
        if found is None:
            item = trim(part)
            if not item:
                continue
            problem = text_problem(item)
            if is_clear(item):
                message = f"{CLEAR} stands alone in its cell: remove it or the other entries."
                problem = Problem("clear_not_alone", message)
            found = sys.intern(item), sys.intern(fold(item))  # one string per group, not one per row that names it
            if problem is not None:
                problems.append(problem)
            elif len(known) < _MOST_KNOWN_ITEMS and len(part) <= MAX_TEXT:
                known[part] = found
        items.append(found[0])
        keys.append(found[1])
    if not items:
        return EMPTY_LIST  # ";" and "[]" say no more than a blank cell does: only !clear clears
    return ListCell(tuple(dict.fromkeys(items)), frozenset(keys), problems=tuple(dict.fromkeys(problems)))


def _split(text: str) -> list[str]:
    if text.startswith("["):
        if text.endswith("]"):
            return _json_items(text)
        if re.match(r'\[\s*"', text):
            raise _ListError('The list starts like a JSON array but does not end with "]": complete it.')
    if '"' not in text:
        return _SEPARATORS.split(text)
    return list(_quoted_items(text))


def _json_items(text: str) -> list[str]:
    import json

    try:
        values: Any = json.loads(text, parse_float=_plain_float, parse_int=str)
    except (ValueError, RecursionError):
        raise _ListError(
            'The cell is in square brackets but is no JSON array such as ["Finance", "Trainees"]: fix it, or put a '
            "name that really has brackets in double quotes."
        ) from None
    if not all(isinstance(value, str) for value in values):
        raise _ListError("The JSON array may hold only texts and numbers: remove what else is in it.")
    return list(values)


def _plain_float(text: str) -> str:
    value = float(text)
    return str(int(value)) if value.is_integer() and abs(value) < MAX_EXACT_NUMBER else text


def _quoted_items(text: str) -> Iterator[str]:
    """Split at separators outside double quotes. Quotes count only at the start of an item, as in CSV."""
    for item in _ITEM.finditer(text):
        quoted, after, plain = item.groups()
        if quoted is None and plain.startswith('"'):
            raise _ListError('A double quote is opened and not closed: add the missing ", or remove the first one.')
        if quoted is not None and trim(after):
            raise _ListError(
                'There is text right after a closing double quote: put a ";" between, or double inner quotes.'
            )
        yield plain if quoted is None else quoted.replace('""', '"')
