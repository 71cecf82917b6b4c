"""``bulkid users``: the web console's users, by name, role and password."""

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.table import Table
from rich.text import Text

from bulkid import runs as library
from bulkid.cli import show
from bulkid.cli.given import database_url_of
from bulkid.clock import SystemClock, iso_utc
from bulkid.config import Settings
from bulkid.errors import EXIT_OK, UsageError
from bulkid.journal.console import AuditRecord, ConsoleBook
from bulkid.web.actors import Role
from bulkid.web.general import LONGEST_NAME
from bulkid.web.passwords import hash_password


@contextmanager
def _book(settings: Settings) -> Iterator[ConsoleBook]:
    with library.Archive(settings.state_dir, database_url_of(settings)) as archive:
        yield ConsoleBook(archive.journal)


def add(settings: Settings, name: str, role: str) -> int:
    """Add a user."""
    name = name.strip()
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise UsageError(f"A user's name has 1 to {LONGEST_NAME} printable characters.")
    try:
        chosen = Role.of(role)
    except KeyError:
        raise UsageError(
            f"There is no role {role!r}.", hint=f"The roles are {', '.join(each.word for each in Role)}."
        ) from None
    with _book(settings) as book:
        if book.user(name) is not None:
            raise UsageError(
                f"There is a user {name} already.", hint=f"Change the password with: bulkid users passwd {name}"
            )
        book.add_user(name, chosen.word, hash_password(_new_password(name)), SystemClock().now())
        _note(book, "user added", name, chosen.word)
    show.console(stderr=False).print(Text(f"{name} may sign in now, as {chosen.word}."))
    return EXIT_OK


def remove(settings: Settings, name: str) -> int:
    """Remove a user."""
    with _book(settings) as book:
        if not book.remove_user(name, SystemClock().now()):
            raise _unknown(name)
        _note(book, "user removed", name)
    show.console(stderr=False).print(Text(f"{name} is removed, with their sessions and tokens."))
    return EXIT_OK


def listing(settings: Settings) -> int:
    """List the users."""
    with _book(settings) as book:
        users = book.users()
    if not users:
        show.console(stderr=True).print("There are no users: whoever has the console's link gets in.")
        return EXIT_OK
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for heading in ("user", "role", "added (UTC)"):
        table.add_column(heading, overflow="fold")
    for user in users:
        table.add_row(Text(user.name), user.role, iso_utc(user.created_at))
    show.console(stderr=False).print(table)
    return EXIT_OK


def change_password(settings: Settings, name: str) -> int:
    """Change a user's password."""
    with _book(settings) as book:
        user = book.user(name)
        if user is None:
            raise _unknown(name)
        book.change_user(name, password_hash=hash_password(_new_password(user.name)))
        _note(book, "password changed", user.name)
    show.console(stderr=False).print(Text(f"{user.name} has a new password; sessions of theirs have ended."))
    return EXIT_OK


def _new_password(name: str) -> str:
    """Ask for a new password, twice; or read one line where nobody can be asked."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass(f"New password for {name}: ")
    if password != getpass.getpass("The same again: "):
        raise UsageError("The two passwords differ: nothing was changed.", hint="Try again.")
    return password


def _note(book: ConsoleBook, action: str, subject: str, detail: str = "") -> None:
    try:
        who = getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user on this machine, as in some containers
        who = "terminal"
    book.note(AuditRecord(SystemClock().now(), who, "terminal", action, subject, detail))


def _unknown(name: str) -> UsageError:
    return UsageError(f"There is no user {name}.", hint="`bulkid users list` shows those there are.")
