"""Words of a text that another encoding than that of the whole text seems to have written.

Two sheets put one behind the other may have two encodings. The statistics of a whole text pass over the few words of
the second one, and a wrong letter would change a name on the server.
"""

import re
import unicodedata
from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from bulkid.sheet.legacy_encoding import (
    LAST_OF_TWO_BYTES,
    MULTI_BYTE,
    SINGLE_BYTE,
    TWO_CHARACTERS,
    WORD,
    Fit,
    fit,
    weight_of,
)

_Word = TypeVar("_Word", bound=Hashable)

_MARGIN = 24  # half nats by which another code page must read a word better
_CHARACTER_MARGIN = 9.0  # half nats by which another multi-byte code must read some characters better
_HIGH = re.compile(rb"[\x80-\xff]+")
_RUN = re.compile(r"([a-z]?)([^\x00-\x7f]+)(?=([a-z]?))")
_MAX_LENGTH = 60  # bytes of a word, or characters of a run, that are looked at
_THREE_CHARACTERS = 3
_NO_CHARACTERS = frozenset({"Cn", "Co"})  # categories of what no text has
_MAX_SEEN = 1 << 16  # words that are not looked at twice


class StrayWord(NamedTuple):
    """A word that another encoding seems to have written."""

    line: int  # its number
    encoding: str  # the other one; "" where none is known


def stray_word(lines: Iterable[tuple[int, bytes]], encoding: str) -> StrayWord | None:
    """Find the first word that makes no sense in the encoding of a text, and does in another one.

    Args:
        lines: The lines that are not ASCII, each with its number.
        encoding: A code page that :func:`bulkid.sheet.legacy_encoding.detect` has found.
    """
    writers = _writers_in_code if encoding in MULTI_BYTE else _writers_in_code_page
    seen: set[Hashable] = set()
    for number, line in lines:
        for other in writers(line, encoding, seen):
            return StrayWord(number, other)
    return None


def _writers_in_code_page(line: bytes, encoding: str, seen: set[Hashable]) -> Iterator[str]:
    for word in _new(WORD.findall(line), seen):
        if (other := _writer_of_word(word, encoding)) is not None:
            yield other


def _writers_in_code(line: bytes, encoding: str, seen: set[Hashable]) -> Iterator[str]:
    for before, run, after in _new(_RUN.findall(line.decode(encoding, "replace")), seen):
        if (other := _writer_of_run(before, run, after, encoding)) is not None:
            yield other


def _new(words: Iterable[_Word], seen: set[Hashable]) -> Iterator[_Word]:
    """Yield the words that were not looked at before."""
    for word in words:
        if word not in seen:
            if len(seen) < _MAX_SEEN:
                seen.add(word)
            yield word


def _writer_of_word(word: bytes, encoding: str) -> str | None:
    """Name the encoding that seems to have written a word of a sheet in a code page; None: the code page itself."""
    word = word[:_MAX_LENGTH]
    cost = _fit(word, encoding)
    if (unicode := _decode(word, "utf-8")) is not None:
        several = any(len(run) >= TWO_CHARACTERS for run in _HIGH.findall(word))
        if several or fit(unicode).whole + _MARGIN <= cost.whole:
            return "utf-8"
    if cost.sensible:
        return None
    others = {other: _fit(word, other).whole for other in SINGLE_BYTE if _decode(word, other) is not None}
    likeliest = min(others, key=others.__getitem__)
    if others[likeliest] + _MARGIN <= cost.whole:
        return likeliest
    return "" if cost.strange and not cost.letters_alone else None


def _writer_of_run(before: str, run: str, after: str, encoding: str) -> str | None:
    """Name the encoding that seems to have written characters of a sheet in a multi-byte code.

    The name is "" where it is another code that cannot be named; None where it is the multi-byte code itself.

    Args:
        before: The small Latin letter before the characters; "" where there is none.
        run: Characters that are not ASCII.
        after: The small Latin letter behind them.
        encoding: The multi-byte code.
    """
    run = run[:_MAX_LENGTH]
    raw, weight = run.encode(encoding, "replace"), weight_of(run, encoding)
    unicode = _decode(raw, "utf-8")
    if unicode is not None and (_is_east_asian(unicode) or (weight < 0 and len(unicode) >= _THREE_CHARACTERS)):
        return "utf-8"
    for other in MULTI_BYTE:
        if (text := _decode(raw, other)) is not None and other != encoding:
            theirs = weight_of(text, other)
            if theirs > 0 and theirs >= weight + _CHARACTER_MARGIN:
                return other
    beside_latin = (before and after) or (weight < 0 and (before or after))
    if beside_latin or any(unicodedata.category(character) in _NO_CHARACTERS for character in run):
        return ""
    return None


def _is_east_asian(text: str) -> bool:
    """Whether a text has several characters, each of three bytes of UTF-8 or more."""
    return len(text) > 1 and min(text) > LAST_OF_TWO_BYTES


def _decode(word: bytes, encoding: str) -> str | None:
    try:
        return word.decode(encoding)
    except UnicodeDecodeError:
        return None


def _fit(word: bytes, encoding: str) -> Fit:
    return fit(unicodedata.normalize("NFC", word.decode(encoding)))
