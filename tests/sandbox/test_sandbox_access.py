"""Addresses, tokens, scopes and limits: what is checked before a call."""

import base64
import json
from math import ceil
from typing import Any

import aiohttp
import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.model import QuotaRule
from bulkid.sandbox.faults import RollingLimits
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.server import Sandbox
from tests.support.sandbox_host import set_limits
from tests.support.sandbox_talk import Talk, Talking

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


def claims(token: str) -> dict[str, Any]:
    middle = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))


# --- addresses


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nowhere",
        "/api/RobotAccount/88-uv",
        "/identity",
        "/identity/",
        "/identity/api",
        "/identity/api/Setting",
        "/identity/api/RobotAccount/a/b/c",
        f"/identity/api//{ORG}",
        "/globex/identity_/connect/token",
        "/identityx/connect/token",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
async def test_an_unknown_path_is_an_html_page_with_200(talk: Talk, method: str, path: str) -> None:
    got = await talk.ask(method, talk.origin + path, token=None, json={})
    assert got.status == 200
    assert got.headers["Content-Type"] == "text/html; charset=utf-8"
    assert got.raw.startswith(b"<!doctype html>")
    assert list(talk.sandbox.log) == []


async def test_the_same_organisation_is_served_below_both_bases(talk: Talk) -> None:
    for base in (talk.sandbox.url, f"{talk.origin}/acme/identity_", f"{talk.origin}/ACME/identity_"):
        got = await talk.get(f"{base}/api/RobotAccount/{ORG}/88-uv")
        assert got.json["name"] == "roby"
    assert talk.sandbox.url == f"{talk.origin}/identity"


async def test_the_host_level_base_is_refused_unless_an_option_allows_it(talking: Talking) -> None:
    async with talking() as talk:
        got = await talk.get(f"{talk.origin}/identity_/api/RobotAccount/{ORG}/88-uv")
        assert (got.status, "organization" in got.json["message"]) == (400, True)
    async with talking(host_level="serve") as talk:
        got = await talk.get(f"{talk.origin}/identity_/api/RobotAccount/{ORG}/88-uv")
        assert got.json["name"] == "roby"


async def test_another_prefix_can_be_served(talking: Talking) -> None:
    async with talking(prefix="/my/identity_") as talk:
        assert talk.sandbox.url.endswith("/my/identity_")
        assert (await talk.get(f"api/RobotAccount/{ORG}/88-uv")).status == 200
        assert (await talk.get(f"{talk.origin}/identity/api/RobotAccount/{ORG}/88-uv")).raw.startswith(b"<!doctype")


async def test_a_method_that_a_path_does_not_have_is_405(talk: Talk) -> None:
    got = await talk.ask("PATCH", f"api/RobotAccount/{ORG}")
    assert (got.status, got.headers["Allow"], got.raw) == (405, "GET, PUT, DELETE", b"")
    assert (await talk.get("connect/token", token=None)).status == 405


async def test_the_tenant_header_is_wanted_where_told_so(talking: Talking) -> None:
    async with talking(tenant="Default") as talk:
        assert (await talk.get(f"api/Group/{ORG}")).status == 400
        assert (await talk.get(f"api/Group/{ORG}", headers={"X-UIPATH-TenantName": "other"})).status == 400
        assert (await talk.get(f"api/Group/{ORG}", headers={"X-UIPATH-TenantName": "default"})).status == 200


# --- tokens


async def test_a_token_is_given_for_the_right_credentials_and_opens_the_api(talk: Talk) -> None:
    got = await talk.fetch_token(scope="PM.RobotAccount PM.Group")
    assert got.status == 200
    assert (got.json["token_type"], got.json["expires_in"]) == ("Bearer", 3600)
    assert got.json["scope"] == "PM.RobotAccount PM.Group"
    told = claims(got.json["access_token"])
    assert told["prt_id"] == ORG
    assert told["scope"] == ["PM.RobotAccount", "PM.Group"]
    assert (told["iat"], told["exp"]) == (1_700_000_000, 1_700_003_600)
    assert (await talk.get(f"api/Group/{ORG}", token=got.json["access_token"])).status == 200


async def test_no_two_tokens_are_the_same(talk: Talk) -> None:
    tokens = {(await talk.fetch_token()).json["access_token"] for _ in range(3)}
    assert len(tokens) == 3


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_id": "someone"}, "invalid_client"),
        ({"scope": "PM.RobotAccount PM.Everything"}, "invalid_scope"),
        ({"scope": "PM.RobotAccount.Admin"}, "invalid_scope"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "invalid_request"),
    ],
)
async def test_a_bad_token_request_is_an_oauth_error(talk: Talk, fields: dict[str, Any], error: str) -> None:
    got = await talk.fetch_token(**fields)
    assert (got.status, got.json["error"]) == (400, error)
    assert "sandbox-secret" not in got.raw.decode()


