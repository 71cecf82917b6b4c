"""What a run keeps of itself: it is resumed at the server and in the organisation that it began with."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bulkid.errors import UsageError
from bulkid.identity.urls import complete_url
from bulkid.model import Group, Phase, RunRecord, RunStatus
from bulkid.planning.directory import Directory
from bulkid.runs.execution.reconcile import changed_groups
from bulkid.runs.inputs.precomputed import Origin
from bulkid.runs.jobs.attempt import Job, has_destination_of
from bulkid.runs.options import Target
from bulkid.runs.run_records import GROUP_NAMES, dump_group_names, same_target

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
URL = "https://cloud.uipath.com/acme/identity_"
RUN = RunRecord(
    run_id="20260131-081500-x7k2",
    created_at=1_780_000_000.0,
    status=RunStatus.INTERRUPTED,
    command="run",
    source="sheet.csv",
    base_url=URL,
    organization_id=ORG,
    host="host",
    pid=1,
    phase="planned",
)


@pytest.mark.parametrize("written", [ORG, ORG.upper(), f"{{{ORG}}}", ORG.replace("-", "")])
def test_the_organisation_of_a_run_may_be_written_in_each_form_of_its_id(written: str) -> None:
    target = Target(url="https://cloud.uipath.com/acme/", organization_id=written)
    for record in (RUN, replace(RUN, organization_id=ORG.replace("-", ""))):
        assert same_target(record, target).organization_id.lower() == ORG


def test_another_organisation_is_refused() -> None:
    with pytest.raises(UsageError, match="belongs to organisation"):
        same_target(RUN, Target(url=URL, organization_id=ORG.replace("3", "4")))


@pytest.mark.parametrize("written", ["https://cloud.uipath.com/Acme", "https://CLOUD.uipath.com/ACME/identity_"])
def test_the_name_of_an_organisation_in_the_address_may_be_in_any_case(written: str) -> None:
    target = Target(url=written, client_id="a", client_secret="b")
    assert same_target(RUN, target).url == URL
    assert has_destination_of(RUN, Job(name="nightly", source=Path("sheet.csv"), target=target))
    Origin("The plan", URL, ORG).require_server(complete_url(written).url)
    with pytest.raises(UsageError, match="belongs to"):
        same_target(RUN, Target(url="https://cloud.uipath.com/acme2"))


@pytest.mark.parametrize("phase", [Phase.READ, Phase.PLANNED])
def test_a_run_of_the_sandbox_goes_to_a_sandbox_of_this_machine_alone(phase: Phase) -> None:
    """A real organisation may have its id, and a server that does not check the id would take its changes."""
    tried = replace(RUN, phase=phase, base_url="http://127.0.0.1:40001/identity", options={"sandbox": True})
    again = "http://127.0.0.1:40002/identity"
    assert same_target(tried, Target(url=again)).url == again
    with pytest.raises(UsageError, match=f"was begun on the sandbox, but the settings name {URL}"):
        same_target(tried, Target(url=URL))


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (1, 1), (100, 100), (101, 0)])
def test_a_run_keeps_the_names_of_at_most_100_groups(count: int, kept: int) -> None:
    """Every list of runs reads them."""
    names = {f"g-{number}": f"Group {number}" for number in range(count)}
    assert len(dump_group_names(names).get(GROUP_NAMES, {})) == kept


def test_the_groups_of_a_plan_are_those_that_accounts_join_or_leave_now_or_later() -> None:
    groups = [Group(f"G-{number}", f"Group {number}") for number in range(4)]
    joins, leaves, later = (
        SimpleNamespace(add=add, remove=remove)
        for add, remove in ((("G-0", "gone"), ()), ((), ("G-1",)), (("G-2",), ()))
    )
    plan: Any = SimpleNamespace(changes=[joins, leaves], skipped_changes=[later])
    named = changed_groups(plan, Directory(ORG, (), groups))
    assert named == {"g-0": "Group 0", "g-1": "Group 1", "g-2": "Group 2"}
