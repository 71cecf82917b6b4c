"""States that older versions wrote, restored from the dumps in ``tests/journal/fixtures``."""

import sqlite3
from contextlib import closing
from pathlib import Path

FIXTURES = Path(__file__).resolve().parents[1] / "journal" / "fixtures"
OLD_URL = "http://127.0.0.1:8799/identity"


def restore(version: int, folder: Path, url: str = OLD_URL) -> None:
    """Write a database of a version, as if its runs had been begun in this folder and against this server."""
    state = folder / "state"
    state.mkdir(parents=True)
    dump = (FIXTURES / f"state_v{version}.sql").read_text(encoding="utf-8")
    dump = dump.replace(OLD_URL, url).replace("/srv/bulkid", folder.as_posix())
    dump = dump.replace('["PUT",6,4.0]', '["PUT",6,0.5]')  # the same quota in a shorter window
    with closing(sqlite3.connect(state / "bulkid.db")) as database:
        database.executescript(dump)
