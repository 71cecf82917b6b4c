"""Which proxy leads to the server: the usual variables, or on Windows and macOS the system's own setting.

Asked once per client. (aiohttp's ``trust_env`` asks again for each request, in a thread, and reads ``.netrc``, whose
credentials it then refuses to send beside an Authorization header.)
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from bulkid.errors import UsageError
from bulkid.identity.urls import IdentityBase, is_loopback


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy to connect through.

    Attributes:
        url: Without credentials, fit to be shown.
        headers: What the proxy is told, credentials included; never what the server is told.
    """

    url: URL
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def proxy_for(base: IdentityBase) -> Proxy | None:
    """The proxy for an identity base; None to connect directly.

    This machine itself is never reached through a proxy, and neither is a host that NO_PROXY names.

    Raises:
        UsageError: The setting is no HTTP proxy, or is no address; it is not echoed, since it may hold a password.
    """
    if is_loopback(base.host):
        return None
    target = URL(base.url, encoded=True)
    proxies = getproxies()
    setting = proxies.get(target.scheme) or proxies.get("all") or ""
    if not setting or proxy_bypass(f"{base.host}:{target.port}"):
        return None
    try:
        url = URL(setting if "://" in setting else f"http://{setting}")
        usable = url.scheme in {"http", "https"} and bool(url.raw_host) and url.port is not None
        user, password = url.user, url.password
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            "The proxy that HTTPS_PROXY (or the system) names cannot be used.",
            hint="Give an HTTP proxy (http://proxy.example.com:8080), or name the server in NO_PROXY.",
        )
    if user is None and password is None:
        return Proxy(url.origin())
    pair = f"{user or ''}:{password or ''}".encode()
    return Proxy(url.origin(), {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"})
