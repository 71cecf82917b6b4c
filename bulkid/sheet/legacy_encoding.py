"""The code page of a text that is neither UTF-8 nor UTF-16, where it is certain.

A code page is certain only when its reading makes sense as a whole, no other code page's reading that differs makes
sense, and the difference between the two is overwhelming. Everything else is refused, since a wrong letter would change
a name on the server.
"""

import codecs
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from itertools import islice, repeat
from typing import BinaryIO

# --- how well a text reads as the words of a language, by the letters that follow each other
#
# A cost is a negative logarithm of a probability, in half nats: the higher, the less likely. ``letters.json`` says for
# each language written with Latin letters how rare each letter is behind each other one, and lists the most frequent
# characters of Chinese, Japanese and Korean. ``sample_data/make_letters.py`` makes it.


EDGE = "^"
"""Stands before the first and behind the last letter of a word."""

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
_CATALAN = re.compile("l·l", re.IGNORECASE)
_TRAILING_SIGNS = frozenset("…°®©™ºª²³€")  # never before a letter
_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "HEBREW", "ARABIC")
_UNCASED = frozenset("ßĸŉªº")  # small letters that stand among capitals

Costs = Mapping[str, Mapping[str, int]]
"""For each letter: the cost of each letter that follows."""


@cache
def _statistics() -> tuple[tuple[Costs, ...], Mapping[str, frozenset[str]]]:
    """Load the costs of each language, and the most frequent characters of ``zh``, ``ja`` and ``ko``."""
    import orjson

    loaded = orjson.loads(resources.files("bulkid.sheet").joinpath("letters.json").read_bytes())
    costs = tuple(
        {
            letter: {right: int(digit, 36) for right, digit in zip(digits[::2], digits[1::2], strict=True)}
            for letter, digits in found.items()
        }
        for found in loaded["letters"].values()
    )
    return costs, {language: frozenset(text) for language, text in loaded["common"].items()}


@lru_cache(maxsize=1 << 14)  # most calls are for a letter
def lowered(word: str) -> str:
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
    """How unlikely a word is, in half nats, under the language that suits it best."""

    whole: int
    special: int  # its characters that are not ASCII, given the letters beside them
    count: int  # of characters that are not ASCII
    latin: bool  # it has letters of no other script than Latin
    letters_alone: bool  # it has no signs

    @property
    def strange(self) -> bool:
        """Whether its characters that are not ASCII make no sense where they are."""
        return self.special > _STRANGE * self.count

    @property
    def sensible(self) -> bool:
        """Whether they make good sense."""
        return self.special <= (_SENSIBLE if self.latin else _SENSIBLE_OTHER) * self.count


@lru_cache(maxsize=1 << 14)  # one word has the same reading in many code pages
def fit(word: str) -> Fit:
    """Say how well a word (letters of any script, and signs that are not ASCII) fits the languages."""
    scripts = [script_of(character) for character in word]
    count = sum(not character.isascii() for character in word)
    cost = _CASE_BREAK * sum(_breaks_case(word, at) for at in range(len(word))) + _cost_beyond_latin(word, scripts)
    whole, special = _latin_cost(_latin_pairs(word, scripts))
    latin_alone = not set(scripts) - {"LATIN", ""}
    return Fit(cost + whole, cost + special, count, latin=latin_alone, letters_alone=all(scripts))


def _latin_pairs(word: str, scripts: Sequence[str]) -> list[tuple[str, str, bool]]:
    """The Latin letters of a word in pairs of neighbours, the edges of each part among them; True: not both ASCII."""
    pairs: list[tuple[str, str, bool]] = []
    left = EDGE
    for character, script in zip(word, scripts, strict=True):
        if script == "LATIN":
            letter = lowered(character)
            pairs.append((left, letter, not (left.isascii() and letter.isascii())))
            left = letter
        elif left != EDGE:
            pairs.append((left, EDGE, not left.isascii()))
            left = EDGE
    if left != EDGE:
        pairs.append((left, EDGE, not left.isascii()))
    return pairs


