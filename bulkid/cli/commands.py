"""The commands: each calls :mod:`bulkid.runs` with its settings, prints the result and returns the exit code.

Those that send are in :mod:`bulkid.cli.run_commands`. Errors are raised as ``BulkidError``;
:mod:`bulkid.cli.error_handling` prints them.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from bulkid import runs as library
from bulkid.cli import render
from bulkid.cli.error_handling import print_error
from bulkid.cli.library_options import (
    connection_options,
    context_of,
    database_url_of,
    open_session,
    open_target,
    recipients_of,
    repeated_options,
    sheet_options_of,
)
from bulkid.cli.row_errors import LISTED_WITH_ALL, print_check, print_row_errors
from bulkid.cli.signals import pending_signals, run_event_loop, stopping
from bulkid.cli.sources import errors_as_json, open_source, require_source
from bulkid.cli.stdio import print_json
from bulkid.cli.terminal import use_logs
from bulkid.config.resolve import parse_age, unknown_variables
from bulkid.config.settings import Settings
from bulkid.engine.signals import Stop
from bulkid.errors import EXIT_CHANGES, EXIT_OK, EXIT_USAGE, BulkidError, UsageError
from bulkid.model import Action
from bulkid.report.summary import METHODS, how_to_resume, with_server_options
from bulkid.text import as_argument, count_of

if TYPE_CHECKING:
    from bulkid.sandbox.server import Sandbox


def check(source: str, settings: Settings, *, json: bool, show_all: bool = False) -> int:
    """Read the sheet offline and name every invalid row; exit code 0 or 2."""
    with errors_as_json("check", wanted=json):
        result = check_sheet(source, settings, json=json, show_all=show_all)
    if json:
        print_json(result.summary)
    return EXIT_USAGE if result.row_errors else EXIT_OK


def check_sheet(source: str, settings: Settings, *, json: bool, show_all: bool) -> library.CheckResult:
    """Read one sheet offline and print its errors, on standard error where JSON is wanted."""
    out, err = render.console(stderr=False), render.console(stderr=True)
    require_source(source)
    opened, name = open_source(source)
    options = sheet_options_of(settings)
    with pending_signals.raising():
        result = library.check(opened, options, name=name)
    if json:
        render.print_notes(err, result.info.notes)
        print_row_errors(
            err, render.sheet_label(result.info), result.row_errors, rest=LISTED_WITH_ALL, show_all=show_all
        )
    else:
        print_check(out, err, result, options, show_all=show_all)
    return result


def plan(source: str, settings: Settings, *, to: str = "", show_all: bool = False, tells_changes: bool = False) -> int:
    """Show what a run would do; and write it to a file, where one is named."""
    use_logs(settings)
    with errors_as_json("plan", wanted=settings.json):
        result = plan_sheet(source, settings, to=to, show_all=show_all)
    if settings.json:
        print_json(result.summary)
    return plan_exit_code(result.exit_code, [result], tells_changes=tells_changes)


def plan_exit_code(code: int, results: Iterable[library.PlanResult], *, tells_changes: bool) -> int:
    """The exit code of plans; where they are good and change something another one, if it shall tell that."""
    changes = any(result.preview is not None and result.preview.plan.changes for result in results)
    return EXIT_CHANGES if tells_changes and changes and code == EXIT_OK else code


def plan_sheet(source: str, settings: Settings, *, to: str = "", show_all: bool = False) -> library.PlanResult:
    """Show what a run of one sheet would do, on standard error where JSON is wanted; and write it to a file."""
    out, err = render.console(stderr=False), render.console(stderr=True)
    require_source(source)
    opened, name = open_source(source)
    if to:
        library.require_folder_of(Path(to))

    async def work() -> library.PlanResult:
        async with open_session(settings) as (target, options, context):
            return await library.plan(opened, target, options, context, name=name)

    result = run_event_loop(work)
    preview = result.preview
    if preview is not None:
        if not settings.quiet:
            render.print_notes(err, preview.info.notes)
        print_row_errors(
            err if settings.json else out,
            render.sheet_label(preview.info),
            result.row_errors,
            rest=LISTED_WITH_ALL,
            show_all=show_all,
        )
        if not settings.json:
            from bulkid.cli.plan_view import print_plan

            print_plan(out, preview, show_all=show_all, verbose=settings.verbose)
        if to:
            _save_plan(preview, Path(to), settings)
    print_error(result.error)
    return result


def _save_plan(preview: library.Preview, path: Path, settings: Settings) -> None:
    """Write the plan to a file: a document in any case, a plan file unless ``run`` would refuse it."""
    is_document = library.is_plan_document(path)
    if preview.row_errors and not (settings.skip_invalid or is_document):
        raise UsageError(
            f"The plan was not written to {path}: {preview.invalid_rows} of {preview.rows} rows are invalid.",
            hint="Fix them, or plan only the valid rows with --skip-invalid.",
        )
    written = library.save_plan(preview, path, sandbox=settings.sandbox, note=settings.note or "")
    if not settings.quiet:
        then = (
            ""
            if is_document
            else f" Apply it: bulkid run --plan {as_argument(str(written))}{repeated_options(settings)}"
        )
        render.print_notes(render.console(stderr=True), [f"The plan is in {written}.{then}"])


def runs(settings: Settings, *, limit: int, json: bool) -> int:
    """List earlier runs."""
    found = library.list_runs(settings.state_dir, limit, database_url=database_url_of(settings))
    if json:
        print_json([library.summary_of(record, counts) for record, counts in found])
        return EXIT_OK
    out = render.console(stderr=False)
    if found:
        from bulkid.cli.listings import print_runs

        print_runs(out, found)
    else:
        render.console(stderr=True).print("There are no runs yet.")
    return EXIT_OK


def prune(settings: Settings, older_than: str | None, *, with_pending: bool, dry: bool, json: bool) -> int:
    """Delete old runs and print what was deleted."""
    if older_than is None:
        raise UsageError("--prune-pending and --dry-run need an age of the runs to prune.", hint="Add --prune 90d.")
    result = library.prune(
        parse_age(older_than, "option --prune"),
        state_dir=settings.state_dir,
        database_url=database_url_of(settings),
        with_pending=with_pending,
        dry=dry,
    )
    render.print_notes(render.console(stderr=True), result.notes)
    if json:
        print_json(
            {
                "dry_run": dry,
                "dropped": [record.run_id for record in result.dropped],
                "kept_pending": [record.run_id for record in result.pending],
                "kept_under_way": [record.run_id for record in result.active],
                "freed_bytes": result.freed,
                "notes": list(result.notes),
            }
        )
        return EXIT_OK
    out = render.console(stderr=False)
    for record in result.dropped:
        out.print(f"{record.run_id}  {record.status.value.replace('_', ' ')}  {record.source}")
    for line in _result_lines(result, connection_options(settings), dry=dry):
        out.print(line)
    return EXIT_OK


def _result_lines(result: "library.Pruned", named_by: Iterable[tuple[str, str]], *, dry: bool) -> list[str]:
    dropped = count_of(len(result.dropped), "run")
    if dry:
        lines = [f"{dropped} would be dropped."]
    else:
        lines = [f"{dropped} dropped, which freed {result.freed / 1_000_000:.1f} MB."]
    if result.pending:
        kept = f"{count_of(len(result.pending), 'old run')} kept: rows are pending"
        lines.append(f"{kept}. To drop {'it' if len(result.pending) == 1 else 'them'} too, add --prune-pending.")
        lines += [
            f"  {record.source}: {how_to_resume(with_server_options(record, named_by))}" for record in result.pending
        ]
    if result.active:
        lines.append(f"{count_of(len(result.active), 'old run')} kept: under way.")
    return lines


def report(text: str, settings: Settings) -> int:
    """Write a run's report again."""
    with errors_as_json("report", wanted=settings.json):
        result = library.report(
            text,
            state_dir=settings.state_dir,
            database_url=database_url_of(settings),
            report_dir=settings.report_dir if settings.is_given("report_dir") else None,
            formats=settings.formats,
        )
    err = render.console(stderr=True)
    render.print_notes(err, result.notes)
    if settings.json:
        print_json(result.summary)
    elif not settings.quiet:
        render.print_result(render.console(stderr=False), result, verbose=settings.verbose > 0)
    return EXIT_OK


