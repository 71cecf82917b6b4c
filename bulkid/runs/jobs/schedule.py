"""When a job may send: windows of the day, ends, lengths; and a stop that comes in time before them.

A window is open whenever the local time is one of its times. On the two nights a year in which local time jumps, what
it skips is not waited for, and what it shows twice counts twice. Ends are searched minute by minute, which takes some
milliseconds for the longest night.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, tzinfo
from typing import NamedTuple

from bulkid.clock import Clock, iso_utc
from bulkid.engine.signals import Stop
from bulkid.model import DailyWindow, TimeOfDay
from bulkid.runs.concurrency import task_group, until_stopped
from bulkid.runs.options import Context
from bulkid.text import humanize_seconds

WAIT_FOR_WINDOW_S = 900.0
"""How long before its window a job may be started: it waits then. Clocks of schedulers are not this exact."""

MARGIN_S = 15.0
"""How long before an end nothing new is sent: what is in flight has 10 s to settle, then the report is written."""

MAX_MARGIN_SHARE = 0.1
"""The margin of what is short, as a share of what is left."""

CLOCK_CHECK_S = 20.0
"""How often the wall clock is read: it may be set, and a computer may sleep."""

_MINUTE_S = 60
_LONGEST_MIN = 3 * 24 * 60
_HALF_DAY_MIN = 12 * 60


def wall_clock(epoch_s: float, zone: tzinfo | None) -> datetime:
    """The local time of a zone, or of the computer."""
    moment = datetime.fromtimestamp(epoch_s, UTC)
    return moment.astimezone(zone)  # None: the computer's own zone


def is_open(window: DailyWindow, epoch_s: float, zone: tzinfo | None) -> bool:
    """Whether the local time is within the window."""
    shown = wall_clock(epoch_s, window.zone or zone).time()
    if window.start < window.end:
        return window.start <= shown < window.end
    return shown >= window.start or shown < window.end


def next_change(window: DailyWindow, epoch_s: float, zone: tzinfo | None) -> float:
    """When a window that is open closes, or one that is closed opens; seconds since the epoch."""
    begun = is_open(window, epoch_s, zone)
    return _first_minute(epoch_s, lambda moment: is_open(window, moment, zone) is not begun)


def next_time(wanted: TimeOfDay, epoch_s: float, zone: tzinfo | None) -> float:
    """When local time next reaches a time, or jumps over it; seconds since the epoch, after ``epoch_s``."""

    def minute(moment: float) -> int:
        return _minutes(wall_clock(moment, wanted.zone or zone).time())

    def is_reached(moment: float) -> bool:
        now, before = minute(moment), minute(moment - _MINUTE_S)
        passed = (now - before) % (24 * 60)
        if passed > _HALF_DAY_MIN:  # set back
            return now == _minutes(wanted.at)
        return 0 < (_minutes(wanted.at) - before) % (24 * 60) <= passed

    return _first_minute(epoch_s, is_reached)


def _minutes(shown: time) -> int:
    return shown.hour * 60 + shown.minute


def _first_minute(epoch_s: float, condition: Callable[[float], bool]) -> float:
    first = (int(epoch_s) // _MINUTE_S + 1) * _MINUTE_S
    moments = (float(first + number * _MINUTE_S) for number in range(_LONGEST_MIN))
    return next(moment for moment in moments if condition(moment))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a job may send."""

    window: DailyWindow | None = None
    zone: tzinfo | None = None  # of the hours that name none; None: the computer's
    until: TimeOfDay | None = None
    max_duration_s: float | None = None

    def opens_at(self, epoch_s: float) -> float | None:
        """When the window opens next; None while it is open, or when there is none."""
        if self.window is None or is_open(self.window, epoch_s, self.zone):
            return None
        return next_change(self.window, epoch_s, self.zone)

    def end(self, begun_s: float) -> "Deadline | None":
        """The first end that comes after work began at ``begun_s``, within the window; None: there is none."""
        ends = []
        if self.window is not None:
            closes_at = next_change(self.window, begun_s, self.zone)
            ends.append(Deadline(closes_at, f"Stopped: the window ends at {self.window.end:%H:%M}"))
        if self.until is not None:
            ends.append(
                Deadline(
                    next_time(self.until, begun_s, self.zone), f"Stopped: the run may last until {self.until.at:%H:%M}"
                )
            )
        if self.max_duration_s is not None:
            ends.append(
                Deadline(
                    begun_s + self.max_duration_s, f"Stopped: the run may last {humanize_seconds(self.max_duration_s)}"
                )
            )
        return min(ends, key=lambda end: end.at) if ends else None


class Deadline(NamedTuple):
    """A moment after which nothing may be sent."""

    at: float  # seconds since the epoch
    reason: str  # of the stop

    def stop_at(self, now_s: float) -> float:
        """When to stop, as seen from ``now_s``: so long before the end that what is in flight can settle."""
        return self.at - min(MARGIN_S, max(0.0, self.at - now_s) * MAX_MARGIN_SHARE)


async def sleep_until(clock: Clock, epoch_s: float) -> None:
    """Wait until the wall-clock time is there, also when the clock is set or the computer sleeps meanwhile."""
    while (left := epoch_s - clock.now()) > 0:
        await clock.sleep(min(left, CLOCK_CHECK_S))


@asynccontextmanager
async def stop_at_deadline(end: Deadline | None, stop: Stop, clock: Clock) -> AsyncIterator[None]:
    """Stop the work of the block in time before an end, and cut off at the end what has not settled by then."""
    if end is None:
        yield
        return
    stop_at = end.stop_at(clock.now())

    async def watch() -> None:
        await sleep_until(clock, stop_at)
        stop.request(end.reason)
        await sleep_until(clock, end.at)
        stop.abort()

    async with task_group() as tasks:
        tasks.start_soon(watch)
        yield
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def within_schedule(schedule: Schedule, context: Context) -> AsyncIterator[bool]:
    """Let the block work within the hours, and stop its work in time before their end.

    Yields:
        Whether it may work. A window that opens soon is waited for; else nothing may be begun.

    Raises:
        InterruptedRunError: A stop was requested while the window was waited for.
    """
    clock = context.clock
    zone = (schedule.window and schedule.window.zone) or schedule.zone
    # Asked again after a wait: a computer that slept meanwhile may have missed the whole window.
    while (opens_at := schedule.opens_at(clock.now())) is not None:
        shown = f"{wall_clock(opens_at, zone):%Y-%m-%d %H:%M} ({iso_utc(opens_at)})"
        if opens_at - clock.now() > WAIT_FOR_WINDOW_S:
            context.hooks.note(f"Outside of the window: nothing is begun. It opens at {shown}.")
            yield False
            return
        context.hooks.note(f"Waiting for the window, which opens at {shown}.")
        async with until_stopped(context.stop):
            await sleep_until(clock, opens_at)
    async with stop_at_deadline(schedule.end(clock.now()), context.stop, clock):
        yield True
