"""Each fault does what it says, seen from the socket and in the state."""

import asyncio
import json
from collections import Counter

import aiohttp
import pytest

from bulkid.model import QuotaRule
from bulkid.sandbox.faults import FaultInjector
from bulkid.sandbox.options import FAULT_KINDS, Faults
from tests.support.sandbox_host import set_faults
from tests.support.sandbox_talk import Talk, Talking

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


def display_name(talk: Talk) -> str | None:
    return talk.sandbox.state.account("88-uv").display_name


@pytest.mark.parametrize(("fault", "after"), [("reset_before", "Roby"), ("reset_after", "new")])
async def test_a_reset_ends_the_connection_without_a_byte(talking: Talking, fault: str, after: str) -> None:
    body = json.dumps({"partitionGlobalId": ORG, "displayName": "new"}).encode()
    async with talking(faults=Faults(**{fault: 1.0})) as talk:
        port = int(talk.origin.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"PUT /identity/api/RobotAccount/88-uv HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer 1234\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        assert display_name(talk) == after
        entry = talk.sandbox.log[-1]
        assert (entry.status, entry.fault, entry.applied) == (0, fault, after == "new")
        assert (entry.method, entry.path, entry.account) == ("PUT", "/identity/api/RobotAccount/88-uv", "88-uv")


async def test_after_a_reset_the_sandbox_serves_on(talking: Talking) -> None:
    async with talking(faults=Faults(reset_after=1.0)) as talk:
        with pytest.raises(aiohttp.ClientConnectionError):
            await talk.put("88-uv", displayName="new")
        set_faults(talk.sandbox, Faults())
        assert (await talk.get(f"api/RobotAccount/{ORG}/88-uv")).json["displayName"] == "new"


@pytest.mark.parametrize(
    ("fault", "status", "kind", "applied"),
    [
        ("throttle", 429, "application/json; charset=utf-8", False),
        ("throttle_silent", 429, None, False),
        ("error_500", 500, "application/json; charset=utf-8", False),
        ("error_500_after", 500, None, True),
        ("unavailable_503", 503, "text/html; charset=utf-8", False),
        ("html", 200, "text/html; charset=utf-8", False),
    ],
)
async def test_an_answer_in_place_of_the_call(
    talking: Talking, fault: str, status: int, kind: str | None, applied: bool
) -> None:
    async with talking(faults=Faults(**{fault: 1.0}, retry_after_s=3)) as talk:
        got = await talk.put("88-uv", displayName="new")
        assert got.status == status
        assert bool(got.raw) == (kind is not None)
        if kind is not None:
            assert got.headers["Content-Type"] == kind
        assert got.headers.get("Retry-After") == ("3" if fault == "throttle" else None)
        assert display_name(talk) == ("new" if applied else "Roby")
        assert talk.sandbox.log[-1].applied is applied
        assert talk.sandbox.injected == {fault: 1}
        assert talk.sandbox.served == {("PUT", status): 1}


async def test_a_truncated_answer_is_shorter_than_it_says_and_applied(talking: Talking) -> None:
    async with talking(faults=Faults(truncated=1.0)) as talk:
        with pytest.raises(aiohttp.ClientPayloadError):
            await talk.put("88-uv", displayName="new")
        assert display_name(talk) == "new"
        assert talk.sandbox.log[-1].status == 200


async def test_a_slow_answer_is_applied_first_and_answered_in_full(talking: Talking) -> None:
    async with talking(faults=Faults(slow=1.0, slow_s=7.0)) as talk:
        seen: list[str | None] = []
        talk.time.on_sleep = lambda: seen.append(display_name(talk))
        got = await talk.put("88-uv", displayName="new")
        assert (got.status, got.json["displayName"]) == (200, "new")
        assert talk.time.slept == [7.0]
        assert seen == ["new"]


async def test_an_expired_token_stays_expired_and_a_new_one_is_good(talking: Talking) -> None:
    async with talking(faults=Faults(expired=1.0)) as talk:
        talk.token = (await talk.fetch_token()).json["access_token"]
        assert (await talk.put("88-uv", displayName="new")).status == 401
        set_faults(talk.sandbox, Faults())
        assert (await talk.put("88-uv", displayName="new")).status == 401
        assert display_name(talk) == "Roby"
        talk.token = (await talk.fetch_token()).json["access_token"]
        assert (await talk.put("88-uv", displayName="new")).status == 200


async def test_faults_leave_the_token_endpoint_and_the_limits_alone(talking: Talking) -> None:
    async with talking(faults=Faults(html=1.0), limits=(QuotaRule("GET", 1, 10.0),)) as talk:
        assert (await talk.fetch_token()).json["access_token"]
        assert (await talk.get(f"api/Group/{ORG}")).raw.startswith(b"<!doctype")
        assert (await talk.get(f"api/Group/{ORG}")).status == 429


async def test_the_token_endpoint_fails_when_told_so(talking: Talking) -> None:
    async with talking(faults=Faults(token_error=1.0)) as talk:
        got = await talk.fetch_token()
        assert (got.status, got.json["success"]) == (500, False)
        assert (await talk.get(f"api/Group/{ORG}")).status == 200
        assert talk.sandbox.injected == {"token_error": 1}


async def test_a_refused_call_is_refused_under_faults_that_apply(talking: Talking) -> None:
    async with talking(faults=Faults(error_500_after=1.0)) as talk:
        assert (await talk.put("nobody", displayName="new")).status == 500
        assert talk.sandbox.log[-1].applied is False


# --- the draw


def test_probabilities_add_up_and_at_most_one_fault_strikes() -> None:
    faults = Faults(reset_before=0.1, html=0.2, expired=0.3)
    dice = FaultInjector(1, faults)
    drawn = Counter(dice.draw("PUT", f"api/RobotAccount/{number}") for number in range(20_000))
    assert set(drawn) == {"", "reset_before", "html", "expired"}
    for kind, share in (("reset_before", 0.1), ("html", 0.2), ("expired", 0.3), ("", 0.4)):
        assert drawn[kind] / 20_000 == pytest.approx(share, abs=0.02)


def test_a_certain_fault_always_strikes_and_none_never() -> None:
    for kind in FAULT_KINDS:
        dice = FaultInjector(3, Faults(**{kind: 1.0}))
        assert {dice.draw("GET", f"{number}") for number in range(200)} == {kind}
    assert {FaultInjector(3, Faults()).draw("GET", f"{number}") for number in range(200)} == {""}


def test_a_request_meets_the_same_fate_in_whatever_order_it_comes() -> None:
    faults = Faults(**dict.fromkeys(FAULT_KINDS, 0.05))
    one, other = FaultInjector(7, faults), FaultInjector(7, faults)
    targets = [f"api/RobotAccount/{number % 50}" for number in range(200)]
    first = [(target, one.draw("PUT", target)) for target in targets]
    for target in reversed(range(50)):
        mine = [fault for name, fault in first if name == f"api/RobotAccount/{target}"]
        assert [other.draw("PUT", f"api/RobotAccount/{target}") for _ in range(4)] == mine
    assert [FaultInjector(8, faults).draw("PUT", target) for target in targets] != [fault for _, fault in first]


def test_trying_again_is_another_draw() -> None:
    dice = FaultInjector(1, Faults(html=0.5))
    assert {dice.draw("PUT", "api/RobotAccount/88-uv") for _ in range(20)} == {"", "html"}
