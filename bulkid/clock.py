"""The only source of time in bulkid, so that tests run on a fake clock and never wait."""

import re
import time
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

import anyio


class Clock(Protocol):
    """The time that bulkid uses; all values are seconds."""

    def now(self) -> float:
        """Wall-clock time: seconds since the Unix epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking the event loop; a cancellation ends the wait at once."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds since the Unix epoch, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking the event loop."""
        await anyio.sleep(seconds)


_FIRST_TIME_NAMESPACE: Final = 0xEFFFFFFA  # of the machine itself: PROC_TIME_INIT_INO of Linux


def boot_id() -> str:
    """What tells this boot of this machine from every other; empty where the system does not say.

    Monotonic time is common to all processes of one boot, and means nothing beyond it. It is empty in a container whose
    monotonic time is its own (a time namespace).
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    try:
        namespace = Path("/proc/self/ns/time").stat().st_ino
    except OSError:  # a kernel without time namespaces
        return boot
    return boot if namespace == _FIRST_TIME_NAMESPACE else ""


_MACHINE_ID: Final = Path("/etc/machine-id")


def machine_id() -> str:
    """What tells this machine from every other; empty where it is not known, as in most containers.

    A host name does not: a container may have the same one on each machine that it is started on. The number itself
    is confidential (https://www.freedesktop.org/software/systemd/man/latest/machine-id.html), so this is made from it.
    """
    try:
        number = _MACHINE_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    return sha256(f"bulkid {number}".encode()).hexdigest()[:16] if re.fullmatch("[0-9a-f]{32}", number) else ""


def iso_utc(epoch_s: float) -> str:
    """Write seconds since the epoch as ISO 8601 in UTC, to the second (``2026-01-31T08:15:00Z``)."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_time(text: str) -> datetime | None:
    """Read a time in ISO 8601, in UTC; one without a zone is in UTC. None for a text that is no such time."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # OverflowError: it is beyond the years that a date can have
        return None


def local_time(epoch_s: float, now_s: float) -> str:
    """``15:04 UTC+01:00``: a time by the computer's zone, with the date where it is not that of ``now_s``.

    Raises:
        ValueError, OverflowError, OSError: It is beyond the years that a date can have.
    """
    there, here = (datetime.fromtimestamp(each, UTC).astimezone() for each in (epoch_s, now_s))
    zone = timezone(there.utcoffset() or timedelta())  # an offset: the names of zones are not the same everywhere
    return there.astimezone(zone).strftime("%H:%M %Z" if there.date() == here.date() else "%Y-%m-%d %H:%M %Z")
