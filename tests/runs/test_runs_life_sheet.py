"""A sheet that creates, updates and deletes accounts, run twice from its rows to the server."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from bulkid import runs
from bulkid.journal.store import open_journal
from bulkid.model import ChangeBound, Request
from tests.support.hurried_clock import Hurried
from tests.support.life_server import ORG, URL, LifeServer, go_on, killed_when, rows_of, serving, statuses
from tests.support.sheets import sheet_of

ROWS = (
    ("action", "name", "display name", "groups to add"),
    ("create", "new-1", "One", "Finance; Sales"),
    ("CREATE", "new-2", "", "Sales"),
    ("", "old-1", "Renamed", ""),
    ("update", "old-2", "", "Sales"),
    ("delete", "old-3", "", ""),
)
EXPECTED = {"new-1": "created", "new-2": "created", "old-1": "updated", "old-2": "updated", "old-3": "deleted"}


def run_sheet(folder: Path, server: LifeServer, max_delete: ChangeBound | None = None, **more: Any) -> runs.RunResult:
    options = runs.RunOptions(
        report_dir=folder / "reports",
        retry_base_s=0.001,
        yes_really=True,
        allow_delete=True,
        max_delete=max_delete,
        new_groups=("Sales",),
    )
    context = runs.Context(state_dir=folder / "state", clock=Hurried(1000.0), **more)
    target = runs.Target(url=URL, access_token="1234", organization_id=ORG)
    with serving(server):
        return anyio.run(runs.run, sheet_of(folder, ROWS), target, options, context)


def populated() -> LifeServer:
    server = LifeServer(groups={"g-1": "Finance"})
    for name in ("old-1", "old-2", "old-3", "other"):
        server.add(name, "Old")
    return server


def is_right(server: LifeServer) -> bool:
    (sales,) = [group_id for group_id, name in server.groups.items() if name == "Sales"]
    found = {each["name"]: (each["displayName"], tuple(each["groupIds"])) for each in server.accounts.values()}
    return found == {
        "new-1": ("One", ("g-1", sales)),
        "new-2": (None, (sales,)),
        "old-1": ("Renamed", ()),
        "old-2": ("Old", (sales,)),
        "other": ("Old", ()),
    }


def test_every_action_is_made_once_and_nothing_is_left_for_a_second_run(tmp_path: Path) -> None:
    server = populated()
    first = run_sheet(tmp_path, server)
    assert (first.exit_code, statuses(tmp_path, first.run.run_id)) == (0, EXPECTED)
    assert is_right(server)
    assert first.summary["requests"] == {"GET": server.count("GET"), "PUT": 1, "POST": 3, "DELETE": 1}
    sent = len(server.sent) - server.count("GET")
    second = run_sheet(tmp_path, server)
    assert (second.exit_code, set(statuses(tmp_path, second.run.run_id).values())) == (0, {"unchanged"})
    assert len(server.sent) - server.count("GET") == sent


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_run_that_dies_with_its_first_request_of_a_kind_is_resumed_with_the_group_that_it_planned(
    method: str, tmp_path: Path
) -> None:
    server = populated()

    def is_first(request: Request, when: str) -> bool:
        return request.method == method and when == "after"

    assert killed_when(server, is_first, lambda stop: run_sheet(tmp_path, server, stop=stop))
    with open_journal(tmp_path / "state") as journal:
        (record,) = journal.list_runs()
    assert list(record.options["new_groups"].values()) == ["Sales"]
    assert list(record.options["new_groups"]) == [key for key, name in server.groups.items() if name == "Sales"]
    resumed = go_on(tmp_path, server)
    assert (resumed.exit_code, statuses(tmp_path, record.run_id)) == (0, EXPECTED)
    assert is_right(server)
    assert (sorted(server.created), server.deleted) == (["new-1", "new-2"], ["old-3"])


def test_a_row_whose_change_another_client_has_made_meanwhile_changes_nothing(tmp_path: Path) -> None:
    server = populated()

    def create_first(request: Request, when: str) -> None:
        if request.path == "api/RobotAccount" and when == "before" and server.named("NEW-1") is None:
            (sales,) = [group_id for group_id, name in server.groups.items() if name == "Sales"]
            server.add("NEW-1", "One", ["g-1", sales])

    server.act = create_first
    result = run_sheet(tmp_path, server)
    found = rows_of(tmp_path, result.run.run_id)
    assert (result.exit_code, found["new-1"].status, found["new-1"].changes) == (0, "unchanged", "")
    assert (found["new-2"].status, found["new-2"].changes) == ("created", "created: + Sales")


def test_a_run_that_dies_before_its_plan_is_resumed_with_its_limits_and_names_what_a_resume_can_allow(
    tmp_path: Path,
) -> None:
    server = populated()

    def work(stop: runs.Stop) -> runs.RunResult:
        return run_sheet(tmp_path, server, ChangeBound(count=0), stop=stop)

    assert killed_when(server, lambda *_: True, work)
    resumed = go_on(tmp_path, server)
    assert (resumed.exit_code, resumed.status, server.count("DELETE")) == (2, "refused", 0)
    assert resumed.error is not None
    assert "The plan deletes 1 account, more than the limit of 0." in resumed.error.message
    assert resumed.error.cli_hint == "To apply all of it, add --yes-really."
