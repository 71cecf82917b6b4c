"""What a 401 or a 403 is about: the credential that all requests share, or the one request that got it.

A 401 is about the request when the server takes another request, sent later with the same credential; it is about the
credential when the server refuses the check request too. A 403 on a write is about the request when the credential
says that it has the scope, or when the server has taken a write of the same kind with it.
Too many writes in a row that fail with either are about all of them: the server may let a credential read alone.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from bulkid.model import Reply, ReplyKind, Request

MAX_REQUEST_REFUSALS: Final = 2  # replies 401 about the request, after which it has failed: it is sent again once
FORBIDDEN_AT_FIRST: Final = 3  # replies 403 in a row before the server took a write of that kind: a scope is missing
FORBIDDEN_IN_A_ROW: Final = 10  # the same once it took one: the permission was withdrawn
REFUSED_IN_A_ROW: Final = 50  # writes in a row that failed with 401, while reads pass: no write would be taken
ACCEPTED_KINDS: Final = frozenset({ReplyKind.OK, ReplyKind.FORBIDDEN})  # they show that the server takes the credential


class OnForbidden(Enum):
    """What a 403 on a write can mean."""

    SCOPE_MAY_BE_MISSING = auto()  # the engine does not know until the server takes a write of this kind
    SCOPE_GRANTED = auto()  # the credential says so: a 403 is about the request, unless too many come in a row
    ABOUT_THE_REQUEST = auto()  # however many come


class Credentials(Protocol):
    """Where the engine reports a credential that the server refuses."""

    def refused(self, credential: int, reason: str) -> None:
        """Report that the server refuses this credential for every request.

        Raises:
            AuthenticationError: There is no other credential, or the server would refuse it too.
        """
        ...


@dataclass(slots=True, eq=False)
class SuspectCredential:
    """A credential that the server refused for one request; the next replies show which of the two is to blame."""

    credential: int
    since: int  # requests that had left when the refusal came in; only later ones are evidence
    request_refused: bool | None = None  # False: send the request again; None: not known yet

    def observe(self, number: int, reply: Reply) -> None:
        """Learn from the reply to the request that left as number ``number``."""
        if self.request_refused is None and number > self.since and reply.kind in ACCEPTED_KINDS:
            # With a newer credential nothing is shown about this one, but the request can be sent with it.
            self.request_refused = reply.credential == self.credential

    def drop(self, credential: int) -> None:
        """Learn that a credential, and so each one before it, is refused for every request."""
        if self.request_refused is None and self.credential <= credential:
            self.request_refused = False


@dataclass(slots=True)
class ForbiddenWrites:
    """Judges replies 403 to writes, and counts writes that failed with 401."""

    in_a_row: int = 0  # replies 403 since the server last took a write
    refused_in_a_row: int = 0  # writes that failed with 401 since then

    def record_accepted(self) -> None:
        """Learn that the server accepted a write."""
        self.in_a_row = self.refused_in_a_row = 0

    def judge(
        self, request: Request, meaning: OnForbidden, credential: int, last_accepted: tuple[Request, int] | None
    ) -> bool | None:
        """Judge a 403 on a write that carried ``credential``.

        ``last_accepted`` is the latest request of this method that the server took, with its credential.

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

    def refused(self, meaning: OnForbidden) -> bool:
        """Count a write that has failed with 401 alone; return whether it is about all of them."""
        if meaning is OnForbidden.ABOUT_THE_REQUEST:
            return False
        self.refused_in_a_row += 1
        return self.refused_in_a_row >= REFUSED_IN_A_ROW


def _kind(request: Request) -> list[str]:
    """The part of a path that a scope is for: ``api/RobotAccount``."""
    return request.path.split("/", 2)[:2]
