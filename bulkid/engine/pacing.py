"""Pacing beside the quota: by what the server says is left, and evenly by ``--rate``.

What a server says may be wrong, stale or hostile. So it can only make requests wait, and never longer than
`MAX_RESET_S`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bulkid.clock import Clock
from bulkid.engine.signals import Wakeup
from bulkid.logs import log
from bulkid.model import Reply

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

MAX_RESET_S: Final = 900.0
"""Seconds that one statement of the server can make requests wait: three of the vendor's windows."""

_MARGIN_S: Final = 0.01  # timers are coarse: never a moment too early


@dataclass(slots=True)
class _Window:
    """How many requests of a method are left until a moment."""

    remaining: int
    until: float  # monotonic
    next_window: tuple[int, float] | None = None  # remaining and until of a window that outlasts this one
    reported: bool = False  # that nothing is left

    def update(self, remaining: int, until: float) -> None:
        """Take in another reply: what leaves less is newer; what leaves more may be of the next window."""
        if remaining <= self.remaining:
            self.remaining = remaining
            self.until = max(self.until, until)
        elif until > self.until:
            known = self.next_window or (remaining, until)
            self.next_window = min(remaining, known[0]), max(until, known[1])


class ServerPacing:
    """The windows that the server's replies name, one per method. Belongs to one event loop.

    Replies come in any order; within a window the least that any of them left is the latest. The server may not have
    counted a request in flight yet, so each is subtracted. ``on_exhausted`` is called when nothing is left of a window.
    """

    def __init__(self, clock: Clock, on_exhausted: Callable[[], None] = lambda: None) -> None:
        self._clock = clock
        self._on_exhausted = on_exhausted
        self._windows: dict[str, _Window] = {}
        self._changed = Wakeup(clock)

    def allows(self, method: str, in_flight: int) -> bool:
        """Whether one more request may leave while ``in_flight`` are under way."""
        if not self._windows:
            return True
        window = self._window(method)
        return window is None or window.remaining > in_flight

    async def wait(self, method: str) -> None:
        """Wait until `allows` may have changed for a method."""
        window = self._window(method)
        if window is None:
            return
        if window.remaining <= 0 and not window.reported:
            window.reported = True
            log.info("pace.paused", method=method, wait_s=round(window.until - self._clock.monotonic(), 3))
            self._on_exhausted()
        await self._changed.wait(window.until - self._clock.monotonic())

    def seconds_until_free(self, method: str) -> float | None:
        """Seconds until a request of a method may leave, where the server says that nothing is left; else None."""
        window = self._window(method)
        return None if window is None or window.remaining > 0 else window.until - self._clock.monotonic()

    def response_received(self, method: str, reply: Reply | None) -> None:
        """Take in the reply to a request; None: it was cancelled on its way."""
        allowance = None if reply is None else reply.allowance
        if allowance is None and not self._windows:
            return  # as nearly always
        window = self._window(method)
        if allowance is None:
            if window is not None and (reply is None or reply.was_sent):
                window.remaining -= 1  # the server may have counted it
        elif (reset_s := bounded_reset(allowance.reset_s)) > 0:
            remaining, until = max(0, allowance.remaining), self._clock.monotonic() + reset_s + _MARGIN_S
            if window is None:
                self._windows[method] = _Window(remaining, until)
            else:
                window.update(remaining, until)
        self._changed.set()

    def _window(self, method: str) -> _Window | None:
        """The window of a method; None when the server has named none, or it is over."""
        window = self._windows.get(method)
        while window is not None and self._clock.monotonic() >= window.until:
            next_window = window.next_window
            window = None if next_window is None else _Window(*next_window)
            if window is None:
                del self._windows[method]
            else:
                self._windows[method] = window
        return window


def bounded_reset(reset_s: float) -> float:
    """A reset as a wait that can be kept: 0 for what is no number or lies in the past, at most `MAX_RESET_S`."""
    return min(reset_s, MAX_RESET_S) if reset_s > 0 and not math.isnan(reset_s) else 0.0


def smooth_rate(per_second: float) -> "AsyncLimiter":
    """Limit requests to ``per_second``, evenly spaced, with no burst (``--rate``).

    aiolimiter measures by the event loop's own clock, which no fake clock can move.

    Raises:
        ValueError: The rate is not above zero.
    """
    from aiolimiter import AsyncLimiter

    if not per_second > 0:
        raise ValueError(f"a rate must be above zero: {per_second}")
    return AsyncLimiter(1, 1 / per_second)
