"""What the library is given, from the settings that a command was given."""

from bulkid import runs as library
from bulkid.cli.terminal import TerminalHooks
from bulkid.config import Secret, Settings
from bulkid.engine import Stop
from bulkid.sheet import SheetOptions, system_code_page


def sheet_options_of(settings: Settings) -> SheetOptions:
    """How to read the sheet."""
    return SheetOptions(
        sheet=settings.sheet,
        column_map=dict(settings.column_map),
        ignore_columns=settings.ignore_columns,
        encoding=settings.encoding,
        delimiter=settings.delimiter,
        system_encoding=system_code_page() or None,
    )


def schedule_of(settings: Settings) -> library.Schedule:
    """When a run may send, from the settings."""
    return library.Schedule(
        window=settings.window,
        zone=settings.time_zone,
        until=settings.until,
        max_duration_s=settings.max_duration,
    )


def context_of(settings: Settings, hooks: TerminalHooks | None = None, stop: Stop | None = None) -> library.Context:
    """What surrounds a run, and the face that watches it."""
    return library.Context(
        state_dir=settings.state_dir,
        database_url=database_url_of(settings),
        hooks=hooks or library.Hooks(),
        stop=stop or Stop(),
        wait_s=settings.wait,
        after=post_run_options(settings),
    )


def database_url_of(settings: Settings) -> str:
    """Where the state is kept, when that is on a server; empty for the state directory."""
    return settings.database_url.reveal() if settings.database_url else ""


def post_run_options(settings: Settings) -> library.PostRunOptions:
    """What follows a run that has ended."""
    return library.PostRunOptions(recipients=recipients_of(settings), metrics_file=settings.metrics_file)


def recipients_of(settings: Settings) -> library.Recipients:
    """Whom to tell; from here on no log line shows an address."""

    def addresses(said: Secret | None) -> tuple[str, ...]:
        return library.addresses_in(said.reveal()) if said else ()

    return library.Recipients(
        success=addresses(settings.notify_success),
        failure=addresses(settings.notify_failure),
        always=addresses(settings.notify_always),
    )


def target_of(settings: Settings) -> library.Target:
    """Which server, as whom."""
    return library.Target(
        url=settings.url or "",
        client_id=settings.client_id or "",
        client_secret=settings.client_secret.reveal() if settings.client_secret else "",
        access_token=settings.access_token.reveal() if settings.access_token else "",
        scope=settings.scope or "",
        organization_id=settings.organization_id or "",
        tenant=settings.tenant or "",
        ca_bundle=settings.ca_bundle,
    )


def options_of(settings: Settings) -> library.RunOptions:
    """How to read, plan, send and report."""
    return library.RunOptions(
        sheet=sheet_options_of(settings),
        skip_invalid=settings.skip_invalid,
        read=not settings.no_read,
        quota=settings.quota,
        rate=settings.rate,
        concurrency=settings.concurrency,
        max_attempts=settings.max_attempts,
        timeout_s=settings.timeout,
        max_failures=settings.max_failures,
        via=settings.via,
        group_batch=settings.group_batch,
        first=settings.first,
        max_change=settings.max_change,
        yes_really=settings.yes_really,
        report_dir=settings.report_dir,
        formats=settings.formats,
        sandbox=settings.sandbox,
    )
