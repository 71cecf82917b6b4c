"""How long a plan takes at the least, and how to say it."""

import math
from collections.abc import Iterable

from bulkid.model import QuotaRule

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def minimum_seconds(requests: int, rules: Iterable[QuotaRule], method: str, rate: float | None = None) -> float:
    """Give the least time in which a number of requests can be sent.

    A rolling window of T seconds for N requests lets the first N leave at once and N more every T: (ceil(M/N) - 1) x T.

    Args:
        requests: How many there are (M).
        rules: The quotas; those of other methods are passed over.
        method: The HTTP method of the requests.
        rate: Requests per second that may leave at most, the first of them at once; None for no such limit.

    Returns:
        Seconds; 0 when nothing limits the sending, infinity when a quota lets nothing through.
    """
    if requests <= 0:
        return 0.0
    least = 0.0 if rate is None else ((requests - 1) / rate if rate > 0 else math.inf)
    for rule in rules:
        if rule.method.upper() == method.upper():
            windows = math.inf if rule.count <= 0 else -(-requests // rule.count) - 1
            least = max(least, windows * rule.seconds if windows else 0.0)
    return least


def humanize_seconds(seconds: float) -> str:
    """Write a time as people say it, in its two largest units: ``4 minutes 50 seconds``, ``5 hours 10 minutes``.

    Args:
        seconds: The time; what is negative is taken as none.
    """
    if math.isinf(seconds) or math.isnan(seconds):
        return "for ever"
    if 0 < seconds < 1:
        return "less than a second"
    # Rounded to the smaller unit shown, before it is taken apart: 59 minutes 59.7 seconds is an hour.
    rest = round(max(seconds, 0.0))
    for size, _ in _UNITS[:2]:
        if rest >= size:
            smaller = size // 24 if size == _UNITS[0][0] else 60
            rest = round(seconds / smaller) * smaller  # not of what is rounded already
            break
    parts = []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count:,} {unit if count == 1 else unit + 's'}")
    return " ".join(parts) or "0 seconds"
