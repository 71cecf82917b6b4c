"""The rate of a run against its quota, as a few points: for the plots of the console and of the workbook.

A point is the number of accounts that requests settled within one window of the quota, up to its time. Retries and
reads are not in it, and a group request, which the quota counts once, settles many accounts: those are counted apart.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from bulkid.model import QuotaRule
from bulkid.text import count_of, humanize_seconds

MAX_POINTS: Final = 120
"""About the most points of a series, however long it is."""

NOUNS: Final[Mapping[str, str]] = {"PUT": "account", "POST": "creation", "DELETE": "deletion"}
"""What the requests of each method settle, in the order in which the plots of a run stand."""

_WINDOW_POINTS: Final = 60  # a window has at most so many points
_UNLIMITED_POINTS: Final = 60  # at most so many points where no quota gives the window
_ROUND_S: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1_800),
    *(3_600, 7_200, 10_800, 21_600, 43_200, 86_400),
)


class Settled(NamedTuple):
    """Accounts that were settled in one interval, by the kind of request."""

    by_account: int = 0
    by_group: int = 0


@dataclass(frozen=True, slots=True)
class Intervals:
    """How a span of time is cut.

    Args:
        start: Seconds since the epoch.
        step_ms: Milliseconds of one interval.
        per_window: How many of them a point covers: its own and those before it.
        quota: How many requests may leave within the intervals of a point; None for no quota.
    """

    start: float
    step_ms: int
    per_window: int
    quota: int | None

    @property
    def window_s(self) -> float:
        """Seconds that a point covers."""
        return self.step_ms * self.per_window / 1000


@dataclass(frozen=True, slots=True)
class Rate:
    """A series of points; the time of a point is the end of its interval.

    Args:
        intervals: How the time is cut.
        points: One for each interval, from the first one on: what was settled within the window that ends with it.
        method: Of the requests, one of :data:`NOUNS`.
    """

    intervals: Intervals
    points: tuple[Settled, ...]
    method: str = "PUT"

    @property
    def span_s(self) -> float:
        """Seconds from the start of the first interval to the end of the last."""
        return len(self.points) * self.intervals.step_ms / 1000

    @property
    def has_own(self) -> bool:
        """Whether a request for one account settled any."""
        return any(point.by_account for point in self.points)

    @property
    def has_groups(self) -> bool:
        """Whether one request settled many accounts: a group request, or a DELETE."""
        return any(point.by_group for point in self.points)

    @property
    def group_request(self) -> str:
        """A request that settles many accounts: ``a group request``."""
        return "a bulk request" if self.method == "DELETE" else "a group request"

    @property
    def window(self) -> str:
        """The window in words, with an article where it is a single unit: ``one minute``, ``5 minutes``."""
        text = humanize_seconds(self.intervals.window_s)
        return f"one {text[2:]}" if text.startswith("1 ") and " " not in text[2:] else text

    @property
    def caption(self) -> str:
        """What a point counts: ``Accounts settled in the last 5 minutes``."""
        window = self.window.removeprefix("one ")
        per = "in the last" if self.intervals.per_window > 1 else "per"
        return f"{NOUNS[self.method].capitalize()}s settled {per} {window}"

    @property
    def sentence(self) -> str:
        """What the plot shows, for a user who does not see it."""
        most = max((sum(point) for point in self.points), default=0)
        counted = (
            f"At most {count_of(most, NOUNS[self.method])} {'was' if most == 1 else 'were'} settled in {self.window}"
        )
        if self.intervals.quota is None:
            return f"{counted}. No quota was set."
        return f"{counted}. The quota allows {count_of(self.intervals.quota, 'request')} in that time."

    def seconds(self, index: int) -> float:
        """Seconds from the start to the end of a point's interval."""
        return (index + 1) * self.intervals.step_ms / 1000


def slowest(rules: Iterable[QuotaRule], method: str = "PUT") -> QuotaRule | None:
    """The rule that limits a method most over a long time; None where none does."""
    return min(
        (rule for rule in rules if rule.method == method), key=lambda rule: rule.count / rule.seconds, default=None
    )


def round_seconds(least: float) -> int:
    """The smallest span of time, at least so long, that people count by; whole days beyond one day."""
    return next((each for each in _ROUND_S if each >= least), 86_400 * -(-int(least) // 86_400))


def intervals(start: float, end: float, rule: QuotaRule | None) -> Intervals:
    """Cut a span of time so that it has about ``MAX_POINTS`` points or fewer.

    With a quota a point covers exactly one window, or a multiple of it for a long span. So the accounts of their own
    requests exceed the quota in no point, as long as each is settled by the response to its request.
    """
    span_s = max(0.0, end - start)
    if rule is None:
        return Intervals(start, 1000 * round_seconds(span_s / _UNLIMITED_POINTS), 1, None)
    if span_s > rule.seconds * MAX_POINTS:
        windows = -int(-span_s // (rule.seconds * MAX_POINTS))
        return Intervals(start, max(1, int(1000 * rule.seconds * windows)), 1, rule.count * windows)
    fine = int(MAX_POINTS * rule.seconds / span_s) if span_s else _WINDOW_POINTS
    window_ms = max(1, int(1000 * rule.seconds))
    per_window = max(1, min(fine, _WINDOW_POINTS, window_ms))
    return Intervals(start, window_ms // per_window, per_window, rule.count)


def rate(cut: Intervals, settled: Mapping[int, Settled], count: int = 0, method: str = "PUT") -> Rate:
    """Sum up the windows.

    Args:
        cut: How the time is cut.
        settled: The accounts by the number of the interval, from 0; intervals that are missing have none.
        count: How many intervals there are at least, with the empty ones at the end.
        method: Of the requests.
    """
    total = max([count, *(number + 1 for number in settled)])
    points, own, group = [], 0, 0
    for number in range(total):
        new, old = settled.get(number, Settled()), settled.get(number - cut.per_window, Settled())
        own += new.by_account - old.by_account
        group += new.by_group - old.by_group
        points.append(Settled(own, group))
    return Rate(cut, tuple(points), method)
