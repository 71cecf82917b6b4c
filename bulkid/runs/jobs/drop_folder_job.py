"""Runs the files of a drop folder: oldest first, each content once, also if the process is killed in between.

The journal knows of a file before it is moved: first the claim with the id of the run to begin, then where the file
goes. So every start first finishes what an earlier one left, by the place of the file: in the folder (claimed only), in
``working`` (its run is to be begun or finished), or at its target (only the claim is to be closed).
"""

import os
import platform
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from pathlib import Path

from bulkid.errors import (
    EXIT_OK,
    EXIT_ROWS_FAILED,
    EXIT_USAGE,
    InterruptedRunError,
    LockedError,
    SheetError,
    StateError,
    UsageError,
)
from bulkid.journal.claimed_files import ClaimedFile, ClaimedFiles, FileState
from bulkid.journal.names import new_run_id
from bulkid.journal.store import Journal, open_journal
from bulkid.logs import log
from bulkid.model import Phase, RunRecord, RunStatus
from bulkid.report.atomic import ReportError, reason
from bulkid.report.writer import ReportFiles
from bulkid.runs.concurrency import in_thread
from bulkid.runs.execution.connection import release_lock, take_lock
from bulkid.runs.execution.finish import summarise, write
from bulkid.runs.history import undone_by
from bulkid.runs.jobs.attempt import Job, JobAttempt, has_destination_of, is_unfinished, sends_to
from bulkid.runs.jobs.drop_folder import (
    ARCHIVE,
    FAILED,
    WORKING,
    DropFolder,
    FileSnapshot,
    dated,
    digest,
    is_there,
    move,
    plain_name,
    report_files,
    scan,
    write_report_beside,
)
from bulkid.runs.jobs.schedule import wall_clock
from bulkid.runs.options import RunResult
from bulkid.text import count_of

_EXIT_CODES = {RunStatus.COMPLETED: EXIT_OK, RunStatus.COMPLETED_WITH_FAILURES: EXIT_ROWS_FAILED}
"""The exit codes of runs that have come to their end, by status."""


class _Step(Enum):
    """What a start of a job does with a file that was claimed."""

    BEGIN = auto()  # no run was begun for it
    RUN_ANEW = auto()  # it was only tried in the sandbox
    PUT_AWAY = auto()  # the run has ended
    PUT_AWAY_UNDONE = auto()  # to resume the run would make the changes again
    LEAVE = auto()  # the run is not this job's to send
    RESUME = auto()


def _next_step(record: RunRecord | None, job: Job, journal: Journal) -> _Step:
    """Decide about a file by its run."""
    if record is None:
        return _Step.BEGIN
    if record.options.get("sandbox") and not job.options.sandbox:
        return _Step.RUN_ANEW
    if record.status in _EXIT_CODES:
        return _Step.PUT_AWAY
    if record.run_id in undone_by(journal.list_runs()):
        return _Step.PUT_AWAY_UNDONE
    is_bound = job.options.sandbox or record.phase == Phase.PLANNED  # without a plan it has sent nothing
    return _Step.LEAVE if is_bound and not has_destination_of(record, job) else _Step.RESUME


def has_open_files(job: Job, drop: DropFolder, state_dir: Path, database_url: str = "") -> bool:
    """Whether the next start of a job has a file to finish that was claimed: its run was begun, or is to be begun."""
    with open_journal(state_dir, database_url) as journal:
        return any(_is_to_finish(file, job, drop, journal) for file in ClaimedFiles(journal, drop.key).open())


def _is_to_finish(file: ClaimedFile, job: Job, drop: DropFolder, journal: Journal) -> bool:
    if not _is_of_job(file, job, drop, journal):
        return False
    if file.state is FileState.CLOSING:
        return True
    return _next_step(journal.get_run(file.run_id), job, journal) is not _Step.LEAVE


def _is_of_job(file: ClaimedFile, job: Job, drop: DropFolder, journal: Journal) -> bool:
    """Whether a job takes files of this name, or has begun the run of this one; else another job of the folder may."""
    if drop.takes(file.name):
        return True
    record = journal.get_run(file.run_id)
    return record is not None and record.options.get("job") == job.name


