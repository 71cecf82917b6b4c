"""What a 401 or a 403 is about: the credential that all requests share, or the one request that got it.

A 401 is about the request when the server takes another request, sent later with the same credential; it is about the
credential when the server refuses the check request too. A 403 on a write is about the request when the credential
says that it has the scope, or when the server has taken a write of the same kind with it.
Too many in a row are about all requests.
"""

from enum import Enum, auto
from typing import Final, Protocol

from bulkid.model import Reply, ReplyKind, Request

MAX_REQUEST_REFUSALS: Final = 2
"""Replies 401 that are about the request, after which the request has failed: it is tried again once."""

FORBIDDEN_AT_FIRST: Final = 3
"""Replies 403 in a row, before a write of that kind was taken with this credential: a scope is missing."""

FORBIDDEN_IN_A_ROW: Final = 10
"""The same once a write of that kind was taken: the permission was withdrawn."""

ACCEPTED_KINDS: Final = frozenset({ReplyKind.OK, ReplyKind.FORBIDDEN})
"""Replies that show that the server takes the credential."""


class OnForbidden(Enum):
    """What a 403 on a write can mean."""

    SCOPE_MAY_BE_MISSING = auto()  # nothing is known of the scope until a write of this kind is taken
    SCOPE_GRANTED = auto()  # the credential says so: a 403 is about the request, unless too many come in a row
    ABOUT_THE_REQUEST = auto()  # however many come


class Credentials(Protocol):
    """What the engine tells about the credential of a reply."""

    def refused(self, credential: int, reason: str) -> None:
        """Say that the server refuses this credential for every request.

        Raises:
            AuthenticationError: There is no other credential, or another would be refused too.
        """
        ...


class SuspectCredential:
    """A credential that the server refused for one request; the next replies tell which of the two is to blame.

    Attributes:
        credential: As the reply says.
        since: Requests that had left when the refusal came in; only later ones are evidence.
        own: True: the refusal is about the request. False: send the request again. None: not known yet.
    """

    __slots__ = ("credential", "request_refused", "since")

    def __init__(self, credential: int, since: int) -> None:
        self.credential = credential
        self.since = since
        self.request_refused: bool | None = None

    def observe(self, number: int, reply: Reply) -> None:
        """Learn from the reply to the request that left as the ``number``-th."""
        if self.request_refused is None and number > self.since and reply.kind in ACCEPTED_KINDS:
            # With a newer credential nothing is shown about this one, but the request can be sent with it.
            self.request_refused = reply.credential == self.credential

    def drop(self, credential: int) -> None:
        """Learn that a credential, and so each one before it, is refused for every request."""
        if self.request_refused is None and self.credential <= credential:
            self.request_refused = False


class ForbiddenWrites:
    """Decides about 403 on writes."""

    __slots__ = ("in_a_row",)

    def __init__(self) -> None:
        self.in_a_row = 0  # since the server last took a write; the caller sets it back

    def judge(
        self, request: Request, meaning: OnForbidden, credential: int, last_accepted: tuple[Request, int] | None
    ) -> bool | None:
        """Take in a 403 on a write.

        Args:
            request: The write.
            meaning: What it can mean.
            credential: That it carried.
            last_accepted: The latest request of this method that the server took, and its credential; or None.

        Returns:
            True: it is about this request. False: not known yet, send the request again after the others. None: it is
            about all of them.
        """
        if meaning is OnForbidden.ABOUT_THE_REQUEST:
            return True
        self.in_a_row += 1
        granted = meaning is OnForbidden.SCOPE_GRANTED
        if granted or (
            last_accepted is not None and last_accepted[1] == credential and _kind(last_accepted[0]) == _kind(request)
        ):
            return True if self.in_a_row < FORBIDDEN_IN_A_ROW else None
        return False if self.in_a_row < FORBIDDEN_AT_FIRST else None


def _kind(request: Request) -> list[str]:
    """The part of a path that a scope is for: ``api/RobotAccount``."""
    return request.path.split("/", 2)[:2]
