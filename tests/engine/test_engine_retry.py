"""The retry decision, as exact tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.engine.retry import (
    _CLASSES,
    GIVE_UP,
    MAYBE_APPLIED,
    REQUEUE,
    SETTLE,
    Decision,
    Retry,
    RetryPolicy,
    counts,
    decide,
    full_jitter,
)
from bulkid.model import ReplyKind

POLICY = RetryPolicy(max_attempts=5, base_s=0.5, cap_s=30.0, budget_s=600.0)
K = ReplyKind

TABLE: list[tuple[ReplyKind, int, float, float | None, float, Decision]] = [
    # kind, attempts, spent, retry_after, jitter, decision
    (K.OK, 1, 0, None, 0.5, SETTLE),
    (K.OK, 99, 9999, 7, 0.5, SETTLE),
    (K.REFUSED, 1, 0, None, 0.5, SETTLE),
    (K.REFUSED, 1, 0, 30, 0.5, SETTLE),
    (K.FORBIDDEN, 1, 0, None, 0.5, SETTLE),
    (K.UNAUTHORIZED, 0, 0, None, 0.5, REQUEUE),
    (K.UNAUTHORIZED, 99, 9999, None, 0.5, REQUEUE),
    (K.THROTTLED, 0, 0, None, 0.5, REQUEUE),
    (K.THROTTLED, 99, 9999, 3600, 0.5, REQUEUE),
    (K.UNAVAILABLE, 0, 0, None, 0.5, REQUEUE),
    (K.UNAVAILABLE, 4, 600, 60, 0.5, REQUEUE),
    (K.UNAVAILABLE, 5, 0, None, 0.5, GIVE_UP),
    (K.UNAVAILABLE, 1, 600.1, None, 0.5, GIVE_UP),
    (K.NO_CONNECTION, 0, 0, None, 0.5, REQUEUE),
    (K.NO_CONNECTION, 4, 0, None, 0.5, REQUEUE),
    (K.NO_CONNECTION, 5, 0, None, 0.5, GIVE_UP),
    (K.SERVER_ERROR, 1, 0, None, 0.0, Retry(0.0)),
    (K.SERVER_ERROR, 1, 0, None, 0.5, Retry(0.25)),
    (K.SERVER_ERROR, 2, 0, None, 0.5, Retry(0.5)),
    (K.SERVER_ERROR, 3, 0, None, 0.5, Retry(1.0)),
    (K.SERVER_ERROR, 4, 0, None, 0.5, Retry(2.0)),
    (K.SERVER_ERROR, 5, 0, None, 0.5, GIVE_UP),
    (K.SERVER_ERROR, 6, 0, None, 0.5, GIVE_UP),
    (K.SERVER_ERROR, 1, 599.75, None, 0.5, Retry(0.25)),
    (K.SERVER_ERROR, 1, 599.76, None, 0.5, GIVE_UP),
    (K.SERVER_ERROR, 1, 0, 20.0, 0.0, Retry(20.0)),
    (K.SERVER_ERROR, 1, 0, 20.0, 0.5, Retry(20.25)),
    (K.SERVER_ERROR, 4, 0, 20.0, 0.5, Retry(20.5)),
    (K.SERVER_ERROR, 1, 0, 601.0, 0.5, GIVE_UP),
    (K.LOST, 1, 0, None, 0.5, Retry(0.25)),
    (K.LOST, 5, 0, None, 0.5, GIVE_UP),
    (K.LOST, 1, 601, None, 0.5, GIVE_UP),
    (K.NOT_JSON, 2, 0, None, 0.5, Retry(0.5)),
    (K.NOT_JSON, 5, 0, None, 0.5, GIVE_UP),
]


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_the_decision_about_a_reply(case: tuple[ReplyKind, int, float, float | None, float, Decision]) -> None:
    kind, attempts, spent, retry_after, jitter, decision = case
    assert decide(POLICY, kind, attempts=attempts, spent_s=spent, retry_after=retry_after, jitter=jitter) == decision


def test_every_kind_of_reply_is_listed_and_in_the_table() -> None:
    assert set(_CLASSES) == set(ReplyKind)
    assert {row[0] for row in TABLE} == set(ReplyKind)


@pytest.mark.parametrize(
    ("kind", "alone", "while_others_succeed"),
    [
        (K.OK, True, True),
        (K.REFUSED, True, True),
        (K.FORBIDDEN, True, True),
        (K.UNAUTHORIZED, False, False),
        (K.THROTTLED, False, False),
        (K.UNAVAILABLE, False, True),
        (K.NO_CONNECTION, False, True),
        (K.SERVER_ERROR, True, True),
        (K.LOST, True, True),
        (K.NOT_JSON, True, True),
    ],
)
def test_what_uses_up_an_attempt(kind: ReplyKind, *, alone: bool, while_others_succeed: bool) -> None:
    assert counts(kind, others_succeeded=False) is alone
    assert counts(kind, others_succeeded=True) is while_others_succeed


def test_the_replies_after_which_a_change_may_have_been_made() -> None:
    assert {K.SERVER_ERROR, K.LOST, K.NOT_JSON, K.UNAVAILABLE} == MAYBE_APPLIED


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 0.5), (2, 1), (3, 2), (4, 4), (7, 32), (8, 60), (9, 60), (10_000, 60)]
)
def test_waits_double_up_to_the_cap_and_are_drawn_from_nothing_to_all_of_it(failures: int, longest: float) -> None:
    assert full_jitter(0.5, 60.0, failures, 0.0) == 0.0
    assert full_jitter(0.5, 60.0, failures, 0.25) == longest / 4
    assert full_jitter(0.5, 60.0, failures, 1.0) == longest


@given(
    st.sampled_from(ReplyKind),
    st.integers(0, 10**6),
    st.floats(0, 1e6),
    st.none() | st.floats(0, 1e5),
    st.floats(0, 1, exclude_max=True),
)
def test_a_retry_never_goes_beyond_attempts_or_time_and_never_before_retry_after(
    kind: ReplyKind, attempts: int, spent: float, retry_after: float | None, jitter: float
) -> None:
    decision = decide(POLICY, kind, attempts=attempts, spent_s=spent, retry_after=retry_after, jitter=jitter)
    if isinstance(decision, Retry):
        assert attempts < POLICY.max_attempts
        assert spent + decision.wait_s <= POLICY.budget_s
        assert decision.wait_s >= (retry_after or 0)
        assert decision.wait_s <= (retry_after or 0) + POLICY.cap_s
