"""A workbook for a user's first sheet: two example rows, and notes on what each column takes."""

import io
from collections.abc import Mapping, Sequence
from typing import Final

from bulkid.report.xlsx_files import HEADER_COLOURS, Book
from bulkid.resources import Resource, current

_EXAMPLES: Final = (
    {"name": "example-robot-1", "display_name": "Invoices robot", "groups_to_add": "Finance; Automation Users"},
    {"name": "example-robot-2", "groups_to_add": "Finance", "groups_to_remove": "Trainees"},
)
"""No account has these names, so that a template which is uploaded as it is changes nothing."""

_NOTES: Final = (
    "Replace the two example rows with your own: one row for each account.",
    "A blank cell changes nothing. The cell !clear removes the value.",
    "The order of the columns does not matter. You can leave out every column but name.",
    "bulkid changes nothing until you have seen a preview and applied it.",
)


def meanings(resource: Resource) -> Mapping[str, str]:
    """What to enter in each column of the template."""
    fields = {field.key: f"The new {field.label}. !clear removes it." for field in resource.fields}
    groups = "by name or id, separated by semicolons"
    return {
        "name": f"The name of the {resource.singular}. It must exist already.",
        **fields,
        "groups_to_add": f"The groups that the account joins, {groups}.",
        "groups_to_remove": f"The groups that the account leaves, {groups}.",
    }


def template_workbook() -> bytes:
    """A sheet to fill in, with a second worksheet that explains its columns. A run reads the first worksheet."""
    import xlsxwriter  # type: ignore[import-untyped] # the package has no type information

    content, resource = io.BytesIO(), current()
    with xlsxwriter.Workbook(content, {"in_memory": True, "strings_to_formulas": False}) as book:
        headers = resource.template_headers
        rows = [[example.get(header, "") for header in headers] for example in _EXAMPLES]
        _write(book, resource.plural.capitalize(), headers, rows, [26] * len(headers))
        notes = [(header, meanings(resource)[header]) for header in headers] + [("", note) for note in _NOTES]
        _write(book, "Notes", ("Column", "What to enter"), notes, (20, 80))
    return content.getvalue()


def _write(book: Book, name: str, headers: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
    background, text = HEADER_COLOURS
    bold = book.add_format({"bold": True, "bg_color": background, "font_color": text})
    plain = book.add_format({"text_wrap": True, "valign": "top", "num_format": "@"})  # text: 00123 stays as it is
    sheet = book.add_worksheet(name)
    sheet.freeze_panes(1, 0)
    for column, (header, width) in enumerate(zip(headers, widths, strict=True)):
        sheet.set_column(column, column, width, plain)
        sheet.write_string(0, column, header, bold)
    for line, row in enumerate(rows, start=1):
        for column, cell in enumerate(row):
            if cell:
                sheet.write_string(line, column, cell, plain)
