"""The commands for job files: one job, its drop folder, or several jobs side by side."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bulkid import runs as library
from bulkid.cli import render
from bulkid.cli.commands import check_sheet, plan_exit_code, plan_sheet
from bulkid.cli.error_handling import print_error
from bulkid.cli.library_options import context_of, open_session, open_target, schedule_of
from bulkid.cli.options import Load
from bulkid.cli.progress_display import progress_bar
from bulkid.cli.run_commands import show_run
from bulkid.cli.signals import run_event_loop, stopping
from bulkid.cli.stdio import is_interactive, print_json
from bulkid.cli.terminal import TerminalHooks, show_progress, use_logs
from bulkid.config.settings import Settings
from bulkid.engine.signals import Stop
from bulkid.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_ROWS_FAILED, EXIT_USAGE, BulkidError, UsageError
from bulkid.jobfile.read import JobFile, read_job
from bulkid.model import RunStatus
from bulkid.sheet import require_file
from bulkid.text import as_argument

MAX_NAME_WIDTH = 24
"""Letters of a job's name that are shown beside its progress."""


def schema() -> int:
    """Print the JSON schema of job files."""
    from bulkid.jobfile.schema import job_schema

    print_json(job_schema())
    return EXIT_OK


# --- looking at a job


def check(source: str, load: Load, *, json: bool, show_all: bool = False) -> int:
    """Read the job file and its sheets offline, and name every invalid row; the worst of the exit codes."""
    job = read_job(source)
    settings = load(job)

    def one(sheet: str) -> tuple[int, dict[str, Any]]:
        result = check_sheet(sheet, settings, json=json, show_all=show_all)
        return EXIT_USAGE if result.row_errors else EXIT_OK, dict(result.summary)

    return _each_sheet("check", job, one, json=json)


def plan(source: str, load: Load, *, to: str = "", show_all: bool = False, tells_changes: bool = False) -> int:
    """Show what a run of the job would do with each of its sheets; the worst of the exit codes."""
    job = read_job(source)
    settings = load(job)
    use_logs(settings)
    if to and not isinstance(job.source, Path):
        raise UsageError(
            f"Job {job.name}: a plan file holds the plan of one sheet, and a drop folder may have several.",
            hint=f"Write the plan of one of its files: bulkid plan SHEET --out {as_argument(to)}",
        )

    results: list[library.PlanResult] = []

    def one(sheet: str) -> tuple[int, dict[str, Any]]:
        result = plan_sheet(sheet, settings, to=to, show_all=show_all)
        results.append(result)
        return result.exit_code, dict(result.summary)

    code = _each_sheet("plan", job, one, json=settings.json)
    return plan_exit_code(code, results, tells_changes=tells_changes)


def _each_sheet(command: str, job: JobFile, one: Callable[[str], tuple[int, dict[str, Any]]], *, json: bool) -> int:
    """Do something with each sheet of a job; one that cannot be read does not hold up the next."""
    codes: list[int] = []
    summaries: list[dict[str, Any]] = []
    for sheet in _sheets(job):
        try:
            code, summary = one(sheet)
        except BulkidError as error:
            print_error(error)
            code, summary = error.exit_code, library.nothing_summary(command)
        codes.append(code)
        summaries.append(summary)
    if json:
        print_json(library.combined_summary(summaries, command))
    return library.worst_exit_code(codes)


def _sheets(job: JobFile) -> list[str]:
    if isinstance(job.source, Path):
        return [str(job.source)]
    waiting = [str(seen.path) for seen in job.source.pending_files()]
    if not waiting:
        render.console(stderr=True).print(f"No file waits in {job.source.folder}.")
    return waiting


# --- running jobs


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A job file with its settings."""

    file: JobFile
    settings: Settings

    def job(self, target: library.Target, options: library.RunOptions) -> "library.Job":
        return library.Job(
            name=self.file.name,
            source=self.file.source,
            target=target,
            options=options,
            schedule=schedule_of(self.settings),
        )


def run(sources: Sequence[str], load: Load, *, show_all: bool = False) -> int:
    """Run jobs, several of them side by side; the worst of their exit codes."""
    loaded = [_Loaded(file, load(file)) for file in _read_all(sources)]
    for job in loaded:
        use_logs(job.settings)
        _require_yes(job, is_single=len(loaded) == 1)
    results = [_run_one(loaded[0], show_all=show_all)] if len(loaded) == 1 else _run_all(loaded)
    if any(job.settings.json for job in loaded):
        print_json(library.combined_summary([each for result in results for each in _summaries(result)]))
    for result in results:
        print_error(result.error)
    return library.worst_exit_code(result.exit_code for result in results)


_STATUS_WITHOUT_RUN = {
    EXIT_ROWS_FAILED: RunStatus.COMPLETED_WITH_FAILURES,  # a run of a dropped file that was finished by a resume
    EXIT_INTERRUPTED: RunStatus.INTERRUPTED,
}


def _summaries(result: "library.JobResult") -> "list[Mapping[str, Any]]":
    """The summaries of a job's runs, and one for what ended it, or was refused, without a run."""
    summaries: list[Mapping[str, Any]] = [finished.summary for finished in result.runs]
    if result.exit_code != EXIT_OK and result.exit_code not in {finished.exit_code for finished in result.runs}:
        status = _STATUS_WITHOUT_RUN.get(result.exit_code, RunStatus.REFUSED)
        summaries.append(library.nothing_summary("run", status))
    return summaries


