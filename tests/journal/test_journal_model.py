"""Random sequences of operations, restarts among them, against a model of two dicts."""

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bulkid.journal.store import Journal
from bulkid.model import (
    RETRY_STATUSES,
    Account,
    DesiredState,
    Outcome,
    RowError,
    RowRequest,
    RunItem,
    SheetRow,
    Status,
    Via,
)
from tests.support.examples import examples
from tests.support.journal_data import RUN, TEMPORARY, Place, record
from tests.support.postgres_server import shared_server

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
ids = st.lists(text, max_size=3).map(tuple)
settled = st.builds(
    Outcome,
    st.sampled_from([Status.UPDATED, Status.UNCHANGED, Status.FAILED, Status.PENDING]),
    st.none() | st.integers(100, 599),
    text,
    text,
    st.integers(0, 9),
    st.none() | st.sampled_from(Via),
    st.none() | st.floats(0, 4e9),
    account_id=st.just(""),  # once journaled, it is the id of the item
)


@dataclass
class ModelRow:
    cells: tuple[str, ...]
    account_id: str
    name: str
    faults: list[RowError] = field(default_factory=list)
    entry: int | None = None


class JournalMachine(RuleBasedStateMachine):
    """The journal on disk beside what it should hold."""

    def made(self, folder: Path) -> Place:
        """An empty state."""
        return Place(folder)

    def put_away(self) -> None:
        """What is left of the state when its folder is gone."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bulkid-test-", dir=TEMPORARY))
        self.place = self.made(self.folder)
        self.journal: Journal = self.place.open()
        self.journal.create_run(record())
        self.rows: dict[int, ModelRow] = {}
        self.entries: dict[int, RunItem] = {}
        self.message = ""

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            shutil.rmtree(self.folder)
            self.put_away()

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.journal = self.place.open()

    @rule(message=text)
    def tell(self, message: str) -> None:
        self.journal.update_run(RUN, message=message)
        self.message = message

    @rule(cells=st.lists(st.tuples(text, text).map(tuple), min_size=1, max_size=6), faulty=st.booleans())
    def read_rows(self, cells: list[tuple[str, ...]], faulty: bool) -> None:
        first = max(self.rows, default=1) + 1
        batch = []
        for row, came_in in enumerate(cells, first):
            if faulty and row % 2:
                fault = RowError(row, came_in[0], came_in[1], "bad_cell", "Mend it.")
                batch.append(SheetRow(row, came_in, None, (fault,)))
                self.rows[row] = ModelRow(came_in, "", "", [fault])
            else:
                desired = RowRequest(row, came_in[0], came_in[1], (None,), (), (), None, "")
                batch.append(SheetRow(row, came_in, desired))
                self.rows[row] = ModelRow(came_in, came_in[0], came_in[1])
        self.journal.add_rows(RUN, batch)

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), column=text, message=text)
    def find_faults(self, data: st.DataObject, column: str, message: str) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.rows)), max_size=4))
        faults = [RowError(row, column, "", "found_later", message) for row in chosen]
        self.journal.set_invalid(RUN, faults)
        for fault in faults:
            if fault not in self.rows[fault.row].faults:
                self.rows[fault.row].faults.append(fault)

    @precondition(lambda self: any(row.entry is None for row in self.rows.values()))
    @rule(
        data=st.data(),
        names=st.tuples(text, st.none() | text),
        groups=st.tuples(ids, st.none() | ids),
        blind=st.booleans(),
    )
    def plan(
        self,
        data: st.DataObject,
        names: tuple[str, str | None],
        groups: tuple[tuple[str, ...], tuple[str, ...] | None],
        blind: bool,
    ) -> None:
        (name, display), (add, exact) = names, groups
        free = [number for number, row in self.rows.items() if row.entry is None]
        rows = tuple(sorted(data.draw(st.sets(st.sampled_from(free), min_size=1, max_size=3))))
        number = len(self.entries)
        desired = DesiredState(f"id-{number}", name, (display,), add, add[:1], exact, rows)
        before = None if blind else Account(f"ID-{number}", name, (display or "",), exact)
        entry = RunItem(number, desired, before, name, data.draw(settled), intended=blind)
        self.journal.add_items(RUN, [entry])
        self.entries[number] = entry
        for row in rows:
            self.rows[row].entry = number

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), at=st.floats(0, 4e9), via=st.sampled_from(Via))
    def intend(self, data: st.DataObject, at: float, via: Via) -> None:
        numbers = data.draw(st.lists(st.sampled_from(sorted(self.entries)), max_size=5, unique=True))
        self.journal.intend(RUN, numbers, at, via)
        for number in numbers:
            entry = self.entries[number]
            pending = entry.outcome.status is Status.PENDING
            outcome = entry.outcome._replace(via=via) if pending else entry.outcome
            self.entries[number] = entry._replace(intended=True, outcome=outcome)

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), again=st.booleans())
    def settle(self, data: st.DataObject, again: bool) -> None:
        pairs = st.tuples(st.sampled_from(sorted(self.entries)), settled)
        outcomes = data.draw(st.lists(pairs, max_size=5, unique_by=lambda pair: pair[0]))
        self.journal.settle(RUN, outcomes)
        if again:
            self.journal.settle(RUN, outcomes)
        for number, outcome in outcomes:
            known = self.entries[number]
            if outcome.status is not Status.PENDING or known.outcome.status is Status.PENDING:
                self.entries[number] = known._replace(outcome=outcome)

    @precondition(lambda self: not any(entry.intended for entry in self.entries.values()))
    @rule()
    def plan_again(self) -> None:
        self.journal.forget_plan(RUN)
        self.entries.clear()
        for row in self.rows.values():
            row.entry = None
            row.faults = [fault for fault in row.faults if fault.code == "bad_cell"]

    @invariant()
    def holds_what_it_was_told(self) -> None:
        if not hasattr(self, "journal"):
            return
        expected = list(self.entries.values())
        assert list(self.journal.iter_items(RUN)) == expected
        pending = [entry for entry in expected if entry.outcome.status is Status.PENDING]
        assert list(self.journal.iter_items(RUN, unsettled=True)) == pending
        assert list(self.journal.iter_rows(RUN)) == [
            (number, row.cells, bool(row.faults)) for number, row in self.rows.items()
        ]

    @invariant()
    def reports_each_row_once(self) -> None:
        if not hasattr(self, "journal"):
            return
        lines = list(self.journal.report_rows(RUN))
        assert [line.row for line in lines] == list(self.rows)
        counts = self.journal.counts(RUN)
        assert sum(counts.values()) == len(self.rows)
        for line in lines:
            row = self.rows[line.row]
            entry = None if row.entry is None else self.entries[row.entry]
            assert line.cells == (row.cells if line.status in RETRY_STATUSES else ())
            counts[line.status] -= 1
            if row.faults:
                assert (line.status, line.error_code) == (Status.INVALID, row.faults[0].code)
            elif entry is None:
                assert (line.status, line.error, line.attempts) == (Status.PENDING, self.message, 0)
                assert (line.robot_account_id, line.name) == (row.account_id, row.name)
            else:
                outcome = entry.outcome
                assert line.status is outcome.status
                error = outcome.error
                assert line.error == (error or self.message if outcome.status is Status.PENDING else error)
                carried = None if outcome.status is Status.PENDING else outcome.via
                told = (line.http_status, line.error_code, line.attempts, line.via, line.finished_at)
                known = (outcome.http_status, outcome.error_code, outcome.attempts, carried, outcome.finished_at)
                assert told == known
                changes = "" if outcome.status is Status.UNCHANGED else entry.changes
                assert (line.robot_account_id, line.changes) == (entry.desired.account_id, changes)
                assert line.name == (entry.desired.name or row.name)
        assert set(counts.values()) == {0}
        accounts = self.journal.account_counts(RUN)
        for status in Status:
            assert accounts[status] == sum(entry.outcome.status is status for entry in self.entries.values())


class ServerMachine(JournalMachine):
    """The journal on a server."""

    def made(self, folder: Path) -> Place:
        self.opened = ExitStack()
        return Place(folder, self.opened.enter_context(shared_server().database()))

    def put_away(self) -> None:
        self.opened.close()


JournalMachine.TestCase.settings = settings(
    max_examples=examples(12, soak=100),
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # each step reads the whole run back from disk
)
ServerMachine.TestCase.settings = settings(JournalMachine.TestCase.settings, max_examples=examples(5, soak=40))
TestJournalModel = JournalMachine.TestCase
TestJournalModelOnAServer = ServerMachine.TestCase
