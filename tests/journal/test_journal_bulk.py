"""Spans say the same as the numbers that they were made of, in as few words as there are."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bulkid.journal.bulk import linked_ranges, ranges

NUMBERS = st.lists(st.integers(0, 12), unique=True)


@given(NUMBERS)
def test_spans_hold_each_number_once_in_its_order(numbers: list[int]) -> None:
    found = list(ranges(numbers))
    assert [number for first, last in found for number in range(first, last + 1)] == numbers
    assert all(second[0] != first[1] + 1 for first, second in pairwise(found))


@given(NUMBERS, st.data())
def test_linked_spans_give_each_row_its_own_entry(rows: list[int], data: st.DataObject) -> None:
    links = [(row, data.draw(st.integers(0, 3)) + max(row - 1, 0)) for row in rows]
    found = list(linked_ranges(links))
    assert [(row, row - ahead) for ahead, first, last in found for row in range(first, last + 1)] == links


def test_a_sheet_that_names_each_account_once_is_one_span() -> None:
    assert list(linked_ranges([(row, row - 2) for row in range(2, 20_002)])) == [(2, 2, 20_001)]
    assert list(linked_ranges([(1, 1), (2, 2)])) == [(0, 1, 2)]
