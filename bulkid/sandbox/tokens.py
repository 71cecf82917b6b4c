"""The token endpoint, and the check of tokens; both raise ``RefusalError``."""

import base64
import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count

import orjson

from bulkid.sandbox.messages import RefusalError, SandboxResponse, message, oauth, ok, unauthorized
from bulkid.sandbox.options import SandboxOptions


@dataclass(frozen=True, slots=True)
class _Grant:
    scopes: tuple[str, ...]
    expires: float  # on the monotonic clock; infinite for static tokens


class TokenIssuer:
    """Issues tokens for the client credentials that the options name, and knows which are good."""

    def __init__(self, options: SandboxOptions, now: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._options = options
        self._now = now
        self._monotonic = monotonic
        self._secret = options.client_secret
        self._key = os.urandom(32)
        self._numbers = count(1)
        self._grants = {token: _Grant(options.granted_scopes, float("inf")) for token in options.static_tokens}

    def issue(self, form: Mapping[str, str], *, at_host: bool = False) -> SandboxResponse:
        """Answer ``POST connect/token``; ``at_host``: of the whole host, which takes assertions only."""
        options = self._options
        if form.get("grant_type") != "client_credentials":
            raise RefusalError(oauth("unsupported_grant_type" if form.get("grant_type") else "invalid_request"))
        if "client_assertion" in form or "client_assertion_type" in form:
            self._check_assertion(form, at_host=at_host)
        elif at_host or form.get("client_secret") != self._secret:
            raise RefusalError(oauth("invalid_client"))
        if form.get("client_id") != options.client_id:
            raise RefusalError(oauth("invalid_client"))
        scopes = tuple(dict.fromkeys(form.get("scope", "").split())) or options.granted_scopes
        for scope in scopes:
            if not self._is_granted(scope):
                raise RefusalError(oauth("invalid_scope", f"The scope {scope} is not granted to this application."))
        lifetime = int(options.token_lifetime_s)
        value = {
            "access_token": self._new_token(scopes),
            "expires_in": str(lifetime) if options.quoted_expires_in else lifetime,
            "token_type": "Bearer",
            "scope": " ".join(scopes),
        }
        return ok(value)._replace(headers={"Cache-Control": "no-store, no-cache, max-age=0"})

    def check(self, authorization: str | None) -> tuple[str, ...]:
        """The scopes of the token in an Authorization header."""
        if not authorization:
            raise RefusalError(message(401, "You are not authenticated!", 0))
        grant = self._grants.get(_bearer(authorization))
        if grant is None:
            raise RefusalError(unauthorized("The signature key was not found"))
        if self._monotonic() >= grant.expires:
            raise RefusalError(unauthorized("The token is expired"))
        return grant.scopes

    def revoke(self, authorization: str | None) -> None:
        """Take back the token in an Authorization header, if there is one."""
        self._grants.pop(_bearer(authorization or ""), None)

    def change_secret(self, secret: str) -> None:
        """Take back every token, and ask for another secret from now on."""
        self._secret = secret
        self._grants.clear()

    def _check_assertion(self, form: Mapping[str, str], *, at_host: bool) -> None:
        """Refuse an assertion that the federated credentials of the application do not name."""
        place = "host" if at_host else "organization"
        known, problem = self._options.federated, ""
        if "client_secret" in form or form.get("client_assertion_type") != ASSERTION_TYPE:
            raise RefusalError(oauth("invalid_request"))
        if known is None or known.at not in (place, "both"):
            raise RefusalError(oauth("invalid_client"))
        claims = verified_claims(form.get("client_assertion", ""), known.key)
        if claims is None:
            problem = "The assertion is not a valid JWT."
        elif not isinstance(end := claims.get("exp"), int | float) or end <= self._now():
            problem = "The assertion has expired."
        elif (claims.get("iss"), claims.get("sub")) != (known.issuer, known.subject):
            problem = "No federated credential has this issuer and subject."
        elif known.audience not in (audience if isinstance(audience := claims.get("aud"), list) else [audience]):
            problem = "The assertion is for another audience."
        if problem:
            raise RefusalError(oauth("invalid_client", problem))

    def _is_granted(self, scope: str) -> bool:
        """Granting PM.Group means PM.Group.Read and PM.Group.Write too: the portal ticks all three."""
        granted = self._options.granted_scopes
        parent, _, variant = scope.rpartition(".")
        return scope in granted or (variant in ("Read", "Write") and parent in granted)

    def _new_token(self, scopes: tuple[str, ...]) -> str:
        issued, expires = self._now(), self._monotonic() + self._options.token_lifetime_s
        claims = {
            "iss": "http://sandbox/identity",
            "iat": int(issued),
            "nbf": int(issued),
            "exp": int(issued + self._options.token_lifetime_s),
            "aud": ["IdentityServerApi"],
            "client_id": self._options.client_id,
            "sub_type": "service.external",
            "scope": list(scopes),
            "jti": f"{next(self._numbers):032X}",
        }
        if self._options.partition_claim:
            claims["prt_id"] = self._options.organization_id
        signed = f"{_base64url(orjson.dumps({'alg': 'HS256', 'typ': 'at+jwt'}))}.{_base64url(orjson.dumps(claims))}"
        token = f"{signed}.{_base64url(hmac.digest(self._key, signed.encode(), hashlib.sha256))}"
        self._grants[token] = _Grant(scopes, expires)
        return token


ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_JWT_PARTS = 3


def sign_assertion(claims: Mapping[str, object], key: str = "") -> str:
    """Make a client assertion (HS256), as a platform would issue it with this key."""
    header = orjson.dumps({"alg": "HS256", "typ": "JWT"})
    signed = f"{_base64url(header)}.{_base64url(orjson.dumps(dict(claims)))}"
    return f"{signed}.{_signature(signed, key)}"


def verified_claims(assertion: str, key: str) -> dict[str, object] | None:
    """The claims of a JWT; None where it is none, or where another key signed it. The key "" accepts any signature."""
    parts = assertion.split(".")
    if len(parts) != _JWT_PARTS or not all(parts):
        return None
    try:
        header, claims = (orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in parts[:2])
    except ValueError:
        return None
    if not (isinstance(header, dict) and isinstance(claims, dict)):
        return None
    if key and not hmac.compare_digest(parts[2].encode(), _signature(f"{parts[0]}.{parts[1]}", key).encode()):
        return None
    return claims


def _signature(signed: str, key: str) -> str:
    return _base64url(hmac.digest(key.encode(), signed.encode(), hashlib.sha256))


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
