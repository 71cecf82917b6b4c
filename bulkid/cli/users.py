"""``bulkid users``: the web console's users, by name, role and password."""

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.text import Text

from bulkid import runs as library
from bulkid.cli import render
from bulkid.cli.library_options import database_url_of
from bulkid.clock import SystemClock, iso_utc
from bulkid.config import Settings
from bulkid.errors import EXIT_OK, UsageError
from bulkid.journal.console_store import AuditRecord, ConsoleStore, UserRecord
from bulkid.journal.names import require_user_name
from bulkid.web.auth.access import Role
from bulkid.web.auth.passwords import hash_password, require_good_password


@contextmanager
def _open_store(settings: Settings) -> Iterator[ConsoleStore]:
    with library.RunBrowser(settings.state_dir, database_url_of(settings)) as archive:
        yield ConsoleStore(archive.journal)


def add(settings: Settings, name: str, role: str) -> int:
    """Add a user."""
    name, chosen = require_user_name(name), _role(role)
    with _open_store(settings) as store:
        if store.user(name) is not None:
            raise UsageError(
                f"There is a user {name} already.", hint=f"Change the password with: bulkid users passwd {name}"
            )
        store.add_user(name, chosen.word, _new_hash(name), SystemClock().now())
        _record_action(store, "user added", name, chosen.word)
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
        if not store.remove_user(name, SystemClock().now()):
            raise _unknown_user(name)
        _record_action(store, "user removed", user.name)
    render.console(stderr=False).print(Text(f"{user.name} is removed, with their sessions and tokens."))
    return EXIT_OK


def change_role(settings: Settings, name: str, role: str) -> int:
    """Change a user's role; sessions of the user end, and tokens that the user issued may do no more than the user."""
    chosen = _role(role)
    with _open_store(settings) as store:
        user = _find_user(store, name)
        if user.role != chosen.word:
            if not store.change_user(name, role=chosen.word):
                raise _unknown_user(name)
            _record_action(store, "role changed", user.name, f"{user.role} -> {chosen.word}")
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
    table = render.plain_table()
    for heading in ("user", "role", "added (UTC)"):
        table.add_column(heading, overflow="fold")
    for user in users:
        table.add_row(Text(user.name), user.role, iso_utc(user.created_at))
    render.console(stderr=False).print(table)
    return EXIT_OK


def change_password(settings: Settings, name: str) -> int:
    """Change a user's password."""
    with _open_store(settings) as store:
        user = _find_user(store, name)
        if not store.change_user(name, password_hash=_new_hash(user.name)):
            raise _unknown_user(name)
        _record_action(store, "password changed", user.name)
    render.console(stderr=False).print(Text(f"{user.name} has a new password; sessions of theirs have ended."))
    return EXIT_OK


def _new_hash(name: str) -> str:
    """Ask for a new password twice, or read one line where standard input is no terminal; return its hash."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass(f"New password for {name}: ")
        if password != getpass.getpass("The same again: "):
            raise UsageError("The two passwords differ: nothing was changed.", hint="Try again.")
    require_good_password(password, name)
    return hash_password(password)


def _record_action(store: ConsoleStore, action: str, subject: str, detail: str = "") -> None:
    store.note(AuditRecord(SystemClock().now(), library.system_user("terminal"), "terminal", action, subject, detail))


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
