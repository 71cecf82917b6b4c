"""The door of a route: who may pass, and how a request shows that it is meant. A route without a door stays shut."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from aiohttp import web

from bulkid.web.auth.principals import Role

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Each = TypeVar("Each", bound=Handler)


class RouteKind(Enum):
    """What a route answers, and therefore how it says no."""

    PAGE = "page"  # HTML for a person
    DATA = "data"  # JSON, events or a file for a page's script
    API = "api"  # JSON for a program, with a bearer token


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Who may pass.

    Args:
        role: The least role; None lets everybody in, for the sign-in page and the style sheet.
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
    """Put a door before a handler."""

    def mark(handler: Each) -> Each:
        setattr(handler, _RULE_ATTRIBUTE, AccessRule(role, kind, token_in_body, action))
        return handler

    return mark


def access_rule_of(handler: object) -> AccessRule | None:
    """The door of a handler; None where somebody forgot it."""
    found = getattr(handler, _RULE_ATTRIBUTE, None)
    return found if isinstance(found, AccessRule) else None
