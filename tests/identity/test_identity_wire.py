"""The bytes that are sent, and that each request is sent once."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession

from bulkid import __version__
from bulkid.identity.client import ClientSettings, open_client
from bulkid.identity.endpoints import create_account, delete_accounts, get_account, parse_account, put_account
from bulkid.identity.tokens import ClientCredentials, StaticToken
from bulkid.identity.urls import complete_url
from bulkid.model import Action, Change, ReplyKind
from tests.support.identity_wire import ORG, Seen, WireServer, always, answer, raw_answer, reset, wire_server

pytestmark = pytest.mark.usefixtures("fast_path")

CHANGE = Change("88-uv", "roby", ("Roby",), sets_fields=False, add=("alumni-02",), remove=(), before=None)
CREATION = CHANGE._replace(account_id="", action=Action.CREATE)
ANSWER = {"id": "88-uv", "name": "roby", "displayName": "Roby", "groupIds": ["alumni-02", "gryff-01"]}


def client_settings(server: WireServer, **settings: Any) -> ClientSettings:
    return ClientSettings(complete_url(f"http://127.0.0.1:{server.port}/identity"), **settings)


async def test_the_vendors_own_example_goes_over_the_wire_literally() -> None:
    async with wire_server(always(answer(ANSWER))) as server:
        async with open_client(client_settings(server), StaticToken("1234")) as client:
            reply = await client.send(put_account(ORG, CHANGE))
        body = (
            b'{"partitionGlobalId":"3fa85f64-5717-4562-b3fc-2c963f66afa6","displayName":"Roby",'
            b'"groupIDsToAdd":["alumni-02"],"groupIDsToRemove":[]}'
        )
        assert [(seen.line, seen.body) for seen in server.seen] == [
            ("PUT /identity/api/RobotAccount/88-uv HTTP/1.1", body)
        ]
        headers = server.seen[0].headers
        assert headers.pop("accept-encoding")
        assert headers == {
            "host": f"127.0.0.1:{server.port}",
            "authorization": "Bearer 1234",
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": f"bulkid/{__version__}",
            "content-length": str(len(body)),
        }
    assert reply.kind is ReplyKind.OK
    assert parse_account(reply.payload).group_ids == ("alumni-02", "gryff-01")


async def test_a_read_carries_no_body_and_no_content_type() -> None:
    async with wire_server(always(answer(ANSWER))) as server:
        async with open_client(client_settings(server), StaticToken("1234")) as client:
            await client.send(get_account(ORG, "a/b ü"))
        assert server.seen[0].line == f"GET /identity/api/RobotAccount/{ORG}/a%2Fb%20%C3%BC HTTP/1.1"
        assert "content-type" not in server.seen[0].headers
        assert "content-length" not in server.seen[0].headers


async def test_a_creation_is_answered_201_with_the_account() -> None:
    async with wire_server(always(answer(ANSWER, 201))) as server:
        async with open_client(client_settings(server), StaticToken("1234")) as client:
            reply = await client.send(create_account(ORG, CREATION))
        (seen,) = server.seen
    assert seen.line == "POST /identity/api/RobotAccount HTTP/1.1"
    assert (seen.headers["content-type"], seen.headers["content-length"]) == ("application/json", str(len(seen.body)))
    assert (reply.kind, reply.status, parse_account(reply.payload).id) == (ReplyKind.OK, 201, "88-uv")


@pytest.mark.parametrize(
    "no_content", [b"HTTP/1.1 204 No Content\r\n\r\n", raw_answer(b"", 204)], ids=["no length", "length 0"]
)
async def test_a_deletion_is_answered_204_without_a_body_and_the_connection_is_kept(no_content: bytes) -> None:
    async with wire_server(always(no_content)) as server:
        async with open_client(client_settings(server), StaticToken("1234")) as client:
            replies = [await client.send(delete_accounts(ORG, ["1", "2"])) for _ in range(3)]
        assert (server.connections, len(server.seen)) == (1, 3)
        seen = server.seen[0]
    assert (seen.line, seen.body) == (
        f"DELETE /identity/api/RobotAccount/{ORG} HTTP/1.1",
        b'{"robotAccountIDs":["1","2"]}',
    )
    assert {(reply.kind, reply.status, reply.payload) for reply in replies} == {(ReplyKind.OK, 204, None)}


async def test_a_tenant_is_named_on_every_request_and_only_when_there_is_one() -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer({"access_token": "t"} if seen.method == "POST" else ANSWER))

    async with wire_server(script) as server:
        async with open_client(client_settings(server, tenant="Default"), ClientCredentials("app", "s")) as client:
            await client.send(get_account(ORG, "1"))
        assert [(seen.method, seen.headers["x-uipath-tenantname"]) for seen in server.seen] == [
            ("POST", "Default"),
            ("GET", "Default"),
        ]


async def test_a_token_is_fetched_with_a_form_and_then_carried() -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer({"access_token": "abc", "expires_in": 3600} if seen.method == "POST" else ANSWER))

    async with wire_server(script) as server:
        async with open_client(client_settings(server), ClientCredentials("app", "a&b", "PM.RobotAccount")) as client:
            replies = await asyncio.gather(*(client.send(put_account(ORG, CHANGE)) for _ in range(50)))
        assert {reply.kind for reply in replies} == {ReplyKind.OK}
        assert server.count("POST") == 1
        assert server.count("PUT") == 50
        first = server.seen[0]
        assert first.line == "POST /identity/connect/token HTTP/1.1"
        assert first.headers["content-type"] == "application/x-www-form-urlencoded"
        assert "authorization" not in first.headers
        assert first.body == b"grant_type=client_credentials&client_id=app&client_secret=a%26b&scope=PM.RobotAccount"
        assert {seen.headers["authorization"] for seen in server.seen[1:]} == {"Bearer abc"}


async def test_connections_are_kept_and_never_more_than_the_concurrency() -> None:
    async with wire_server(always(answer(ANSWER))) as server:
        async with open_client(client_settings(server, concurrency=3), StaticToken("1234")) as client:
            for _ in range(3):
                await asyncio.gather(*(client.send(put_account(ORG, CHANGE)) for _ in range(20)))
        assert server.count("PUT") == 60
        assert server.connections == 3


async def test_cookies_are_neither_kept_nor_sent() -> None:
    async with wire_server(always(answer(ANSWER, headers=("Set-Cookie: a=b; Path=/",)))) as server:
        async with open_client(client_settings(server), StaticToken("1234")) as client:
            for _ in range(2):
                await client.send(get_account(ORG, "1"))
        assert "cookie" not in server.seen[1].headers


async def test_a_redirect_is_not_followed_with_the_token() -> None:
    async with wire_server(always(answer(ANSWER))) as elsewhere:
        target = f"http://127.0.0.1:{elsewhere.port}/"
        async with wire_server(always(answer({}, 307, (f"Location: {target}",)))) as server:
            async with open_client(client_settings(server), StaticToken("1234")) as client:
                reply = await client.send(put_account(ORG, CHANGE))
            assert (reply.kind, reply.error_code) == (ReplyKind.NOT_JSON, "redirect")
            assert target in reply.error
        assert elsewhere.seen == []


@pytest.mark.parametrize("switch", ["attribute", "middleware"])
@pytest.mark.parametrize("ending", ["closed", "reset"])
@pytest.mark.parametrize("method", ["PUT", "GET", "POST", "DELETE"])
async def test_a_kept_connection_that_breaks_loses_the_request_and_nothing_is_sent_behind_our_back(
    monkeypatch: pytest.MonkeyPatch, switch: str, ending: str, method: str
) -> None:
    if switch == "middleware":  # what is done where aiohttp has no such attribute
        monkeypatch.setattr(ClientSession, "ATTRS", ClientSession.ATTRS - {"_retry_connection"})

    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        if len(server.seen) == 1:
            writer.write(answer(ANSWER))
        elif ending == "closed":
            writer.close()
        else:
            reset(writer)

    request = {
        "GET": get_account(ORG, "1"),
        "PUT": put_account(ORG, CHANGE),
        "POST": create_account(ORG, CREATION),
        "DELETE": delete_accounts(ORG, ["1"]),
    }[method]
    async with wire_server(script) as server, open_client(client_settings(server), StaticToken("1234")) as client:
        assert (await client.send(request)).kind is ReplyKind.OK
        for sent in (2, 3):
            lost = await client.send(request)
            assert (lost.kind, lost.status) == (ReplyKind.LOST, None)
            assert lost.error_code == "connection_lost"
            assert "Error" not in lost.error
            assert server.count(method) == sent


async def test_a_connection_that_the_server_has_closed_between_requests_is_not_used_again() -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(ANSWER, headers=("Connection: close",)))
        writer.close()

    async with wire_server(script) as server:
        async with open_client(client_settings(server), StaticToken("1234")) as client:
            kinds = [(await client.send(put_account(ORG, CHANGE))).kind for _ in range(5)]
        assert kinds == [ReplyKind.OK] * 5
        assert server.count("PUT") == server.connections == 5
