"""How well words fit the languages that bulkid knows: the letter statistics of ``letters.json``.

A cost is a negative logarithm of a probability, in half nats: the higher, the less likely. ``letters.json`` says for
each language written with Latin letters how rare each letter is behind each other one, and lists the most frequent
characters of Chinese, Japanese and Korean. ``sample_data/make_letters.py`` makes it.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

EDGE = "^"
"""What stands before the first and behind the last letter of a word."""

_UNSEEN = 20  # a letter that never follows another
_UNKNOWN_LETTER = 30  # no word of the language has it; paid before and behind it
_OTHER_SCRIPT = 8  # a letter of a word that is wholly Cyrillic, Greek, Hebrew or Arabic: generous, all being as likely
_MIXED_SCRIPTS = 36  # such a letter beside a letter of another script
_CASE_BREAK = 18  # a capital behind a small letter, or a small letter behind two capitals
_SIGN_AT_EDGE = 26
_SIGN_ALONE = 8
_SIGN_INSIDE = 44
_JOINING_SIGN = 24
_RARE_SIGN = 44
_CONTROL = 50
_STRANGE = 30  # half nats per character; more is strange
_SENSIBLE = 24  # half nats per character; no more is good sense
_SENSIBLE_OTHER = 12  # the same for the other scripts
_PLAIN_SIGNS = frozenset("‘’“”„–—…«»\xa0£§°·•®©™ºª½¼²³±µ¿¡€")
_JOINING_SIGNS = frozenset("’·")
_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "HEBREW", "ARABIC")
_UNCASED = frozenset("ßĸŉªº")  # small letters that stand among capitals

Letters = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Statistics:
    """The letter statistics.

    Args:
        letters: For each language and letter: the cost of each letter that follows.
        common: For ``zh``, ``ja`` and ``ko``: the most frequent characters.
    """

    letters: Mapping[str, Letters]
    common: Mapping[str, frozenset[str]]


@cache
def statistics() -> Statistics:
    """Load the letter statistics, once."""
    import orjson

    loaded = orjson.loads(resources.files("bulkid.sheet").joinpath("letters.json").read_bytes())
    letters = {
        language: {
            letter: {right: int(digit, 36) for right, digit in zip(digits[::2], digits[1::2], strict=True)}
            for letter, digits in found.items()
        }
        for language, found in loaded["letters"].items()
    }
    return Statistics(letters, {language: frozenset(text) for language, text in loaded["common"].items()})


def fold(word: str) -> str:
    """Lower the case letter by letter; the Turkish dotted capital stays, since no single small letter stands for it."""
    return "".join(letter if letter == "\u0130" else letter.lower() for letter in word)


@cache
def script_of(character: str) -> str:
    """Name the script of a letter; ``""`` for a sign."""
    if not character.isalpha() or character in _PLAIN_SIGNS:
        return ""
    if character.isascii():
        return "LATIN"
    name = unicodedata.name(character, "")
    return next((script for script in _SCRIPTS if name.startswith(script)), "OTHER")


@dataclass(frozen=True, slots=True)
class Fit:
    """How unlikely a word is, in half nats.

    Args:
        whole: The whole word, under the language that suits it best.
        special: Its characters that are not ASCII, given the letters beside them, under the same language.
        count: How many characters are not ASCII.
        latin: Whether it has Latin letters alone.
    """

    whole: int
    special: int
    count: int
    latin: bool

    @property
    def strange(self) -> bool:
        """Whether its characters that are not ASCII make no sense where they stand."""
        return self.special > _STRANGE * self.count

    @property
    def sensible(self) -> bool:
        """Whether they make good sense."""
        return self.special <= (_SENSIBLE if self.latin else _SENSIBLE_OTHER) * self.count


@lru_cache(maxsize=1 << 14)  # one word has the same reading in many code pages
def fit(word: str) -> Fit:
    """Say how well a word fits the languages.

    Args:
        word: Letters of any script, and signs that are not ASCII.
    """
    scripts = [script_of(character) for character in word]
    latin: list[tuple[str, str, bool]] = []
    cost = count = 0
    left = EDGE
    for at, (character, script) in enumerate(zip(word, scripts, strict=True)):
        count += not character.isascii()
        before, after = scripts[at - 1] if at else "", scripts[at + 1] if at + 1 < len(word) else ""
        if _breaks_case(word, at):
            cost += _CASE_BREAK
        if script == "LATIN":
            letter = fold(character)
            latin.append((left, letter, not (left.isascii() and letter.isascii())))
            left = letter
            continue
        if left != EDGE:
            latin.append((left, EDGE, not left.isascii()))
            left = EDGE
        if not script:
            cost += _sign_cost(character, inside=bool(before and after), alone=len(word) == 1)
        else:
            cost += _MIXED_SCRIPTS if script == "OTHER" or {before, after} - {script, ""} else _OTHER_SCRIPT
    if left != EDGE:
        latin.append((left, EDGE, not left.isascii()))
    whole, special = _latin_cost(latin)
    return Fit(cost + whole, cost + special, count, latin=not set(scripts) - {"LATIN", ""})


def _latin_cost(pairs: list[tuple[str, str, bool]]) -> tuple[int, int]:
    if not pairs:
        return 0, 0
    best = (len(pairs) * _UNKNOWN_LETTER + 1, 0)
    for letters in statistics().letters.values():
        whole = special = 0
        for left, right, counts in pairs:
            if right not in letters or (after := letters.get(left)) is None:
                cost = _UNKNOWN_LETTER
            else:
                cost = after.get(right, _UNSEEN)
            whole += cost
            if counts:
                special += cost
        best = min(best, (whole, special))
    return best


def _breaks_case(word: str, at: int) -> bool:
    """Whether a capital stands behind a small letter, or a small one behind two capitals, one of them not ASCII."""
    if not at or word[max(0, at - 2) : at + 1].isascii() or word[at - 1] in _UNCASED or word[at] in _UNCASED:
        return False
    if word[at].isupper():
        return word[at - 1].islower()
    return at > 1 and word[at].islower() and word[at - 1].isupper() and word[at - 2].isupper()


def _sign_cost(sign: str, *, inside: bool, alone: bool) -> int:
    if unicodedata.category(sign) in {"Cc", "Cn", "Co"}:
        return _CONTROL
    if sign not in _PLAIN_SIGNS:
        return _RARE_SIGN
    if inside:
        return _JOINING_SIGN if sign in _JOINING_SIGNS else _SIGN_INSIDE
    return _SIGN_ALONE if alone else _SIGN_AT_EDGE
