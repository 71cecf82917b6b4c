"""The metrics for Prometheus: its own parser and linter accept them, and they agree with the run."""

import math
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from bulkid.model import RunStatus, Status
from bulkid.report.atomic import ReportError
from bulkid.report.prometheus import RunMetrics, render_metrics, write_metrics
from tests.support.programs import program
from tests.support.report_data import a_run

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(text: bytes) -> Samples:
    """All samples of a page, each of which may be there only once."""
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(samples: Mapping[Any, float], name: str, job: str = "", **labels: str) -> float | None:
    return samples.get((f"bulkid_{name}", frozenset({"job": job, **labels}.items())))


COUNTERS = {
    "requests": {"GET": 3, "PUT": 10, "POST": 1},
    "answers": {"GET": {"2xx": 3}, "PUT": {"2xx": 7, "4xx": 2, "none": 1}},
    "retries": 3,
    "throttled": 2,
    "elapsed_s": 12.5,
}


def test_a_run_is_told_by_rows_requests_times_and_status() -> None:
    run = a_run(counters=COUNTERS, status=RunStatus.STOPPED, created_at=100.0, finished_at=200.0)
    rows = {Status.UPDATED: 6, Status.PENDING: 4}
    found = samples_of(render_metrics([RunMetrics("nightly", run, rows, 50.0)]))
    assert value(found, "run_rows", "nightly", status="updated") == 6
    assert value(found, "run_rows", "nightly", status="pending") == 4
    assert value(found, "run_rows", "nightly", status="failed") == 0
    assert value(found, "run_requests", "nightly", method="PUT", code_class="4xx") == 2
    assert value(found, "run_requests", "nightly", method="PUT", code_class="none") == 1
    assert value(found, "run_requests", "nightly", method="POST", code_class="unknown") == 1
    assert value(found, "run_requests", "nightly", method="GET", code_class="unknown") is None
    assert value(found, "run_throttled", "nightly") == 2
    assert value(found, "run_retries", "nightly") == 3
    assert value(found, "run_duration_seconds", "nightly") == 12.5
    assert value(found, "run_started_timestamp_seconds", "nightly") == 100
    assert value(found, "run_finished_timestamp_seconds", "nightly") == 200
    assert value(found, "last_success_timestamp_seconds", "nightly") == 50
    assert value(found, "run_status", "nightly", status="stopped") == 1
    assert value(found, "run_status", "nightly", status="completed") == 0


def test_a_run_under_way_has_no_end_and_a_job_without_a_success_no_time_of_one() -> None:
    run = a_run(status=RunStatus.RUNNING, finished_at=None)
    found = samples_of(render_metrics([RunMetrics("", run, {}, None)]))
    assert value(found, "run_finished_timestamp_seconds") is None
    assert value(found, "last_success_timestamp_seconds") is None
    assert value(found, "run_status", status="running") == 1


figures = st.builds(
    RunMetrics,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.builds(
        a_run,
        status=st.sampled_from(RunStatus),
        finished_at=st.none() | st.floats(0, 2e9),
        counters=st.fixed_dictionaries(
            {},
            optional={
                "requests": st.dictionaries(st.sampled_from(["GET", "PUT", "POST", "DELETE"]), st.integers(0, 10**6)),
                "throttled": st.integers(0, 10**6),
                "elapsed_s": st.floats(0, 1e6),
            },
        ),
    ),
    st.dictionaries(st.sampled_from(Status), st.integers(0, 10**6)),
    st.none() | st.floats(0, 2e9),
)


@given(st.lists(figures, max_size=4, unique_by=lambda each: each.job))
def test_whatever_a_job_is_called_its_figures_are_read_as_they_were_told(jobs: list[RunMetrics]) -> None:
    found = samples_of(render_metrics(jobs))
    assert all(math.isfinite(number) for number in found.values())
    for each in jobs:
        assert sum(number for (name, labels), number in found.items() if _is(name, labels, "run_status", each)) == 1
        requests = each.run.counters.get("requests", {})
        told = [number for (name, labels), number in found.items() if _is(name, labels, "run_requests", each)]
        assert sum(told) == sum(requests.values())
        for status in Status:
            assert value(found, "run_rows", each.job, status=status.value) == each.rows.get(status, 0)


def _is(name: str, labels: frozenset[tuple[str, str]], wanted: str, figures: RunMetrics) -> bool:
    return name == f"bulkid_{wanted}" and ("job", figures.job) in labels


def test_prometheus_own_linter_finds_nothing_to_complain_of() -> None:
    promtool = program("promtool", "prometheus")
    run = a_run(counters=COUNTERS)
    page = render_metrics([RunMetrics("nightly", run, {}, 1.0), RunMetrics('a "b"\\\n', run, {}, None)])
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


# --- the file


def test_the_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "bulkid.prom"
    path.write_text("old")
    figures = [RunMetrics("", a_run(), {}, None)]
    write_metrics(path, figures)
    assert path.read_bytes() == render_metrics(figures)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["missing/bulkid.prom", "folder", "file/bulkid.prom"])
def test_a_place_that_takes_no_file_is_named_and_left_as_it_is(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ReportError, match=r"The metrics cannot be written to .*bulkid.prom|.*folder"):
        write_metrics(tmp_path / place, [RunMetrics("", a_run(), {}, None)])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


@pytest.mark.skipif(sys.platform == "win32", reason="links and rights as POSIX has them")
def test_no_link_is_followed_and_other_users_may_read_the_file_as_the_umask_says(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("keep me")
    path = tmp_path / "bulkid.prom"
    path.symlink_to(victim)
    (tmp_path / f"{path.name}.{os.getpid()}.{threading.get_ident()}").symlink_to(
        victim
    )  # prometheus_client's own choice
    figures = [RunMetrics("", a_run(), {}, None)]
    umask = os.umask(0o027)
    try:
        write_metrics(path, figures)
    finally:
        os.umask(umask)
    assert victim.read_text() == "keep me"
    assert not path.is_symlink()
    assert path.read_bytes() == render_metrics(figures)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes in folders")
def test_what_is_no_file_is_never_replaced_by_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.prom")
    (tmp_path / "link.prom").symlink_to("pipe.prom")
    for name in ("pipe.prom", "link.prom"):
        with pytest.raises(ReportError, match="it is a named pipe, not a file"):
            write_metrics(tmp_path / name, [RunMetrics("", a_run(), {}, None)])
    assert (tmp_path / "pipe.prom").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.prom", "pipe.prom"]


def test_a_name_that_no_file_can_have_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot be written"):
        write_metrics(tmp_path / "a\0b.prom", [RunMetrics("", a_run(), {}, None)])
