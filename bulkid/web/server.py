"""The console as a server: its routes with the role that each requires, the application, and its socket."""

import asyncio
import socket
import ssl
import sys
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final, cast

import anyio
from aiohttp import web

from bulkid import runs
from bulkid.clock import SystemClock
from bulkid.errors import UsageError
from bulkid.journal.console_store import ConsoleStore, SessionStore
from bulkid.logs import log
from bulkid.runs.concurrency import in_thread
from bulkid.web import (
    api,
    approvals,
    export_pages,
    home_pages,
    mapping_pages,
    preview_pages,
    run_pages,
    site_pages,
    upload_pages,
)
from bulkid.web.audit import audit_requests
from bulkid.web.auth.access import Role, Route, RouteKind
from bulkid.web.auth.sessions import Sessions
from bulkid.web.auth.users import Authenticator, LocalAuthenticator, UserAuthenticator
from bulkid.web.console import CONSOLE, Console, ServeOptions
from bulkid.web.job_runner import JobRunner
from bulkid.web.middleware import HEADERS, add_headers, answer_errors, check_access, check_request
from bulkid.web.middleware import ROUTES as ROUTES_KEY
from bulkid.web.pages import set_up_templates, static
from bulkid.web.request_bodies import ignore_disposition_warnings

SETTLE_S: Final = 12.0
"""Seconds that runs may take to settle what is in flight when the server ends; the engine takes ten at most."""

FORM_BYTES: Final = 1 << 20  # the largest body of a request that is not an upload
IDLE_S: Final = 15.0  # seconds after which the server closes a connection that sends no request
PER_ADDRESS: Final = 100
"""Open connections of one address. A browser opens six, and one more for each run that a page shows."""

MAX_CONNECTIONS: Final = 1000  # open connections in all, where the operating system allows as many
_RESERVED_FILES: Final = 128  # open files that the server itself needs: the database, sheets, requests to the server
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

VIEWER, OPERATOR, ADMIN = Role.VIEWER, Role.OPERATOR, Role.ADMIN
DATA = RouteKind.DATA

ROUTES: Final = (
    Route("GET", "/static/{name}", static, None, DATA, any_host=True),
    Route("GET", "/health", site_pages.health, None, DATA, any_host=True),
    Route("GET", "/enter", site_pages.enter, None),
    Route("POST", "/signin", site_pages.sign_in, None),
    Route("POST", "/signout", site_pages.sign_out, VIEWER, action="sign-out"),
    Route("POST", "/signout-everywhere", site_pages.sign_out_everywhere, VIEWER, action="sign-out everywhere"),
    Route("GET", "/account", site_pages.account, VIEWER),
    Route("POST", "/account/link", site_pages.new_link, ADMIN),
    Route("POST", "/account/password", site_pages.change_password, VIEWER, action="change of a password"),
    Route("POST", "/account/sessions/end", site_pages.end_sessions, VIEWER, action="end of a session"),
    Route("GET", "/tokens", site_pages.tokens, ADMIN),
    Route("POST", "/tokens", site_pages.issue, ADMIN, action="token"),
    Route("POST", "/tokens/{token}/revoke", site_pages.revoke, ADMIN, action="revocation of a token"),
    Route("GET", "/", home_pages.home, VIEWER),
    Route("POST", "/export", export_pages.export, VIEWER, action="export"),
    Route("GET", "/template.csv", export_pages.template_csv, OPERATOR, DATA),
    Route("GET", "/template.xlsx", export_pages.template_xlsx, OPERATOR, DATA),
    Route("GET", "/status", site_pages.status, VIEWER),
    Route("GET", "/status/summary", site_pages.connection, VIEWER, DATA, automatic=True),
    Route("POST", "/status", site_pages.examine, OPERATOR, action="connection check"),
    Route("GET", "/metrics", site_pages.metrics, VIEWER, RouteKind.API),
    Route("GET", "/audit", site_pages.audit, ADMIN),
    Route("GET", "/audit.csv", site_pages.audit_csv, ADMIN, DATA, action="audit download"),
    Route("POST", "/sheets", upload_pages.upload, OPERATOR, action="upload", token_in_body=True),
    Route("GET", "/sheets/{upload}", mapping_pages.sheet, VIEWER),
    Route("POST", "/sheets/{upload}", mapping_pages.change_read_options, OPERATOR, action="reading of a sheet"),
    Route("GET", "/sheets/{upload}/retry.csv", mapping_pages.invalid_rows, VIEWER, DATA, action="download"),
    Route("GET", "/sheets/{upload}/preview", preview_pages.preview, VIEWER),
    Route("POST", "/sheets/{upload}/preview", mapping_pages.make_preview, OPERATOR, action="preview"),
    Route("POST", "/sheets/{upload}/start", preview_pages.start, OPERATOR, action="start"),
    Route("POST", "/sheets/{upload}/reject", approvals.reject, OPERATOR, action="rejection"),
    Route("POST", "/sheets/{upload}/remove", upload_pages.remove, OPERATOR, action="removal of a sheet"),
    Route("GET", "/runs", home_pages.history, VIEWER),
    Route("GET", "/runs/{run}", run_pages.run, VIEWER),
    Route("GET", "/runs/{run}/rate", run_pages.rate, VIEWER, DATA, automatic=True),
    Route("GET", "/runs/{run}/events", run_pages.events, VIEWER, DATA, automatic=True),
    Route("GET", "/runs/{run}/download/{kind}", run_pages.download, VIEWER, DATA, action="download"),
    Route("POST", "/runs/{run}/pause", run_pages.pause, OPERATOR, action="pause"),
    Route("POST", "/runs/{run}/stop", run_pages.stop, OPERATOR, action="stop"),
    Route("POST", "/runs/{run}/resume", run_pages.resume, OPERATOR, action="resume"),
    Route("POST", "/runs/{run}/retry", run_pages.retry, OPERATOR, action="retry"),
    Route("POST", "/runs/{run}/undo", run_pages.undo, OPERATOR, action="undo"),
    Route("POST", "/runs/{run}/again", run_pages.again, OPERATOR, action="preview"),
    *api.OPERATIONS,
)


