"""Property tests draw new examples each time on a developer's machine, and the same ones each time in CI."""

import os

from hypothesis import settings

settings.register_profile("fresh", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "fresh")
