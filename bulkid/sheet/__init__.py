"""Files to rows, rows to requests, and everything that is wrong with them. No network.

``open_sheet`` reads ``.csv .tsv .txt .xlsx .xlsm .xlsb .xls .ods``; ``Sheet.chunks`` yields the rows in chunks;
``RowParser`` parses single rows, and journaled rows again after a crash.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

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

_MODULE_OF: Final = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type checker has the types from the imports above
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(module), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
