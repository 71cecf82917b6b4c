"""Uploaded sheets: each in a folder of its own, beside a file that says whose it is and how to read it."""

import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from threading import RLock
from typing import Any, BinaryIO, Final, Literal

import orjson

from bulkid.clock import iso_utc
from bulkid.errors import SheetError, UsageError
from bulkid.journal.names import user_key
from bulkid.report.atomic import PRIVATE_FOLDER, create_private, make_private
from bulkid.runs import RunOptions
from bulkid.sheet import EXTENSIONS, SheetOptions
from bulkid.web.auth.access import Authors, with_authors

MAX_BYTES: Final = 64 << 20  # the largest sheet that is taken. 100,000 rows are 5 to 15 MB
KEPT_S: Final = 14 * 86_400
"""How long an upload is kept: a run that was killed before all its rows were journaled reads its sheet again."""

ORPHAN_S: Final = 86_400
"""How long a folder without a record of its upload is kept: another console may be receiving one."""

_ID: Final = re.compile(r"[a-z0-9]{16}")
_NAME_LENGTH: Final = 120


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a user wants a sheet to be read; bulkid detects what is empty."""

    sheet: str = ""
    encoding: str = ""
    delimiter: str = ""
    column_map: Mapping[str, str] = field(default_factory=dict)
    ignore_columns: tuple[str, ...] = ()
    skip_invalid: bool = False

    def options(self, given: RunOptions) -> RunOptions:
        """The console's own options, with this reading in place of theirs."""
        sheet = replace(self.sheet_options(), system_encoding=given.sheet.system_encoding)
        return replace(given, sheet=sheet, skip_invalid=self.skip_invalid, first=None)

    def sheet_options(self) -> SheetOptions:
        """The part of this reading that is about the file."""
        return SheetOptions(
            sheet=self.sheet or None,
            column_map=dict(self.column_map),
            ignore_columns=self.ignore_columns,
            encoding=self.encoding or None,
            delimiter=self.delimiter or None,
        )


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded sheet, or a plan that is derived from a run and previewed and started as a sheet is."""

    upload_id: str  # also the name of its folder
    path: Path
    name: str  # as the user knows it
    at: float  # when it came, in seconds since the epoch
    owner: str  # the user whose share of the space it takes
    by: Authors  # the authors of its plan (see auth/access.py)
    reading: ReadOptions = field(default_factory=ReadOptions)
    retry_of: str = ""  # the run whose open rows it holds; empty for a sheet that a user uploaded
    undo_of: str = ""  # the run to undo: then there is no file, the journal of the run takes its place
    rest_of: str = ""  # the run whose pending rows are to be sent: then there is no file either
    used: bool = False  # a run was begun with it whose plan is in the journal: the file is not needed any more
    used_at: float = 0.0  # when that run was begun, in seconds since the epoch
    changes: int = 0  # accounts that its preview changes, if that needs an approval; 0: there is nothing to approve
    deletions: int = 0  # the same of accounts that its preview deletes
    rejected_by: str = ""  # the user who rejected its plan, which cannot be started then; empty for others
    rejected_at: float = 0.0  # seconds since the epoch
    comment: str = ""  # why it was rejected
    recreate: bool = False  # an undo creates the accounts again that its run deleted
    note: str = ""  # what the user wants to keep with the run, such as a ticket number
    revision: int = 0  # how often its record was changed: of two that were read, the higher one is newer

    @property
    def derived_from(self) -> str:
        """The run whose journal takes the place of a file; empty for a sheet."""
        return self.undo_of or self.rest_of

    @property
    def is_open(self) -> bool:
        """Whether its plan was neither rejected nor started; a preview made after a start is a new plan."""
        return not self.rejected_by and (not self.used or self.changes > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """How much is kept, and for how long."""

    total_bytes: int = 4 << 30  # of all uploads together
    total_count: int = 2000
    user_bytes: int = 1 << 30  # of the uploads of one user
    user_count: int = 500
    kept_s: float = KEPT_S  # seconds that an upload is kept
    used_kept_s: float = 2 * 86_400  # seconds that an upload is kept once a run was begun with it


class TooLargeError(SheetError):
    """A file is larger than ``MAX_BYTES``."""


class StorageFullError(UsageError):
    """There is no room for another upload at present."""


class UnknownUploadError(UsageError):
    """There is no such upload."""

    def __init__(self) -> None:
        super().__init__("There is no such sheet any more.", hint="Upload it again.")


@dataclass(slots=True)
class _Kept:
    """What the limits need to know of one upload."""

    owner: str
    at: float
    since: float = 0.0  # from when on the time counts for which it is kept
    size: int = 0
    used: bool = False
    whole: bool = False  # it has a record: it is not being received any more

    @classmethod
    def of(cls, upload: Upload) -> "_Kept":
        try:
            size = upload.path.stat().st_size
        except OSError:  # an undo and a rest have no file
            size = 0
        used = upload.used and not upload.changes  # else it was previewed again, and waits for an approval
        since = max(upload.at, upload.used_at) if used else upload.at
        return cls(upload.owner, upload.at, since, size, used, whole=True)


class Uploads:
    """The folder of uploaded sheets. Methods read and write files: call them in worker threads."""

    def __init__(self, folder: Path, limits: UploadLimits | None = None) -> None:
        self._folder = folder
        self.limits = limits or UploadLimits()
        self._lock = RLock()
        self._kept = {each.upload_id: _Kept.of(each) for each in self._found()}

    def reserve(self, name: str, at: float, owner: str, authors: Authors | None = None) -> Upload:
        """Reserve the space of a sheet; :meth:`write` writes it to its ``path``, and :meth:`keep` its record.

        With None for ``authors`` the owner is its author.

        Raises:
            SheetError: The ending of the name is not that of a sheet.
            StorageFullError: There are too many uploads; the message names the limit.
        """
        name = safe_name(name)
        suffix = Path(name).suffix.lower()
        if suffix not in EXTENSIONS:
            raise SheetError(
                f"{name} is not a sheet that bulkid reads.", hint=f"A sheet ends in one of {', '.join(EXTENSIONS)}."
            )
        upload_id = secrets.token_hex(8)
        with self._lock:
            self._make_room(owner, count=1)
            self._kept[upload_id] = _Kept(owner, at)
        folder = self._folder / upload_id
        try:
            make_private(self._folder)
            folder.mkdir(mode=PRIVATE_FOLDER)
        except OSError as error:
            self._forget(upload_id)
            raise _disk_error(error) from None
        # The name that the client sent is only shown; on the disk the sheet has a name that bulkid chose.
        return Upload(upload_id, folder / f"sheet{suffix}", name, at, owner, (owner,) if authors is None else authors)

    def derive(
        self,
        kind: Literal["undo", "rest", "retry"],
        run_id: str,
        at: float,
        owner: str,
        authors: Authors,
        *,
        content: bytes = b"",
        note: str = "",
        recreate: bool = False,
        reading: ReadOptions | None = None,
    ) -> Upload:
        """Keep a plan that derives from a run: its undo or its rest, or a sheet of the rows that are not done.

        ``recreate``: the undo creates the accounts again that the run deleted. ``reading``: how the sheet is read.
        """
        made = replace(self.reserve(f"{kind} of {run_id}.csv", at, owner, authors), note=note, recreate=recreate)
        if kind == "retry":
            made = replace(made, retry_of=run_id, reading=reading or ReadOptions())
        else:  # the journal of the run takes the place of the file
            made = replace(made, name=f"{kind} of {run_id}", reading=ReadOptions(skip_invalid=True))
            made = replace(made, undo_of=run_id) if kind == "undo" else replace(made, rest_of=run_id)
        try:
            if content:
                with self.opened(made) as file:
                    self.write(made, file, content, 0)
            return self.keep(made)
        except BaseException:
            self.drop(made)
            raise

    def find_derived(self, *, undo_of: str = "", rest_of: str = "", recreate: bool = False) -> Upload | None:
        """The newest undo, or rest, of a run whose plan is open."""
        wanted = (undo_of, rest_of, recreate)
        found = [
            each for each in self._found() if (each.undo_of, each.rest_of, each.recreate) == wanted and each.is_open
        ]
        return max(found, key=lambda each: each.at, default=None)

    @contextmanager
    def opened(self, upload: Upload) -> Iterator[BinaryIO]:
        """The file of a sheet that is being received; raises StorageFullError where the disk does not take it."""
        try:
            file = create_private(upload.path)
        except OSError as error:
            raise _disk_error(error) from None
        try:
            yield file
        except BaseException:
            with suppress(OSError):  # the sheet is not kept
                file.close()
            raise
        try:
            file.close()  # writes what is left
        except OSError as error:
            raise _disk_error(error) from None

    def write(self, upload: Upload, file: BinaryIO, chunk: bytes, written: int) -> int:
        """Append to a sheet that is being received; return the number of bytes that it has so far.

        Raises:
            TooLargeError: The sheet has become too large.
            StorageFullError: All uploads together, or those of its owner, would take too much.
        """
        if written + len(chunk) > MAX_BYTES:
            raise TooLargeError(
                f"The file is larger than {MAX_BYTES >> 20} MB, and was not kept.",
                hint="Save the rows that you need in a new file, or run it in a terminal: bulkid run SHEET.",
            )
        with self._lock:
            self._make_room(upload.owner, size=len(chunk))
            self._kept[upload.upload_id].size += len(chunk)
        try:
            file.write(chunk)
        except OSError as error:
            raise _disk_error(error) from None
        return written + len(chunk)

    def keep(self, upload: Upload) -> Upload:
        """Write the record of an upload, in place of the one before. Authors and a rejection are never lost by that.

        Raises:
            UnknownUploadError: The upload was removed meanwhile.
            StorageFullError: The disk does not take it.
        """
        with self._lock:
            before = self._load(upload.upload_id)
            upload = replace(upload, revision=0 if before is None else before.revision + 1)
            if before is not None:
                used, used_at = before.used or upload.used, max(before.used_at, upload.used_at)
                upload = replace(upload, by=with_authors(before.by, *upload.by), used=used, used_at=used_at)
                if before.rejected_by:
                    by, at, comment = before.rejected_by, before.rejected_at, before.comment
                    upload = replace(upload, rejected_by=by, rejected_at=at, comment=comment)
            known = {**asdict(upload), "file": upload.path.name}
            del known["upload_id"], known["path"]
            target = upload.path.parent / "upload.json"
            unfinished = target.with_suffix(".tmp")
            try:
                unfinished.unlink(missing_ok=True)
                with create_private(unfinished) as file:
                    file.write(orjson.dumps(known))
                unfinished.replace(target)
            except FileNotFoundError:
                raise UnknownUploadError from None
            except OSError as error:
                raise _disk_error(error) from None
            self._kept[upload.upload_id] = _Kept.of(upload)
        return upload

    def mark_used(self, upload: Upload, now: float) -> None:
        """Note that a run was begun with an upload and does not need its file any more; no plan waits any more."""
        with suppress(OSError, UsageError):  # it was removed meanwhile
            self.update(upload.upload_id, used=True, used_at=now, changes=0, deletions=0)

    def mark_previewed(self, upload: Upload, changes: int, deletions: int) -> None:
        """Note what the preview of an upload changes and deletes, unless it is read in another way by now."""
        with self._lock, suppress(OSError, UsageError):
            if self.get(upload.upload_id).reading == upload.reading:
                self.update(upload.upload_id, changes=changes, deletions=deletions)

    def update(self, upload_id: str, **values: Any) -> Upload:  # noqa: ANN401
        """Change some values in the record of an upload; raise UnknownUploadError where it was removed."""
        with self._lock:
            return self.keep(replace(self.get(upload_id), **values))

    def refreshed(self, upload: Upload) -> Upload:
        """The upload as its record is now; as it was known where it was removed."""
        return self._load(upload.upload_id) or upload

    def all(self) -> list[Upload]:
        """All uploads, the newest first."""
        return sorted(self._found(), key=lambda each: each.at, reverse=True)

    def get(self, upload_id: str) -> Upload:
        """Find an upload by its id; raise UnknownUploadError where there is none."""
        found = self._load(upload_id) if _ID.fullmatch(upload_id) else None
        if found is None:
            raise UnknownUploadError
        return found

    def _load(self, upload_id: str) -> Upload | None:
        folder = self._folder / upload_id
        try:
            with self._lock:  # Windows replaces no file that is open
                content = (folder / "upload.json").read_bytes()
            known: dict[str, Any] = orjson.loads(content)
            reading = ReadOptions(**known.pop("reading"))
            reading = replace(reading, ignore_columns=tuple(reading.ignore_columns))
            by, path = tuple(known.pop("by")), folder / known.pop("file")
            owner = known.pop("owner", "") or by[0]
            rest = {name: value for name, value in known.items() if name in Upload.__slots__}  # of this version
            if rest.get("used") and "used_at" not in rest:  # by a version that kept the changes of a started plan
                rest |= {"used_at": rest["at"], "changes": 0, "deletions": 0}
            return Upload(upload_id=upload_id, path=path, owner=owner, by=by, reading=reading, **rest)
        except (OSError, orjson.JSONDecodeError, LookupError, TypeError, AttributeError):  # not a record
            return None

    def _folders(self) -> list[Path]:
        return [folder for folder in self._folder.iterdir() if folder.is_dir()] if self._folder.is_dir() else []

    def _found(self) -> list[Upload]:
        loaded = (self._load(folder.name) for folder in self._folders() if _ID.fullmatch(folder.name))
        return [each for each in loaded if each is not None]

    # --- limits

    def drop(self, upload: Upload) -> None:
        """Remove an upload and its file."""
        self._remove(upload.upload_id)

    def drop_old(self, now: float) -> int:
        """Remove what was kept long enough, and folders without an upload; return how many were removed."""
        with self._lock:
            for each in self._found():  # also those of another console on this state directory
                self._kept.setdefault(each.upload_id, _Kept.of(each))
            old = [key for key, kept in self._kept.items() if kept.whole and kept.since < now - self._kept_s(kept)]
            for key in [key for key, kept in self._kept.items() if kept.whole and not (self._folder / key).is_dir()]:
                self._forget(key)
            unknown = [folder for folder in self._folders() if folder.name not in self._kept]
            old += [folder.name for folder in unknown if folder.stat().st_mtime < now - ORPHAN_S]
            for key in old:
                self._remove(key)
        return len(old)

    def _kept_s(self, kept: _Kept) -> float:
        return self.limits.used_kept_s if kept.used else self.limits.kept_s

    def _make_room(self, owner: str, *, count: int = 0, size: int = 0) -> None:
        """Remove used uploads, the oldest first, until there is room for more; else raise StorageFullError."""
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
            hint="Start or remove some of the uploaded sheets, or run this one in a terminal: bulkid run SHEET.",
        )

    def _remove(self, upload_id: str) -> None:
        shutil.rmtree(self._folder / upload_id, ignore_errors=True)
        self._forget(upload_id)

    def _forget(self, upload_id: str) -> None:
        with self._lock:
            self._kept.pop(upload_id, None)


def _disk_error(error: OSError) -> StorageFullError:
    """The refusal of an upload that the disk does not take."""
    return StorageFullError(
        f"The console cannot keep the sheet: {error.strerror or error}.",
        hint="Ask the admin of the console to free space on its disk.",
    )


def safe_name(name: str) -> str:
    """The name of a file on one line, without the folders that a client put before it."""
    last = PurePosixPath(PureWindowsPath(name).name).name
    shown = "".join(letter if letter.isprintable() else "_" for letter in last).strip()
    if len(shown) > _NAME_LENGTH:
        shown = shown[: _NAME_LENGTH - 20] + "…" + shown[-19:]
    return shown or "sheet"
