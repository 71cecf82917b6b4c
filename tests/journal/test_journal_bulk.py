"""Many rows in few statements: each is written once, and ranges hold the same links as single statements."""

from collections.abc import Iterator
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

from bulkid.journal import bulk
from bulkid.journal.bulk import InsertMany, UpdateMany, ranges
from bulkid.journal.codec import storable
from bulkid.journal.store import _SETTLE as SETTLE
from bulkid.journal.store import Journal
from tests.support.journal_data import RUN, begin, statuses

VALUES = 24  # that a statement may bind


@pytest.fixture(autouse=True, scope="module")
def few_values_in_a_statement() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "MOST_VALUES", VALUES)
        yield


NUMBERS = st.lists(st.integers(0, 12), unique=True)


@given(st.integers(0, 3000))
def test_rows_are_grouped_into_few_statements_of_three_lengths(count: int) -> None:
    tuples = [(number,) * 9 for number in range(count)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "MOST_VALUES", 999)
        grouped = list(SETTLE._multi_row(tuples))
    assert [value for _, several in grouped for values in several for value in values[::9]] == list(range(count))
    assert all(len(values) == 9 * rows for rows, several in grouped for values in several)
    lengths = {rows: len(several) for rows, several in grouped}
    assert {*lengths} <= {111, 11, 1}
    assert max(lengths.get(11, 0), lengths.get(1, 0)) <= 10


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


@given(st.lists(st.tuples(st.integers(0, 9) | st.none(), TEXTS, st.just("w")), max_size=VALUES))
def test_each_row_is_inserted_once_in_its_order(tuples: list[tuple[int | None, str | None, str]]) -> None:
    engine = create_engine("sqlite://")
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    with engine.begin() as connection:
        TABLE.create(connection)
        statements.clear()
        assert INSERT.run(connection, tuples) == len(tuples)
        assert len(statements) <= 2
        assert all(statement.count("'s'") in {1, 8} for statement in statements)
        found = [tuple(row) for row in connection.execute(select(TABLE))]
    engine.dispose()
    assert found == [(number, storable(text), word, "s") for number, text, word in tuples]


KEYED = Table(
    "k",
    MetaData(),
    Column("part", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("text", Text),
    Column("word", Text),
)
UPDATE = UpdateMany(KEYED, ("text", "word"), ("part", "number"), safe=("word",))


@given(
    st.lists(
        st.tuples(TEXTS, st.sampled_from(["w", None]), st.integers(0, 1), st.integers(0, 12)),
        max_size=VALUES,
        unique_by=lambda values: values[2:],
    ),
    st.sets(st.tuples(st.integers(0, 1), st.integers(0, 12))),
    st.booleans(),
)
def test_each_row_is_updated_by_its_key_and_no_other(
    tuples: list[tuple[str | None, str | None, int, int]], present: set[tuple[int, int]], has_update_from: bool
) -> None:
    engine = create_engine("sqlite://")
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    expected = dict.fromkeys(present, ("before", "before"))
    touched = {
        (part, number): (storable(text), word) for text, word, part, number in tuples if (part, number) in present
    }
    with engine.begin() as connection:
        KEYED.create(connection)
        for part, number in present:
            connection.execute(insert(KEYED).values(part=part, number=number, text="before", word="before"))
        statements.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bulk, "_HAS_UPDATE_FROM", has_update_from and bulk._HAS_UPDATE_FROM)
            assert UPDATE.run(connection, tuples) == len(touched)
        assert has_update_from or all(" FROM " not in statement for statement in statements)
        if has_update_from and bulk._HAS_UPDATE_FROM:
            assert len(statements) <= 2
            assert all(statement.count("(?, ?, ?, ?)") in {1, 6} for statement in statements)
        found = {(row.part, row.number): (row.text, row.word) for row in connection.execute(select(KEYED))}
    engine.dispose()
    assert found == expected | touched


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 1019])
def test_a_run_of_any_number_of_accounts_has_each_row_and_each_item(journal: Journal, count: int) -> None:
    begin(journal, count)
    assert list(statuses(journal)) == list(range(2, count + 2))
    assert [item.number for item in journal.iter_items(RUN)] == list(range(count))
