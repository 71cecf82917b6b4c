"""Arguments of the library, made from the settings of a command.

A field of the library's dataclasses takes the setting of its own name, without the ``_s`` of a duration in seconds.
Fields that differ are named here.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from bulkid import runs as library
from bulkid.cli.signals import stopping
from bulkid.cli.terminal import TerminalHooks
from bulkid.config.parse import Secret
from bulkid.config.settings import Settings, setting
from bulkid.engine.signals import Stop
from bulkid.model import ChangeBound
from bulkid.report.summary import as_options
from bulkid.sheet import SheetOptions, system_code_page

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from bulkid.web.console import ServeOptions

_GIVEN = ("option", "job file")
"""Sources of a setting that hold for one command alone."""

_NEEDED = ("sandbox", "allow_delete", "max_change", "max_delete")
"""Settings without which the same changes would be refused, or sent elsewhere."""

D = TypeVar("D", bound="DataclassInstance")


def connection_options(settings: Settings) -> tuple[tuple[str, str], ...]:
    """The options that say where a command goes and where its run is kept, each with its value, for the next command.

    What the environment or bulkid.toml say holds for that command, too.
    """
    names = ("url", "organization_id", "profile", "state_dir")
    named = [name for name in names if settings.sources.get(name, "").startswith(_GIVEN)]
    given = [(setting(name).option, getattr(settings, name)) for name in named]
    return tuple((str(option), str(value)) for option, value in given if value)


def repeated_options(settings: Settings) -> str:
    """The options without which the same changes would be refused, or sent elsewhere, each with a blank in front.

    What the environment or bulkid.toml say holds for the next command, too.
    """
    given = [name for name in _NEEDED if settings.sources.get(name, "").startswith(_GIVEN)]
    switches = [name for name in given if getattr(settings, name) is True]
    bounds = [(setting(name).option, getattr(settings, name)) for name in given if name not in switches]
    limits = [(str(option), _bound_text(bound)) for option, bound in bounds if bound]
    return "".join(f" {setting(name).option}" for name in switches) + as_options(
        (*connection_options(settings), *limits)
    )


def _bound_text(bound: ChangeBound) -> str:
    """Write a limit as its option takes it: a number of accounts, or a percentage of them."""
    return str(bound.count) if bound.percent is None else f"{bound.percent:.15g}%"


def _from_settings(kind: type[D], settings: Settings, **others: Any) -> D:  # noqa: ANN401 - fields of ``kind``
    """Make a dataclass from the settings that its fields are named after, secrets revealed, and from ``others``.

    A setting without a value leaves the field at its default.
    """
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = getattr(settings, field.name.removesuffix("_s"), None)
        if value is not None:
            values[field.name] = value.reveal() if isinstance(value, Secret) else value
    return kind(**{**values, **others})


def sheet_options_of(settings: Settings) -> SheetOptions:
    """Return how to read the sheet."""
    read_by = ("sheet", "encoding", "delimiter")
    standing = tuple(name for name in read_by if not settings.sources.get(name, _GIVEN[0]).startswith(_GIVEN))
    return _from_settings(SheetOptions, settings, system_encoding=system_code_page() or None, standing=standing)


def schedule_of(settings: Settings) -> library.Schedule:
    """Return when a run may send."""
    return _from_settings(library.Schedule, settings, zone=settings.time_zone)


def context_of(settings: Settings, hooks: TerminalHooks | None = None, stop: Stop | None = None) -> library.Context:
    """Return the runtime dependencies of a run."""
    return _from_settings(
        library.Context,
        settings,
        hooks=hooks or library.Hooks(),
        stop=stop or Stop(),
        after=library.PostRunOptions(recipients=recipients_of(settings), metrics_file=settings.metrics_file),
    )


def database_url_of(settings: Settings) -> str:
    """Return the URL of the database that keeps the state; empty where the state directory does."""
    return settings.database_url.reveal() if settings.database_url else ""


def recipients_of(settings: Settings) -> library.Recipients:
    """Return whom to notify; from here on no log line shows an address."""

    def addresses(secret: Secret | None) -> tuple[str, ...]:
        return library.addresses_in(secret.reveal()) if secret else ()

    return library.Recipients(
        success=addresses(settings.notify_success),
        failure=addresses(settings.notify_failure),
        always=addresses(settings.notify_always),
    )


def target_of(settings: Settings) -> library.Target:
    """Return the server and the credentials."""
    return _from_settings(library.Target, settings, url=settings.url or "", named_by=connection_options(settings))


def options_of(settings: Settings) -> library.RunOptions:
    """Return how to read, plan, send and report."""
    return _from_settings(library.RunOptions, settings, sheet=sheet_options_of(settings), read=not settings.no_read)


def serve_options_of(settings: Settings) -> "ServeOptions":
    """Return where and how to serve the console."""
    from bulkid.web.console import ServeOptions

    return _from_settings(ServeOptions, settings, host=settings.serve_host, port=settings.serve_port)


@asynccontextmanager
async def open_session(
    settings: Settings,
    *,
    ask: bool = False,
    show_all: bool = False,
    use_sandbox: bool | None = None,
    on_concluded: Callable[[library.RunResult], None] | None = None,
) -> AsyncIterator[tuple[library.Target, library.RunOptions, library.Context]]:
    """Yield the arguments of a library call that shows its progress, and that signals stop.

    With ``ask`` the user must confirm the plan; with ``show_all`` it lists every account. ``on_concluded`` gets the
    result of each run of a job.
    """
    stop = Stop()
    async with (
        open_target(settings, use_sandbox=use_sandbox) as (target, options),
        library.task_group() as tasks,
    ):
        hooks = TerminalHooks(None, settings, tasks, ask=ask, show_all=show_all)
        hooks.on_concluded = on_concluded
        with stopping(stop, hooks.stopping):
            yield target, options, context_of(settings, hooks, stop)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def open_target(
    settings: Settings, *, use_sandbox: bool | None = None
) -> AsyncIterator[tuple[library.Target, library.RunOptions]]:
    """Yield target and options; with a sandbox, those of one that runs as long as the block.

    ``use_sandbox`` overrides the settings.
    """
    target, options = target_of(settings), options_of(settings)
    if not (settings.sandbox if use_sandbox is None else use_sandbox):
        yield target, options
        return
    from bulkid.sandbox.options import SandboxOptions
    from bulkid.sandbox.server import Sandbox

    own = SandboxOptions()
    async with Sandbox(own) as server:
        quota = own.limits if options.quota is None else options.quota
        yield (
            library.Target(
                url=server.url,
                client_id=own.client_id,
                client_secret=own.client_secret,
                organization_id=own.organization_id,
                named_by=target.named_by,
            ),
            replace(options, quota=quota, sandbox=True),
        )
