"""A plan file whose group the server refuses: its retry.csv can be run."""

import random
from pathlib import Path
from typing import Any

import anyio

from bulkid import runs
from tests.support.hurried_clock import Hurried
from tests.support.life_server import ORG, URL, LifeServer, serving
from tests.support.sheets import sheet_of

TARGET = runs.Target(url=URL, access_token="1234", organization_id=ORG)


def options(folder: Path, **more: Any) -> runs.RunOptions:
    return runs.RunOptions(report_dir=folder / "reports", yes_really=True, **more)


def context(folder: Path) -> runs.Context:
    return runs.Context(state_dir=folder / "state", clock=Hurried(1000.0), random=random.Random(7).random)


def test_the_retry_sheet_of_a_plan_names_the_groups_that_were_not_created(tmp_path: Path) -> None:
    server = LifeServer(groups={"g-1": "Finance"})
    server.add("old")
    rows = [
        ("name", "add groups", "action"),
        ("bot", 'Finance; "New; comers"', "create"),
        ("old", '"New; comers"', ""),
    ]
    sheet = sheet_of(tmp_path, rows)
    with serving(server):
        planned = anyio.run(runs.plan, sheet, TARGET, options(tmp_path, create_groups=True), context(tmp_path))
        assert planned.preview is not None
        runs.save_plan(planned.preview, tmp_path / "plan.json")
        server.locked = {"New; comers"}
        result = anyio.run(runs.run_plan, tmp_path / "plan.json", TARGET, options(tmp_path), context(tmp_path))
        assert (result.exit_code, result.summary["failed"]) == (1, 2)
        assert result.report is not None
        retry = Path(result.report.folder) / "retry.csv"
        server.locked = set()
        again = anyio.run(runs.run, retry, TARGET, options(tmp_path, create_groups=True), context(tmp_path))
    assert (again.exit_code, again.summary["created"], again.summary["updated"]) == (0, 1, 1)
    assert list(server.groups.values()) == ["Finance", "New; comers"]
