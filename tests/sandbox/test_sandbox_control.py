"""What tests read and change of a sandbox: its log, its state, its secret."""

import json
from urllib.request import Request, urlopen

from bulkid.sandbox.organization import LogEntry
from tests.support.sandbox_host import Hosted, after_requests, always, hosted, wait_for_requests
from tests.support.sandbox_talk import Talk, Talking

ORG = "3fa85f64-5717-4562-b3fc-2c963f66afa6"


async def test_the_log_holds_the_newest_requests(talking: Talking) -> None:
    async with talking(log_size=2) as talk:
        for name in ("a", "b", "c"):
            await talk.put("88-uv", displayName=name)
        path = "/identity/api/RobotAccount/88-uv"
        assert list(talk.sandbox.log) == [LogEntry("PUT", path, 200, 1000.0, "88-uv", applied=True, fault="")] * 2
        assert talk.sandbox.served == {("PUT", 200): 3}


async def test_an_account_can_be_changed_behind_the_clients_back(talk: Talk) -> None:
    state = talk.sandbox.state
    account = state.account("88-UV")
    state.rename(account, None)
    state.join(account, [state.group("alumni-02")])
    state.leave(account, [state.group("gryff-01")])
    shown = (await talk.get(f"api/RobotAccount/{ORG}/88-uv")).json
    assert (shown["displayName"], shown["groupIds"]) == (None, ["alumni-02"])
    state.delete("88-uv")
    assert (await talk.get(f"api/RobotAccount/{ORG}/88-uv")).status == 404
    assert (await talk.get(f"api/RobotAccount/{ORG}")).json["totalCount"] == 59


async def test_the_secret_can_be_changed_and_then_no_token_is_taken_any_more(talk: Talk) -> None:
    talk.sandbox.token_issuer.change_secret("another")
    assert (await talk.get(f"api/Group/{ORG}")).status == 401
    for secret, status in (("sandbox-secret", 400), ("another", 200)):
        form = {"grant_type": "client_credentials", "client_id": "sandbox", "client_secret": secret}
        assert (await talk.ask("POST", "connect/token", token=None, data=form)).status == status


def asked(host: Hosted, method: str, path: str, body: dict[str, object]) -> int:
    headers = {"Authorization": "Bearer 1234", "Content-Type": "application/json"}
    sent = Request(f"{host.url}/{path}", json.dumps(body).encode(), headers, method=method)  # noqa: S310 - loopback
    with urlopen(sent) as response:  # noqa: S310
        return int(response.status)


def test_a_hosted_sandbox_shows_what_was_created_and_deleted_and_counts_the_requests() -> None:
    with hosted(accounts=2, static_tokens=("1234",)) as host:
        seen: list[object] = []
        after_requests(host, "POST", 2, lambda: seen.extend(each.name for each in host.sandbox.state.accounts.values()))
        for name in ("one", "two"):
            assert asked(host, "POST", "api/RobotAccount", {"partitionGlobalId": ORG, "name": name}) == 201
        assert seen == ["roby", "robot-0001", "one", "two"], "the server acts before it answers"
        created = host.account_named("ONE")
        assert created is not None
        always(host, "DELETE", "slow", slow_s=0.0)
        assert asked(host, "DELETE", f"api/RobotAccount/{ORG}", {"robotAccountIDs": [created["id"]]}) == 204
        wait_for_requests(host, "DELETE", 1)
        assert host.account_named("one") is None
        assert host.requests() == {"POST": 2, "DELETE": 1}
        assert [entry.named for entry in host.sent("POST")] == [("one",), ("two",)]
        assert [(entry.named, entry.fault) for entry in host.sent("DELETE")] == [((created["id"],), "slow")]
