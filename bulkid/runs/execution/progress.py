"""The live progress of a run. The terminal and the console poll it, so that showing it does not slow down sending."""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from bulkid.engine.engine import Engine
from bulkid.model import QuotaRule
from bulkid.text import short_duration


class Snapshot(NamedTuple):
    """The progress at one moment."""

    done: int
    total: int
    updated: int
    failed: int
    per_second: float
    quota_left: int | None  # requests that may leave at once; None: no quota
    quota_opens_in: float | None  # seconds until the next request may leave, when none is left
    server_retry_in: float | None  # seconds until the next request, while the server throttles or is not reachable
    eta_s: float | None  # seconds until the end; None: not known
    server_away: bool = False  # with ``server_retry_in``: the server is not reachable, or answers 503
    pace_opens_in: float | None = None  # seconds until the next request, while the server reports that none is left

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


METHODS = ("POST", "PUT", "DELETE")
"""The methods that change something, in the order in which a run sends them."""


@dataclass(slots=True)
class Progress:
    """Counts settled accounts, and reads the engine's statistics. A snapshot counts those of earlier attempts too.

    What it says of the quota is about the method that is sent at present.
    """

    engine: Engine
    total: int  # accounts of this attempt
    requests: dict[str, int]  # for them that are planned so far, by method
    rules: tuple[QuotaRule, ...]
    monotonic: Callable[[], float]
    updated: int = 0  # created and deleted ones too
    unchanged: int = 0  # accounts that were to be created, and that existed already and are correct
    failed: int = 0
    unverified: int = 0
    updated_before: int = 0  # accounts, by earlier attempts at the run
    failed_before: int = 0
    _settled_before: int = field(init=False)

    def __post_init__(self) -> None:
        self._settled_before = self.engine.stats.settled

    @property
    def done(self) -> int:
        """Accounts of this attempt that need no further request, verified or not."""
        return self.settled + self.unverified

    @property
    def settled(self) -> int:
        """Accounts of this attempt that have an outcome."""
        return self.updated + self.unchanged + self.failed

    def snapshot(self) -> Snapshot:
        """Return the present progress."""
        engine, before = self.engine, self.updated_before + self.failed_before
        per_second = engine.stats.per_second(self.monotonic())
        remaining = self._remaining()
        method = next((method for method in METHODS if remaining[method]), "PUT")
        left = engine.quota.remaining(method)
        seconds_until_free = engine.quota.seconds_until_free(method) if left == 0 else None
        retry_in, pace_opens_in = engine.breaker.seconds_until_free(), engine.pacing.seconds_until_free(method)
        eta_s = self._eta(per_second, remaining, method)
        if eta_s:  # nothing leaves before
            eta_s = max(eta_s, retry_in or 0.0, pace_opens_in or 0.0)
        return Snapshot(
            done=self.done + before,
            total=self.total + before,
            updated=self.updated + self.updated_before,
            failed=self.failed + self.failed_before,
            per_second=per_second,
            quota_left=left,
            quota_opens_in=seconds_until_free,
            server_retry_in=retry_in,
            server_away=engine.breaker.server_away,
            eta_s=eta_s,
            pace_opens_in=pace_opens_in,
        )

    def _remaining(self) -> dict[str, int]:
        """Return how many planned requests are not settled, by method: they are sent one method after the other."""
        settled = self.engine.stats.settled - self._settled_before
        remaining = {}
        for method in METHODS:
            planned = self.requests.get(method, 0)
            remaining[method] = max(0, planned - settled)
            settled = max(0, settled - planned)
        return remaining

    def _eta(self, per_second: float, remaining: Mapping[str, int], sending: str) -> float | None:
        """Return the seconds left: what the quotas take at least, else what the present speed takes.

        The methods are sent one after the other, so their times add up.
        """
        if self.done >= self.total:
            return 0.0
        by_speed = sum(remaining.values()) / per_second if per_second > 0 else None
        by_method: dict[str, float] = {}
        for rule in self.rules:
            if (count := remaining.get(rule.method, 0)) and rule.count > 0:
                seconds = self._seconds_of(rule, count, begun=rule.method == sending)
                by_method[rule.method] = max(by_method.get(rule.method, 0.0), seconds)
        return sum(by_method.values()) or by_speed

    def _seconds_of(self, rule: QuotaRule, remaining: int, *, begun: bool) -> float:
        """Return the seconds that a rule takes at least. Of a method that is not sent yet the window is unused."""
        if not begun:
            return (-(-remaining // rule.count) - 1) * rule.seconds
        quota = self.engine.quota
        left = quota.remaining(rule.method)
        if left is None or remaining <= left:
            return 0.0
        seconds_until_free = quota.seconds_until_free(rule.method) if left == 0 else None
        windows = -(-(remaining - left) // rule.count)
        return (windows - 1) * rule.seconds + (seconds_until_free or rule.seconds)


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
