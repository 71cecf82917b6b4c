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
from bulkid.model import AccountWish, Change, Fault
from bulkid.planning import describe
from bulkid.sheet import CancelToken, Outline, open_sheet_file
from bulkid.web.uploads import Upload

KEPT: Final = 50
"""Sheets whose reading and preview stay in memory at most."""

KEPT_ROWS: Final = 300_000
"""Rows of those sheets together at most; a preview of 100,000 accounts takes about 100 MB."""

AT_ONCE: Final = 2
"""Sheets that are read, and previews that are made, at once: each takes a core and its memory."""

WAITING: Final = 20
"""Previews that may wait for their turn."""


T = TypeVar("T")


class BusyError(BulkidError):
    """The console has as much to do as it can keep in memory."""


@dataclass(frozen=True, slots=True)
class Understood:
    """A sheet as bulkid read it. ``outline`` None: not even that; ``check`` None: its headers do not suffice."""

    outline: Outline | None
    check: runs.CheckResult | None
    error: BulkidError | None


NOTHING_TO_READ: Final = Understood(None, None, None)
"""Of the undo and of the rest of a run, which have no sheet."""


@dataclass(slots=True)
class PreviewJob:
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
    def __init__(self, job: PreviewJob) -> None:
        self._job = job

    def stage(self, name: str) -> None:
        self._job.phase = name


@dataclass(slots=True)
class Draft:
    """One reading of one upload."""

    upload: Upload
    understood: Understood
    preview: PreviewJob | None = None

    @property
    def weight(self) -> int:
        """Rows that it keeps in memory, about."""
        check, job = self.understood.check, self.preview
        rows = 0 if check is None else check.rows
        return max(rows, 0 if job is None or job.result is None else job.result.rows)


class Drafts:
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
        self._drafts: OrderedDict[str, Draft] = OrderedDict()
        self._reading = anyio.CapacityLimiter(AT_ONCE)
        self._making = anyio.CapacityLimiter(AT_ONCE)
        self._unmade = 0  # previews that wait, or are being made

    async def get(self, upload: Upload) -> Draft:
        """The draft of an upload as it is to be read now."""
        draft = self._drafts.get(upload.upload_id)
        if draft is None or draft.upload.reading != upload.reading:
            understood = NOTHING_TO_READ if upload.derived_from else await self._understood(upload)
            draft = self._drafts[upload.upload_id] = Draft(upload, understood)
        draft.upload = upload  # an author may have been added since, without another reading
        self._drafts.move_to_end(upload.upload_id)
        self._trim()
        return draft

    async def _understood(self, upload: Upload) -> Understood:
        return await self.read(lambda token: understand(upload, self._options, token))

    async def read(self, function: Callable[[CancelToken], T]) -> T:
        """Call what reads an upload in a worker thread, only so many at once; a cancelled caller ends it at once."""
        token = CancelToken()
        async with self._reading:
            return await runs.in_thread_until_cancelled(token.cancel, function, token)

    def forget(self, upload: Upload) -> None:
        """Drop what is known of an upload that was removed."""
        self._drafts.pop(upload.upload_id, None)

    def _trim(self) -> None:
        """Drop the drafts that were used least lately, until those left fit into memory; the last one always stays."""
        weight = sum(draft.weight for draft in self._drafts.values())
        while len(self._drafts) > 1 and (len(self._drafts) > KEPT or weight > KEPT_ROWS):
            weight -= self._drafts.popitem(last=False)[1].weight

    def begin_preview(self, draft: Draft, by: str) -> PreviewJob:
        """Take note that a preview is being made; :meth:`make_preview` makes it.

        Raises:
            BusyError: Too many previews wait already.
        """
        if self._unmade >= AT_ONCE + WAITING:
            raise BusyError(
                f"{WAITING} previews wait already, which is the most.", hint="Try again when some of them are made."
            )
        self._unmade += 1
        draft.preview = PreviewJob(secrets.token_hex(8), by)
        return draft.preview

    async def make_preview(self, upload: Upload, job: PreviewJob) -> None:
        """Read the directory and work out what the sheet would change; sends nothing that changes anything."""
        context = replace(self._context, hooks=_Hooks(job), stop=runs.Stop())
        try:
            async with self._making:
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
            self._unmade -= 1
            job.done.set()
            self._trim()

    async def _plan(self, upload: Upload, context: runs.Context) -> runs.PlanResult:
        if upload.rest_of:
            return await runs.plan_rest(upload.rest_of, self._target, context)
        options = upload.reading.options(self._options)
        if upload.undo_of:
            return await runs.plan_undo(upload.undo_of, self._target, options, context)
        return await runs.plan(upload.path, self._target, options, context, name=upload.name)


