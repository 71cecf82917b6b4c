"""Headers to fields: which column of a sheet means what. Pure functions, also for the web console.

A header that is misunderstood changes accounts wrongly, so nothing is guessed here: a header either is a known one
(without regard to case, spaces, ``_``, ``-`` and invisible characters), or close to one (an error that says what to
do), or another (ignored, with a note).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from bulkid.errors import SheetError
from bulkid.resources import INFORMATION_COLUMNS, Resource, current
from bulkid.sheet.cells import trim
from bulkid.text import INVISIBLE, first_of, fold, printable_line, skeleton

_MAX_LISTED = 50  # columns that a note names
_MAX_NAMED_COLUMNS = 30  # columns of the sheet that an error names
_MAX_LABEL = 60  # characters of a header in a message
_MAX_COMPARED = 1_000  # characters of a header that may be a slip of a known one

# The least numbers of letters for which one, and two, typing slips count as "close": "nam" is one slip from "name", but
# so are "game" and "same".
_MIN_LENGTH_ONE_TYPO = 4
_MIN_LENGTH_TWO_TYPOS = 8


@dataclass(frozen=True, slots=True)
class SheetOptions:
    """The user's settings of how to read a sheet."""

    sheet: str | None = None  # the worksheet's name; None takes the first visible one
    column_map: Mapping[str, str] = field(default_factory=dict)  # header to field (--map), stronger than the aliases
    ignore_columns: tuple[str, ...] = ()  # headers to leave alone (--ignore-column)
    encoding: str | None = None  # None detects it
    delimiter: str | None = None  # one character, or tab, comma, semicolon, pipe; None detects it
    follow_links: bool = True  # whether the file may be a link; not in a folder that others may write to
    system_encoding: str | None = None  # the code page that this system's programs write (Windows), if any
    standing: tuple[str, ...] = ()  # those of these options that the environment or bulkid.toml sets for every sheet


_GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_DELIMITER = re.compile(r"[,;|\t]")
_TYPE_LINE = re.compile(r"#TYPE [\w.+`]+")
_SEPARATING = re.compile(rf"[\s_\-{INVISIBLE}]+")
_INVISIBLE = re.compile(f"[{INVISIBLE}]")


def header_key(header: str) -> str:
    """Reduce a header to what is compared: no case, no spaces of any kind, no ``_``, no ``-``, nothing invisible."""
    return _SEPARATING.sub("", fold(trim(header)))


def _known() -> Mapping[str, str]:
    """The column for each header that a sheet may have, by its :func:`header_key`."""
    return _known_headers(current())


@lru_cache(maxsize=8)
def _known_headers(resource: Resource) -> Mapping[str, str]:
    return {header_key(alias): name for name, aliases in resource.aliases.items() for alias in aliases}


def fields_for_headers(headers: Sequence[str], options: SheetOptions | None = None, first: int = 0) -> tuple[str, ...]:
    """The field of each header, by ``column_map`` and ``ignore_columns``; ``""`` for a column that is not used.

    ``first`` is the number of the first header's column in the sheet, for messages.

    Raises:
        SheetError: A header is close to a known one, two columns claim one field, ``column_map`` or
            ``ignore_columns`` names what is not there, or no column names the account.
    """
    options = options or SheetOptions()
    keys = [header_key(header) for header in headers]
    mapped = _mapped(options.column_map, headers, keys, first)
    ignored = _ignored(options.ignore_columns, headers, keys, first)
    for index in sorted(mapped.keys() & ignored):
        raise SheetError(
            f"Column {column_label(headers, index)} is both mapped and ignored.",
            hint="Leave out either --map or --ignore-column for it.",
        )
    known = _known()
    fields = tuple(
        mapped.get(index) or ("" if index in ignored else known.get(key, "")) for index, key in enumerate(keys)
    )
    _refuse_near_misses(headers, keys, fields, ignored)
    _refuse_duplicates(headers, fields, first)
    _require_account(headers, fields, first)
    return fields


class ColumnMeaning(NamedTuple):
    """What a column seems to mean."""

    field: str  # "" for a column that is not used
    close_to: str = ""  # the known header that this one is close to: then the field is a guess, for the user to confirm


def suggest_fields(headers: Sequence[str], options: SheetOptions | None = None) -> tuple[ColumnMeaning, ...]:
    """Give the meaning of each header as far as it is known, also where :func:`fields_for_headers` would refuse them.

    A field that another column has by its exact header is no guess for a second one.
    """
    options = options or SheetOptions()
    by_key = {header_key(name): column for name, column in options.column_map.items()}
    mapped = {**by_key, "": "", **options.column_map}
    ignored = {*options.ignore_columns, *map(header_key, options.ignore_columns)}
    known = _known()
    certain = [
        ""
        if header in ignored
        else mapped.get(header) or mapped.get(key) or ("" if key in ignored else known.get(key, ""))
        for header, key in zip(headers, map(header_key, headers), strict=True)
    ]
    meanings = []
    for header, column in zip(headers, certain, strict=True):
        open_to_guess = not column and header not in ignored and header_key(header) not in ignored
        close_to = near_miss(header) if header and open_to_guess else ""
        guess = known[header_key(close_to)] if close_to else ""
        meanings.append(ColumnMeaning(column or ("" if guess in certain else guess), close_to))
    return tuple(meanings)


