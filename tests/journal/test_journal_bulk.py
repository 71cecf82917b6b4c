"""Many rows in few statements: each is inserted once, and ranges hold the same links as single statements."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    create_engine,
    event,
    insert,
    literal_column,
    select,
)

from bulkid.journal.bulk import InsertMany, ranges
from bulkid.journal.codec import storable
from bulkid.journal.store import Journal
from tests.support.journal_data import RUN, begin, statuses

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


TABLE = Table(
    "t", MetaData(), Column("number", Integer), Column("text", Text), Column("word", Text), Column("same", Text)
)
TEXTS = st.none() | st.sampled_from(["a", "", " VALUES (?)", "?, ?", "%s", "\0", "\ud800"])
INSERT = InsertMany(
    insert(TABLE).values(
        number=bindparam("number"),
        text=bindparam("text"),
        word=bindparam("word"),
        same=literal_column("'s'"),
    ),
    ("number", "text", "word"),
    safe=("number", "word"),
)


@given(st.lists(st.tuples(st.integers(0, 9) | st.none(), TEXTS, st.just("w")), max_size=70))
def test_each_row_is_inserted_once_in_its_order(tuples: list[tuple[int | None, str | None, str]]) -> None:
    engine = create_engine("sqlite://")
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    with engine.begin() as connection:
        TABLE.create(connection)
        statements.clear()
        assert INSERT.run(connection, tuples) == len(tuples)
        assert len(statements) <= 2
        found = [tuple(row) for row in connection.execute(select(TABLE))]
    engine.dispose()
    assert found == [(number, storable(text), word, "s") for number, text, word in tuples]


@pytest.mark.parametrize("count", [1, 19, 20, 21, 40, 1019])
def test_a_run_of_any_number_of_accounts_has_each_row_and_each_item(journal: Journal, count: int) -> None:
    begin(journal, count)
    assert list(statuses(journal)) == list(range(2, count + 2))
    assert [item.number for item in journal.iter_items(RUN)] == list(range(count))