async def process_folder(attempt: JobAttempt, drop: DropFolder) -> None:
    """Finish the files that an earlier start left, then run the pending ones, until none is complete.

    Raises:
        BulkidError: The folder or the state cannot be used, or another process works on the folder.
    """
    context = attempt.context
    sheet = replace(attempt.job.options.sheet, follow_links=False)  # others may write to the folder
    attempt.job = replace(attempt.job, options=replace(attempt.job.options, sheet=sheet))
    await in_thread(drop.pending_files)  # raises where the folder does not exist
    await in_thread(drop.make_subfolders)
    with await in_thread(open_journal, context.state_dir, context.database_url) as journal:
        async with _lock_folder(drop, journal, attempt.job.name, context.clock.now()):
            await _FolderJob(attempt, drop, journal, ClaimedFiles(journal, drop.key)).process_all()


@asynccontextmanager
async def _lock_folder(drop: DropFolder, journal: Journal, job: str, now: float) -> AsyncIterator[None]:
    """Lock the folder: two processes would take each other's files."""
    record = {
        "run_id": job,
        "host": platform.node(),
        "pid": os.getpid(),
        "since": now,
        "source": plain_name(str(drop.folder)),
    }
    try:
        handle = await take_lock(journal, f"folder {drop.key}", record)
    except LockedError:
        raise LockedError(
            f"Another process works on the drop folder {drop.folder}.",
            hint="Wait until it has ended. If it is of the same job, it takes the files that wait.",
        ) from None
    try:
        yield
    finally:
        await release_lock(handle)


def _digest_or_none(path: Path) -> str | None:
    """A file's digest; None of what is no plain file any more, or cannot be read."""
    try:
        return digest(path)
    except OSError:
        return None


