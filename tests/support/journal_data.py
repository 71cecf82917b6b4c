"""Data for the journal's tests: runs, rows and items."""

import os
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bulkid.journal.store import Journal, open_journal
from bulkid.model import (
    Account,
    DesiredState,
    Outcome,
    RowError,
    RowRequest,
    RunItem,
    RunRecord,
    RunStatus,
    SheetRow,
    Status,
    Via,
)
from tests.support.forked_command import ROOT, start_program

TEMPORARY = os.environ.get("PYTEST_DEBUG_TEMPROOT")
"""Where the temporary folders of the tests are; None: where the system has them."""
RUN = "20260131-081500-x7k2"
PENDING = Outcome(Status.PENDING)
UPDATED = Outcome(Status.UPDATED, 200, "", "", 1, Via.ACCOUNT, 1_770_000_000.25)
FAILED = Outcome(Status.FAILED, 400, "1100", "Name is taken.", 3, None, 1_770_000_001.5)


@dataclass(frozen=True)
class Place:
    """Where a state is kept."""

    folder: Path
    url: str = ""  # of a database on a server; empty: a file in the folder

    def open(self) -> Journal:
        return open_journal(self.folder, self.url)

    @property
    def arguments(self) -> tuple[str, str]:
        """Folder and URL, for ``open_journal(pathlib.Path(sys.argv[1]), sys.argv[2])`` in another process."""
        return str(self.folder), self.url


def start_python(script: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start another process that can import this project; its standard streams are pipes."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return start_program(script, tuple(map(str, arguments)), folder=ROOT, env=env, stdin=subprocess.PIPE)


def finish(process: "subprocess.Popen[str]") -> str:
    """Wait for a process that must succeed, and return what it printed."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def record(run_id: str = RUN, **fields: object) -> RunRecord:
    values: dict[str, object] = {
        "created_at": 1_769_847_300.5,
        "status": RunStatus.RUNNING,
        "command": "run",
        "source": "robots.xlsx",
        "base_url": "https://cloud.uipath.com/acme/identity_",
        "organization_id": "3FA85F64-5717-4562-b3fc-2c963f66afa6",
        "host": "host-1",
        "pid": 4242,
    }
    return RunRecord(run_id=run_id, **{**values, **fields})  # type: ignore[arg-type]  # the fields are the test's to get right


def good_row(row: int, *cells: str) -> SheetRow:
    desired = RowRequest(row, f"id-{row}", f"Robot {row}", (None,), ("Finance",), (), None, "")
    return SheetRow(row, cells or (f"id-{row}", f"Robot {row}", "Finance"), desired)


def bad_row(row: int, *faults: RowError) -> SheetRow:
    return SheetRow(
        row, ("", "", "Finance"), None, faults or (RowError(row, "id", "", "no_account", "Which account?"),)
    )


def entry(number: int, *rows: int, outcome: Outcome = PENDING, intended: bool = False) -> RunItem:
    desired = DesiredState(
        f"ID-{number}", f"robot {number}", ("Robbie",), ("g-1",), ("g-2",), None, rows or (number + 2,)
    )
    before = Account(f"ID-{number}", f"robot {number}", ("Roby",), ("g-2", "g-9"))
    return RunItem(number, desired, before, "display name: Roby -> Robbie; + Finance; - Trainees", outcome, intended)


def begin(journal: Journal, count: int, run_id: str = RUN) -> str:
    """A run of ``count`` rows from row 2 on, one account each, entry 0 for row 2."""
    journal.create_run(record(run_id))
    journal.add_rows(run_id, [good_row(row) for row in range(2, count + 2)])
    journal.add_items(run_id, [entry(number) for number in range(count)])
    return run_id


def statuses(journal: Journal, run_id: str = RUN) -> dict[int, Status]:
    """Each row's status, as the report tells it."""
    return {line.row: line.status for line in journal.report_rows(run_id)}


def allow_pages(journal: Journal, count: int) -> None:
    """Let the database grow to so many pages only, as if the disk ended there; 0 for no end."""
    with journal.database.write() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={count or 1_000_000_000}")


def schema_of(path: Path) -> object:
    """Everything about the tables that means something: columns, types, keys, indexes; not how they are spelt."""
    with closing(sqlite3.connect(path)) as db:
        tables = db.execute(
            "SELECT name, sql LIKE '%WITHOUT ROWID%', sql LIKE '%AUTOINCREMENT%' "
            "FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        found = {}
        for name, without_rowid, autoincrement in tables:
            indexes = {
                (unique, origin, tuple(column for _, _, column in db.execute(f"PRAGMA index_info('{index}')")))
                for _, index, unique, origin, _ in db.execute(f"PRAGMA index_list('{name}')")
            }
            columns = db.execute(f"PRAGMA table_info('{name}')").fetchall()
            keys = db.execute(f"PRAGMA foreign_key_list('{name}')").fetchall()
            found[name] = (columns, keys, indexes, without_rowid, autoincrement)
        return found
