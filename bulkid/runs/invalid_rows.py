"""The bad rows of a sheet as a sheet of their own, before there is a run: mend them and take them from there."""

from pathlib import Path

from bulkid.model import ReportRow, RowError, SheetRow, Status
from bulkid.report.text_files import retry_sheet
from bulkid.runs.inputs.sheet import CHUNK_ROWS, Source, check_opened
from bulkid.sheet import CancelToken, SheetOptions, open_sheet


def write_invalid_rows(
    source: Source,
    options: SheetOptions,
    folder: Path,
    *,
    name: str | None = None,
    token: CancelToken | None = None,
) -> tuple[Path, int] | None:
    """Write ``retry.csv`` with the rows that ``check`` finds bad, each with its faults.

    Args:
        source: The sheet.
        options: How to read it.
        folder: Where to write; it must be there.
        name: What to call the source in messages.
        token: Lets another thread end the reading.

    Returns:
        The file and how many rows it holds; None when every row is good.

    Raises:
        SheetError: The sheet as a whole cannot be read.
        InterruptedRunError: The token was cancelled.
    """
    by_row: dict[int, list[RowError]] = {}
    with open_sheet(source, options, name=name, isolated=True, token=token) as sheet:
        for row_error in check_opened(sheet).row_errors:
            by_row.setdefault(row_error.row, []).append(row_error)
        if not by_row:
            return None
        retry = retry_sheet(folder, sheet.info.headers)
        try:
            for chunk in sheet.chunks(CHUNK_ROWS):
                retry.write([_report_row(row, by_row[row.row]) for row in chunk if row.row in by_row])
            retry.finish()
            return retry.target.commit(), len(by_row)
        finally:
            retry.discard()


def _report_row(row: SheetRow, row_errors: list[RowError]) -> ReportRow:
    said = " | ".join(
        f"{row_error.column}: {row_error.message}" if row_error.column else row_error.message
        for row_error in row_errors
    )
    return ReportRow(
        row.row, row.account_id, row.name, Status.INVALID, "", None, row_errors[0].code, said, 0, None, None, row.cells
    )
