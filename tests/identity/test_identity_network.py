"""Names, certificates and proxies; and that a request which could not be sent is reported as not sent."""

import asyncio
import base64
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import NoReturn

import pytest
from aiohttp import ClientConnectorCertificateError, ConnectionTimeoutError
from aiohttp.client_reqrep import ConnectionKey

from bulkid.errors import UsageError
from bulkid.identity.client import ClientSettings, open_client
from bulkid.identity.endpoints import get_account
from bulkid.identity.http_session import proxy_for, trust_context
from bulkid.identity.responses import read_failure
from bulkid.identity.tokens import StaticToken
from bulkid.identity.urls import complete_url
from bulkid.model import Reply, ReplyKind
from tests.support.identity_wire import (
    ORG,
    TLS,
    Seen,
    WireServer,
    always,
    answer,
    connect_proxy,
    listening,
    reset,
    wire_server,
)

pytestmark = pytest.mark.usefixtures("fast_path")

GET = get_account(ORG, "88-uv")
GOOD = answer({"id": "88-uv", "name": "roby"})


async def reply_from(address: str, ca_bundle: Path | None = None, timeout_s: float = 10.0) -> Reply:
    connection = ClientSettings(complete_url(address), timeout_s=timeout_s, ca_bundle=ca_bundle)
    async with open_client(connection, StaticToken("1234")) as client:
        return await client.send(GET)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


# --- nothing left


async def test_a_port_that_nobody_listens_on() -> None:
    reply = await reply_from(f"http://127.0.0.1:{free_port()}")
    assert (reply.kind, reply.error_code) == (ReplyKind.NO_CONNECTION, "connection_refused")
    assert "Nothing answers at 127.0.0.1:" in reply.error


def not_found(*_: object, **__: object) -> NoReturn:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def test_a_host_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", not_found)  # no test asks a name server, which may take its time
    reply = await reply_from("https://no-such-host.invalid")
    assert (reply.kind, reply.error_code) == (ReplyKind.NO_CONNECTION, "host_not_found")
    assert "BULKID_URL" in reply.error


async def test_a_server_that_does_not_speak_tls() -> None:
    async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GOOD)
        await writer.drain()

    async with listening(plain) as port:
        reply = await reply_from(f"https://localhost:{port}")
    assert (reply.kind, reply.error_code) == (ReplyKind.NO_CONNECTION, "tls")


async def test_a_server_that_never_finishes_the_handshake_is_given_up_in_time() -> None:
    async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with listening(silent) as port:
        reply = await reply_from(f"https://localhost:{port}", timeout_s=3)  # half of it to connect
    assert (reply.kind, reply.error_code) == (ReplyKind.NO_CONNECTION, "connect_timeout")


# --- certificates


async def test_a_certificate_of_the_bundle_is_trusted() -> None:
    async with wire_server(always(GOOD), tls="server") as server:
        reply = await reply_from(f"https://localhost:{server.port}", TLS / "server.pem")
    assert reply.kind is ReplyKind.OK


async def test_a_certificate_that_nobody_vouches_for_is_refused_and_the_setting_is_named() -> None:
    async with wire_server(always(GOOD), tls="server") as server:
        reply = await reply_from(f"https://localhost:{server.port}")
        assert server.seen == []
    assert (reply.kind, reply.error_code) == (ReplyKind.NO_CONNECTION, "certificate")
    assert "not trusted" in reply.error
    assert "BULKID_CA_BUNDLE" in reply.error


@pytest.mark.parametrize(
    ("host", "certificate", "code"),
    [("127.0.0.1", "server", "certificate_name"), ("localhost", "expired", "certificate_expired")],
)
async def test_other_faults_of_a_certificate_are_told_apart(host: str, certificate: str, code: str) -> None:
    async with wire_server(always(GOOD), tls=certificate) as server:
        reply = await reply_from(f"https://{host}:{server.port}", TLS / f"{certificate}.pem")
        assert server.seen == []
    assert (reply.kind, reply.error_code) == (ReplyKind.NO_CONNECTION, code)
    assert "BULKID_CA_BUNDLE" not in reply.error


