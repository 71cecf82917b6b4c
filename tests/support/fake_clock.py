"""A clock for tests: time passes only when every task waits for it, and then at once.

The loop's selector is asked for events whenever no task can run. At that moment, and not before, the clock moves to the
next sleeper. So a test that "waits" for hours ends in milliseconds, and the order of events is the same each time.

    clock = FakeClock()
    await clock.sleep(300)        # returns at once; clock.monotonic() is 300 later

Real sockets and threads take real time of which this clock knows nothing: while a thread of anyio (or whatever ``busy``
says) is at work, time stands still and the loop really waits.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

T = TypeVar("T")

WALL_START = 1_700_000_000.0  # seconds since the epoch: 2023-11-14T22:13:20Z
MONOTONIC_START = 1024.0


class FakeClock:
    """Implements `bulkid.clock.Clock`; starts at fixed times, the same in each test.

    Args:
        busy: Says whether something outside the loop is at work, so that time must stand still.
    """

    def __init__(self, busy: Callable[[], bool] = lambda: False) -> None:
        self._elapsed = 0.0
        self._wall_offset = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._busy = busy
        self._loops: set[int] = set()

    @property
    def elapsed(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed

    def now(self) -> float:
        return WALL_START + self._elapsed + self._wall_offset

    def monotonic(self) -> float:
        return MONOTONIC_START + self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has moved by ``seconds``; it does so by itself when nothing else can run."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        loop = asyncio.get_running_loop()
        self._watch(loop)
        future = loop.create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._numbers), future))
        await future

    def advance(self, seconds: float) -> None:
        """Move the clock by hand; sleepers whose time has come wake at the loop's next turn."""
        self._elapsed += seconds
        while self._sleepers and self._sleepers[0][0] <= self._elapsed:
            self._wake(heapq.heappop(self._sleepers)[2])

    def set_wall(self, seconds: float) -> None:
        """Set the wall clock forward, or back when negative, as an administrator does; no time passes by that."""
        self._wall_offset += seconds

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if id(loop) in self._loops:
            return
        self._loops.add(id(loop))
        selector = loop._selector  # type: ignore[attr-defined]
        limiter = anyio.to_thread.current_default_thread_limiter()
        real_select = selector.select

        def select(timeout: float | None = None) -> Any:
            if timeout is not None and timeout <= 0:
                return real_select(timeout)  # some task can run
            events = real_select(0)
            if events or limiter.borrowed_tokens or self._busy():
                return events or real_select(timeout)
            if not self._step():
                return real_select(timeout)
            return []

        selector.select = select

    def _step(self) -> bool:
        """Move to the next sleeper and wake all that are due then; False when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)  # cancelled
        if not self._sleepers:
            return False
        self._elapsed = max(self._elapsed, self._sleepers[0][0])
        self.advance(0)
        return True

    @staticmethod
    def _wake(future: "asyncio.Future[None]") -> None:
        if not future.done():
            future.set_result(None)


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` in an event loop of its own; for tests that need many, such as hypothesis makes."""
    return asyncio.run(main())