def make_app(console: Console) -> web.Application:
    """Put the application together."""
    middlewares = [answer_errors, check_request, audit_requests, check_access]
    app = web.Application(middlewares=middlewares, client_max_size=FORM_BYTES)
    app[CONSOLE] = console
    by_handler: dict[object, Route] = {route.handler: route for route in ROUTES}
    app[ROUTES_KEY] = by_handler
    app.on_response_prepare.append(add_headers)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, route.handler)
        if route.method == "GET" and route.handler is not site_pages.enter:  # a HEAD would use up the link
            app.router.add_route("HEAD", route.path, route.handler)
    set_up_templates(app)
    ignore_disposition_warnings()
    return app


def require_safe(serve: ServeOptions, *, has_users: bool) -> None:
    """Raise UsageError where other machines could reach the console without users or without encryption."""
    if serve.keyfile is not None and serve.certfile is None:
        raise UsageError(
            "A key without a certificate is not enough for TLS.", hint="Name the certificate with --certfile."
        )
    if serve.require_approval and not has_users:
        raise UsageError(
            "The console has no users, so no other operator can approve a sheet.",
            hint="Add users (bulkid users add), or leave out --require-approval.",
        )
    if serve.host in _LOOPBACK and not serve.behind_proxy:
        return
    if not has_users:
        raise UsageError(
            f"The console has no users, so it is not served on {serve.host}: every client there could use it.",
            hint="Add a first one with `bulkid users add NAME --role admin`, or leave out --host.",
        )
    if serve.certfile is None and not serve.behind_proxy:
        raise UsageError(
            f"Passwords would cross the network to {serve.host} without encryption.",
            hint="Give --certfile and --keyfile, or use a proxy that ends TLS, with --behind-proxy.",
        )
    if serve.behind_proxy and not serve.public_names:
        raise UsageError(
            "Behind a proxy the console must know the name that browsers use.",
            hint="Give it with --public-name bulkid.example.com.",
        )


def tls_of(serve: ServeOptions) -> ssl.SSLContext | None:
    """The TLS context of the options; raises UsageError for a certificate or key that cannot be used."""
    if serve.certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(serve.certfile, serve.keyfile)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"The certificate {serve.certfile} cannot be used: {getattr(error, 'strerror', None) or error}.",
            hint="--certfile takes a PEM file with the chain, --keyfile its key, without a passphrase.",
        ) from None
    return context


