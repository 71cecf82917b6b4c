"""A service on a real socket for notifications: it accepts, refuses, or never responds."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What came in, and how to answer: with a status, or (``hang``) not before the end of the test."""

    status: int = 200
    hang: bool = False
    port: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def address(self, path: str = "hook", *, user: str = "") -> str:
        """Its address as apprise writes it."""
        return f"json://{user}{'@' if user else ''}127.0.0.1:{self.port}/{path}"


@contextmanager
def receiver(*, status: int = 200, hang: bool = False) -> Iterator[Receiver]:
    """A service that is there while the block runs."""
    got = Receiver(status, hang)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.paths.append(self.path)
            got.messages.append(json.loads(body))
            got.came.set()
            if got.hang:
                got.over.wait(60)
                return
            self.send_response(got.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    got.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield got
    finally:
        got.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def closed_port() -> int:
    """A port where nobody listens."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