def export(
    file: str,
    settings: Settings,
    *,
    groups: Literal["names", "ids"],
    inactive_for: str | None,
    in_group: str | None,
    name: str | None,
    action: Action | None,
    force: bool,
) -> int:
    """Write the organisation's robot accounts, or those that a filter selects, to a file."""
    err = render.console(stderr=True)
    wanted = library.ExportFilter(
        inactive_for_s=None if inactive_for is None else parse_age(inactive_for, "option --inactive-for"),
        in_group=in_group,
        name=name,
    )

    async def work() -> library.ExportResult:
        async with open_session(settings) as (target, options, context):
            return await library.export(
                file, target, options, context, groups=groups, wanted=wanted, action=action, replace=force
            )

    use_logs(settings)
    try:
        result = run_event_loop(work)
    except BulkidError as error:
        if settings.json and not isinstance(error, UsageError):
            requests = {method: error.requests.get(method, 0) for method in METHODS}
            nothing = library.ExportResult(Path(file), 0, 0, groups, requests, (), complete=False)
            print_json(nothing.summary)
        raise
    if not settings.quiet or not result.complete:
        render.print_notes(err, result.notes)
    if settings.json:
        print_json(result.summary)
    elif not settings.quiet:
        render.print_export(render.console(stderr=False), result)
    return result.exit_code


