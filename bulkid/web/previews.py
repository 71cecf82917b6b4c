"""What is known of an uploaded sheet before it runs: how bulkid understood it, and the preview of what it would do."""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from bulkid import runs
from bulkid.errors import BulkidError, InterruptedRunError, SheetError
from bulkid.model import AccountUpdate, DesiredState, RowError
from bulkid.planning import changed_fields, describe
from bulkid.resources import DISPLAY_NAME, current
from bulkid.sheet import CancelToken, SheetPreview, open_sheet_file
from bulkid.web.uploads import Upload

MAX_KEPT: Final = 50
"""Sheets whose reading and preview stay in memory at most."""

MAX_KEPT_ROWS: Final = 300_000
"""Rows of those sheets together at most; a preview of 100,000 accounts takes about 100 MB."""

MAX_CONCURRENT: Final = 2
"""Sheets that are read, and previews that are made, at once: each takes a core and its memory."""

MAX_WAITING: Final = 20
"""Previews that may wait for their turn."""


T = TypeVar("T")


class BusyError(BulkidError):
    """The console has as much to do as it can keep in memory."""


@dataclass(frozen=True, slots=True)
class ParsedUpload:
    """A sheet as bulkid read it. ``sheet_preview`` None: not even that; ``check`` None: its headers do not suffice."""

    sheet_preview: SheetPreview | None
    check: runs.CheckResult | None
    error: BulkidError | None


NO_SHEET: Final = ParsedUpload(None, None, None)
"""Of the undo and of the rest of a run, which have no sheet."""


@dataclass(slots=True)
class PreviewTask:
    """A preview that is being made, or has been."""

    preview_id: str
    by: str
    phase: str = "sheet"
    result: runs.Preview | None = None
    error: BulkidError | None = None
    plan_hash: str = ""
    done: anyio.Event = field(default_factory=anyio.Event)
    _texts: list[str] | None = None

    def texts(self) -> list[str]:
        """What a search looks through, one text per account that changes; made when the first search comes."""
        if self._texts is None:
            preview = self.result
            self._texts = [] if preview is None else [_text(change, preview) for change in preview.plan.changes]
        return self._texts


class _Hooks(runs.Hooks):
    def __init__(self, job: PreviewTask) -> None:
        self._job = job

    def stage(self, name: str) -> None:
        self._job.phase = name


@dataclass(slots=True)
class UploadPreview:
    """One reading of one upload."""

    upload: Upload
    parsed: ParsedUpload
    preview: PreviewTask | None = None

    @property
    def row_count(self) -> int:
        """Rows that it keeps in memory, about."""
        check, job = self.parsed.check, self.preview
        rows = 0 if check is None else check.rows
        return max(rows, 0 if job is None or job.result is None else job.result.rows)


