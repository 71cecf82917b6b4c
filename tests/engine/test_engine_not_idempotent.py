"""A request that is not idempotent leaves again only where the reply shows that the last one was not applied."""

from typing import Any

import pytest

from bulkid.engine.retry import MAYBE_APPLIED, RetryPolicy
from bulkid.engine.task import Settled, Task
from bulkid.model import Reply, ReplyKind, Request
from tests.support.engine_world import (
    BROKEN,
    LOST,
    NO_CONNECTION,
    NOT_JSON,
    OK,
    REFUSED,
    THROTTLED,
    UNAUTHORIZED,
    UNAVAILABLE,
    get,
    make_engine,
    post,
    settle,
)
from tests.support.fake_clock import FakeClock


class Scripted:
    """Answers the POST with its own replies in turn, the last one for ever; all else with OK."""

    def __init__(self, clock: FakeClock, replies: tuple[Reply, ...]) -> None:
        self.clock, self.replies = clock, replies
        self.posts = 0
        self.others: list[float] = []

    async def __call__(self, request: Request) -> Reply:
        await self.clock.sleep(0.125)
        if request.method != "POST":
            self.others.append(self.clock.elapsed)
            return OK
        self.posts += 1
        return self.replies[min(self.posts, len(self.replies)) - 1]


async def settled_post(*replies: Reply, run: bool, **settings: Any) -> tuple[Settled, Scripted]:
    clock = FakeClock()
    server = Scripted(clock, replies)
    engine = make_engine(clock, server, **settings)
    await engine.call(get(0))
    if run:
        (settled,) = await settle(engine, [Task(0, post(0))])
    else:
        settled = await engine.call(post(0))
    return settled, server


UNCLEAR = (LOST, BROKEN, NOT_JSON, UNAVAILABLE)


def test_the_unclear_replies_are_those_after_which_a_change_may_have_been_made() -> None:
    assert {reply.kind for reply in UNCLEAR} == MAYBE_APPLIED


@pytest.mark.parametrize("run", [True, False], ids=["run", "call"])
@pytest.mark.parametrize("unclear", UNCLEAR, ids=lambda reply: reply.kind.value)
async def test_it_is_not_repeated_after_a_reply_that_may_have_been_applied(unclear: Reply, run: bool) -> None:
    settled, server = await settled_post(unclear, OK, run=run)
    assert (server.posts, settled.reply, settled.maybe_applied) == (1, unclear, True)


@pytest.mark.parametrize("run", [True, False], ids=["run", "call"])
@pytest.mark.parametrize("before", [THROTTLED, NO_CONNECTION, UNAUTHORIZED], ids=lambda reply: reply.kind.value)
async def test_it_is_repeated_after_a_reply_that_says_it_was_not_applied(before: Reply, run: bool) -> None:
    settled, server = await settled_post(before, before, OK, run=run)
    assert (server.posts, settled.reply.kind, settled.maybe_applied) == (3, ReplyKind.OK, False)


async def test_an_unclear_reply_after_repetitions_ends_it_too() -> None:
    settled, server = await settled_post(THROTTLED, LOST, OK, run=True)
    assert (server.posts, settled.maybe_applied) == (2, True)


async def test_a_refusal_is_clear() -> None:
    settled, server = await settled_post(REFUSED, OK, run=True)
    assert (server.posts, settled.reply, settled.maybe_applied) == (1, REFUSED, False)


async def test_the_breaker_opens_for_a_503_all_the_same() -> None:
    clock = FakeClock()
    server = Scripted(clock, (UNAVAILABLE._replace(retry_after=20.0),))
    engine = make_engine(clock, server, policy=RetryPolicy(max_attempts=1))
    await engine.call(get(0))
    await engine.call(post(0))
    refused_at = clock.elapsed
    await engine.call(get(1))
    assert server.others[-1] - refused_at >= 20.0
