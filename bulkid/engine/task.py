"""What the engine sends, and what comes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from bulkid.engine.auth_failures import OnForbidden
from bulkid.model import Reply, ReplyKind, Request


class Task(NamedTuple):
    """One request to be settled by `Engine.run`."""

    key: int  # the caller's own number for it
    request: Request
    renew: Callable[[], Request] | None = None  # gives the request as it must be now, each time it is about to leave
    on_forbidden: OnForbidden = OnForbidden.SCOPE_MAY_BE_MISSING  # what a 403 can mean, where the request writes


class Settled(NamedTuple):
    """What came of one request."""

    key: int  # of the task; -1 for `Engine.call`
    reply: Reply  # the last one
    attempts: int  # replies that count: those that say something about this request
    maybe_applied: bool  # the last reply is no yes, but this or an earlier one may have been applied: read back
    finished_at: float  # seconds since the epoch


@dataclass(slots=True, eq=False)
class SendTask:
    """A request under way, with what has come of it so far."""

    key: int
    request: Request
    renew: Callable[[], Request] | None = None
    on_forbidden: OnForbidden = OnForbidden.SCOPE_MAY_BE_MISSING
    number: int = 0  # in the order in which requests left
    request_refusals: int = 0  # replies 401 that were about this request
    first_refused: int = 0  # the number under which it left when the first of them came
    attempts: int = 0
    spent_s: float = 0.0
    maybe_applied: bool = False
    successes_seen: int | None = None  # of others, when the server last turned it away; None: it never did
    reply: Reply | None = None

    def settled(self, finished_at: float) -> Settled:
        """The result, once the decision about its last reply is made."""
        reply = self.reply
        assert reply is not None  # noqa: S101 - a decision is only ever made about a reply
        maybe_applied = self.maybe_applied and reply.kind is not ReplyKind.OK
        return Settled(self.key, reply, self.attempts, maybe_applied, finished_at)
