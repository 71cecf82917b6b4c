"""The headers by which a server says what is left of its limits, in each form of the IETF's drafts.

    RateLimit-Limit: 160        RateLimit: limit=160, remaining=12, reset=40
    RateLimit-Remaining: 12     RateLimit: "default";r=12;t=40
    RateLimit-Reset: 40         RateLimit-Policy: 160;w=300

``X-RateLimit-*`` is not read: each vendor means something else by its reset (seconds, an epoch, a date).
"""

import re
from collections.abc import Mapping
from typing import Final

from multidict import istr

from bulkid.model import Allowance

RATE_LIMIT: Final = istr("RateLimit")
REMAINING: Final = istr("RateLimit-Remaining")
_RESET: Final = istr("RateLimit-Reset")
_POLICY: Final = istr("RateLimit-Policy")

_LONGEST: Final = 1000  # characters of a header that are read
_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?", re.ASCII)
_PARAMETER = re.compile(r"([a-z]+)\s*=\s*([0-9.]{1,16})(?![^\s,;])", re.ASCII)
_NAMES: Final = {"r": "remaining", "t": "reset", "remaining": "remaining", "reset": "reset"}


def read_allowance(headers: Mapping[str, str]) -> Allowance | None:
    """Give what is left, and until when; of several limits the one that leaves the least.

    None when the headers (matched without regard to case) are missing or say nothing usable.
    """
    window = _policy_window(headers.get(_POLICY, ""))
    found = [
        allowance
        for item in _items(headers.get(RATE_LIMIT, ""))
        if (allowance := _allowance(item.get("remaining", ""), item.get("reset", ""), window)) is not None
    ]
    single = _allowance(headers.get(REMAINING, ""), headers.get(_RESET, ""), window)
    if single is not None:
        found.append(single)
    return min(found, key=lambda each: (each.remaining, -each.reset_s), default=None)


def _items(value: str) -> list[dict[str, str]]:
    """The limits that a RateLimit header lists. Its older form has one, whose parts are separated by commas."""
    value = value[:_LONGEST].lower()
    parts = [value] if "remaining" in value else value.split(",")
    return [{_NAMES[key]: count for key, count in _PARAMETER.findall(part) if key in _NAMES} for part in parts]


def _allowance(remaining: str, reset: str, window: float | None) -> Allowance | None:
    count = _COUNT.fullmatch(remaining.strip())
    seconds = _SECONDS.fullmatch(reset.strip())
    reset_s = window if seconds is None and not reset.strip() else (float(seconds[0]) if seconds else None)
    return None if count is None or reset_s is None else Allowance(int(count[0]), reset_s)


def _policy_window(value: str) -> float | None:
    """The longest window that a policy names, in seconds: what the reset can be at most, where it is not said."""
    named = _PARAMETER.findall(value[:_LONGEST].lower())
    windows = [float(number) for name, number in named if name == "w" and _SECONDS.fullmatch(number)]
    return max(windows, default=None)
