"""Programs of the system that some tests need."""

import os
import shutil
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skip the test for want of something, or fail it where everything must be there (``BULKID_REQUIRE_ALL=1``)."""
    if os.environ.get("BULKID_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str, package: str = "") -> str:
    """Return the path of a program; without it the test is skipped, or fails: see :func:`missing`.

    Args:
        name: The program.
        package: Debian's package with it, where that has another name.
    """
    found = shutil.which(name)
    return found or missing(f"{name} is missing (Debian: apt-get install {package or name})")
