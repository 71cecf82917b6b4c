"""What each command does: settings in, one call of :mod:`bulkid.runs`, words on the right stream, an exit code out."""

import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import anyio
import orjson

from bulkid import runs as library
from bulkid.cli import render
from bulkid.cli.embedded_sandbox import serve, with_sandbox
from bulkid.cli.library_options import context_of as _context
from bulkid.cli.library_options import database_url_of as _database_url
from bulkid.cli.library_options import options_of as _options
from bulkid.cli.library_options import recipients_of as _recipients
from bulkid.cli.library_options import schedule_of as _schedule
from bulkid.cli.library_options import sheet_options_of as _sheet_options
from bulkid.cli.library_options import target_of as _target
from bulkid.cli.signals import pending_signals, stopping
from bulkid.cli.terminal import open_hooks, use_logs
from bulkid.config import Settings, unknown_variables
from bulkid.engine import Stop
from bulkid.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    BulkidError,
    LockedError,
    SheetError,
    StateError,
    UsageError,
)
from bulkid.printable import printable_json
from bulkid.sheet import require_file

T = TypeVar("T")

STANDARD_INPUT = "-"


def check(source: str, settings: Settings, *, json: bool) -> int:
    """Read the sheet offline and name every bad row; exit code 0 or 2."""
    with _errors_as_json("check", wanted=json):
        result = check_sheet(source, settings, json=json)
    if json:
        _print_json(result.summary)
    return EXIT_USAGE if result.row_errors else EXIT_OK


def check_sheet(source: str, settings: Settings, *, json: bool) -> library.CheckResult:
    """Read one sheet offline and say what is wrong with it, on standard error where JSON is wanted.

    Raises:
        SheetError: The sheet as a whole cannot be read.
    """
    out, err = render.console(stderr=False), render.console(stderr=True)
    opened, name = _source(source)
    with pending_signals.raising():
        result = library.check(opened, _sheet_options(settings), name=name)
    if json:
        render.print_notes(err, result.info.notes)
        render.print_row_errors(err, render.sheet_label(result.info), result.row_errors, limit=None)
    else:
        render.print_check(out, err, result)
    return result


def plan(source: str, settings: Settings, *, to: str = "") -> int:
    """Show what a run would do; and write it to a file, where one is named."""
    use_logs(settings)
    with _errors_as_json("plan", wanted=settings.json):
        result = plan_sheet(source, settings, to=to)
    if settings.json:
        _print_json(result.summary)
    return result.exit_code


def plan_sheet(source: str, settings: Settings, *, to: str = "") -> library.PlanResult:
    """Show what a run of one sheet would do, on standard error where JSON is wanted; and write it to a file.

    Raises:
        BulkidError: The settings or the sheet as a whole cannot be used, or the plan cannot be written.
    """
    out, err = render.console(stderr=False), render.console(stderr=True)
    opened, name = _source(source)
    if to:
        library.require_folder_of(Path(to))

    async def work() -> library.PlanResult:
        async with with_sandbox(_target(settings), _options(settings), use_sandbox=settings.sandbox) as (
            target,
            options,
        ):
            stop = Stop()
            async with open_hooks(err, settings, ask=False) as hooks:
                with stopping(stop, hooks.say):
                    return await library.plan(opened, target, options, _context(settings, hooks, stop), name=name)

    result = _anyio_run(work)
    preview = result.preview
    if preview is not None:
        if not settings.quiet:
            render.print_notes(err, preview.info.notes)
        render.print_row_errors(
            err if settings.json else out, render.sheet_label(preview.info), result.row_errors, limit=None
        )
        if not settings.json:
            render.print_plan(out, preview)
        if to:
            _save_plan(preview, Path(to), settings)
    _print_error(result.error)
    return result


