"""Bytes to text: which encoding, which delimiter, and where the first record starts. Streams, never a whole file.

Every byte is decoded once before the first row is read, so that a byte that cannot be decoded is an error, with its
place, before anything is done.
"""

import codecs
import csv
import io
import locale
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import BinaryIO, NamedTuple

from bulkid.errors import SheetError
from bulkid.sheet.headers import SheetOptions, empty_sheet, is_type_line, known_headers
from bulkid.text import DELIMITER_NAMES

_BLOCK = 1 << 20  # bytes read at a time
MAX_LINE = 16 << 20
"""Bytes of the longest line of a text."""

_MAX_EVEN_FIELDS = 1_000  # cells of a record; for so many, pandas takes longer for the columns than for the cells
_HEAD_BYTES = 1 << 16  # enough to tell UTF-16 from what is no text
_SAMPLE_CHARACTERS = 1 << 16
_SAMPLE_RECORDS = 30  # records looked at to tell a delimiter
_DELIMITERS = (",", ";", "\t", "|")  # on equal terms the first wins
_NO_FILES = frozenset({"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"})  # Python's, of no file
_NOT_ASCII_CELL = re.compile(r"""[^,;|\s"][^,;|\t\r\n"]*[^\x00-\x7f,;|\s"][^,;|\t\r\n"]*|[^\x00-\x7f]+""")
_EXAMPLE_CHARACTERS = 40
_SHOWN_LINES = 3  # of a text whose encoding is not certain
_ISO_2022 = re.compile(rb"\x1b[$(]")
_LINE_END = re.compile("[\r\n]")
_PADDING = ",;|\t "  # at the end of a line whose other cells are blank
_NUL_SHARE = 0.2  # of the even or the odd bytes: text without a byte order mark is taken for UTF-16 from here on


class UncertainEncodingError(SheetError):
    """The encoding of a text is not certain.

    Args:
        source: The sheet's name for messages.
        readings: For each encoding that the text may have, the likeliest first: some lines as it reads them, each with
            its number.
    """

    def __init__(self, source: str, readings: Mapping[str, tuple[tuple[int, str], ...]]) -> None:
        shown = "".join(
            f"\n  {encoding}: " + "; ".join(f"line {number}: {text}" for number, text in lines)
            for encoding, lines in readings.items()
        )
        first = next((encoding for encoding in readings if encoding != "utf-8"), "cp1252")
        super().__init__(
            f"The encoding of {source} is not certain. It may read:{shown}",
            hint=f"Give the right encoding, such as --encoding {first}, or save the sheet as CSV UTF-8.",
        )
        self.source = source
        self.readings = readings


class TextForm(NamedTuple):
    """How to read the bytes of a sheet."""

    encoding: str  # a codec of Python's that drops a byte order mark by itself
    delimiter: str  # one ASCII character
    sep_line: bool  # the first line is Excel's ``sep=;``: no record, and no row, since Excel does not show it
    fields: int  # the largest number of cells in one of the first records
    is_even: bool  # whether the records may have nearly so many, and these are not very many: then pandas reads them
    notes: tuple[str, ...]  # sentences for the user


def examine(stream: BinaryIO, source: str, options: SheetOptions, *, tabs: bool) -> TextForm:
    """Find out how to read a text, a seekable stream; ``tabs``: its name says that tabs delimit (``.tsv``).

    Raises:
        SheetError: The text is empty or undecodable, or an option does not fit.
    """
    _bound_lines(stream, source)
    encoding, notes = _encoding(stream, source, options)
    if (offset := _first_undecodable(stream, encoding)) is not None:
        says = f"The text is not {encoding.removesuffix('-sig')}" + (
            ", as --encoding says" if options.encoding is not None else ""
        )
        raise _undecodable(stream, source, offset, says)
    sample = _sample(stream, encoding)
    if not sample.strip("\ufeff \t\r\n\0"):
        raise _blank_sample(source, sample)
    first, *_ = _LINE_END.split(sample, maxsplit=1)
    separator = _sep_line(first)
    body = sample[len(first) + 1 :] if separator or is_type_line(first.rstrip(_PADDING)) else sample
    delimiter = _given_delimiter(options) or separator or ("\t" if tabs else _detect_delimiter(body, options))
    records = _records(body, delimiter)
    fields = max(map(len, records), default=1)
    return TextForm(encoding, delimiter, bool(separator), fields, _is_even(stream, fields), notes)


def _bound_lines(stream: BinaryIO, source: str) -> None:
    """Refuse a line that is too long to be one of a sheet, before the tokeniser takes it into memory several times."""
    if stream.seek(0, io.SEEK_END) <= MAX_LINE:
        return
    line, length = 1, 0
    for block in _blocks(stream):
        ends = [at for at in (block.find(b"\n"), block.find(b"\r")) if at >= 0]
        if length + min(ends, default=len(block)) > MAX_LINE:
            raise SheetError(
                f"{source}: line {line:,} is longer than {MAX_LINE >> 20} MB.",
                hint="No sheet has such a line: check that the file is the right one, and is CSV.",
            )
        if ends:
            line += max(block.count(b"\n"), block.count(b"\r"))
            length = len(block) - 1 - max(block.rfind(b"\n"), block.rfind(b"\r"))
        else:
            length += len(block)


