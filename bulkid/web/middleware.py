"""Checks of every request before its handler (host, session, access rule, CSRF token, origin); errors as answers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from hmac import compare_digest
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import anyio.to_thread
from aiohttp import web

from bulkid.errors import (
    BulkidError,
    ConnectionFailedError,
    InterruptedRunError,
    LockedError,
    StateError,
    UsageError,
)
from bulkid.logs import log
from bulkid.web.auth.access import AccessRule, Principal, RefusedError, Role, RouteKind, access_rule_of
from bulkid.web.auth.local import LINKS_DISABLED
from bulkid.web.auth.sessions import Session
from bulkid.web.auth.users import principal_of_token
from bulkid.web.console import NotAllowedError, console_of
from bulkid.web.pages import CSRF, PRINCIPAL, page
from bulkid.web.previews import BusyError
from bulkid.web.request_bodies import form_of, is_text, read_body
from bulkid.web.uploads import StorageFullError, TooLargeError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "X-CSRF-Token"

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # not "no-referrer": with that, browsers send "Origin: null" with forms, which then proves nothing
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}

SESSION: Final = web.RequestKey("session", Session)
"""The session of a request; missing where there is none."""


def principal_of(request: web.Request) -> Principal:
    """The principal of a request. The access rule of its route must require a role."""
    return request[PRINCIPAL]


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Give every answer the headers that confine what a browser does with it (a signal, so that none is left out)."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.pop("Server", None)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors with a page or a JSON object. No answer contains a traceback."""
    try:
        return await handler(request)
    except RefusedError as error:
        return refusal(request, error.status, error.message, error.hint)
    except BulkidError as error:
        return refusal(request, status_for(error), error.message, error.hint)
    except web.HTTPException as error:
        if error.status < 400:  # noqa: PLR2004 - a redirect
            raise
        message, hint = _HTTP_WORDS.get(error.status, (error.reason, ""))
        answer = refusal(request, error.status, message, hint)
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer
    except Exception as error:  # noqa: BLE001 - the outermost handler of errors
        log.warning("console.request_broke", path=request.path, error=f"{type(error).__name__}: {error}")
        return refusal(request, 500, "bulkid failed with an internal error.", "The console's log contains details.")


_HTTP_WORDS: Final = {
    404: ("This page does not exist.", "Go to the start page."),
    405: ("This address does not accept this method.", ""),
    413: ("The request is too large.", ""),
}


def status_for(error: BulkidError) -> int:
    """The HTTP status for what bulkid raises on purpose."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


_STATUSES: Final[tuple[tuple[type[BulkidError], int], ...]] = (  # the first that fits
    (LockedError, 409),
    (NotAllowedError, 403),
    (TooLargeError, 413),
    (StorageFullError, 507),
    (UsageError, 400),
    (ConnectionFailedError, 502),
    (StateError, 503),
    (InterruptedRunError, 503),
    (BusyError, 503),
)


def route_kind_of(request: web.Request) -> RouteKind:
    """What the answer should be, judged by the route, or by the path where there is none."""
    found = access_rule_of(request.match_info.handler)
    if found is not None:
        return found.kind
    return RouteKind.API if request.path.startswith("/api/") else RouteKind.PAGE


def refusal(request: web.Request, status: int, message: str, hint: str) -> web.Response:
    """Refuse a request in the form that its route answers with."""
    if route_kind_of(request) is RouteKind.PAGE:
        return page(request, "error.html", status=status, message=message, hint=hint)
    body = {"error": {"code": _CODES.get(status, "failed"), "message": message, "hint": hint}}
    return web.json_response(body, status=status)


_CODES: Final = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    429: "too_many_requests",
    500: "internal",
    502: "server_unreachable",
    503: "unavailable",
    507: "insufficient_storage",
}


# --- who asks, from where


@web.middleware
async def check_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse host names that are not the console's own, and requests that no browser sends.

    A foreign name that leads here is an attack (DNS rebinding).
    """
    if not is_own(request, request.headers.get("Host", "")):
        raise RefusedError(
            421,
            "The console does not serve this host name.",
            "Use the address that it printed, or serve it with --public-name.",
        )
    if "Content-Encoding" in request.headers:
        raise RefusedError(415, "The console does not accept compressed requests.")
    if not all(map(is_text, (request.path, *request.query.keys(), *request.query.values()))):
        raise RefusedError(400, "The address is not valid.", "It must be UTF-8, without control characters.")
    return await handler(request)