@dataclass(slots=True)
class _FolderJob:
    """One start of a job on its drop folder, which it has locked."""

    attempt: JobAttempt
    drop: DropFolder
    journal: Journal
    claims: ClaimedFiles
    skipped: set[FileSnapshot] = field(default_factory=set)  # files that could not be taken, as they were then

    async def process_all(self) -> None:
        """Finish the files that an earlier start left, then take complete files until there are none.

        Raises:
            BulkidError: As :func:`process_folder`.
        """
        unfinished = await in_thread(self.claims.open)
        self._report_unknown_files({file.working for file in unfinished})
        for file in unfinished:
            if not await self._resume_file(file):
                return
        stop, clock = self.attempt.context.stop, self.attempt.context.clock
        complete, growing = await scan(self.drop, clock, stop, self.skipped)
        while complete:
            for snapshot in complete:
                if stop.requested:
                    raise InterruptedRunError(f"{stop.reason}.", hint="The next start takes what waits.")
                if not await self._claim_file(snapshot):
                    return
            complete, growing = await scan(self.drop, clock, stop, self.skipped)
        if growing:
            self._note(f"{count_of(growing, 'file')} in {self.drop.folder} not complete: left for the next start.")
        elif not self.attempt.codes:
            self._note(f"No file waits in {self.drop.folder}.")

    def _note(self, text: str) -> None:
        self.attempt.context.hooks.note(text)

    def _report_unknown_files(self, known: Collection[str]) -> None:
        """Name the files in ``working`` that this state does not know. Another process may have claimed them."""
        try:
            paths = sorted((self.drop.real / WORKING).iterdir())
        except OSError as error:  # else its files would seem to be gone
            raise UsageError(
                f"The folder {self.drop.folder / WORKING} cannot be looked into: {error.strerror or error}.",
                hint="Let this user read and search it.",
            ) from None
        for path in paths:
            if f"{WORKING}/{path.name}" not in known and not path.name.startswith("."):
                self.attempt.context.hooks.warn(
                    f"{self.drop.folder / WORKING / plain_name(path.name)} was not taken by a run that this state "
                    f"directory knows: it is left alone. If no other bulkid works on it, move it back to "
                    f"{self.drop.folder}."
                )

    # --- taking a file

    async def _claim_file(self, snapshot: FileSnapshot) -> bool:
        """Take a file that is complete; False when the job must not take another."""
        if snapshot not in await in_thread(self.drop.pending_files):
            return True  # it changed while others ran, perhaps for hours: the next scan waits until it is complete
        try:
            content = await in_thread(digest, snapshot.path)
        except OSError as error:
            self._skip(snapshot, error)
            return True
        earlier = await in_thread(self._taken_before, content)
        if earlier is not None:
            await self._archive_duplicate(snapshot, earlier)
            return True
        working = self.drop.free_name(WORKING, plain_name(snapshot.path.name))
        now = self.attempt.context.clock.now()
        file = await in_thread(self.claims.claim, content, snapshot.path.name, working, new_run_id(now), now)
        if not await self._move_claimed(file, snapshot):
            return True
        return await self._run(file)

    def _taken_before(self, content: str) -> ClaimedFile | None:
        """The file of the same content that was taken for the same: by no other job, and not for another server.

        What another job of this folder takes may be for another organisation. A file whose server is not known counts:
        to send it twice could undo what users have changed since.
        """
        taken = [file for file in self.claims.claimed_before(content) if self.drop.takes(file.name)]
        certain = (file for file in taken if self._was_sent_here(file))
        return next(certain, next(filter(self._has_no_server, taken), None))

    def _was_sent_here(self, file: ClaimedFile) -> bool:
        record = self.journal.get_run(file.run_id)
        if record is not None:
            return has_destination_of(record, self.attempt.job)
        return bool(file.base_url) and sends_to(self.attempt.job, file.base_url, file.organization_id)

    def _has_no_server(self, file: ClaimedFile) -> bool:
        """Whether the run of a file was pruned by a version that did not keep where it went: perhaps here."""
        return not file.base_url and self.journal.get_run(file.run_id) is None

    async def _move_claimed(self, file: ClaimedFile, snapshot: FileSnapshot) -> bool:
        """Move a file that is claimed to where its run reads it; False when it is not the file that was claimed."""
        working = self.drop.real / file.working
        try:
            await in_thread(move, snapshot.path, working)
        except OSError as error:
            await in_thread(self.claims.forget, file)
            self._skip(snapshot, error)
            return False
        if await in_thread(_digest_or_none, working) != file.sha256:  # written to, or replaced, a moment ago
            await self._put_back(file)
            return False
        name = plain_name(file.name)
        log.info("file.taken", job=self.attempt.job.name, file=name, sha256=file.sha256, run=file.run_id)
        return True

    async def _put_back(self, file: ClaimedFile) -> None:
        """Move a file back into the folder, which is not as it was claimed: to be taken again."""
        working, place = self.drop.real / file.working, self.drop.free_name(".", file.name)
        try:
            if is_there(working):
                await in_thread(move, working, self.drop.real / place)
        except OSError as error:
            raise StateError(
                f"{working} is to be taken again, and cannot be moved back to {self.drop.folder}: "
                f"{error.strerror or error}.",
                hint="Close what has the file open; the next start moves it back.",
            ) from None
        await in_thread(self.claims.forget, file)
        name = Path(place).name
        if is_there(self.drop.real / name) and not self.drop.takes(name):  # another file has its name by now
            self.attempt.context.hooks.warn(
                f"{self.drop.folder / plain_name(name)} is not taken: its name does not match the job's glob "
                f"{self.drop.glob!r}. Rename it once {plain_name(file.name)} was taken."
            )

    def _skip(self, snapshot: FileSnapshot, error: OSError) -> None:
        self.skipped.add(snapshot)
        name = plain_name(snapshot.path.name)
        log.info("file.passed_over", file=name, error=error.strerror or str(error))
        if not is_there(snapshot.path):
            return  # taken away meanwhile
        self.attempt.context.hooks.warn(
            f"{self.drop.folder / name} cannot be taken ({error.strerror or error}): left for the next start."
        )

    async def _archive_duplicate(self, snapshot: FileSnapshot, earlier: ClaimedFile) -> None:
        """Move a file to the archive whose content was taken before."""
        target = self.drop.free_name(ARCHIVE, self._dated(plain_name(snapshot.path.name), "_duplicate"))
        try:
            await in_thread(move, snapshot.path, self.drop.real / target)
        except OSError as error:
            self._skip(snapshot, error)
            return
        name, same_as = plain_name(snapshot.path.name), plain_name(earlier.name)
        log.info("file.duplicate", file=name, same_as=same_as, run=earlier.run_id, target=target)
        self._note(
            f"{self.drop.folder / name} has the content of {same_as}, which run {earlier.run_id} took: not run again, "
            f"moved to {target}."
        )
        if await in_thread(self._has_no_server, earlier):
            self._note(
                f"The server of run {earlier.run_id} is not known any more. If it was another, run {target} by hand."
            )

    # --- its run

    async def _run(self, file: ClaimedFile) -> bool:
        """Run a file that is claimed, or resume its run; False when the job must not take another."""
        record = await in_thread(self.journal.get_run, file.run_id)
        step = await in_thread(_next_step, record, self.attempt.job, self.journal)
        if step is _Step.RUN_ANEW:
            if await in_thread(_digest_or_none, self.drop.real / file.working) != file.sha256:
                await self._put_back(file)
                return True
            self._note(f"{plain_name(file.name)}: run {file.run_id} was of the sandbox: the file is run anew.")
            run_id = new_run_id(self.attempt.context.clock.now())
            file, record = await in_thread(self.claims.renew, file, run_id), None
        elif record is not None and step is not _Step.RESUME:
            await self._put_away_or_leave(file, record, step)
            return True
        shown = str(self.drop.folder / plain_name(file.name))
        try:
            if record is None:
                working = self.drop.real / file.working
                result = await self.attempt.run(working, name=shown, run_id=file.run_id)
            else:
                result = await self.attempt.resume(file.run_id)
        except SheetError as error:
            log.info("file.failed", file=plain_name(file.name), error=error.message)
            name = "" if shown in error.message else f"{shown}: "
            self.attempt.context.hooks.warn(f"{name}{error.message} {error.hint}".strip())
            self.attempt.codes.append(error.exit_code)
            await self._close(file, FAILED, f"{error.message}\n{error.hint}".strip())
            return True
        return await self._put_by_result(file, result)

    async def _put_away_or_leave(self, file: ClaimedFile, record: RunRecord, step: _Step) -> None:
        """Put a file away whose run has ended or was undone, or leave one alone whose run is not this job's to send."""
        if step is _Step.LEAVE:
            self._leave(file, record)
            return
        if step is _Step.PUT_AWAY_UNDONE:
            self._note(f"{plain_name(file.name)}: run {record.run_id} was undone since, and is not continued.")
        else:  # only its file was not put away
            self.attempt.codes.append(_EXIT_CODES[record.status])
            if not await in_thread(has_destination_of, record, self.attempt.job):
                self._note(
                    f"{plain_name(file.name)}: run {record.run_id} has sent it to {record.base_url}. To run it for "
                    "this job's server too, drop it again."
                )
        await self._close(file, ARCHIVE)

    def _leave(self, file: ClaimedFile, record: RunRecord) -> None:
        in_sandbox = self.attempt.job.options.sandbox
        where = "without the sandbox" if in_sandbox else "for that server and organisation"
        self.attempt.context.hooks.warn(
            f"{self.drop.folder / file.working} is left alone: its run {record.run_id} is one of "
            f"{record.base_url}. Start the job {where} to finish it."
        )
        if not in_sandbox:
            self.attempt.codes.append(EXIT_USAGE)

    async def _put_by_result(self, file: ClaimedFile, result: RunResult) -> bool:
        """Put a file where its run's end says; False when it stays, so that the next start resumes its run."""
        of_the_sheet = isinstance(result.error, SheetError) or result.run.organization_id
        if result.exit_code == EXIT_USAGE and not of_the_sheet:
            return False  # the run never connected: a setting is wrong
        if is_unfinished(result):
            return False
        if result.exit_code == EXIT_USAGE:
            # The report of a sheet that cannot be read to its end lacks rows, and so does its retry.csv.
            report = None if isinstance(result.error, SheetError) else result.report
            await self._close(file, FAILED, str(result.error or ""), report)
        else:
            await self._close(file, ARCHIVE, report=result.report)
        return True

    # --- putting it away

    async def _close(
        self, file: ClaimedFile, destination: str, message: str = "", report: ReportFiles | None = None
    ) -> None:
        """Put a file away beside its report: first write the report, then journal the target, then move the file."""
        name = self._dated(plain_name(file.name))
        target = self.drop.free_name(destination, name)
        try:
            files = await in_thread(report_files, report or await in_thread(self._report_again, file, message), message)
            target = await in_thread(self.drop.free_name_with, files, destination, name)
            await in_thread(write_report_beside, self.drop.real / target, files)
        except (OSError, ReportError) as error:  # the report itself is where all reports are, or in the journal
            self._note(f"The report could not be put beside {target}: {reason(error).rstrip('.')}.")
        await in_thread(self.claims.begin_closing, file, target)
        await self._move_to_target(file, target)

    def _report_again(self, file: ClaimedFile, message: str) -> ReportFiles | None:
        """Write the report of a run that another attempt or host has ended; None where it has not read all rows.

        Raises:
            ReportError: It cannot be written.
        """
        record = self.journal.get_run(file.run_id)
        if record is None or (message and record.phase == Phase.READING):
            return None
        folder = Path(record.report_dir)
        return write(self.journal, record, folder, (), summarise(self.journal, record, folder))

    async def _move_to_target(self, file: ClaimedFile, target: str) -> None:
        destination = self.drop.real / target
        working = self.drop.real / file.working
        state = FileState.ARCHIVED if target.startswith(ARCHIVE) else FileState.FAILED
        if is_there(working):
            try:
                await in_thread(move, working, destination)
            except OSError as error:
                raise StateError(
                    f"{working} cannot be moved to {destination}: {error.strerror or error}.",
                    hint="Its run is done. Close what has the file open; the next start puts it away.",
                ) from None
        elif not is_there(destination):
            state = FileState.GONE
            self._note(
                f"{working} is not there any more: another program or a person removed it. "
                f"Its run {file.run_id} is done."
            )
        await in_thread(self.claims.close, file, state, self.attempt.context.clock.now())
        log.info("file.put_away", file=plain_name(file.name), target=target, run=file.run_id, state=state.value)

    def _dated(self, name: str, mark: str = "") -> str:
        now = self.attempt.context.clock.now()
        return dated(name, wall_clock(now, self.attempt.job.schedule.zone).date(), mark)

    # --- what an earlier start left

    async def _resume_file(self, file: ClaimedFile) -> bool:
        """Finish a file that an earlier start left; False when the job must not take another."""
        if file.state is FileState.CLOSING:
            await self._move_to_target(file, file.target)
            return True
        working, dropped = self.drop.real / file.working, self.drop.real / file.name
        begun = await in_thread(self.journal.get_run, file.run_id) is not None
        if not begun and not is_there(working):
            # Claimed, and no more than that. If the file is still there, it is pending like any other.
            await in_thread(self.claims.forget, file)
            if not is_there(dropped):
                shown = self.drop.folder / plain_name(file.name)
                self._note(f"{shown} was claimed, but is not there any more: nothing was begun for it.")
            return True
        if not begun and await in_thread(_digest_or_none, working) not in {None, file.sha256}:
            await self._put_back(file)  # it changed while it was claimed, and a kill came before that was seen
            return True
        if not await in_thread(_is_of_job, file, self.attempt.job, self.drop, self.journal):
            self._note(
                f"{self.drop.folder / file.working} was taken by another job, or before this job's glob changed: it is "
                f"left alone. If no job finishes it, move it back to {self.drop.folder}."
            )
            return True
        return await self._run(file)
