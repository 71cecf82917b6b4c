"""Metrics of runs as Prometheus text (exposition format 0.0.4), for a file that node_exporter reads, or a page.

All of them are gauges about the newest run of each job: a run is a batch, and its metrics begin again with the next.
https://prometheus.io/docs/practices/instrumentation/#batch-jobs
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bulkid.file_kind import special_kind
from bulkid.model import RunRecord, RunStatus, Status
from bulkid.report.atomic import SHARED_FILE, AtomicFile, ReportError, reason

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

UNKNOWN: Final = "unknown"
"""The status class of requests whose responses are not counted: those for tokens, and those of older versions' runs."""

_REQUEST_LABELS: Final = ("method", "code_class")


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """The newest run of one job."""

    job: str  # "" for what was run without a job file
    run: RunRecord
    rows: Mapping[Status, int]
    last_success_at: float | None  # when the newest run ended with exit code 0; epoch


def render_metrics(all_metrics: Iterable[RunMetrics]) -> bytes:
    """The metrics as a page. Its content type is :data:`METRICS_TYPE`."""
    from prometheus_client import generate_latest

    return generate_latest(_registry(all_metrics))


def import_library() -> None:
    """Import the library, which the other functions import only when they need it."""
    import prometheus_client  # noqa: F401 - as above


def write_metrics(path: Path, all_metrics: Iterable[RunMetrics]) -> None:
    """Write the metrics to a file, whole or not at all. Programs of other users may read it, as the umask allows.

    Raises:
        ReportError: It cannot be written, or is a folder, a device or a pipe.
    """
    target = AtomicFile(path.absolute().parent, path.name)
    try:
        # An administrator's rights would replace /dev/null by a file.
        if path.exists() and (kind := special_kind(path)):
            why = f"it is {kind}, not a file"
        else:
            target.begin(SHARED_FILE).write_bytes(render_metrics(all_metrics))
            target.temp.replace(target.folder / target.name)  # under this name only: the scraper reads each *.prom
            return
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = reason(error)
    finally:
        target.discard()
    raise ReportError(
        f"The metrics cannot be written to {path}: {why}.",
        hint="Name a file in a folder that is there and that you may write to with --metrics-file.",
    )


def _registry(all_metrics: Iterable[RunMetrics]) -> "CollectorRegistry":
    from prometheus_client import CollectorRegistry, Gauge

    registry = CollectorRegistry()

    def gauge(name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"bulkid_{name}", about, ("job", *labels), registry=registry)

    status = gauge("run_status", "1 for the status of the newest run, 0 for the others.", "status")
    started = gauge("run_started_timestamp_seconds", "When the newest run began.")
    finished = gauge("run_finished_timestamp_seconds", "When the newest run ended; missing while it is under way.")
    success = gauge(
        "last_success_timestamp_seconds", "When a run last ended with every row updated, created, deleted or unchanged."
    )
    duration = gauge("run_duration_seconds", "How long the newest run has worked, over all its attempts.")
    rows = gauge("run_rows", "Rows of the newest run by what became of them.", "status")
    requests = gauge(
        "run_requests", "Requests of the newest run by method and class of the response.", *_REQUEST_LABELS
    )
    retries = gauge("run_retries", "Requests of the newest run that had to be sent again.")
    throttled = gauge("run_throttled", "Requests of the newest run that the server throttled (429).")
    for each in all_metrics:
        job, run, counters = each.job, each.run, each.run.counters
        for known in RunStatus:
            status.labels(job, known.value).set(known is run.status)
        started.labels(job).set(run.created_at)
        if run.finished_at is not None and run.status is not RunStatus.RUNNING:
            finished.labels(job).set(run.finished_at)
        if each.last_success_at is not None:
            success.labels(job).set(each.last_success_at)
        duration.labels(job).set(float(counters.get("elapsed_s", 0.0)))
        for outcome in Status:
            rows.labels(job, outcome.value).set(each.rows.get(outcome, 0))
        for (method, code_class), count in _requests(run).items():
            requests.labels(job, method, code_class).set(count)
        retries.labels(job).set(int(counters.get("retries", 0)))
        throttled.labels(job).set(int(counters.get("throttled", 0)))
    return registry


def _requests(run: RunRecord) -> dict[tuple[str, str], int]:
    """Requests by method and status class; :data:`UNKNOWN` where the class is not known."""
    answers = run.counters.get("answers") or {}
    found = {(method, each): int(count) for method, classes in answers.items() for each, count in classes.items()}
    for method, sent in (run.counters.get("requests") or {}).items():
        rest = int(sent) - sum(answers.get(method, {}).values())
        if rest > 0:
            found[method, UNKNOWN] = rest
    return found
