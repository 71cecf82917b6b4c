"""The same tests over both databases: a fixture that opens a journal is there once per database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkid.journal.store import Journal
from tests.support.journal_data import Place
from tests.support.postgres_server import shared_server

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty state: a state directory, and a database on a server where that is what is tested."""
    if request.param == "sqlite":
        yield Place(tmp_path / "state")
        return
    with shared_server().database() as url:
        yield Place(tmp_path / "state", url)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Place]:
    """An empty state in PostgreSQL."""
    with shared_server().database() as url:
        yield Place(tmp_path / "state", url)


@pytest.fixture
def new_postgres(tmp_path: Path) -> Iterator[Place]:
    """A database in PostgreSQL in which bulkid's tables are still to be made."""
    with shared_server().new_database() as url:
        yield Place(tmp_path / "state", url)


@pytest.fixture
def file_journal(tmp_path: Path) -> Iterator[Journal]:
    """A journal in a file of its own."""
    with Place(tmp_path / "state").open() as opened:
        yield opened


@pytest.fixture
def journal(place: Place) -> Iterator[Journal]:
    with place.open() as opened:
        yield opened
