"""Limits per method in rolling windows, over the arrival of requests."""

import math
from collections import deque
from collections.abc import Iterable

from bulkid.model import QuotaRule


class RollingLimits:
    """Decides whether one more request of a method is within every rule for it.

    A request counts from its arrival until exactly ``seconds`` later. All times are seconds on one monotonic clock.

    Args:
        count_refused: Whether a refused request counts too, so that hammering keeps the door shut.
    """

    def __init__(self, rules: Iterable[QuotaRule], *, count_refused: bool = False) -> None:
        self.rules = tuple(rules)
        self._count_refused = count_refused
        self._windows: dict[str, list[tuple[QuotaRule, deque[float]]]] = {}
        for rule in self.rules:
            self._windows.setdefault(rule.method, []).append((rule, deque()))

    def admit(self, method: str, arrived: float) -> int | None:
        """Count a request, or refuse it.

        Returns:
            None when it is admitted; else the whole seconds until a slot opens, at least 1.
        """
        windows = self._windows.get(method, ())
        wait = 0.0
        for rule, arrivals in windows:
            while arrivals and arrivals[0] <= arrived - rule.seconds:
                arrivals.popleft()
            if len(arrivals) >= rule.count:
                oldest = arrivals[len(arrivals) - rule.count] if rule.count else arrived
                wait = max(wait, oldest + rule.seconds - arrived)
        if wait <= 0 or self._count_refused:
            for _, arrivals in windows:
                arrivals.append(arrived)
        return max(1, math.ceil(wait)) if wait > 0 else None

    def left(self, method: str, now: float) -> tuple[QuotaRule, int, int] | None:
        """The rule that leaves the least to a method, what it leaves, and the whole seconds until all of it is free.

        None where no rule counts the method.
        """
        found: tuple[QuotaRule, int, int] | None = None
        for rule, arrivals in self._windows.get(method, ()):
            used = [at for at in arrivals if at > now - rule.seconds]
            remaining = max(0, rule.count - len(used))
            reset = math.ceil(used[-1] + rule.seconds - now) if used else 0
            if found is None or remaining < found[1]:
                found = rule, remaining, reset
        return found
