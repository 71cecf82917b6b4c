"""Each send ends with one true reply in time, whatever the server does."""

import asyncio
import gzip
import zlib
from pathlib import Path

import anyio
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkid.clock import SystemClock
from bulkid.errors import AuthenticationError, ConnectionFailedError, UsageError
from bulkid.identity.client import MAX_RESPONSE_BYTES, ClientSettings, IdentityClient, open_client
from bulkid.identity.endpoints import get_account, put_account
from bulkid.identity.tokens import ClientCredentials, FederatedCredentials, StaticToken, TokenClaims
from bulkid.identity.urls import complete_url
from bulkid.model import Change, Reply, ReplyKind, Request
from tests.support.assertions import assertion_file
from tests.support.examples import examples
from tests.support.identity_wire import (
    ORG,
    Script,
    Seen,
    WireServer,
    always,
    answer,
    listening,
    raw_answer,
    reset,
    wire_server,
)

pytestmark = pytest.mark.usefixtures("fast_path")

PUT = put_account(ORG, Change("88-uv", "roby", ("Roby",), sets_fields=False, add=("g",), remove=(), before=None))
GET = get_account(ORG, "88-uv")
ACCOUNT = {"id": "88-uv", "name": "roby"}
PAGE = raw_answer(b"<!DOCTYPE html><title>Portal</title>", 200, ("Content-Type: text/html",))
GOOD = answer(ACCOUNT)


def client_settings(server: WireServer, timeout_s: float = 10.0, concurrency: int = 16) -> ClientSettings:
    return ClientSettings(
        complete_url(f"http://127.0.0.1:{server.port}/identity"), timeout_s=timeout_s, concurrency=concurrency
    )


async def reply_to(script: Script, timeout_s: float = 10.0) -> Reply:
    async with (
        wire_server(script) as server,
        open_client(client_settings(server, timeout_s), StaticToken("1234")) as client,
    ):
        reply = await client.send(PUT)
        assert server.count("PUT") == 1
        return reply


async def reply_after(script: Script, timeout_s: float) -> Reply:
    """Give the reply to a request that the server has seen, however late a busy machine lets it leave."""
    async with (
        wire_server(script) as server,
        open_client(client_settings(server, timeout_s), StaticToken("1234")) as client,
    ):
        while True:
            reply = await client.send(PUT)
            if server.seen:
                assert server.count("PUT") == 1
                return reply


# --- answers


async def test_an_error_body_becomes_words_and_the_wait_is_read() -> None:
    problem = {"message": "Slow down.", "errorCode": 4290}
    reply = await reply_to(always(answer(problem, 429, ("Retry-After: 7",))))
    assert reply == Reply(ReplyKind.THROTTLED, 429, None, 7.0, "4290", "Slow down.", credential=1)


async def test_the_token_never_appears_in_a_reply() -> None:
    async with (
        wire_server(always(answer({"message": "bad token opensesame"}, 400))) as server,
        open_client(client_settings(server), StaticToken("opensesame")) as client,
    ):
        reply = await client.send(PUT)
    assert reply.error == "bad token [redacted]"


@pytest.mark.parametrize("content_type", ["text/plain", "text/html", "application/octet-stream", ""])
async def test_json_under_a_wrong_name_is_json(content_type: str) -> None:
    reply = await reply_to(always(raw_answer(b'{"id":"1"}', 200, (f"Content-Type: {content_type}",))))
    assert (reply.kind, reply.payload) == (ReplyKind.OK, {"id": "1"})


async def test_an_empty_success_is_one_only_when_the_status_says_so() -> None:
    assert (await reply_to(always(b"HTTP/1.1 204 X\r\n\r\n"))).kind is ReplyKind.OK
    assert (await reply_to(always(raw_answer(b"")))).kind is ReplyKind.NOT_JSON


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_compressed_answers_are_read(coding: str) -> None:
    body = orjson.dumps({"id": "x" * 5000})
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    reply = await reply_to(always(raw_answer(packed, 200, (f"Content-Encoding: {coding}",))))
    assert reply.payload == {"id": "x" * 5000}


