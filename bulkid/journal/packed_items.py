"""Items of a plan that are packed, many in one row, until they are moved into place.

A run writes its whole plan before its first request. Packed, that takes a third of the time. The journal does the rest
while requests are sent: it moves each chunk of items into place when it notes that their requests may leave.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select

from bulkid.journal import codec
from bulkid.journal.bulk import ExecuteMany
from bulkid.journal.schema import packed_items, runs
from bulkid.model import RunItem

InsertItems = Callable[[Connection, int, Sequence[RunItem]], None]
"""Puts items of a run into place, within a transaction."""

PACKED_TOGETHER = 256
"""Items in one row. While their columns are made, for 1 ms, no response is handled."""

_COLUMNS = tuple(packed_items.c.keys())
_INSERT = ExecuteMany(
    insert(packed_items).values({name: bindparam(name) for name in _COLUMNS}), _COLUMNS, safe=_COLUMNS
)
_OF_RUN = packed_items.c.run == bindparam("in_run")
_THIS = and_(_OF_RUN, packed_items.c.first == bindparam("number"))
_FIRST = select(func.min(packed_items.c.first)).where(_OF_RUN)
_PACKED = select(packed_items.c.packed).where(_THIS)
_DROP = delete(packed_items).where(_THIS)
_LOCK_RUN = select(runs.c.run).where(runs.c.run == bindparam("in_run")).with_for_update()  # SQLite locks the whole file


class PackedItems:
    """The packed items of the runs of one journal. A run is given by its number in the tables."""

    def __init__(self) -> None:
        # What this process has packed, by run and first number: to read it again takes as long as the rest of moving
        # it. No other process makes a plan for the run meanwhile, since this one holds the organisation's lock.
        self._known: dict[tuple[int, int], Sequence[RunItem]] = {}

    def add(self, connection: Connection, run: int, items: Sequence[RunItem]) -> None:
        """Pack at most `PACKED_TOGETHER` items, which nothing has come of, in the order of their numbers."""
        first = items[0].number
        _INSERT.run(connection, [(run, first, codec.pack_items(items))])
        self._known[run, first] = items

    def first(self, connection: Connection, run: int) -> int | None:
        """Return the lowest number of the packed items of a run."""
        found: int | None = connection.execute(_FIRST, {"in_run": run}).scalar()
        return found

    def move(self, connection: Connection, run: int, insert: InsertItems, last: float) -> frozenset[int]:
        """Let ``insert`` put the items up to number ``last`` into place, and those that are packed with them.

        Return the numbers of the items that this call has moved. Several processes may call it at once.
        """
        moved: list[int] = []
        first = self.first(connection, run)
        if first is None:  # another process may have moved what is known here
            self._forget(run)
        elif first <= last:
            connection.execute(_LOCK_RUN, {"in_run": run})  # one process after the other: so look again
            while (first := self.first(connection, run)) is not None and first <= last:
                items = self._take(connection, run, first)
                insert(connection, run, items)
                moved += [item.number for item in items]
        return frozenset(moved)

    def _take(self, connection: Connection, run: int, first: int) -> Sequence[RunItem]:
        this = {"in_run": run, "number": first}
        items = self._known.pop((run, first), None)
        if items is None:
            items = codec.unpack_items(connection.execute(_PACKED, this).scalar_one())
        connection.execute(_DROP, this)
        return items

    def drop(self, connection: Connection, run: int) -> None:
        """Delete the packed items of a run."""
        connection.execute(delete(packed_items).where(packed_items.c.run == run))
        self._forget(run)

    def _forget(self, run: int) -> None:
        for key in list(self._known):
            if key[0] == run:
                self._known.pop(key, None)
