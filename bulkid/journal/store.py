"""The journal: what was read, what is intended, and what came of it. Synchronous; safe to call from any thread."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, Self

from sqlalchemy import (
    Connection,
    Select,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from bulkid.consume import batched
from bulkid.errors import StateError, UsageError
from bulkid.journal import codec
from bulkid.journal.bulk import MOST_VALUES, ExecuteMany, InsertMany, UpdateMany, ranges
from bulkid.journal.database import PAGE, Database, open_database, repeated
from bulkid.journal.errors import DatabaseLostError
from bulkid.journal.locks import LockHandle
from bulkid.journal.packed_items import PACKED_TOGETHER, PackedItems
from bulkid.journal.schema import entries, planned_changes, rows, runs
from bulkid.model import Outcome, Phase, ReportRow, RowError, RunItem, RunRecord, RunStatus, SheetRow, Status, Via

_BATCH_SIZE = 1000  # items turned into columns at a time
_LINES_AT_ONCE = 100  # lines of a report that are made at a time, and held
_NAMED = 5  # how many runs a message names

RESUMABLE = (RunStatus.RUNNING, RunStatus.STOPPED, RunStatus.INTERRUPTED)
"""Statuses of runs that can go on. A killed process leaves ``RUNNING`` behind; the lock of a run shows whether it is
still alive. One killed in phase ``reading`` has not all its rows."""

AGREED = runs.c.phase != Phase.ASKING.value

_RUN_COLUMNS = [runs.c[name] for name in codec.RUN_FIELDS]
_ENTRY_COLUMNS = [entries.c[name] for name in codec.ENTRY_COLUMNS if name != "run"]
LINKED = and_(entries.c.run == rows.c.run, entries.c.entry == rows.c.entry)
_INVALID = or_(rows.c.faults.is_not(None), rows.c.plan_faults.is_not(None))
_PENDING = Status.PENDING.value

STATUS = case((_INVALID, Status.INVALID.value), else_=func.coalesce(entries.c.status, _PENDING))
"""The status of a row of the sheet, over ``rows`` with their ``entries``."""

REPORT_COLUMNS = (
    rows.c.row,
    rows.c.cells,
    rows.c.account_id,
    rows.c.name,
    rows.c.faults,
    rows.c.plan_faults,
    entries.c.account_id,
    entries.c.name,
    entries.c.changes,
    *(entries.c[name] for name in codec.OUTCOME_COLUMNS),
)
"""What ``codec.report_rows`` takes."""


class _Intent(NamedTuple):
    """The note that requests for some items may leave from a moment on."""

    numbers: frozenset[int]
    at: float  # seconds since the epoch
    via: str


_NO_INTENT = (None, None)


def _parted(items: Sequence[RunItem]) -> tuple[list[RunItem], list[RunItem]]:
    """Part the items that nothing was sent for, and nothing has come of, from the others."""
    untouched: list[RunItem] = []
    others: list[RunItem] = []
    for item in items:
        (others if item.intended or item.outcome != codec.PENDING else untouched).append(item)
    return untouched, others


def _values(names: Sequence[str]) -> dict[str, Any]:
    return {name: bindparam(name) for name in names}


_THIS_ITEM = and_(entries.c.run == bindparam("in_run"), entries.c.entry == bindparam("number"))

_INSERT_ROWS = InsertMany(
    insert(rows).values(_values(codec.ROW_COLUMNS)), codec.ROW_COLUMNS, safe=("run", "row", "cells", "faults")
)
_INSERT_ITEMS = InsertMany(insert(entries).values(_values(codec.ENTRY_COLUMNS)), codec.ENTRY_COLUMNS)
_INTENT_COLUMNS = ("intended_at", "via")
_INSERT_UNTOUCHED = InsertMany(
    # What is the same for each is written out: to bind it takes as long as all the rest.
    insert(entries).values(
        {
            **_values(codec.PLANNED_COLUMNS),
            "status": literal_column(f"'{_PENDING}'"),
            "error_code": literal_column("''"),
            "error": literal_column("''"),
            "attempts": literal_column("0"),
            **_values(_INTENT_COLUMNS),
        }
    ),
    (*codec.PLANNED_COLUMNS, *_INTENT_COLUMNS),
    safe=("run", "entry", "wish", "before", *_INTENT_COLUMNS),
)
_PLANNED_CHANGE_COLUMNS = tuple(planned_changes.c.keys())
_INSERT_PLANNED_CHANGES = InsertMany(
    insert(planned_changes).values(_values(_PLANNED_CHANGE_COLUMNS)), _PLANNED_CHANGE_COLUMNS
)
_LINK = ExecuteMany(
    update(rows)
    .values(entry=rows.c.row - bindparam("ahead"))
    .where(rows.c.run == bindparam("in_run"), rows.c.row >= bindparam("first"), rows.c.row <= bindparam("last")),
    ("ahead", "in_run", "first", "last"),
)
_SET_PLAN_ERRORS = ExecuteMany(
    update(rows)
    .values(plan_faults=bindparam("found"))
    .where(rows.c.run == bindparam("in_run"), rows.c.row == bindparam("number")),
    ("found", "in_run", "number"),
)
_INTEND = ExecuteMany(
    update(entries)
    .values(
        intended_at=bindparam("at"),
        # What is settled stays. The status is written out, since every bound value must come from the caller.
        via=case((entries.c.status == literal_column(f"'{_PENDING}'"), bindparam("by")), else_=entries.c.via),
    )
    .where(
        entries.c.run == bindparam("in_run"),
        entries.c.entry >= bindparam("first"),
        entries.c.entry <= bindparam("last"),
    ),
    ("at", "by", "in_run", "first", "last"),
    safe=("at", "by", "in_run", "first", "last"),
)
_PLAN_AGAIN = ExecuteMany(
    update(entries).values(before=bindparam("state"), changes=bindparam("words")).where(_THIS_ITEM),
    ("state", "words", "in_run", "number"),
)
_SETTLE = UpdateMany(
    entries, codec.OUTCOME_COLUMNS, ("run", "entry"), safe=set(codec.OUTCOME_COLUMNS) - {"error_code", "error"}
)
_SET_ACCOUNT_ID = ExecuteMany(
    update(entries).values(account_id=bindparam("created")).where(_THIS_ITEM), ("created", "in_run", "number")
)
_STILL_PENDING = ExecuteMany(
    update(entries)
    .values(_values(codec.OUTCOME_COLUMNS))
    .where(_THIS_ITEM, entries.c.status == bindparam("unsettled")),
    (*codec.OUTCOME_COLUMNS, "in_run", "number", "unsettled"),
)


_REPORT_ROWS = (
    select(*REPORT_COLUMNS)
    .select_from(rows.outerjoin(entries, LINKED))
    .where(rows.c.run == bindparam("in_run"), rows.c.row > bindparam("after"))
    .order_by(rows.c.row)
    .limit(bindparam("page"))
)


def open_journal(state_dir: Path, database_url: str | None = None) -> "Journal":
    """Open the journal of a state directory, or of a database on a server; create what is missing.

    The URL has the form ``postgresql+psycopg://user:password@host/database``.

    Raises:
        StateError: The database cannot be reached, is read-only, full, damaged, of a newer bulkid, or no database of
            bulkid's.
    """
    return Journal(open_database(state_dir, database_url))


class Journal:
    """All runs of one state database. A context manager that closes itself.

    Every method is one transaction, durable when it returns, unless it says otherwise. Each raises ``StateError`` when
    the database cannot be used, and ``StateFullError`` when there is no room.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._numbers: dict[str, int] = {}
        self._packed = PackedItems()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; harmless when repeated."""
        self.database.close()

    @repeated
    def size(self) -> int:
        """Bytes that the state takes."""
        with self.database.read() as connection:
            return self.database.dialect.size(connection)

    # --- locks

    def acquire_lock(self, name: str, record: Mapping[str, Any]) -> LockHandle:
        """Take a lock among all runs on this database; see `Dialect.acquire_lock`."""
        return self.database.repeat(lambda: self.database.dialect.acquire_lock(name, record))

    def is_locked(self, name: str) -> bool:
        """Whether a process holds a lock at present."""
        return self.database.repeat(lambda: self.database.dialect.is_locked(name))

    # --- runs

    def create_run(self, record: RunRecord) -> None:
        """Keep the record of a new run."""
        values = codec.run_values({name: getattr(record, name) for name in codec.RUN_FIELDS})
        self.database.execute(insert(runs).values(values))

    def update_run(self, run_id: str, /, **fields: object) -> None:
        """Change fields of a run's record.

        Raises:
            ValueError: A field that ``RunRecord`` does not have.
        """
        values = codec.run_values(fields)
        if values:
            self.database.execute(update(runs).where(runs.c.run == self._run(run_id)).values(values))

    def get_run(self, run_id: str) -> RunRecord | None:
        """Return the record of exactly this run."""
        found = self.database.fetch(select(*_RUN_COLUMNS).where(runs.c.run_id == run_id))
        return codec.run_record(found[0]) if found else None

    def find_run(self, text: str) -> RunRecord | None:
        """Return the run whose id is ``text`` or, alone among all, begins with it.

        Raises:
            UsageError: Several ids begin with it.
        """
        wanted = text.strip().lower()
        if not wanted:
            return None
        exact = self.get_run(wanted)
        if exact is not None and exact.phase != Phase.ASKING:
            return exact
        begins = runs.c.run_id.startswith(wanted, autoescape=True)
        query = select(*_RUN_COLUMNS).where(begins, AGREED).order_by(runs.c.run_id.desc()).limit(_NAMED + 1)
        found = [codec.run_record(columns) for columns in self.database.fetch(query)]
        if len(found) > 1:
            names = ", ".join(record.run_id for record in found[:_NAMED]) + (", ..." if len(found) > _NAMED else "")
            raise UsageError(f"Several runs begin with '{wanted}': {names}.", hint="Give more of the run's id.")
        return found[0] if found else None

    def list_runs(self, limit: int | None = None) -> list[RunRecord]:
        """Return the newest runs first, at most ``limit`` of them; by their numbers, since clocks may be set back."""
        query = select(*_RUN_COLUMNS).where(AGREED).order_by(runs.c.run.desc()).limit(limit)
        return [codec.run_record(columns) for columns in self.database.fetch(query)]

    def _run(self, run_id: str) -> int:
        """Return the number by which the tables know a run."""
        if run_id not in self._numbers:
            found = self.database.fetch(select(runs.c.run).where(runs.c.run_id == run_id))
            if not found:
                raise StateError(f"The run {run_id} is not in {self.database.place}.")
            self._numbers[run_id] = found[0][0]
        return self._numbers[run_id]

    # --- rows

    @repeated
    def add_rows(self, run_id: str, sheet_rows: Sequence[SheetRow]) -> None:
        """Keep rows of the sheet, the invalid ones with their errors."""
        run = self._run(run_id)
        values = codec.row_values(run, sheet_rows)
        with self.database.write() as connection:
            _INSERT_ROWS.run(connection, values)

    @repeated
    def set_invalid(self, run_id: str, row_errors: Sequence[RowError]) -> None:
        """Make rows invalid by errors found after reading, beside those that they have. Equal errors count once.

        Raises:
            StateError: An error of a row that the run does not have.
        """
        run = self._run(run_id)
        by_row: dict[int, list[RowError]] = {}
        for row_error in row_errors:
            by_row.setdefault(row_error.row, []).append(row_error)
        with self.database.write() as connection:
            query = select(rows.c.row, rows.c.plan_faults).where(rows.c.run == run, rows.c.plan_faults.is_not(None))
            known = {row: codec.load_row_errors(row, text) for row, text in connection.execute(query) if row in by_row}
            values = [
                (codec.dump_row_errors(tuple(dict.fromkeys((*known.get(row, ()), *found)))), run, row)
                for row, found in by_row.items()
            ]
            self._require(_SET_PLAN_ERRORS.run(connection, values) == len(values), run)

    def iter_rows(self, run_id: str) -> Iterator[tuple[int, tuple[str, ...], bool]]:
        """Yield each row's number, its cells as they came in, and whether it is invalid, in the sheet's order."""
        query = select(rows.c.row, rows.c.cells, _INVALID).where(rows.c.run == self._run(run_id))
        for row, cells, invalid in self.database.pages(query, rows.c.row):
            yield row, codec.load_cells(cells), bool(invalid)

    @repeated
    def add_planned_changes(self, run_id: str, items: Sequence[RunItem]) -> None:
        """Keep changes that a plan file asks for, with the states that they were planned for; no outcome is kept."""
        run = self._run(run_id)
        with self.database.write() as connection:
            _INSERT_PLANNED_CHANGES.run(connection, codec.planned_values(run, items))

    def iter_planned_changes(self, run_id: str) -> Iterator[RunItem]:
        """Yield the changes that :meth:`add_planned_changes` kept, by number."""
        columns = [column for column in planned_changes.c if column.name != "run"]
        query = select(*columns).where(planned_changes.c.run == self._run(run_id))
        yield from map(codec.planned_item, self.database.pages(query, planned_changes.c.number))

    # --- items: the accounts of a run

    @repeated
    def add_items(self, run_id: str, planned: Iterable[RunItem]) -> None:
        """Keep items, and link the rows that they come from.

        ``planned`` is iterated once more where the connection to the database is lost.
        """
        run = self._run(run_id)
        with self.database.write() as connection:
            # In batches: the columns of 100,000 items at once would be 100 MB.
            for batch in batched(planned, _BATCH_SIZE):
                self._insert_items(connection, run, batch)

    @repeated
    def add_plan(self, run_id: str, planned: Iterable[RunItem]) -> None:
        """Keep items as :meth:`add_items` does, in half the time: those that nothing has come of are packed.

        A packed item is as durable as any other. Until it is moved into place, its rows have no item: :meth:`counts`
        and :meth:`settled_rows` take them for pending, as they are. Whatever else needs an item moves it first; see
        :meth:`unpack_if_possible` for what a database shows that takes no write.

        ``planned`` is iterated once more where the connection to the database is lost.
        """
        run = self._run(run_id)
        with self.database.write() as connection:
            for batch in batched(planned, PACKED_TOGETHER):
                untouched, others = _parted(batch)
                if untouched:
                    self._packed.add(connection, run, untouched)
                if others:
                    self._insert_items(connection, run, others)

    def _insert_items(
        self, connection: Connection, run: int, items: Sequence[RunItem], intent: _Intent | None = None
    ) -> None:
        untouched, others = _parted(items)
        numbers = () if intent is None else intent.numbers
        noted = _NO_INTENT if intent is None else (intent.at, intent.via)
        columns = [
            (*values, *(noted if item.number in numbers else _NO_INTENT))
            for values, item in zip(codec.planned_values(run, untouched), untouched, strict=True)
        ]
        _INSERT_UNTOUCHED.run(connection, columns)
        _INSERT_ITEMS.run(connection, codec.item_values(run, others))
        links = [(row, item.number) for item in items for row in item.desired.rows]
        linked = [(ahead, run, first, last) for ahead, first, last in ranges(links)]
        self._require(_LINK.run(connection, linked) == len(links), run)

    def _unpack(
        self, connection: Connection, run: int, last: float = inf, intent: _Intent | None = None
    ) -> frozenset[int]:
        """Move the packed items up to number ``last`` into place, and note the intent of those that it names.

        Return the numbers of the items that were moved.
        """
        return self._packed.move(connection, run, partial(self._insert_items, intent=intent), last)

    @repeated
    def unpack_all(self, run_id: str) -> None:
        """Move all packed items of a run into place."""
        run = self._run(run_id)
        with self.database.read() as connection:  # a look waits for no other transaction
            if self._packed.first(connection, run) is None:
                return
        with self.database.write() as connection:
            self._unpack(connection, run)

    def unpack_if_possible(self, run_id: str) -> None:
        """Move all packed items of a run into place, unless the database takes no write, for example on a full disk.

        What is packed is pending, so rows can be shown all the same: only their changes are missing.
        """
        with suppress(StateError):  # a database that cannot be read either fails when the rows are read
            self.unpack_all(run_id)

    @repeated
    def forget_rows(self, run_id: str) -> None:
        """Drop all rows (and items) of a run that never sent anything, so that its sheet can be read again."""

        def clear(connection: Connection, run: int) -> None:
            connection.execute(delete(rows).where(rows.c.run == run))
            connection.execute(delete(planned_changes).where(planned_changes.c.run == run))

        self._forget(run_id, clear)

    @repeated
    def forget_plan(self, run_id: str) -> None:
        """Drop all items of a run that never sent anything, and the errors found by planning, to plan it again."""
        unplanned = update(rows).values(entry=None, plan_faults=None)
        planned = or_(rows.c.entry.is_not(None), rows.c.plan_faults.is_not(None))
        self._forget(run_id, lambda connection, run: connection.execute(unplanned.where(rows.c.run == run, planned)))

    def _forget(self, run_id: str, clear_rows: Callable[[Connection, int], object]) -> None:
        run = self._run(run_id)
        sent = exists().where(entries.c.run == run, entries.c.intended_at.is_not(None))
        with self.database.write() as connection:
            if connection.execute(select(sent)).scalar():
                raise StateError(f"The run {run_id} has sent requests already: its plan cannot be made again.")
            connection.execute(delete(entries).where(entries.c.run == run))
            self._packed.drop(connection, run)
            clear_rows(connection, run)

    @repeated
    def plan_again(self, run_id: str, planned: Iterable[RunItem]) -> None:
        """Keep the states before, and the changes as text, of items that were planned again. Nothing else changes.

        ``planned`` is iterated once more where the connection to the database is lost.

        Raises:
            StateError: An item that the run does not have.
        """
        run = self._run(run_id)
        with self.database.write() as connection:
            self._unpack(connection, run)
            for batch in batched(planned, _BATCH_SIZE):
                columns = codec.planned_values(run, batch)
                values = [(before, changes, run, number) for _, number, _, _, _, before, changes in columns]
                self._require(_PLAN_AGAIN.run(connection, values) == len(values), run)

    @repeated
    def intend(self, run_id: str, numbers: Sequence[int], at: float, via: Via = Via.ACCOUNT) -> None:
        """Note, before they leave, that requests for these items may leave from ``at`` on (seconds since the epoch).

        Raises:
            StateError: An item that the run does not have.
        """
        run = self._run(run_id)
        with self.database.write() as connection:
            intent = _Intent(frozenset(numbers), at, via.value)
            moved = self._unpack(connection, run, max(numbers, default=-1), intent)
            in_place = [number for number in numbers if number not in moved]
            # Items are sent in their order, so that a chunk of 256 is one statement instead of 256: 0.5 ms, not 1.4.
            spans = ranges(zip(in_place, in_place, strict=True))
            touched = _INTEND.run(connection, [(at, via.value, run, first, last) for _, first, last in spans])
            self._require(touched == len(in_place), run)

    @repeated
    def settle(self, run_id: str, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        """Keep outcomes, all or none. To repeat a call changes nothing; ``pending`` never replaces what is settled.

        An outcome with an account id gives it to its item, which had none: the account was created.

        Raises:
            StateError: An item that the run does not have.
        """
        run = self._run(run_id)
        settled, pending = dict[int, tuple[Any, ...]](), []
        for number, outcome in outcomes:
            values = (*codec.outcome_values(outcome), run, number)
            if values[0] == _PENDING:
                pending.append((*values, _PENDING))
            else:
                settled[number] = values
        created = [(outcome.account_id, run, number) for number, outcome in outcomes if outcome.account_id]
        with self.database.write() as connection:
            self._unpack(connection, run, max((number for number, _ in outcomes), default=-1))
            _SET_ACCOUNT_ID.run(connection, created)
            _STILL_PENDING.run(connection, pending)
            self._require(_SETTLE.run(connection, list(settled.values())) == len(settled), run)

    def iter_items(self, run_id: str, *, unsettled: bool = False) -> Iterator[RunItem]:
        """Yield the items of a run by number, with what has come of each so far; all, or only the ``unsettled`` ones.

        Where an unsettled one is ``intended``, a request may have left: its account must be read back. Items may be
        settled meanwhile; no transaction stays open between pages.
        """
        self.unpack_all(run_id)
        query = select(*_ENTRY_COLUMNS).where(entries.c.run == self._run(run_id))
        if unsettled:
            query = query.where(entries.c.status == _PENDING)
        yield from map(codec.item_of, self.database.pages(query, entries.c.entry))

    def items(self, run_id: str, numbers: Collection[int]) -> dict[int, RunItem]:
        """Return some items of a run, by their numbers."""
        self.unpack_all(run_id)
        query = select(*_ENTRY_COLUMNS).where(entries.c.run == self._run(run_id))
        wanted, found = sorted(numbers), dict[int, RunItem]()
        size = MOST_VALUES - 1  # the run is a value too
        for start in range(0, len(wanted), size):
            part = query.where(entries.c.entry.in_(wanted[start : start + size]))
            found.update((item.number, item) for item in map(codec.item_of, self.database.fetch(part)))
        return found

    @repeated
    def replace_group(self, run_id: str, old: str, new: str) -> None:
        """Write another id for a group in what the items of a run ask for.

        ``old`` is an id that bulkid made, a GUID that is no part of any other text.
        """
        run = self._run(run_id)
        replaced = func.replace(entries.c.wish, codec.dumps(old), codec.dumps(new))
        with self.database.write() as connection:
            self._unpack(connection, run)
            connection.execute(update(entries).values(wish=replaced).where(entries.c.run == run))

    # --- what came of it

    def report_rows(self, run_id: str, after: int = -1) -> Iterator[ReportRow]:
        """Yield a line for every row of the sheet, in its order, all of one moment even while the run goes on.

        A transaction (which blocks no other) stays open until the iterator ends or is closed. When the connection is
        lost on the way, the remaining rows are those of that later moment. Only rows after row ``after`` are given.
        """
        self.unpack_if_possible(run_id)
        run = self._run(run_id)
        given, more = 0, True
        while more:
            try:
                with self.database.read() as connection:
                    message = connection.execute(select(runs.c.message).where(runs.c.run == run)).scalar_one()
                    while more:
                        before = given
                        page = connection.execute(_REPORT_ROWS, {"in_run": run, "after": after, "page": PAGE})
                        for found in page.partitions(_LINES_AT_ONCE):
                            for line in codec.report_rows(found, message):
                                after = line.row
                                given += 1
                                yield line
                        more = given - before == PAGE
            except DatabaseLostError:
                self.get_run(run_id)  # waits until the database is back, or gives up

    def settled_rows(self, run_id: str, after: int, limit: int) -> list[ReportRow]:
        """Give at most ``limit`` lines of the rows after row ``after``, up to the first that is not settled.

        What is settled stays, so these lines are those that :meth:`report_rows` gives once the run has ended.
        """
        found = self.database.fetch(_REPORT_ROWS, {"in_run": self._run(run_id), "after": after, "page": limit})
        lines = codec.report_rows(found, "")
        return list(takewhile(lambda line: line.status is not Status.PENDING, lines))

    def counts(self, run_id: str) -> dict[Status, int]:
        """Count the rows of the sheet by status; they add up to all rows."""
        status = STATUS.label("counted")
        source = rows.outerjoin(entries, LINKED)
        query = select(status, func.count()).select_from(source).where(rows.c.run == self._run(run_id))
        query = query.group_by("counted")  # by its name: with values bound anew it would be another expression
        return self._counted(query)

    def has_sheet_errors(self, run_id: str) -> bool:
        """Whether rows of a run are invalid by the sheet alone, whatever the directory holds."""
        found = select(rows.c.row).where(rows.c.run == self._run(run_id), rows.c.faults.is_not(None)).limit(1)
        return bool(self.database.fetch(found))

    def account_counts(self, run_id: str) -> dict[Status, int]:
        """Count the items (accounts) by status."""
        self.unpack_all(run_id)
        query = select(entries.c.status, func.count()).where(entries.c.run == self._run(run_id))
        return self._counted(query.group_by(entries.c.status))

    def _counted(self, query: Select[Any]) -> dict[Status, int]:
        found: dict[str, int] = dict(self.database.fetch(query))
        return {status: found.get(status.value, 0) for status in Status}

    def _require(self, found: bool, run: int) -> None:
        if not found:
            run_id = next(run_id for run_id, number in self._numbers.items() if number == run)
            raise StateError(f"The run {run_id} lacks a row or an account that it should have, so nothing was noted.")
