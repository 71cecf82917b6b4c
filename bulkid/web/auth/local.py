"""Sign-in links: the way into a console without users."""

import secrets
from hashlib import sha256
from typing import Final

from bulkid.journal.console_store import SessionRecord
from bulkid.journal.names import EPOCH_BITS
from bulkid.runs import system_user
from bulkid.web.auth.access import Principal, Role

LOCAL_IDLE_S: Final = 2 * 3600.0
"""Seconds without a request after which a session of a console without users ends."""

LINKS_DISABLED: Final = (
    "There are users now, so links do not let you in. Start the console again, and sign in by name and password."
)
"""What a console that was started without users says once there are some."""


def token_hash(token: str) -> str:
    """What is stored of a random token or session id: its SHA-256. 256 random bits cannot be guessed from it."""
    return sha256(token.encode()).hexdigest()


class LocalAuthenticator:
    """The user of the operating system, who may do everything; each sign-in link lets one browser in, once."""

    has_users = False
    idle_s = LOCAL_IDLE_S
    user_key = ""

    def __init__(self) -> None:
        self.name = system_user("local")
        self.epoch = secrets.randbits(EPOCH_BITS)  # sessions of another start of the console are not valid
        self._links: set[str] = set()

    @property
    def has_unused_link(self) -> bool:
        """Whether there is a link that has not been used."""
        return bool(self._links)

    def new_link(self) -> str:
        """Make the token of a link that lets one browser in, once."""
        token = secrets.token_urlsafe(32)
        self._links.add(token_hash(token))
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
