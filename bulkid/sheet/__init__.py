"""Files to rows, rows to requests, and everything that is wrong with them. No network.

``open_sheet`` reads ``.csv .tsv .txt .xlsx .xlsm .xlsb .xls .ods``; ``Sheet.chunks`` yields the rows in chunks;
``RowParser`` parses single rows, and journaled rows again after a crash.
"""

from typing import TYPE_CHECKING, Final

from bulkid.lazy_names import lazy_names

if TYPE_CHECKING:
    from bulkid.sheet.cells import CLEAR, list_cell, parse_list
    from bulkid.sheet.headers import (
        ColumnMeaning,
        ColumnUse,
        SheetOptions,
        column_label,
        column_letters,
        column_uses,
        fields_for_headers,
        suggest_fields,
    )
    from bulkid.sheet.isolation import CancelToken
    from bulkid.sheet.reader import (
        CHUNK_ROWS,
        EXTENSIONS,
        Sheet,
        SheetPreview,
        open_sheet,
        open_sheet_file,
        require_file,
    )
    from bulkid.sheet.row_parser import RowParser, SheetInfo
    from bulkid.sheet.text_format import UncertainEncodingError, system_code_page

__all__ = [
    "CHUNK_ROWS",
    "CLEAR",
    "EXTENSIONS",
    "CancelToken",
    "ColumnMeaning",
    "ColumnUse",
    "RowParser",
    "Sheet",
    "SheetInfo",
    "SheetOptions",
    "SheetPreview",
    "UncertainEncodingError",
    "column_label",
    "column_letters",
    "column_uses",
    "fields_for_headers",
    "list_cell",
    "open_sheet",
    "open_sheet_file",
    "parse_list",
    "require_file",
    "suggest_fields",
    "system_code_page",
]

_NAMES: Final = {
    "bulkid.sheet.cells": (
        "CLEAR",
        "list_cell",
        "parse_list",
    ),
    "bulkid.sheet.headers": (
        "ColumnMeaning",
        "ColumnUse",
        "SheetOptions",
        "column_label",
        "column_letters",
        "column_uses",
        "fields_for_headers",
        "suggest_fields",
    ),
    "bulkid.sheet.isolation": ("CancelToken",),
    "bulkid.sheet.reader": (
        "CHUNK_ROWS",
        "EXTENSIONS",
        "Sheet",
        "SheetPreview",
        "open_sheet",
        "open_sheet_file",
        "require_file",
    ),
    "bulkid.sheet.row_parser": (
        "RowParser",
        "SheetInfo",
    ),
    "bulkid.sheet.text_format": (
        "UncertainEncodingError",
        "system_code_page",
    ),
}
"""The names that each module provides. A module is imported when one of its names is first used: the command line
starts the child that reads the sheet (``child_process``) before it imports the others, and the child needs few."""

__getattr__, __dir__ = lazy_names(globals(), _NAMES)
