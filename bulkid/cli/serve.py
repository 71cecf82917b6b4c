"""``bulkid serve``: serves the web console until a signal arrives, and prints its address and sign-in links."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread

from bulkid.cli import render
from bulkid.cli.library_options import context_of, open_target, serve_options_of
from bulkid.cli.signals import run_event_loop, stopping
from bulkid.cli.terminal import use_logs
from bulkid.config import Settings
from bulkid.engine import Stop
from bulkid.errors import EXIT_OK
from bulkid.journal.console_store import AuditRecord
from bulkid.text import count_of

if TYPE_CHECKING:
    from bulkid.web.auth.users import LocalAuthenticator
    from bulkid.web.console import Console


_CHECK_INTERVAL_S = 60.0
"""How often the terminal looks whether the last session has reached a timeout."""


async def _new_link(console: "Console", authenticator: "LocalAuthenticator", address: str) -> str:
    """Make a sign-in link, and note it in the audit log."""
    record = AuditRecord(console.clock.now(), authenticator.name, "terminal", "sign-in link made", "", "")
    await anyio.to_thread.run_sync(console.store.note, record)
    return f"{address}/enter?key={authenticator.new_link()}"


async def _offer_links(
    console: "Console", authenticator: "LocalAuthenticator", address: str, print_line: Callable[[str], None], stop: Stop
) -> None:
    """Show a new sign-in link when the last session has ended: the user would have to start the console again."""
    while not stop.requested:
        await console.sessions.wait_for_end(_CHECK_INTERVAL_S)
        if await anyio.to_thread.run_sync(console.store.users):
            print_line("There are users now, who sign in by name and password. Start the console again to let them in.")
            return
        if not authenticator.has_unused_link and not await console.sessions.of_user(
            authenticator.user_key, authenticator.epoch
        ):
            print_line("The last session has ended. This link lets one browser in, once:")
            print_line(f"  {await _new_link(console, authenticator, address)}")


def serve(settings: Settings) -> int:
    """Serve the console until a signal arrives; requests in flight then finish, a second signal ends it at once."""
    from bulkid.web.auth.users import LocalAuthenticator
    from bulkid.web.console import Console
    from bulkid.web.server import serving

    out, err = render.console(stderr=False), render.console(stderr=True)
    served = serve_options_of(settings)
    context = context_of(settings)

    async def abort_with(stop: Stop, console: Console) -> None:
        await stop.wait_aborted()
        console.job_runner.abort()

    async def work() -> None:
        async with open_target(settings) as (target, options):
            stop = Stop()
            with stopping(stop, err.print):
                async with serving(served, target, options, context) as (console, address):
                    console.job_runner.spawn(partial(abort_with, stop, console))
                    if isinstance(console.authenticator, LocalAuthenticator):
                        out.print(f"The console is at {address}. Open this link; it lets one browser in, once:")
                        out.print(f"  {await _new_link(console, console.authenticator, address)}")
                        console.job_runner.spawn(
                            partial(_offer_links, console, console.authenticator, address, out.print, stop)
                        )
                    else:
                        out.print(f"The console is at {address}.")
                    out.print("Ctrl+C ends it; runs under way are then kept, to go on later.")
                    await stop.wait()
                    active_runs = console.job_runner.running
                    if active_runs:
                        err.print(f"{count_of(active_runs, 'run')} under way: settling what is in flight.")

    use_logs(settings)
    run_event_loop(work)
    return EXIT_OK
