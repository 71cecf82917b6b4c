"""The live progress of a run. The terminal and the console poll it, so that showing it does not slow down sending."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from bulkid.engine.engine import Engine
from bulkid.model import QuotaRule
from bulkid.text import short_duration


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The progress at one moment."""

    done: int
    total: int
    updated: int
    failed: int
    per_second: float
    quota_left: int | None  # PUTs that may leave at once; None: no quota
    quota_opens_in: float | None  # seconds until the next PUT may leave, when none is left
    server_retry_in: float | None  # seconds until the next request, while the server throttles or is not reachable
    eta_s: float | None  # seconds until the end; None: not known
    server_away: bool = False  # with ``server_retry_in``: the server is not reachable, or answers 503
    pace_opens_in: float | None = None  # seconds until the next PUT, while the server reports that no request is left

    @property
    def server_limit(self) -> str:
        """A text for the user about what the server refuses at present; "" if it refuses nothing."""
        breaker, pacing = self.server_retry_in, self.pace_opens_in
        if pacing is not None and pacing >= (breaker or 0.0):
            return f"rate-limited, continues in {short_duration(pacing)}"
        if breaker is not None:
            why = "server unavailable" if self.server_away else "rate-limited"
            return f"{why}, retrying in {short_duration(breaker)}"
        return ""

    @property
    def limit(self) -> str:
        """A text for the user about what holds the run up at present; "" if it sends."""
        if self.server_limit or self.quota_left != 0 or not self.quota_opens_in:
            return self.server_limit
        return f"quota used, opens in {short_duration(self.quota_opens_in)}"


@dataclass(slots=True)
class Progress:
    """Counts settled accounts, and reads the engine's statistics. A snapshot counts those of earlier attempts too."""

    engine: Engine
    total: int  # accounts of this attempt
    puts: int  # requests for them that are planned so far
    rules: tuple[QuotaRule, ...]
    monotonic: Callable[[], float]
    updated: int = 0
    failed: int = 0
    unverified: int = 0
    updated_before: int = 0  # accounts, by earlier attempts at the run
    failed_before: int = 0
    _settled_before: int = field(init=False)

    def __post_init__(self) -> None:
        self._settled_before = self.engine.stats.settled

    @property
    def done(self) -> int:
        """Accounts of this attempt that need no further PUT, verified or not."""
        return self.updated + self.failed + self.unverified

    def snapshot(self) -> Snapshot:
        """Return the present progress."""
        engine, before = self.engine, self.updated_before + self.failed_before
        per_second = engine.stats.per_second(self.monotonic())
        left = engine.quota.left("PUT")
        seconds_until_free = engine.quota.seconds_until_free("PUT") if left == 0 else None
        return Snapshot(
            done=self.done + before,
            total=self.total + before,
            updated=self.updated + self.updated_before,
            failed=self.failed + self.failed_before,
            per_second=per_second,
            quota_left=left,
            quota_opens_in=seconds_until_free,
            server_retry_in=engine.breaker.seconds_until_free(),
            server_away=engine.breaker.server_away,
            eta_s=self._eta(per_second, left, seconds_until_free),
            pace_opens_in=engine.pacing.seconds_until_free("PUT"),
        )

    def _eta(self, per_second: float, left: int | None, seconds_until_free: float | None) -> float | None:
        """Return the seconds left: what the quota takes at least, else what the present speed takes."""
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
        return by_quota or by_speed


class Tally:
    """A small number for each run item, 0 at first. For 100,000 items a dictionary takes 10 MB, this array 0.4 MB.

    Run items are numbered from 0 without large gaps.
    """

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values = array("i")

    def __getitem__(self, number: int) -> int:
        """Return the value of a run item."""
        return self._values[number] if number < len(self._values) else 0

    def __setitem__(self, number: int, value: int) -> None:
        """Set the value of a run item."""
        missing = number + 1 - len(self._values)
        if missing > 0:
            self._values.frombytes(bytes(self._values.itemsize * (missing + number // 8)))
        self._values[number] = value
