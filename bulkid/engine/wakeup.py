"""A wait that ends at a time, or earlier when somebody rings."""

import anyio

from bulkid.clock import Clock

_TICK_S = 1e-6  # shorter than any timer, longer than any clock's rounding: whoever waits for a moment gets past it


class Wakeup:
    """Where tasks wait for something to change; a ring wakes all that wait now and is not remembered.

    So look first, then wait, with no await between the two: nothing can be missed.

    Args:
        clock: Measures the waits.
    """

    __slots__ = ("_clock", "_scopes")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._scopes: list[anyio.CancelScope] = []

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until rung, or at most ``seconds``."""
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
        """Wake everybody who waits."""
        scopes, self._scopes = self._scopes, []
        for scope in scopes:
            scope.cancel()

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return len(self._scopes)