class ColumnUse(NamedTuple):
    """How one column of a sheet is read."""

    label: str  # its header, on one line
    field: str  # "" where it is not read
    match: str  # how the field was found: exact, known header, --map; or that it is ignored


def column_uses(
    headers: Sequence[str], fields: Sequence[str], options: SheetOptions, first: int
) -> tuple[ColumnUse, ...]:
    """Say of each column which field it is read as, and how the field was found.

    For ``first`` see :func:`fields_for_headers`.
    """
    mapped = {header_key(column) for column in options.column_map}
    return tuple(
        ColumnUse(
            column_label(headers, index, quoted=False, first=first), name, _match(header_key(header), name, mapped)
        )
        for index, (header, name) in enumerate(zip(headers, fields, strict=True))
    )


def _match(key: str, name: str, mapped: Collection[str]) -> str:
    if not name:
        return "ignored"
    if key in mapped:
        return "--map"
    return "exact" if key == header_key(name) else "known header"


def is_type_line(text: str) -> bool:
    """Whether a text is the line that PowerShell's ``Export-Csv`` writes above the headers."""
    return text.startswith("#TYPE ") and _TYPE_LINE.fullmatch(text) is not None


def empty_sheet(source: str) -> SheetError:
    """The error for a sheet without a header."""
    return SheetError(f"{source} is empty.", hint="The first row must hold the headers, such as name,groups_to_add.")


def known_headers(headers: Sequence[str], options: SheetOptions | None = None) -> int:
    """Count the headers that mean something: the right delimiter gives most. Never raises."""
    options = options or SheetOptions()
    mapped = {header_key(column) for column in options.column_map}
    known = _known()
    return sum(1 for header in headers if (key := header_key(header)) and (key in known or key in mapped))


def unused_note(
    headers: Sequence[str], fields: Sequence[str], options: SheetOptions | None = None, first: int = 0
) -> str:
    """Name the ignored columns; ``""`` when there are none. For ``first`` see :func:`fields_for_headers`.

    Those that ``ignore_columns`` names, and those that an export adds for people, are ignored on purpose and not named.
    """
    chosen = options.ignore_columns if options else ()
    given = {header_key(column) for column in (*chosen, *INFORMATION_COLUMNS)} - {""}
    names = [
        column_label(headers, index, first=first)
        for index, name in enumerate(fields)
        if not name and header_key(headers[index]) not in given
    ]
    if not names:
        return ""
    return f"Ignored {'column' if len(names) == 1 else 'columns'}: {first_of(names, _MAX_LISTED)}."


def column_label(headers: Sequence[str], index: int, *, quoted: bool = True, first: int = 0) -> str:
    """Name a column on one line: its header (a long one cut), or the letter that a spreadsheet shows."""
    header = printable_line(_typeable(headers[index])) if index < len(headers) else ""
    if len(header) > _MAX_LABEL:
        header = f"{header[: _MAX_LABEL - 1]}…"
    if not header:
        letters = column_letters(first + index)
        return f"column {letters}" if quoted else letters
    return f'"{header}"' if quoted else header


def _typeable(header: str) -> str:
    """Write a header as a user can type it: without invisible characters, which no comparison counts."""
    return trim(_INVISIBLE.sub("", header))


def column_letters(index: int) -> str:
    """Write a column's number (from 0) as a spreadsheet does: 0 is A, 26 is AA."""
    letters = ""
    number = index + 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _mapped(column_map: Mapping[str, str], headers: Sequence[str], keys: Sequence[str], first: int) -> dict[int, str]:
    mapped: dict[int, str] = {}
    by_key = {**_known(), **{header_key(name): name for name in current().columns}}
    for column, target in column_map.items():
        option = f'--map "{column}={target}"'
        name = by_key.get(header_key(target), "")
        if not name:
            raise SheetError(
                f'{option}: there is no field "{target}".', hint=f"The fields are {', '.join(current().columns)}."
            )
        for index in _columns_named(column, headers, keys, option, first):
            if mapped.get(index, name) != name:
                raise SheetError(
                    f'--map gives the column "{column}" to both {mapped[index]} and {name}.',
                    hint="Map each column to one field.",
                )
            mapped[index] = name
    return mapped