async def test_the_token_endpoint_wants_a_form(talk: Talk) -> None:
    body = {"grant_type": "client_credentials", "client_id": "sandbox", "client_secret": "sandbox-secret"}
    got = await talk.ask("POST", "connect/token", token=None, json=body)
    assert (got.status, got.json["error"]) == (400, "invalid_request")


async def test_a_token_may_lack_the_organisation_and_quote_its_lifetime(talking: Talking) -> None:
    async with talking(partition_claim=False, quoted_expires_in=True, token_lifetime_s=90) as talk:
        got = (await talk.fetch_token()).json
        assert "prt_id" not in claims(got["access_token"])
        assert got["expires_in"] == "90"


async def test_a_token_dies_when_its_lifetime_is_over(talking: Talking) -> None:
    async with talking(token_lifetime_s=2) as talk:
        token = (await talk.fetch_token()).json["access_token"]
        talk.time.at += 1.9
        assert (await talk.get(f"api/Group/{ORG}", token=token)).status == 200
        talk.time.at += 0.1
        got = await talk.get(f"api/Group/{ORG}", token=token)
        assert (got.status, got.raw) == (401, b"")
        assert 'error="invalid_token"' in got.headers["WWW-Authenticate"]


async def test_missing_unknown_and_revoked_tokens_are_unauthorized(talk: Talk) -> None:
    missing = await talk.get(f"api/Group/{ORG}", token=None)
    assert (missing.status, missing.json["message"]) == (401, "You are not authenticated!")
    assert (await talk.get(f"api/Group/{ORG}", token="12345")).status == 401
    basic = await talk.get(f"api/Group/{ORG}", token=None, headers={"Authorization": "Basic 1234"})
    assert basic.status == 401
    token = (await talk.fetch_token()).json["access_token"]
    assert (await talk.get(f"api/Group/{ORG}", token=token[:-2])).status == 401
    talk.sandbox.token_issuer.change_secret("another")
    assert (await talk.get(f"api/Group/{ORG}", token=token)).status == 401
    assert (await talk.get(f"api/Group/{ORG}", token="1234")).status == 401


# --- scopes

CALLS = [
    ("GET", f"api/RobotAccount/{ORG}", "PM.RobotAccount", "Read"),
    ("GET", f"api/RobotAccount/{ORG}/88-uv", "PM.RobotAccount", "Read"),
    ("PUT", "api/RobotAccount/88-uv", "PM.RobotAccount", "Write"),
    ("POST", "api/RobotAccount", "PM.RobotAccount", "Write"),
    ("DELETE", f"api/RobotAccount/{ORG}", "PM.RobotAccount", "Write"),
    ("DELETE", f"api/RobotAccount/{ORG}/88-uv", "PM.RobotAccount", "Write"),
    ("GET", f"api/Group/{ORG}", "PM.Group", "Read"),
    ("GET", f"api/Group/{ORG}/gryff-01", "PM.Group", "Read"),
    ("PUT", "api/Group/gryff-01", "PM.Group", "Write"),
    ("POST", "api/Group", "PM.Group", "Write"),
    ("DELETE", f"api/Group/{ORG}", "PM.Group", "Write"),
    ("DELETE", f"api/Group/{ORG}/gryff-01", "PM.Group", "Write"),
]


@pytest.mark.parametrize(("method", "path", "scope", "variant"), CALLS)
async def test_a_missing_scope_is_named(talking: Talking, method: str, path: str, scope: str, variant: str) -> None:
    every = {f"{base}{end}" for base in ("PM.RobotAccount", "PM.Group") for end in ("", ".Read", ".Write")}
    enough = {scope, f"{scope}.{variant}"}
    async with talking(granted_scopes=tuple(sorted(every - enough))) as talk:
        got = await talk.ask(method, path, json={} if method != "GET" else None)
        assert got.status == 403
        assert f"Expect to have '{scope}' or '{scope}.{variant}'" in got.json["errorMessage"]
        assert talk.sandbox.state.account("88-uv").group_ids == {"gryff-01"}
    for granted in enough:
        async with talking(granted_scopes=(granted,)) as talk:
            got = await talk.ask(method, path, json={} if method != "GET" else None)
            assert got.status != 403


