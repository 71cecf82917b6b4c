"""Standard streams: output arrives whole where a terminal accepts it in parts, also when Python does not buffer."""

import io
import sys

import pytest

from bulkid.cli.stdio import wrap_standard_streams


class Reluctant(io.RawIOBase):
    """A terminal that takes at most 100 bytes at a time, as one does when signals arrive."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(memoryview(data))[:100]  # type: ignore[arg-type]  # any buffer, as RawIOBase says
        self.taken += part
        return len(part)


def test_a_stream_without_a_buffer_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Reluctant()
    unbuffered = io.TextIOWrapper(terminal, encoding="utf-8", write_through=True)  # type: ignore[arg-type]  # as -u has it
    monkeypatch.setattr(sys, "stdout", unbuffered)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    wrap_standard_streams()
    text = "".join(f"row {number}\n" for number in range(500))
    sys.stdout.write(text)
    sys.stdout.flush()
    assert terminal.taken.decode().replace("\r\n", "\n") == text
