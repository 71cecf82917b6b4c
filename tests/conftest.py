"""Property tests draw new examples each time on a developer's machine, and the same ones each time in CI."""

import gc
import os

from hypothesis import settings

from tests.support.sandbox_host import end_serving

settings.register_profile("fresh", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "fresh")


def pytest_collection_finish() -> None:
    """Search for garbage less often, and not among what was imported: a worker holds half a gigabyte by the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def pytest_unconfigure() -> None:
    """End the thread that has served the sandboxes of the tests."""
    end_serving()
