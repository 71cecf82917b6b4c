"""The zip archive of a spreadsheet: what it declares of itself is checked against what it holds.

The parts are inflated here, not by ``zipfile``, which reads as many bytes as an entry declares and never sees that more
follow. calamine reads them all.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Self

_BLOCK = 1 << 19  # bytes; pyexpat cuts what is longer than 1 MB, be it in the middle of a number
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # [APPNOTE] 4.3.7: signature, ..., length of the name and of the extra field
_LOCAL_MAGIC = b"PK\x03\x04"
_ENCRYPTED = 0x1
_MAX_PARTS = 10_000  # a workbook has some ten, and a few for each worksheet and picture


class ScanError(Exception):
    """The file does not have the parts that its format asks for."""


class Archive:
    """The parts of an archive. Close it, or use it as a context manager; the stream stays open.

    Args:
        stream: Seekable bytes, not read by anything else meanwhile.

    Raises:
        ScanError: Two parts have one name or share bytes, or there are too many.
        zipfile.BadZipFile, OSError, ValueError: It is no archive.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._file = zipfile.ZipFile(stream)
        entries = [each for each in self._file.infolist() if not each.is_dir()]
        if len(entries) > _MAX_PARTS:
            raise ScanError(f"it has {len(entries):,} parts, more than {_MAX_PARTS:,}")
        self._entries = {_normal(each.filename): each for each in entries}
        if len(self._entries) < len(entries):
            raise ScanError("two of its parts have the same name")
        self.unpacked = sum(each.file_size for each in entries)
        self.packed = sum(each.compress_size for each in entries)
        self._refuse_overlap(entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def parts(self) -> frozenset[str]:
        """The names of the parts, in small letters and with slashes: formats compare them so."""
        return frozenset(self._entries)

    def size(self, part: str) -> int:
        """Bytes that a part unpacks to, as declared; ``blocks`` holds it to that.

        Raises:
            ScanError: There is no such part.
        """
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
        """Inflate a part as a whole.

        Raises:
            ScanError, zlib.error: As for ``blocks``.
        """
        return b"".join(self.blocks(part))

    def _entry(self, part: str) -> zipfile.ZipInfo:
        entry = self._entries.get(part)
        if entry is None:
            raise ScanError("a part of it is missing")
        return entry

    def _inflated(self, entry: zipfile.ZipInfo) -> Iterator[bytes]:
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

    def _refuse_overlap(self, entries: list[zipfile.ZipInfo]) -> None:
        """Parts that share their bytes make a small file unpack to any size."""
        end = 0
        for entry in sorted(entries, key=lambda each: each.header_offset):
            if entry.header_offset < end:
                raise ScanError("two of its parts share the same bytes")
            end = self._start(entry) + entry.compress_size


def _normal(name: str) -> str:
    return name.replace("\\", "/").lower()
