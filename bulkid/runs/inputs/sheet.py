"""From a file to requests: reads the sheet chunk by chunk, into memory (check, plan) or through the journal (run)."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import anyio.to_thread

from bulkid.consume import consume
from bulkid.engine import Stop
from bulkid.errors import UsageError
from bulkid.journal import Journal
from bulkid.model import RowError, RowRequest, RunRecord, RunStatus, SheetRow, Status
from bulkid.planning import offline_row_errors
from bulkid.report.summary import build_summary
from bulkid.runs.concurrency import in_thread_until_cancelled, until_stopped
from bulkid.runs.inputs.origin import Given
from bulkid.runs.options import CheckResult, count_invalid_rows
from bulkid.sheet import CancelToken, RowParser, Sheet, SheetInfo, SheetOptions, open_sheet
from bulkid.text import fold

CHUNK_ROWS = 10_000
"""Rows per trip to a worker thread and per transaction: large enough that neither shows, small enough for memory."""

Source = str | Path | BinaryIO


@dataclass(slots=True)
class Rows:
    """What a sheet holds, once read: the requests of the good rows and the faults of the others."""

    info: SheetInfo
    requests: list[RowRequest] = field(default_factory=list, repr=False)
    row_errors: list[RowError] = field(default_factory=list, repr=False)
    count: int = 0
    given: Given | None = None  # the changes themselves, where they are no sheet's
    released_accounts: int | None = None  # accounts of the requests that are no longer here

    @property
    def accounts(self) -> int:
        """How many accounts the good rows name, as far as the sheet alone tells."""
        if self.released_accounts is not None:
            return self.released_accounts
        return len({fold(request.account_id or request.name) for request in self.requests})

    def release(self) -> Iterator[RowRequest]:
        """Give each request and let go of it: merged into what is wanted of its account, it is not needed any more.

        100,000 of them take 30 MB, just when the plan is made.
        """
        self.released_accounts = self.accounts
        left, self.requests = self.requests, []
        return consume(left)

    def add(self, chunk: Iterable[SheetRow]) -> None:
        """Take in a chunk of parsed rows."""
        for row in chunk:
            self.count += 1
            if row.request is not None:
                self.requests.append(row.request)
            else:
                self.row_errors.extend(row.row_errors)


def check(
    source: Source,
    options: SheetOptions | None = None,
    *,
    name: str | None = None,
    token: CancelToken | None = None,
) -> CheckResult:
    """Read a sheet offline and name every fault of every row. Sends nothing and writes nothing.

    Raises:
        SheetError: The sheet as a whole cannot be read.
        InterruptedRunError: The token was cancelled.
    """
    started = time.monotonic()
    with open_sheet(source, options or SheetOptions(), name=name, isolated=True, token=token) as sheet:
        return check_opened(sheet, started)


def check_opened(sheet: Sheet, started: float | None = None) -> CheckResult:
    """Like :func:`check`, of a sheet that is open.

    Args:
        sheet: It stays open.
        started: When the work began, on the monotonic clock; None: now.

    Raises:
        SheetError: The sheet as a whole cannot be read.
    """
    started = time.monotonic() if started is None else started
    rows = Rows(sheet.info)
    for chunk in sheet.chunks(CHUNK_ROWS):
        rows.add(chunk)
    # Reading adds notes that the header alone could not tell, so the info is taken at the end.
    info = sheet.info
    found = [*rows.row_errors, *offline_row_errors(rows.requests, info.columns())]
    row_errors = tuple(sorted(found, key=lambda row_error: row_error.row))
    status = RunStatus.REFUSED if row_errors else RunStatus.COMPLETED
    summary = offline_summary(rows, row_errors, status, counters={"elapsed_s": time.monotonic() - started})
    return CheckResult(info, rows.count, rows.accounts, row_errors, summary)


def offline_summary(
    rows: Rows,
    row_errors: tuple[RowError, ...],
    status: RunStatus,
    *,
    unchanged: int = 0,
    accounts: int | None = None,
    eta_s: float | None = None,
    command: str = "check",
    counters: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The summary of what never became a run: as ``summary.json``, without a run's id, all good rows pending."""
    invalid = count_invalid_rows(row_errors)
    counts = {
        Status.INVALID: invalid,
        Status.UNCHANGED: unchanged,
        Status.PENDING: rows.count - invalid - unchanged,
    }
    record = RunRecord("", 0.0, status, command, rows.info.source, "", "", "", 0, counters=counters or {})
    return {
        **build_summary(record, counts, rows.accounts if accounts is None else accounts, None, eta_s),
        "run_id": None,
    }


def nothing_summary(command: str) -> dict[str, Any]:
    """The summary of a command that ended before a single row could be read."""
    record = RunRecord("", 0.0, RunStatus.REFUSED, command, "", "", "", "", 0)
    return {**build_summary(record, {}, 0, None), "run_id": None}


async def open_within(
    stack: AsyncExitStack, source: Source, options: SheetOptions, *, name: str | None, stop: Stop
) -> Sheet:
    """Open a sheet in a worker thread; the stack closes it. A stop, or a cancellation, ends the opening at once.

    Raises:
        SheetError: The sheet as a whole cannot be read.
        InterruptedRunError: A stop was requested.
    """
    token = CancelToken()

    def work() -> Sheet:
        # entered here: the caller may be cancelled just as the sheet is open
        return stack.enter_context(open_sheet(source, options, name=name, isolated=True, token=token))

    async with until_stopped(stop):
        sheet = await in_thread_until_cancelled(token.cancel, work)
    return sheet  # noqa: RET504 - a return inside the scope hides from the type checker that there is one


async def read_rows(sheet: Sheet, store: Callable[[list[SheetRow]], None] | None = None) -> Rows:
    """Read all rows, each chunk in a worker thread, and hand each chunk to ``store`` there (the journal)."""
    rows = Rows(sheet.info)
    chunks = sheet.chunks(CHUNK_ROWS)

    def step() -> bool:
        chunk = next(chunks, None)
        if chunk is None:
            return False
        if store is not None:
            store(chunk)
        rows.add(chunk)
        return True

    while await in_thread_until_cancelled(sheet.token.cancel, step):
        pass
    rows.info = sheet.info
    return rows


async def read_again(journal: Journal, record: RunRecord) -> Rows:
    """Parse the rows of an earlier run again from the journal, as they came in.

    Raises:
        UsageError: The run ended while its sheet was still being read, so that its rows are not whole.
    """
    if record.phase == "reading":
        raise UsageError(
            f"Run {record.run_id} ended while its sheet was still being read; nothing was sent.",
            hint=f"Start it again: bulkid run {record.source}",
        )
    info = SheetInfo.from_json(record.sheet)

    def parse() -> Rows:
        rows, parser = Rows(info), RowParser(info)
        rows.add(_parse_all(parser, journal.iter_rows(record.run_id)))
        return rows

    return await anyio.to_thread.run_sync(parse)


def _parse_all(parser: RowParser, stored: Iterable[tuple[int, tuple[str, ...], bool]]) -> Iterator[SheetRow]:
    for row, cells, _ in stored:
        yield parser.parse(row, cells)
