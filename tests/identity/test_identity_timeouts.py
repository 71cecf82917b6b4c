"""Each request has its own timeout, which is never confused with a cancellation by the caller."""

import asyncio

import anyio
import pytest

from bulkid.identity.timeouts import RequestTimeouts


async def _fly(timeouts: RequestTimeouts, seconds: float) -> str:
    """What ``IdentityClient.send`` does, with a wait in the place of a request."""
    flight = timeouts.begin()
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if flight.timed_out():
            return "overdue"
        raise
    finally:
        timeouts.end(flight)
    return "landed"


async def test_an_overdue_request_is_timed_out_and_one_in_time_is_not() -> None:
    timeouts = RequestTimeouts(0.05)
    assert await asyncio.gather(_fly(timeouts, 60), _fly(timeouts, 0), _fly(timeouts, 60)) == [
        "overdue",
        "landed",
        "overdue",
    ]
    assert await _fly(timeouts, 0) == "landed"
    assert await _fly(timeouts, 60) == "overdue"


async def test_each_request_has_its_own_timeout_though_there_is_one_timer() -> None:
    timeouts = RequestTimeouts(0.1)
    loop = asyncio.get_running_loop()

    async def later(delay: float) -> float:
        await asyncio.sleep(delay)
        started = loop.time()
        assert await _fly(timeouts, 60) == "overdue"
        return loop.time() - started

    for lasted in await asyncio.gather(*(later(delay) for delay in (0, 0.03, 0.06))):
        assert lasted >= 0.099


async def test_a_task_goes_on_unmarked_after_its_request_timed_out() -> None:
    timeouts = RequestTimeouts(0.01)
    assert await _fly(timeouts, 60) == "overdue"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_cancellation_by_the_caller_goes_on_to_the_caller() -> None:
    timeouts = RequestTimeouts(60)
    with anyio.move_on_after(0.01) as scope:
        await _fly(timeouts, 60)
    assert scope.cancelled_caught
    task = asyncio.create_task(_fly(timeouts, 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("first", ["caller", "deadline"])
async def test_when_both_come_at_once_the_cancellation_wins(first: str) -> None:
    timeouts = RequestTimeouts(60)
    task = asyncio.create_task(_fly(timeouts, 60))
    await asyncio.sleep(0)
    (flight,) = timeouts._in_flight
    if first == "caller":
        task.cancel()
    flight.time_out()
    if first == "deadline":
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_request_that_fails_after_it_timed_out_leaves_no_mark_either() -> None:
    timeouts = RequestTimeouts(0.01)
    task = asyncio.current_task()
    assert task is not None
    flight = timeouts.begin()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        pass
    finally:
        timeouts.end(flight)
    assert task.cancelling() == 0


async def test_closed_timeouts_have_no_timer() -> None:
    timeouts = RequestTimeouts(60)
    flight = timeouts.begin()
    assert timeouts._timer is not None
    timeouts.end(flight)
    timeouts.close()
    assert timeouts._timer is None