async def test_a_scope_that_is_not_granted_refuses_the_token_with_the_oauth_code(talking: Talking) -> None:
    async with talking(granted_scopes=("PM.RobotAccount", "PM.Group.Read")) as talk:
        for scope in ("PM.RobotAccount PM.Group", "PM.Group.Write", "pm.robotaccount"):
            got = await talk.fetch_token(scope=scope)
            assert (got.status, got.json["error"], "access_token" in got.json) == (400, "invalid_scope", False)
        got = await talk.fetch_token(scope="PM.RobotAccount PM.Group.Read")
        assert (got.status, got.json["scope"]) == (200, "PM.RobotAccount PM.Group.Read")


async def test_a_token_carries_only_the_scopes_it_was_asked_for(talk: Talk) -> None:
    token = (await talk.fetch_token(scope="PM.RobotAccount.Read")).json["access_token"]
    assert (await talk.get(f"api/RobotAccount/{ORG}", token=token)).status == 200
    assert (await talk.get(f"api/Group/{ORG}", token=token)).status == 403
    put = await talk.ask("PUT", "api/RobotAccount/88-uv", token=token, json={"partitionGlobalId": ORG})
    assert put.status == 403
    assert talk.sandbox.state.account("88-uv").display_name == "Roby"


# --- limits


async def test_above_the_limit_a_method_is_answered_429_until_a_slot_opens(talking: Talking) -> None:
    async with talking(limits=(QuotaRule("PUT", 2, 10.0),)) as talk:
        assert (await talk.put("88-uv", displayName="a")).status == 200
        talk.time.at += 4
        assert (await talk.put("88-uv", displayName="b")).status == 200
        refused = await talk.put("88-uv", displayName="c")
        assert (refused.status, refused.headers["Retry-After"]) == (429, "6")
        assert refused.json["message"]
        assert talk.sandbox.state.account("88-uv").display_name == "b"
        assert (await talk.get(f"api/Group/{ORG}")).status == 200
        talk.time.at += 5.5
        assert (await talk.put("88-uv", displayName="d")).headers["Retry-After"] == "1"
        talk.time.at += 0.5
        assert (await talk.put("88-uv", displayName="e")).status == 200
        assert talk.sandbox.served["PUT", 429] == 2


async def test_retry_after_can_be_left_out(talking: Talking) -> None:
    async with talking(limits=(QuotaRule("GET", 0, 10.0),), retry_after=False) as talk:
        got = await talk.get(f"api/Group/{ORG}")
        assert (got.status, got.raw) == (429, b"")
        assert "Retry-After" not in got.headers


async def test_each_method_has_a_limit_of_its_own(talking: Talking) -> None:
    rules = tuple(QuotaRule(method, count, 10.0) for method, count in (("POST", 2), ("DELETE", 1)))
    async with talking(limits=rules) as talk:
        answers = [(await talk.create(name)).status for name in ("one", "two", "three")]
        assert answers == [201, 201, 429]
        assert [(await talk.delete("88-uv")).status for _ in range(2)] == [204, 429]
        assert (await talk.fetch_token()).status == 200, "requests for tokens are not counted"
        assert (await talk.put_group("alumni-02", name="alumni-02")).status == 200
        assert talk.sandbox.served["POST", 429] == 1


async def test_the_token_endpoint_and_pages_outside_the_api_are_not_limited(talking: Talking) -> None:
    async with talking(limits=(QuotaRule("GET", 0, 1.0), QuotaRule("POST", 0, 1.0))) as talk:
        assert (await talk.fetch_token()).status == 200
        assert (await talk.get(f"{talk.origin}/nowhere")).status == 200


async def test_a_request_counts_when_it_arrives_not_when_it_was_sent(talking: Talking) -> None:
    async with talking(limits=(QuotaRule("PUT", 1, 10.0),), latency_s=3.0, jitter_s=2.0) as talk:
        sent = talk.time.at
        await talk.put("88-uv", displayName="a")
        there, back = talk.time.slept
        assert 3.0 <= there + back <= 5.0
        assert talk.sandbox.log[-1].arrived == sent + there
        assert 0 < there < there + back


async def test_limits_can_be_changed_while_serving(talk: Talk) -> None:
    set_limits(talk.sandbox, (QuotaRule("PUT", 0, 5.0),))
    assert (await talk.put("88-uv", displayName="a")).status == 429
    assert talk.sandbox.limits.rules == (QuotaRule("PUT", 0, 5.0),)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.integers(1, 5), st.integers(1, 20), st.booleans())
