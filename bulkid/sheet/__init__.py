"""The sheet room: files to rows, rows to requests, and everything that is wrong with them. No network.

``open_sheet`` reads ``.csv .tsv .txt .xlsx .xlsm .xlsb .xls .ods``; ``Sheet.chunks`` hands out the rows in chunks;
``RowParser`` parses single rows, and journaled rows again after a crash.
"""

from bulkid.file_kind import NotAFileError, is_folder, open_regular, pinned_folder
from bulkid.sheet.cells import CLEAR, list_cell, parse_list
from bulkid.sheet.headers import (
    SheetOptions,
    column_label,
    column_letters,
    fields_for_headers,
    near_miss,
)
from bulkid.sheet.isolation import CancelToken
from bulkid.sheet.reader import (
    EXTENSIONS,
    Sheet,
    SheetFile,
    SheetPreview,
    open_sheet,
    open_sheet_file,
    require_file,
    sheet_preview,
)
from bulkid.sheet.row_parser import RowParser, SheetInfo
from bulkid.sheet.text_format import UncertainEncodingError, system_code_page

__all__ = [
    "CLEAR",
    "EXTENSIONS",
    "CancelToken",
    "NotAFileError",
    "RowParser",
    "Sheet",
    "SheetFile",
    "SheetInfo",
    "SheetOptions",
    "SheetPreview",
    "UncertainEncodingError",
    "column_label",
    "column_letters",
    "fields_for_headers",
    "is_folder",
    "list_cell",
    "near_miss",
    "open_regular",
    "open_sheet",
    "open_sheet_file",
    "parse_list",
    "pinned_folder",
    "require_file",
    "sheet_preview",
    "system_code_page",
]
