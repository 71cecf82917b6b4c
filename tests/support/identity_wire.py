"""Small servers for tests: they record the bytes that they receive, and respond by a script."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

TLS = Path(__file__).parent / "tls"
ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


@dataclass
class Seen:
    """One request as it came over the wire."""

    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode()

    @property
    def method(self) -> str:
        return self.line.split(" ", 1)[0]

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode().split("\r\n")[1:]
        return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


@dataclass
class WireServer:
    """What a server on this machine has seen so far."""

    port: int = 0
    connections: int = 0
    seen: list[Seen] = field(default_factory=list)

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.seen)


Script = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


def answer(payload: object, status: int = 200, headers: tuple[str, ...] = ()) -> bytes:
    """A whole HTTP answer with a JSON body."""
    return raw_answer(orjson.dumps(payload), status, ("Content-Type: application/json", *headers))


def raw_answer(body: bytes, status: int = 200, headers: tuple[str, ...] = ()) -> bytes:
    """A whole HTTP answer with any body."""
    lines = (f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def always(reply: bytes) -> Script:
    """Answer everything in the same way."""

    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)

    return script


def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection without a goodbye."""
    writer.transport.abort()


async def read_request(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n")
    seen = Seen(head, b"")
    length = int(seen.headers.get("content-length", "0"))
    return Seen(head, await reader.readexactly(length))


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(handler: Handler, tls: str = "") -> AsyncIterator[int]:
    """Run a handler for each connection to a free port; at the end nothing of it is left open."""
    handling: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handling.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
                await handler(reader, writer)
            writer.close()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await writer.wait_closed()
        finally:
            writer.transport.abort()
            handling.discard(task)

    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS / f"{tls}.pem", TLS / "server.key")
    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        while handling:
            for task in tuple(handling):
                task.cancel()
            await asyncio.wait(tuple(handling), timeout=1)
        await asyncio.sleep(0)  # for the transports' own last callbacks


@asynccontextmanager
async def wire_server(script: Script, tls: str = "") -> AsyncIterator[WireServer]:
    """Serve on a free port; ``tls`` names a certificate of the folder beside."""
    server = WireServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        while not writer.is_closing():
            seen = await read_request(reader)
            server.seen.append(seen)
            await script(seen, writer)

    async with listening(serve, tls) as server.port:
        yield server


@asynccontextmanager
async def connect_proxy(route_to: int, *, status: str = "200 OK", hang_up: bool = False) -> AsyncIterator[WireServer]:
    """An HTTP proxy that leads every CONNECT to one port of this machine."""
    proxy = WireServer()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.connections += 1
        proxy.seen.append(await read_request(reader))
        if hang_up:
            return
        writer.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
        if not status.startswith("200"):
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", route_to)
        try:
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        finally:
            far_writer.transport.abort()

    async with listening(serve) as proxy.port:
        yield proxy


class HandClock:
    """A clock that moves only by hand."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


def jwt(payload: object) -> str:
    """A token that says so, unsigned."""
    body = base64.urlsafe_b64encode(orjson.dumps(payload)).rstrip(b"=").decode()
    return f"eyJhbGciOiJub25lIn0.{body}.c2ln"
