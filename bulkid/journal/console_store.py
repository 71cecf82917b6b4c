"""The web console's users, API tokens and audit log. Synchronous, for worker threads."""

import secrets
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update
from sqlalchemy.sql.dml import UpdateBase

from bulkid.errors import UsageError
from bulkid.journal.database import Database, repeated
from bulkid.journal.names import EPOCH_BITS, user_key
from bulkid.journal.schema import audit, sessions, tokens, users
from bulkid.journal.store import Journal
from bulkid.text import as_argument


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user of the console."""

    name: str
    role: str
    password_hash: str
    epoch: int  # sessions of another one have ended
    created_at: float
    key: str  # user_key(name)


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """An API token, without the token itself."""

    token_id: str
    name: str
    role: str
    owner: str
    created_at: float
    revoked_at: float | None
    owner_key: str = ""  # "": issued in a console without users
    expires_at: float | None = None  # None: it has no end
    owner_role: str | None = None  # what the owner may do at present; None: there is no such user


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One action of a user, or one that was refused."""

    at: float
    actor: str
    address: str
    action: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session of a browser, without its id. Times are seconds since the epoch."""

    session_hash: str
    user_key: str  # "": of a console without users
    epoch: int
    address: str
    created_at: float
    seen_at: float
    user: UserRecord | None = None  # None: there are no users


class ConsoleStore:
    """Users, API tokens and the audit log of one state. Every method is one transaction, durable when it returns.

    A method that changes something adds the ``entry`` that it is given to the audit log, in the same transaction and
    only if it changed something: neither the change nor its entry is ever kept alone. ``random_bits`` gives the epochs
    of new users.
    """

    def __init__(self, journal: Journal, *, random_bits: Callable[[int], int] = secrets.randbits) -> None:
        self.database: Database = journal.database
        self._random_bits = random_bits

    # --- users

    def users(self) -> list[UserRecord]:
        """All users, by name."""
        return [_record(UserRecord, found) for found in self.database.fetch(select(users).order_by(users.c.key))]

    def user(self, name: str) -> UserRecord | None:
        """One user; names are compared by their key."""
        found = self.database.fetch(select(users).where(users.c.key == user_key(name)))
        return _record(UserRecord, found[0]) if found else None

    @repeated
    def add_user(
        self, name: str, role: str, password_hash: str, at: float, *, entry: AuditRecord | None = None
    ) -> None:
        """Add a user. The first one ends the tokens and sessions of a console without users.

        Raises:
            UsageError: There is one of this name.
        """
        values = {"key": user_key(name), "name": name, "role": role, "password_hash": password_hash}
        with self.database.write() as connection:
            if connection.execute(select(users.c.key).where(users.c.key == user_key(name))).first() is not None:
                raise UsageError(
                    f"There is a user {name} already.",
                    hint=f"Change the password with: bulkid users passwd {as_argument(name)}",
                )
            epoch = self._random_bits(EPOCH_BITS)
            connection.execute(insert(users).values(**values, epoch=epoch, created_at=at))
            _end_access(connection, "", at)
            _add_entry(connection, entry)

    @repeated
    def change_user(
        self,
        name: str,
        *,
        role: str | None = None,
        password_hash: str | None = None,
        epoch: int | None = None,
        entry: AuditRecord | None = None,
    ) -> bool:
        """Change a user's role or password, and end all sessions of the user; say whether there is such a user.

        With an epoch, only a user who still has it is changed. The new epoch is the next number.
        """
        key = user_key(name)
        values: dict[str, Any] = {"epoch": users.c.epoch + 1}
        if role is not None:
            values["role"] = role
        if password_hash is not None:
            values["password_hash"] = password_hash
        with self.database.write() as connection:
            same = (users.c.key == key,) if epoch is None else (users.c.key == key, users.c.epoch == epoch)
            changed = connection.execute(update(users).where(*same).values(values)).rowcount
            if not changed:
                return False
            connection.execute(delete(sessions).where(sessions.c.user_key == key))
            _add_entry(connection, entry)
            return True

    @repeated
    def remove_user(self, name: str, at: float, *, entry: AuditRecord | None = None) -> bool:
        """Remove a user, end all sessions of the user and revoke the user's tokens; say whether there was one."""
        key = user_key(name)
        with self.database.write() as connection:
            removed = connection.execute(delete(users).where(users.c.key == key)).rowcount
            if key:  # "" is not a user's
                _end_access(connection, key, at)
            _add_entry(connection, entry if removed else None)
            return bool(removed)

    # --- tokens

    def tokens(self) -> list[TokenRecord]:
        """All tokens, the newest first, with those that are revoked."""
        query = _OWNED_TOKENS.order_by(tokens.c.created_at.desc(), tokens.c.token_id)
        return [_record(TokenRecord, found) for found in self.database.fetch(query)]

    @repeated
    def token(self, token_hash: str) -> TokenRecord | None:
        """The token with this hash; None where it is not valid. The caller checks whether it has expired.

        It is not valid once it is revoked, its owner is removed, or a console in which it was issued without users has
        users.
        """
        query = _OWNED_TOKENS.where(tokens.c.token_hash == token_hash, tokens.c.revoked_at.is_(None))
        with self.database.read() as connection:
            found = connection.execute(query).first()
            if found is None or (found.owner_key and found.owner_role is None):
                return None
            if not found.owner_key and _has_users(connection):
                return None
        return _record(TokenRecord, found)

    @repeated
    def add_token(self, record: TokenRecord, token_hash: str, *, entry: AuditRecord | None = None) -> None:
        """Keep a new token by its hash; where there are users, its owner is the user of that name.

        Raises:
            UsageError: The owner has been removed meanwhile.
        """
        values = {**asdict(record), "token_hash": token_hash, "owner_key": ""}
        del values["owner_role"]
        with self.database.write() as connection:
            if _has_users(connection):
                values["owner_key"] = user_key(record.owner)
                # A lock: the owner cannot be removed between this check and the end of the transaction.
                owner = select(users.c.key).where(users.c.key == values["owner_key"]).with_for_update(read=True)
                if connection.execute(owner).first() is None:
                    raise UsageError(f"There is no user {record.owner} any more: no token was issued.")
            connection.execute(insert(tokens).values(values))
            _add_entry(connection, entry)

    def revoke_token(self, token_id: str, at: float, *, entry: AuditRecord | None = None) -> bool:
        """Revoke a token for good; say whether there was one to revoke."""
        live = (tokens.c.token_id == token_id, tokens.c.revoked_at.is_(None))
        return _execute(self.database, update(tokens).where(*live).values(revoked_at=at), entry)

    # --- the audit log

    @repeated
    def add_audit_entry(self, record: AuditRecord) -> None:
        """Add an entry."""
        with self.database.write() as connection:
            _add_entry(connection, record)

    @repeated
    def audit_page(self, offset: int, limit: int) -> tuple[list[AuditRecord], int]:
        """Some entries, the newest first, and how many there are."""
        query = select(audit).order_by(audit.c.entry.desc()).offset(offset).limit(limit)
        with self.database.read() as connection:
            total = connection.execute(select(func.count()).select_from(audit)).scalar_one()
            return [_record(AuditRecord, found) for found in connection.execute(query)], total

    def audit_entries_of(
        self, user: str, since: float, limit: int, *, by: Collection[str], about: Collection[str]
    ) -> list[AuditRecord]:
        """The newest entries of a user since a time, at most ``limit``.

        These are the actions ``by`` the user, and those ``about`` the user, whichever user has done them.
        """
        mine = or_(
            and_(audit.c.actor == user, audit.c.action.in_(by)),
            and_(audit.c.subject == user, audit.c.action.in_(about)),
        )
        query = select(audit).where(audit.c.at >= since, mine).order_by(audit.c.entry.desc()).limit(limit)
        return [_record(AuditRecord, found) for found in self.database.fetch(query)]

    @repeated
    def prune_audit(self, before: float, most: int) -> int:
        """Remove entries made before a time (seconds since the epoch), and all but the newest ``most``; count them."""
        newest = select(audit.c.entry).order_by(audit.c.entry.desc()).offset(most).limit(1)
        with self.database.write() as connection:
            removed = connection.execute(delete(audit).where(audit.c.at < before)).rowcount
            last = connection.execute(newest).scalar()
            if last is not None:
                removed += connection.execute(delete(audit).where(audit.c.entry <= last)).rowcount
            return removed

    def audit_entries(self) -> Iterator[AuditRecord]:
        """All entries, the oldest first, a page per transaction."""
        for found in self.database.pages(select(audit), audit.c.entry):
            yield _record(AuditRecord, found)