def is_own(request: web.Request, host: str) -> bool:
    """Return whether a ``Host`` header names this console: one of its names, at its port where it gives one."""
    console = console_of(request)
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return False
    if not name or parts.username is not None or parts.path:
        return False
    name = name.removesuffix(".")
    public = {each.lower().removesuffix(".") for each in console.serve.public_names}
    if console.serve.behind_proxy:  # the proxy's port may be any
        return name in public
    return name in public | own_names(console.serve.host, _local_address(request)) and port in {
        None,
        console.serve.port,
    }


def own_names(host: str, reached: str = "") -> frozenset[str]:
    """Return the names of a console that clients reach directly.

    Args:
        host: The address that it listens on.
        reached: The address of this machine at which the connection came in. No DNS name can stand for an address
            in figures, so a console that listens on all addresses may accept it.
    """
    if host in {"127.0.0.1", "localhost", "::1"}:
        return frozenset({"127.0.0.1", "localhost", "::1"})
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        local = {"localhost"} if _is_loopback(reached) else set()
        return frozenset({reached, *local} - {""})
    return frozenset({host.lower()})


def _local_address(request: web.Request) -> str:
    """Return the address of this machine at which the request's connection came in, "" where that is not known."""
    address = request.get_extra_info("sockname")
    return str(address[0]).removeprefix("::ffff:") if isinstance(address, tuple) and address else ""


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


