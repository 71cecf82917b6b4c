"""A run in a terminal: messages and the confirmation on standard error, and log settings.

What prints is imported for the first message: a run that is quiet may have none, and ``check`` has no run.
"""

import os
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import anyio

from bulkid.config.settings import Settings
from bulkid.model import RunRecord
from bulkid.runs import STAGES, Hooks, Preview, RunResult
from bulkid.text import printable_line

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from rich.console import Console
    from rich.progress import Progress as Bar

    from bulkid.runs import Progress

CTRL_C_WAIT_S = 0.2
"""How long after the end of the input the signal of Ctrl+C may take on Windows."""

PLAIN_INTERVAL_S = 5.0
"""Seconds between two lines of progress on a pipe."""


class TerminalHooks(Hooks):
    """Hooks that print to a terminal or a pipe.

    The progress display runs in ``tasks``; with ``ask`` the user must confirm the plan. A job among several has a
    ``name``, which precedes its messages, and shows its progress with ``show``. Without ``err`` they print to a console
    of their own on standard error.
    """

    def __init__(
        self,
        err: "Console | None",
        settings: Settings,
        tasks: "TaskGroup",
        *,
        ask: bool = False,
        show_all: bool = False,
        name: str = "",
        show: "Callable[[Progress], Awaitable[None]] | None" = None,
    ) -> None:
        self._console = err
        self._quiet = settings.quiet
        self._verbose = settings.verbose
        self.asks = ask
        self._show_all = show_all
        self._at_prompt = False
        self._undoes = False
        self._tasks = tasks
        self._prefix = f"{name}: " if name else ""
        self._show = show
        self._display: anyio.CancelScope | None = None
        self.on_concluded: Callable[[RunResult], None] | None = None  # what else is done with a job's finished run

    @property
    def _err(self) -> "Console":
        if self._console is None:
            from bulkid.cli import render

            self._console = render.console(stderr=True)
        return self._console

    def began(self, record: RunRecord) -> None:
        """Note whether the run is an undo."""
        self._undoes = record.command == "undo"

    def say(self, text: str) -> None:
        """Print a sentence, even with ``--quiet``."""
        self._err.print(f"{self._prefix}{text}")

    def resumed(self, record: RunRecord, rows: int | None) -> None:
        """Name the run that is resumed, and what is left of it."""
        if not self._quiet:
            from bulkid.runs import descriptions

            self.say(printable_line(descriptions.resuming(record, rows)))

    def stopping(self, text: str) -> None:
        """Say that a signal came; at the prompt, where no request is in flight, only end its line."""
        self.say("" if self._at_prompt else text)

    def note(self, text: str) -> None:
        """Print a note, unless the run is quiet."""
        if not self._quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Print a warning, even with ``--quiet``."""
        from bulkid.cli import render

        render.print_notes(self._err, [f"{self._prefix}{text}"])

    def stage(self, name: str) -> None:
        """End the progress display of the stage before; name the new one where more is wanted."""
        self._end_display()
        if self._verbose and not self._quiet:
            self.say(f"{STAGES[name]} ...")

    def _end_display(self) -> None:
        if self._display is not None:
            self._display.cancel()
            self._display = None

    def progress(self, progress: "Progress") -> None:
        """Show the sending until the next stage."""
        if not self._quiet:
            self._display = anyio.CancelScope()
            self._tasks.start_soon(self._show_until_cancelled, progress, self._display)

    async def _show_until_cancelled(self, progress: "Progress", scope: anyio.CancelScope) -> None:
        with scope:
            await (self._show(progress) if self._show else show_progress(self._err, progress))

    def concluded(self, result: RunResult) -> None:
        """Pass the result of one of a job's runs to ``on_concluded``."""
        if self.on_concluded is not None:
            self.on_concluded(result)

    async def confirm(self, preview: Preview) -> bool:
        """Print the plan (of a job among several, without its table), and ask for confirmation where that is needed."""
        if self._prefix or not self._quiet:
            self._print_plan(preview)
        return await self._agreed(preview) if self.asks and preview.plan.changes else True

    def _print_plan(self, preview: Preview) -> None:
        from bulkid.cli import render
        from bulkid.cli.plan_view import deletion_lines, plan_lines, print_plan
        from bulkid.cli.row_errors import print_row_errors

        if self._prefix:
            for line in deletion_lines(preview):
                self.warn(line)
            for line in plan_lines(preview, verbose=self._verbose):
                self.note(line)
            return
        render.print_notes(self._err, preview.info.notes)
        if self.asks:  # the user also agrees to the rows that are skipped
            print_row_errors(self._err, render.sheet_label(preview.info), preview.row_errors, show_all=self._show_all)
        print_plan(self._err, preview, show_all=self._show_all, verbose=self._verbose)

    async def _agreed(self, preview: Preview) -> bool:
        """Say what is skipped, and ask, below the target, which the plan ends with.

        Where accounts would be deleted, the user must type their number.
        """
        from rich.text import Text

        from bulkid.cli.plan_view import print_deletions
        from bulkid.runs import descriptions

        *notes, question = descriptions.question(preview, undo=self._undoes)
        deleted = descriptions.count_actions(preview.plan.changes).delete
        if self._quiet:
            print_deletions(self._err, preview)
            target = descriptions.destination(preview.base_url, preview.organization_id)
            self._err.print(Text(printable_line(target.long)))
        for line in notes:
            self._err.print(Text(line))
        self._err.print(f"{question} " if deleted else f"{question} [y/N] ", end="")
        self._at_prompt = True
        answer = await _line_from_stdin()
        if not answer and sys.platform == "win32":  # Ctrl+C ends the input there, before its signal arrives
            await anyio.sleep(CTRL_C_WAIT_S)
        self._at_prompt = False
        if not answer.endswith("\n"):  # the end of the input
            self._err.print()
        if deleted:
            agreed = descriptions.confirms_deletions(answer, deleted)
            if not agreed and answer.strip():
                self._err.print(f"That is not the number of accounts to delete ({deleted:,}).")
            return agreed
        return answer.strip().casefold() in {"y", "yes"}


