"""The web console's book: its users, the tokens of programs, and who did what. Synchronous, for worker threads."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, update

from bulkid.errors import UsageError
from bulkid.journal.console_tables import audit, tokens, users
from bulkid.journal.database import Database, repeated
from bulkid.journal.store import Journal

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user of the console."""

    name: str
    role: str
    password_hash: str
    epoch: int  # sessions of an earlier one have ended
    created_at: float


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token of a program, without the token."""

    token_id: str
    name: str
    role: str
    owner: str
    created_at: float
    revoked_at: float | None


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One thing that somebody did, or was not let do."""

    at: float
    actor: str
    address: str
    action: str
    subject: str
    detail: str


class ConsoleBook:
    """Users, tokens and the audit table of one state. Every method is one transaction, durable when it returns.

    Args:
        journal: Where they are kept.
    """

    def __init__(self, journal: Journal) -> None:
        self.database: Database = journal.database

    # --- users

    @repeated
    def users(self) -> list[UserRecord]:
        """All users, by name."""
        with self.database.read() as connection:
            return [_user(found) for found in connection.execute(select(users).order_by(users.c.key))]

    @repeated
    def user(self, name: str) -> UserRecord | None:
        """One user; names compare without regard to case."""
        with self.database.read() as connection:
            found = connection.execute(select(users).where(users.c.key == _key(name))).first()
        return None if found is None else _user(found)

    @repeated
    def add_user(self, name: str, role: str, password_hash: str, at: float) -> None:
        """Add a user.

        Raises:
            UsageError: There is one of this name.
        """
        values = {"key": _key(name), "name": name, "role": role, "password_hash": password_hash}
        with self.database.write() as connection:
            if connection.execute(select(users.c.key).where(users.c.key == _key(name))).first() is not None:
                raise UsageError(
                    f"There is a user {name} already.", hint=f"Change the password with: bulkid users passwd {name}"
                )
            connection.execute(insert(users).values(**values, epoch=1, created_at=at))

    @repeated
    def change_user(self, name: str, *, role: str | None = None, password_hash: str | None = None) -> bool:
        """Change a user's role or password, and end the sessions there are; say whether there is such a user."""
        values: dict[str, object] = {"epoch": users.c.epoch + 1}
        if role is not None:
            values["role"] = role
        if password_hash is not None:
            values["password_hash"] = password_hash
        with self.database.write() as connection:
            return bool(connection.execute(update(users).where(users.c.key == _key(name)).values(values)).rowcount)

    @repeated
    def remove_user(self, name: str, at: float) -> bool:
        """Remove a user and revoke the tokens that they issued; say whether there was one."""
        with self.database.write() as connection:
            removed = connection.execute(delete(users).where(users.c.key == _key(name))).rowcount
            owned = (func.lower(tokens.c.owner) == name.lower(), tokens.c.revoked_at.is_(None))
            connection.execute(update(tokens).where(*owned).values(revoked_at=at))
            return bool(removed)

    # --- tokens

    @repeated
    def tokens(self) -> list[TokenRecord]:
        """All tokens, the newest first, those revoked too."""
        with self.database.read() as connection:
            query = select(tokens).order_by(tokens.c.created_at.desc(), tokens.c.token_id)
            return [_token(found) for found in connection.execute(query)]

    @repeated
    def token(self, token_hash: str) -> TokenRecord | None:
        """The token with this hash, unless it has been revoked."""
        query = select(tokens).where(tokens.c.token_hash == token_hash, tokens.c.revoked_at.is_(None))
        with self.database.read() as connection:
            found = connection.execute(query).first()
        return None if found is None else _token(found)

    @repeated
    def add_token(self, record: TokenRecord, token_hash: str) -> None:
        """Keep a new token by its hash."""
        values = {name: getattr(record, name) for name in TokenRecord.__slots__}
        with self.database.write() as connection:
            connection.execute(insert(tokens).values(**values, token_hash=token_hash))

    @repeated
    def revoke_token(self, token_id: str, at: float) -> bool:
        """Revoke a token for good; say whether there was one to revoke."""
        live = (tokens.c.token_id == token_id, tokens.c.revoked_at.is_(None))
        with self.database.write() as connection:
            return bool(connection.execute(update(tokens).where(*live).values(revoked_at=at)).rowcount)

    # --- the audit table

    @repeated
    def note(self, record: AuditRecord) -> None:
        """Write down what somebody did."""
        values = {name: getattr(record, name) for name in AuditRecord.__slots__}
        with self.database.write() as connection:
            connection.execute(insert(audit).values(values))

    @repeated
    def audit_page(self, offset: int, limit: int) -> tuple[list[AuditRecord], int]:
        """Some entries, the newest first, and how many there are."""
        query = select(audit).order_by(audit.c.entry.desc()).offset(offset).limit(limit)
        with self.database.read() as connection:
            total = connection.execute(select(func.count()).select_from(audit)).scalar_one()
            return [_entry(found) for found in connection.execute(query)], total

    def audit_entries(self) -> Iterator[AuditRecord]:
        """All entries, the oldest first, a page per transaction."""
        after = 0
        while True:
            query = select(audit).where(audit.c.entry > after).order_by(audit.c.entry).limit(_PAGE)
            with self.database.read() as connection:
                page = connection.execute(query).all()
            for found in page:
                yield _entry(found)
            if len(page) < _PAGE:
                return
            after = page[-1].entry


def _key(name: str) -> str:
    return name.strip().casefold()


def _user(found: object) -> UserRecord:
    return UserRecord(**{name: getattr(found, name) for name in UserRecord.__slots__})


def _token(found: object) -> TokenRecord:
    return TokenRecord(**{name: getattr(found, name) for name in TokenRecord.__slots__})


def _entry(found: object) -> AuditRecord:
    return AuditRecord(**{name: getattr(found, name) for name in AuditRecord.__slots__})
