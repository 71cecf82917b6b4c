"""Decide what to do about a reply, as a pure function: the caller gives the time and the random number."""

from enum import Enum, auto
from typing import Final, NamedTuple

from bulkid.model import ReplyKind


class RetryPolicy(NamedTuple):
    """When to try again, and when to stop trying. Times in seconds."""

    max_attempts: int = 5  # replies that count
    base_s: float = 0.5  # the longest first wait; doubles each time
    cap_s: float = 30.0  # the longest wait of all
    budget_s: float = 600.0  # time in flight and waits of one request together


class Retry(NamedTuple):
    """Send the request again after a wait of its own."""

    wait_s: float


class Verdict(Enum):
    """What to do about a request without a wait of its own."""

    SETTLE = auto()  # the reply is the answer, whether it is a yes or a no
    REQUEUE = auto()  # send it again as soon as the breaker is closed: the reply says nothing about this request
    GIVE_UP = auto()  # attempts or time ran out: the last reply is the answer


Decision = Verdict | Retry
SETTLE, REQUEUE, GIVE_UP = Verdict


class _RetryClass(Enum):
    FINAL = auto()  # never sent again
    TRANSIENT = auto()  # counts, and waits by itself
    UNAVAILABLE_TO_ALL = auto()  # the breaker waits; counts only when the server took others in the meantime
    UNCOUNTED = auto()  # never counts


# No default: a kind that is not listed here fails, in the tests and in use.
_CLASSES: Final = {
    ReplyKind.OK: _RetryClass.FINAL,
    ReplyKind.REFUSED: _RetryClass.FINAL,
    ReplyKind.FORBIDDEN: _RetryClass.FINAL,
    ReplyKind.UNAUTHORIZED: _RetryClass.UNCOUNTED,  # bounded by the source of tokens, which raises
    ReplyKind.THROTTLED: _RetryClass.UNCOUNTED,  # bounded by nothing: it lasts as long as it lasts
    ReplyKind.UNAVAILABLE: _RetryClass.UNAVAILABLE_TO_ALL,
    ReplyKind.NO_CONNECTION: _RetryClass.UNAVAILABLE_TO_ALL,
    ReplyKind.SERVER_ERROR: _RetryClass.TRANSIENT,
    ReplyKind.LOST: _RetryClass.TRANSIENT,
    ReplyKind.NOT_JSON: _RetryClass.TRANSIENT,
}

MAYBE_APPLIED: Final = frozenset(
    {ReplyKind.SERVER_ERROR, ReplyKind.LOST, ReplyKind.NOT_JSON, ReplyKind.UNAVAILABLE},
)
"""Replies after which a change may have been made all the same.

That holds for a 503, too: a proxy that loses the server while it works on a request answers with it. After such a reply
the engine sends no request again that is not idempotent, whatever `decide` says.
"""

_MAX_DOUBLINGS: Final = 60  # beyond any cap; keeps the power within a float


def full_jitter(base_s: float, cap_s: float, failures: int, jitter: float) -> float:
    """Give a wait in seconds, evenly drawn by ``jitter`` (in [0, 1)) from 0 to ``base_s`` doubled per further failure.

    No wait is longer than ``cap_s``. The first failure is number 1.
    """
    return float(jitter * min(cap_s, base_s * 2.0 ** min(max(failures - 1, 0), _MAX_DOUBLINGS)))


def counts(kind: ReplyKind, *, others_succeeded: bool) -> bool:
    """Whether a reply uses up one of the request's attempts.

    ``others_succeeded`` says that the server took another request since it last turned this one away. If it took none,
    it was away for all requests, which says nothing about this one.
    """
    what = _CLASSES[kind]
    return what in (_RetryClass.FINAL, _RetryClass.TRANSIENT) or (
        what is _RetryClass.UNAVAILABLE_TO_ALL and others_succeeded
    )


def decide(
    policy: RetryPolicy, kind: ReplyKind, *, attempts: int, spent_s: float, retry_after: float | None, jitter: float
) -> Decision:
    """Decide what to do about a reply.

    Args:
        policy: The bounds.
        kind: Of the reply.
        attempts: Replies so far that count (see `counts`), with this one.
        spent_s: Time in flight and own waits so far, in seconds.
        retry_after: What the server asked for, in seconds; wins over the policy's own wait.
        jitter: A number in [0, 1).
    """
    what = _CLASSES[kind]
    if what is _RetryClass.FINAL:
        return SETTLE
    if what is _RetryClass.UNCOUNTED:
        return REQUEUE
    if attempts >= policy.max_attempts:
        return GIVE_UP
    if what is _RetryClass.UNAVAILABLE_TO_ALL:
        return GIVE_UP if spent_s > policy.budget_s else REQUEUE
    own = full_jitter(policy.base_s, policy.cap_s, attempts, jitter)
    wait = own if retry_after is None else max(retry_after, 0.0) + min(own, policy.base_s)
    return GIVE_UP if spent_s + wait > policy.budget_s else Retry(wait)
