"""A server that takes the same time for each request, one after the other, whatever the machine does meanwhile."""

from collections import deque
from collections.abc import Callable


class Backlog:
    """Holds each response back until a server that takes ``cost_s`` seconds for each request would send it.

    As long as requests wait, the cost includes the work of this process and the time in which it has no processor.
    Otherwise the cost would depend on the client: in a virtual machine the server takes 20 us to wake a client that
    sleeps, and the threads of a client may run on the server's processor.

    Timers are too coarse, so the backlog looks at the clock again and again, and keeps the processor busy.

    Args:
        cost_s: Seconds that the server takes for a request.
        now: Gives the time in seconds.
        call_soon: Calls a function after the event loop has taken the requests that have come in.
    """

    def __init__(
        self, cost_s: float, now: Callable[[], float], call_soon: Callable[[Callable[[], None]], object]
    ) -> None:
        self.idle_s = 0.0  # seconds in which no request waited, from the first request to the last
        self._cost_s = cost_s
        self._now = now
        self._call_soon = call_soon
        self._free_at: float | None = None  # when the server has finished all requests that have come in
        self._responses: deque[tuple[float, Callable[[], None]]] = deque()  # when each is due, and what sends it

    def add(self, send: Callable[[], None]) -> None:
        """Take a request that comes in now, and call ``send`` when its response is due."""
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
            _, send = self._responses.popleft()
            send()
        if self._responses:
            self._call_soon(self._send_due)
