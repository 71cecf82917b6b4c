"""The Identity Server's API and nothing else: addresses, tokens, requests and answers.

Start with ``client``: ``open_client`` gives a client whose ``send`` sends one request once. ``endpoints`` builds
requests and reads answers, ``responses`` makes replies, ``tokens`` fetches access tokens.
"""

from bulkid.identity.client import ClientSettings, IdentityClient, open_client
from bulkid.identity.endpoints import (
    Page,
    UnexpectedResponseError,
    account_page,
    get_account,
    list_accounts,
    list_groups,
    parse_account,
    parse_groups,
    put_account,
    put_group,
)
from bulkid.identity.tokens import (
    Capabilities,
    ClientCredentials,
    StaticToken,
    TokenClaims,
    TokenSource,
    capabilities,
    organization_of,
)
from bulkid.identity.urls import IdentityBase, complete_url, preset_quota

__all__ = [
    "Capabilities",
    "ClientCredentials",
    "ClientSettings",
    "IdentityBase",
    "IdentityClient",
    "Page",
    "StaticToken",
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
    "parse_groups",
    "preset_quota",
    "put_account",
    "put_group",
]
