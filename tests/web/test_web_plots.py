"""Plots on pages: every bar, line and label is where its number belongs, within the picture."""

import re

import anyio
import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import StateError, UsageError
from bulkid.report.rate import Intervals, Rate, Settled
from bulkid.runs import RunBrowser
from bulkid.text import count_of
from bulkid.web.pages import TEMPLATES
from bulkid.web.plots import MAX_AGE_S, Plot, WatchedPlots, duration, grid_values, plot_of
from bulkid.web.run_pages import recent_quota_plots
from tests.support.fake_clock import FakeClock
from tests.support.web_console import World, run_id_of, sheet

points = st.lists(st.builds(Settled, st.integers(0, 10_000), st.integers(0, 10_000)), max_size=130)


def _rate(*found: Settled, quota: int | None = 160, step_ms: int = 12_500, per_window: int = 24) -> Rate:
    return Rate(Intervals(1_770_000_000.0, step_ms, per_window, quota), found)


@given(points, st.none() | st.integers(1, 20_000), st.integers(1, 10_000_000), st.booleans())
def test_everything_is_within_the_picture(found: list[Settled], quota: int | None, step_ms: int, ago: bool) -> None:
    plot = plot_of(_rate(*found, quota=quota, step_ms=step_ms), ago=ago)
    for bar in plot.bars:
        assert -0.5 <= bar.y <= bar.y + bar.height <= plot.floor + 0.5
        assert 0 <= float(bar.x[:-1]) <= float(bar.x[:-1]) + float(bar.width[:-1]) <= 100.1
    assert len(plot.grid) <= 4
    assert len(plot.times) <= 6
    assert all(0 <= float(label.place[:-1]) <= 100 for label in plot.times)
    if quota:
        assert plot.quota_at is not None
        assert 0 < plot.quota_at < plot.floor


def test_the_height_of_a_bar_is_its_share_of_the_quota() -> None:
    plot = plot_of(_rate(Settled(80), Settled(0), Settled(40, 120)))
    assert [(bar.kind, bar.height) for bar in plot.bars] == [("own", 75), ("own", 37.5), ("group", 112.5)]
    assert plot.bars[2].y == plot.quota_at == plot.floor - 150
    assert [bar.x for bar in plot.bars] == ["0.000%", "66.667%", "66.667%"]


@pytest.mark.parametrize(
    ("top", "lines"),
    [(1, [1]), (4, [1, 2, 3, 4]), (5, [2, 4]), (160, [50, 100, 150]), (99_999, [20_000, 40_000, 60_000, 80_000])],
)
def test_grid_lines_stand_at_round_numbers(top: int, lines: list[int]) -> None:
    assert list(grid_values(top)) == lines


def test_the_time_has_a_unit() -> None:
    labels = [label.text for label in plot_of(_rate(*[Settled(1)] * 120)).times]
    assert labels == ["0", "5 min", "10 min", "15 min", "20 min", "25 min"]
    back = plot_of(_rate(*[Settled(1)] * 120, step_ms=30_000), ago=True)
    assert [label.text for label in back.times] == ["now", "30 min ago", "1 h ago"]
    assert [label.anchor for label in back.times] == ["end", "middle", "start"]
    assert [duration(seconds) for seconds in (0.25, 59.94, 90, 5400, 172_800)] == [
        "0.2 s",
        "59.9 s",
        "1.5 min",
        "1.5 h",
        "2 d",
    ]


@pytest.mark.parametrize("found", [(), (Settled(),) * 3, (Settled(1),), (Settled(3, 4),) * 121])
def test_the_template_escapes_and_draws_whatever_there_is(found: tuple[Settled, ...]) -> None:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.globals["count_of"] = count_of
    environment.filters["number"] = lambda value: f"{value:,}"
    macros = environment.get_template("rate_plot.html").module
    markup = str(macros.rate_plot(plot_of(_rate(*found)), 'Rate "<b>"'))  # type: ignore[attr-defined]  # the macro
    assert "<b>" not in markup
    assert "&lt;b&gt;" in markup
    assert "style=" not in markup
    assert markup.count("<rect") == sum(bool(each.by_account) + bool(each.by_group) for each in found)
    assert len(re.findall('<tr><th scope="row">', markup)) == len(found)
    assert markup.count('<rect class="group" fill="url(#') == sum(bool(each.by_group) for each in found), (
        "not by colour alone"
    )


async def test_the_page_of_a_run_shows_its_rate_and_the_last_hour_has_it_too(console: World) -> None:
    assert await recent_quota_plots(console.console) == []  # no run has reached the organisation
    path = await console.browser.preview("accounts.csv", sheet(30))
    page = await console.browser.run_ended(run_id_of(await console.browser.start(path)))
    assert '<h2 id="rate">' in page.text
    assert '<rect class="own"' in page.text
    (recent,) = await recent_quota_plots(console.console)
    assert "Use of the quota of PUT in the last hour" in (await console.browser.get("/")).text
    points = recent.rate.points
    assert recent.rate.span_s == 3600
    assert sum(sum(point) for point in points) == 30 * min(recent.rate.intervals.per_window, len(points))


async def test_the_plots_of_a_run_are_made_once_for_all_users_who_watch_it() -> None:
    clock, made = FakeClock(), list[str]()
    watched = WatchedPlots(clock.monotonic)

    async def ask(run_id: str) -> None:
        async def make() -> list[Plot]:
            await anyio.lowlevel.checkpoint()
            made.append(run_id)
            return [plot_of(_rate(Settled(len(made))), name=run_id)]

        assert [plot.name for plot in await watched.of(run_id, make)] == [run_id]

    for _ in range(2):
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(ask, f"run{number % 2}")
        assert sorted(made) == ["run0", "run1"]
        clock.advance(MAX_AGE_S)
        made.clear()


async def test_plots_that_take_longer_to_make_than_they_are_kept_are_made_once_too() -> None:
    clock, made = FakeClock(), list[int]()
    watched = WatchedPlots(clock.monotonic)

    async def make() -> list[Plot]:
        await anyio.lowlevel.checkpoint()
        clock.advance(2 * MAX_AGE_S)
        made.append(1)
        return []

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(watched.of, "run", make)
    assert len(made) == 1


async def test_plots_that_cannot_be_made_are_made_for_the_next_user() -> None:
    watched = WatchedPlots(FakeClock().monotonic)

    async def fail() -> list[Plot]:
        raise StateError("The database cannot be reached.")

    async def make() -> list[Plot]:
        return [plot_of(_rate())]

    with pytest.raises(StateError):
        await watched.of("run", fail)
    assert len(await watched.of("run", make)) == 1


async def test_a_user_who_watches_a_run_costs_no_count_of_its_rows(
    console: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = run_id_of(await console.browser.start(await console.browser.preview("a.csv", sheet(1))))
    await console.browser.run_ended(run_id)

    def count(_browser: RunBrowser, _run_id: str) -> None:
        raise UsageError("The rows were counted.")

    monkeypatch.setattr(RunBrowser, "run", count)
    for part in ("rate", "events"):
        assert (await console.browser.get(f"/runs/{run_id}/{part}")).status == 200
        assert (await console.browser.get(f"/runs/nothing/{part}")).status == 404