@asynccontextmanager
async def serving(
    serve: ServeOptions, target: runs.Target, options: runs.RunOptions, context: runs.Context
) -> AsyncIterator[tuple[Console, str]]:
    """Serve the console while the block runs; leaving it settles what is in flight and marks runs as interrupted.

    Browsers sign in as the users of the state database, or by sign-in links where it has none. The state directory of
    the context is shared with terminals and scheduled jobs.

    Yields:
        The console, and the address that it is served at.

    Raises:
        UsageError: It cannot be served there, or not safely.
        StateError: The state directory cannot be used.
    """
    tls = tls_of(serve)
    run_browser = await in_thread(runs.RunBrowser, context.state_dir, context.database_url)
    with run_browser:
        store = ConsoleStore(run_browser.journal)
        authenticator: Authenticator = LocalAuthenticator()
        if await in_thread(store.users):
            authenticator = UserAuthenticator(store, hasher=serve.hasher)
        require_safe(serve, has_users=authenticator.has_users)
        async with runs.task_group() as tasks:
            job_runner = JobRunner(tasks, context)
            sock, serve = _listen(serve)
            clock = SystemClock()
            sessions = Sessions(
                SessionStore(run_browser.journal),
                clock,
                port=serve.port,
                secure=serve.secure,
                idle_s=authenticator.idle_s,
            )
            console = Console(
                serve=serve,
                target=target,
                options=options,
                context=context,
                run_browser=run_browser,
                job_runner=job_runner,
                authenticator=authenticator,
                store=store,
                sessions=sessions,
                clock=clock,
            )
            job_runner.spawn(console.prune_periodically)
            runner = web.AppRunner(make_app(console), handle_signals=False, shutdown_timeout=2.0)
            await runner.setup()
            listening = await _listening(runner, sock, tls, serve)
            try:
                host = f"[{serve.host}]" if ":" in serve.host else serve.host
                yield console, f"{'https' if tls else 'http'}://{host}:{serve.port}"
            finally:
                with anyio.CancelScope(shield=True):
                    listening.close()
                    console.run_feeds.close()
                    await job_runner.close(SETTLE_S)
                    await runner.cleanup()
                tasks.cancel_scope.cancel()


async def _listening(
    runner: web.AppRunner, sock: socket.socket, tls: ssl.SSLContext | None, serve: ServeOptions
) -> asyncio.Server:
    """Serve the application on a socket, within limits on connections."""
    assert runner.server is not None  # noqa: S101 - the runner has been set up
    limit = ConnectionLimit(None if serve.behind_proxy else PER_ADDRESS, max_connections())
    factory = protocol_factory(runner.server, limit, tls)
    return await asyncio.get_running_loop().create_server(factory, sock=sock)


def _listen(serve: ServeOptions) -> tuple[socket.socket, ServeOptions]:
    """Open the socket, so that the port is known before anything is served."""
    family = socket.AF_INET6 if ":" in serve.host else socket.AF_INET
    try:
        sock = socket.create_server((serve.host, serve.port), family=family)
    except OSError as error:
        raise UsageError(
            f"Cannot listen on {serve.host}:{serve.port}: {error.strerror or error}.",
            hint="Choose another --port, or 0 for any free one.",
        ) from None
    return sock, replace(serve, port=sock.getsockname()[1])


# --- connections


@dataclass(slots=True)
class ConnectionLimit:
    """Counts the open connections of each address, so that one client cannot use up those of all others."""

    per_address: int | None = PER_ADDRESS  # None: any number (all connections come from one proxy)
    max_total: int = MAX_CONNECTIONS
    _open: dict[str, list[asyncio.BaseTransport]] = field(default_factory=dict)
    _count: int = 0

    def admits(self, transport: asyncio.BaseTransport) -> bool:
        """Count a new connection, unless its address or the server has too many."""
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        mine = self._drop_closed(address)
        if self.per_address is not None and len(mine) >= self.per_address:
            return False
        if self._count >= self.max_total:
            for each in tuple(self._open):
                self._drop_closed(each)
            if self._count >= self.max_total:
                return False
        self._open.setdefault(address, mine).append(transport)
        self._count += 1
        return True

    def _drop_closed(self, address: str) -> list[asyncio.BaseTransport]:
        before = self._open.pop(address, [])
        after = [each for each in before if not each.is_closing()]
        self._count -= len(before) - len(after)
        if after:
            self._open[address] = after
        return after