def _cost_beyond_latin(word: str, scripts: Sequence[str]) -> int:
    """The costs of the signs of a word and of its letters of other scripts; ``scripts`` has "" for a sign."""
    cost = 0
    for at, (character, script) in enumerate(zip(word, scripts, strict=True)):
        if script == "LATIN" or (not script and at and _CATALAN.match(word, at - 1)):
            continue
        before, after = scripts[at - 1] if at else "", scripts[at + 1] if at + 1 < len(word) else ""
        if script:
            cost += _MIXED_SCRIPTS if script == "OTHER" or {before, after} - {script, ""} else _OTHER_SCRIPT
        else:
            inside = any(scripts[:at]) and any(scripts[at + 1 :])
            cost += _sign_cost(character, inside=inside, leads=bool(after) and not before, alone=len(word) == 1)
    return cost


def _latin_cost(pairs: list[tuple[str, str, bool]]) -> tuple[int, int]:
    if not pairs:
        return 0, 0
    costs = [_pair_costs(left, right) for left, right, _ in pairs]
    special = [each for each, (_, _, counts) in zip(costs, pairs, strict=True) if counts]
    whole_by_language = map(sum, zip(*costs, strict=True))
    special_by_language = map(sum, zip(*special, strict=True)) if special else repeat(0)
    worst = (len(pairs) * _UNKNOWN_LETTER + 1, 0)
    return min(worst, *zip(whole_by_language, special_by_language, strict=False))


@lru_cache(maxsize=1 << 14)  # a sheet has few pairs of letters, in all code pages together
def _pair_costs(left: str, right: str) -> tuple[int, ...]:
    """Return what a letter behind another one costs in each language."""
    return tuple(
        _UNKNOWN_LETTER if right not in letters or left not in letters else letters[left].get(right, _UNSEEN)
        for letters in _statistics()[0]
    )


def _breaks_case(word: str, at: int) -> bool:
    """Whether a capital stands behind a small letter, or a small one behind two capitals, one of them not ASCII."""
    if not at or word[max(0, at - 2) : at + 1].isascii() or word[at - 1] in _UNCASED or word[at] in _UNCASED:
        return False
    if word[at].isupper():
        return word[at - 1].islower()
    return at > 1 and word[at].islower() and word[at - 1].isupper() and word[at - 2].isupper()


def _sign_cost(sign: str, *, inside: bool, leads: bool, alone: bool) -> int:
    if unicodedata.category(sign) in {"Cc", "Cn", "Co"}:
        return _CONTROL
    if sign not in _PLAIN_SIGNS or (leads and sign in _TRAILING_SIGNS):
        return _RARE_SIGN
    if inside:
        return _JOINING_SIGN if sign in _JOINING_SIGNS else _SIGN_INSIDE
    return _SIGN_ALONE if alone else _SIGN_AT_EDGE


_WESTERN = "cp1252"  # what Excel writes as "CSV" on a western Windows
_UNIX_JAPANESE = "euc_jp"  # known, but never certain: Windows does not write it
SINGLE_BYTE = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("mac_roman", "mac_latin2", "mac_croatian", "mac_romanian", "mac_turkish", "mac_iceland", "mac_cyrillic"),
    *("mac_greek", "cp437", "cp850", "cp852", "cp855", "cp857", "cp861", "cp862", "cp863", "cp865", "cp866", "cp737"),
    *("cp775", "cp874", "iso8859-1", "iso8859-2", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-7", "iso8859-9"),
    *("iso8859-10", "iso8859-13", "iso8859-14", "iso8859-15", "iso8859-16", "koi8-r", "koi8-u"),
)

_BLOCK = 1 << 20  # bytes
WORD = re.compile(rb"[A-Za-z\x80-\xff]*[\x80-\xff][A-Za-z\x80-\xff]*")
_WORD_PART = re.compile(rb"[A-Za-z\x80-\xff]+\Z")
_MAX_WORD_BYTES = 60  # bytes of a word that are looked at
_ALIKE = 4  # words kept for one byte between the same neighbours: more of them say the same again
_MAX_WORDS = 800  # kept; beyond it only words with a byte that hardly any has
_TEXT_WORD = re.compile(r"[A-Za-z]*[^\x00-\x7f][A-Za-z\u0080-\U0010ffff]*")

