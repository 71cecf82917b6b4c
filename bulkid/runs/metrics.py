"""The figures of all jobs for Prometheus, for a page that shows them (``/metrics``)."""

from pathlib import Path

from bulkid.journal import newest_runs, open_journal
from bulkid.model import RunRecord, RunStatus
from bulkid.paths import default_state_dir
from bulkid.report import CONTENT_TYPE, RunMetrics, render_metrics
from bulkid.runs.history import with_actual_status
from bulkid.runs.run_metrics import job_of

METRICS_TYPE = CONTENT_TYPE
"""The content type of what :func:`metrics` gives."""


def metrics(state_dir: Path | None = None, *, database_url: str = "") -> bytes:
    """The figures of the newest run of every job on a state directory, as Prometheus text.

    Raises:
        StateError: The state directory cannot be used.
    """
    state_dir = state_dir or default_state_dir()
    newest: dict[str, RunRecord] = {}
    succeeded: dict[str, float | None] = {}
    with open_journal(state_dir, database_url) as journal:
        for record in newest_runs(journal):
            job = job_of(record)
            if job not in newest:
                newest[job] = with_actual_status(journal, record)
            if record.status is RunStatus.COMPLETED:
                succeeded.setdefault(job, record.finished_at)
        return render_metrics(
            RunMetrics(job, record, journal.counts(record.run_id), succeeded.get(job))
            for job, record in sorted(newest.items())
        )
