"""Who gets in, with users: by name and password, and programs by their tokens."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import anyio.to_thread

from bulkid.clock import Clock, SystemClock
from bulkid.errors import UsageError
from bulkid.journal.console import ConsoleBook, TokenRecord
from bulkid.web.actors import Actor, Role
from bulkid.web.entrance import session_lives, token_hash
from bulkid.web.passwords import Throttle, is_right, nobodys_hash

TOKEN_PREFIX: Final = "bulkid_"  # noqa: S105 - so that a token that strays is known for one
_ID_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"


class SignInError(Exception):
    """Nobody is let in: the words are for whoever tried.

    Args:
        message: Why.
        wait_s: Seconds to wait before the next attempt; 0 for none.
    """

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.message = message
        self.wait_s = wait_s


@dataclass(slots=True)
class TeamEntrance:
    """Users that the book knows sign in by name and password.

    Args:
        book: Knows them.
        clock: Source of time.
    """

    book: ConsoleBook
    clock: Clock = field(default_factory=SystemClock)
    throttle: Throttle = field(init=False)
    has_users: bool = True
    _nobody: str = ""
    _hashing: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(2))  # 64 MB each

    def __post_init__(self) -> None:
        self.throttle = Throttle(self.clock.monotonic)

    async def sign_in(self, name: str, password: str, address: str) -> dict[str, Any]:
        """Let a user in; give the session that this opens.

        Raises:
            SignInError: Name or password are wrong, or there were too many attempts.
        """
        wait_s = self.throttle.wait(name, address)
        if wait_s:
            raise SignInError("Too many attempts to sign in failed.", wait_s)
        self.throttle.tried(name, address)
        user = await anyio.to_thread.run_sync(self.book.user, name)
        if not self._nobody:
            self._nobody = await anyio.to_thread.run_sync(nobodys_hash, limiter=self._hashing)
        expected = self._nobody if user is None else user.password_hash
        right = await anyio.to_thread.run_sync(is_right, expected, password, limiter=self._hashing)
        if user is None or not right:
            raise SignInError("Name or password are wrong.")
        self.throttle.succeeded(name, address)
        now = self.clock.now()
        return {"user": user.name, "epoch": user.epoch, "created": now, "seen": now}

    async def actor(self, session: Mapping[str, Any], now: float) -> Actor | None:
        """Whom a session belongs to; None when it has ended. A change of role or password counts at once."""
        if not session_lives(session, now):
            return None
        user = await anyio.to_thread.run_sync(self.book.user, str(session.get("user", "")))
        if user is None or user.epoch != session.get("epoch"):
            return None
        return Actor(user.name, Role.of(user.role), user.name)

    async def sign_out_everywhere(self, name: str) -> None:
        """End all sessions of a user."""
        await anyio.to_thread.run_sync(self.book.change_user, name)


def issue_token(book: ConsoleBook, name: str, role: Role, owner: Actor, now: float) -> str:
    """Make a token for a program; it is shown this once, and only its hash is kept.

    Raises:
        UsageError: It has no name, or would be able to do more than whoever issues it.
    """
    name = " ".join(name.split())[:80]
    if not name:
        raise UsageError("A token needs a name.", hint="Call it after the program that will use it.")
    if not owner.may(role):
        raise UsageError(f"Nobody can issue a token that may do more than they: {role.word}.")
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(12))
    book.add_token(TokenRecord(token_id, name, role.word, owner.person, now, None), token_hash(token))
    return token


def actor_of_token(book: ConsoleBook, token: str) -> Actor | None:
    """The program that a token belongs to; None for one that is unknown or revoked."""
    if not token.startswith(TOKEN_PREFIX):
        return None
    found = book.token(token_hash(token))
    return None if found is None else Actor(f"token {found.name}", Role.of(found.role), found.owner)
