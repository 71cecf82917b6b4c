"""The XML parts of a spreadsheet, read with expat: whole tags, no document types, nothing of unlimited length."""

import re
from collections.abc import Callable, Iterable, Iterator
from xml.parsers import expat

from bulkid.sheet.zip_archive import ScanError

_MAX_TAG = 16 << 20  # bytes of one tag, comment or text; expat reads an unfinished one again with every block
_ENCODINGS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_HEAD = 1 << 16  # bytes that the outermost element begins in
_DECLARATION = re.compile(rb"(?:\xef\xbb\xbf)?<\?xml [^<>?]*\?>")
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")


class Handler:
    """Follows a document; names keep their prefixes. A subclass overrides what it has use for."""

    def begin(self, position: Callable[[], int]) -> None:
        """Take a function that gives the number of the byte at which the current event begins."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Take the start of an element."""

    def end(self, name: str) -> None:
        """Take the end of an element."""

    def text(self, data: str) -> None:
        """Take characters, in one piece or in several."""

    def unusual(self, *_: object) -> None:
        """Take note of a comment, a CDATA section or a processing instruction."""


def local(name: str) -> str:
    """Drop the prefix of an element's name; most files have none, and this is asked for every element."""
    return name.rpartition(":")[2] if ":" in name else name


def parse(blocks: Iterable[bytes], handler: Handler) -> None:
    """Read a document to its end.

    Raises:
        ScanError: It declares a document type, is not UTF-8, or has a tag of absurd length.
        expat.ExpatError: It is not well-formed.
    """
    parser = _parser()
    handler.begin(lambda: parser.CurrentByteIndex)
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.CharacterDataHandler = handler.text
    parser.CommentHandler = handler.unusual
    parser.ProcessingInstructionHandler = handler.unusual
    parser.StartCdataSectionHandler = handler.unusual
    fed = 0
    for block in whole_tags(blocks):
        if not fed:
            _refuse_wide(block)
        fed += len(block)
        parser.Parse(block, False)  # noqa: FBT003 - the parser takes it by position only
        if fed - parser.CurrentByteIndex > _MAX_TAG:
            raise _too_long()
    parser.Parse(b"", True)  # noqa: FBT003


def first_element(blocks: Iterable[bytes]) -> tuple[str, dict[str, str]]:
    """Read the name and the attributes of a document's outermost element, and no further.

    Raises:
        ScanError, expat.ExpatError: As for ``parse``.
    """
    found: list[tuple[str, dict[str, str]]] = []
    parser = _parser()
    parser.StartElementHandler = lambda name, attributes: found.append((name, attributes))
    for block in blocks:
        _refuse_wide(block)
        parser.Parse(block[:_HEAD], False)  # noqa: FBT003
        break
    if not found:
        raise ScanError("a part of it is no XML")
    return found[0]


def without_declaration(blocks: Iterable[bytes], mark: bytes) -> Iterator[bytes]:
    """Cut the blocks anew as ``whole_tags``, and leave out the declaration (``<?xml ... ?>``) at the beginning."""
    first = True
    for block in whole_tags(blocks, mark):
        yield _DECLARATION.sub(b"", block, count=1) if first else block
        first = False


def whole_tags(blocks: Iterable[bytes], mark: bytes = b"<") -> Iterator[bytes]:
    """Cut the blocks anew, so that neither a tag nor the text before one is in two blocks.

    Args:
        blocks: The document.
        mark: Where to cut if there is one in a block: before the last such tag. Else before any tag.

    Raises:
        ScanError: A tag or a text is of absurd length.
    """
    rest = b""
    for block in blocks:
        whole = rest + block
        cut = whole.rfind(mark)
        if cut <= 0:
            cut = whole.rfind(b"<")
        if cut > 0:
            yield whole[:cut]
            rest = whole[cut:]
        else:
            rest = whole
        if len(rest) > _MAX_TAG:
            raise _too_long()
    yield rest


def _parser() -> expat.XMLParserType:
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.XmlDeclHandler = _check_declaration
    return parser


def _refuse_wide(block: bytes) -> None:
    if block.startswith(_WIDE):
        raise _not_utf8("UTF-16")


def _refuse_doctype(*_: object) -> None:
    raise ScanError("it declares a document type, which no spreadsheet needs")


def _check_declaration(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.lower() not in _ENCODINGS:
        raise _not_utf8(encoding)


def _not_utf8(encoding: str) -> ScanError:
    return ScanError(f"its XML is stored as {encoding[:20]!r}, and can be read as UTF-8 only")


def _too_long() -> ScanError:
    return ScanError(f"a part of it has a tag or a text of more than {_MAX_TAG >> 20} MB")
