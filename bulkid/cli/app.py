"""The commands and their arguments. What they do is in :mod:`bulkid.cli.commands`, imported when one is called."""

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import typer

from bulkid import __version__
from bulkid.cli import completion
from bulkid.cli.error_handling import BulkidGroup, handle_errors
from bulkid.cli.examples import EXAMPLES
from bulkid.cli.help_pages import CONTEXT_SETTINGS, HelpfulCommand
from bulkid.cli.options import Load, with_settings
from bulkid.config.settings import Settings
from bulkid.errors import EXIT_OK
from bulkid.model import Action
from bulkid.report.formats import exporters
from bulkid.resources import current
from bulkid.text import listing

app = typer.Typer(
    name="bulkid",
    cls=BulkidGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=CONTEXT_SETTINGS,
    epilog=EXAMPLES["bulkid"],
    help=f"Update UiPath {current().plural} in bulk from a spreadsheet: few requests, exact quota, nothing lost.",
)

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A sheet (.csv .tsv .txt .xlsx .xlsm .xlsb .xls .ods), - for CSV, or a job file (.toml).",
    ),
]
SourcesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="SOURCE", help="A sheet, - for CSV, or job files (.toml), which run side by side."),
]
_LISTING = ("", "-h", "--help", "--version")
"""First arguments after which no command is called."""

_EXPORT_ENDINGS = listing([f".{ending}" for ending in exporters()], "or")


def _require_value(value: str | None) -> str | None:
    """Refuse an empty text: a script whose variable is not set means neither the newest run nor the default."""
    if value is not None and not value.strip():
        raise typer.BadParameter("it is empty: give a value.")
    return value


ShowAllOption = Annotated[
    bool,
    typer.Option("--all", help="Show every change and every problem of rows, not only the first ones."),
]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run's id, the beginning of it, or last.",
        autocompletion=completion.runs_or_last,
        callback=_require_value,
    ),
]


users_app = typer.Typer(
    name="users",
    cls=BulkidGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog=EXAMPLES["users"],
    help="Manage the web console's users.",
)
app.add_typer(users_app)


