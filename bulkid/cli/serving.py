"""``bulkid serve``: settings in, the console until a signal comes, words for whoever looks at the terminal."""

from functools import partial

from bulkid.cli import show
from bulkid.cli.commands import _anyio_run
from bulkid.cli.face import use_logs
from bulkid.cli.given import context_of, options_of, target_of
from bulkid.cli.sandboxed import sandboxed
from bulkid.cli.signals import stopping
from bulkid.config import Settings
from bulkid.engine import Stop
from bulkid.errors import EXIT_OK
from bulkid.planning import count_of


def serve(settings: Settings) -> int:
    """Serve the console until a signal comes; the first lets what is in flight finish, a second ends it at once."""
    from bulkid.web.console import Console, ServeOptions
    from bulkid.web.entrance import LocalEntrance
    from bulkid.web.server import serving

    out, err = show.console(stderr=False), show.console(stderr=True)
    served = ServeOptions(
        host=settings.serve_host,
        port=settings.serve_port,
        certfile=settings.certfile,
        keyfile=settings.keyfile,
        behind_proxy=settings.behind_proxy,
        public_names=settings.public_names,
        require_approval=settings.require_approval,
        keep_audit_s=settings.keep_audit,
    )
    context = context_of(settings)

    async def abort_with(stop: Stop, console: Console) -> None:
        await stop.wait_aborted()
        console.supervisor.abort()

    async def work() -> None:
        async with sandboxed(target_of(settings), options_of(settings), use=settings.sandbox) as (target, options):
            stop = Stop()
            with stopping(stop, err.print):
                async with serving(served, target, options, context) as (console, address):
                    console.supervisor.spawn(partial(abort_with, stop, console))
                    if isinstance(console.entrance, LocalEntrance):
                        out.print(f"The console is at {address}. Open this link; it lets one browser in, once:")
                        out.print(f"  {address}/enter?key={console.entrance.new_link()}")
                    else:
                        out.print(f"The console is at {address}.")
                    out.print("Ctrl+C ends it; runs under way are then kept, to go on later.")
                    await stop.wait()
                    under_way = console.supervisor.running
                    if under_way:
                        err.print(f"{count_of(under_way, 'run')} under way: settling what is in flight.")

    use_logs(settings)
    _anyio_run(work)
    return EXIT_OK
