"""Limits and faults that requests meet: limits in rolling windows; faults drawn so that a test repeats."""

import math
from collections import Counter, deque
from collections.abc import Iterable
from hashlib import blake2b

from bulkid.model import QuotaRule
from bulkid.sandbox.options import FAULT_KINDS, Faults


class RollingLimits:
    """Decides whether one more request of a method is within every rule for it.

    A request counts from its arrival until exactly ``seconds`` later. All times are seconds on one monotonic clock.
    With ``count_refused`` a refused request counts too.
    """

    def __init__(self, rules: Iterable[QuotaRule], *, count_refused: bool = False) -> None:
        self.rules = tuple(rules)
        self._count_refused = count_refused
        self._windows: dict[str, list[tuple[QuotaRule, deque[float]]]] = {}
        for rule in self.rules:
            self._windows.setdefault(rule.method, []).append((rule, deque()))

    def admit(self, method: str, arrived: float) -> int | None:
        """Count a request, or refuse it: None when it is admitted; else the whole seconds until a slot opens, >= 1."""
        windows = self._windows.get(method, ())
        wait = 0.0
        for rule, arrivals in windows:
            _forget(arrivals, arrived - rule.seconds)
            if len(arrivals) >= rule.count:
                oldest = arrivals[len(arrivals) - rule.count] if rule.count else arrived
                wait = max(wait, oldest + rule.seconds - arrived)
        if wait <= 0 or self._count_refused:
            for _, arrivals in windows:
                arrivals.append(arrived)
        return max(1, math.ceil(wait)) if wait > 0 else None

    def remaining(self, method: str, now: float) -> tuple[QuotaRule, int, int] | None:
        """The rule that leaves a method the least, how much, and the whole seconds until all is free; None: no rule."""
        found: tuple[QuotaRule, int, int] | None = None
        for rule, arrivals in self._windows.get(method, ()):
            _forget(arrivals, now - rule.seconds)
            remaining = max(0, rule.count - len(arrivals))
            reset = math.ceil(arrivals[-1] + rule.seconds - now) if arrivals else 0
            if found is None or remaining < found[1]:
                found = rule, remaining, reset
        return found


def _forget(arrivals: deque[float], until: float) -> None:
    while arrivals and arrivals[0] <= until:
        arrivals.popleft()


_SPAN = 2**64


class FaultInjector:
    """Draws faults by the seed, the request and how often that request came before.

    The order in which concurrent requests arrive does not matter: the n-th PUT of an account meets the same fault in
    every run.
    """

    def __init__(self, seed: int, faults: Faults) -> None:
        self.faults = faults
        self._seed = seed
        self._seen: Counter[str] = Counter()
        self._any = faults.total > 0

    def draw(self, method: str, target: str) -> str:
        """The fault that this request meets, one of ``FAULT_KINDS``; "" for none."""
        if not self._any:
            return ""
        at = self._chance(f"{method} {target}")
        for kind in FAULT_KINDS:
            at -= getattr(self.faults, kind)
            if at < 0:
                return kind
        return ""

    def draw_token_error(self) -> bool:
        """Whether the token endpoint fails this time."""
        return self.faults.token_error > 0 and self._chance("token") < self.faults.token_error

    def _chance(self, key: str) -> float:
        """An even number in [0, 1)."""
        self._seen[key] += 1
        digest = blake2b(f"{self._seed}/{self._seen[key]}/{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / _SPAN
