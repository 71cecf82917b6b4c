"""``--metrics-file``: the metrics of the newest run, during and after it; an error there does not fail the run."""

import json
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bulkid import runs
from bulkid.runs.execution import run
from tests.support.bulkid_command import SECRET, connected_to
from tests.support.command_output import summary_of
from tests.support.sandbox_host import Hosted, hosted
from tests.support.sheets import renames, sheet_of


@pytest.fixture(scope="module")
def server() -> Iterator[Hosted]:
    with hosted(accounts=60) as host:
        yield host


def figures_in(text: str) -> dict[str, float]:
    """Samples by name and labels: ``bulkid_run_rows{status=updated}``."""
    return {
        f"{sample.name}{{{','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()) if k != 'job')}}}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_run_leaves_its_figures_and_the_next_keeps_the_time_of_the_last_success(
    tmp_path: Path, server: Hosted
) -> None:
    bulkid = connected_to(tmp_path, server.url, BULKID_METRICS_FILE="bulkid.prom")
    summary = summary_of(bulkid("run", str(renames(tmp_path, 5, "Figures")), "--yes", "--json"))
    first = figures_in((tmp_path / "bulkid.prom").read_text())
    assert first["bulkid_run_rows{status=updated}"] == 5
    assert first["bulkid_run_requests{code_class=2xx,method=PUT}"] == summary["requests"]["PUT"] == 5
    assert first["bulkid_run_requests{code_class=2xx,method=GET}"] == summary["requests"]["GET"]
    assert first["bulkid_run_status{status=completed}"] == 1
    assert first["bulkid_last_success_timestamp_seconds{}"] == first["bulkid_run_finished_timestamp_seconds{}"]

    bad = sheet_of(tmp_path, [("name", "display_name"), ("robot-9999", "Nobody")], "bad.csv")
    assert bulkid("run", str(bad), "--yes").returncode == 2
    second = figures_in((tmp_path / "bulkid.prom").read_text())
    assert second["bulkid_run_status{status=refused}"] == 1
    assert second["bulkid_run_rows{status=invalid}"] == 1
    assert second["bulkid_last_success_timestamp_seconds{}"] == first["bulkid_last_success_timestamp_seconds{}"]
    assert second["bulkid_run_started_timestamp_seconds{}"] > first["bulkid_run_started_timestamp_seconds{}"]


def test_a_trial_that_leaves_rows_is_no_success_until_the_rest_is_done(tmp_path: Path, server: Hosted) -> None:
    bulkid = connected_to(tmp_path, server.url, BULKID_METRICS_FILE="bulkid.prom")
    done = bulkid("run", str(renames(tmp_path, 3, "Trial")), "--yes", "--first", "1")
    assert done.returncode == 0, done.stderr
    trial = figures_in((tmp_path / "bulkid.prom").read_text())
    assert (trial["bulkid_run_status{status=completed}"], trial["bulkid_run_rows{status=pending}"]) == (1, 2)
    assert "bulkid_last_success_timestamp_seconds{}" not in trial
    assert figures_in(runs.metrics(tmp_path / "state").decode()) == trial
    run_id = bulkid.run_folder().name
    assert bulkid("resume", run_id, "--yes").returncode == 0
    whole = figures_in((tmp_path / "bulkid.prom").read_text())
    assert whole["bulkid_last_success_timestamp_seconds{}"] == whole["bulkid_run_finished_timestamp_seconds{}"]


def test_a_rehearsal_in_the_sandbox_is_no_success_on_the_server(tmp_path: Path, server: Hosted) -> None:
    """Else an alert for a job that has not succeeded for a day would be silent after somebody tried it."""
    bulkid = connected_to(tmp_path, server.url, BULKID_METRICS_FILE="bulkid.prom")
    bad = sheet_of(tmp_path, [("name", "display_name"), ("robot-9999", "Nobody")], "bad.csv")
    sheet = str(renames(tmp_path, 3, "Rehearsed"))
    assert bulkid("run", sheet, "--yes", "--sandbox").returncode == 0
    assert "bulkid_last_success" in runs.metrics(tmp_path / "state").decode(), "there is no other run"
    assert bulkid("run", str(bad), "--yes").returncode == 2
    assert "bulkid_last_success" not in "".join(figures_in((tmp_path / "bulkid.prom").read_text()))
    assert bulkid("run", sheet, "--yes", "--sandbox").returncode == 0
    page = figures_in(runs.metrics(tmp_path / "state").decode())
    assert page["bulkid_run_status{status=refused}"] == 1
    assert "bulkid_last_success_timestamp_seconds{}" not in page


def test_answers_are_told_by_their_class(tmp_path: Path) -> None:
    with hosted(accounts=60, limits=()) as host:
        bulkid = connected_to(tmp_path, host.url)
        rows = [("robot_account_id", "display_name"), ("no-such-account", "x")]
        sheet = sheet_of(tmp_path, rows)
        done = bulkid("run", str(sheet), "--yes", "--no-read", "--metrics-file", "m.prom")
        assert done.returncode == 1, done.stderr
    found = figures_in((tmp_path / "m.prom").read_text())
    assert found["bulkid_run_requests{code_class=4xx,method=PUT}"] == 1
    assert "bulkid_run_requests{code_class=2xx,method=PUT}" not in found


def test_a_file_that_cannot_be_written_is_said_and_changes_nothing(tmp_path: Path, server: Hosted) -> None:
    bulkid = connected_to(tmp_path, server.url)
    done = bulkid("run", str(renames(tmp_path, 2, "Nowhere")), "--yes", "--json", "--metrics-file", "not/there.prom")
    assert done.returncode == 0
    assert json.loads(done.stdout)["status"] == "completed"
    assert "note: The metrics cannot be written to" in done.stderr


async def test_figures_are_there_while_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "COUNTERS_INTERVAL_S", 0.05)
    path = tmp_path / "live.prom"
    seen: list[dict[str, float]] = []
    with hosted(latency_s=0.1) as host:
        sheet = renames(tmp_path, 20, "Live")
        target = runs.Target(url=host.url, client_id="sandbox", client_secret=SECRET)
        options = runs.RunOptions(concurrency=2, report_dir=tmp_path / "reports")
        context = runs.Context(state_dir=tmp_path / "state", after=runs.PostRunOptions(metrics_file=path))
        async with runs.task_group() as tasks:

            async def look() -> None:
                while not path.exists():  # noqa: ASYNC110 - a file has no event
                    await anyio.sleep(0.01)
                seen.append(figures_in(path.read_text()))

            tasks.start_soon(look)
            result = await runs.run(sheet, target, options, context)
    (live,) = seen
    assert live["bulkid_run_status{status=running}"] == 1
    assert 0 < live["bulkid_run_rows{status=pending}"] <= 20
    assert "bulkid_run_finished_timestamp_seconds{}" not in live
    assert result.exit_code == 0
    after = figures_in(path.read_text())
    assert after["bulkid_run_rows{status=updated}"] == 20
    page = figures_in(runs.metrics(tmp_path / "state").decode())
    assert page == after
