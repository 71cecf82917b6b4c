"""Plots as SVG without a library: where bars, grid and labels stand; the template ``rate_plot.html`` draws them.

Horizontal places are percentages, so that a plot is as wide as the page and its letters keep their size.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import anyio

from bulkid.report.rate import Rate, round_seconds

MAX_AGE_S: Final = 5.0  # seconds for which the plots of a run under way are not made again

_TOP: Final = 22  # pixels above the plot, for the label of the quota
_BOTTOM: Final = 24  # below it, for the labels of the time
_HEIGHT: Final = 150
_SMALL_HEIGHT: Final = 70
_MAX_TIMES: Final = 5  # labels of the time, beside the first
_MAX_TIMES_AGO: Final = 3  # of the long ones that say how long ago
_MAX_GRID_LINES: Final = 4
_LINE_PX: Final = 14  # a label of the grid needs so much room below the line of the quota
_NEAR_END: Final = 92.0  # percent from which on a label in the middle of its place would leave the plot
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle; ``kind`` is its class in the style sheet."""

    x: str
    width: str
    y: float
    height: float
    kind: str


@dataclass(frozen=True, slots=True)
class Label:
    """A text beside an axis, with its line. ``place`` is a percentage of the width, or a height in pixels."""

    text: str
    place: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Plot:
    """What the template draws."""

    rate: Rate
    name: str  # prefix of ids, unique on the page
    height: float  # of the whole picture
    floor: float  # of the axis
    bars: tuple[Bar, ...]
    grid: tuple[Label, ...]
    times: tuple[Label, ...]
    quota_at: float | None  # None: no quota
    ago: bool

    def time_of(self, index: int) -> str:
        """The time of a point in words, for the table."""
        rate = self.rate
        if not self.ago:
            return duration(rate.seconds(index))
        return _ago(rate.span_s - rate.seconds(index))


def plot_of(rate: Rate, name: str = "rate", *, ago: bool = False, small: bool = False) -> Plot:
    """Lay a series out.

    Args:
        rate: The series.
        name: A prefix for the ids of the elements.
        ago: Label the time back from the end, which is now; False: from the start on.
        small: A low plot.
    """
    plot_height = _SMALL_HEIGHT if small else _HEIGHT
    floor = float(_TOP + plot_height)
    quota = rate.intervals.quota
    top = max([1, quota or 0, *(sum(point) for point in rate.points)])

    def y(value: float) -> float:
        return round(floor - plot_height * value / top, 2)

    return Plot(
        rate=rate,
        name=name,
        height=floor + _BOTTOM,
        floor=floor,
        bars=_bars(rate, plot_height / top, floor),
        grid=tuple(
            Label(f"{value:,}", f"{y(value):g}")
            for value in grid_values(top)
            if quota is None or value == quota or abs(y(value) - y(quota)) >= _LINE_PX
        ),
        times=_times(rate.span_s, ago=ago),
        quota_at=None if quota is None else y(quota),
        ago=ago,
    )


def _bars(rate: Rate, pixels_of_one: float, floor: float) -> tuple[Bar, ...]:
    """One bar for each point that is not 0, with the accounts of group requests on top."""
    width = 100 / max(1, len(rate.points))
    bars = []
    for index, point in enumerate(rate.points):
        base = floor
        for count, kind in ((point.by_account, "own"), (point.by_group, "group")):
            if count:
                height = round(count * pixels_of_one, 2)
                base = round(base - height, 2)
                bars.append(Bar(f"{index * width:.3f}%", f"{width:.3f}%", base, height, kind))
    return tuple(bars)


def grid_values(top: int) -> range:
    """Round numbers up to ``top``, at most four, without 0."""
    step, factors = 1, (2, 2.5, 2)  # 1, 2, 5, 10, 20, 50, ...
    index = 0
    while top // step > _MAX_GRID_LINES:
        step = int(step * factors[index % 3])
        index += 1
    return range(step, top + 1, step)


def _times(span_s: float, *, ago: bool) -> tuple[Label, ...]:
    if span_s <= 0:
        return ()
    step = round_seconds(span_s / (_MAX_TIMES_AGO if ago else _MAX_TIMES))
    labels = []
    for index in range(int(span_s // step) + 1):
        seconds = index * step
        share = 100 * (1 - seconds / span_s if ago else seconds / span_s)
        text = _ago(seconds) if ago else (duration(seconds, step) if seconds else "0")
        anchor = "end" if share > _NEAR_END else "middle" if share > 100 - _NEAR_END else "start"
        labels.append(Label(text, f"{share:.3f}%", anchor))
    return tuple(labels)


def _ago(seconds: float) -> str:
    return f"{duration(seconds)} ago" if seconds else "now"


def duration(seconds: float, step: float | None = None) -> str:
    """A time in one unit: ``90 s``, ``5 min``; in that of ``step`` where it is given."""
    size, unit = next(((size, unit) for size, unit in _UNITS if (step or seconds) >= size), _UNITS[-1])
    return f"{round(seconds / size, 1):g} {unit}"


class WatchedPlots:
    """The plots of runs under way, made at most every few seconds for all users who watch a run together."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._made: dict[str, tuple[float, list[Plot]]] = {}  # by run: when they were ready, and the plots
        self._lock = anyio.Lock()

    async def of(self, run_id: str, make: Callable[[], Awaitable[list[Plot]]]) -> list[Plot]:
        """The plots of a run, made now or within the last ``MAX_AGE_S`` seconds."""
        async with self._lock:
            now = self._monotonic()
            self._made = {run: made for run, made in self._made.items() if now - made[0] < MAX_AGE_S}
            if run_id not in self._made:
                plots = await make()
                # The time after they are made: the users who waited take them, however long that took.
                self._made[run_id] = self._monotonic(), plots
            return self._made[run_id][1]
