"""Reads the claims of an access token: organisation, scopes, end. It verifies nothing: the server does that."""

import base64
import binascii
import math
from dataclasses import dataclass

import orjson

from bulkid.errors import UsageError
from bulkid.resources import GROUP_SCOPE, current

_JWT_PARTS = 3
_SCOPE_PREFIX = "PM."


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """The claims of a JWT that bulkid uses; empty or None where the token does not say."""

    organization_id: str  # the claim ``prt_id``
    scopes: frozenset[str]
    expires_at: float | None  # seconds since the epoch
    lifetime_s: float | None = None  # from issue to end by the issuer's own clock


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a token allows, as far as its scopes tell: True, False, or None when they do not."""

    read_accounts: bool | None = None
    write_accounts: bool | None = None
    read_groups: bool | None = None
    write_groups: bool | None = None


def read_claims(token: str) -> TokenClaims | None:
    """Read a token's claims without verifying them; None when it is no JWT (a personal access token is none)."""
    parts = token.split(".")
    if len(parts) != _JWT_PARTS:
        return None
    try:
        encoded = parts[1].encode("ascii")
        payload = orjson.loads(base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4)))
    except (ValueError, binascii.Error):
        return None
    if not isinstance(payload, dict):
        return None
    organization = payload.get("prt_id")
    expires_at = _seconds(payload.get("exp"))
    issued_at = _seconds(payload.get("nbf", payload.get("iat")))
    return TokenClaims(
        organization_id=organization.strip() if isinstance(organization, str) else "",
        scopes=_scopes(payload.get("scope")),
        expires_at=expires_at,
        lifetime_s=expires_at - issued_at if expires_at is not None and issued_at is not None else None,
    )


def capabilities(claims: TokenClaims | None) -> Capabilities:
    """What the token allows; nothing is known of a token whose scopes are unknown or of another family."""
    if claims is None or not any(scope.startswith(_SCOPE_PREFIX) for scope in claims.scopes):
        return Capabilities()

    def covers(scope: str, verb: str) -> bool:
        return not claims.scopes.isdisjoint({scope, f"{scope}.{verb}"})

    accounts = current().scope
    return Capabilities(
        read_accounts=covers(accounts, "Read"),
        write_accounts=covers(accounts, "Write"),
        read_groups=covers(GROUP_SCOPE, "Read"),
        write_groups=covers(GROUP_SCOPE, "Write"),
    )


def organization_of(configured: str, claims: TokenClaims | None) -> str:
    """The organisation's id: as configured, else as the token says.

    Raises:
        UsageError: Neither says it.
    """
    organization = configured.strip() or (claims.organization_id if claims is not None else "")
    if not organization:
        raise UsageError(
            "The access token does not say which organisation it is for.",
            hint="Set BULKID_ORGANIZATION_ID or --organization-id (the partitionGlobalId, a GUID that the admin "
            "pages of the organisation show).",
        )
    return organization


def _scopes(claim: object) -> frozenset[str]:
    """The claim is a list in some tokens and one string with blanks in others."""
    if isinstance(claim, str):
        return frozenset(claim.split())
    if isinstance(claim, list):
        return frozenset(word for item in claim if isinstance(item, str) for word in item.split())
    return frozenset()


def _seconds(claim: object) -> float | None:
    """A NumericDate as a float; None for anything else."""
    if isinstance(claim, bool) or not isinstance(claim, int | float) or not math.isfinite(claim):
        return None
    return float(claim)
