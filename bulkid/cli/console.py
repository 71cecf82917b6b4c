"""``bulkid serve``: serves the web console until a signal arrives; and ``bulkid users``: the users of the console."""

import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
from rich.text import Text

from bulkid import runs as library
from bulkid.cli import render
from bulkid.cli.library_options import connection_options, context_of, database_url_of, open_target, serve_options_of
from bulkid.cli.signals import run_event_loop, stopping
from bulkid.cli.tables import Column, print_table
from bulkid.cli.terminal import use_logs
from bulkid.clock import SystemClock, iso_utc
from bulkid.config.settings import Settings
from bulkid.engine.signals import Stop
from bulkid.errors import EXIT_OK, StateError, UsageError
from bulkid.extras import require_extra
from bulkid.journal.console_store import AuditRecord, ConsoleStore, UserRecord
from bulkid.journal.names import require_user_name
from bulkid.logs import log
from bulkid.report.summary import as_options
from bulkid.text import as_argument, count_of
from bulkid.web.auth.access import Role

if TYPE_CHECKING:
    from bulkid.web.auth.users import LocalAuthenticator
    from bulkid.web.console import Console


_CHECK_INTERVAL_S = 60.0
"""How often the terminal looks whether the last session has reached a timeout."""


async def _new_link(console: "Console", authenticator: "LocalAuthenticator", address: str) -> str:
    """Make a sign-in link, and note it in the audit log."""
    record = AuditRecord(console.clock.now(), authenticator.name, "terminal", "sign-in link made", "", "")
    await anyio.to_thread.run_sync(console.store.add_audit_entry, record)
    return f"{address}/enter?key={authenticator.new_link(in_terminal=True)}"


async def _offer_links(
    console: "Console", authenticator: "LocalAuthenticator", address: str, print_line: Callable[[str], None], stop: Stop
) -> None:
    """Show a new sign-in link when the last session has ended: the user would have to start the console again."""
    while not stop.requested:
        await console.sessions.wait_for_end(_CHECK_INTERVAL_S)
        try:
            if await anyio.to_thread.run_sync(console.store.users):
                print_line(
                    "There are users now, who sign in by name and password. Start the console again to let them in."
                )
                return
            if not authenticator.has_link_in_terminal and not await console.sessions.of_user(
                authenticator.user_key, authenticator.epoch
            ):
                link = await _new_link(console, authenticator, address)
                print_line("The last session has ended. This link lets one browser in, once:")
                print_line(f"  {link}")
        except StateError as error:  # the next look may succeed
            log.warning("console.session_unknown", error=error.message)


def serve(settings: Settings) -> int:
    """Serve the console until a signal arrives; requests in flight then finish, a second signal ends it at once."""
    require_extra("console", "The web console")
    from bulkid.web.auth.users import LocalAuthenticator
    from bulkid.web.console import Console
    from bulkid.web.middleware import addresses_of
    from bulkid.web.server import serving

    out, err = render.console(stderr=False), render.console(stderr=True)
    served = serve_options_of(settings)
    context = context_of(settings)
    context.after.require_extras()  # before a sheet is uploaded, not at its run

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
                        found = addresses_of(console.serve)[0]
                        out.print(f"The console is at {found}.")
                        if found != address:
                            out.print(f"It listens at {address}.")
                    out.print("Ctrl+C ends it. Runs under way can be resumed later.")
                    await stop.wait()
                    active_runs = console.job_runner.running
                    if active_runs:
                        err.print(f"{count_of(active_runs, 'run')} under way: settling what is in flight.")

    use_logs(settings)
    run_event_loop(work)
    return EXIT_OK


@contextmanager
def _open_store(settings: Settings) -> Iterator[ConsoleStore]:
    require_extra("console", "The web console")
    with library.RunBrowser(settings.state_dir, database_url_of(settings)) as archive:
        yield ConsoleStore(archive.journal)


def add(settings: Settings, name: str, role: str) -> int:
    """Add a user."""
    name, chosen = require_user_name(name), _role(role)
    with _open_store(settings) as store:
        if store.user(name) is not None:
            raise UsageError(
                f"There is a user {name} already.",
                hint="Change the password with: "
                f"bulkid users passwd {as_argument(name)}{as_options(connection_options(settings))}",
            )
        hashed, now = _new_hash(name), SystemClock().now()
        store.add_user(name, chosen.word, hashed, now, entry=_entry("user added", name, chosen.word, at=now))
        is_first = len(store.users()) == 1
    render.console(stderr=False).print(Text(f"{name} may sign in now, as {chosen.word}."))
    if is_first:
        render.console(stderr=True).print(
            "This is the first user: sign-in links, sessions and tokens of a console without users are not valid any "
            "more. Start a console that runs again."
        )
    return EXIT_OK


