"""A deadline for each request, with one timer for all.

A timer per request costs more (medians of paired runs on uvloop, as a part of the whole request: a cancel scope 18 %,
``asyncio.timeout`` 13 %, ``ClientTimeout(total=)`` 12 %, a bare timer handle 6 %, this 4 %). All requests have the same
time, so the one that began first is the first to be overdue: a single timer, for that one, is enough.
"""

import asyncio


class InFlightRequest:
    """One request under way, from :meth:`RequestTimeouts.begin` to :meth:`RequestTimeouts.end`."""

    __slots__ = ("_cancelling_before", "_expired", "started", "task")

    def __init__(self, task: "asyncio.Task[object]", started: float) -> None:
        self.task = task
        self.started = started
        self._cancelling_before = task.cancelling()
        self._expired = False

    def time_out(self) -> None:
        """End the request: its task sees a cancellation, which :meth:`timed_out` then claims."""
        if not self._expired:
            self._expired = True
            self.task.cancel()

    def timed_out(self) -> bool:
        """Whether a cancellation that the task sees is this deadline's, and nobody else's.

        To be asked once after a cancellation: it takes the deadline's own one back, as ``asyncio.timeout`` does. When
        somebody else has cancelled the task too, theirs counts, and the cancellation must go on.
        """
        if not self._expired:
            return False
        self._expired = False
        return self.task.uncancel() <= self._cancelling_before


class RequestTimeouts:
    """The deadlines of all requests of one client.

    Args:
        timeout_s: Seconds that each request has.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._in_flight: dict[InFlightRequest, None] = {}  # in the order of their starts
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> InFlightRequest:
        """Start the time of a request that the current task is about to send."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("requests are sent from within a task")
        in_flight = InFlightRequest(task, self._loop.time())
        self._in_flight[in_flight] = None
        if self._timer is None:
            self._timer = self._loop.call_at(in_flight.started + self._timeout_s, self._time_out_overdue)
        return in_flight

    def end(self, in_flight: InFlightRequest) -> None:
        """The request has come to its end, whichever."""
        del self._in_flight[in_flight]
        in_flight.timed_out()  # if the caller did not ask: the task must not stay marked

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out_overdue(self) -> None:
        """Cut off what is overdue, and look again when the next will be."""
        now = self._loop.time()
        self._timer = None
        for in_flight in tuple(self._in_flight):
            due = in_flight.started + self._timeout_s
            if due > now:
                self._timer = self._loop.call_at(due, self._time_out_overdue)
                return
            in_flight.time_out()
