"""Group commit: cheap to add to, durable soon; a cancellation, an error or a full disk loses nothing."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from sqlalchemy import event

from bulkid.errors import StateError
from bulkid.journal import writer as writer_module
from bulkid.journal.errors import StateFullError
from bulkid.journal.store import Journal
from bulkid.journal.writer import OutcomeWriter
from bulkid.model import Status
from tests.support.fake_clock import FakeClock
from tests.support.journal_data import FAILED, RUN, UPDATED, allow_pages, begin

LONG = FAILED._replace(error="long " * 20_000)


class StoppedClock(FakeClock):
    """A clock on which no wait ever ends: what happens anyway does not wait for time."""

    async def sleep(self, seconds: float) -> None:  # noqa: ARG002 - the protocol's
        await anyio.sleep_forever()


def updated(journal: Journal) -> int:
    return journal.account_counts(RUN)[Status.UPDATED]


@contextmanager
def commits(journal: Journal) -> Iterator[list[int]]:
    """Count the commits inside, in the list's only item."""
    count = [0]

    def committed(_connection: object) -> None:
        count[0] += 1

    event.listen(journal.database.dialect.engine, "commit", committed)
    yield count
    event.remove(journal.database.dialect.engine, "commit", committed)


async def until_updated(journal: Journal, count: int) -> None:
    with anyio.fail_after(20):
        while updated(journal) < count:
            await anyio.lowlevel.checkpoint()


async def test_outcomes_are_written_soon_without_being_asked(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "COMMIT_DELAY_S", 0.02)
    begin(journal, 10)
    clock = FakeClock()
    async with OutcomeWriter(journal, RUN, clock=clock) as writer:
        for start in (0, 5):
            for number in range(start, start + 5):
                writer.add(number, UPDATED)
            await clock.sleep(0.019)
            assert updated(journal) == start
            await clock.sleep(0.1)
            assert updated(journal) == start + 5


async def test_outcomes_of_a_few_milliseconds_share_one_commit(journal: Journal) -> None:
    begin(journal, 300)
    clock = FakeClock()
    async with OutcomeWriter(journal, RUN, clock=clock) as writer:
        with commits(journal) as count:
            for number in range(300):
                writer.add(number, UPDATED)
                await anyio.lowlevel.checkpoint()
            await clock.sleep(1)
            assert count == [1]
    assert updated(journal) == 300


async def test_a_full_group_does_not_wait(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "COMMIT_SIZE", 10)
    begin(journal, 30)
    async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:
        for number in range(9):
            writer.add(number, UPDATED)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        assert updated(journal) == 0
        writer.add(9, UPDATED)
        await until_updated(journal, 10)
        for number in range(10, 30):
            writer.add(number, UPDATED)
        await until_updated(journal, 30)


async def test_what_was_flushed_is_there(journal: Journal) -> None:
    begin(journal, 3)
    async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:
        await writer.flush()
        writer.add(0, UPDATED)
        writer.add(1, UPDATED)
        await writer.flush()
        assert updated(journal) == 2
        writer.add(2, UPDATED)
    assert updated(journal) == 3


async def test_a_later_outcome_of_an_account_wins(journal: Journal) -> None:
    begin(journal, 1)
    async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:
        writer.add(0, FAILED)
        writer.add(0, UPDATED)
        await writer.flush()
        assert updated(journal) == 1
        writer.add(0, FAILED)
    assert updated(journal) == 0


async def test_a_cancelled_run_keeps_its_outcomes(journal: Journal) -> None:
    begin(journal, 50)
    with anyio.CancelScope() as scope:
        async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:
            for number in range(40):
                writer.add(number, UPDATED)
            scope.cancel()
            try:
                await anyio.sleep_forever()
            finally:
                for number in range(40, 50):  # requests that were in flight tell what became of them
                    writer.add(number, UPDATED)
    assert scope.cancelled_caught
    assert updated(journal) == 50


async def test_a_task_cancelled_from_outside_keeps_its_outcomes(journal: Journal) -> None:
    begin(journal, 5)
    started = asyncio.Event()

    async def run() -> None:
        async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:
            for number in range(5):
                writer.add(number, UPDATED)
            started.set()
            await anyio.sleep_forever()

    task = asyncio.create_task(run())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert updated(journal) == 5


@pytest.mark.parametrize("pauses", range(8))
async def test_a_task_cancelled_from_outside_while_it_ends_keeps_its_outcomes(journal: Journal, pauses: int) -> None:
    """Asyncio's own cancellation, such as that on Ctrl+C, passes each shield."""
    begin(journal, 5)
    ending = asyncio.Event()

    async def run() -> None:
        async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:
            for number in range(5):
                writer.add(number, UPDATED)
            ending.set()

    before = asyncio.all_tasks()
    task = asyncio.create_task(run())
    await ending.wait()
    for _ in range(pauses):
        await asyncio.sleep(0)
    ended = task.done()
    task.cancel()
    done, _ = await asyncio.wait([task])
    assert done.pop().cancelled() is not ended
    assert asyncio.all_tasks() == before
    assert updated(journal) == 5


