"""``--rate``: requests evenly spaced, with no burst. No quota: see `bulkid.engine.quota` for that."""


class SmoothRate:
    """At most ``per_second`` requests a second, one after another.

    Measured by the event loop's own clock (aiolimiter's choice), which no fake clock can move.

    Args:
        per_second: Above zero; may be a fraction.

    Raises:
        ValueError: A rate that lets nothing through, ever.
    """

    def __init__(self, per_second: float) -> None:
        from aiolimiter import AsyncLimiter

        if not per_second > 0:
            raise ValueError(f"a rate must be above zero: {per_second}")
        self._limiter = AsyncLimiter(1, 1 / per_second)

    async def wait(self) -> None:
        """Wait for the next turn."""
        await self._limiter.acquire()
