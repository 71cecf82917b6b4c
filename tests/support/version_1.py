"""A state database as the first version made it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The schema as version 1 made it. Never to be changed: newer versions are tested to come from here.
V1 = """
CREATE TABLE schema_version (version INTEGER NOT NULL, applied_at DOUBLE NOT NULL, PRIMARY KEY (version));
CREATE TABLE runs (run INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, run_id VARCHAR(64) NOT NULL,
    created_at DOUBLE NOT NULL, status VARCHAR(32) NOT NULL, command TEXT NOT NULL, source TEXT NOT NULL,
    base_url TEXT NOT NULL, organization_id TEXT NOT NULL, host TEXT NOT NULL, pid BIGINT NOT NULL, user TEXT NOT NULL,
    phase VARCHAR(32) NOT NULL, finished_at DOUBLE, message TEXT NOT NULL, report_dir TEXT NOT NULL,
    sheet TEXT NOT NULL, options TEXT NOT NULL, counters TEXT NOT NULL, UNIQUE (run_id));
CREATE TABLE rows (run INTEGER NOT NULL, row INTEGER NOT NULL, cells TEXT NOT NULL, account_id TEXT NOT NULL,
    name TEXT NOT NULL, faults TEXT, plan_faults TEXT, entry INTEGER, PRIMARY KEY (run, row),
    FOREIGN KEY(run) REFERENCES runs (run) ON DELETE CASCADE) WITHOUT ROWID;
CREATE TABLE entries (run INTEGER NOT NULL, entry INTEGER NOT NULL, account_id TEXT NOT NULL, name TEXT NOT NULL,
    wish TEXT NOT NULL, before TEXT, changes TEXT NOT NULL, intended_at DOUBLE, status VARCHAR(16) NOT NULL,
    http_status INTEGER, error_code TEXT NOT NULL, error TEXT NOT NULL, attempts INTEGER NOT NULL, via VARCHAR(16),
    finished_at DOUBLE, PRIMARY KEY (run, entry),
    FOREIGN KEY(run) REFERENCES runs (run) ON DELETE CASCADE) WITHOUT ROWID;
CREATE TABLE slots (slot INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, organization_id TEXT NOT NULL,
    method VARCHAR(16) NOT NULL, seconds DOUBLE NOT NULL, owner VARCHAR(64) NOT NULL, reserved_at DOUBLE NOT NULL,
    held_until DOUBLE, opens_at DOUBLE);
CREATE INDEX slots_by_opening ON slots (organization_id, method, seconds, opens_at);
INSERT INTO schema_version VALUES (1, 1769847300.0);
"""


@contextmanager
def closing_database(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        with db:
            yield db
    finally:
        db.close()


def write_v1(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "bulkid.db"
    with closing_database(sqlite3.connect(path)) as db:
        db.executescript(V1)
    return path
