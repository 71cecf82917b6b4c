"""The plan of a run is unpacked while its requests are under way."""

import random
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from bulkid import runs
from bulkid.journal import store
from bulkid.journal.store import Journal
from bulkid.model import Reply, Request
from bulkid.runs.execution import account_sender
from tests.support.hurried_clock import Hurried
from tests.support.life_server import ORG, URL, LifeServer, counts, serving

NAMES = ("a", "b", "c")


def test_a_plan_is_unpacked_before_the_first_response_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PACKED_TOGETHER", "MOVED_TOGETHER"):
        monkeypatch.setattr(store, name, 1)
    for name in ("FIRST_INTENT_CHUNK", "INTENT_CHUNK"):
        monkeypatch.setattr(account_sender, name, 1)
    unpack, is_unpacked = Journal.unpack, False

    def watched(journal: Journal, run_id: str) -> bool:
        nonlocal is_unpacked
        moved = unpack(journal, run_id)
        is_unpacked = not moved
        return moved

    monkeypatch.setattr(Journal, "unpack", watched)
    server = LifeServer()
    for name in NAMES:
        server.add(name, "Old", [])
    answer = server.answer

    async def held(request: Request) -> Reply:
        if request.method == "PUT":
            while not is_unpacked:
                await checkpoint()
        return await answer(request)

    monkeypatch.setattr(server, "answer", held)
    path = tmp_path / "sheet.csv"
    path.write_text("name,display_name\n" + "".join(f"{name},New\n" for name in NAMES), encoding="utf-8")
    target = runs.Target(url=URL, access_token="1234", organization_id=ORG)
    context = runs.Context(state_dir=tmp_path / "state", clock=Hurried(1000.0), random=random.Random(7).random)
    options = runs.RunOptions(report_dir=tmp_path / "reports", via="accounts", yes_really=True)
    with serving(server):
        result = anyio.run(lambda: runs.run(path, target, options, context))
    assert result.exit_code == 0
    assert counts(tmp_path, result.run.run_id) == {"updated": len(NAMES)}
