"""``doctor`` reports every answer of the server as a finding, and raises no error."""

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web

from bulkid import runs
from bulkid.clock import local_time
from bulkid.runs.connection_check import LEAST_FREE_BYTES
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.server import Sandbox
from tests.support.bulkid_command import SECRET
from tests.support.sandbox_host import hosted


class Usage(NamedTuple):
    """What ``shutil.disk_usage`` answers."""

    total: int
    used: int
    free: int


def disk_with(free: int) -> Callable[[Path], Usage]:
    return lambda _: Usage(10 * LEAST_FREE_BYTES, 10 * LEAST_FREE_BYTES - free, free)


async def findings_about_disks(state_dir: Path, report_dir: Path) -> list[runs.Finding]:
    target = runs.Target(url="", access_token="", organization_id="")  # a problem of its own: nothing is connected to
    options, context = runs.RunOptions(report_dir=report_dir), runs.Context(state_dir=state_dir)
    return [each for each in await runs.doctor(target, options, context) if each.subject == "disk"]


async def test_a_disk_that_is_nearly_full_is_a_problem_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", disk_with(12_340_000))
    reports = tmp_path / "not" / "made" / "yet"
    (found,) = await findings_about_disks(tmp_path / "state", reports)
    assert found.ok is False
    assert found.detail == f"12.3 MB are free on the disk of {tmp_path / 'state'}"
    assert not reports.exists()


async def test_a_disk_with_room_is_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", disk_with(LEAST_FREE_BYTES))
    assert await findings_about_disks(tmp_path / "state", tmp_path / "reports") == []


async def test_a_disk_that_cannot_be_examined_is_a_problem_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> Usage:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "disk_usage", refuse)
    (found,) = await findings_about_disks(tmp_path / "state", tmp_path / "reports")
    assert found.ok is False
    assert str(tmp_path / "state") in found.detail


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


async def test_a_token_of_another_organisation_is_not_told_to_lack_a_scope_that_it_has(tmp_path: Path) -> None:
    with hosted(accounts=20) as host:
        target = runs.Target(
            url=host.url,
            client_id="sandbox",
            client_secret=SECRET,
            organization_id="00000000-0000-0000-0000-000000000000",
        )
        findings = await runs.doctor(target, runs.RunOptions(), runs.Context(state_dir=tmp_path / "state"))
    hints = {each.subject: each.hint for each in findings if each.ok is False}
    advice = "To change this, check the organisation id and the address."
    assert hints == {"read accounts": advice, "read groups": advice}


@pytest.mark.parametrize(
    ("scopes", "granted", "advice"),
    [
        (
            "PM.RobotAccount.Read",
            ("PM.RobotAccount", "PM.Group"),
            {
                "read groups": "Grant PM.Group.Read to the application, and name it in BULKID_SCOPE if that is set.",
                "write accounts": "Grant PM.RobotAccount.Write to the application, and name it in BULKID_SCOPE if that "
                "is set.",
                "write groups": "With PM.Group.Write one PUT changes many accounts (group requests).",
            },
        ),
        (
            "PM.RobotAccount PM.Group.Write",
            ("PM.RobotAccount", "PM.Group"),
            {"read groups": "Grant PM.Group.Read to the application, and name it in BULKID_SCOPE if that is set."},
        ),
        (
            "",
            ("PM.RobotAccount.Read",),
            {
                "token": "Grant the application these application scopes: PM.RobotAccount. If it has others, name them "
                "in BULKID_SCOPE."
            },
        ),
    ],
)
async def test_the_advice_about_a_missing_scope_holds_where_the_setting_leaves_it_out(
    tmp_path: Path, scopes: str, granted: tuple[str, ...], advice: dict[str, str]
) -> None:
    async with Sandbox(SandboxOptions(accounts=20, granted_scopes=granted)) as server:
        target = runs.Target(
            url=server.url, client_id=server.options.client_id, client_secret=server.options.client_secret, scope=scopes
        )
        findings = await runs.doctor(target, context=runs.Context(state_dir=tmp_path))
    assert {each.subject: each.hint for each in findings if each.hint} == advice
    assert all("save PUTs" not in each.detail for each in findings)


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
