"""The client: sends one request once, and gives the reply. It never retries."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
from aiohttp import ClientSession, hdrs
from multidict import CIMultiDict, istr
from yarl import URL

from bulkid.clock import Clock, SystemClock
from bulkid.errors import BulkidError, ConnectionFailedError, UsageError
from bulkid.identity.fast_path import FastPath, HttpResponse, is_supported, read_bounded
from bulkid.identity.http_session import Proxy, open_session, proxy_for, trust_context
from bulkid.identity.responses import (
    RATE_LIMIT,
    REMAINING,
    read_allowance,
    read_failure,
    read_response,
    read_success,
    timed_out_reply,
    too_large,
)
from bulkid.identity.timeouts import RequestTimeouts
from bulkid.identity.tokens import Token, TokenClaims, TokenSource, read_claims
from bulkid.identity.urls import IdentityBase
from bulkid.model import Reply, ReplyKind, Request

MAX_RESPONSE_BYTES = 32 * 2**20  # of one answer; a page of 1000 accounts is some 300 KiB
MAX_NOT_JSON = 3  # answers in a row that are no JSON, before any that was, that prove the URL wrong

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_TENANT_HEADER = istr("X-UIPATH-TenantName")
_CLOSE_TIME_S = 5.0


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Settings of a client. Holds no secret."""

    base: IdentityBase
    timeout_s: float = 30.0  # of a request, connecting included
    concurrency: int = 16  # connections at most
    ca_bundle: str | Path | None = None  # certificates to trust instead of the operating system's
    tenant: str = ""  # for standalone servers with several tenants

    def __post_init__(self) -> None:
        """Refuse settings with which no request could be sent."""
        if not 0 < self.timeout_s < float("inf") or self.concurrency < 1:
            raise UsageError("Timeout and concurrency must be more than nothing.", hint="See --timeout, --concurrency.")
        if not self.tenant.isprintable():
            raise UsageError("BULKID_TENANT holds a character that cannot be printed.")


