"""The plan of a run is unpacked chunk by chunk, as its requests leave."""

import random
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from sqlalchemy import func, select

from bulkid import runs
from bulkid.journal import store
from bulkid.journal.schema import packed_items
from bulkid.journal.store import Journal
from bulkid.model import Via
from bulkid.runs.execution import account_sender
from tests.support.hurried_clock import Hurried
from tests.support.life_server import ORG, URL, LifeServer, counts, serving

NAMES = ("a", "b", "c")


def test_items_stay_packed_until_their_requests_may_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PACKED_TOGETHER", 1)
    for name in ("FIRST_INTENT_CHUNK", "INTENT_CHUNK"):
        monkeypatch.setattr(account_sender, name, 1)
    intend, packed = Journal.intend, list[int]()

    def watched(journal: Journal, run_id: str, numbers: Sequence[int], at: float, via: Via = Via.ACCOUNT) -> None:
        intend(journal, run_id, numbers, at, via)
        packed.append(journal.database.fetch(select(func.count()).select_from(packed_items))[0][0])

    monkeypatch.setattr(Journal, "intend", watched)
    server = LifeServer()
    for name in NAMES:
        server.add(name, "Old", [])
    path = tmp_path / "sheet.csv"
    path.write_text("name,display_name\n" + "".join(f"{name},New\n" for name in NAMES), encoding="utf-8")
    target = runs.Target(url=URL, access_token="1234", organization_id=ORG)
    context = runs.Context(state_dir=tmp_path / "state", clock=Hurried(1000.0), random=random.Random(7).random)
    options = runs.RunOptions(report_dir=tmp_path / "reports", via="accounts", yes_really=True)
    with serving(server):
        result = anyio.run(lambda: runs.run(path, target, options, context))
    assert result.exit_code == 0
    assert packed == [2, 1, 0]
    assert counts(tmp_path, result.run.run_id) == {"updated": len(NAMES)}
