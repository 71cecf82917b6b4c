"""Everything that the console's handlers share: settings, the archive, drafts, runs under way, who may enter."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from aiohttp import web

from bulkid import runs
from bulkid.clock import Clock, SystemClock
from bulkid.errors import BulkidError, UsageError
from bulkid.journal.console import ConsoleBook
from bulkid.model import RunRecord
from bulkid.planning import count_of
from bulkid.web.actors import Actor
from bulkid.web.drafts import Draft, Drafts, PreviewJob, departures
from bulkid.web.entrance import Entrance
from bulkid.web.live import Live
from bulkid.web.refusals import RefusalLimit
from bulkid.web.supervisor import Job, Supervisor
from bulkid.web.uploads import KEPT_S, Upload, Uploads

DOCTOR_KEPT_S: Final = 30.0
"""How long an examination of the connection is shown again before another one is made."""

_NAMED: Final = 3  # accounts that a refusal names


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Where and how to serve.

    Args:
        host: The address to listen on.
        port: The port; 0 takes a free one.
        certfile: Certificate chain (PEM) for TLS.
        keyfile: Its key (PEM), where the chain does not hold it.
        behind_proxy: A reverse proxy that ends TLS stands before the console and says who asks (X-Forwarded-For).
        public_names: Host names under which browsers reach the console, besides the address itself.
        require_approval: Whoever uploaded a sheet, or said how to read it, cannot start it.
    """

    host: str = "127.0.0.1"
    port: int = 8766
    certfile: Path | None = None
    keyfile: Path | None = None
    behind_proxy: bool = False
    public_names: Sequence[str] = ()
    require_approval: bool = False


class NotAllowedError(BulkidError):
    """Somebody else must do this."""