class SessionStore:
    """The sessions of one state. Every method is one transaction, durable when it returns.

    For ``entry`` see :class:`ConsoleStore`.
    """

    def __init__(self, journal: Journal) -> None:
        self.database: Database = journal.database

    @repeated
    def begin(self, record: SessionRecord, entry: AuditRecord | None = None) -> bool:
        """Keep a new session, and say whether it was kept.

        It is not where its user was changed or removed meanwhile, or where it is without users and there are some.
        """
        # A lock: the user cannot be changed or removed between this check and the end of the transaction.
        user = select(users.c.epoch).where(users.c.key == record.user_key).with_for_update(read=True)
        values = asdict(record)
        del values["user"]
        with self.database.write() as connection:
            if record.user_key and connection.execute(user).scalar() != record.epoch:
                return False
            if not record.user_key and _has_users(connection):
                return False
            connection.execute(insert(sessions).values(values))
            _add_entry(connection, entry)
            return True

    @repeated
    def find(self, session_hash: str) -> SessionRecord | None:
        """A session with its user; None where it is not valid. The caller checks the timeouts.

        It is not valid once it is ended, its user is changed or removed, or a console in which it began without users
        has users.
        """
        with self.database.read() as connection:
            query = select(sessions).where(sessions.c.session_hash == session_hash)
            found = connection.execute(query).mappings().first()
            if found is None:
                return None
            session = SessionRecord(**found)
            if not session.user_key:
                return None if _has_users(connection) else session
            user = connection.execute(select(users).where(users.c.key == session.user_key)).first()
        if user is None or user.epoch != session.epoch:
            return None
        return replace(session, user=_record(UserRecord, user))

    def of_user(self, user_key: str, epoch: int) -> list[SessionRecord]:
        """The sessions of a user (or of a console without users), the newest first."""
        mine = (sessions.c.user_key == user_key, sessions.c.epoch == epoch)
        query = select(sessions).where(*mine).order_by(sessions.c.created_at.desc(), sessions.c.session_hash)
        return [SessionRecord(**found._asdict()) for found in self.database.fetch(query)]

    def touch(self, session_hash: str, now: float) -> None:
        """Note a request of a session."""
        self.database.execute(update(sessions).where(sessions.c.session_hash == session_hash).values(seen_at=now))

    def end(self, hashes: Collection[str], entry: AuditRecord | None = None) -> bool:
        """End sessions; say whether there was one of them."""
        return _execute(self.database, delete(sessions).where(sessions.c.session_hash.in_(hashes)), entry)

    def end_all(self, user_key: str, epoch: int, entry: AuditRecord | None = None) -> bool:
        """End the sessions of a user (or of a console without users); say whether there was one."""
        mine = (sessions.c.user_key == user_key, sessions.c.epoch == epoch)
        return _execute(self.database, delete(sessions).where(*mine), entry)

    def drop_expired(self, created_before: float, seen_before: float) -> None:
        """Delete the sessions that have reached a timeout."""
        expired = or_(sessions.c.created_at <= created_before, sessions.c.seen_at <= seen_before)
        self.database.execute(delete(sessions).where(expired))


