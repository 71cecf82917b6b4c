"""Access tokens: a given one, or those of an external application, fetched once for all requests.

Tokens carry a generation, so that a late answer to an old token cannot drop its successor. Where the server refuses a
token that it never accepted, that is a *fresh* refusal: some in a row mean that the credentials are wrong, and the run
stops instead of failing row by row.

The claims of a token (organisation, scopes, end) are read and not verified: the server does that.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn
from urllib.parse import urlencode

import anyio

from bulkid.clock import Clock, SystemClock, iso_utc
from bulkid.errors import AuthenticationError, BulkidError, ConnectionFailedError, UsageError
from bulkid.identity.jwt import seconds_claim, unverified_claims
from bulkid.logs import log
from bulkid.model import Reply, ReplyKind
from bulkid.redaction import register_secret
from bulkid.resources import GROUP_SCOPE, current
from bulkid.text import dashed_guid

if TYPE_CHECKING:
    from bulkid.identity.client_assertion import ClientAssertion

TOKEN_PATH = "connect/token"  # noqa: S105 - a path, no secret
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

MAX_SKEW_S = 60.0
"""A new token is fetched at most this long before the present one ends; for short lives a tenth of the life before."""

FRESH_REFUSALS_AT_START = 2  # fresh tokens refused in a row before any was accepted: the credentials are wrong
FRESH_REFUSALS_LATER = 5  # the same once a token was accepted: the credentials were right, so the limit is higher

_OAUTH_ERRORS = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)
"""The codes with which a token endpoint refuses a login (RFC 6749, section 5.2)."""

_SCOPE_PREFIX = "PM."
_PERMANENT = frozenset({ReplyKind.REFUSED, ReplyKind.UNAUTHORIZED, ReplyKind.FORBIDDEN})
_TOKEN_CHARACTERS = re.compile(r"[\x21-\x7e]+")

TokenPost = Callable[[str, bytes], Awaitable[Reply]]
"""Sends a form (path, body) and returns the reply. A path without a slash at its start is below the identity base."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and its place in the order of those fetched."""

    value: str = field(repr=False)
    generation: int


class TokenSource(ABC):
    """Where access tokens come from. ``open_client`` connects it."""

    def connect(self, post: TokenPost, host_base: str = "") -> None:  # noqa: B027 - optional: a ready token needs none
        """Say how to reach the token endpoint, and the path of the host-level identity base, if there is another."""

    @abstractmethod
    def secrets(self) -> tuple[str, ...]:
        """Values that no message may hold."""

    @abstractmethod
    async def current(self) -> Token | Reply:
        """The token to send now; or the reply that says why none can be fetched at present.

        Raises:
            AuthenticationError: The credentials are refused for good.
        """

    def accepted(self, generation: int) -> None:  # noqa: B027 - optional: not every source needs to know
        """Report that the server took the token."""

    @abstractmethod
    def refused(self, generation: int, reason: str) -> None:
        """Report that the server answered 401, with its message.

        Raises:
            AuthenticationError: The server would refuse another token too, or there is none.
        """


class StaticToken(TokenSource):
    """An access token from outside, which cannot be renewed; blanks around it and a leading "Bearer" are dropped.

    Raises:
        UsageError: It is empty or holds characters that no token has.
    """

    def __init__(self, value: str) -> None:
        stripped = re.sub(r"(?i)\A\s*bearer\s+", "", value).strip()
        if not _TOKEN_CHARACTERS.fullmatch(stripped):
            what = "holds blanks or characters that no access token has" if stripped else "is empty"
            raise UsageError(f"BULKID_ACCESS_TOKEN {what}.", hint="Give the token alone, as one line.")
        self._token = Token(stripped, 1)

    def secrets(self) -> tuple[str, ...]:
        """The token."""
        return (self._token.value,)

    async def current(self) -> Token | Reply:
        """The token, also after its end: the server decides."""
        return self._token

    def refused(self, generation: int, reason: str) -> None:  # noqa: ARG002 - there is but one generation
        """Raise `AuthenticationError`: there is no other token."""
        claims = read_claims(self._token.value)
        end = _expiry_sentence(claims.expires_at if claims else None)
        raise AuthenticationError(
            f"The server refuses the access token (401): {reason}.{end}",
            hint="It has expired, was revoked, or is for another organisation: set a new BULKID_ACCESS_TOKEN. "
            "(With BULKID_CLIENT_ID and BULKID_CLIENT_SECRET, bulkid fetches tokens itself.)",
        )


