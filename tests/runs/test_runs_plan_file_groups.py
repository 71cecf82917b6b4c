"""A plan file whose group the server refuses: its retry.csv can be run; and one for another server than the sandbox."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from bulkid import runs
from bulkid.errors import UsageError
from bulkid.report.summary import next_steps
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
        (advice,) = next_steps(result.run, result.summary)
        assert advice.endswith('bulkid run retry.csv --new-group "New; comers"')
        server.locked = set()
        again = anyio.run(runs.run, retry, TARGET, options(tmp_path, new_groups=("New; comers",)), context(tmp_path))
    assert (again.exit_code, again.summary["created"], again.summary["updated"]) == (0, 1, 1)
    assert list(server.groups.values()) == ["Finance", "New; comers"]


def test_a_plan_of_a_real_server_is_refused_in_the_sandbox_with_the_option_to_leave_out(tmp_path: Path) -> None:
    server = LifeServer()
    server.add("old")
    sheet = sheet_of(tmp_path, [("name", "display name"), ("old", "New")])
    with serving(server):
        planned = anyio.run(runs.plan, sheet, TARGET, options(tmp_path), context(tmp_path))
        assert planned.preview is not None
        runs.save_plan(planned.preview, tmp_path / "plan.json")
        in_sandbox = replace(TARGET, url="http://127.0.0.1:1/identity")
        with pytest.raises(UsageError) as refused:
            anyio.run(
                runs.run_plan, tmp_path / "plan.json", in_sandbox, options(tmp_path, sandbox=True), context(tmp_path)
            )
    assert refused.value.message.endswith(f"was made for {URL}, and cannot be applied in the sandbox.")
    assert refused.value.hint.startswith("Leave out --sandbox")
