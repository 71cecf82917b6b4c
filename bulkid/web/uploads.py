"""Sheets that were uploaded: each in a folder of its own, with what was said about how to read it beside it."""

import re
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from threading import RLock
from typing import Any, BinaryIO, Final

import orjson

from bulkid.clock import iso_utc
from bulkid.errors import SheetError, UsageError
from bulkid.journal.names import user_key
from bulkid.runs import RunOptions
from bulkid.sheet import EXTENSIONS, SheetOptions
from bulkid.web.auth.approval import Authors, with_authors

MAX_BYTES: Final = 64 << 20
"""The largest sheet that is taken. 100,000 rows are 5 to 15 MB."""

KEPT_S: Final = 14 * 86_400
"""How long an upload is kept: a run that was killed before all its rows were journaled reads its sheet again."""

ORPHAN_S: Final = 86_400
"""How long a folder is left alone in which no upload was written down: another console may be taking one in."""

_ID: Final = re.compile(r"[a-z0-9]{16}")
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_NAME_LENGTH: Final = 120


@dataclass(frozen=True, slots=True)
class ReadOptions:
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
            system_encoding=given.sheet.system_encoding,
        )
        return replace(given, sheet=sheet, skip_invalid=self.skip_invalid, first=None)


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded sheet, or a plan that is derived from a run and previewed and started as a sheet is.

    Args:
        upload_id: Its id, which is also its folder's name.
        path: The file.
        name: What its owner calls it.
        at: When it came, in seconds since the epoch.
        owner: The user whose share of the space it takes.
        by: The authors of its plan (see ``approval.py``).
        reading: How to read it.
        retry_of: The run whose open rows it holds; empty for a sheet that came from outside.
        undo_of: The run that is to be undone: then there is no file, its journal says what to do.
        rest_of: The run whose pending rows are to be sent: then there is no file either.
        used: Whether a run was begun with it whose plan is in the journal, so that the file is not needed any more.
    """

    upload_id: str
    path: Path
    name: str
    at: float
    owner: str
    by: Authors
    reading: ReadOptions = field(default_factory=ReadOptions)
    retry_of: str = ""
    undo_of: str = ""
    rest_of: str = ""
    used: bool = False

    @property
    def derived_from(self) -> str:
        """The run whose journal takes the place of a file; empty for a sheet."""
        return self.undo_of or self.rest_of


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """How much is kept, and for how long.

    Args:
        total_bytes: Bytes of all uploads together.
        total_count: How many uploads there are at most.
        user_bytes: Bytes of the uploads of one user.
        user_count: How many uploads one user has at most.
        kept_s: Seconds that an upload is kept.
        used_kept_s: Seconds that an upload is kept once a run was begun with it.
    """

    total_bytes: int = 4 << 30
    total_count: int = 2000
    user_bytes: int = 1 << 30
    user_count: int = 500
    kept_s: float = KEPT_S
    used_kept_s: float = 2 * 86_400


class TooLargeError(SheetError):
    """A file is larger than any that is taken."""


class StorageFullError(UsageError):
    """There is no room for another upload at present."""


@dataclass(slots=True)
class _Kept:
    """What the limits need to know of one upload."""

    owner: str
    at: float
    size: int = 0
    used: bool = False
    whole: bool = False  # written down: not in the middle of being taken in


class Uploads:
    """The folder of uploaded sheets. Everything here is for worker threads: it reads and writes files.

    Args:
        folder: Where they lie; made when the first one comes.
        limits: How much is kept.
    """

    def __init__(self, folder: Path, limits: UploadLimits | None = None) -> None:
        self._folder = folder
        self.limits = limits or UploadLimits()
        self._lock = RLock()
        self._kept: dict[str, _Kept] = {}
        for each in self._found():
            self._kept[each.upload_id] = _Kept(each.owner, each.at, _size(each.path), each.used, whole=True)

    def reserve(
        self, name: str, at: float, owner: str, *, authors: Authors | None = None, retry_of: str = ""
    ) -> Upload:
        """Make room for a sheet; the file itself is written to its ``path`` by :meth:`write`.

        Args:
            name: What its owner calls it.
            at: Seconds since the epoch.
            owner: The user whose share of the space it takes.
            authors: The authors of its plan; None for the owner alone.
            retry_of: The run whose open rows it holds.

        Raises:
            SheetError: The name does not say what kind of sheet it is.
            StorageFullError: There are too many uploads; the message names the limit.
        """
        name = safe_name(name)
        suffix = Path(name).suffix.lower()
        if suffix not in EXTENSIONS:
            raise SheetError(
                f"{name} is no sheet that bulkid reads.", hint=f"A sheet ends in one of {', '.join(EXTENSIONS)}."
            )
        upload_id = "".join(secrets.choice(_ALPHABET) for _ in range(16))
        with self._lock:
            self._make_room(owner, count=1)
            self._kept[upload_id] = _Kept(owner, at)
        folder = self._folder / upload_id
        try:
            folder.mkdir(mode=0o700, parents=True)
        except OSError:
            self._forget(upload_id)
            raise
        # The name that came is for people only; on the disk the sheet has one that it cannot have chosen.
        by = (owner,) if authors is None else authors
        return Upload(upload_id, folder / f"sheet{suffix}", name, at, owner, by, retry_of=retry_of)

    def reserve_undo(self, run_id: str, at: float, owner: str, authors: Authors) -> Upload:
        """Make room for the undo of a run, which is previewed and started as a sheet is."""
        made = self.reserve(f"undo of {run_id}.csv", at, owner, authors=authors)
        return replace(made, name=f"undo of {run_id}", undo_of=run_id, reading=ReadOptions(skip_invalid=True))

    def reserve_rest(self, run_id: str, at: float, owner: str, authors: Authors) -> Upload:
        """Make room for what is pending of a run, which is previewed and started as a sheet is."""
        made = self.reserve(f"rest of {run_id}.csv", at, owner, authors=authors)
        return replace(made, name=f"rest of {run_id}", rest_of=run_id, reading=ReadOptions(skip_invalid=True))

    def derived(self, run_id: str, *, undo: bool) -> Upload | None:
        """The newest undo, or rest, of a run that is previewed here and was not started yet."""
        found = [each for each in self._found() if (each.undo_of if undo else each.rest_of) == run_id and not each.used]
        return max(found, key=lambda each: each.at, default=None)

    def write(self, upload: Upload, file: BinaryIO, chunk: bytes, written: int) -> int:
        """Append to a sheet that is coming in; give the bytes it has so far.

        Raises:
            TooLargeError: The sheet has become too large.
            StorageFullError: All uploads together, or those of its owner, would take too much.
        """
        if written + len(chunk) > MAX_BYTES:
            raise too_large()
        with self._lock:
            self._make_room(upload.owner, size=len(chunk))
            self._kept[upload.upload_id].size += len(chunk)
        try:
            file.write(chunk)
        except OSError as error:
            raise StorageFullError(
                f"The console cannot keep the sheet: {error.strerror or error}.",
                hint="Tell the admin of the console, who can make room on its disk.",
            ) from None
        return written + len(chunk)

    def keep(self, upload: Upload) -> Upload:
        """Write down what is known of an upload, in place of what was known before. Authors are never lost by that.

        Raises:
            UsageError: It was removed meanwhile.
        """
        with self._lock:
            before = self._load(upload.upload_id)
            if before is not None:
                upload = replace(upload, by=with_authors(before.by, *upload.by), used=before.used or upload.used)
            known = {
                "file": upload.path.name,
                "name": upload.name,
                "at": upload.at,
                "owner": upload.owner,
                "by": list(upload.by),
                "reading": {**asdict(upload.reading), "column_map": dict(upload.reading.column_map)},
                "retry_of": upload.retry_of,
                "undo_of": upload.undo_of,
                "rest_of": upload.rest_of,
                "used": upload.used,
            }
            target = upload.path.parent / "upload.json"
            unfinished = target.with_suffix(".tmp")
            try:
                unfinished.write_bytes(orjson.dumps(known))
                unfinished.replace(target)
            except FileNotFoundError:
                raise _unknown() from None
            size = _size(upload.path)
            self._kept[upload.upload_id] = _Kept(upload.owner, upload.at, size, upload.used, whole=True)
        return upload

    def mark_used(self, upload: Upload) -> None:
        """Note that a run was begun with an upload and does not need its file any more."""
        with suppress(OSError, UsageError):  # it was removed meanwhile: then nothing needs to be known of it
            self.keep(replace(upload, used=True))

    def get(self, upload_id: str) -> Upload:
        """Find an upload by its id.

        Raises:
            UsageError: There is none.
        """
        found = self._load(upload_id) if _ID.fullmatch(upload_id) else None
        if found is None:
            raise _unknown()
        return found

    def _load(self, upload_id: str) -> Upload | None:
        folder = self._folder / upload_id
        try:
            known: dict[str, Any] = orjson.loads((folder / "upload.json").read_bytes())
            said = {**known["reading"], "ignore_columns": tuple(known["reading"]["ignore_columns"])}
            return Upload(
                upload_id,
                folder / known["file"],
                known["name"],
                known["at"],
                known.get("owner") or known["by"][0],
                tuple(known["by"]),
                ReadOptions(**said),
                known["retry_of"],
                known["undo_of"],
                known.get("rest_of", ""),
                known.get("used", False),
            )
        except (OSError, orjson.JSONDecodeError, LookupError, TypeError):
            return None

    def _found(self) -> list[Upload]:
        if not self._folder.is_dir():
            return []
        loaded = (self._load(folder.name) for folder in self._folder.iterdir() if _ID.fullmatch(folder.name))
        return [each for each in loaded if each is not None]

    # --- room

    def drop(self, upload: Upload) -> None:
        """Remove an upload and its file."""
        self._remove(upload.upload_id)

    def drop_old(self, now: float) -> int:
        """Remove what has been kept long enough, and folders that no upload came to; give how many were removed."""
        with self._lock:
            for each in self._found():  # also those of another console on this state directory
                kept = _Kept(each.owner, each.at, _size(each.path), each.used, whole=True)
                self._kept.setdefault(each.upload_id, kept)
            old = [key for key, kept in self._kept.items() if kept.whole and kept.at < now - self._kept_s(kept)]
            for key in [key for key, kept in self._kept.items() if kept.whole and not (self._folder / key).is_dir()]:
                self._forget(key)
            old += [folder.name for folder in self._orphans(now)]
            for key in old:
                self._remove(key)
        return len(old)

    def _kept_s(self, kept: _Kept) -> float:
        return self.limits.used_kept_s if kept.used else self.limits.kept_s

    def _orphans(self, now: float) -> list[Path]:
        if not self._folder.is_dir():
            return []
        unknown = [folder for folder in self._folder.iterdir() if folder.is_dir() and folder.name not in self._kept]
        return [folder for folder in unknown if folder.stat().st_mtime < now - ORPHAN_S]

    def _make_room(self, owner: str, *, count: int = 0, size: int = 0) -> None:
        """Remove used uploads, the oldest first, until there is room for so many more.

        Raises:
            StorageFullError: There is none.
        """
        limits = self.limits
        mine = user_key(owner)
        own = {key: kept for key, kept in self._kept.items() if user_key(kept.owner) == mine}
        for group, most, most_bytes, whose in (
            (own, limits.user_count, limits.user_bytes, "Your uploads"),
            (self._kept, limits.total_count, limits.total_bytes, "The uploads of all users"),
        ):
            spare = sorted((key for key, kept in group.items() if kept.used), key=lambda key: group[key].at)
            while len(group) + count > most or sum(kept.size for kept in group.values()) + size > most_bytes:
                if not spare:
                    raise self._full(group, most, most_bytes, whose, count)
                self._remove(spare[0])
                group.pop(spare.pop(0), None)

    def _full(self, group: Mapping[str, _Kept], most: int, most_bytes: int, whose: str, count: int) -> StorageFullError:
        limit = f"{most:,} sheets" if count and len(group) + count > most else f"{most_bytes >> 20:,} MB"
        first = min((kept.at for kept in group.values() if kept.whole), default=None)
        when = "" if first is None else f" The oldest one is removed after {iso_utc(first + self.limits.kept_s)}."
        return StorageFullError(
            f"{whose} may take {limit} at most: the sheet was not kept.{when}",
            hint="Start the sheets that wait here, which makes room, or run this one in a terminal: bulkid run SHEET.",
        )

    def _remove(self, upload_id: str) -> None:
        shutil.rmtree(self._folder / upload_id, ignore_errors=True)
        self._forget(upload_id)

    def _forget(self, upload_id: str) -> None:
        with self._lock:
            self._kept.pop(upload_id, None)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # an undo and a rest have no file
        return 0


def too_large() -> TooLargeError:
    """The refusal of a sheet that is too large."""
    return TooLargeError(
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
