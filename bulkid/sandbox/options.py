"""Options of a sandbox: size, rights, limits, latency, faults. Values that cannot be used raise ``ValueError``."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from bulkid.model import SANDBOX_ORGANIZATION, QuotaRule

CLOUD_LIMITS = (
    QuotaRule("PUT", 160, 300.0),
    QuotaRule("GET", 300, 300.0),
    QuotaRule("DELETE", 160, 300.0),
    QuotaRule("POST", 24_000, 300.0),
)
"""Automation Cloud's limits. The sandbox, like bulkid, counts no request for a token."""

SHORT_CLOUD_LIMITS = tuple(replace(rule, seconds=10.0) for rule in CLOUD_LIMITS)
"""Automation Cloud's counts in a window short enough to see them at work without waiting five minutes."""

_LONGEST_S = 1e9


@dataclass(frozen=True, slots=True)
class Faults:
    """How often each fault strikes: probabilities from 0 to 1 per API request, at most one fault per request.

    Because one draw decides, the probabilities of one request add up: ``reset_before=0.1, reset_after=0.1`` is
    "20 % together". The token endpoint knows only ``token_error``.
    """

    reset_before: float = 0.0  # the connection is reset, nothing was applied
    reset_after: float = 0.0  # applied, then the connection is reset instead of an answer
    throttle: float = 0.0  # 429 with Retry-After, not applied
    throttle_silent: float = 0.0  # 429 without Retry-After, not applied
    error_500: float = 0.0  # 500, not applied
    error_500_after: float = 0.0  # applied, then 500
    unavailable_503: float = 0.0  # 503, not applied
    slow: float = 0.0  # applied at once, answered after slow_s
    truncated: float = 0.0  # applied, then 200 with a body shorter than its Content-Length
    html: float = 0.0  # 200 with an HTML page, not applied
    expired: float = 0.0  # the token is revoked: 401 now and from now on
    token_error: float = 0.0  # the token endpoint answers 500
    slow_s: float = 2.0  # seconds
    retry_after_s: int = 1  # seconds, what Retry-After of ``throttle`` says

    def __post_init__(self) -> None:
        for name in (*FAULT_KINDS, "token_error"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"The fault {name} is a probability from 0 to 1, not {getattr(self, name)}.")
        if self.total > 1 + 1e-9:
            raise ValueError(f"The probabilities of all faults together are {self.total:g}; they may not exceed 1.")
        if not (self.slow_s >= 0 and self.retry_after_s >= 0):
            raise ValueError("slow_s and retry_after_s are seconds and cannot be negative.")

    @property
    def total(self) -> float:
        """The probability that an API request meets any fault."""
        return sum((getattr(self, name) for name in FAULT_KINDS), 0.0)


FAULT_KINDS = tuple(each.name for each in fields(Faults) if each.name not in ("token_error", "slow_s", "retry_after_s"))
"""The faults that one draw per API request decides between, in the order of the draw."""


