"""Passwords: how they are kept, and how guessing them is made slow."""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from bulkid.errors import UsageError

SHORTEST: Final = 10
LONGEST: Final = 200  # characters: what is longer only makes hashing dear

_HASHER: Final = PasswordHasher()  # argon2id with the costs of RFC 9106's second choice (64 MB, 3 passes)


def hash_password(password: str) -> str:
    """What is kept of a password; takes about a tenth of a second.

    Raises:
        UsageError: It is too short or too long.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(
            f"A password has {SHORTEST} to {LONGEST} characters.", hint="Several words make a good one; choose another."
        )
    return _HASHER.hash(password)


def is_right(password_hash: str, password: str) -> bool:
    """Whether a password is the one that was kept; as slow for one that is not."""
    if len(password) > LONGEST:
        return False
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def nobodys_hash() -> str:
    """The hash of a password that nobody has: to compare with it takes as long as with a user's."""
    return _HASHER.hash("nobody has this password")


@dataclass(slots=True)
class Throttle:
    """Counts failed attempts to sign in, and says how long to wait for the next.

    A user is throttled per address, so that nobody can lock another out for long; an address over all users; and a user
    over all addresses, generously.

    Args:
        monotonic: Seconds that only go forward.
        window_s: How long a failure counts.
    """

    monotonic: Callable[[], float]
    window_s: float = 300.0
    pair_limit: int = 5
    address_limit: int = 20
    user_limit: int = 50
    most_keys: int = 10_000
    _failures: OrderedDict[tuple[str, str], deque[float]] = field(default_factory=OrderedDict)

    def wait(self, user: str, address: str) -> float:
        """Seconds until the next attempt is let through; 0 when it is."""
        return max(self._wait(key, limit) for key, limit in self._keys(user, address))

    def tried(self, user: str, address: str) -> None:
        """Count an attempt as failed until it is known better: many at once must not all pass before one counts."""
        now = self.monotonic()
        for key, limit in self._keys(user, address):
            times = self._failures.setdefault(key, deque(maxlen=limit))
            times.append(now)
            self._failures.move_to_end(key)
        while len(self._failures) > self.most_keys:
            self._failures.popitem(last=False)

    def succeeded(self, user: str, address: str) -> None:
        """Forget the failures of a user at an address, now that the password was right; others' stay."""
        pair, *wider = self._keys(user, address)
        self._failures.pop(pair[0], None)
        for key, _ in wider:
            if self._failures.get(key):
                self._failures[key].pop()

    def _keys(self, user: str, address: str) -> tuple[tuple[tuple[str, str], int], ...]:
        name = user.casefold()[:128]
        return (
            ((name, address), self.pair_limit),
            (("", address), self.address_limit),
            ((name, ""), self.user_limit),
        )

    def _wait(self, key: tuple[str, str], limit: int) -> float:
        times = self._failures.get(key)
        if times is None or len(times) < limit:
            return 0.0
        return max(0.0, times[0] + self.window_s - self.monotonic())
