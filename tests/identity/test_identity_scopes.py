"""The scopes that an application gets where none are configured, from the sandbox over real sockets."""

import pytest

from bulkid.errors import AuthenticationError
from bulkid.identity.client import ClientSettings, open_client
from bulkid.identity.tokens import ClientCredentials, TokenClaims, capabilities
from bulkid.identity.urls import complete_url
from bulkid.model import Request
from bulkid.sandbox.options import SandboxOptions
from bulkid.sandbox.server import Sandbox

GET_GROUPS = Request("GET", "api/Group/3fa85f64-5717-4562-b3fc-2c963f66afa6")


@pytest.mark.parametrize(
    ("granted", "scopes", "posts", "groups"),
    [
        ("PM.RobotAccount PM.Group", "PM.RobotAccount PM.Group", 1, (True, True)),
        ("PM.RobotAccount PM.Group.Read", "PM.RobotAccount PM.Group.Read", 2, (True, False)),
        ("PM.RobotAccount", "PM.RobotAccount", 3, (False, False)),
    ],
)
async def test_the_token_has_the_most_useful_scopes_that_the_application_has(
    granted: str, scopes: str, posts: int, groups: tuple[bool, bool]
) -> None:
    tokens = ClientCredentials("sandbox", "sandbox-secret")
    options = SandboxOptions(accounts=5, limits=(), granted_scopes=tuple(granted.split()))
    async with Sandbox(options) as sandbox, open_client(ClientSettings(complete_url(sandbox.url)), tokens) as client:
        claims = await client.claims()
        assert isinstance(claims, TokenClaims)
        assert claims.scopes == set(scopes.split())
        assert tokens.fetches == posts
        can = capabilities(claims)
        assert (can.read_groups, can.write_groups) == groups
        assert (can.read_accounts, can.write_accounts) == (True, True)
        assert ((await client.send(GET_GROUPS)).status == 200) is groups[0]
        assert tokens.fetches == posts


async def test_an_application_without_any_of_them_and_one_with_a_scope_of_its_own_are_refused() -> None:
    options = SandboxOptions(accounts=5, limits=(), granted_scopes=("PM.RobotAccount.Read",))
    async with Sandbox(options) as sandbox:
        for scope, posts in (("", 3), ("PM.RobotAccount PM.Group", 1)):
            tokens = ClientCredentials("sandbox", "sandbox-secret", scope)
            async with open_client(ClientSettings(complete_url(sandbox.url)), tokens) as client:
                with pytest.raises(AuthenticationError, match="invalid_scope") as refused:
                    await client.claims()
            assert "BULKID_SCOPE" in refused.value.hint
            assert tokens.fetches == posts
