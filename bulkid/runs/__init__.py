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

from bulkid.engine.signals import Stop
from bulkid.model import ChangeBound, FailureBound
from bulkid.notify.recipients import Recipients, addresses_in
from bulkid.paths import default_state_dir
from bulkid.planning.export_filter import ExportFilter
from bulkid.report.prometheus import CONTENT_TYPE as METRICS_TYPE
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
from bulkid.runs.jobs.job import combined_summary, run_job, within_schedule
from bulkid.runs.jobs.schedule import Schedule
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
