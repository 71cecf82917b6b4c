"""The sentences about how a run ended, and about what a user can do next."""

from dataclasses import replace

import pytest

from bulkid.model import RunRecord, RunStatus, Status
from bulkid.report.summary import ending, how_to_report, how_to_resume, next_steps, status_label

RUN = RunRecord("20260131-081500-ab12", 0.0, RunStatus.INTERRUPTED, "run", "a.csv", "", "", "", 1, phase="planned")
COMMAND = f"Continue with: bulkid resume {RUN.run_id}"
FAILURES = replace(RUN, status=RunStatus.COMPLETED_WITH_FAILURES)
IN_EU = {"named_by": [["--profile", "eu"]]}


@pytest.mark.parametrize(
    ("status", "counts", "words"),
    [
        (RunStatus.COMPLETED, {Status.UPDATED: 3}, "completed"),
        (RunStatus.COMPLETED_WITH_FAILURES, {Status.INVALID: 3}, "completed; 3 rows were invalid"),
        (
            RunStatus.COMPLETED_WITH_FAILURES,
            {Status.INVALID: 1, Status.FAILED: 1},
            "completed; 1 row failed; 1 row was invalid",
        ),
        (RunStatus.REFUSED, {Status.PENDING: 3}, "refused: nothing was sent"),
        (RunStatus.REFUSED, {Status.PENDING: 3, Status.UPDATED: 1}, "refused: nothing more was sent"),
    ],
)
def test_an_ending_says_what_happened_and_no_more(status: RunStatus, counts: dict[Status, int], words: str) -> None:
    assert ending(status, {each.value: count for each, count in counts.items()}) == words


def test_only_failed_rows_are_failures() -> None:
    failures = RunStatus.COMPLETED_WITH_FAILURES
    assert status_label(failures, {Status.INVALID: 3}) == "completed, rows invalid"
    assert status_label(failures, {Status.FAILED: 1, Status.INVALID: 3}) == "completed with failures"


@pytest.mark.parametrize("status", RunStatus)
def test_resuming_is_advised_only_where_it_can_help(status: RunStatus) -> None:
    steps = next_steps(replace(RUN, status=status), {"pending": 2, "updated": 1})
    assert any("bulkid resume" in step for step in steps) is (status is not RunStatus.REFUSED)
    assert not any("resume" in step for step in next_steps(replace(RUN, status=status), {"updated": 3}))


def test_a_run_is_continued_by_its_command_or_its_job_or_its_input() -> None:
    assert how_to_resume(RUN) == COMMAND
    assert how_to_resume(replace(RUN, options={"job": "nightly"})) == "To continue, start the job 'nightly' again."
    from_pipe = replace(RUN, phase="reading", options={"path": ""})
    assert how_to_resume(from_pipe) == "Start it again with the same input."
    assert how_to_resume(replace(from_pipe, phase="read")) == COMMAND
    assert how_to_resume(replace(from_pipe, command="undo")) == COMMAND


def test_a_trial_leads_to_what_it_left_unless_it_was_stopped() -> None:
    trial = replace(RUN, options={"first": 5}, counters={"left_accounts": 146, "left_rows": 150})
    assert next_steps(trial, {"pending": 150}) == [
        f"Trial finished: 5 accounts. Next: review the remaining 146 with: bulkid resume {RUN.run_id}"
    ]
    assert next_steps(trial, {"pending": 151}) == [COMMAND]


def test_a_run_that_is_still_under_way_is_not_to_be_resumed() -> None:
    (step,) = next_steps(replace(RUN, status=RunStatus.RUNNING), {"pending": 3})
    assert step == f"Wait until it has ended. Only if its process was killed: {COMMAND}"


