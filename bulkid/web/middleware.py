"""Checks of every request before its handler (host, session, role, CSRF token, origin); errors as answers."""

import errno
import re
from collections.abc import Mapping, Sequence
from hmac import compare_digest
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from bulkid.errors import BulkidError, ConnectionFailedError, InterruptedRunError, LockedError, StateError, UsageError
from bulkid.logs import log
from bulkid.report.atomic import ReportError
from bulkid.runs.concurrency import in_thread
from bulkid.web.auth.access import Handler, Principal, RefusedError, Role, Route, RouteKind
from bulkid.web.auth.users import LINKS_DISABLED, principal_of_token
from bulkid.web.console import ServeOptions, console_of
from bulkid.web.pages import PRINCIPAL, SESSION, page
from bulkid.web.request_bodies import GO_BACK, form_of, is_text, read_body
from bulkid.web.uploaded_sheets import BusyError
from bulkid.web.uploads import StorageFullError, TooLargeError, UnknownUploadError

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "X-CSRF-Token"

REFUSAL: Final = web.RequestKey("refusal", str)
"""Why a request was refused, set by a handler that answers with the form again instead of raising an error."""

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

ROUTES: Final[web.AppKey[dict[object, Route]]] = web.AppKey("routes")
"""The routes of the application by their handlers."""


def route_of(request: web.Request) -> Route | None:
    """The route of a request; None where there is none."""
    return request.app[ROUTES].get(request.match_info.handler)


def principal_of(request: web.Request) -> Principal:
    """The principal of a request whose route requires a role."""
    return request[PRINCIPAL]


TLS_ALONE: Final = "max-age=31536000"  # a year, as OWASP ASVS 4.0 14.4.5 asks
"""``Strict-Transport-Security``: browsers that know it open this host name by TLS alone."""


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Give every response the headers that restrict what a browser does with it. aiohttp calls this for each."""
    if response.content_type == "text/event-stream":
        del response.headers["Cache-Control"]  # the library's no-cache lets a browser keep the names of accounts
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if console_of(request).serve.is_tls_alone:
        response.headers.setdefault("Strict-Transport-Security", TLS_ALONE)
    response.headers.pop("Server", None)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors with a page or a JSON object. No response contains a traceback."""
    try:
        return await handler(request)
    except BulkidError as error:
        return refusal(request, status_for(error), error.message, error.hint)
    except web.HTTPException as error:
        if error.status < 400:  # noqa: PLR2004 - a redirect
            raise
        if error.status == 405 and request.method == "GET" and _is_form_address(request):  # noqa: PLR2004
            raise web.HTTPSeeOther(page_of_form(request)) from None
        message, hint = _HTTP_MESSAGES.get(error.status, (error.reason, ""))
        response = refusal(request, error.status, message, hint)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception as error:  # noqa: BLE001 - the outermost handler of errors
        log.warning("console.request_broke", path=request.path, error=f"{type(error).__name__}: {error}")
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            hint = "Ask the admin of the console to free space on its disk."
            return refusal(request, 507, f"The console cannot write a file: {error.strerror}.", hint)
        return refusal(request, 500, "bulkid failed with an internal error.", "The console's log contains details.")


_DISK_FULL: Final = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}

_HTTP_MESSAGES: Final = {
    404: ("This page does not exist.", ""),
    405: ("This address does not accept this method.", ""),
    413: ("The request is too large.", ""),
}


def status_for(error: BulkidError) -> int:
    """The HTTP status for an error that bulkid raises on purpose."""
    if isinstance(error, RefusedError):
        return error.status
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


_STATUSES: Final[tuple[tuple[type[BulkidError], int], ...]] = (  # the first that fits
    (LockedError, 409),
    (UnknownUploadError, 404),
    (TooLargeError, 413),
    (StorageFullError, 507),
    (ReportError, 507),
    (UsageError, 400),
    (ConnectionFailedError, 502),
    (StateError, 503),
    (InterruptedRunError, 503),
    (BusyError, 503),
)