def _save_plan(preview: library.Preview, path: Path, settings: Settings) -> None:
    """Write the plan to a file, unless ``run`` would refuse it.

    Raises:
        UsageError: A row is invalid and that is not allowed, or the file cannot be written.
    """
    if preview.row_errors and not settings.skip_invalid:
        raise UsageError(
            f"The plan was not written to {path}: {preview.invalid_rows} of {preview.rows} rows are invalid.",
            hint="Mend them, or plan the good rows alone with --skip-invalid.",
        )
    written = library.save_plan(preview, path, sandbox=settings.sandbox)
    if not settings.quiet:
        render.print_notes(
            render.console(stderr=True), [f"The plan is in {written}. Apply it: bulkid run --plan {written}"]
        )


def run(source: str, settings: Settings) -> int:
    """Plan, confirm, apply, verify, report."""
    if not settings.yes and (source == STANDARD_INPUT or not _is_interactive()):
        with _errors_as_json("run", wanted=settings.json):
            _require_source(source)
        raise UsageError(
            "Nobody can be asked here whether to send the plan: nothing was sent.",
            hint="Look at it with `bulkid plan`, and run with --yes.",
        )
    opened, name = _opened(source)
    return _run(partial(library.run, opened, name=name), settings)


def run_plan(path: str, settings: Settings) -> int:
    """Apply a plan file."""
    if not settings.yes and not _is_interactive():
        with _errors_as_json("run", wanted=settings.json):
            library.require_plan_file(Path(path))
        raise UsageError(
            "Nobody can be asked here whether to send the plan: nothing was sent.",
            hint=f"Apply it without being asked: bulkid run --plan {path} --yes",
        )
    return _run(partial(library.run_plan, Path(path)), settings)


def undo(text: str, settings: Settings) -> int:
    """Put back what a run changed."""
    record = library.find_run(text, settings.state_dir, _database_url(settings))
    if not settings.yes and not _is_interactive():
        raise UsageError(
            "Nobody can be asked here whether to undo the run: nothing was sent.",
            hint=f"Undo it without being asked: bulkid undo {text} --yes",
        )
    in_sandbox = bool(record.options.get("sandbox"))
    return _run(partial(library.undo, text), settings, in_sandbox=in_sandbox)


def _run(begin: Callable[..., Awaitable[library.RunResult]], settings: Settings, *, in_sandbox: bool = False) -> int:
    """Begin a run that is watched, and asked about unless it is not to be, and tell how it ended.

    Args:
        begin: Begins it, with a target, options and a context.
        settings: Say all three.
        in_sandbox: Whether it is done in a sandbox, also where the settings do not say so.
    """

    async def work() -> library.RunResult | None:
        use_sandbox = settings.sandbox or in_sandbox
        async with with_sandbox(_target(settings), _options(settings), use_sandbox=use_sandbox) as (target, options):
            stop = Stop()
            async with open_hooks(render.console(stderr=True), settings, ask=not settings.yes) as hooks:
                context = _context(settings, hooks, stop)
                with stopping(stop, hooks.say):
                    async with library.within_schedule(_schedule(settings), context) as in_schedule:
                        return await begin(target, options, context) if in_schedule else None
        return None

    use_logs(settings)
    with _errors_as_json("run", wanted=settings.json):
        result = _anyio_run(work)
    return _conclude(result, settings)