@web.middleware
async def check_access(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Apply the access rule of the route of a request."""
    if request.match_info.http_exception is not None:  # no such route: say so to those who are in, no more
        rule = AccessRule(None, route_kind_of(request))
    else:
        found = access_rule_of(request.match_info.handler)
        if found is None:
            log.warning("console.no_door", path=request.path)
            raise RefusedError(403, "No access rule is defined for this route.")
        rule = found
    changes = request.method not in SAFE_METHODS
    if rule.kind is RouteKind.API:
        await authenticate_token(request, rule)
    else:
        principal = await identify(request)
        if rule.role is not None:
            if principal is None:
                return await sign_in_first(request, rule)
            require_role(principal, rule.role)
        if changes:
            check_origin(request)
            if rule.role is not None and not rule.token_in_body:
                check_token(request, await _sent_token(request))
    if changes and rule.role is not None and not request.content_type.startswith("multipart/"):
        await read_body(request)
        await require_access(request)  # the body may have taken long
    return await handler(request)


def require_role(principal: Principal, role: Role) -> None:
    """Refuse what takes a higher role.

    Raises:
        RefusedError: The role of the principal does not suffice.
    """
    if not principal.may(role):
        raise RefusedError(403, f"This requires the role {role.word}; your role is {principal.role.word}.")


async def require_access(request: web.Request) -> None:
    """Check once more that a request is allowed, now that its whole body is here.

    Raises:
        RefusedError: The session or token has ended since the request began, or the role does not suffice any more.
    """
    rule = access_rule_of(request.match_info.handler)
    if rule is None or rule.role is None:
        return
    if rule.kind is RouteKind.API:
        await authenticate_token(request, rule)
        return
    principal = await identify(request)
    if principal is None:
        raise RefusedError(401, "The session has ended: nothing was done.", "Sign in again.")
    require_role(principal, rule.role)


async def identify(request: web.Request) -> Principal | None:
    """Find out which session a request belongs to, and note it; None where there is none."""
    console = console_of(request)
    session = await console.sessions.find(request)
    principal = None if session is None else console.authenticator.principal(session.record)
    if session is None or principal is None:
        return None
    request[SESSION], request[PRINCIPAL], request[CSRF] = session, principal, session.csrf
    await console.sessions.touch(session)
    return principal


async def authenticate_token(request: web.Request, rule: AccessRule) -> None:
    """Require a token whose role is sufficient. The JSON interface ignores sessions.

    Raises:
        RefusedError: There is no good token, or its role does not suffice.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    principal = None
    if scheme.lower() == "bearer" and token.isascii():
        principal = await anyio.to_thread.run_sync(principal_of_token, console_of(request).store, token.strip())
    if principal is None:
        raise RefusedError(
            401, "There is no token, or it is unknown or revoked.", "Send it as: Authorization: Bearer bulkid_..."
        )
    request[PRINCIPAL] = principal
    if rule.role is not None:
        require_role(principal, rule.role)


async def sign_in_first(request: web.Request, rule: AccessRule) -> web.Response:
    """Answer 401: the sign-in page to a person, an object to a script."""
    if rule.kind is not RouteKind.PAGE:
        return refusal(request, 401, "There is no session, or it has ended.", "Sign in again.")
    wanted = request.path_qs if request.method in SAFE_METHODS else "/"  # percent-encoded
    console = console_of(request)
    users = [] if console.authenticator.has_users else await anyio.to_thread.run_sync(console.store.users)
    return page(request, "signin.html", status=401, next=wanted, failed=LINKS_DISABLED if users else "")


def check_origin(request: web.Request) -> None:
    """Refuse what a page of another origin sends.

    Raises:
        RefusedError: It is not one of our own pages.
    """
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    scheme, separator, host = (origin or "").partition("://")
    own = scheme in {"http", "https"} and separator and is_own(request, host)
    if not own or site not in {"same-origin", "none"}:
        raise RefusedError(
            403, "The request did not come from a page of this console.", "Reload the page and try again."
        )


async def _sent_token(request: web.Request) -> str:
    header = request.headers.get(CSRF_HEADER)
    if header is not None:
        return header
    if request.content_type != "application/x-www-form-urlencoded":
        return ""
    return (await form_of(request)).get(CSRF_FIELD, "")


def check_token(request: web.Request, token: str) -> None:
    """Compare the token of a request with that of its session.

    Raises:
        RefusedError: It is missing or another one.
    """
    expected = request.get(CSRF, "")
    if not expected or not compare_digest(expected.encode(), token.encode("utf-8", "replace")):
        raise RefusedError(403, "The form has expired.", "Reload the page, and send it again.")


def local_path(wanted: object) -> str:
    """A path of this console to go on to, whatever was asked for: never another site."""
    text = str(wanted or "/")
    encoded = text.isascii() and text.isprintable() and " " not in text  # as the addresses of pages are
    return text if encoded and text.startswith("/") and not text.startswith(("//", "/\\")) else "/"


def client_address(request: web.Request) -> str:
    """Where a request comes from: the peer, or the client's address as the proxy before the console says it."""
    if console_of(request).serve.behind_proxy:
        forwarded = forwarded_address(request.headers.getall("X-Forwarded-For", []))
        if forwarded:
            return forwarded
    return request.remote or ""


def forwarded_address(lines: Sequence[str]) -> str:
    """The address that the nearest proxy added to ``X-Forwarded-For``; "" where it is no address.

    A client can send such lines itself. A proxy adds its own address at the end of the last line, or a line after all
    others: only the last address of the last line is the proxy's word.

    Args:
        lines: The header's lines, in the order in which they came.
    """
    if not lines:
        return ""
    text = lines[-1].rsplit(",", 1)[-1].strip()
    host = text[1:].partition("]")[0] if text.startswith("[") else text  # [2001:db8::1]:443
    if host.count(":") == 1:  # 192.0.2.7:443
        host = host.partition(":")[0]
    try:
        return str(ip_address(host))
    except ValueError:
        return ""
