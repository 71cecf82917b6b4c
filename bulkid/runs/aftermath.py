"""What follows a job's run once it has ended: whom to tell, and the figures to leave behind."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulkid.errors import BulkidError
from bulkid.runs.options import Hooks, RunResult

if TYPE_CHECKING:
    from bulkid.runs.jobs import Job


@dataclass(frozen=True, slots=True)
class Notify:
    """Whom to tell how a run ended. Addresses hold tokens: never shown."""

    success: tuple[str, ...] = field(default=(), repr=False)
    failure: tuple[str, ...] = field(default=(), repr=False)
    always: tuple[str, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        """Whether anybody is to be told."""
        return bool(self.success or self.failure or self.always)


async def after_run(result: RunResult, job: "Job", hooks: Hooks) -> None:
    """Do what a job wants done after each of its runs. Never changes what became of the run.

    Called once per run, finished or not, after its report is written. Notifications (``job.notify``) and the figures
    for Prometheus (``job.metrics_file``) belong here and into :func:`after_refusal`.
    """
    _tell_what_is_missing(job, hooks, f"run {result.run.run_id}")


async def after_refusal(error: BulkidError, job: "Job", hooks: Hooks) -> None:
    """Do what a job wants done when something ended it, or kept one of its files, without a run.

    Called for a sheet that cannot be read, a setting that cannot be used, a lock that another process holds.
    """
    _tell_what_is_missing(job, hooks, error.message)


def _tell_what_is_missing(job: "Job", hooks: Hooks, of: str) -> None:
    """This version has neither notifications nor figures: no key may be taken and silently do nothing."""
    wanted = {"notify": bool(job.notify), "metrics_file": job.metrics_file is not None}
    for key in (key for key, given in wanted.items() if given):
        hooks.note(f"Job {job.name}: this version does nothing about the key {key} ({of}).")
