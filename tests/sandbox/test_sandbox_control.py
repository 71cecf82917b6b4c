"""Looking at a sandbox and interfering with it from another process."""

import pytest
from aiohttp.test_utils import make_mocked_request

from bulkid.model import QuotaRule
from bulkid.sandbox import Faults
from bulkid.sandbox.control_api import _local, serve
from tests.support.sandbox_talk import Talk, Talking

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


async def test_the_state_is_the_whole_directory_and_what_was_served(talk: Talk) -> None:
    await talk.put("88-uv", displayName="new")
    got = (await talk.get(f"{talk.origin}/_sandbox/state", token=None)).json
    assert len(got["accounts"]) == 60
    assert got["accounts"][0]["displayName"] == "new"
    assert len(got["groups"]) == 24
    assert got["served"] == [{"method": "PUT", "status": 200, "count": 1}]
    assert got["faults"] == {}
    one = (await talk.get(f"{talk.origin}/_sandbox/state?account=88-UV", token=None)).json
    assert one["accounts"] == got["accounts"][:1]


async def test_the_log_can_be_read_on_from_where_one_was(talking: Talking) -> None:
    async with talking(log_size=2) as talk:
        for name in ("a", "b", "c"):
            await talk.put("88-uv", displayName=name)
        got = (await talk.get(f"{talk.origin}/_sandbox/log", token=None)).json
        assert (got["total"], len(got["entries"])) == (3, 2)
        assert got["entries"][1] == {
            "method": "PUT",
            "path": "/identity/api/RobotAccount/88-uv",
            "status": 200,
            "arrived": 1000.0,
            "account": "88-uv",
            "applied": True,
            "fault": "",
        }
        for since, left in ((0, 2), (1, 2), (2, 1), (3, 0), (9, 0)):
            got = (await talk.get(f"{talk.origin}/_sandbox/log?since={since}", token=None)).json
            assert len(got["entries"]) == left


async def test_faults_and_limits_can_be_set(talk: Talk) -> None:
    async def post(what: str, body: bytes) -> int:
        return (await talk.ask("POST", f"{talk.origin}/_sandbox/{what}", token=None, data=body)).status

    assert await post("faults", b"html=0.5,slow_s=1") == 200
    assert talk.sandbox.faults == Faults(html=0.5, slow_s=1.0)
    assert await post("faults", b'{"error_500": 1, "retry_after_s": 2}') == 200
    assert talk.sandbox.faults == Faults(error_500=1.0, retry_after_s=2)
    assert (await talk.get(f"api/Group/{ORG}")).status == 500
    assert await post("faults", b"none") == 200
    assert (await talk.get(f"api/Group/{ORG}")).status == 200
    assert await post("limits", b"PUT=20/5") == 200
    assert talk.sandbox.limits == (QuotaRule("PUT", 20, 5.0),)
    for what, bad in (
        ("faults", b"nonsense"),
        ("faults", b'{"html": "x"}'),
        ("faults", b'{"html": true}'),
        ("faults", b'{"html": 2}'),
        ("faults", b"{"),
        ("limits", b"PUT"),
        ("limits", b"\xff"),
        ("account/88-uv", b"{"),
    ):
        assert await post(what, bad) == 400
    assert talk.sandbox.limits == (QuotaRule("PUT", 20, 5.0),)
    assert await post("nothing", b"") == 404


async def test_an_account_can_be_changed_behind_the_clients_back(talk: Talk) -> None:
    async def change(account: str, **fields: object) -> tuple[int, dict[str, object]]:
        got = await talk.ask("POST", f"{talk.origin}/_sandbox/account/{account}", token=None, json=fields)
        return got.status, got.json

    account = talk.sandbox.state.account("88-uv")
    status, told = await change("88-uv", groupIDsToAdd=["alumni-02"], groupIDsToRemove=["gryff-01"])
    assert (status, told["groupIds"], told["displayName"]) == (200, ["alumni-02"], "Roby")
    assert (await change("88-UV", displayName=None))[1]["displayName"] is None
    assert account.group_ids == {"alumni-02"}
    assert (await change("88-uv", groupIDsToAdd=["nope"], displayName="X"))[0] == 404
    assert account.display_name is None
    assert (await change("nobody", displayName="X"))[0] == 404
    assert (await change("88-uv", delete=True))[0] == 200
    assert (await talk.get(f"api/RobotAccount/{ORG}/88-uv")).status == 404
    assert (await talk.get(f"api/RobotAccount/{ORG}")).json["totalCount"] == 59
    assert list(talk.sandbox.log)[-1].path.startswith("/identity")


@pytest.mark.parametrize(
    ("remote", "heard"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("192.168.1.4", False), ("", False), (None, False)],
)
def test_only_this_machine_is_heard(remote: str | None, heard: bool) -> None:
    assert _local(remote) is heard


async def test_another_machine_is_turned_away(talk: Talk) -> None:
    request = make_mocked_request("GET", "/_sandbox/state").clone(remote="192.168.1.4")
    assert (await serve(talk.sandbox, request)).status == 403


async def test_the_secret_can_be_changed_and_then_no_token_is_taken_any_more(talk: Talk) -> None:
    changed = await talk.ask("POST", f"{talk.origin}/_sandbox/secret", token=None, json={"client_secret": "another"})
    assert changed.status == 200
    assert (await talk.get(f"api/Group/{ORG}")).status == 401
    for secret, status in (("sandbox-secret", 400), ("another", 200)):
        form = {"grant_type": "client_credentials", "client_id": "sandbox", "client_secret": secret}
        assert (await talk.ask("POST", "connect/token", token=None, data=form)).status == status
