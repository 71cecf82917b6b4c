"""Rows to requests: what one row asks for, or everything that is wrong with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulkid.model import EVERYONE, RowError, RowRequest, SheetRow
from bulkid.resources import MEMBERSHIP_COLUMNS, current
from bulkid.sheet.cells import CLEAR, EMPTY_LIST, ListCell, Problem, is_clear, parse_list, text_problem, trim
from bulkid.sheet.headers import column_label
from bulkid.text import fold, listing

_CACHED_LISTS = 4096  # distinct list cells remembered; a sheet repeats a few dozen, an adversary's must not pile up


@dataclass(frozen=True, slots=True)
class SheetInfo:
    """What is known of a sheet besides its rows; enough to parse its journaled rows again.

    Args:
        source: The sheet's name for people.
        kind: ``csv`` (any text), ``xlsx``, ``xlsm``, ``xlsb``, ``xls`` or ``ods``.
        sheet: The worksheet's name; ``""`` for text.
        encoding: The text's encoding; ``""`` for spreadsheets.
        delimiter: One character; ``""`` for spreadsheets.
        headers: The header cells as the sheet has them, trimmed.
        fields: The field of each header; ``""`` for a column that is not used.
        notes: Sentences that the user should see once.
    """

    source: str
    kind: str
    sheet: str
    encoding: str
    delimiter: str
    headers: tuple[str, ...]
    fields: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def spreadsheet(self) -> bool:
        """Whether the sheet is of a spreadsheet program's own format, and not text."""
        return self.kind != "csv"

    def columns(self) -> dict[str, str]:
        """Map each field that the sheet has to its header."""
        return {name: header for name, header in zip(self.fields, self.headers, strict=True) if name}

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a journal; ``from_json`` takes them back."""
        return {
            "source": self.source,
            "kind": self.kind,
            "sheet": self.sheet,
            "encoding": self.encoding,
            "delimiter": self.delimiter,
            "headers": list(self.headers),
            "fields": list(self.fields),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SheetInfo":
        """Take back what ``to_json`` gave."""
        return cls(
            source=str(values["source"]),
            kind=str(values["kind"]),
            sheet=str(values["sheet"]),
            encoding=str(values["encoding"]),
            delimiter=str(values["delimiter"]),
            headers=tuple(values["headers"]),
            fields=tuple(values["fields"]),
            notes=tuple(values["notes"]),
        )


def blank(cells: Sequence[str]) -> bool:
    """Whether a row holds nothing at all."""
    return not any(cells) or not any(map(trim, cells))


class RowParser:
    """Turns cells into requests and faults, by the headers of one sheet. Cheap to make; keeps a small cache.

    Args:
        info: The sheet that the rows are of; only its headers and fields matter.
    """

    def __init__(self, info: SheetInfo) -> None:
        self._headers = info.headers
        self._width = len(info.headers)
        self._used = tuple(index for index, name in enumerate(info.fields) if name)
        at = {name: index for index, name in enumerate(info.fields) if name}
        resource = current()
        self._resource = resource
        self._id = at.get(resource.id_column, -1)
        self._name = at.get("name", -1)
        self._add, self._remove, self._exact = (at.get(name, -1) for name in MEMBERSHIP_COLUMNS)
        self._partition = at.get("partition_global_id", -1)
        self._fields = tuple((field, at.get(field.key, -1)) for field in resource.fields)
        self._lists: dict[str, ListCell] = {}

    def parse(self, row: int, cells: Sequence[str]) -> SheetRow:
        """Read one row; never raises, whatever the cells hold.

        Args:
            row: The row's number as a spreadsheet shows it.
            cells: The cells as they came in; missing ones count as blank.

        Returns:
            The row with its request, or all of its errors. Its ``cells`` are padded to the headers, and longer than
            them only when a surplus cell holds something: what came in is kept, so that it parses the same again.
        """
        row_errors: list[RowError] = []
        fitted = self._fit(row, cells, row_errors)
        if self._repeats_header(fitted):
            message = "The row repeats the header, as happens where several sheets were joined: remove it."
            return SheetRow(row, fitted, None, (RowError(row, "", "", "header_again", message),))
        account_id = self._text(row, fitted, self._id, row_errors)
        name = self._text(row, fitted, self._name, row_errors)
        partition = self._text(row, fitted, self._partition, row_errors)
        values = self._values(row, fitted, row_errors)
        add = self._list(row, fitted, self._add, row_errors)
        remove = self._list(row, fitted, self._remove, row_errors)
        exact = self._list(row, fitted, self._exact, row_errors)
        if not (account_id or name):
            row_errors.append(self._no_account(row))
        elif account_id in {".", ".."}:
            row_errors.append(
                self._row_error(row, fitted, self._id, "bad_id", "This is no id: enter the account's id or name.")
            )
        if add is not EMPTY_LIST or remove is not EMPTY_LIST:
            self._check_changes(row, fitted, add, remove, row_errors)
            if exact is not EMPTY_LIST:
                row_errors.append(self._exact_and_changes(row, fitted))
        if row_errors:
            return SheetRow(row, fitted, None, tuple(row_errors), account_id, name)
        wanted = None if exact is EMPTY_LIST else exact.items
        return SheetRow(
            row, fitted, RowRequest(row, account_id, name, values, add.items, remove.items, wanted, partition)
        )

    def _fit(self, row: int, cells: Sequence[str], row_errors: list[RowError]) -> tuple[str, ...]:
        fitted = tuple(cells)
        if len(fitted) == self._width:
            return fitted
        if len(fitted) < self._width:
            return fitted + ("",) * (self._width - len(fitted))
        surplus = [index for index in range(self._width, len(fitted)) if trim(fitted[index])]
        if not surplus:
            return fitted[: self._width]
        row_errors.append(
            RowError(
                row,
                "",
                fitted[surplus[0]],
                "surplus_cells",
                f"The row has {surplus[-1] + 1} cells, but the header only {self._width}: put a cell that holds the "
                "delimiter in double quotes, or remove what is too much.",
            )
        )
        return fitted[: surplus[-1] + 1]

    def _repeats_header(self, cells: tuple[str, ...]) -> bool:
        """Whether the row says the header again. One column alone proves nothing: an account may be named "robot"."""
        used, headers = self._used, self._headers
        if len(used) < 2 or trim(cells[used[0]]) != headers[used[0]]:  # noqa: PLR2004 - one proves nothing
            return False
        return all(trim(cells[column]) == headers[column] for column in used)

    def _text(self, row: int, cells: tuple[str, ...], column: int, row_errors: list[RowError]) -> str:
        if column < 0:
            return ""
        text = trim(cells[column])
        if not text:
            return ""
        problem = text_problem(text)
        if is_clear(text):
            columns = listing((*self._resource.keys, "groups"))
            problem = Problem("clear_not_allowed", f"{CLEAR} works for {columns} only: enter a value.")
        if problem is not None:
            row_errors.append(self._row_error(row, cells, column, problem.code, problem.message))
        return text

    def _values(self, row: int, cells: tuple[str, ...], row_errors: list[RowError]) -> tuple[str | None, ...]:
        values: list[str | None] | None = None
        for number, (field, column) in enumerate(self._fields):
            text = trim(cells[column]) if column >= 0 else ""
            if not text:
                continue
            if values is None:
                values = list(self._resource.nothing)
            if is_clear(text):
                values[number] = ""
                continue
            problem = text_problem(text)
            if problem is None and (message := field.check(text)):
                problem = Problem(f"bad_{field.key}", message)
            if problem is not None:
                row_errors.append(self._row_error(row, cells, column, problem.code, problem.message))
            values[number] = text
        return self._resource.nothing if values is None else tuple(values)

    def _list(self, row: int, cells: tuple[str, ...], column: int, row_errors: list[RowError]) -> ListCell:
        if column < 0:
            return EMPTY_LIST
        cell = cells[column]
        if not cell:
            return EMPTY_LIST
        parsed = self._lists.get(cell)
        if parsed is None:
            parsed = parse_list(cell)
            if len(self._lists) >= _CACHED_LISTS:
                self._lists.clear()
            self._lists[cell] = parsed
        if parsed.problems:
            row_errors.extend(self._row_error(row, cells, column, each.code, each.message) for each in parsed.problems)
        return parsed

    def _check_changes(
        self, row: int, cells: tuple[str, ...], add: ListCell, remove: ListCell, row_errors: list[RowError]
    ) -> None:
        for column, parsed in ((self._add, add), (self._remove, remove)):
            if parsed.clear:
                row_errors.append(
                    self._row_error(
                        row,
                        cells,
                        column,
                        "clear_not_allowed",
                        f'{CLEAR} does not work here: to take the account out of all groups, put {CLEAR} in a "groups" '
                        "column.",
                    )
                )
        if remove is EMPTY_LIST:  # nothing to contradict, as in most rows
            return
        if remove.names_everyone:
            row_errors.append(
                self._row_error(
                    row,
                    cells,
                    self._remove,
                    "everyone_cannot_be_removed",
                    f'Every account belongs to "{EVERYONE}" and stays in it: take it out of the list.',
                )
            )
        if not add.keys.isdisjoint(remove.keys):
            both = ", ".join(f'"{item}"' for item in add.items if fold(item) in remove.keys)
            row_errors.append(
                self._row_error(
                    row,
                    cells,
                    self._remove,
                    "add_and_remove",
                    f"The row both adds and removes {both}: decide for one of the two.",
                )
            )

    def _exact_and_changes(self, row: int, cells: tuple[str, ...]) -> RowError:
        others = [
            column_label(self._headers, column)
            for column in (self._add, self._remove)
            if column >= 0 and trim(cells[column])
        ]
        return self._row_error(
            row,
            cells,
            self._exact,
            "exact_with_changes",
            f"{column_label(self._headers, self._exact)} says which groups exactly, so {' and '.join(others)} must be "
            "blank in this row: keep one or the other.",
        )

    def _no_account(self, row: int) -> RowError:
        columns = [column_label(self._headers, column) for column in (self._id, self._name) if column >= 0]
        return RowError(
            row,
            "",
            "",
            "missing_account",
            f"The row does not say which account it is for: fill in {' or '.join(columns)}, or empty the row.",
        )

    def _row_error(self, row: int, cells: tuple[str, ...], column: int, code: str, message: str) -> RowError:
        return RowError(row, self._headers[column], cells[column], code, message)
