"""What tasks wait for: a wakeup by another task, or a request to stop."""

import anyio

from bulkid.clock import Clock

_TICK_S = 1e-6  # shorter than any timer, longer than any clock's rounding: a wait until a moment ends after it


class Wakeup:
    """Where tasks wait for something to change; `set` wakes all that wait now and is not remembered.

    So a task checks first, then waits, with no await between the two: it misses nothing.
    """

    __slots__ = ("_clock", "_scopes")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._scopes: list[anyio.CancelScope] = []

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until `set` is called, or at most ``seconds``."""
        with anyio.CancelScope() as scope:
            self._scopes.append(scope)
            try:
                if seconds is None:
                    await anyio.sleep_forever()
                else:
                    await self._clock.sleep(max(seconds, _TICK_S))
            finally:
                if scope in self._scopes:
                    self._scopes.remove(scope)

    def set(self) -> None:
        """Wake every task that waits."""
        scopes, self._scopes = self._scopes, []
        for scope in scopes:
            scope.cancel()

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return len(self._scopes)


class Stop:
    """A request to stop. The first reason given is kept; asking again changes nothing.

    A reason is a sentence without its full stop, such as ``Stopped with Ctrl+C``.

    Belongs to the event loop's thread: from a signal handler or another thread use
    ``loop.call_soon_threadsafe(stop.request, "Stopped")``.
    """

    def __init__(self) -> None:
        self.requested = False  # take nothing new; what is in flight may settle
        self.aborted = False  # what is in flight is cancelled
        self.reason = ""
        self._requested = anyio.Event()
        self._aborted = anyio.Event()

    def request(self, reason: str) -> None:
        """Take nothing new, and let what is in flight settle. The reason is for the logs and the caller."""
        if not self.requested:
            self.requested = True
            self.reason = reason
            self._requested.set()

    def abort(self) -> None:
        """Stop now: what is in flight is cancelled, and stays unknown."""
        self.request("Stopped at once")
        self.aborted = True
        self._aborted.set()

    async def wait(self) -> None:
        """Wait until a stop is requested."""
        await self._requested.wait()

    async def wait_aborted(self) -> None:
        """Wait until a stop at once is requested."""
        await self._aborted.wait()
