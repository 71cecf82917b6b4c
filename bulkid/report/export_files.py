"""The file of an export of accounts: where it may be written, and what it can hold."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bulkid.errors import UsageError
from bulkid.planning.export_rows import ExportedAccount
from bulkid.report.atomic import AtomicFile, reason
from bulkid.report.formats import RowFile, exporters
from bulkid.report.xlsx_files import MAX_SHEET_ROWS, displayable
from bulkid.text import listing

MAX_EXPORT_ROWS: Final = MAX_SHEET_ROWS - 1
"""Accounts that one worksheet holds below its header; a run reads one worksheet."""


def fits(cell: str) -> bool:
    """Whether a cell comes back from a spreadsheet as it was put in: no control character, not too long."""
    return displayable(cell) == cell


def open_export(path: Path, columns: Sequence[str], *, replace: bool) -> RowFile[ExportedAccount]:
    """Begin an export, so that the user hears of an obstacle before the server gets a request.

    Args:
        path: Where it is to be; the ending says the format.
        columns: The headers, in their order.
        replace: Whether a file that is there already may be replaced.

    Raises:
        UsageError: The ending is unknown, there is such a file, or none can be written there.
    """
    files = exporters()
    kind = path.suffix.lower().removeprefix(".")
    if kind not in files:
        raise UsageError(
            f"{path}: an export ends in {listing((f'.{name}' for name in files), 'or')}.",
            hint="Name the file so that its ending says the format.",
        )
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder.", hint="Name a file in it.")
        if not replace and os.path.lexists(path):
            raise UsageError(f"{path} exists already.", hint="Name another file, or replace it with --force.")
        return files[kind](AtomicFile(path.absolute().parent, path.name), columns)
    except FileNotFoundError:
        raise UsageError(f"There is no folder {path.absolute().parent}.", hint="Check the path.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(
            f"{path} cannot be written: {reason(error)}.", hint="Name a file in a folder that you may write to."
        ) from None