def test_no_rolling_window_holds_more_than_the_limit_and_no_free_slot_is_refused(
    gaps: list[int], count: int, seconds: int, count_refused: bool
) -> None:
    limits = RollingLimits((QuotaRule("PUT", count, float(seconds)),), count_refused=count_refused)
    at, counted = 0.0, []
    for gap in gaps:
        at += gap / 4
        recent = [one for one in counted if one > at - seconds]
        wait = limits.admit("PUT", at)
        used = [one for one in counted if one > at - seconds] + [at] * (wait is None or count_refused)
        reset = ceil(used[-1] + seconds - at) if used else 0
        assert limits.remaining("PUT", at) == (limits.rules[0], max(0, count - len(used)), reset)
        assert (wait is None) == (len(recent) < count)
        if wait is None or count_refused:
            counted.append(at)
        if wait is not None:
            assert wait >= 1
            later = [one for one in recent if one > at + wait - seconds]
            assert len(later) < count, "after Retry-After there is room"
            sooner = [one for one in recent if one > at + wait - 1 - seconds]
            assert wait == 1 or len(sooner) >= count, "Retry-After is no longer than it must be"
    assert limits.remaining("PUT", at + seconds) == (limits.rules[0], count, 0), "all is free again without a request"


def test_every_rule_of_a_method_must_hold() -> None:
    limits = RollingLimits((QuotaRule("PUT", 2, 1.0), QuotaRule("PUT", 3, 100.0)))
    assert [limits.admit("PUT", at) for at in (0.0, 0.5, 2.0, 4.0)] == [None, None, None, 96]


# --- serving


async def test_a_sandbox_on_all_addresses_names_one_that_this_machine_connects_to() -> None:
    """Bulkid sends no secret to http://0.0.0.0, and Windows connects to no such address."""
    sandbox = Sandbox(SandboxOptions(accounts=1))
    try:
        assert (await sandbox.start("0.0.0.0")).startswith("http://127.0.0.1:")  # noqa: S104 - what is tested
    finally:
        await sandbox.stop()


async def test_it_can_be_stopped_and_started_again_with_its_state() -> None:
    sandbox = Sandbox(SandboxOptions(accounts=3, static_tokens=("1234",)))
    headers = {"Authorization": "Bearer 1234"}
    url = await sandbox.start()
    port = int(url.split(":")[2].split("/")[0])
    with pytest.raises(RuntimeError, match="already"):
        await sandbox.start()
    async with aiohttp.ClientSession(headers=headers) as session:
        await session.put(f"{url}/api/RobotAccount/88-uv", json={"partitionGlobalId": ORG, "displayName": "new"})
        await sandbox.stop()
        await sandbox.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"{url}/api/Group/{ORG}")
        assert await sandbox.start(port=port) == url
        async with session.get(f"{url}/api/RobotAccount/{ORG}/88-uv") as response:
            assert (await response.json())["displayName"] == "new"
    await sandbox.stop()


async def test_a_port_that_is_taken_is_an_os_error_and_leaves_nothing_behind() -> None:
    async with Sandbox(SandboxOptions(accounts=1)) as first:
        port = int(first.url.split(":")[2].split("/")[0])
        second = Sandbox(SandboxOptions(accounts=1))
        with pytest.raises(OSError, match=str(port)):
            await second.start(port=port)
        await second.start()
        await second.stop()


async def test_a_sandbox_frees_its_port_when_its_owner_is_cancelled() -> None:
    sandbox = Sandbox(SandboxOptions(accounts=1))
    started = anyio.Event()

    async def serve() -> None:
        async with sandbox:
            started.set()
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        with anyio.fail_after(10):
            await started.wait()
        async with aiohttp.ClientSession() as session, session.get(f"{sandbox.url}/nowhere") as response:
            assert response.status == 200
        group.cancel_scope.cancel()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"{sandbox.url}/nowhere")


async def test_an_idle_connection_is_closed_after_its_time(talking: Talking) -> None:
    async with talking(keep_alive_s=0.01) as talk:
        stream = await anyio.connect_tcp("127.0.0.1", int(talk.origin.rpartition(":")[2]))
        async with stream:
            await stream.send(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            with anyio.fail_after(20):
                received = b"".join([part async for part in stream])
        assert received.startswith(b"HTTP/1.1 200 OK")


async def test_a_client_that_hangs_up_halfway_is_passed_over_in_silence(
    talk: Talk, caplog: pytest.LogCaptureFixture
) -> None:
    port = int(talk.origin.rpartition(":")[2])
    for target in (b"/identity/api/RobotAccount/88-uv", b"/identity/connect/token"):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(
                b"P%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer 1234\r\nContent-Length: 99\r\n"
                b"Content-Type: application/%s\r\n\r\n{"
                % ((b"UT", target, b"json") if b"Robot" in target else (b"OST", target, b"x-www-form-urlencoded"))
            )
    assert (await talk.get(f"api/RobotAccount/{ORG}/88-uv")).json["displayName"] == "Roby"
    assert [record.getMessage() for record in caplog.records] == []
    assert [entry.method for entry in talk.sandbox.log] == ["GET"]
