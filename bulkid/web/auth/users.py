"""Signing in: users by name and password, or by links in a console without users; programs by API tokens."""

import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import anyio
import anyio.to_thread
from argon2 import PasswordHasher

from bulkid.clock import Clock, SystemClock, iso_utc
from bulkid.errors import BulkidError, UsageError
from bulkid.journal.console_store import AuditRecord, ConsoleStore, SessionRecord, TokenRecord, UserRecord
from bulkid.journal.names import EPOCH_BITS, user_key
from bulkid.runs import system_user
from bulkid.text import humanize_seconds
from bulkid.web.auth.access import Principal, RefusedError, Role
from bulkid.web.auth.passwords import HASHER, hash_password, is_right
from bulkid.web.auth.throttle import Throttle, device_of, new_device_cookie

IDLE_S: Final = 30 * 60.0
"""Seconds without a request after which a user's session ends (OWASP ASVS 4.0 3.3.2, level 2)."""

LOCAL_IDLE_S: Final = 2 * 3600.0  # seconds without a request after which a session of a console without users ends
LINKS_DISABLED: Final = (
    "There are users now, so links are not valid any more. Start the console again, and sign in by name and password."
)
"""What a console that was started without users says once there are some."""

TOKEN_PREFIX: Final = "bulkid_"  # noqa: S105 - so that a token that strays is known for one


TOKEN_DAYS: Final = (30, 90, 365)
"""Days after which a new token expires, as its user chooses."""

DEFAULT_TOKEN_DAYS: Final = 90


def token_hash(token: str) -> str:
    """What is stored of a random token or session id: its SHA-256. 256 random bits cannot be guessed from it."""
    return sha256(token.encode()).hexdigest()


# --- a console with users