def _command(
    name: str,
    *,
    group: typer.Typer = app,
    by_job: bool = False,
    has_settings: bool = True,
    short_help: str = "",
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Declare a command, with the options of its settings; it exits with the code of the error that it raises."""

    def declare(command: Callable[..., int]) -> Callable[..., int]:
        in_table = name if group is app else str(group.info.name)
        with_options = with_settings(in_table, by_job=by_job)(command) if has_settings else command
        sentence = short_help or inspect.cleandoc(command.__doc__ or "").partition("\n")[0]
        group.command(name, cls=HelpfulCommand, short_help=sentence, epilog=EXAMPLES.get(name))(
            handle_errors(with_options)
        )
        return command

    return declare


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """Return the part of the app that a command line needs, since typer takes long to make all of it.

    That is the command that the command line calls; or all commands without their options, where it only lists them.
    """
    after_state_dir = arguments[2:] if arguments[:1] == ["--state-dir"] else arguments
    return _part_for("".join(after_state_dir[:1]))


@functools.cache
def _part_for(first_argument: str) -> typer.Typer:
    part = copy.copy(app)
    if first_argument in _LISTING:
        part.registered_commands = [_without_options(each) for each in app.registered_commands]
        return part
    part.registered_commands = [each for each in app.registered_commands if each.name == first_argument]
    part.registered_groups = []
    return part if part.registered_commands else app


def _without_options(command: Any) -> Any:  # noqa: ANN401 - typer's own description of a command
    listed = copy.copy(command)
    listed.callback = lambda: None
    return listed


def _version(value: bool) -> None:
    if value:
        typer.echo(f"bulkid {__version__}")
        raise typer.Exit


@app.callback()
def _global(
    context: typer.Context,
    state_dir: Annotated[
        str | None,
        typer.Option("--state-dir", metavar="DIR", help="Folder for the journal of runs and the quota used."),
    ] = None,
    version: Annotated[  # noqa: ARG001 - typer's form of an eager option
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    context.obj = {"state_dir": state_dir}


@_command("check", by_job=True, short_help="Read the sheet offline and name every invalid row.")
def check(
    source: SourceArgument,
    *,
    show_all: Annotated[bool, typer.Option("--all", help="Show every problem, not only the first ones.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
    settings: Load,
) -> int:
    """Read the sheet offline and name every invalid row. No network."""
    from bulkid.cli import commands
    from bulkid.cli.sources import are_jobs

    if are_jobs([source]):
        from bulkid.cli import jobs

        return jobs.check(source, settings, json=json, show_all=show_all)
    return commands.check(source, settings(None), json=json, show_all=show_all)


@_command("plan", by_job=True, short_help="Show what would change, and the requests and time it takes.")
def plan(
    source: SourceArgument,
    *,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write the plan to a file: .json for run --plan; .md, .html or .xlsx to read.",
            callback=_require_value,
        ),
    ] = None,
    show_all: ShowAllOption = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 7 in place of 0 if something would change.")
    ] = False,
    settings: Load,
) -> int:
    """Show what a run would change.

    The changes of each account, the requests that they take, and how long that is at the quota. Changes nothing.
    Takes the options of run; those that are about sending and about reports have no effect.
    """
    from bulkid.cli import commands
    from bulkid.cli.sources import are_jobs

    if are_jobs([source]):
        from bulkid.cli import jobs

        return jobs.plan(source, settings, to=out or "", show_all=show_all, tells_changes=exit_code)
    return commands.plan(source, settings(None), to=out or "", show_all=show_all, tells_changes=exit_code)


@_command("run", by_job=True)
def run(
    sources: SourcesArgument = None,
    *,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan",
            metavar="FILE",
            help="Apply just the changes of a plan file, in place of a sheet.",
            callback=_require_value,
        ),
    ] = None,
    show_all: ShowAllOption = False,
    settings: Load,
) -> int:
    """Plan, confirm, apply, verify, report."""
    from bulkid.cli import run_commands
    from bulkid.cli.sources import are_jobs

    if bool(sources) is bool(plan):
        both = "give either SOURCE or --plan FILE, not both."
        raise typer.BadParameter(both if sources else "give SOURCE, or --plan FILE.")
    if plan:
        return run_commands.run_plan(plan, settings(None), show_all=show_all)
    named = sources or []
    if are_jobs(named):
        from bulkid.cli import jobs

        return jobs.run(named, settings, show_all=show_all)
    return run_commands.run(named[0], settings(None), show_all=show_all)


@_command("resume")
def resume(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A run's id, or the beginning of it; the newest that can be resumed if left out.",
            autocompletion=completion.runs,
            callback=_require_value,
        ),
    ] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before sending.")] = False,
    yes_really: Annotated[
        bool,
        typer.Option("--yes-really", help="Send also what changes or deletes more than the run's limits allow."),
    ] = False,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Continue with the valid rows.")] = False,
    show_all: ShowAllOption = False,
    settings: Settings,
) -> int:
    """Finish an interrupted run."""
    from bulkid.cli import run_commands

    return run_commands.resume(
        run or "", settings, yes=yes, yes_really=yes_really, skip_invalid=skip_invalid, show_all=show_all
    )


@_command("undo", short_help="Undo the changes of a run, except on accounts that have changed since.")
def undo(
    run: RunArgument,
    *,
    recreate: Annotated[
        bool,
        typer.Option("--recreate", help="Create the accounts again that the run deleted; they get new ids."),
    ] = False,
    show_all: ShowAllOption = False,
    settings: Settings,
) -> int:
    """Put back what a run changed.

    Shows the changes and asks, like run. An account that has changed since is skipped and listed. An account that the
    run created is deleted with --allow-delete, if it is as the run left it and has never logged in. An undo is itself
    a run: it can be resumed, and undone.
    """
    from bulkid.cli import run_commands

    return run_commands.undo(run, settings, recreate=recreate, show_all=show_all)


@_command("runs")
def runs(
    *,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=1_000_000_000, help="How many, newest first.")
    ] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON array of summaries.")] = False,
    older_than: Annotated[
        str | None,
        typer.Option("--prune", metavar="AGE", help="Drop runs older than this (90d, 12h, 4w), with their reports."),
    ] = None,
    prune_pending: Annotated[
        bool, typer.Option("--prune-pending", help="With --prune: also those with pending rows.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --prune: only list what would be dropped.")] = False,
    settings: Settings,
) -> int:
    """List earlier runs, or drop old ones."""
    from bulkid.cli import commands

    if older_than is None and not (prune_pending or dry_run):
        return commands.runs(settings, limit=limit, json=json)
    return commands.prune(settings, older_than, with_pending=prune_pending, dry=dry_run, json=json)


@_command("report")
def report(run: RunArgument, *, settings: Settings) -> int:
    """Write a run's report again, in any format."""
    from bulkid.cli import commands

    return commands.report(run, settings)


@_command("export", short_help=f"Write the {current().plural} to a sheet that run takes back.")
def export(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help=f"Where to: a {_EXPORT_ENDINGS} file.", callback=_require_value)
    ],
    *,
    groups: Annotated[
        Literal["names", "ids"], typer.Option(metavar="names|ids", help="How to give the groups of an account.")
    ] = "names",
    inactive_for: Annotated[
        str | None,
        typer.Option(
            "--inactive-for",
            metavar="LENGTH",
            help="Only accounts whose last login, or creation where there was none, is this long ago or longer, "
            "such as 180d, 12h or 26w.",
        ),
    ] = None,
    in_group: Annotated[
        str | None, typer.Option("--in-group", metavar="NAME", help="Only accounts in the group of this name or id.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="PATTERN", help='Only accounts whose name matches, such as "PROD*"; case does not matter.'
        ),
    ] = None,
    action: Annotated[
        Action | None,
        typer.Option(
            metavar="|".join(Action),
            help="Write a sheet with this action for each account, without display name and groups.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    settings: Settings,
) -> int:
    """Write the robot accounts of the organisation to a file.

    Id, name, display name, groups, creation and last login. As .csv or .xlsx it is a sheet: run unchanged it sends
    nothing, edited it sends just the edit. With several filters, an account must match them all.
    """
    from bulkid.cli import commands

    return commands.export(
        file,
        settings,
        groups=groups,
        inactive_for=inactive_for,
        in_group=in_group,
        name=name,
        action=action,
        force=force,
    )


@_command("doctor", short_help="Check connection, token, scopes and quota.")
def doctor(
    *,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False,
    settings: Settings,
) -> int:
    """Check the connection.

    Examines URL, token, scopes, organisation, quota left and state directory, and says what to fix.
    """
    from bulkid.cli import commands

    return commands.doctor(settings, json=json)


@_command("job-schema", has_settings=False)
def job_schema() -> int:
    """Print the JSON schema of job files, for editors."""
    from bulkid.cli import jobs

    return jobs.schema()


@_command("completion", has_settings=False, short_help="Print a completion script for a shell.")
def complete(
    shell: Annotated[
        str,
        typer.Argument(
            metavar="SHELL",
            help="bash, zsh, fish or powershell.",
            autocompletion=completion.words(completion.SHELLS),
        ),
    ],
) -> int:
    """Print a completion script for a shell.

    With it, Tab completes commands, options, ids of runs, profiles, and worksheets of .xlsx files.
    """
    typer.echo(completion.script(shell))
    return EXIT_OK


@_command("serve", short_help="Serve the web console.")
def serve(*, settings: Settings) -> int:
    """Serve the web console.

    Upload a sheet, see what it would change, start it, watch it, fetch the report. The link that is printed lets one
    browser of this machine in; where there are users (bulkid users add), they sign in instead.
    """
    from bulkid.cli import console

    return console.serve(settings)


_ROLES = ("viewer", "operator", "admin")
UserArgument = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]


