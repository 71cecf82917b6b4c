"""How long a plan takes at the least."""

import math
from collections.abc import Iterable

from bulkid.model import QuotaRule


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
