import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkid.model import QuotaRule
from bulkid.planning.strategy import minimum_seconds
from bulkid.text import humanize_seconds
from tests.support.planning_world import LAW

PUT = QuotaRule("PUT", 160, 300)


@pytest.mark.parametrize(
    ("requests", "seconds"), [(0, 0), (1, 0), (160, 0), (161, 300), (320, 300), (321, 600), (10_000, 62 * 300)]
)
def test_a_window_lets_the_first_requests_leave_at_once_and_then_so_many_a_window(
    requests: int, seconds: float
) -> None:
    assert minimum_seconds(requests, [PUT], "PUT") == seconds


def test_the_acceptance_figure_of_200_accounts_at_20_in_5_seconds() -> None:
    assert minimum_seconds(200, [QuotaRule("PUT", 20, 5)], "PUT") == 45


def test_the_slowest_rule_of_the_method_decides_and_other_methods_do_not() -> None:
    rules = [QuotaRule("PUT", 10, 1), QuotaRule("put", 100, 60), QuotaRule("GET", 1, 1000)]
    assert minimum_seconds(250, rules, "PUT") == 120
    assert minimum_seconds(90, rules, "PUT") == 8
    assert minimum_seconds(250, rules, "POST") == minimum_seconds(250, [], "PUT") == 0


def test_a_rate_is_a_lower_bound_beside_the_rules() -> None:
    assert minimum_seconds(101, [], "PUT", rate=10) == 10
    assert minimum_seconds(161, [PUT], "PUT", rate=10) == 300
    assert minimum_seconds(161, [PUT], "PUT", rate=0.5) == 320
    assert minimum_seconds(0, [PUT], "PUT", rate=0.5) == 0


def test_a_quota_or_rate_of_nothing_never_ends() -> None:
    assert minimum_seconds(1, [QuotaRule("PUT", 0, 5)], "PUT") == math.inf
    assert minimum_seconds(1, [], "PUT", rate=0) == math.inf


@LAW
@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 9))
def test_no_schedule_that_keeps_the_window_is_faster(requests: int, count: int, seconds: int) -> None:
    """Against the window itself: each request leaves as soon as the one ``count`` before it is a window old."""
    sent: list[int] = []
    for number in range(requests):
        sent.append(sent[number - count] + seconds if number >= count else 0)
    assert minimum_seconds(requests, [QuotaRule("PUT", count, seconds)], "PUT") == sent[-1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (-3, "0 seconds"),
        (0.2, "less than a second"),
        (1, "1 second"),
        (59.4, "59 seconds"),
        (59.6, "1 minute"),
        (61, "1 minute 1 second"),
        (290, "4 minutes 50 seconds"),
        (3599.7, "1 hour"),
        (3660, "1 hour 1 minute"),
        (18_600, "5 hours 10 minutes"),
        (7_199, "2 hours"),
        (86_399, "1 day"),
        (86_400 + 3_600, "1 day 1 hour"),
        (2 * 86_400 + 1_700, "2 days"),
        (1_000 * 86_400, "1,000 days"),
        (math.inf, "for ever"),
    ],
)
def test_times_are_told_in_their_two_largest_units(seconds: float, words: str) -> None:
    assert humanize_seconds(seconds) == words


@LAW
@given(st.floats(0, 10**8))
@example(43_612_200.5)
def test_a_told_time_is_never_off_by_more_than_half_its_smaller_unit(seconds: float) -> None:
    sizes = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
    words = humanize_seconds(seconds)
    if words != "less than a second":
        parts = words.replace(",", "").split()
        assert len(parts) <= 4
        told = sum(int(count) * sizes[unit.rstrip("s")] for count, unit in zip(parts[::2], parts[1::2], strict=True))
        slack = 1_800 if seconds >= 86_370 else 30 if seconds >= 3_570 else 0.5
        assert abs(told - seconds) <= slack
