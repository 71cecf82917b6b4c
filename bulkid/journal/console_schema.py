"""The web console's tables: users, their sessions, API tokens, and the audit log.

They lie beside the runs, so that several consoles on one database share them.
"""

import secrets
from collections.abc import Sequence
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from bulkid.journal.names import user_key
from bulkid.journal.schema import metadata

EPOCH_BITS: Final = 62
"""Random bits that an epoch begins with, so that no session of a removed user fits a new user of that name."""

_SERIAL = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER

users = Table(
    "console_users",
    metadata,
    Column("key", String(128), primary_key=True),  # user_key(name)
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text, nullable=False),  # argon2id, with its salt and costs
    Column("epoch", _SERIAL, nullable=False),  # begins at random; raised to end all sessions there are
    Column("created_at", Double, nullable=False),
)

tokens = Table(
    "console_tokens",
    metadata,
    Column("token_id", String(32), primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),  # SHA-256 of 256 random bits
    Column("owner", Text, nullable=False),  # the user who issued it
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("owner_key", String(128), nullable=False, server_default=""),  # users.key; "": made without users
)

sessions = Table(
    "console_sessions",
    metadata,
    Column("session_hash", String(64), primary_key=True),  # SHA-256 of 256 random bits, which the browser alone holds
    Column("user_key", String(128), nullable=False),  # users.key; "": of a console without users
    Column("epoch", _SERIAL, nullable=False),  # the user's (or that console's) when the session began
    Column("address", Text, nullable=False),  # where the user signed in from
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),  # of the last request, about a minute exact
    Index("console_sessions_by_user", "user_key"),
)

audit = Table(
    "console_audit",
    metadata,
    Column("entry", _SERIAL, primary_key=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("address", Text, nullable=False),  # where the request came from
    Column("action", String(64), nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("console_audit_by_time", "at"),
    sqlite_autoincrement=True,
)


_VERSION_4 = MetaData()

_users_4 = Table(
    "console_users",
    _VERSION_4,
    Column("key", String(128), primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
)

_tokens_4 = Table(
    "console_tokens",
    _VERSION_4,
    Column("token_id", String(32), primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
)


def create_console_tables(connection: Connection) -> None:
    """Add the tables of version 4 to a database of a version before them."""
    for table in (_users_4, _tokens_4, audit):
        table.create(connection)


def bring_console_to_5(connection: Connection, now: float) -> None:
    """Bring the tables of version 4 to version 5: one key per user name, sessions, tokens that know their owner's key.

    Where several users have one key from now on, the oldest keeps the name. Each other user is renamed to the first
    free ``NAME (2)``. A token whose owner is not among the users, or was added after it, is revoked, unless there are
    no users at all. The audit log says so in both cases.

    Args:
        connection: A transaction that writes.
        now: Seconds since the epoch, for the audit log and for tokens that are revoked.
    """
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
    for token in connection.execute(select(tokens)).all():
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
