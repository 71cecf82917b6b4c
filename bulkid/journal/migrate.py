"""Bring a database to the newest schema, one version at a time, each in one transaction with its record."""

import time
from collections.abc import Callable, Mapping

from sqlalchemy import Connection, bindparam, func, insert, select, tuple_, update

from bulkid.errors import StateError
from bulkid.journal.backends.base import Dialect
from bulkid.journal.codec import keyed_entry
from bulkid.journal.console_schema import bring_console_to_5, create_console_tables
from bulkid.journal.errors import DatabaseProblem
from bulkid.journal.schema import (
    VERSION,
    clocks,
    entries,
    group_refusals,
    locks,
    metadata,
    planned_changes,
    schema_version,
    slots,
    taken_files,
    waiters,
)

_PAGE = 2_000  # entries in memory at a time

Step = Callable[[Connection], None]


def _add_taken_files(connection: Connection) -> None:
    taken_files.create(connection)


def _to_3(connection: Connection) -> None:
    """Locks that a server keeps; slots that all rules of a method count, by the ledger's own time.

    Only SQLite has ever had an older version. Its slots go on: the ledger's time begins at wall-clock time.
    """
    connection.exec_driver_sql("DROP INDEX slots_by_opening")
    connection.exec_driver_sql("ALTER TABLE slots RENAME TO slots_2")
    metadata.create_all(connection, [locks, slots, clocks, waiters])
    connection.exec_driver_sql(
        "INSERT INTO slots (slot, organization_id, method, owner, reserved_at, held_until, answered_at) "
        "SELECT slot, organization_id, method, owner, reserved_at, held_until, opens_at - seconds FROM slots_2"
    )
    connection.exec_driver_sql("DROP TABLE slots_2")


def _to_5(connection: Connection) -> None:
    """Sessions of the console, one key per user name, and groups that refused a PUT for good."""
    bring_console_to_5(connection, time.time())
    group_refusals.create(connection)


def _to_6(connection: Connection) -> None:
    """What entries hold as JSON goes by name instead of by position, so that new fields do not break old runs."""
    place = (-1, -1)
    key = tuple_(entries.c.run, entries.c.entry)
    page = select(entries.c.run, entries.c.entry, entries.c.wish, entries.c.before).order_by(
        entries.c.run, entries.c.entry
    )
    change = (
        update(entries)
        .where(entries.c.run == bindparam("in_run"), entries.c.entry == bindparam("number"))
        .values(wish=bindparam("keyed_wish"), before=bindparam("keyed_before"))
    )
    while found := connection.execute(page.where(key > place).limit(_PAGE)).all():
        changed = []
        for run, number, wish, before in found:
            keyed_wish, keyed_before = keyed_entry(wish, before)
            changed.append({"in_run": run, "number": number, "keyed_wish": keyed_wish, "keyed_before": keyed_before})
        connection.execute(change, changed)
        place = (found[-1].run, found[-1].entry)


def _to_7(connection: Connection) -> None:
    """The changes of plan files, which were JSON in a cell of each row before."""
    planned_changes.create(connection)


STEPS: Mapping[int, Step] = {
    2: _add_taken_files,
    3: _to_3,
    4: create_console_tables,
    5: _to_5,
    6: _to_6,
    7: _to_7,
}
"""For each version above 1, what turns the schema of the version before into it. A new database is made at once at the
newest version, so each step must leave the same tables as ``schema.py`` describes; a test compares the two."""


def migrate(dialect: Dialect, now: float, *, steps: Mapping[int, Step] = STEPS, newest: int = VERSION) -> None:
    """Create the tables in an empty database, or bring an older one up to date.

    Safe to run in several processes at once, and to be killed at any moment: the next call goes on from there.

    Args:
        dialect: The database.
        now: Seconds since the epoch, for the record.
        steps: What leads to each version.
        newest: The version to reach.

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
                metadata.create_all(connection)
                version = newest
            else:
                version += 1
                steps[version](connection)
            connection.execute(insert(schema_version).values(version=version, applied_at=now))


def _version(dialect: Dialect, connection: Connection, newest: int) -> int | None:
    """Return the schema's version; None for a database without tables."""
    tables = dialect.tables(connection)
    if not tables:
        return None
    if schema_version.name not in tables:
        raise dialect.problem(DatabaseProblem.NOT_A_DATABASE)
    version = connection.execute(select(func.max(schema_version.c.version))).scalar()
    if version is None:
        raise dialect.problem(DatabaseProblem.NOT_A_DATABASE)
    if version > newest:
        raise StateError(
            f"{dialect.place} was written by a newer bulkid (its schema is version {version}, this one knows "
            f"{newest}).",
            hint="Update bulkid, or choose another state database.",
        )
    return int(version)
