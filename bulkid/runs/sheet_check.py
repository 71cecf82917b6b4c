"""Checking a sheet without a server: ``check``, its summary, and a sheet of the invalid rows."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bulkid.journal.codec import row_error_text
from bulkid.model import ReportRow, RowError, RunRecord, RunStatus, SheetRow, Status
from bulkid.planning.resolve import offline_row_errors
from bulkid.report.summary import build_summary
from bulkid.runs.inputs.run_input import Rows
from bulkid.runs.inputs.sheet import Source
from bulkid.runs.options import CheckResult, count_invalid_rows
from bulkid.sheet import CHUNK_ROWS, CancelToken, Sheet, SheetOptions, open_sheet


def check(
    source: Source, options: SheetOptions | None = None, *, name: str | None = None, token: CancelToken | None = None
) -> CheckResult:
    """Read a sheet and find all errors of all rows. This sends nothing and writes nothing.

    Raises:
        SheetError: The sheet as a whole cannot be read.
        InterruptedRunError: The token was cancelled.
    """
    started = time.monotonic()
    with open_sheet(source, options or SheetOptions(), name=name, token=token) as sheet:
        return check_opened(sheet, started)


def check_opened(sheet: Sheet, started: float | None = None) -> CheckResult:
    """Check an open sheet, and leave it open; ``started`` is the start by ``time.monotonic``, None for now.

    Raises:
        SheetError: The sheet as a whole cannot be read.
    """
    started = time.monotonic() if started is None else started
    rows = Rows(sheet.info)
    for chunk in sheet.chunks(CHUNK_ROWS):
        rows.add(chunk)
    # Reading may add notes, so take the info at the end.
    info = sheet.info
    found = [*rows.row_errors, *offline_row_errors(rows.requests, info.columns())]
    row_errors = tuple(sorted(found, key=lambda row_error: row_error.row))
    status = RunStatus.REFUSED if row_errors else RunStatus.COMPLETED
    summary = offline_summary(rows, row_errors, status, counters={"elapsed_s": time.monotonic() - started})
    return CheckResult(info, rows.count, rows.accounts, row_errors, summary, sheet.first_column)


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
    """Make a summary without a run: like ``summary.json``, with all valid rows pending and no run id."""
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


def write_invalid_rows(
    source: Source,
    options: SheetOptions,
    folder: Path,
    *,
    name: str | None = None,
    token: CancelToken | None = None,
) -> tuple[Path, int] | None:
    """Write ``retry.csv`` with the invalid rows of a sheet and their errors into an existing folder.

    Returns:
        The file and the number of its rows; None if every row is valid.

    Raises:
        SheetError: The sheet as a whole cannot be read.
        InterruptedRunError: The token was cancelled.
    """
    from bulkid.report.text_files import retry_sheet

    by_row: dict[int, list[RowError]] = {}
    with open_sheet(source, options, name=name, token=token) as sheet:
        for row_error in check_opened(sheet).row_errors:
            by_row.setdefault(row_error.row, []).append(row_error)
        if not by_row:
            return None
        retry = retry_sheet(folder, sheet.info.headers, sheet.info.fields)
        try:
            for chunk in sheet.chunks(CHUNK_ROWS):
                retry.write([_report_row(row, by_row[row.row]) for row in chunk if row.row in by_row])
            retry.finish()
            return retry.target.commit(), len(by_row)
        finally:
            retry.discard()


def _report_row(row: SheetRow, row_errors: list[RowError]) -> ReportRow:
    code, text = row_errors[0].code, row_error_text(row_errors)
    return ReportRow(row.row, row.account_id, row.name, Status.INVALID, error_code=code, error=text, cells=row.cells)
