"""Access control: roles, principals, routes with the role that each requires, and the error that refuses a request."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING

from bulkid.errors import BulkidError

if TYPE_CHECKING:  # `bulkid users` needs roles, and no server
    from aiohttp import web

Handler = Callable[["web.Request"], Awaitable["web.StreamResponse"]]


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
        """Return the role that a word names; raise KeyError for any other word."""
        return cls[word.upper()]


@dataclass(frozen=True, slots=True)
class Principal:
    """The user or program that sent a request."""

    name: str  # in the history and the audit log: the user, or "token NAME"
    role: Role
    person: str  # the user, or the owner of the token; approval depends on this name

    def may(self, role: Role) -> bool:
        """Whether the principal may do what a role may."""
        return self.role >= role


class RefusedError(BulkidError):
    """The console refuses a request, with an HTTP status."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class RouteKind(Enum):
    """What a route answers, which also decides the form of its refusals."""

    PAGE = "page"  # HTML for a browser
    DATA = "data"  # JSON, events or a file for a page's script
    API = "api"  # JSON for a program, with a bearer token


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the console, and who may use it."""

    method: str
    path: str
    handler: Handler
    role: Role | None  # the lowest role that may use it; None: no session is needed, as for the sign-in page
    kind: RouteKind = RouteKind.PAGE
    action: str = ""  # what a request does, as a noun, for the audit log; "" for what needs no entry
    token_in_body: bool = False  # the handler checks the CSRF token: it is the first part of a multipart body
