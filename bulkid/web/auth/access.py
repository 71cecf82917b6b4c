"""Access control: roles, principals, the access rule of each route, and the error that refuses a request.

The console refuses requests to a route without an access rule.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:  # `bulkid users` needs roles, and no server
    from aiohttp import web

Handler = Callable[["web.Request"], Awaitable["web.StreamResponse"]]
Each = TypeVar("Each", bound=Handler)


class Role(IntEnum):
    """What a user or token may do. Each role may also do everything that lower roles may."""

    VIEWER = 1  # look at runs, reports and the connection's state
    OPERATOR = 2  # upload, preview, start, pause, resume, stop
    ADMIN = 3  # API tokens, the audit log

    @property
    def word(self) -> str:
        """The name of the role in lower case."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> "Role":
        """The role that a word names.

        Raises:
            KeyError: There is no such role.
        """
        return cls[word.upper()]


@dataclass(frozen=True, slots=True)
class Principal:
    """The user or program that sent a request.

    Args:
        name: The name in the history and the audit log: the user, or ``token NAME``.
        role: What the principal may do.
        person: The user: the owner of a token, else the user itself. Approval depends on this name.
    """

    name: str
    role: Role
    person: str

    def may(self, role: Role) -> bool:
        """Whether the principal may do what a role may."""
        return self.role >= role


class RefusedError(Exception):
    """The console refuses a request.

    Args:
        status: The HTTP status.
        message: Why, as a sentence for users.
        hint: What to do next.
    """

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint


class RouteKind(Enum):
    """What a route answers, which also decides the form of its refusals."""

    PAGE = "page"  # HTML for a browser
    DATA = "data"  # JSON, events or a file for a page's script
    API = "api"  # JSON for a program, with a bearer token


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Who may use a route.

    Args:
        role: The lowest role that may use it; None: no session is needed, as for the sign-in page and the style sheet.
        kind: What the route answers.
        token_in_body: The CSRF token is the first part of a multipart body, which only the handler can read; it checks
            the token itself before it reads on.
        action: What a request does, as a noun, for the audit log; empty where it does nothing worth an entry.
    """

    role: Role | None
    kind: RouteKind
    token_in_body: bool = False
    action: str = ""


_RULE_ATTRIBUTE: Final = "__access_rule__"


def access_rule(
    role: Role | None, kind: RouteKind = RouteKind.PAGE, *, token_in_body: bool = False, action: str = ""
) -> Callable[[Each], Each]:
    """Set the access rule of a handler."""

    def mark(handler: Each) -> Each:
        setattr(handler, _RULE_ATTRIBUTE, AccessRule(role, kind, token_in_body, action))
        return handler

    return mark


def access_rule_of(handler: object) -> AccessRule | None:
    """The access rule of a handler; None where it has none."""
    found = getattr(handler, _RULE_ATTRIBUTE, None)
    return found if isinstance(found, AccessRule) else None
