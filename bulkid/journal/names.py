"""Run ids, names of files as a database takes them, and user names: which are allowed, and the key of each."""

import re
import unicodedata
from datetime import UTC, datetime
from hashlib import sha256
from random import Random, SystemRandom
from typing import Final

from bulkid.errors import UsageError

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # none that is mistaken for another: no 0 o 1 l i


def new_run_id(now: float, random: Random | None = None) -> str:
    """Return a new run id such as ``20260131-081500-x7k2``: the time in UTC, so that ids sort by it, and chance.

    ``now`` is in seconds since the epoch.
    """
    source = SystemRandom() if random is None else random
    moment = datetime.fromtimestamp(int(now), UTC).strftime("%Y%m%d-%H%M%S")
    return f"{moment}-{''.join(source.choices(_ALPHABET, k=4))}"


_RUN_ID: Final = re.compile(rf"\d{{8}}-\d{{6}}-[{_ALPHABET}]{{4}}", re.ASCII)


def is_run_id(text: str) -> bool:
    """Whether a text has the form of a run id."""
    return _RUN_ID.fullmatch(text) is not None


_ESCAPED = re.compile("//([0-9a-f]{4})")


def stored_name(name: str) -> str:
    """A file's name as a text that any database takes, and back by :func:`read_name`.

    A name is bytes (POSIX) or 16-bit numbers (Windows) that need not be text; Python writes those as halves of
    surrogate pairs, which no encoding holds. They are stored as ``//`` and four digits: no name has two slashes.
    """
    return "".join(f"//{ord(letter):04x}" if "\ud800" <= letter <= "\udfff" else letter for letter in name)


def read_name(stored: str) -> str:
    """The name that :func:`stored_name` was given."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), stored)


LONGEST_NAME: Final = 128  # characters of a user name, and of its key

EPOCH_BITS: Final = 62
"""Random bits that a user's epoch begins with, so that no session of a removed user fits a new user of that name."""


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
