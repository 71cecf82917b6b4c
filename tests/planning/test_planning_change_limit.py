"""The limits of how many accounts a plan may change or delete without ``--yes-really``."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import ChangeBound
from bulkid.planning.change_limit import excess, needs_total
from tests.support.planning_world import LAW

CHANGES = st.integers(0, 300)
TOTALS = st.integers(0, 300)
PERCENTS = st.decimals(0, 100, places=2).map(float)
BOUNDS = st.none() | st.builds(ChangeBound, count=st.integers(0, 300)) | st.builds(ChangeBound, percent=PERCENTS)


@pytest.mark.parametrize(
    ("changes", "total", "bound", "passes"),
    [
        (20, 20, None, True),  # a small organisation has no bound by default
        (11, 21, None, False),
        (10, 21, None, True),
        (3000, 6000, None, True),  # half is not more than half
        (3001, 6000, None, False),
        (3001, 6000, ChangeBound(count=3001), True),  # a count of one's own takes the default's place
        (3, 6000, ChangeBound(count=2), False),
        (3, 1000, ChangeBound(percent=0.3), True),  # exactly as much, whatever binary fractions make of it
        (4, 1000, ChangeBound(percent=0.3), False),
        (2, 4, ChangeBound(percent=25.0), False),  # one's own percentage holds in a small organisation too
        (1, 0, ChangeBound(percent=99.0), False),  # more than there are
        (1, 4, ChangeBound(percent=0.0), False),
        (0, None, ChangeBound(count=0), True),
        (10, None, None, True),  # whatever the number of accounts: half of more than 20
        (11, None, None, False),
        (1, None, ChangeBound(percent=99.9), False),
        (500, None, ChangeBound(percent=100.0), True),  # all of them is no bound
        (500, None, ChangeBound(count=500), True),  # a count needs no number of accounts
    ],
)
def test_a_plan_passes_exactly_within_its_bound(
    changes: int, total: int | None, bound: ChangeBound | None, passes: bool
) -> None:
    assert (excess(changes, total, bound) is None) == passes


@LAW
@given(CHANGES, TOTALS, BOUNDS)
def test_with_the_number_of_accounts_known_the_verdict_is_the_plain_comparison(
    changes: int, total: int, bound: ChangeBound | None
) -> None:
    if bound is None:
        refused = total > 20 and changes > Fraction(total, 2) and changes > 0
    elif bound.count is not None:
        refused = changes > bound.count
    else:
        refused = changes > Fraction(repr(bound.percent)) * total / 100
    assert (excess(changes, total, bound) is not None) == (refused and changes > 0)


@LAW
@given(CHANGES, BOUNDS)
def test_where_the_number_is_not_known_only_what_passes_at_any_number_passes(
    changes: int, bound: ChangeBound | None
) -> None:
    everywhere = all(excess(changes, total, bound) is None for total in range(changes, 2 * changes + 22))
    assert (excess(changes, None, bound) is None) == everywhere


@LAW
@given(CHANGES, CHANGES, TOTALS | st.none(), BOUNDS)
def test_what_is_refused_stays_refused_when_more_changes(
    fewer: int, more: int, total: int | None, bound: ChangeBound | None
) -> None:
    fewer, more = sorted((fewer, more))
    assert excess(fewer, total, bound) is None or excess(more, total, bound) is not None


@LAW
@given(CHANGES, BOUNDS)
def test_the_number_of_accounts_is_asked_for_only_where_the_verdict_depends_on_it(
    changes: int, bound: ChangeBound | None
) -> None:
    few, many = range(changes, changes + 22), 100 * changes + 21  # the more accounts, the more changes pass
    verdicts = {excess(changes, total, bound) is None for total in (*few, many)}
    if not needs_total(changes, bound):
        assert len(verdicts) == 1, "any number gives the same verdict"


@pytest.mark.parametrize(
    ("changes", "total", "bound", "sentence"),
    [
        (
            3500,
            6000,
            None,
            "The plan changes 3,500 of the organisation's 6,000 accounts (58.3 %), more than the limit of 50 %",
        ),
        (1200, 6000, ChangeBound(count=1000), "The plan changes 1,200 accounts, more than the limit of 1,000"),
        (
            1,
            None,
            ChangeBound(percent=0.5),
            (
                "The plan changes 1 account, and the limit of 0.5 % cannot be kept: how many accounts the organisation "
                "has is not known"
            ),
        ),
    ],
)
def test_the_sentence_names_the_figure_and_the_limit(
    changes: int, total: int | None, bound: ChangeBound | None, sentence: str
) -> None:
    found = excess(changes, total, bound)
    assert found is not None
    assert found.sentence == sentence