class SignInError(BulkidError):
    """An attempt to sign in is refused. ``wait_s``: seconds to wait before the next attempt; 0 for none."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message, hint=f"Try again in {humanize_seconds(wait_s)}." if wait_s else "")
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class SignIn:
    """A user whose password was right, and the device cookie for the browser: the one that it sent, if valid."""

    user: UserRecord
    device_cookie: str


@dataclass(slots=True)
class UserAuthenticator:
    """Signs users in by name and password; hashes new passwords with ``hasher``."""

    store: ConsoleStore
    clock: Clock = field(default_factory=SystemClock)
    hasher: PasswordHasher = HASHER
    throttle: Throttle = field(init=False)
    has_users: bool = True
    idle_s: float = IDLE_S
    _dummy_hash: str = ""
    _hashing: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(2))  # 64 MB each
    _checking: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(2))

    def __post_init__(self) -> None:
        self.throttle = Throttle(self.clock.monotonic)

    async def sign_in(self, name: str, password: str, address: str, device_cookie: str = "") -> SignIn:
        """Check a name and a password as the user typed them; ``device_cookie``: the browser's, "" without one.

        Raises:
            SignInError: Name or password are wrong, or there were too many attempts from this address.
        """
        key = user_key(name)
        user = await anyio.to_thread.run_sync(self.store.user, name)
        device = "" if user is None else device_of(device_cookie, key, user.password_hash)
        is_known = user is not None

        def require_no_wait() -> None:
            wait_s = self.throttle.wait(key, address, device, is_known=is_known)
            if wait_s:
                raise SignInError("Too many attempts to sign in failed.", wait_s)

        require_no_wait()
        async with self._checking:  # an attempt counts from here on: one that waits for its turn has not failed
            require_no_wait()
            self.throttle.record_attempt(key, address, device, is_known=is_known)
            if not await self._is_right(user, password) or user is None:
                raise SignInError("Name or password are wrong.")
            self.throttle.record_success(key, address, device)
        return SignIn(user, device_cookie if device else new_device_cookie(key, user.password_hash))

    async def hash(self, password: str) -> str:
        """Hash a new password, with no more hashing at once than there is memory for; see :func:`hash_password`."""
        return await anyio.to_thread.run_sync(hash_password, password, self.hasher, limiter=self._hashing)

    async def _is_right(self, user: UserRecord | None, password: str) -> bool:
        if not self._dummy_hash:  # to compare with it takes as long as with a user's
            self._dummy_hash = await self.hash("no user has this password")
        expected = self._dummy_hash if user is None else user.password_hash
        return await anyio.to_thread.run_sync(is_right, expected, password, limiter=self._hashing)

    def principal(self, session: SessionRecord) -> Principal | None:
        """The principal of a session, with the role that the user has now; None for a session without a user."""
        if session.user is None:
            return None
        return Principal(session.user.name, Role.of(session.user.role), session.user.name)


# --- a console without users


class LocalAuthenticator:
    """The user of the operating system, who may do everything; each sign-in link signs in one browser, once."""

    has_users = False
    idle_s = LOCAL_IDLE_S
    user_key = ""

    def __init__(self) -> None:
        self.name = system_user("local")
        self.epoch = secrets.randbits(EPOCH_BITS)  # sessions of another start of the console are not valid
        self._links: set[str] = set()
        self._terminal_link = ""  # the newest one

    @property
    def has_link_in_terminal(self) -> bool:
        """Whether the link that the terminal shows has not been used; a user may have lost one of a page."""
        return self._terminal_link in self._links

    def new_link(self, *, in_terminal: bool = False) -> str:
        """Make the token of a link that signs in one browser, once."""
        token = secrets.token_urlsafe(32)
        self._links.add(token_hash(token))
        if in_terminal:
            self._terminal_link = token_hash(token)
        return token

    def use_link(self, token: str) -> bool:
        """Use up a link; return whether there was one."""
        hashed = token_hash(token)
        if hashed not in self._links:
            return False
        self._links.discard(hashed)
        return True

    def principal(self, session: SessionRecord) -> Principal | None:
        """The principal of a session; None for one of another start, or of another console."""
        if session.user_key != self.user_key or session.epoch != self.epoch:
            return None
        return Principal(self.name, Role.ADMIN, self.name)


Authenticator = LocalAuthenticator | UserAuthenticator
"""How browsers sign in: by links, or users by name and password."""


# --- programs


class ExpiredTokenError(RefusedError):
    """A program has sent a token that has expired. ``name``: the program, as the audit log calls it."""

    def __init__(self, name: str, expired_at: float) -> None:
        super().__init__(
            401,
            f"The {name} expired at {iso_utc(expired_at)}.",
            "An admin of the console issues a new one on the page API tokens.",
        )
        self.name = name


def require_issuable(name: str, role: Role, owner: Principal) -> None:
    """Raise UsageError for a token that has no name, or would be able to do more than its owner."""
    if not name.split():
        raise UsageError("A token needs a name.", hint="Call it after the program that will use it.")
    if not owner.may(role):
        raise UsageError(f"Your role is {owner.role.word}: you cannot issue a token with the role {role.word}.")


def issue_token(
    store: ConsoleStore,
    name: str,
    role: Role,
    owner: Principal,
    now: float,
    *,
    expires_at: float | None = None,
    entry: AuditRecord | None = None,
) -> str:
    """Make a token for a program; it is shown this once, and only its hash is kept. None: it does not expire.

    For ``entry`` see :class:`~bulkid.journal.console_store.ConsoleStore`.

    Raises:
        UsageError: It has no name, or would be able to do more than its owner.
    """
    require_issuable(name, role, owner)
    name = " ".join(name.split())[:80]
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    record = TokenRecord(secrets.token_hex(6), name, role.word, owner.user, now, None, expires_at=expires_at)
    store.add_token(record, token_hash(token), entry=entry)
    return token


def principal_of_token(store: ConsoleStore, token: str, now: float) -> Principal | None:
    """The program that a token belongs to; None for a token that is unknown, or not valid any more.

    A token may do what its role says, and never more than its owner may at present.

    Raises:
        ExpiredTokenError: It has expired.
    """
    if not token.startswith(TOKEN_PREFIX):
        return None
    found = store.token(token_hash(token))
    if found is None:
        return None
    name = f"token {found.name}"
    if found.expires_at is not None and now >= found.expires_at:
        raise ExpiredTokenError(name, found.expires_at)
    return Principal(name, role_of_token(found), found.owner)


def role_of_token(token: TokenRecord) -> Role:
    """What a token may do at present."""
    role = Role.of(token.role)
    return role if token.owner_role is None else min(role, Role.of(token.owner_role))
