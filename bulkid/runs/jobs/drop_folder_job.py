"""Taking the files of a drop folder: oldest first, each content once, whatever kills the process in between.

What is known of a file is in the journal before the file is touched: the claim with the id of the run that is to be
begun, then where the file goes. So every start first brings to an end what an earlier one left, by looking where the
file is: still in the folder (the claim is not carried out yet), in ``working`` (its run is to be begun or finished),
or at its target (only the last word is missing).
"""

import os
import platform
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bulkid.errors import (
    EXIT_OK,
    EXIT_ROWS_FAILED,
    EXIT_USAGE,
    InterruptedRunError,
    LockedError,
    SheetError,
    StateError,
)
from bulkid.events import log
from bulkid.journal import (
    FileState,
    Journal,
    TakenFile,
    TakenFiles,
    new_run_id,
    open_journal,
)
from bulkid.model import RunStatus
from bulkid.planning import count_of
from bulkid.runs.concurrency import in_thread
from bulkid.runs.history import was_undone
from bulkid.runs.jobs.drop_folder import (
    ARCHIVE,
    FAILED,
    WORKING,
    DropFolder,
    Seen,
    dated,
    digest,
    is_there,
    look,
    move,
    plain_name,
    put_beside,
)
from bulkid.runs.jobs.job import UNFINISHED, Sitting
from bulkid.runs.jobs.schedule import wall_clock
from bulkid.runs.options import RunResult

_DONE = {RunStatus.COMPLETED: EXIT_OK, RunStatus.COMPLETED_WITH_FAILURES: EXIT_ROWS_FAILED}
"""Runs that have come to their end, and the exit codes that they had."""


def open_files(drop: DropFolder, state_dir: Path, database_url: str = "") -> list[TakenFile]:
    """The files that a run was begun for, or is to be begun for, and that have not come to their end."""
    with open_journal(state_dir, database_url) as journal:
        return TakenFiles(journal, drop.key).open()


async def work_folder(sitting: Sitting, drop: DropFolder) -> None:
    """Finish the files that an earlier start left, then take those that wait, until none is complete.

    Raises:
        BulkidError: The folder or the state cannot be used, or another process works on the folder.
    """
    context = sitting.context
    sheet = replace(sitting.job.options.sheet, follow_links=False)  # others may write to the folder
    sitting.job = replace(sitting.job, options=replace(sitting.job.options, sheet=sheet))
    await in_thread(drop.waiting)  # is it there at all
    await in_thread(drop.make_places)
    with (
        await in_thread(open_journal, context.state_dir, context.database_url) as journal,
        _hold(drop, journal, sitting.job.name, context.clock.now()),
    ):
        await _Work(sitting, drop, journal, TakenFiles(journal, drop.key)).all()


@contextmanager
def _hold(drop: DropFolder, journal: Journal, job: str, now: float) -> Iterator[None]:
    """Lock the folder: two processes would take each other's files."""
    record = {
        "run_id": job,
        "host": platform.node(),
        "pid": os.getpid(),
        "since": now,
        "source": plain_name(str(drop.folder)),
    }
    try:
        hold = journal.hold(f"folder {drop.key}", record)
    except LockedError:
        raise LockedError(
            f"Another process works on the drop folder {drop.folder}.",
            hint="Wait until it has ended; it takes the files that wait.",
        ) from None
    try:
        yield
    finally:
        hold.release()


def _digest_or_none(path: Path) -> str | None:
    """A file's digest; None of what is no plain file any more, or cannot be read."""
    try:
        return digest(path)
    except OSError:
        return None