@pytest.mark.parametrize("status", [Status.FAILED, Status.INVALID])
def test_what_an_undo_has_left_is_undone_by_another_undo_and_not_by_a_sheet(status: Status) -> None:
    undo = replace(RUN, command="undo", status=RunStatus.COMPLETED_WITH_FAILURES, options={"undo": "20260130-1-ab"})
    assert next_steps(undo, {status: 1}) == [
        "retry.csv names the rows that are not undone, and says why. To try them again: bulkid undo 20260130-1-ab"
    ]
    refused = replace(undo, status=RunStatus.REFUSED)
    assert next_steps(refused, {status: 1}) == ["Nothing was sent. Fix the cause and run it again."]


def test_a_retry_is_run_with_the_options_that_say_what_its_columns_mean() -> None:
    failures = replace(RUN, status=RunStatus.COMPLETED_WITH_FAILURES)
    given = {"column_map": {"Bot\nname": "name", "Error": "display_name"}, "ignore_columns": ["groups", "#"]}
    for run, options in (
        (failures, ""),
        (replace(failures, options={"sheet": {"column_map": {}, "ignore_columns": []}}), ""),
        (
            replace(failures, options={"sheet": given}),
            ' --map "Bot name=name" --map Error=display_name --ignore-column groups --ignore-column "#"',
        ),
    ):
        (step,) = next_steps(run, {"failed": 1}, "reports/retry.csv")
        assert step.endswith(f"run: bulkid run reports/retry.csv{options}")


def test_a_retry_goes_to_the_server_of_its_run() -> None:
    (step,) = next_steps(replace(FAILURES, options={"sandbox": True}), {"failed": 1})
    assert step.endswith("bulkid run retry.csv --sandbox")
    (step,) = next_steps(replace(FAILURES, options=IN_EU), {"failed": 1})
    assert step.endswith("bulkid run retry.csv --profile eu")


def test_a_retry_may_do_what_its_run_was_allowed_to_do() -> None:
    allowed = {"create_missing": True, "create_groups": True, "allow_delete": True, "read": False}
    (step,) = next_steps(replace(FAILURES, options={**allowed, "new_group_names": ["Night shift"]}), {"failed": 1})
    wanted = '--create-missing --create-groups --allow-delete --no-read --new-group "Night shift"'
    assert step.endswith(f"bulkid run retry.csv {wanted}")
    denied = {**dict.fromkeys(allowed, False), "read": True, "new_group_names": []}
    (step,) = next_steps(replace(FAILURES, options=denied), {"failed": 1})
    assert step.endswith("bulkid run retry.csv")


def test_a_run_is_continued_on_its_own_server() -> None:
    assert how_to_resume(replace(RUN, options=IN_EU)) == f"{COMMAND} --profile eu"
    trial = replace(RUN, options={"first": 5, **IN_EU}, counters={"left_accounts": 6, "left_rows": 6})
    (step,) = next_steps(trial, {"pending": 6})
    assert step.endswith(f"bulkid resume {RUN.run_id} --profile eu")
    options = {"undo": "20260130-1-ab", "recreate": True, "allow_delete": True, **IN_EU}
    undo = replace(RUN, command="undo", status=RunStatus.COMPLETED_WITH_FAILURES, options=options)
    (step,) = next_steps(undo, {"invalid": 1})
    assert step.endswith("bulkid undo 20260130-1-ab --recreate --allow-delete --profile eu")


def test_the_report_of_a_run_is_in_the_state_of_the_run() -> None:
    assert how_to_report(RUN) == f"bulkid report {RUN.run_id}"
    kept = replace(RUN, options={"named_by": [["--profile", "eu"], ["--state-dir", "/my state"]]})
    assert how_to_report(kept) == f'bulkid report {RUN.run_id} --state-dir "/my state"'


def test_a_retry_is_read_as_it_was_written_whatever_holds_for_other_sheets() -> None:
    for given, options in (
        ({"standing": ["sheet", "encoding", "delimiter"]}, " --encoding utf-8 --delimiter comma"),
        ({"standing": [], "delimiter": ";", "encoding": "cp1252"}, ""),
    ):
        (step,) = next_steps(replace(FAILURES, options={"sheet": given}), {"failed": 1})
        assert step.endswith(f"bulkid run retry.csv{options}")
