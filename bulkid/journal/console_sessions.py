"""Sessions of the web console, by the hash of their id. Synchronous, for worker threads."""

from dataclasses import dataclass, replace

from sqlalchemy import delete, insert, or_, select, update

from bulkid.journal.console_schema import sessions, users
from bulkid.journal.console_store import UserRecord, user_of
from bulkid.journal.database import Database, repeated
from bulkid.journal.store import Journal


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


class SessionStore:
    """The sessions of one state. Every method is one transaction, durable when it returns.

    Args:
        journal: Where they are kept.
    """

    def __init__(self, journal: Journal) -> None:
        self.database: Database = journal.database

    @repeated
    def begin(self, record: SessionRecord) -> bool:
        """Keep a new session, unless its user was changed or removed since, or it is without users and there are some.

        Returns:
            Whether it was kept.
        """
        # A lock: the user cannot be changed or removed between this check and the end of the transaction.
        user = select(users.c.epoch).where(users.c.key == record.user_key).with_for_update(read=True)
        values = {name: getattr(record, name) for name in SessionRecord.__slots__ if name != "user"}
        with self.database.write() as connection:
            if record.user_key and connection.execute(user).scalar() != record.epoch:
                return False
            if not record.user_key and connection.execute(select(users.c.key).limit(1)).first() is not None:
                return False
            connection.execute(insert(sessions).values(values))
            return True

    @repeated
    def find(self, session_hash: str) -> SessionRecord | None:
        """A session with its user, if it is valid; timeouts are the caller's.

        It is not where it was ended, where its user was changed or removed, and where it began without users and there
        are users now.
        """
        with self.database.read() as connection:
            query = select(sessions).where(sessions.c.session_hash == session_hash)
            found = connection.execute(query).mappings().first()
            if found is None:
                return None
            session = SessionRecord(**found)
            if not session.user_key:
                taken = connection.execute(select(users.c.key).limit(1)).first()
                return session if taken is None else None
            user = connection.execute(select(users).where(users.c.key == session.user_key)).first()
        if user is None or user.epoch != session.epoch:
            return None
        return replace(session, user=user_of(user))

    @repeated
    def of_user(self, user_key: str, epoch: int) -> list[SessionRecord]:
        """The sessions of a user (or of a console without users), the newest first."""
        mine = (sessions.c.user_key == user_key, sessions.c.epoch == epoch)
        with self.database.read() as connection:
            query = select(sessions).where(*mine).order_by(sessions.c.created_at.desc(), sessions.c.session_hash)
            return [SessionRecord(**found) for found in connection.execute(query).mappings()]

    @repeated
    def touch(self, session_hash: str, now: float) -> None:
        """Note a request of a session."""
        with self.database.write() as connection:
            connection.execute(update(sessions).where(sessions.c.session_hash == session_hash).values(seen_at=now))

    @repeated
    def end(self, session_hash: str) -> bool:
        """End a session; return whether there was one."""
        with self.database.write() as connection:
            return bool(connection.execute(delete(sessions).where(sessions.c.session_hash == session_hash)).rowcount)

    @repeated
    def end_all(self, user_key: str, epoch: int) -> None:
        """End the sessions of a user (or of a console without users)."""
        with self.database.write() as connection:
            connection.execute(delete(sessions).where(sessions.c.user_key == user_key, sessions.c.epoch == epoch))

    @repeated
    def drop_expired(self, created_before: float, seen_before: float) -> None:
        """Delete the sessions that have reached a timeout."""
        expired = or_(sessions.c.created_at <= created_before, sessions.c.seen_at <= seen_before)
        with self.database.write() as connection:
            connection.execute(delete(sessions).where(expired))