def resume(text: str, settings: Settings, *, yes: bool, yes_really: bool, skip_invalid: bool) -> int:
    """Finish an interrupted run."""
    record = library.find_resumable_run(text, settings.state_dir, _database_url(settings))
    # What was confirmed once is not asked again; a run that never came to its plan is, and what a trial left out.
    ask = not yes and library.needs_confirmation(record, settings.state_dir, _database_url(settings))
    if ask and not _is_interactive():
        planned = record.phase == "planned"
        what = "is a trial whose rest was not confirmed yet" if planned else "ended before its plan was confirmed"
        raise UsageError(
            f"Run {record.run_id} {what}, and nobody can be asked here.",
            hint=f"Go on with: bulkid resume {record.run_id} --yes",
        )
    in_sandbox = bool(record.options.get("sandbox"))

    async def work() -> library.RunResult | None:
        async with with_sandbox(_target(settings), library.RunOptions(), use_sandbox=in_sandbox) as (target, _):
            stop = Stop()
            async with open_hooks(render.console(stderr=True), settings, ask=ask) as hooks:
                context = _context(settings, hooks, stop)
                with stopping(stop, hooks.say):
                    async with library.within_schedule(_schedule(settings), context) as in_schedule:
                        if not in_schedule:
                            return None
                        return await library.resume(
                            record.run_id,
                            target,
                            context,
                            skip_invalid=skip_invalid or None,
                            yes_really=yes_really,
                        )
        return None

    use_logs(settings)
    with _errors_as_json("run", wanted=settings.json):
        result = _anyio_run(work)
    return _conclude(result, settings, exit_code_outside_schedule=EXIT_INTERRUPTED)  # it is still pending


def runs(settings: Settings, *, limit: int, json: bool) -> int:
    """List earlier runs."""
    found = library.list_runs(settings.state_dir, limit, database_url=_database_url(settings))
    if json:
        _print_json([library.summary_of(record, counts) for record, counts in found])
        return EXIT_OK
    out = render.console(stderr=False)
    if found:
        out.print(render.runs_table(found))
    else:
        render.console(stderr=True).print("There are no runs yet.")
    return EXIT_OK


def report(text: str, settings: Settings) -> int:
    """Write a run's report again."""
    result = library.report(
        text,
        state_dir=settings.state_dir,
        database_url=_database_url(settings),
        report_dir=settings.report_dir if settings.is_given("report_dir") else None,
        formats=settings.formats,
    )
    err = render.console(stderr=True)
    render.print_notes(err, result.notes)
    if settings.json:
        _print_json(result.summary)
    elif not settings.quiet:
        render.print_result(render.console(stderr=False), result)
    return EXIT_OK


def export(file: str, settings: Settings, *, groups: Literal["names", "ids"], force: bool) -> int:
    """Write the organisation's robot accounts to a file."""
    err = render.console(stderr=True)

    async def work() -> library.ExportResult:
        async with with_sandbox(_target(settings), _options(settings), use_sandbox=settings.sandbox) as (
            target,
            options,
        ):
            stop = Stop()
            async with open_hooks(err, settings, ask=False) as hooks:
                with stopping(stop, hooks.say):
                    context = _context(settings, hooks, stop)
                    return await library.export(file, target, options, context, groups=groups, replace=force)

    use_logs(settings)
    result = _anyio_run(work)
    if not settings.quiet or not result.complete:
        render.print_notes(err, result.notes)
    if settings.json:
        _print_json(result.summary)
    elif not settings.quiet:
        render.print_export(render.console(stderr=False), result)
    return result.exit_code


def doctor(settings: Settings, *, json: bool) -> int:
    """Say whether the connection is right."""

    async def work() -> list[library.Finding]:
        async with with_sandbox(_target(settings), _options(settings), use_sandbox=settings.sandbox) as (
            target,
            options,
        ):
            return await library.doctor(target, options, _context(settings))

    use_logs(settings)
    findings = [*_unknown_variables(), *_anyio_run(work), *library.examine_recipients(_recipients(settings))]
    if json:
        _print_json({"findings": [finding.as_dict() for finding in findings]})
    else:
        render.print_findings(render.console(stderr=False), findings)
    return next((finding.exit_code for finding in findings if finding.ok is False), EXIT_OK)


def _unknown_variables() -> list[library.Finding]:
    """Variables that look like bulkid's and are read by nobody: most are typos."""
    return [
        library.Finding(
            "environment",
            ok=None,
            detail=f"{name} is no setting of bulkid and is ignored.",
            hint=f"Did you mean {' or '.join(near)}?" if near else "",
        )
        for name, near in unknown_variables(os.environ).items()
    ]


