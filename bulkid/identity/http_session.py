"""One aiohttp session, set up as an admin's network demands and as the quota demands.

Trust comes from the operating system or from a bundle, the way leads through the proxy that is set, redirects and
cookies are nobody's business, and **one call sends one request**: aiohttp by itself sends an idempotent request again
when a kept-alive connection turns out dead, which the caller would not see, but the server would count.
"""

import ssl
from pathlib import Path

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientTimeout
from aiohttp.client import ClientSession
from aiohttp.connector import Connection as PooledConnection
from aiohttp.resolver import ThreadedResolver
from aiohttp.tracing import Trace

from bulkid.errors import UsageError
from bulkid.identity.proxies import Proxy
from bulkid.identity.responses import LostError, NotSentError

CONNECT_SHARE = 0.5
"""Part of a request's time that connecting may take. What is over time later than that was sent: it may have been
applied, and the two must be told apart."""


class _ProxiedConnector(aiohttp.TCPConnector):
    """Marks every failure on the way to the server as such.

    A proxy that hangs up on CONNECT raises the same error as a server that hangs up on a request; only here is it
    known that the request itself has not left.
    """

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> PooledConnection:  # noqa: ASYNC109 - aiohttp's own signature
        try:
            return await super().connect(req, traces, timeout)
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise  # aiohttp makes a ConnectionTimeoutError of it
            raise NotSentError from error


async def send_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Client middleware: turns the errors that aiohttp answers by sending again into one that it does not."""
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise LostError from error


def open_session(
    *, timeout_s: float, concurrency: int, user_agent: str, trust: ssl.SSLContext | None, proxy: Proxy | None
) -> ClientSession:
    """Open the session; to be called within the running event loop, and closed by the caller.

    Args:
        timeout_s: Seconds that a whole request has; only the share for connecting is kept here.
        concurrency: Connections at most.
        user_agent: Who we are. The only header that a proxy sees too.
        trust: Which certificates to trust; None for a server that speaks plain HTTP.
        proxy: The way to the server.
    """
    connector_class = _ProxiedConnector if proxy else aiohttp.TCPConnector
    # The system's own resolver: it knows the VPN, the hosts file, and works on every Windows event loop.
    connector = connector_class(limit=concurrency, ssl=trust or True, resolver=ThreadedResolver())
    resends = hasattr(ClientSession, "ATTRS") and "_retry_connection" in ClientSession.ATTRS
    session = ClientSession(
        connector=connector,
        timeout=ClientTimeout(total=None, connect=timeout_s * CONNECT_SHARE),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": user_agent},
        proxy=proxy.url if proxy else None,
        # The middleware needs nothing private, and costs 3 % of a request; the attribute costs nothing.
        middlewares=() if resends else (send_once,),
    )
    if resends:
        session._retry_connection = False  # noqa: SLF001 - aiohttp has no public switch (its issue 10790)
    return session


def trust_context(ca_bundle: str | Path | None) -> ssl.SSLContext:
    """Which certificates to trust: those of the bundle alone, else those that the operating system trusts.

    Args:
        ca_bundle: A PEM file, or a directory as OpenSSL keeps them.

    Raises:
        UsageError: The bundle cannot be read, or holds no certificate.
    """
    if not ca_bundle:
        import truststore

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    path = Path(ca_bundle).expanduser()
    hint = "BULKID_CA_BUNDLE names a file of certificates in PEM form (-----BEGIN CERTIFICATE-----)."
    try:
        if path.is_dir():
            return ssl.create_default_context(capath=str(path))
        return ssl.create_default_context(cafile=str(path))
    except ssl.SSLError as error:
        raise UsageError(f"The CA bundle {path} holds no certificate that can be read.", hint=hint) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"The CA bundle {path} cannot be read: {reason}.", hint=hint) from error