_OWNED_TOKENS = select(tokens, users.c.role.label("owner_role")).outerjoin(
    users, and_(users.c.key == tokens.c.owner_key, tokens.c.owner_key != "")
)


def _execute(database: Database, statement: UpdateBase, entry: AuditRecord | None) -> bool:
    """Run a statement, and add the entry if it changed something; say whether it did."""

    def work() -> bool:
        with database.write() as connection:
            changed = connection.execute(statement).rowcount
            _add_entry(connection, entry if changed else None)
            return bool(changed)

    return database.repeat(work)


def _add_entry(connection: Connection, entry: AuditRecord | None) -> None:
    """Add an entry to the audit log, unless it is None."""
    if entry is not None:
        connection.execute(insert(audit).values(asdict(entry)))


def _end_access(connection: Connection, key: str, at: float) -> None:
    """End all sessions of a user and revoke the user's tokens."""
    connection.execute(delete(sessions).where(sessions.c.user_key == key))
    live = (tokens.c.owner_key == key, tokens.c.revoked_at.is_(None))
    connection.execute(update(tokens).where(*live).values(revoked_at=at))


def _has_users(connection: Connection) -> bool:
    return connection.execute(select(users.c.key).limit(1)).first() is not None


R = TypeVar("R", UserRecord, TokenRecord, AuditRecord)


def _record(kind: type[R], found: object) -> R:
    """Make a record of a database row, by the names of its fields."""
    return kind(**{field.name: getattr(found, field.name) for field in fields(kind)})
