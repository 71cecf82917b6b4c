"""Merged cells: what they cover counts as blank, and those that overlap are refused."""

from collections.abc import Iterator
from itertools import chain, combinations

import openpyxl
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.worksheet.cell_range import CellRange

from bulkid.sheet.error_scan import Range
from bulkid.sheet.merged_cells import overlapping, without_covered
from tests.support.sheet_books import refused, saved

ROWS, COLUMNS = 8, 6


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    top, bottom = sorted(draw(st.tuples(*[st.integers(0, ROWS)] * 2)))
    left, right = sorted(draw(st.tuples(*[st.integers(0, COLUMNS)] * 2)))
    return (top, left), (bottom, right)


def cells_of(merged: Range) -> set[tuple[int, int]]:
    (top, left), (bottom, right) = merged
    return {(row, column) for row in range(top, bottom + 1) for column in range(left, right + 1)}


def place(merged: Range) -> str:
    return ":".join(f"{'ABCDEFG'[column]}{row + 1}" for row, column in merged)


@given(st.lists(ranges(), max_size=5))
def test_merged_cells_overlap_just_when_two_of_them_share_a_cell(merged: list[Range]) -> None:
    pairs = [{place(a), place(b)} for a, b in combinations(merged, 2) if cells_of(a) & cells_of(b)]
    found = overlapping(merged)
    assert (found is None) == (not pairs)
    assert found is None or set(found) in pairs


@given(st.lists(ranges(), max_size=6), st.integers(0, 2), st.integers(1, 4), st.integers(1, 4))
def test_of_each_merged_cell_the_first_alone_keeps_its_text(
    merged: list[Range], first: int, size: int, width: int
) -> None:
    apart: list[Range] = []
    for each in merged:
        if not overlapping([*apart, each]):
            apart.append(each)
    covered = set(chain.from_iterable(cells_of(each) - {each[0]} for each in apart))
    rows = [tuple(f"{row},{column}" for column in range(first, first + width)) for row in range(ROWS)]
    chunks = [rows[start : start + size] for start in range(0, ROWS, size)]
    found = list(chain.from_iterable(without_covered(chunks, first, apart)))
    assert found == [
        tuple("" if (row, column) in covered else text for column, text in enumerate(cells, first))
        for row, cells in enumerate(rows)
    ]


def test_merged_cells_are_gone_through_once_and_not_for_each_chunk_or_pair() -> None:
    looks = 0

    class Counted(tuple):  # type: ignore[type-arg]
        __slots__ = ()

        def __iter__(self) -> "Iterator[tuple[int, int]]":
            nonlocal looks
            looks += 1
            return super().__iter__()

    count = 1000
    merged: list[Range] = [Counted(((2 * number, 1), (2 * number + 1, 1))) for number in range(count)]
    beside: list[Range] = [Counted(((0, 2 + number), (2 * count, 2 + number))) for number in range(count)]
    assert overlapping(merged + beside) is None
    chunks = [[("a", "b")] * 20 for _ in range(count // 10)]
    found = list(chain.from_iterable(without_covered(chunks, 0, merged)))
    assert found == [("a", "b"), ("a", "")] * count
    assert looks < 5 * count
    assert list(without_covered(chunks[:2], 0, beside)) == chunks[:2]


def test_overlapping_merged_cells_are_refused_with_their_places() -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "Robots"
    book.active.append(["name", "groups"])
    for cells in ("A6:A7", "B2:C3", "B3:C4"):
        book.active.merged_cells.add(CellRange(cells))
    message = refused(saved(book))
    assert message.startswith('s.xlsx, worksheet "Robots": the merged cells B2:C3 and B3:C4 overlap')
