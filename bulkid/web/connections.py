"""Connections: limits on how many are open, and answers to requests that aiohttp refuses before the application.

Without :class:`RequestProtocol` aiohttp answers such a request with its own version and no security headers, and logs a
traceback.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, cast

from aiohttp import web

from bulkid.logs import log
from bulkid.web.middleware import HEADERS

IDLE_S: Final = 15.0
"""Seconds after which the server closes a connection that sends no request."""

PER_ADDRESS: Final = 100
"""Open connections that one address may have. A browser opens six; each page that is watched takes one more."""

MAX_CONNECTIONS: Final = 1000
"""Open connections in all, where the operating system allows as many."""

_RESERVED_FILES: Final = 128  # open files that the server itself needs: the database, sheets, requests to the server


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
    """Hands a new connection to the server, or closes it at once where the limit is reached."""

    def __init__(self, limit: ConnectionLimit, serve: Callable[[], asyncio.BaseProtocol]) -> None:
        self._limit = limit
        self._serve = serve

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        admitted = cast("asyncio.Transport", transport)
        if not self._limit.admits(transport):
            admitted.abort()
            return
        protocol = self._serve()
        admitted.set_protocol(protocol)
        protocol.connection_made(transport)


def limited(limit: ConnectionLimit, serve: Callable[[], asyncio.BaseProtocol]) -> Callable[[], asyncio.Protocol]:
    """Return a protocol factory that admits connections to a server as far as the limit allows."""
    return lambda: _Admission(limit, serve)


def max_connections() -> int:
    """Return how many connections the operating system lets this process have, at most ``MAX_CONNECTIONS``.

    The soft limit of open files (256 on macOS) is raised to what the hard limit allows.
    """
    if sys.platform == "win32":  # sockets are no files there
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


# --- requests that are not HTTP


class RequestProtocol(web.RequestHandler):
    """aiohttp's protocol, which answers a request that cannot be parsed as the console answers all others."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it repeats the request, which may hold a secret
    ) -> web.StreamResponse:
        """Answer a request that cannot be parsed, or whose answer could not be written."""
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            log.info("console.bad_request", status=status, address=request.remote or "", error=type(exc).__name__)
        else:
            log.warning("console.request_broke", path=request.path, error=f"{type(exc).__name__}: {exc}")
        if request.writer.output_size > 0:
            raise ConnectionError("A part of the answer was sent already.")
        return bare_answer(status)


def bare_answer(status: int) -> web.Response:
    """An answer outside the application, with the headers of all others; it closes the connection."""
    text = f"{status} {HTTPStatus(status).phrase}\n"
    answer = web.Response(status=status, text=text, headers={**HEADERS, "Server": "bulkid"})  # no version
    answer.force_close()
    return answer


def protocol_factory(server: web.Server, loop: asyncio.AbstractEventLoop) -> Callable[[], RequestProtocol]:
    """Return what makes the protocol of a new connection to a server."""
    server.request_handler = _refuse_expectations(server.request_handler)
    return lambda: RequestProtocol(
        server,
        loop=loop,
        keepalive_timeout=IDLE_S,
        auto_decompress=False,
        access_log=None,  # type: ignore[arg-type]  # None turns it off, though aiohttp does not say so in types
    )


_Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def _refuse_expectations(answer: _Answer) -> _Answer:
    async def checked(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Expect", "100-continue").lower() != "100-continue":
            return bare_answer(417)
        return await answer(request)

    return checked
