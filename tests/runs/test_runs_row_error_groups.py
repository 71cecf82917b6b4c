"""Row errors that say the same are one problem: every error is counted, and rows are listed in short."""

from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import RowError
from bulkid.runs.row_error_groups import group_row_errors


def unknown(
    row: int, value: str = "Finanze", column: str = "groups_to_add", message: str = "No such group."
) -> RowError:
    return RowError(row, column, value, "unknown_group", message)


def test_a_repeated_problem_names_its_rows_once() -> None:
    (group,) = group_row_errors([unknown(row) for row in (2, 3, 4, 7, 9)]).groups
    assert (group.count, group.row_list(), group.value, group.same_value) == (5, "2-4, 7, 9", "Finanze", True)


def test_cells_that_differ_are_one_problem_where_the_message_is_the_same() -> None:
    (group,) = group_row_errors([unknown(2), unknown(5, "Sales; Finanze")]).groups
    assert (group.value, group.same_value, group.row_list()) == ("Finanze", False, "2, 5")


def test_of_many_ranges_only_the_first_are_named() -> None:
    (group,) = group_row_errors([unknown(row) for row in range(2, 100_002, 2)]).groups
    assert (group.count, group.row_list()) == (50_000, "2, 4, 6, 8, 10, 12, ...")


def test_a_row_with_two_equal_errors_counts_once_also_after_the_ranges_that_are_named() -> None:
    (group,) = group_row_errors([unknown(row) for row in range(2, 40, 2) for _ in range(2)]).groups
    assert group.count == 19


def test_problems_beyond_the_limit_are_counted() -> None:
    grouped = group_row_errors([unknown(row, message=f"{row % 3}") for row in range(2, 11)], limit=2)
    assert ([group.message for group in grouped.groups], grouped.hidden) == (["2", "0"], 3)


@given(
    st.lists(st.tuples(st.integers(2, 40), st.sampled_from("ab"), st.sampled_from("xy"), st.sampled_from("12"))),
    st.none() | st.integers(0, 3),
)
def test_every_row_of_a_problem_is_counted_once(found: list[tuple[int, str, str, str]], limit: int | None) -> None:
    row_errors = [unknown(row, value, column, message) for row, column, message, value in found]
    row_errors.sort(key=lambda row_error: row_error.row)
    grouped = group_row_errors(row_errors, limit)
    shown = {(group.column, group.message) for group in grouped.groups}
    assert len(shown) == len(grouped.groups)
    assert limit is None or len(shown) <= limit
    assert grouped.hidden == sum((each.column, each.message) not in shown for each in row_errors)
    for group in grouped.groups:
        own = [each for each in row_errors if (each.column, each.message) == (group.column, group.message)]
        assert group.count == len({each.row for each in own})
        assert group.same_value == (len({each.value for each in own}) == 1)
        named = {row for first, last in group.ranges for row in range(first, last + 1)}
        rows = {each.row for each in own}
        assert named == rows if group.complete else named < rows
