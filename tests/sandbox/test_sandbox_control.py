"""What tests read and change of a sandbox: its log, its state, its secret."""

from bulkid.sandbox.organization import LogEntry
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