class ApplicationTokens(TokenSource):
    """Tokens of an external application (OAuth client credentials), fetched when needed and before they end.

    However many requests need one at once, one request goes to the token endpoint. The scopes are separated by blanks;
    "" is for the first of the resource's ``requested_scopes`` that the application is granted.

    Raises:
        UsageError: The id is empty.
    """

    def __init__(self, client_id: str, scope: str = "", clock: Clock | None = None) -> None:
        if not client_id.strip():
            raise UsageError("BULKID_CLIENT_ID is empty.", hint="Set it to the id of the external application.")
        self._client_id = client_id.strip()
        wanted = " ".join(scope.split())
        self._scope, *narrower = (wanted,) if wanted else current().requested_scopes
        self._fallback_scopes = narrower  # to request in its place where the server refuses it
        self._clock = clock or SystemClock()
        self._post: TokenPost | None = None
        self._has_organization = False  # whether the address names one
        self._lock = anyio.Lock()
        self.fetches = 0  # requests to the token endpoint that left
        self._tries = 0  # the same with those that did not: a task that waited for one knows that there was one
        self._token: Token | None = None
        self._refused = False  # the present token was refused
        self._refresh_at: float | None = None  # monotonic seconds; None: only when refused
        self._expires_at: float | None = None
        self._temporary_failure: Reply | None = None  # why the latest fetch failed, when it did
        self._permanent_failure: BulkidError | None = None
        self._accepted_generation = 0
        self._fresh_refusals = 0

    def connect(self, post: TokenPost, host_base: str = "") -> None:
        """Say how to reach the token endpoint."""
        self._post = post
        self._has_organization = bool(host_base)

    def secrets(self) -> tuple[str, ...]:
        """The application's own secrets and the present token."""
        own = self._own_secrets()
        return own if self._token is None else (*own, self._token.value)

    @abstractmethod
    def _own_secrets(self) -> tuple[str, ...]:
        """What the application signs in with."""

    @abstractmethod
    async def _ask(self) -> Reply:
        """Ask for a token, by one request or, where there are two endpoints, by two."""

    @abstractmethod
    def _hint(self, error_code: str) -> str:
        """What to check where the endpoint refuses the application with this code."""

    async def current(self) -> Token | Reply:
        """The token to send now, fetched if need be; or why none could be fetched at present.

        Raises:
            AuthenticationError: The token endpoint refuses the credentials, or the server refused token after token.
            ConnectionFailedError: There is no token endpoint at this address.
        """
        if (token := self._valid_token()) is not None:
            return token
        tries_before = self._tries
        async with self._lock:
            if self._permanent_failure is not None:
                raise type(self._permanent_failure)(self._permanent_failure.message, hint=self._permanent_failure.hint)
            if (token := self._valid_token()) is not None:
                return token
            if self._tries != tries_before and self._temporary_failure is not None:
                return self._temporary_failure  # another task has tried meanwhile
            return await self._fetch()

    def accepted(self, generation: int) -> None:
        """Report that the server took the token: the credentials are right."""
        if generation > self._accepted_generation:
            self._accepted_generation = generation
            self._fresh_refusals = 0

    def refused(self, generation: int, reason: str) -> None:
        """Report that the server answered 401: the next ``current`` fetches another token.

        Raises:
            AuthenticationError: Too many tokens were refused fresh from the endpoint.
        """
        if self._token is None or generation != self._token.generation or self._refused:
            return  # of an older token, or known already from another request that carried this one
        self._refused = True
        if generation == self._accepted_generation:
            return  # it was good once: it has expired
        self._fresh_refusals += 1
        limit = FRESH_REFUSALS_LATER if self._accepted_generation else FRESH_REFUSALS_AT_START
        if self._fresh_refusals >= limit:
            self._give_up(
                f"The server refuses the access tokens that it issues itself (401, {limit} in a row): {reason}.",
                "Is BULKID_URL the organisation that the application (BULKID_CLIENT_ID) belongs to, and is it a "
                "confidential application with application scopes?",
            )

    def _valid_token(self) -> Token | None:
        """The present token, if it may still be sent."""
        if self._token is None or self._refused:
            return None
        if self._refresh_at is not None and self._clock.monotonic() >= self._refresh_at:
            return None
        return self._token

    async def _fetch(self) -> Token | Reply:
        """Fetch a token; where the endpoint refuses a scope that no user named, fetch one with fewer scopes."""
        while True:
            requested_at = self._clock.monotonic()
            reply = await self._ask()
            if not (self._fallback_scopes and reply.kind in _PERMANENT and reply.error_code == "invalid_scope"):
                break
            refused, self._scope = self._scope, self._fallback_scopes.pop(0)  # also for the tokens to come
            log.info("token.scope_refused", scope=refused, next_scope=self._scope)
        if reply.kind is ReplyKind.OK:
            return self._accept(reply.payload, requested_at)
        if reply.kind in _PERMANENT:
            self._explain_refusal(reply)
        return self._delay_refresh(reply)

    async def _request_token(self, credential: dict[str, str], path: str = TOKEN_PATH) -> Reply:
        """Send one request to a token endpoint; ``credential`` is what proves who the application is."""
        if self._post is None:
            raise RuntimeError("the token source is not connected: open_client does that")
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            **credential,
            "scope": self._scope,
        }
        self._tries += 1
        self.fetches += 1
        self._temporary_failure = None
        try:
            reply = await self._post(path, urlencode(form).encode("ascii"))
        except ConnectionFailedError as wrong_address:
            self._permanent_failure = wrong_address
            raise
        if reply.kind is ReplyKind.NO_CONNECTION:
            self.fetches -= 1
        return reply

    def _accept(self, payload: object, requested_at: float) -> Token:
        """Keep the token of an answer, with the time to fetch the next one."""
        answer = payload if isinstance(payload, dict) else {}
        value = answer.get("access_token")
        if not isinstance(value, str) or not _TOKEN_CHARACTERS.fullmatch(value):
            self._give_up(
                "The token endpoint answered without an access token.", "Is BULKID_URL an Identity Server's address?"
            )
        register_secret(value)  # a token need not be a JWT, which the logs would know by its shape
        self._token = Token(value, 1 if self._token is None else self._token.generation + 1)
        self._refused = False
        lifetime = _lifetime(answer.get("expires_in"), value)
        # Counted from before the question: the token cannot have been issued earlier.
        self._expires_at = None if lifetime is None else requested_at + lifetime
        self._refresh_at = None if lifetime is None else requested_at + lifetime - min(MAX_SKEW_S, lifetime / 10)
        log.info("token.fetched", generation=self._token.generation, lifetime_s=lifetime)
        return self._token

    def _delay_refresh(self, reply: Reply) -> Token | Reply:
        """Go on with the present token while it lasts, else give the reason why there is none.

        No request has left with a token, so none can have been applied: the kinds that would mean that become
        ``NO_CONNECTION``.
        """
        now = self._clock.monotonic()
        if self._token is not None and not self._refused and self._expires_at is not None and now < self._expires_at:
            self._refresh_at = now + (self._expires_at - now) / 2
            return self._token
        kind = ReplyKind.THROTTLED if reply.kind is ReplyKind.THROTTLED else ReplyKind.NO_CONNECTION
        is_away = reply.kind is ReplyKind.NO_CONNECTION  # which is the server's trouble, not the token's
        reason = reply.error if is_away else f"No access token at present: {reply.error}"
        self._temporary_failure = Reply(
            kind, reply.status, None, reply.retry_after, reply.error_code, reason, for_token=True
        )
        return self._temporary_failure

    def _explain_refusal(self, reply: Reply) -> NoReturn:
        """Raise the error for a refusal of the endpoint; it names the setting to check."""
        if reply.status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
            self._permanent_failure = ConnectionFailedError(
                f"There is no token endpoint at this address ({reply.status} for {TOKEN_PATH}).",
                hint="Check BULKID_URL.",
            )
            raise self._permanent_failure
        hints = {
            "invalid_scope": f"Grant the application these application scopes: {self._scope}. If it has others, name "
            "them in BULKID_SCOPE.",
            "unauthorized_client": "Check BULKID_CLIENT_ID: it must be a confidential application with application "
            "scopes.",
        }
        hint = hints.get(reply.error_code) or self._hint(reply.error_code)
        said = reply.error_code if reply.error in {"", reply.error_code} else f"{reply.error_code}, {reply.error}"
        refusal = "The token endpoint refuses the credentials"
        if reply.error_code not in _OAUTH_ERRORS:  # the answer is not about the login: the host may want another path
            refusal = "The token endpoint refuses the request"
            wanted = ": newer servers want the organisation in it (https://HOST/ORGANISATION)"
            hint = f"Check BULKID_URL{'' if self._has_organization else wanted}. {hint}"
        self._give_up(f"{refusal} ({reply.status}: {said}).", hint)

    def _give_up(self, message: str, hint: str) -> NoReturn:
        """Remember the refusal, so that no other request is sent, and raise it."""
        self._permanent_failure = AuthenticationError(message, hint=hint)
        self._token = None
        raise self._permanent_failure


