"""What one stage of a run has made is let go of before the next one makes more: 100,000 rows have 300 MB."""

import gc
import weakref
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from bulkid.consume import consume
from bulkid.model import Account, AccountWish, Change, Entry, Group, Outcome, RowWish, Status
from bulkid.planning import Directory, Expected, Plan, Route, cover, diff, groups_where_possible
from bulkid.runs import Preview
from bulkid.runs.execution.bisection import Batch, BatchQueue, Member
from bulkid.runs.execution.partial_run import LEFT
from bulkid.runs.execution.reconcile import PlannedAgain, PlannedEntries, to_send
from bulkid.runs.inputs.origin import Origin
from bulkid.runs.inputs.precomputed import changes_of
from bulkid.runs.inputs.sheet import Rows
from bulkid.sheet import SheetInfo
from bulkid.sheet.cells import parse_list

INFO = SheetInfo("sheet.csv", "csv", "", "utf-8", ",", ("id",), ("robot_account_id",))


class Text(str):
    """A text that can be watched while it is alive."""

    __slots__ = ("__weakref__",)


def test_each_row_is_let_go_of_as_it_is_handed_out_and_the_accounts_stay_counted() -> None:
    rows = Rows(INFO, [RowWish(n, Text(f"id-{n // 2}"), "", None, (), (), None, "") for n in range(10)])
    alive = [weakref.ref(wish.account_id) for wish in rows.wishes]
    accounts = rows.accounts
    numbers = []
    for wish in rows.hand_out():
        numbers.append(wish.row)
        del wish
        gc.collect()
        assert [each() is not None for each in alive] == [n >= len(numbers) for n in range(10)]
        assert rows.accounts == accounts == 5
    assert numbers == list(range(10))


def test_a_group_is_one_string_however_many_cells_name_it() -> None:
    first, second = parse_list("Fin" + "ance; Trainees"), parse_list("Legal, Finance")
    assert first.items[0] == second.items[1] == "Finance"
    assert first.items[0] is second.items[1]


def test_sending_holds_neither_accounts_nor_states_before_and_knows_whether_it_is_blind() -> None:
    account = Account("a", "robot", "Robot", ("g",))
    change = Change("a", "robot", "New", True, (), (), account)  # noqa: FBT003 - a row of plain values
    seeing = to_send(Directory("o", [account], [Group("g", "Finance")]), enumerate([change]), None)
    assert seeing.directory.accounts is None
    assert not seeing.directory.blind
    assert seeing.directory.group_name("g") == "Finance"
    assert seeing.by_account == [(0, change._replace(before=None))]
    assert to_send(Directory("o", None, None), [], None).directory.blind


CHANGED = st.lists(
    st.tuples(st.booleans(), st.frozensets(st.sampled_from("abcd")), st.frozensets(st.sampled_from("efgh"))),
    max_size=12,
)


@given(CHANGED, st.integers(1, 4), st.booleans())
def test_what_is_sent_is_what_the_route_says_by_entry(
    made: list[tuple[bool, frozenset[str], frozenset[str]]], batch: int, by_group: bool
) -> None:
    before = Account("x", "robot", "Robot", ())
    changes = [
        (
            10 + place,
            Change(f"id-{place}", f"robot-{place}", "R", renames, tuple(sorted(add)), tuple(sorted(off)), before),
        )
        for place, (renames, add, off) in enumerate(made)
        if renames or add or off
    ]
    differences = [change for _, change in changes]
    planned = groups_where_possible(differences, batch) if by_group else cover(differences, batch)
    work = to_send(Directory("o", (), ()), iter(changes), Route(planned, len(changes)))
    light = {entry: change._replace(before=None) for entry, change in changes}
    own = [changes[place][0] for place in planned.by_account]
    assert work.by_account == [(entry, light[entry]) for entry in own]
    assert work.by_group == {entry: change for entry, change in light.items() if entry not in own}
    assert work.accounts == len(changes)
    assert [(each.group_id, each.members) for each in work.batches] == [
        (
            each.group_id,
            tuple(
                Member(changes[place][0], changes[place][1].account_id, joins)
                for place, joins in sorted([(p, True) for p in each.add] + [(p, False) for p in each.remove])
            ),
        )
        for each in planned.batches
    ]


