"""Bring a database to the newest schema, one version at a time, each in one transaction with its record."""

import functools
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Index,
    MetaData,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from bulkid.errors import StateError
from bulkid.journal.backends.base import Dialect
from bulkid.journal.codec import keyed_entry
from bulkid.journal.errors import DatabaseProblem
from bulkid.journal.names import EPOCH_BITS, user_key
from bulkid.journal.schema import (
    VERSION,
    audit,
    clocks,
    entries,
    group_refusals,
    locks,
    metadata,
    packed_items,
    planned_changes,
    schema_version,
    sessions,
    slots,
    taken_files,
    tokens,
    users,
    waiters,
)

_PAGE = 2_000  # entries in memory at a time

Step = Callable[[Connection], None]


def _create_without(connection: Connection, table: Table, *later: str) -> None:
    """Create a table without the columns of later versions. SQLite before 3.35 cannot drop a column."""
    columns = [
        Column(each.name, each.type, primary_key=each.primary_key, nullable=each.nullable, unique=each.unique)
        for each in table.columns
        if each.name not in later
    ]
    indexes = [Index(each.name, *each.columns.keys()) for each in table.indexes]
    Table(table.name, MetaData(), *columns, *indexes, **table.dialect_kwargs).create(connection)


def _to_2(connection: Connection) -> None:
    """The files of drop folders."""
    _create_without(connection, taken_files, "base_url", "organization_id")


def _to_3(connection: Connection) -> None:
    """Locks that a server keeps; slots that all rules of a method count, by the ledger's own time.

    Only SQLite has ever had an older version. Its slots stay: the ledger's time begins at wall-clock time.
    """
    connection.exec_driver_sql("DROP INDEX slots_by_opening")
    connection.exec_driver_sql("ALTER TABLE slots RENAME TO slots_2")
    metadata.create_all(connection, [locks, slots, clocks, waiters])
    connection.exec_driver_sql(
        "INSERT INTO slots (slot, organization_id, method, owner, reserved_at, held_until, answered_at) "
        "SELECT slot, organization_id, method, owner, reserved_at, held_until, opens_at - seconds FROM slots_2"
    )
    connection.exec_driver_sql("DROP TABLE slots_2")


def _to_4(connection: Connection) -> None:
    """The console's tables."""
    _create_without(connection, tokens, "owner_key", "expires_at")
    for table in (users, audit):
        table.create(connection)


def _to_5(connection: Connection) -> None:
    """Groups that refused a PUT for good; of the console: one key per user name, sessions, and tokens' owner keys.

    Where several users have one key from now on, the oldest keeps the name. Each other user is renamed to the first
    free ``NAME (2)``. A token whose owner is not among the users, or was added after it, is revoked, unless there are
    no users at all. The audit log says so in both cases.
    """
    group_refusals.create(connection)
    now = time.time()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ALTER TABLE console_users ALTER COLUMN epoch TYPE BIGINT")
    connection.exec_driver_sql("ALTER TABLE console_tokens ADD COLUMN owner_key VARCHAR(128) DEFAULT '' NOT NULL")
    sessions.create(connection)
    found = connection.execute(select(users).order_by(users.c.created_at, users.c.key)).mappings().all()
    names = _distinct_names([user["name"] for user in found])
    connection.execute(delete(users))
    owners: dict[str, tuple[str, float]] = {}  # by the key of version 4: the new key, and since when
    for user, name in zip(found, names, strict=True):
        owners[user["key"]] = (user_key(name), user["created_at"])
        values = {**user, "key": user_key(name), "name": name, "epoch": secrets.randbits(EPOCH_BITS)}
        connection.execute(insert(users).values(values))
        if name != user["name"]:
            detail = f"an older user has the same name; this user is now {name}"
            _note(connection, now, "user renamed", user["name"], detail)
    columns = (tokens.c.token_id, tokens.c.owner, tokens.c.created_at, tokens.c.revoked_at)  # those of version 4
    for token in connection.execute(select(*columns)).all():
        owner_key, since = owners.get(token.owner.strip().casefold(), ("", 0.0))
        values = {"owner_key": owner_key, "revoked_at": token.revoked_at}
        if found and token.revoked_at is None and (not owner_key or token.created_at < since):
            values["revoked_at"] = now
            _note(connection, now, "token revoked", token.token_id, f"{token.owner}, who issued it, was removed")
        connection.execute(update(tokens).where(tokens.c.token_id == token.token_id).values(values))