@dataclass(slots=True)
class _Work:
    sitting: Sitting
    drop: DropFolder
    journal: Journal
    taken: TakenFiles
    passed_over: set[Seen] = field(default_factory=set)

    async def all(self) -> None:
        left = await in_thread(self.taken.open)
        self._tell_strangers({file.working for file in left})
        for file in left:
            if not await self._go_on(file):
                return
        while True:
            stop, clock = self.sitting.context.stop, self.sitting.context.clock
            complete, growing = await look(self.drop, clock, stop, self.passed_over)
            if growing and not complete:
                self._say(f"{count_of(growing, 'file')} in {self.drop.folder} not complete: left for the next start.")
            if not complete:
                if not (growing or self.sitting.codes):
                    self._say(f"No file waits in {self.drop.folder}.")
                return
            for seen in complete:
                if stop.requested:
                    raise InterruptedRunError(f"Stopped by {stop.reason}.", hint="The next start takes what waits.")
                if not await self._take(seen):
                    return

    def _say(self, text: str) -> None:
        self.sitting.context.hooks.note(text)

    def _tell_strangers(self, known: Collection[str]) -> None:
        """Say which files lie in ``working`` that this state knows nothing of. They may be another process's."""
        for path in sorted((self.drop.real / WORKING).iterdir()):
            if f"{WORKING}/{path.name}" not in known and not path.name.startswith("."):
                self._say(
                    f"{self.drop.folder / WORKING / plain_name(path.name)} was not taken by a run that this state "
                    f"directory knows: it is left alone. If no other bulkid works on it, move it back to "
                    f"{self.drop.folder}."
                )

    # --- taking a file

    async def _take(self, seen: Seen) -> bool:
        """Take a file that is complete; False when the job must not take another."""
        try:
            content = await in_thread(digest, seen.path)
        except OSError as error:
            self._pass_over(seen, error)
            return True
        before = await in_thread(self.taken.taken_before, content)
        if before is not None:
            await self._put_aside(seen, before)
            return True
        working = self.drop.free_name(WORKING, plain_name(seen.path.name))
        now = self.sitting.context.clock.now()
        file = await in_thread(self.taken.claim, content, seen.path.name, working, new_run_id(now), now)
        if not await self._carry_out(file, seen):
            return True
        return await self._run(file)

    async def _carry_out(self, file: TakenFile, seen: Seen) -> bool:
        """Move a file that is claimed to where its run reads it; False when it is not the file that was claimed."""
        working = self.drop.real / file.working
        try:
            await in_thread(move, seen.path, working)
        except OSError as error:
            await in_thread(self.taken.forget, file)
            self._pass_over(seen, error)
            return False
        if await in_thread(_digest_or_none, working) != file.sha256:  # written to, or replaced, a moment ago
            await in_thread(move, working, self.drop.real / self.drop.free_name(".", file.name))
            await in_thread(self.taken.forget, file)
            return False
        name = plain_name(file.name)
        log.info("file.taken", job=self.sitting.job.name, file=name, sha256=file.sha256, run=file.run_id)
        return True

    def _pass_over(self, seen: Seen, error: OSError) -> None:
        self.passed_over.add(seen)
        name = plain_name(seen.path.name)
        log.info("file.passed_over", file=name, error=error.strerror or str(error))
        self._say(f"{self.drop.folder / name} cannot be taken ({error.strerror or error}): left for the next start.")

    async def _put_aside(self, seen: Seen, before: TakenFile) -> None:
        """Move a file to the archive whose content was taken before."""
        target = self.drop.free_name(ARCHIVE, self._dated(plain_name(seen.path.name), "_duplicate"))
        try:
            await in_thread(move, seen.path, self.drop.real / target)
        except OSError as error:
            self._pass_over(seen, error)
            return
        name, same_as = plain_name(seen.path.name), plain_name(before.name)
        log.info("file.duplicate", file=name, same_as=same_as, run=before.run_id, target=target)
        self._say(
            f"{self.drop.folder / name} has the content of {same_as}, which run {before.run_id} took: not run again, "
            f"moved to {target}."
        )

    # --- its run

    async def _run(self, file: TakenFile) -> bool:
        """Run a file that is claimed, or go on with its run; False when the job must not take another."""
        record = await in_thread(self.journal.get_run, file.run_id)
        if record is not None and record.status in _DONE:  # only its file was not put away
            self.sitting.codes.append(_DONE[record.status])
            await self._close(file, ARCHIVE)
            return True
        if record is not None and await in_thread(was_undone, self.journal, record.run_id):
            self._say(f"{plain_name(file.name)}: run {record.run_id} was undone since, and is not gone on with.")
            await self._close(file, ARCHIVE)
            return True
        shown = str(self.drop.folder / plain_name(file.name))
        try:
            if record is None:
                working = self.drop.real / file.working
                result = await self.sitting.run(working, name=shown, run_id=file.run_id)
            else:
                result = await self.sitting.resume(file.run_id)
        except SheetError as error:
            log.info("file.failed", file=plain_name(file.name), error=error.message)
            self._say(f"{error.message} {error.hint}".strip())
            self.sitting.refused(error)
            await self._close(file, FAILED, f"{error.message}\n{error.hint}".strip())
            return True
        return await self._judge(file, result)

    async def _judge(self, file: TakenFile, result: RunResult) -> bool:
        """Put a file where its run's end says; False when it stays, so that the next start goes on with it."""
        if result.exit_code == EXIT_USAGE and not (result.summary["invalid"] or result.run.organization_id):
            return False  # it never came to look at the sheet: a setting is at fault
        if result.exit_code in UNFINISHED:
            return False
        if result.exit_code == EXIT_USAGE:
            await self._close(file, FAILED, str(result.error or ""))
        else:
            await self._close(file, ARCHIVE)
        return True

    # --- putting it away

    async def _close(self, file: TakenFile, place: str, message: str = "") -> None:
        """Put a file away beside its report: first the report, then the word where it goes, then the file."""
        target = self.drop.free_name(place, self._dated(plain_name(file.name)))
        record = await in_thread(self.journal.get_run, file.run_id)
        report = Path(record.report_dir) if record is not None and record.report_dir else None
        try:
            await in_thread(put_beside, self.drop.real / target, report, message)
        except OSError as error:  # the report itself is where all reports are
            self._say(f"The report could not be put beside {target}: {error.strerror or error}.")
        await in_thread(self.taken.begin_closing, file, target)
        await self._put_away(file, target)

    async def _put_away(self, file: TakenFile, target: str) -> None:
        place = self.drop.real / target
        working = self.drop.real / file.working
        state = FileState.ARCHIVED if target.startswith(ARCHIVE) else FileState.FAILED
        if is_there(working):
            try:
                await in_thread(move, working, place)
            except OSError as error:
                raise StateError(
                    f"{working} cannot be moved to {place}: {error.strerror or error}.",
                    hint="Its run is done. Close what has the file open; the next start puts it away.",
                ) from None
        elif not is_there(place):
            state = FileState.GONE
            self._say(f"{working} is not there any more: somebody took it away. Its run {file.run_id} is done.")
        await in_thread(self.taken.close, file, state, self.sitting.context.clock.now())
        log.info("file.put_away", file=plain_name(file.name), target=target, run=file.run_id, state=state.value)

    def _dated(self, name: str, mark: str = "") -> str:
        now = self.sitting.context.clock.now()
        return dated(name, wall_clock(now, self.sitting.job.hours.zone).date(), mark)

    # --- what an earlier start left

    async def _go_on(self, file: TakenFile) -> bool:
        """Bring a file to its end that an earlier start left; False when the job must not take another."""
        if file.state is FileState.CLOSING:
            await self._put_away(file, file.target)
            return True
        working, dropped = self.drop.real / file.working, self.drop.real / file.name
        begun = await in_thread(self.journal.get_run, file.run_id) is not None
        if not begun and not is_there(working):
            # Claimed, and no more than that. If the file is still there it is as good as any other that waits.
            await in_thread(self.taken.forget, file)
            if not is_there(dropped):
                shown = self.drop.folder / plain_name(file.name)
                self._say(f"{shown} was claimed, but is not there any more: nothing was begun for it.")
            return True
        return await self._run(file)
