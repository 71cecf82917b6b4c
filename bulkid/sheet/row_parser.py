"""Rows to requests: what one row asks for, or everything that is wrong with it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from itertools import repeat
from typing import Any, TypeAlias

from bulkid.model import EVERYONE, UPDATE, Action, RowError, RowRequest, SheetRow
from bulkid.resources import ACTION_COLUMN, MEMBERSHIP_COLUMNS, Field, current
from bulkid.sheet.cells import (
    CLEAR,
    EMPTY_LIST,
    KnownItems,
    ListCell,
    Problem,
    are_plain,
    is_clear,
    parse_list,
    text_problem,
    trim,
)
from bulkid.sheet.headers import column_label
from bulkid.text import fold, listing, quote

_CACHED_LISTS = 4096  # distinct list cells remembered; a sheet repeats a few dozen, an adversary's must not pile up
_NO_IDS = frozenset({".", ".."})
_BLOCK = 100  # rows parsed together, where none of them is special

_Lists: TypeAlias = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...] | None]
"""The groups that a row adds and removes, and those that it asks for exactly."""

NULL = "NULL"
"""What SQL Server Management Studio writes for a cell without a value."""

_ACTIONS: Mapping[str, Action] = {"": Action.UPDATE, **{action.value: action for action in Action}}


@dataclass(frozen=True, slots=True)
class SheetInfo:
    """The properties of a sheet besides its rows; enough to parse its journaled rows again."""

    source: str  # the sheet's name for people
    kind: str  # csv (any text), xlsx, xlsm, xlsb, xls or ods
    sheet: str  # the worksheet's name; "" for text
    encoding: str  # the text's encoding; "" for spreadsheets
    delimiter: str  # one character; "" for spreadsheets
    headers: tuple[str, ...]  # the header cells as the sheet has them, trimmed
    fields: tuple[str, ...]  # the field of each header; "" for a column that is not used
    notes: tuple[str, ...] = ()  # sentences that the user should see once

    @property
    def spreadsheet(self) -> bool:
        """Whether the sheet is of a spreadsheet program's own format, and not text."""
        return self.kind != "csv"

    def columns(self) -> dict[str, str]:
        """Map each field that the sheet has to its header."""
        return {name: header for name, header in zip(self.fields, self.headers, strict=True) if name}

    def to_json(self) -> dict[str, Any]:
        """Plain values for a journal; ``from_json`` takes them back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SheetInfo":
        """The sheet that ``to_json`` was called on."""
        known = ((each.name, values[each.name]) for each in dataclass_fields(cls))
        kept: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in known}
        return cls(**kept)


Found: TypeAlias = list[tuple[int, Problem]]
"""Everything wrong with a row: the column of each problem (-1: of none), and the problem."""


def blank(cells: Sequence[str]) -> bool:
    """Whether a row holds nothing at all."""
    return not any(cells) or not any(map(trim, cells))


def change_columns(info: SheetInfo) -> list[int]:
    """The indexes of the columns that say how accounts shall be, such as the display name."""
    wanted = {*current().keys, *MEMBERSHIP_COLUMNS}
    return [index for index, name in enumerate(info.fields) if name in wanted]


def null_note(headers: Sequence[str], column: int, cells: int) -> str:
    """The note of a column in which some cells hold the word NULL. It is taken as it is: a group may have that name."""
    return (
        f"{cells:,} cells of the column {column_label(headers, column)} hold the word NULL, which databases write for "
        "no value. It is taken as a text: empty the cells that are to be blank."
    )


class RowParser:
    """Turns cells into requests and errors, by the headers and fields of one sheet. Cheap to make; caches lists."""

    def __init__(self, info: SheetInfo) -> None:
        self._headers = info.headers
        self._width = len(info.headers)
        self._spreadsheet = info.spreadsheet
        self._used = tuple(index for index, name in enumerate(info.fields) if name)
        at = {name: index for index, name in enumerate(info.fields) if name}
        resource = current()
        self._resource = resource
        self._id = at.get(resource.id_column, -1)
        self._name = at.get("name", -1)
        self._add, self._remove, self._exact = (at.get(name, -1) for name in MEMBERSHIP_COLUMNS)
        self._action = at.get(ACTION_COLUMN, -1)
        self._partition = at.get("partition_global_id", -1)
        self._fields = tuple((field, at.get(field.key, -1)) for field in resource.fields)
        field_columns = [column for _, column in self._fields]
        self._texts = tuple(column for column in (self._id, self._name, self._partition, *field_columns) if column >= 0)
        self._changes = tuple(
            column for column in sorted([*field_columns, self._add, self._remove, self._exact]) if column >= 0
        )
        self._checks = tuple(
            (field.check, column)
            for field, column in self._fields
            if column >= 0 and type(field).check is not Field.check
        )
        self._lists: dict[str, ListCell] = {}
        self._list_items: KnownItems = {}
        self._known_lists: dict[tuple[str, str, str], _Lists] = {}

    def parse_all(self, first: int, records: Sequence[tuple[str, ...]]) -> list[SheetRow]:
        """Parse records that follow one another as :meth:`parse` does; leave out those that are blank.

        Args:
            first: The row number of the first record.
            records: The cells of each row.
        """
        rows: list[SheetRow] = []
        for start in range(0, len(records), _BLOCK):
            block = records[start : start + _BLOCK]
            rows += self._plain_rows(first + start, block) or [
                self.parse(row, cells) for row, cells in enumerate(block, first + start) if not blank(cells)
            ]
        return rows

    def _plain_rows(self, first: int, records: Sequence[tuple[str, ...]]) -> list[SheetRow]:
        """Parse records column by column; give none at all where one may be blank or have an error."""
        found: Found = []
        if set(map(len, records)) != {self._width}:
            records = [self._fit(cells, found) for cells in records]
            if found:
                return []
        size = len(records)
        blanks = ("",) * size
        columns = [*zip(*records, strict=True), blanks]  # the last one for columns that are not there
        for column in self._texts:
            if not are_plain(columns[column]):
                columns[column] = tuple(map(trim, columns[column]))
                if not are_plain(columns[column]):
                    return []
        ids, names, headers = columns[self._id], columns[self._name], self._headers
        if (
            not all(account_id or name for account_id, name in zip(ids, names, strict=True))
            or not _NO_IDS.isdisjoint(ids)
            or headers[self._texts[0]] in columns[self._texts[0]]  # a row may repeat the header
            or any(check(text) for check, column in self._checks for text in columns[column] if text)
        ):
            return []
        lists, actions = self._plain_lists(records, columns), self._plain_actions(columns)
        if not lists or not actions:
            return []
        values, partitions = self._plain_values(columns), columns[self._partition]
        numbers = range(first, first + size)
        requests = zip(numbers, ids, names, values, *zip(*lists, strict=True), partitions, actions, strict=True)
        rows = zip(numbers, records, map(RowRequest._make, requests), repeat((), size), blanks, blanks, strict=True)
        return list(map(SheetRow._make, rows))

    def _plain_lists(self, records: Sequence[tuple[str, ...]], columns: Sequence[Sequence[str]]) -> list[_Lists]:
        """Give the lists of rows; none at all where one has an error."""
        cells = list(zip(columns[self._add], columns[self._remove], columns[self._exact], strict=True))
        known = self._known_lists
        if len(known) >= _CACHED_LISTS:
            known.clear()
        found: Found = []
        for different, record in zip(cells, records, strict=True):
            if different not in known:
                add, remove, exact = self._read_lists(record, found)
                self._check_lists(add, remove, exact, record, found)
                if found:
                    return []
                known[different] = add.items, remove.items, None if exact is EMPTY_LIST else exact.items
        return [known[each] for each in cells]

    def _plain_actions(self, columns: Sequence[Sequence[str]]) -> Sequence[Action]:
        """Give the actions of rows; none at all where one is unknown, or may not go with the other cells."""
        cells = columns[self._action]
        if not any(cells):
            return (UPDATE,) * len(cells)
        known = {cell: _ACTIONS.get(fold(trim(cell))) for cell in set(cells)}
        found = [action for action in map(known.get, cells) if action is not None]
        if (
            len(found) < len(cells)
            or (Action.CREATE in found and not all(columns[self._name]))
            or (Action.DELETE in found and any(any(columns[column]) for column in self._changes))
        ):
            return ()
        return found

    def _plain_values(self, columns: Sequence[Sequence[str]]) -> list[tuple[str | None, ...]]:
        nothing = self._resource.nothing
        texts = [[text or None for text in columns[column]] for _, column in self._fields]
        return [values if any(values) else nothing for values in zip(*texts, strict=True)]

    def parse(self, row: int, cells: Sequence[str]) -> SheetRow:
        """Give a row, by its number in a spreadsheet, with its request or all of its errors; never raises.

        Missing cells count as blank. The row's ``cells`` are padded to the headers, and longer than them only when a
        surplus cell holds something: the row keeps what came in, so that it parses the same again.
        """
        found: Found = []
        fitted = self._fit(cells, found)
        if self._repeats_header(fitted):
            message = "The row repeats the header, as happens where several sheets were joined: remove it."
            return SheetRow(row, fitted, None, (RowError(row, "", "", "header_again", message),))
        account_id = self._text(fitted, self._id, found)
        name = self._text(fitted, self._name, found)
        partition = self._text(fitted, self._partition, found)
        values = self._values(fitted, found)
        add, remove, exact = self._read_lists(fitted, found)
        if not (account_id or name):
            columns = [column_label(self._headers, column) for column in (self._id, self._name) if column >= 0]
            message = f"The row does not say which account it is for: fill in {' or '.join(columns)}, or empty the row."
            found.append((-1, Problem("missing_account", message)))
        elif account_id in _NO_IDS:
            found.append((self._id, Problem("bad_id", "This is not an id: enter the account's id or name.")))
        self._check_lists(add, remove, exact, fitted, found)
        action = UPDATE
        if self._action >= 0:
            action = self._read_action(fitted, found)
            if action is not UPDATE:
                self._check_action(action, account_id, name, fitted, found)
        if found:
            row_errors = tuple(self._row_error(row, fitted, column, problem) for column, problem in found)
            return SheetRow(row, fitted, None, row_errors, account_id, name)
        wanted = None if exact is EMPTY_LIST else exact.items
        request = RowRequest(row, account_id, name, values, add.items, remove.items, wanted, partition, action)
        return SheetRow(row, fitted, request)

    def _row_error(self, row: int, cells: tuple[str, ...], column: int, problem: Problem) -> RowError:
        header = self._headers[column] if 0 <= column < self._width else ""
        return RowError(row, header, cells[column] if column >= 0 else "", problem.code, problem.message)

    def _fit(self, cells: Sequence[str], found: Found) -> tuple[str, ...]:
        fitted = tuple(cells)
        if len(fitted) == self._width:
            return fitted
        if len(fitted) < self._width:
            return fitted + ("",) * (self._width - len(fitted))
        surplus = [index for index in range(self._width, len(fitted)) if trim(fitted[index])]
        if not surplus:
            return fitted[: self._width]
        advice = "put a cell that holds the delimiter in double quotes, or remove what is too much."
        if self._spreadsheet:
            advice = "give each column that holds something a header, or empty the cells that are too many."
        message = f"The row has {surplus[-1] + 1} cells, but the header only {self._width}: {advice}"
        found.append((surplus[0], Problem("surplus_cells", message)))
        return fitted[: surplus[-1] + 1]

    def _repeats_header(self, cells: tuple[str, ...]) -> bool:
        """Whether the row says the header again. One column alone proves nothing: an account may be named "robot"."""
        used, headers = self._used, self._headers
        if len(used) < 2 or trim(cells[used[0]]) != headers[used[0]]:  # noqa: PLR2004 - one proves nothing
            return False
        return all(trim(cells[column]) == headers[column] for column in used)

    def _text(self, cells: tuple[str, ...], column: int, found: Found) -> str:
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
            found.append((column, problem))
        return text

    def _values(self, cells: tuple[str, ...], found: Found) -> tuple[str | None, ...]:
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
                found.append((column, problem))
            values[number] = text
        return self._resource.nothing if values is None else tuple(values)

    def _read_lists(self, cells: Sequence[str], found: Found) -> tuple[ListCell, ListCell, ListCell]:
        add = self._list(cells, self._add, found)
        remove = self._list(cells, self._remove, found)
        return add, remove, self._list(cells, self._exact, found)

    def _list(self, cells: Sequence[str], column: int, found: Found) -> ListCell:
        if column < 0:
            return EMPTY_LIST
        cell = cells[column]
        if not cell:
            return EMPTY_LIST
        parsed = self._lists.get(cell)
        if parsed is None:
            parsed = parse_list(cell, self._list_items)
            if len(self._lists) >= _CACHED_LISTS:
                self._lists.clear()
            self._lists[cell] = parsed
        if parsed.problems:
            found.extend((column, problem) for problem in parsed.problems)
        return parsed

    def _read_action(self, cells: tuple[str, ...], found: Found) -> Action:
        text = trim(cells[self._action])
        action = _ACTIONS.get(fold(text))
        if action is not None:
            return action
        message = f"There is no action {quote(text)}: enter update, create or delete. A blank cell means update."
        found.append((self._action, text_problem(text) or Problem("unknown_action", message)))
        return UPDATE

    def _check_action(self, action: Action, account_id: str, name: str, cells: tuple[str, ...], found: Found) -> None:
        if action is Action.DELETE:
            self._check_deletion(cells, found)
        elif account_id and not name:
            message = "A new account needs a name: fill in its name, and leave the id blank."
            column = self._action if self._name < 0 else self._name
            found.append((column, Problem("create_without_name", message)))

    def _check_deletion(self, cells: tuple[str, ...], found: Found) -> None:
        """A row that deletes its account says no more than which one it is."""
        change_columns = [column for _, column in self._fields] + [self._add, self._remove, self._exact]
        filled = [column for column in sorted(change_columns) if column >= 0 and trim(cells[column])]
        if filled:
            labels = listing([column_label(self._headers, column) for column in filled])
            message = (
                f"The row deletes the account, so {labels} must be blank: empty "
                f"{'it' if len(filled) == 1 else 'them'}, or change the action."
            )
            found.append((filled[0], Problem("delete_with_changes", message)))

    def _check_lists(
        self, add: ListCell, remove: ListCell, exact: ListCell, cells: Sequence[str], found: Found
    ) -> None:
        if add is EMPTY_LIST and remove is EMPTY_LIST:
            return
        self._check_changes(add, remove, found)
        if exact is not EMPTY_LIST:
            found.append((self._exact, self._exact_and_changes(cells)))

    def _check_changes(self, add: ListCell, remove: ListCell, found: Found) -> None:
        for column, parsed in ((self._add, add), (self._remove, remove)):
            if parsed.clear:
                message = (
                    f'{CLEAR} does not work here: to take the account out of all groups, put {CLEAR} in a "groups" '
                    "column."
                )
                found.append((column, Problem("clear_not_allowed", message)))
        if remove is EMPTY_LIST:  # nothing to contradict, as in most rows
            return
        if remove.names_everyone:
            message = f'Every account belongs to "{EVERYONE}" and stays in it: take it out of the list.'
            found.append((self._remove, Problem("everyone_cannot_be_removed", message)))
        if not add.keys.isdisjoint(remove.keys):
            both = ", ".join(f'"{item}"' for item in add.items if fold(item) in remove.keys)
            message = f"The row both adds and removes {both}: decide for one of the two."
            found.append((self._remove, Problem("add_and_remove", message)))

    def _exact_and_changes(self, cells: Sequence[str]) -> Problem:
        others = [
            column_label(self._headers, column)
            for column in (self._add, self._remove)
            if column >= 0 and trim(cells[column])
        ]
        return Problem(
            "exact_with_changes",
            f"{column_label(self._headers, self._exact)} says which groups exactly, so {' and '.join(others)} must be "
            "blank in this row: keep one or the other.",
        )
