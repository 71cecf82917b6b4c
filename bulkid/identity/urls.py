"""Completes the address that an admin knows or pastes to the identity base that every call starts from.

The table of deployments and their bases is the vendor's. An address that cannot be right is refused here, before a
secret is sent anywhere.
"""

import ipaddress
import re
from enum import StrEnum
from typing import NamedTuple

from yarl import URL

from bulkid.errors import UsageError
from bulkid.model import QuotaRule

_CLOUD_HOSTS = frozenset({"cloud.uipath.com", "staging.uipath.com", "alpha.uipath.com"})
_PUBLIC_SECTOR_HOST = "govcloud.uipath.us"
_DEDICATED_SUFFIX = ".dedicated.uipath.com"

_ORCHESTRATOR_PAGES = frozenset({"account", "api", "login", "odata", "swagger"})
"""First path segments of a standalone Orchestrator's own pages: no organisation has such a name there."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCHEMES = frozenset({"http", "https"})
_HOST_NAME = re.compile(r"(?=.{1,253}\.?\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?", re.ASCII)
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f\\]")

_EXAMPLES = "Such as https://cloud.uipath.com/acme, https://orchestrator.example.com or https://suite.example.com/acme."


class Deployment(StrEnum):
    """Which kind of installation answers; it decides the path of the identity base and the preset quota."""

    CLOUD = "cloud"
    PUBLIC_SECTOR = "public_sector"
    DEDICATED = "dedicated"
    SUITE = "suite"
    STANDALONE = "standalone"


class IdentityBase(NamedTuple):
    """The address that all calls start from."""

    url: str  # percent-encoded, without a slash at the end, such as https://cloud.uipath.com/acme/identity_
    deployment: Deployment

    @property
    def host(self) -> str:
        """The host name alone, in lower case."""
        return URL(self.url, encoded=True).raw_host or ""

    @property
    def authority(self) -> str:
        """Host and port; the port only when it is not the scheme's own."""
        return URL(self.url, encoded=True).raw_authority

    @property
    def host_level_path(self) -> str:
        """The path of the identity base of the whole host; empty where this is it, or the host has none."""
        path = URL(self.url, encoded=True).raw_path
        return "/identity_" if path.endswith("/identity_") and path != "/identity_" else ""


def complete_url(address: str) -> IdentityBase:
    """Complete an address to the identity base; query and fragment are dropped.

    It is the base itself, an address below it (``.../identity/connect/token``), or the one that an admin knows
    (``https://cloud.uipath.com/acme``).

    Raises:
        UsageError: The address cannot be an Identity Server's, or a secret would be sent in the clear.
    """
    text = address.strip()
    if not text:
        raise UsageError("No address of an Identity Server is given.", hint=f"Set BULKID_URL or --url. {_EXAMPLES}")
    url = _parse(text)
    host = (url.raw_host or "").rstrip(".").lower()
    if url.scheme == "http" and not is_loopback(host):
        raise UsageError(
            f"http://{host} would send the secret and the token in the clear.",
            hint="Use https:// (http:// is taken for this machine only).",
        )
    segments = [segment for segment in url.raw_path.split("/") if segment]
    hosted = _hosted_deployment(host)
    if hosted is None:
        segments, deployment = _self_hosted(segments)
    else:
        segments, deployment = [_organization_segment(host, segments), "identity_"], hosted
    shown_host = f"[{host}]" if ":" in host else host
    port = "" if url.is_default_port() or url.explicit_port is None else f":{url.explicit_port}"
    return IdentityBase(f"{url.scheme}://{shown_host}{port}/{'/'.join(segments)}", deployment)


def is_same_base(url: str, other: str) -> bool:
    """Whether two identity bases are one: neither the host nor the name of an organisation depends on case."""
    return url.casefold() == other.casefold()


def preset_quota(base: IdentityBase) -> tuple[QuotaRule, ...]:
    """The limits that the vendor publishes for this deployment: Automation Cloud has some, no other does."""
    if base.deployment is not Deployment.CLOUD:
        return ()
    return (
        QuotaRule("GET", 300, 300.0),
        QuotaRule("PUT", 160, 300.0),
        QuotaRule("POST", 24_000, 300.0),
        QuotaRule("DELETE", 160, 300.0),
    )


