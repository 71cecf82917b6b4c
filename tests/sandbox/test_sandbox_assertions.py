"""The sandbox takes client assertions that its federated credentials name, and no others."""

from typing import Any

import pytest

from bulkid.sandbox.options import FederatedCredential, SandboxOptions, parse_federated
from tests.support.assertions import FEDERATED, KEY, assertion
from tests.support.sandbox_talk import Got, Talk, Talking

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def ask(talk: Talk, value: str, *, base: str = "", **fields: Any) -> Got:
    """Ask for a token with an assertion; a field that is None is left out."""
    form = {
        "grant_type": "client_credentials",
        "client_id": "sandbox",
        "client_assertion_type": TYPE,
        "client_assertion": value,
        **fields,
    }
    sent = {name: given for name, given in form.items() if given is not None}
    return await talk.ask("POST", f"{base or talk.sandbox.url}/connect/token", token=None, data=sent)


async def test_a_good_assertion_gets_a_token_and_so_does_the_secret(talking: Talking) -> None:
    async with talking(federated=FEDERATED) as talk:
        got = await ask(talk, assertion(), scope="PM.RobotAccount")
        assert (got.status, got.json["scope"]) == (200, "PM.RobotAccount")
        assert (await ask(talk, assertion(aud=["x", FEDERATED.audience]))).status == 200
        assert (await talk.fetch_token()).status == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"expires_at": 1_700_000_000.0},  # the sandbox's clock shows this moment
        {"exp": "soon"},
        {"exp": None},
        {"iss": "https://evil.example.com"},
        {"sub": "repo:evil/robots"},
        {"aud": "https://other.example.com"},
        {"aud": []},
        {"key": "another key"},
    ],
)
async def test_an_assertion_with_other_claims_is_an_unknown_client(talking: Talking, claims: dict[str, Any]) -> None:
    async with talking(federated=FEDERATED) as talk:
        got = await ask(talk, assertion(**claims))
        assert (got.status, got.json["error"]) == (400, "invalid_client")


@pytest.mark.parametrize("value", ["", "hush", "a.b.c", "eyJhIjoxfQ.eyJhIjoxfQ.", "W10.W10.c2ln"])
async def test_what_is_no_jwt_is_refused(talking: Talking, value: str) -> None:
    async with talking(federated=FEDERATED) as talk:
        assert (await ask(talk, value)).json["error"] == "invalid_client"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"client_assertion_type": None}, "invalid_request"),
        ({"client_assertion_type": "urn:other"}, "invalid_request"),
        ({"client_secret": "sandbox-secret"}, "invalid_request"),
        ({"client_assertion": None}, "invalid_client"),
        ({"client_id": "other"}, "invalid_client"),
        ({"scope": "OR.Robots"}, "invalid_scope"),
    ],
)
async def test_a_form_that_is_not_that_of_an_assertion_is_refused(
    talking: Talking, fields: dict[str, Any], error: str
) -> None:
    async with talking(federated=FEDERATED) as talk:
        assert (await ask(talk, assertion(), **fields)).json["error"] == error


async def test_without_federated_credentials_no_assertion_counts(talk: Talk) -> None:
    assert (await ask(talk, assertion())).json["error"] == "invalid_client"
    assert "organization" in (await ask(talk, assertion(), base=f"{talk.origin}/identity_")).json["message"]


@pytest.mark.parametrize(("at", "statuses"), [("both", [200, 200]), ("organization", [200, 400]), ("host", [400, 200])])
async def test_the_endpoints_that_take_assertions_can_be_chosen(talking: Talking, at: str, statuses: list[int]) -> None:
    known = FederatedCredential(FEDERATED.issuer, FEDERATED.subject, FEDERATED.audience, KEY, at)
    async with talking(federated=known) as talk:
        bases = (f"{talk.origin}/acme/identity_", f"{talk.origin}/identity_")
        assert [(await ask(talk, assertion(), base=base)).status for base in bases] == statuses
        secret = await ask(
            talk,
            "",
            base=bases[1],
            client_secret="sandbox-secret",
            client_assertion=None,
            client_assertion_type=None,
        )
        assert secret.status == 400  # the host's endpoint takes assertions alone


async def test_without_a_key_no_signature_is_checked(talking: Talking) -> None:
    known = FederatedCredential(FEDERATED.issuer, FEDERATED.subject, FEDERATED.audience)
    async with talking(federated=known) as talk:
        assert (await ask(talk, assertion(key="any"))).status == 200


def test_federated_credentials_are_read_from_one_text() -> None:
    text = "issuer=https://token.actions.githubusercontent.com, subject=repo:acme/robots:ref:refs/heads/main,audience=a"
    assert parse_federated(text) == FederatedCredential(
        "https://token.actions.githubusercontent.com", "repo:acme/robots:ref:refs/heads/main", "a"
    )
    assert parse_federated(" ") is None


@pytest.mark.parametrize(
    "text", ["issuer=a", "issuer=a,subject=b,audience=", "issuer=a,subject=b,audience=c,at=moon", "x=1", "issuer"]
)
def test_incomplete_federated_credentials_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_federated(text)


def test_the_key_shows_in_no_printed_option() -> None:
    assert KEY not in repr(SandboxOptions(federated=FEDERATED))
