"""A task that renews its request is sent with the request of that moment, at every attempt."""

import pytest

from bulkid.engine.task import Task
from bulkid.model import QuotaRule, Reply, Request
from tests.support.engine_world import (
    BROKEN,
    LOST,
    NO_CONNECTION,
    OK,
    THROTTLED,
    UNAUTHORIZED,
    make_engine,
    put,
    settle,
)
from tests.support.fake_clock import FakeClock
from tests.support.memory_ledger import MemoryLedger


@pytest.mark.parametrize("turned_away", [THROTTLED, NO_CONNECTION, UNAUTHORIZED, BROKEN, LOST], ids=lambda r: r.kind)
async def test_a_request_is_renewed_each_time_that_it_leaves(turned_away: Reply) -> None:
    clock = FakeClock()
    replies = [turned_away, turned_away, OK]
    sent: list[tuple[float, Request]] = []

    def now() -> Request:
        return put(0)._replace(body=str(clock.elapsed).encode())

    async def send(request: Request) -> Reply:
        sent.append((clock.elapsed, request))
        await clock.sleep(0.125)
        return replies[len(sent) - 1]

    rules = [QuotaRule("PUT", 1, 60.0)]  # each waits for the one before
    await clock.sleep(1.0)
    (settled,) = await settle(
        make_engine(clock, send, rules=rules, ledger=MemoryLedger(clock)), [Task(0, put(0), renew=now)]
    )
    assert settled.reply is OK
    assert [request.body for _, request in sent] == [str(left_at).encode() for left_at, _ in sent]
    assert len({left_at for left_at, _ in sent}) == len(replies)
