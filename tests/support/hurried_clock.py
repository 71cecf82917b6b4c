"""A clock that really waits, but only for a short time."""

import time

import anyio


class Hurried:
    """The machine's clock, but time passes so many times as fast: the waits are real, and short."""

    def __init__(self, times: float = 10.0) -> None:
        self._times = times

    def now(self) -> float:
        """Seconds since the epoch, as they are."""
        return time.time()

    def monotonic(self) -> float:
        """Ten times the seconds that really passed, or however many."""
        return time.monotonic() * self._times

    async def sleep(self, seconds: float) -> None:
        """Wait a tenth, or so."""
        await anyio.sleep(seconds / self._times)