async def test_chunked_answers_are_read_to_their_end() -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (b'{"id"', b': "1"', b"}"))
    reply = await reply_to(always(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"))
    assert reply.payload == {"id": "1"}


async def test_an_answer_that_is_too_long_is_refused_before_it_is_read() -> None:
    reply = await reply_to(always(f"HTTP/1.1 200 X\r\nContent-Length: {MAX_RESPONSE_BYTES + 1}\r\n\r\n".encode()))
    assert (reply.kind, reply.status, reply.error_code) == (ReplyKind.NOT_JSON, 200, "too_large")


async def test_a_small_answer_that_unpacks_to_a_huge_one_is_refused() -> None:
    bomb = gzip.compress(b"[" + b" " * (MAX_RESPONSE_BYTES + 1) + b"]", compresslevel=1)
    reply = await reply_to(always(raw_answer(bomb, 200, ("Content-Encoding: gzip",))))
    assert (reply.kind, reply.error_code) == (ReplyKind.NOT_JSON, "too_large")


async def test_a_refused_answer_does_not_spoil_the_next_request() -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        too_long = f"HTTP/1.1 200 X\r\nContent-Length: {MAX_RESPONSE_BYTES + 1}\r\n\r\nrest".encode()
        writer.write(too_long if len(server.seen) == 1 else GOOD)

    async with wire_server(script) as server, open_client(client_settings(server), StaticToken("1234")) as client:
        assert (await client.send(PUT)).error_code == "too_large"
        assert (await client.send(PUT)).payload == ACCOUNT


# --- connections that break


async def test_a_connection_reset_after_the_request_was_read_is_lost() -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    reply = await reply_to(script)
    assert (reply.kind, reply.error_code) == (ReplyKind.LOST, "connection_lost")
    assert "127.0.0.1" in reply.error


async def test_a_connection_reset_before_the_request_is_read_is_lost_since_it_may_have_been_read() -> None:
    async def slam(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    async with listening(slam) as port, open_client(client_settings(WireServer(port)), StaticToken("1234")) as client:
        assert (await client.send(PUT)).kind is ReplyKind.LOST


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 50\r\n\r\n\x1f\x8b",
    ],
)
async def test_an_answer_that_is_cut_short_is_lost(cut: bytes) -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(cut)
        await writer.drain()
        writer.close()

    reply = await reply_to(script)
    assert (reply.kind, reply.payload) == (ReplyKind.LOST, None)
    assert reply.error


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"\x00" * 50,
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_lost_and_never_a_crash(garbage: bytes) -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(garbage)
        await writer.drain()
        writer.close()

    reply = await reply_to(script)
    assert reply.kind is ReplyKind.LOST
    assert reply.error


@settings(max_examples=examples(40, soak=1000), deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.tuples(
            st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 500 X", b"HTTP/1.0 200", b"HTTP/1.1 100 Continue"]),
            st.lists(
                st.sampled_from(
                    [
                        b"Content-Length: 2",
                        b"Content-Length: 7",
                        b"Transfer-Encoding: chunked",
                        b"Content-Encoding: gzip",
                        b"Content-Encoding: br",
                        b"Content-Type: \xff",
                        b"Retry-After: x",
                        b"Connection: upgrade",
                        b"Set-Cookie: \xff=;",
                        b"Location: http://[",
                    ]
                ),
                max_size=3,
            ),
            st.binary(max_size=12),
        ).map(lambda parts: b"\r\n".join([parts[0], *parts[1], b"", parts[2]])),
    )
)
def test_any_bytes_from_a_server_end_in_a_reply(garbage: bytes) -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(garbage)
        await writer.drain()
        writer.close()

    assert isinstance(anyio.run(reply_to, script, 5.0), Reply)


