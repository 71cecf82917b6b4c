"""A sheet as the input of a run: read from its file, or from the journal by a resume."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from bulkid.engine.signals import Stop
from bulkid.errors import InterruptedRunError, UsageError
from bulkid.model import RunRecord
from bulkid.runs.concurrency import in_thread, in_thread_until_cancelled, until_stopped
from bulkid.runs.inputs.run_input import Rows, RunJournal
from bulkid.sheet import CHUNK_ROWS, CancelToken, RowParser, Sheet, SheetInfo, SheetOptions, open_sheet

if TYPE_CHECKING:
    from bulkid.journal.store import Journal

Source = str | Path | BinaryIO


@dataclass(frozen=True, slots=True)
class SheetInput:
    """An open sheet."""

    sheet: Sheet
    source: Source
    command: str = "run"

    @property
    def info(self) -> SheetInfo:
        """The columns of the sheet, and notes about it; reading the rows may add notes."""
        return self.sheet.info

    @property
    def stored_options(self) -> Mapping[str, Any]:
        """The path of the sheet for a resume; empty for standard input."""
        return {"path": str(Path(self.source).absolute()) if isinstance(self.source, str | Path) else ""}

    async def read(self, journal: RunJournal | None = None, /) -> Rows:
        """Read the sheet chunk by chunk in a worker thread, and close it; a cancellation ends this at once."""
        rows = Rows(self.sheet.info)

        def work() -> None:
            for chunk in self.sheet.chunks(CHUNK_ROWS):
                if journal is not None:
                    journal.add_rows(chunk)
                rows.add(chunk)
                if self.sheet.token.cancelled:
                    raise InterruptedRunError(f"The reading of {self.info.source} was stopped.")
            self.sheet.close()  # the child that read it holds as much memory as pandas

        await in_thread_until_cancelled(self.sheet.token.cancel, work)
        rows.info = self.info
        return rows


@dataclass(frozen=True, slots=True)
class JournaledSheet:
    """The rows of a sheet that are all in the journal of an interrupted run."""

    journal: "Journal"
    record: RunRecord
    command: str = "run"

    @property
    def info(self) -> SheetInfo:
        """The columns in the run's record."""
        return SheetInfo.from_json(self.record.sheet)

    @property
    def stored_options(self) -> Mapping[str, Any]:
        """The options in the run's record."""
        return self.record.options

    async def read(self, _journal: RunJournal | None = None, /) -> Rows:
        """Parse the journaled rows again."""
        return await in_thread(self._parse)

    def _parse(self) -> Rows:
        rows = Rows(self.info)
        parser = RowParser(rows.info)
        rows.add(parser.parse(row, cells) for row, cells, _ in self.journal.iter_rows(self.record.run_id))
        return rows


async def open_sheet_input(
    stack: AsyncExitStack, source: Source, options: SheetOptions, *, name: str | None, stop: Stop
) -> SheetInput:
    """Open a sheet in a worker thread; the stack closes it. A stop or a cancellation ends this at once.

    Raises:
        SheetError: The sheet as a whole cannot be read.
        InterruptedRunError: A stop was requested.
    """
    token = CancelToken()

    def work() -> Sheet:
        # enter the stack here: the caller may be cancelled when the sheet has just been opened
        return stack.enter_context(open_sheet(source, options, name=name, token=token))

    async with until_stopped(stop):
        sheet = await in_thread_until_cancelled(token.cancel, work)
    return SheetInput(sheet, source)


def stored_path(record: RunRecord) -> str:
    """Return the path of the sheet of a run that ended before all of its rows were journaled.

    Raises:
        UsageError: The sheet came from standard input.
    """
    path = str(record.options.get("path", ""))
    if not path:
        raise UsageError(
            f"Run {record.run_id} ended while standard input was still being read; nothing was sent.",
            hint="Start it again with the same input.",
        )
    return path
