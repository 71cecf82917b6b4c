"""How many refused requests the audit log records, so that refusals cannot fill it and push out what matters."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class RefusalLimit:
    """Decides which refused requests are recorded: the first of each source, and a bounded number in all.

    Args:
        monotonic: Seconds that only go forward.
        window_s: Seconds for which a recorded refusal counts.
        per_source: Refusals of one address, or of one user, that are recorded in that time.
        max_total: Refusals of all sources that are recorded in that time.
    """

    monotonic: Callable[[], float]
    window_s: float = 600.0
    per_source: int = 10
    max_total: int = 100
    _recorded: deque[tuple[float, str]] = field(default_factory=deque)
    _omitted_count: int = 0

    def admit(self, source: str) -> int | None:
        """Return None for a refusal that is not to be recorded, else how many were left out since the last record."""
        now = self.monotonic()
        while self._recorded and self._recorded[0][0] + self.window_s <= now:
            self._recorded.popleft()
        mine = sum(1 for _, each in self._recorded if each == source)
        if mine >= self.per_source or len(self._recorded) >= self.max_total:
            self._omitted_count += 1
            return None
        self._recorded.append((now, source))
        left_out, self._omitted_count = self._omitted_count, 0
        return left_out
