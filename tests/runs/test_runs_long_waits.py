"""During a long wait without a progress display, the user learns what the run waits for and until when."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bulkid import runs
from bulkid.model import QuotaRule
from tests.support.engine_world import Server, get, make_engine
from tests.support.fake_clock import FakeClock
from tests.support.hurried_clock import Hurried
from tests.support.identity_server import ORG, Identity, account, context, options, sheet

TIMES = 60.0  # an outage of ten minutes takes ten seconds
LIMITED = "The server limits the rate: the next request leaves in 1 min"
QUOTA_USED = "The quota is used: the next request leaves in"
OVER = "over"  # a request leaves again


class Waits(runs.Hooks):
    """Keeps what the user is told of waits."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def waiting(self, text: str) -> None:
        self.texts.append(text)

    def wait_ended(self) -> None:
        self.texts.append(OVER)

    @property
    def of_waits(self) -> list[str]:
        return [text for text in self.texts if text != OVER]


class Busy(Identity):
    """Turns the first requests of some kinds away.

    Args:
        turned_away: How many of each kind: ``token``, or the beginning of what stands in ``asked``.
        status: The answer to them.
        retry_after: What it says of the time to come again; empty for nothing.
    """

    def __init__(self, turned_away: dict[str, int], status: int, retry_after: str) -> None:
        super().__init__([account("a"), account("b")])
        self.left, self.status, self.headers = Counter(turned_away), status, {"Retry-After": retry_after}
        if not retry_after:
            self.headers = {}

    async def serve(self, request: web.Request) -> web.Response:
        if request.path.endswith("/connect/token"):
            kind, response = "token", web.json_response({"access_token": "1234", "expires_in": 3600})
        else:
            response = await super().serve(request)
            kind = next((each for each in self.left if self.asked[-1].startswith(each)), "")
        if self.left[kind] > 0:
            self.left[kind] -= 1
            return web.json_response({"message": "Busy."}, status=self.status, headers=self.headers)
        return response

    @property
    def target(self) -> runs.Target:
        return runs.Target(url=self.url, client_id="me", client_secret="a-secret", organization_id=ORG)


async def run(tmp_path: Path, server: Busy, **more: Any) -> tuple[runs.RunResult, list[str]]:
    waits = Waits()
    path = sheet(tmp_path, ("id", "display_name"), [("a", "New"), ("b", "New")])
    own = context(tmp_path, hooks=waits, clock=Hurried(TIMES), random=lambda: 0.999)
    return await runs.run(path, server.target, options(tmp_path, max_attempts=5, **more), own), waits.of_waits


async def test_the_user_is_told_of_throttling_but_for_what_the_progress_shows(tmp_path: Path) -> None:
    turned_away = {"token": 1, "GET RobotAccount": 1, "PUT": 1}
    async with Busy(turned_away, 429, "60").served() as server:
        result, told = await run(tmp_path, server)
    assert (result.exit_code, result.summary["updated"]) == (0, 2)
    assert [re.sub(r" 1 s|, at .* UTC.*", "", text) for text in told] == [LIMITED, LIMITED]
    assert all(re.search(r", at (\S+ )?\d\d:\d\d UTC\S*\.$", text) for text in told)


@pytest.mark.parametrize(("count", "retry_after", "left"), [(6, "", "9 min .*"), (1, "60", "(10|9) min.*")])
@pytest.mark.parametrize("kind", ["token", "GET RobotAccount"])
async def test_a_server_that_answers_503_is_waited_for_and_the_user_is_told_once(
    tmp_path: Path, kind: str, count: int, retry_after: str, left: str
) -> None:
    async with Busy({kind: count}, 503, retry_after).served() as server:
        result, told = await run(tmp_path, server)
    assert (result.exit_code, result.summary["updated"]) == (0, 2)
    (text,) = told
    words = rf"The server is unavailable \(.*Busy\)\. Trying again for {left}, until .*\d\d:\d\d UTC"
    assert re.match(words, text)


async def test_doctor_does_not_tell_of_a_wait_that_ends_in_a_moment(tmp_path: Path) -> None:
    waits = Waits()
    async with Busy({"token": 99}, 503, "").served() as server:
        own = context(tmp_path, hooks=waits, clock=Hurried(TIMES), random=lambda: 0.999)
        findings = await runs.doctor(server.target, options(tmp_path), own)
    assert [finding.subject for finding in findings if finding.ok is False] == ["token"]
    assert waits.texts == []


async def test_a_server_that_is_away_for_a_moment_is_not_mentioned(tmp_path: Path) -> None:
    async with Busy({"token": 1, "GET RobotAccount": 1}, 503, "").served() as server:
        result, told = await run(tmp_path, server)
    assert (result.exit_code, told) == (0, [])


async def test_a_wait_for_the_quota_is_reported() -> None:
    clock = FakeClock()
    waits: list[float] = []
    server = Server(clock)
    engine = make_engine(clock, server.send, rules=[QuotaRule("GET", 1, 60.0)], on_wait=waits.append)
    for number in range(2):
        await engine.call(get(number))
    assert max(waits) == pytest.approx(60.0, abs=1.0)


async def test_a_wait_for_the_quota_is_over_when_the_next_request_leaves(tmp_path: Path) -> None:
    waits, server = Waits(), Busy({}, 200, "")
    server.page_size = 1
    async with server.served():
        own = context(tmp_path, hooks=waits, clock=Hurried(TIMES))
        quota = (QuotaRule("GET", 2, 60.0),)
        result = await runs.export(tmp_path / "accounts.csv", server.target, options(tmp_path, quota=quota), own)
    assert result.accounts == 2
    assert all(text == OVER or text.startswith(QUOTA_USED) for text in waits.texts)
    assert [text == OVER for text in waits.texts[:4]] == [False, True, False, True]


async def test_the_wait_for_an_unavailable_server_is_over_when_it_answers_and_not_with_each_probe(
    tmp_path: Path,
) -> None:
    waits, server = Waits(), Busy({"GET RobotAccount": 6}, 503, "")
    server.page_size = 1
    async with server.served():
        own = context(tmp_path, hooks=waits, clock=Hurried(TIMES), random=lambda: 0.999)
        await runs.export(tmp_path / "accounts.csv", server.target, options(tmp_path, max_attempts=5), own)
    assert [text == OVER for text in waits.texts] == [False, True]
