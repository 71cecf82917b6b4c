"""A sheet as the input of a run: read from its file, or again from the journal of a run."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bulkid.engine import Stop
from bulkid.errors import UsageError
from bulkid.journal import Journal
from bulkid.model import RunRecord, SheetRow
from bulkid.runs.concurrency import in_thread, in_thread_until_cancelled, until_stopped
from bulkid.runs.inputs.run_input import CHUNK_ROWS, Rows, RunJournal
from bulkid.sheet import CancelToken, RowParser, Sheet, SheetInfo, SheetOptions, open_sheet

Source = str | Path | BinaryIO


@dataclass(frozen=True, slots=True)
class SheetInput:
    """An open sheet."""

    sheet: Sheet
    source: Source
    command: str = "run"

    @property
    def info(self) -> SheetInfo:
        """What is known of the sheet by now; reading adds notes that the header alone could not tell."""
        return self.sheet.info

    @property
    def stored_options(self) -> Mapping[str, Any]:
        """The path of the sheet, from where a resume reads it again; empty for standard input."""
        return {"path": str(Path(self.source).absolute()) if isinstance(self.source, str | Path) else ""}

    async def read(self, journal: RunJournal | None = None, /) -> Rows:
        """Read the sheet chunk by chunk in worker threads; a cancellation ends the reading at once."""
        rows = Rows(self.sheet.info)
        chunks = self.sheet.chunks(CHUNK_ROWS)

        def step() -> bool:
            chunk = next(chunks, None)
            if chunk is None:
                return False
            if journal is not None:
                journal.add_rows(chunk)
            rows.add(chunk)
            return True

        while await in_thread_until_cancelled(self.sheet.token.cancel, step):
            pass
        rows.info = self.info
        return rows


@dataclass(frozen=True, slots=True)
class JournaledSheet:
    """The rows of a sheet that an interrupted run has in the journal whole, as they came in."""

    journal: Journal
    record: RunRecord
    command: str = "run"

    @property
    def info(self) -> SheetInfo:
        """The columns as the journal has them."""
        return SheetInfo.from_json(self.record.sheet)

    @property
    def stored_options(self) -> Mapping[str, Any]:
        """What the run's record has already."""
        return self.record.options

    async def read(self, _journal: RunJournal | None = None, /) -> Rows:
        """Parse the rows again; they are in the journal already."""
        return await in_thread(self._parse)

    def _parse(self) -> Rows:
        rows = Rows(self.info)
        rows.add(_parse_all(RowParser(rows.info), self.journal.iter_rows(self.record.run_id)))
        return rows


def _parse_all(parser: RowParser, stored: Iterable[tuple[int, tuple[str, ...], bool]]) -> Iterator[SheetRow]:
    for row, cells, _ in stored:
        yield parser.parse(row, cells)


async def open_sheet_input(
    stack: AsyncExitStack, source: Source, options: SheetOptions, *, name: str | None, stop: Stop
) -> SheetInput:
    """Open a sheet in a worker thread; the stack closes it. A stop, or a cancellation, ends the opening at once.

    Raises:
        SheetError: The sheet as a whole cannot be read.
        InterruptedRunError: A stop was requested.
    """
    token = CancelToken()

    def work() -> Sheet:
        # entered here: the caller may be cancelled just as the sheet is open
        return stack.enter_context(open_sheet(source, options, name=name, token=token))

    async with until_stopped(stop):
        sheet = await in_thread_until_cancelled(token.cancel, work)
    return SheetInput(sheet, source)


def stored_path(record: RunRecord) -> str:
    """Give the path of the sheet of a run that ended before its rows were whole.

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