class UploadPreviews:
    """Drafts by upload, the ones used last; what is dropped is made again when it is asked for.

    Args:
        target: Where previews look.
        options: The console's own options.
        context: What surrounds a preview.
    """

    def __init__(self, target: runs.Target, options: runs.RunOptions, context: runs.Context) -> None:
        self._target = target
        self._options = options
        self._context = context
        self._upload_previews: OrderedDict[str, UploadPreview] = OrderedDict()
        self._read_limiter = anyio.CapacityLimiter(MAX_CONCURRENT)
        self._preview_limiter = anyio.CapacityLimiter(MAX_CONCURRENT)
        self._pending_count = 0  # previews that wait, or are being made

    async def get(self, upload: Upload) -> UploadPreview:
        """The draft of an upload as it is to be read now."""
        upload_preview = self._upload_previews.get(upload.upload_id)
        if upload_preview is None or upload_preview.upload.reading != upload.reading:
            parsed = NO_SHEET if upload.derived_from else await self._parse_upload(upload)
            upload_preview = self._upload_previews[upload.upload_id] = UploadPreview(upload, parsed)
        upload_preview.upload = upload  # an author may have been added since, without another reading
        self._upload_previews.move_to_end(upload.upload_id)
        self._trim()
        return upload_preview

    async def _parse_upload(self, upload: Upload) -> ParsedUpload:
        return await self.read(lambda token: parse_upload(upload, self._options, token))

    async def read(self, function: Callable[[CancelToken], T]) -> T:
        """Call what reads an upload in a worker thread, only so many at once; a cancelled caller ends it at once."""
        token = CancelToken()
        async with self._read_limiter:
            return await runs.in_thread_until_cancelled(token.cancel, function, token)

    def forget(self, upload: Upload) -> None:
        """Drop what is known of an upload that was removed."""
        self._upload_previews.pop(upload.upload_id, None)

    def _trim(self) -> None:
        """Drop the drafts that were used least lately, until those left fit into memory; the last one always stays."""
        row_count = sum(upload_preview.row_count for upload_preview in self._upload_previews.values())
        while len(self._upload_previews) > 1 and (len(self._upload_previews) > MAX_KEPT or row_count > MAX_KEPT_ROWS):
            row_count -= self._upload_previews.popitem(last=False)[1].row_count

    def begin_preview(self, upload_preview: UploadPreview, by: str) -> PreviewTask:
        """Take note that a preview is being made; :meth:`make_preview` makes it.

        Raises:
            BusyError: Too many previews wait already.
        """
        if self._pending_count >= MAX_CONCURRENT + MAX_WAITING:
            raise BusyError(
                f"{MAX_WAITING} previews wait already, which is the most.", hint="Try again when some of them are made."
            )
        self._pending_count += 1
        upload_preview.preview = PreviewTask(secrets.token_hex(8), by)
        return upload_preview.preview

    async def make_preview(self, upload: Upload, job: PreviewTask) -> None:
        """Read the directory and work out what the sheet would change; sends nothing that changes anything."""
        context = replace(self._context, hooks=_Hooks(job), stop=runs.Stop())
        try:
            async with self._preview_limiter:
                found = await self._plan(upload, context)
                preview = found.preview
                if preview is not None:
                    job.plan_hash = await anyio.to_thread.run_sync(
                        runs.plan_hash, preview, upload.reading.options(self._options)
                    )
                job.result, job.error = preview, found.error
        except BulkidError as error:
            job.error = error
        except Exception:
            job.error = InterruptedRunError("The preview broke off by a defect of bulkid.", hint="The log says more.")
            raise
        finally:
            self._pending_count -= 1
            job.done.set()
            self._trim()

    async def _plan(self, upload: Upload, context: runs.Context) -> runs.PlanResult:
        if upload.rest_of:
            return await runs.plan_rest(upload.rest_of, self._target, context)
        options = upload.reading.options(self._options)
        if upload.undo_of:
            return await runs.plan_undo(upload.undo_of, self._target, options, context)
        return await runs.plan(upload.path, self._target, options, context, name=upload.name)


def parse_upload(upload: Upload, options: runs.RunOptions, token: CancelToken | None = None) -> ParsedUpload:
    """Read an upload from its first row to its last, offline.

    Raises:
        InterruptedRunError: The token was cancelled.
    """
    wanted = upload.reading.options(options).sheet
    seen: SheetPreview | None = None
    try:
        with open_sheet_file(upload.path, wanted, name=upload.name, isolated=True, token=token) as file:
            seen = file.sheet_preview()
            return ParsedUpload(seen, runs.check_opened(file.sheet()), None)
    except SheetError as error:
        return ParsedUpload(seen, None, error)


