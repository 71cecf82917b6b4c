"""The Identity Server's API and nothing else: addresses, tokens, the calls, error bodies to messages.

``open_client`` gives a client whose ``send`` sends one request once. Whether and when to send again is decided
elsewhere.
"""

from bulkid.identity.client import ClientSettings, IdentityClient, open_client
from bulkid.identity.endpoints import (
    MAX_PAGE,
    Page,
    UnexpectedResponseError,
    account_page,
    get_account,
    list_accounts,
    list_groups,
    parse_account,
    parse_group,
    parse_groups,
    put_account,
    put_group,
)
from bulkid.identity.error_bodies import read_error_body, safe_text
from bulkid.identity.jwt import Capabilities, TokenClaims, capabilities, organization_of, read_claims
from bulkid.identity.responses import parse_retry_after, read_response
from bulkid.identity.tokens import ClientCredentials, StaticToken, Token, TokenSource
from bulkid.identity.urls import Deployment, IdentityBase, complete_url, preset_quota

__all__ = [
    "MAX_PAGE",
    "Capabilities",
    "ClientCredentials",
    "ClientSettings",
    "Deployment",
    "IdentityBase",
    "IdentityClient",
    "Page",
    "StaticToken",
    "Token",
    "TokenClaims",
    "TokenSource",
    "UnexpectedResponseError",
    "account_page",
    "capabilities",
    "complete_url",
    "get_account",
    "list_accounts",
    "list_groups",
    "open_client",
    "organization_of",
    "parse_account",
    "parse_group",
    "parse_groups",
    "parse_retry_after",
    "preset_quota",
    "put_account",
    "put_group",
    "read_claims",
    "read_error_body",
    "read_response",
    "safe_text",
]
