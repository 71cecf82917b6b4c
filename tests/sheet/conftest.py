"""No property test of this room is timed: the machine may be busy, and pandas is imported by whichever comes first."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
