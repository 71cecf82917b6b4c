"""Sessions of browsers: the cookie holds a random id and nothing else; the state database knows the rest."""

import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import anyio
from aiohttp import web

from bulkid.clock import Clock
from bulkid.errors import StateError
from bulkid.journal.console_store import AuditRecord, SessionRecord, SessionStore
from bulkid.logs import log
from bulkid.runs.concurrency import in_thread
from bulkid.web.auth.users import token_hash

SESSION_S: Final = 12 * 3600.0  # seconds that a session lasts at most (OWASP ASVS 4.0 3.3.2, level 2)
LAST_SEEN_INTERVAL_S: Final = 60.0  # seconds for which the time of a session's last request is not written again
END_CHECK_INTERVAL_S: Final = 5.0
"""Seconds between two checks of an event stream whether another process has ended its session."""

_ID_BYTES: Final = 32
_MAX_ID: Final = 100  # characters of a cookie that are looked at


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a request."""

    record: SessionRecord
    csrf: str  # the token that forms of this session carry; derived from the id, which it does not reveal


class Sessions:
    """The sessions of one console: begins, finds and ends them.

    ``secure``: browsers reach the console by TLS. ``idle_s``: seconds without a request after which a session ends. The
    port is part of the cookies' names, because browsers send a cookie to all ports of a machine.
    """

    def __init__(self, store: SessionStore, clock: Clock, *, port: int, secure: bool, idle_s: float) -> None:
        self._store = store
        self._clock = clock
        self._secure = secure
        self._idle_s = idle_s
        self.cookie_name = "__Host-bulkid" if secure else f"bulkid-{port}"
        self.device_cookie_name = "__Host-bulkid-device" if secure else f"bulkid-device-{port}"
        self._ended = anyio.Event()

    async def begin(
        self,
        request: web.Request,
        response: web.Response,
        user_key: str,
        epoch: int,
        address: str,
        *,
        entry: AuditRecord | None = None,
    ) -> bool:
        """Begin a session in place of the one that the browser may have; give the browser its cookie.

        Return False, without a session, where the user was changed or removed since the epoch was read. For ``entry``
        see :class:`~bulkid.journal.console_store.ConsoleStore`.
        """
        session_id, now = secrets.token_urlsafe(_ID_BYTES), self._clock.now()
        await in_thread(self._store.drop_expired, now - SESSION_S, now - self._idle_s)
        record = SessionRecord(token_hash(session_id), user_key, epoch, address, now, now)
        if not await in_thread(self._store.begin, record, entry):
            return False
        if before := self._id_of(request):
            await self.end((token_hash(before),))
        self.set_cookie(response, self.cookie_name, session_id, SESSION_S)
        return True

    async def find(self, request: web.Request) -> Session | None:
        """The session of a request; None where there is none, or it has ended."""
        session_id = self._id_of(request)
        if not session_id:
            return None
        record = await in_thread(self._store.find, token_hash(session_id))
        if record is None or not is_session_valid(record, self._clock.now(), self._idle_s):
            return None
        return Session(record, hmac.digest(session_id.encode(), b"csrf", "sha256").hex())

    async def touch(self, session: Session) -> None:
        """Note a request, at most once a minute; a page is shown also where that cannot be written."""
        now = self._clock.now()
        if now - session.record.seen_at > LAST_SEEN_INTERVAL_S:
            try:
                await in_thread(self._store.touch, session.record.session_hash, now)
            except StateError as error:  # the session ends the sooner for it
                log.warning("console.session_not_noted", error=error.message)

    async def end(self, hashes: Collection[str], entry: AuditRecord | None = None) -> bool:
        """End sessions; return whether there was one of them."""
        ended = await in_thread(self._store.end, hashes, entry)
        if ended:
            self.announce_end()
        return ended

    async def end_all(self, user_key: str, epoch: int, entry: AuditRecord | None = None) -> bool:
        """End the sessions of a user, or of a console without users; return whether there was one."""
        ended = await in_thread(self._store.end_all, user_key, epoch, entry)
        self.announce_end()
        return ended

    async def of_user(self, user_key: str, epoch: int) -> list[SessionRecord]:
        """The sessions of a user, or of a console without users, the newest first."""
        now = self._clock.now()
        found = await in_thread(self._store.of_user, user_key, epoch)
        return [record for record in found if is_session_valid(record, now, self._idle_s)]

    async def wait_until_ended(self, request: web.Request) -> None:
        """Return once the session of a request has ended: at once where this process ends it, else within seconds."""
        while True:
            ended = self._ended
            if await self.find(request) is None:
                return
            with anyio.move_on_after(END_CHECK_INTERVAL_S):
                await ended.wait()

    async def wait_for_end(self, timeout_s: float) -> None:
        """Wait until this process ends a session, or for so many seconds."""
        with anyio.move_on_after(timeout_s):
            await self._ended.wait()

    def announce_end(self) -> None:
        """Let event streams look at once whether their session was ended."""
        ended, self._ended = self._ended, anyio.Event()
        ended.set()

    # --- cookies

    def set_cookie(self, response: web.Response, name: str, value: str, max_age_s: float) -> None:
        """Set a cookie that no script and no other site can read or send."""
        response.set_cookie(
            name, value, max_age=int(max_age_s), path="/", secure=self._secure, httponly=True, samesite="Strict"
        )

    def forget_cookie(self, response: web.Response) -> None:
        """Delete the session's cookie. Browsers refuse to delete a ``__Host-`` cookie without its attributes."""
        response.del_cookie(self.cookie_name, path="/", secure=self._secure, httponly=True, samesite="Strict")

    def _id_of(self, request: web.Request) -> str:
        value = request.cookies.get(self.cookie_name, "")
        return value if len(value) <= _MAX_ID and value.isascii() else ""


def is_session_valid(record: SessionRecord, now: float, idle_s: float) -> bool:
    """Whether a session has reached neither of its timeouts.

    The clock may be set back. A session whose last request then lies in the future by more than its timeout ends too.
    """
    return now - record.created_at < SESSION_S and abs(now - record.seen_at) < idle_s
