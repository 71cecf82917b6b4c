"""Packed items: whoever looks at a run finds them as if they had been in place from the beginning."""

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select

from bulkid.journal import store
from bulkid.journal.errors import StateFullError
from bulkid.journal.queries import drop_run, pending_deletions, row_page
from bulkid.journal.schema import entries, packed_items
from bulkid.journal.store import Journal, open_journal
from bulkid.model import Action, Outcome, RunItem, Status, Via
from tests.support.examples import examples
from tests.support.journal_data import (
    FAILED,
    PENDING,
    RUN,
    TEMPORARY,
    UPDATED,
    Place,
    allow_pages,
    entry,
    good_row,
    record,
)

COUNT = 20
SETTLED = frozenset(
    {0, 5, 9, 10, 11, 15}
)  # need no request; with three items in a pack, one pack would hold these alone
UNCHANGED = Outcome(Status.UNCHANGED, finished_at=1.0)


@pytest.fixture(autouse=True, scope="module")
def small_packs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "PACKED_TOGETHER", 3)
        yield


def planned() -> list[RunItem]:
    """Items of every kind that a plan has."""
    items = [entry(number) for number in range(COUNT)]
    items[3] = items[3]._replace(before=None, changes="deleted")
    items[3] = items[3]._replace(desired=items[3].desired._replace(action=Action.DELETE))
    items[4] = items[4]._replace(desired=items[4].desired._replace(exact=("g-7",), add=(), remove=()))
    return [item._replace(outcome=UNCHANGED, changes="") if item.number in SETTLED else item for item in items]


def begin(journal: Journal, add: Callable[[Journal, str, Sequence[RunItem]], None] = Journal.add_plan) -> None:
    journal.create_run(record())
    journal.add_rows(RUN, [good_row(row) for row in range(2, COUNT + 2)])
    add(journal, RUN, planned())


def rows_in(journal: Journal, table: Any) -> int:
    return int(journal.database.fetch(select(func.count()).select_from(table))[0][0])


def everything(journal: Journal) -> tuple[object, ...]:
    """All that is kept of a run; this unpacks what is packed."""
    return (
        list(journal.iter_items(RUN)),
        list(journal.report_rows(RUN)),
        journal.counts(RUN),
        journal.account_counts(RUN),
        row_page(journal, RUN),
        journal.database.fetch(select(entries).order_by(entries.c.run, entries.c.entry)),
    )


READERS: dict[str, Callable[[Journal], object]] = {
    "iter_items": lambda journal: list(journal.iter_items(RUN)),
    "unsettled": lambda journal: list(journal.iter_items(RUN, unsettled=True)),
    "items": lambda journal: journal.items(RUN, [0, 1, COUNT - 1]),
    "report_rows": lambda journal: list(journal.report_rows(RUN)),
    "counts": lambda journal: journal.counts(RUN),
    "account_counts": lambda journal: journal.account_counts(RUN),
    "pending_deletions": lambda journal: pending_deletions(journal, RUN),
    "row_page": lambda journal: row_page(journal, RUN, search="Robbie"),
    "settled_rows": lambda journal: journal.settled_rows(RUN, -1, 100),
}


@pytest.fixture
def unpacked(tmp_path: Path) -> Journal:
    """The same plan, never packed."""
    journal = open_journal(tmp_path / "unpacked")
    begin(journal, Journal.add_items)
    return journal


@pytest.mark.parametrize("name", READERS)
def test_who_reads_a_packed_plan_sees_what_is_there(name: str, place: Place, unpacked: Journal) -> None:
    with place.open() as journal:
        begin(journal)
        assert rows_in(journal, entries) == len(SETTLED)
        assert rows_in(journal, packed_items) > 1
    with place.open() as journal, unpacked:
        assert READERS[name](journal) == READERS[name](unpacked)


def settle_with_long_error(journal: Journal, number: int) -> None:
    journal.settle(RUN, [(number, FAILED._replace(error="long " * 2000))])


def test_rows_are_shown_where_the_disk_has_no_room_to_unpack_them(file_journal: Journal) -> None:
    begin(file_journal)
    allow_pages(file_journal, 1)
    with pytest.raises(StateFullError):
        list(map(partial(settle_with_long_error, file_journal), range(COUNT)))
    counted = file_journal.counts(RUN)
    assert counted[Status.PENDING] > 0
    assert rows_in(file_journal, packed_items) > 0
    lines = list(file_journal.report_rows(RUN))
    assert Counter(line.status for line in lines) == {status: count for status, count in counted.items() if count}
    assert (tuple(lines), len(lines)) == row_page(file_journal, RUN)
    with pytest.raises(StateFullError):  # what is sent, undone or deleted needs the items themselves
        list(file_journal.iter_items(RUN))


def test_an_intent_unpacks_what_it_needs_and_leaves_the_rest(journal: Journal) -> None:
    begin(journal)
    journal.intend(RUN, [1, 2], 5.0)
    assert rows_in(journal, entries) == 2 + len(SETTLED)
    journal.intend(RUN, [2, 7], 5.0)
    assert rows_in(journal, packed_items) == len(range(12, COUNT, 3))
    assert [item.number for item in journal.iter_items(RUN) if item.intended] == [1, 2, 7]
    assert rows_in(journal, packed_items) == 0


