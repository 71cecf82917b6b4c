"""Rows, items and outcomes: stored values are read back, and each row has one status at every moment."""

import threading
import tracemalloc
from collections.abc import Callable

import pytest
from sqlalchemy import select

from bulkid.errors import StateError
from bulkid.journal import codec
from bulkid.journal.schema import rows, runs
from bulkid.journal.store import Journal
from bulkid.model import Account, DesiredState, Outcome, ReportRow, RowError, RowRequest, RunItem, SheetRow, Status, Via
from tests.support.journal_data import (
    FAILED,
    PENDING,
    RUN,
    UPDATED,
    Place,
    bad_row,
    begin,
    entry,
    good_row,
    record,
    statuses,
)


def test_rows_come_back_as_they_came_in_and_in_order(journal: Journal) -> None:
    journal.create_run(record())
    journal.add_rows(RUN, [good_row(7, "88-uv", "", 'a "quoted"; cell\n', "名前🤖", "\x00"), bad_row(9)])
    journal.add_rows(RUN, [good_row(2, "x")])
    assert list(journal.iter_rows(RUN)) == [
        (2, ("x",), False),
        (7, ("88-uv", "", 'a "quoted"; cell\n', "名前🤖", "\x00"), False),
        (9, ("", "", "Finance"), True),
    ]


def test_a_cell_that_no_encoding_can_hold_is_kept_with_a_replacement(journal: Journal) -> None:
    journal.create_run(record())
    desired = RowRequest(2, "id", "half \ud83d", (None,), (), (), None, "")
    journal.add_rows(RUN, [SheetRow(2, ("half \ud83d", "fine é"), desired), good_row(3)])
    journal.set_invalid(RUN, [RowError(3, "a", "\udc00", "code", "what \udc00 is")])
    assert [cells for _, cells, _ in journal.iter_rows(RUN)] == [("half �", "fine é"), ("id-3", "Robot 3", "Finance")]
    first, second = journal.report_rows(RUN)
    assert (first.name, second.error) == ("half �", "a: what � is")