def is_loopback(host: str) -> bool:
    """Whether the host is this machine itself, so that nothing is sent over a network."""
    address = _ip_address(host)
    return host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback)


def _parse(text: str) -> URL:
    """Parse an address; no message shows what may hold a password."""
    scheme_match = _SCHEME.match(text)
    rest = text[scheme_match.end() :] if scheme_match else text
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise UsageError(
            "The address holds a user name or password (the part before @).",
            hint="Leave it out of BULKID_URL: credentials go into BULKID_CLIENT_ID and BULKID_CLIENT_SECRET.",
        )
    shown = "What is given" if "@" in text else repr(text)  # what stands before an @ may be a password
    if _host_of(authority).rstrip(".") in _SCHEMES:  # a typing error: the secret would go to a host of that name
        raise UsageError(f"{shown} is not an address of a web server: it begins with https:// once.", hint=_EXAMPLES)
    if scheme_match is None:
        # Without a scheme: the secure one, but servers on this machine itself nearly always speak plain HTTP.
        scheme = "http" if is_loopback(_host_of(authority)) else "https"
        text = f"{scheme}://{rest}"
    elif scheme_match[1].lower() not in _SCHEMES:
        raise UsageError(f"{scheme_match[1]}:// is not an address of a web server.", hint=f"Use https://. {_EXAMPLES}")
    if _UNPRINTABLE.search(text):
        raise UsageError(
            "The address holds a blank, a backslash or a character that cannot be printed.", hint=_EXAMPLES
        )
    try:
        url = URL(text)
        port_is_right = url.port is not None and url.port > 0
    except ValueError:
        port_is_right = False
    if not port_is_right or not _is_host(url.raw_host or ""):
        raise UsageError(f"{shown} is not an address of a web server.", hint=_EXAMPLES)
    return url


def _is_host(host: str) -> bool:
    """Whether a host, as it would be looked up, is a name or an address at all."""
    if ":" not in host:
        return _HOST_NAME.fullmatch(host) is not None
    return isinstance(_ip_address(host), ipaddress.IPv6Address)


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _host_of(authority: str) -> str:
    """The host in ``host:port`` or ``[::1]:port``, or the whole when it is neither."""
    if authority.startswith("["):
        return authority[1:].split("]", 1)[0]
    return authority.split(":", 1)[0].lower()


def _hosted_deployment(host: str) -> Deployment | None:
    """The vendor's cloud that the host is; None for a self-hosted server."""
    if host in _CLOUD_HOSTS:
        return Deployment.CLOUD
    if host == _PUBLIC_SECTOR_HOST:
        return Deployment.PUBLIC_SECTOR
    return Deployment.DEDICATED if host.endswith(_DEDICATED_SUFFIX) else None


def _organization_segment(host: str, segments: list[str]) -> str:
    """The organisation in the path; names with ``_`` at the end (``portal_``) are services, not organisations."""
    first = segments[0] if segments else ""
    if first and first.lower() != "identity" and not first.endswith("_"):
        return first
    raise UsageError(
        f"{host} needs the organisation in the address.",
        hint=f"Use https://{host}/ORGANISATION, as in the browser's address bar after signing in "
        "(newer organisations do not answer at the host alone).",
    )


def _self_hosted(segments: list[str]) -> tuple[list[str], Deployment]:
    """Path of the identity base and deployment, from the path that was given on a self-hosted server."""
    lower = [segment.lower() for segment in segments]
    if not lower or lower[0] in _ORCHESTRATOR_PAGES:
        return ["identity"], Deployment.STANDALONE
    if lower[1:2] == ["identity_"]:  # first, so that an organisation may be called "identity"
        return [segments[0], "identity_"], Deployment.SUITE
    for depth, segment in enumerate(lower):
        if segment == "identity":
            return [*segments[:depth], segment], Deployment.STANDALONE
        if segment == "identity_":
            return [*segments[: min(depth, 1)], segment], Deployment.SUITE
    if lower[0].endswith("_"):
        return ["identity_"], Deployment.SUITE
    return [segments[0], "identity_"], Deployment.SUITE