def route_kind_of(request: web.Request) -> RouteKind:
    """What the response should be, by the route, or by the path where there is no route."""
    route = route_of(request)
    if route is not None:
        return route.kind
    return RouteKind.API if request.path.startswith("/api/") else RouteKind.PAGE


def refusal(request: web.Request, status: int, message: str, hint: str) -> web.Response:
    """Refuse a request in the form that its route answers with."""
    if route_kind_of(request) is RouteKind.PAGE:
        title = _TITLES.get(status, "Something went wrong")
        return page(request, "error.html", status=status, title=title, message=message, hint=hint)
    body = {"error": {"code": _CODES.get(status, "failed"), "message": message, "hint": hint}}
    return web.json_response(body, status=status)


_TITLES: Final = {403: "Not allowed", 404: "Not found"}
"""The headings of pages that refuse a request, by HTTP status."""

_CODES: Final = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    421: "wrong_host",
    429: "too_many_requests",
    500: "internal",
    502: "server_unreachable",
    503: "unavailable",
    507: "insufficient_storage",
}


def form_again(request: web.Request, error: BulkidError, template: str, /, **context: Any) -> web.Response:  # noqa: ANN401
    """Answer a form that was refused with its page, so that the user sees the error where it can be corrected."""
    request[REFUSAL] = error.message
    return page(request, template, status=status_for(error), **context)


# --- which names the console has


@web.middleware
async def check_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse host names that are not the console's own, and requests that no browser sends.

    A foreign name that leads here is an attack (DNS rebinding).
    """
    route = route_of(request)
    if not (is_own(request, request.headers.get("Host", "")) or (route is not None and route.any_host)):
        return refuse_host(request)
    if "Content-Encoding" in request.headers:
        raise RefusedError(415, "The console does not accept compressed requests.")
    if not all(map(is_text, (request.path, *request.query.keys(), *request.query.values()))):
        raise RefusedError(400, "The address is not valid.", "It must be UTF-8, without control characters.")
    return await handler(request)


def refuse_host(request: web.Request) -> web.Response:
    """Answer a request for a foreign host name with the addresses of the console. The name itself is not repeated."""
    message = "The console does not answer under this host name."
    addresses = own_addresses(request)
    if route_kind_of(request) is not RouteKind.PAGE:
        return refusal(request, 421, message, f"Use {' or '.join(addresses)}.")
    return page(
        request,
        "wrong_host.html",
        status=421,
        title="Wrong address",
        message=message,
        addresses=addresses,
        home=f"{addresses[0]}/",
    )


def own_addresses(request: web.Request) -> list[str]:
    """The addresses under which browsers reach this console: public names first, then where it listens."""
    return addresses_of(console_of(request).serve, _local_address(request))


def addresses_of(serve: ServeOptions, reached: str = "") -> list[str]:
    """The addresses under which browsers reach a console; ``reached``: see :func:`own_names`."""
    if serve.behind_proxy:
        return [f"https://{_in_address(name)}" for name in serve.public_names]
    host = serve.host if serve.host not in _ALL_ADDRESSES else reached or "localhost"
    names = map(_in_address, (*serve.public_names, host))
    return [f"{'https' if serve.secure else 'http'}://{name}:{serve.port}" for name in names]


def _in_address(name: str) -> str:
    """Write the name of a host as it stands in an address: an IPv6 address in brackets."""
    return f"[{name}]" if ":" in name else name


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
    name, public = _canonical(name), set(map(_canonical, console.serve.public_names))
    if console.serve.behind_proxy:  # the proxy's port may be any
        return name in public
    own = public.union(map(_canonical, own_names(console.serve.host, _local_address(request))))
    return name in own and port in {None, console.serve.port}


def _canonical(name: str) -> str:
    """Write the name of a host as browsers send it: in small letters, and an IPv6 address in its shortest form."""
    name = name.lower().removesuffix(".")
    try:
        return str(ip_address(name))
    except ValueError:
        return name


_ALL_ADDRESSES: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


def own_names(host: str, reached: str) -> frozenset[str]:
    """Return the names of a console that listens on ``host`` and that clients reach directly.

    ``reached`` is the address of this machine at which the connection came in. A console that listens on all addresses
    may accept it: an attacker can make a DNS name lead here, but not a numeric address.
    """
    if host in {"127.0.0.1", "localhost", "::1"}:
        return frozenset({"127.0.0.1", "localhost", "::1"})
    if host in _ALL_ADDRESSES:
        is_loopback = reached == "::1" or reached.startswith("127.")
        return frozenset({reached, "localhost" if is_loopback else ""} - {""})
    return frozenset({host.lower()})


def _local_address(request: web.Request) -> str:
    """Return the address of this machine at which the request's connection came in, "" where that is not known."""
    address = request.get_extra_info("sockname")
    return str(address[0]).removeprefix("::ffff:") if isinstance(address, tuple) and address else ""


