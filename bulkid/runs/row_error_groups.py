"""Row errors for people: those that say the same of one column are one problem of several rows."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bulkid.model import RowError

_MAX_RANGES = 6
"""Ranges of rows that a problem names; the report names every row."""


@dataclass(slots=True)
class RowErrorGroup:
    """One problem, and the rows that have it."""

    column: str  # the header; "" where the problem is about the row as a whole
    code: str
    message: str
    value: str  # the cell of the first row
    same_value: bool = True  # whether the cells of all rows are equal
    count: int = 0  # rows
    ranges: list[tuple[int, int]] = field(default_factory=list)  # first and last row, of the first ranges only
    complete: bool = True  # whether the ranges hold every row
    last_row: int = 0

    def row_list(self) -> str:
        """The rows in short: ``3``, ``2, 5-9``; of many ranges the first ones: ``2, 4, 6, 8, 10, 12, ...``."""
        parts = [f"{first}" if first == last else f"{first}-{last}" for first, last in self.ranges]
        return ", ".join([*parts, *([] if self.complete else ["..."])])

    def add(self, row_error: RowError) -> None:
        """Count one more row, which stands below those before it."""
        row = row_error.row
        self.same_value = self.same_value and row_error.value == self.value
        if row == self.last_row:
            return  # a second error of the same row that says the same
        follows, self.last_row = row == self.last_row + 1, row
        self.count += 1
        if not self.complete:
            return
        if self.ranges and follows:
            self.ranges[-1] = (self.ranges[-1][0], row)
        elif len(self.ranges) < _MAX_RANGES:
            self.ranges.append((row, row))
        else:
            self.complete = False


@dataclass(frozen=True, slots=True)
class GroupedRowErrors:
    """The problems of a sheet in the order of their first rows, and how many errors belong to further ones."""

    groups: tuple[RowErrorGroup, ...]
    hidden: int


def group_row_errors(row_errors: Iterable[RowError], limit: int | None = None) -> GroupedRowErrors:
    """Group row errors, which are in the order of rows, by column and message.

    ``limit`` is how many problems there may be, None for any; the errors of further ones are only counted.
    """
    groups: dict[tuple[str, str], RowErrorGroup] = {}
    hidden = 0
    for row_error in row_errors:
        key = (row_error.column, row_error.message)
        group = groups.get(key)
        if group is None:
            if limit is not None and len(groups) >= limit:
                hidden += 1
                continue
            group = groups[key] = RowErrorGroup(row_error.column, row_error.code, row_error.message, row_error.value)
        group.add(row_error)
    return GroupedRowErrors(tuple(groups.values()), hidden)
