"""Who gets in. On this machine alone: whoever opens the link that the terminal shows."""

import getpass
import secrets
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final, Protocol

from bulkid.web.actors import Actor, Role

SESSION_S: Final = 12 * 3600
"""How long a session lasts at the most."""

IDLE_S: Final = 2 * 3600
"""How long a session lasts without a request."""


class Entrance(Protocol):
    """What the console asks of whoever keeps its door."""

    @property
    def has_users(self) -> bool:
        """Whether there are users who sign in by name and password."""

    async def actor(self, session: Mapping[str, Any], now: float) -> Actor | None:
        """Whom a session belongs to; None when it has ended."""


def token_hash(token: str) -> str:
    """How a random token is kept: it has 256 bits of chance in it, which no guessing gets at."""
    return sha256(token.encode()).hexdigest()


class LocalEntrance:
    """One person on this machine, who may do everything; links let them in, each once.

    Args:
        name: What to call them; the user of the operating system by default.
    """

    has_users = False

    def __init__(self, name: str = "") -> None:
        self._name = name or _user()
        self._links: set[str] = set()
        self._epoch = secrets.token_hex(8)

    def new_link(self) -> str:
        """Make the token of a link that lets in once."""
        token = secrets.token_urlsafe(32)
        self._links.add(token_hash(token))
        return token

    def enter(self, token: str, now: float) -> dict[str, Any] | None:
        """Use up a link; give the session that it opens, or None when there is no such link (any more)."""
        hashed = token_hash(token)
        if hashed not in self._links:
            return None
        self._links.discard(hashed)
        return {"user": self._name, "epoch": self._epoch, "created": now, "seen": now}

    def sign_out_everywhere(self) -> None:
        """End all sessions there are."""
        self._epoch = secrets.token_hex(8)

    async def actor(self, session: Mapping[str, Any], now: float) -> Actor | None:
        """Whom a session belongs to; None when it has ended."""
        if not session_lives(session, now) or not compare_digest(str(session.get("epoch", "")), self._epoch):
            return None
        return Actor(self._name, Role.ADMIN, self._name)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user on this machine, as in some containers
        return "local"


def session_lives(session: Mapping[str, Any], now: float) -> bool:
    """Whether a session has neither reached its end nor been left alone for too long."""
    created, seen = session.get("created"), session.get("seen")
    if not isinstance(created, int | float) or not isinstance(seen, int | float):
        return False
    return now - created < SESSION_S and now - seen < IDLE_S
