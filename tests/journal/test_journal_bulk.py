"""Ranges say the same as the links that they were made of, in as few statements as possible."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bulkid.journal.bulk import ranges

NUMBERS = st.lists(st.integers(0, 12), unique=True)


@given(NUMBERS)
def test_ranges_hold_each_number_once_in_its_order(numbers: list[int]) -> None:
    found = [(first, last) for _, first, last in ranges(zip(numbers, numbers, strict=True))]
    assert [number for first, last in found for number in range(first, last + 1)] == numbers
    assert all(second[0] != first[1] + 1 for first, second in pairwise(found))


@given(NUMBERS, st.data())
def test_ranges_give_each_row_its_own_entry(rows: list[int], data: st.DataObject) -> None:
    links = [(row, data.draw(st.integers(0, 3)) + max(row - 1, 0)) for row in rows]
    found = list(ranges(links))
    assert [(row, row - ahead) for ahead, first, last in found for row in range(first, last + 1)] == links


def test_a_sheet_that_names_each_account_once_is_one_range() -> None:
    assert list(ranges([(row, row - 2) for row in range(2, 20_002)])) == [(2, 2, 20_001)]
    assert list(ranges([(1, 1), (2, 2)])) == [(0, 1, 2)]
