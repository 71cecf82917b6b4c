"""The live figures of a run. The terminal and the console poll them, so that showing them does not slow the sending."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from bulkid.engine import Engine
from bulkid.model import QuotaRule
from bulkid.text import humanize_seconds


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far the sending is at one moment."""

    done: int
    total: int
    updated: int
    failed: int
    per_second: float
    quota_left: int | None  # PUTs that may leave at once; None: no quota
    quota_opens_in: float | None  # seconds until the next PUT may leave, when none is left
    server_retry_in: float | None  # seconds until the server is asked again, while it throttles or is away
    eta_s: float | None  # seconds until the end, as far as it can be told
    pace_opens_in: float | None = None  # seconds until PUTs go on, while the server says that nothing is left for them

    @property
    def server_limit(self) -> str:
        """What the server lets through at present, as words; "" while it limits nothing."""
        breaker, pacing = self.server_retry_in, self.pace_opens_in
        if pacing is not None and pacing >= (breaker or 0.0):
            return f"rate-limited by the server, continues in {humanize_seconds(pacing)}"
        if breaker is not None:
            return f"the server takes nothing; asking again in {humanize_seconds(breaker)}"
        return ""


@dataclass(slots=True)
class Progress:
    """Counts what has settled, and knows the engine's figures."""

    engine: Engine
    total: int  # accounts
    puts: int  # requests that carry them, as far as is known
    rules: tuple[QuotaRule, ...]
    monotonic: Callable[[], float]
    updated: int = 0
    failed: int = 0
    unverified: int = 0
    _settled_before: int = field(init=False)

    def __post_init__(self) -> None:
        self._settled_before = self.engine.stats.settled

    @property
    def done(self) -> int:
        """Accounts whose request has been answered for good, verified or not."""
        return self.updated + self.failed + self.unverified

    def snapshot(self) -> Snapshot:
        """Take the figures of this moment."""
        engine = self.engine
        per_second = engine.stats.per_second(self.monotonic())
        left = engine.quota.left("PUT")
        seconds_until_free = engine.quota.seconds_until_free("PUT") if left == 0 else None
        return Snapshot(
            done=self.done,
            total=self.total,
            updated=self.updated,
            failed=self.failed,
            per_second=per_second,
            quota_left=left,
            quota_opens_in=seconds_until_free,
            server_retry_in=engine.breaker.seconds_until_free(),
            eta_s=self._eta(per_second, left, seconds_until_free),
            pace_opens_in=engine.pacing.seconds_until_free("PUT"),
        )

    def _eta(self, per_second: float, left: int | None, seconds_until_free: float | None) -> float | None:
        """Seconds to go: what the quota makes certain, or what the present speed promises, whichever is longer."""
        if self.done >= self.total:
            return 0.0
        remaining = max(0, self.puts - (self.engine.stats.settled - self._settled_before))
        by_speed = remaining / per_second if per_second > 0 else None
        by_quota = 0.0
        for rule in self.rules:
            if rule.method == "PUT" and left is not None:
                over = remaining - left
                if over > 0:
                    windows = -(-over // rule.count)
                    by_quota = max(by_quota, (windows - 1) * rule.seconds + (seconds_until_free or rule.seconds))
        if by_quota:
            return by_quota
        return by_speed


class Tally:
    """A small number for each run item, all 0 at first, in an array: a dictionary of 100,000 takes 10 MB, this 0.4.

    Items are numbered from 0 without large gaps, as the journal numbers them.
    """

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values = array("i")

    def __getitem__(self, number: int) -> int:
        """Give an entry's number."""
        return self._values[number] if number < len(self._values) else 0

    def __setitem__(self, number: int, value: int) -> None:
        """Set an entry's number."""
        missing = number + 1 - len(self._values)
        if missing > 0:
            self._values.frombytes(bytes(self._values.itemsize * (missing + number // 8)))
        self._values[number] = value