_DECISIVE_SCORE = 16  # half nats
_USUAL = frozenset(
    {*(f"cp{number}" for number in range(1250, 1259)), "mac_roman", "iso8859-1", "iso8859-2", "iso8859-9", "iso8859-15"}
)
_DOS = re.compile(r"cp\d{3}")
_MIN_LEAD = 60  # half nats; a reading so much less likely than the best is not offered
_MAX_CANDIDATES = 6
_FEW_CHARACTERS = 24  # beyond ASCII; more different ones are not valid UTF-8 by accident
TWO_CHARACTERS = 4  # bytes
LAST_OF_TWO_BYTES = "\u07ff"  # of UTF-8
_NEVER_WITH_LATIN = re.compile(  # Armenian to NKo, phonetic letters
    r"[A-Za-z][\u0530-\u07ff\u1d00-\u1dbf]|[\u0530-\u07ff\u1d00-\u1dbf][A-Za-z]"
)
_NATURAL = 14  # half nats for a character that is not ASCII; no more is where it often stands
_CLIP = 24  # half nats that one word can say at most: no single word decides a whole sheet
_IMPLAUSIBLE = -6.0  # half nats
_CLEAN_SHARE = 0.8
_SENSIBLE_SHARE = 0.5  # of the characters that are not ASCII
_STRANGE_SHARE = 0.1  # of the words that may make no sense


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which encoding a text has."""

    encoding: str  # "" when none is certain
    candidates: tuple[str, ...]  # the likeliest first, each reading the text otherwise than those before


@dataclass(slots=True)
class Sample:
    """The parts of a text by which code pages differ."""

    high: set[int] = field(default_factory=set)  # every byte from 0x80 on that occurs
    words: dict[bytes, None] = field(default_factory=dict)  # those with such a byte; few with the same neighbours
    _alike: Counter[bytes] = field(default_factory=Counter)
    _bytes: Counter[int] = field(default_factory=Counter)

    def add(self, word: bytes) -> None:
        """Take in a word, where it tells something new."""
        high = [byte for byte in word if byte >= 0x80]  # noqa: PLR2004 - the end of ASCII
        self.high.update(high)
        word = word[:_MAX_WORD_BYTES]
        if word in self.words:
            return
        framed = b"^" + word + b"^"
        around = [framed[at - 1 : at + 2] for at in range(1, len(framed) - 1) if framed[at] >= 0x80]  # noqa: PLR2004
        new = any(self._alike[each] < _ALIKE for each in around)
        if any(self._bytes[byte] < _ALIKE for byte in high) or (new and len(self.words) < _MAX_WORDS):
            self._alike.update(around)
            self._bytes.update(high)
            self.words[word] = None


def detect(stream: BinaryIO, ansi: str = "") -> Verdict:
    """Find out which code page wrote a text, a seekable stream that is not UTF-8.

    ``ansi`` is the code page that this system's programs write, where there is one (on Windows).
    """
    multi = {encoding: found for encoding in _WEIGHTS if (found := _multi_byte_evidence(stream, encoding)) is not None}
    single = _single_byte_readings(_sample(stream))
    certain = _certain_multi_byte(multi, single) or _certain_single_byte(single, multi, ansi)
    return Verdict(certain, _candidates(multi, single))


# --- single bytes


def _sample(stream: BinaryIO) -> Sample:
    sample = Sample()
    stream.seek(0)
    rest = b""
    while block := stream.read(_BLOCK):
        text = rest + block
        cut = _WORD_PART.search(text, max(0, len(text) - _MAX_WORD_BYTES))
        rest = text[cut.start() :] if cut else b""
        for word in WORD.findall(text, 0, len(text) - len(rest)):
            sample.add(word)
    for word in WORD.findall(rest):
        sample.add(word)
    return sample


@dataclass(frozen=True, slots=True)
class _Reading:
    texts: tuple[str, ...]
    fits: tuple[Fit, ...]

    @property
    def sensible(self) -> bool:
        """Whether enough words make good sense to doubt a reading of another kind."""
        sensible = sum(fit.count for fit in self.fits if fit.sensible)
        return sensible >= sum(fit.count for fit in self.fits) * _SENSIBLE_SHARE

    @property
    def plausible(self) -> bool:
        """Whether nearly all words make sense."""
        return sum(fit.strange for fit in self.fits) <= len(self.fits) * _STRANGE_SHARE


def _single_byte_readings(sample: Sample) -> dict[str, _Reading]:
    found: dict[str, _Reading] = {}
    high = bytes(sorted(sample.high))
    for encoding in SINGLE_BYTE:
        try:
            high.decode(encoding)
        except UnicodeDecodeError:
            continue
        texts = tuple(unicodedata.normalize("NFC", word.decode(encoding)) for word in sample.words)
        found[encoding] = _Reading(texts, tuple(map(fit, texts)))
    return found


def _is_less_likely(best: _Reading, other: _Reading, name: str) -> bool:
    """Whether a reading is overwhelmingly likelier than another, both in total and for a word on the average.

    Words that read alike do not count. The average guards against a language whose frequent endings look, letter for
    letter, somewhat likelier in another code page: many such words prove nothing.
    """
    differing = [
        (ours, theirs)
        for ours, theirs, text, other_text in zip(best.fits, other.fits, best.texts, other.texts, strict=True)
        if text != other_text
    ]
    if not differing:
        return True
    others = [theirs for _, theirs in differing]
    natural = all(each.latin for each in others) and sum(each.special for each in others) <= _NATURAL * sum(
        each.count for each in others
    )
    total, average = _required(name, natural=natural)
    advantage = sum(max(-_CLIP, min(_CLIP, theirs.whole - ours.whole)) for ours, theirs in differing)
    return advantage >= total and advantage >= average * len(differing)


def _required(name: str, *, natural: bool) -> tuple[int, int]:
    """Say how much likelier a reading must be than that of a code page, in half nats: in total, and for a word."""
    if natural:  # its letters are where they often are
        return 2 * _DECISIVE_SCORE, 12
    if name in _USUAL:
        return _DECISIVE_SCORE, 8
    # Hardly any program writes the others today.
    return (10, 10) if _DOS.fullmatch(name) else (10, 5)


def _certain_single_byte(single: Mapping[str, _Reading], multi: Mapping[str, "_Evidence"], ansi: str) -> str:
    for encoding in dict.fromkeys((_WESTERN, ansi)):
        reading = single.get(encoding)
        if reading is None or not reading.plausible:
            continue
        if any(evidence.plausible for evidence in multi.values()):
            continue
        if all(_is_less_likely(reading, other, name) for name, other in single.items()):
            return encoding
    return ""


# --- several bytes


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The evidence for a multi-byte code."""

    score: float  # half nats: how much likelier its characters are than in a text of another code that is valid in it
    clean: float  # share of the words that mix its characters with no Latin letters

    @property
    def plausible(self) -> bool:
        return self.score > _IMPLAUSIBLE and self.clean > 0.5  # noqa: PLR2004 - most words

    @property
    def certain(self) -> bool:
        return self.score >= _DECISIVE_SCORE and self.clean >= _CLEAN_SHARE


