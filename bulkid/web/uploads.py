"""Sheets that were uploaded: each in a folder of its own, with what was said about how to read it beside it."""

import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO, Final

import orjson

from bulkid.errors import SheetError, UsageError
from bulkid.runs import RunOptions
from bulkid.sheet import EXTENSIONS, SheetOptions

MAX_BYTES: Final = 64 << 20
"""The largest sheet that is taken. 100,000 rows are 5 to 15 MB."""

KEPT_S: Final = 14 * 86_400
"""How long an upload is kept: a run that was killed before all its rows were journaled reads its sheet again."""

_ID: Final = re.compile(r"[a-z0-9]{16}")
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_NAME_LENGTH: Final = 120


@dataclass(frozen=True, slots=True)
class Reading:
    """How a person wants a sheet to be read; empty values leave it to bulkid."""

    sheet: str = ""
    encoding: str = ""
    delimiter: str = ""
    column_map: Mapping[str, str] = field(default_factory=dict)
    ignore_columns: tuple[str, ...] = ()
    skip_invalid: bool = False

    def options(self, given: RunOptions) -> RunOptions:
        """The console's own options with this reading in place of the one that they have."""
        sheet = SheetOptions(
            sheet=self.sheet or None,
            column_map=dict(self.column_map),
            ignore_columns=self.ignore_columns,
            encoding=self.encoding or None,
            delimiter=self.delimiter or None,
        )
        return replace(given, sheet=sheet, skip_invalid=self.skip_invalid, first=None)


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded sheet.

    Args:
        upload_id: Its id, which is also its folder's name.
        path: The file.
        name: What its owner calls it.
        at: When it came, in seconds since the epoch.
        by: Whoever uploaded it or said how to read it: with ``require_approval`` none of them may start it.
        reading: How to read it.
        retry_of: The run whose open rows it holds; empty for a sheet that came from outside.
        undo_of: The run that is to be undone: then there is no file, its journal says what to do.
    """

    upload_id: str
    path: Path
    name: str
    at: float
    by: tuple[str, ...]
    reading: Reading = field(default_factory=Reading)
    retry_of: str = ""
    undo_of: str = ""


class Uploads:
    """The folder of uploaded sheets. Everything here is for worker threads: it reads and writes files.

    Args:
        folder: Where they lie; made when the first one comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def reserve(self, name: str, at: float, by: str, *, retry_of: str = "") -> Upload:
        """Make room for a sheet; the file itself is written to its ``path`` by the caller.

        Raises:
            SheetError: The name does not say what kind of sheet it is.
        """
        name = safe_name(name)
        suffix = Path(name).suffix.lower()
        if suffix not in EXTENSIONS:
            raise SheetError(
                f"{name} is no sheet that bulkid reads.", hint=f"A sheet ends in one of {', '.join(EXTENSIONS)}."
            )
        upload_id = "".join(secrets.choice(_ALPHABET) for _ in range(16))
        folder = self._folder / upload_id
        folder.mkdir(mode=0o700, parents=True)
        # The name that came is for people only; on the disk the sheet has one that it cannot have chosen.
        return Upload(upload_id, folder / f"sheet{suffix}", name, at, (by,), retry_of=retry_of)

    def reserve_undo(self, run_id: str, at: float, by: str) -> Upload:
        """Make room for the undo of a run, which is previewed and started as a sheet is."""
        made = self.reserve(f"undo of {run_id}.csv", at, by)
        return replace(made, name=f"undo of {run_id}", undo_of=run_id, reading=Reading(skip_invalid=True))

    def keep(self, upload: Upload) -> Upload:
        """Write down what is known of an upload, in place of what was known before."""
        known = {
            "file": upload.path.name,
            "name": upload.name,
            "at": upload.at,
            "by": list(upload.by),
            "reading": {**asdict(upload.reading), "column_map": dict(upload.reading.column_map)},
            "retry_of": upload.retry_of,
            "undo_of": upload.undo_of,
        }
        target = upload.path.parent / "upload.json"
        unfinished = target.with_suffix(".tmp")
        unfinished.write_bytes(orjson.dumps(known))
        unfinished.replace(target)
        return upload

    def get(self, upload_id: str) -> Upload:
        """Find an upload by its id.

        Raises:
            UsageError: There is none.
        """
        if not _ID.fullmatch(upload_id):
            raise _unknown()
        folder = self._folder / upload_id
        try:
            known: dict[str, Any] = orjson.loads((folder / "upload.json").read_bytes())
        except (OSError, orjson.JSONDecodeError):
            raise _unknown() from None
        said = {**known["reading"], "ignore_columns": tuple(known["reading"]["ignore_columns"])}
        return Upload(
            upload_id,
            folder / known["file"],
            known["name"],
            known["at"],
            tuple(known["by"]),
            Reading(**said),
            known["retry_of"],
            known["undo_of"],
        )

    def drop(self, upload: Upload) -> None:
        """Remove an upload and its file."""
        shutil.rmtree(upload.path.parent, ignore_errors=True)

    def drop_old(self, before: float) -> None:
        """Remove what came before a moment (seconds since the epoch)."""
        if not self._folder.is_dir():
            return
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)


def write_chunk(file: BinaryIO, chunk: bytes, written: int) -> int:
    """Append to a sheet that is coming in; give the bytes it has so far.

    Raises:
        SheetError: It has become too large.
    """
    if written + len(chunk) > MAX_BYTES:
        raise too_large()
    file.write(chunk)
    return written + len(chunk)


def too_large() -> SheetError:
    """The refusal of a sheet that is too large."""
    return SheetError(
        f"The file is larger than {MAX_BYTES >> 20} MB, and was not kept.",
        hint="Save the rows that you need as CSV or in a new workbook, or run it in a terminal: bulkid run SHEET.",
    )


def safe_name(name: str) -> str:
    """A file's own name, without the folders that a browser or a stranger put before it, and on one line."""
    last = PurePosixPath(PureWindowsPath(name).name).name
    shown = "".join(letter if letter.isprintable() else "_" for letter in last).strip()
    if len(shown) > _NAME_LENGTH:
        shown = shown[: _NAME_LENGTH - 20] + "…" + shown[-19:]
    return shown or "sheet"


def _unknown() -> UsageError:
    return UsageError("There is no such sheet any more.", hint="Upload it again.")
