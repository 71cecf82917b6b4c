"""Statements over many rows at once: tuples at the speed of the driver, and ranges of numbers."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.sql.expression import ClauseElement

from bulkid.journal.codec import storable

_ROWS = 20  # rows that one INSERT holds; one of 40 rows is no faster


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
        whole = len(tuples) - len(tuples) % _ROWS
        several = [tuple(chain.from_iterable(tuples[start : start + _ROWS])) for start in range(0, whole, _ROWS)]
        inserted = 0
        if several:
            insert, values = sql.split(" VALUES ")
            inserted = super()._execute(connection, f"{insert} VALUES {', '.join([values] * _ROWS)}", several)
        if whole < len(tuples):
            inserted += super()._execute(connection, sql, tuples[whole:])
        return inserted


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
