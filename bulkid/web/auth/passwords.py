"""Passwords: which are allowed, and how they are stored."""

import threading
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from bulkid.errors import UsageError
from bulkid.journal.usernames import user_key

SHORTEST: Final = 12  # OWASP ASVS 4.0 2.1.1; shorter ones that are stored keep working
LONGEST: Final = 200  # characters: what is longer only makes hashing dear

_ESTIMATED: Final = 72  # characters that zxcvbn looks at: its time grows faster than the length
_LEAST_SCORE: Final = 3  # of 0 to 4: at least 10^8 guesses
_LEAST_OTHER: Final = 8  # letters and digits besides the user name and "bulkid"
_LEAST_WORD: Final = 3  # characters of a part of a user name that counts
_ESTIMATING: Final = threading.Lock()  # zxcvbn may keep the words of a call in a table that all calls share

_HASHER: Final = PasswordHasher()  # argon2id with the costs of RFC 9106's second choice (64 MB, 3 passes)


def require_good_password(password: str, name: str) -> None:
    """Refuse a password that is easy to guess (OWASP ASVS 4.0 2.1.1, 2.1.7); which characters it holds is free.

    Args:
        password: As the user typed it.
        name: The user's name.

    Raises:
        UsageError: It is too short or too long, common, or little more than the user name or "bulkid".
    """
    require_length(password)
    words = _words_of(name)
    other = user_key(password[:_ESTIMATED])
    for word in words:
        other = other.replace(word, " ")
    hint = "Several uncommon words make a good password; choose another."
    if other != user_key(password[:_ESTIMATED]) and sum(map(str.isalnum, other)) < _LEAST_OTHER:
        raise UsageError('The password is too close to the user name or to "bulkid".', hint=hint)
    from zxcvbn import zxcvbn

    with _ESTIMATING:
        found = zxcvbn(password[:_ESTIMATED], user_inputs=list(words))
    if found["score"] < _LEAST_SCORE:
        raise UsageError("The password is common, or easy to guess.", hint=hint)


def _words_of(name: str) -> tuple[str, ...]:
    """The user name, its parts and "bulkid", the longest first."""
    key = user_key(name)
    parts = "".join(letter if letter.isalnum() else " " for letter in key).split()
    words = {key, *parts, "bulkid"}
    return tuple(sorted((word for word in words if len(word) >= _LEAST_WORD), key=lambda word: (-len(word), word)))


def require_length(password: str) -> None:
    """Refuse a password of a length that is not allowed.

    Raises:
        UsageError: It is too short or too long.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(
            f"A password has {SHORTEST} to {LONGEST} characters.", hint="Several words make a good one; choose another."
        )


def hash_password(password: str) -> str:
    """What is kept of a password; takes about a tenth of a second.

    Raises:
        UsageError: It is too short or too long.
    """
    require_length(password)
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
