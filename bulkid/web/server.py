"""The console as a server: its routes with the role that each requires, the application, and its socket."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import anyio
from aiohttp import web

from bulkid import runs
from bulkid.clock import SystemClock
from bulkid.errors import UsageError
from bulkid.journal.console_store import ConsoleStore, SessionStore
from bulkid.runs.concurrency import in_thread
from bulkid.web import account_pages, api, run_pages, sheet_pages, site_pages
from bulkid.web.audit import record_action
from bulkid.web.auth.access import Role, Route, RouteKind
from bulkid.web.auth.local import LocalAuthenticator
from bulkid.web.auth.sessions import Sessions
from bulkid.web.auth.users import Authenticator, UserAuthenticator
from bulkid.web.connections import (
    IDLE_S,
    PER_ADDRESS,
    ConnectionLimit,
    limited,
    max_connections,
    protocol_factory,
)
from bulkid.web.console import CONSOLE, Console, ServeOptions
from bulkid.web.job_runner import JobRunner
from bulkid.web.middleware import ROUTES as ROUTES_KEY
from bulkid.web.middleware import add_headers, answer_errors, check_access, check_request
from bulkid.web.pages import set_up_templates, static

SETTLE_S: Final = 12.0
"""How long runs may take to settle what is in flight when the server ends; the engine itself takes ten at most."""

FORM_BYTES: Final = 1 << 20
"""The largest body of a request that is no upload."""

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

VIEWER, OPERATOR, ADMIN = Role.VIEWER, Role.OPERATOR, Role.ADMIN
DATA = RouteKind.DATA

ROUTES: Final = (
    Route("GET", "/static/{name}", static, None, DATA),
    Route("GET", "/enter", account_pages.enter, None),
    Route("POST", "/signin", account_pages.sign_in, None),
    Route("POST", "/signout", account_pages.sign_out, VIEWER),
    Route("POST", "/signout-everywhere", account_pages.sign_out_everywhere, VIEWER),
    Route("GET", "/account", account_pages.account, VIEWER),
    Route("POST", "/account/link", account_pages.new_link, ADMIN),
    Route("POST", "/account/password", account_pages.change_password, VIEWER, action="change of a password"),
    Route("POST", "/account/sessions/end", account_pages.end_session, VIEWER, action="end of a session"),
    Route("GET", "/tokens", account_pages.tokens, ADMIN),
    Route("POST", "/tokens", account_pages.issue, ADMIN, action="token"),
    Route("POST", "/tokens/{token}/revoke", account_pages.revoke, ADMIN, action="revocation of a token"),
    Route("GET", "/", site_pages.home, VIEWER),
    Route("GET", "/template.csv", site_pages.template, OPERATOR, DATA),
    Route("GET", "/status", site_pages.status, VIEWER),
    Route("POST", "/status", site_pages.examine, OPERATOR, action="connection check"),
    Route("GET", "/metrics", site_pages.metrics, VIEWER, RouteKind.API),
    Route("GET", "/audit", site_pages.audit, ADMIN),
    Route("GET", "/audit.csv", site_pages.audit_csv, ADMIN, DATA, action="audit download"),
    Route("POST", "/sheets", sheet_pages.upload, OPERATOR, action="upload", token_in_body=True),
    Route("GET", "/sheets/{upload}", sheet_pages.sheet, VIEWER),
    Route("POST", "/sheets/{upload}", sheet_pages.change_read_options, OPERATOR, action="reading of a sheet"),
    Route("GET", "/sheets/{upload}/retry.csv", sheet_pages.invalid_rows, VIEWER, DATA, action="download"),
    Route("GET", "/sheets/{upload}/preview", sheet_pages.preview, VIEWER),
    Route("POST", "/sheets/{upload}/preview", sheet_pages.make_preview, OPERATOR, action="preview"),
    Route("POST", "/sheets/{upload}/start", sheet_pages.start, OPERATOR, action="start"),
    Route("POST", "/sheets/{upload}/remove", sheet_pages.remove, OPERATOR, action="removal of a sheet"),
    Route("GET", "/runs", run_pages.history, VIEWER),
    Route("GET", "/runs/{run}", run_pages.run, VIEWER),
    Route("GET", "/runs/{run}/events", run_pages.events, VIEWER, DATA),
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
    middlewares = [answer_errors, check_request, record_action, check_access]
    app = web.Application(middlewares=middlewares, client_max_size=FORM_BYTES)
    app[CONSOLE] = console
    by_handler: dict[object, Route] = {route.handler: route for route in ROUTES}
    app[ROUTES_KEY] = by_handler
    app.on_response_prepare.append(add_headers)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, route.handler)
        if route.method == "GET":
            app.router.add_route("HEAD", route.path, route.handler)
    set_up_templates(app)
    return app


def require_safe(serve: ServeOptions, *, has_users: bool) -> None:
    """Raise UsageError where other machines could reach the console without users or without encryption."""
    if serve.keyfile is not None and serve.certfile is None:
        raise UsageError("A key without a certificate makes no TLS.", hint="Name the certificate with --certfile.")
    if serve.require_approval and not has_users:
        raise UsageError(
            "Nobody but you is there to approve a sheet.", hint="Add users (bulkid users add), or leave approval out."
        )
    if serve.host in _LOOPBACK and not serve.behind_proxy:
        return
    if not has_users:
        raise UsageError(
            f"The console has no users, so it is not served on {serve.host}: anybody there could get in.",
            hint="Add a first one with `bulkid users add NAME --role admin`, or leave out --host.",
        )
    if serve.certfile is None and not serve.behind_proxy:
        raise UsageError(
            f"Passwords would cross the network to {serve.host} in the clear.",
            hint="Give --certfile and --keyfile, or put a proxy that ends TLS before it and say --behind-proxy.",
        )
    if serve.behind_proxy and not serve.public_names:
        raise UsageError(
            "Behind a proxy the console must know the name that browsers use.",
            hint="Say it: --public-name bulkid.example.com",
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
    serve: ServeOptions,
    target: runs.Target,
    options: runs.RunOptions,
    context: runs.Context,
) -> AsyncIterator[tuple[Console, str]]:
    """Serve the console while the block runs; leaving it settles what is in flight and marks runs as interrupted.

    Browsers sign in as the users that the state database has, or by sign-in links where it has none.

    Args:
        serve: Where and how.
        target: Which server, as whom.
        options: How to plan, send and report; the page of a sheet overrides how it is read.
        context: The context of every run; its state directory is shared with terminals and scheduled jobs.

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
                yield console, f"{'https' if tls else 'http'}://{_shown(serve.host)}:{serve.port}"
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
    per_address = None if serve.behind_proxy else PER_ADDRESS
    loop = asyncio.get_running_loop()
    factory = limited(ConnectionLimit(per_address, max_connections()), protocol_factory(runner.server, loop))
    handshake_s = None if tls is None else IDLE_S
    return await loop.create_server(factory, sock=sock, ssl=tls, ssl_handshake_timeout=handshake_s)


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


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