def remove(settings: Settings, name: str) -> int:
    """Remove a user; sessions of the user end, and tokens that the user issued are revoked."""
    with _open_store(settings) as store:
        user = _find_user(store, name)
        if not store.remove_user(name, SystemClock().now(), entry=_entry("user removed", user.name)):
            raise _unknown_user(name)
    render.console(stderr=False).print(Text(f"{user.name} is removed, with their sessions and tokens."))
    return EXIT_OK


def change_role(settings: Settings, name: str, role: str) -> int:
    """Change a user's role; sessions of the user end, and tokens that the user issued may do no more than the user."""
    chosen = _role(role)
    with _open_store(settings) as store:
        user = _find_user(store, name)
        if user.role != chosen.word:
            entry = _entry("role changed", user.name, f"{user.role} -> {chosen.word}")
            if not store.change_user(name, role=chosen.word, entry=entry):
                raise _unknown_user(name)
    role_change = f"{user.name} was {user.role} and is {chosen.word} now; sessions of theirs have ended."
    if user.role == chosen.word:
        role_change = f"{user.name} is {chosen.word} already."
    render.console(stderr=False).print(Text(role_change))
    return EXIT_OK


def list_users(settings: Settings) -> int:
    """List the users."""
    with _open_store(settings) as store:
        users = store.users()
    if not users:
        err = render.console(stderr=True)
        err.print("There are no users: anyone who has a sign-in link of the console can use it.")
        return EXIT_OK
    columns = (Column("User", least=12), Column("Role"), Column("Added (UTC)"))
    rows = [(Text(user.name), Text(user.role), Text(iso_utc(user.created_at))) for user in users]
    print_table(render.console(stderr=False), columns, rows)
    return EXIT_OK


def change_password(settings: Settings, name: str) -> int:
    """Change a user's password."""
    with _open_store(settings) as store:
        user = _find_user(store, name)
        hashed = _new_hash(user.name)
        if not store.change_user(name, password_hash=hashed, entry=_entry("password changed", user.name)):
            raise _unknown_user(name)
    render.console(stderr=False).print(Text(f"{user.name} has a new password; sessions of theirs have ended."))
    return EXIT_OK


def _new_hash(name: str) -> str:
    """Ask for a new password twice, or read one line where standard input is no terminal; return its hash."""
    from bulkid.web.auth.passwords import hash_password, require_good_password

    try:
        password = _read_password(name)
        password.encode()  # bytes that are no text may have been taken as half characters
    except EOFError:  # Ctrl+D, which leaves the cursor behind the prompt
        sys.stderr.write("\n")
        raise UsageError("No password was given: nothing was changed.") from None
    except UnicodeError:
        raise UsageError(
            "The password is no text in the encoding of this terminal or pipe: nothing was changed.",
            hint="Give it in UTF-8, or in the encoding that the locale names.",
        ) from None
    require_good_password(password, name)
    return hash_password(password)


def _read_password(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass(f"New password for {name}: ")
    if password != getpass.getpass("The same again: "):
        raise UsageError("The two passwords differ: nothing was changed.", hint="Try again.")
    return password


def _entry(action: str, subject: str, detail: str = "", *, at: float | None = None) -> AuditRecord:
    """The entry of the audit log on an action of this terminal."""
    now = SystemClock().now() if at is None else at
    return AuditRecord(now, library.system_user("terminal"), "terminal", action, subject, detail)


def _role(word: str) -> Role:
    try:
        return Role.of(word)
    except KeyError:
        raise UsageError(
            f"There is no role {word!r}.", hint=f"The roles are {', '.join(each.word for each in Role)}."
        ) from None


def _find_user(store: ConsoleStore, name: str) -> UserRecord:
    user = store.user(name)
    if user is None:
        raise _unknown_user(name)
    return user


def _unknown_user(name: str) -> UsageError:
    return UsageError(f"There is no user {name}.", hint="`bulkid users list` shows those there are.")
