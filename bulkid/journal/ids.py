"""Names for runs: sortable by time, short enough to type; and names of files as a database takes them."""

import re
from datetime import UTC, datetime
from random import Random, SystemRandom

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # none that is mistaken for another: no 0 o 1 l i


def new_run_id(now: float, random: Random | None = None) -> str:
    """Return a new run id such as ``20260131-081500-x7k2``.

    Args:
        now: Seconds since the epoch; the id shows it in UTC, so that ids sort by time.
        random: Where the last four characters come from, which keep apart runs of one second.
    """
    source = SystemRandom() if random is None else random
    moment = datetime.fromtimestamp(int(now), UTC).strftime("%Y%m%d-%H%M%S")
    return f"{moment}-{''.join(source.choices(_ALPHABET, k=4))}"


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
