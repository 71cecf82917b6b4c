"""Sessions in an encrypted cookie: what a browser holds can be neither read nor changed there."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Middleware
from aiohttp_session import Session
from aiohttp_session.cookie_storage import EncryptedCookieStorage
from cryptography.fernet import Fernet

from bulkid.web.entrance import SESSION_S

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SESSION: Final = web.RequestKey("session", Session)


def session_of(request: web.Request) -> Session:
    """The session of a request; an empty one where the browser has none."""
    return request[_SESSION]


def _held(request: web.Request) -> dict[str, Any]:
    return {**session_of(request)}


def begin_session(request: web.Request, values: dict[str, Any]) -> None:
    """Put a new session in place of whatever was there."""
    session = Session(None, data=None, new=True, max_age=SESSION_S)
    for name, value in values.items():
        session[name] = value
    request[_SESSION] = session


def make_storage(port: int, *, secure: bool) -> EncryptedCookieStorage:
    """The cookie of one console, readable until the console ends: the key is of this start only.

    Args:
        port: Cookies know no ports: two consoles on one machine must not take each other's.
        secure: Whether browsers reach the console by TLS.
    """
    return EncryptedCookieStorage(
        Fernet(Fernet.generate_key()),
        cookie_name="__Host-bulkid" if secure else f"bulkid-{port}",
        max_age=SESSION_S,
        httponly=True,
        samesite="Strict",
        secure=secure,
    )


def session_middleware(storage: EncryptedCookieStorage) -> Middleware:
    """Read the session before a handler, and write it after one that has changed it.

    The library's own middleware does the same, but keeps the session under a name that aiohttp warns of.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[_SESSION] = await storage.load_session(request)
        before = _held(request)
        try:
            response = await handler(request)
        except web.HTTPException as answer:
            if _held(request) != before:
                await storage.save_session(request, answer, session_of(request))
            raise
        if _held(request) != before and not response.prepared:
            await storage.save_session(request, response, session_of(request))
        return response

    return middleware