def test_items_that_an_intent_unpacks_are_written_once(file_journal: Journal) -> None:
    begin(file_journal)
    statements: list[str] = []
    engine = file_journal.database.dialect.engine
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    file_journal.intend(RUN, [1, 2, 3, 4, 6, 7], 5.0)
    assert not [each for each in statements if each.startswith("UPDATE entries")]
    file_journal.intend(RUN, [4, 8, 12], 5.0)
    assert len([each for each in statements if each.startswith("UPDATE entries")]) == 1


def test_items_do_not_stay_in_memory_where_another_process_has_moved_them(place: Place) -> None:
    items = planned()
    with place.open() as first, place.open() as second:
        before = [sys.getrefcount(item) for item in items]
        begin(first, lambda journal, run_id, _: journal.add_plan(run_id, items))
        assert [sys.getrefcount(item) for item in items] != before
        second.unpack_all(RUN)
        first.intend(RUN, [1], 5.0)
        assert [sys.getrefcount(item) for item in items] == before


def test_a_plan_that_is_made_again_leaves_nothing_packed(journal: Journal) -> None:
    begin(journal)
    journal.forget_plan(RUN)
    assert list(journal.iter_items(RUN)) == []
    journal.add_plan(RUN, planned())
    journal.forget_rows(RUN)
    assert rows_in(journal, packed_items) == 0


def test_packed_items_go_with_their_run(journal: Journal) -> None:
    begin(journal)
    assert drop_run(journal, RUN)
    assert rows_in(journal, packed_items) == 0


def test_packed_items_of_another_run_stay(journal: Journal) -> None:
    begin(journal)
    other = "20260131-081500-zzzz"
    journal.create_run(record(other))
    journal.add_plan(other, [item._replace(desired=item.desired._replace(rows=())) for item in planned()])
    packed = rows_in(journal, packed_items)
    journal.unpack_all(RUN)
    journal.forget_plan(RUN)
    assert rows_in(journal, packed_items) == packed // 2
    assert len(list(journal.iter_items(other))) == COUNT


numbers = st.lists(st.integers(0, COUNT - 1), max_size=4, unique=True)
outcomes = st.lists(
    st.tuples(
        st.integers(0, COUNT - 1), st.sampled_from([UPDATED, FAILED, PENDING, UPDATED._replace(account_id="new")])
    ),
    max_size=4,
    unique_by=lambda pair: pair[0],
)
operations = st.one_of(
    numbers.map(lambda found: lambda journal: journal.intend(RUN, found, 7.0, Via.GROUP)),
    outcomes.map(lambda found: lambda journal: journal.settle(RUN, found)),
    numbers.map(
        lambda found: lambda journal: journal.plan_again(RUN, [entry(each)._replace(changes="other") for each in found])
    ),
    st.just(lambda journal: journal.replace_group(RUN, "g-1", "g-8")),
    st.just(lambda journal: journal.unpack_all(RUN)),
    st.sampled_from([lambda journal, read=read: read(journal) for read in READERS.values()]),
)


@settings(max_examples=examples(40, soak=400), deadline=None)
@given(sequence=st.lists(operations, max_size=8), reopened=st.booleans())
def test_a_packed_plan_comes_out_as_one_that_was_never_packed(
    sequence: list[Callable[[Journal], object]], reopened: bool
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="bulkid-test-", dir=TEMPORARY))
    try:
        with ExitStack() as opened:
            packed, plain = (opened.enter_context(open_journal(folder / name)) for name in ("packed", "plain"))
            begin(packed)
            begin(plain, Journal.add_items)
            if reopened:  # else the items that were packed are still in memory
                packed = opened.enter_context(open_journal(folder / "packed"))
            for operation in sequence:
                assert operation(packed) == operation(plain)
            assert everything(packed) == everything(plain)
    finally:
        shutil.rmtree(folder)


def test_several_processes_may_unpack_at_once(place: Place) -> None:
    with place.open() as first, place.open() as second, place.open() as third:
        begin(first)
        together = Barrier(3)
        errors: list[BaseException] = []

        def work(operations: Sequence[Callable[[], object]]) -> None:
            try:
                for each in operations:
                    together.wait()
                    each()
            except BaseException as error:  # noqa: BLE001 - the test raises it
                errors.append(error)
                together.abort()

        chunks = [range(start, start + 4) for start in range(0, COUNT, 4)]
        threads = [
            Thread(target=work, args=[[partial(first.intend, RUN, numbers, 5.0) for numbers in chunks]]),
            Thread(target=work, args=[[partial(second.intend, RUN, numbers, 5.0) for numbers in chunks]]),
            Thread(target=work, args=[[partial(third.unpack_all, RUN)] * len(chunks)]),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert [item.number for item in third.iter_items(RUN)] == list(range(COUNT))
        assert all(item.intended for item in third.iter_items(RUN))
