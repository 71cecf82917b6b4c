"""One aiohttp session, set up for an admin's network and for the quota.

Trust comes from the operating system or from a bundle, requests go through the proxy that is set, redirects are not
followed, cookies are not kept, and **one call sends one request**: aiohttp by itself sends an idempotent request again
when a kept-alive connection turns out dead, which the caller would not see, but the server would count.
"""

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientTimeout
from aiohttp.client import ClientSession
from aiohttp.connector import Connection as PooledConnection
from aiohttp.resolver import ThreadedResolver
from aiohttp.tracing import Trace
from yarl import URL

from bulkid import __version__
from bulkid.errors import UsageError
from bulkid.identity.responses import LostError, NotSentError
from bulkid.identity.urls import IdentityBase, is_loopback
from bulkid.named_pipe import pipe_content

CONNECT_SHARE = 0.5
"""Part of a request's time that connecting may take. A request that is over time later than that was sent, and may have
been applied."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy to connect through."""

    url: URL  # without credentials, so that messages may show it
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # for the proxy alone, with credentials


def proxy_for(base: IdentityBase) -> Proxy | None:
    """The proxy for an identity base; None to connect directly: to this machine, or to a host that NO_PROXY names.

    The usual variables name it, or on Windows and macOS the system's setting. It is read once per client: aiohttp's
    ``trust_env`` reads it again for each request, in a thread, with ``.netrc``, whose credentials it then refuses to
    send beside an Authorization header.

    Raises:
        UsageError: The setting is no HTTP proxy's address; it is not shown, since it may hold a password.
    """
    if is_loopback(base.host):
        return None
    target = URL(base.url, encoded=True)
    proxies = getproxies()
    setting = proxies.get(target.scheme) or proxies.get("all") or ""
    if not setting or proxy_bypass(f"{base.host}:{target.port}"):
        return None
    try:
        url = URL(setting if "://" in setting else f"http://{setting}")
        usable = url.scheme in {"http", "https"} and bool(url.raw_host) and url.port is not None
        user, password = url.user, url.password
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            "The proxy that HTTPS_PROXY (or the system) names cannot be used.",
            hint="Give an HTTP proxy (http://proxy.example.com:8080), or name the server in NO_PROXY.",
        )
    if user is None and password is None:
        return Proxy(url.origin())
    pair = f"{user or ''}:{password or ''}".encode()
    return Proxy(url.origin(), {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"})


class _ProxiedConnector(aiohttp.TCPConnector):
    """Marks failures to connect: a proxy that closes on CONNECT raises the same error as a server on a request."""

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> PooledConnection:  # noqa: ASYNC109 - aiohttp's own signature
        try:
            return await super().connect(req, traces, timeout)
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise  # aiohttp makes a ConnectionTimeoutError of it
            raise NotSentError from error


async def send_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Client middleware: replaces the errors after which aiohttp sends again by one after which it does not."""
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise LostError from error


def open_session(
    *, timeout_s: float, concurrency: int, trust: ssl.SSLContext | None, proxy: Proxy | None
) -> ClientSession:
    """Open the session within the running event loop; the caller closes it.

    Of ``timeout_s``, the time of a whole request, the session keeps only the share for connecting. ``trust`` is None
    for a server that speaks plain HTTP.
    """
    connector_class = _ProxiedConnector if proxy else aiohttp.TCPConnector
    # The system's own resolver: it knows the VPN, the hosts file, and works on every Windows event loop.
    connector = connector_class(limit=concurrency, ssl=trust or True, resolver=ThreadedResolver())
    resends = hasattr(ClientSession, "ATTRS") and "_retry_connection" in ClientSession.ATTRS
    session = ClientSession(
        connector=connector,
        timeout=ClientTimeout(total=None, connect=timeout_s * CONNECT_SHARE),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"bulkid/{__version__}"},
        proxy=proxy.url if proxy else None,
        # The middleware needs nothing private, and costs 3 % of a request; the attribute costs nothing.
        middlewares=() if resends else (send_once,),
    )
    if resends:
        session._retry_connection = False  # noqa: SLF001 - aiohttp has no public switch (its issue 10790)
    return session


_MAX_PIPED_BUNDLE = 16 * 1024 * 1024  # bytes; the certificates of an operating system are 0.3 MB


def trust_context(ca_bundle: str | Path | None) -> ssl.SSLContext:
    """Trust the certificates of a bundle (a PEM file or OpenSSL's directory), else those of the operating system.

    Blocks: a program may write the bundle to a pipe.

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
        if path.is_fifo():  # OpenSSL would wait for a writer for ever
            content = pipe_content(path, _MAX_PIPED_BUNDLE)
            text = content.decode("ascii", "ignore")  # comments may be in any language
            return ssl.create_default_context(cadata=text)
        return ssl.create_default_context(cafile=str(path))
    except ssl.SSLError as error:
        raise UsageError(f"The CA bundle {path} holds no certificate that can be read.", hint=hint) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"The CA bundle {path} cannot be read: {reason}.", hint=hint) from error
