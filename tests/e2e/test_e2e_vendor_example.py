"""The example of the vendor's API guide, literally: one account put into one group."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bulkid_command import ORGANIZATION, Bulkid
from tests.support.recorder import recording
from tests.support.sandbox_host import hosted

SHEETS = {
    "by id": "robotAccountId,groupIDsToAdd\n88-uv,alumni-02\n",
    "by name": "robot account,add groups\nroby,alumni-02\n",
    "with its display name": "robotAccountId,displayName,groupIDsToAdd\n88-uv,Roby,alumni-02\n",
}


def _environment(port: int) -> dict[str, str]:
    return {
        "BULKID_URL": f"http://127.0.0.1:{port}/identity",
        "BULKID_ACCESS_TOKEN": "1234",
        "BULKID_ORGANIZATION_ID": ORGANIZATION,
    }


@pytest.mark.parametrize("how", SHEETS)
def test_the_guides_example_is_one_put_with_the_guides_body_and_answer(tmp_path: Path, how: str) -> None:
    (tmp_path / "sheet.csv").write_text(SHEETS[how], encoding="utf-8")
    with (
        hosted(static_tokens=("1234",)) as server,
        recording(server.port) as recorder,
    ):
        bulkid = Bulkid(tmp_path, _environment(recorder.port))
        done = bulkid("run", "sheet.csv", "--yes")
        after = {account["id"]: account for account in server.accounts()}["88-uv"]
    assert done.returncode == 0, done.stderr
    ((path, headers, body),) = recorder.requests("PUT")
    assert path == "/identity/api/RobotAccount/88-uv"
    assert headers["authorization"] == "Bearer 1234"
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {
        "partitionGlobalId": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "displayName": "Roby",
        "groupIDsToAdd": ["alumni-02"],
        "groupIDsToRemove": [],
    }
    assert list(json.loads(body)) == ["partitionGlobalId", "displayName", "groupIDsToAdd", "groupIDsToRemove"]
    assert after["groupIds"] == ["alumni-02", "gryff-01"]
    (row,) = bulkid.report()
    # A cell that begins with + would run as a formula.
    assert (row["status"], row["changes"]) == ("updated", "groups: + alumni-02")
    assert (row["robot_account_id"], row["http_status"], row["via"]) == ("88-uv", "200", "account")


def test_blind_without_a_display_name_the_field_is_left_out_and_the_plan_warns(tmp_path: Path) -> None:
    (tmp_path / "sheet.csv").write_text(SHEETS["by id"], encoding="utf-8")
    with (
        hosted(static_tokens=("1234",)) as server,
        recording(server.port) as recorder,
    ):
        bulkid = Bulkid(tmp_path, _environment(recorder.port))
        done = bulkid("run", "sheet.csv", "--yes", "--no-read")
    assert done.returncode == 0, done.stderr
    ((_, _, body),) = recorder.requests("PUT")
    assert list(json.loads(body)) == ["partitionGlobalId", "groupIDsToAdd", "groupIDsToRemove"]
    assert recorder.requests("GET") == []
    assert "blind" in done.stderr
    assert "display name" in done.stderr
    (row,) = bulkid.report()
    assert (row["status"], row["changes"]) == ("updated", "groups: + alumni-02")


def test_a_second_run_of_the_example_sends_nothing(tmp_path: Path, connected: Callable[..., Bulkid]) -> None:
    (tmp_path / "sheet.csv").write_text(SHEETS["by id"], encoding="utf-8")
    with hosted() as server:
        bulkid = connected(server)
        assert bulkid("run", "sheet.csv", "--yes").returncode == 0
        again = json.loads(bulkid("run", "sheet.csv", "--yes", "--json").stdout)
    assert (again["unchanged"], again["requests"]["PUT"]) == (1, 0)
