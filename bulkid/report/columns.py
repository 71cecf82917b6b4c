"""The report's columns, and a row as the text formats write it."""

from functools import lru_cache
from typing import Any, Final

from bulkid.clock import iso_utc
from bulkid.model import ReportRow
from bulkid.sheet.formula_escape import escape_formula

COLUMNS: Final = (
    "row",
    "robot_account_id",
    "name",
    "status",
    "changes",
    "http_status",
    "error_code",
    "error",
    "attempts",
    "via",
    "finished_at",
    "run_id",
)
"""The columns of every report, in order."""


@lru_cache(maxsize=4096)
def _iso_second(epoch_s: int) -> str:
    """Write a whole second; thousands of rows share one, and formatting it is dearer than the rest of the row."""
    return iso_utc(epoch_s)


def finished_at(row: ReportRow) -> str | None:
    """When the row was settled (UTC, ISO 8601, to the second), or ``None`` when it never was."""
    return None if row.finished_at is None else _iso_second(int(row.finished_at))


def csv_cells(row: ReportRow, run_id: str) -> tuple[Any, ...]:
    """The row for ``report.csv``: formula cells defused, ``None`` (written as nothing) for what is absent."""
    return (
        row.row,
        escape_formula(row.robot_account_id),
        escape_formula(row.name),
        row.status,
        escape_formula(row.changes),
        row.http_status,
        escape_formula(row.error_code),
        escape_formula(row.error),
        row.attempts,
        row.via,
        finished_at(row),
        run_id,
    )


def json_object(row: ReportRow, run_id: str) -> dict[str, Any]:
    """The row for ``report.jsonl``: ``null`` for an absent http_status, via or finished_at; texts as they are."""
    return {
        "row": row.row,
        "robot_account_id": row.robot_account_id,
        "name": row.name,
        "status": row.status,
        "changes": row.changes,
        "http_status": row.http_status,
        "error_code": row.error_code,
        "error": row.error,
        "attempts": row.attempts,
        "via": row.via,
        "finished_at": finished_at(row),
        "run_id": run_id,
    }
