"""Idle connections, host names and slow bodies: what clients without an account can do to the console."""

import asyncio
import gc
import json
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.web import request_bodies
from bulkid.web.auth.throttle import RefusalLimit
from bulkid.web.console import ServeOptions
from bulkid.web.middleware import addresses_of
from bulkid.web.server import ROUTES, ConnectionLimit, _Admission, tls_of
from tests.support.identity_wire import TLS
from tests.support.web_console import World, raw
from tests.support.web_users import team


@dataclass
class Connection(asyncio.BaseTransport):
    """A connection of which only the address matters."""

    address: str
    closed: bool = field(default=False)

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self.address, 1) if name == "peername" else default

    def is_closing(self) -> bool:
        return self.closed


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_no_address_and_not_all_together_have_more_open_connections_than_allowed(
    steps: list[tuple[str, bool]],
) -> None:
    limit = ConnectionLimit(per_address=3, max_total=6)
    opened: list[Connection] = []
    for address, opens in steps:
        living = [each for each in opened if not each.closed]
        mine = [each for each in living if each.address == address]
        if opens:
            connection = Connection(address)
            admitted = limit.admits(connection)
            assert admitted == (len(mine) < 3 and len(living) < 6)
            if admitted:
                opened.append(connection)
        elif mine:
            mine[0].closed = True


async def answer_to(port: int, **more: object) -> bytes:
    """The first line of the answer to a request on a new connection; nothing where the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **more)
    writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % port)
    try:
        return await asyncio.wait_for(reader.readline(), 20)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_an_address_with_a_hundred_idle_connections_gets_no_more_and_others_do(console: World) -> None:
    port = console.console.serve.port
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(250)]
    assert await answer_to(port) == b""
    if sys.platform == "linux":  # the whole of 127.0.0.0/8 is this machine there
        assert b"HTTP/1.1 401" in await answer_to(port, local_addr=("127.0.0.2", 0))
    for _, writer in idle:
        writer.close()
    while b"HTTP/1.1 401" not in await answer_to(port):
        pass  # each connection takes a turn of the server, which sees the closed ones


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit on open files")
def test_with_few_open_files_the_console_stays_within_them() -> None:
    program = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 256))\n"
        "from bulkid.web.server import max_connections\n"
        "print(max_connections(), resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split(maxsplit=1) == ["128", "(256, 256)\n"]


async def test_a_connection_that_sends_no_request_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkid.web.server.IDLE_S", 0.05)
    async with team(tmp_path) as console:
        for sent in (b"", b"GET / HTTP/1.1\r\nHost: 127"):
            reader, writer = await asyncio.open_connection("127.0.0.1", console.console.serve.port)
            writer.write(sent)
            assert await asyncio.wait_for(reader.read(), 60) == b""
            writer.close()


async def test_a_request_that_aiohttp_cannot_represent_ends_its_connection_without_a_traceback(console: World) -> None:
    uncaught: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: uncaught.append(context))
    reader, writer = await asyncio.open_connection("127.0.0.1", console.console.serve.port)
    writer.write(b"CONNECT \r\n\r\n")
    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()
    gc.collect()  # asyncio reports the exception of a task when the task is collected
    assert uncaught == []


# --- before and in the TLS handshake


ENCRYPTED = ServeOptions(port=0, certfile=TLS / "server.pem", keyfile=TLS / "server.key", public_names=("localhost",))
TRUSTED = ssl.create_default_context(cafile=str(TLS / "server.pem"))


async def encrypted_answer(port: int) -> bytes:
    """The first line of the answer to a request over TLS; nothing where the connection is closed."""
    try:
        return await answer_to(port, ssl=TRUSTED, server_hostname="localhost")
    except (ConnectionError, ssl.SSLError):
        return b""


async def test_connections_without_a_tls_handshake_count_as_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bulkid.web.server.PER_ADDRESS", 3)
    async with team(tmp_path, serve=ENCRYPTED) as console:
        port = console.console.serve.port
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        assert await encrypted_answer(port) == b""
        silent[0][1].close()
        while b"HTTP/1.1 401" not in await encrypted_answer(port):
            pass  # each connection takes a turn of the server, which sees the closed one
        for _, writer in silent[1:]:
            writer.close()


class Echo(asyncio.Protocol):
    """Sends back what it receives."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def _echoed_after_an_early_hello() -> bytes:
    """What comes back where the first message of the handshake is there before the server sees the connection."""
    loop, tls = asyncio.get_running_loop(), tls_of(ENCRYPTED)
    server = await loop.create_server(partial(_Admission, ConnectionLimit(), Echo, tls), "127.0.0.1", 0)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = TRUSTED.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(server.sockets[0].getsockname()[:2]) as connection:
        connection.settimeout(0)

        async def exchange(act: Callable[[], Any]) -> Any:
            while True:
                done = None
                with suppress(ssl.SSLWantReadError):
                    done = act()
                connection.sendall(outgoing.read())
                if done is not None:
                    return done
                received = await loop.sock_recv(connection, 65536)
                if not received:
                    return b""
                incoming.write(received)

        if await exchange(lambda: client.do_handshake() or True) != b"":
            client.write(b"hello")
        echoed = await exchange(lambda: client.read(5))
    server.close()
    return cast("bytes", echoed)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_handshake_that_begins_before_the_server_sees_the_connection_succeeds(loop: str) -> None:
    make = pytest.importorskip(loop).new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=make) as runner:
        assert runner.run(_echoed_after_an_early_hello()) == b"hello"


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"])
async def test_a_connection_without_a_tls_handshake_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr("bulkid.web.server.IDLE_S", 0.05)
    async with team(tmp_path, serve=ENCRYPTED) as console:
        uncaught: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: uncaught.append(context))
        reader, writer = await asyncio.open_connection("127.0.0.1", console.console.serve.port)
        writer.write(sent)
        assert b"HTTP" not in await asyncio.wait_for(reader.read(), 60)
        writer.close()
        assert uncaught == []