def sandbox(host: str, port: int, *, quota: list[str], faults: str, **options: Any) -> int:  # noqa: ANN401 - for SandboxOptions
    """Serve a simulated Identity Server until a signal comes.

    Raises:
        UsageError: The options do not make a sandbox, or the address cannot be listened on.
    """
    from bulkid.sandbox import SandboxOptions, parse_faults, parse_limits

    try:
        limits = () if quota == ["none"] else tuple(parse_limits(",".join(quota)))
        made = SandboxOptions(limits=limits, faults=parse_faults(faults), **options)
    except ValueError as error:
        raise UsageError(f"The sandbox cannot be set up so: {error}") from None
    _anyio_run(partial(serve, render.console(stderr=False), made, host, port))
    return EXIT_OK


def _conclude(
    result: library.RunResult | None, settings: Settings, *, exit_code_outside_schedule: int = EXIT_OK
) -> int:
    if result is None:  # outside of its hours nothing was begun
        if settings.json:
            _print_json(library.combined_summary([]))
        return exit_code_outside_schedule
    if settings.json:
        _print_json(result.summary)
    show_run(result, settings)
    return result.exit_code


def show_run(result: library.RunResult, settings: Settings) -> None:
    """Show what became of a run: what is wrong with its rows, its figures (unless JSON is wanted), what ended it."""
    err = render.console(stderr=True)
    if result.row_errors and not settings.quiet:
        render.print_row_errors(err, result.run.source, result.row_errors)
    render.print_notes(err, result.notes)
    if not (settings.json or settings.quiet):
        render.print_result(render.console(stderr=False), result)
    _print_error(result.error)


@contextmanager
def _errors_as_json(command: str, *, wanted: bool) -> Iterator[None]:
    """Print the one object that ``--json`` promises also when not a row could be read; usage errors aside."""
    try:
        yield
    except (SheetError, StateError, LockedError):
        if wanted:
            _print_json(library.nothing_summary(command))
        raise


def _print_error(error: BulkidError | None) -> None:
    if error is not None:
        from bulkid.cli.error_handling import notify

        notify(error)


def _anyio_run(work: Callable[[], Awaitable[T]]) -> T:
    """Run ``work`` in an event loop.

    Raises:
        KeyboardInterrupt: A signal came while ``work`` was not prepared for one (see ``stopping``).
    """
    try:
        import uvloop  # noqa: F401 - only whether it is there

        options = {"use_uvloop": True}
    except ImportError:  # Windows, and interpreters that it is not built for
        options = {}

    async def interruptible() -> T:
        with anyio.CancelScope() as scope:

            def arrived(_number: int) -> None:
                if scope.cancel_called:
                    raise KeyboardInterrupt  # the second signal: wait for nothing more
                scope.cancel()

            with pending_signals.delivering(arrived):
                return await work()
        raise KeyboardInterrupt

    with pending_signals.deferring():
        return anyio.run(interruptible, backend_options=options)


def _is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _source(source: str) -> tuple[str | BinaryIO, str | None]:
    """Take a SOURCE as the library does; a fault of the file itself is the first that the user reads.

    Raises:
        SheetError: There is no such file, or it is no file that can be a sheet.
    """
    _require_source(source)
    return _opened(source)


def _require_source(source: str) -> None:
    if source != STANDARD_INPUT:
        require_file(source)


def _opened(source: str) -> tuple[str | BinaryIO, str | None]:
    if source == STANDARD_INPUT:
        # without its buffer: a thread that waits in it would keep the process from ending
        return getattr(sys.stdin.buffer, "raw", sys.stdin.buffer), "standard input"
    return source, None


def _print_json(value: object) -> None:
    """Print JSON as UTF-8, as programs expect it, whatever encoding the system has for its pipes."""
    if (reconfigure := getattr(sys.stdout, "reconfigure", None)) is not None:
        reconfigure(encoding="utf-8", newline="\n")
    sys.stdout.write(printable_json(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()) + "\n")
    sys.stdout.flush()
