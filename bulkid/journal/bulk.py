"""Statements over many rows at once: tuples at the speed of the driver, and ranges of numbers."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.sql.expression import ClauseElement

from bulkid.journal.codec import storable


class ExecuteMany:
    """A statement to be run over many tuples of plain values (text, numbers, None).

    SQLAlchemy's own executemany makes and checks a dict per row, which costs more than the database does. Here the
    statement is compiled by SQLAlchemy once per dialect, and the tuples go straight to the driver.

    Args:
        statement: What is run.
        names: The names that the statement binds, in the order of the tuples' values.
        sound: Those of them whose values any database takes: numbers, JSON of ``codec.dumps``, words of the program.
            Texts among the others are looked at.
    """

    def __init__(self, statement: ClauseElement, names: Sequence[str], *, sound: Collection[str] = ()) -> None:
        self._statement = statement
        self._names = tuple(names)
        self._places = [place for place, name in enumerate(names) if name not in sound]
        self._compiled: dict[str, str] = {}

    def run(self, connection: Connection, tuples: Sequence[tuple[Any, ...]]) -> int:
        """Run the statement once per tuple, and give how many rows it touched in all."""
        if not tuples:
            return 0
        sql = self._prepared(connection)
        parameters: Any = tuples if isinstance(tuples, list) else list(tuples)
        if not all(_storable(parameters, place) for place in self._places):
            parameters = [tuple(storable(value) for value in values) for values in parameters]
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


def _storable(tuples: Sequence[tuple[Any, ...]], place: int) -> bool:
    """Whether all text at a place can be kept as it is, as nearly always; joined into one text for speed."""
    text = "".join([value for values in tuples if type(value := values[place]) is str])
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