def _certain_multi_byte(multi: Mapping[str, _Evidence], single: Mapping[str, _Reading]) -> str:
    certain = [encoding for encoding, evidence in multi.items() if evidence.certain]
    plausible = [encoding for encoding, evidence in multi.items() if evidence.plausible]
    if len(certain) != 1 or plausible != certain or certain[0] == _UNIX_JAPANESE:
        return ""
    return "" if any(reading.sensible for reading in single.values()) else certain[0]


def _multi_byte_evidence(stream: BinaryIO, encoding: str) -> _Evidence | None:
    """Read a text in a multi-byte code; None where it is not valid."""
    decoder = codecs.getincrementaldecoder(encoding)()
    characters: set[str] = set()
    words: dict[str, None] = {}
    stream.seek(0)
    block = b"x"
    while block:
        block = stream.read(_BLOCK)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError:
            return None
        characters.update(text)
        if len(words) < _MAX_WORDS:
            words.update(dict.fromkeys(islice(_TEXT_WORD.findall(text), _MAX_WORDS)))
    score = weight_of(characters, encoding)
    clean = sum(1 for word in words if not any(map(str.isascii, word)))
    return _Evidence(score, clean / len(words) if words else 0.0)


def weight_of(characters: Iterable[str], encoding: str) -> float:
    """Sum the evidence of characters for a multi-byte code, in half nats."""
    return sum(_WEIGHTS[encoding](character) for character in characters if not character.isascii())


