from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkid.journal import Journal, open_journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with open_journal(tmp_path / "state") as opened:
        yield opened