async def _line_from_stdin() -> str:
    """Wait for a line that the user types; a cancellation ends the wait.

    The thread that waits for the line is a daemon that reads the descriptor itself, so that the end of the process
    waits neither for the thread nor for the lock of ``sys.stdin``.
    """
    import asyncio

    loop, answered = asyncio.get_running_loop(), anyio.Event()
    descriptor, typed = sys.stdin.fileno(), bytearray()

    def read() -> None:
        # The end of the input, or a terminal that is gone, is an answer too: no.
        with suppress(OSError):
            while (more := os.read(descriptor, 1024)) and b"\n" not in more:
                typed.extend(more)
            typed.extend(more)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(answered.set)

    threading.Thread(target=read, name="prompt", daemon=True).start()
    await answered.wait()
    return typed.decode("utf-8", "replace")


async def show_progress(err: "Console", progress: "Progress", name: str = "", shared_bar: "Bar | None" = None) -> None:
    """Show ``progress`` until cancelled: live on a terminal that moves its cursor, else as a plain line now and then.

    A job among several has a name, and a bar that is refreshed for all of them.
    """
    from bulkid.cli.progress_line import progress_line

    prefix = f"{name}: " if name else ""
    while not err.is_interactive:
        await anyio.sleep(PLAIN_INTERVAL_S)
        err.print(f"{prefix}{progress_line(progress.snapshot()).plain}")
    from bulkid.cli.progress_display import REFRESH_INTERVAL_S, progress_bar

    with ExitStack() as stack:
        bar = shared_bar or stack.enter_context(progress_bar(err))
        task = bar.add_task(name, total=None, snapshot=progress.snapshot())
        stack.callback(bar.remove_task, task)
        while True:
            bar.update(task, snapshot=progress.snapshot())
            if shared_bar is None:
                bar.refresh()
            await anyio.sleep(REFRESH_INTERVAL_S)


# --- logs


class _CurrentStderr:
    """Standard error as it is at the moment of writing: a live display puts itself in between."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()


def _password_of(url: str) -> str:
    """The password within an address; empty when there is none, or when it is no address."""
    try:
        return unquote(urlsplit(url).password or "")
    except ValueError:
        return ""


def use_logs(settings: Settings) -> None:
    """Send logs to standard error in the form and detail that the settings ask for."""
    from bulkid.logs import configure
    from bulkid.redaction import register_secret

    for secret in (settings.client_secret, settings.access_token, settings.database_url):
        if secret:
            register_secret(secret.reveal())
    if settings.database_url and (password := _password_of(settings.database_url.reveal())):
        register_secret(password)
    stream: Any = _CurrentStderr()
    configure(format=settings.log_format, verbosity=-1 if settings.quiet else settings.verbose, stream=stream)