def test_each_account_is_let_go_of_as_its_change_is_taken() -> None:
    accounts = [Account(Text(f"a{n}"), "robot", "Robot", ()) for n in range(3)]
    alive = [weakref.ref(each.id) for each in accounts]
    changes = [(n, Change("a", "robot", "New", True, (), (), each)) for n, each in enumerate(accounts)]  # noqa: FBT003
    accounts.clear()
    left = consume(changes)

    def watched() -> Iterator[tuple[int, Change]]:
        for taken in range(3):
            gc.collect()
            assert [each() is not None for each in alive] == [n >= taken - 1 for n in range(3)]  # the last is at hand
            yield next(left)

    assert len(to_send(Directory("o", (), ()), watched(), None).by_account) == 3
    gc.collect()
    assert [each() for each in alive] == [None] * 3


def test_given_changes_are_compared_once_and_let_go_of() -> None:
    account = Account("a", "robot", "Robot", ())
    expected = Expected(AccountWish("a", "robot", "New", (), (), None, (2,)), account)
    origin = Origin("The plan p.json", "as it was", "https://x", "o")
    changes = changes_of("p.json", [expected], origin)
    assert [row.row for row in changes.sheet_rows] == [2]
    assert changes.rows.given is not None
    assert changes.rows.given.resolve(Directory("o", [account], ())).wishes == (expected.wish,)
    assert changes.rows.given.expected == []


def test_what_a_trial_left_is_planned_again_where_it_still_differs() -> None:
    account = Account("a", "robot", "Robot now", ())
    wish = AccountWish("a", "robot", "New", (), (), None, (2,))
    entries = [
        Entry(number, wish, None, "", outcome)
        for number, outcome in enumerate([LEFT, Outcome(Status.PENDING), LEFT, LEFT])
    ]
    changes = [(number, diff(wish, account, Directory("o", [account], ()))) for number in (0, 1, 3)]
    again = PlannedAgain(entries, changes, Directory("o", (), ()))
    assert list(again) == list(again)
    assert [entry.entry for entry in again] == [0, 3]
    assert {(entry.before, entry.changes) for entry in again} == {(account, "display name: Robot now -> New")}


def test_entries_are_made_one_by_one_and_again_as_often_as_they_are_gone_through() -> None:
    accounts = [Account(f"a{n}", f"robot-{n}", "Robot", ()) for n in range(3)]
    wishes = [AccountWish(each.id, each.name, "New", (), (), None, (n,)) for n, each in enumerate(accounts)]
    changes = [Change(each.id, each.name, "New", True, (), (), each) for each in accounts]  # noqa: FBT003
    plan = Plan(tuple(changes[:1]), tuple(wishes[:1]), tuple(wishes[1:2]), tuple(wishes[2:]))
    preview = Preview(
        INFO, plan, Directory("o", accounts, ()), "https://x", "o", 3, (), (), None, 0.0, {}, 1, (), excess=None
    )
    entries = PlannedEntries(preview, 5.0)
    assert iter(entries) is not iter(entries)
    made = list(entries)
    assert made == list(entries)
    assert [entry.entry for entry in made] == [0, 1, 2]
    assert [entry.before for entry in made] == accounts
    assert made[0].outcome == Outcome(Status.PENDING)
    assert made[1].outcome == Outcome(Status.UNCHANGED, finished_at=5.0)
    assert [entry.changes for entry in made][::2] == ["display name: Robot -> New"] * 2


def test_no_more_group_requests_are_made_ready_than_asked_for_and_none_is_left_out() -> None:
    queue = BatchQueue()
    queue.add([Batch(f"g{n}", (Member(n, f"a{n}", joins=True),)) for n in range(10)])
    (probe,) = queue.next(4)  # the first of a size goes alone
    queue.passed(probe)
    given = [probe]
    while ready := queue.next(4):
        assert len(ready) <= 4
        given += ready
        for batch in ready:
            queue.passed(batch)
    assert queue.done
    assert sorted(batch.members[0].entry for batch in given) == list(range(10))
