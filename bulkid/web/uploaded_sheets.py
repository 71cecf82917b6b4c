"""Uploaded sheets before they run: how bulkid reads them, and the previews of what they would change, in memory."""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar

import anyio

from bulkid import runs
from bulkid.errors import BulkidError, InterruptedRunError, SheetError, UsageError
from bulkid.model import Change, RunRecord
from bulkid.planning.plan import describe
from bulkid.runs.concurrency import in_thread
from bulkid.runs.descriptions import ChangeCounts, count_changes
from bulkid.runs.run_records import same_target
from bulkid.sheet import CancelToken, SheetPreview, open_sheet_file
from bulkid.web.activity import ActivityHooks
from bulkid.web.change_index import ChangeIndex, index_changes
from bulkid.web.uploads import Upload

MAX_KEPT: Final = 50  # sheets whose rows and preview stay in memory at most
MAX_KEPT_ROWS: Final = 300_000  # rows of those sheets in all; a preview of 100,000 accounts takes about 100 MB
MAX_CONCURRENT: Final = 2  # sheets that are read, and previews that are made, at once: each takes a core
MAX_WAITING: Final = 20  # previews that may wait for their turn

T = TypeVar("T")
Spawn = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


class BusyError(BulkidError):
    """As many previews wait as the console can keep in memory."""


@dataclass(frozen=True, slots=True)
class ParsedUpload:
    """A sheet as bulkid read it. The undo and the rest of a run have no sheet: then all is None."""

    sheet_preview: SheetPreview | None = None  # None: the file cannot be read
    check: runs.CheckResult | None = None  # None: it is not known which columns hold what
    error: BulkidError | None = None


@dataclass(eq=False)
class PreviewTask(ActivityHooks):
    """A preview that is being made, or has been."""

    preview_id: str = field(default_factory=lambda: secrets.token_hex(8))
    result: runs.Preview | None = None
    error: BulkidError | None = None
    plan_hash: str = ""
    counts: ChangeCounts | None = None  # set with ``result``
    index: ChangeIndex | None = None  # set with ``result``
    notice: str = ""  # what the user should know of how this preview came to be
    done: anyio.Event = field(default_factory=anyio.Event)
    _texts: list[str] | None = None

    def renamed(self) -> "PreviewTask":
        """The same preview with another id, so that no request which names the id before can start it."""
        return replace(self, preview_id=secrets.token_hex(8))

    def texts(self) -> list[str]:
        """The texts that a search looks through, one per account that changes; made for the first search."""
        if self._texts is None:
            preview = self.result
            self._texts = [] if preview is None else [_text(change, preview) for change in preview.plan.changes]
        return self._texts


@dataclass(slots=True)
class UploadedSheet:
    """An upload as it is read now, with its preview."""

    upload: Upload
    parsed: ParsedUpload
    preview: PreviewTask | None = None
    started: tuple[str, str] = ("", "")  # the id of the preview that was started last, and the user who did

    @property
    def row_count(self) -> int:
        """Rows that it keeps in memory, approximately."""
        kept = (self.parsed.check, None if self.preview is None else self.preview.result)
        return max(0 if each is None else each.rows for each in kept)


