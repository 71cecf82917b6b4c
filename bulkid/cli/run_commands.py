"""The commands that send: ``run``, ``resume`` and ``undo``.

They import what prints to a terminal only where they print: a run that is quiet does not wait for it.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from bulkid import runs as library
from bulkid.cli.error_handling import print_error
from bulkid.cli.library_options import connection_options, database_url_of, open_session, schedule_of
from bulkid.cli.signals import run_event_loop
from bulkid.cli.sources import STANDARD_INPUT, errors_as_json, open_source, require_source
from bulkid.cli.stdio import is_interactive, print_json
from bulkid.cli.terminal import use_logs
from bulkid.config.settings import Settings
from bulkid.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_ROWS_FAILED, BulkidError, UsageError
from bulkid.identity.aiohttp_import import import_aiohttp
from bulkid.model import Phase, RunRecord, RunStatus
from bulkid.report.summary import as_options, how_to_report
from bulkid.text import count_of, unnumbered


def run(source: str, settings: Settings, *, show_all: bool = False) -> int:
    """Plan, confirm, apply, verify, report."""
    if not settings.yes and (source == STANDARD_INPUT or not is_interactive()):
        with errors_as_json("run", wanted=settings.json):
            require_source(source)
        raise _no_terminal("Look at it with `bulkid plan`, and run with --yes.")
    opened, name = open_source(source)
    import_aiohttp()
    return _run(partial(library.run, opened, name=name), settings, show_all=show_all)


def _no_terminal(hint: str) -> UsageError:
    message = "bulkid cannot ask for confirmation here, because there is no terminal: nothing was sent."
    return UsageError(message, hint=hint)


def run_plan(path: str, settings: Settings, *, show_all: bool = False) -> int:
    """Apply a plan file."""
    if not settings.yes and not is_interactive():
        with errors_as_json("run", wanted=settings.json):
            library.require_plan_file(Path(path))
        raise _no_terminal("To apply it without being asked, add --yes.")
    import_aiohttp()
    return _run(partial(library.run_plan, Path(path)), settings, show_all=show_all)


def undo(text: str, settings: Settings, *, recreate: bool = False, show_all: bool = False) -> int:
    """Put back what a run changed; with ``recreate`` create the accounts again that it deleted."""
    with errors_as_json("undo", wanted=settings.json):
        record = library.find_run(text, settings.state_dir, database_url_of(settings))
        in_sandbox = _is_in_sandbox(record, settings, "undone")
    if not settings.yes and not is_interactive():
        raise _no_terminal("To undo it without being asked, add --yes.")
    import_aiohttp()
    return _run(partial(library.undo, text, recreate=recreate), settings, use_sandbox=in_sandbox, show_all=show_all)


def _is_in_sandbox(record: RunRecord, settings: Settings, done: str) -> bool:
    """Return whether a run is one of the sandbox; raise where the user asks for the sandbox, and it is not."""
    in_sandbox = bool(record.options.get("sandbox"))
    if settings.sandbox and not in_sandbox:  # else what is meant as a rehearsal would change the real accounts
        raise UsageError(
            f"Run {record.run_id} is one of {record.base_url}, and cannot be {done} in the sandbox: nothing was sent.",
            hint="Leave out --sandbox (and BULKID_SANDBOX); a rehearsal is a run of the sheet with --sandbox.",
        )
    return in_sandbox


def resume(
    text: str, settings: Settings, *, yes: bool, yes_really: bool, skip_invalid: bool, show_all: bool = False
) -> int:
    """Finish an interrupted run."""
    with errors_as_json("resume", wanted=settings.json):
        record = library.find_resumable_run(
            text, settings.state_dir, database_url_of(settings), skip_invalid=skip_invalid
        )
        in_sandbox = _is_in_sandbox(record, settings, "continued")
        # What was confirmed once is not asked again; a run that never came to its plan is, and what a trial left out.
        ask = not yes and library.needs_confirmation(record, settings.state_dir, database_url_of(settings))
    if ask and not is_interactive():
        planned = record.phase == Phase.PLANNED
        what = "is a trial whose rest was not confirmed yet" if planned else "ended before its plan was confirmed"
        given = " --skip-invalid" * skip_invalid + " --yes-really" * yes_really
        raise UsageError(
            f"Run {record.run_id} {what}, and bulkid cannot ask for confirmation here, because there is no terminal.",
            hint=f"Continue with: bulkid resume {record.run_id} --yes{given}{as_options(connection_options(settings))}",
        )

    def begin(
        target: library.Target, _options: library.RunOptions, context: library.Context
    ) -> Awaitable[library.RunResult]:
        return library.resume(record.run_id, target, context, skip_invalid=skip_invalid or None, yes_really=yes_really)

    return _run(
        begin,
        settings,
        ask=ask,
        show_all=show_all,
        use_sandbox=in_sandbox,
        exit_code_outside_schedule=EXIT_INTERRUPTED,  # it is still pending
    )


def _run(
    begin: Callable[[library.Target, library.RunOptions, library.Context], Awaitable[library.RunResult]],
    settings: Settings,
    *,
    ask: bool | None = None,
    show_all: bool = False,
    use_sandbox: bool | None = None,
    exit_code_outside_schedule: int = EXIT_OK,
) -> int:
    """Run something within its schedule, show its progress and print the result.

    ``ask`` None asks unless the settings say yes; ``use_sandbox`` None follows the settings. The command exits with
    ``exit_code_outside_schedule`` where the schedule does not allow a start.
    """
    ask = not settings.yes if ask is None else ask

    async def work() -> library.RunResult | None:
        async with (
            open_session(settings, ask=ask, show_all=show_all, use_sandbox=use_sandbox) as (target, options, context),
            library.within_schedule(schedule_of(settings), context) as in_schedule,
        ):
            return await begin(target, options, context) if in_schedule else None

    use_logs(settings)
    with errors_as_json("run", wanted=settings.json):
        result = run_event_loop(work)
    if result is None:  # the schedule did not allow a start
        if settings.json:
            status = RunStatus.COMPLETED if exit_code_outside_schedule == EXIT_OK else RunStatus.INTERRUPTED
            print_json(library.nothing_summary("run", status))
        return exit_code_outside_schedule
    if settings.json:
        print_json(result.summary)
    show_run(result, settings, errors_shown=ask and settings.skip_invalid)  # the question stood under them
    return result.exit_code


def show_run(result: library.RunResult, settings: Settings, *, errors_shown: bool = False) -> None:
    """Print the result of a run: its invalid rows, its counts (unless JSON is wanted), and the error that ended it.

    ``errors_shown`` says that the user has seen the errors of the rows: then only their number is printed.
    """
    if not settings.quiet or result.notes:
        _print_run(result, settings, errors_shown=errors_shown)
    if settings.quiet and not settings.json and result.error is None and result.exit_code == EXIT_ROWS_FAILED:
        print_error(_rows_failed(result))
    print_error(result.error)


def _rows_failed(result: library.RunResult) -> BulkidError | None:
    """What a quiet run says of its bad rows: cron sends a mail only where something is printed."""
    summary = result.summary
    bad = summary["failed"] + summary["invalid"]
    if not bad:  # the notes say what is wrong
        return None
    files = result.report.files if result.report is not None else ()
    retry = next((path for path in files if unnumbered(path.name) == "retry.csv"), None)
    hint = f"The last column of {retry} says why." if retry else f"{how_to_report(result.run)} says why."
    return BulkidError(
        f"{result.run.source}: {count_of(bad, 'row')} of {summary['rows']:,} failed or invalid.", hint=hint
    )


def _print_run(result: library.RunResult, settings: Settings, *, errors_shown: bool) -> None:
    from bulkid.cli import render
    from bulkid.cli.row_errors import print_row_error_count, print_row_errors

    err = render.console(stderr=True)
    if not settings.quiet:
        (print_row_error_count if errors_shown else print_row_errors)(err, result.run.source, result.row_errors)
    render.print_notes(err, result.notes)
    if not (settings.json or settings.quiet):
        render.print_result(render.console(stderr=False), result, verbose=settings.verbose > 0)