# --- pages of a preview


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of an account in a preview."""

    key: str
    before: str | None  # None: not known
    after: str | None  # None: stays


@dataclass(frozen=True, slots=True)
class AccountChange:
    """One account of a preview: old beside new."""

    account_id: str
    name: str
    rows: tuple[int, ...]
    fields: tuple[FieldChange, ...]  # all that the resource has, in its order
    add: tuple[str, ...]  # names of groups
    remove: tuple[str, ...]

    @property
    def display_before(self) -> str | None:
        """The display name now, for the JSON interface; None: not known."""
        return next((field.before for field in self.fields if field.key == DISPLAY_NAME.key), None)

    @property
    def display_after(self) -> str | None:
        """The new display name, for the JSON interface; None: stays."""
        return next((field.after for field in self.fields if field.key == DISPLAY_NAME.key), None)


@dataclass(frozen=True, slots=True)
class PreviewPage:
    """Some lines of a preview of one kind, and how many there are."""

    changes: Sequence[AccountChange] = ()
    desired_states: Sequence[DesiredState] = ()
    row_errors: Sequence[RowError] = ()
    total: int = 0


def preview_page(job: PreviewTask, kind: str, search: str, offset: int, limit: int) -> PreviewPage:
    """Some lines of a preview.

    Args:
        job: The preview, made.
        kind: ``changes``, ``unchanged`` or ``invalid``.
        search: Only lines that hold this text, without regard to case.
        offset: How many of them to pass over.
        limit: How many to give at most.
    """
    preview = job.result
    if preview is None:
        return PreviewPage()
    plan, text = preview.plan, search.casefold()
    if kind == "unchanged":
        desired_states = [
            desired for desired in plan.unchanged if text in f"{desired.name}\n{desired.account_id}".casefold()
        ]
        return PreviewPage(desired_states=desired_states[offset : offset + limit], total=len(desired_states))
    if kind == "invalid":
        row_errors = row_errors_with(preview.row_errors, search)
        return PreviewPage(row_errors=row_errors[offset : offset + limit], total=len(row_errors))
    if not text:
        chosen: Sequence[int] = range(len(plan.changes))
    else:
        chosen = [index for index, each in enumerate(job.texts()) if text in each]
    lines = [_line(plan.changes[index], plan.changing[index], preview) for index in chosen[offset : offset + limit]]
    return PreviewPage(changes=lines, total=len(chosen))


def row_errors_with(row_errors: Sequence[RowError], search: str, column: str = "") -> Sequence[RowError]:
    """The faults of a column that hold a text in row number, value or message, without regard to case."""
    text = search.casefold()
    if not text and not column:
        return row_errors
    return [
        row_error
        for row_error in row_errors
        if (not column or row_error.column == column)
        and text in f"{row_error.row}\n{row_error.column}\n{row_error.value}\n{row_error.message}".casefold()
    ]


def _line(change: AccountUpdate, desired: DesiredState, preview: runs.Preview) -> AccountChange:
    names = preview.directory.group_name
    present = current().nothing if change.before is None else change.before.values
    after = {field.key: value for field, _, value in changed_fields(change)}
    return AccountChange(
        account_id=change.account_id,
        name=change.name,
        rows=desired.rows,
        fields=tuple(
            FieldChange(key, before, after.get(key)) for key, before in zip(current().keys, present, strict=True)
        ),
        add=tuple(map(names, change.add)),
        remove=tuple(map(names, change.remove)),
    )


def _text(change: AccountUpdate, preview: runs.Preview) -> str:
    return f"{change.name}\n{change.account_id}\n{describe(change, preview.directory)}".casefold()


# --- is a plan the one that a person has seen?


def changed_accounts(seen: runs.Preview, now: runs.Preview, first: int | None) -> list[str]:
    """The accounts for which a plan made now would send something else than the one that was shown.

    Args:
        seen: What was shown, of the whole sheet.
        now: What would be sent, already cut to the trial.
        first: How many accounts the trial was to have; None for all.
    """
    shown = seen.plan.changes if first is None else seen.plan.changes[:first]
    before = {runs.sent_of(change): change for change in shown}
    after = {runs.sent_of(change): change for change in now.plan.changes}
    differ = [*(before[key] for key in before.keys() - after.keys()), *(after[key] for key in after.keys() - before)]
    return sorted({change.name or change.account_id for change in differ})
