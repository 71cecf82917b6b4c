"""``undo`` of runs that created and deleted accounts, and plan files with such changes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bulkid_command import connected_to
from tests.support.command_output import all_text, assert_clear, summary_of
from tests.support.sandbox_host import Hosted, hosted
from tests.support.server_state import id_of, state_of
from tests.support.sheets import sheet_of

SHEET = (
    ("name", "display name", "groups to add", "action"),
    ("bot-1", "Bot 1", "Finance; Newcomers", "create"),
    ("bot-2", "", "", "create"),
    ("robot-0001", "Alpha", "Newcomers", ""),
    ("robot-0002", "", "", "delete"),
)
NAMES = ("bot-1", "bot-2", "robot-0001", "robot-0002")


@pytest.fixture
def host() -> Iterator[Hosted]:
    with hosted(accounts=20, list_everyone=True) as started:
        yield started


def by_name(host: Hosted) -> dict[str, tuple[str, frozenset[str]]]:
    return {name: (display_name, groups) for name, display_name, groups in state_of(host).values()}


def statuses_of(report: list[dict[str, str]]) -> dict[str, str]:
    return {row["name"]: row["error_code"] or row["status"] for row in report}


def test_creations_are_deleted_with_leave_and_deletions_named_or_made_again(tmp_path: Path, host: Hosted) -> None:
    sheet_of(tmp_path, SHEET)
    bulkid, before, deleted = connected_to(tmp_path, host.url), by_name(host), id_of(host, "robot-0002")
    done = bulkid("run", "sheet.csv", "--yes", "--json", "--create-groups", "--allow-delete")
    assert done.returncode == 0, all_text(done)
    first = summary_of(done)["run_id"]
    assert statuses_of(bulkid.report(first)) == dict(
        zip(NAMES, ("created", "created", "updated", "deleted"), strict=True)
    )
    after = by_name(host)

    left = bulkid("undo", first, "--yes", "--json")
    assert left.returncode == 1
    assert 'The group "Newcomers", which the run created, stays.' in left.stderr
    assert "--allow-delete" in left.stderr
    assert statuses_of(bulkid.report(summary_of(left)["run_id"])) == dict(
        zip(NAMES, ("deletion_not_allowed", "deletion_not_allowed", "updated", "deletion_not_undone"), strict=True)
    )
    assert by_name(host) == {**after, "robot-0001": before["robot-0001"]}

    created = host.sandbox.state.account_named("bot-2")
    created.display_name = "Taken over"
    some = bulkid("undo", first, "--yes", "--json", "--allow-delete")
    assert some.returncode == 1
    assert statuses_of(bulkid.report(summary_of(some)["run_id"])) == dict(
        zip(NAMES, ("deleted", "changed_since", "unchanged", "deletion_not_undone"), strict=True)
    )
    assert "bot-1" not in by_name(host)
    created.display_name = None

    assert_clear(bulkid("undo", first, "--yes", "--allow-delete", "--max-delete", "0"), 2, "The plan deletes 1 account")
    back = bulkid("undo", first, "--yes", "--json", "--allow-delete", "--recreate")
    assert back.returncode == 0, all_text(back)
    assert by_name(host) == before
    assert id_of(host, "robot-0002") != deleted
    assert_clear(bulkid("undo", summary_of(some)["run_id"], "--yes"), 2, "cannot be undone", '"bot-1"', "--recreate")
    assert json.loads(bulkid("runs", "--json").stdout)[0]["run_id"] == summary_of(back)["run_id"]


def test_a_plan_file_creates_and_deletes_exactly_once(tmp_path: Path, host: Hosted) -> None:
    sheet_of(tmp_path, SHEET)
    bulkid, before = connected_to(tmp_path, host.url), by_name(host)
    planned = bulkid("plan", "sheet.csv", "--out", "plan.json", "--create-groups", "--allow-delete")
    assert planned.returncode == 0, all_text(planned)
    assert by_name(host) == before
    refused = bulkid("run", "--plan", "plan.json", "--yes", "--json")
    assert refused.returncode == 2
    assert statuses_of(bulkid.report(summary_of(refused)["run_id"])) == {
        **dict.fromkeys(NAMES, "pending"),
        "robot-0002": "deletion_not_allowed",
    }
    done = bulkid("run", "--plan", "plan.json", "--yes", "--json", "--allow-delete")
    assert done.returncode == 0, all_text(done)
    after = by_name(host)
    newcomers = host.sandbox.state.group_named("Newcomers").id
    assert newcomers == json.loads((tmp_path / "plan.json").read_bytes())["new_groups"][0]["id"]
    assert newcomers in after["bot-1"][1] & after["robot-0001"][1]
    assert "robot-0002" not in after
    again = bulkid("run", "--plan", "plan.json", "--yes", "--json", "--allow-delete")
    assert (again.returncode, summary_of(again)["unchanged"]) == (0, 4)
    assert by_name(host) == after
