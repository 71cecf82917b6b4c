"""A relay that records the bytes that pass through it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Recorder:
    """Listens on 127.0.0.1 and relays to a port there."""

    to_port: int
    port: int = 0
    sent: bytearray = field(default_factory=bytearray)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.to_port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, keep: bool) -> None:
            while data := await source.read(65536):
                if keep:
                    self.sent += data
                sink.write(data)
                await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, back, keep=True), pump(there, writer, keep=False), return_exceptions=True)

    def requests(self, method: str) -> list[tuple[str, dict[str, str], bytes]]:
        """All recorded requests of a method: path, headers in lower case, body."""
        found = []
        rest = bytes(self.sent)
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            progress_line, *headers = head.decode("latin-1").split("\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in headers)}
            length = int(fields.get("content-length", "0"))
            body, rest = rest[:length], rest[length:]
            verb, path, _ = progress_line.split(" ")
            if verb == method:
                found.append((path, fields, body))
        return found


@contextmanager
def recording(to_port: int) -> Iterator[Recorder]:
    """A recorder that relays while the block runs."""
    recorder = Recorder(to_port)
    loop = asyncio.new_event_loop()

    async def listen() -> asyncio.Server:
        server = await asyncio.start_server(recorder._relay, "127.0.0.1", 0)
        recorder.port = server.sockets[0].getsockname()[1]
        return server

    server = loop.run_until_complete(listen())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield recorder
    finally:

        async def close() -> None:
            server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
