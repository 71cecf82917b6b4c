"""Passwords: which are allowed, and how they are stored."""

import threading
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from bulkid.errors import UsageError
from bulkid.journal.names import user_key

MIN_LENGTH: Final = 12  # OWASP ASVS 4.0 2.1.1; shorter ones that are stored keep working
MAX_LENGTH: Final = 200  # characters: what is longer only makes hashing dear
MAX_ESTIMATED: Final = 72  # characters that zxcvbn looks at: its time grows faster than the length
MIN_UNRELATED: Final = 8  # letters and digits besides the user name and "bulkid"

_MIN_SCORE: Final = 3  # of 0 to 4: at least 10^8 guesses
_MIN_WORD: Final = 3  # characters of a part of a user name that counts
_ESTIMATE_LOCK: Final = threading.Lock()  # zxcvbn may keep the words of a call in a table that all calls share

HASHER: Final = PasswordHasher()
"""Hashes with argon2id, at the costs of RFC 9106's second choice (64 MB, 3 passes)."""


def require_good_password(password: str, name: str) -> None:
    """Raise UsageError for a password that is easy to guess (OWASP ASVS 4.0 2.1.1, 2.1.7).

    That is one that is too short or too long, common, or little more than the user name or "bulkid". It may hold any
    characters.
    """
    require_length(password)
    words = related_words(name)
    other = user_key(password[:MAX_ESTIMATED])
    for word in words:
        other = other.replace(word, " ")
    hint = "Several uncommon words make a good password; choose another."
    if other != user_key(password[:MAX_ESTIMATED]) and sum(map(str.isalnum, other)) < MIN_UNRELATED:
        raise UsageError('The password is too close to the user name or to "bulkid".', hint=hint)
    from zxcvbn import zxcvbn

    with _ESTIMATE_LOCK:
        found = zxcvbn(password[:MAX_ESTIMATED], user_inputs=list(words))
    if found["score"] < _MIN_SCORE:
        raise UsageError("The password is common, or easy to guess.", hint=hint)


def related_words(name: str) -> tuple[str, ...]:
    """The user name, its parts and "bulkid", the longest first, as :func:`user_key` writes them."""
    key = user_key(name)
    parts = "".join(letter if letter.isalnum() else " " for letter in key).split()
    words = {key, *parts, "bulkid"}
    return tuple(sorted((word for word in words if len(word) >= _MIN_WORD), key=lambda word: (-len(word), word)))


def require_length(password: str) -> None:
    """Raise UsageError for a password that is too short or too long."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise UsageError(
            f"A password has {MIN_LENGTH} to {MAX_LENGTH} characters.",
            hint="Several words make a good one; choose another.",
        )


def hash_password(password: str, hasher: PasswordHasher = HASHER) -> str:
    """Return the hash that is stored of a password; raise UsageError for one that is too short or too long.

    With the default costs this takes about a tenth of a second. The hash holds the costs: to check a password takes as
    long.
    """
    require_length(password)
    return hasher.hash(password)


def is_right(password_hash: str, password: str) -> bool:
    """Whether a password is the one of a hash; the check takes as long for a wrong one."""
    if len(password) > MAX_LENGTH:
        return False
    try:
        return HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
