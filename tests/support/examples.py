"""How many examples a property is tried with: few by default, many with ``--hypothesis-profile soak``."""

from hypothesis import settings

SOAK = "soak"
"""The profile that has laws tried with more examples than every run of the tests has time for."""


def examples(usual: int, *, soak: int) -> int:
    """The number of examples for the profile that is loaded; for ``max_examples`` of a law that is expensive to try."""
    return soak if settings.default is settings.get_profile(SOAK) else usual
