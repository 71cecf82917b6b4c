from hypothesis import given
from hypothesis import strategies as st

from bulkid.planning.strategy import singles_are_fewer, wanted_accounts
from tests.support.planning_world import LAW, request


def test_nothing_missing_needs_no_more_reading() -> None:
    assert not singles_are_fewer(100_000, 1000, 0)


def test_one_by_one_where_that_takes_fewer_requests_and_pages_at_the_same_count() -> None:
    assert singles_are_fewer(3001, 1000, 2)
    assert not singles_are_fewer(3000, 1000, 2)
    assert singles_are_fewer(3000, 1000, 2, overlap=10)  # 2,980 more accounts take three such pages


def test_a_first_page_that_held_everything_leaves_nothing_to_read() -> None:
    assert not singles_are_fewer(1000, 1000, 2)
    assert not singles_are_fewer(0, 0, 1)


def test_a_page_that_came_empty_is_not_asked_for_for_ever() -> None:
    assert singles_are_fewer(10, 0, 1)


@LAW
@given(st.integers(0, 5000), st.integers(1, 1000), st.integers(0, 16), st.integers(0, 20))
def test_the_fewest_requests_are_chosen(total: int, size: int, missing: int, overlap: int) -> None:
    overlap_taken = min(overlap, size // 2)
    pages = len(range(size - overlap_taken, total - overlap_taken, size - overlap_taken)) if total > size else 0
    assert singles_are_fewer(total, size, missing, overlap) == (0 < missing < pages)


def test_wanted_accounts_are_each_named_once_and_by_id_where_there_is_one() -> None:
    rows = [
        request(2, "88-uv"),
        request(3, "88-UV", "Roby01"),
        request(4, name="Roby01"),
        request(5, name="ROBY01"),
        request(6),
        request(7, "x"),
    ]
    assert wanted_accounts(rows) == (("88-uv", "x"), ("Roby01", "ROBY01"))  # who knows whether that is one account
