"""The home page, for users who come back to work, and the list of runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web

from bulkid.errors import BulkidError
from bulkid.model import Action, RunStatus
from bulkid.resources import current
from bulkid.runs import RunListItem
from bulkid.runs.concurrency import in_thread
from bulkid.web.approvals import approval_queue
from bulkid.web.console import SUMMARY_MAX_AGE_S, Console, console_of
from bulkid.web.middleware import principal_of
from bulkid.web.pages import Pager, page
from bulkid.web.run_pages import recent_quota_plots
from bulkid.web.sse import live_state, state_from_journal

RUNS_PER_PAGE: Final = 25
_LATEST_RUNS: Final = 8
_MAX_LISTED: Final = 10  # runs, and plans, that each list of what needs attention names
_MAX_OPEN_RUNS: Final = 50  # runs that are not finished, among which the home page looks: the newest ones
_MAX_WATCHED: Final = 2  # runs whose progress the home page follows live; each takes one of a browser's six connections

FILTERS: Final = {
    "open": (RunStatus.INTERRUPTED, RunStatus.STOPPED, RunStatus.RUNNING),
    "completed": (RunStatus.COMPLETED, RunStatus.COMPLETED_WITH_FAILURES),
    "refused": (RunStatus.REFUSED,),
}
"""The filters of the list of runs."""


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run under way, with its progress."""

    line: RunListItem
    state: dict[str, Any]  # as its live figures are sent
    watched: bool  # whether the page follows it


@dataclass(frozen=True, slots=True)
class ResumableRun:
    """A run that the console can resume."""

    line: RunListItem
    is_trial: bool  # its pending rows are previewed before they are sent


@dataclass(frozen=True, slots=True)
class OpenRuns:
    """The runs that are not finished, the newest first."""

    active: Sequence[ActiveRun]
    resumable: Sequence[ResumableRun]


async def home(request: web.Request) -> web.Response:
    """The home page: what needs the user's attention, runs under way, the upload, and the latest runs."""
    return await home_page(request)


async def home_page(
    request: web.Request,
    *,
    export_error: BulkidError | None = None,
    export_form: Mapping[str, str] = MappingProxyType({}),
    status: int = 200,
) -> web.Response:
    """The home page.

    ``export_error`` says beside the button why the accounts were not exported, ``export_form`` what the user filled in.
    """
    console = console_of(request)
    at, findings = console.last_findings or (0.0, [])
    latest, _ = await in_thread(console.run_browser.runs, limit=RUNS_PER_PAGE)
    return page(
        request,
        "home.html",
        status=status,
        export_error=export_error,
        export_form=export_form,
        export_actions=list(Action),
        at=at,
        findings=findings,
        checks=not console.has_findings(SUMMARY_MAX_AGE_S),
        approvals=await approval_queue(console, principal_of(request)),
        lines=latest[:_LATEST_RUNS],
        max_listed=_MAX_LISTED,
        open_runs=await in_thread(_open_runs, console, latest),
        quota_plots=await recent_quota_plots(console),
        resource=current(),
        deletes=console.options.allow_delete,
    )


def _open_runs(console: Console, latest: Sequence[RunListItem]) -> OpenRuns:
    """The runs that are not finished, and those of the latest ones that were trials."""
    lines, _ = console.run_browser.runs(statuses=FILTERS["open"], limit=_MAX_OPEN_RUNS)
    found = {line.run.run_id: line for line in (*latest, *lines)}.values()
    undone = console.run_browser.undone()
    active = [line for line in found if _is_active(console, line)]
    resumable = [
        ResumableRun(line, is_trial=console.has_unseen_rest(line)) for line in found if console.can_resume(line, undone)
    ]
    return OpenRuns(
        active=[_active_run(console, line, watched=index < _MAX_WATCHED) for index, line in enumerate(active)],
        resumable=sorted(resumable, key=lambda run: run.line.run.created_at, reverse=True),
    )


def _is_active(console: Console, line: RunListItem) -> bool:
    return line.run.status is RunStatus.RUNNING or console.job_runner.job(line.run.run_id) is not None


def _active_run(console: Console, line: RunListItem, *, watched: bool) -> ActiveRun:
    job = console.job_runner.job(line.run.run_id)
    return ActiveRun(line, live_state(job) or state_from_journal(line, job), watched)


async def history(request: web.Request) -> web.Response:
    """All runs, those of terminals and scheduled jobs too."""
    pager, chosen = Pager(request, RUNS_PER_PAGE), request.query.get("show", "")
    if chosen not in FILTERS:
        chosen = ""
    lines, total = await in_thread(
        console_of(request).run_browser.runs,
        statuses=FILTERS.get(chosen, ()),
        offset=pager.offset,
        limit=pager.size,
    )
    return page(request, "runs.html", lines=lines, chosen=chosen, pager=pager.of(total))