class IdentityClient:
    """Sends requests to one Identity Server. Made by :func:`open_client`."""

    def __init__(
        self, settings: ClientSettings, tokens: TokenSource, session: ClientSession, proxy: Proxy | None, clock: Clock
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._session = session
        self._proxy = proxy
        self._clock = clock
        self._timeouts = RequestTimeouts(settings.timeout_s)
        base = URL(f"{settings.base.url}/", encoded=True)
        self._prefix = str(base)
        self._base_parts = (base.scheme, base.raw_authority, base.raw_path)
        self._authority = settings.base.authority
        self._tenant_header = {_TENANT_HEADER: settings.tenant} if settings.tenant else {}
        self._answered_json = False  # whether the API has ever answered in JSON
        self._not_json_in_a_row = 0
        self._generation = 0  # of the token that the headers below carry
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._headers_with_body: CIMultiDict[str] = CIMultiDict()
        # A proxy needs other requests: these, and an aiohttp that is not known, take the standard path.
        self._fast_path = FastPath(session, base, MAX_RESPONSE_BYTES) if proxy is None and is_supported() else None
        self._head = self._head_with_body = b""
        tokens.connect(self._post_form, settings.base.host_level_path)

    async def send(self, request: Request) -> Reply:
        """Send a request once; whatever the network or the server does, there is a reply.

        A 401 may be about the token or about this request alone: the caller finds out, and calls `refused` where it is
        about the token. After a cancellation it is not known whether the server applied the request.

        Raises:
            AuthenticationError: The credentials are refused for good.
            ConnectionFailedError: The URL is proven to be no Identity Server's.
        """
        try:
            token = await self._tokens.current()
        except BulkidError as error:
            error.request_was_sent = False
            raise
        if isinstance(token, Reply):
            return token
        if token.generation != self._generation:
            self._set_token_headers(token)
        reply = await self._exchange(self._start_exchange(request), token.generation, request.keys)
        kind = reply.kind
        if kind is ReplyKind.OK:
            self._answered_json = True
            self._not_json_in_a_row = 0
            self._tokens.accepted(token.generation)
            return reply
        if kind is ReplyKind.FORBIDDEN:
            self._tokens.accepted(token.generation)
        self._count_not_json(reply)
        return reply

    def refused(self, credential: int, reason: str) -> None:
        """Report that the server takes no request with this token (`Reply.credential`); the next carries another.

        Raises:
            AuthenticationError: Another token would be refused too, or there is none.
        """
        self._tokens.refused(credential, reason)

    async def claims(self) -> TokenClaims | Reply | None:
        """The claims of the token, which is fetched as for `send`; None when the token is no JWT."""
        token = await self._tokens.current()
        return token if isinstance(token, Reply) else read_claims(token.value)

    def _set_token_headers(self, token: Token) -> None:
        """Make the headers for a token, once for all requests that carry it."""
        self._generation = token.generation
        self._headers = CIMultiDict(
            {hdrs.AUTHORIZATION: f"Bearer {token.value}", hdrs.ACCEPT: _JSON, **self._tenant_header}
        )
        self._headers_with_body = CIMultiDict({**self._headers, hdrs.CONTENT_TYPE: _JSON})
        if self._fast_path is not None:
            self._head = self._fast_path.head(self._headers)
            self._head_with_body = self._fast_path.head(self._headers_with_body)

    def _start_exchange(self, request: Request) -> Awaitable[HttpResponse]:
        """The exchange of a request that carries the token, by the fast path where there is one."""
        method, path, body, *_ = request
        if self._fast_path is not None:
            return self._fast_path.exchange(method, path, body, self._head if body is None else self._head_with_body)
        return self._exchange_standard(method, path, body, self._headers if body is None else self._headers_with_body)

    async def _post_form(self, path: str, form: bytes) -> Reply:
        """Send a form without a token: what a token source needs. A path that begins with a slash is the host's."""
        headers = CIMultiDict({hdrs.ACCEPT: _JSON, hdrs.CONTENT_TYPE: _FORM, **self._tenant_header})
        reply = await self._exchange(self._exchange_standard("POST", path, form, headers))
        if reply.kind is not ReplyKind.OK:  # a token says nothing about the API, but any other JSON is no web page
            self._count_not_json(reply)
        return reply

    async def _exchange(
        self, exchange: Awaitable[HttpResponse], credential: int = 0, keys: tuple[str, ...] = ()
    ) -> Reply:
        """Send one request and read its whole response, within its time."""
        in_flight = self._timeouts.begin()
        try:
            status, headers, body = await exchange
        except asyncio.CancelledError:
            if in_flight.timed_out():
                return timed_out_reply(self._settings.timeout_s)
            raise
        except Exception as error:  # noqa: BLE001 - any error of the library over foreign bytes is an answer lost
            return read_failure(error, self._authority, proxied=self._proxy is not None)
        finally:
            self._timeouts.end(in_flight)
        if body is None:
            return too_large(status, MAX_RESPONSE_BYTES)
        reply = read_success(status, body, credential, keys)
        if reply is None:
            reply = read_response(status, headers, body, self._clock.now(), self._tokens.secrets())
            reply = reply._replace(credential=credential)
        if REMAINING in headers or RATE_LIMIT in headers:
            reply = reply._replace(allowance=read_allowance(headers))
        return reply

    async def _exchange_standard(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> HttpResponse:
        """Send one request by the session itself, which knows proxies."""
        response = await self._session.request(
            method,
            self._url(path),
            data=body,
            headers=headers,
            allow_redirects=False,
            proxy_headers=self._proxy.headers if self._proxy else None,
        )
        content = None
        try:
            content = await read_bounded(response.headers, response.read, response.content, MAX_RESPONSE_BYTES)
        finally:
            if content is None:  # cancelled, or longer than any answer may be: the connection holds the rest of it
                response.close()
        return HttpResponse(response.status, response.headers, content)

    def _url(self, path: str) -> URL:
        """The address of a call. Without a query it is made of its parts: half the time of parsing it (1 of 2 us)."""
        if "?" in path:
            return URL(self._prefix + path, encoded=True)
        scheme, authority, base_path = self._base_parts
        whole = path if path.startswith("/") else base_path + path
        return URL.build(scheme=scheme, authority=authority, path=whole, encoded=True)

    def _count_not_json(self, reply: Reply) -> None:
        """Raise `ConnectionFailedError` after some pages in a row before the API has ever answered: a wrong URL."""
        if reply.kind is not ReplyKind.NOT_JSON:
            if reply.status is not None:
                self._not_json_in_a_row = 0
            return
        self._not_json_in_a_row += 1
        if not self._answered_json and self._not_json_in_a_row >= MAX_NOT_JSON:
            raise ConnectionFailedError(
                f"{self._settings.base.url} does not answer as an Identity Server does. {reply.error}",
                hint="Check BULKID_URL. On Automation Cloud it is https://cloud.uipath.com/ORGANISATION.",
            )

    async def _close(self) -> None:
        self._timeouts.close()
        with anyio.move_on_after(_CLOSE_TIME_S, shield=True):
            await self._session.close()


@asynccontextmanager
async def open_client(
    settings: ClientSettings, tokens: TokenSource, clock: Clock | None = None
) -> AsyncIterator[IdentityClient]:
    """Open a client; its connections close with the context.

    Raises:
        UsageError: The CA bundle or the proxy setting cannot be used.
    """
    proxy = proxy_for(settings.base)
    trust = None
    if settings.base.url.startswith("https:"):
        trust = await anyio.to_thread.run_sync(trust_context, settings.ca_bundle)
    session = open_session(
        timeout_s=settings.timeout_s,
        concurrency=settings.concurrency,
        trust=trust,
        proxy=proxy,
    )
    client = IdentityClient(settings, tokens, session, proxy, clock or SystemClock())
    try:
        yield client
    finally:
        await client._close()  # noqa: SLF001 - open_client is the client's own constructor
