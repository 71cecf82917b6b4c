"""The doctor answers whatever the server says: never with an error of its own."""

import sys
import time
from pathlib import Path

import pytest
from aiohttp import web

from bulkid import runs
from bulkid.clock import local_time


@pytest.mark.parametrize("answer", ["5", "[]", "{}", '"yes"', "null", ""])
async def test_an_answer_of_another_shape_is_a_problem_that_is_told(tmp_path: Path, answer: str) -> None:
    async def say(_: web.Request) -> web.Response:
        return web.Response(text=answer, content_type="application/json", status=200 if answer else 204)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", say)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/identity"
        target = runs.Target(url=url, access_token="1234", organization_id="3fa85f64-5717-4562-b3fc-2c963f66afa6")
        findings = await runs.doctor(target, context=runs.Context(state_dir=tmp_path))
    finally:
        await runner.cleanup()
    assert next(finding for finding in findings if finding.subject == "read accounts").ok is False


@pytest.mark.skipif(sys.platform == "win32", reason="no tzset there")
def test_the_end_of_a_token_is_a_time_of_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_780_000_000.0  # 2026-05-28 20:26:40 UTC
    for zone, end, shown in (
        ("Europe/Berlin", now + 60, "22:27 UTC+02:00"),
        ("UTC", now + 60, "20:27 UTC"),
        ("Asia/Tokyo", now + 86_400, "2026-05-30 05:26 UTC+09:00"),
    ):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            assert local_time(end, now) == shown
        finally:
            monkeypatch.undo()
            time.tzset()