def _weight(hit: bool, likely: float, by_chance: float) -> float:
    return 2 * math.log(likely / by_chance if hit else (1 - likely) / (1 - by_chance))


def _japanese(character: str) -> float:
    if "\u3041" <= character <= "\u30fe":
        return _weight(hit=True, likely=0.4, by_chance=0.06)
    return _ideograph(character, "ja")


def _traditional(character: str) -> float:
    if not "\u4e00" <= character <= "\u9fff":
        return _foreign(character)
    code = character.encode("cp950")
    if not 0xA4 <= code[0] <= 0xC6:  # noqa: PLR2004 - the frequent characters of Big5
        return _weight(hit=False, likely=0.95, by_chance=0.6)
    # A third of the characters have a low second byte, which the other codes have for rare characters alone.
    return _weight(hit=code[1] < 0x80, likely=0.38, by_chance=0.06)  # noqa: PLR2004 - the end of ASCII


def _korean(character: str) -> float:
    if "\uac00" <= character <= "\ud7a3":
        return _weight(hit=character in _statistics()[1]["ko"], likely=0.9, by_chance=0.25)
    return _foreign(character)


def _ideograph(character: str, language: str) -> float:
    if "\u4e00" <= character <= "\u9fff":
        return _weight(hit=character in _statistics()[1][language], likely=0.85, by_chance=0.35)
    return _foreign(character)


def _foreign(character: str) -> float:
    """Weigh a character that is no letter of the language: a sign proves nothing, a letter is evidence against it."""
    return 0.0 if script_of(character) == "" else -3.0


_WEIGHTS: Mapping[str, Callable[[str], float]] = {
    "cp932": _japanese,
    "gb18030": lambda character: _ideograph(character, "zh"),
    "cp950": _traditional,
    "cp949": _korean,
    _UNIX_JAPANESE: _japanese,
}
MULTI_BYTE = tuple(_WEIGHTS)


# --- for a person


def _candidates(multi: Mapping[str, _Evidence], single: Mapping[str, _Reading]) -> tuple[str, ...]:
    """Order the encodings by how likely they are; of those that read every word alike only the first."""
    found = [encoding for encoding, evidence in multi.items() if evidence.plausible]
    totals = {encoding: sum(fit.whole for fit in reading.fits) for encoding, reading in single.items()}
    likeliest = min(totals.values(), default=0)
    seen: set[tuple[str, ...]] = set()
    for encoding in sorted(totals, key=totals.__getitem__):
        texts = single[encoding].texts
        if texts not in seen and (not seen or totals[encoding] <= likeliest + _MIN_LEAD):
            seen.add(texts)
            found.append(encoding)
    return tuple(found[:_MAX_CANDIDATES])


def may_be_legacy(stream: BinaryIO) -> bool:
    """Whether a text that is valid UTF-8, with few different characters, makes more sense in another encoding.

    Two bytes of GBK or EUC-KR can be one letter of UTF-8, for a few characters in a row, as in 茅台. The Dvořák of Mac
    Latin 2 has a letter of Thaana among Latin ones in UTF-8. A text with many different characters, or with one of more
    than two bytes, is certain.
    """
    characters: set[str] = set()
    for block in _decoded(stream, "utf-8"):
        characters.update(character for character in set(block) if not character.isascii())
        if len(characters) > _FEW_CHARACTERS:
            return False
    sample = _sample(stream)
    texts = [word.decode("utf-8", "replace") for word in sample.words]
    if sum(fit(text).sensible for text in texts) * 2 >= len(texts):
        return False
    if any(map(_NEVER_WITH_LATIN.search, texts)):
        return True
    if max(characters) > LAST_OF_TWO_BYTES:
        return False
    if max(map(len, sample.words)) < TWO_CHARACTERS and not all(map(_is_in_no_name, texts)):
        return False
    return any(found.plausible for encoding in _WEIGHTS if (found := _multi_byte_evidence(stream, encoding)))


def _decoded(stream: BinaryIO, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    stream.seek(0)
    while block := stream.read(_BLOCK):
        yield decoder.decode(block)


def _is_in_no_name(word: str) -> bool:
    """Whether a word is one letter that no language of the code pages has."""
    return len(word) == 1 and script_of(word) == "LATIN" and not any(lowered(word) in each for each in _statistics()[0])
