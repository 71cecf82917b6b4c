"""bulkid as a library: every command is a function here that neither prints nor prompts.

::

    import anyio
    from bulkid import runs

    async def main():
        target = runs.Target(url="https://cloud.uipath.com/acme", client_id="...", client_secret="...")
        result = await runs.run("accounts.xlsx", target)
        print(result.status, result.summary["updated"], result.report.folder)

    anyio.run(main)
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from bulkid.lazy_names import lazy_names

if TYPE_CHECKING:
    from bulkid.engine.signals import Stop
    from bulkid.model import ChangeBound, FailureBound
    from bulkid.notify.recipients import Recipients, addresses_in
    from bulkid.paths import default_state_dir
    from bulkid.planning.export_filter import ExportFilter
    from bulkid.report.prometheus import METRICS_TYPE
    from bulkid.runs.account_export import ExportResult, export
    from bulkid.runs.commands import plan, plan_rest, plan_undo, resume, run, run_plan, undo
    from bulkid.runs.concurrency import OrganizationMutex, in_thread_until_cancelled, task_group
    from bulkid.runs.connection_check import Finding, doctor, examine_recipients, verdict
    from bulkid.runs.execution.finish import nothing_summary
    from bulkid.runs.execution.plan_hash import plan_hash, sent_of
    from bulkid.runs.execution.progress import Progress, Snapshot
    from bulkid.runs.history import (
        RunBrowser,
        RunListItem,
        find_resumable_run,
        find_run,
        list_runs,
        needs_confirmation,
        report,
        summary_of,
    )
    from bulkid.runs.inputs.plan_file import is_plan_document, require_folder_of, require_plan_file, save_plan
    from bulkid.runs.jobs.attempt import Job, JobResult, worst_exit_code
    from bulkid.runs.jobs.drop_folder import DropFolder
    from bulkid.runs.jobs.job import combined_summary, run_job
    from bulkid.runs.jobs.schedule import Schedule, within_schedule
    from bulkid.runs.options import (
        STAGES,
        CheckResult,
        Context,
        Hooks,
        PlanResult,
        PostRunOptions,
        Preview,
        RunOptions,
        RunResult,
        Target,
    )
    from bulkid.runs.pruning import Pruned, prune
    from bulkid.runs.run_metrics import metrics
    from bulkid.runs.run_records import system_user
    from bulkid.runs.sheet_check import check, check_opened, write_invalid_rows

__all__ = [
    "METRICS_TYPE",
    "STAGES",
    "ChangeBound",
    "CheckResult",
    "Context",
    "DropFolder",
    "ExportFilter",
    "ExportResult",
    "FailureBound",
    "Finding",
    "Hooks",
    "Job",
    "JobResult",
    "OrganizationMutex",
    "PlanResult",
    "PostRunOptions",
    "Preview",
    "Progress",
    "Pruned",
    "Recipients",
    "RunBrowser",
    "RunListItem",
    "RunOptions",
    "RunResult",
    "Schedule",
    "Snapshot",
    "Stop",
    "Target",
    "addresses_in",
    "check",
    "check_opened",
    "combined_summary",
    "default_state_dir",
    "doctor",
    "examine_recipients",
    "export",
    "find_resumable_run",
    "find_run",
    "in_thread_until_cancelled",
    "is_plan_document",
    "list_runs",
    "metrics",
    "needs_confirmation",
    "nothing_summary",
    "plan",
    "plan_hash",
    "plan_rest",
    "plan_undo",
    "prune",
    "report",
    "require_folder_of",
    "require_plan_file",
    "resume",
    "run",
    "run_job",
    "run_plan",
    "save_plan",
    "sent_of",
    "summary_of",
    "system_user",
    "task_group",
    "undo",
    "verdict",
    "within_schedule",
    "worst_exit_code",
    "write_invalid_rows",
]

_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "bulkid.engine.signals": ("Stop",),
    "bulkid.model": (
        "ChangeBound",
        "FailureBound",
    ),
    "bulkid.notify.recipients": (
        "Recipients",
        "addresses_in",
    ),
    "bulkid.paths": ("default_state_dir",),
    "bulkid.planning.export_filter": ("ExportFilter",),
    "bulkid.report.prometheus": ("METRICS_TYPE",),
    "bulkid.runs.account_export": (
        "ExportResult",
        "export",
    ),
    "bulkid.runs.commands": (
        "plan",
        "plan_rest",
        "plan_undo",
        "resume",
        "run",
        "run_plan",
        "undo",
    ),
    "bulkid.runs.concurrency": (
        "OrganizationMutex",
        "in_thread_until_cancelled",
        "task_group",
    ),
    "bulkid.runs.connection_check": (
        "Finding",
        "doctor",
        "examine_recipients",
        "verdict",
    ),
    "bulkid.runs.execution.finish": ("nothing_summary",),
    "bulkid.runs.execution.plan_hash": (
        "plan_hash",
        "sent_of",
    ),
    "bulkid.runs.execution.progress": (
        "Progress",
        "Snapshot",
    ),
    "bulkid.runs.history": (
        "RunBrowser",
        "RunListItem",
        "find_resumable_run",
        "find_run",
        "list_runs",
        "needs_confirmation",
        "report",
        "summary_of",
    ),
    "bulkid.runs.inputs.plan_file": (
        "is_plan_document",
        "require_folder_of",
        "require_plan_file",
        "save_plan",
    ),
    "bulkid.runs.jobs.attempt": (
        "Job",
        "JobResult",
        "worst_exit_code",
    ),
    "bulkid.runs.jobs.drop_folder": ("DropFolder",),
    "bulkid.runs.jobs.job": (
        "combined_summary",
        "run_job",
    ),
    "bulkid.runs.jobs.schedule": (
        "Schedule",
        "within_schedule",
    ),
    "bulkid.runs.options": (
        "STAGES",
        "CheckResult",
        "Context",
        "Hooks",
        "PlanResult",
        "PostRunOptions",
        "Preview",
        "RunOptions",
        "RunResult",
        "Target",
    ),
    "bulkid.runs.pruning": (
        "Pruned",
        "prune",
    ),
    "bulkid.runs.run_metrics": ("metrics",),
    "bulkid.runs.run_records": ("system_user",),
    "bulkid.runs.sheet_check": (
        "check",
        "check_opened",
        "write_invalid_rows",
    ),
}
"""The names that each module provides. A module is imported when one of its names is first used: ``check`` needs
neither the database nor the network, whose libraries take half of its time to start."""

__getattr__, __dir__ = lazy_names(globals(), _NAMES)
