"""The functions that a face or a program calls: each is one command of bulkid, without printing or prompting."""

import getpass
import os
import platform
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import anyio.to_thread

from bulkid.errors import EXIT_OK, EXIT_USAGE, BulkidError, LockedError, UsageError
from bulkid.journal import RESUMABLE, Journal, new_run_id, open_journal, organization_lock
from bulkid.model import FailureBound, QuotaRule, RunRecord, RunStatus, Status
from bulkid.places import default_state_dir
from bulkid.report import build_summary, prepare_folder, remove_leftovers
from bulkid.runs import reporting
from bulkid.runs.execute import Execution, owner_of
from bulkid.runs.options import (
    Context,
    PlanResult,
    Preview,
    RunOptions,
    RunResult,
    Target,
)
from bulkid.runs.prepare import prepare
from bulkid.runs.session import base_of, connect
from bulkid.runs.source import Rows, Source, offline_summary, read_again, read_rows
from bulkid.runs.tasks import until_stopped
from bulkid.sheet import Sheet, SheetOptions, open_sheet

P = ParamSpec("P")
T = TypeVar("T")


async def plan(
    source: Source,
    target: Target,
    options: RunOptions | None = None,
    context: Context | None = None,
    *,
    name: str | None = None,
) -> PlanResult:
    """Compute what ``run`` would send, reading the directory and changing nothing.

    Args:
        source: A sheet's path, or a binary file of CSV.
        target: Which server, as whom.
        options: How to read and plan.
        context: What surrounds the work; None for the defaults.
        name: What to call the source in messages.

    Raises:
        UsageError: The settings or the sheet as a whole cannot be used.
        StateError: The state directory cannot be used.
    """
    options, context = options or RunOptions(), context or Context()
    base_of(target)
    context.hooks.stage("sheet")
    started = context.clock.monotonic()
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(await _in_thread(open_journal, context.state_dir))
        sheet = stack.enter_context(await _in_thread(open_sheet, source, options.sheet, name=name))
        rows = Rows(sheet.info)
        try:
            async with until_stopped(context.stop):
                rows = await read_rows(sheet)
            preview = await _preview(rows, target, options, journal, context)
        except BulkidError as error:
            faults = tuple(rows.faults)
            status, exit_code = reporting.verdict({}, error)
            elapsed_s = context.clock.monotonic() - started
            summary = offline_summary(rows, faults, status, command="plan", counters={"elapsed_s": elapsed_s})
            return PlanResult(None, summary, faults, error, exit_code)
    return _plan_result(rows, preview, context.clock.monotonic() - started)


async def _preview(rows: Rows, target: Target, options: RunOptions, journal: Journal, context: Context) -> Preview:
    context.hooks.stage("connect")
    owner = f"plan-{os.getpid()}"
    async with connect(target, options, journal, context, owner=owner) as session, until_stopped(context.stop):
        await session.identify()
        context.hooks.stage("directory")
        preview = await prepare(session, rows, options)
    return preview  # noqa: RET504 - a return inside the scope hides from the type checker that there is one


def _plan_result(rows: Rows, preview: Preview, elapsed_s: float) -> PlanResult:
    plan = preview.plan
    status = RunStatus.REFUSED if preview.faults else RunStatus.COMPLETED
    counters = {
        "requests": preview.requests,
        "planned_puts": plan.planned_puts,
        "naive_puts": plan.naive_puts,
        "elapsed_s": elapsed_s,
    }
    summary = offline_summary(
        rows,
        preview.faults,
        status,
        unchanged=sum(len(wish.rows) for wish in plan.unchanged),
        accounts=plan.wishes,
        eta_s=preview.eta_s,
        command="plan",
        counters=counters,
    )
    return PlanResult(preview, summary, preview.faults, None, EXIT_USAGE if preview.faults else EXIT_OK)


async def run(
    source: Source,
    target: Target,
    options: RunOptions | None = None,
    context: Context | None = None,
    *,
    name: str | None = None,
) -> RunResult:
    """Plan, apply, verify and report a sheet. What ends it early is in the result, once the sheet could be read.

    Args: as :func:`plan`.

    Raises:
        UsageError: The settings or the sheet as a whole cannot be used: nothing was sent, there is no run.
        StateError: The state directory cannot be used: nothing was sent, there is no run.
    """
    options, context = options or RunOptions(), context or Context()
    base = base_of(target)
    async with AsyncExitStack() as stack:
        sheet = stack.enter_context(await _in_thread(open_sheet, source, options.sheet, name=name))
        if sheet.info.spreadsheet and "xlsx" not in options.formats:
            options = replace(options, formats=(*options.formats, "xlsx"))
        record = _new_record(context, sheet, source, base.url, options)
        folder = prepare_folder(options.report_dir.absolute(), record.run_id)
        record = replace(record, report_dir=str(folder))
        journal = stack.enter_context(await _in_thread(open_journal, context.state_dir))
        _hold_run(stack, context.state_dir, record)
        await _in_thread(journal.create_run, record)
        execution = Execution(journal, record, target, options, context, folder)
        return await execution.perform(partial(execution.fresh, sheet))


