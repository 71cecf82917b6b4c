"""Limits, within bounded memory, on guessing passwords and on refusals in the audit log.

A user is not locked out of a known browser.
"""

import hmac
import ipaddress
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

MAX_KEYS: Final = 10_000
_NONCE_BYTES: Final = 16
_DEVICE_FORM: Final = 2 * _NONCE_BYTES + 1 + 64  # hexadecimal nonce, ".", hexadecimal SHA-256


@dataclass(slots=True)
class AttemptCounter:
    """Counts attempts by key in a rolling window."""

    limit: int  # attempts in a window
    window_s: float  # seconds that an attempt counts
    max_keys: int = MAX_KEYS  # keys that are remembered; the one whose last attempt is the oldest goes first
    _attempts: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def wait(self, key: str, now: float) -> float:
        """Seconds until the next attempt is allowed; 0 when it is now."""
        times = self._attempts.get(key)
        if times is None or len(times) < self.limit:
            return 0.0
        return max(0.0, times[0] + self.window_s - now)

    def add(self, key: str, now: float) -> None:
        """Count an attempt."""
        self._attempts.setdefault(key, deque(maxlen=self.limit)).append(now)
        self._attempts.move_to_end(key)
        while len(self._attempts) > self.max_keys:
            self._attempts.popitem(last=False)

    def undo_attempt(self, key: str) -> None:
        """Take back the latest attempt."""
        if self._attempts.get(key):
            self._attempts[key].pop()

    def forget(self, key: str) -> None:
        """Forget all attempts of a key."""
        self._attempts.pop(key, None)


@dataclass(slots=True)
class Throttle:
    """Counts failed attempts to sign in, and says how long to wait for the next.

    An attempt counts for the user at that address, for the address over all users, and for the user over all addresses
    (OWASP ASVS 4.0 2.2.1: at most 100 per hour). A browser in which the user has signed in before is known by a device
    cookie. It has a limit of its own instead, so that attempts from elsewhere cannot lock the user out of it.

    Names that no user has (``is_known`` is False) have the same limit. They are counted apart, so that attempts with
    many of them cannot push out the attempts with the name of a user.
    """

    monotonic: Callable[[], float]  # seconds that only go forward
    pairs: AttemptCounter = field(default_factory=lambda: AttemptCounter(5, 300.0))
    addresses: AttemptCounter = field(default_factory=lambda: AttemptCounter(20, 300.0))
    users: AttemptCounter = field(default_factory=lambda: AttemptCounter(100, 3600.0))
    unknown_names: AttemptCounter = field(default_factory=lambda: AttemptCounter(100, 3600.0))
    devices: AttemptCounter = field(default_factory=lambda: AttemptCounter(5, 300.0))

    def wait(self, user_key: str, address: str, device: str = "", *, is_known: bool = True) -> float:
        """Seconds until the next attempt is allowed; 0 when it is now. ``device``: see :func:`device_of`."""
        now = self.monotonic()
        return max(counter.wait(key, now) for counter, key in self._counted(user_key, address, device, is_known))

    def record_attempt(self, user_key: str, address: str, device: str = "", *, is_known: bool = True) -> None:
        """Count an attempt as failed until it is known better: many at once must not all pass before one counts."""
        now = self.monotonic()
        for counter, key in self._counted(user_key, address, device, is_known):
            counter.add(key, now)

    def record_success(self, user_key: str, address: str, device: str = "") -> None:
        """Forget the failures of a user at an address, now that the password was right; others' stay."""
        (nearest, key), *wider = self._counted(user_key, address, device, is_known=True)
        nearest.forget(key)
        for counter, key in wider:
            counter.undo_attempt(key)

    def _counted(self, user_key: str, address: str, device: str, is_known: bool) -> list[tuple[AttemptCounter, str]]:
        if device:
            return [(self.devices, f"{device} {user_key}")]
        network = network_of(address)
        names = self.users if is_known else self.unknown_names
        return [(self.pairs, f"{network} {user_key}"), (self.addresses, network), (names, user_key)]


def network_of(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


# --- device cookies (https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies)


def new_device_cookie(user_key: str, password_hash: str) -> str:
    """The device cookie of a browser in which a user has signed in; a new password makes it invalid."""
    nonce = secrets.token_hex(_NONCE_BYTES)
    return f"{nonce}.{_signature(nonce, user_key, password_hash)}"


def device_of(cookie: str, user_key: str, password_hash: str) -> str:
    """The nonce of a valid device cookie of a user; "" for any other text."""
    if len(cookie) != _DEVICE_FORM or not cookie.isascii():
        return ""
    nonce, _, signature = cookie.partition(".")
    return nonce if hmac.compare_digest(signature, _signature(nonce, user_key, password_hash)) else ""


def _signature(nonce: str, user_key: str, password_hash: str) -> str:
    return hmac.digest(password_hash.encode(), f"{nonce} {user_key}".encode(), "sha256").hex()


@dataclass(slots=True)
class RefusalLimit:
    """Decides which refused requests the audit log records: the first of each source, and a bounded number in all.

    Without it, refusals could fill the audit log and push out other entries.
    """

    monotonic: Callable[[], float]  # seconds that only go forward
    window_s: float = 600.0  # for which a recorded refusal counts
    per_source: int = 10  # refusals of one address, or of one user, that are recorded in a window
    max_total: int = 100  # refusals of all sources that are recorded in a window
    _by_source: AttemptCounter = field(init=False)
    _all: AttemptCounter = field(init=False)
    _omitted_count: int = 0

    def __post_init__(self) -> None:
        self._by_source = AttemptCounter(self.per_source, self.window_s)
        self._all = AttemptCounter(self.max_total, self.window_s)

    def admit(self, source: str) -> int | None:
        """Return None for a refusal that is not to be recorded, else how many were left out since the last record."""
        now = self.monotonic()
        if self._by_source.wait(source, now) or self._all.wait("", now):
            self._omitted_count += 1
            return None
        self._by_source.add(source, now)
        self._all.add("", now)
        left_out, self._omitted_count = self._omitted_count, 0
        return left_out