class ClientCredentials(ApplicationTokens):
    """Tokens of an application that signs in with its secret.

    Raises:
        UsageError: The id or the secret is empty.
    """

    def __init__(self, client_id: str, secret: str, scope: str = "", clock: Clock | None = None) -> None:
        super().__init__(client_id, scope, clock)
        self._secret = secret.strip("\r\n")
        if not self._secret:
            raise UsageError("BULKID_CLIENT_SECRET is empty.", hint="Set it to the secret of the application.")

    def _own_secrets(self) -> tuple[str, ...]:
        return (self._secret,)

    async def _ask(self) -> Reply:
        return await self._request_token({"client_secret": self._secret})

    def _hint(self, error_code: str) -> str:
        if error_code == "invalid_client":
            return (
                "Check BULKID_CLIENT_ID and BULKID_CLIENT_SECRET (the secret may have expired), and that BULKID_URL is "
                "the organisation that the application belongs to."
            )
        return "Check BULKID_CLIENT_ID, BULKID_CLIENT_SECRET and BULKID_SCOPE."


class FederatedCredentials(ApplicationTokens):
    """Tokens of an application that signs in with a JWT from a file, which is read again for every token.

    The organisation's token endpoint is asked first. Where it does not know the application, or is not there, the
    host-level one is asked; the endpoint that issues the first token is the one for all later tokens.

    A problem of the file is raised while there has been no token. Later the file may be just about to be replaced, so
    it counts as temporary then: the present token is used while it lasts, and the file is read again.

    Raises:
        UsageError: The id is empty.
    """

    def __init__(self, client_id: str, path: Path, scope: str = "", clock: Clock | None = None) -> None:
        super().__init__(client_id, scope, clock)
        self._file = path
        self._assertion: ClientAssertion | None = None  # the one sent last
        self._host_path = ""  # of the host-level token endpoint; empty where there is no other
        self._path = ""  # of the endpoint that has issued a token

    def connect(self, post: TokenPost, host_base: str = "") -> None:
        """Say how to reach the token endpoints."""
        super().connect(post, host_base)
        self._host_path = f"{host_base}/{TOKEN_PATH}" if host_base else ""

    def _own_secrets(self) -> tuple[str, ...]:
        return () if self._assertion is None else (self._assertion.value,)

    async def _ask(self) -> Reply:
        """Request a token with the assertion of the file, read anew, at the endpoint that has issued one before.

        Until an endpoint has issued one, the organisation's is asked first, and the host's where that does not exist
        or does not know the application. A file that cannot be read raises until then, and is no connection after.
        """
        from bulkid.identity.client_assertion import read_client_assertion

        try:
            self._assertion = await anyio.to_thread.run_sync(read_client_assertion, self._file, self._clock.now())
        except BulkidError as problem:
            self._tries += 1
            if not self._path:
                self._permanent_failure = problem
                raise
            return Reply(ReplyKind.NO_CONNECTION, error_code="client_assertion", error=str(problem))
        credential = {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": self._assertion.value}
        if self._path:
            return await self._request_token(credential, self._path)
        reply = await self._request_token(credential)
        path = TOKEN_PATH
        if self._host_path and (_is_no_endpoint(reply) or reply.error_code == _UNKNOWN_CLIENT):
            path, first = self._host_path, reply
            reply = await self._request_token(credential, path)
            log.info("token.host_level_endpoint", first=first.error_code, then=reply.error_code)
            if not _says_more(reply, first):
                reply = first
        if reply.kind is ReplyKind.OK:
            self._path = path
        return reply

    def _hint(self, error_code: str) -> str:
        says = f" The assertion says: {self._assertion.described()}." if self._assertion else ""
        if error_code == _UNKNOWN_CLIENT:
            return (
                "Check BULKID_CLIENT_ID, and that the application has federated credentials with the issuer, subject "
                f"and audience of the assertion.{says}"
            )
        return f"Check BULKID_CLIENT_ID, BULKID_CLIENT_ASSERTION_FILE and BULKID_SCOPE.{says}"


_UNKNOWN_CLIENT = "invalid_client"
_KNOWN_CLIENT = frozenset({"invalid_scope", "unauthorized_client"})  # refusals by an endpoint that knows the client


def _is_no_endpoint(reply: Reply) -> bool:
    """Whether an answer says that there is no token endpoint at its address: a web page, 404 or 405."""
    if reply.kind is ReplyKind.NOT_JSON:
        return reply.error_code == "not_json"
    return reply.kind is ReplyKind.REFUSED and reply.status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}


