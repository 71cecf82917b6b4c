"""A fast path through aiohttp for thousands of requests that are all alike.

``ClientSession.request`` works out for each request what is the same for all: merged headers, cookies, proxy,
redirects, tracing, the kind of body; and it gives each body a task of its own. The fast path makes the headers once per
token, and writes head and body together; aiohttp still connects, keeps the connections and parses the responses.
Measured against a loopback server: 15 us of CPU per request instead of 50.

This uses interfaces of aiohttp that are not public. :func:`is_supported` checks that they are all there, in the form
that the tests have seen; where they are not, the client uses ``ClientSession.request``: the same requests, slower.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import aiohttp
from aiohttp import ClientRequest, ClientResponse, ClientResponseError, ClientSession, StreamReader, hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import BaseConnector
from aiohttp.connector import Connection as PooledConnection
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

FIRST_VERSION = (3, 12)
LAST_VERSION = (3, 14)
"""Releases of aiohttp with which the tests have passed; with any other the client takes the standard path."""

_SWITCHING_PROTOCOLS = 101

# What is called here, and the parameters that it must take: all of them at least, and as many positional ones.
_REQUIRED_SIGNATURES: tuple[tuple[Callable[..., object], tuple[str, ...], frozenset[str]], ...] = (
    (BaseConnector.connect, ("self", "req", "traces", "timeout"), frozenset()),
    (ClientRequest.__init__, ("self", "method", "url"), frozenset({"headers", "loop", "response_class", "session"})),
    (ResponseHandler.set_response_params, ("self",), frozenset({"read_until_eof"})),
    (ResponseHandler.read, ("self",), frozenset()),
    (PooledConnection.close, ("self",), frozenset()),
    (PooledConnection.release, ("self",), frozenset()),
)


class HttpResponse(NamedTuple):
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None  # decompressed; None: longer than allowed, and not read


def is_supported() -> bool:
    """Whether this aiohttp is one that the fast path was tested with, and has all that it needs."""
    try:
        version = tuple(int(part) for part in aiohttp.__version__.split(".")[:2])
    except ValueError:
        return False
    return FIRST_VERSION <= version <= LAST_VERSION and all(_has_signature(*needed) for needed in _REQUIRED_SIGNATURES)


def _has_signature(function: Callable[..., object], positional: tuple[str, ...], named: frozenset[str]) -> bool:
    kinds = {name: parameter.kind for name, parameter in inspect.signature(function).parameters.items()}
    found = tuple(name for name, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return found == positional and all(kinds.get(name) is inspect.Parameter.KEYWORD_ONLY for name in named)


class FastPath:
    """Sends requests to one server without a proxy; one call sends one request, and none is ever sent again.

    It uses the connections, trust and headers of an open session. The ``base`` has a slash at its end. Answers may have
    up to ``max_response_bytes``.
    """

    def __init__(self, session: ClientSession, base: URL, max_response_bytes: int) -> None:
        connector = session.connector
        assert connector is not None  # noqa: S101 - only a closed session has none
        self._session = session
        self._connector = connector
        self._timeout = session.timeout
        self._base = base
        self._target = base.raw_path
        self._max_response_bytes = max_response_bytes
        self._template = self._make_request({})  # what the connector reads of a request is the same for all

    def head(self, headers: Mapping[str, str]) -> bytes:
        """The header lines of all requests with these headers.

        Raises:
            ValueError: A header holds a line break.
        """
        lines = [f"{name}: {value}\r\n" for name, value in self._make_request(headers).headers.items()]
        if any(line.count("\r") > 1 or line.count("\n") > 1 or "\0" in line for line in lines):
            raise ValueError("a header must be one line")
        return "".join(lines).encode()

    async def exchange(self, method: str, path: str, body: bytes | None, head: bytes) -> HttpResponse:
        """Send one request and read its whole response; redirects are not followed.

        The path is relative to the base, encoded; ``head`` is as :meth:`head` gave it.

        Raises:
            ClientError: As ``ClientSession.request`` raises it.
            ValueError: The path is not encoded.
        """
        request = self._encode_request(method, path, body, head)
        try:
            connection = await self._connector.connect(self._template, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {self._base.host}") from error
        try:
            protocol = connection.protocol
            _write(connection, request)
            assert protocol is not None  # noqa: S101 - else `_write` has raised
            message, payload = await protocol.read()
            while 100 <= message.code < 200 and message.code != _SWITCHING_PROTOCOLS:  # noqa: PLR2004 - not the response yet
                message, payload = await protocol.read()
            headers = message.headers
            content: bytes | None
            if payload.is_eof() and hdrs.CONTENT_ENCODING not in headers:
                content = payload.read_nowait()  # a short body has come with the head
            else:
                content = await read_bounded(headers, payload.read, payload, self._max_response_bytes)
            clean = content is not None and _all_sent(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, HttpProcessingError):
                info = self._template.request_info
                raise ClientResponseError(
                    info, (), status=error.code, message=error.message, headers=error.headers
                ) from error
            raise
        if clean:
            connection.release()
        else:
            connection.close()
        return HttpResponse(message.code, headers, content)

    def _encode_request(self, method: str, path: str, body: bytes | None, head: bytes) -> bytes:
        line = f"{method} {self._target}{path} HTTP/1.1"
        if not line.isprintable() or line.count(" ") != 2 or "#" in path:  # noqa: PLR2004 - those of the line itself
            raise ValueError("the path is not encoded")
        if body is None:
            return b"%b\r\n%b\r\n" % (line.encode("ascii"), head)
        return b"%b\r\n%bContent-Length: %d\r\n\r\n%b" % (line.encode("ascii"), head, len(body), body)

    def _make_request(self, headers: Mapping[str, str]) -> ClientRequest:
        """A request as aiohttp itself makes it, whose headers are those that it would send."""
        return ClientRequest(
            hdrs.METH_GET,
            self._base,
            headers=CIMultiDict({**self._session.headers, **headers}),
            loop=asyncio.get_running_loop(),
            response_class=ClientResponse,
            session=self._session,
        )


def _write(connection: PooledConnection, request: bytes) -> None:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or transport.is_closing():
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
    protocol.set_response_params(read_until_eof=True)
    transport.write(request)


def _all_sent(connection: PooledConnection) -> bool:
    """Whether the request has left as a whole: a response may come before, and the connection cannot be used again."""
    transport = connection.transport
    return transport is not None and not transport.get_write_buffer_size()


async def read_bounded(
    headers: Mapping[str, str], read: Callable[[], Awaitable[bytes]], content: StreamReader, limit: int
) -> bytes | None:
    """The whole body, decompressed; None when it has more than ``limit`` bytes: then the connection must be closed.

    ``read`` reads the whole body, where the headers say that it is short enough; ``content`` gives it in pieces.
    """
    length = headers.get(hdrs.CONTENT_LENGTH)
    if length is not None and hdrs.CONTENT_ENCODING not in headers:
        return await read() if int(length) <= limit else None
    chunks: list[bytes] = []
    size = 0
    async for chunk in content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            return None
    return b"".join(chunks)
