"""User names: which ones are allowed, and the one key under which a name is stored and compared."""

import unicodedata
from hashlib import sha256
from typing import Final

from bulkid.errors import UsageError

LONGEST_NAME: Final = 128
"""Characters of a user name, and of its key."""


def user_key(name: str) -> str:
    """The key of a user name: two names with one key belong to one user.

    Unicode's ``NFKC_Casefold`` without the leading, trailing and repeated blanks: compatibility forms (full-width
    letters, ligatures) and case do not tell two users apart, as in the profile UsernameCaseMapped of RFC 8265. A key
    that would be longer than ``LONGEST_NAME`` is replaced by its SHA-256.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", name).casefold()).casefold()
    key = " ".join(unicodedata.normalize("NFKC", folded).split())
    return key if len(key) <= LONGEST_NAME else sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def require_user_name(name: str) -> str:
    """Check the name of a new user, and return it as it is shown (NFC, single blanks).

    Raises:
        UsageError: It is empty or too long, or holds control, format or unassigned characters.
    """
    shown = unicodedata.normalize("NFC", name).strip(" ")
    if not 1 <= len(shown) <= LONGEST_NAME or not shown.isprintable() or not user_key(shown):
        raise UsageError(
            f"A user's name has 1 to {LONGEST_NAME} printable characters.",
            hint="Control characters and invisible characters are not allowed in it.",
        )
    return " ".join(shown.split())