@_command("add", group=users_app)
def users_add(
    name: UserArgument,
    *,
    role: Annotated[
        str,
        typer.Option(
            metavar="viewer|operator|admin", help="What the user may do.", autocompletion=completion.words(_ROLES)
        ),
    ] = "operator",
    settings: Settings,
) -> int:
    """Add a user; the password is asked for, or read from standard input."""
    from bulkid.cli import console

    return console.add(settings, name, role)


@_command("remove", group=users_app)
def users_remove(name: UserArgument, *, settings: Settings) -> int:
    """Remove a user; sessions and tokens of theirs end."""
    from bulkid.cli import console

    return console.remove(settings, name)


@_command("role", group=users_app)
def users_role(
    name: UserArgument,
    role: Annotated[
        str,
        typer.Argument(
            metavar="ROLE",
            help="What the user may do: viewer, operator or admin.",
            autocompletion=completion.words(_ROLES),
        ),
    ],
    *,
    settings: Settings,
) -> int:
    """Change a user's role; sessions of theirs end, and tokens of theirs may do no more than the role allows."""
    from bulkid.cli import console

    return console.change_role(settings, name, role)


@_command("list", group=users_app)
def users_list(*, settings: Settings) -> int:
    """List the users."""
    from bulkid.cli import console

    return console.list_users(settings)


