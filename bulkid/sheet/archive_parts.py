"""The parts of a spreadsheet's zip archive, and the XML in them.

What the archive declares of itself is checked against what it holds. The parts are inflated here, not by ``zipfile``,
which reads as many bytes as an entry declares and never sees that more follow. calamine reads them all. An archive that
two programs may read in two ways is refused: the scan would pass one part, and calamine read another. The XML is read
with expat: whole tags, no document types, nothing of unlimited length.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO
from xml.parsers import expat

_BLOCK = 1 << 19  # bytes; pyexpat cuts what is longer than 1 MB, be it in the middle of a number
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # [APPNOTE] 4.3.7: signature, ..., length of the name and of the extra field
_LOCAL_MAGIC = b"PK\x03\x04"
_END = struct.Struct("<4s4H2LH")  # [APPNOTE] 4.3.16: signature, two disks, two counts, size, offset, comment
_END_MAGIC = b"PK\x05\x06"
_LONGEST_END = _END.size + (1 << 16) - 1  # with the longest comment
_IN_ZIP64 = frozenset({0xFFFF, 0xFFFFFFFF})  # stands for a number that the record of Zip64 has
_EXTRA_HEAD = struct.Struct("<HH")  # of an extra field: its kind and its length
_OTHER_NAME = 0x7075  # an extra field that gives a part another name, which some programs go by
_PARTS_READ = (".xml", ".rels", ".bin")
_ENCRYPTED = 0x1
_MAX_PARTS = 10_000  # a workbook has some ten, and a few for each worksheet and picture
_MAX_TAG = 16 << 20  # bytes of one tag, comment or text; expat reads an unfinished one again with every block
_ENCODINGS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_HEAD = 1 << 16  # bytes that the outermost element begins in
_DECLARATION = re.compile(rb"(?:\xef\xbb\xbf)?<\?xml [^<>?]*\?>")
_DECLARED = re.compile(rb"""encoding\s*=\s*["']([^"']*)""")
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")


class ScanError(Exception):
    """The file does not have the parts that its format requires, or they are not as they should be."""


class Archive(AbstractContextManager["Archive"]):
    """The parts of an archive, a seekable stream. Use it as a context manager; the stream stays open.

    Raises:
        ScanError: Two parts have one name or share bytes, there are too many, or it can be read in two ways.
        zipfile.BadZipFile, OSError, ValueError: It is no archive.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._file = zipfile.ZipFile(stream)
        self._require_one_directory()
        entries = [each for each in self._file.infolist() if not each.is_dir()]
        if len(entries) > _MAX_PARTS:
            raise ScanError(f"it has {len(entries):,} parts, more than {_MAX_PARTS:,}")
        if any(map(_may_be_found_elsewhere, entries)):
            raise ScanError("one of its parts has a name that can be read in two ways")
        self._entries = {each.filename.replace("\\", "/").lower(): each for each in entries}
        if len(self._entries) < len(entries):
            raise ScanError("two of its parts have the same name")
        self.unpacked = sum(each.file_size for each in entries)
        self.packed = sum(each.compress_size for each in entries)
        self._refuse_overlap(entries)

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def parts(self) -> frozenset[str]:
        """The names of the parts, in small letters and with slashes: formats compare them so."""
        return frozenset(self._entries)

    @property
    def names(self) -> list[str]:
        """The names of the parts as the archive has them."""
        return [each.filename for each in self._entries.values()]

    def size(self, part: str) -> int:
        """Bytes that a part unpacks to, as declared; ``blocks`` refuses a part of another size."""
        return self._entry(part).file_size

    def blocks(self, part: str) -> Iterator[bytes]:
        """Inflate a part.

        Raises:
            ScanError: There is no such part, or it does not hold what the archive declares.
            zlib.error: It is damaged.
        """
        entry = self._entry(part)
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise ScanError("a part of it is encrypted or packed in an unusual way")
        size = checksum = 0
        for block in self._inflated(entry):
            size += len(block)
            checksum = zlib.crc32(block, checksum)
            if size > entry.file_size:
                break
            yield block
        if size != entry.file_size or checksum != entry.CRC:
            raise ScanError("a part of it does not unpack to what the archive declares")

    def read(self, part: str) -> bytes:
        """Inflate a part as a whole; raises as ``blocks``."""
        return b"".join(self.blocks(part))

    def _entry(self, part: str) -> zipfile.ZipInfo:
        entry = self._entries.get(part)
        if entry is None:
            raise ScanError("a part of it is missing")
        return entry

    def _inflated(self, entry: zipfile.ZipInfo) -> Iterator[bytes]:
        """Yield the content of a part in blocks.

        Raises:
            ScanError: The part ends too early.
        """
        left = entry.compress_size
        position = self._start(entry)
        inflater = None if entry.compress_type == zipfile.ZIP_STORED else zlib.decompressobj(-zlib.MAX_WBITS)
        while left:
            self._stream.seek(position)  # again: another part may have been read meanwhile
            packed = self._stream.read(min(left, _BLOCK))
            if not packed:
                break
            left -= len(packed)
            position += len(packed)
            if inflater is None:
                yield packed
                continue
            while packed and not inflater.eof:
                yield inflater.decompress(packed, _BLOCK)
                packed = inflater.unconsumed_tail
            if inflater.eof:
                break
        while inflater is not None and not inflater.eof and (block := inflater.decompress(b"", _BLOCK)):
            yield block
        if left or not (inflater is None or inflater.eof):
            raise ScanError("a part of it ends in the middle")

    def _start(self, entry: zipfile.ZipInfo) -> int:
        """Where the bytes of a part begin: after its local header, whose length may differ from the directory's."""
        self._stream.seek(entry.header_offset)
        header = self._stream.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size:
            raise ScanError("a part of it is missing")
        magic, name, extra = _LOCAL_HEADER.unpack(header)
        if magic != _LOCAL_MAGIC:
            raise ScanError("its parts do not lie where it says")
        return entry.header_offset + _LOCAL_HEADER.size + int(name) + int(extra)

    def _require_one_directory(self) -> None:
        """Refuse an archive that has more than one directory of its parts: programs differ in which one they take."""
        size = self._stream.seek(0, io.SEEK_END)
        self._stream.seek(max(0, size - _LONGEST_END))
        tail = self._stream.read()
        at = tail.rfind(_END_MAGIC)
        _, disk, start_disk, here, count, _, offset, comment = _END.unpack_from(tail, at)
        if (
            at + _END.size + comment != len(tail)
            or disk != start_disk
            or disk not in {0, *_IN_ZIP64}
            or here != count
            or count not in {len(self._file.infolist()), *_IN_ZIP64}
            or offset not in {self._file.start_dir, *_IN_ZIP64}
        ):
            raise ScanError("the directory of its parts is not where it says")

    def _refuse_overlap(self, entries: list[zipfile.ZipInfo]) -> None:
        """Parts that share their bytes make a small file unpack to any size."""
        end = 0
        for entry in sorted(entries, key=lambda each: each.header_offset):
            if entry.header_offset < end:
                raise ScanError("two of its parts share the same bytes")
            end = self._start(entry) + entry.compress_size


def _may_be_found_elsewhere(entry: zipfile.ZipInfo) -> bool:
    """Whether a part may be found by another name than its own, or lies at another place than its name says."""
    name = entry.orig_filename.replace("\\", "/")
    extra = entry.extra
    while len(extra) >= _EXTRA_HEAD.size:
        kind, size = _EXTRA_HEAD.unpack_from(extra)
        if kind == _OTHER_NAME:
            return True
        extra = extra[_EXTRA_HEAD.size + size :]
    return (
        "\0" in name
        or any(folder in {"", ".", ".."} for folder in name.split("/"))
        or ("&" in name and name.lower().endswith(_PARTS_READ))
    )


# --- XML


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
        if not fed and block.startswith(_WIDE):
            _require_utf8("UTF-16")
        fed += len(block)
        parser.Parse(block, False)  # noqa: FBT003 - the parser takes it by position only
        if fed - parser.CurrentByteIndex > _MAX_TAG:
            raise _too_long()
    parser.Parse(b"", True)  # noqa: FBT003


def first_element(blocks: Iterable[bytes]) -> tuple[str, dict[str, str]]:
    """Read the name and the attributes of a document's outermost element, and no further; raises as ``parse``."""
    found: list[tuple[str, dict[str, str]]] = []
    parser = _parser()
    parser.StartElementHandler = lambda name, attributes: found.append((name, attributes))
    head = next(iter(blocks), b"")[:_HEAD]
    if head.startswith(_WIDE):
        _require_utf8("UTF-16")
    parser.Parse(head, False)  # noqa: FBT003
    if not found:
        raise ScanError("a part of it is no XML")
    return found[0]


def without_declaration(blocks: Iterable[bytes], mark: bytes) -> Iterator[bytes]:
    """Cut the blocks anew as ``whole_tags``, and leave out the declaration (``<?xml ... ?>``) at the beginning.

    Raises:
        ScanError: As for ``whole_tags``, or the declaration says that the document is not UTF-8.
    """
    first = True
    for block in whole_tags(blocks, mark):
        if first and (found := _DECLARATION.match(block)):
            encoding = _DECLARED.search(found[0])
            _require_utf8(encoding and encoding[1].decode("ascii", "replace"))
            yield block[found.end() :]
        else:
            yield block
        first = False


def whole_tags(blocks: Iterable[bytes], mark: bytes = b"<") -> Iterator[bytes]:
    """Cut the blocks of a document anew, so that neither a tag nor the text before one is in two blocks.

    The cut is before the last ``mark`` of a block, or before the last tag where there is none.

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
    parser.XmlDeclHandler = lambda _version, encoding, _standalone: _require_utf8(encoding)
    return parser


def _refuse_doctype(*_: object) -> None:
    raise ScanError("it declares a document type, which no spreadsheet needs")


def _require_utf8(encoding: str | None) -> None:
    if encoding is not None and encoding.lower() not in _ENCODINGS:
        raise ScanError(f"its XML is stored as {encoding[:20]!r}, and can be read as UTF-8 only")


def _too_long() -> ScanError:
    return ScanError(f"a part of it has a tag or a text of more than {_MAX_TAG >> 20} MB")
