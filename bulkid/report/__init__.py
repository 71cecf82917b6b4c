"""Outcomes to files: the report in each of its formats, the retry sheet, the summary, exports, and metrics.

Start reading at :mod:`bulkid.report.formats`, the table of the formats, then :mod:`bulkid.report.writer`, which takes
the rows through all files of a report. The package imports none of its modules: every command reads the table of
formats at its start, and needs nothing else of this package then.
"""