@dataclass(slots=True)
class Console:
    """What the handlers work with; made by :func:`bulkid.web.server.serve`."""

    serve: ServeOptions
    target: runs.Target
    options: runs.RunOptions
    context: runs.Context
    archive: runs.Archive
    supervisor: Supervisor
    entrance: Entrance
    book: ConsoleBook
    clock: Clock = field(default_factory=SystemClock)
    uploads: Uploads = field(init=False)
    drafts: Drafts = field(init=False)
    live: Live = field(init=False)
    refusals: RefusalLimit = field(init=False)
    _findings: tuple[float, list[runs.Finding]] | None = None
    _examining: anyio.Lock = field(default_factory=anyio.Lock)

    def __post_init__(self) -> None:
        self.uploads = Uploads(self.state_dir / "uploads")
        self.uploads.drop_old(self.clock.now() - KEPT_S)
        self.drafts = Drafts(self.target, self.options, self.context)
        self.live = Live(self.archive, self.supervisor)
        self.refusals = RefusalLimit(self.clock.monotonic)

    @property
    def state_dir(self) -> Path:
        """The state directory, shared with terminals and scheduled jobs."""
        return self.context.state_dir

    # --- previews and runs

    async def draft(self, upload_id: str) -> Draft:
        """The draft of an upload.

        Raises:
            UsageError: There is no such upload.
        """
        upload = await anyio.to_thread.run_sync(self.uploads.get, upload_id)
        return await self.drafts.get(upload)

    def begin_preview(self, draft: Draft, actor: Actor) -> PreviewJob:
        """Begin to make a preview; it is made in the server's task group, whoever waits for it."""
        job = self.drafts.begin_preview(draft, actor.name)

        async def make() -> None:
            await self.drafts.make_preview(draft.upload, job)

        self.supervisor.spawn(make)
        return job

    async def start(
        self, draft: Draft, preview_id: str, actor: Actor, *, first: int | None = None, really: bool = False
    ) -> Job:
        """Run a sheet as its preview showed it, or its first accounts that change, for a trial.

        Args:
            draft: The sheet.
            preview_id: The preview that was looked at.
            actor: Who starts it.
            first: How many accounts a trial is to have; None for all.
            really: A plan that changes more of the organisation than ``max_change`` allows is meant so.

        Raises:
            UsageError: The preview is not the one that was shown, or holds nothing that may be sent.
            BulkidError: The run could not be begun.
        """
        shown = draft.preview
        seen = None if shown is None else shown.result
        if shown is None or seen is None or shown.preview_id != preview_id:
            raise UsageError(
                "This preview is not the present one any more: nothing was sent.", hint="Look at the new preview first."
            )
        self._require_startable(draft.upload, seen)
        if self.needs_another(draft, actor):
            raise NotAllowedError(
                "Whoever uploaded a sheet, or said how to read it, cannot start it here: nothing was sent.",
                hint="Ask another operator to look at the preview and to start it.",
            )
        if seen.excess is not None and first is None and not really:
            raise UsageError(
                f"{seen.excess.sentence}: nothing was sent.",
                hint="Look at the preview again. If all of it is meant, say so beside the button that starts it.",
            )
        upload = draft.upload
        options = replace(upload.reading.options(self.options), first=first, yes_really=really)

        def agreed(now: runs.Preview) -> bool:
            differ = departures(seen, now, first)
            if differ:
                draft.preview = None  # what it showed is past
                raise UsageError(
                    f"The directory has changed since the preview: {count_of(len(differ), 'account')} would be changed "
                    f"otherwise than shown ({', '.join(differ[:_NAMED])}{' ...' if len(differ) > _NAMED else ''}). "
                    "Nothing was sent.",
                    hint="Make the preview again, look at it, and start that.",
                )
            return True

        async def work(context: runs.Context) -> runs.RunResult:
            if upload.undo_of:
                return await runs.undo(upload.undo_of, self.target, options, context)
            return await runs.run(upload.path, self.target, options, context, name=upload.name)

        job = await self.supervisor.start(work, actor.name, agreed)
        draft.preview = None  # once is enough: what it showed is being done
        return job

    def needs_another(self, draft: Draft, actor: Actor) -> bool:
        """Whether somebody else than this actor must start a sheet."""
        if not self.serve.require_approval:
            return False
        return actor.person.casefold() in {name.casefold() for name in draft.upload.by}

    def _require_startable(self, upload: Upload, seen: runs.Preview) -> None:
        if seen.faults and not upload.reading.skip_invalid:
            raise UsageError(
                f"{count_of(seen.invalid_rows, 'row')} {'is' if seen.invalid_rows == 1 else 'are'} invalid: "
                "nothing was sent.",
                hint="Mend them, or say that the good rows are to go without them.",
            )

    def require_resumable(self, run: RunRecord) -> None:
        """Refuse to go on with a run that this console has no right to finish.

        Raises:
            UsageError: It never came to its plan, or belongs to another kind of server.
        """
        if run.phase != "planned":
            raise UsageError(
                f"Run {run.run_id} ended before its plan was confirmed; nothing was sent.",
                hint="Upload the sheet again, and look at the preview.",
            )
        self.require_same_server(run, then=f"Go on in a terminal: bulkid resume {run.run_id}")

    async def upload_of(self, run: RunRecord) -> Upload | None:
        """The sheet that a run was begun with here, as long as it is kept."""
        path = Path(str(run.options.get("path") or "."))
        try:
            upload = await anyio.to_thread.run_sync(self.uploads.get, path.parent.name)
        except UsageError:
            return None
        return upload if upload.path.absolute() == path else None

    def require_same_server(self, run: RunRecord, *, then: str) -> None:
        """Refuse a run of the sandbox on a real server, and the other way round.

        Raises:
            UsageError: It is one.
        """
        if bool(run.options.get("sandbox")) is not self.options.sandbox:
            where = "the sandbox" if run.options.get("sandbox") else "a real server"
            raise UsageError(
                f"Run {run.run_id} was begun on {where}, and this console serves another one.",
                hint=then,
            )

    async def resume(self, run: RunRecord, actor: Actor) -> Job:
        """Go on with an interrupted run.

        Raises:
            BulkidError: It cannot go on.
        """
        self.require_resumable(run)

        async def work(context: runs.Context) -> runs.RunResult:
            return await runs.resume(run.run_id, self.target, context)

        return await self.supervisor.start(work, actor.name, bool)

    # --- the connection

    async def findings(self, *, again: bool = False) -> tuple[float, list[runs.Finding]]:
        """What ``doctor`` says, and when it said so; asked anew when that was a while ago."""
        async with self._examining:
            now = self.clock.now()
            if self._findings is None or again or now - self._findings[0] > DOCTOR_KEPT_S:
                found = await runs.doctor(self.target, self.options, self.context)
                self._findings = (self.clock.now(), found)
            return self._findings


CONSOLE: Final = web.AppKey("console", Console)


def console_of(request: web.Request) -> Console:
    """The console that a request is for."""
    return request.app[CONSOLE]
