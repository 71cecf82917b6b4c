"""Access control: roles, principals, routes with the role that each requires, and the rules of approval.

A plan has authors: the users who wrote any part of it, or pressed a button that made it. With ``--require-approval``
only another user may start it, which approves exactly the plan with the hash that this user saw. The table in
``docs/console.md`` says by what a user becomes an author. A plan that deletes accounts is started by an admin, or by
another user in the same way, also without ``--require-approval``.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING

from bulkid.errors import BulkidError
from bulkid.journal.names import user_key

if TYPE_CHECKING:  # `bulkid users` needs roles, and no server
    from aiohttp import web

Handler = Callable[["web.Request"], Awaitable["web.StreamResponse"]]


class Role(IntEnum):
    """What a user or token may do. Each role may also do everything that lower roles may."""

    VIEWER = 1  # look at runs, reports and the connection's state; export the accounts
    OPERATOR = 2  # upload, preview, start, approve, reject, pause, resume, stop
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
    user: str  # the user, or the owner of the token; approval depends on this name

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
    any_host: bool = False  # answers under any host name: for the page that says which one is right, and for probes
    automatic: bool = False  # a page's script requests it without the user, so that it does not keep a session alive
    token_in_body: bool = False  # the handler checks the CSRF token: it is the first part of a multipart body


# --- approval

Authors = tuple[str, ...]
"""Names of users, each once, in the order in which they contributed. Names compare as :func:`same_user` says."""


def same_user(one: str, other: str) -> bool:
    """Whether two names are those of one user."""
    return user_key(one) == user_key(other)


def with_authors(authors: Iterable[str], *more: str) -> Authors:
    """Add authors to a plan. An author of a plan stays one of all plans that derive from it."""
    found: dict[str, str] = {}
    for name in (*authors, *more):
        if name:
            found.setdefault(user_key(name), name)
    return tuple(found.values())


def is_another_user(user: str, authors: Iterable[str]) -> bool:
    """Whether a user is none of the authors of a plan; no user is one of a plan without known authors."""
    keys = {user_key(author) for author in authors}
    return bool(keys) and user_key(user) not in keys


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """The rules of one console. ``required``: the user who starts a plan must not be one of its authors."""

    required: bool

    def may_start(self, user: str, authors: Iterable[str]) -> bool:
        """Whether a user may start, and thereby approve, a plan of these authors.

        A plan without any known author can be approved by no user: its origin is not known.
        """
        return not self.required or is_another_user(user, authors)

    def may_delete(self, principal: Principal, authors: Iterable[str]) -> bool:
        """Whether a user may start a plan that deletes accounts: an admin may, and another user than its authors."""
        return principal.may(Role.ADMIN) or is_another_user(principal.user, authors)

    def approves(self, principal: Principal, *, deletes: bool) -> bool:
        """Whether the start of a plan is an approval: if required, or if it ``deletes`` and the user is no admin."""
        return self.required or (deletes and not principal.may(Role.ADMIN))

    def resume_needs_preview(self, *, approved: str, unseen: bool, deletes: bool) -> bool:
        """Whether the pending rows of a run must be previewed and started, instead of being sent by a resume.

        Args:
            approved: The hash of the plan that was approved for the run; empty where none was.
            unseen: Whether the preview of the run did not show these rows: the rest of a trial.
            deletes: Whether they delete accounts, and the user who resumes the run is no admin.
        """
        return unseen or ((self.required or deletes) and not approved)
