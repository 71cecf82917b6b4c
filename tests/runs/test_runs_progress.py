"""The progress of a run, as the terminal and the console show it while the server delays it."""

import pytest

from bulkid.cli.progress_line import progress_line
from bulkid.engine.task import SendTask, Task
from bulkid.model import Allowance, QuotaRule, Reply, ReplyKind, Request
from bulkid.runs import Progress, Snapshot
from tests.support.engine_world import OK, make_engine, put, settle
from tests.support.fake_clock import FakeClock

PACED = "rate-limited, continues in 40 s"


async def snapshot_after(reply: Reply) -> Snapshot:
    """The figures once a PUT has got this reply, and the next one waits."""
    clock = FakeClock()

    async def send(_: Request) -> Reply:
        return reply

    engine = make_engine(clock, send, outage_limit_s=600.0)
    granted = await engine.admit("PUT", lambda: True)
    assert granted is not None
    await engine.exchange(SendTask(0, put(0)), granted)
    return Progress(engine, 9, {"PUT": 9}, (), clock.monotonic).snapshot()


@pytest.mark.parametrize("kind", [ReplyKind.OK, ReplyKind.REFUSED])
async def test_a_run_that_waits_for_what_the_server_says_is_left_is_rate_limited(kind: ReplyKind) -> None:
    snapshot = await snapshot_after(OK._replace(kind=kind, allowance=Allowance(0, 40.0)))
    assert snapshot.server_retry_in is None
    assert snapshot.server_limit == PACED
    assert PACED in progress_line(snapshot).plain


async def test_a_429_that_says_when_the_limit_is_over_is_shown_as_a_rate_limit() -> None:
    snapshot = await snapshot_after(Reply(ReplyKind.THROTTLED, 429, retry_after=5.0, allowance=Allowance(0, 40.0)))
    assert snapshot.server_retry_in is not None
    assert snapshot.server_limit == PACED


async def test_a_server_that_is_away_takes_nothing() -> None:
    snapshot = await snapshot_after(Reply(ReplyKind.UNAVAILABLE, 503, retry_after=30.0))
    assert snapshot.pace_opens_in is None
    assert snapshot.server_limit.startswith("server unavailable, retrying in 30 s")
    assert snapshot.server_limit in progress_line(snapshot).plain


async def test_a_server_that_limits_nothing_is_not_mentioned() -> None:
    assert (await snapshot_after(OK)).server_limit == ""
    assert "server" not in progress_line(await snapshot_after(OK._replace(allowance=Allowance(1, 40.0)))).plain


CLOUD = (QuotaRule("PUT", 160, 300.0), QuotaRule("POST", 24_000, 300.0), QuotaRule("DELETE", 160, 300.0))


async def progress_of(requests: dict[str, int], settled: int) -> Progress:
    """The progress of a run that has settled so many of its requests, at two a second."""
    clock = FakeClock()

    async def send(_: Request) -> Reply:
        await clock.sleep(0.5)
        return OK

    engine = make_engine(clock, send, rules=CLOUD, concurrency=1)
    progress = Progress(engine, sum(requests.values()), requests, CLOUD, clock.monotonic)
    await settle(engine, [Task(number, put(number)) for number in range(settled)])
    return progress


@pytest.mark.parametrize(
    ("requests", "seconds"),
    [
        ({"POST": 10, "PUT": 0, "DELETE": 320}, 300.0),
        ({"POST": 48_010, "PUT": 0, "DELETE": 320}, 600.0),
        ({"POST": 10, "PUT": 480, "DELETE": 320}, 1200.0),
        ({"POST": 10, "PUT": 20, "DELETE": 20}, 20.0),
    ],
)
async def test_the_time_left_is_that_of_the_methods_one_after_the_other(
    requests: dict[str, int], seconds: float
) -> None:
    progress = await progress_of(requests, 10)
    eta_s = progress.snapshot().eta_s
    assert eta_s is not None
    assert seconds - 1 <= eta_s <= seconds


async def test_the_quota_that_is_shown_is_that_of_the_method_that_is_sent() -> None:
    progress = await progress_of({"POST": 0, "PUT": 160, "DELETE": 3}, 159)
    assert progress.snapshot().quota_left == 1
    progress = await progress_of({"POST": 0, "PUT": 160, "DELETE": 3}, 160)
    assert (progress.snapshot().quota_left, progress.engine.quota.remaining("PUT")) == (
        progress.engine.quota.remaining("DELETE"),
        0,
    )


async def test_the_time_left_is_not_less_than_the_wait_that_the_server_asks_for() -> None:
    progress = await progress_of({"POST": 0, "PUT": 20, "DELETE": 0}, 10)
    before = progress.snapshot()
    assert before.eta_s is not None
    assert before.eta_s < 40.0
    progress.engine.pacing.response_received("PUT", OK._replace(allowance=Allowance(0, 40.0)))
    waiting = progress.snapshot()
    assert waiting.pace_opens_in is not None
    assert waiting.eta_s == waiting.pace_opens_in >= 40.0
