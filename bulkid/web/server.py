"""The console as a server: the application, its routes, and its life from the first socket to the last run settled."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import anyio
import anyio.to_thread
from aiohttp import web

from bulkid import runs
from bulkid.clock import SystemClock
from bulkid.errors import UsageError
from bulkid.journal.console_sessions import SessionStore
from bulkid.journal.console_store import ConsoleStore
from bulkid.web import account_pages, api, run_pages, sheet_pages, site_pages
from bulkid.web import audit as books
from bulkid.web.auth.local import Authenticator, LocalAuthenticator
from bulkid.web.auth.sessions import Sessions
from bulkid.web.auth.users import UserAuthenticator
from bulkid.web.connection_limits import IDLE_S, PER_ADDRESS, ConnectionLimit, limited, max_connections
from bulkid.web.console import CONSOLE, Console, ServeOptions
from bulkid.web.http_protocol import protocol_factory
from bulkid.web.job_runner import JobRunner
from bulkid.web.middleware import add_headers, answer_errors, check_access, check_request
from bulkid.web.pages import set_up_templates

SETTLE_S: Final = 12.0
"""How long runs may take to settle what is in flight when the server ends; the engine itself takes ten at most."""

FORM_BYTES: Final = 1 << 20
"""The largest body of a request that is no upload."""

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

ROUTES: Final = (
    web.get("/", run_pages.home),
    web.get("/static/{name}", site_pages.static),
    web.get("/enter", site_pages.enter),
    web.post("/signout", site_pages.sign_out),
    web.post("/signout-everywhere", site_pages.sign_out_everywhere),
    web.get("/account", account_pages.account),
    web.post("/account/link", account_pages.new_link),
    web.post("/account/password", account_pages.change_password),
    web.post("/account/sessions/end", account_pages.end_session),
    web.get("/status", site_pages.status),
    web.post("/status", site_pages.examine),
    web.get("/template.csv", sheet_pages.template),
    web.post("/sheets", sheet_pages.upload),
    web.get("/sheets/{upload}", sheet_pages.sheet),
    web.post("/sheets/{upload}", sheet_pages.change_read_options),
    web.get("/sheets/{upload}/retry.csv", sheet_pages.invalid_rows),
    web.get("/sheets/{upload}/preview", sheet_pages.preview),
    web.post("/sheets/{upload}/preview", sheet_pages.make_preview),
    web.post("/sheets/{upload}/start", sheet_pages.start),
    web.post("/sheets/{upload}/remove", sheet_pages.remove),
    web.get("/runs", run_pages.history),
    web.get("/runs/{run}", run_pages.run),
    web.get("/runs/{run}/events", run_pages.events),
    web.get("/runs/{run}/download/{kind}", run_pages.download),
    web.post("/runs/{run}/pause", run_pages.pause),
    web.post("/runs/{run}/stop", run_pages.stop),
    web.post("/runs/{run}/resume", run_pages.resume),
    web.post("/runs/{run}/retry", run_pages.retry),
    web.post("/runs/{run}/undo", run_pages.undo),
    web.post("/runs/{run}/again", run_pages.again),
    web.post("/signin", site_pages.sign_in),
    web.get("/tokens", books.tokens),
    web.post("/tokens", books.issue),
    web.post("/tokens/{token}/revoke", books.revoke),
    web.get("/audit", books.audit),
    web.get("/audit.csv", books.audit_csv),
    web.get("/metrics", site_pages.metrics),
    *api.ROUTES,
)


def make_app(console: Console) -> web.Application:
    """Put the application together."""
    middlewares = [answer_errors, check_request, books.record_action, check_access]
    app = web.Application(middlewares=middlewares, client_max_size=FORM_BYTES)
    app[CONSOLE] = console
    app.on_response_prepare.append(add_headers)
    app.add_routes(ROUTES)
    set_up_templates(app)
    return app


def require_safe(serve: ServeOptions, *, has_users: bool) -> None:
    """Refuse to be reachable from other machines without users and encryption.

    Raises:
        UsageError: It would be.
    """
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
    """The TLS that was asked for.

    Raises:
        UsageError: Certificate or key cannot be used.
    """
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
    *,
    authenticator: Authenticator | None = None,
) -> AsyncIterator[tuple[Console, str]]:
    """Serve the console while the block runs; leaving it settles what is in flight and marks runs as interrupted.

    Args:
        serve: Where and how.
        target: Which server, as whom.
        options: How to plan, send and report; what a page says of a sheet comes on top.
        context: What surrounds every run; its state directory is shared with terminals and scheduled jobs.
        authenticator: How browsers get in; None for the users that there are, or for sign-in links without users.

    Yields:
        The console, and the address that it is served at.

    Raises:
        UsageError: It cannot be served there, or not safely.
        StateError: The state directory cannot be used.
    """
    tls = tls_of(serve)
    run_browser = await anyio.to_thread.run_sync(runs.RunBrowser, context.state_dir, context.database_url)
    with run_browser:
        store = ConsoleStore(run_browser.journal)
        if authenticator is None:
            authenticator = (
                UserAuthenticator(store, hasher=serve.hasher)
                if await anyio.to_thread.run_sync(store.users)
                else LocalAuthenticator()
            )
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
            runner = web.AppRunner(
                make_app(console),
                handle_signals=False,
                shutdown_timeout=2.0,
            )
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
