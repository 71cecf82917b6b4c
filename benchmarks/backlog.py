"""A server that takes the same time for each request, one after the other, whatever the machine does meanwhile."""

import asyncio
from collections import deque
from collections.abc import Callable


class Backlog:
    """Holds responses back until a server would send them that takes ``cost_s`` seconds for each request.

    What this process itself does for a request, and a time in which it has no processor, are a part of the cost, as
    long as requests wait. Without that, the cost would not be the same for each client: in a virtual machine it takes
    20 us to wake a client that sleeps, and the threads of a client may take the processor away.

    It asks for the time again and again, since timers are too coarse, so it keeps the processor busy.

    Args:
        cost_s: The time.
        now: Gives the time in seconds.
        call_soon: Calls a function when the requests that came in were taken.
    """

    def __init__(
        self,
        cost_s: float,
        now: Callable[[], float],
        call_soon: Callable[[Callable[[], None]], object] = lambda function: asyncio.get_running_loop().call_soon(
            function
        ),
    ) -> None:
        self.idle_s = 0.0  # how long no request waited, from the first one to the last one
        self._cost_s = cost_s
        self._now = now
        self._call_soon = call_soon
        self._free_at: float | None = None  # when the server has done all requests that came in so far
        self._responses: deque[tuple[float, Callable[[], None]]] = deque()

    def add(self, send: Callable[[], None]) -> None:
        """Take a request that came in now; ``send`` is called when its response is due."""
        now = self._now()
        if self._free_at is None:
            self._free_at = now
        elif self._free_at < now:
            self.idle_s += now - self._free_at
            self._free_at = now
        self._free_at += self._cost_s
        self._responses.append((self._free_at, send))
        if len(self._responses) == 1:
            self._call_soon(self._send_due)

    def _send_due(self) -> None:
        while self._responses and self._responses[0][0] <= self._now():
            self._responses.popleft()[1]()
        if self._responses:
            self._call_soon(self._send_due)