async def resume(
    text: str, target: Target, context: Context | None = None, *, skip_invalid: bool | None = None
) -> RunResult:
    """Finish an interrupted run as it was begun: settled accounts are left alone, the others are compared again.

    Args:
        text: The run's id, the beginning of it, or empty for the newest run that can be resumed.
        target: As whom; its address may be left empty, and must otherwise be the run's own once that has a plan.
        context: What surrounds the work; None for the defaults.
        skip_invalid: Overrides what the run was begun with; None keeps it.

    Raises:
        UsageError: There is no such run, or it cannot be resumed with this target.
        LockedError: The run is still alive, or another one holds the organisation's lock.
        StateError: The state directory cannot be used.
    """
    context = context or Context()
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(await _in_thread(open_journal, context.state_dir))
        record = await _in_thread(find_resumable, journal, text)
        target = _same_target(record, target)
        options = load_options(record.options)
        if skip_invalid is not None:
            options = replace(options, skip_invalid=skip_invalid)
        folder = prepare_folder(Path(record.report_dir).parent, record.run_id)
        _hold_run(stack, context.state_dir, record)
        # Now nobody else works on it; but somebody may have, until a moment ago.
        remove_leftovers(folder)
        record = await _in_thread(find_resumable, journal, record.run_id)
        record = replace(record, host=platform.node(), pid=os.getpid())
        execution = Execution(journal, record, target, options, context, folder, resumed=True)
        if record.phase == "planned":
            return await execution.perform(execution.from_entries)
        if record.phase == "reading":
            sheet = stack.enter_context(await _in_thread(_open_again, record, options))
            await _in_thread(journal.forget_rows, record.run_id)
            return await execution.perform(partial(execution.fresh, sheet))
        # A kill may have left a plan half written; and what an earlier look at the directory found may be mended.
        await _in_thread(journal.forget_plan, record.run_id)
        rows = await read_again(journal, record)
        return await execution.perform(partial(execution.from_rows, rows))


def list_runs(state_dir: Path | None = None, limit: int | None = None) -> list[tuple[RunRecord, Mapping[Status, int]]]:
    """Earlier runs, newest first, each with its rows by status. A run that a kill ended shows as interrupted.

    Raises:
        StateError: The state directory cannot be used.
    """
    state_dir = state_dir or default_state_dir()
    with open_journal(state_dir) as journal:
        return [(_as_it_is(state_dir, record), journal.counts(record.run_id)) for record in journal.list_runs(limit)]


def _as_it_is(state_dir: Path, record: RunRecord) -> RunRecord:
    """The record, corrected where it says ``running`` although no process holds the run any more."""
    if record.status is not RunStatus.RUNNING:
        return record
    try:
        with _run_lock(state_dir, record):
            return replace(record, status=RunStatus.INTERRUPTED)
    except LockedError:
        return record


def report(
    text: str,
    *,
    state_dir: Path | None = None,
    report_dir: Path | None = None,
    formats: Collection[str] = (),
) -> RunResult:
    """Write a run's report again, from the journal, also while the run is still going.

    Args:
        text: The run's id, the beginning of it, or empty for the newest.
        state_dir: Where the journal is; None for the user's own.
        report_dir: Folder that gets a folder for the run; None for where the run wrote it.
        formats: ``xlsx`` and ``jsonl`` beside the csv.

    Raises:
        UsageError: There is no such run, or the folder cannot be written.
        ReportError: Writing failed; the outcomes are safe in the journal.
    """
    state_dir = state_dir or default_state_dir()
    with open_journal(state_dir) as journal:
        record = _as_it_is(state_dir, reporting.find(journal, text))
        parent = report_dir.absolute() if report_dir is not None else Path(record.report_dir).parent
        folder = prepare_folder(parent, record.run_id)
        summary = reporting.summarise(journal, record, folder)
        files = reporting.write(journal, record, folder, formats, summary)
        return RunResult(record, record.status, files.summary, files, notes=files.notes)


def summary_of(record: RunRecord, counts: Mapping[Status, int]) -> dict[str, Any]:
    """A run's summary from what :func:`list_runs` gave."""
    report_path = str(Path(record.report_dir) / "report.csv") if record.report_dir else None
    return build_summary(record, counts, int(record.counters.get("accounts", 0)), report_path)


def find_resumable_run(text: str, state_dir: Path | None = None) -> RunRecord:
    """The run that ``resume`` would go on with.

    Raises:
        UsageError: There is none, or it is complete.
        StateError: The state directory cannot be used.
    """
    with open_journal(state_dir or default_state_dir()) as journal:
        return find_resumable(journal, text)


