"""The message about a run: everything that a user needs, in plain words, within the limits of services."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import InterruptedRunError, SheetError, UsageError
from bulkid.model import RunRecord, RunStatus, Status
from bulkid.notify import message as message_module
from bulkid.notify.message import Message, message_of_failure, message_of_run
from bulkid.redaction import register_secret
from bulkid.report.summary import build_summary, ending, next_steps

RUN = "20260131-081500-ab12"


def a_run(**changes: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "run_id": RUN,
        "created_at": 1_769_846_400.0,
        "status": RunStatus.COMPLETED,
        "command": "run",
        "source": "robots.xlsx",
        "base_url": "https://cloud.uipath.com/acme/identity_",
        "organization_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "host": "build-7",
        "pid": 1,
        "user": "jane",
        "counters": {"requests": {"GET": 2, "PUT": 1300}, "throttled": 2, "elapsed_s": 300.0},
    }
    return RunRecord(**{**fields, **changes})


def reported(run: RunRecord, counts: dict[Status, int], exit_code: int = 0, **more: Any) -> Message:
    report = more.pop("report", f"/reports/{RUN}/report.csv")
    summary = build_summary(run, counts, 1300, report)
    words: dict[str, Any] = {"ended": ending(run.status, summary), "next_steps": next_steps(run, summary)}
    return message_of_run(run, summary, exit_code, **words, **more)


def test_a_run_that_went_well_is_reported_with_all_its_figures() -> None:
    message = reported(a_run(), {Status.UPDATED: 1300, Status.UNCHANGED: 20}, job="nightly")
    assert message.title == "bulkid: nightly: completed, 1,300 updated, 20 unchanged"
    assert message.body.splitlines() == [
        "Completed (exit code 0).",
        "1,320 rows: 1,300 updated, 20 unchanged.",
        "",
        f"Run: {RUN}",
        "Job: nightly",
        "Source: robots.xlsx",
        "Organisation: 3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "Server: https://cloud.uipath.com/acme/identity_",
        "Host: jane@build-7",
        "Took: 5 minutes",
        "Requests: 2 GET, 1,300 PUT, throttled 2 times",
        f"Report: /reports/{RUN}/report.csv",
    ]
    assert (message.kind, message.success) == ("success", True)


def test_creations_deletions_and_the_note_are_reported() -> None:
    requests = {"GET": 2, "PUT": 1, "POST": 13, "DELETE": 1}
    run = a_run(options={"note": "CHG-4711\nBcc: x"}, counters={"requests": requests, "elapsed_s": 1.0})
    message = reported(run, {Status.UPDATED: 1, Status.CREATED: 12, Status.DELETED: 3})
    assert message.title == "bulkid: robots.xlsx: completed, 1 updated, 12 created, 3 deleted"
    lines = message.body.splitlines()
    assert "Note: CHG-4711 Bcc: x" in lines
    assert "Requests: 2 GET, 1 PUT, 13 POST, 1 DELETE" in lines
    assert message.success


def test_a_run_that_was_interrupted_says_why_and_how_to_go_on() -> None:
    error = InterruptedRunError("Stopped by SIGTERM.", cli_hint=f"Continue with: bulkid resume {RUN}")
    run = a_run(status=RunStatus.INTERRUPTED, organization_id="", user="")
    message = reported(run, {Status.UPDATED: 1, Status.PENDING: 2}, 5, error=error, report=None)
    assert "Stopped by SIGTERM." in message.body
    assert message.body.splitlines()[-1] == f"Continue with: bulkid resume {RUN}"
    assert "Host: build-7" in message.body
    assert "Report: none could be written" in message.body
    assert "Organisation" not in message.body
    assert message.kind == "failure"


def test_rows_that_failed_are_no_success_but_a_warning() -> None:
    message = reported(a_run(status=RunStatus.COMPLETED_WITH_FAILURES), {Status.FAILED: 1}, 1)
    assert (message.kind, message.success) == ("warning", False)
    assert "Fix its rows, then run: bulkid run retry.csv" in message.body


def test_a_run_with_invalid_rows_alone_has_not_failed() -> None:
    counts = {Status.UPDATED: 2, Status.INVALID: 3}
    message = reported(a_run(status=RunStatus.COMPLETED_WITH_FAILURES), counts, 1)
    assert message.body.startswith("Completed; 3 rows were invalid (exit code 1).")
    assert "fail" not in message.title


def test_a_refused_run_says_what_to_fix_and_not_to_resume() -> None:
    message = reported(a_run(status=RunStatus.REFUSED), {Status.INVALID: 1, Status.PENDING: 9}, 2)
    assert message.body.splitlines()[-1] == "Nothing was sent. Fix the sheet and run it again."
    assert "bulkid resume" not in message.body


def test_what_the_reason_of_a_refusal_advises_is_not_said_twice() -> None:
    advice = "Nothing was sent. Fix the sheet and run it again."
    error = SheetError("1 of 10 rows is invalid.", hint=advice)
    message = reported(a_run(status=RunStatus.REFUSED), {Status.INVALID: 1, Status.PENDING: 9}, 2, error=error)
    assert message.body.count(advice) == 1


def test_what_never_became_a_run_is_reported_too() -> None:
    error = SheetError("robots.xlsx is not there.", hint="Look at the path.")
    message = message_of_failure("run", "robots.xlsx", error, host="build-7")
    assert message.title == "bulkid: robots.xlsx: nothing was begun"
    assert "robots.xlsx is not there. Look at the path." in message.body
    assert "Command: bulkid run robots.xlsx" in message.body
    assert (message.exit_code, message.success) == (2, False)


@given(
    st.builds(
        a_run,
        source=st.text(max_size=30),
        host=st.text(max_size=10),
        message=st.text(max_size=30),
        status=st.sampled_from(RunStatus),
    ),
    st.dictionaries(st.sampled_from(Status), st.integers(0, 10**6)),
    st.integers(0, 6),
    st.text(max_size=20),
)
def test_the_title_is_one_line_and_every_count_is_reported(
    run: RunRecord, counts: dict[Status, int], exit_code: int, job: str
) -> None:
    message = reported(run, counts, exit_code, job=job)
    assert message.title.splitlines() == [message.title]
    for status, count in counts.items():
        assert not count or f"{count:,} {status}" in message.body


def test_no_secret_is_reported_whatever_an_error_says() -> None:
    register_secret("hush-hush-secret")
    run = a_run(
        status=RunStatus.STOPPED, message="the token hush-hush-secret is refused", source="hush-hush-secret.csv"
    )
    message = reported(run, {Status.PENDING: 1}, 3)
    assert "hush-hush" not in message.title + message.body


# --- the report


def files_of(folder: Path, **sizes: int) -> list[Path]:
    paths = []
    for name, size in sizes.items():
        path = folder / name.replace("_", ".")
        with path.open("wb") as file:
            file.truncate(size)
        paths.append(path)
    return paths


@pytest.mark.parametrize(
    ("sizes", "attached"),
    [
        ({"report_csv": 10, "summary_json": 5}, ["report.csv"]),
        ({"report_csv": 10, "report_xlsx": 10, "retry_csv": 3}, ["report.xlsx", "retry.csv"]),
        ({"report_csv": 10, "report_jsonl": 10}, ["report.csv"]),
        ({"report_csv": 10, "report_xlsx": 101, "retry_csv": 3}, ["report.csv", "retry.csv"]),
        ({"report_csv": 60, "retry_csv": 60}, ["report.csv"]),
        ({"report_csv": 101}, []),
    ],
)
def test_the_report_is_attached_as_far_as_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int], attached: list[str]
) -> None:
    monkeypatch.setattr(message_module, "MAX_ATTACHED_BYTES", 100)
    files = files_of(tmp_path, **sizes)
    message = reported(a_run(), {Status.UPDATED: 1}, files=files)
    assert [path.name for path in message.attachments] == attached
    for path in files:
        too_large = sizes[path.name.replace(".", "_")] > 100 or (path.name == "retry.csv" and path.name not in attached)
        assert (f"{path.name} is too large to be attached." in message.body) is too_large


def test_a_report_is_attached_also_under_the_name_that_it_took_beside_one_held_open(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("report-2.csv", "retry-12.csv")]
    for path in files:
        path.touch()
    assert reported(a_run(), {Status.UPDATED: 1}, files=files).attachments == tuple(files)


def test_a_report_that_was_taken_away_is_not_attached(tmp_path: Path) -> None:
    assert reported(a_run(), {Status.UPDATED: 1}, files=[tmp_path / "report.csv"]).attachments == ()


def test_no_name_and_no_message_is_markup_for_a_service() -> None:
    """Slack obeys ``<!channel>`` and ``<url|text>``, Discord ``@everyone``, Teams ``[text](address)``, mail tags."""
    nasty = "<!channel> <http://evil.example|x> @Everyone @here [x](http://evil.example) <img src=x>"
    for message in (
        message_of_failure("run", f"{nasty}.csv", UsageError(nasty, hint=nasty), host="h", job=""),
        message_of_failure("run", "a.csv", UsageError("m"), host=nasty, job=nasty),
    ):
        for text in (message.title, message.body):
            assert not {"<", ">"} & set(text)
            assert "](" not in text
            assert "@everyone" not in text.lower()
            assert "@here" not in text
        assert "\u2039!channel\u203a" in message.body