@web.middleware
async def check_access(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Require the role, and for a change the CSRF token and the origin, that the route of a request demands."""
    route, changes = route_of(request), request.method not in SAFE_METHODS
    if route is None and request.match_info.http_exception is None:
        log.warning("console.no_door", path=request.path)
        raise RefusedError(403, "No access rule is defined for this route.")
    role = None if route is None else route.role  # an unknown address requires none: its handler answers 404
    if route_kind_of(request) is RouteKind.API:
        await authenticate_token(request, role)
    else:
        principal = await identify(request)
        if role is not None and principal is None:
            return await sign_in_first(request)
        if role is not None and principal is not None:
            require_role(principal, role)
        if changes:
            check_origin(request)
            if route is not None and role is not None and not route.token_in_body:
                check_token(request, await _sent_token(request))
    if changes and role is not None and not request.content_type.startswith("multipart/"):
        await read_body(request)
        await require_access(request)  # the body may have taken long
    return await handler(request)


def require_role(principal: Principal, role: Role) -> None:
    """Raise RefusedError where the role of the principal is not sufficient."""
    if not principal.may(role):
        raise RefusedError(403, f"You need the {role.word} role for this.", f"Your role is {principal.role.word}.")


async def require_access(request: web.Request) -> None:
    """Check once more that a request is allowed, now that its whole body is here.

    Raises:
        RefusedError: The session or token has ended since the request began, or the role is not sufficient any more.
    """
    route = route_of(request)
    if route is None or route.role is None:
        return
    if route.kind is RouteKind.API:
        await authenticate_token(request, route.role)
        return
    principal = await identify(request)
    if principal is None:
        raise RefusedError(401, "The session has ended: nothing was done.", "Sign in again.")
    require_role(principal, route.role)


async def identify(request: web.Request) -> Principal | None:
    """Find the session of a request, and note the request of a user; None where there is no session."""
    console, route = console_of(request), route_of(request)
    session = await console.sessions.find(request)
    principal = None if session is None else console.authenticator.principal(session.record)
    if session is None or principal is None:
        return None
    request[SESSION], request[PRINCIPAL] = session, principal
    if route is None or not route.automatic:
        await console.sessions.touch(session)
    return principal


async def authenticate_token(request: web.Request, role: Role | None) -> None:
    """Raise RefusedError without a valid token whose role is sufficient. The JSON interface ignores sessions."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    principal = None
    if scheme.lower() == "bearer" and token.isascii():
        console = console_of(request)
        principal = await in_thread(principal_of_token, console.store, token.strip(), console.clock.now())
    if principal is None:
        raise RefusedError(
            401, "There is no token, or it is unknown or revoked.", "Send it as: Authorization: Bearer bulkid_..."
        )
    request[PRINCIPAL] = principal
    if role is not None:
        require_role(principal, role)


async def sign_in_first(request: web.Request) -> web.Response:
    """Answer 401: with the sign-in page to a user, with an object to a script."""
    if route_kind_of(request) is not RouteKind.PAGE:
        return refusal(request, 401, "There is no session, or it has ended.", "Sign in again.")
    wanted, failed = request.path_qs, ""  # percent-encoded
    if request.method not in SAFE_METHODS:
        wanted, failed = (
            page_of_form(request),
            "Your session has ended: nothing was done. Sign in, and send the form again.",
        )
    console = console_of(request)
    users = [] if console.authenticator.has_users else await in_thread(console.store.users)
    return page(request, "signin.html", status=401, next=wanted, failed=LINKS_DISABLED if users else failed)


_PAGES: Final = re.compile(r"/(?:sheets/[^/]+|runs/[^/]+|account|tokens|status)(?=/|\Z)")
"""The pages with forms, in the addresses that the forms are sent to; the others are sent from the home page."""


def page_of_form(request: web.Request) -> str:
    """The page whose form is sent to the address of a request."""
    path = request.rel_url.raw_path
    folder, _, last = path.rpartition("/")
    if last in {"start", "reject"}:
        return f"{folder}/preview"
    found = _PAGES.match(path)
    return found[0] if found else "/"


def _is_form_address(request: web.Request) -> bool:
    """Whether a page of the console sends forms to the address of a request, and it is no page itself."""
    return route_kind_of(request) is RouteKind.PAGE and page_of_form(request) != request.rel_url.raw_path


def check_origin(request: web.Request) -> None:
    """Raise RefusedError where a page of another origin sent the request."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if not _is_own_origin(request, request.headers.get("Origin", "")) or site not in {"same-origin", "none"}:
        raise RefusedError(403, "The request did not come from a page of this console.", GO_BACK)


def _is_own_origin(request: web.Request, origin: str) -> bool:
    """Whether scheme, host and port are those of this request, as far as the console can know them."""
    serve = console_of(request).serve
    scheme, _, host = origin.partition("://")
    if scheme != ("https" if serve.secure else "http"):
        return False
    if serve.behind_proxy:  # which may have left the port out of Host
        return is_own(request, host)
    return host.lower() == request.headers.get("Host", "").lower()


async def _sent_token(request: web.Request) -> str:
    header = request.headers.get(CSRF_HEADER)
    if header is not None:
        return header
    if request.content_type != "application/x-www-form-urlencoded":
        return ""
    return (await form_of(request)).get(CSRF_FIELD, "")


def check_token(request: web.Request, token: str) -> None:
    """Raise RefusedError where the token of a request is not that of its session."""
    if not compare_digest(request[SESSION].csrf.encode(), token.encode("utf-8", "replace")):
        raise RefusedError(403, "The form has expired.", GO_BACK)


def local_path(wanted: object) -> str:
    """The path of this console that a form asks for, "/" where it asks for anything else, such as another site."""
    text = str(wanted or "/")
    encoded = text.isascii() and text.isprintable() and " " not in text  # as the addresses of pages are
    return text if encoded and text.startswith("/") and not text.startswith(("//", "/\\")) else "/"


def client_address(request: web.Request) -> str:
    """The address of the client: that of the peer, or the one that the proxy before the console added."""
    if console_of(request).serve.behind_proxy:
        forwarded = forwarded_address(request.headers.getall("X-Forwarded-For", []))
        if forwarded:
            return forwarded
    return request.remote or ""


def forwarded_address(lines: Sequence[str]) -> str:
    """The address that the nearest proxy added to the ``X-Forwarded-For`` lines; "" where it is not an address.

    A client can send such lines itself. A proxy adds the address of its client at the end of the last line, or as a
    last line: only the last address of the last line comes from the proxy.
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
