"""Settings about hours: when a run may send, and for how long. A part of the one table (``table.py``)."""

import re
from dataclasses import dataclass, field
from datetime import time, tzinfo

from bulkid.config.parse import InvalidValueError, show, text
from bulkid.config.sending_settings import SendingSettings
from bulkid.config.setting import setting_field
from bulkid.model import DailyWindow, TimeOfDay

_TIME = r"([01]?[0-9]|2[0-3]):([0-5][0-9])"
_WINDOW = re.compile(rf"{_TIME} *- *{_TIME}")
_UNTIL = re.compile(_TIME)
_DURATION = re.compile(r"(?:([0-9]{1,4}) *h)? *(?:([0-9]{1,5}) *m)? *(?:([0-9]{1,7}) *s)?")
_MAX_DURATION_S = 366 * 86_400.0


def zone(raw: object) -> tzinfo:
    """A time zone by its name in the IANA database."""
    from zoneinfo import ZoneInfo

    name = text(raw)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name of a folder, such as Europe
        raise InvalidValueError("is no time zone that is known here", show(raw)) from None


def _with_zone(raw: object) -> tuple[str, tzinfo | None]:
    """Cut ``22:00-05:30 Europe/Berlin`` into what it says of the hours and what of the zone."""
    stripped = text(raw)
    match = re.search(r" ([A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*)$", stripped)
    return (stripped[: match.start()].rstrip(), zone(match[1])) if match else (stripped, None)


def window(raw: object) -> DailyWindow:
    """``HH:MM-HH:MM``, over midnight too; a time zone may follow."""
    stripped, where = _with_zone(raw)
    match = _WINDOW.fullmatch(stripped)
    if match is None:
        raise InvalidValueError("is not of the form HH:MM-HH:MM", show(raw))
    start, end = time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4]))
    if start == end:
        raise InvalidValueError("begins and ends at the same time", show(raw))
    return DailyWindow(start, end, where)


def until(raw: object) -> TimeOfDay:
    """``HH:MM``; a time zone may follow."""
    stripped, where = _with_zone(raw)
    match = _UNTIL.fullmatch(stripped)
    if match is None:
        raise InvalidValueError("is not of the form HH:MM", show(raw))
    return TimeOfDay(time(int(match[1]), int(match[2])), where)


def duration(raw: object) -> float:
    """Seconds from ``2h``, ``90m``, ``1h 30m``, ``45s`` or a number of seconds."""
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        seconds = float(raw)
    else:
        stripped = text(raw).lower()
        match = _DURATION.fullmatch(stripped)
        if stripped.isdecimal() and stripped.isascii():
            seconds = float(stripped[:12])
        elif match is not None and any(match.groups()):
            hours, minutes, rest = (float(part or 0) for part in match.groups())
            seconds = hours * 3600 + minutes * 60 + rest
        else:
            raise InvalidValueError("is not a length of time", show(raw))
    if not 1 <= seconds <= _MAX_DURATION_S:
        raise InvalidValueError("is out of range", show(raw))
    return seconds


@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False, eq=False)  # Settings makes these, once
class ScheduleSettings(SendingSettings):
    """The fields of ``Settings`` that are about hours, after those about sending."""

    window: DailyWindow | None = field(
        default=None,
        metadata=setting_field(
            window,
            "hours",
            "hours of each day in which a run may send; it stops before their end and goes on the next day",
            "HH:MM-HH:MM, such as 22:00-05:30, and a time zone if need be",
            default_text="all day",
            option="",
        ),
    )
    time_zone: tzinfo | None = field(
        default=None,
        metadata=setting_field(
            zone,
            "hours",
            "time zone of the hours that name none",
            "a name of the IANA database, such as Europe/Berlin",
            default_text="the computer's",
            option="",
        ),
    )
    until: TimeOfDay | None = field(
        default=None,
        metadata=setting_field(
            until,
            "hours",
            "stop before the clock shows this time",
            "HH:MM, such as 05:30, and a time zone if need be",
            default_text="no end",
        ),
    )
    max_duration: float | None = field(
        default=None,
        metadata=setting_field(
            duration,
            "hours",
            "stop after so long",
            "a length of time such as 2h, 90m, 1h 30m or 45s; a bare number is seconds",
            default_text="no end",
        ),
    )