@dataclass(frozen=True, slots=True)
class FederatedCredential:
    """Which client assertions (JWTs) the application may sign in with in place of its secret."""

    issuer: str  # the claim iss
    subject: str  # the claim sub
    audience: str  # the claim aud, or one of it
    key: str = field(default="", repr=False)  # of the signature (HS256); without one, no signature is checked
    at: str = "both"  # which token endpoints take assertions: organization, host or both

    def __post_init__(self) -> None:
        if self.at not in ("both", "organization", "host"):
            raise ValueError(f"Federated credentials count at=organization, at=host or at=both, not at={self.at}.")
        if not (self.issuer and self.subject and self.audience):
            raise ValueError("Federated credentials need an issuer, a subject and an audience.")


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """All options of a sandbox; the defaults are those of ``bulkid sandbox``.

    Where the real server's behaviour is not documented, the default is the reading that is harder on a client.
    """

    # the directory
    accounts: int = 6000
    groups: int = 24  # Everyone included; never fewer than the vendor's example needs
    seed: int = 1  # of the directory and of the faults
    organization_id: str = SANDBOX_ORGANIZATION
    list_everyone: bool = False  # whether groupIds names Everyone (not documented)
    group_ids: Literal["told", "null_in_list", "null"] = "told"  # groupIds is nullable; when it is null
    page_cap: int = 1000  # a page never holds more, whatever top asks; totalCount stays true
    vanishing: int = 0  # so many accounts are deleted while the list is read: after each page, the first one of it
    guids_only: bool = False  # whether a look-up by an id that is no GUID is answered 400 instead of 404

    # addresses
    prefix: str = "/identity"
    organization_name: str = "acme"  # served under /{organization_name}/identity_ as well
    host_level: Literal["refuse", "serve"] = "refuse"  # /identity_ without organisation: 400, as Automation Cloud
    tenant: str = ""  # when given, X-UIPATH-TenantName must say it

    # rights
    client_id: str = "sandbox"
    client_secret: str = field(default="sandbox-secret", repr=False)
    federated: FederatedCredential | None = None  # None: no assertion is taken
    granted_scopes: tuple[str, ...] = ("PM.RobotAccount", "PM.Group")
    static_tokens: tuple[str, ...] = field(default=(), repr=False)  # opaque tokens that never expire
    token_lifetime_s: float = 3600.0
    partition_claim: bool = True  # whether the token carries prt_id
    quoted_expires_in: bool = False  # expires_in as "3600": some servers quote it

    # how it answers
    absent_display_name: Literal["blank", "keep"] = "blank"  # what a PUT without displayName does
    bad_member: Literal["refuse", "ignore"] = "refuse"  # an unknown id in a group PUT: 400 for all, or passed over
    taken_name: Literal["409", "400"] = "409"  # what creating under a name or id that is taken is answered with
    unknown_deletion: Literal["refuse", "ignore"] = (
        "refuse"  # an unknown id in a bulk DELETE: 404 for all, or passed over
    )
    poisoned: tuple[str, ...] = ()  # accounts (id or name) that refuse every write: their own, bulk ones, and groups'
    unauthorized: tuple[str, ...] = ()  # the same, answered 401 whatever token they carry
    forbidden: tuple[str, ...] = ()  # the same, answered 403 whatever the scopes
    built_in_refuses: bool = False  # whether every PUT of a built-in group is answered 400
    numeric_types: Literal["no", "number", "text"] = "no"  # a group's type as 0 or 1, or as "0" or "1"
    empty_members: bool = False  # whether a group's members are always []; only its Members call lists them then
    rate_headers: Literal["no", "three", "one", "structured"] = "no"  # RateLimit-*: in three headers, or in RateLimit
    max_members_per_put: int = 0  # more ids in one group PUT or POST are answered 413; 0: no limit
    max_deletions: int = 100  # more ids in one bulk DELETE are answered 400; 0: no limit
    limits: tuple[QuotaRule, ...] = SHORT_CLOUD_LIMITS
    count_refused: bool = False  # whether a request answered 429 counts against the limit too
    retry_after: bool = True  # whether a 429 of the limits says when to come again
    latency_s: float = 0.0  # of the network, there and back; split at random between the two ways
    jitter_s: float = 0.0  # up to this much more, at random
    faults: Faults = field(default_factory=Faults)
    keep_alive_s: float = 75.0  # an idle connection is closed after this
    log_size: int = 100_000  # served requests remembered

    def __post_init__(self) -> None:
        if self.accounts < 0 or self.groups < MINIMUM_GROUPS:
            raise ValueError(f"The sandbox needs accounts >= 0 and groups >= {MINIMUM_GROUPS}.")
        if self.accounts > MAXIMUM_ACCOUNTS or self.groups > MAXIMUM_GROUPS:
            raise ValueError(f"It holds at most {MAXIMUM_ACCOUNTS:,} accounts and {MAXIMUM_GROUPS:,} groups.")
        if self.prefix and (not self.prefix.startswith("/") or self.prefix.endswith("/")):
            raise ValueError("The prefix begins with / and does not end with it, such as /identity.")
        if not all(0 <= seconds <= _LONGEST_S for seconds in (self.latency_s, self.jitter_s, self.token_lifetime_s)):
            raise ValueError("latency_s, jitter_s and token_lifetime_s are seconds: a number from 0 to 1,000,000,000.")
        if self.page_cap < 1:
            raise ValueError("page_cap must be at least 1.")
        if min(self.log_size, self.max_members_per_put, self.max_deletions, self.vanishing) < 0:
            raise ValueError("log_size, max_members_per_put, max_deletions and vanishing cannot be negative.")


MINIMUM_GROUPS = 3
"""Everyone, and the two groups of the vendor's example."""

MAXIMUM_ACCOUNTS = 1_000_000
MAXIMUM_GROUPS = 100_000
"""All are made in memory before the sandbox serves: a number too many would take the memory of the machine."""


def parse_faults(text: str) -> Faults:
    """Read faults as the command line gives them: ``reset_after=0.2,html=10%,slow_s=3``; ``none`` or blank for none."""
    known = {item.name for item in fields(Faults)}
    numbers = {name.replace("-", "_").lower(): _number(value) for name, value in _pairs(text)}
    for name, value in numbers.items():
        if name not in known:
            raise ValueError(f"There is no fault {name!r}; there are: {', '.join(sorted(known))}.")
        if not math.isfinite(value):
            raise ValueError(f"The fault {name} takes a number, not {value}.")
    pause = int(numbers.pop("retry_after_s", 1))
    return Faults(**numbers, retry_after_s=pause)


def parse_federated(text: str) -> FederatedCredential | None:
    """Read what the command line gives: ``issuer=...,subject=...,audience=...``, ``key``, ``at``; blank for none."""
    given = dict(_pairs(text))
    known = [item.name for item in fields(FederatedCredential)]
    if unknown := given.keys() - set(known):
        raise ValueError(f"Federated credentials have no {min(unknown)!r}; they have {', '.join(known)}.")
    return FederatedCredential(**{"issuer": "", "subject": "", "audience": "", **given}) if given else None


def parse_limits(text: str) -> tuple[QuotaRule, ...]:
    """Read limits as the command line gives them: ``PUT=20/5,GET=300/10`` (count/seconds); ``none`` for none."""
    return tuple(_limit(method, value) for method, value in _pairs(text))


def _limit(method: str, value: str) -> QuotaRule:
    count, slash, seconds = value.partition("/")
    if not slash or not method.isalpha() or not count.strip().isdecimal():
        raise ValueError(f"A limit is METHOD=COUNT/SECONDS, such as PUT=20/5, not {method}={value}.")
    length = _number(seconds)
    if not (length > 0 and math.isfinite(length)):
        raise ValueError(f"The window of a limit is a number of seconds above 0, not {seconds}.")
    return QuotaRule(method.upper(), int(count), length)


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    if text.strip().lower() in ("", "none"):
        return
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{part.strip()!r} is not of the form name=value.")
        yield name.strip(), value.strip()


def _number(text: str) -> float:
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number.") from None