class _Notes(library.Hooks):
    """Prints what is worth knowing, such as what is waited for."""

    def note(self, text: str) -> None:
        """Print a note."""
        render.print_notes(render.console(stderr=True), [text])


def doctor(settings: Settings, *, json: bool) -> int:
    """Check the connection and print the findings."""

    async def work() -> list[library.Finding]:
        async with open_target(settings) as (target, options):
            return await library.doctor(target, options, replace(context_of(settings), hooks=_Notes()))

    use_logs(settings)
    findings = [*_unknown_variables(), *run_event_loop(work), *library.examine_recipients(recipients_of(settings))]
    if json:
        print_json({"findings": [finding.as_dict() for finding in findings]})
    else:
        from bulkid.cli.listings import print_findings

        print_findings(render.console(stderr=False), findings)
    return next((finding.exit_code for finding in findings if finding.ok is False), EXIT_OK)


def _unknown_variables() -> "list[library.Finding]":
    """Findings about ``BULKID_`` variables that no setting reads: most are typos."""
    return [
        library.Finding(
            "environment",
            ok=None,
            detail=f"{name} is no setting of bulkid and is ignored.",
            hint=f"Did you mean {' or '.join(near)}?" if near else "",
        )
        for name, near in unknown_variables(os.environ).items()
    ]


def sandbox(host: str, port: int, *, quota: list[str], faults: str, federated: str, **options: Any) -> int:  # noqa: ANN401 - for SandboxOptions
    """Serve a simulated Identity Server until a signal comes."""
    from bulkid.identity.aiohttp_import import import_aiohttp
    from bulkid.sandbox.options import (
        SHORT_CLOUD_LIMITS,
        SandboxOptions,
        parse_faults,
        parse_federated,
        parse_limits,
    )

    try:
        limits = tuple(parse_limits(",".join(quota))) if quota else SHORT_CLOUD_LIMITS
        made = SandboxOptions(
            limits=limits, faults=parse_faults(faults), federated=parse_federated(federated), **options
        )
        import_aiohttp()
        from bulkid.sandbox.server import Sandbox

        sandbox = Sandbox(made)  # a large one takes seconds, and outside of an event loop a signal ends that at once
    except ValueError as error:
        raise UsageError(f"The sandbox cannot be set up so: {error}") from None
    run_event_loop(partial(_serve_sandbox, render.console(stderr=False), sandbox, host, port))
    return EXIT_OK


async def _serve_sandbox(out: Console, sandbox: "Sandbox", host: str, port: int) -> None:
    """Serve a sandbox until a signal arrives, and print how to use it."""
    from bulkid.cli.listings import sandbox_lines

    stop = Stop()
    with stopping(stop, lambda _: None):  # a signal is the usual way to end it
        try:
            url = await sandbox.start(host, port)
        except OSError as error:
            raise UsageError(
                f"Cannot listen on {host}:{port}: {error.strerror or error}.",
                hint="Choose another --port, or 0 for any.",
            ) from None
        try:
            for line in sandbox_lines(url, sandbox.options):
                out.print(line)
            await stop.wait()
        finally:
            await sandbox.stop()
