"""Requests that are no HTTP, or that expect what HTTP does not know: one line in the log, and an answer like any other.

aiohttp answers these before the application sees them, with a traceback in the log, its version, and no header of
``security.py``.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from bulkid.logs import log
from bulkid.web.connection_limits import IDLE_S
from bulkid.web.middleware import HEADERS


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