@pytest.mark.parametrize("count", [1, 19, 20, 21, 45])
def test_rows_added_together_are_kept_as_rows_added_one_by_one(journal: Journal, count: int) -> None:
    many = [good_row(row) if row % 4 else bad_row(row) for row in range(2, count + 2)]
    many[count // 2] = good_row(2 + count // 2, "half \ud83d", 'a "quoted"; cell\n')
    many[-1] = SheetRow(
        count + 1, ("nul \0",), RowRequest(count + 1, "nul \0", "half \udc00", (None,), (), (), None, "")
    )
    one_by_one = record("20260131-081500-aaaa")
    journal.create_run(record())
    journal.create_run(one_by_one)
    journal.add_rows(RUN, many)
    for row in many:
        journal.add_rows(one_by_one.run_id, [row])
    columns = [column for column in rows.c if column.name != "run"]
    kept = [
        journal.database.fetch(
            select(*columns).join(runs, runs.c.run == rows.c.run).where(runs.c.run_id == run_id).order_by(rows.c.row)
        )
        for run_id in (RUN, one_by_one.run_id)
    ]
    assert kept[0] == kept[1]
    assert [columns[0] for columns in kept[0]] == list(range(2, count + 2))


def test_a_row_is_kept_once(journal: Journal) -> None:
    journal.create_run(record())
    journal.add_rows(RUN, [good_row(2, "first")])
    for others in ([good_row(3)], [good_row(row) for row in range(3, 22)]):
        with pytest.raises(StateError):
            journal.add_rows(RUN, [*others, good_row(2, "second")])
        assert list(journal.iter_rows(RUN)) == [(2, ("first",), False)]


def test_faults_found_on_reading_make_a_row_invalid(journal: Journal) -> None:
    faults = (
        RowError(4, "groups", "x;;", "empty_item", "An entry is empty: remove it."),
        RowError(4, "", "", "no_account", "The row names no account."),
    )
    journal.create_run(record(message="refused"))
    journal.add_rows(RUN, [bad_row(4, *faults)])
    (line,) = journal.report_rows(RUN)
    assert line == ReportRow(
        4,
        "",
        "",
        Status.INVALID,
        "",
        None,
        "empty_item",
        "groups: An entry is empty: remove it. | The row names no account.",
        0,
        None,
        None,
        ("", "", "Finance"),
    )


def test_faults_found_later_add_up_and_the_first_code_wins(journal: Journal) -> None:
    on_reading = RowError(3, "id", "", "no_account", "Which account?")
    group, name = (
        RowError(2, "groups", "Finanze", "unknown_group", "No such group."),
        RowError(2, "", "", "clash", "Row 5."),
    )
    third = RowError(3, "groups", "X", "unknown_group", "No group X.")
    journal.create_run(record())
    journal.add_rows(RUN, [good_row(2), bad_row(3, on_reading), good_row(4)])
    journal.set_invalid(RUN, [group, third, name])
    journal.set_invalid(RUN, [group, on_reading])
    journal.set_invalid(RUN, [])
    first, second, last = journal.report_rows(RUN)
    assert (first.status, first.error_code, first.error) == (
        Status.INVALID,
        "unknown_group",
        "groups: No such group. | Row 5.",
    )
    assert (first.robot_account_id, first.name) == ("id-2", "Robot 2")
    assert (second.error_code, second.error) == ("no_account", "id: Which account? | groups: No group X.")
    assert last.status is Status.PENDING
    assert [invalid for _, _, invalid in journal.iter_rows(RUN)] == [True, True, False]


def test_a_fault_of_a_row_that_is_not_there_changes_nothing(journal: Journal) -> None:
    begin(journal, 1)
    with pytest.raises(StateError, match="row"):
        journal.set_invalid(RUN, [RowError(2, "", "", "x", "y"), RowError(99, "", "", "x", "y")])
    assert statuses(journal) == {2: Status.PENDING}


@pytest.mark.parametrize(
    "kept",
    [
        entry(0, 2, 3),
        entry(1, outcome=UPDATED, intended=True),
        entry(2, outcome=FAILED._replace(via=Via.GROUP)),
        RunItem(3, DesiredState("88-uv", "", ("",), (), (), (), (5,)), None, "", PENDING),
        RunItem(
            4,
            DesiredState("abc", "Robot", (None,), ("g-1", "g-2"), (), ("g-1", "g-2"), (6, 7, 8)),
            Account("ABC", "robot", ("",), None),
            "+ 財務",
            Outcome(Status.UNCHANGED, finished_at=1.5),
        ),
    ],
    ids=lambda kept: f"entry {kept.number}",
)
def test_an_entry_comes_back_as_it_was(journal: Journal, kept: RunItem) -> None:
    begin_rows(journal)
    journal.add_items(RUN, [kept])
    assert list(journal.iter_items(RUN)) == [kept]
    assert list(journal.iter_items(RUN, unsettled=True)) == ([kept] if kept.outcome.status is Status.PENDING else [])


def begin_rows(journal: Journal, last: int = 9) -> None:
    journal.create_run(record())
    journal.add_rows(RUN, [good_row(row) for row in range(2, last + 1)])


def test_of_the_state_before_a_run_the_name_and_groups_are_kept(journal: Journal) -> None:
    begin_rows(journal)
    before = Account(
        "id", "Robot", ("Roby",), ("g",), created="2024-01-01T00:00:00Z", last_login="2024-02-01T00:00:00Z"
    )
    journal.add_items(RUN, [entry(0)._replace(before=before)])
    (found,) = journal.iter_items(RUN)
    assert found.before == Account("id", "Robot", ("Roby",), ("g",))


def test_all_rows_of_an_account_share_its_outcome(journal: Journal) -> None:
    begin_rows(journal, 6)
    journal.add_items(RUN, [entry(0, 3, 5), entry(1, 2)])
    journal.settle(RUN, [(0, UPDATED)])
    lines = {line.row: line for line in journal.report_rows(RUN)}
    for row in (3, 5):
        assert lines[row] == ReportRow(
            row,
            "ID-0",
            "robot 0",
            Status.UPDATED,
            "display name: Roby -> Robbie; + Finance; - Trainees",
            200,
            "",
            "",
            1,
            Via.ACCOUNT,
            1_770_000_000.25,
        )
    assert lines[2].cells == ("id-2", "Robot 2", "Finance")  # pending: `retry.csv` has it
    assert journal.counts(RUN) == {**dict.fromkeys(Status, 0), Status.UPDATED: 2, Status.PENDING: 3}
    assert journal.account_counts(RUN) == {**dict.fromkeys(Status, 0), Status.UPDATED: 1, Status.PENDING: 1}


def test_an_entry_whose_row_is_not_there_is_refused_as_a_whole(journal: Journal) -> None:
    begin_rows(journal, 3)
    with pytest.raises(StateError, match="row"):
        journal.add_items(RUN, [entry(0, 2), entry(1, 2000)])
    assert list(journal.iter_items(RUN)) == []


def test_runs_do_not_touch_one_another(journal: Journal) -> None:
    begin(journal, 3)
    other = begin(journal, 3, "20260131-081500-zzzz")
    journal.settle(RUN, [(1, FAILED)])
    journal.intend(RUN, [2], 5.0)
    journal.set_invalid(RUN, [RowError(2, "", "", "x", "y")])
    assert set(statuses(journal, other).values()) == {Status.PENDING}
    assert not any(found.intended for found in journal.iter_items(other))
    assert statuses(journal) == {2: Status.INVALID, 3: Status.FAILED, 4: Status.PENDING}
    journal.forget_plan(other)
    assert len(list(journal.iter_items(RUN))) == 3


def test_an_intent_is_seen_after_reopening(place: Place) -> None:
    with place.open() as journal:
        begin(journal, 4)
        journal.intend(RUN, [1, 3], 1_770_000_000.0)
        journal.settle(RUN, [(1, UPDATED)])
    with place.open() as journal:
        assert [(found.number, found.intended) for found in journal.iter_items(RUN, unsettled=True)] == [
            (0, False),
            (2, False),
            (3, True),
        ]


def test_to_settle_twice_changes_nothing(journal: Journal) -> None:
    begin(journal, 3)
    outcomes = [(0, UPDATED), (1, FAILED), (2, PENDING._replace(error="no connection", attempts=2))]
    journal.settle(RUN, outcomes)
    before = list(journal.report_rows(RUN))
    journal.settle(RUN, outcomes)
    assert list(journal.report_rows(RUN)) == before


@pytest.mark.parametrize("settled", [UPDATED, FAILED, Outcome(Status.UNCHANGED, finished_at=2.0)])
@pytest.mark.parametrize("together", [True, False])
def test_pending_never_replaces_what_is_settled(journal: Journal, settled: Outcome, together: bool) -> None:
    begin(journal, 1)
    late = PENDING._replace(error="interrupted", attempts=9)
    if together:
        journal.settle(RUN, [(0, settled), (0, late)])
    else:
        journal.settle(RUN, [(0, settled)])
        journal.settle(RUN, [(0, late)])
    (found,) = journal.iter_items(RUN)
    assert found.outcome == settled


def test_what_is_pending_can_be_said_more_precisely_and_then_settled(journal: Journal) -> None:
    begin(journal, 1)
    for outcome in (PENDING._replace(error="a", attempts=1), PENDING._replace(error="b", attempts=2), FAILED, UPDATED):
        journal.settle(RUN, [(0, outcome)])
        assert [found.outcome for found in journal.iter_items(RUN)] == [outcome]


def test_of_two_outcomes_of_an_item_the_last_counts(journal: Journal) -> None:
    begin(journal, 2)
    journal.settle(RUN, [(0, FAILED), (1, UPDATED), (0, UPDATED), (1, FAILED)])
    assert [found.outcome for found in journal.iter_items(RUN)] == [UPDATED, FAILED]


def test_settling_is_all_or_nothing(journal: Journal) -> None:
    begin(journal, 2)
    with pytest.raises(StateError, match="account"):
        journal.settle(RUN, [(0, UPDATED), (77, UPDATED)])
    with pytest.raises(StateError, match="account"):
        journal.intend(RUN, [0, 77], 1.0)
    assert journal.account_counts(RUN)[Status.PENDING] == 2
    assert not any(found.intended for found in journal.iter_items(RUN))


def test_pending_rows_tell_why_the_run_ended(journal: Journal) -> None:
    begin_rows(journal, 4)
    journal.add_items(RUN, [entry(0, 2), entry(1, 3)])
    journal.settle(RUN, [(0, PENDING._replace(error="not answered", error_code="lost"))])
    journal.update_run(RUN, message="No connection to the server.")
    assert [(line.error, line.error_code) for line in journal.report_rows(RUN)] == [
        ("not answered", "lost"),
        ("No connection to the server.", ""),
        ("No connection to the server.", ""),
    ]


def test_the_message_of_the_run_is_no_error_of_what_is_settled(journal: Journal) -> None:
    begin(journal, 1)
    journal.settle(RUN, [(0, UPDATED)])
    journal.update_run(RUN, message="Stopped.")
    assert [line.error for line in journal.report_rows(RUN)] == [""]


def test_a_row_found_invalid_stays_so_whatever_its_account_becomes(journal: Journal) -> None:
    begin_rows(journal, 3)
    journal.set_invalid(RUN, [RowError(3, "", "", "x", "y")])
    journal.add_items(RUN, [entry(0, 2, 3)])
    journal.settle(RUN, [(0, UPDATED)])
    assert statuses(journal) == {2: Status.UPDATED, 3: Status.INVALID}
    assert journal.counts(RUN) == {**dict.fromkeys(Status, 0), Status.UPDATED: 1, Status.INVALID: 1}


def test_a_blind_entry_shows_the_name_that_the_row_gave(journal: Journal) -> None:
    begin_rows(journal, 2)
    journal.add_items(
        RUN, [RunItem(0, DesiredState("88-uv", "", (None,), ("g",), (), None, (2,)), None, "+ g", PENDING)]
    )
    (line,) = journal.report_rows(RUN)
    assert (line.robot_account_id, line.name) == ("88-uv", "Robot 2")


def test_a_plan_that_sent_nothing_can_be_made_again(journal: Journal) -> None:
    on_reading = RowError(9, "id", "", "no_account", "Which?")
    begin_rows(journal, 4)
    journal.add_rows(RUN, [bad_row(9, on_reading)])
    journal.add_items(RUN, [entry(0, 2), entry(1, 3, outcome=Outcome(Status.UNCHANGED))])
    journal.set_invalid(RUN, [RowError(4, "", "", "x", "y")])
    journal.forget_plan(RUN)
    assert list(journal.iter_items(RUN)) == []
    assert statuses(journal) == {2: Status.PENDING, 3: Status.PENDING, 4: Status.PENDING, 9: Status.INVALID}
    journal.add_items(RUN, [entry(0, 2, 3, 4)])
    journal.settle(RUN, [(0, UPDATED)])
    assert journal.counts(RUN)[Status.UPDATED] == 3


def test_a_sheet_can_be_read_again_as_long_as_nothing_was_sent(journal: Journal) -> None:
    begin(journal, 3)
    journal.forget_rows(RUN)
    assert list(journal.iter_rows(RUN)) == list(journal.iter_items(RUN)) == []
    journal.add_rows(RUN, [good_row(2, "again")])
    assert list(journal.iter_rows(RUN)) == [(2, ("again",), False)]


@pytest.mark.parametrize("forget", [Journal.forget_plan, Journal.forget_rows])
def test_a_plan_that_may_have_sent_is_never_forgotten(journal: Journal, forget: Callable[[Journal, str], None]) -> None:
    begin(journal, 3)
    journal.intend(RUN, [1], 5.0)
    with pytest.raises(StateError, match="sent"):
        forget(journal, RUN)
    assert len(list(journal.iter_items(RUN))) == len(list(journal.iter_rows(RUN))) == 3


def test_iterators_cross_page_borders_without_loss(journal: Journal) -> None:
    begin(journal, 2001)
    assert [row for row, _, _ in journal.iter_rows(RUN)] == list(range(2, 2003))
    assert [found.number for found in journal.iter_items(RUN)] == list(range(2001))
    unsettled = []
    for found in journal.iter_items(RUN, unsettled=True):  # settled while it goes on, as a run does
        unsettled.append(found.number)
        if found.number % 500 == 0:
            journal.settle(RUN, [(number, UPDATED) for number in range(found.number + 1)])
    assert unsettled == list(range(2001))
    assert [found.number for found in journal.iter_items(RUN, unsettled=True)] == []
    assert [line.row for line in journal.report_rows(RUN)] == list(range(2, 2003))


def test_a_report_shows_one_moment_while_the_run_goes_on(journal: Journal) -> None:
    begin(journal, 2500)
    lines = journal.report_rows(RUN)
    seen = [next(lines).status]

    def go_on() -> None:
        journal.settle(RUN, [(number, UPDATED) for number in range(2500)])
        journal.update_run(RUN, message="later")

    thread = threading.Thread(target=go_on)  # nobody waits for the report to end
    thread.start()
    thread.join()
    assert journal.counts(RUN)[Status.UPDATED] == 2500
    rest = list(lines)
    seen.extend(line.status for line in rest)
    assert seen == [Status.PENDING] * 2500
    assert {line.error for line in rest} == {""}
    assert set(statuses(journal).values()) == {Status.UPDATED}


def test_a_report_may_wander_between_threads(journal: Journal) -> None:
    begin(journal, 1500)
    lines = journal.report_rows(RUN)
    found: list[int] = []

    def take(count: int) -> None:
        found.extend(next(lines).row for _ in range(count))

    for count in (1, 1200, 299):
        thread = threading.Thread(target=take, args=(count,))
        thread.start()
        thread.join()
    assert found == list(range(2, 1502))
    assert next(lines, None) is None


def test_threads_may_write_and_read_at_once(journal: Journal) -> None:
    begin(journal, 160)
    troubles: list[BaseException] = []

    def work(part: int) -> None:
        try:
            for number in range(part, 160, 4):
                journal.settle(RUN, [(number, UPDATED)])
                assert sum(journal.counts(RUN).values()) == 160
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            troubles.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert journal.counts(RUN)[Status.UPDATED] == 160


def test_iterators_hold_only_a_page(journal: Journal) -> None:
    journal.create_run(record())
    for start in range(2, 6002, 500):
        journal.add_rows(RUN, [good_row(row, "x" * 4000) for row in range(start, start + 500)])
        journal.add_items(
            RUN,
            [
                entry(row)._replace(changes="y" * 4000, desired=entry(row, row).desired)
                for row in range(start, start + 500)
            ],
        )
    whole = 6000 * 4000
    for iterator in (journal.iter_rows, journal.iter_items, journal.report_rows):
        tracemalloc.start()
        count = sum(1 for _ in iterator(RUN))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == 6000
        assert peak < whole / 2, iterator.__name__


def test_settled_rows_end_where_the_first_pending_one_is(journal: Journal) -> None:
    begin(journal, 5)
    assert journal.settled_rows(RUN, -1, 10) == []
    journal.settle(RUN, [(0, UPDATED), (1, FAILED), (3, UPDATED)])
    lines = list(journal.report_rows(RUN))
    assert journal.settled_rows(RUN, -1, 10) == lines[:2]
    assert journal.settled_rows(RUN, -1, 1) == lines[:1]
    assert journal.settled_rows(RUN, lines[0].row, 10) == lines[1:2]
    journal.settle(RUN, [(2, UPDATED)])
    lines = list(journal.report_rows(RUN))
    assert journal.settled_rows(RUN, lines[1].row, 10) == lines[2:4]
    assert list(journal.report_rows(RUN, lines[3].row)) == lines[4:]


def test_entries_that_nothing_has_come_of_and_others_come_back_as_they_were(journal: Journal) -> None:
    journal.create_run(record())
    journal.add_rows(RUN, [good_row(row) for row in range(2, 8)])
    planned = [
        entry(0),
        entry(1, outcome=UPDATED, intended=True),
        entry(2, intended=True),
        entry(3),
        entry(4, outcome=Outcome(Status.PENDING, via=Via.GROUP)),
        entry(5, outcome=FAILED),
    ]
    journal.add_items(RUN, planned)
    assert list(journal.iter_items(RUN)) == planned
    assert [each.number for each in journal.iter_items(RUN, unsettled=True)] == [0, 2, 3, 4]


def test_planned_changes_are_kept_with_their_states_before_and_go_with_the_rows(place: Place) -> None:
    blind = entry(1)._replace(before=None)
    with place.open() as journal:
        journal.create_run(record())
        journal.create_run(record("other"))
        journal.add_planned_changes(RUN, [entry(0, 2, 3)])
        journal.add_planned_changes(RUN, [blind])
        journal.add_planned_changes("other", [entry(0)])
    with place.open() as journal:
        assert list(journal.iter_planned_changes(RUN)) == [entry(0, 2, 3), blind]
        journal.forget_plan(RUN)
        assert len(list(journal.iter_planned_changes(RUN))) == 2
        journal.forget_rows(RUN)
        assert list(journal.iter_planned_changes(RUN)) == []
        assert len(list(journal.iter_planned_changes("other"))) == 1


def test_a_line_of_the_report_shows_the_row_and_its_item() -> None:
    fault = codec.dump_row_errors([RowError(2, "id", "", "no_id", "There is no id.")])
    row = (2, '["cell"]', "row-id", "row name", None, None)
    item = ("item-id", "", "+ Finance", "updated", 200, "", "", 1, "account", 5.0)
    unchanged = (*item[:3], "unchanged", *item[4:])
    invalid = (*row[:4], fault, None)
    lines = codec.report_rows([(*row, *item), (*row, *unchanged), (*invalid, *item)], "")
    assert [(line.status, line.robot_account_id, line.name, line.changes, line.cells) for line in lines] == [
        (Status.UPDATED, "item-id", "row name", "+ Finance", ()),
        (Status.UNCHANGED, "item-id", "row name", "", ()),
        (Status.INVALID, "row-id", "row name", "", ("cell",)),
    ]