def test_a_certificate_that_is_not_valid_yet_is_a_matter_of_the_clock() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = 9, "certificate is not yet valid"
    key = ConnectionKey(
        "identity.test", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
    )
    reply = read_failure(ClientConnectorCertificateError(key, error), "identity.test")
    assert (reply.kind, reply.error_code) == (ReplyKind.NO_CONNECTION, "certificate_not_yet_valid")
    assert reply.error.endswith("Is the clock of this machine right?")


async def test_a_secure_connection_that_breaks_after_the_request_is_lost() -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    async with wire_server(script, tls="server") as server:
        reply = await reply_from(f"https://localhost:{server.port}", TLS / "server.pem")
    assert reply.kind is ReplyKind.LOST


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff\x00"])
async def test_a_bundle_that_cannot_be_used_is_a_usage_error(tmp_path: Path, content: bytes | None) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(UsageError, match="CA bundle") as refused:
        await reply_from("https://localhost:1", bundle)
    assert "BULKID_CA_BUNDLE" in refused.value.hint


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
async def test_a_bundle_may_come_through_a_pipe_that_a_program_writes_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    pipe = tmp_path / "bundle.pem"
    os.mkfifo(pipe)
    writing = threading.Thread(target=pipe.write_bytes, args=((TLS / "server.pem").read_bytes(),), daemon=True)
    writing.start()
    async with wire_server(script, tls="server") as server:
        reply = await reply_from(f"https://localhost:{server.port}", pipe)
    assert reply.kind is ReplyKind.LOST
    monkeypatch.setattr("bulkid.named_pipe.PIPE_WAIT_S", 0)
    with pytest.raises(UsageError, match="no program has written to this pipe"):
        await reply_from("https://localhost:1", pipe)


