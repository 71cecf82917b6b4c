from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bulkid_command import Bulkid
from tests.support.sandbox_host import Hosted


@pytest.fixture
def connected(tmp_path: Path) -> Callable[..., Bulkid]:
    """Makes a command that is connected to a server, as an admin would set it up by environment."""

    def make(server: Hosted, **env: str) -> Bulkid:
        settings = {
            "BULKID_URL": server.url,
            "BULKID_CLIENT_ID": "sandbox",
            "BULKID_CLIENT_SECRET": "sandbox-secret",
            "BULKID_MAX_CHANGE": "100%",  # the organisations are small, and most tests change all of one
        }
        return Bulkid(tmp_path, settings | env)

    return make