@_command("passwd", group=users_app)
def users_passwd(name: UserArgument, *, settings: Settings) -> int:
    """Change a user's password, asked for or read from standard input; sessions of theirs end."""
    from bulkid.cli import console

    return console.change_password(settings, name)


@_command("sandbox", has_settings=False)
def sandbox(
    *,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on.", callback=_require_value)
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65_535, help="Port to listen on; 0 for any free one.")
    ] = 8765,
    accounts: Annotated[int, typer.Option(metavar="N", min=1, help="Robot accounts in the directory.")] = 6000,
    groups: Annotated[int, typer.Option(metavar="N", min=12, help="Groups in the directory.")] = 24,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the directory and of the faults.")] = 1,
    quota: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD=COUNT/SECONDS",
            help="Requests per rolling window, repeatable, or none. Default: Automation Cloud's counts in 10 seconds.",
        ),
    ] = None,
    faults: Annotated[
        str, typer.Option(metavar="NAME=PROBABILITY,...", help="Faults to inject, such as reset_after=0.1,html=0.05.")
    ] = "",
    latency: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Time that every answer takes.")] = 0.0,
    token_lifetime: Annotated[float, typer.Option(metavar="SECONDS", help="Lifetime of the tokens.")] = 3600.0,
    token: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A ready token to accept beside those issued.")
    ] = None,
    federated: Annotated[
        str,
        typer.Option(
            metavar="issuer=...,...",
            help="Accept client assertions (JWTs) with this issuer, subject and audience; with key=TEXT only those "
            "that it signs (HS256); with at=host or at=organization only at that token endpoint.",
        ),
    ] = "",
    poisoned: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="An account (id or name) that no request can change, repeatable."),
    ] = None,
    unauthorized: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="The same, answered 401 with every token, repeatable.")
    ] = None,
    forbidden: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="The same, answered 403, repeatable.")
    ] = None,
    built_in_refuses: Annotated[bool, typer.Option(help="Answer every PUT of a built-in group with 400.")] = False,
    numeric_types: Annotated[bool, typer.Option(help="Write types of groups as 0 (built-in) and 1 (custom).")] = False,
    empty_members: Annotated[bool, typer.Option(help="Leave members of groups empty, but in GET .../Members.")] = False,
    rate_headers: Annotated[bool, typer.Option(help="Send RateLimit-Limit, -Remaining, -Reset and -Policy.")] = False,
    max_members: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Most accounts in one group PUT or POST; more are answered 413; 0 for any number."
        ),
    ] = 0,
    vanishing: Annotated[
        int, typer.Option(metavar="N", min=0, help="Delete so many accounts while the list is read, one per page.")
    ] = 0,
) -> int:
    """Serve a simulated Identity Server on this machine."""
    from bulkid.cli import commands

    return commands.sandbox(
        host,
        port,
        quota=quota or [],
        faults=faults,
        federated=federated,
        accounts=accounts,
        groups=groups,
        seed=seed,
        latency_s=latency,
        token_lifetime_s=token_lifetime,
        static_tokens=tuple(token or ()),
        poisoned=tuple(poisoned or ()),
        unauthorized=tuple(unauthorized or ()),
        forbidden=tuple(forbidden or ()),
        built_in_refuses=built_in_refuses,
        numeric_types="number" if numeric_types else "no",
        empty_members=empty_members,
        rate_headers="three" if rate_headers else "no",
        max_members_per_put=max_members,
        vanishing=vanishing,
    )
