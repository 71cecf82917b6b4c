"""The web console's tables: users, tokens of programs, and who did what.

They lie beside the runs, so that several consoles on one database share them.
"""

from sqlalchemy import BigInteger, Column, Connection, Double, Index, Integer, String, Table, Text

from bulkid.journal.schema import metadata

_SERIAL = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER

users = Table(
    "console_users",
    metadata,
    Column("key", String(128), primary_key=True),  # the name, case-folded
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text, nullable=False),  # argon2id, with its salt and costs
    Column("epoch", Integer, nullable=False),  # raised to end all sessions there are
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


def create_console_tables(connection: Connection) -> None:
    """Add the tables to a database of a version before them."""
    for table in (users, tokens, audit):
        table.create(connection)
