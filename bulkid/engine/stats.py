"""Counters of what the engine sends; the code that shows progress polls them."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

_NO_RESPONSE: Final = 0  # in place of a status class: the request left, and no response came
_SUCCESS: Final = 2
_RATE_WINDOW_S = 10.0  # requests per second are measured over about this long


@dataclass(slots=True)
class Stats:
    """What the engine has sent so far. Read it in the event loop's thread."""

    started_at: float = 0.0  # monotonic; set by the engine when it is made
    sent: Counter[str] = field(default_factory=Counter)  # per method: requests that left
    not_ok: Counter[tuple[str, int]] = field(default_factory=Counter)  # per method and status class (4: 4xx), but 2xx
    in_flight: int = 0
    retries: int = 0  # requests that had to be sent again, for whatever reason
    throttled: int = 0  # replies 429
    settled: int = 0  # tasks of `Engine.run` that are settled
    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def count_response(self, method: str, status: int | None) -> None:
        """Count the response to a request that left; None: there was none. The caller may leave out 2xx: the rest."""
        status_class = _NO_RESPONSE if status is None else status // 100
        if status_class != _SUCCESS:
            self.not_ok[method, status_class] += 1

    def responses(self) -> dict[str, dict[str, int]]:
        """Requests that left, per method and status class (``2xx``, ``4xx``, ``none``); in flight counts as 2xx."""
        found: dict[str, dict[str, int]] = {method: {"2xx": count} for method, count in self.sent.items()}
        for (method, status_class), count in sorted(self.not_ok.items()):
            classes = found.setdefault(method, {"2xx": 0})
            classes["none" if status_class == _NO_RESPONSE else f"{status_class}xx"] = count
            classes["2xx"] -= count
        return {
            method: {each: count for each, count in classes.items() if count > 0} for method, classes in found.items()
        }

    def per_second(self, now: float) -> float:
        """Requests per second over about the last ten seconds; ``now`` is monotonic, in seconds."""
        total = self.sent.total()
        samples = self._samples
        if not samples:
            samples.append((self.started_at, 0))
        while len(samples) > 1 and samples[1][0] <= now - _RATE_WINDOW_S:
            samples.popleft()
        since, then = samples[0]
        if now > samples[-1][0]:
            samples.append((now, total))
        return (total - then) / (now - since) if now > since else 0.0
