"""The oldest SQLite that bulkid takes: its syntax, and its limit of values in a statement."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, Pool, event

from bulkid.errors import StateError
from bulkid.journal import bulk
from bulkid.journal.backends import sqlite as backend
from bulkid.journal.claimed_files import ClaimedFiles
from bulkid.journal.quota.ledger import JournalLedger
from bulkid.journal.store import open_journal
from bulkid.model import QuotaRule
from tests.support.fake_clock import FakeClock
from tests.support.journal_data import RUN, begin
from tests.support.version_1 import write_v1

# https://www.sqlite.org/changes.html: 3.35 (RETURNING, DROP COLUMN), 3.33 (UPDATE FROM), 3.30 (FILTER, NULLS FIRST).
NEWER = re.compile(r"\bRETURNING\b|\bDROP COLUMN\b|^UPDATE .* FROM \(|\bFILTER \(|\bNULLS (?:FIRST|LAST)\b", re.DOTALL)


@pytest.fixture(autouse=True)
def old_sqlite(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take from SQLite what the oldest one lacks."""
    statements: list[str] = []

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)

    def note(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    monkeypatch.setattr(sqlite3.dbapi2, "sqlite_version_info", backend.MINIMUM_VERSION)  # SQLAlchemy goes by it
    monkeypatch.setattr(bulk, "_HAS_UPDATE_FROM", False)
    backend._for_all_files.cache_clear()
    event.listen(Pool, "connect", limit)
    event.listen(Engine, "before_cursor_execute", note)
    yield
    event.remove(Engine, "before_cursor_execute", note)
    event.remove(Pool, "connect", limit)
    backend._for_all_files.cache_clear()
    assert [statement for statement in statements if NEWER.search(statement)] == []


def test_a_database_of_version_1_is_brought_up_to_date(tmp_path: Path) -> None:
    write_v1(tmp_path)
    open_journal(tmp_path).close()


async def test_slots_are_reserved_and_late_responses_recorded(tmp_path: Path) -> None:
    clock = FakeClock()
    rule = QuotaRule("PUT", 3000, 10.0)
    with open_journal(tmp_path) as journal:
        slept, other = (JournalLedger(journal, "org", owner, clock, hold_s=5.0) for owner in ("slept", "other"))
        slots = (await slept.exchange([rule], 1500, [], [])).slots
        assert len({*slots}) == 1500
        await clock.sleep(20)
        await other.exchange([rule], 0, [], [])  # the slots of the first are forgotten
        lease = await slept.exchange([rule], 0, [(slot, 1.0) for slot in slots], [])
        assert lease.used == 1500


def test_items_and_files_are_found(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        begin(journal, 1500)
        assert len(journal.items(RUN, range(1500))) == 1500
        files = ClaimedFiles(journal, "/in")
        claimed = [files.claim(name * 64, name, f"working/{name}", RUN, 1.0) for name in "ab"]
        assert [(file.file, file.name) for file in files.open()] == [(file.file, file.name) for file in claimed]


def test_an_older_one_is_refused_with_the_version_that_bulkid_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.7.17")
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 7, 17))
    with pytest.raises(StateError, match=r"This Python has SQLite 3\.7\.17; bulkid needs SQLite 3\.26 or later\."):
        open_journal(tmp_path / "state")
    assert not (tmp_path / "state").exists()