class UploadedSheets:
    """The uploads that were used last, with their previews; what is dropped is made again when a user asks for it."""

    def __init__(
        self,
        target: runs.Target,
        options: runs.RunOptions,
        context: runs.Context,
        spawn: Spawn,
        made: Callable[[Upload, runs.Preview | None], None],
    ) -> None:
        self._target = target
        self._options = options
        self._context = context
        self._spawn = spawn  # runs a task in the server's task group
        self._made = made  # is given each preview, in a worker thread; None for one that could not be made
        self._uploaded_sheets: OrderedDict[str, UploadedSheet] = OrderedDict()
        self._read_limiter = anyio.CapacityLimiter(MAX_CONCURRENT)
        self._preview_limiter = anyio.CapacityLimiter(MAX_CONCURRENT)
        self._pending_count = 0  # previews that wait, or are being made

    async def get(self, upload: Upload) -> UploadedSheet:
        """Read an upload, unless it was read in the same way before.

        Another request may have changed how it is read since the caller read its record: then that holds.
        """
        uploaded_sheet = self._present(upload)
        if uploaded_sheet is None:
            before, parsed = self._uploaded_sheets.get(upload.upload_id), ParsedUpload()
            if before is not None and before.upload.reading.sheet_options() == upload.reading.sheet_options():
                parsed = before.parsed  # what is to be done with invalid rows is no matter of reading
            elif not upload.derived_from:
                parsed = await self.read(lambda token: parse_upload(upload, self._options, token))
            uploaded_sheet = self._present(upload)
            if uploaded_sheet is None:
                uploaded_sheet = self._uploaded_sheets[upload.upload_id] = UploadedSheet(upload, parsed)
        if upload.revision >= uploaded_sheet.upload.revision:
            uploaded_sheet.upload = upload  # an author may have been added since, without another reading
        self._uploaded_sheets.move_to_end(upload.upload_id)
        self._trim()
        return uploaded_sheet

    def _present(self, upload: Upload) -> UploadedSheet | None:
        """The sheet that is in memory, unless the record of ``upload`` is newer and says to read it otherwise."""
        found = self._uploaded_sheets.get(upload.upload_id)
        if found is None or upload.revision < found.upload.revision:
            return found
        return found if found.upload.reading == upload.reading else None

    async def read(self, function: Callable[[CancelToken], T]) -> T:
        """Call a function that reads an upload in a worker thread; at most ``MAX_CONCURRENT`` run at once.

        The token ends the function at once when the caller is cancelled.
        """
        token = CancelToken()
        async with self._read_limiter:
            return await runs.in_thread_until_cancelled(token.cancel, function, token)

    def forget(self, upload: Upload) -> None:
        """Drop an upload that was removed."""
        self._uploaded_sheets.pop(upload.upload_id, None)

    def _trim(self) -> None:
        """Drop the uploads that were used least recently, until the others fit into memory; one always stays."""
        row_count = sum(uploaded_sheet.row_count for uploaded_sheet in self._uploaded_sheets.values())
        while len(self._uploaded_sheets) > 1 and (len(self._uploaded_sheets) > MAX_KEPT or row_count > MAX_KEPT_ROWS):
            row_count -= self._uploaded_sheets.popitem(last=False)[1].row_count

    def begin_preview(self, uploaded_sheet: UploadedSheet, notice: str = "") -> PreviewTask:
        """Begin to make a preview, whether or not a request waits for it; raise BusyError where too many wait.

        The page of the preview shows the ``notice``.
        """
        if self._pending_count >= MAX_CONCURRENT + MAX_WAITING:
            raise BusyError(
                f"{MAX_WAITING} previews wait already, which is the most.", hint="Try again when some of them are made."
            )
        self._pending_count += 1
        task = uploaded_sheet.preview = PreviewTask(notice=notice)
        self._spawn(partial(self._make_preview, uploaded_sheet.upload, task))
        return task

    async def _make_preview(self, upload: Upload, job: PreviewTask) -> None:
        """Read the directory and compute what the sheet would change; send nothing that changes anything."""
        context = replace(self._context, hooks=job, stop=runs.Stop())
        try:
            async with self._preview_limiter:
                found = await self._plan(upload, context)
                preview = found.preview
                if preview is not None:
                    job.plan_hash = await in_thread(runs.plan_hash, preview, upload.reading.options(self._options))
                    job.counts = await in_thread(count_changes, preview.plan.changes, preview.directory)
                    job.index = await in_thread(index_changes, preview.plan.changes, preview.directory)
                await in_thread(self._made, upload, preview)
                job.result, job.error = preview, found.error
        except BulkidError as error:
            job.error = error
        except Exception:  # of any kind: it is raised again, and logged
            job.error = InterruptedRunError(
                "bulkid failed to make the preview with an internal error.", hint="The console's log contains details."
            )
            raise
        finally:
            self._pending_count -= 1
            job.done.set()
            self._trim()

    async def _plan(self, upload: Upload, context: runs.Context) -> runs.PlanResult:
        await in_thread(self._require_same_server, upload)
        if upload.rest_of:
            return await runs.plan_rest(upload.rest_of, self._target, context)
        options = upload.reading.options(self._options)
        if upload.undo_of:
            return await runs.plan_undo(upload.undo_of, self._target, options, context, recreate=upload.recreate)
        return await runs.plan(upload.path, self._target, options, context, name=upload.name)

    def _require_same_server(self, upload: Upload) -> None:
        """Raise UsageError for a plan of a run that a console of another server made on this state."""
        run_id = upload.derived_from or upload.retry_of
        if not run_id:
            return
        try:
            run = runs.find_run(run_id, self._context.state_dir, self._context.database_url)
        except UsageError:
            return  # it was pruned: a retry has its rows in the sheet, and an undo or a rest is refused when planned
        require_same_server(run, self._target, self._options, then="Remove it here, or open it in that console.")


def require_same_server(run: RunRecord, target: runs.Target, options: runs.RunOptions, *, then: str) -> None:
    """Raise UsageError, with a hint, for a run of the sandbox on a real server, the reverse, and for another server.

    A run without a plan has sent nothing, so that its server may differ.
    """
    if bool(run.options.get("sandbox")) is not options.sandbox:
        where = "the sandbox" if run.options.get("sandbox") else "a real server"
        raise UsageError(f"Run {run.run_id} was begun on {where}, but this console uses another server.", hint=then)
    try:
        same_target(run, target)
    except UsageError as error:
        raise UsageError(error.message, hint=then) from None


def parse_upload(upload: Upload, options: runs.RunOptions, token: CancelToken) -> ParsedUpload:
    """Read an upload as a whole, offline; raise InterruptedRunError where the token was cancelled."""
    wanted = upload.reading.options(options).sheet
    seen: SheetPreview | None = None
    try:
        with open_sheet_file(upload.path, wanted, name=upload.name, token=token) as file:
            seen = file.sheet_preview()
            return ParsedUpload(seen, runs.check_opened(file.sheet()), None)
    except SheetError as error:
        return ParsedUpload(seen, None, error)


def _text(change: Change, preview: runs.Preview) -> str:
    return f"{change.name}\n{change.account_id}\n{describe(change, preview.directory)}".casefold()