async def test_certificates_are_read_in_a_worker_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may take seconds to write them to a pipe; meanwhile other runs of this process go on."""
    threads: list[threading.Thread] = []

    def trust(bundle: str | Path | None) -> ssl.SSLContext:
        threads.append(threading.current_thread())
        return trust_context(bundle)

    monkeypatch.setattr("bulkid.identity.client.trust_context", trust)
    await reply_from(f"https://localhost:{free_port()}", TLS / "server.pem")
    assert threads != [threading.current_thread()]


async def test_a_directory_of_certificates_will_do_too(tmp_path: Path) -> None:
    assert (await reply_from(f"https://localhost:{free_port()}", tmp_path)).kind is ReplyKind.NO_CONNECTION


# --- proxies

INSIDE = "https://identity.test:8443"


async def through(proxy: WireServer, monkeypatch: pytest.MonkeyPatch, credentials: str = "") -> Reply:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{credentials}127.0.0.1:{proxy.port}")
    return await reply_from(INSIDE, TLS / "server.pem")


async def test_the_proxy_of_the_environment_leads_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wire_server(always(GOOD), tls="server") as server, connect_proxy(server.port) as proxy:
        reply = await through(proxy, monkeypatch, "jo%40hn:p%3Aw@")
        assert reply.kind is ReplyKind.OK
        (asked,) = proxy.seen
        assert asked.line == "CONNECT identity.test:8443 HTTP/1.1"
        assert asked.headers["proxy-authorization"] == f"Basic {base64.b64encode(b'jo@hn:p:w').decode()}"
        assert "authorization" not in asked.headers
        assert server.seen[0].line == f"GET /identity/api/RobotAccount/{ORG}/88-uv HTTP/1.1"
        assert server.seen[0].headers["authorization"] == "Bearer 1234"
        assert "proxy-authorization" not in server.seen[0].headers


async def test_a_connection_through_a_proxy_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wire_server(always(GOOD), tls="server") as server, connect_proxy(server.port) as proxy:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")
        connection = ClientSettings(complete_url(INSIDE), ca_bundle=TLS / "server.pem")
        async with open_client(connection, StaticToken("1234")) as client:
            for _ in range(3):
                assert (await client.send(GET)).kind is ReplyKind.OK
            assert client._proxy is not None
            assert str(client._proxy.url) == f"http://127.0.0.1:{proxy.port}"
        assert (len(proxy.seen), len(server.seen)) == (1, 3)


async def test_a_request_lost_behind_a_proxy_is_lost_and_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    async with wire_server(script, tls="server") as server, connect_proxy(server.port) as proxy:
        assert (await through(proxy, monkeypatch)).kind is ReplyKind.LOST
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        ("407 Proxy Authentication Required", "proxy_credentials", "credentials"),
        ("403 Forbidden", "proxy_refused", "403 Forbidden"),
        ("502 Bad Gateway", "proxy_refused", "502 Bad Gateway"),
    ],
)
async def test_a_proxy_that_refuses_means_that_nothing_left(
    monkeypatch: pytest.MonkeyPatch, status: str, code: str, word: str
) -> None:
    async with connect_proxy(0, status=status) as proxy:
        reply = await through(proxy, monkeypatch, "user:hunter2@")
    assert (reply.kind, reply.error_code) == (ReplyKind.NO_CONNECTION, code)
    assert word in reply.error
    assert "hunter2" not in reply.error


async def test_a_proxy_that_hangs_up_means_that_nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connect_proxy(0, hang_up=True) as proxy:
        reply = await through(proxy, monkeypatch)
    assert (reply.kind, reply.error_code) == (ReplyKind.NO_CONNECTION, "no_connection")


async def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = await through(WireServer(free_port()), monkeypatch)
    assert (reply.kind, reply.error_code) == (ReplyKind.NO_CONNECTION, "proxy_unreachable")
    assert "HTTPS_PROXY" in reply.error


async def test_a_proxy_whose_host_does_not_exist_is_not_taken_for_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:8080")
    monkeypatch.setattr(socket, "getaddrinfo", not_found)
    reply = await reply_from(INSIDE)
    assert (reply.kind, reply.error_code) == (ReplyKind.NO_CONNECTION, "proxy_unreachable")
    assert reply.error.startswith("The host of the proxy that HTTPS_PROXY names is not found")


def test_a_proxy_that_does_not_answer_in_time_is_named() -> None:
    replies = [read_failure(ConnectionTimeoutError(), "identity.test", proxied=proxied) for proxied in (True, False)]
    assert [reply.error_code for reply in replies] == ["connect_timeout"] * 2
    assert replies[0].error.endswith("Does the proxy that HTTPS_PROXY names answer?")
    assert replies[1].error.endswith("Does it need a proxy (HTTPS_PROXY)?")


async def test_a_certificate_is_checked_behind_a_proxy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with wire_server(always(GOOD), tls="server") as server, connect_proxy(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        reply = await reply_from(INSIDE)
        assert (reply.kind, reply.error_code) == (ReplyKind.NO_CONNECTION, "certificate")
        assert server.seen == []


async def test_this_machine_is_never_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with wire_server(always(GOOD)) as server:
        assert (await reply_from(f"http://127.0.0.1:{server.port}")).kind is ReplyKind.OK


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ({"https_proxy": "p:1"}, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1/x?y"}, "http://p:1"),
        ({"HTTPS_PROXY": "https://p"}, "https://p"),
        ({"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ({"ALL_PROXY": "socks5://p:1", "HTTPS_PROXY": "http://q:1"}, "http://q:1"),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"HTTPS_PROXY": "http://u:w@p:1/x?y"}, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "identity.test"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".test"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.example"}, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": ""}, None),
    ],
)
def test_the_usual_variables_choose_the_proxy(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], proxy: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    chosen = proxy_for(complete_url(INSIDE))
    assert (str(chosen.url) if chosen else None) == proxy
    assert "w@" not in repr(chosen)


@pytest.mark.parametrize(
    "setting", ["socks5://u:hunter2@p:1", "http://", "http://u:hunter2@p:x", "http://[u:hunter2@p"]
)
def test_a_setting_that_is_no_http_proxy_is_refused_and_not_echoed(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", setting)
    with pytest.raises(UsageError, match="HTTPS_PROXY") as refused:
        proxy_for(complete_url(INSIDE))
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None
