"""The claims of a token are read where it is a JWT; any other token raises no error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkid.errors import UsageError
from bulkid.identity.tokens import TokenClaims, capabilities, organization_of, read_claims
from tests.support.identity_wire import jwt


def test_the_organisation_the_scopes_and_the_end_are_read_from_a_jwt() -> None:
    claims = read_claims(jwt({"prt_id": "org-1", "scope": ["PM.Group", "PM.RobotAccount"], "nbf": 100, "exp": 3700}))
    assert claims == TokenClaims("org-1", frozenset({"PM.Group", "PM.RobotAccount"}), 3700.0, 3600.0)


def test_scopes_may_be_one_string_and_claims_may_be_missing() -> None:
    assert read_claims(jwt({"scope": "PM.Group  PM.RobotAccount"})) == TokenClaims(
        "", frozenset({"PM.Group", "PM.RobotAccount"}), None
    )
    assert read_claims(jwt({})) == TokenClaims("", frozenset(), None)


@pytest.mark.parametrize("token", ["1234", "", "a.b", "a.b.c", "a.!!.c", "..", "a.é.c", "a.b.c.d", jwt([1]), jwt(None)])
def test_a_personal_access_token_is_no_jwt(token: str) -> None:
    assert read_claims(token) is None


@given(
    st.one_of(
        st.text(),
        st.text(alphabet="ab.=-_", max_size=30),
        st.dictionaries(
            st.sampled_from(["prt_id", "scope", "exp", "nbf", "iat"]),
            st.one_of(
                st.none(), st.booleans(), st.floats(), st.text(), st.integers(-(2**63), 2**64 - 1), st.lists(st.text())
            ),
        ).map(jwt),
    )
)
def test_reading_claims_never_raises(token: str) -> None:
    claims = read_claims(token)
    assert claims is None or isinstance(claims.organization_id, str)
    capabilities(claims)


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ("PM.RobotAccount PM.Group", "read_accounts write_accounts read_groups write_groups"),
        ("PM.RobotAccount PM.Group.Read", "read_accounts write_accounts read_groups"),
        ("PM.RobotAccount.Read", "read_accounts"),
        ("PM.RobotAccount.Write", "write_accounts"),
        ("PM.Group.Write", "write_groups"),
        ("PM.Setting", ""),
    ],
)
def test_scopes_tell_what_a_token_allows_and_what_not(scopes: str, allowed: str) -> None:
    told = capabilities(read_claims(jwt({"scope": scopes})))._asdict()
    assert told == {name: name in allowed.split() for name in told}


@pytest.mark.parametrize("token", ["1234", jwt({"scope": "OR.Robots IdentityServerApi"}), jwt({"scope": ""}), jwt({})])
def test_a_token_without_scopes_of_this_family_tells_nothing(token: str) -> None:
    assert set(capabilities(read_claims(token))._asdict().values()) == {None}


def test_the_organisation_is_as_configured_else_as_the_token_says_else_asked_for() -> None:
    claims = TokenClaims("from-token", frozenset(), None)
    assert organization_of(" given ", claims) == "given"
    assert organization_of("", claims) == "from-token"
    for written in ("{3FA85F64-5717-4562-B3FC-2C963F66AFA6}", "3FA85F6457174562B3FC2C963F66AFA6"):
        assert organization_of(written, None) == "3FA85F64-5717-4562-B3FC-2C963F66AFA6"
    for nothing in (None, TokenClaims("", frozenset(), None)):
        with pytest.raises(UsageError) as asked:
            organization_of("", nothing)
        assert "BULKID_ORGANIZATION_ID" in str(asked.value)
