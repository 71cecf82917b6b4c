"""The protocol between bulkid and the child process that reads a sheet, in any order of requests."""

import io
from collections.abc import Generator
from queue import SimpleQueue

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import SheetError
from bulkid.sheet import CHUNK_ROWS, open_sheet
from bulkid.sheet.child_process import spare_child
from bulkid.sheet.isolated_child import _encoded, _serve
from bulkid.sheet.isolation import LENGTH, NEXT, PREPARE, ROWS, START, _Child, _chunk_of
from bulkid.sheet.table import Table

Rows = list[tuple[str, ...]]


class ClosedError(Exception):
    """The parent asks for nothing more."""


class Commands(SimpleQueue[bytes]):
    def get(self, block: bool = True, timeout: float | None = None) -> bytes:
        del block, timeout
        if self.empty():
            raise ClosedError
        return super().get()


class Reader:
    """Rows of which one reading at a time is possible, as those of a stream; the record ``broken`` cannot be read."""

    def __init__(self, rows: Rows, broken: int | None) -> None:
        self._rows, self._broken = rows, broken
        self.started = 0
        self._open = False

    def chunks(self, size: int) -> Generator[Rows, None, None]:
        assert not self._open
        self.started += 1
        self._open = True
        try:
            for start in range(0, len(self._rows), size):
                if self._broken is not None and self._broken < start + size:
                    raise SheetError("A record cannot be read.")
                yield self._rows[start : start + size]
        finally:
            self._open = False


def answers(reader: Reader, *commands: str) -> list[Rows | str]:
    """All that the child answers to these commands; last the error that ends it, if any."""
    queue = Commands()
    for command in commands:
        queue.put(f"{command}\n".encode())
    out = io.BytesIO()
    ended: list[str] = []
    try:
        _serve(queue, out, Table(reader.chunks, ()), "s.csv")
    except ClosedError:
        pass
    except SheetError as error:
        ended = [error.message]
    found: list[Rows | str] = []
    content = out.getvalue()
    while content:
        (size,) = LENGTH.unpack(content[: LENGTH.size])
        body, content = content[LENGTH.size :][:size], content[LENGTH.size + size :]
        assert body.startswith(ROWS)
        found.append(_chunk_of(orjson.loads(body)))
    return found + ended


READINGS = st.lists(
    st.tuples(st.lists(st.integers(1, 6), max_size=2), st.integers(1, 6), st.integers(0, 8)), max_size=4
)


@given(st.integers(0, 12), READINGS)
def test_rows_are_the_same_whatever_was_prepared_before(count: int, readings: list[tuple[list[int], int, int]]) -> None:
    rows = [(str(number), "x") for number in range(count)]
    commands: list[str] = []
    expected: list[Rows] = []
    for prepared, size, more in readings:
        commands += [f"{PREPARE} {each}" for each in prepared] + [f"{START} {size}"] + [NEXT] * more
        expected += [rows[start : start + size] for start in range(0, size * (more + 1), size)]
    assert answers(Reader(rows, None), *commands) == expected


def test_what_is_prepared_is_read_once() -> None:
    reader = Reader([("a",), ("b",)], None)
    assert answers(reader, f"{START} 1", f"{PREPARE} 2", f"{START} 2", NEXT) == [[("a",)], [("a",), ("b",)], []]
    assert reader.started == 2


def test_an_error_in_what_is_prepared_is_said_only_where_it_is_asked_for() -> None:
    rows = [("a",), ("b",), ("c",)]
    broken = "A record cannot be read."
    assert answers(Reader(rows, 2), f"{PREPARE} 3") == []
    assert answers(Reader(rows, 2), f"{PREPARE} 3", f"{START} 3") == [broken]
    assert answers(Reader(rows, 2), f"{PREPARE} 3", f"{START} 1", NEXT) == [[("a",)], [("b",)], broken]


@given(st.lists(st.lists(st.text(max_size=3), max_size=3).map(tuple), max_size=5))
def test_rows_of_any_lengths_come_back(rows: Rows) -> None:
    assert [row for encoded in _encoded(rows, "s") for row in _chunk_of(orjson.loads(encoded))] == rows


def test_rows_of_one_length_come_by_columns() -> None:
    (encoded,) = _encoded([("a", "b"), ("c", "d")], "s")
    assert orjson.loads(encoded) == {"columns": [["a", "c"], ["b", "d"]]}


def test_the_first_chunk_is_prepared_once_the_columns_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    send = _Child._send

    def kept(child: _Child, content: bytes) -> None:
        sent.append(content)
        send(child, content)

    monkeypatch.setattr(_Child, "_send", kept)
    with spare_child.started(for_text=False), open_sheet(io.BytesIO(b"name\nroby\n")) as sheet:
        assert sent[-2:] == [b"start 100\n", f"prepare {CHUNK_ROWS}\n".encode()]
        (rows,) = sheet.chunks()
        assert [row.cells for row in rows] == [("roby",)]
        assert sent[-2:] == [f"start {CHUNK_ROWS}\n".encode(), b"next\n"]
