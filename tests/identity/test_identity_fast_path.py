"""The fast path through aiohttp: what goes over the wire is the same; it is used only where aiohttp is known."""

import asyncio
from collections.abc import Iterable

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from bulkid.identity.client import ClientSettings, IdentityClient, open_client
from bulkid.identity.endpoints import get_account, put_account
from bulkid.identity.fast_path import FIRST_VERSION, LAST_VERSION, is_supported
from bulkid.identity.tokens import StaticToken
from bulkid.identity.urls import complete_url
from bulkid.model import Change, Reply, ReplyKind, Request
from tests.support.identity_wire import ORG, Seen, WireServer, always, answer, listening, wire_server

PUT = put_account(ORG, Change("88-uv", "roby", ("Roby",), sets_fields=False, add=("g",), remove=(), before=None))
GET = get_account(ORG, "88-uv")
ACCOUNT = {"id": "88-uv", "name": "roby"}
GOOD = answer(ACCOUNT)
MUCH = Request("PUT", "api/RobotAccount/88-uv", b'{"displayName":"' + b"x" * 20_000_000 + b'"}')

known = pytest.mark.skipif(not is_supported(), reason=f"aiohttp {aiohttp.__version__} is not known")


def client_settings(server: WireServer, tenant: str = "") -> ClientSettings:
    return ClientSettings(complete_url(f"http://127.0.0.1:{server.port}/identity"), concurrency=1, tenant=tenant)


async def sent_by(client: IdentityClient, requests: Iterable[Request]) -> list[Reply]:
    return [await client.send(request) for request in requests]


@known
async def test_both_ways_send_the_same_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = []
    async with wire_server(always(GOOD)) as server:
        for _ in range(2):
            server.seen.clear()
            async with open_client(client_settings(server, tenant="Büro"), StaticToken("1234")) as client:
                await sent_by(client, [PUT, GET, Request("GET", "api/RobotAccount/o?top=1&skip=0")])
            heads.append([(seen.line, sorted(seen.headers.items()), seen.body) for seen in server.seen])
            monkeypatch.setattr("bulkid.identity.client.is_supported", lambda: False)
    assert len(heads[0]) == 3
    assert heads[0] == heads[1]


@known
async def test_the_session_is_left_out_for_what_carries_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        raise AssertionError("the session was asked")

    monkeypatch.setattr(aiohttp.ClientSession, "request", never)
    async with wire_server(always(GOOD)) as server, open_client(client_settings(server), StaticToken("1234")) as client:
        replies = await sent_by(client, [PUT, GET])
    assert [reply.payload for reply in replies] == [ACCOUNT, ACCOUNT]
    assert server.connections == 1


@pytest.mark.parametrize("version", ["3.11.18", "3.15.0", "4.0.0a1", "unknown"])
def test_a_release_that_was_not_tested_is_not_known(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(aiohttp, "__version__", version)
    assert not is_supported()


@known
@pytest.mark.parametrize("version", [FIRST_VERSION, LAST_VERSION])
def test_the_oldest_and_the_newest_tested_release_are_known(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int]
) -> None:
    monkeypatch.setattr(aiohttp, "__version__", ".".join(map(str, (*version, 99))))
    assert is_supported()


@known
async def test_an_aiohttp_that_takes_other_parameters_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ResponseHandler.start_timeout  # takes nothing by name

    monkeypatch.setattr(
        "bulkid.identity.fast_path._REQUIRED_SIGNATURES", ((other, ("self",), frozenset({"skip_payload"})),)
    )
    assert not is_supported()
    async with wire_server(always(GOOD)) as server, open_client(client_settings(server), StaticToken("1234")) as client:
        assert (await client.send(PUT)).payload == ACCOUNT  # by the session then


@pytest.mark.usefixtures("fast_path")
async def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with (
        wire_server(always(interim + GOOD)) as server,
        open_client(client_settings(server), StaticToken("1234")) as client,
    ):
        replies = await sent_by(client, [PUT, PUT])
    assert [reply.payload for reply in replies] == [ACCOUNT, ACCOUNT]
    assert server.connections == 1


@known
async def test_an_answer_that_comes_before_the_request_was_taken_ends_the_connection() -> None:
    """The rest of the first request must not be in the way of the second."""
    server = WireServer()

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        head = await reader.readuntil(b"\r\n\r\n")
        server.seen.append(Seen(head, b""))
        writer.write(answer({"message": "too much"}, 413) if server.connections == 1 else GOOD)
        await asyncio.sleep(0.2 if server.connections == 1 else 0)
        await reader.read(-1)

    async with listening(hasty) as server.port, open_client(client_settings(server), StaticToken("1234")) as client:
        replies = await sent_by(client, [MUCH, PUT])
    assert [reply.status for reply in replies] == [413, 200]
    assert server.connections == 2


@known
@pytest.mark.parametrize("path", ["api/a b", "api/a\r\nX: y", "api/ä"])
async def test_a_path_that_is_not_encoded_never_becomes_another_request(path: str) -> None:
    async with wire_server(always(GOOD)) as server, open_client(client_settings(server), StaticToken("1234")) as client:
        await client.send(Request("GET", path))
        reply = await client.send(GET)
    assert reply.kind is ReplyKind.OK
    assert all("x" not in seen.headers for seen in server.seen)


@pytest.mark.usefixtures("fast_path")
async def test_an_answer_that_is_no_http_is_called_so() -> None:
    async with (
        wire_server(always(b"SSH-2.0-OpenSSH_9.6\r\n")) as server,
        open_client(client_settings(server), StaticToken("1234")) as client,
    ):
        reply = await client.send(PUT)
    assert (reply.kind, reply.error_code) == (ReplyKind.LOST, "not_http")
