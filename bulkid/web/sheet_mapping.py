"""How the columns of a sheet are mapped to fields: what its page shows, and what a user's form says about it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bulkid.errors import BulkidError
from bulkid.resources import current
from bulkid.sheet import SheetPreview, UncertainEncodingError, column_label, column_letters, suggest_fields
from bulkid.sheet.cells import trim
from bulkid.sheet.headers import header_key
from bulkid.web.uploaded_sheets import UploadedSheet
from bulkid.web.uploads import ReadOptions

SHOWN_COLUMNS: Final = 40
"""Columns that the page of a sheet shows; a sheet may have thousands, by accident or by malice."""

_ENCODINGS: Final = (
    *("utf-8", "utf-16", "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("mac_roman", "cp850", "cp852", "cp932", "gb18030", "cp950", "cp949"),
)
"""The encodings that a user can choose."""


@dataclass(frozen=True, slots=True)
class ColumnLine:
    """One column of a sheet as its page shows it."""

    index: int
    letters: str  # of the column, as a spreadsheet shows them
    label: str
    field: str  # "" for one that is not used
    sample: tuple[str, ...]
    guess: bool = False  # the field is a guess that the user confirms by continuing
    error: str = ""  # why the field cannot be that of this column
    hint: str = ""  # what the user should look at


def columns_of(uploaded_sheet: UploadedSheet, chosen: Sequence[str] | None = None) -> list[ColumnLine]:
    """The columns of a sheet with the fields that they are read as, or with those that a user has just chosen."""
    parsed = uploaded_sheet.parsed
    seen, check = parsed.sheet_preview, parsed.check
    if seen is None:
        return []
    headers = seen.headers[:SHOWN_COLUMNS]
    close_to: Sequence[str] = [""] * len(headers)
    if chosen is not None:
        fields = chosen
    elif check is not None:
        fields = check.info.fields[: len(headers)]
    else:
        meanings = suggest_fields(headers, uploaded_sheet.upload.reading.sheet_options())
        fields, close_to = [meaning.field for meaning in meanings], [meaning.close_to for meaning in meanings]
    counts = Counter(fields)
    return [
        ColumnLine(
            index,
            column_letters(seen.first_column + index),
            column_label(headers, index, first=seen.first_column).strip('"'),
            field,
            tuple(row[index] for row in seen.sample if index < len(row) and row[index]),
            guess=bool(field and close_to[index]),
            error=_error_of(seen, fields, index, counts[field]) if field else "",
            hint=f"The header is close to “{close_to[index]}”: choose what it means." if close_to[index] else "",
        )
        for index, field in enumerate(fields)
    ]


def _error_of(seen: SheetPreview, fields: Sequence[str], index: int, count: int) -> str:
    """Why the field of a column, which so many columns have, cannot be its own; empty where it can."""
    if not seen.headers[index].strip():
        return "The column has no header. Write one in the sheet, and upload it again."
    return _duplicate(seen, fields, index) if count > 1 else ""


def _duplicate(seen: SheetPreview, fields: Sequence[str], index: int) -> str:
    """The error of a column whose field another column has too."""
    other = next(each for each, field in enumerate(fields) if field == fields[index] and each != index)
    letters = column_letters(seen.first_column + other)
    if seen.headers[other] == seen.headers[index]:
        return f"Column {letters} has the same header. Rename one in the sheet, and upload it again."
    return f"Column {letters} is {current().titles[fields[index]]}, too. Choose one of them."


def mapping_errors(columns: Sequence[ColumnLine], seen: SheetPreview) -> list[str]:
    """Why the columns cannot be used as they are, as sentences to stand above them; none where nothing is known."""
    found = []
    refused = [seen.headers[column.index].strip() for column in columns if column.error]
    if any(refused):
        found.append("Two columns are read as the same field.")
    if not all(refused):
        found.append("A column without a header cannot be used.")
    if any(column.hint for column in columns):
        found.append("A header might be misspelt. Check what it means, then continue.")
    resource = current()
    all_shown = len(columns) == len(seen.headers)
    if all_shown and not {resource.id_column, "name"} & {column.field for column in columns}:
        found.append(f"No column names the {resource.singular}. Choose the column that holds its name or its ID.")
    return found


def encodings_of(uploaded_sheet: UploadedSheet, likely: Collection[str]) -> tuple[str, ...]:
    """The encodings to choose from, the likely ones first; none for a sheet that has no text encoding."""
    seen, chosen = uploaded_sheet.parsed.sheet_preview, uploaded_sheet.upload.reading.encoding
    if not (likely or chosen or (seen is not None and seen.encoding)):
        return ()
    return tuple(dict.fromkeys((*likely, *filter(None, [chosen]), *_ENCODINGS)))


def readings_of(error: BulkidError | None) -> Mapping[str, tuple[tuple[int, str], ...]]:
    """Some lines in each encoding that a sheet may have, where the encoding is not certain."""
    return error.readings if isinstance(error, UncertainEncodingError) else {}


# --- what a form says


def chosen_fields(form: Mapping[str, str], seen: SheetPreview) -> tuple[str, ...]:
    """The fields that a form gives to the columns; "" for a column to ignore."""
    chosen = (form.get(f"field-{index}", "") for index in range(len(seen.headers[:SHOWN_COLUMNS])))
    return tuple(field if field in current().columns else "" for field in chosen)


def reading_of(form: Mapping[str, str], uploaded_sheet: UploadedSheet) -> ReadOptions:
    """How a form wants a sheet to be read; the present options where it says nothing else than the page showed.

    The columns of another worksheet are others: the mapping of the present one is not for them.
    """
    before, seen = uploaded_sheet.upload.reading, uploaded_sheet.parsed.sheet_preview
    worksheet = form.get("worksheet", before.sheet)[:200]
    same_sheet = worksheet == before.sheet or (seen is not None and worksheet == seen.sheet)
    column_map, ignored = before.column_map, before.ignore_columns
    if not same_sheet:
        column_map, ignored = {}, ()
    elif seen is not None:
        column_map, ignored = _mapping(chosen_fields(form, seen), seen, uploaded_sheet)
    reading = ReadOptions(
        sheet=before.sheet if same_sheet else worksheet,
        encoding=form.get("encoding", "")[:40],
        delimiter=form.get("delimiter", "")[:10],
        column_map=column_map,
        ignore_columns=ignored,
        skip_invalid=bool(form.get("skip_invalid")),
    )
    return reading if seen is None else of_present_columns(reading, seen)


def of_present_columns(reading: ReadOptions, seen: SheetPreview) -> ReadOptions:
    """The options without columns that a sheet does not have, which nothing could be read with.

    They are those of another reading: with another delimiter the columns have other headers.
    """
    present = {*map(header_key, seen.headers), *map(trim, seen.headers)} - {""}

    def is_present(header: str) -> bool:
        return header_key(header) in present or trim(header) in present

    column_map = {header: field for header, field in reading.column_map.items() if is_present(header)}
    ignored = tuple(filter(is_present, reading.ignore_columns))
    return replace(reading, column_map=column_map, ignore_columns=ignored)


def _mapping(
    chosen: Sequence[str], seen: SheetPreview, uploaded_sheet: UploadedSheet
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The columns to map and those to ignore, by header."""
    before = uploaded_sheet.upload.reading
    if uploaded_sheet.parsed.check is not None and list(chosen) == [
        column.field for column in columns_of(uploaded_sheet)
    ]:
        return before.column_map, before.ignore_columns
    headers = seen.headers[: len(chosen)]
    column_map = {header: field for header, field in before.column_map.items() if header not in headers}
    column_map |= {header: field for header, field in zip(headers, chosen, strict=True) if header and field}
    ignored = [header for header in before.ignore_columns if header not in headers]
    ignored += [header for header in headers if header and header not in column_map]
    return column_map, tuple(dict.fromkeys(ignored))