async def test_a_form_that_comes_too_slowly_is_answered_408(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_bodies, "BODY_TIMEOUT_S", 0.05)
    async with team(tmp_path) as console:
        port = console.console.serve.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = (
            "POST /signin HTTP/1.1\r\nHost: 127.0.0.1:{0}\r\nOrigin: http://127.0.0.1:{0}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nname="
        )
        writer.write(head.format(port).encode())
        assert b"HTTP/1.1 408" in await asyncio.wait_for(reader.readline(), 60)
        writer.close()


# --- host names


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"127.0.0.1:%d", 401),
        (b"127.0.0.1", 401),
        (b"localhost:%d", 401),
        (b"BULKID.Example.com:%d", 401),
        (b"bulkid.example.com.:%d", 401),
        (b"evil.example.com:%d", 421),
        (b"10.1.2.3:%d", 421),
        (b"[::1]:%d", 421),
        (b"bulkid.example.com:1", 421),
        (b"", 421),
    ],
)
async def test_on_all_addresses_the_one_that_was_reached_and_the_public_names_are_the_console_s_own(
    tmp_path: Path, host: bytes, status: int
) -> None:
    serve = {"host": "0.0.0.0", "public_names": ("Bulkid.example.COM",), "certfile": None}  # noqa: S104 - what is tested
    async with team(tmp_path) as console:
        console.console.serve = ServeOptions(port=console.console.serve.port, **serve)
        port = console.console.serve.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        name = host % port if b"%d" in host else host
        writer.write(b"GET / HTTP/1.1\r\nHost: " + name + b"\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert int(answer.split(b" ", 2)[1]) == status
        if status == 421:
            links = re.findall(r'<a class="any" href="([^"]*)"', answer.decode())
            assert links == [f"http://Bulkid.example.COM:{port}/", f"http://127.0.0.1:{port}/"]
            assert not name or name not in answer, "what the client sent is not repeated"


@pytest.mark.parametrize(
    ("serve", "addresses"),
    [
        (ServeOptions(port=443, host="0.0.0.0", certfile=Path("x")), ["https://localhost:443"]),  # noqa: S104
        (ServeOptions(port=8766, host="::1"), ["http://[::1]:8766"]),
        (ServeOptions(port=8766, behind_proxy=True, public_names=("b.example.com",)), ["https://b.example.com"]),
        (
            ServeOptions(port=8766, host="::", public_names=("2001:db8::1",), certfile=Path("x")),
            ["https://[2001:db8::1]:8766", "https://localhost:8766"],
        ),
        (ServeOptions(port=8766, behind_proxy=True, public_names=("2001:db8::1",)), ["https://[2001:db8::1]"]),
    ],
)
def test_the_addresses_of_a_console_are_such_that_it_answers(serve: ServeOptions, addresses: list[str]) -> None:
    assert addresses_of(serve) == addresses


async def test_a_program_under_a_foreign_host_name_is_told_the_address(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        port = console.console.serve.port
        console.console.serve = ServeOptions(port=port, behind_proxy=True, public_names=("bulkid.example.com",))
        page = await console.browser.get("/api/v1/runs", headers={"Host": "evil.example.com"})
        error = json.loads(page.text)["error"]
        assert (page.status, error["code"]) == (421, "wrong_host")
        assert error["hint"] == "Use https://bulkid.example.com."
        assert "evil" not in page.text


async def test_a_probe_that_knows_the_address_alone_learns_that_the_console_answers(console: World) -> None:
    async with console.another_browser() as stranger:
        found = await stranger.get("/health", headers={"Host": "10.244.0.7:8766"})
    assert (found.status, found.text) == (200, "ok\n")


async def test_style_sheet_and_health_alone_are_served_under_any_host_name(console: World) -> None:
    elsewhere = {"Host": "evil.example.com"}
    assert (await console.browser.get("/static/console.css", headers=elsewhere)).status == 200
    for route in ROUTES:
        if route.method == "GET" and not route.path.startswith(("/static/", "/health")):
            path = re.sub(r"\{\w+\}", "x", route.path)
            assert (await console.browser.get(path, headers=elsewhere)).status == 421, path


async def test_behind_a_proxy_a_public_name_counts_in_any_spelling(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        port, names = console.console.serve.port, ("Bulkid.example.COM", "2001:0DB8::0:1")
        console.console.serve = ServeOptions(port=port, behind_proxy=True, public_names=names)
        for host, status in ((b"bulkid.EXAMPLE.com", 401), (b"[2001:db8::1]", 401), (b"127.0.0.1", 421)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            assert int(answer.split(b" ", 2)[1]) == status


# --- the audit log


async def test_links_that_do_not_exist_leave_a_bounded_number_of_rows_in_the_audit_log(console: World) -> None:
    before = console.console.store.audit_page(0, 1)[1]
    for number in range(40):
        status, _ = await raw(console, [b"GET /enter?key=%d HTTP/1.1" % number])
        assert status == 401
    assert console.console.store.audit_page(0, 1)[1] - before == 10
    limit, at = console.console.refusals, console.console.clock.monotonic()
    limit.monotonic = lambda: at + 2 * limit.window_s
    await raw(console, [b"GET /enter?key=later HTTP/1.1"])
    (entry, *_), total = console.console.store.audit_page(0, 1)
    assert total - before == 11
    assert entry.detail == "(30 more were refused and are not listed)"


async def test_refused_sign_ins_leave_a_bounded_number_of_rows_in_the_audit_log(tmp_path: Path) -> None:
    async with team(tmp_path) as console:
        before = console.console.store.audit_page(0, 1)[1]
        for number in range(40):
            await console.browser.post("/signin", {"name": f"user {number}", "password": "x"})
        assert console.console.store.audit_page(0, 1)[1] - before == 10


def test_refusals_are_recorded_again_after_a_while_with_the_number_left_out() -> None:
    now = [0.0]
    limit = RefusalLimit(lambda: now[0], window_s=10, per_source=2, max_total=3)
    assert [limit.admit("a") for _ in range(4)] == [0, 0, None, None]
    assert [limit.admit(address) for address in "bcd"] == [2, None, None]
    now[0] = 11
    assert [limit.admit("a"), limit.admit("a")] == [2, 0]


WAITS = st.integers(0, 40).map(lambda eighths: eighths / 8)
"""Seconds whose sums and differences are exact, so that the test and the limit agree where a window ends."""


@given(st.lists(st.tuples(st.text("abcdefgh", min_size=1, max_size=1), WAITS), max_size=80))
def test_in_no_window_are_more_refusals_recorded_than_allowed_and_none_is_forgotten(
    steps: list[tuple[str, float]],
) -> None:
    now = [0.0]
    limit = RefusalLimit(lambda: now[0], window_s=10, per_source=2, max_total=4)
    recorded: list[tuple[float, str]] = []
    reported = 0
    for address, wait in steps:
        now[0] += wait
        left_out = limit.admit(address)
        if left_out is not None:
            reported += left_out
            recorded.append((now[0], address))
    for at, _ in recorded:
        window = [each for when, each in recorded if at - 10 < when <= at]
        assert len(window) <= 4
        assert all(window.count(each) <= 2 for each in window)
    assert reported + len(recorded) <= len(steps)
