"""Bytes to text: which encoding, which delimiter, and where the first record starts. Streams, never a whole file.

Every byte is decoded once before the first row is read, so that a byte that cannot be decoded is found before
anything is done, and is told with its place.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from bulkid.errors import SheetError
from bulkid.sheet.headers import SheetOptions, known_headers

_BLOCK = 1 << 20  # bytes read at a time
_SAMPLE_BYTES = 1 << 16  # enough to tell an encoding by; charset-normalizer's cost grows with it
_SAMPLE_CHARACTERS = 1 << 16
_SAMPLE_RECORDS = 30  # records looked at to tell a delimiter
_DELIMITERS = (",", ";", "\t", "|")  # on equal terms the first wins
_DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "bar": "|"}
_LAST_RESORT = "cp1252"  # what Excel writes as "CSV" on a western Windows
_NO_FILES = frozenset({"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"})  # Python's, of no file
_NOT_ASCII_CELL = re.compile(r"""[^,;|\s"][^,;|\t\r\n"]*[^\x00-\x7f,;|\s"][^,;|\t\r\n"]*|[^\x00-\x7f]+""")
_EXAMPLE_CHARACTERS = 40
_NUL_SHARE = 0.2  # of the even or the odd bytes: text without a byte order mark is taken for UTF-16 from here on


@dataclass(frozen=True, slots=True)
class TextForm:
    """How the bytes of a sheet are to be read.

    Args:
        encoding: A codec of Python's that drops a byte order mark by itself.
        delimiter: One ASCII character.
        sep_line: The first line is Excel's ``sep=;``: it is no record. Excel does not show it, so it counts no row.
        fields: The largest number of cells seen in one of the first records.
        notes: Sentences for the user.
    """

    encoding: str
    delimiter: str
    sep_line: bool
    fields: int
    notes: tuple[str, ...]


def examine(stream: BinaryIO, source: str, options: SheetOptions, *, tabs: bool) -> TextForm:
    """Find out how to read a text; the stream is read to its end, and left anywhere.

    Args:
        stream: Seekable bytes.
        source: The sheet's name for messages.
        options: Encoding, delimiter and column map, as far as given.
        tabs: The name says that tabs delimit (``.tsv``).

    Raises:
        SheetError: The text is empty or undecodable, or an option does not fit.
    """
    encoding, notes = _encoding(stream, source, options)
    _verify(stream, source, encoding, given=options.encoding is not None)
    sample = _sample(stream, encoding)
    if not sample.strip("\ufeff \t\r\n\0"):
        raise SheetError(f"{source} is empty.", hint="The first row must hold the headers, such as name,groups_to_add.")
    first, _, _ = sample.partition("\n")
    separator = _sep_line(first)
    body = sample[len(first) + 1 :] if separator else sample
    delimiter = _given_delimiter(options) or separator or ("\t" if tabs else _detect_delimiter(body, options))
    records = _records(body, delimiter)
    return TextForm(encoding, delimiter, bool(separator), max(map(len, records), default=1), notes)


def open_text(stream: BinaryIO, form: TextForm) -> io.TextIOWrapper:
    """Return the text from its first record on. Line ends stay as they are. The caller detaches or closes it."""
    stream.seek(0)
    text = io.TextIOWrapper(stream, encoding=form.encoding, newline="")
    if form.sep_line:
        text.readline()
    return text


# --- encodings


def _encoding(stream: BinaryIO, source: str, options: SheetOptions) -> tuple[str, tuple[str, ...]]:
    if options.encoding is not None:
        return _given_encoding(options.encoding), ()
    stream.seek(0)
    head = stream.read(_SAMPLE_BYTES)
    marked = _byte_order_mark(head)
    if marked:
        return marked, ()
    unmarked = _utf16_without_mark(head)
    if unmarked:
        return unmarked, (f"{source} is read as {unmarked} (detected).",)
    if b"\0" in head:
        raise SheetError(
            f"{source} is not a text file.", hint="Save the sheet as .xlsx or as CSV UTF-8, and name it accordingly."
        )
    if _first_fault(stream, "utf-8") is None:
        return "utf-8-sig", ()
    detected = _detect_encoding(stream, source)
    note = (
        f"{source} is not UTF-8; it is read as {detected}, which is a guess{_example(stream, detected)}. "
        "If letters are wrong, give --encoding, or save the sheet as CSV UTF-8."
    )
    return detected, (note,)


def _given_encoding(name: str) -> str:
    unknown = SheetError(
        f'There is no encoding "{name}".', hint="Try utf-8, utf-16, cp1252 (western Windows) or shift_jis."
    )
    try:
        codec = codecs.lookup(name.strip())
        "a".encode(codec.name)  # refuses what is a codec, but not of text (hex, zip)
        codecs.getincrementaldecoder(codec.name)
    except (LookupError, ValueError, TypeError):
        raise unknown from None
    if codec.name.replace("-", "_") in _NO_FILES:
        raise unknown
    return "utf-8-sig" if codec.name == "utf-8" else codec.name


def _byte_order_mark(head: bytes) -> str:
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return ""


def _utf16_without_mark(head: bytes) -> str:
    """Tell UTF-16 by the NULs that latin letters, digits and delimiters have for every other byte."""
    half = len(head) // 2
    if half == 0:
        return ""
    even, odd = head[::2].count(0) / half, head[1::2].count(0) / half
    if odd >= _NUL_SHARE and even == 0:
        return "utf-16-le"
    if even >= _NUL_SHARE and odd == 0:
        return "utf-16-be"
    return ""


def _detect_encoding(stream: BinaryIO, source: str) -> str:
    import charset_normalizer  # a tenth of a second that only such sheets pay

    sample = _telling_lines(stream)
    matches = charset_normalizer.from_bytes(sample, enable_fallback=False)
    candidates = [match.encoding for match in matches]
    # Nearly every short text of a western language is also valid cp1250, mac_roman and a dozen more, and the detector
    # then picks one of them by a hair; the one that Windows writes comes first when it is as plausible as the best.
    best = matches.best()
    if best is not None and best.encoding != _LAST_RESORT:
        western = next((match for match in matches if _LAST_RESORT in match.could_be_from_charset), None)
        if western is not None and western.chaos <= best.chaos:
            candidates.insert(0, _LAST_RESORT)
    for candidate in dict.fromkeys([*candidates, _LAST_RESORT]):
        if _first_fault(stream, candidate) is None:
            return candidate
    raise _undecodable(stream, source, _LAST_RESORT, "No encoding was found that fits the text")


def _telling_lines(stream: BinaryIO) -> bytes:
    """Gather lines that are not ASCII: only they tell one encoding from another."""
    stream.seek(0)
    lines: list[bytes] = []
    size = 0
    while size < _SAMPLE_BYTES and (line := stream.readline(_SAMPLE_BYTES)):
        if not line.isascii():
            lines.append(line)
            size += len(line)
    return b"".join(lines)


def _example(stream: BinaryIO, encoding: str) -> str:
    """Show a cell by which a person sees at once whether the guess is right."""
    text = _telling_lines(stream).decode(encoding, "replace")
    found = _NOT_ASCII_CELL.search(text)
    return f' (such as "{found.group().strip()[:_EXAMPLE_CHARACTERS]}")' if found else ""


def _verify(stream: BinaryIO, source: str, encoding: str, *, given: bool) -> None:
    if _first_fault(stream, encoding) is not None:
        says = f"The text is not {encoding}" + (", as --encoding says" if given else "")
        raise _undecodable(stream, source, encoding, says)


def _first_fault(stream: BinaryIO, encoding: str) -> int | None:
    """Decode all of the stream; return the offset of the first byte that cannot be decoded, None when there is none."""
    decoder = codecs.getincrementaldecoder(encoding)()
    stream.seek(0)
    offset = 0
    while True:
        block = stream.read(_BLOCK)
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            return offset - pending + error.start
        except (UnicodeError, ValueError):  # codecs that say only that it failed
            return offset
        if not block:
            return None
        offset += len(block)


def _undecodable(stream: BinaryIO, source: str, encoding: str, says: str) -> SheetError:
    offset = _first_fault(stream, encoding) or 0
    stream.seek(0)
    line = 1
    left = offset
    while left > 0 and (block := stream.read(min(left, _BLOCK))):
        line += block.count(b"\n")
        left -= len(block)
    stream.seek(offset)
    value = stream.read(1)
    shown = f"byte 0x{value[0]:02X}" if value else "the end of the file"
    return SheetError(
        f"{source}: {says}: {shown} in line {line} (offset {offset}) cannot be decoded.",
        hint="Give the right --encoding, or save the sheet as CSV UTF-8.",
    )


# --- delimiters


def _sample(stream: BinaryIO, encoding: str) -> str:
    stream.seek(0)
    text = io.TextIOWrapper(stream, encoding=encoding, newline="")
    try:
        return text.read(_SAMPLE_CHARACTERS).lstrip("\ufeff")
    finally:
        text.detach()


def _sep_line(line: str) -> str:
    """Return the delimiter that Excel's ``sep=;`` names, ``""`` when the line is an ordinary one."""
    text = line.rstrip("\r").strip('"')
    return text[4] if text[:4].lower() == "sep=" and len(text) == len("sep=;") and text[4] not in '"\r\n' else ""