async def test_a_cancelled_flush_loses_nothing(journal: Journal) -> None:
    begin(journal, 6)
    async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:
        for number in range(3):
            writer.add(number, UPDATED)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await writer.flush()
        for number in range(3, 6):
            writer.add(number, UPDATED)
    assert updated(journal) == 6


async def test_an_error_of_the_run_leaves_as_it_is_and_loses_nothing(journal: Journal) -> None:
    begin(journal, 2)

    async def run() -> None:
        async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:
            writer.add(0, UPDATED)
            raise ValueError("the run's own")

    with pytest.raises(ValueError, match="the run's own"):
        await run()
    assert updated(journal) == 1


@pytest.mark.parametrize("added", [0, 1])
@pytest.mark.parametrize("pauses", range(4))
async def test_an_error_leaves_at_whatever_moment(journal: Journal, added: int, pauses: int) -> None:
    """Whether the writer has nothing to do, waits for more, or has just begun."""
    begin(journal, 10)

    async def run() -> None:
        async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:
            for number in range(added):
                writer.add(number, UPDATED)
            for _ in range(pauses):
                await anyio.lowlevel.checkpoint()
            raise ValueError("the run's own")

    with pytest.raises(ValueError, match="the run's own"):
        await run()
    assert updated(journal) == added


async def test_a_closed_writer_takes_nothing(journal: Journal) -> None:
    begin(journal, 2)
    async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:
        writer.add(0, UPDATED)
        await writer.aclose()
        assert updated(journal) == 1
        with pytest.raises(RuntimeError, match="closed"):
            writer.add(1, UPDATED)
        await writer.aclose()


async def test_a_full_disk_stops_the_run_at_once_and_is_tried_again_at_the_end(file_journal: Journal) -> None:
    journal = file_journal
    begin(journal, 20)
    allow_pages(journal, 1)
    stopped = False

    async def run() -> None:
        nonlocal stopped
        async with OutcomeWriter(journal, RUN, clock=FakeClock()) as writer:
            writer.add(0, LONG)
            writer.add(1, UPDATED)
            try:
                await anyio.sleep_forever()
            finally:
                stopped = True
                assert isinstance(writer._failure, StateFullError)
                assert updated(journal) == 0
                writer.add(2, UPDATED)
                allow_pages(journal, 0)  # somebody made room

    with pytest.raises(StateFullError):
        await run()
    assert stopped
    assert updated(journal) == 2
    assert journal.account_counts(RUN)[Status.FAILED] == 1


async def test_a_disk_that_stays_full_is_told_at_the_end_too(file_journal: Journal) -> None:
    journal = file_journal
    begin(journal, 20)
    allow_pages(journal, 1)

    async def run() -> None:
        async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:
            writer.add(0, LONG)

    with pytest.raises(StateFullError):
        await run()
    assert journal.account_counts(RUN)[Status.PENDING] == 20


async def test_a_full_disk_is_told_although_the_run_was_cancelled(file_journal: Journal) -> None:
    journal = file_journal
    begin(journal, 20)
    allow_pages(journal, 1)

    async def run() -> None:
        with anyio.CancelScope() as scope:
            async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:
                writer.add(0, LONG)
                scope.cancel()
                await anyio.sleep_forever()

    with pytest.raises(StateFullError):
        await run()


async def test_a_failed_flush_keeps_its_outcomes_in_order(file_journal: Journal) -> None:
    journal = file_journal
    begin(journal, 20)
    allow_pages(journal, 1)

    async def run() -> None:
        async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:
            writer.add(0, LONG)
            with pytest.raises(StateFullError):
                await writer.flush()
            allow_pages(journal, 0)
            writer.add(0, UPDATED)
            await writer.flush()
            assert updated(journal) == 1
            allow_pages(journal, 1)
            writer.add(1, LONG._replace(error=LONG.error * 3))

    with pytest.raises(StateFullError):
        await run()


async def test_what_is_added_while_a_group_fails_is_kept_and_written_after_it(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(journal, 1)
    async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:

        def failing(*_: object) -> None:
            anyio.from_thread.run_sync(writer.add, 0, UPDATED)
            raise StateError("The disk is full.")

        writer.add(0, FAILED)
        with monkeypatch.context() as full:
            full.setattr(journal, "settle", failing)
            with pytest.raises(StateError):
                await writer.flush()
    assert updated(journal) == 1


async def test_an_outcome_that_belongs_nowhere_stops_the_run(journal: Journal) -> None:
    begin(journal, 2)

    async def run() -> None:
        async with OutcomeWriter(journal, RUN, clock=FakeClock()) as writer:
            writer.add(99, UPDATED)
            await anyio.sleep_forever()

    with pytest.raises(StateError, match="lacks"):
        await run()


async def test_the_caller_waits_only_when_too_many_outcomes_wait_for_the_disk(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MAX_PENDING", 5)
    begin(journal, 10)
    async with OutcomeWriter(journal, RUN, clock=StoppedClock()) as writer:
        for number in range(4):
            writer.add(number, UPDATED)
        await writer.wait_for_capacity()
        assert updated(journal) == 0
        writer.add(4, UPDATED)
        await writer.wait_for_capacity()
        assert updated(journal) == 5
