"""Outcomes to files: the report in each of its formats, the retry sheet, the summary, and exports.

Start reading at :mod:`bulkid.report.formats`, the table of the formats, then :mod:`bulkid.report.writer`, which takes
the rows through all files of a report. The names below are imported when they are first used: the settings read the
table of formats at the start of every command, and need nothing else of this package.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bulkid.report.atomic import ReportError, prepare_folder, remove_leftovers
    from bulkid.report.prometheus import CONTENT_TYPE, RunMetrics, render_metrics, write_metrics
    from bulkid.report.summary import build_summary, how_to_resume
    from bulkid.report.text_report import COLUMNS
    from bulkid.report.writer import OpenReport, ReportFiles, begin_report, remove_report, write_report
    from bulkid.sheet.formula_escape import escape_formula, unescape_formula

_HOMES = {
    "COLUMNS": "bulkid.report.text_report",
    "CONTENT_TYPE": "bulkid.report.prometheus",
    "OpenReport": "bulkid.report.writer",
    "ReportError": "bulkid.report.atomic",
    "ReportFiles": "bulkid.report.writer",
    "RunMetrics": "bulkid.report.prometheus",
    "begin_report": "bulkid.report.writer",
    "build_summary": "bulkid.report.summary",
    "escape_formula": "bulkid.sheet.formula_escape",
    "how_to_resume": "bulkid.report.summary",
    "prepare_folder": "bulkid.report.atomic",
    "remove_leftovers": "bulkid.report.atomic",
    "remove_report": "bulkid.report.writer",
    "render_metrics": "bulkid.report.prometheus",
    "unescape_formula": "bulkid.sheet.formula_escape",
    "write_metrics": "bulkid.report.prometheus",
    "write_report": "bulkid.report.writer",
}

__all__ = [
    "COLUMNS",
    "CONTENT_TYPE",
    "OpenReport",
    "ReportError",
    "ReportFiles",
    "RunMetrics",
    "begin_report",
    "build_summary",
    "escape_formula",
    "how_to_resume",
    "prepare_folder",
    "remove_leftovers",
    "remove_report",
    "render_metrics",
    "unescape_formula",
    "write_metrics",
    "write_report",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(home), name)
