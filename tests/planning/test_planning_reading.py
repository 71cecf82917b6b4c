from hypothesis import given
from hypothesis import strategies as st
from planning_world import LAW, wish

from bulkid.planning import Read, first_read, remaining_reads, wanted_accounts


def test_a_single_id_is_read_by_itself_and_anything_else_begins_with_a_page() -> None:
    assert first_read(1, 0) == "single"
    assert {first_read(0, 1), first_read(1, 1), first_read(2, 0), first_read(0, 0)} == {"page"}


def test_nothing_missing_needs_no_more_reading() -> None:
    assert remaining_reads(100_000, 1000, [], []) == []


def test_pages_go_on_where_the_first_ended_to_the_total_that_the_server_told() -> None:
    missing = [str(number) for number in range(5)]
    assert remaining_reads(2001, 1000, missing, []) == [
        Read("page", skip=1000, top=1000),
        Read("page", skip=2000, top=1000),
    ]
    assert remaining_reads(250, 100, missing, []) == [Read("page", skip=100, top=100), Read("page", skip=200, top=100)]


def test_one_by_one_where_that_takes_fewer_requests_and_pages_at_the_same_count() -> None:
    singles = [Read("account", term="a"), Read("search", term="Roby")]
    assert remaining_reads(3001, 1000, ["a"], ["Roby"]) == singles
    assert [read.kind for read in remaining_reads(3000, 1000, ["a"], ["Roby"])] == ["page", "page"]


def test_a_first_page_that_held_everything_leaves_nothing_to_read() -> None:
    assert remaining_reads(1000, 1000, ["gone"], ["unknown"]) == []
    assert remaining_reads(0, 1000, ["gone"], []) == []


def test_a_page_that_came_empty_is_not_asked_for_for_ever() -> None:
    assert remaining_reads(10, 0, ["a"], []) == [Read("account", term="a")]


@LAW
@given(st.integers(0, 5000), st.integers(1, 1000), st.integers(0, 8), st.integers(0, 8))
def test_the_reads_are_the_fewest_and_find_everything(total: int, size: int, ids: int, names: int) -> None:
    missing_ids, missing_names = [f"id{n}" for n in range(ids)], [f"name{n}" for n in range(names)]
    reads = remaining_reads(total, size, missing_ids, missing_names)
    pages = max(0, -(-(total - size) // size))
    assert len(reads) == min(pages, ids + names)
    if reads and reads[0].kind == "page":
        covered = {place for read in reads for place in range(read.skip, read.skip + read.top)}
        assert covered >= set(range(size, total))
    elif pages and reads:
        assert [read.term for read in reads] == missing_ids + missing_names


def test_wanted_accounts_are_each_named_once_and_by_id_where_there_is_one() -> None:
    rows = [
        wish(2, "88-uv"),
        wish(3, "88-UV", "Roby01"),
        wish(4, name="Roby01"),
        wish(5, name="ROBY01"),
        wish(6),
        wish(7, "x"),
    ]
    assert wanted_accounts(rows) == (("88-uv", "x"), ("Roby01",))