def understand(upload: Upload, options: runs.RunOptions, token: CancelToken | None = None) -> Understood:
    """Read an upload from its first row to its last, offline.

    Raises:
        InterruptedRunError: The token was cancelled.
    """
    wanted = upload.reading.options(options).sheet
    seen: Outline | None = None
    try:
        with open_sheet_file(upload.path, wanted, name=upload.name, isolated=True, token=token) as file:
            seen = file.outline()
            return Understood(seen, runs.check_opened(file.sheet()), None)
    except SheetError as error:
        return Understood(seen, None, error)


# --- pages of a preview


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """One account of a preview: old beside new."""

    account_id: str
    name: str
    rows: tuple[int, ...]
    display_before: str | None  # None: not known
    display_after: str | None  # None: stays
    add: tuple[str, ...]  # names of groups
    remove: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PreviewPage:
    """Some lines of a preview of one kind, and how many there are."""

    changes: Sequence[ChangeLine] = ()
    wishes: Sequence[AccountWish] = ()
    faults: Sequence[Fault] = ()
    total: int = 0


def preview_page(job: PreviewJob, kind: str, search: str, offset: int, limit: int) -> PreviewPage:
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
        wishes = [wish for wish in plan.unchanged if text in f"{wish.name}\n{wish.account_id}".casefold()]
        return PreviewPage(wishes=wishes[offset : offset + limit], total=len(wishes))
    if kind == "invalid":
        faults = faults_with(preview.faults, search)
        return PreviewPage(faults=faults[offset : offset + limit], total=len(faults))
    if not text:
        chosen: Sequence[int] = range(len(plan.changes))
    else:
        chosen = [index for index, each in enumerate(job.texts()) if text in each]
    lines = [_line(plan.changes[index], plan.changing[index], preview) for index in chosen[offset : offset + limit]]
    return PreviewPage(changes=lines, total=len(chosen))


def faults_with(faults: Sequence[Fault], search: str, column: str = "") -> Sequence[Fault]:
    """The faults of a column that hold a text in row number, value or message, without regard to case."""
    text = search.casefold()
    if not text and not column:
        return faults
    return [
        fault
        for fault in faults
        if (not column or fault.column == column)
        and text in f"{fault.row}\n{fault.column}\n{fault.value}\n{fault.message}".casefold()
    ]


def _line(change: Change, wish: AccountWish, preview: runs.Preview) -> ChangeLine:
    names = preview.directory.group_name
    return ChangeLine(
        account_id=change.account_id,
        name=change.name,
        rows=wish.rows,
        display_before=None if change.before is None else change.before.display_name,
        display_after=change.display_name if change.renames else None,
        add=tuple(map(names, change.add)),
        remove=tuple(map(names, change.remove)),
    )


def _text(change: Change, preview: runs.Preview) -> str:
    return f"{change.name}\n{change.account_id}\n{describe(change, preview.directory)}".casefold()


# --- is a plan the one that a person has seen?


def departures(seen: runs.Preview, now: runs.Preview, first: int | None) -> list[str]:
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