def _given_delimiter(options: SheetOptions) -> str:
    if options.delimiter is None:
        return ""
    delimiter = _DELIMITER_NAMES.get(options.delimiter.lower(), options.delimiter)
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        raise SheetError(
            f'"{options.delimiter}" cannot be a delimiter.',
            hint="Give one ASCII character, or tab, comma, semicolon or pipe.",
        )
    return delimiter


def _detect_delimiter(sample: str, options: SheetOptions) -> str:
    """Take the delimiter under which most headers mean something; failing that, the one with the steadiest columns."""
    return max(_DELIMITERS, key=lambda delimiter: _score(_records(sample, delimiter), options))


def _score(records: list[list[str]], options: SheetOptions) -> tuple[int, int, int]:
    if not records:
        return (0, 0, 0)
    header = records[0]
    steady = sum(1 for record in records if len(record) == len(header)) if len(header) > 1 else 0
    return (known_headers(header, options), steady, len(header))


def _records(sample: str, delimiter: str) -> list[list[str]]:
    """Split the first records that are not blank; quotes are respected, and nothing is refused."""
    return list(islice(_split_records(sample, delimiter), _SAMPLE_RECORDS))


def _split_records(sample: str, delimiter: str) -> Iterator[list[str]]:
    try:
        for record in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            if any(map(str.strip, record)):
                yield record
    except csv.Error:  # a cell longer than the module's limit, or a delimiter that it cannot take
        return