def _ignored(columns: Sequence[str], headers: Sequence[str], keys: Sequence[str], first: int) -> set[int]:
    # A misspelt name is refused, or the column would change accounts though the user believes that it is left alone.
    named = (_columns_named(column, headers, keys, f'--ignore-column "{column}"', first) for column in columns)
    return set(chain.from_iterable(named))


def _columns_named(column: str, headers: Sequence[str], keys: Sequence[str], option: str, first: int) -> list[int]:
    wanted = header_key(column)  # empty for a header such as -, which is named letter by letter
    exact = [index for index, header in enumerate(headers) if trim(header) and trim(header) == trim(column)]
    found = exact or [index for index, key in enumerate(keys) if wanted and key == wanted]
    if not found:
        raise SheetError(
            f'{option}: the sheet has no column "{column}".', hint=f"Its columns are {_list_columns(headers, first)}."
        )
    return found


def _list_columns(headers: Sequence[str], first: int) -> str:
    names = [column_label(headers, index, first=first) for index in range(min(len(headers), _MAX_NAMED_COLUMNS))]
    return ", ".join(names) + (", ..." if len(headers) > _MAX_NAMED_COLUMNS else "")


def _refuse_near_misses(headers: Sequence[str], keys: Sequence[str], fields: Sequence[str], ignored: set[int]) -> None:
    close = [
        (_typeable(headers[index]), alias, _known()[header_key(alias)])
        for index, key in enumerate(keys)
        if key and not fields[index] and index not in ignored and (alias := near_miss(headers[index]))
    ]
    if close:
        header, _, name = close[0]
        sentences = [f'"{header}" is close to "{alias}" ({name})' for header, alias, name in close]
        raise SheetError(
            f"A column might be misspelt: {first_of(sentences, _MAX_NAMED_COLUMNS, '; ')}.",
            hint=f'Correct the header, or say what it is: --map "{header}={name}", or --ignore-column "{header}".',
        )


def near_miss(header: str) -> str:
    """Return the known header that an unknown one is close to, ``""`` when it is close to none.

    Close means: one typing slip (two in long words), or the same words in another order or with some left out
    ("groups add", "group ids").
    """
    if len(header) > _MAX_COMPARED:
        return ""
    from rapidfuzz.distance import OSA  # only sheets with unknown columns pay for it

    key = _SEPARATING.sub("", skeleton(trim(header)))
    best: tuple[int, str] | None = None
    aliases = list(chain.from_iterable(current().aliases.values()))
    for alias in aliases:
        known = header_key(alias)
        allowed = _allowed_slips(max(len(key), len(known)))
        slips = OSA.distance(key, known, score_cutoff=allowed)
        if (slips or header_key(header) != known) and slips <= allowed and (best is None or slips < best[0]):
            best = (slips, alias)
    if best is not None:
        return best[1]
    words = _words(header)
    return next((alias for alias in aliases if len(words) > 1 and words <= _words(alias)), "")


def _allowed_slips(letters: int) -> int:
    """How many typing slips count as close in a word of so many letters."""
    if letters < _MIN_LENGTH_ONE_TYPO:
        return 0
    return 1 if letters < _MIN_LENGTH_TWO_TYPOS else 2


def _words(header: str) -> frozenset[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", _typeable(header))
    return frozenset(word.removesuffix("s") for word in re.split(r"[\s_\-]+", spaced.casefold()) if word)


def _refuse_duplicates(headers: Sequence[str], fields: Sequence[str], first: int) -> None:
    for name in current().columns:
        columns = [index for index, taken in enumerate(fields) if taken == name]
        if len(columns) > 1:
            labels = [
                f"{column_label(headers, index, first=first)} ({column_letters(first + index)})" for index in columns
            ]
            raise SheetError(
                f"{len(columns):,} columns mean {name}: {first_of(labels, _MAX_NAMED_COLUMNS)}.",
                hint="Keep one of them, or rename the others; --ignore-column leaves one out by its header.",
            )


def _require_account(headers: Sequence[str], fields: Sequence[str], first: int) -> None:
    resource = current()
    if resource.id_column in fields or "name" in fields:
        return
    listed = _list_columns(headers, first) or "none"
    hint = f'Add a column "{resource.id_column}" or "name", or say which column it is, e.g. --map "Column=name".'
    if not any(fields) and any(_GUID.fullmatch(trim(header)) or trim(header).isdecimal() for header in headers):
        hint = f"The first row looks like data: put a header row above it. {hint}"
    elif not any(fields) and len(headers) == 1:
        title = "The first row that is not blank holds the headers: remove a title above them."
        one_cell = "All headers stand in one cell: split it into columns; for text, give the right delimiter."
        hint = f"{one_cell if known_headers(_DELIMITER.split(headers[0])) else title} {hint}"
    raise SheetError(f"No column names the {resource.singular}. The columns are: {listed}.", hint=hint)