def _distinct_names(names: Sequence[str]) -> list[str]:
    """Give every user a key of its own; the first user of a key keeps the name."""
    reserved = {user_key(name) for name in names}
    taken: set[str] = set()
    distinct = []
    for name in names:
        chosen, number = name, 1
        while user_key(chosen) in taken or (number > 1 and user_key(chosen) in reserved):
            number += 1
            chosen = f"{name} ({number})"
        taken.add(user_key(chosen))
        distinct.append(chosen)
    return distinct


def _note(connection: Connection, now: float, action: str, subject: str, detail: str) -> None:
    entry = {"actor": "bulkid", "address": "", "action": action, "subject": subject, "detail": detail}
    connection.execute(insert(audit).values(**entry, at=now))


def _to_6(connection: Connection) -> None:
    """JSON of entries keyed by name instead of by position, so that new fields do not break old runs."""
    place = (-1, -1)
    key = (entries.c.run, entries.c.entry)
    page = select(*key, entries.c.wish, entries.c.before).order_by(*key).limit(_PAGE)
    change = (
        update(entries)
        .where(entries.c.run == bindparam("in_run"), entries.c.entry == bindparam("number"))
        .values(wish=bindparam("keyed_desired"), before=bindparam("keyed_before"))
    )
    while found := connection.execute(page.where(tuple_(*key) > place)).all():
        changed = []
        for run, number, desired, before in found:
            keyed_desired, keyed_before = keyed_entry(desired, before)
            changed.append(
                {"in_run": run, "number": number, "keyed_desired": keyed_desired, "keyed_before": keyed_before}
            )
        connection.execute(change, changed)
        place = (found[-1].run, found[-1].entry)


def _to_8(connection: Connection) -> None:
    """The end of the console's tokens; those that there are have none."""
    kind = tokens.c.expires_at.type.compile(connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE console_tokens ADD COLUMN expires_at {kind}")


def _to_10(connection: Connection) -> None:
    """Where the run of a file went that was pruned; of runs that were pruned before, that is not known."""
    for column in ("base_url", "organization_id"):
        connection.exec_driver_sql(f"ALTER TABLE taken_files ADD COLUMN {column} TEXT DEFAULT '' NOT NULL")


STEPS: Mapping[int, Step] = {
    2: _to_2,
    3: _to_3,
    4: _to_4,
    5: _to_5,
    6: _to_6,
    7: planned_changes.create,
    8: _to_8,
    9: packed_items.create,
    10: _to_10,
}
"""For each version above 1, what turns the schema of the version before into it. A new database gets the newest version
at once, so each step must leave the same tables as ``schema.py`` describes; a test compares the two."""


def migrate(dialect: Dialect, now: float, *, steps: Mapping[int, Step] = STEPS, newest: int = VERSION) -> None:
    """Create the tables in an empty database, or bring an older one up to date.

    Safe to run in several processes at once, and to be killed at any moment: the next call goes on from there.

    ``now`` (seconds since the epoch) is for the record; ``steps`` lead to each version up to the ``newest``.

    Raises:
        StateError: The database is from a newer bulkid, or holds another program's tables.
    """
    with dialect.reading() as connection:
        if _version(dialect, connection, newest) == newest:
            return
    while True:
        with dialect.writing() as connection:
            dialect.lock_tables(connection)
            version = _version(dialect, connection, newest)  # again: another process may have done it meanwhile
            if version == newest:
                return
            if version is None:
                for statement in _creation(f"{connection.dialect.name}+{connection.dialect.driver}"):
                    connection.exec_driver_sql(statement)
                version = newest
            else:
                version += 1
                steps[version](connection)
            connection.execute(insert(schema_version).values(version=version, applied_at=now))


@functools.cache
def _creation(driver: str) -> tuple[str, ...]:
    """The statements that create all tables in an empty database, as the driver takes them.

    A process compiles them once. ``create_all`` would compile them for each database, and look for each table first.
    """
    dialect = URL.create(driver).get_dialect()()
    elements: list[ExecutableDDLElement] = []
    for table in metadata.sorted_tables:
        elements += [CreateTable(table), *map(CreateIndex, table.indexes)]
    return tuple(str(element.compile(dialect=dialect)) for element in elements)


def _version(dialect: Dialect, connection: Connection, newest: int) -> int | None:
    """Return the schema's version; None for a database without tables."""
    tables = dialect.tables(connection)
    if not tables:
        return None
    known = schema_version.name in tables
    version = connection.execute(select(func.max(schema_version.c.version))).scalar() if known else None
    if version is None:
        raise dialect.problem(DatabaseProblem.NOT_A_DATABASE)
    if version > newest:
        raise StateError(
            f"{dialect.place} was written by a newer bulkid (its schema is version {version}, this one knows "
            f"{newest}).",
            hint="Update bulkid, or choose another state database.",
        )
    return int(version)
