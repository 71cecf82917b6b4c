"""Passwords: which are allowed, and how they are stored."""

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
