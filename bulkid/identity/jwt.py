"""The claims of JWTs, read and not verified: the server does that."""

import base64
import binascii
import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

_PARTS = 3
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


def unverified_claims(token: str) -> dict[str, Any] | None:
    """Return the claims that a JWT says; None when the text is none."""
    parts = token.split(".")
    return _decoded(parts[1]) if len(parts) == _PARTS else None


def is_jwt(token: str) -> bool:
    """Whether a text has the form of a signed JWT: header and claims that are JSON objects, and a signature."""
    parts = token.split(".")
    return (
        len(parts) == _PARTS
        and all(_BASE64URL.fullmatch(part) for part in parts)
        and _decoded(parts[0]) is not None
        and _decoded(parts[1]) is not None
    )


def seconds_claim(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a claim that is a NumericDate, in seconds since the epoch; None for anything else."""
    claim = claims.get(name)
    if isinstance(claim, bool) or not isinstance(claim, int | float) or not math.isfinite(claim):
        return None
    return float(claim)


def text_claims(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a claim that is a text or a list of texts (as ``aud`` may be); other values are left out."""
    claim = claims.get(name)
    return tuple(each for each in (claim if isinstance(claim, list) else [claim]) if isinstance(each, str))


def _decoded(part: str) -> dict[str, Any] | None:
    """One part of a JWT as an object; None where it is none."""
    try:
        encoded = part.encode("ascii")
        payload = orjson.loads(base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4)))
    except (ValueError, binascii.Error):
        return None
    return payload if isinstance(payload, dict) else None
