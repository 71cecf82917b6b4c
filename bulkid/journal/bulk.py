"""Statements over many rows at once: tuples at the speed of the driver, and ranges of numbers.

Python's sqlite3 module releases the global interpreter lock (GIL) for each statement, and then waits for the thread of
the event loop to release it in turn. So one statement carries many rows.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Table, and_, bindparam, update
from sqlalchemy.sql.expression import ClauseElement

from bulkid.journal.codec import storable

MOST_VALUES = 999
"""Values that one statement may bind: those of about 100 items. SQLite before 3.32 accepts no more
(https://www.sqlite.org/limits.html, SQLITE_MAX_VARIABLE_NUMBER)."""

_HAS_UPDATE_FROM = sqlite3.sqlite_version_info >= (3, 33)  # https://www.sqlite.org/lang_update.html


class ExecuteMany:
    """A statement to be run over many tuples of plain values (text, numbers, None).

    SQLAlchemy's own executemany makes and checks a dict per row, which costs more than the database does. Here the
    statement is compiled by SQLAlchemy once per dialect, and the tuples go straight to the driver.

    Args:
        statement: The statement.
        names: The names that the statement binds, in the order of the tuples' values.
        safe: Those of them whose values every database accepts: numbers, JSON of ``codec.dumps``, words of the program.
            Texts under the other names are checked, and made storable where they are not.
    """

    def __init__(self, statement: ClauseElement, names: Sequence[str], *, safe: Collection[str] = ()) -> None:
        self._statement = statement
        self._names = tuple(names)
        self._checked_columns = [column for column, name in enumerate(names) if name not in safe]
        self._compiled: dict[str, str] = {}

    def _multi_row(self, tuples: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
        """Group rows for statements that carry several: yield a number of rows, and the values of each such statement.

        At most three numbers occur, so the driver compiles few different statements.
        """
        most, start = max(1, MOST_VALUES // len(self._names)), 0
        for rows in (most, max(1, most // 10), 1):
            end = len(tuples) - (len(tuples) - start) % rows
            if start < end:
                yield rows, [tuple(chain.from_iterable(tuples[each : each + rows])) for each in range(start, end, rows)]
            start = end

    def run(self, connection: Connection, tuples: Sequence[tuple[Any, ...]]) -> int:
        """Run the statement once per tuple, and give how many rows it touched in all."""
        if not tuples:
            return 0
        if not all(_storable(tuples, column) for column in self._checked_columns):
            tuples = [tuple(storable(value) for value in values) for values in tuples]
        return self._execute(connection, self._prepared(connection), tuples)

    def _execute(self, connection: Connection, sql: str, tuples: Sequence[tuple[Any, ...]]) -> int:
        parameters: Any = tuples if isinstance(tuples, list) else list(tuples)
        return connection.exec_driver_sql(sql, parameters).rowcount

    def _prepared(self, connection: Connection) -> str:
        dialect = connection.dialect
        key = f"{dialect.name}+{dialect.driver}"
        known = self._compiled.get(key)
        if known is None:
            compiled: Any = self._statement.compile(dialect=dialect, column_keys=list(self._names))
            if tuple(compiled.positiontup or ()) != self._names:
                raise ValueError(f"values are given as {self._names}, the statement takes {compiled.positiontup}")
            known = self._compiled[key] = str(compiled)
        return known


class InsertMany(ExecuteMany):
    """The same for an INSERT of one row: each statement carries several. PostgreSQL takes half the time for them.

    SQLite takes a quarter less for short rows, and a tenth for long ones.
    """

    def _execute(self, connection: Connection, sql: str, tuples: Sequence[tuple[Any, ...]]) -> int:
        insert, values = sql.split(" VALUES ")
        inserted = 0
        for rows, grouped in self._multi_row(tuples):
            inserted += super()._execute(connection, f"{insert} VALUES {', '.join([values] * rows)}", grouped)
        return inserted


class UpdateMany(ExecuteMany):
    """The same for an UPDATE of one row by its key. With SQLite each statement carries several.

    Each tuple has the values of the ``columns``, then those of the ``key``. No two of them may have the same key.
    """

    def __init__(self, table: Table, columns: Sequence[str], key: Sequence[str], *, safe: Collection[str] = ()) -> None:
        bound = [f"{name}_of_key" for name in key]
        values: dict[str, Any] = {name: bindparam(name) for name in columns}
        this = and_(*(table.c[name] == bindparam(other) for name, other in zip(key, bound, strict=True)))
        super().__init__(update(table).values(values).where(this), (*columns, *bound), safe=(*safe, *bound))
        given = [f"{name} = given.column{number}" for number, name in enumerate((*columns, *key), start=1)]
        # SQLite names the columns of VALUES so. The driver counts rows only where UPDATE is the first word (not WITH).
        self._update = f"UPDATE {table.name} SET {', '.join(given[: len(columns)])} FROM (VALUES "  # noqa: S608 - names alone
        self._row = f"({', '.join('?' * len(given))})"
        self._where = f") AS given WHERE {' AND '.join(f'{table.name}.{each}' for each in given[len(columns) :])}"

    def _execute(self, connection: Connection, sql: str, tuples: Sequence[tuple[Any, ...]]) -> int:
        # psycopg sends the statements of a list without waiting for each response.
        if connection.dialect.name != "sqlite" or not _HAS_UPDATE_FROM:
            return super()._execute(connection, sql, tuples)
        touched = 0
        for rows, grouped in self._multi_row(tuples):
            several = f"{self._update}{', '.join([self._row] * rows)}{self._where}"
            touched += super()._execute(connection, several, grouped)
        return touched


def _storable(tuples: Sequence[tuple[Any, ...]], column: int) -> bool:
    """Whether all text in a column can be kept as it is, as nearly always; joined into one text for speed."""
    text = "".join([value for values in tuples if type(value := values[column]) is str])
    if text.isascii():
        return "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def ranges(links: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Join rows that follow one another as their items do: how far the rows are ahead, first and last row of a range.

    Most sheets name each account once, so that 20,000 links are one statement: 5 ms instead of 28.
    """
    ahead, first, last = 0, 0, None
    for row, item in links:
        if last is not None:
            if row == last + 1 and row - item == ahead:
                last = row
                continue
            yield ahead, first, last
        ahead, first, last = row - item, row, row
    if last is not None:
        yield ahead, first, last