def _read_all(sources: Sequence[str]) -> list[JobFile]:
    """Read all job files; print the errors of all of them."""
    files: list[JobFile] = []
    errors: list[BulkidError] = []
    for source in sources:
        try:
            files.append(read_job(source))
        except UsageError as error:
            errors.append(error)
    if errors:
        for reported in errors[:-1]:
            print_error(reported)
        raise errors[-1]
    for number, file in enumerate(files):
        if any(file.path.resolve() == other.path.resolve() for other in files[:number]):
            raise UsageError(f"The job file {file.shown} is given twice.")
        if any(file.name == other.name for other in files[:number]):
            raise UsageError(f"Two jobs are called {file.name!r}.", hint="Give each a name of its own (key name).")
    return files


def _require_yes(loaded: _Loaded, *, is_single: bool) -> None:
    if loaded.settings.yes or (is_single and is_interactive()):
        return
    if isinstance(loaded.file.source, Path):
        require_file(loaded.file.source)
    else:
        loaded.file.source.pending_files()
    raise UsageError(
        f"Job {loaded.file.name}: bulkid cannot ask for confirmation here, because there is no terminal: "
        "nothing was sent.",
        hint="Look at it with `bulkid plan`, and set yes = true in the job file, or run with --yes.",
    )


def _run_one(loaded: _Loaded, *, show_all: bool) -> "library.JobResult":
    settings = loaded.settings

    async def work() -> library.JobResult:
        async with open_session(
            settings,
            ask=not settings.yes,
            show_all=show_all,
            on_concluded=lambda result: show_run(result, settings),
        ) as (target, options, context):
            return await library.run_job(loaded.job(target, options), context)

    return run_event_loop(work)


def _run_all(loaded: Sequence[_Loaded]) -> "list[library.JobResult]":
    results = run_event_loop(partial(_run_parallel, loaded))
    for loaded_job, result in zip(loaded, results, strict=True):
        for finished in result.runs:
            show_run(finished, loaded_job.settings)
    return results


async def _run_parallel(jobs: Sequence[_Loaded]) -> "list[library.JobResult]":
    """Run jobs side by side until all have ended; results in their order."""
    _raise_file_limit()
    err, stop_group, organization_mutex = render.console(stderr=True), StopGroup(), library.OrganizationMutex()
    bar = progress_bar(err, min(max(len(job.file.name) for job in jobs), MAX_NAME_WIDTH))
    results: dict[int, library.JobResult] = {}

    async def run_one(number: int, loaded: _Loaded, stop: Stop) -> None:
        settings, name = loaded.settings, loaded.file.name
        async with open_target(settings) as (target, options), library.task_group() as tasks:
            show = partial(show_progress, err, name=name, shared_bar=bar)
            hooks = TerminalHooks(err, settings, tasks, name=name, show=show)
            context = replace(context_of(settings, hooks, stop), organization_mutex=organization_mutex)
            results[number] = await library.run_job(loaded.job(target, options), context)
            tasks.cancel_scope.cancel()
        if not settings.quiet:
            hooks.say(f"ended with exit code {results[number].exit_code}.")

    with bar if err.is_interactive else nullcontext(), stopping(stop_group, err.print):
        async with library.task_group() as tasks:
            for number, loaded in enumerate(jobs):
                tasks.start_soon(run_one, number, loaded, stop_group.member())
    return [results[number] for number in range(len(jobs))]


def _raise_file_limit() -> None:
    """Let the process have as many open files and connections as the system grants it: each job needs some."""
    if sys.platform == "win32":  # no such limit
        return
    import resource

    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says "unlimited" and grants less
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


class StopGroup(Stop):
    """A stop that is handed on to several others, each of which may also be requested by itself."""

    def __init__(self) -> None:
        super().__init__()
        self._members: list[Stop] = []

    def member(self) -> Stop:
        """Another stop that is requested together with this one."""
        member_stop = Stop()
        self._members.append(member_stop)
        return member_stop

    def request(self, reason: str) -> None:
        """Take nothing new, anywhere."""
        super().request(reason)
        for member_stop in self._members:
            member_stop.request(reason)

    def abort(self) -> None:
        """Stop now, everywhere."""
        super().abort()
        for member_stop in self._members:
            member_stop.abort()