def find_resumable(journal: Journal, text: str) -> RunRecord:
    """The run to go on with.

    Raises:
        UsageError: There is none, or it is complete.
    """
    if not text:
        newest = journal.latest_resumable()
        if newest is None:
            raise UsageError("There is no interrupted run.", hint="`bulkid runs` lists the runs there are.")
        return newest
    record = reporting.find(journal, text)
    ended = record.status not in RESUMABLE and record.status is not RunStatus.REFUSED
    if ended and not journal.counts(record.run_id).get(Status.PENDING):
        raise UsageError(
            f"Run {record.run_id} is complete: nothing is pending.",
            hint="Failed rows are in its retry.csv; run that once it is mended.",
        )
    return record


def dump_options(options: RunOptions, source: Source) -> dict[str, Any]:
    """What ``resume`` needs, as JSON. Holds no secret: options never do."""
    quota = None if options.quota is None else [[rule.method, rule.count, rule.seconds] for rule in options.quota]
    path = str(Path(source).absolute()) if isinstance(source, str | Path) else ""
    return {
        **{name: getattr(options, name) for name in _PLAIN},
        "sheet": {**asdict(options.sheet), "column_map": dict(options.sheet.column_map)},
        "quota": quota,
        "max_failures": asdict(options.max_failures) if options.max_failures else None,
        "formats": list(options.formats),
        "path": path,
    }


_PLAIN = (
    *("skip_invalid", "read", "rate", "concurrency", "max_attempts", "timeout_s", "sandbox"),
    *("retry_base_s", "outage_limit_s"),
)


def load_options(stored: Mapping[str, Any]) -> RunOptions:
    """The options as :func:`dump_options` wrote them."""
    sheet = {**stored.get("sheet", {})}
    sheet["ignore_columns"] = tuple(sheet.get("ignore_columns", ()))
    quota = stored.get("quota")
    bound = stored.get("max_failures")
    return RunOptions(
        **{name: stored[name] for name in _PLAIN if name in stored},
        sheet=SheetOptions(**sheet),
        quota=None if quota is None else tuple(QuotaRule(method, count, seconds) for method, count, seconds in quota),
        max_failures=FailureBound(**bound) if bound else None,
        formats=tuple(stored.get("formats", ())),
    )


def _new_record(context: Context, sheet: Sheet, source: Source, url: str, options: RunOptions) -> RunRecord:
    now = context.clock.now()
    return RunRecord(
        run_id=new_run_id(now),
        created_at=now,
        status=RunStatus.RUNNING,
        command="run",
        source=sheet.info.source,
        base_url=url,
        organization_id="",
        host=platform.node(),
        pid=os.getpid(),
        user=_user(),
        sheet=sheet.info.to_json(),
        options=dump_options(options, source),
    )


def _run_lock(state_dir: Path, record: RunRecord) -> AbstractContextManager[None]:
    return organization_lock(state_dir, f"run {record.run_id}", owner_of(record))


def _hold_run(stack: AsyncExitStack, state_dir: Path, record: RunRecord) -> None:
    """Lock a run for as long as this process works on it: nobody resumes a run that is still alive.

    Raises:
        LockedError: Another process works on it.
    """
    try:
        stack.enter_context(_run_lock(state_dir, replace(record, host=platform.node(), pid=os.getpid())))
    except LockedError:
        raise LockedError(
            f"Run {record.run_id} ({record.source}) is still under way: process {record.pid} on {record.host}.",
            hint="Wait until it has ended, or stop it (Ctrl+C in its window); then it can be resumed.",
        ) from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user on this machine, as in some containers
        return ""


def _same_target(record: RunRecord, target: Target) -> Target:
    """The target, completed by what the run knows, and refused where it is another one.

    A run that never came to its plan has sent nothing: its address or organisation may be the mistake that is mended.
    """
    if record.phase != "planned":
        return replace(target, url=target.url or record.base_url)
    # The embedded sandbox ended with the run, and another one has taken its place, at another address.
    in_sandbox = bool(record.options.get("sandbox")) and bool(target.url)
    if target.url and base_of(target).url != record.base_url and not in_sandbox:
        raise UsageError(
            f"Run {record.run_id} belongs to {record.base_url}, but the settings name {base_of(target).url}.",
            hint="Set BULKID_URL (or the profile) to the run's own address.",
        )
    organization_id = target.organization_id or record.organization_id
    if record.organization_id and organization_id.casefold() != record.organization_id.casefold():
        raise UsageError(
            f"Run {record.run_id} belongs to organisation {record.organization_id}, but the settings name "
            f"{organization_id}.",
            hint="Set BULKID_ORGANIZATION_ID (or the profile) to the run's own, or leave it empty.",
        )
    return replace(target, url=target.url if in_sandbox else record.base_url, organization_id=organization_id)


def _open_again(record: RunRecord, options: RunOptions) -> Sheet:
    """Open the sheet of a run that ended before its rows were whole."""
    path = str(record.options.get("path", ""))
    if not path:
        raise UsageError(
            f"Run {record.run_id} ended while standard input was still being read; nothing was sent.",
            hint="Start it again with the same input.",
        )
    return open_sheet(path, options.sheet, name=record.source)


async def _in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))