class _Admission(asyncio.Protocol):
    """Hands a new connection to the server, or closes it at once where the limit is reached.

    The limit counts a connection before its TLS handshake. The event loop's own TLS server would show it only
    afterwards, so that a client without a handshake could hold any number of connections. Its ``start_tls`` takes
    another turn of the loop, in which uvloop reads what the client has sent already, and the handshake misses that.
    """

    def __init__(
        self, limit: ConnectionLimit, serve: Callable[[], asyncio.BaseProtocol], tls: ssl.SSLContext | None
    ) -> None:
        self._limit = limit
        self._serve = serve
        self._tls = tls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        admitted = cast("asyncio.Transport", transport)
        if not self._limit.admits(transport):
            admitted.abort()
            return
        protocol = cast("asyncio.Protocol", self._serve())
        if self._tls is not None:
            encrypted: Any = SSLProtocol  # whose annotations lack the None and the seconds that it takes
            loop = asyncio.get_running_loop()
            protocol = encrypted(loop, protocol, self._tls, None, server_side=True, ssl_handshake_timeout=IDLE_S)
        admitted.set_protocol(protocol)
        protocol.connection_made(admitted)


def max_connections() -> int:
    """Return how many connections the operating system lets this process have, at most ``MAX_CONNECTIONS``.

    The soft limit of open files (256 on macOS) is raised to what the hard limit allows.
    """
    if sys.platform == "win32":  # sockets are not files there
        return MAX_CONNECTIONS
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _RESERVED_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MAX_CONNECTIONS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):  # a system that allows fewer than its hard limit says
        allowed = soft
    return max(allowed - _RESERVED_FILES, allowed // 2)


class RequestProtocol(web.RequestHandler):
    """Answers requests that cannot be parsed as the console answers all others: without a version or a traceback."""

    __slots__ = ()

    async def start(self) -> None:
        """Answer the requests of a connection; close it on one that aiohttp cannot represent (``CONNECT`` alone)."""
        try:
            await super().start()
        except Exception as error:  # noqa: BLE001 - else asyncio logs a traceback, and the connection stays open
            log.info("console.bad_request", status=400, address=self._address(), error=type(error).__name__)
            self.force_close()

    def _address(self) -> str:
        peer = None if self.transport is None else self.transport.get_extra_info("peername")
        return str(peer[0]) if peer else ""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it repeats the request, which may hold a secret
    ) -> web.StreamResponse:
        """Answer a request that cannot be parsed, or whose response could not be written."""
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            log.info("console.bad_request", status=status, address=request.remote or "", error=type(exc).__name__)
        else:
            log.warning("console.request_broke", path=request.path, error=f"{type(exc).__name__}: {exc}")
        if request.writer.output_size > 0:
            raise ConnectionError("A part of the response was sent already.")
        return bare_response(status)


def bare_response(status: int) -> web.Response:
    """A response outside the application, with the headers of all others; it closes the connection."""
    text = f"{status} {HTTPStatus(status).phrase}\n"
    response = web.Response(status=status, text=text, headers={**HEADERS, "Server": "bulkid"})  # no version
    response.force_close()
    return response


def protocol_factory(
    server: web.Server, limit: ConnectionLimit, tls: ssl.SSLContext | None
) -> Callable[[], asyncio.Protocol]:
    """Return what makes the protocol of a new connection to a server, which is closed where the limit is reached."""
    handler, loop = server.request_handler, asyncio.get_running_loop()

    async def refuse_expectations(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Expect", "100-continue").lower() != "100-continue":
            return bare_response(417)
        return await handler(request)

    def serve() -> RequestProtocol:
        return RequestProtocol(
            server,
            loop=loop,
            keepalive_timeout=IDLE_S,
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type]  # None turns it off, though aiohttp does not say so in types
        )

    server.request_handler = refuse_expectations
    return lambda: _Admission(limit, serve, tls)
