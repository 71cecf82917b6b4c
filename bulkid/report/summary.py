"""The run in figures: ``summary.json``, which ``--json`` prints too."""

from collections.abc import Mapping
from typing import Any, Final

from bulkid.model import RunRecord, Status

METHODS: Final = ("GET", "PUT", "POST")


def how_to_resume(run: RunRecord) -> str:
    """How a person goes on with a run, to stand in a sentence: a command, or for a job nothing but its next start."""
    if job := run.options.get("job"):
        return f"start the job {job!r} again"
    return f"bulkid resume {run.run_id}"


def build_summary(
    run: RunRecord,
    counts: Mapping[Status, int],
    accounts: int,
    report: str | None,
    eta_s: float | None = None,
) -> dict[str, Any]:
    """The summary of a run, with the keys that scripts rely on, in their order.

    Args:
        run: The run; its ``counters`` fill requests and what follows (0 when missing).
        counts: Rows per status; a status that is missing has none.
        accounts: How many accounts the valid rows name.
        report: Path of the report; ``None`` when none was written.
        eta_s: Seconds that the run would take. The key is there for a plan only.
    """
    by_status = {status.value: int(counts.get(status, 0)) for status in Status}
    requests = run.counters.get("requests") or {}
    summary: dict[str, Any] = {
        "run_id": run.run_id,
        "status": run.status.value,
        "rows": sum(by_status.values()),
        "accounts": accounts,
        **by_status,
        "requests": {method: int(requests.get(method, 0)) for method in METHODS},
        "planned_puts": int(run.counters.get("planned_puts", 0)),
        "naive_puts": int(run.counters.get("naive_puts", 0)),
        "retries": int(run.counters.get("retries", 0)),
        "throttled": int(run.counters.get("throttled", 0)),
        "elapsed_s": round(float(run.counters.get("elapsed_s", 0.0)), 3),
    }
    if eta_s is not None or run.command == "plan":
        summary["eta_s"] = None if eta_s is None else round(eta_s, 3)
    summary["report"] = report
    return summary
