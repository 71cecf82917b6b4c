"""How fast the benchmark's server is, and what Python itself can do: PUTs from a Protocol by hand, 16 connections."""

import argparse
import asyncio
import re
import resource
import time
from collections.abc import Iterator
from typing import cast

import orjson
from directory import GROUPS, ORGANIZATION, TOKEN, account_id, group_id
from harness import ask, pin, server

CONTENT_LENGTH = re.compile(rb"Content-Length: ([0-9]+)")


class Client(asyncio.Protocol):
    """One connection that sends its next request as soon as the answer is in."""

    def __init__(self, requests: Iterator[int], done: asyncio.Future[None], port: int) -> None:
        self.requests, self.done, self.port, self.waiting = requests, done, port, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self.send()

    def send(self) -> None:
        """Send the next request, or close when there is none."""
        number = next(self.requests, None)
        if number is None:
            self.transport.close()
            self.done.set_result(None)
            return
        request = {"partitionGlobalId": ORGANIZATION, "displayName": f"Renamed {number}", "groupIDsToRemove": []}
        body = orjson.dumps({**request, "groupIDsToAdd": [group_id(1 + number % (GROUPS - 1))]})
        head = f"PUT /identity/api/RobotAccount/{account_id(number)} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
        fields = (
            f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.transport.write(f"{head}{fields}".encode() + body)

    def data_received(self, data: bytes) -> None:
        """Take a piece of the answer."""
        self.waiting += data
        end = self.waiting.find(b"\r\n\r\n")
        length = CONTENT_LENGTH.search(self.waiting, 0, end) if end >= 0 else None
        if length and len(self.waiting) >= end + 4 + int(length[1]):
            if not self.waiting.startswith(b"HTTP/1.1 200"):
                raise SystemExit(self.waiting.decode())
            self.waiting = b""
            self.send()


async def hammer(port: int, count: int, connections: int) -> float:
    """Send ``count`` PUTs; how long that took, in seconds."""
    loop = asyncio.get_running_loop()
    requests = iter(range(count))
    started = time.perf_counter()
    waits: list[asyncio.Future[None]] = []
    for _ in range(connections):
        waits.append(loop.create_future())
        await loop.create_connection(lambda done=waits[-1]: Client(requests, done, port), "127.0.0.1", port)
    await asyncio.gather(*waits)
    return time.perf_counter() - started


if __name__ == "__main__":
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--cost", type=float, default=0.0, help="microseconds that the server takes for each PUT")
    arguments = parser.parse_args()
    with server(arguments.requests, "--cost", f"{arguments.cost:g}") as url:
        pin()
        port = int(url.split(":")[2].split("/")[0])
        before = resource.getrusage(resource.RUSAGE_SELF)
        idle = ask(url, "/_cpu")["cpu_s"]
        wall = uvloop.run(hammer(port, arguments.requests, arguments.connections))
        served = (ask(url, "/_cpu")["cpu_s"] - idle) / arguments.requests * 1e6
        used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    per_request = cpu / arguments.requests * 1e6
    print(
        f"{arguments.requests / wall:,.0f} PUT/s; CPU per request: client {per_request:.0f} us, server {served:.0f} us"
    )
