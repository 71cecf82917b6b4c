"""The ledger's own time: never faster than true time, never back, and one for all processes on a database.

Wall-clock time can be set, and monotonic time means nothing to another machine or after a restart. So the ledger keeps
a time of its own in the database, anchored to a clock that all its processes share: in a file, the monotonic clock of
the machine's present boot; on a server, the server's wall clock, checked by each process's own monotonic clock. Where
it is not known how much time has passed (another boot), none has: a window may then last longer, never shorter. So
what lies within a window of true time lies within a window of this time, too.
"""

from typing import NamedTuple


class ClockReading(NamedTuple):
    """What the clocks show at one moment."""

    source: str  # whose clock is shared: "MACHINE BOOT", "HOST " where the boot is not known, or "server"
    clock: float  # seconds on it
    before: float  # this process's monotonic time before the shared clock was read ...
    after: float  # ... and after it


class QuotaClock(NamedTuple):
    """The ledger's time at the last exchange, and how to go on from there."""

    source: str
    clock_at_anchor: float
    time_at_anchor: float
    last_time: float
    ticks: int  # exchanges so far

    @staticmethod
    def begin(reading: ClockReading, wall: float) -> "QuotaClock":
        """Begin at wall-clock time, which people can read; any number would do."""
        return QuotaClock(reading.source, reading.clock, wall, wall, 1)

    def at(self, reading: ClockReading, last: "LastExchange | None" = None) -> "QuotaClock":
        """Advance to a reading; ``last`` is this process's own last exchange, None where it had none."""
        time, same_clock = self.last_time, _same_clock(self.source, reading.source)
        if same_clock:
            time = max(time, self.time_at_anchor + reading.clock - self.clock_at_anchor)
        else:
            time += _since_boot(self.source, reading)
        if last is not None:
            # The server's clock may have been set; this process's own shows how much time can have passed.
            time = min(time, last.time + reading.after - last.reading.before)
            if last.ticks == self.ticks:  # no other process has used the ledger since
                time = max(time, last.time + reading.before - last.reading.after)
        time = max(time, self.last_time)
        projected = self.time_at_anchor + reading.clock - self.clock_at_anchor
        if same_clock and abs(time - projected) < _SAME_S:
            return self._replace(last_time=time, ticks=self.ticks + 1)
        return QuotaClock(reading.source, reading.clock, time, time, self.ticks + 1)


class LastExchange(NamedTuple):
    """The last exchange of this process."""

    time: float
    ticks: int
    reading: ClockReading


_SAME_S = 1e-6  # the anchor stays, so that rounding does not add up


def _same_clock(source: str, other: str) -> bool:
    """Whether two sources are one clock: each container of a machine has a host name of its own, in one boot."""
    boot, other_boot = source.rpartition(" ")[2], other.rpartition(" ")[2]
    return source == other or (boot == other_boot != "")


def _since_boot(source: str, reading: ClockReading) -> float:
    """Seconds that have surely passed since the last exchange: those since this boot of the same machine (Linux)."""
    machine, _, boot = reading.source.rpartition(" ")
    old_machine, _, old_boot = source.rpartition(" ")
    rebooted = machine == old_machine != "" and boot and old_boot and boot != old_boot
    return max(0.0, reading.clock) if rebooted else 0.0