def _is_even(stream: BinaryIO, fields: int) -> bool:
    """Whether the records may have half of so many cells on average: each takes a byte, its delimiter or line end."""
    if fields > _MAX_EVEN_FIELDS:
        return False
    lines = sum(max(block.count(b"\n"), block.count(b"\r")) for block in _blocks(stream))
    return lines * fields <= 2 * stream.seek(0, io.SEEK_END)


def open_text(stream: BinaryIO, form: TextForm) -> io.TextIOWrapper:
    """Return the text from its first record on. Line ends stay as they are. The caller detaches or closes it."""
    stream.seek(0)
    text = io.TextIOWrapper(stream, encoding=form.encoding, newline="")
    if form.sep_line:
        text.readline()
    return text


# --- encodings


def system_code_page(platform: str = sys.platform) -> str:
    """Name the code page in which this system's programs write text (Windows), ``""`` where they write UTF-8."""
    if platform != "win32":
        return ""
    name = codecs.lookup(locale.getencoding()).name
    return "" if name == "utf-8" else name


def _encoding(stream: BinaryIO, source: str, options: SheetOptions) -> tuple[str, tuple[str, ...]]:
    """Find the encoding of a text: as given, by its byte order mark, UTF-16, UTF-8, or a code page; and notes about it.

    Raises:
        SheetError: It is not text, or no encoding is certain.
    """
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    marked = _byte_order_mark(head)
    if options.encoding is not None:
        return _as_given(stream, source, _given_encoding(options.encoding), marked)
    if marked:
        return marked, ()
    unmarked = _utf16_without_mark(head)
    if unmarked:
        return unmarked, (f"{source} is read as {unmarked} (detected).",)
    if b"\0" in head:
        raise SheetError(
            f"{source} is not a text file.", hint="Save the sheet as .xlsx or as CSV UTF-8, and name it accordingly."
        )
    offset = _first_undecodable(stream, "utf-8")
    if offset is None:
        _require_unicode(stream, source)
        return "utf-8-sig", ()
    if _first_undecodable(stream, "utf-8", errors="surrogatepass") is None:  # halves of characters
        raise _undecodable(stream, source, offset, "The text is not valid UTF-8")
    return _legacy_encoding(stream, source, options.system_encoding or "")


def _as_given(stream: BinaryIO, source: str, encoding: str, marked: str) -> tuple[str, tuple[str, ...]]:
    """Take the encoding that the user gives, unless the text itself says another one."""
    if encoding.startswith("utf"):
        return encoding, ()
    if marked:
        raise SheetError(
            f"{source} begins with the byte order mark of {marked.removesuffix('-sig').upper()}, and --encoding says "
            f"{encoding}.",
            hint="Leave out --encoding.",
        )
    is_ascii = all(block.isascii() for block in _blocks(stream))
    if not is_ascii and _first_undecodable(stream, "utf-8") is None:
        note = f"{source} is read as {encoding}, as --encoding says, and is valid UTF-8 too. "
        return encoding, (note + "If letters are wrong, leave out --encoding.",)
    return encoding, ()


def _require_unicode(stream: BinaryIO, source: str) -> None:
    """Refuse the few texts that are valid UTF-8 by accident: ISO-2022, or one that makes more sense in another code."""
    ascii_alone = True
    for block in _blocks(stream):
        ascii_alone = ascii_alone and block.isascii()
        if b"\x1b" in block and _ISO_2022.search(block):
            raise SheetError(
                f"{source} holds the escape sequences of an ISO-2022 encoding.",
                hint="Give --encoding iso2022_jp (Japanese) or iso2022_kr (Korean), or save the sheet as CSV UTF-8.",
            )
    if ascii_alone:
        return
    from bulkid.sheet import legacy_encoding  # takes 10 ms to import

    if legacy_encoding.may_be_legacy(stream):
        raise _uncertain(stream, source, ("utf-8", *legacy_encoding.detect(stream).candidates))


def _legacy_encoding(stream: BinaryIO, source: str, system: str) -> tuple[str, tuple[str, ...]]:
    """Detect the encoding of a text that is not Unicode; a note shows a cell by which the user can check it.

    Raises:
        UncertainEncodingError: No encoding is certain.
    """
    from bulkid.sheet import legacy_encoding, mixed_encoding  # the statistics of letters, which only such sheets need

    verdict = legacy_encoding.detect(stream, system)
    if not verdict.encoding:
        raise _uncertain(stream, source, verdict.candidates)
    stray = mixed_encoding.stray_word(_lines_beyond_ascii(stream), verdict.encoding)
    if stray is not None:
        candidates = dict.fromkeys((verdict.encoding, stray.encoding, *verdict.candidates))
        raise _uncertain(stream, source, tuple(filter(None, candidates)), stray.line)
    lines = (line.decode(verdict.encoding, "replace") for _, line in _lines_beyond_ascii(stream))
    found = next(filter(None, map(_NOT_ASCII_CELL.search, lines)), None)
    example = f' (such as "{_excerpt(found.group().strip())}")' if found else ""
    note = (
        f"{source} is not UTF-8; it is read as {verdict.encoding}{example}. "
        "If letters are wrong, give --encoding, or save the sheet as CSV UTF-8."
    )
    return verdict.encoding, (note,)