# --- time


async def never(_seen: Seen, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def test_no_answer_in_time_is_lost() -> None:
    reply = await reply_after(never, timeout_s=0.5)
    assert reply == Reply(ReplyKind.LOST, error_code="timeout", error="No whole answer came within 0.5 s.")


async def test_an_answer_that_trickles_does_not_get_more_time() -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    assert (await reply_after(script, timeout_s=0.5)).error_code == "timeout"


async def test_a_client_goes_on_after_a_request_that_was_out_of_time() -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if len(server.seen) == 1:
            await never(seen, writer)
        writer.write(GOOD)

    async with (
        wire_server(script) as server,
        open_client(client_settings(server, 0.5, concurrency=1), StaticToken("1234")) as client,
    ):
        assert (await client.send(PUT)).kind is ReplyKind.LOST
        assert (await client.send(PUT)).kind is ReplyKind.OK


async def test_a_cancellation_goes_on_to_the_caller_and_is_no_reply() -> None:
    async with wire_server(never) as server, open_client(client_settings(server), StaticToken("1234")) as client:
        replies: list[Reply] = []
        async with anyio.create_task_group() as group:

            async def send() -> None:
                replies.append(await client.send(PUT))

            group.start_soon(send)
            while not server.seen:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert replies == []


# --- tokens


async def test_a_given_token_that_is_refused_ends_the_run() -> None:
    async with (
        wire_server(always(answer({"message": "Token is gone."}, 401))) as server,
        open_client(client_settings(server), StaticToken("1234")) as client,
    ):
        refused = await client.send(PUT)
        assert (refused.kind, refused.credential) == (ReplyKind.UNAUTHORIZED, 1)
        with pytest.raises(AuthenticationError, match="Token is gone"):
            client.refused(refused.credential, refused.error)


async def test_a_refusal_alone_costs_no_token_until_the_caller_says_that_the_token_is_to_blame() -> None:
    issued = list[str]()
    async with (
        wire_server(_token_server(set(), issued)) as server,
        open_client(client_settings(server), ClientCredentials("app", "secret")) as client,
    ):
        for _ in range(3):
            assert (await client.send(PUT)).credential == 1
        client.refused(1, "no good")
        client.refused(1, "no good")
        assert (await client.send(PUT)).credential == 2
    assert issued == ["t1", "t2"]


async def refuse(client: IdentityClient, request: Request) -> None:
    """Send a request that is refused, and blame the token for it."""
    reply = await client.send(request)
    assert reply.kind is ReplyKind.UNAUTHORIZED
    client.refused(reply.credential, reply.error)


def _token_server(is_good: set[str], issued: list[str]) -> Script:
    """Issues numbered tokens and takes only those that are good."""

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.method == "POST":
            issued.append(f"t{len(issued) + 1}")
            writer.write(answer({"access_token": issued[-1], "expires_in": "3600"}))
        elif seen.headers["authorization"].removeprefix("Bearer ") in is_good:
            writer.write(GOOD)
        else:
            writer.write(raw_answer(b"", 401))

    return script


async def test_a_token_that_expires_is_replaced_once_for_all() -> None:
    good, issued = {"t1"}, list[str]()
    async with (
        wire_server(_token_server(good, issued)) as server,
        open_client(client_settings(server), ClientCredentials("app", "secret")) as client,
    ):
        assert (await client.send(PUT)).kind is ReplyKind.OK
        good.clear()
        good.add("t2")
        replies = await asyncio.gather(*(client.send(PUT) for _ in range(16)))
        assert {(reply.kind, reply.credential) for reply in replies} == {(ReplyKind.UNAUTHORIZED, 1)}
        for reply in replies:
            client.refused(reply.credential, reply.error)
        kinds = {reply.kind for reply in await asyncio.gather(*(client.send(PUT) for _ in range(16)))}
        assert kinds == {ReplyKind.OK}
    assert issued == ["t1", "t2"]


async def test_fresh_tokens_that_are_refused_end_the_run() -> None:
    issued = list[str]()
    async with (
        wire_server(_token_server(set(), issued)) as server,
        open_client(client_settings(server), ClientCredentials("app", "secret")) as client,
    ):
        await refuse(client, PUT)
        with pytest.raises(AuthenticationError, match="401"):
            await refuse(client, PUT)
    assert issued == ["t1", "t2"]


async def test_an_error_of_the_token_says_that_the_request_did_not_leave() -> None:
    async with (
        wire_server(always(answer({"error": "invalid_client"}, 400))) as server,
        open_client(client_settings(server), ClientCredentials("app", "secret")) as client,
    ):
        for _ in range(2):
            with pytest.raises(AuthenticationError) as refused:
                await client.send(PUT)
            assert not refused.value.request_was_sent
    assert [seen.method for seen in server.seen] == ["POST"]


async def test_an_answer_that_came_with_a_token_is_its_acceptance() -> None:
    good, issued = {"t1"}, list[str]()
    async with (
        wire_server(_token_server(good, issued)) as server,
        open_client(client_settings(server), ClientCredentials("app", "secret")) as client,
    ):
        assert (await client.send(PUT)).kind is ReplyKind.OK
        good.clear()
        for _ in range(5):  # t1 has expired, and four fresh ones are refused: the credentials were right once
            await refuse(client, PUT)
        with pytest.raises(AuthenticationError):
            await refuse(client, PUT)


async def test_a_missing_scope_is_no_doubt_about_the_token() -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.method == "POST":
            writer.write(answer({"access_token": f"t{server.count('POST')}"}))
        else:
            writer.write(
                answer({"errorMessage": "Expect to have 'PM.RobotAccount'"}, 403 if seen.method == "PUT" else 401)
            )

    async with (
        wire_server(script) as server,
        open_client(client_settings(server), ClientCredentials("app", "secret")) as client,
    ):
        assert (await client.send(PUT)).error == "Expect to have 'PM.RobotAccount'"
        for _ in range(5):  # 1 of an accepted token, 4 fresh: not yet the end, since 403 was an acceptance
            await refuse(client, GET)


async def test_a_wrong_secret_is_told_with_the_servers_words() -> None:
    refusal = answer({"error": "invalid_client", "error_description": "No such client hunter2!"}, 400)
    async with (
        wire_server(always(refusal)) as server,
        open_client(client_settings(server), ClientCredentials("app", "hunter2!")) as client,
    ):
        with pytest.raises(AuthenticationError, match="No such client") as refused:
            await client.send(PUT)
        assert "hunter2" not in str(refused.value)
        assert [seen.method for seen in server.seen] == ["POST"]


async def test_trouble_of_the_token_endpoint_means_that_nothing_was_applied() -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    async with (
        wire_server(script) as server,
        open_client(client_settings(server), ClientCredentials("app", "secret")) as client,
    ):
        reply = await client.send(PUT)
        assert reply.kind is ReplyKind.NO_CONNECTION
        assert isinstance(await client.claims(), Reply)
        assert server.count("PUT") == 0


async def test_the_claims_of_the_token_can_be_asked_for() -> None:
    from tests.support.identity_wire import jwt

    async with wire_server(always(answer({"access_token": jwt({"prt_id": ORG})}))) as server:
        async with open_client(client_settings(server), ClientCredentials("app", "secret")) as client:
            assert await client.claims() == TokenClaims(ORG, frozenset(), None)
        async with open_client(client_settings(server), StaticToken("1234")) as client:
            assert await client.claims() is None


# --- a wrong URL


async def test_three_pages_in_a_row_before_any_good_answer_prove_the_url_wrong() -> None:
    async with wire_server(always(PAGE)) as server, open_client(client_settings(server), StaticToken("1234")) as client:
        for _ in range(2):
            reply = await client.send(PUT)
            assert (reply.kind, reply.error) == (
                ReplyKind.NOT_JSON,
                'The server answered with a web page, "Portal".',
            )
        with pytest.raises(ConnectionFailedError, match="does not answer as an Identity Server") as proven:
            await client.send(PUT)
        assert complete_url(f"http://127.0.0.1:{server.port}").url in proven.value.message
        assert "BULKID_URL" in proven.value.hint


async def test_pages_after_a_good_answer_pass() -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(GOOD if len(server.seen) == 1 else PAGE)

    async with wire_server(script) as server, open_client(client_settings(server), StaticToken("1234")) as client:
        kinds = [(await client.send(PUT)).kind for _ in range(6)]
    assert kinds == [ReplyKind.OK] + [ReplyKind.NOT_JSON] * 5


async def test_pages_that_are_not_in_a_row_prove_nothing() -> None:
    async def script(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer({}, 400) if len(server.seen) % 3 == 0 else PAGE)

    async with wire_server(script) as server, open_client(client_settings(server), StaticToken("1234")) as client:
        kinds = [(await client.send(PUT)).kind for _ in range(6)]
    assert kinds == [ReplyKind.NOT_JSON, ReplyKind.NOT_JSON, ReplyKind.REFUSED] * 2


async def test_pages_of_the_token_endpoint_prove_the_url_wrong_too() -> None:
    async with (
        wire_server(always(PAGE)) as server,
        open_client(client_settings(server), ClientCredentials("app", "secret")) as client,
    ):
        for _ in range(2):
            assert (await client.send(PUT)).kind is ReplyKind.NO_CONNECTION
        for _ in range(2):
            with pytest.raises(ConnectionFailedError, match="does not answer as an Identity Server"):
                await client.send(PUT)
        assert [seen.method for seen in server.seen] == ["POST"] * 3


async def test_pages_of_the_organisation_s_token_endpoint_prove_nothing_while_the_host_answers(tmp_path: Path) -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(PAGE if seen.line.startswith("POST /acme/") else answer({}, 429))

    login = FederatedCredentials("app", assertion_file(tmp_path / "token", expires_at=SystemClock().now() + 3600))
    async with wire_server(script) as server:
        settings = ClientSettings(complete_url(f"http://127.0.0.1:{server.port}/acme/identity_"))
        async with open_client(settings, login) as client:
            kinds = [(await client.send(PUT)).kind for _ in range(4)]
    assert kinds == [ReplyKind.THROTTLED] * 4


async def test_a_token_proves_nothing_about_the_api() -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer({"access_token": "t"}) if seen.method == "POST" else PAGE)

    async with (
        wire_server(script) as server,
        open_client(client_settings(server), ClientCredentials("app", "secret")) as client,
    ):
        for _ in range(2):
            assert (await client.send(PUT)).kind is ReplyKind.NOT_JSON
        with pytest.raises(ConnectionFailedError):
            await client.send(PUT)


# --- the client itself


async def test_fifty_clients_leave_nothing_open() -> None:
    """A socket or session left open would be a ResourceWarning, which is an error here."""
    async with wire_server(always(GOOD)) as server:
        for _ in range(50):
            async with open_client(client_settings(server), StaticToken("1234")) as client:
                assert (await client.send(PUT)).kind is ReplyKind.OK
        assert server.connections == 50


async def test_an_error_within_the_context_comes_out_as_it_is() -> None:
    async with wire_server(always(GOOD)) as server:
        with pytest.raises(UsageError, match="mine"):
            async with open_client(client_settings(server), StaticToken("1234")):
                raise UsageError("mine")


def test_settings_that_cannot_work_are_refused() -> None:
    base = complete_url("https://o.example.com")
    for settings_ in ({"timeout_s": 0}, {"timeout_s": float("inf")}, {"concurrency": 0}, {"tenant": "a\r\nX: y"}):
        with pytest.raises(UsageError):
            ClientSettings(base, **settings_)
