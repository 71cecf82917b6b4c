"""Requests are counted by method and status class, each that left exactly once, whatever comes back."""

from collections import Counter
from contextlib import suppress

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkid.engine.retry import RetryPolicy
from bulkid.engine.signals import Stop
from bulkid.errors import BulkidError
from bulkid.model import QuotaRule, Reply, ReplyKind, Request
from tests.support.engine_world import LOST, NO_CONNECTION, NOT_JSON, OK, Server, get, make_engine, puts, settle
from tests.support.examples import examples
from tests.support.fake_clock import FakeClock, run

REPLIES = (
    *(OK, LOST, NO_CONNECTION, NOT_JSON, Reply(ReplyKind.OK, 204), Reply(ReplyKind.THROTTLED, 429)),
    Reply(ReplyKind.THROTTLED, 429, for_token=True),
    *(Reply(ReplyKind.UNAVAILABLE, 503), Reply(ReplyKind.SERVER_ERROR, 500), Reply(ReplyKind.REFUSED, 404)),
)


def class_of(reply: Reply) -> str:
    return "none" if reply.status is None else f"{reply.status // 100}xx"


@settings(max_examples=examples(50, soak=1000))
@given(st.lists(st.sampled_from(REPLIES), max_size=40), st.integers(1, 12), st.integers(1, 4))
def test_every_request_that_left_is_in_one_class(replies: list[Reply], count: int, attempts: int) -> None:
    clock, told = FakeClock(), iter([OK, *replies])
    seen: Counter[tuple[str, str]] = Counter()

    def answer(request: Request) -> Reply:
        reply = next(told, OK)
        if reply.kind is not ReplyKind.NO_CONNECTION and not reply.for_token:
            seen[request.method, class_of(reply)] += 1
        return reply

    async def work() -> None:
        engine = make_engine(clock, Server(clock, answer=answer).send, policy=RetryPolicy(max_attempts=attempts))
        ended_early = False
        try:
            await engine.call(get(1))
            await settle(engine, puts(count))
        except BulkidError:
            ended_early = True
        told_of = {
            (method, each): n for method, classes in engine.stats.responses().items() for each, n in classes.items()
        }
        if not ended_early:  # else some answers may have come too late to be taken
            assert told_of == seen
        for method, sent in engine.stats.sent.items():
            assert sum(number for (of, _), number in told_of.items() if of == method) == sent

    run(work)


def test_the_classes_are_those_that_the_server_answered() -> None:
    clock = FakeClock()
    told = iter([OK, Reply(ReplyKind.THROTTLED, 429), Reply(ReplyKind.SERVER_ERROR, 502), LOST, NOT_JSON])

    async def work() -> dict[str, dict[str, int]]:
        engine = make_engine(clock, Server(clock, answer=lambda _: next(told, OK)).send)
        await engine.call(get(1))
        await settle(engine, puts(3))
        return engine.stats.responses()

    assert run(work) == {"GET": {"2xx": 1}, "PUT": {"2xx": 4, "4xx": 1, "5xx": 1, "none": 1}}


def test_a_request_whose_token_the_server_would_not_issue_takes_no_slot_of_the_quota() -> None:
    clock = FakeClock()
    told = iter([Reply(ReplyKind.THROTTLED, 429, for_token=True)] * 5)

    async def work() -> dict[str, dict[str, int]]:
        server = Server(clock, answer=lambda _: next(told, OK))
        engine = make_engine(clock, server.send, rules=[QuotaRule("PUT", 3, 86_400.0)])
        await settle(engine, puts(3))
        return engine.stats.responses()

    assert run(work) == {"PUT": {"2xx": 3}}


def test_a_request_that_is_cancelled_on_its_way_has_no_answer() -> None:
    clock = FakeClock()

    async def work() -> dict[str, dict[str, int]]:
        server = Server(clock, latency=(1000.0, 1000.0))
        engine, stop = make_engine(clock, server.send, grace_s=1.0), Stop()

        async def soon() -> None:
            await clock.sleep(1)
            stop.abort()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(soon)
            with suppress(BulkidError):
                await settle(engine, puts(2), stop=stop)
        return engine.stats.responses()

    assert run(work) == {"PUT": {"none": 2}}