def _says_more(host_reply: Reply, first: Reply) -> bool:
    """Whether the host-level endpoint's answer counts: hosts also refuse requests for lack of an organisation."""
    if _is_no_endpoint(host_reply):
        return False
    is_refusal = host_reply.kind in _PERMANENT
    return not is_refusal or host_reply.error_code in _KNOWN_CLIENT or _is_no_endpoint(first)


def _lifetime(expires_in: object, token: str) -> float | None:
    """Seconds that a token lives: as answered (seen as a number and quoted), else as it says itself."""
    try:
        seconds = float(expires_in) if isinstance(expires_in, str | int | float) else 0.0
    except (ValueError, OverflowError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        claims = read_claims(token)
        seconds = (claims.lifetime_s if claims else None) or 0.0
    return seconds if seconds > 0 else None


def _expiry_sentence(epoch_s: float | None) -> str:
    """When a token says that it ends, as a sentence; empty where that is no plausible date."""
    if epoch_s is None or not 0 <= epoch_s < 4_102_444_800:  # noqa: PLR2004 - the year 2100
        return ""
    return f" It names {iso_utc(epoch_s)} as its end."


# --- what a token says


class TokenClaims(NamedTuple):
    """The claims of a JWT that bulkid uses; empty or None where the token does not say."""

    organization_id: str  # the claim ``prt_id``
    scopes: frozenset[str]
    expires_at: float | None  # seconds since the epoch
    lifetime_s: float | None = None  # from issue to end by the issuer's own clock


class Capabilities(NamedTuple):
    """What a token allows, as far as its scopes tell: True, False, or None when they do not."""

    read_accounts: bool | None = None
    write_accounts: bool | None = None
    read_groups: bool | None = None
    write_groups: bool | None = None


def read_claims(token: str) -> TokenClaims | None:
    """Read a token's claims without verifying them; None when it is no JWT (a personal access token is none)."""
    payload = unverified_claims(token)
    if payload is None:
        return None
    organization = payload.get("prt_id")
    expires_at = seconds_claim(payload, "exp")
    issued_at = seconds_claim(payload, "nbf" if "nbf" in payload else "iat")
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
    """The organisation's id: as configured, else as the token says; a GUID with dashes, so that each has one quota.

    Raises:
        UsageError: Neither says it.
    """
    organization = dashed_guid(configured.strip() or (claims.organization_id if claims is not None else ""))
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
