"""Bring a database file to the newest schema, one version at a time, each in one transaction with its record."""

from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import Connection, Engine, func, insert, inspect, select

from bulkid.errors import StateError
from bulkid.journal.dialect import writing
from bulkid.journal.errors import Trouble, state_error
from bulkid.journal.schema import VERSION, metadata, schema_version, taken_files

Step = Callable[[Connection], None]


def _add_taken_files(connection: Connection) -> None:
    taken_files.create(connection)


STEPS: Mapping[int, Step] = {2: _add_taken_files}
"""For each version above 1, what turns the schema of the version before into it. A new file is made at once at the
newest version, so each step must leave the same tables as ``schema.py`` describes; a test compares the two."""


def migrate(
    engine: Engine, path: Path, now: float, *, steps: Mapping[int, Step] = STEPS, newest: int = VERSION
) -> None:
    """Create the tables in an empty database, or bring an older one up to date.

    Safe to run in several processes at once, and to be killed at any moment: the next call goes on from there.

    Args:
        engine: Of the database.
        path: Its file, for messages.
        now: Seconds since the epoch, for the record.
        steps: What leads to each version.
        newest: The version to reach.

    Raises:
        StateError: The file is from a newer bulkid, or holds another program's tables.
    """
    with engine.begin() as connection:
        if _version(connection, path, newest) == newest:
            return
    while True:
        with writing(engine).begin() as connection:
            version = _version(connection, path, newest)  # again: another process may have done it meanwhile
            if version == newest:
                return
            if version is None:
                metadata.create_all(connection)
                version = newest
            else:
                version += 1
                steps[version](connection)
            connection.execute(insert(schema_version).values(version=version, applied_at=now))


def _version(connection: Connection, path: Path, newest: int) -> int | None:
    """Return the schema's version; None for a database without tables."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if schema_version.name not in tables:
        raise state_error(Trouble.NOT_A_DATABASE, path, "")
    version = connection.execute(select(func.max(schema_version.c.version))).scalar()
    if version is None:
        raise state_error(Trouble.NOT_A_DATABASE, path, "")
    if version > newest:
        raise StateError(
            f"{path} was written by a newer bulkid (its schema is version {version}, this one knows {newest}).",
            hint="Update bulkid, or choose another folder with --state-dir.",
        )
    return int(version)
