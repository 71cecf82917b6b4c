"""Outcomes to files: csv, xlsx, jsonl, the retry sheet and the summary."""

from bulkid.report.atomic import ReportError, prepare_folder, remove_leftovers
from bulkid.report.columns import COLUMNS
from bulkid.report.prometheus import CONTENT_TYPE, RunMetrics, render_metrics, write_metrics
from bulkid.report.removal import remove_report
from bulkid.report.summary import build_summary, how_to_resume
from bulkid.report.writer import OpenReport, ReportFiles, begin_report, write_report
from bulkid.sheet.formula_escape import escape_formula, unescape_formula

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
