"""The ids of the newest runs, for completion: read quickly, without the journal's machinery, and without a write."""

import sqlite3
from contextlib import closing
from pathlib import Path

FILE_NAME = "bulkid.db"

_WAIT_S = 0.2  # for another process that writes; a user waits for the completion


def newest_run_ids(state_dir: Path, limit: int) -> list[str]:
    """Return the ids of the newest runs of a state directory, newest first; none where there is no database.

    Nothing is created: SQLite opens a database that no process uses as unchangeable, so that it needs no files of its
    own beside it.

    Raises:
        sqlite3.Error: The database cannot be read.
    """
    path = state_dir.absolute() / FILE_NAME
    if not path.is_file():
        return []
    is_in_use = path.with_name(f"{FILE_NAME}-wal").exists()
    address = f"{path.as_uri()}?{'mode=ro' if is_in_use else 'mode=ro&immutable=1'}"
    query = "SELECT run_id FROM runs WHERE phase <> 'asking' ORDER BY run DESC LIMIT ?"
    with closing(sqlite3.connect(address, uri=True, timeout=_WAIT_S)) as connection:
        return [str(run_id) for (run_id,) in connection.execute(query, (limit,))]
