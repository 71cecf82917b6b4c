"""Files of a drop folder that runs claim, by content: the claim comes first, so that no crash takes a file twice."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, insert, select, update

from bulkid.journal.database import repeated
from bulkid.journal.names import read_name, stored_name
from bulkid.journal.schema import taken_files
from bulkid.journal.store import Journal


class FileState(StrEnum):
    """How far a file has come."""

    CLAIMED = "claimed"  # it is this run's: begun, pending, or about to be begun
    CLOSING = "closing"  # the run is done with it, and it is being moved to its target
    ARCHIVED = "archived"
    FAILED = "failed"
    GONE = "gone"  # a person or a program removed it while it was claimed


@dataclass(frozen=True, slots=True)
class ClaimedFile:
    """A file that was taken out of a drop folder."""

    file: int
    folder: str
    sha256: str
    name: str
    working: str
    run_id: str
    state: FileState
    target: str = ""
    base_url: str = ""  # where its run went, if that run was pruned; empty: the run says so, or it is not known
    organization_id: str = ""


_COLUMNS = [taken_files.c[name] for name in ClaimedFile.__dataclass_fields__]
OPEN = (FileState.CLAIMED.value, FileState.CLOSING.value)


class ClaimedFiles:
    """The files of one drop folder. Every method is one transaction, durable when it returns.

    ``folder`` is the drop folder's absolute path, always written the same way.
    """

    def __init__(self, journal: Journal, folder: str) -> None:
        self.database = journal.database
        self._folder = folder

    def open(self) -> list[ClaimedFile]:
        """Files that were claimed and are not closed, oldest first."""
        return [_file(row) for row in self.database.fetch(self._select(taken_files.c.state.in_(OPEN)))]

    def claimed_before(self, sha256: str) -> list[ClaimedFile]:
        """The files with the same content that were taken, or are being taken; one that failed may be tried again."""
        taken = taken_files.c.state.not_in([FileState.FAILED.value, FileState.GONE.value])
        return [_file(row) for row in self.database.fetch(self._select(taken_files.c.sha256 == sha256, taken))]

    def _select(self, *where: ColumnElement[bool]) -> Select[Any]:
        here = taken_files.c.folder == self._folder
        return select(*_COLUMNS).where(here, *where).order_by(taken_files.c.file)

    @repeated
    def claim(self, sha256: str, name: str, working: str, run_id: str, now: float) -> ClaimedFile:
        """Claim a file for a run, before it is touched."""
        values = {"sha256": sha256, "name": stored_name(name), "working": working, "run_id": run_id}
        row = {**values, "folder": self._folder, "state": FileState.CLAIMED.value, "target": "", "taken_at": now}
        with self.database.write() as connection:
            key: Any = connection.execute(insert(taken_files).values(row)).inserted_primary_key
        return ClaimedFile(key.file, self._folder, sha256, name, working, run_id, FileState.CLAIMED)

    def renew(self, file: ClaimedFile, run_id: str) -> ClaimedFile:
        """Claim a file for another run, which is to be begun."""
        self._change(file, run_id=run_id)
        return replace(file, run_id=run_id)

    def begin_closing(self, file: ClaimedFile, target: str) -> None:
        """Say where a file goes, before it is moved there."""
        self._change(file, state=FileState.CLOSING.value, target=target)

    def close(self, file: ClaimedFile, state: FileState, now: float) -> None:
        """Say that a file has been moved to where it stays."""
        self._change(file, state=state.value, closed_at=now)

    def forget(self, file: ClaimedFile) -> None:
        """Take back a claim for which nothing was begun."""
        self.database.execute(delete(taken_files).where(taken_files.c.file == file.file))

    def _change(self, file: ClaimedFile, /, **values: object) -> None:
        self.database.execute(update(taken_files).where(taken_files.c.file == file.file).values(**values))


def _file(row: object) -> ClaimedFile:
    values = {name: getattr(row, name) for name in ClaimedFile.__dataclass_fields__}
    return ClaimedFile(**{**values, "name": read_name(values["name"]), "state": FileState(values["state"])})