def _uncertain(
    stream: BinaryIO, source: str, candidates: tuple[str, ...], from_line: int = 1
) -> UncertainEncodingError:
    readings: dict[str, list[tuple[int, str]]] = {candidate: [] for candidate in candidates}
    shown: set[str] = set()
    for number, line in _lines_beyond_ascii(stream):
        if number < from_line:
            continue
        texts = [line.decode(candidate, "replace").rstrip("\r\n") for candidate in candidates]
        if texts[0] in shown or (len(candidates) > 1 and texts.count(texts[0]) == len(texts)):
            continue
        shown.add(texts[0])
        for candidate, text in zip(candidates, texts, strict=True):
            readings[candidate].append((number, _excerpt(text)))
        if len(shown) == _SHOWN_LINES:
            break
    return UncertainEncodingError(source, {candidate: tuple(lines) for candidate, lines in readings.items()})


def _lines_beyond_ascii(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not ASCII, each with its number; a long line comes in pieces."""
    stream.seek(0)
    number = 1
    for piece in iter(partial(stream.readline, _HEAD_BYTES), b""):
        for line in piece.splitlines(keepends=True):  # a carriage return alone ends a line too
            if not line.isascii():
                yield number, line
            number += line.endswith((b"\n", b"\r"))


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    stream.seek(0)
    yield from iter(partial(stream.read, _BLOCK), b"")


def _excerpt(text: str) -> str:
    """Cut a line to what a terminal shows, around its first character that is not ASCII, and escape what it obeys."""
    first = next((at for at, character in enumerate(text) if not character.isascii()), 0)
    start = max(0, first - _EXAMPLE_CHARACTERS // 2)
    cut = text[start : start + _EXAMPLE_CHARACTERS]
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


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


def _first_undecodable(stream: BinaryIO, encoding: str, errors: str = "strict") -> int | None:
    """Decode all of the stream; return the offset of the first byte that cannot be decoded, None when there is none."""
    decoder = codecs.getincrementaldecoder(encoding)(errors)
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


def _undecodable(stream: BinaryIO, source: str, offset: int, says: str) -> SheetError:
    stream.seek(0)
    line_feeds = returns = 0  # one of them ends a line, or both together
    left = offset
    while left > 0 and (block := stream.read(min(left, _BLOCK))):
        line_feeds += block.count(b"\n")
        returns += block.count(b"\r")
        left -= len(block)
    line = max(line_feeds, returns) + 1
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


def _blank_sample(source: str, sample: str) -> SheetError:
    if len(sample) < _SAMPLE_CHARACTERS - 1:  # a byte order mark is left out of it
        return empty_sheet(source)
    return SheetError(
        f"{source} begins with more than {len(sample):,} blank characters.",
        hint="Remove the blank lines above the headers, or check that the file is the right one.",
    )


def _sep_line(line: str) -> str:
    """Return the delimiter that Excel's ``sep=;`` names, ``""`` when the line is an ordinary one."""
    text = line.strip('"')
    return text[4] if text[:4].lower() == "sep=" and len(text) == len("sep=;") and text[4] not in '"\r\n' else ""


def _given_delimiter(options: SheetOptions) -> str:
    if options.delimiter is None:
        return ""
    delimiter = DELIMITER_NAMES.get(options.delimiter.lower(), options.delimiter)
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        raise SheetError(
            f'"{options.delimiter}" cannot be a delimiter.',
            hint="Give one ASCII character, or tab, comma, semicolon or pipe.",
        )
    return delimiter


def _detect_delimiter(sample: str, options: SheetOptions) -> str:
    """Take the delimiter under which most headers mean something; failing that, the one with the steadiest columns."""

    def score(delimiter: str) -> tuple[int, int, int]:
        header, *others = _records(sample, delimiter) or [[]]
        steady = sum(len(record) == len(header) for record in others) if len(header) > 1 else 0
        return known_headers(header, options), steady, len(header)

    return max(_DELIMITERS, key=score)


def _records(sample: str, delimiter: str) -> list[list[str]]:
    """Split the first records that are not blank; quotes are respected, and nothing is refused."""
    records: list[list[str]] = []
    with suppress(csv.Error):  # a cell longer than the module's limit, or a delimiter that it cannot take
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        records.extend(islice((record for record in reader if any(map(str.strip, record))), _SAMPLE_RECORDS))
    return records
