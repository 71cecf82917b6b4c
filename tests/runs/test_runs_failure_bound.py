"""The exact number of failures at which a run stops."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import FailureBound


@pytest.mark.parametrize(
    ("count", "percent", "total", "allowed"),
    [
        (0, None, 100, 0),
        (7, None, 3, 7),
        (None, 5.0, 100, 5),
        (None, 5.0, 99, 4),
        (None, 0.1, 3000, 3),
        (None, 0.57, 10_000, 57),
        (None, 0.0, 100, 0),
        (None, 100.0, 12, 12),
        (None, 2.5, 200, 5),
        (3, 50.0, 100, 3),
        (90, 50.0, 100, 50),
    ],
)
def test_a_limit_allows_so_many_and_not_one_more(
    count: int | None, percent: float | None, total: int, allowed: int
) -> None:
    bound = FailureBound(count, percent)
    assert not bound.exceeded(allowed, total)
    assert bound.exceeded(allowed + 1, total)


@given(st.integers(0, 10_000), st.integers(0, 1_000_000))
def test_a_percentage_allows_exactly_that_part_of_the_accounts(hundredths: int, total: int) -> None:
    bound = FailureBound(percent=hundredths / 100)
    allowed = total * hundredths // 10_000
    assert not bound.exceeded(allowed, total)
    assert bound.exceeded(allowed + 1, total)


def test_without_a_bound_any_number_may_fail() -> None:
    assert not FailureBound().exceeded(10**9, 10**9)
