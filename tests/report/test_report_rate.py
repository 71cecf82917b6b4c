"""The points of a rate plot: a bounded number, and never above the quota that a run kept."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import QuotaRule
from bulkid.report.rate import MAX_POINTS, Rate, Settled, intervals, rate, round_seconds, slowest

START = 1_770_000_000.0
rules = st.builds(
    QuotaRule, st.just("PUT"), st.integers(1, 500), st.sampled_from([0.001, 0.7, 1.0, 10.0, 60.0, 300.0, 86_400.0])
)
spans = st.floats(0.0, 10_000_000.0)


def _settled(times: list[float], step_ms: int) -> dict[int, Settled]:
    counted = Counter(int((time - START) * 1000) // step_ms for time in times)
    return {number: Settled(count) for number, count in counted.items()}


@given(rules | st.none(), spans)
def test_a_span_of_any_length_takes_few_points(rule: QuotaRule | None, span: float) -> None:
    cut = intervals(START, START + span, rule)
    whole = rate(cut, _settled([START, START + span], cut.step_ms))
    assert 1 <= len(whole.points) <= 1.5 * MAX_POINTS
    assert whole.span_s >= span - 0.001 * len(whole.points)


@given(st.integers(1, 30), st.sampled_from([1.0, 10.0, 300.0]), st.lists(st.floats(0, 400), max_size=200))
def test_no_point_is_above_the_quota_of_a_run_that_kept_it(count: int, window: float, gaps: list[float]) -> None:
    times: list[float] = []
    for gap in gaps:
        earliest = times[-count] + window + 0.01 if len(times) >= count else START
        times.append(max(earliest, (times[-1] if times else START) + gap))
    cut = intervals(START, max(times, default=START), QuotaRule("PUT", count, window))
    points = rate(cut, _settled(times, cut.step_ms)).points
    assert all(sum(point) <= (cut.quota or 0) for point in points)
    assert cut.quota == count * max(1, round(cut.window_s / window))


@given(
    st.dictionaries(st.integers(0, 80), st.builds(Settled, st.integers(0, 9), st.integers(0, 9))), st.integers(1, 90)
)
def test_a_point_is_the_sum_of_its_window(settled: dict[int, Settled], per_window: int) -> None:
    cut = intervals(START, START, QuotaRule("PUT", 5, 60.0))
    cut = type(cut)(START, cut.step_ms, per_window, 5)
    for number, point in enumerate(rate(cut, settled).points):
        inside = [settled.get(each, Settled()) for each in range(number - per_window + 1, number + 1)]
        assert point == Settled(sum(each.by_account for each in inside), sum(each.by_group for each in inside))


def test_of_several_rules_the_slowest_is_plotted() -> None:
    several = [QuotaRule("PUT", 10, 1.0), QuotaRule("PUT", 160, 300.0), QuotaRule("GET", 1, 300.0)]
    assert slowest(several) == several[1]
    assert slowest(several[2:]) is None


def test_without_a_quota_the_window_is_a_round_time() -> None:
    assert [round_seconds(each) for each in (0, 1, 1.5, 16, 61, 86_401)] == [1, 1, 2, 30, 120, 172_800]
    assert intervals(START, START + 600, None).window_s == 10
    assert math.isclose(intervals(START, START, None).window_s, 1)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (
            QuotaRule("PUT", 160, 60.0),
            "At most 3 accounts were settled in one minute. The quota allows 160 requests in ",
        ),
        (QuotaRule("PUT", 1, 300.0), "At most 3 accounts were settled in 5 minutes. The quota allows 1 request in "),
        (None, "At most 3 accounts were settled in one second. No quota was set."),
    ],
)
def test_the_sentence_says_what_the_plot_shows(rule: QuotaRule | None, sentence: str) -> None:
    shown = rate(intervals(START, START, rule), {0: Settled(2, 1)})
    assert shown.sentence.startswith(sentence)
    assert shown.has_groups
    assert shown.caption == (
        f"Accounts settled in the last {shown.window}".replace("one ", "") if rule else "Accounts settled per second"
    )
    assert not Rate(shown.intervals, (Settled(2),)).has_groups
