"""Names for runs: sortable by time, short enough to type."""

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
